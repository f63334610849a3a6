#pragma once

#include <string>
#include <string_view>

#include "qwenplan/describe/trainer.hpp"

namespace qwenplan {

/// A change of a run as the trainer's own file has it: "cutoff_len: 2048" for "--seq-len 2048" in
/// LLaMA-Factory. What has no key there stays as it is given, such as a variable of the environment.
std::string change_in_file(Trainer trainer, std::string_view change);

}  // namespace qwenplan
