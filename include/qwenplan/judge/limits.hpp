#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include "qwenplan/base/range.hpp"

namespace qwenplan {

/// Whether an estimate keeps a limit, best first.
enum class Meets : std::uint8_t { meets, tight, misses };

constexpr std::string_view name(Meets meets) {
  constexpr std::string_view names[] = {"meets", "tight", "misses"};
  return names[static_cast<int>(meets)];
}

/// Meets a limit if even the upper bound does; tight if only the likely value does.
constexpr Meets judge(const Range<double>& estimate, double limit) {
  if (estimate.high <= limit) return Meets::meets;
  return estimate.likely <= limit ? Meets::tight : Meets::misses;
}

/// What counts as a yes: with --strict a limit that is likely kept does not.
constexpr bool is_yes(Meets meets, bool is_strict) {
  return meets == Meets::meets || (meets == Meets::tight && !is_strict);
}

/// What a job may take: hours from its start, and US dollars.
struct Limits {
  std::optional<double> hours;
  std::optional<double> usd;

  bool any() const { return hours || usd; }
  Meets of_hours(const Range<double>& estimate) const { return hours ? judge(estimate, *hours) : Meets::meets; }
  Meets of_usd(const Range<double>& estimate) const { return usd ? judge(estimate, *usd) : Meets::meets; }
  /// The worse of both.
  Meets of(const Range<double>& job_hours, const Range<double>& job_usd) const {
    return std::max(of_hours(job_hours), of_usd(job_usd));
  }
};

}  // namespace qwenplan
