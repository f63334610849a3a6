#include "command/method_plans.hpp"

#include <utility>

namespace qwenplan {

Result<std::vector<MethodPlan>> method_plans(const Setup& setup, const RunDraft& draft) {
  std::vector<MethodPlan> jobs;
  const bool has_method =
      draft.method || (draft.quantization && draft.quantization->value != Quantization::none);
  if (has_method) {
    auto plan = planned(setup, draft, setup.subject.allocator);
    if (!plan) return plan.error();
    const Method method = plan->valid.run.method;
    jobs.push_back({method, {}, std::move(*plan)});
    return jobs;
  }
  for (const Method method : {Method::full, Method::lora, Method::qlora})
    if (const auto each = draft_for(method, draft)) {
      auto job = best_rung(setup, method, *each);
      if (!job) return job.error();
      jobs.push_back(std::move(*job));
    }
  std::swap(jobs.front(), jobs[setup.device.usable ? best_of(jobs) : jobs.size() - 1]);
  return jobs;
}

std::string name_of(const MethodPlan& job) {
  return std::string(name(job.method)) + (job.rung.empty() ? "" : " " + job.rung);
}

}  // namespace qwenplan
