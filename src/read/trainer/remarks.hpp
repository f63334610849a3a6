#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/place.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// One rule of a remark `# qwenplan: ignore RULE, RULE` or `# qwenplan: ignore-file RULE`.
struct Ignore {
  std::string rule;  ///< as written
  Place place;       ///< of the rule's name
  bool is_whole_file = false;
  std::uint32_t line = 0;  ///< the line that it is about, unless it is about the whole file
  bool is_used = false;
};

/// What a file's remarks ignore. A remark behind a value is about its line, one on a line of its
/// own about the next line that is no remark. What is wrong with the remarks themselves goes to
/// `findings`: rules that do not exist, and other words behind "qwenplan:".
std::vector<Ignore> ignores_of(std::string_view text, std::vector<Finding>& findings);

/// Whether a finding is ignored; marks what ignores it as used. A finding without a line belongs
/// to the whole file.
bool is_ignored(const Finding& finding, std::vector<Ignore>& ignores);

/// A rule's id by a word that may be misspelt: the fix of a message, empty if nothing is near.
std::string rule_meant(std::string_view word);

}  // namespace qwenplan
