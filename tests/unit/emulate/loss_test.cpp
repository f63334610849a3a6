#include "qwenplan/emulate/loss.hpp"

#include <algorithm>
#include <cstdint>

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

// The logits and their loss, in bytes per token and entry of the vocabulary.

namespace qwenplan::test {
namespace {

/// Peaks of a step in units of vocabulary x tokens, from what is alive before the head on.
struct Peaks {
  double at_head = 0, loss = 0, kept = 0, backward = 0;
};

Peaks peaks(const Stack& stack, std::int64_t batch, bool keeps_outputs = false) {
  Run run = Recipe::full_bf16();
  run.micro_batch = batch;
  run.length = 1024;
  run.keeps_outputs = keeps_outputs;
  Model model = Tiny::model(1);
  model.vocabulary = 400'000;  // what else is alive is small beside the logits
  model.ties_embeddings = true;
  const Footprint f = footprint(trace(model, run, stack, 80));
  const std::int64_t unit = model.vocabulary * run.tokens();
  const Bytes resident = use_of(f, Phase::prepare, 0).left;
  const auto in_units = [&](Bytes bytes) {
    return static_cast<double>((bytes - resident).count()) / static_cast<double>(unit);
  };
  return {in_units(use_of(f, Phase::forward, 1).left), in_units(use_of(f, Phase::loss, 1).allocated),
          in_units(use_of(f, Phase::loss, 1).left), in_units(use_of(f, Phase::backward, 1).allocated)};
}

/// Peak of head, loss and its backward with another loss, in the same units, of a long sequence of a
/// narrow model whose head is frozen or trained; in fp32 casts of the head besides.
double peak_with(void (*change)(Run&), bool trains_head = true, bool autocasts = false) {
  Run run = trains_head ? Recipe::full_bf16() : autocasts ? Recipe::lora_amp() : Recipe::lora_bf16();
  run.micro_batch = 1;
  run.length = 4096;
  change(run);
  Model model = Tiny::model(1);
  model.vocabulary = 400'000;
  model.hidden = 16;
  const Footprint f = footprint(trace(model, run, kLatest, 80));
  const auto unit = static_cast<double>(model.vocabulary * run.tokens());
  const auto needed = std::max({use_of(f, Phase::loss, 1).allocated, use_of(f, Phase::forward, 1).allocated,
                                use_of(f, Phase::backward, 1).allocated});
  return static_cast<double>((needed - use_of(f, Phase::prepare, 0).left).count()) / unit;
}

bool is_near(double value, double expected) {
  // What else is alive, and with shifted logits one position of a sequence, are under a hundredth.
  return value > expected - 0.02 && value < expected + 0.05;
}

}  // namespace

TEST_CASE("logits take 2 V, their loss 10, what it keeps 4, its backward 12") {
  for (const std::int64_t batch : {1, 4}) {
    const Peaks p = peaks(kLatest, batch);
    CAPTURE(batch, p.at_head, p.loss, p.kept, p.backward);
    CHECK(is_near(p.at_head, 2));    // in bf16
    CHECK(is_near(p.loss, 10));      // + copy in fp32 + log-softmax
    CHECK(is_near(p.kept, 6));       // log-softmax; and the logits, which the caller still holds
    CHECK(is_near(p.backward, 12));  // + its gradient + that of the copy
  }
}

TEST_CASE("a loop that holds the outputs has the logits besides") {
  CHECK(is_near(peaks(kLatest, 1, true).backward, 14));
  CHECK(is_near(peaks(kMid2024, 1, true).backward, 16));  // there the outputs are in fp32
}

TEST_CASE("older versions shift the logits, and copy those of several sequences") {
  Stack between = kEarly2025;
  between.transformers = {4, 47, 0};
  struct Row {
    Stack stack;
    std::int64_t batch;
    double loss;
  };
  // Up to 4.45 the copy in fp32 replaces the logits; from 4.46 to 4.48 the caller holds both.
  const Row rows[] = {{kMid2024, 1, 8}, {kMid2024, 4, 12}, {between, 1, 10}, {between, 4, 14},
                      {kEarly2025, 1, 10}, {kEarly2025, 4, 10}};
  for (const Row& row : rows) {
    const Peaks p = peaks(row.stack, row.batch);
    CAPTURE(row.stack.name, row.batch, p.loss, p.backward);
    CHECK(is_near(p.loss, row.loss));
    CHECK(is_near(p.backward, 12));
  }
}

TEST_CASE("the loss of one sequence, tensor by tensor") {
  const Model model = Tiny::model(1);
  Run run = Recipe::full_bf16();
  run.micro_batch = 1;
  run.length = 100;
  const emulate::Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  test::KeptTape t;
  const emulate::Tensor leaf = t.parameter(t.allocate(1, DType::bf16));
  emulate::Tensor logits = emulate::repeat_heads(t, leaf, 100 * Tiny::V);
  happened(t);
  emulate::Tensor loss = causal_lm_loss(t, setting, logits);
  constexpr std::int64_t wide = 400 * Tiny::V;
  // The copy; labels padded by one, whose slice is contiguous; log-softmax; loss and count.
  CHECK(happened(t) == Sizes{wide, 808, wide, 4, 4, -wide});
  logits.reset();
  CHECK(happened(t) == Sizes{-wide / 2});
  t.backward(loss);
  const Sizes seen = happened(t);
  // The gradients of the loss and of the log-softmax; labels and count go. The gradient of the copy;
  // that of the log-softmax and itself go. The gradient of the logits; that of the copy goes.
  CHECK(Sizes(seen.begin(), seen.begin() + 9) ==
        Sizes{4, wide, -808, -4, wide, -wide, -wide, wide / 2, -wide});
}

TEST_CASE("losses in pieces keep what their own code keeps, in bytes per token and entry") {
  struct Row {
    const char* what;
    double expected;
    void (*change)(Run&);
  };
  const Row rows[] = {
      {"torchtune keeps the log-softmax of all eight pieces; a piece's two gradients in backward",
       4 + 8.0 / 8,
       [](Run& run) { run.loss = Loss::chunked, run.chunked_loss = ChunkedLoss::torchtune; }},
      {"its older loss has all logits besides, and a piece's gradients",
       6 + 4.0 / 8,
       [](Run& run) { run.loss = Loss::chunked, run.chunked_loss = ChunkedLoss::torchtune_logits; }},
      {"axolotl keeps the logits; their pieces' gradients are joined once the logits are gone",
       4,
       [](Run& run) { run.loss = Loss::chunked, run.chunked_loss = ChunkedLoss::axolotl; }},
      {"flash-attn's keeps logits in fp32 and makes their gradient beside them",
       8,
       [](Run& run) { run.loss = Loss::fused, run.fused_loss = FusedLoss::flash_attn; }},
      {"Unsloth's older kernel writes the gradient over the logits",
       2,
       [](Run& run) { run.loss = Loss::fused, run.fused_loss = FusedLoss::unsloth_logits; }},
      {"Unsloth's fused loss: logits and their gradient of one piece of four, beyond 2^30 logits",
       4.0 / 4,
       [](Run& run) { run.loss = Loss::fused, run.fused_loss = FusedLoss::unsloth; }},
      {"cut cross-entropy has no logits",
       0,
       [](Run& run) { run.loss = Loss::fused, run.fused_loss = FusedLoss::cut_cross_entropy; }},
      {"Liger's has those of two tokens of 4,096", 0,
       [](Run& run) { run.loss = Loss::fused, run.fused_loss = FusedLoss::liger; }},
  };
  for (const Row& row : rows) {
    const double peak = peak_with(row.change);
    CAPTURE(row.what, row.expected, peak);
    CHECK(is_near(peak, row.expected));
  }
}

TEST_CASE("litgpt holds all logits and their log-softmax, under autocast in two formats") {
  const auto change = [](Run& run) {
    run.loss = Loss::chunked, run.chunked_loss = ChunkedLoss::litgpt;
    run.loss_chunk_tokens = 128;
    run.keeps_outputs = true;
  };
  CHECK(is_near(peak_with(change, false, false), 2 + 2 + 2.0 * 128 / 4096 * 2));
  const double under_autocast = peak_with(change, false, true);
  CAPTURE(under_autocast);
  CHECK(is_near(under_autocast, 2 + 2 + 4 + 4.0 * 128 / 4096));
}

TEST_CASE("TRL's chunked loss needs a copy of the head and one piece, whatever the length") {
  const auto needs = [](std::int64_t length, std::int64_t tokens, bool autocasts) {
    Run run = autocasts ? Recipe::lora_amp() : Recipe::lora_bf16();
    run.micro_batch = 1;
    run.length = length;
    run.loss = Loss::chunked;
    run.loss_chunk_tokens = tokens;
    Model model = Tiny::model(1);
    model.vocabulary = 1'000'000;
    const Footprint f = footprint(trace(model, run, kLatest, 80));
    return static_cast<double>((use_of(f, Phase::backward, 1).allocated - use_of(f, Phase::prepare, 0).left).count()) /
           static_cast<double>(model.vocabulary);
  };
  constexpr double h = Tiny::h;
  // In backward, of V: the cast weight; log-softmax and its two gradients of a piece. Before them, in the
  // piece that runs again, logits and three more of the entropy's: 4 h + 16 c.
  CHECK(is_near(needs(1024, 256, false) / (4 * h + 16 * 256), 1));
  CHECK(is_near(needs(4096, 256, false) / (4 * h + 16 * 256), 1));
  CHECK(is_near(needs(4096, 64, false) / (4 * h + 16 * 64), 1));
  // Autocast: the weight twice, of which the fp32 copy goes; logits in 16 bits.
  CHECK(is_near(needs(4096, 256, true) / (2 * h + 14 * 256), 1));
}

TEST_CASE("what TRL logs of the logits is seen in the loss phase") {
  const auto loss_peak = [](LogitMetrics metrics, bool autocasts = false) {
    Run run = autocasts ? Recipe::lora_amp() : Recipe::full_bf16();
    run.micro_batch = 1;
    run.length = 1024;
    run.metrics = metrics;
    Model model = Tiny::model(1);
    model.vocabulary = 400'000;
    model.ties_embeddings = true;
    const Footprint f = footprint(trace(model, run, kLatest, 80));
    return static_cast<double>((use_of(f, Phase::loss, 1).allocated - use_of(f, Phase::prepare, 0).left).count()) /
           static_cast<double>(model.vocabulary * run.tokens());
  };
  // Logits, log-softmax and a copy of the logits are less than the loss' own ten.
  CHECK(is_near(loss_peak(LogitMetrics::none), 10));
  CHECK(is_near(loss_peak(LogitMetrics::accuracy), 10));
  CHECK(is_near(loss_peak(LogitMetrics::entropy), 10));
  // accelerate's copy in fp32 is 4, log-softmax 4, the copy of the shifted logits 4; the entropy of one
  // sequence needs three pieces of 128 tokens instead.
  CHECK(is_near(loss_peak(LogitMetrics::accuracy, true), 12));
  CHECK(is_near(loss_peak(LogitMetrics::entropy, true), 10));
}

}  // namespace qwenplan::test
