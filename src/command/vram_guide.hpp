#pragma once

#include "cli/invocation.hpp"
#include "qwenplan/base/result.hpp"
#include "render/answer.hpp"

namespace qwenplan::command {

/// `vram --estimator guide`: the guide's calculator for --params, or for the size of --model.
Result<Answer> vram_guide(const Invocation& invocation);

}  // namespace qwenplan::command
