#include "qwenplan/emulate/decoder.hpp"

#include <cstdint>
#include <set>
#include <string>

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

// What a decoder layer keeps for backward. The lists were found by enumerating the live storages of
// the real modelling code after its forward (transformers, PEFT and bitsandbytes of the four
// stacks), on a model without equal sizes. Bytes per token, in the sizes of Tiny.

namespace qwenplan::test {
namespace {

constexpr std::int64_t h = Tiny::h, I = Tiny::I, H = Tiny::H, KV = Tiny::KV, D = Tiny::D, q = Tiny::q,
                       k = Tiny::k, r = Tiny::r, S = Tiny::S, T = Tiny::T, V = Tiny::V;

/// What the first forward allocated and backward finds alive, workspaces left out.
std::int64_t kept_by_forward(const Trace& trace) {
  std::set<std::uint32_t> made;
  std::int64_t kept = 0;
  std::size_t mark = 0;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    while (mark + 1 < trace.marks.size() && trace.marks[mark + 1].first <= i) ++mark;
    const Phase phase = trace.marks[mark].phase;
    const Event& event = trace.events[i];
    if (event.kind == Event::Kind::allocate) {
      if (phase == Phase::backward) break;
      if ((phase != Phase::forward && phase != Phase::loss) || event.term == Term::workspace)
        continue;
      made.insert(event.storage);
      kept += rounded(event.bytes);
    } else if (event.kind == Event::Kind::free && made.erase(event.storage) > 0) {
      kept -= rounded(event.bytes);
    }
  }
  return kept;
}

std::int64_t kept(std::int64_t layers, const Run& run, Architecture architecture,
                  const Stack& stack, int compute_capability = 80) {
  return kept_by_forward(
      trace(Tiny::model(layers, architecture), run, stack, compute_capability));
}

/// What one more layer keeps. The first of a LoRA model keeps less: its input has no gradient.
std::int64_t kept_by_layer(const Run& run, Architecture architecture, const Stack& stack,
                           int compute_capability = 80) {
  return kept(3, run, architecture, stack, compute_capability) -
         kept(2, run, architecture, stack, compute_capability);
}

Run with(Run run, ModuleSet targets, double dropout = 0.0) {
  run.lora_targets = targets;
  run.lora_dropout = dropout;
  return run;
}
Run eager(Run run) {
  run.attention = Attention::eager;
  return run;
}
Run padded(Run run) {
  run.is_padded = true;
  return run;
}
Run in_fp16(Run run) {
  run.half = run.weights = DType::fp16;
  run.precision = Precision::fp16_mixed;
  return run;
}

struct List {
  std::string recipe;
  Run run;
  std::int64_t per_token;
  std::int64_t free_of_length = 0;
  int compute_capability = 80;
};

constexpr ModuleSet kQv = q_proj | v_proj;
/// The state of the random generator: two storages of 512.
constexpr std::int64_t kRng = 1024;
/// Copies in 16 bits that autocast makes of fp32 adapters on all linear layers.
constexpr std::int64_t kAdapterCopies = 6 * r * I + 14 * r * h + 4 * r * k + 4 * r * q;
/// Biases turned to bf16 for good: of query, key and value.
constexpr std::int64_t kBiases = rounded(2 * q) + 2 * rounded(2 * k);

void check(const std::vector<List>& lists, const Stack& stack,
           Architecture architecture = Architecture::qwen2, std::int64_t each_layer = 0) {
  for (const List& list : lists) {
    INFO(stack.name << ' ' << list.recipe);
    CHECK(kept_by_layer(list.run, architecture, stack, list.compute_capability) ==
          list.per_token * T + list.free_of_length + each_layer);
  }
}

}  // namespace

TEST_CASE("RMSNorm keeps its input in fp32, the root, and both products") {
  const auto kept_by = [](DType dtype, bool trains) {
    test::KeptTape t;
    Run run;
    const Model model = Tiny::model(1);
    const emulate::Setting setting{model, run, {}, 80, {}};
    const emulate::Tensor leaf = t.parameter(t.allocate(1, dtype));
    emulate::Tensor x = emulate::repeat_heads(t, leaf, T * h);
    emulate::Tensor weight = t.allocate(h, dtype);
    if (trains) weight = t.parameter(weight);
    happened(t);
    emulate::Tensor y = emulate::norm(t, setting, weight, x, T);
    x.reset(), y.reset();
    return T * h * element_size(dtype) + sum(happened(t));
  };
  // In bf16: the input in fp32 (4h), the root (4), and for the weight's gradient the normalized
  // copy (2h). The result itself (2h) is kept by whoever uses it.
  CHECK(kept_by(DType::bf16, true) == T * (6 * h + 4));
  CHECK(kept_by(DType::bf16, false) == T * (4 * h + 4));
  // In fp32 the input needs no copy; the normalized one is in fp32 too.
  CHECK(kept_by(DType::fp32, true) == T * (8 * h + 4));
  CHECK(kept_by(DType::fp32, false) == T * (4 * h + 4));
}

