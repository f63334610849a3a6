#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>
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
  StepWork work;
  Gpu gpu;
  double seconds = 0;
};

/// What measurements taught: one set of efficiencies, how far single runs lie from it, and what the
/// user's own steps say of single cards.
struct Calibration {
  Efficiency efficiency;
  /// Measured over predicted seconds: a tenth of the runs of unseen cards lie below, a tenth above.
  Range<double> spread{1, 1, 1};
  struct OnCard {
    double factor = 1;  ///< measured over predicted seconds of the user's own steps
    int steps = 0;
    Range<double> spread{1, 1, 1};
  };
  std::map<std::string, OnCard, std::less<>> cards;  ///< by the id of the GPU

  const OnCard* card(std::string_view id) const {
    const auto found = cards.find(id);
    return found == cards.end() ? nullptr : &found->second;
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

/// How runs of one source are met by efficiencies that were fitted without it and without its cards.
struct LeftOut {
  std::string source;
  Efficiency efficiency;
  struct Run {
    std::string id;
    double seconds = 0;    ///< measured
    double predicted = 0;
    double after_one_step = 0;  ///< mean error of the source's other runs once this one was measured
  };
  std::vector<Run> runs;
  double error = 0;           ///< mean of the errors of tokens per second, without their sign
  double after_one_step = 0;  ///< the same with one measured step of the card, each run in turn
};

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
      out.runs.push_back({step->id, step->seconds, predicted_seconds(*step, out.efficiency), 0});
    const auto count = static_cast<double>(out.runs.size());
    for (const LeftOut::Run& run : out.runs) out.error += std::abs(run.seconds / run.predicted - 1) / count;
    for (LeftOut::Run& measured : out.runs) {
      const double factor = measured.seconds / measured.predicted;
      for (const LeftOut::Run& other : out.runs)
        if (&other != &measured && count > 1)
          measured.after_one_step += std::abs(other.seconds / (other.predicted * factor) - 1) / (count - 1);
      out.after_one_step += measured.after_one_step / count;
    }
    result.push_back(std::move(out));
  }
  return result;
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

/// One factor for a card from its own steps: the middle of measured over predicted.
inline Calibration::OnCard calibrated(std::span<const MeasuredStep> steps, const Efficiency& e) {
  std::vector<double> ratios;
  for (const MeasuredStep& step : steps) ratios.push_back(step.seconds / predicted_seconds(step, e));
  Calibration::OnCard card;
  const Range<double> around = spread(ratios);
  card.factor = around.likely;
  card.steps = static_cast<int>(ratios.size());
  // What single runs of one card still differ by, once one of them was measured: 15 % either way.
  constexpr double kOneStep = 0.15;
  card.spread = {std::min(1 - kOneStep, around.low / around.likely), 1, std::max(1 + kOneStep, around.high / around.likely)};
  return card;
}

}  // namespace qwenplan
