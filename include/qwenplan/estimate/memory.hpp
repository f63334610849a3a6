#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/emulate/caching_allocator.hpp"
#include "qwenplan/emulate/trace.hpp"

namespace qwenplan {

using Terms = std::array<Bytes, kTerms>;

/// One stretch of a run: the most that was alive in it, of what, and what it leaves alive. Sizes
/// are rounded up to 512 bytes, each storage for itself, as PyTorch does.
struct PhaseUse {
  Phase phase = Phase::load;
  int step = 0;                         ///< as in Mark
  int micro_step = 0;                   ///< as in Mark
  Bytes allocated{};                    ///< the peak, from what was alive at the start onward
  Terms terms{};                        ///< what is alive at that peak: sums to `allocated`
  Bytes left{};                         ///< alive at the end
  Bytes allocated_without_workspace{};  ///< the peak of everything but Term::workspace
};

/// The bytes that a run keeps alive, phase by phase.
struct Footprint {
  std::vector<PhaseUse> timeline;
  Bytes allocated{};     ///< the largest peak of all phases
  std::size_t peak = 0;  ///< the phase that reaches it first
};

/// Counts what is alive over a trace.
class FootprintCounter final : public TraceReader {
 public:
  void enter(const Mark& mark) override {
    close();
    is_open_ = true;
    mark_ = mark;
    peak_ = total_;
    peak_without_workspace_ = total_ - live_[kWorkspace];
    at_peak_ = live_;
  }

  void read(std::span<const Event> events) override {
    for (const Event& event : events) {
      if (event.kind == Event::Kind::empty_cache) continue;
      if (event.storage >= storages_.size())
        storages_.resize(std::max<std::size_t>(1024, event.storage * std::size_t{2}));
      Storage& storage = storages_[event.storage];
      if (event.kind == Event::Kind::allocate) {
        storage = {rounded(event.bytes), event.term};
        std::int64_t& term = live_[static_cast<std::size_t>(event.term)];
        term = Saturating::add(term, storage.bytes);
        total_ = Saturating::add(total_, storage.bytes);
        peak_ = std::max(peak_, total_);
        if (total_ - live_[kWorkspace] > peak_without_workspace_) {
          peak_without_workspace_ = total_ - live_[kWorkspace];
          is_at_peak_ = true;
        }
        continue;
      }
      keep_terms();
      live_[static_cast<std::size_t>(storage.term)] -= storage.bytes;
      if (event.kind == Event::Kind::free) {
        total_ -= storage.bytes;
        storage.bytes = 0;
      } else {
        storage.term = event.term;
        live_[static_cast<std::size_t>(storage.term)] += storage.bytes;
      }
    }
  }

  /// The most that was alive in this phase so far.
  Bytes peak() const { return Bytes(peak_); }

  Footprint finish() {
    close();
    return std::move(result_);
  }

 private:
  struct Storage {
    std::int64_t bytes = 0;
    Term term = Term::temporary;
  };
  static constexpr auto kWorkspace = static_cast<std::size_t>(Term::workspace);

  /// Cut at a size that no device has, so that no sum of a trace's storages overflows.
  static std::int64_t rounded(std::int64_t bytes) {
    return (std::clamp(bytes, std::int64_t{0}, kUnlimited.count()) + 511) & ~std::int64_t{511};
  }

  /// The terms are copied only when the count leaves a new peak of tensors.
  void keep_terms() {
    if (!is_at_peak_) return;
    at_peak_ = live_;
    is_at_peak_ = false;
  }

  void close() {
    if (!std::exchange(is_open_, false)) return;
    keep_terms();
    at_peak_[kWorkspace] = peak_ - peak_without_workspace_;
    PhaseUse use;
    use.phase = mark_.phase;
    use.step = mark_.step;
    use.micro_step = mark_.micro_step;
    use.allocated = Bytes(peak_);
    for (std::size_t t = 0; t < at_peak_.size(); ++t) use.terms[t] = Bytes(at_peak_[t]);
    use.left = Bytes(total_);
    use.allocated_without_workspace = Bytes(peak_without_workspace_);
    if (result_.timeline.empty() || use.allocated > result_.allocated) {
      result_.allocated = use.allocated;
      result_.peak = result_.timeline.size();
    }
    result_.timeline.push_back(use);
  }

