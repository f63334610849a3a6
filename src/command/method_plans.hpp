#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "command/planning.hpp"

namespace qwenplan {

/// The methods among which is chosen where none is named, the best first.
inline constexpr std::array kMethods = {Method::full, Method::lora, Method::qlora};

struct MethodPlans {
  std::vector<MethodPlan> plans;  ///< at least one, in the order of kMethods
  std::size_t best = 0;           ///< of `plans`: on a card as `best_of`, without one the last, which needs least
  std::vector<std::string> left_out;  ///< what this trainer does in a way that is not modelled: "full: ..."

  const MethodPlan& chosen() const { return plans[best]; }
};

/// Whether a draft says how the model is trained.
bool names_method(const RunDraft& draft);

/// The best rung of each of these methods that the draft's other settings allow. One that is not
/// modelled is left out; where all are, the last one's error.
Result<MethodPlans> best_rungs(const Setup& setup, const RunDraft& draft,
                               std::span<const Method> methods = kMethods);

/// The run that was asked for, as it was asked for; or, where no method is named, best_rungs. Of
/// a run that was asked for, `work`, if given, is told what a step computes.
Result<MethodPlans> method_plans(const Setup& setup, const RunDraft& draft, StepWork* work = nullptr);

/// A method with what was changed of its defaults: "qlora --precision bf16-true".
std::string name_of(const MethodPlan& plan);

}  // namespace qwenplan
