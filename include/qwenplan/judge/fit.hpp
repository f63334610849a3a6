#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/estimate/memory.hpp"

namespace qwenplan {

/// What to make of a run on a card, best first.
enum class Fit : std::uint8_t { fits, tight, exceeds };

constexpr std::string_view name(Fit fit) {
  constexpr std::string_view names[] = {"fits", "tight", "exceeds"};
  return names[static_cast<int>(fit)];
}

/// Fits if even the upper bound does; tight if only the likely value does, or if the run completes
/// by giving cached memory back on the way.
constexpr Fit judge(const Range<Bytes>& device, Bytes usable, bool completes) {
  if (device.high <= usable) return Fit::fits;
  return device.likely <= usable || completes ? Fit::tight : Fit::exceeds;
}

/// What counts as a yes: with --strict a tight fit does not.
constexpr bool is_yes(Fit fit, bool is_strict) { return fit == Fit::fits || (fit == Fit::tight && !is_strict); }

/// None without a card to fit.
inline std::optional<Fit> judge(const MemoryEstimate& estimate) {
  if (!estimate.on.usable) return std::nullopt;
  return judge(estimate.device, estimate.on.usable->value, estimate.at_capacity->completes());
}

/// What the card has beyond the likely need; negative: what is missing. None without a card.
inline std::optional<Bytes> headroom(const MemoryEstimate& estimate) {
  if (!estimate.on.usable) return std::nullopt;
  return estimate.on.usable->value - estimate.device.likely;
}

}  // namespace qwenplan