  Footprint result_;
  Mark mark_;
  bool is_open_ = false;
  bool is_at_peak_ = false;
  std::vector<Storage> storages_;
  std::array<std::int64_t, kTerms> live_{};
  std::array<std::int64_t, kTerms> at_peak_{};
  std::int64_t total_ = 0;
  std::int64_t peak_ = 0;
  std::int64_t peak_without_workspace_ = 0;
};

inline Footprint footprint(const Trace& trace) {
  FootprintCounter counter;
  read(trace, counter);
  return counter.finish();
}

/// Memory of a process on the device that PyTorch's allocator knows nothing of: the CUDA context
/// with the code of its libraries.
struct CudaContext {
  Range<Bytes> bytes{};
  Evidence evidence = Evidence::assumed;
  std::string_view source;  ///< key of data/sources.json; empty where assumed
};

/// Measured on a Tesla T4 with torch 2.14 and CUDA 13.0: 140.875 MiB in each of 59 runs.
inline constexpr std::int64_t kContextT4 = 147'718'144;

/// A context is a fixed part, and local memory for every thread that can be resident on the card.
/// Fitted to sixteen reports of twelve cards of 20 to 170 multiprocessors, most of them messages
/// of out-of-memory errors, which name the memory of the process and PyTorch's share of it: they
/// lie between 0.87 and 1.17 of this (tests/unit/estimate/memory_test.cpp lists them).
inline constexpr Bytes kContextFixed = Bytes(60 * 1024 * 1024);
inline constexpr Bytes kContextPerThread = Bytes(2 * 1024);
inline constexpr std::int64_t kContextLow = 870'000;  ///< parts per million of the fit
inline constexpr std::int64_t kContextHigh = 1'175'000;

/// Where the card is not known: the smallest, middle and largest of those reports.
inline constexpr Range<Bytes> kContextUnknown{Bytes(115 * 1024 * 1024), Bytes(340 * 1024 * 1024),
                                              Bytes(620 * 1024 * 1024)};

/// Threads that can be resident on one multiprocessor (CUDA C++ Programming Guide, table of
/// technical specifications per compute capability); 0 if not known.
constexpr int resident_threads(int compute_capability) {
  switch (compute_capability) {
    case 75:
      return 1024;
    case 86:
    case 87:
    case 89:
    case 120:
      return 1536;
    case 60:
    case 70:
    case 80:
    case 90:
    case 100:
    case 103:
      return 2048;
    default:
      return 0;
  }
}

/// A share of a size in parts per million, rounded down; saturates.
constexpr Bytes scaled(Bytes bytes, std::int64_t per_million) {
  const std::int64_t whole = bytes.count() / 1'000'000;
  const std::int64_t rest = bytes.count() % 1'000'000;
  return Bytes(whole) * per_million + Bytes(rest * per_million / 1'000'000);
}

inline CudaContext cuda_context(const Gpu& gpu) {
  if (gpu.id == "t4")
    return {
        {Bytes(kContextT4), Bytes(kContextT4), Bytes(kContextT4)}, Evidence::measured, "fitcheck"};
  const std::int64_t threads =
      std::int64_t{gpu.multiprocessors} * resident_threads(gpu.compute_capability);
  if (threads <= 0) return {kContextUnknown, Evidence::assumed, {}};
  const Bytes likely = kContextFixed + kContextPerThread * threads;
  return {{scaled(likely, kContextLow), likely, scaled(likely, kContextHigh)},
          Evidence::fitted,
          "cuda-context-reports"};
}

/// What the driver keeps of the total that nvidia-smi reports: CUDA's own total
/// (`cudaMemGetInfo`, "total capacity" in PyTorch's errors) is smaller by 0 (V100) to 880 MiB.
/// The upper bound covers sixteen reports, of which the newest drivers keep most.
inline constexpr Bytes kDriverKeepsFixed = Bytes(365 * 1024 * 1024);
inline constexpr std::int64_t kDriverKeepsShare = 8'000;  ///< parts per million of the total

/// GeForce and workstation cards report up to 0.5 % less than their nominal size: this is a little
/// more, and assumed for cards whose total nobody has read.
inline constexpr std::int64_t kUnreportedMargin = 128;  ///< one part of this many

/// The card that a run shares with its driver and other programs, as far as memory goes. By
/// default an unknown one without a limit.
struct Device {
  CudaContext context{kContextUnknown, Evidence::assumed, {}};
  Bytes driver_keeps{};                  ///< at most
  std::optional<Sourced<Bytes>> usable;  ///< the total that the driver reports less what is in use
};

/// `in_use` is what other programs hold already, a desktop for instance.
inline Device device(const Gpu& gpu, Bytes in_use = {}) {
  Sourced<Bytes> total = gpu.memory;
  if (gpu.driver_total) {
    total = *gpu.driver_total;
  } else {
    total.value -= Bytes(total.value.count() / kUnreportedMargin);
    total.evidence = Evidence::assumed;
    total.source.clear();
  }
  Device result;
  result.context = cuda_context(gpu);
  result.driver_keeps = kDriverKeepsFixed + scaled(total.value, kDriverKeepsShare);
  total.value = std::max(Bytes(), total.value - in_use);
  result.usable = std::move(total);
  return result;
}

/// How far measurements lie from the replay, in parts per million of it: the 32 runs on a Tesla T4
/// with sdpa (source `fitcheck`, tests/validation/t4_test.cpp). Allocated bytes, counted in blocks,
/// are met within 0.4 %. Reserved bytes are met within 0.3 % where the base is not quantized; where
/// it is, the loader's threads place the weights in an order that no two runs share.
inline constexpr std::int64_t kAllocatedHigh = 1'002'000;
inline constexpr std::int64_t kReservedLow = 975'000;
inline constexpr std::int64_t kReservedHigh = 1'061'000;

/// What a run needs on the device, and what happens there.
struct MemoryEstimate {
  Footprint footprint;
  Reserved unlimited;                   ///< the allocator on a card without limit
  std::optional<Reserved> at_capacity;  ///< on this card, beside the context

