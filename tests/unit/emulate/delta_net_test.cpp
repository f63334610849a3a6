#include "qwenplan/emulate/delta_net.hpp"

#include <cstdint>

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

namespace qwenplan::test {
namespace {

using emulate::Tensor;

constexpr std::int64_t kHeads = 8, kDim = 32;  // of keys and values alike

/// Layers of linear attention, but for every second.
Model hybrid() {
  Model m = Tiny::model(2, Architecture::qwen3_5);
  m.has_qk_norm = true;
  m.rotary_dim = Tiny::D / 4;
  m.linear_attention = LinearAttention{kHeads, kHeads, kDim, kDim, 4, 2};
  return m;
}

using Rule = Tensor (*)(emulate::Tape&, const emulate::Setting&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                        const Tensor&);

Tensor by_chunks(emulate::Tape& t, const emulate::Setting& s, const Tensor& query, const Tensor& key, const Tensor& value,
                 const Tensor& decay, const Tensor& beta) {
  return emulate::gated_delta_rule(t, s, query, key, value, decay, beta);
}

/// What the rule leaves alive for backward over so many tokens, in bytes.
std::int64_t kept_over(std::int64_t tokens, Rule rule = by_chunks) {
  const Model model = hybrid();
  Run run = Recipe::full_bf16();
  run.micro_batch = 1;
  run.length = tokens;
  const emulate::Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  KeptTape t;
  const Tensor leaf = t.parameter(t.allocate(1, DType::bf16));
  const auto input = [&](std::int64_t elements) { return emulate::repeat_heads(t, leaf, elements); };
  const Tensor query = input(tokens * kHeads * kDim), key = input(tokens * kHeads * kDim), value = input(tokens * kHeads * kDim);
  const Tensor beta = input(tokens * kHeads), decay = emulate::cast(t, input(tokens * kHeads), DType::fp32);
  happened(t);
  const Tensor out = rule(t, setting, query, key, value, decay, beta);
  return sum(happened(t));
}

}  // namespace

TEST_CASE("weights of a layer of linear attention: projections, a convolution, a decay and a step for each head, a norm") {
  const auto alive = alive_after(trace(hybrid(), Recipe::full_bf16(), kLatest, 80), Phase::load);
  constexpr std::int64_t h = Tiny::h, size = kHeads * kDim;
  const std::int64_t linear = 2 * (h * 3 * size + 2 * h * size) + 2 * rounded(2 * h * kHeads)  // qkv, z, out; b, a
                              + 2 * 3 * size * 4                                               // four taps a channel
                              + 2 * rounded(2 * kHeads) + rounded(2 * kDim);
  // The query's projection makes a gate too.
  const std::int64_t full = 2 * (3 * h * Tiny::q + 2 * h * Tiny::k) + 2 * rounded(2 * Tiny::D);
  const std::int64_t rest = 2 * 3 * h * Tiny::I + 2 * rounded(2 * h);
  CHECK(of(alive, Term::weights) == linear + full + 2 * rest + 2 * 2 * Tiny::V * h + rounded(2 * h));
}

TEST_CASE("every chunk of 64 tokens keeps its vectors, its pairs and the state before it, in fp32") {
  // Of each token and head: query and key as they came and with the padding, the value, the key times its
  // strength, both solutions, query and key decayed, and the update: eleven vectors. Pairs: their decay, two
  // products, and these decayed: five of 64. Single numbers: two lengths, three decays, the strength.
  const std::int64_t numbers = 11 * kDim + 5 * 64 + 6;
  const std::int64_t chunk = 4 * kHeads * (64 * numbers + kDim * kDim);
  // The answer is of 16 bits. A chunk's decay is one number a head, within the rounding of 512 bytes.
  const std::int64_t out = 2 * 64 * kHeads * kDim;
  const std::int64_t growth = kept_over(64 * 9) - kept_over(64 * 8);
  CHECK(growth == chunk + out + 4 * kHeads);
}

TEST_CASE("flash-linear-attention's kernels keep lengths, vectors in 16 bits and a row of the chunk, but no state") {
  // Query and key as long as one, a value that is a part no more, the answer; two lengths and a decay in fp32; a row.
  const std::int64_t numbers = 2 * 4 * kDim + 4 * 3 + 2 * 64;
  const std::int64_t growth = kept_over(64 * 9, emulate::gated_delta_rule_by_kernels) -
                              kept_over(64 * 8, emulate::gated_delta_rule_by_kernels);
  CHECK(growth == 64 * kHeads * numbers);
}

TEST_CASE("the kernels' chunks begin anew with each sample of a row, and a key is split by the card's shared memory") {
  const Model model = hybrid();
  Run run = Recipe::full_bf16();
  run.micro_batch = 3;
  run.length = 100;
  run.is_joined = true;
  const auto chunks = [&] { return emulate::kernel_chunks({model, run, emulate::behavior_of(kLatest), 80, {}}); };
  CHECK(chunks() == 5);  // of 300 tokens
  run.packs = true;
  run.samples = 3;
  CHECK(chunks() == 6);  // two for each 100
  CHECK(emulate::key_tiles(128, 75) == 4);
  CHECK(emulate::key_tiles(128, 80) == 2);
  CHECK(emulate::key_tiles(128, 89) == 2);
  CHECK(emulate::key_tiles(128, 90) == 1);
  CHECK(emulate::key_tiles(128, 120) == 2);
}

TEST_CASE("tokens are padded to whole chunks") {
  CHECK(kept_over(64 * 3 - 10) > kept_over(64 * 2));
  CHECK(kept_over(64 * 3 - 10) <= kept_over(64 * 3));
}

}  // namespace qwenplan::test
