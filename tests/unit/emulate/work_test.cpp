#include <cstdint>

#include "support/catch.hpp"
#include "support/tiny_model.hpp"
#include "support/work.hpp"

// What the operations tell of their work, by hand.

namespace qwenplan::test {
namespace {

using emulate::Tape;
using emulate::Tensor;
using W = Work::Kind;

struct KeptWork {
  WorkKeeper keeper;
};
struct WorkTape : KeptWork, Tape {
  WorkTape() : Tape(keeper) {}
  std::vector<Work> seen() const {
    std::vector<Work> out;
    for (const WorkKeeper::Done& each : keeper.done()) out.push_back(each.work);
    return out;
  }
};

/// A multiplication and an addition for each of rows x inputs x outputs.
double product(double rows, double inputs, double outputs) { return 2 * rows * inputs * outputs; }

/// Multiplications of the linear layers of one decoder layer and one token.
double layer_weights() {
  using T = Tiny;
  return static_cast<double>(T::h * (T::q + 2 * T::k) + T::q * T::h + 3 * T::h * T::I);
}

}  // namespace

TEST_CASE("An element-wise operation reads its inputs and writes its result") {
  WorkTape t;
  const Tensor a = t.parameter(t.allocate(1000, DType::fp32));
  const Tensor b = t.allocate(1000, DType::bf16);
  const std::size_t before = t.seen().size();
  const Tensor c = emulate::mul(t, a, b);
  const auto seen = t.seen();
  REQUIRE(seen.size() == before + 1);
  CHECK(seen.back().kind == W::elementwise);
  CHECK(seen.back().bytes == 4000 + 2000 + 4000);
  CHECK(seen.back().launches == 1);
  CHECK(seen.back().flops() == 0);
}

TEST_CASE("A linear layer is one product forward and one for each gradient backward") {
  WorkTape t;
  const Tensor x = t.require_grad(t.allocate(30 * 7, DType::bf16));
  const Tensor w = t.parameter(t.allocate(7 * 5, DType::bf16));
  const std::size_t before = t.seen().size();
  const Tensor y = emulate::linear(t, x, w, {}, 30, 5);
  auto seen = t.seen();
  REQUIRE(seen.size() == before + 1);
  CHECK(seen.back().kind == W::matmul);
  CHECK(seen.back().flops() == product(30, 7, 5));
  CHECK(seen.back().bytes == 2 * (30 * 7 + 7 * 5 + 30 * 5));
  t.backward(y);
  seen = t.seen();
  double flops = 0;
  for (std::size_t i = before + 1; i < seen.size(); ++i) flops += seen[i].flops();
  CHECK(flops == 2 * product(30, 7, 5));
}

TEST_CASE("A reader that does not ask for work is told none") {
  struct Reader final : TraceReader {
    bool was_told = false;
    void enter(const Mark&) override {}
    void read(std::span<const Event>) override {}
    void work(const Work&) override { was_told = true; }
  } reader;
  trace(Tiny::model(1), Recipe::full_bf16(), kLatest, 80, reader);
  CHECK_FALSE(reader.was_told);
}

TEST_CASE("FLOPs of a full step by hand") {
  using T = Tiny;
  const auto tokens = static_cast<double>(T::T);
  Run run = Recipe::full_bf16();
  const double linear = product(tokens, layer_weights(), 1);
  const double head = product(tokens, T::h, T::V);
  const double square = product(T::S, T::D, T::S) * T::B * T::H;  // one of attention's products

  SECTION("forward once, backward twice, and flash attention's seven products") {
    const WorkKeeper keeper = work_of(Tiny::model(2), run);
    CHECK(keeper.flops(Phase::forward, Phase::loss) == 2 * (linear + 2 * square) + head);
    CHECK(keeper.flops(Phase::backward) == 2 * (2 * linear + 5 * square) + 2 * head);
  }
  SECTION("checkpointing repeats the layers but for the last product, which nothing is saved of") {
    run.checkpoints = true;
    const WorkKeeper keeper = work_of(Tiny::model(2), run);
    const double down = product(tokens, T::I, T::h);
    CHECK(keeper.flops() == 2 * (4 * linear - down + 9 * square) + 3 * head);
    double again = 0;
    for (const WorkKeeper::Done& each : keeper.done())
      if (each.when.step == 2 && each.work.recomputes) again += each.work.flops();
    CHECK(again == 2 * (linear - down + 2 * square));
  }
  SECTION("LoRA: no gradients of the frozen weights, two small products for each layer") {
    run.method = Method::lora;
    run.adapter = DType::bf16;
    run.lora_targets = q_proj | v_proj;
    const WorkKeeper keeper = work_of(Tiny::model(2), run);
    const double small = product(tokens, T::r, 2 * T::h + T::q + T::k);
    // The embeddings are frozen: the first layer's projections of q, k and v and its adapters' input
    // need no gradient.
    const double first_layers_input = product(tokens, T::h, T::q + 2 * T::k) + product(tokens, T::r, 2 * T::h);
    CHECK(keeper.flops() ==
          2 * (2 * linear + 7 * square + 3 * small) + 2 * head - first_layers_input);
    double adapters = 0;
    for (const WorkKeeper::Done& each : keeper.done())
      if (each.when.step == 2 && each.work.section == Section::adapters) adapters += each.work.flops();
    CHECK(adapters == 2 * 3 * small - product(tokens, T::r, 2 * T::h));
  }
}

TEST_CASE("Work backward belongs to the section of its forward") {
  const WorkKeeper keeper = work_of(Tiny::model(1), Recipe::full_bf16());
  int head = 0, attention = 0;
  for (const WorkKeeper::Done& each : keeper.done()) {
    if (each.when.step != 2 || each.when.phase != Phase::backward) continue;
    head += each.work.section == Section::head && each.work.kind == W::matmul;
    attention += each.work.section == Section::attention && each.work.kind == W::flash_attention;
  }
  CHECK(head == 2);
  CHECK(attention >= 1);
}

}  // namespace qwenplan::test
