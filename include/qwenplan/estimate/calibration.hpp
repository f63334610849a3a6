#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/estimate/roofline.hpp"

namespace qwenplan {

/// A measured step: what it computed, where, and how long it took.
struct MeasuredStep {
  std::string id;
  std::string source;
  std::string sitting;  ///< runs of one sitting share machine and software
  StepWork work;
  Gpu gpu;
  double seconds = 0;
};

/// What steps measured on one machine say of it: by how much longer than others its card works, and
/// its host needs for each kernel.
struct Correction {
  double card = 1;
  double launch = 1;

  Efficiency applied_to(Efficiency e) const {
    e.slowdown *= card;
    e.launch_seconds *= launch;
    return e;
  }
};

/// What measurements taught: one set of efficiencies, how far single runs lie from it, and what the
/// user's own steps say of single cards.
struct Calibration {
  Efficiency efficiency;
  /// Measured over predicted seconds: a tenth of the runs of unseen cards lie below, a tenth above.
  Range<double> spread{1, 1, 1};
  struct OnCard {
    Correction correction;
    int steps = 0;  ///< of the user's own that it was taken from
    Range<double> spread{1, 1, 1};
  };
  std::map<std::string, OnCard, std::less<>> cards;  ///< by the id of the GPU

  const OnCard* card(std::string_view id) const {
    const auto found = cards.find(id);
    return found == cards.end() ? nullptr : &found->second;
  }
  /// What is expected of a card: of its own steps, if some were measured.
  Efficiency efficiency_on(std::string_view id) const {
    const OnCard* measured = card(id);
    return measured ? measured->correction.applied_to(efficiency) : efficiency;
  }
};

/// What is believed before any run is looked at, and how firmly (as a share): products reach 80 % of
/// the tensor rate on an H100, 81 on an A100 PCIe and 87 on an A100 SXM (source ml-engineering); the
/// rest is assumed: streaming kernels reach about three quarters of the memory's rate, fused attention
/// about half of the products' rate over forward and backward, and PyTorch launches a kernel in about
/// 20 us. The runs decide; this keeps what a set of runs cannot tell apart from drifting.
struct Belief {
  double Efficiency::*member;
  double value;
  double width;
};
inline constexpr std::array<Belief, 4> kBeliefs{{{&Efficiency::matrix, 0.8, 0.2},
                                                 {&Efficiency::bandwidth, 0.75, 0.2},
                                                 {&Efficiency::attention, 0.45, 0.4},
                                                 {&Efficiency::launch_seconds, 20e-6, 0.5}}};

namespace detail {

/// Of the logarithm of measured over predicted, without its sign: the mean of the sources' means, so
/// that a source with many runs does not decide alone, and a little of what was believed before.
inline double misfit(std::span<const MeasuredStep* const> steps, const Efficiency& e) {
  constexpr double kBeliefWeight = 0.02 / 2;
  std::map<std::string_view, std::pair<double, int>> sources;
  for (const MeasuredStep* step : steps) {
    auto& [sum, count] = sources[step->source];
    sum += std::abs(std::log(Roofline(step->gpu, e).step(step->work).seconds / step->seconds));
    ++count;
  }
  double result = 0;
  for (const auto& [source, errors] : sources) result += errors.first / errors.second;
  for (const Belief& belief : kBeliefs) {
    const double off = std::log(e.*belief.member / belief.value) / belief.width;
    result += kBeliefWeight * off * off;
  }
  return result;
}

}  // namespace detail

/// The efficiencies that fit steps best: a search along one after the other, in falling strides.
inline Efficiency fitted(std::span<const MeasuredStep* const> steps) {
  Efficiency best;
  for (const Belief& belief : kBeliefs) best.*belief.member = belief.value;
  double least = detail::misfit(steps, best);
  std::array<double, kBeliefs.size()> strides;
  strides.fill(0.3);
  constexpr int kRounds = 50;
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t i = 0; i < kBeliefs.size(); ++i) {
      bool is_better = false;
      for (const double sign : {1.0, -1.0}) {
        Efficiency tried = best;
        double& value = tried.*kBeliefs[i].member;
        value *= std::exp(sign * strides[i]);
        if (kBeliefs[i].member != &Efficiency::launch_seconds) value = std::min(value, 1.0);
        const double misfit = detail::misfit(steps, tried);
        if (misfit >= least) continue;
        best = tried;
        least = misfit;
        is_better = true;
        break;
      }
      strides[i] *= is_better ? 1.3 : 0.6;
      if (strides[i] < 1e-3) strides[i] = 0.1;
    }
  return best;
}

