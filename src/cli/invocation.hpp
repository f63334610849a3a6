#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/environment.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

struct Command;

enum class Format : unsigned char { text, json, csv, markdown };

/// A command line that was understood: every flag under the name that is taught, every choice in
/// the spelling that is taught. Whether the values make sense is for the command to say.
struct Invocation {
  const Command* command = nullptr;
  Environment environment;
  Format format = Format::text;
  bool is_quiet = false;
  bool is_strict = false;  ///< tight counts as no
  bool uses_color = false;
  bool uses_guide = false;  ///< --estimator guide
  std::string
      data_directory;  ///< --data, else QWENPLAN_DATA; empty: the tables in the binary alone
  std::string_view data_from;      ///< "flag" or "env"; empty if there is none
  std::vector<std::string> words;  ///< what stands without a flag
  std::vector<std::string> rest;   ///< what stands behind "--"
  std::map<std::string, std::vector<std::string>, std::less<>> given;  ///< by Flag::name

  bool has(std::string_view name) const { return given.find(name) != given.end(); }

  /// The value given for a flag, or nothing.
  std::optional<std::string> value(std::string_view name) const {
    const auto found = given.find(name);
    if (found == given.end()) return std::nullopt;
    return found->second.back();
  }
  /// All values given for a flag that may be repeated.
  std::vector<std::string> values(std::string_view name) const {
    const auto found = given.find(name);
    return found == given.end() ? std::vector<std::string>{} : found->second;
  }
  /// Whether --name or --no-name was given last, or nothing if neither was.
  std::optional<bool> switched(std::string_view name) const {
    const auto found = given.find(name);
    if (found == given.end()) return std::nullopt;
    return found->second.back() == "on";
  }
  /// The whole number given for a flag; an error outside [low, high]. Nothing if it was not given.
  Result<std::optional<std::int64_t>> whole(std::string_view name, std::int64_t low,
                                            std::int64_t high) const;
  /// The number given for a flag; an error outside [low, high]. Nothing if it was not given.
  Result<std::optional<double>> number(std::string_view name, double low, double high) const;
};

/// Reads a whole number written with digits alone, as `--batch 4` has it.
Result<std::int64_t> parse_whole(std::string_view text, std::string_view where, std::int64_t low,
                                 std::int64_t high);
/// Reads a decimal number; neither infinite nor NaN.
Result<double> parse_number(std::string_view text, std::string_view where, double low, double high);

}  // namespace qwenplan
