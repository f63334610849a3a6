#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/flag.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

struct Command;

/// A command line in the spellings that are taught: each flag as "--name" "value", on_off and
/// sometimes flags with "on" or "off", markers with "on".
struct Taught {
  enum class Wish : unsigned char { answer, short_help, long_help, version };
  Wish wish = Wish::answer;
  const Command* command = nullptr;  ///< may be absent where help or the version is wished for
  std::vector<std::string> tokens;   ///< flags with their values
  std::vector<std::string> words;    ///< what stands without a flag
  std::vector<std::string> rest;     ///< what stands behind "--"
};

/// Finds the command and every flag by any of its spellings. This runs before the parser, which
/// would misreport a misspelt word as something missing.
Result<Taught> taught(const std::vector<std::string>& arguments);

/// The taught name of a choice, by any of its spellings; otherwise an error that names what is
/// near.
Result<std::string> choose(const Flag& flag, std::string_view text);

/// The items of a list with commas, without the spaces around them and without empty ones.
std::vector<std::string> items_of(std::string_view list);

/// Lower case, with '-' for '_'.
std::string folded(std::string_view text);

}  // namespace qwenplan
