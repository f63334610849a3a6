#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {

TrainFile read_llama_factory(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::llama_factory;
  set_unmodelled(file, "files of " + std::string(name(file.trainer)) + " are not read yet",
                 source.name, "describe the run by flags: qwenplan vram --help");
  return file;
}

TrainFile read_llama_factory_v1(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::llama_factory;
  set_unmodelled(file, "files of " + std::string(name(file.trainer)) + " are not read yet",
                 source.name, "describe the run by flags: qwenplan vram --help");
  return file;
}

}  // namespace qwenplan
