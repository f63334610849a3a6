#pragma once

#include <array>
#include <span>
#include <string_view>

#include "cli/flag.hpp"
#include "cli/invocation.hpp"
#include "qwenplan/base/result.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// What a command takes beside flags: "FILE" for the usage line, and how many.
struct Words {
  std::string_view name = {};
  int at_least = 0;
  int at_most = 0;  ///< -1: any number
};

/// A subcommand: flags in, an answer out, nothing printed. `run` is absent where it is not built yet.
struct Command {
  std::string_view name;     ///< "vram"; two words for a nested one: "storage plan"
  std::string_view summary;  ///< one line, lower case, no full stop
  Result<Answer> (*run)(const Invocation&) = nullptr;
  std::array<std::span<const Flag>, 6> flags = {};
  Words words = {};
  std::string_view example = {};  ///< a command line that works
};

/// Every subcommand, in the order of the help.
std::span<const Command> commands();

}  // namespace qwenplan
