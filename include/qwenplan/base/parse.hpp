#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// ASCII letters in lower case.
inline std::string lowered(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

/// Reads a size with its unit: "24 GiB", "24GiB", "1.5 TB", "800 mib", "512 B". A bare number, "24
/// G" and a negative size are refused, since they say two things or nothing. Fractions are exact
/// and round to the nearest byte. `where` names the flag or the file in the error.
inline Result<Bytes> parse_bytes(std::string_view text, std::string_view where) {
  const auto wrong = [&](std::string what, std::string hint) {
    return Error{Error::Kind::wrong, std::move(what), std::string(where), std::move(hint)};
  };
  const std::string shown = "'" + std::string(text.substr(0, 40)) + "'";
  const std::string example = "write a size such as '24 GiB' (2^30) or '24 GB' (10^9)";

  std::size_t at = 0;
  std::int64_t whole = 0;
  std::int64_t fraction = 0;
  std::int64_t scale = 1;
  const auto is_digit = [&] { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
  const std::size_t first = at;
  for (; is_digit(); ++at) whole = Saturating::add(Saturating::multiply(whole, 10), text[at] - '0');
  std::size_t digits = at - first;
  if (at < text.size() && text[at] == '.') {
    for (++at; is_digit(); ++at, ++digits)
      if (scale < 1'000'000'000) {  // digits beyond the ninth are less than a byte of a GiB
        fraction = fraction * 10 + (text[at] - '0');
        scale *= 10;
      }
  }
  if (digits == 0) return wrong(shown + " is not a size", example);
  const std::string number(text.substr(0, at));
  while (at < text.size() && text[at] == ' ') ++at;

  std::string unit;
  for (const char c : text.substr(at))
    unit += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (unit.empty() || unit == "g" || unit == "m" || unit == "k" || unit == "t") {
    const std::string prefix =
        unit.empty() ? "G" : std::string(1, static_cast<char>(unit[0] - 'a' + 'A'));
    const std::string small = prefix == "K" ? "k" : prefix;
    return wrong(shown + " has no unit",
                 number + " " + prefix + "iB or " + number + " " + small + "B?");
  }
  constexpr std::string_view kPrefixes = "kmgtp";
  std::int64_t factor = 1;
  if (unit != "b") {
    const std::size_t power = kPrefixes.find(unit[0]);
    const bool is_binary = unit.size() == 3 && unit[1] == 'i' && unit[2] == 'b';
    const bool is_decimal = unit.size() == 2 && unit[1] == 'b';
    if (power == std::string_view::npos || (!is_binary && !is_decimal))
      return wrong(shown + " has an unknown unit", example);
    for (std::size_t i = 0; i <= power; ++i) factor *= is_binary ? 1024 : 1000;
  }
  const std::int64_t unscaled = Saturating::multiply(fraction, factor);
  const std::int64_t rest = unscaled == Saturating::kMax
                                ? factor / scale * fraction
                                : Saturating::add(unscaled, scale / 2) / scale;
  const std::int64_t bytes = Saturating::add(Saturating::multiply(whole, factor), rest);
  if (bytes == Saturating::kMax) return wrong(shown + " is more than can be counted", example);
  return Bytes(bytes);
}

}  // namespace qwenplan
