#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// The outcome of a search for the largest value that holds.
struct Largest {
  std::optional<std::int64_t> value;  ///< none: not even the smallest holds
  bool is_bounded = false;            ///< the largest value allowed holds: there may be more
  /// False if a value beyond one that failed was found to hold. Reserved memory can do that: a
  /// request just above 10 MiB takes a smaller segment than one just below.
  bool is_monotone = true;
};

/// The largest of first, first + step, ... up to last for which `holds` says yes, found by doubling
/// and halving from `guess` on: about 2 log2(n) questions for a guess that is n steps off. That needs
/// values that hold up to a limit and fail beyond; the two after the limit are asked as well, and the
/// search goes on from one that holds.
template <class Holds>
Largest largest(std::int64_t first, std::int64_t last, std::int64_t step, Holds&& holds,
                std::optional<std::int64_t> guess = {}) {
  Largest result;
  if (step < 1 || last < first) return result;
  const std::int64_t end = (last - first) / step;  // in steps from here on
  std::vector<std::int64_t> failed;
  const auto asks = [&](std::int64_t n) {
    if (std::find(failed.begin(), failed.end(), n) != failed.end()) return false;
    if (holds(first + n * step)) return true;
    failed.push_back(n);
    return false;
  };

  std::int64_t good = std::clamp<std::int64_t>((guess.value_or(first) - first) / step, 0, end);
  std::int64_t bad = end + 1;
  std::int64_t stride = 1;
  while (!asks(good)) {
    if (good == 0) return result;
    bad = good;
    good = std::max<std::int64_t>(0, good - stride);
    stride *= 2;
  }
  stride = 1;
  while (good < end) {
    while (bad > end && good < end) {
      const std::int64_t next = std::min(end, good + stride);
      stride = std::min(stride * 2, end);
      if (asks(next))
        good = next;
      else
        bad = next;
    }
    if (bad > end) break;
    while (bad - good > 1) {
      const std::int64_t middle = good + (bad - good) / 2;
      (asks(middle) ? good : bad) = middle;
    }
    std::int64_t beyond = good;
    for (const std::int64_t next : {good + 2, good + 3})
      if (next <= end && asks(next)) beyond = next;
    if (beyond == good) break;
    result.is_monotone = false;
    good = beyond;
    bad = end + 1;
    stride = 1;
  }
  result.value = first + good * step;
  result.is_bounded = good == end;
  return result;
}

/// Where a need that grows in a straight line, known at two values, reaches `room`. Nothing where it
/// does not grow.
constexpr std::optional<std::int64_t> straight_limit(std::int64_t value, Bytes need, std::int64_t larger,
                                                     Bytes larger_need, Bytes room) {
  const double growth = static_cast<double>((larger_need - need).count()) / static_cast<double>(larger - value);
  if (!(growth > 0)) return std::nullopt;
  const double limit = static_cast<double>(value) + static_cast<double>((room - need).count()) / growth;
  return static_cast<std::int64_t>(std::clamp(limit, 0.0, 1e15));
}

/// A guess for `largest`, from what two small values need. `need` answers with an optional<Bytes>: none
/// where a value is impossible.
template <class Need>
std::optional<std::int64_t> guessed_limit(std::int64_t first, std::int64_t last, std::int64_t step, Bytes room,
                                          Need&& need) {
  const std::int64_t near = first + 3 * step;
  if (near > last) return std::nullopt;
  const std::optional<Bytes> small = need(first), more = need(near);
  if (!small || !more) return std::nullopt;
  return straight_limit(first, *small, near, *more, room);
}

}  // namespace qwenplan
