#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "qwenplan/estimate/memory.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

// What trainers do to need less really does, and what it does not touch stays the same.

namespace qwenplan::test {
namespace {

Bytes peak(const Run& run, Architecture architecture = Architecture::qwen2) {
  return footprint(trace(Tiny::model(4, architecture), run, kLatest, 80)).allocated;
}

Run checkpointed(Run run) {
  run.checkpoints = true;
  return run;
}

/// What is alive when the loss is there, of one kind.
Bytes after_forward(const Run& run, Term term) {
  for (const auto& use : footprint(trace(Tiny::model(4), run, kLatest, 80)).timeline)
    if (use.phase == Phase::backward && use.step == 2) return use.terms[static_cast<std::size_t>(term)];
  return {};
}

}  // namespace

TEST_CASE("checkpoints on the host leave their size out of the device's activations") {
  for (const Run& recipe : {Recipe::full_bf16(), Recipe::lora_amp(), Recipe::qlora_noprep()}) {
    Run kept = checkpointed(recipe);
    kept.checkpoints_reentrant = true;
    Run offloaded = kept;
    offloaded.offloads_checkpoints = true;
    CHECK(peak(offloaded) <= peak(kept));
    // The inputs of all layers but the first, which is the embeddings' output that the graph holds
    // either way where adapters are trained.
    const Bytes saved = after_forward(kept, Term::activations) - after_forward(offloaded, Term::activations);
    CHECK(saved >= Bytes(3 * Tiny::T * Tiny::h * 2));
    CHECK(saved <= Bytes(4 * Tiny::T * Tiny::h * 2));
  }
}

TEST_CASE("offloaded activations leave layers' inputs on the host, but for the last on their way") {
  for (const Run& recipe : {Recipe::full_bf16(), Recipe::lora_amp()}) {
    const Run kept = checkpointed(recipe);
    Run offloaded = kept;
    offloaded.offloads_activations = true;
    const auto inputs = [](const Run& run, std::int64_t layers) {
      std::int64_t alive = 0, most = 0;
      const Trace traced = trace(Tiny::model(layers), run, kLatest, 80);
      bool is_second = false;
      for (std::size_t i = 0, mark = 0; i < traced.events.size(); ++i) {
        for (; mark < traced.marks.size() && traced.marks[mark].first <= i; ++mark)
          is_second = traced.marks[mark].phase == Phase::backward && traced.marks[mark].step == 2;
        const Event& event = traced.events[i];
        if (event.bytes != Tiny::T * Tiny::h * 2) continue;
        if (event.kind == Event::Kind::allocate) ++alive;
        if (event.kind == Event::Kind::free) --alive;
        if (is_second) most = std::max(most, alive);
      }
      return most;
    };
    // One more layer is one more input that is kept, and none where they are on the host.
    CHECK(inputs(kept, 13) == inputs(kept, 12) + 1);
    CHECK(inputs(offloaded, 13) == inputs(offloaded, 12));
  }
}

TEST_CASE("an optimizer that steps during backward never holds all gradients") {
  Run whole = checkpointed(Recipe::full_bf16());
  Run at_once = whole;
  at_once.optimizer_in_backward = true;
  CHECK(peak(at_once) <= peak(whole));
  const auto gradients = [](const Run& run) {
    Bytes most;
    for (const PhaseUse& use : footprint(trace(Tiny::model(4), run, kLatest, 80)).timeline)
      most = std::max(most, use.terms[static_cast<std::size_t>(Term::gradients)]);
    return most;
  };
  CHECK(gradients(at_once) <= Bytes(Tiny::V * Tiny::h * 2 + 512));  // one weight's, at most the largest
  CHECK(gradients(whole) > gradients(at_once));
}

TEST_CASE("fused adapters save less for backward, whatever the base") {
  for (Run run : {Recipe::lora_amp(), Recipe::qlora_noprep()}) {
    const Bytes apart = after_forward(run, Term::activations);
    run.fuses_mlp = true;
    const Bytes with_mlp = after_forward(run, Term::activations);
    run.fuses_qkv = run.fuses_o = true;
    const Bytes with_all = after_forward(run, Term::activations);
    CHECK(with_mlp < apart);
    CHECK(with_all < with_mlp);
  }
}

TEST_CASE("adapters on some of a function's layers leave the function alone") {
  Run run = Recipe::lora_amp();
  run.lora_targets = q_proj | v_proj | gate_proj;
  const Bytes apart = peak(run);
  run.fuses_mlp = run.fuses_qkv = run.fuses_o = true;
  CHECK(peak(run) == apart);
}

TEST_CASE("one row of many samples needs no more than a batch, but for a mask that grows squared") {
  Run batch = Recipe::lora_amp();
  batch.attention = Attention::fa2;
  Run row = batch;
  row.is_joined = true;
  row.borders = Borders::positions;
  row.samples = row.micro_batch;
  // The rotary tables are those of each row, and the flash kernel keeps a tile between samples.
  const Bytes margin(2 * 2 * Tiny::T * Tiny::D * 4 + 2 * 128 * Tiny::H * (Tiny::D + 16 + 1) * 4 + 4 * Tiny::T * 8);
  CHECK(peak(row) <= peak(batch) + margin);
  row.attention = Attention::sdpa;
  CHECK(after_forward(row, Term::activations) >= after_forward(batch, Term::activations) + Bytes(Tiny::T * Tiny::T * 2));
}

TEST_CASE("a mask from the collator is an input, and every layer uses it as it is") {
  Run run = checkpointed(Recipe::lora_amp());
  run.packs = true;
  run.borders = Borders::mask;
  const Trace traced = trace(Tiny::model(4), run, kLatest, 80);
  std::int64_t masks = 0;
  for (const Event& event : traced.events)
    if (event.kind == Event::Kind::allocate && event.bytes == Tiny::B * Tiny::S * Tiny::S * 2) {
      ++masks;
      CHECK(event.term == Term::inputs);
    }
  CHECK(masks == 1);
}

TEST_CASE("noise on the embeddings costs a second output of theirs, at most for the forward") {
  const Run plain = Recipe::full_bf16();
  Run noisy = plain;
  noisy.adds_noise = true;
  CHECK(peak(noisy) >= peak(plain));
  CHECK(peak(noisy) <= peak(plain) + Bytes(2 * Tiny::T * Tiny::h * 2));
}

}  // namespace qwenplan::test
