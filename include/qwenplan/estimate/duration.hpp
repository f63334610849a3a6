#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/run.hpp"

namespace qwenplan {

/// How the batches of a step come to the device. Without workers the trainer prepares them between
/// two steps; with workers they are prepared beside the step, which waits only if they are slower.
struct BatchLoading {
  double seconds_per_example = 0;
  std::int64_t workers = 0;
};

/// What a step waits for its batches beyond `step_seconds` of work.
inline double input_wait(const BatchLoading& loading, const Run& run, double step_seconds) {
  const double batch = loading.seconds_per_example * static_cast<double>(run.micro_batch * run.accumulation);
  if (loading.workers <= 0) return batch;
  return std::max(0.0, batch / static_cast<double>(loading.workers) - step_seconds);
}

/// What is to be done.
struct Course {
  double tokens = 0;             ///< of one epoch, padding included
  double epochs = 1;
  double evaluation_tokens = 0;  ///< after each epoch, forward only
  std::int64_t saves = 1;        ///< checkpoints of the whole run
  Bytes checkpoint{};
  double write_rate = 0;         ///< bytes per second to where checkpoints go
};

/// How long a job takes.
struct Duration {
  std::int64_t steps = 0;  ///< optimizer steps of all epochs
  Range<double> training{};    ///< seconds
  Range<double> evaluation{};
  Range<double> saving{};
  Range<double> total() const { return training + evaluation + saving; }
};

inline Range<double> times(double count, const Range<double>& each) {
  return {count * each.low, count * each.likely, count * each.high};
}

/// `step` is seconds of an optimizer step; `forward_share` what forward and loss are of it, which
/// evaluation runs alone. The last step of an epoch may be a smaller one; it counts in full.
inline Duration duration(const Course& course, const Run& run, const Range<double>& step, double forward_share) {
  Duration result;
  const auto step_tokens = static_cast<double>(run.data_tokens() * run.accumulation);
  const double steps = std::ceil(std::min(course.tokens / step_tokens, 1e15)) * course.epochs;
  result.steps = static_cast<std::int64_t>(std::ceil(std::min(steps, 1e15)));
  result.training = times(static_cast<double>(result.steps), step);
  result.evaluation = times(course.epochs * course.evaluation_tokens / step_tokens * forward_share, step);
  if (course.write_rate > 0) {
    const double one = static_cast<double>(course.checkpoint.count()) / course.write_rate;
    result.saving = times(static_cast<double>(course.saves), {one / 2, one, one * 3});
  }
  return result;
}

/// Watts that a card draws on average: its limit while products decide, less while memory decides,
/// least while it waits for the host. The shares are assumed: nobody measured them here.
inline Range<double> drawn_watts(double limit, double compute_share, double bandwidth_share) {
  constexpr double kCompute = 0.95, kBandwidth = 0.7, kWaiting = 0.35;
  const double waiting = std::max(0.0, 1 - compute_share - bandwidth_share);
  const double likely = limit * (kCompute * compute_share + kBandwidth * bandwidth_share + kWaiting * waiting);
  return {0.8 * likely, likely, limit};
}

}  // namespace qwenplan
