#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace qwenplan {

/// A count that saturates: a plan too large to count must answer "does not fit", never wrap round.
class Saturating {
 public:
  static constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

  static constexpr std::int64_t add(std::int64_t a, std::int64_t b) {
    std::int64_t sum = 0;
    if (!__builtin_add_overflow(a, b, &sum)) return sum;
    return b > 0 ? kMax : kMin;
  }
  static constexpr std::int64_t subtract(std::int64_t a, std::int64_t b) {
    std::int64_t difference = 0;
    if (!__builtin_sub_overflow(a, b, &difference)) return difference;
    return b < 0 ? kMax : kMin;
  }
  static constexpr std::int64_t multiply(std::int64_t a, std::int64_t b) {
    std::int64_t product = 0;
    if (!__builtin_mul_overflow(a, b, &product)) return product;
    return (a < 0) == (b < 0) ? kMax : kMin;
  }
};

/// A whole number that knows what it counts. The tag makes two quantities of one
/// representation two types: bytes and tokens neither add nor compare.
template <class Tag>
class Quantity {
 public:
  constexpr Quantity() = default;
  constexpr explicit Quantity(std::int64_t count) : count_(count) {}

  constexpr std::int64_t count() const { return count_; }

  friend constexpr auto operator<=>(Quantity, Quantity) = default;
  friend constexpr Quantity operator+(Quantity a, Quantity b) {
    return Quantity(Saturating::add(a.count_, b.count_));
  }
  friend constexpr Quantity operator-(Quantity a, Quantity b) {
    return Quantity(Saturating::subtract(a.count_, b.count_));
  }
  friend constexpr Quantity operator*(Quantity a, std::int64_t n) {
    return Quantity(Saturating::multiply(a.count_, n));
  }
  friend constexpr Quantity operator*(std::int64_t n, Quantity a) { return a * n; }
  constexpr Quantity& operator+=(Quantity other) { return *this = *this + other; }
  constexpr Quantity& operator-=(Quantity other) { return *this = *this - other; }

 private:
  std::int64_t count_ = 0;
};

using Bytes = Quantity<struct bytes_tag>;    ///< signed: headroom can be negative
using Params = Quantity<struct params_tag>;  ///< parameters of a model
using Tokens = Quantity<struct tokens_tag>;  ///< tokens of text

}  // namespace qwenplan
