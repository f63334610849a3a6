#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "command/watch.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "read/measurement.hpp"
#include "read/plan_file.hpp"

namespace qwenplan {

/// What a run holds on the GPU, as nvidia-smi shows it, at three stages: its memory rises from one
/// to the next and stays there, since PyTorch keeps what it was given.
struct Stage {
  std::string_view name;  ///< "load", "first step", "steady"
  Range<Bytes> planned{};
  std::optional<Bytes> seen;
};

/// The stages as a plan predicts them.
std::vector<Stage> planned_stages(const PlanFile& plan);

/// The same with what a watch saw on a GPU: load is the first plateau of at least half the planned
/// size, the first step the one after it if more follow, steady the most of all.
std::vector<Stage> seen_stages(const PlanFile& plan, const FamilyWatch& watch, std::size_t gpu);

/// Bytes of tensors by phase, planned beside what a callback wrote from inside. The callback's
/// forward holds the loss, and its load all that comes before the first step.
struct PhasePair {
  std::string phase;
  int step = 0;
  Bytes planned{};
  std::optional<Bytes> seen;
};
std::vector<PhasePair> compared(const PlanFile& plan, const std::vector<MeasuredPhase>& seen);

}  // namespace qwenplan
