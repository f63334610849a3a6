#include "qwenplan/emulate/linear.hpp"

#include <cstdint>

#include "qwenplan/emulate/weights.hpp"
#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

// One quantized linear layer of 48 inputs and 112 outputs: 5,376 weights, 84 statistics.

namespace qwenplan::test {
namespace {

using emulate::Linear;
using emulate::Setting;
using emulate::Tape;
using emulate::Tensor;

constexpr DType bf16 = DType::bf16, fp16 = DType::fp16, fp32 = DType::fp32;
constexpr std::int64_t in = Tiny::h, out = Tiny::I, T = Tiny::T;
constexpr std::int64_t kWeight = 2 * in * out;         // dequantized to 16 bits
constexpr std::int64_t kStatistics = 4 * in * out / 64;  // in fp32

struct World {
  Model model = Tiny::model(1);
  Run run;
  Stack stack;
  test::KeptTape t;
  Setting setting;
  Tensor leaf;

  explicit World(const Run& asked, const Stack& libraries = kLatest)
      : run(asked), stack(libraries), setting{model, run, emulate::behavior_of(stack), 80, {}} {
    leaf = t.parameter(t.allocate(1, fp32));
  }

  Linear quantized(bool has_bias) {
    Linear layer;
    layer.inputs = in, layer.outputs = out;
    layer.weight = t.allocate(in * out, bf16);
    if (has_bias) layer.bias = t.allocate(out, fp32);
    const Tensor code = t.allocate(256, fp32);
    if (run.quantization == Quantization::int8)
      emulate::detail::quantize_8bit(t, layer);
    else
      emulate::detail::quantize_4bit(t, setting, layer, code);
    return layer;
  }

  /// An input inside the graph.
  Tensor input(DType dtype) {
    return emulate::cast(t, emulate::repeat_heads(t, leaf, T * in), dtype);
  }

