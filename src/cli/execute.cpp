#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "cli/app.hpp"
#include "cli/exit_status.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "qwenplan/base/version.hpp"
#include "render/render.hpp"

namespace qwenplan {
namespace {

/// Whether errors are to be JSON. Asked before the line is understood, since it may not be.
Format error_format(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string& token = arguments[i];
    if (token == "--json" || token == "--format=json") return Format::json;
    if (token == "--format" && i + 1 < arguments.size() && arguments[i + 1] == "json")
      return Format::json;
  }
  return Format::text;
}

Outcome failed(const Error& error, Format format, const Style& style) {
  return {status_of(error.kind), "", render_error(error, format, style)};
}

Error not_built(const Command& command) {
  std::string built;
  for (const Command& other : commands())
    if (other.run) (built += built.empty() ? "" : ", ") += other.name;
  return {Error::Kind::unknown, "'qwenplan " + std::string(command.name) + "' is not built yet",
          std::string(command.name), "this version answers: " + built};
}

Outcome answered(const std::vector<std::string>& arguments, const Environment& environment) {
  const Format format = error_format(arguments);
  Style style{environment.width, environment.wants_color, environment.has_utf8};
  const Style plain_style{environment.width, false, environment.has_utf8};

  const auto line = taught(arguments);
  if (!line) return failed(line.error(), format, plain_style);
  switch (line->wish) {
    case Taught::Wish::version:
      return {kYes, "qwenplan " + std::string(kVersion) + "\n", ""};
    case Taught::Wish::short_help:
      return {kYes, help(line->command, HelpLength::brief), ""};
    case Taught::Wish::long_help:
      return {kYes, help(line->command, HelpLength::full), ""};
    case Taught::Wish::answer:
      break;
  }

  const auto invocation = parse(*line, environment);
  if (!invocation) return failed(invocation.error(), format, plain_style);
  style.uses_color = invocation->uses_color;

  const Command& command = *line->command;
  const auto answer = command.run ? command.run(*invocation) : Result<Answer>(not_built(command));
  if (!answer) return failed(answer.error(), format, plain_style);

  Outcome outcome{answer->status, "", ""};
  if (answer->error) outcome.status = std::max<int>(outcome.status, status_of(answer->error->kind));
  outcome.out = render(*answer, invocation->format, style);
  if (format != Format::json)
    for (const std::string& note : answer->notes)
      outcome.err += wrap("note: " + harmless(note), style.width, 2) + "\n";
  if (answer->error) outcome.err += render_error(*answer->error, format, plain_style);
  return outcome;
}

}  // namespace

Outcome execute(const std::vector<std::string>& arguments, const Environment& environment) {
  Outcome outcome = answered(arguments, environment);
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  const bool is_quiet = std::find(arguments.begin(), end, "--quiet") != end ||
                        std::find(arguments.begin(), end, "-q") != end;
  if (is_quiet) outcome.out.clear(), outcome.err.clear();
  return outcome;
}

}  // namespace qwenplan
