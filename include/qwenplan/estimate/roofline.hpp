#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/emulate/trace.hpp"

namespace qwenplan {

/// What the time of a step goes to.
enum class TimeTerm : std::uint8_t {
  linear, adapters, attention, head, elementwise, dequantization, recomputation, optimizer, launch, input
};
inline constexpr int kTimeTerms = 10;

constexpr std::string_view name(TimeTerm term) {
  constexpr std::string_view names[] = {"linear",         "adapters",      "attention", "head",   "elementwise",
                                        "dequantization", "recomputation", "optimizer", "launch", "input"};
  return names[static_cast<int>(term)];
}

/// What a step waits for most.
enum class Bound : std::uint8_t { compute, bandwidth, launch, input };

constexpr std::string_view name(Bound bound) {
  constexpr std::string_view names[] = {"compute", "bandwidth", "launch", "input"};
  return names[static_cast<int>(bound)];
}

/// The work of one optimizer step: its calls in order, those of one shape together.
struct StepWork {
  struct Calls {
    Work work;
    double count = 0;  ///< calls in a step
  };
  /// A stretch that starts with an idle device, because the host waited for its end before: the
  /// Trainer looks at the loss of each micro-step.
  struct Stretch {
    std::size_t first = 0;  ///< in `order`; the next stretch's first ends it
    std::size_t forward_end = 0;  ///< where forward and loss end
    double count = 1;       ///< how often it runs in a step
  };
  std::vector<Calls> calls;
  std::vector<std::uint32_t> order;  ///< which of `calls`, one after the other
  std::vector<Stretch> stretches;
  std::int64_t tokens = 0;  ///< padding included

  double flops() const {
    double sum = 0;
    for (const Calls& each : calls) sum += each.count * each.work.flops();
    return sum;
  }
  double launches() const {
    double sum = 0;
    for (const Calls& each : calls) sum += each.count * each.work.launches;
    return sum;
  }
};

/// Counts the work of a step: forward and backward of the first, whose work the second repeats, and
/// the update of the second, which finds the optimizer's states. Of accumulation the emulation runs
/// two micro-steps; the second stands for all but the first.
class WorkCounter final : public TraceReader {
 public:
  explicit WorkCounter(const Run& run)
      : accumulation_(run.accumulation), updates_in_backward_(run.optimizer_in_backward) {
    result_.tokens = run.data_tokens() * run.accumulation;
  }

  void enter(const Mark& mark) override {
    counts_ = mark.step == (mark.phase == Phase::step || updates_in_backward_ ? 2 : 1);
    if (!counts_) return;
    is_forward_ = mark.phase == Phase::forward || mark.phase == Phase::loss;
    const double weight = mark.micro_step == 2 ? static_cast<double>(accumulation_ - 1) : 1;
    const bool is_next = mark.micro_step != micro_step_ || mark.phase == Phase::step;
    if (result_.stretches.empty() || is_next) result_.stretches.push_back({result_.order.size(), result_.order.size(), weight});
    micro_step_ = mark.micro_step;
  }
  void read(std::span<const Event>) override {}
  bool wants_work() const override { return true; }
  void work(const Work& work) override {
    if (!counts_) return;
    const std::uint32_t place = place_of(work);
    StepWork::Stretch& stretch = result_.stretches.back();
    result_.calls[place].count += stretch.count;
    result_.order.push_back(place);
    if (is_forward_) stretch.forward_end = result_.order.size();
  }

  StepWork finish() { return std::move(result_); }

 private:
  /// Of the calls that take as long, which is told as one.
  std::uint32_t place_of(const Work& work) {
    const std::uint64_t wanted = key(work);
    Recent& recent = recent_[wanted % recent_.size()];
    if (recent.key == wanted) return recent.place;
    const auto [at, is_new] = places_.try_emplace(wanted, static_cast<std::uint32_t>(result_.calls.size()));
    if (is_new) result_.calls.push_back({work, 0});
    recent = {wanted, at->second};
    return at->second;
  }

