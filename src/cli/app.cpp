#include "cli/app.hpp"

#include <CLI/CLI.hpp>

#include <set>

#include "cli/flags.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"

namespace qwenplan {

Result<Invocation> parse(const Taught& line, const Environment& environment) {
  Invocation invocation;
  invocation.command = line.command;
  invocation.environment = environment;
  invocation.words = line.words;
  invocation.rest = line.rest;

  // Only the flags of the command that stand on the line are registered: to register sixty takes a
  // third of a millisecond of the five that the whole process has.
  std::set<std::string_view> on_line;
  for (const std::string_view token : line.tokens)
    if (token.starts_with("--")) on_line.insert(token.substr(2, token.find('=') - 2));
  CLI::App app;
  app.set_help_flag();
  std::map<std::string_view, const Flag*> registered;
  const auto add = [&](std::span<const Flag> flags) {
    for (const Flag& flag : flags) {
      if (!on_line.contains(flag.name) || !registered.emplace(flag.name, &flag).second) continue;
      app.add_option("--" + std::string(flag.name))
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
  };
  for (const std::span<const Flag> flags : line.command->flags) add(flags);
  add(common_flags());

  try {
    std::vector<std::string> backwards(line.tokens.rbegin(), line.tokens.rend());
    app.parse(std::move(backwards));
  } catch (const CLI::ParseError& error) {
    return Error{Error::Kind::wrong, error.what(), "command line",
                 "qwenplan " + std::string(line.command->name) + " --help lists the options"};
  }

  // The guide has words of its own for some flags, such as --precision int4.
  const CLI::Option* estimator = app.get_option_no_throw("--estimator");
  invocation.uses_guide =
      estimator != nullptr && estimator->count() > 0 && estimator->results().back() == "guide";

  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0) continue;
    const std::string name = option->get_single_name();
    const Flag& flag = *registered.at(name);
    std::vector<std::string> values = option->results();
    const bool is_common = flag.group == common_flags().front().group;
    if (!flag.choices.empty() && (is_common || !invocation.uses_guide))
      for (std::string& value : values) {
        auto chosen = choose(flag, value);
        if (!chosen) return chosen.error();
        value = *chosen;
      }
    invocation.given.emplace(name, std::move(values));
  }

  const std::string format = invocation.value("format").value_or("text");
  if (format == "json" || invocation.has("json"))
    invocation.format = Format::json;
  else if (format == "csv")
    invocation.format = Format::csv;
  else if (format == "markdown")
    invocation.format = Format::markdown;
  invocation.is_quiet = invocation.has("quiet");
  invocation.is_strict = invocation.has("strict");
  const std::string color = invocation.value("color").value_or("auto");
  invocation.uses_color = invocation.format == Format::text &&
                          (color == "always" || (color == "auto" && environment.wants_color));
  invocation.data_directory = environment.data_directory;
  if (!environment.data_directory.empty()) invocation.data_from = "env";
  if (invocation.has("data")) {
    invocation.data_directory = *invocation.value("data");
    invocation.data_from = "flag";
  }
  return invocation;
}

}  // namespace qwenplan
