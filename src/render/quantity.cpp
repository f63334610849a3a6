#include "render/quantity.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace qwenplan {
namespace {

struct Scaled {
  double number;
  const char* unit;
  int digits;
};

/// Digits by size: small units are whole, large ones have one decimal.
Scaled scaled(Bytes bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double number = static_cast<double>(bytes.count());
  int unit = 0;
  // 1023.96 MiB would round to 1024: the next unit begins where rounding reaches it.
  while (unit < 6 && std::abs(number) >= (unit < 3 ? 1023.5 : 1023.95)) {
    number /= 1024;
    ++unit;
  }
  return {number, kUnits[unit], unit < 3 ? 0 : 1};
}

}  // namespace

std::string fixed(double number, int digits) {
  std::string text = fmt::format("{:.{}f}", number, digits);
  // -0.04 rounds to "-0.0", which says something that is not so.
  if (text.find_first_not_of("-0.") == std::string::npos && text[0] == '-') text.erase(0, 1);
  return text;
}

std::string plain(double number) { return fmt::format("{}", number); }

std::string text(Bytes bytes) {
  const Scaled size = scaled(bytes);
  return fixed(size.number, size.digits) + " " + size.unit;
}

std::string text(const Range<Bytes>& bytes) {
  const std::string likely = text(bytes.likely);
  if (bytes.low == bytes.high) return likely;
  const std::string low = text(bytes.low), high = text(bytes.high);
  if (low == likely && high == likely) return likely;
  const auto unit = [](const std::string& size) { return size.substr(size.find(' ')); };
  const auto number = [](const std::string& size) { return size.substr(0, size.find(' ')); };
  if (unit(low) == unit(likely) && unit(high) == unit(likely))
    return likely + " (" + number(low) + " to " + number(high) + ")";
  return likely + " (" + low + " to " + high + ")";
}

std::string grouped(std::int64_t count) {
  std::string digits = std::to_string(count);
  const std::size_t first = digits[0] == '-' ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string short_count(std::int64_t count) {
  const double number = static_cast<double>(count);
  for (const auto& [size, unit] : {std::pair{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}}) {
    const double part = number / size;
    if (std::abs(part) >= 0.9995) return fmt::format("{:.3g} {}", part, unit);
  }
  return std::to_string(count);
}

std::string text_duration(double seconds) {
  if (!std::isfinite(seconds)) return "never";
  if (seconds < 0.9995) return fmt::format("{:.3g} ms", seconds * 1000);
  if (seconds < 59.5) return fmt::format("{:.{}f} s", seconds, seconds < 9.95 ? 1 : 0);
  const double minutes = std::round(seconds / 60);
  if (minutes < 60) return fmt::format("{:.0f} min", minutes);
  if (minutes < 48 * 60)
    return fmt::format("{:.0f} h {:.0f} min", std::floor(minutes / 60), std::fmod(minutes, 60));
  const double hours = std::round(minutes / 60);
  return fmt::format("{:.0f} d {:.0f} h", std::floor(hours / 24), std::fmod(hours, 24));
}

std::string text_usd(double dollars) {
  const bool is_negative = std::round(dollars * 100) < 0;
  const double amount = std::abs(dollars);
  if (dollars > 0 && dollars < 0.005) return "under $0.01";
  const std::string cents = fmt::format("{:.2f}", amount);
  const std::size_t point = cents.find('.');
  std::string whole = cents.substr(0, point);
  for (std::size_t i = whole.size(); i > 3;) whole.insert(i -= 3, 1, ',');
  return (is_negative ? "-$" : "$") + whole +
         (point == std::string::npos ? "" : cents.substr(point));
}

std::string text_percent(double fraction) { return fixed(fraction * 100, 1) + " %"; }

}  // namespace qwenplan
