#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/place.hpp"

namespace qwenplan {

/// One word of a command as the shell would hand it over, and the names in it whose value is not in
/// the script: those stay in the text as they are written.
struct ShellWord {
  std::string text;
  Place place;
  std::vector<std::string> unresolved;
  bool is_open = false;    ///< may be no word or several: "$@", an unquoted variable that is not set
  bool is_either = false;  ///< the script sets a variable in it, but not in every branch to the same
};

/// One simple command: the variables set for it, whether before it or in front of it, and its
/// words.
struct ShellCommand {
  std::vector<std::pair<std::string, ShellWord>> environment;
  std::vector<ShellWord> words;
};

/// What is read of a script.
struct ShellScript {
  std::vector<ShellCommand> commands;
  bool is_cut = false;  ///< its expansions make more than is kept
};

/// The commands of a shell script in their order. Nothing is executed: assignments that stand above
/// are put in, `${NAME:-default}`, arrays, `$((...))` and `$(expr ...)` on whole numbers are worked
/// out, `$(which NAME)` is NAME, and everything else that only a shell knows is named as unresolved. Redirections and the
/// text of here-documents are passed over. A variable that branches, loops and functions set to
/// different values is unresolved behind them.
ShellScript read_shell(std::string_view script);

}  // namespace qwenplan
