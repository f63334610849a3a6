#pragma once

#include <vector>

#include "command/planning.hpp"

namespace qwenplan {

/// The run that was asked for; or, where no method is named, the best rung of each method, the best
/// of them first: on a card that is the first that fits, without one it is the method that needs
/// least.
Result<std::vector<MethodPlan>> method_plans(const Setup& setup, const RunDraft& draft);

/// A method with what was changed of its defaults: "qlora --precision bf16-true".
std::string name_of(const MethodPlan& plan);

}  // namespace qwenplan
