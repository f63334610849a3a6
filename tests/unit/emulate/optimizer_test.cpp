#include "qwenplan/emulate/optimizer.hpp"

#include <algorithm>
#include <cstdint>

#include "support/catch.hpp"
#include "support/tape.hpp"

namespace qwenplan::test {
namespace {

using emulate::Optimizer;
using emulate::Tape;
using emulate::Tensor;

/// Three bf16 parameters with gradients, of 10,000 elements, of 100, and an embedding of 8,192; and
/// one that no gradient has reached.
struct World {
  test::KeptTape t;
  Tensor embedding;

  explicit World(std::int64_t large = 10'000) {
    for (const std::int64_t n : {large, std::int64_t{100}, std::int64_t{8192}, std::int64_t{7}}) {
      embedding = t.parameter(t.allocate(n, DType::bf16));
      if (n != 7) t.leaves().back().grad = t.allocate(n, DType::bf16);
    }
    embedding = t.leaves()[2].value;
    happened(t);
  }
};

/// What the first step and the second do.
struct Steps {
  Sizes first, second;
};

Steps steps(OptimizerKind kind, std::int64_t large = 10'000) {
  World w(large);
  Optimizer optimizer(kind, w.embedding);
  Steps seen;
  optimizer.step(w.t);
  seen.first = happened(w.t);
  optimizer.step(w.t);
  seen.second = happened(w.t);
  return seen;
}

}  // namespace

TEST_CASE("fused Adam: a step counter and two states of the parameter's format, nothing besides") {
  const Steps seen = steps(OptimizerKind::adamw_fused);
  CHECK(seen.first == Sizes{4, 20000, 20000, 4, 200, 200, 4, 16384, 16384});
  CHECK(seen.second.empty());
}

TEST_CASE("foreach Adam: one more copy of all parameters during the step") {
  const Steps seen = steps(OptimizerKind::adamw_foreach);
  CHECK(allocated(seen.first) ==
        Sizes{20000, 20000, 200, 200, 16384, 16384, 20000, 200, 16384});
  CHECK(seen.second.size() == 6);
  CHECK(allocated(seen.second) == Sizes{20000, 200, 16384});
  CHECK(Sizes(seen.second.begin(), seen.second.begin() + 3) == Sizes{20000, 200, 16384});
}

TEST_CASE("the loop over parameters: two copies of one at a time") {
  const Steps seen = steps(OptimizerKind::adamw_loop);
  // The root and the denominator; the last denominator lives until the next takes its name.
  CHECK(seen.second == Sizes{20000, 20000, -20000, 200, 200, -20000, -200, 16384, 16384, -200,
                             -16384, -16384});
}

TEST_CASE("8-bit Adam: bytes and a float for each 256; small tensors and embeddings in fp32") {
  const Steps seen = steps(OptimizerKind::adamw_8bit);
  CHECK(seen.first == Sizes{1024, 1024,                // both codes, with the first 8-bit state
                            10000, 10000, 160, 160,    // 40 blocks
                            400, 400,                  // fewer than 4,096 elements
                            32768, 32768});            // the embedding
  CHECK(seen.second.empty());
}

TEST_CASE("torchao's states: codes, a scale for each block of 256 and a table; small ones as they are") {
  const Steps eight = steps(OptimizerKind::adamw_torchao_8bit, 10'240);
  CHECK(Sizes(eight.first.begin(), eight.first.begin() + 14) ==
        Sizes{10240, 160, 1024, 10240, 160, 1024, 200, 200, 8192, 128, 1024, 8192, 128, 1024});
  // Scales of both moments, and both of them in fp32, as torch.compile holds them.
  CHECK(eight.second == Sizes{160, 160, 40960, 40960, -40960, -40960, -160, -160,
                              128, 128, 32768, 32768, -32768, -32768, -128, -128});
  const Steps four = steps(OptimizerKind::adamw_torchao_4bit, 10'240);
  CHECK(Sizes(four.first.begin(), four.first.begin() + 6) == Sizes{5120, 160, 64, 5120, 160, 64});
  CHECK(allocated(four.second) ==
        Sizes{160, 160, 40960, 40960, 81920, 81920, 128, 128, 32768, 32768, 65536, 65536});
  // 10,000 values are no whole number of blocks.
  CHECK(steps(OptimizerKind::adamw_torchao_8bit).first.front() == 20000);
}

TEST_CASE("paged states of 100,000 elements and more are outside the device's allocator") {
  CHECK(steps(OptimizerKind::paged_adamw).first ==
        Sizes{40000, 40000, 400, 400, 32768, 32768});
  CHECK(steps(OptimizerKind::paged_adamw, 100'000).first == Sizes{400, 400, 32768, 32768});
  // In 8 bits the scales stay: 391 blocks.
  CHECK(steps(OptimizerKind::paged_adamw_8bit, 100'000).first ==
        Sizes{1024, 1024, 1564, 1564, 400, 400, 32768, 32768});
}

TEST_CASE("gradient descent has no state, with momentum one") {
  CHECK(steps(OptimizerKind::sgd).first.empty());
  CHECK(steps(OptimizerKind::sgd_momentum).first == Sizes{20000, 200, 16384});
  CHECK(steps(OptimizerKind::sgd_momentum).second.empty());
}

TEST_CASE("Lion keeps one value, AdEMAMix three, of which two lie in one tensor") {
  CHECK(steps(OptimizerKind::lion).first == Sizes{40000, 400, 32768});
  CHECK(steps(OptimizerKind::lion_8bit).first == Sizes{1024, 10000, 160, 400, 32768});
  CHECK(steps(OptimizerKind::ademamix).first == Sizes{80000, 40000, 800, 400, 65536, 32768});
  // Its scales are there before its values: two for each of 40 blocks, and one.
  CHECK(steps(OptimizerKind::ademamix_8bit).first ==
        Sizes{1024, 1024, 320, 160, 20000, 10000, 800, 400, 65536, 32768});
  CHECK(steps(OptimizerKind::paged_ademamix, 100'000).first == Sizes{800, 400, 65536, 32768});
  CHECK(steps(OptimizerKind::rmsprop_8bit).first == steps(OptimizerKind::lion_8bit).first);
  CHECK(steps(OptimizerKind::lion).second.empty());
}

TEST_CASE("Adagrad's sums are made with it; its step copies all weights twice") {
  World w;
  Optimizer optimizer(OptimizerKind::adagrad, w.embedding);
  optimizer.begin(w.t);
  // One for each trained weight, also for the one that gets no gradient.
  CHECK(happened(w.t) == Sizes{20000, 200, 16384, 14});
  optimizer.step(w.t);
  CHECK(allocated(happened(w.t)) == Sizes{20000, 200, 16384, 20000, 200, 16384});
}

TEST_CASE("AnyPrecision: moments in fp32, and a root and a denominator of one weight at a time") {
  const Steps seen = steps(OptimizerKind::adamw_anyprecision);
  CHECK(allocated(seen.first) ==
        Sizes{40000, 40000, 400, 400, 32768, 32768, 40000, 40000, 400, 400, 32768, 32768});
  CHECK(allocated(seen.second) == Sizes{40000, 40000, 400, 400, 32768, 32768});
}

TEST_CASE("Adafactor keeps a value for each row and column of a matrix") {
  test::KeptTape t;
  const Tensor matrix = t.parameter(t.allocate(100 * 70, DType::fp32), 70);
  t.leaves().back().grad = t.allocate(100 * 70, DType::fp32);
  const Tensor vector = t.parameter(t.allocate(50, DType::fp32));
  t.leaves().back().grad = t.allocate(50, DType::fp32);
  happened(t);
  Optimizer optimizer(OptimizerKind::adafactor, Tensor());
  optimizer.step(t);
  const Sizes first = happened(t);
  optimizer.step(t);
  const Sizes second = happened(t);
  // 100 rows, 70 columns; 50 values; and the size of each parameter, a number.
  CHECK(sum(first) == 400 + 280 + 200 + 4 + 4);
  CHECK(sum(second) == 0);
  // Nothing is in 16 bits, so only squares, the update and its negation are of the matrix' size.
  CHECK(std::count(second.begin(), second.end(), 28000) == 4);
}

TEST_CASE("an optimizer of its own updates one weight and makes states for no other") {
  World w;
  Optimizer optimizer(OptimizerKind::adamw_foreach, w.embedding);
  optimizer.step_alone(w.t, 1);
  CHECK(happened(w.t) == Sizes{200, 200, 200, -200});
}

TEST_CASE("clipping takes a number for each gradient, and their norm") {
  World w;
  emulate::clip_gradients(w.t);
  // Three norms, stacked, their norm; all but that go; 1 / (norm + eps) in two steps, the factor,
  // and the factor capped at one.
  CHECK(allocated(happened(w.t)) == Sizes{2, 2, 2, 6, 2, 2, 2, 2, 2});
  test::KeptTape none;
  const Tensor frozen = none.allocate(10, DType::fp32);
  happened(none);
  emulate::clip_gradients(none);
  CHECK(happened(none).empty());
}

}  // namespace qwenplan::test
