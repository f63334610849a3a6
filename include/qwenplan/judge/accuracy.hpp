#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// How much an estimate is above what was measured, as a share of the measurement; below it is
/// negative. `measured` is more than nothing.
inline double relative_error(Bytes estimated, Bytes measured) {
  const auto truth = static_cast<double>(measured.count());
  return (static_cast<double>(estimated.count()) - truth) / truth;
}

/// How far many estimates lie from what was measured.
struct Accuracy {
  int count = 0;
  double mean = 0;     ///< of the errors without their sign
  double lowest = 0;   ///< the worst under-estimate, negative; 0 where there is none
  double highest = 0;  ///< the worst over-estimate; 0 where there is none
};

inline Accuracy accuracy(std::span<const double> errors) {
  Accuracy result;
  for (const double error : errors) {
    ++result.count;
    result.mean += std::abs(error);
    result.lowest = std::min(result.lowest, error);
    result.highest = std::max(result.highest, error);
  }
  if (result.count > 0) result.mean /= result.count;
  return result;
}

/// What estimates are held to. An under-estimate is the error that hurts: the run does not fit.
struct Tolerance {
  double mean = 0;   ///< the largest mean error
  double under = 0;  ///< the largest under-estimate
};

inline constexpr Tolerance kAllocatedTolerance{0.01, 0.03};
inline constexpr Tolerance kReservedTolerance{0.03, 0.06};

inline bool is_within(const Accuracy& accuracy, const Tolerance& tolerance) {
  return accuracy.mean <= tolerance.mean && accuracy.lowest >= -tolerance.under;
}

}  // namespace qwenplan
