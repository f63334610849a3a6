#include "qwenplan/emulate/liger.hpp"

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/fused_loss.hpp"
#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

// Liger's kernels tensor by tensor, as their Python code allocates and saves them. Whole steps with them
// are compared with recordings in tests/trace, peaks with measurements in tests/validation.

namespace qwenplan::test {
namespace {

using emulate::Linear;
using emulate::Setting;
using emulate::Tensor;

constexpr DType bf16 = DType::bf16, fp32 = DType::fp32;
constexpr std::int64_t h = Tiny::h, I = Tiny::I, T = 100;

struct World {
  Model model = Tiny::model(1);
  Run run = Recipe::full_bf16();
  KeptTape t;
  Setting setting;
  Tensor leaf;

  explicit World(Architecture architecture = Architecture::qwen2, const Stack& stack = kLatest)
      : model(Tiny::model(1, architecture)),
        setting{model, run, emulate::behavior_of(stack), 80, {}} {
    run.micro_batch = 1;
    run.length = T;
    leaf = t.parameter(t.allocate(1, bf16));
  }

  /// A tensor inside the graph, with none of its own bytes in `happened`.
  Tensor input(std::int64_t elements, DType dtype = bf16) {
    Tensor x = emulate::cast(t, emulate::repeat_heads(t, leaf, elements), dtype);
    happened(t);
    return x;
  }
};

}  // namespace

TEST_CASE("Liger's norm keeps its input and a root for each row, and writes the gradient over the output's") {
  World w;
  const Tensor weight = w.t.parameter(w.t.allocate(h, bf16));
  const Tensor x = w.input(T * h);
  const Tensor y = liger_norm(w.t, w.setting, weight, x, T);
  CHECK(happened(w.t) == Sizes{2 * T * h, 4 * T});
  CHECK(y.dtype() == bf16);

  const Tensor loss = emulate::mean(w.t, y, 1);
  happened(w.t);
  w.t.backward(loss);
  // The gradient of the mean; a row of sums for each of an A100's 108 multiprocessors, their sum, and
  // that in bf16. No gradient of the input beside the output's.
  const Sizes back = allocated(happened(w.t));
  REQUIRE(back.size() >= 5);
  CHECK(Sizes(back.begin(), back.begin() + 5) == Sizes{2, 2 * T * h, 4 * 108 * h, 4 * h, 2 * h});
}

TEST_CASE("a frozen norm has no sums since Liger 0.8.5") {
  for (const auto& [patch, sums] : {std::pair{5, false}, std::pair{4, true}}) {
    Stack stack = kLatest;
    stack.liger = {0, 8, patch};
    World w(Architecture::qwen2, stack);
    const Tensor weight = w.t.allocate(h, bf16);
    const Tensor loss = emulate::mean(w.t, liger_norm(w.t, w.setting, weight, w.input(T * h), T), 1);
    happened(w.t);
    w.t.backward(loss);
    const Sizes back = allocated(happened(w.t));
    CAPTURE(patch);
    CHECK((back[2] == 4 * 108 * h) == sums);
  }
}

TEST_CASE("Gemma's norm makes the input's gradient beside the output's, which the residual still needs") {
  World w(Architecture::gemma2);
  const Tensor weight = w.t.allocate(h, bf16);
  const Tensor loss = emulate::mean(w.t, liger_norm(w.t, w.setting, weight, w.input(T * h), T), 1);
  happened(w.t);
  w.t.backward(loss);
  const Sizes back = allocated(happened(w.t));
  CHECK(Sizes(back.begin(), back.begin() + 3) == Sizes{2, 2 * T * h, 2 * T * h});
}

TEST_CASE("Liger's norm answers in its input's format, where the model's own answers in the weight's") {
  World w;
  const Tensor weight = w.t.allocate(h, fp32);
  CHECK(liger_norm(w.t, w.setting, weight, w.input(T * h), T).dtype() == bf16);
  CHECK(rms_norm(w.t, weight, w.input(T * h), T).dtype() == fp32);
}

TEST_CASE("Liger's SwiGLU keeps gate and up and writes their gradients over them") {
  World w;
  Tensor gate = w.input(T * I), up = w.input(T * I);
  Tensor product = liger_glu(w.t, gate, up);
  CHECK(happened(w.t) == Sizes{2 * T * I});
  gate.reset(), up.reset();
  const Tensor loss = emulate::mean(w.t, product, 1);
  product.reset();
  CHECK(happened(w.t) == Sizes{2, -2 * T * I});  // the product is nobody's any more
  w.t.backward(loss);
  const Sizes back = happened(w.t);
  CHECK(Sizes(back.begin(), back.begin() + 3) == Sizes{2, 2 * T * I, -2 * T * I});
}

TEST_CASE("Liger's loss takes as many tokens at a time as its own comment works out") {
  // 4 x 4,096 tokens, 32,000 words, 4,096 hidden: eight times as wide, 2,048 tokens.
  CHECK(emulate::liger_chunk(16384, 32000, 4096) == 2048);
  CHECK(emulate::liger_chunk(1024, 151936, 896) == 8);   // 1024 / 170 = 7 -> 8
  CHECK(emulate::liger_chunk(2048, 151936, 3584) == 64);  // 2048 / 43 = 48 -> 64
  CHECK(emulate::liger_chunk(100, 50, 4096) == 100);
}

TEST_CASE("Liger's loss makes its gradients in the forward") {
  struct Case {
    Version liger;
    bool trains_head;
  };
  constexpr std::int64_t V = Tiny::V, chunk = 2;  // 100 / (4096 / 48) = 2
  for (const Case& each : {Case{{0, 8, 5}, false}, Case{{0, 8, 5}, true}, Case{{0, 8, 0}, true}}) {
    Stack stack = kLatest;
    stack.liger = each.liger;
    World w(Architecture::qwen2, stack);
    Linear head;
    head.inputs = h, head.outputs = V;
    head.weight = w.t.allocate(V * h, bf16);
    if (each.trains_head) head.weight = w.t.parameter(head.weight);
    const Tensor hidden = w.input(T * h);
    const Tensor loss = liger_loss(w.t, w.setting, head, hidden);
    const Sizes seen = happened(w.t);
    CAPTURE(each.liger.patch, each.trains_head);
    Sizes expected = {8 * (T + 1), 2 * T * h};               // labels, the hidden states' gradient
    if (each.trains_head) expected.push_back(2 * V * h);     // the head's
    for (const std::int64_t bytes : {4 * T, T, std::int64_t{8}, std::int64_t{-8}})
      expected.push_back(bytes);                             // losses, which tokens count and how many
    const bool reuses = each.liger.patch == 5;
    if (reuses) {
      expected.insert(expected.end(), {2 * chunk * V, -2 * chunk * V});
    } else {
      for (std::int64_t first = 0; first < T; first += chunk) {
        // Logits; the product with the head; that with the hidden states, and in fp32.
        expected.insert(expected.end(), {2 * chunk * V, 2 * chunk * h, -2 * chunk * h, 2 * V * h, 4 * V * h,
                                         -4 * V * h, -2 * V * h, -2 * chunk * V});
      }
    }
    for (const std::int64_t bytes : {std::int64_t{4}, -T, -4 * T, -8 * (T + 1)}) expected.push_back(bytes);
    CHECK(seen == expected);
  }
}

TEST_CASE("Unsloth's loss takes all tokens at once up to 2^30 logits, then fours of pieces") {
  CHECK(emulate::unsloth_chunks(2048, 151936) == 1);
  CHECK(emulate::unsloth_chunks(8192, 131072) == 1);  // 2^30
  CHECK(emulate::unsloth_chunks(8193, 131072) == 4);
  CHECK(emulate::unsloth_chunks(40000, 131072) == 8);  // 19.5 GiB in fp32 of 4 GiB: five, as fours
}

}  // namespace qwenplan::test
