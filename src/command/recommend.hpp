#pragma once

#include <string>

#include "cli/invocation.hpp"
#include "qwenplan/base/result.hpp"
#include "render/answer.hpp"

namespace qwenplan::command {

/// A configuration of the published guide, judged by the engine.
Result<Answer> recommend_preset(const Invocation& in, const std::string& name);

}  // namespace qwenplan::command
