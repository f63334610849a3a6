#include <cstdint>

#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/roofline.hpp"
#include "support/catch.hpp"
#include "support/small_runs.hpp"

// What holds of the time of every run, whatever its numbers. A failure names its seed.

namespace qwenplan::test {
namespace {

constexpr int kRuns = 100;

/// Rates of the size of a small card's, so that sometimes arithmetic, memory or the host decides.
Gpu card(const SmallRun& run) {
  Gpu gpu = run.gpu;
  gpu.bandwidth.value = 360e9;
  gpu.bf16_rate = gpu.fp16_rate = Sourced<double>{25e12, Evidence::vendor, {}};
  gpu.fp32_rate = Sourced<double>{12e12, Evidence::vendor, {}};
  gpu.power = Sourced<double>{170, Evidence::vendor, {}};
  return gpu;
}

StepWork work_of(const SmallRun& run) {
  WorkCounter counter(run.run);
  trace(run.model, run.run, run.stack, run.gpu.compute_capability, counter);
  return counter.finish();
}

/// A host that costs nothing, and one that takes 20 us for each kernel.
constexpr Efficiency kHosts[] = {{0.8, 0.75, 0.45, 0}, {0.8, 0.75, 0.45, 20e-6}};

}  // namespace

TEST_CASE("more tokens, more layers and recomputing never take less time") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = small_run(std::uint64_t{21} << 32 | static_cast<std::uint64_t>(turn));
  // Where a mask is aligned, lengths that are no whole eights launch two kernels more a layer, so that
  // the host needs longer for 116 tokens than for 232, and whole chunks of linear attention one less than
  // others: lengths are compared that leave one remainder.
  const std::int64_t block = small.model.linear_attention ? emulate::kDeltaChunk : 8;
  REQUIRE(small.settle());
  INFO("seed 21:" << turn << ": " << small.text());
  const StepWork work = work_of(small);
  const auto takes_longer = [&](const char* what, auto&& change) {
    SmallRun large = small;
    change(large);
    INFO(what);
    REQUIRE(large.settle());
    const StepWork more = work_of(large);
    for (const Efficiency& e : kHosts)
      CHECK(Roofline(card(large), e).step(more).seconds >= Roofline(card(small), e).step(work).seconds * (1 - 1e-12));
  };
  takes_longer("length", [&](SmallRun& r) {
    r.draft.length->value += (r.draft.length->value + block - 1) / block * block;
  });
  // flash-attn stops the host in each layer for a batch of one, which may hold several samples, and
  // not for one of two.
  if (small.run.attention != Attention::fa2 || small.run.micro_batch > 1 || small.run.is_padded)
    takes_longer("batch", [](SmallRun& r) {
      r.draft.micro_batch = Given<std::int64_t>{2 * r.run.micro_batch, From::flag};
    });
  // And by whatever keeps the remainder.
  takes_longer("length", [&](SmallRun& r) { r.draft.length->value += block; });
  takes_longer("layers", [](SmallRun& r) { r.model.layers += 1; });
  if (!small.run.checkpoints)
    takes_longer("recomputing", [](SmallRun& r) { r.draft.checkpoints = Given<bool>{true, From::flag}; });
}

TEST_CASE("a slower card never takes less time") {
  const int turn = GENERATE(range(0, kRuns));
  const SmallRun small = small_run(std::uint64_t{22} << 32 | static_cast<std::uint64_t>(turn));
  INFO("seed 22:" << turn << ": " << small.text());
  const StepWork work = work_of(small);
  const Gpu fast = card(small);
  const auto is_slower = [&](const char* what, auto&& change) {
    Gpu slow = fast;
    change(slow);
    INFO(what);
    for (const Efficiency& e : kHosts)
      CHECK(Roofline(slow, e).step(work).seconds >= Roofline(fast, e).step(work).seconds * (1 - 1e-12));
  };
  is_slower("rate", [](Gpu& gpu) {
    gpu.bf16_rate->value /= 2, gpu.fp16_rate->value /= 2, gpu.fp32_rate->value /= 2;
  });
  is_slower("bandwidth", [](Gpu& gpu) { gpu.bandwidth.value /= 2; });
  is_slower("power", [](Gpu& gpu) { gpu.power->value /= 2; });
}

}  // namespace qwenplan::test
