#include "qwenplan/emulate/tape.hpp"

#include <cstdint>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/tape.hpp"

// Storages, graph and checkpointing of the tape, with operations of the test's own, so that every
// size can be told apart.

namespace qwenplan::test {
namespace {

using emulate::Node;
using emulate::Tape;
using emulate::Tensor;

/// Each input's gradient is a new tensor of its shape.
void copies(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  for (int i = 0; i < Node::kInputs; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = t.allocate(n.input_elements[i], n.input_dtype[i]);
}
/// The gradient itself goes on to every input.
void passes(Tape&, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 0; i < Node::kInputs; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = grad;
}

/// Saves its input, makes so many elements, and answers with a new gradient.
Tensor apply(Tape& t, const Tensor& x, std::int64_t elements) {
  auto op = t.record(copies, {&x});
  op.save(x);
  return op.result(t.allocate(elements, x.dtype()));
}

/// Saves nothing.
Tensor combine(Tape& t, const Tensor& a, const Tensor& b, std::int64_t elements) {
  auto op = t.record(copies, {&a, &b});
  return op.result(t.allocate(elements, a.dtype()));
}

}  // namespace

TEST_CASE("a storage dies with its last share") {
  test::KeptTape t;
  Tensor a = t.allocate(100, DType::fp32);
  CHECK(happened(t) == Sizes{400});
  Tensor b = a;
  a.reset();
  CHECK(happened(t).empty());
  CHECK_FALSE(static_cast<bool>(a));
  b.reset();
  CHECK(happened(t) == Sizes{-400});
  b.reset();  // an empty handle has nothing to give back
  CHECK(happened(t).empty());
}

TEST_CASE("a view shares its storage") {
  test::KeptTape t;
  Tensor whole = t.allocate(100, DType::bf16);
  Tensor half = whole.viewed(50);
  CHECK(half.elements() == 50);
  CHECK(half.storage() == whole.storage());
  whole.reset();
  CHECK(happened(t) == Sizes{200});
  half.reset();
  CHECK(happened(t) == Sizes{-200});
}

TEST_CASE("a name that is bound again has its new value before it lets go of the old one") {
  test::KeptTape t;
  Tensor x = t.allocate(10, DType::fp32);
  x = t.allocate(20, DType::fp32);
  CHECK(happened(t) == Sizes{40, 80, -40});
  Tensor y = std::move(x);
  CHECK_FALSE(static_cast<bool>(x));
  y = y.viewed(5);  // of its own storage: nothing may be freed on the way
  CHECK(happened(t).empty());
}

TEST_CASE("an empty tensor takes nothing, and no size overflows") {
  test::KeptTape t;
  CHECK_FALSE(static_cast<bool>(t.allocate(0, DType::fp32)));
  CHECK(happened(t).empty());
  const Tensor huge = t.allocate(INT64_MAX / 2, DType::fp32);
  CHECK(happened(t) == Sizes{std::int64_t{1} << 46});
}

TEST_CASE("a workspace is taken and given back") {
  test::KeptTape t;
  t.use_workspace(1000);
  t.use_workspace(0);
  const Trace trace = t.take_trace();
  REQUIRE(sizes(trace) == Sizes{1000, -1000});
  CHECK(trace.events[0].term == Term::workspace);
}

TEST_CASE("an operation on what needs no gradient keeps nothing") {
  test::KeptTape t;
  Tensor x = t.allocate(100, DType::fp32);
  Tensor y = apply(t, x, 10);
  CHECK_FALSE(y.requires_grad());
  happened(t);
  x.reset();
  CHECK(happened(t) == Sizes{-400});
}

TEST_CASE("backward runs in falling order and frees what each operation saved after its use") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(100, DType::fp32));
  Tensor loss;
  {
    const Tensor a = apply(t, weight, 200);
    const Tensor b = apply(t, a, 300);
    loss = apply(t, b, 1);
  }
  // The weight, a, b, the loss: a and b live on as saved tensors.
  CHECK(happened(t) == Sizes{400, 800, 1200, 4});
  t.backward(loss);
  CHECK(happened(t) == Sizes{4,                   // the gradient of the loss: its caller keeps it
                             1200, -1200,         // gradient of b; then b, which the loss saved
                             800, -1200, -800,    // gradient of a; that of b, then a itself
                             400, -800,           // gradient of the weight stays
                             -4});
  CHECK(t.leaves()[0].grad.elements() == 100);
  loss.reset();
  t.forget();
  CHECK(happened(t) == Sizes{-4});  // the weight and its gradient are the leaf's
}

