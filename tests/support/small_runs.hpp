#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/memory.hpp"

namespace qwenplan::test {

/// The same numbers on every machine for the same seed (SplitMix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// A whole number from low to high, both included.
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(1, 100) <= percent; }
  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[between(0, static_cast<std::int64_t>(choices.size()) - 1)];
  }

 private:
  std::uint64_t state_;
};

/// A valid run of a small model on some card and stack: what a law is tried on.
struct SmallRun {
  Model model;
  RunDraft draft;
  Stack stack;
  Gpu gpu;
  Run run;
  std::vector<RunSetting> settings;

  Trace traced() const { return trace(model, run, stack, gpu.compute_capability); }
  MemoryEstimate estimated() const { return estimate(traced(), device(gpu)); }
  Bytes allocated() const { return footprint(traced()).allocated; }
  /// Decides the settings of the draft again; false where they are impossible.
  bool settle() {
    auto valid = validated(draft, model, stack, &gpu);
    if (!valid) return false;
    run = valid->run;
    settings = std::move(valid->settings);
    return true;
  }

  std::string text() const {
    std::string out = std::string(name(model.architecture)) + " layers " +
                      std::to_string(model.layers) + " hidden " + std::to_string(model.hidden) +
                      " ffn " + std::to_string(model.ffn) + " heads " +
                      std::to_string(model.heads) + "/" + std::to_string(model.kv_heads) + " of " +
                      std::to_string(model.head_dim) + " vocabulary " +
                      std::to_string(model.vocabulary) + (model.ties_embeddings ? " tied" : "");
    if (model.experts)
      out += " experts " + std::to_string(model.experts->count) + "/" +
             std::to_string(model.experts->per_token) + " of " + std::to_string(model.experts->ffn);
    out += "; sm " + std::to_string(gpu.compute_capability) + ", " +
           std::to_string(gpu.memory.value.count()) + " bytes; --stack " + std::string(stack.name);
    for (const RunSetting& setting : settings) {
      if (setting.from == From::by_default) continue;
      out += " --" + std::string(setting.flag) + " ";
      if (const auto* is = std::get_if<bool>(&setting.value)) out += *is ? "on" : "off";
      if (const auto* number = std::get_if<std::int64_t>(&setting.value))
        out += std::to_string(*number);
      if (const auto* real = std::get_if<double>(&setting.value)) out += std::to_string(*real);
      if (const auto* word = std::get_if<std::string>(&setting.value)) out += *word;
    }
    return out;
  }
};

