#include "qwenplan/emulate/setting.hpp"

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

namespace qwenplan::test {
namespace {

using emulate::Setting;
using emulate::Tape;
using emulate::Tensor;

constexpr DType bf16 = DType::bf16, fp16 = DType::fp16, fp32 = DType::fp32;

struct World {
  Model model = Tiny::model(1);
  Run run = Recipe::full_amp();
  test::KeptTape t;  // outlives the copies of autocast
  Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
};

}  // namespace

TEST_CASE("autocast makes one copy of a trainable fp32 weight in a forward") {
  World w;
  const Tensor weight = w.t.parameter(w.t.allocate(100, fp32));
  happened(w.t);
  {
    const Tensor first = autocast(w.t, w.setting, weight);
    const Tensor second = autocast(w.t, w.setting, weight);
    CHECK(first.dtype() == bf16);
    CHECK(first.storage() == second.storage());
  }
  CHECK(happened(w.t) == Sizes{200});  // the cache holds it to the end of the forward
  w.setting.autocast_copies.clear();
  w.t.forget();
  CHECK(happened(w.t) == Sizes{-200});
}

TEST_CASE("autocast makes a copy of anything else each time") {
  World w;
  const Tensor frozen = w.t.allocate(100, fp32);
  happened(w.t);
  { const Tensor copy = autocast(w.t, w.setting, frozen); }
  { const Tensor copy = autocast(w.t, w.setting, frozen); }
  CHECK(happened(w.t) == Sizes{200, -200, 200, -200});
}

TEST_CASE("autocast leaves alone what is in its format, what is no float, and runs without it") {
  World w;
  const Tensor half = w.t.allocate(100, bf16);
  const Tensor bytes = w.t.allocate(100, DType::uint8);
  const Tensor wide = w.t.allocate(100, fp32);
  happened(w.t);
  CHECK(autocast(w.t, w.setting, half).storage() == half.storage());
  CHECK(autocast(w.t, w.setting, bytes).storage() == bytes.storage());
  w.run.autocasts = false;
  CHECK(autocast(w.t, w.setting, wide).storage() == wide.storage());
  CHECK(happened(w.t).empty());
}

TEST_CASE("autocast turns the other 16-bit format into its own") {
  World w;
  const Tensor other = w.t.allocate(100, fp16);
  CHECK(autocast(w.t, w.setting, other).dtype() == bf16);
}

TEST_CASE("a linear layer under autocast casts bias, weight and input, in that order") {
  World w;
  const std::int64_t tokens = w.run.tokens();
  const Tensor weight = w.t.parameter(w.t.allocate(48 * 10, fp32));
  const Tensor bias = w.t.parameter(w.t.allocate(10, fp32));
  const Tensor x = w.t.allocate(tokens * 48, fp32);
  happened(w.t);
  const Tensor y = linear(w.t, w.setting, x, weight, bias, 10);
  CHECK(y.dtype() == bf16);
  // The input's copy is kept for the weight's gradient.
  CHECK(happened(w.t) == Sizes{20, 960, tokens * 96, tokens * 20});
}

TEST_CASE("up to torch 2.8 a product with a bias takes cuBLASLt's workspace") {
  World w;
  w.setting.behavior = emulate::behavior_of(kLate2025);
  w.run.autocasts = false;
  const Tensor weight = w.t.allocate(48 * 10, bf16);
  const Tensor bias = w.t.allocate(10, bf16);
  const Tensor x = w.t.allocate(w.run.tokens() * 48, bf16);
  happened(w.t);
  const Tensor with = linear(w.t, w.setting, x, weight, bias, 10);
  CHECK(happened(w.t) == Sizes{w.run.tokens() * 20, 1 << 20, -(1 << 20)});
  const Tensor without = linear(w.t, w.setting, x, weight, {}, 10);
  CHECK(happened(w.t) == Sizes{w.run.tokens() * 20});
}

}  // namespace qwenplan::test