TEST_CASE("two contributions are added into a new tensor when the second comes") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(1, DType::fp32));
  Tensor loss;
  {
    const Tensor x = combine(t, weight, Tensor(), 100);
    const Tensor first = combine(t, x, Tensor(), 200);
    const Tensor second = combine(t, x, Tensor(), 300);
    loss = combine(t, first, second, 1);
  }
  happened(t);
  t.backward(loss);
  CHECK(happened(t) == Sizes{4, 800, 1200,      // gradients of both branches
                             400, -1200,        // through the second: x's first contribution
                             400,               // through the first: its second contribution
                             -800, 400, -400, -400,  // the sum; then both terms
                             4, -400, -4});
}

TEST_CASE("a leaf that is used twice has its gradient when the last contribution has come") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(100, DType::fp32));
  Tensor loss;
  {
    const Tensor a = combine(t, weight, Tensor(), 10);
    const Tensor b = combine(t, weight, Tensor(), 20);
    loss = combine(t, a, b, 1);
  }
  happened(t);
  t.backward(loss);
  const Trace trace = t.take_trace();
  CHECK(sizes(trace) == Sizes{4, 40, 80, 400, -80, 400, -40, 400, -400, -400, -4});
  int gradients = 0;
  for (const Event& event : trace.events)
    gradients += event.kind == Event::Kind::retag && event.term == Term::gradients;
  CHECK(gradients == 1);  // the sum, not its terms
}

TEST_CASE("a later micro-step adds to the gradient that is there") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(100, DType::fp32));
  for (int micro_step = 1; micro_step <= 2; ++micro_step) {
    Tensor loss = apply(t, weight, 1);
    happened(t);
    t.backward(loss);
    // The first stays; the second is added in place and goes.
    CHECK(happened(t) == (micro_step == 1 ? Sizes{4, 400, -4} : Sizes{4, 400, -400, -4}));
    loss.reset();
    t.forget();
    happened(t);
  }
  t.leaves()[0].grad.reset();
  CHECK(happened(t) == Sizes{-400});
}

TEST_CASE("an input that was told to require a gradient keeps it to the end of backward") {
  test::KeptTape t;
  Tensor input = t.require_grad(t.allocate(50, DType::fp32));
  Tensor loss = apply(t, input, 1);
  input.reset();
  happened(t);
  t.backward(loss);
  CHECK(happened(t) == Sizes{4, 200, -4});
  loss.reset();
  t.forget();
  CHECK(sum(happened(t)) == -200 - 200 - 4);  // the input, its gradient, the loss
}

TEST_CASE("a gradient of another shape or format than the input is reduced or cast") {
  test::KeptTape t;
  const auto wide = [](Tape& tape, const Node&, const Tensor&, Tensor* out) {
    out[0] = tape.allocate(1000, DType::fp32);
  };
  const Tensor weight = t.parameter(t.allocate(100, DType::bf16));
  auto op = t.record(wide, {&weight});
  const Tensor loss = op.result(t.allocate(1, DType::fp32));
  happened(t);
  t.backward(loss);
  // 1000 floats summed to 100 floats, then cast to 100 halves.
  CHECK(happened(t) == Sizes{4, 4000, 400, -4000, 200, -400, -4});
}

TEST_CASE("what is held as an attribute lives until the graph is gone") {
  test::KeptTape t;
  const Tensor weight = t.parameter(t.allocate(1, DType::fp32));
  Tensor x = t.allocate(100, DType::fp32);
  auto op = t.record(passes, {&weight});
  op.hold(x);
  Tensor loss = op.result(t.allocate(1, DType::fp32));
  x.reset();
  t.backward(loss);
  loss.reset();
  happened(t);
  t.forget();
  CHECK(happened(t) == Sizes{-400});
}