inline double predicted_seconds(const MeasuredStep& step, const Efficiency& e) {
  return Roofline(step.gpu, e).step(step.work).seconds;
}

/// The middle eight tenths of values; the middle one is likely.
inline Range<double> spread(std::vector<double> values) {
  if (values.empty()) return {1, 1, 1};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
  };
  return {at(0.1), at(0.5), at(0.9)};
}

/// How far machines lie from the efficiencies before a step is measured on them, as the standard
/// deviation of a logarithm: the sittings of the published runs had cards that worked within about an
/// eighth of what was predicted, and hosts that took half to twice the time for a launch.
inline constexpr double kCardWidth = 0.12, kLaunchWidth = 0.5;

namespace detail {

/// Where a function with one valley in [low, high] is lowest, by the golden section.
template <typename F>
double lowest(const F& f, double low, double high) {
  constexpr double kGolden = 0.6180339887498949, kNear = 2e-4;
  double left = high - kGolden * (high - low), right = low + kGolden * (high - low);
  double at_left = f(left), at_right = f(right);
  while (high - low > kNear)
    if (at_left <= at_right) {
      high = right, right = left, at_right = at_left;
      at_left = f(left = high - kGolden * (high - low));
    } else {
      low = left, left = right, at_left = at_right;
      at_right = f(right = low + kGolden * (high - low));
    }
  return (low + high) / 2;
}

}  // namespace detail

/// The likeliest correction for steps of one machine: what meets the measured times with the least
/// departure from what is believed. A step that waits for the host says little of the card, and one
/// that keeps the card busy little of the host. At least one step.
inline Correction corrected(std::span<const MeasuredStep* const> steps, const Efficiency& e) {
  constexpr double kFarthest = 3;  // a factor of twenty
  constexpr double kStepWidth = 0.002;  // how well a measured step is to be met
  const auto correction = [](double card, double launch) { return Correction{std::exp(card), std::exp(launch)}; };
  const auto improbability = [&](double card, double launch) {
    const auto square = [](double x) { return x * x; };
    double sum = square(card / kCardWidth) + square(launch / kLaunchWidth);
    for (const MeasuredStep* step : steps)
      sum += square(std::log(predicted_seconds(*step, correction(card, launch).applied_to(e)) / step->seconds) / kStepWidth);
    return sum;
  };
  const auto card_for = [&](double launch) {
    return detail::lowest([&](double card) { return improbability(card, launch); }, -kFarthest, kFarthest);
  };
  const auto depth = [&](double launch) { return improbability(card_for(launch), launch); };
  // Where the host decides, the valley is narrow: the launch time that alone explains a step is tried
  // too, and steps are taken from the best.
  std::vector<double> starts = {0, -0.8, -0.4, 0.4, 0.8};
  for (const MeasuredStep* step : steps)
    starts.push_back(detail::lowest(
        [&](double tried) {
          return std::abs(std::log(predicted_seconds(*step, correction(0, tried).applied_to(e)) / step->seconds));
        },
        -kFarthest, kFarthest));
  double launch = 0, least = depth(0);
  const auto try_at = [&](double tried) {
    const double found = depth(tried);
    if (found >= least) return false;
    launch = tried, least = found;
    return true;
  };
  for (const double start : starts) try_at(start);
  for (double stride = 0.2; stride > 0.005; stride /= 2)
    while (try_at(launch + stride) || try_at(launch - stride)) {}
  return correction(card_for(launch), launch);
}