  /// Calls with one key take one time.
  static std::uint64_t key(const Work& w) {
    std::uint64_t key = 0xcbf29ce484222325u;
    const auto mix = [&key](std::uint64_t value) {
      key ^= value;
      key *= 0x9e3779b97f4a7c15u;
      key ^= key >> 29;
    };
    for (const std::int64_t size : {w.rows, w.inner, w.columns, w.count, w.bytes})
      mix(static_cast<std::uint64_t>(size));
    mix(static_cast<std::uint64_t>(w.launches));
    mix(static_cast<std::uint64_t>(w.kind) | static_cast<std::uint64_t>(w.dtype) << 8 |
        static_cast<std::uint64_t>(w.products) << 16 | static_cast<std::uint64_t>(w.section) << 24 |
        static_cast<std::uint64_t>(w.is_causal) << 32 | static_cast<std::uint64_t>(w.recomputes) << 33 |
        static_cast<std::uint64_t>(w.waits) << 34);
    return key;
  }

  std::int64_t accumulation_;
  bool updates_in_backward_;
  bool counts_ = false;
  bool is_forward_ = false;
  std::int16_t micro_step_ = -1;
  struct Recent {
    std::uint64_t key = 0;
    std::uint32_t place = 0;
  };
  std::array<Recent, 256> recent_{};  ///< the last of each low byte of a key: most calls came a layer before
  std::unordered_map<std::uint64_t, std::uint32_t> places_;
  StepWork result_;
};

/// How much of a card's limits real kernels reach, and what the host needs for each. Fitted to
/// measurements (estimate/calibration.hpp), the same for all cards.
struct Efficiency {
  double matrix = 0.8;            ///< of the tensor rate, by large products
  double bandwidth = 0.75;        ///< of the memory's rate, by kernels that stream
  double attention = 0.45;        ///< of the products' rate, by fused attention
  double launch_seconds = 20e-6;  ///< of the host, for each kernel
  double slowdown = 1;            ///< of all that the card does, as its own steps tell
  friend bool operator==(const Efficiency&, const Efficiency&) = default;
};

/// Joules that a floating-point operation of a matrix product takes with all that belongs to it.
/// Taken where a card's power is what holds products down: an A100 PCIe that multiplies at 252.9
/// TFLOP/s with 300 W, a B200 at 1745 with 1000 W (source ml-engineering). How other generations
/// compare is assumed: 12 nm takes 2.5 times the power of TSMC's 7 nm, Samsung's 8 nm 1.5 times,
/// TSMC's 5 nm class 0.7 times. A T4 comes out at 24 TFLOP/s of its nominal 65, as reported; but the
/// report was known when the factor was chosen, and is no proof. Outside of tensor cores, where each
/// operation is an instruction of its own, one takes six times as much (assumed: a T4 comes out at
/// 3.9 TFLOP/s in fp32, between its base clock's 3.0 and its boost clock's 8.1).
constexpr double joules_per_flop(int compute_capability) {
  constexpr double k7nm = 300.0 / 252.9e12;
  if (compute_capability < 80) return 2.5 * k7nm;
  if (compute_capability == 80) return k7nm;
  if (compute_capability < 89) return 1.5 * k7nm;
  if (compute_capability == 100 || compute_capability == 103) return 1000.0 / 1745e12;
  return 0.7 * k7nm;
}

/// What a step takes on one card.
struct StepTime {
  std::array<double, kTimeTerms> terms{};  ///< seconds; they sum to `seconds`
  double seconds = 0;
  double device = 0;   ///< the device at work
  double compute = 0;  ///< of `device`, where arithmetic decides
  double forward = 0;  ///< of `seconds`, forward and loss: what evaluation repeats
};

/// What most of a step goes to.
constexpr Bound bound_of(const StepTime& time) {
  const double input = time.terms[static_cast<std::size_t>(TimeTerm::input)];
  const double parts[] = {time.compute, time.device - time.compute,
                          time.terms[static_cast<std::size_t>(TimeTerm::launch)], input};
  int most = 0;
  for (int i = 1; i < 4; ++i)
    if (parts[i] > parts[most]) most = i;
  return static_cast<Bound>(most);
}

namespace detail {

/// Products are computed in whole tiles.
constexpr std::int64_t tiled(std::int64_t size) {
  constexpr std::int64_t kTile = 64;
  return (size + kTile - 1) / kTile * kTile;
}

constexpr TimeTerm term_of(const Work& w) {
  if (w.section == Section::optimizer) return TimeTerm::optimizer;
  if (w.recomputes) return TimeTerm::recomputation;
  if (w.kind == Work::Kind::dequantize) return TimeTerm::dequantization;
  switch (w.section) {
    case Section::adapters: return TimeTerm::adapters;
    case Section::attention: return TimeTerm::attention;
    case Section::head: return TimeTerm::head;
    default: return w.kind == Work::Kind::matmul ? TimeTerm::linear : TimeTerm::elementwise;
  }
}

}  // namespace detail

/// The rates that a card sustains.
class Roofline {
 public:
  Roofline(const Gpu& gpu, const Efficiency& efficiency) : e_(efficiency) {
    bandwidth_ = gpu.bandwidth.value;
    fp32_ = gpu.fp32_rate ? gpu.fp32_rate->value : 0;
    fp16_ = gpu.fp16_rate ? gpu.fp16_rate->value : fp32_;
    bf16_ = gpu.bf16_rate ? gpu.bf16_rate->value : fp32_;
    if (gpu.power) powered_ = gpu.power->value / joules_per_flop(gpu.compute_capability);
  }

