#include "qwenplan/emulate/behavior.hpp"

#include "support/catch.hpp"

namespace qwenplan::test {
namespace {

using emulate::Behavior;
using emulate::behavior_of;

/// Whether a behaviour holds on the newest stack with another version of one library.
bool holds(bool Behavior::*what, Version Stack::*library, Version version) {
  Stack stack = kLatest;
  stack.*library = version;
  return behavior_of(stack).*what;
}

}  // namespace

TEST_CASE("behaviour changes with the version in which the library changed") {
  struct Change {
    bool Behavior::*what;
    Version Stack::*library;
    Version last_without;
    Version first_with;
  };
  // Versions whose sources were read.
  const Change changes[] = {
      {&Behavior::asks_for_grouped_heads, &Stack::transformers, {4, 53, 3}, {4, 56, 2}},
      {&Behavior::makes_attention_inputs_contiguous, &Stack::transformers, {4, 47, 1}, {4, 48, 3}},
      {&Behavior::masks_are_boolean, &Stack::transformers, {4, 52, 4}, {4, 53, 3}},
      {&Behavior::keeps_original_frequencies, &Stack::transformers, {4, 56, 2}, {5, 23, 0}},
      {&Behavior::convolves_by_function, &Stack::transformers, {5, 14, 0}, {5, 16, 1}},
      {&Behavior::masks_single_rows, &Stack::transformers, {5, 14, 0}, {5, 16, 1}},
      {&Behavior::solves_chunks, &Stack::transformers, {5, 16, 1}, {5, 17, 0}},
      {&Behavior::repeats_heads_in_rule, &Stack::transformers, {5, 22, 0}, {5, 23, 0}},
      {&Behavior::empties_cache_after_upcast, &Stack::peft, {0, 17, 1}, {0, 21, 2}},
      {&Behavior::casts_quantized_bias_for_good, &Stack::bitsandbytes, {0, 47, 0}, {0, 50, 2}},
      {&Behavior::copies_second_code, &Stack::bitsandbytes, {0, 45, 3}, {0, 47, 0}},
      {&Behavior::prefers_cudnn_attention, &Stack::torch, {2, 8, 0}, {2, 15, 0}},
  };
  for (const Change& change : changes) {
    CHECK_FALSE(holds(change.what, change.library, change.last_without));
    CHECK(holds(change.what, change.library, change.first_with));
  }
  const Change ended[] = {
      {&Behavior::makes_attention_inputs_contiguous, &Stack::transformers, {4, 56, 2}, {4, 53, 3}},
      {&Behavior::caches_rotary_tables, &Stack::transformers, {4, 45, 2}, {4, 44, 2}},
      {&Behavior::upcasts_logits_in_model, &Stack::transformers, {4, 46, 3}, {4, 45, 2}},
      {&Behavior::shifts_logits, &Stack::transformers, {4, 49, 0}, {4, 48, 3}},
      {&Behavior::quantized_linear_holds_input, &Stack::bitsandbytes, {0, 43, 2}, {0, 43, 1}},
      {&Behavior::adds_offset_in_place, &Stack::bitsandbytes, {0, 50, 2}, {0, 47, 0}},
      {&Behavior::math_for_grouped_heads, &Stack::torch, {2, 15, 0}, {2, 8, 0}},
  };
  for (const Change& change : ended) {
    CHECK_FALSE(holds(change.what, change.library, change.last_without));
    CHECK(holds(change.what, change.library, change.first_with));
  }
}

TEST_CASE("a torch that knows no enable_gqa is not asked for it") {
  CHECK_FALSE(holds(&Behavior::asks_for_grouped_heads, &Stack::torch, {2, 3, 1}));
}

TEST_CASE("cuBLAS' default workspace of a card") {
  // ":4096:2:16:8" is two of 4,096 KiB and eight of 16.
  CHECK(emulate::cublas_workspace(kLatest, 80) == 8'519'680);
  CHECK(emulate::cublas_workspace(kLatest, 75) == 8'519'680);
  CHECK(emulate::cublas_workspace(kLatest, 89) == 8'519'680);
  CHECK(emulate::cublas_workspace(kMid2024, 90) == 33'554'432);
  CHECK(emulate::cublas_workspace(kLate2025, 100) == 8'519'680);
  CHECK(emulate::cublas_workspace(kLatest, 100) == 33'554'432);
}

}  // namespace qwenplan::test