  /// Allocations of a backward from the layer's output, without those of its two ends.
  Sizes backward(Tensor y) {
    const Tensor loss = emulate::mean(t, y, 1);
    y.reset();
    happened(t);
    t.backward(loss);
    const Sizes all = happened(t);
    return all;
  }
};

}  // namespace

TEST_CASE("a layer in 4 bits dequantizes its weight for the one product") {
  World w(Recipe::qlora());
  Linear layer = w.quantized(false);
  const Tensor x = w.input(fp32);
  happened(w.t);
  Tensor y = linear_4bit(w.t, w.setting, layer, x);
  // The input in bf16, the weight, the product; weight gone; back to fp32; both copies gone.
  CHECK(happened(w.t) ==
        Sizes{2 * T * in, kWeight, 2 * T * out, -kWeight, 4 * T * out, -2 * T * out, -2 * T * in});
  CHECK(y.dtype() == fp32);

  const Sizes back = w.backward(std::move(y));
  // The loss; the output's gradient, in bf16; the weight once more; the input's gradient, in fp32.
  const Sizes made = allocated(back);
  REQUIRE(made.size() >= 6);
  CHECK(Sizes(made.begin(), made.begin() + 6) ==
        Sizes{4, 4 * T * out, 2 * T * out, kWeight, 2 * T * in, 4 * T * in});
}

TEST_CASE("double quantization dequantizes the statistics too") {
  const auto forward = [](const Stack& stack) {
    World w(Recipe::qlora_dq(), stack);
    Linear layer = w.quantized(false);
    const Tensor x = w.input(bf16);
    happened(w.t);
    const Tensor y = linear_4bit(w.t, w.setting, layer, x);
    return happened(w.t);
  };
  // bitsandbytes 0.50 adds the offset into a second copy and holds it over the product; before, in
  // place, and the statistics go when the weight is there.
  CHECK(forward(kLatest) == Sizes{kStatistics, kStatistics, -kStatistics, kWeight, 2 * T * out,
                                  -kWeight, -kStatistics});
  CHECK(forward(kLate2025) == Sizes{kStatistics, kWeight, -kStatistics, 2 * T * out, -kWeight});
}

TEST_CASE("a bias in fp32 is cast for good since bitsandbytes 0.48, before for each product") {
  World newest(Recipe::qlora());
  Linear layer = newest.quantized(true);
  const Tensor x = newest.input(fp32);
  { const Tensor y = linear_4bit(newest.t, newest.setting, layer, x); }
  CHECK(layer.bias.dtype() == bf16);

  World older(Recipe::qlora(), kLate2025);
  Linear same = older.quantized(true);
  const Tensor z = older.input(fp32);
  happened(older.t);
  const Tensor y = linear_4bit(older.t, older.setting, same, z);
  CHECK(same.bias.dtype() == fp32);
  const Sizes seen = happened(older.t);
  CHECK(seen[1] == 2 * out);
  CHECK(seen.back() == -2 * T * in);
}

TEST_CASE("bitsandbytes up to 0.43.1 holds the input of a layer in 4 bits") {
  const auto held = [](const Stack& stack) {
    World w(Recipe::qlora(), stack);
    Linear layer = w.quantized(false);
    const Tensor x = w.input(fp32);
    happened(w.t);
    const Tensor y = linear_4bit(w.t, w.setting, layer, x);
    return sum(happened(w.t)) - 4 * T * out;
  };
  CHECK(held(kMid2024) == 2 * T * in);
  CHECK(held(kEarly2025) == 0);
}

TEST_CASE("a layer in 8 bits works in fp16 and integers, and holds its input") {
  Run run = Recipe::qlora();
  run.quantization = Quantization::int8;
  World w(run);
  Linear layer = w.quantized(false);
  Tensor x = w.input(fp32);
  happened(w.t);
  Tensor y = linear_8bit(w.t, layer, x);
  // In fp16; scales of rows; rows in bytes; the search for outliers: magnitudes, which are too
  // large, whether any; the integer product, in fp16, in fp32.
  CHECK(allocated(happened(w.t)) ==
        Sizes{2 * T * in, 4 * T, T * in, 2 * T * in, T * in, 1, 4 * T * out, 2 * T * out,
              4 * T * out});
  x.reset();
  CHECK(sum(happened(w.t)) == 0);  // held
  const Sizes made = allocated(w.backward(std::move(y)));
  // The loss; the output's gradient; the weight in fp32 and its scales; the input's gradient.
  CHECK(Sizes(made.begin(), made.begin() + 5) ==
        Sizes{4, 4 * T * out, 4 * in * out, 4 * out, 4 * T * in});
}

TEST_CASE("an adapter keeps what its two products need") {
  const auto kept = [](const Run& asked, DType dtype) {
    World w(asked);
    Linear layer;
    layer.inputs = in, layer.outputs = out;
    layer.weight = w.t.allocate(in * out, bf16);
    layer.lora_a = w.t.parameter(w.t.allocate(Tiny::r * in, asked.adapter));
    layer.lora_b = w.t.parameter(w.t.allocate(Tiny::r * out, asked.adapter));
    Tensor x = w.input(dtype);
    happened(w.t);
    Tensor y = run_linear(w.t, w.setting, layer, x);
    y.reset(), x.reset();
    w.setting.autocast_copies.clear();
    return T * in * element_size(dtype) + sum(happened(w.t));
  };
  constexpr std::int64_t r = Tiny::r;
  // Its input and the low-rank product, in bf16.
  CHECK(kept(Recipe::lora_bf16(), bf16) == T * (2 * in + 2 * r));
  // In fp32: a copy of the input, and the product.
  CHECK(kept(Recipe::lora_fp32adapter(), bf16) == T * (4 * in + 4 * r));
  // Autocast: the input's own bf16 copy, the product, and both matrices in bf16.
  CHECK(kept(Recipe::lora_amp(), bf16) == T * (2 * in + 2 * r) + 2 * r * (in + out));
  // Dropout: the dropped input in bf16 and a byte for each of its elements.
  Run dropping = Recipe::lora_bf16();
  dropping.lora_dropout = 0.05;
  CHECK(kept(dropping, bf16) == T * (2 * in + in + 2 * r));
}

}  // namespace qwenplan::test
