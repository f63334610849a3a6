#pragma once

#include <span>
#include <string_view>

namespace qwenplan {

/// A word that a flag takes as its value.
struct Choice {
  std::string_view name;
  std::string_view help;
  std::string_view aliases =
      {};  ///< other spellings, separated by blanks; case, '_' and '-' do not matter
};

/// A flag of the command line, as data: the parser and the help are both made from it.
struct Flag {
  /// What follows the name.
  enum class Kind : unsigned char {
    value,     ///< one value; the last one given counts
    values,    ///< one value each time it is given; all count
    on_off,    ///< nothing; has a --no- twin
    marker,    ///< nothing; has no twin
    sometimes  ///< a trainer's switch: nothing, or a word such as True, False or a number
  };
  std::string_view name;  ///< the one spelling that is taught: "seq-len"
  Kind kind = Kind::value;
  std::string_view value = {};           ///< what the help calls the value: "TOKENS"
  std::string_view group = {};           ///< heading in the help; empty: known, but not shown
  std::string_view help;                 ///< one line, lower case, no full stop
  std::string_view aliases = {};         ///< other spellings without dashes, separated by blanks
  std::span<const Choice> choices = {};  ///< if any, nothing else is accepted
  char letter = 0;                       ///< short form, or none
};

/// The words of a list separated by blanks, one after the other.
template <class Visit>
constexpr void each_word(std::string_view list, Visit visit) {
  while (!list.empty()) {
    const auto end = list.find(' ');
    if (end != 0) visit(list.substr(0, end));
    if (end == std::string_view::npos) return;
    list.remove_prefix(end + 1);
  }
}

}  // namespace qwenplan