/// How runs of one source are met by efficiencies that were fitted without it and without its cards.
struct LeftOut {
  std::string source;
  Efficiency efficiency;
  struct Run {
    std::string id;
    double seconds = 0;    ///< measured
    double predicted = 0;
    /// Mean error of the other runs of its sitting once this one was measured; none if it is alone.
    std::optional<double> after_one_step;
  };
  std::vector<Run> runs;
  double error = 0;           ///< mean of the errors of tokens per second, without their sign
  double after_one_step = 0;  ///< the same with one measured step of the sitting, each run in turn
};

namespace detail {

/// Mean error of the other runs of a sitting once one of them corrects the efficiencies.
inline std::optional<double> after_one_step(std::span<const MeasuredStep* const> steps, std::size_t measured,
                                            const Efficiency& e) {
  std::vector<const MeasuredStep*> others;
  for (const MeasuredStep* step : steps)
    if (step != steps[measured] && step->sitting == steps[measured]->sitting) others.push_back(step);
  if (others.empty()) return std::nullopt;
  const Efficiency own = corrected(steps.subspan(measured, 1), e).applied_to(e);
  double sum = 0;
  for (const MeasuredStep* other : others) sum += std::abs(other->seconds / predicted_seconds(*other, own) - 1);
  return sum / static_cast<double>(others.size());
}

}  // namespace detail

/// Leaves each source out in turn, and with it every run on a card that it has.
inline std::vector<LeftOut> leave_sources_out(std::span<const MeasuredStep> steps) {
  std::vector<LeftOut> result;
  for (const MeasuredStep& first : steps) {
    if (std::any_of(result.begin(), result.end(), [&](const LeftOut& each) { return each.source == first.source; }))
      continue;
    LeftOut out;
    out.source = first.source;
    std::vector<const MeasuredStep*> seen, unseen;
    for (const MeasuredStep& step : steps)
      if (step.source == out.source) unseen.push_back(&step);
    for (const MeasuredStep& step : steps) {
      const bool is_known_card = std::any_of(unseen.begin(), unseen.end(), [&](const MeasuredStep* each) {
        return each->gpu.id == step.gpu.id;
      });
      if (!is_known_card) seen.push_back(&step);
    }
    out.efficiency = fitted(seen);
    for (const MeasuredStep* step : unseen)
      out.runs.push_back({step->id, step->seconds, predicted_seconds(*step, out.efficiency), {}});
    const auto count = static_cast<double>(out.runs.size());
    for (const LeftOut::Run& run : out.runs) out.error += std::abs(run.seconds / run.predicted - 1) / count;
    double sum = 0;
    int measured = 0;
    for (std::size_t i = 0; i < unseen.size(); ++i) {
      out.runs[i].after_one_step = detail::after_one_step(unseen, i, out.efficiency);
      sum += out.runs[i].after_one_step.value_or(0);
      measured += out.runs[i].after_one_step.has_value();
    }
    if (measured > 0) out.after_one_step = sum / measured;
    result.push_back(std::move(out));
  }
  return result;
}

/// A card's correction from its own steps, and how far they lie from it.
inline Calibration::OnCard calibrated(std::span<const MeasuredStep> steps, const Efficiency& e) {
  std::vector<const MeasuredStep*> all;
  for (const MeasuredStep& step : steps) all.push_back(&step);
  Calibration::OnCard card;
  card.correction = corrected(all, e);
  card.steps = static_cast<int>(steps.size());
  std::vector<double> ratios;
  for (const MeasuredStep& step : steps)
    ratios.push_back(step.seconds / predicted_seconds(step, card.correction.applied_to(e)));
  const Range<double> around = spread(ratios);
  // What single runs of one card still differ by, once one of them was measured: 15 % either way.
  constexpr double kOneStep = 0.15;
  card.spread = {std::min(1 - kOneStep, around.low), 1, std::max(1 + kOneStep, around.high)};
  return card;
}

}  // namespace qwenplan
