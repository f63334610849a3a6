#pragma once

#include <algorithm>
#include <cstddef>

#include "qwenplan/describe/stack.hpp"
#include "qwenplan/describe/trainer.hpp"

namespace qwenplan {

namespace trainer_stack {

/// What was installed with a trainer at some time, between the stacks that were measured.
inline constexpr Stack kDays[] = {
    kMid2024,
    {"2024-11", {2, 5, 1}, {4, 46, 3}, {0, 13, 2}, {1, 1, 1}, {0, 44, 1}, {0, 4, 2}},
    kEarly2025,
    {"2025-06", {2, 7, 1}, {4, 52, 4}, {0, 15, 2}, {1, 7, 0}, {0, 46, 0}, {0, 5, 10}},
    kLate2025,
    {"2026-01", {2, 10, 0}, {4, 57, 6}, {0, 18, 1}, {1, 12, 0}, {0, 49, 1}, {0, 6, 4}},
    kLatest};
inline constexpr std::size_t kDayCount = sizeof kDays / sizeof kDays[0];

/// The first version of a trainer that came out in the time of each of these, by the dates of its
/// packages.
struct FirstVersions {
  Version of[kDayCount];
};
inline constexpr FirstVersions kFirst[kTrainersWithDefaults] = {
    /* transformers  */ {{{4, 41, 0}, {4, 46, 0}, {4, 49, 0}, {4, 52, 0}, {4, 56, 0}, {4, 57, 0}, {5, 3, 0}}},
    /* peft          */ {{{0, 11, 0}, {0, 13, 2}, {0, 14, 0}, {0, 15, 0}, {0, 17, 0}, {0, 18, 0}, {0, 19, 0}}},
    /* trl           */ {{{0, 9, 0}, {0, 12, 0}, {0, 15, 0}, {0, 18, 0}, {0, 22, 0}, {0, 27, 0}, {1, 0, 0}}},
    /* llama-factory */ {{{0, 8, 0}, {0, 9, 1}, {0, 9, 2}, {0, 9, 3}, {0, 9, 4}, {0, 9, 4}, {0, 9, 5}}},
    /* axolotl       */ {{{0, 4, 1}, {0, 5, 0}, {0, 7, 0}, {0, 10, 0}, {0, 12, 0}, {0, 13, 0}, {0, 15, 0}}},
    /* torchtune     */ {{{0, 1, 1}, {0, 4, 0}, {0, 5, 0}, {0, 7, 0}, {0, 7, 0}, {0, 7, 0}, {1, 0, 0}}},
    /* ms-swift      */ {{{2, 1, 0}, {3, 0, 0}, {3, 1, 0}, {3, 5, 0}, {3, 8, 0}, {3, 12, 0}, {4, 1, 0}}},
    /* unsloth       */ {{{2024, 6, 0}, {2024, 11, 0}, {2025, 2, 0}, {2025, 6, 0}, {2025, 9, 0}, {2026, 1, 0}, {2026, 4, 0}}},
    /* litgpt        */ {{{0, 4, 0}, {0, 5, 3}, {0, 5, 5}, {0, 5, 8}, {0, 5, 9}, {0, 5, 12}, {0, 5, 13}}}};

/// The newest libraries that a package allows (its requirements); zero: any.
struct Limit {
  Trainer trainer;
  Version since;
  Version torch, transformers, peft, accelerate, bitsandbytes;
};
inline constexpr Limit kLimits[] = {
    {Trainer::llama_factory, {0, 9, 1}, {}, {4, 46, 1}, {0, 12, 0}, {1, 0, 1}, {}},
    {Trainer::llama_factory, {0, 9, 2}, {}, {4, 49, 0}, {0, 12, 0}, {1, 2, 1}, {}},
    {Trainer::llama_factory, {0, 9, 3}, {}, {4, 52, 4}, {0, 15, 2}, {1, 7, 0}, {}},
    {Trainer::llama_factory, {0, 9, 4}, {}, {4, 57, 1}, {0, 17, 1}, {1, 11, 0}, {}},
    {Trainer::llama_factory, {0, 9, 5}, {}, {5, 6, 0}, {0, 18, 1}, {1, 11, 0}, {}},
    {Trainer::axolotl, {0, 19, 0}, {2, 13, 0}, {5, 16, 1}, {0, 20, 0}, {1, 13, 0}, {0, 50, 2}},
    {Trainer::ms_swift, {3, 0, 0}, {}, {4, 47, 1}, {0, 14, 0}, {}, {}},
    {Trainer::ms_swift, {3, 5, 0}, {}, {4, 52, 4}, {0, 15, 2}, {}, {}},
    {Trainer::ms_swift, {4, 0, 0}, {}, {5, 2, 0}, {0, 18, 1}, {}, {}},
    {Trainer::ms_swift, {4, 6, 0}, {}, {5, 19, 0}, {0, 20, 0}, {}, {}},
    {Trainer::unsloth, {2026, 10, 0}, {2, 14, 0}, {5, 17, 0}, {}, {}, {}},
    {Trainer::litgpt, {0, 5, 3}, {2, 4, 1}, {}, {}, {}, {}},
    {Trainer::litgpt, {0, 5, 13}, {}, {4, 56, 2}, {}, {}, {0, 49, 2}}};

}  // namespace trainer_stack

/// The libraries that a trainer ran with when this version of it was new: those of its time, as far
/// as its requirements let them. The stack is called "custom" where it is none of those that were
/// measured. Trainers without known defaults run with the latest.
inline Stack stack_of(const TrainerRelease& release) {
  using namespace trainer_stack;
  const int which = static_cast<int>(release.trainer);
  if (which >= kTrainersWithDefaults) return kLatest;
  std::size_t day = 0;
  for (std::size_t i = 0; i < kDayCount; ++i)
    if (release.version >= kFirst[which].of[i]) day = i;
  Stack stack = kDays[day];
  const Limit* limit = nullptr;
  for (const Limit& each : kLimits)
    if (each.trainer == release.trainer && release.version >= each.since) limit = &each;
  if (release.trainer == Trainer::transformers) stack.transformers = release.version;
  if (release.trainer == Trainer::peft) stack.peft = release.version;
  if (limit) {
    const auto cap = [](Version& version, const Version& most) {
      if (most != Version{}) version = std::min(version, most);
    };
    cap(stack.torch, limit->torch);
    cap(stack.transformers, limit->transformers);
    cap(stack.peft, limit->peft);
    cap(stack.accelerate, limit->accelerate);
    cap(stack.bitsandbytes, limit->bitsandbytes);
  }
  const auto is = [&](const Stack& known) {
    return stack.torch == known.torch && stack.transformers == known.transformers &&
           stack.peft == known.peft && stack.accelerate == known.accelerate &&
           stack.bitsandbytes == known.bitsandbytes;
  };
  stack.name = "custom";
  for (const Stack& known : {kMid2024, kEarly2025, kLate2025, kLatest})
    if (is(known)) stack.name = known.name;
  return stack;
}

}  // namespace qwenplan
