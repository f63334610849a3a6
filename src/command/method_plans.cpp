#include "command/method_plans.hpp"

#include <optional>
#include <utility>

namespace qwenplan {

bool names_method(const RunDraft& draft) {
  return draft.method || (draft.quantization && draft.quantization->value != Quantization::none);
}

Result<MethodPlans> best_rungs(const Setup& setup, const RunDraft& draft, std::span<const Method> methods) {
  MethodPlans found;
  std::optional<Error> unmodelled;
  for (const Method method : methods) {
    const auto each = draft_for(method, draft);
    if (!each) continue;
    auto plan = best_rung(setup, method, *each);
    if (plan) {
      found.plans.push_back(std::move(*plan));
    } else if (plan.error().kind == Error::Kind::unknown) {
      found.left_out.push_back(std::string(name(method)) + ": " + plan.error().what);
      unmodelled = plan.error();
    } else {
      return plan.error();
    }
  }
  if (found.plans.empty()) return *std::move(unmodelled);
  found.best = setup.device.usable ? best_of(found.plans) : found.plans.size() - 1;
  return found;
}

Result<MethodPlans> method_plans(const Setup& setup, const RunDraft& draft, StepWork* work) {
  if (!names_method(draft)) return best_rungs(setup, draft);
  auto plan = planned(setup, draft, setup.subject.allocator, Bytes(Saturating::kMax), work);
  if (!plan) return plan.error();
  const Method method = plan->valid.run.method;
  MethodPlans found;
  found.plans.push_back({method, {}, std::move(*plan)});
  return found;
}

std::string name_of(const MethodPlan& job) {
  return std::string(name(job.method)) + (job.rung.empty() ? "" : " " + job.rung);
}

}  // namespace qwenplan
