#include "qwenplan/estimate/memory.hpp"

#include <cstdint>
#include <numeric>
#include <string>

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

struct Script {
  Trace trace;

  void enter(Phase phase, std::int16_t step, std::int16_t micro_step = 0) {
    trace.marks.push_back(
        {static_cast<std::uint32_t>(trace.events.size()), phase, step, micro_step});
  }
  void event(Event::Kind kind, std::uint32_t storage, Bytes bytes, Term term) {
    trace.events.push_back({bytes.count(), storage, kind, term});
  }
  void allocate(std::uint32_t storage, Bytes bytes, Term term) {
    event(Event::Kind::allocate, storage, bytes, term);
  }
  void free(std::uint32_t storage) { event(Event::Kind::free, storage, {}, Term::temporary); }
  void retag(std::uint32_t storage, Term term) { event(Event::Kind::retag, storage, {}, term); }
};

Bytes at(const PhaseUse& use, Term term) { return use.terms[static_cast<std::size_t>(term)]; }

Bytes sum(const Terms& terms) { return std::accumulate(terms.begin(), terms.end(), Bytes()); }

Gpu card(std::string id, int compute_capability, int multiprocessors, Bytes memory) {
  Gpu gpu;
  gpu.id = std::move(id);
  gpu.vendor = "nvidia";
  gpu.compute_capability = compute_capability;
  gpu.multiprocessors = multiprocessors;
  gpu.memory = {memory, Evidence::vendor, "sheet"};
  return gpu;
}

/// 100 MiB of weights and an activation of 50 that comes and goes.
Trace small_run() {
  Script script;
  script.enter(Phase::load, 0);
  script.allocate(0, 100_MiB, Term::weights);
  script.enter(Phase::forward, 1);
  script.allocate(1, 50_MiB, Term::activations);
  script.free(1);
  return script.trace;
}

}  // namespace

TEST_CASE("a footprint says what is alive at the peak of each phase") {
  Script script;
  script.enter(Phase::load, 0);
  script.allocate(0, 1000_B, Term::weights);  // 1024
  script.allocate(1, 1_B, Term::buffers);     // 512
  script.enter(Phase::forward, 1, 1);
  script.allocate(2, 4096_B, Term::activations);
  script.allocate(3, 2048_B, Term::temporary);
  script.free(3);
  script.allocate(4, 512_B, Term::temporary);
  script.enter(Phase::backward, 1, 1);
  script.free(4);
  script.allocate(5, 3072_B, Term::gradients);
  script.free(2);
  const Footprint result = footprint(script.trace);

  REQUIRE(result.timeline.size() == 3);
  const PhaseUse& load = result.timeline[0];
  CHECK(load.allocated == 1536_B);
  CHECK(load.left == 1536_B);
  CHECK(at(load, Term::weights) == 1024_B);
  CHECK(at(load, Term::buffers) == 512_B);

  const PhaseUse& forward = result.timeline[1];
  CHECK(forward.phase == Phase::forward);
  CHECK(forward.step == 1);
  CHECK(forward.micro_step == 1);
  CHECK(forward.allocated == 1536_B + 4096_B + 2048_B);
  CHECK(at(forward, Term::temporary) == 2048_B);  // at the peak, not at the end
  CHECK(forward.left == 1536_B + 4096_B + 512_B);

  const PhaseUse& backward = result.timeline[2];
  CHECK(backward.allocated == 1536_B + 4096_B + 3072_B);
  CHECK(at(backward, Term::temporary) == 0_B);
  CHECK(at(backward, Term::gradients) == 3072_B);
  CHECK(backward.left == 1536_B + 3072_B);

  CHECK(result.peak == 2);
  CHECK(result.allocated == backward.allocated);
}

TEST_CASE("a phase that only frees has its peak at its start") {
  Script script;
  script.enter(Phase::forward, 1);
  script.allocate(0, 4096_B, Term::activations);
  script.enter(Phase::backward, 1);
  script.free(0);
  const PhaseUse use = footprint(script.trace).timeline[1];
  CHECK(use.allocated == 4096_B);
  CHECK(at(use, Term::activations) == 4096_B);
  CHECK(use.left == 0_B);
}

