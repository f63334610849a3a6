#include "qwenplan/emulate/step.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "qwenplan/describe/run_draft.hpp"
#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

// Whole runs of small models: the order of phases, and what outlives what.

namespace qwenplan::test {
namespace {

constexpr std::int64_t h = Tiny::h, I = Tiny::I, q = Tiny::q, k = Tiny::k, S = Tiny::S,
                       T = Tiny::T, V = Tiny::V;

/// Elements of the adapters of one layer.
constexpr std::int64_t kAdapters =
    Tiny::r * ((h + q) + 2 * (h + k) + (q + h) + 2 * (h + I) + (I + h));

Sizes of_term(const Trace& trace, Term term) {
  Sizes out;
  for (const Event& event : trace.events)
    if (event.kind == Event::Kind::allocate && event.term == term) out.push_back(event.bytes);
  return out;
}

std::int64_t count(const Sizes& all, std::int64_t bytes) {
  return std::count(all.begin(), all.end(), bytes);
}

}  // namespace

TEST_CASE("a run is loaded, prepared and trained for two steps") {
  Run run = Recipe::lora_bf16();
  std::vector<std::pair<Phase, int>> phases;
  for (const Mark& mark : trace(Tiny::model(1), run, kLatest, 80).marks)
    phases.emplace_back(mark.phase, mark.step);
  CHECK(phases == std::vector<std::pair<Phase, int>>{
                      {Phase::load, 0}, {Phase::prepare, 0},
                      {Phase::forward, 1}, {Phase::loss, 1}, {Phase::backward, 1}, {Phase::step, 1},
                      {Phase::forward, 2}, {Phase::loss, 2}, {Phase::backward, 2}, {Phase::step, 2},
                      {Phase::save, 2}});
  run.accumulation = 100;  // a first micro-step and a last: all others are like the last
  int forwards = 0;
  for (const Mark& mark : trace(Tiny::model(1), run, kLatest, 80).marks)
    forwards += mark.phase == Phase::forward;
  CHECK(forwards == 4);
}

TEST_CASE("no storage is freed twice or before it is there, and no two that live have one name") {
  for (const Stack& stack : {kMid2024, kEarly2025, kLate2025, kLatest})
    for (const Run& base : {Recipe::full_amp(), Recipe::lora_amp(), Recipe::qlora_dq()})
      for (const bool reentrant : {false, true}) {
        Run run = base;
        run.checkpoints = true;
        run.checkpoints_reentrant = reentrant;
        std::map<std::uint32_t, bool> alive;
        int wrong = 0;
        for (const Event& event : trace(Tiny::model(2), run, stack, 80).events) {
          if (event.kind == Event::Kind::allocate) wrong += std::exchange(alive[event.storage], true);
          if (event.kind == Event::Kind::free) wrong += !std::exchange(alive[event.storage], false);
          if (event.kind == Event::Kind::retag) wrong += !alive[event.storage];
        }
        CHECK(wrong == 0);
      }
}

TEST_CASE("gradients live from backward to the end of the step, states from the first step on") {
  const Trace steps = trace(Tiny::model(2), Recipe::lora_amp(), kLatest, 80);
  const auto alive = [&](Phase phase, int step, Term term) {
    return of(alive_after(steps, phase, step), term);
  };
  const std::int64_t elements = 2 * kAdapters;
  CHECK(alive(Phase::backward, 1, Term::gradients) == 4 * elements);
  CHECK(alive(Phase::step, 1, Term::gradients) == 0);
  CHECK(alive(Phase::backward, 1, Term::optimizer) == 0);
  // Two states, and the step counter of each of 2 x 7 x 2 tensors.
  CHECK(alive(Phase::step, 1, Term::optimizer) == 8 * elements + 28 * 512);
  CHECK(alive(Phase::step, 2, Term::optimizer) == 8 * elements + 28 * 512);
}

TEST_CASE("what a step leaves behind does not grow") {
  for (const bool checkpoints : {false, true})
    for (const bool padded : {false, true}) {
      Run run = Recipe::qlora_dq();
      run.checkpoints = checkpoints;
      run.is_padded = padded;
      const Footprint f = footprint(trace(Tiny::model(2), run, kLatest, 80));
      CHECK(use_of(f, Phase::step, 1).left == use_of(f, Phase::step, 2).left);
    }
}

TEST_CASE("accumulation: gradients are alive in the later forward") {
  Run run = Recipe::full_bf16();
  run.accumulation = 4;
  const Trace steps = trace(Tiny::model(2), run, kLatest, 80);
  const Footprint f = footprint(steps);
  std::int64_t gradients = 0;
  {
    Run once = run;
    once.accumulation = 1;
    gradients = of(alive_after(trace(Tiny::model(2), once, kLatest, 80), Phase::backward, 1),
                   Term::gradients);
  }
  CHECK(gradients > 2 * 2 * V * h);
  const Bytes first = use_of(f, Phase::forward, 1, 1).allocated_without_workspace;
  const Bytes last = use_of(f, Phase::forward, 1, 2).allocated_without_workspace;
  CHECK(last - first == Bytes(gradients));
}

TEST_CASE("cuBLAS takes a workspace in each of two threads, and keeps them") {
  constexpr std::int64_t kUsual = 8'519'680, kHopper = 32 * 1024 * 1024;  // 2 x 4 MiB and 8 x 16 KiB
  const auto workspaces = [](const Stack& stack, int compute_capability, std::int64_t bytes) {
    const Trace steps = trace(Tiny::model(2), Recipe::full_bf16(), stack, compute_capability);
    CHECK(of(alive_after(steps, Phase::step, 2), Term::workspace) == 2 * bytes);
    return count(of_term(steps, Term::workspace), bytes);
  };
  CHECK(workspaces(kLatest, 75, kUsual) == 2);
  CHECK(workspaces(kLatest, 86, kUsual) == 2);
  CHECK(workspaces(kLatest, 90, kHopper) == 2);
  CHECK(workspaces(kLatest, 120, kHopper) == 2);    // Blackwell since torch 2.15
  CHECK(workspaces(kLate2025, 120, kUsual) == 2);
}

TEST_CASE("a loop that holds the outputs has the logits through backward") {
  Run run = Recipe::lora_bf16();
  const auto backward = [&](bool keeps) {
    run.keeps_outputs = keeps;
    return use_of(footprint(trace(Tiny::model(1), run, kLatest, 80)), Phase::backward, 1);
  };
  CHECK((backward(true).allocated - backward(false).allocated) == Bytes(2 * V * T));
}

TEST_CASE("a padding mask: one for the batch, one in numbers in each layer") {
  const auto made = [](const Stack& stack, std::int64_t bytes) {
    Run run = Recipe::full_bf16();
    run.is_padded = true;
    const Trace steps = trace(Tiny::model(3), run, stack, 80);
    return count(of_term(steps, Term::activations), bytes);
  };
  constexpr std::int64_t square = Tiny::B * S * S;
  // In bytes once a step; in 16 bits in each of three layers and of two steps.
  CHECK(made(kLatest, square) == 2);
  CHECK(made(kLatest, 2 * square) == 3 * 2);
  // Up to transformers 4.52 one mask in 16 bits served all layers.
  CHECK(made(kEarly2025, 2 * square) == 2);
  CHECK(use_of(footprint(trace(Tiny::model(1), Recipe::full_bf16(), kLatest, 80)), Phase::prepare, 0)
            .terms[static_cast<std::size_t>(Term::inputs)] == Bytes(2 * 8 * T));
}

TEST_CASE("checkpointing runs each layer twice and keeps one at a time") {
  const auto peak = [](std::int64_t layers, bool checkpoints) {
    Run run = Recipe::lora_bf16();
    run.checkpoints = checkpoints;
    Model model = Tiny::model(layers);
    model.vocabulary = 16;  // the logits are small beside a layer
    return use_of(footprint(trace(model, run, kLatest, 80)), Phase::backward, 1)
        .allocated_without_workspace.count();
  };
  // One more layer: without checkpointing all that it keeps. With it, its weights, adapters and
  // their gradients: the peak is at the first layer, where gradients of all others are alive and
  // their inputs, which take less, are gone.
  const std::int64_t with = peak(5, true) - peak(4, true);
  const std::int64_t without = peak(5, false) - peak(4, false);
  const std::int64_t weights = 2 * (2 * h * q + 2 * h * k + 3 * h * I) + 5 * 512;
  CHECK(2 * h * T < 2 * kAdapters);
  CHECK(with == weights + 2 * kAdapters + 2 * kAdapters);
  CHECK(without > weights + 2 * kAdapters + T * (8 * I + 12 * h));
}

TEST_CASE("events grow with layers, each as many as the last") {
  for (const Run& base : {Recipe::full_amp(), Recipe::qlora()}) {
    Run run = base;
    run.checkpoints = true;
    const auto events = [&](std::int64_t layers) {
      return trace(Tiny::model(layers), run, kLatest, 80).events.size();
    };
    const std::size_t a = events(4), b = events(8), c = events(12);
    CHECK(c - b == b - a);
  }
}

TEST_CASE("the same run gives the same trace") {
  const Trace a = trace(Tiny::model(2), Recipe::qlora_dq(), kLatest, 80);
  const Trace b = trace(Tiny::model(2), Recipe::qlora_dq(), kLatest, 80);
  REQUIRE(a.events.size() == b.events.size());
  CHECK(sizes(a) == sizes(b));
}

TEST_CASE("a run too large to count saturates") {
  Run run = Recipe::full_bf16();
  run.length = kMostLength;
  run.micro_batch = 16;
  run.attention = Attention::eager;
  const Footprint f = footprint(trace(Tiny::model(2), run, kLatest, 80));
  CHECK(f.allocated > Bytes(std::int64_t{1} << 46));
  for (const PhaseUse& use : f.timeline) CHECK(use.left >= Bytes());
}

}  // namespace qwenplan::test
