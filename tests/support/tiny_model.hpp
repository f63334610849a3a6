#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/memory.hpp"

namespace qwenplan::test {

/// Bytes of a tensor as the allocator counts them.
constexpr std::int64_t rounded(std::int64_t bytes) { return (bytes + 511) / 512 * 512; }

/// A model of which no two sizes are equal, so that no formula holds by accident. All are multiples
/// of 16, and so are sizes of whole tensors of 512: products need no rounding.
struct Tiny {
  static constexpr std::int64_t h = 48;            ///< hidden
  static constexpr std::int64_t I = 112;           ///< intermediate
  static constexpr std::int64_t H = 10, KV = 2;    ///< heads
  static constexpr std::int64_t D = 16;            ///< size of a head
  static constexpr std::int64_t q = H * D, k = KV * D;
  static constexpr std::int64_t V = 4096;          ///< vocabulary
  static constexpr std::int64_t r = 64;            ///< rank
  static constexpr std::int64_t S = 256, B = 2, T = B * S;

  static Model model(std::int64_t layers, Architecture architecture = Architecture::qwen2) {
    Model m;
    m.architecture = architecture;
    m.layers = layers;
    m.hidden = h;
    m.ffn = I;
    m.heads = H;
    m.kv_heads = KV;
    m.head_dim = D;
    m.vocabulary = V;
    m.max_positions = 1024;
    m.has_qkv_bias = architecture == Architecture::qwen2;
    m.has_qk_norm = norms_query_and_key(architecture);
    return m;
  }
};

/// Methods as the recordings name them, without checkpointing.
struct Recipe {
  static Run plain(Method method) {
    Run run;
    run.method = method;
    run.length = Tiny::S;
    run.micro_batch = Tiny::B;
    run.lora_rank = Tiny::r;
    run.checkpoints = false;
    run.autocasts = false;
    run.precision = Precision::bf16_true;
    return run;
  }
  static Run full_bf16() { return plain(Method::full); }
  static Run full_fp32() {
    Run run = plain(Method::full);
    run.weights = run.half = DType::fp32;
    run.precision = Precision::fp32;
    return run;
  }
  static Run full_amp() {
    Run run = plain(Method::full);
    run.weights = DType::fp32;
    run.autocasts = true;
    run.precision = Precision::bf16_mixed;
    return run;
  }
  static Run lora_bf16() {
    Run run = plain(Method::lora);
    run.adapter = DType::bf16;
    return run;
  }
  /// fp32 adapters, no autocast.
  static Run lora_fp32adapter() { return plain(Method::lora); }
  static Run lora_amp() {
    Run run = plain(Method::lora);
    run.autocasts = true;
    run.precision = Precision::bf16_mixed;
    return run;
  }
  static Run lora_bf16_amp() {
    Run run = lora_amp();
    run.adapter = DType::bf16;
    return run;
  }
  static Run lora_upcast() {
    Run run = lora_amp();
    run.upcasts_for_kbit = true;
    return run;
  }
  static Run qlora() {
    Run run = lora_amp();
    run.method = Method::qlora;
    run.quantization = Quantization::nf4;
    run.upcasts_for_kbit = true;
    return run;
  }
  static Run qlora_dq() {
    Run run = qlora();
    run.double_quantizes = true;
    return run;
  }
  static Run qlora_noprep() {
    Run run = qlora();
    run.upcasts_for_kbit = false;
    return run;
  }
  static Run qlora_bf16() {
    Run run = qlora_noprep();
    run.adapter = DType::bf16;
    run.autocasts = false;
    run.precision = Precision::bf16_true;
    return run;
  }
};

/// What is alive at the end of a phase, by its term, in bytes as the allocator counts them.
inline std::array<std::int64_t, kTerms> alive_after(const Trace& trace, Phase phase, int step = 0) {
  struct Storage {
    std::int64_t bytes;
    Term term;
  };
  std::map<std::uint32_t, Storage> living;
  std::size_t end = 0;
  for (std::size_t m = 0; m < trace.marks.size(); ++m)
    if (trace.marks[m].phase == phase && trace.marks[m].step == step)
      end = m + 1 < trace.marks.size() ? trace.marks[m + 1].first : trace.events.size();
  for (std::size_t i = 0; i < end; ++i) {
    const Event& event = trace.events[i];
    if (event.kind == Event::Kind::allocate)
      living[event.storage] = {rounded(event.bytes), event.term};
    else if (event.kind == Event::Kind::retag)
      living[event.storage].term = event.term;
    else if (event.kind == Event::Kind::free)
      living.erase(event.storage);
  }
  std::array<std::int64_t, kTerms> alive{};
  for (const auto& [storage, what] : living)
    alive[static_cast<std::size_t>(what.term)] += what.bytes;
  return alive;
}

inline std::int64_t of(const std::array<std::int64_t, kTerms>& alive, Term term) {
  return alive[static_cast<std::size_t>(term)];
}

/// The stretch of a run with this phase, step and micro-step.
inline const PhaseUse& use_of(const Footprint& footprint, Phase phase, int step,
                              int micro_step = 0) {
  for (const PhaseUse& use : footprint.timeline)
    if (use.phase == phase && use.step == step && use.micro_step == micro_step) return use;
  static const PhaseUse none;
  return none;
}

}  // namespace qwenplan::test
