#pragma once

#include <algorithm>

namespace qwenplan {

/// An estimate: low <= likely <= high. A known number is a range of no width.
template <class T>
struct Range {
  T low{};
  T likely{};
  T high{};

  static constexpr Range exactly(T value) { return {value, value, value}; }

  friend constexpr Range operator+(const Range& a, const Range& b) {
    return {a.low + b.low, a.likely + b.likely, a.high + b.high};
  }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

/// The smallest range that holds both, with the first one's likely value.
template <class T>
constexpr Range<T> widened(const Range<T>& a, const Range<T>& b) {
  return {std::min(a.low, b.low), a.likely, std::max(a.high, b.high)};
}

}  // namespace qwenplan
