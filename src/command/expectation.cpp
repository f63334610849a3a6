#include "command/expectation.hpp"

#include <algorithm>

namespace qwenplan {
namespace {

/// A share of a size: `bytes` x `part` / `whole`.
Bytes share(Bytes bytes, Bytes part, Bytes whole) {
  if (whole <= Bytes()) return bytes;
  return Bytes(static_cast<std::int64_t>(static_cast<double>(bytes.count()) *
                                         static_cast<double>(part.count()) /
                                         static_cast<double>(whole.count())));
}

/// Tensors of a phase as the whole process would show them: with the cache in the proportion of the
/// peak, and the CUDA context.
Range<Bytes> on_device(const PlanFile& plan, Bytes allocated) {
  const Bytes tensors = plan.allocated.likely;
  return {allocated + (plan.device.low - plan.reserved.low),
          share(allocated, plan.reserved.likely, tensors) + (plan.device.likely - plan.reserved.likely),
          share(allocated, plan.reserved.high, tensors) + (plan.device.high - plan.reserved.high)};
}

Bytes most_in(const PlanFile& plan, int step) {
  Bytes most{};
  for (const PlanFile::Phase& phase : plan.timeline)
    if (phase.step == step) most = std::max(most, phase.allocated);
  return most;
}

}  // namespace

std::vector<Stage> planned_stages(const PlanFile& plan) {
  return {{"load", on_device(plan, most_in(plan, 0)), {}},
          {"first step", on_device(plan, std::max(most_in(plan, 0), most_in(plan, 1))), {}},
          {"steady", plan.device, {}}};
}

std::vector<Stage> seen_stages(const PlanFile& plan, const FamilyWatch& watch, std::size_t gpu) {
  std::vector<Stage> stages = planned_stages(plan);
  Bytes most{};
  for (const Sample& sample : watch.samples()) most = std::max(most, watch.on_gpu(sample, gpu));
  if (watch.peaks().family[gpu]) most = *watch.peaks().family[gpu];
  if (most > Bytes()) stages[2].seen = most;

  const Bytes half = Bytes(stages[0].planned.likely.count() / 2);
  std::vector<Bytes> levels;  // rising, from the load on
  for (const Plateau& plateau : watch.plateaus(gpu))
    if (plateau.level >= half && (levels.empty() || plateau.level > levels.back()))
      levels.push_back(plateau.level);
  // A single plateau is the end of the run as well as its beginning.
  if (levels.size() >= 2) stages[0].seen = levels[0];
  if (levels.size() >= 3) stages[1].seen = levels[1];
  return stages;
}

std::vector<PhasePair> compared(const PlanFile& plan, const std::vector<MeasuredPhase>& seen) {
  std::vector<PhasePair> pairs;
  for (const PlanFile::Phase& phase : plan.timeline) {
    std::string name = phase.name == "prepare" ? "load" : phase.name == "loss" ? "forward" : phase.name;
    if (name == "save") continue;
    const auto same = std::find_if(pairs.begin(), pairs.end(), [&](const PhasePair& pair) {
      return pair.phase == name && pair.step == phase.step;
    });
    if (same != pairs.end()) same->planned = std::max(same->planned, phase.allocated);
    else pairs.push_back({std::move(name), phase.step, phase.allocated, {}});
  }
  for (PhasePair& pair : pairs)
    for (const MeasuredPhase& phase : seen)
      if (phase.phase == pair.phase && phase.step.value_or(0) == pair.step) pair.seen = phase.allocated;
  return pairs;
}

}  // namespace qwenplan
