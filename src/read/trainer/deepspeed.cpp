#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {

TrainFile read_deepspeed(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::deepspeed;
  set_unmodelled(file, "files of " + std::string(name(file.trainer)) + " are not read yet",
                 source.name, "describe the run by flags: qwenplan vram --help");
  return file;
}

}  // namespace qwenplan