TEST_CASE("a storage can change what it is for") {
  Script script;
  script.enter(Phase::load, 0);
  script.allocate(0, 1024_B, Term::temporary);
  script.retag(0, Term::gradients);
  script.enter(Phase::step, 1);
  script.allocate(1, 512_B, Term::optimizer);
  script.free(0);
  const Footprint result = footprint(script.trace);
  CHECK(at(result.timeline[0], Term::temporary) == 1024_B);  // when the peak was reached
  CHECK(at(result.timeline[1], Term::temporary) == 0_B);
  CHECK(at(result.timeline[1], Term::gradients) == 1024_B);
  CHECK(result.timeline[1].left == 512_B);
}

TEST_CASE("without workspace the peak can lie elsewhere") {
  Script script;
  script.enter(Phase::forward, 1);
  script.allocate(0, 4096_B, Term::activations);
  script.allocate(1, 8192_B, Term::workspace);
  script.free(1);
  script.allocate(2, 1024_B, Term::activations);
  const PhaseUse use = footprint(script.trace).timeline[0];
  CHECK(use.allocated == 12288_B);
  CHECK(use.allocated_without_workspace == 5120_B);
}

TEST_CASE("every phase's terms sum to its peak, and the largest peak is the footprint's") {
  // A seeded mess of events over every term.
  std::uint32_t state = 12345;
  const auto below = [&](std::uint32_t n) {
    return (state = state * 1664525u + 1013904223u) / 7 % n;
  };
  Script script;
  std::uint32_t made = 0;
  for (std::int16_t phase = 0; phase < 40; ++phase) {
    script.enter(static_cast<Phase>(phase % kPhases), static_cast<std::int16_t>(phase / kPhases));
    for (int i = 0; i < 25; ++i) {
      const auto term = static_cast<Term>(below(kTerms));
      if (made == 0 || below(2) == 0) {
        script.allocate(made++, Bytes(below(100000)), term);
      } else if (below(4) == 0) {
        script.retag(below(made), term);
      } else {
        script.free(below(made));  // some for the second time: nothing happens
      }
    }
  }
  const Footprint result = footprint(script.trace);
  Bytes largest{};
  for (const PhaseUse& use : result.timeline) {
    REQUIRE(sum(use.terms) == use.allocated);
    REQUIRE(use.left <= use.allocated);
    REQUIRE(use.allocated_without_workspace <= use.allocated);
    REQUIRE(use.allocated_without_workspace >= use.allocated - at(use, Term::workspace));
    largest = std::max(largest, use.allocated);
  }
  CHECK(result.allocated == largest);
  CHECK(result.timeline[result.peak].allocated == largest);
}

