#pragma once

#include <cstdint>
#include <vector>

#include "qwenplan/emulate/step.hpp"

namespace qwenplan::test {

/// Keeps the work of a run with the phase that it happens in.
class WorkKeeper final : public TraceReader {
 public:
  struct Done {
    Mark when;
    Work work;
  };
  void enter(const Mark& mark) override { mark_ = mark; }
  void read(std::span<const Event>) override {}
  bool wants_work() const override { return true; }
  void work(const Work& work) override { done_.push_back({mark_, work}); }

  const std::vector<Done>& done() const { return done_; }
  /// Floating-point operations of the second step, from one phase to another.
  double flops(Phase first = Phase::forward, Phase last = Phase::step) const {
    double sum = 0;
    for (const Done& each : done_)
      if (each.when.step == 2 && each.when.phase >= first && each.when.phase <= last)
        sum += each.work.flops();
    return sum;
  }

 private:
  Mark mark_;
  std::vector<Done> done_;
};

inline WorkKeeper work_of(const Model& model, const Run& run, const Stack& stack = kLatest,
                          int compute_capability = 80) {
  WorkKeeper keeper;
  trace(model, run, stack, compute_capability, keeper, SecondStep::emulated);
  return keeper;
}

}  // namespace qwenplan::test
