#pragma once

#include <string>
#include <string_view>

#include "cli/environment.hpp"
#include "cli/invocation.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// How text may look.
struct Style {
  int width = 80;
  bool uses_color = false;
  bool uses_utf8 = true;
};

/// The answer in the format that was asked for, ending with a line end.
std::string render(const Answer& answer, Format format, const Style& style);

std::string to_text(const Answer& answer, const Style& style);
std::string to_markdown(const Answer& answer);
std::string to_csv(const Answer& answer);
std::string to_json(const Answer& answer);
/// JSON of a tree, indented; small leaves share a line. Not finite numbers become null.
std::string to_json(const Value& value);
/// The same on one line, for streams of JSON lines.
std::string to_json_line(const Value& value);

/// The three lines of an error, or one JSON object.
std::string render_error(const Error& error, Format format, const Style& style);

/// A table laid out for a terminal.
std::string layout(const Table& table, const Style& style);
/// Bars laid out for a terminal.
std::string layout(const Bars& bars, const Style& style);
/// Words filled into lines of the style's width; `indent` blanks before all but the first.
std::string wrap(std::string_view text, int width, int indent = 0);
/// Columns that text takes on a terminal: two for a wide character, none for a combining one.
int display_width(std::string_view text);
/// Text with the escapes of its tone, or as it is.
std::string paint(std::string_view text, Tone tone, const Style& style);
/// Length of a well-formed UTF-8 sequence at the start of a text, or 0.
std::size_t sequence_length(std::string_view text);
/// What stands for bytes that are no text.
inline constexpr std::string_view kUnreadable = "\xEF\xBF\xBD";
/// Well-formed text without control characters, which a terminal or a log would obey.
std::string harmless(std::string_view text);

}  // namespace qwenplan