TEST_CASE("what a layer keeps for backward on the newest stack") {
  check(
      {
          {"full_bf16", Recipe::full_bf16(), 8 * I + 16 * h + 4 * q + 4 * k + 4 * H + 8, kRng},
          {"full_bf16 eager", eager(Recipe::full_bf16()),
           8 * I + 16 * h + 8 * q + 8 + 6 * H * S},
          {"full_bf16 padded", padded(Recipe::full_bf16()),
           8 * I + 16 * h + 8 * q + 4 * H + 2 * S + 8, kRng},
          {"full_fp32", Recipe::full_fp32(), 16 * I + 24 * h + 8 * q + 8 * k + 4 * H + 8, kRng},
          {"full_amp", Recipe::full_amp(), 8 * I + 26 * h + 4 * q + 4 * k + 4 * H + 8,
           kRng + 6 * h * I + 4 * h * k + 4 * h * q},
          {"lora_bf16 all", Recipe::lora_bf16(),
           8 * I + 12 * h + 4 * q + 4 * k + 4 * H + 14 * r + 8, kRng},
          {"lora_bf16 all dropout", with(Recipe::lora_bf16(), kAllLinear, 0.05),
           9 * I + 23 * h + 7 * q + 4 * k + 4 * H + 14 * r + 8, kRng},
          {"lora_bf16 attn", with(Recipe::lora_bf16(), kAttentionModules),
           6 * I + 10 * h + 4 * q + 4 * k + 4 * H + 8 * r + 8, kRng},
          {"lora_bf16 attn dropout", with(Recipe::lora_bf16(), kAttentionModules, 0.1),
           6 * I + 17 * h + 7 * q + 4 * k + 4 * H + 8 * r + 8, kRng},
          {"lora_bf16 qv", with(Recipe::lora_bf16(), kQv),
           6 * I + 10 * h + 4 * q + 4 * k + 4 * H + 4 * r + 8, kRng},
          {"lora_bf16 qv dropout", with(Recipe::lora_bf16(), kQv, 0.05),
           6 * I + 14 * h + 4 * q + 4 * k + 4 * H + 4 * r + 8, kRng},
          {"lora_amp all", Recipe::lora_amp(),
           8 * I + 18 * h + 6 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
          {"lora_amp all dropout", with(Recipe::lora_amp(), kAllLinear, 0.05),
           9 * I + 23 * h + 7 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
          {"lora_amp attn", with(Recipe::lora_amp(), kAttentionModules),
           6 * I + 14 * h + 6 * q + 4 * k + 4 * H + 8 * r + 8,
           kRng + 8 * r * h + 4 * r * k + 4 * r * q},
          {"lora_amp qv", with(Recipe::lora_amp(), kQv),
           6 * I + 12 * h + 4 * q + 4 * k + 4 * H + 4 * r + 8,
           kRng + 4 * r * h + 2 * r * k + 2 * r * q},
          {"lora_amp qv dropout", with(Recipe::lora_amp(), kQv, 0.05),
           6 * I + 14 * h + 4 * q + 4 * k + 4 * H + 4 * r + 8,
           kRng + 4 * r * h + 2 * r * k + 2 * r * q},
          {"lora_fp32adapter all", Recipe::lora_fp32adapter(),
           10 * I + 28 * h + 8 * q + 4 * k + 4 * H + 28 * r + 8, kRng},
          {"lora_fp32adapter all dropout", with(Recipe::lora_fp32adapter(), kAllLinear, 0.05),
           11 * I + 33 * h + 9 * q + 4 * k + 4 * H + 28 * r + 8, kRng},
          {"lora_upcast all", Recipe::lora_upcast(),
           8 * I + 18 * h + 6 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
          {"lora_upcast all dropout", with(Recipe::lora_upcast(), kAllLinear, 0.05),
           9 * I + 23 * h + 7 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
          {"qlora_dq all", Recipe::qlora_dq(),
           14 * I + 18 * h + 4 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies + kBiases},
          {"qlora_dq all dropout", with(Recipe::qlora_dq(), kAllLinear, 0.05),
           15 * I + 23 * h + 7 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies + kBiases},
          {"qlora_noprep all", Recipe::qlora_noprep(),
           8 * I + 12 * h + 4 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
          {"qlora_bf16 all", Recipe::qlora_bf16(),
           8 * I + 12 * h + 4 * q + 4 * k + 4 * H + 14 * r + 8, kRng},
          {"qlora_bf16 all dropout", with(Recipe::qlora_bf16(), kAllLinear, 0.05),
           9 * I + 23 * h + 7 * q + 4 * k + 4 * H + 14 * r + 8, kRng},
          {"lora_amp all on a T4", in_fp16(Recipe::lora_amp()),
           8 * I + 18 * h + 6 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies, 75},
      },
      kLatest);
}

TEST_CASE("the norms of query and key of Qwen3 keep their inputs in fp32") {
  check(
      {
          {"full_bf16", Recipe::full_bf16(),
           8 * I + 16 * h + 10 * q + 10 * k + 8 * H + 4 * KV + 8, kRng},
          {"lora_bf16 all", Recipe::lora_bf16(),
           8 * I + 12 * h + 8 * q + 8 * k + 8 * H + 4 * KV + 14 * r + 8, kRng},
          {"lora_amp all", Recipe::lora_amp(),
           8 * I + 18 * h + 10 * q + 8 * k + 8 * H + 4 * KV + 14 * r + 8, kRng + kAdapterCopies},
          {"qlora_dq all", Recipe::qlora_dq(),
           14 * I + 18 * h + 8 * q + 8 * k + 8 * H + 4 * KV + 14 * r + 8, kRng + kAdapterCopies},
      },
      kLatest, Architecture::qwen3);
}

TEST_CASE("Llama and Mistral keep what Qwen2.5 keeps, without biases") {
  for (const Architecture architecture : {Architecture::llama, Architecture::mistral})
    check({{"full_bf16", Recipe::full_bf16(), 8 * I + 16 * h + 4 * q + 4 * k + 4 * H + 8, kRng},
           {"full_amp", Recipe::full_amp(), 8 * I + 26 * h + 4 * q + 4 * k + 4 * H + 8,
            kRng + 6 * h * I + 4 * h * k + 4 * h * q}},
          kLatest, architecture);
}

TEST_CASE("what a layer keeps for backward on the stack of late 2025") {
  check(
      {
          {"full_bf16", Recipe::full_bf16(), 8 * I + 16 * h + 4 * q + 4 * k + 4 * H + 8, kRng},
          {"full_fp32: math", Recipe::full_fp32(), 16 * I + 24 * h + 16 * q + 8 + 4 * H * S},
          {"lora_amp all on a T4: math", in_fp16(Recipe::lora_amp()),
           8 * I + 18 * h + 14 * q + 14 * r + 8 + 4 * H * S, kAdapterCopies, 75},
          {"qlora_dq all", Recipe::qlora_dq(),
           14 * I + 18 * h + 4 * q + 4 * k + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
      },
      kLate2025);
}

TEST_CASE("what a layer keeps for backward on the stack of early 2025") {
  // K and V are expanded, and flash's answer in head-major order is copied.
  check(
      {
          {"full_bf16", Recipe::full_bf16(), 8 * I + 16 * h + 10 * q + 4 * H + 8, kRng},
          {"full_bf16 eager", eager(Recipe::full_bf16()),
           8 * I + 16 * h + 8 * q + 8 + 6 * H * S},
          {"full_bf16 padded", padded(Recipe::full_bf16()),
           8 * I + 16 * h + 8 * q + 4 * H + 8, kRng},
          {"full_fp32", Recipe::full_fp32(), 16 * I + 24 * h + 16 * q + 4 * H + 8, kRng},
          {"lora_bf16 all", Recipe::lora_bf16(), 8 * I + 12 * h + 10 * q + 4 * H + 14 * r + 8,
           kRng},
          {"lora_bf16 all dropout", with(Recipe::lora_bf16(), kAllLinear, 0.05),
           9 * I + 23 * h + 11 * q + 4 * H + 14 * r + 8, kRng},
          {"lora_amp all", Recipe::lora_amp(), 8 * I + 18 * h + 10 * q + 4 * H + 14 * r + 8,
           kRng + kAdapterCopies},
          {"lora_bf16_amp all", Recipe::lora_bf16_amp(),
           8 * I + 12 * h + 10 * q + 4 * H + 14 * r + 8, kRng},
          {"lora_amp qv", with(Recipe::lora_amp(), kQv),
           6 * I + 12 * h + 8 * q + 4 * H + 4 * r + 8, kRng + 4 * r * h + 2 * r * k + 2 * r * q},
          {"qlora_dq all", Recipe::qlora_dq(), 14 * I + 18 * h + 10 * q + 4 * H + 14 * r + 8,
           kRng + kAdapterCopies},
          {"qlora_noprep all", Recipe::qlora_noprep(),
           8 * I + 12 * h + 10 * q + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
          {"lora_amp all on a T4", in_fp16(Recipe::lora_amp()),
           8 * I + 18 * h + 10 * q + 4 * H + 14 * r + 8, kRng + kAdapterCopies, 75},
      },
      kEarly2025);
}

TEST_CASE("what a layer keeps for backward on the stack of mid 2024") {
  // Each layer picks its rows of cos and sin: 4 D S bytes, 8 D S where the stream is in fp32.
  check(
      {
          {"full_bf16", Recipe::full_bf16(), 8 * I + 16 * h + 8 * q + 4 * H + 8, kRng},
          {"full_bf16 padded", padded(Recipe::full_bf16()),
           8 * I + 16 * h + 8 * q + 4 * H + 8, kRng},
          {"lora_bf16 all", Recipe::lora_bf16(), 8 * I + 12 * h + 8 * q + 4 * H + 14 * r + 8,
           kRng},
          {"lora_bf16 all dropout", with(Recipe::lora_bf16(), kAllLinear, 0.05),
           9 * I + 23 * h + 11 * q + 4 * H + 14 * r + 8, kRng},
          {"lora_amp all", Recipe::lora_amp(), 8 * I + 18 * h + 10 * q + 4 * H + 14 * r + 8,
           kRng + kAdapterCopies},
      },
      kMid2024, Architecture::qwen2, 4 * D * S);
  // bitsandbytes kept the input of each quantized layer.
  check(
      {
          {"qlora_dq all", Recipe::qlora_dq(), 16 * I + 28 * h + 8 * q + 4 * H + 14 * r + 8,
           kRng + kAdapterCopies},
          {"qlora_dq all dropout", with(Recipe::qlora_dq(), kAllLinear, 0.05),
           17 * I + 33 * h + 11 * q + 4 * H + 14 * r + 8, kRng + kAdapterCopies},
      },
      kMid2024, Architecture::qwen2, 8 * D * S);
}

TEST_CASE("a checkpointed layer keeps its input alone") {
  const auto by_layer = [](Run run) {
    run.checkpoints = true;
    return kept_by_layer(run, Architecture::qwen2, kLatest);
  };
  CHECK(by_layer(Recipe::full_bf16()) == 2 * h * T);
  CHECK(by_layer(Recipe::lora_bf16()) == 2 * h * T);
  CHECK(by_layer(Recipe::full_amp()) == 4 * h * T);
  // The stream is fp32 after the upcast; biases are turned to bf16 in the first forward.
  CHECK(by_layer(Recipe::qlora_dq()) == 4 * h * T + kBiases);
}

TEST_CASE("what is kept outside the layers") {
  // The final norm, the log-softmax of the logits, the labels, the rotary tables, and two scalars:
  // the loss and the count of labels.
  constexpr std::int64_t labels = 8 * T, tables = 4 * D * S, scalars = 1024;
  const auto outside = [](const Run& run) {
    return kept(2, run, Architecture::qwen2, kLatest) -
           2 * kept_by_layer(run, Architecture::qwen2, kLatest);
  };
  CHECK(outside(Recipe::full_bf16()) == (8 * h + 4 + 4 * V) * T + labels + tables + scalars);
  // Autocast: the head's copy in 16 bits besides; the stream, and so the tables, in fp32.
  CHECK(outside(Recipe::full_amp()) ==
        (10 * h + 4 + 4 * V) * T + labels + 2 * tables + scalars + 2 * V * h);

  // The first layer of a LoRA model keeps less, for its input has no gradient: not the norm's fp32
  // copy and root, and with dropout no masks for query, key and value.
  const auto lora = [&](const Run& run) { return outside(run) - labels - tables - scalars; };
  CHECK(lora(Recipe::lora_bf16()) == (4 * h + 4 + 4 * V) * T - (4 * h + 4) * T);
  CHECK(lora(with(Recipe::lora_bf16(), kAllLinear, 0.05)) ==
        (4 * h + 4 + 4 * V) * T - (7 * h + 4) * T);
}

}  // namespace qwenplan::test