TEST_CASE("the model of the CUDA context covers what was reported") {
  // MiB that a process held beside PyTorch's reserve. From errors of the form "this process has X
  // GiB in use ... Y allocated, Z reserved but unallocated", good to 10 MiB, but for the first
  // (measured apart) and those marked: read from nvidia-smi.
  struct Report {
    const char* card;
    int compute_capability;
    int multiprocessors;
    double mebibytes;
    const char* where;
  };
  const Report reports[] = {
      {"t4-model", 75, 40, 140.9, "Anassbzdd/fitcheck data/measurements"},
      {"t4-model", 75, 40, 141, "FoundationVision/GenerateU issue 10"},
      {"t4-model", 75, 40, 137, "tsugumi-sys/SA-ConvLSTM-Pytorch issue 22"},
      {"t4-model", 75, 40, 135, "Zheng-Chong/CatVTON issue 133"},
      {"rtx2080ti", 75, 68, 197, "lllyasviel/FramePack issue 369"},
      {"a100-40g", 80, 108, 501, "TianheWu/CoSeR issue 10"},
      {"rtx4050-laptop", 89, 20, 120, "facebookresearch/seamless_communication issue 341"},
      {"rtx4060-laptop", 89, 24, 115, "ESRSchao/EdgeRegNet issue 2"},
      {"l4", 89, 58, 246, "unslothai/unsloth issue 1144"},
      {"rtx4090", 89, 128, 416, "eosphoros-ai/DB-GPT-Hub issue 248"},
      {"rtx4090", 89, 128, 473, "pinokiofactory/flux-webui issue 11"},
      {"rtx4090", 89, 128, 504, "3DTopia/Phidias-Diffusion issue 8"},
      {"rtx4090", 89, 128, 520, "huggingface/lora-fast issue 1"},
      {"rtx6000ada", 89, 142, 429, "DINGYANB/MTVCrafter issue 21"},
      {"rtx6000ada", 89, 142, 426, "unslothai/unsloth-zoo pull request 1053, nvidia-smi"},
      {"rtx5090", 120, 170, 595, "Wan-Video/Wan2.1 issue 465"},
      {"rtx5090", 120, 170, 619, "TrajectoryCrafter/TrajectoryCrafter issue 20"},
  };
  for (const Report& report : reports) {
    CAPTURE(report.card, report.where);
    const CudaContext context =
        cuda_context(card(report.card, report.compute_capability, report.multiprocessors, 24_GiB));
    const Bytes reported(static_cast<std::int64_t>(report.mebibytes * 1024 * 1024));
    CHECK(context.evidence == Evidence::fitted);
    CHECK(context.bytes.low <= reported);
    CHECK(context.bytes.high >= reported);
    CHECK(kContextUnknown.low <= reported);
    CHECK(kContextUnknown.high >= reported);
  }
  // 40 multiprocessors of 1,024 threads of 2 KiB, and 60 MiB: what the T4 has, to a MiB.
  CHECK(cuda_context(card("other", 75, 40, 16_GiB)).bytes.likely == 140_MiB);

  const CudaContext t4 = cuda_context(card("t4", 75, 40, 16_GiB));
  CHECK(t4.evidence == Evidence::measured);
  CHECK(t4.bytes == Range<Bytes>::exactly(140_MiB + 896_KiB));  // 140.875 MiB
  CHECK(cuda_context(card("unknown", 86, 0, 12_GiB)).evidence == Evidence::assumed);
  CHECK(cuda_context(card("unknown", 0, 30, 12_GiB)).evidence == Evidence::assumed);
}

TEST_CASE("what a driver keeps is covered by the upper bound") {
  // MiB: nvidia-smi's total, and CUDA's ("total capacity" in PyTorch's errors, good to 5 MiB).
  const double totals[][2] = {{8188, 7936},   {11264, 10998}, {12288, 12042}, {15360, 15104},
                              {15360, 14909}, {16311, 15816}, {23034, 22702}, {24564, 24207},
                              {24564, 24115}, {24576, 24259}, {32607, 32113}, {40960, 40448},
                              {46068, 45496}, {49140, 48509}, {81920, 81152}, {81920, 81039}};
  for (const auto& [smi, cuda] : totals) {
    CAPTURE(smi, cuda);
    Gpu gpu = card("x", 89, 40, 24_GiB);
    gpu.driver_total =
        Sourced<Bytes>{Bytes(static_cast<std::int64_t>(smi)) * 1048576, Evidence::literature, "s"};
    const auto kept = static_cast<double>(device(gpu).driver_keeps.count()) / 1048576;
    CHECK(kept >= smi - cuda - 5);
    CHECK(kept <= smi - cuda + 450);
  }
}

TEST_CASE("usable is the driver's total less what is in use") {
  Gpu gpu = card("rtx3060-12g", 86, 28, 12_GiB);
  SECTION("reported by the driver") {
    gpu.driver_total = Sourced<Bytes>{12288_MiB, Evidence::literature, "somewhere"};
    const Device result = device(gpu, 800_MiB);
    CHECK(result.usable->value == 11488_MiB);
    CHECK(result.usable->evidence == Evidence::literature);
    CHECK(result.usable->source == "somewhere");
  }
  SECTION("nominal size, less a margin that is assumed") {
    const Device result = device(gpu);
    CHECK(result.usable->value == 12288_MiB - 96_MiB);
    CHECK(result.usable->evidence == Evidence::assumed);
    CHECK(result.usable->source.empty());
  }
  SECTION("never less than nothing") { CHECK(device(gpu, 100_GiB).usable->value == 0_B); }
}

