#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {

TrainFile read_ms_swift(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::ms_swift;
  set_unmodelled(file, "files of " + std::string(name(file.trainer)) + " are not read yet",
                 source.name, "describe the run by flags: qwenplan vram --help");
  return file;
}

TrainFile read_ms_swift_script(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::ms_swift;
  set_unmodelled(file, "files of " + std::string(name(file.trainer)) + " are not read yet",
                 source.name, "describe the run by flags: qwenplan vram --help");
  return file;
}

}  // namespace qwenplan
