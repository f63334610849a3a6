#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"

namespace qwenplan {

TrainFile read_deepspeed(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::deepspeed;
  file.other_purpose = "sets DeepSpeed up for a training file";
  put_launch(deepspeed_settings(source.root), file);
  return file;
}

}  // namespace qwenplan
