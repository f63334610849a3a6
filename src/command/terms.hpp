#pragma once

#include <span>
#include <string_view>

namespace qwenplan {

/// A word of the answers: what it means, how it is found, and where that was learnt.
struct TermEntry {
  std::string_view name;
  std::string_view meaning;    ///< one sentence
  std::string_view mechanism;  ///< a formula, or what is counted
  std::string_view inputs;     ///< the flags and the facts that it depends on
  std::string_view evidence;
  std::string_view source;
};

/// Every term that an answer prints, in the order of the timeline.
std::span<const TermEntry> terms();

}  // namespace qwenplan