namespace {

/// A layer of three operations on the way from its input: the first two save their input, the last
/// saves nothing.
struct ThreeOperations : Tape::Layers {
  int runs = 0;
  Tensor run(Tape& t, std::int32_t, const std::vector<Tensor>& arguments) override {
    ++runs;
    Tensor x = apply(t, arguments[0], 200);
    x = apply(t, x, 300);
    return combine(t, x, Tensor(), 400);
  }
  Tensor run_again(Tape& t, std::int32_t layer, const std::vector<Tensor>& arguments) override {
    return run(t, layer, arguments);
  }
};

}  // namespace

TEST_CASE("a checkpoint keeps its input alone and fills up again when backward asks") {
  test::KeptTape t;
  ThreeOperations layers;
  const Tensor weight = t.parameter(t.allocate(10, DType::fp32));
  Tensor loss;
  {
    Tensor out;
    {
      std::vector<Tensor> arguments = {apply(t, weight, 100)};
      happened(t);
      out = t.checkpoint(layers, 0, std::move(arguments));
    }
    // 200 elements, 300, 400: each goes when its name is bound again, for nothing is saved.
    CHECK(happened(t) == Sizes{800, 1200, -800, 1600, -1200});
    loss = combine(t, out, Tensor(), 1);
  }
  CHECK(happened(t) == Sizes{4, -1600});
  t.backward(loss);
  CHECK(layers.runs == 2);
  CHECK(happened(t) == Sizes{4, 1600,     // gradient of the layer's output
                             1200, -1600, // the last operation misses nothing
                             800,         // the second does: the layer runs again, and stops when
                                          // the second operation has saved its input
                             800, -800, -1200,  // what a hook unpacked goes before the gradient
                             400, -400, -800,   // with the first operation's the input itself goes
                             40, -400, -4});
}

TEST_CASE("a reentrant checkpoint runs the whole layer again and a backward of its own") {
  test::KeptTape t;
  ThreeOperations layers;
  const Tensor weight = t.parameter(t.allocate(10, DType::fp32));
  Tensor loss;
  {
    Tensor out;
    {
      const std::vector<Tensor> arguments = {apply(t, weight, 100)};
      happened(t);
      out = t.checkpoint_reentrant(layers, 0, arguments);
    }
    CHECK(happened(t) == Sizes{800, 1200, -800, 1600, -1200});
    loss = combine(t, out, Tensor(), 1);
  }
  CHECK(happened(t) == Sizes{4, -1600});
  t.backward(loss);
  CHECK(layers.runs == 2);
  CHECK(happened(t) == Sizes{4, 1600,
                             800, 1200, 1600, -1200,  // all of it, with its saved tensors
                             1200,                    // the outer gradient stays until it is through
                             800, -1200, -800,        //
                             400, -800,               // the gradient of the layer's input
                             -1600, -1600,            // the second output; the outer gradient
                             -400,                    // the input
                             40, -400, -4});
}

TEST_CASE("a forward without a graph keeps nothing") {
  test::KeptTape t;
  ThreeOperations layers;
  const Tensor plain = t.allocate(10, DType::fp32);  // requires no gradient
  happened(t);
  Tensor out = t.checkpoint(layers, 0, {plain});
  CHECK_FALSE(out.requires_grad());
  out.reset();
  CHECK(sum(happened(t)) == 0);
}

TEST_CASE("each thread's first matrix product takes a workspace that stays") {
  test::KeptTape t;
  t.set_matmul_workspace(8192);
  const auto product = [](Tape& tape, const Node& n, const Tensor& grad, Tensor* out) {
    tape.use_matmul();
    copies(tape, n, grad, out);
  };
  const Tensor weight = t.parameter(t.allocate(1, DType::fp32));
  for (int step = 1; step <= 2; ++step) {
    t.use_matmul();
    t.use_matmul();
    auto op = t.record(product, {&weight});
    Tensor loss = op.result(t.allocate(1, DType::fp32));
    t.backward(loss);
    loss.reset();
    t.forget();
    std::int64_t workspaces = 0;
    for (const std::int64_t bytes : happened(t)) workspaces += bytes == 8192;
    CHECK(workspaces == (step == 1 ? 2 : 0));
  }
}

}  // namespace qwenplan::test
