#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"

namespace qwenplan {

TrainFile read_accelerate(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::accelerate;
  file.other_purpose = "sets accelerate up for a training file";
  put_launch(accelerate_settings(source.root, source.neighbours), file);
  return file;
}

TrainFile read_fsdp(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::accelerate;
  file.other_purpose = "sets FSDP up for a training file";
  put_launch(fsdp_settings(source.root.find("fsdp"), source.root.find("fsdp_config")), file);
  return file;
}

}  // namespace qwenplan
