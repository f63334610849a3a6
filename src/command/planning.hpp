#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/subject.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/emulate/caching_allocator.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "qwenplan/estimate/roofline.hpp"
#include "qwenplan/judge/fit.hpp"

namespace qwenplan {

struct Advice;

/// A run with what it needs, and whether that is there.
struct Plan {
  RunDraft draft;
  ValidRun valid;
  MemoryEstimate estimate;
  std::optional<Fit> fit;  ///< none without a card
};

/// Everything that stays the same while settings are tried.
struct Setup {
  const Subject& subject;
  std::optional<Gpu> card;  ///< with the memory that --vram gives it
  Device device;

  const Gpu* gpu() const { return card ? &*card : nullptr; }
  const Model& model() const { return subject.model.model; }
};

Setup setup_of(const Subject& subject);

/// Why model or card cannot be emulated; nothing where both can.
std::optional<Error> not_emulated(const Subject& subject);

/// Decides every setting, emulates the run and judges it. `give_up_above` is for runs of which only
/// matters whether they fit, as MemoryMeter has it. `work`, if given, is told what a step computes.
Result<Plan> planned(const Setup& setup, RunDraft draft, const AllocatorSettings& allocator,
                     Bytes give_up_above = Bytes(Saturating::kMax), StepWork* work = nullptr);

/// Gives a setting that nobody asked for.
template <class T>
void settle(RunDraft::Maybe<T>& setting, T value) {
  setting = Given<T>{std::move(value), From::by_default};
}

/// The draft for a method, without what another method alone can have; nothing if a flag excludes it.
std::optional<RunDraft> draft_for(Method method, const RunDraft& given);

/// One way to run a method: the defaults, or a known step down from them.
struct Rung {
  std::string name;  ///< flags that step down; empty: none
  RunDraft draft;
};

/// The defaults, 16 bits throughout, and paged 8-bit AdamW besides, as far as flags leave them open.
std::vector<Rung> rungs(const Setup& setup, const RunDraft& draft);

struct MethodPlan {
  Method method;
  std::string rung;  ///< flags that step down from the defaults; empty: none
  Plan plan;
};

/// Tries a method with the defaults, in 16 bits throughout, and with paged 8-bit AdamW besides: the
/// first that fits, else the first that is tight, else the last, unless another needs less for sure.
Result<MethodPlan> best_rung(const Setup& setup, Method method, const RunDraft& draft);

/// The first that fits; else the first that is tight; else the one that needs least.
std::size_t best_of(const std::vector<MethodPlan>& methods);

/// Up to so many changes that would make it fit, each run again.
std::vector<Advice> advised(const Setup& setup, const Plan& plan, std::size_t most = 3);

}  // namespace qwenplan
