#include "cli/invocation.hpp"

#include <charconv>
#include <cmath>
#include <system_error>

#include "render/quantity.hpp"

namespace qwenplan {
namespace {

Error not_between(std::string_view text, std::string_view where, std::string low,
                  std::string high) {
  return {Error::Kind::wrong, "'" + std::string(text) + "' is out of range", std::string(where),
          "write a number from " + low + " to " + high};
}

}  // namespace

Result<std::int64_t> parse_whole(std::string_view text, std::string_view where, std::int64_t low,
                                 std::int64_t high) {
  std::int64_t number = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error == std::errc::result_out_of_range && end == last)
    return not_between(text, where, std::to_string(low), std::to_string(high));
  if (error != std::errc{} || end != last)
    return Error{Error::Kind::wrong, "'" + std::string(text) + "' is not a whole number",
                 std::string(where),
                 "write it in digits, from " + std::to_string(low) + " to " + std::to_string(high)};
  if (number < low || number > high)
    return not_between(text, where, std::to_string(low), std::to_string(high));
  return number;
}

Result<double> parse_number(std::string_view text, std::string_view where, double low,
                            double high) {
  double number = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (end != last || text.empty() || error == std::errc::invalid_argument || std::isnan(number))
    return Error{Error::Kind::wrong, "'" + std::string(text) + "' is not a number",
                 std::string(where), "write it in digits, such as 0.05"};
  if (error != std::errc{} || number < low || number > high)
    return not_between(text, where, plain(low), plain(high));
  return number;
}

Result<std::optional<std::int64_t>> Invocation::whole(std::string_view name, std::int64_t low,
                                                      std::int64_t high) const {
  const auto text = value(name);
  if (!text) return std::optional<std::int64_t>{};
  auto number = parse_whole(*text, "--" + std::string(name), low, high);
  if (!number) return number.error();
  return std::optional<std::int64_t>{*number};
}

Result<std::optional<double>> Invocation::number(std::string_view name, double low,
                                                 double high) const {
  const auto text = value(name);
  if (!text) return std::optional<double>{};
  auto number = parse_number(*text, "--" + std::string(name), low, high);
  if (!number) return number.error();
  return std::optional<double>{*number};
}

}  // namespace qwenplan
