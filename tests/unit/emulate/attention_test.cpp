#include "qwenplan/emulate/attention.hpp"

#include <cstdint>
#include <string>

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

namespace qwenplan::test {
namespace {

using emulate::AttentionKernel;
using emulate::Setting;
using emulate::Tape;
using emulate::Tensor;

constexpr DType bf16 = DType::bf16, fp16 = DType::fp16, fp32 = DType::fp32;

constexpr std::string_view name(AttentionKernel kernel) {
  constexpr std::string_view names[] = {"flash", "efficient", "cudnn", "math", "eager"};
  return names[static_cast<int>(kernel)];
}

/// Four query heads of 128 to a key/value head, or as many of each.
Model heads(bool grouped) {
  Model m;
  m.heads = 8;
  m.kv_heads = grouped ? 2 : 8;
  m.head_dim = 128;
  return m;
}

/// The kernel of a torch version, where transformers asks for grouped heads as it can.
AttentionKernel picked(Version torch, DType dtype, bool has_mask, bool asks_for_groups,
                       int compute_capability) {
  Stack stack = kLatest;
  stack.torch = torch;
  const Model model = heads(asks_for_groups);
  const Run run;
  const Setting setting{model, run, emulate::behavior_of(stack), compute_capability, {}};
  return attention_kernel(setting, dtype, has_mask);
}

}  // namespace

TEST_CASE("sdpa picks the kernel that PyTorch's dispatch picks") {
  // By dispatch on fake tensors, 8 heads of 128, with torch 2.3.1, 2.6.0, 2.8.0 and 2.15.0. With a
  // mask transformers never asks for grouped heads; torch 2.3 has no such argument.
  constexpr Version kTorch[] = {{2, 3, 1}, {2, 6, 0}, {2, 8, 0}, {2, 15, 0}};
  struct Row {
    DType dtype;
    bool has_mask;
    bool groups;
    int compute_capability;
    std::string_view kernels[4];
  };
  const Row rows[] = {
      {bf16, false, false, 80, {"flash", "flash", "flash", "flash"}},
      {fp16, false, false, 80, {"flash", "flash", "flash", "flash"}},
      {bf16, false, true, 80, {"", "flash", "flash", "flash"}},
      {bf16, true, false, 80, {"efficient", "efficient", "efficient", "efficient"}},
      {fp32, false, false, 80, {"efficient", "efficient", "efficient", "efficient"}},
      {fp32, false, true, 80, {"", "math", "math", "efficient"}},
      {fp16, false, false, 75, {"efficient", "efficient", "efficient", "efficient"}},
      {fp16, true, false, 75, {"efficient", "efficient", "efficient", "efficient"}},
      {fp16, false, true, 75, {"", "math", "math", "efficient"}},
      {bf16, false, false, 75, {"math", "math", "math", "math"}},
      {bf16, true, false, 75, {"math", "math", "math", "math"}},
      {bf16, false, true, 75, {"", "math", "math", "math"}},
      {bf16, false, false, 90, {"flash", "flash", "flash", "cudnn"}},
      {bf16, false, true, 90, {"", "flash", "flash", "cudnn"}},
      {bf16, true, false, 90, {"efficient", "efficient", "efficient", "cudnn"}},
      {fp16, true, false, 90, {"efficient", "efficient", "efficient", "cudnn"}},
  };
  for (const Row& row : rows)
    for (int i = 0; i < 4; ++i) {
      if (row.kernels[i].empty()) continue;
      INFO(name(row.dtype) << (row.has_mask ? " mask" : "") << (row.groups ? " groups" : "")
                           << " sm " << row.compute_capability << " torch 2." << kTorch[i].minor);
      CHECK(name(picked(kTorch[i], row.dtype, row.has_mask, row.groups, row.compute_capability)) ==
            row.kernels[i]);
    }
}

TEST_CASE("a kernel that is asked for by name is the one that runs") {
  Model model = heads(true);
  Run run;
  const Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  run.attention = Attention::eager;
  CHECK(attention_kernel(setting, bf16, false) == AttentionKernel::eager);
  run.attention = Attention::efficient;
  CHECK(attention_kernel(setting, bf16, false) == AttentionKernel::efficient);
  run.attention = Attention::math;
  CHECK(attention_kernel(setting, bf16, false) == AttentionKernel::math);
  run.attention = Attention::fa2;
  CHECK(attention_kernel(setting, bf16, false) == AttentionKernel::flash);
}

TEST_CASE("heads too wide for flash take another kernel") {
  Model model = heads(false);
  model.head_dim = 320;
  const Run run;
  const Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  CHECK(attention_kernel(setting, bf16, false) == AttentionKernel::efficient);
}

TEST_CASE("who expands K and V to all heads") {
  const Run run;
  Run eager;
  eager.attention = Attention::eager;
  const auto expands = [](const Model& model, const Run& asked, const Stack& stack, bool has_mask) {
    const Setting setting{model, asked, emulate::behavior_of(stack), 80, {}};
    return expands_heads(setting, has_mask);
  };
  const Model grouped = heads(true);
  // repeat_kv up to transformers 4.53; since then the kernel is asked to do it, without a mask.
  CHECK(expands(grouped, run, kMid2024, false));
  CHECK(expands(grouped, run, kEarly2025, false));
  CHECK_FALSE(expands(grouped, run, kLate2025, false));
  CHECK_FALSE(expands(grouped, run, kLatest, false));
  CHECK(expands(grouped, run, kLatest, true));
  CHECK(expands(grouped, eager, kLatest, false));
  CHECK_FALSE(expands(heads(false), run, kMid2024, true));
}

namespace {

constexpr std::int64_t kRows = Tiny::B * Tiny::H;  // heads of the batch

struct Attended {
  Sizes forward;
  std::int64_t kept = 0;  ///< for backward, beside query, key and value
  Sizes backward;         ///< allocations from the gradient of the result on
  Sizes workspace;        ///< those of them that are the kernel's own
};

Attended attend(const Run& run, const Stack& stack, int compute_capability, DType dtype) {
  const Model model = Tiny::model(1);
  Setting setting{model, run, emulate::behavior_of(stack), compute_capability, {}};
  test::KeptTape t;
  const Tensor q = t.parameter(t.allocate(Tiny::T * Tiny::q, dtype));
  const Tensor k = t.parameter(t.allocate(Tiny::T * Tiny::k, dtype));
  const Tensor v = t.parameter(t.allocate(Tiny::T * Tiny::k, dtype));
  happened(t);
  Attended seen;
  Tensor out = emulate::sdpa_attention(t, setting, q, k, v, {});
  seen.forward = happened(t);
  Tensor loss = emulate::mean(t, out, 1);
  out.reset();
  seen.kept = sum(seen.forward) + sum(happened(t)) - element_size(dtype);
  t.backward(loss);
  const Trace trace = t.take_trace();
  for (const Event& event : trace.events) {
    if (event.kind != Event::Kind::allocate) continue;
    seen.backward.push_back(event.bytes);
    if (event.term == Term::workspace) seen.workspace.push_back(event.bytes);
  }
  return seen;
}

}  // namespace

TEST_CASE("flash keeps its result and a float for each row of scores") {
  const Attended seen = attend(Recipe::full_bf16(), kLatest, 80, bf16);
  // Out, the log-sum-exp, and the random generator's seed and offset (two and one of 8 bytes).
  constexpr std::int64_t out = Tiny::T * Tiny::q * 2, sums = kRows * Tiny::S * 4;
  CHECK(seen.forward == Sizes{out, sums, 16, 8});
  CHECK(seen.kept == out + sums + 24);
  // Row sums, dq in fp32 with heads of 16 widened to 32, dk and dv of all heads.
  CHECK(seen.workspace == Sizes{kRows * Tiny::S * 4, kRows * Tiny::S * 32 * 4, out, out});
}

TEST_CASE("the efficient kernel counts rows of scores in thirty-twos") {
  Run run = Recipe::full_bf16();
  run.length = 250;
  run.attention = Attention::efficient;
  const Attended seen = attend(run, kLatest, 80, bf16);
  CHECK(seen.forward[1] == kRows * 256 * 4);
  // Its backward: the sums of rows, and for each tile of 64 x 64 (heads of 16 widened) four bytes
  // an element and sixteen more.
  CHECK(seen.workspace == Sizes{kRows * 250 * 4, kRows * 4 * 4 * (64 * 64 + 4)});
}

TEST_CASE("math keeps scores in fp32") {
  const Attended seen = attend(Recipe::full_fp32(), kLate2025, 80, fp32);
  // The scaled q, the expanded and scaled k, the expanded v (4q each), the softmax (4 H S).
  CHECK(seen.kept == Tiny::T * (12 * Tiny::q + 4 * Tiny::H * Tiny::S));
}

TEST_CASE("a mask of bytes becomes one of numbers in every layer, in rows of eights") {
  const Model model = Tiny::model(1);
  Run run = Recipe::full_bf16();
  run.length = 10;
  const Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  test::KeptTape t;
  const Tensor mask = t.allocate(10 * 10, DType::boolean);
  happened(t);
  const Tensor additive = emulate::additive_mask(t, mask, mask.elements(), bf16);
  CHECK(happened(t) == Sizes{2, 2, 200, -2, -2});
  const Tensor padded = emulate::padded_mask(t, setting, additive);
  CHECK(happened(t) == Sizes{10 * 16 * 2});  // ten rows of sixteen
  const Tensor same = emulate::additive_mask(t, additive, additive.elements(), bf16);
  CHECK(happened(t).empty());
}

TEST_CASE("eager attention keeps the softmax in fp32 and its probabilities") {
  const Model model = Tiny::model(1);
  Run run = Recipe::full_bf16();
  run.attention = Attention::eager;
  Setting setting{model, run, emulate::behavior_of(kLatest), 80, {}};
  test::KeptTape t;
  const Tensor leaf = t.parameter(t.allocate(1, bf16));
  const auto made = [&](std::int64_t elements) { return emulate::repeat_heads(t, leaf, elements); };
  Tensor q = made(Tiny::T * Tiny::q), k = made(Tiny::T * Tiny::k), v = made(Tiny::T * Tiny::k);
  happened(t);
  Tensor weights;
  Tensor out = emulate::eager_attention(t, setting, q, k, v, {}, weights);
  const std::int64_t inputs = Tiny::T * (Tiny::q + 2 * Tiny::k) * 2;
  q.reset(), k.reset(), v.reset(), out.reset(), weights.reset();
  // q (2q), K and V of all heads (4q), the softmax in fp32 (4 H S), its bf16 copy (2 H S).
  CHECK(inputs + sum(happened(t)) == Tiny::T * (6 * Tiny::q + 6 * Tiny::H * Tiny::S));
}

}  // namespace qwenplan::test