inline Model small_model(Random& random) {
  Model m;
  m.architecture = static_cast<Architecture>(random.between(0, static_cast<int>(Architecture::other) - 1));
  m.layers = random.between(1, 4);
  m.hidden = 32 * random.between(1, 16);
  m.ffn = 32 * random.between(1, 40);
  m.kv_heads = random.one_of({1, 2, 4});
  m.heads = m.kv_heads * random.one_of({1, 2, 3, 7});
  m.head_dim = random.one_of({16, 32, 64, 128});
  m.vocabulary = random.between(100, 30'000);
  m.max_positions = 2048;
  m.ties_embeddings = random.chance(40);
  m.has_qkv_bias = m.architecture == Architecture::qwen2 || m.architecture == Architecture::qwen2_moe ||
                   m.architecture == Architecture::seed_oss;
  if (m.architecture == Architecture::starcoder2) m.has_qkv_bias = m.has_o_bias = m.has_mlp_bias = true;
  m.has_dropout = random.chance(50) && (m.architecture == Architecture::starcoder2 || m.architecture == Architecture::seed_oss);
  m.has_qk_norm = norms_query_and_key(m.architecture);
  // Where a class has windows, half the lengths are longer and half are shorter.
  if (random.chance(50)) m.sliding_window = 256;
  if (m.fuses_projections() && random.chance(50)) m.rotary_dim = m.head_dim / 2;
  if (is_qwen3_5(m.architecture)) {
    m.rotary_dim = m.head_dim / 4;
    const std::int64_t key_heads = random.one_of({1, 2});
    m.linear_attention = LinearAttention{key_heads, key_heads * random.one_of({1, 2}), random.one_of({16, 32}),
                                         random.one_of({16, 64}), 4, random.between(1, 4)};
  }
  if (has_experts(m.architecture))
    m.experts = Experts{random.between(4, 16), random.between(1, 4), 16 * random.between(1, 8),
                        random.between(1, 2), random.chance(50),
                        m.architecture == Architecture::qwen2_moe || is_qwen3_5(m.architecture) ? 16 * random.between(1, 8) : 0};
  return m;
}

inline RunDraft small_draft(Random& random) {
  RunDraft d;
  const auto maybe = [&](auto& setting, int percent, auto value) {
    using T = typename std::remove_reference_t<decltype(setting)>::value_type;
    if (random.chance(percent)) setting = T{value, From::flag};
  };
  const auto method = random.one_of({Method::full, Method::lora, Method::qlora});
  maybe(d.method, 100, method);
  if (method == Method::qlora) {
    maybe(d.quantization, 60,
          random.one_of({Quantization::nf4, Quantization::fp4, Quantization::int8}));
    maybe(d.double_quantizes, 40, random.chance(50));
  }
  maybe(d.precision, 60,
        random.one_of({Precision::bf16_true, Precision::bf16_mixed, Precision::fp16_mixed,
                       Precision::fp16_true, Precision::fp32}));
  maybe(d.autocasts, 10, random.chance(50));
  maybe(d.is_padded, 40, random.chance(50));
  maybe(d.keeps_outputs, 30, random.chance(50));
  maybe(d.length, 100, random.between(1, 600));
  maybe(d.micro_batch, 60, random.between(1, 8));
  maybe(d.accumulation, 30, random.between(1, 3));
  maybe(d.checkpoints, 60, random.chance(50));
  maybe(d.checkpoints_reentrant, 20, random.chance(50));
  maybe(d.attention, 40,
        random.one_of({std::string("sdpa"), std::string("eager"), std::string("efficient"),
                       std::string("math"), std::string("flash"), std::string("fa2")}));
  maybe(d.optimizer, 70,
        std::string(name(static_cast<OptimizerKind>(random.between(0, 7)))));
  if (method != Method::full) {
    maybe(d.lora_rank, 60, random.between(1, 64));
    maybe(d.lora_dropout, 40, 0.05);
    maybe(d.adapter, 30, random.one_of({DType::fp32, DType::bf16}));
    maybe(d.upcasts_for_kbit, 30, random.chance(50));
    maybe(d.lora_targets, 50,
          random.one_of({std::vector<std::string>{"qv"}, std::vector<std::string>{"attention"},
                         std::vector<std::string>{"all-linear"},
                         std::vector<std::string>{"gate_proj", "down_proj"}}));
    maybe(d.modules_to_save, 15,
          random.one_of({std::vector<std::string>{"lm_head"},
                         std::vector<std::string>{"embed_tokens", "lm_head"}}));
  }
  maybe(d.loss, 40, random.one_of({Loss::standard, Loss::chunked, Loss::fused}));
  maybe(d.chunked_loss, 70, static_cast<ChunkedLoss>(random.between(0, 4)));
  maybe(d.fused_loss, 60, static_cast<FusedLoss>(random.between(0, 4)));
  maybe(d.loss_chunk_tokens, 40, random.between(1, 300));
  maybe(d.loss_chunks, 40, random.between(1, 16));
  maybe(d.metrics, 15, static_cast<LogitMetrics>(random.between(0, 2)));
  maybe(d.liger_rope, 15, true);
  maybe(d.liger_rms_norm, 15, true);
  maybe(d.liger_glu, 15, true);
  maybe(d.norm_weights, 15, random.one_of({DType::fp32, DType::bf16}));
  maybe(d.embedding_weights, 15, random.one_of({DType::fp32, DType::bf16}));
  maybe(d.quant_compute, 10, DType::fp32);
  maybe(d.upcasts_head_output, 10, true);
  return d;
}

/// A card whose memory the run may or may not fit.
inline Gpu small_card(Random& random) {
  Gpu gpu;
  gpu.id = gpu.name = "card";
  gpu.vendor = "nvidia";
  gpu.compute_capability = random.one_of({75, 80, 86, 90, 120});
  gpu.has_bf16 = gpu.has_flash_attention = gpu.compute_capability >= 80;
  gpu.multiprocessors = static_cast<int>(random.between(20, 144));
  gpu.memory.value = Bytes(random.between(1 << 30, std::int64_t{4} << 30));
  return gpu;
}

/// The run of a seed. Combinations that are refused are drawn again.
inline SmallRun small_run(std::uint64_t seed) {
  Random random(seed);
  SmallRun run;
  do {
    run.model = small_model(random);
    run.draft = small_draft(random);
    run.stack = random.one_of({kLatest, kLatest, kLate2025, kEarly2025, kMid2024});
    run.gpu = small_card(random);
  } while (!run.settle());
  return run;
}

}  // namespace qwenplan::test
