#include "read/trainer/remarks.hpp"

#include <optional>

#include "qwenplan/base/nearest.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

/// Where the remark of a line begins, which is at a '#' outside of quotes at the line's start or
/// behind a blank.
std::optional<std::size_t> remark_of(std::string_view line) {
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if ((c == '"' || c == '\'') &&
               (i == 0 || std::string_view(" \t[{,(=").find(line[i - 1]) != std::string_view::npos)) {
      quote = c;  // elsewhere it is an apostrophe
    } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return i;
    }
  }
  return std::nullopt;
}

std::uint32_t column_at(std::string_view line, std::size_t offset) {
  std::uint32_t column = 1;
  for (std::size_t i = 0; i < offset; ++i)
    if ((static_cast<unsigned char>(line[i]) & 0xC0U) != 0x80U) ++column;
  return column;
}

}  // namespace

std::string rule_meant(std::string_view word) {
  std::vector<std::string> ids;
  for (const Rule& rule : kRules) ids.emplace_back(rule.id);
  const auto near = nearest(word, ids);
  return near.empty() ? "qwenplan explain rules lists them" : "did you mean '" + near[0] + "'?";
}

std::vector<Ignore> ignores_of(std::string_view text, std::vector<Finding>& findings) {
  std::vector<Ignore> ignores;
  std::size_t waiting = 0;  // those before it have their line
  std::uint32_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    const auto remark = remark_of(line);
    const std::string_view before = trimmed(line.substr(0, remark.value_or(line.size())));
    // A value's line is what remarks above it wait for.
    if (!before.empty())
      for (; waiting < ignores.size(); ++waiting) ignores[waiting].line = number;
    if (!remark) continue;
    std::string_view words = trimmed(line.substr(*remark + 1));
    constexpr std::string_view kName = "qwenplan:";
    if (!words.starts_with(kName)) continue;
    words = trimmed(words.substr(kName.size()));
    const std::string_view verb = words.substr(0, words.find_first_of(" \t:"));
    const bool is_whole_file = verb == "ignore-file";
    const auto at = [&](std::string_view part) {
      return Place{number, column_at(line, static_cast<std::size_t>(part.data() - line.data()))};
    };
    if (verb != "ignore" && !is_whole_file) {
      findings.push_back({"unknown-rule",
                          "'" + std::string(verb.substr(0, 40)) + "' is nothing to say to qwenplan",
                          at(words), "write qwenplan: ignore RULE, or ignore-file RULE"});
      continue;
    }
    std::string_view rest = words.substr(verb.size());
    while (!rest.empty()) {
      const std::size_t first = rest.find_first_not_of(" \t:,");
      if (first == std::string_view::npos) break;
      rest.remove_prefix(first);
      const std::string_view rule = rest.substr(0, rest.find_first_of(" \t,"));
      rest.remove_prefix(rule.size());
      // Two dashes begin a reason.
      if (rule == "--") break;
      if (!rule_index(rule)) {
        findings.push_back({"unknown-rule",
                            "there is no rule '" + std::string(rule.substr(0, 60)) + "' to ignore",
                            at(rule), rule_meant(rule)});
        continue;
      }
      ignores.push_back({std::string(rule), at(rule), is_whole_file,
                         before.empty() ? 0 : number, false});
    }
    if (!before.empty()) waiting = ignores.size();
  }
  return ignores;
}

bool is_ignored(const Finding& finding, std::vector<Ignore>& ignores) {
  bool is = false;
  for (Ignore& each : ignores) {
    if (!(finding.rule == each.rule)) continue;
    if (!each.is_whole_file && (finding.place.line == 0 || each.line != finding.place.line))
      continue;
    is = each.is_used = true;
  }
  return is;
}

}  // namespace qwenplan
