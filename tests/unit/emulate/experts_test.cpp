#include "qwenplan/emulate/experts.hpp"

#include <cstdint>

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

namespace qwenplan::test {
namespace {

using emulate::Tape;
using emulate::Tensor;

/// Eight experts of 32, each token visits three.
Model sparse() {
  Model m = Tiny::model(2, Architecture::qwen3_moe);
  m.experts = Experts{8, 3, 32, 1};
  return m;
}

}  // namespace

TEST_CASE("experts: stacked weights and a router, whatever the dense size") {
  const auto alive = alive_after(trace(sparse(), Recipe::full_bf16(), kLatest, 80), Phase::load);
  constexpr std::int64_t h = Tiny::h, q = Tiny::q, k = Tiny::k, V = Tiny::V;
  const std::int64_t layer = 2 * (2 * h * q + 2 * h * k)       // attention
                             + 2 * (8 * 2 * 32 * h)            // gate and up of all experts
                             + 2 * (8 * h * 32)                // down
                             + rounded(2 * 8 * h)              // router
                             + 2 * rounded(2 * h) + 2 * rounded(2 * Tiny::D);  // norms
  CHECK(of(alive, Term::weights) == 2 * layer + 2 * 2 * V * h + rounded(2 * h));
}

TEST_CASE("every n-th layer is sparse") {
  Model m = sparse();
  m.experts->sparse_step = 2;
  CHECK_FALSE(m.layer_is_sparse(0));
  CHECK(m.layer_is_sparse(1));
  constexpr std::int64_t dense = 2 * 3 * Tiny::h * Tiny::I;
  const std::int64_t experts = 2 * (3 * 8 * 32 * Tiny::h) + rounded(2 * 8 * Tiny::h);
  const auto weights = [](const Model& model) {
    return of(alive_after(trace(model, Recipe::full_bf16(), kLatest, 80), Phase::load),
              Term::weights);
  };
  CHECK(weights(sparse()) - weights(m) == experts - dense);
}

TEST_CASE("every token is copied once for each expert that it visits") {
  const Model model = sparse();
  const Run run = Recipe::lora_bf16();
  emulate::Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  test::KeptTape t;
  constexpr std::int64_t visits = Tiny::T * 3;
  emulate::ExpertWeights w;
  w.router = t.allocate(8 * Tiny::h, DType::bf16);
  w.gate_up = t.allocate(8 * 2 * 32 * Tiny::h, DType::bf16);
  w.down = t.allocate(8 * Tiny::h * 32, DType::bf16);
  const Tensor leaf = t.parameter(t.allocate(1, DType::bf16));
  const Tensor x = emulate::repeat_heads(t, leaf, Tiny::T * Tiny::h);
  happened(t);
  const Tensor y = run_experts(t, setting, w, route(t, setting, w, x), x);
  CHECK(y.elements() == x.elements());
  CHECK(y.dtype() == x.dtype());
  int copies = 0, products = 0, halves = 0;
  for (const std::int64_t bytes : happened(t)) {
    copies += bytes == 2 * visits * Tiny::h;
    products += bytes == 2 * visits * 2 * 32;
    halves += bytes == 2 * visits * 32;
  }
  CHECK(copies == 4);    // chosen, through the experts, weighted, back in order
  CHECK(products == 1);  // gate and up together
  CHECK(halves == 2);    // the activated gate, and times up
}

TEST_CASE("grouped products answer a weight before the input, and cast what comes in fp32") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(100, DType::bf16));
  const Tensor leaf = t.parameter(t.allocate(1, DType::fp32));
  const Tensor offsets = t.allocate(8, DType::int32);
  Tensor loss;
  {
    const Tensor x = emulate::repeat_heads(t, leaf, 50);
    happened(t);
    const Tensor y = emulate::grouped_matmul(t, x, weight, offsets, 10, 30);
    CHECK(happened(t) == Sizes{100, 60});
    CHECK(y.dtype() == DType::bf16);
    loss = emulate::mean(t, y, 1);
  }
  happened(t);
  t.backward(loss);
  const Sizes made = allocated(happened(t));
  // The loss, the product; the weight; the input in bf16 and fp32.
  CHECK(Sizes(made.begin(), made.begin() + 5) == Sizes{2, 60, 200, 100, 200});
}

}  // namespace qwenplan::test