TEST_CASE("an estimate is ordered, from allocated to the device and from low to high") {
  const Device t4 = device(card("t4", 75, 40, 16_GiB));
  const MemoryEstimate result = estimate(small_run(), t4);
  CHECK(result.allocated.likely == 150_MiB);
  CHECK(result.reserved.likely == 150_MiB);
  CHECK(result.device.likely == 150_MiB + t4.context.bytes.likely);
  for (const auto& range : {result.allocated, result.reserved, result.device}) {
    CHECK(range.low <= range.likely);
    CHECK(range.likely <= range.high);
  }
  const auto below = [](const Range<Bytes>& a, const Range<Bytes>& b) {
    return a.low <= b.low && a.likely <= b.likely && a.high <= b.high;
  };
  CHECK(below(result.allocated, result.reserved));
  CHECK(below(result.reserved, result.device));
  CHECK(result.device.high >= result.reserved.high + t4.context.bytes.high + t4.driver_keeps);
}

TEST_CASE("at its capacity a run has the card less the context") {
  Gpu gpu = card("t4", 75, 40, 16_GiB);
  const auto with_total = [&](Bytes total) {
    gpu.driver_total = Sourced<Bytes>{total, Evidence::measured, "test"};
    return *estimate(small_run(), device(gpu)).at_capacity;
  };
  const Bytes context = cuda_context(gpu).bytes.likely;
  CHECK(with_total(context + 150_MiB).completes());
  CHECK(with_total(context + 150_MiB).flushes == 0);
  CHECK(!with_total(context + 150_MiB - 1_B).completes());
  CHECK(with_total(context + 150_MiB - 1_B).out_of_memory->phase == Phase::forward);
  CHECK(!with_total(context - 1_B).completes());
  CHECK(!estimate(small_run(), Device{}).at_capacity);
}

TEST_CASE("a run beyond counting exceeds every card") {
  Script script;
  script.enter(Phase::load, 0);
  for (std::uint32_t i = 0; i < 3; ++i) script.allocate(i, Bytes(Saturating::kMax), Term::weights);
  const MemoryEstimate result = estimate(script.trace, device(card("b", 100, 148, 180_GiB)));
  CHECK(result.device.low > kUnlimited);
  CHECK(result.device.high == Bytes(Saturating::kMax));
  CHECK(!result.at_capacity->completes());
}

TEST_CASE("a share of a size keeps every byte that it can, and saturates") {
  CHECK(scaled(1'000'000_B, 1'009'100) == 1'009'100_B);
  CHECK(scaled(999'999_B, 500'000) == 499'999_B);
  CHECK(scaled(Bytes(Saturating::kMax), 2'000'000) == Bytes(Saturating::kMax));
}

TEST_CASE("a run that cannot fit is not replayed to the end, and says so") {
  const Device t4 = device(card("t4", 75, 40, 15_GiB));
  const Bytes most = most_that_fits(t4);
  // With one byte more alive than that, even the least upper bound is beyond the card; a little less
  // still leaves room.
  const auto need = [&](Bytes alive) {
    return scaled(alive, kReservedHigh) + t4.context.bytes.high + t4.driver_keeps;
  };
  CHECK(need(most + Bytes(1)) > t4.usable->value);
  CHECK(need(most - 64_KiB) <= t4.usable->value);

  const Trace run = small_run();
  const MemoryEstimate whole = estimate(run, t4);
  const auto given_up = [&](Bytes above) {
    MemoryMeter meter(t4, {}, above);
    read(run, meter);
    return meter.finish();
  };
  CHECK(!given_up(whole.footprint.allocated).is_least);
  const MemoryEstimate least = given_up(whole.footprint.allocated - Bytes(1));
  CHECK(least.is_least);
  CHECK(least.footprint.allocated <= whole.footprint.allocated);
  CHECK(least.device.high <= whole.device.high);
  CHECK(least.device.likely <= whole.device.likely);
  CHECK(!least.at_capacity->completes());
}
