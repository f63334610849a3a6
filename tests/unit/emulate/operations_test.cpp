#include "qwenplan/emulate/operations.hpp"

#include <cstdint>
#include <functional>
#include <string>

#include "support/catch.hpp"
#include "support/tape.hpp"

// What each operation allocates forward, what it keeps, and what its backward allocates, by hand
// from PyTorch's formulas (tools/autograd/derivatives.yaml).

namespace qwenplan::test {
namespace {

using emulate::Node;
using emulate::Tape;
using emulate::Tensor;

/// A gradient for each input, in the input's own shape.
void like_inputs(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  for (int i = 0; i < Node::kInputs; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = t.allocate(n.input_elements[i], n.input_dtype[i]);
}

/// A tensor in the graph whose making kept nothing.
Tensor source(Tape& t, const Tensor& leaf, std::int64_t elements, DType dtype) {
  auto op = t.record(like_inputs, {&leaf});
  return op.result(t.allocate(elements, dtype));
}

struct Observed {
  Sizes forward;
  std::int64_t kept = 0;  ///< bytes that live only because backward will want them
  Sizes backward;         ///< allocations
};

/// Runs an operation on `elements` of a format, drops what goes in and what comes out, and runs it
/// backwards.
Observed observe(std::int64_t elements, DType dtype,
                 const std::function<Tensor(Tape&, const Tensor&)>& operation) {
  test::KeptTape t;
  Observed seen;
  const Tensor leaf = t.parameter(t.allocate(1, DType::uint8));
  Tensor x = source(t, leaf, elements, dtype);
  happened(t);
  Tensor y = operation(t, x);
  seen.forward = happened(t);
  const std::int64_t result = y.elements() * element_size(y.dtype());
  Tensor loss = source(t, y, 1, DType::fp32);
  x.reset();
  y.reset();
  seen.kept = elements * element_size(dtype) + sum(seen.forward) + sum(happened(t)) - 4;
  t.backward(loss);
  seen.backward = allocated(happened(t));
  // The gradients of the loss and of the result come first, that of the leaf last.
  REQUIRE(seen.backward.size() >= 3);
  REQUIRE(seen.backward[0] == 4);
  REQUIRE(seen.backward[1] == result);
  REQUIRE(seen.backward.back() == 1);
  seen.backward.erase(seen.backward.begin(), seen.backward.begin() + 2);
  seen.backward.pop_back();
  return seen;
}

constexpr DType bf16 = DType::bf16, fp16 = DType::fp16, fp32 = DType::fp32;

}  // namespace

TEST_CASE("operations on one tensor: what they make, keep, and make backward") {
  struct Case {
    std::string name;
    DType dtype;
    std::function<Tensor(Tape&, const Tensor&)> operation;
    Sizes forward;
    std::int64_t kept;
    Sizes backward;
  };
  // Of 1,000 elements: 2,000 bytes in 16 bits, 4,000 in 32.
  const Case cases[] = {
      {"silu keeps its input", bf16, emulate::silu, {2000}, 2000, {2000}},
      {"gelu keeps its input", bf16, emulate::gelu, {2000}, 2000, {2000}},
      {"tanh keeps its result", bf16, emulate::tanh, {2000}, 2000, {2000}},
      {"x * x: 2 * x, times the gradient, and their product", fp32, emulate::square, {4000}, 4000,
       {4000, 4000, 4000}},
      {"1 / sqrt(x) keeps its result: its cube, scaled, times the gradient", fp32, emulate::rsqrt,
       {4000}, 4000, {4000, 4000, 4000}},
      {"a mean needs the shape alone", fp32,
       [](Tape& t, const Tensor& x) { return emulate::mean(t, x, 10); }, {40}, 0, {4000}},
      {"adding a number passes the gradient on", fp32, emulate::add_scalar, {4000}, 0, {}},
      {"a factor multiplies the gradient too", fp32, emulate::scale, {4000}, 0, {4000}},
      {"dropout keeps a byte for each element", bf16, emulate::dropout, {2000, 1000}, 1000, {2000}},
      {"a cast is undone", bf16, [](Tape& t, const Tensor& x) { return emulate::cast(t, x, fp32); },
       {4000}, 0, {2000}},
      {"a cast to the same format is nothing", bf16,
       [](Tape& t, const Tensor& x) { return emulate::cast(t, x, bf16); }, {}, 0, {}},
      {"a contiguous copy passes the gradient on", bf16, emulate::clone, {2000}, 0, {}},
      {"a view in another order copies the gradient", bf16, emulate::reordered_view, {}, 0, {2000}},
      {"heads are repeated, and their gradients summed", bf16,
       [](Tape& t, const Tensor& x) { return emulate::repeat_heads(t, x, 7); }, {14000}, 0, {2000}},
      {"heads that are as many are not repeated", bf16,
       [](Tape& t, const Tensor& x) { return emulate::repeat_heads(t, x, 1); }, {}, 0, {}},
      // -x2 and the whole; backward: -x2's half, each half spread to the whole, their sum.
      {"rotate_half", bf16, emulate::rotate_half, {1000, 2000, -1000}, 0, {1000, 2000, 2000, 2000}},
      // Softmax's kernel multiplies gradient and result into a buffer of its own.
      {"softmax in fp32 keeps its result", fp32,
       [](Tape& t, const Tensor& x) { return emulate::softmax(t, x, fp32); }, {4000}, 4000,
       {4000, 4000}},
      {"softmax of bf16 in fp32 casts first", bf16,
       [](Tape& t, const Tensor& x) { return emulate::softmax(t, x, fp32); }, {4000, 4000, -4000},
       4000, {4000, 4000, 2000}},
      {"softmax of fp16 in fp32 is one kernel", fp16,
       [](Tape& t, const Tensor& x) { return emulate::softmax(t, x, fp32); }, {4000}, 4000,
       {2000, 4000}},
  };
  for (const Case& each : cases) {
    INFO(each.name);
    const Observed seen = observe(1000, each.dtype, each.operation);
    CHECK(seen.forward == each.forward);
    CHECK(seen.kept == each.kept);
    CHECK(seen.backward == each.backward);
  }
}

TEST_CASE("softmax's buffer in backward is a workspace") {
  test::KeptTape t;
  const Tensor leaf = t.parameter(t.allocate(1, DType::uint8));
  Tensor loss;
  {
    const Tensor x = source(t, leaf, 1000, fp32);
    const Tensor y = emulate::softmax(t, x, fp32);
    loss = source(t, y, 1, fp32);
  }
  t.take_trace();
  t.backward(loss);
  std::int64_t workspace = 0;
  for (const Event& event : t.take_trace().events)
    if (event.kind == Event::Kind::allocate && event.term == Term::workspace)
      workspace += event.bytes;
  CHECK(workspace == 4000);
}

TEST_CASE("a product keeps a factor only for the gradient of the other") {
  test::KeptTape t;
  const Tensor leaf = t.parameter(t.allocate(1, DType::uint8));
  const auto kept = [&](bool first_has_gradient, bool second_has_gradient) {
    Tensor a = first_has_gradient ? source(t, leaf, 100, bf16) : t.allocate(100, bf16);
    Tensor b = second_has_gradient ? source(t, leaf, 1000, bf16) : t.allocate(1000, bf16);
    Tensor product = emulate::mul(t, a, b);
    CHECK(product.elements() == 1000);  // the smaller is spread
    happened(t);
    a.reset(), b.reset(), product.reset();
    return 200 + 2000 + 2000 + sum(happened(t));
  };
  CHECK(kept(true, true) == 200 + 2000);
  CHECK(kept(true, false) == 2000);
  CHECK(kept(false, true) == 200);
  CHECK(kept(false, false) == 0);
}

TEST_CASE("formats of mixed products follow PyTorch's promotion") {
  CHECK(emulate::promoted(bf16, bf16) == bf16);
  CHECK(emulate::promoted(bf16, fp32) == fp32);
  CHECK(emulate::promoted(fp32, fp16) == fp32);
  CHECK(emulate::promoted(bf16, fp16) == fp32);
  CHECK(emulate::promoted(DType::int64, bf16) == bf16);
}

TEST_CASE("a product of mixed formats answers each factor in its own") {
  test::KeptTape t;
  const Tensor leaf = t.parameter(t.allocate(1, DType::uint8));
  Tensor loss;
  {
    const Tensor a = source(t, leaf, 100, bf16);
    const Tensor b = source(t, leaf, 100, fp32);
    const Tensor product = emulate::mul(t, a, b);
    CHECK(product.dtype() == fp32);
    loss = source(t, product, 1, fp32);
  }
  happened(t);
  t.backward(loss);
  // The loss, the product; b's gradient in fp32 (a times it), a's in fp32 and cast to bf16; the
  // leaf's two contributions and their sum.
  CHECK(allocated(happened(t)) == Sizes{4, 400, 400, 400, 200, 1, 1, 1});
}

TEST_CASE("a linear layer keeps its input for the weight and the weight for its input") {
  // 5 rows, 100 inputs, 30 outputs in bf16: input 1,000 bytes, weight 6,000, output 300, bias 60.
  struct Case {
    bool trains;
    bool has_bias;
    std::int64_t kept;
    Sizes backward;
  };
  const Case cases[] = {
      {true, false, 1000, {6000, 1000}},     // the weight's gradient first
      {true, true, 1000, {1000, 6000, 60}},  // addmm: input, weight, bias
      {false, false, 0, {1000}},             // a frozen weight lives anyway
      {false, true, 0, {1000}},
  };
  for (const Case& each : cases) {
    CAPTURE(each.trains, each.has_bias);
    test::KeptTape t;
    const Tensor leaf = t.parameter(t.allocate(1, DType::uint8));
    Tensor weight = t.allocate(3000, bf16);
    Tensor bias = each.has_bias ? t.allocate(30, bf16) : Tensor();
    if (each.trains) {
      weight = t.parameter(weight);
      if (bias) bias = t.parameter(bias);
    }
    Tensor x = source(t, leaf, 500, bf16);
    happened(t);
    Tensor y = emulate::linear(t, x, weight, bias, 5, 30);
    CHECK(happened(t) == Sizes{300});
    Tensor loss = source(t, y, 1, fp32);
    y.reset(), x.reset();
    CHECK(1000 + 300 + sum(happened(t)) - 4 == each.kept);
    t.backward(loss);
    Sizes seen = allocated(happened(t));
    CHECK(seen.front() == 4);
    CHECK(seen[1] == 300);
    CHECK(seen.back() == 1);
    CHECK(Sizes(seen.begin() + 2, seen.end() - 1) == each.backward);
  }
}

TEST_CASE("an embedding keeps its ids and has a dense gradient") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(1000 * 16, bf16));
  Tensor ids = t.allocate(50, DType::int64);
  happened(t);
  Tensor rows = emulate::embedding(t, weight, ids, 16);
  CHECK(happened(t) == Sizes{50 * 16 * 2});
  ids.reset();
  CHECK(happened(t).empty());
  const Tensor loss = source(t, rows, 1, fp32);
  happened(t);
  t.backward(loss);
  // The loss, the rows, the whole table.
  CHECK(allocated(happened(t)) == Sizes{4, 1600, 32000});
}

TEST_CASE("products in batches make the second factor's gradient first") {
  test::KeptTape t;
  const Tensor leaf = t.parameter(t.allocate(1, DType::uint8));
  Tensor loss;
  {
    const Tensor a = source(t, leaf, 100, bf16);
    const Tensor b = source(t, leaf, 200, bf16);
    const Tensor product = emulate::batched_matmul(t, a, b, 300, 1, 10);
    loss = source(t, product, 1, fp32);
  }
  happened(t);
  t.backward(loss);
  const Sizes seen = allocated(happened(t));
  CHECK(Sizes(seen.begin(), seen.begin() + 4) == Sizes{4, 600, 400, 200});
}

}  // namespace qwenplan::test