  /// FLOP/s of large products; TF32 is off, as PyTorch leaves it.
  double matrix_rate(DType dtype) const {
    constexpr double kOutsideTensorCores = 6;
    if (dtype == DType::fp32) return std::min(e_.matrix * fp32_, powered_ / kOutsideTensorCores);
    const double rate = dtype == DType::bf16 ? bf16_ : dtype == DType::uint8 ? 2 * fp16_ : fp16_;
    return std::min(e_.matrix * rate, powered_);
  }

  /// Seconds of one call, and whether arithmetic decides.
  std::pair<double, bool> seconds(const Work& w) const {
    const double memory = e_.slowdown * static_cast<double>(w.bytes) / (bandwidth_ * e_.bandwidth);
    if (w.products == 0) return {memory, false};
    double flops = w.flops();
    double rate = matrix_rate(w.dtype);
    if (w.kind == Work::Kind::matmul) {
      flops = 2.0 * static_cast<double>(w.count) * static_cast<double>(detail::tiled(w.rows)) *
              static_cast<double>(w.inner) * static_cast<double>(detail::tiled(w.columns));
    } else {
      if (w.is_causal) flops /= 2;
      rate *= e_.attention;
    }
    const double arithmetic = e_.slowdown * flops / rate;
    return {std::max(arithmetic, memory), arithmetic >= memory};
  }

  /// A step. The host launches one kernel after the other and runs ahead; the device works through
  /// them in order and waits where the next is not launched yet; at some, the host waits for it.
  StepTime step(const StepWork& work) const {
    struct Cost {
      double device, host;
      bool waits;
    };
    std::vector<Cost> costs;
    costs.reserve(work.calls.size());
    StepTime time;
    for (const StepWork::Calls& each : work.calls) {
      const auto [one, is_compute] = seconds(each.work);
      costs.push_back({one, each.work.launches * e_.launch_seconds, each.work.waits});
      time.terms[static_cast<std::size_t>(detail::term_of(each.work))] += one * each.count;
      time.device += one * each.count;
      if (is_compute) time.compute += one * each.count;
    }
    for (std::size_t s = 0; s < work.stretches.size(); ++s) {
      const StepWork::Stretch& stretch = work.stretches[s];
      const std::size_t end = s + 1 < work.stretches.size() ? work.stretches[s + 1].first : work.order.size();
      double host = 0, device = 0;
      for (std::size_t i = stretch.first; i < end; ++i) {
        const Cost& cost = costs[work.order[i]];
        host += cost.host;
        device = std::max(device, host) + cost.device;
        if (cost.waits) host = device;
        if (i + 1 == stretch.forward_end) time.forward += stretch.count * device;
      }
      time.seconds += stretch.count * device;
    }
    time.terms[static_cast<std::size_t>(TimeTerm::launch)] = std::max(0.0, time.seconds - time.device);
    return time;
  }

 private:
  Efficiency e_;
  double bandwidth_ = 0, fp32_ = 0, fp16_ = 0, bf16_ = 0;
  double powered_ = std::numeric_limits<double>::infinity();  ///< FLOP/s that the board's power allows
};

}  // namespace qwenplan