  /// `max_memory_allocated()`, which counts whole blocks, each up to 1 MiB larger than its request.
  /// Low is the footprint's peak, which the timeline shows and which never falls as a run grows.
  Range<Bytes> allocated{};
  Range<Bytes> reserved{};  ///< `max_memory_reserved()` without limit
  /// True where the run was given up because even the bytes alive were too many: every size is then
  /// the least that it can be, and there is no replay.
  bool is_least = false;
  /// Reserved and the context: what nvidia-smi shows for the process. The upper bound includes
  /// what the driver keeps of the card, because that is missing in the end.
  Range<Bytes> device{};
  Device on;
};

/// The most bytes alive with which a run can still fit for sure, upper bounds included; without a
/// card, any.
inline Bytes most_that_fits(const Device& device) {
  if (!device.usable) return kUnlimited;
  const Bytes room = device.usable->value - device.context.bytes.high - device.driver_keeps;
  return room <= Bytes() ? Bytes() : scaled(room, (1'000'000'000'000 + kReservedHigh - 1) / kReservedHigh) + Bytes(512);
}

/// The most bytes alive with which a run can still be tight; without a card, any.
inline Bytes most_that_is_tight(const Device& device) {
  if (!device.usable) return kUnlimited;
  return std::max(Bytes(), device.usable->value - device.context.bytes.likely);
}

/// Reads a run and says what it needs on a device. It is given up once more than `give_up_above`
/// bytes are alive.
class MemoryMeter final : public TraceReader {
 public:
  explicit MemoryMeter(const Device& device, const AllocatorSettings& settings = {},
                       Bytes give_up_above = Bytes(Saturating::kMax))
      : device_(device),
        settings_(settings),
        give_up_above_(give_up_above),
        replay_(std::in_place, settings, capacity_of(device)) {}

  void enter(const Mark& mark) override {
    counter_.enter(mark);
    if (replay_) replay_->enter(mark);
  }
  void read(std::span<const Event> events) override {
    counter_.read(events);
    if (replay_ && counter_.peak() > give_up_above_) replay_.reset();
    if (replay_) replay_->read(events);
  }
  bool has_enough() const override { return !replay_; }
  /// Where garbage is collected, blocks have an age, which each request adds to.
  bool wants_every_pass() const override { return settings_.garbage_collection_threshold > 0.0; }

  /// Bytes at the peak that may be more or less: the range is so much wider to both sides.
  void widen(Bytes unsettled) { unsettled_ = unsettled; }

  MemoryEstimate finish() {
    MemoryEstimate result;
    result.footprint = counter_.finish();
    result.on = device_;

    const Bytes allocated = result.footprint.allocated;
    if (replay_) {
      result.unlimited = replay_->unlimited();
    } else {
      result.is_least = true;
      result.unlimited.peak_allocated = result.unlimited.peak_reserved = allocated;
    }
    // A run beyond any card has no meaningful reserve, only one that fits nowhere.
    const Bytes reserved =
        result.unlimited.completes() ? result.unlimited.peak_reserved : Bytes(Saturating::kMax);
    const Bytes blocks = std::max(allocated, result.unlimited.peak_allocated);
    result.allocated = {allocated, blocks, scaled(blocks, kAllocatedHigh)};
    result.reserved = {std::max(blocks, scaled(reserved, kReservedLow)),
                       std::max(blocks, reserved),
                       std::max(result.allocated.high, scaled(reserved, kReservedHigh))};
    for (Range<Bytes>* const range : {&result.allocated, &result.reserved}) {
      range->low -= std::min(range->low, unsettled_);
      range->high += unsettled_;
    }
    result.device = result.reserved + device_.context.bytes;
    result.device.high += device_.driver_keeps;
    if (const auto capacity = capacity_of(device_)) {
      const bool has_room =
          reserved <= *capacity && settings_.garbage_collection_threshold == 0.0;
      result.at_capacity = has_room || !replay_ ? result.unlimited : replay_->limited();
      if (!replay_) result.at_capacity->out_of_memory.emplace();
    }
    return result;
  }

 private:
  /// What is left for the allocator beside the context; none without a card.
  static std::optional<Bytes> capacity_of(const Device& device) {
    if (!device.usable) return std::nullopt;
    return most_that_is_tight(device);
  }

  Device device_;
  AllocatorSettings settings_;
  Bytes give_up_above_;
  Bytes unsettled_{};
  FootprintCounter counter_;
  std::optional<ReplayOnCard> replay_;
};

inline MemoryEstimate estimate(const Trace& trace, const Device& device,
                               const AllocatorSettings& settings = {}) {
  MemoryMeter meter(device, settings);
  read(trace, meter);
  return meter.finish();
}

}  // namespace qwenplan
