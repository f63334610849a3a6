#include <algorithm>
#include <cstdint>
#include <vector>

#include "qwenplan/emulate/step.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

// What Unsloth's layer does is compared with recordings of its own functions in tests/trace; here is what
// no recording shows: its offloading, which needs a card's streams, and what is left to a compiler.

using namespace qwenplan;
using test::Tiny;

namespace {

Run run_of(Method method) {
  Run run;
  run.code = ModelCode::unsloth;
  run.method = method;
  run.quantization = method == Method::qlora ? Quantization::nf4 : Quantization::none;
  run.length = 256;
  run.micro_batch = 100;  // a layer's input is 2.3 MiB
  run.checkpoints_reentrant = true;
  run.fuses_mlp = run.fuses_qkv = run.fuses_o = true;
  run.loss = Loss::fused;
  run.fused_loss = FusedLoss::unsloth;
  return run;
}

/// Allocations of a term and a size, by the step that made them.
std::vector<int> steps_of(const Run& run, Term term, std::int64_t bytes) {
  Model model = Tiny::model(4, Architecture::llama);
  model.has_qkv_bias = false;
  const Trace trace = qwenplan::trace(model, run, kLatest, 80);
  std::vector<int> steps;
  std::size_t mark = 0;
  int step = 0;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    for (; mark < trace.marks.size() && trace.marks[mark].first <= i; ++mark) step = trace.marks[mark].step;
    const Event& event = trace.events[i];
    if (event.kind == Event::Kind::allocate && event.term == term && event.bytes == bytes) steps.push_back(step);
  }
  return steps;
}

TEST_CASE("Unsloth's checkpoints come back into one buffer in the first pass, into two after it") {
  Run run = run_of(Method::lora);
  run.offloads_checkpoints = true;
  const std::int64_t input = 100 * 256 * Tiny::h * 2;
  CHECK(steps_of(run, Term::buffers, input) == std::vector<int>{1, 2});
  run.micro_batch = 80;  // 1.9 MiB: too small to be worth it
  CHECK(steps_of(run, Term::buffers, 80 * 256 * Tiny::h * 2).empty());
}

TEST_CASE("Unsloth dequantizes all weights into memory that grows to the largest of them") {
  const Run run = run_of(Method::qlora);
  CHECK(steps_of(run, Term::buffers, Tiny::h * Tiny::q * 2) == std::vector<int>{1});
  CHECK(steps_of(run, Term::buffers, Tiny::h * Tiny::I * 2).empty());  // a smaller one than the query's
  CHECK(steps_of(run_of(Method::lora), Term::buffers, Tiny::h * Tiny::q * 2).empty());
}

TEST_CASE("Unsloth keeps a mask for each adapter that dropout stands before, and dequantizes for one product") {
  Model model = Tiny::model(2, Architecture::llama);
  model.has_qkv_bias = false;
  const auto kept = [&](double dropout) {  // what is alive when backward begins
    Run run = run_of(Method::lora);
    run.checkpoints = run.checkpoints_reentrant = false;
    run.lora_dropout = dropout;
    const Trace trace = qwenplan::trace(model, run, kLatest, 80);
    std::int64_t alive = 0;
    std::size_t i = 0;
    for (const Mark& mark : trace.marks) {
      for (; i < mark.first; ++i) {
        if (trace.events[i].kind == Event::Kind::allocate) alive += trace.events[i].bytes;
        if (trace.events[i].kind == Event::Kind::free) alive -= trace.events[i].bytes;
      }
      if (mark.phase == Phase::backward) break;
    }
    return alive;
  };
  // A byte for each value that goes into q, k, v, o, gate, up and down of two layers.
  CHECK(kept(0.1) - kept(0.0) == 2 * 100 * 256 * (5 * Tiny::h + Tiny::q + Tiny::I));

  Run run = run_of(Method::qlora);
  run.lora_dropout = 0.1;
  CHECK(steps_of(run, Term::buffers, Tiny::h * Tiny::q * 2).empty());
}

TEST_CASE("Unsloth's tables of the rotary embedding are made once, for 32,768 positions at most") {
  Model model = Tiny::model(2);
  Run run = run_of(Method::lora);
  const emulate::Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  CHECK(emulate::unsloth::rotary_rows(setting) == model.max_positions);
  model.max_positions = 131072;
  CHECK(emulate::unsloth::rotary_rows(setting) == 32768);
  run.length = 40000;
  CHECK(emulate::unsloth::rotary_rows(setting) == 40960);  // steps of 8,192
}

TEST_CASE("what a compiler may make of a layer is half of its tensors and a weight") {
  const Model model = Tiny::model(2);
  Stack stack = kLatest;
  Run run = run_of(Method::lora);
  const std::int64_t tokens = 100 * 256;
  // Three tensors of the MLP's width, three of the hidden states', four of the query's; half of 2 bytes.
  CHECK(emulate::unsloth::left_to_compiler(model, run, stack) ==
        Bytes(tokens * (3 * Tiny::I + 3 * Tiny::h + 4 * Tiny::q)));
  CHECK(emulate::unsloth::left_to_compiler(model, run_of(Method::qlora), stack) ==
        Bytes(tokens * (3 * Tiny::I + 3 * Tiny::h + 4 * Tiny::q) + 2 * Tiny::I * Tiny::h));
  stack.torch = {2, 10, 0};
  CHECK(emulate::unsloth::left_to_compiler(model, run, stack) == Bytes());
  run.code = ModelCode::transformers;
  CHECK(emulate::unsloth::left_to_compiler(model, run, kLatest) == Bytes());
}

TEST_CASE("an unsettled part widens every range to both sides") {
  const Trace trace = qwenplan::trace(Tiny::model(2), run_of(Method::lora), kLatest, 80);
  const auto measured = [&](Bytes unsettled) {
    MemoryMeter meter{Device{}};
    meter.widen(unsettled);
    read(trace, meter);
    return meter.finish();
  };
  const MemoryEstimate plain = measured({}), wide = measured(Bytes(1 << 20));
  CHECK(wide.allocated.likely == plain.allocated.likely);
  CHECK(wide.allocated.low == plain.allocated.low - Bytes(1 << 20));
  CHECK(wide.reserved.high == plain.reserved.high + Bytes(1 << 20));
  CHECK(wide.device.high == plain.device.high + Bytes(1 << 20));
}

}  // namespace
