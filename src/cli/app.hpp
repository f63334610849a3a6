#pragma once

#include <string>
#include <vector>

#include "cli/environment.hpp"
#include "cli/invocation.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// What a process leaves: the two streams and the exit status.
struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
};

/// The whole program without its process: arguments without the program's name.
Outcome execute(const std::vector<std::string>& arguments, const Environment& environment);

/// Parses a command line in taught spellings into flags and their values.
Result<Invocation> parse(const struct Taught& line, const Environment& environment);

/// Help made from the flag table: of one command, or of all if it is null.
enum class HelpLength : unsigned char { brief, full };
std::string help(const Command* command, HelpLength length);

}  // namespace qwenplan
