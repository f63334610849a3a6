#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "cli/app.hpp"
#include "cli/flags.hpp"
#include "command/command.hpp"
#include "qwenplan/base/version.hpp"
#include "render/render.hpp"

namespace qwenplan {
namespace {

constexpr std::size_t kIndent = 30;

std::string padded(std::string text) {
  if (text.size() + 2 > kIndent) return text + "\n" + std::string(kIndent, ' ');
  text.resize(kIndent, ' ');
  return text;
}

std::string spelling(const Flag& flag) {
  std::string out =
      flag.letter ? std::string("  -") + flag.letter + ", --" : std::string("      --");
  if (flag.kind == Flag::Kind::on_off) out += "[no-]";
  out += flag.name;
  if (!flag.value.empty()) out += " " + std::string(flag.value);
  return out;
}

std::string choices(const Flag& flag) {
  std::string shown, unmodelled;
  for (const Choice& choice : flag.choices) {
    std::string& list = choice.help == "not modelled" ? unmodelled : shown;
    (list += list.empty() ? "" : ", ") += choice.name;
  }
  if (!unmodelled.empty()) shown += "; known, not modelled: " + unmodelled;
  return shown;
}

std::string aliases(const Flag& flag) {
  std::string out;
  each_word(flag.aliases,
            [&](std::string_view alias) { ((out += out.empty() ? "also --" : ", --") += alias); });
  return out;
}

std::string lines(const Flag& flag, HelpLength length) {
  const std::string margin(kIndent, ' ');
  const int width = 100 - static_cast<int>(kIndent);
  const auto indented = [&](const std::string& text) {
    std::string out = wrap(text, width);
    for (std::size_t at = 0; (at = out.find('\n', at)) != std::string::npos;
         at += margin.size() + 1)
      out.insert(at + 1, margin);
    return out + "\n";
  };
  std::string out = padded(spelling(flag)) + indented(std::string(flag.help));
  if (length == HelpLength::full) {
    if (!flag.choices.empty()) out += margin + indented(choices(flag));
    if (!flag.aliases.empty()) out += margin + indented(aliases(flag));
  }
  return out;
}

std::string of_all() {
  std::string out =
      "qwenplan " + std::string(kVersion) +
      ": does this fine-tuning run fit this GPU?\n\nusage: qwenplan COMMAND [OPTIONS]\n\n";
  for (const Command& command : commands())
    if (command.run)
      out += padded("  " + std::string(command.name)) + std::string(command.summary) + "\n";
  std::string later;
  for (const Command& command : commands())
    if (!command.run) (later += later.empty() ? "" : ", ") += command.name;
  if (!later.empty()) out += "\n" + wrap("Not built yet: " + later, 80) + "\n";
  out +=
      "\nqwenplan COMMAND --help tells more.\n"
      "Exit status: 0 yes or done, 1 no, 2 the question was wrong, 3 it cannot be told.\n";
  return out;
}

}  // namespace

std::string help(const Command* command, HelpLength length) {
  if (!command) return of_all();
  std::string out = "qwenplan " + std::string(command->name) + ": " +
                    std::string(command->summary) + "\n\nusage: qwenplan " +
                    std::string(command->name);
  if (!command->words.name.empty()) out += " " + std::string(command->words.name);
  out += " [OPTIONS]\n";
  if (!command->example.empty()) out += "example: " + std::string(command->example) + "\n";

  std::vector<const Flag*> flags;
  const auto collect = [&](std::span<const Flag> set) {
    for (const Flag& flag : set) {
      const bool is_known = std::any_of(
          flags.begin(), flags.end(), [&](const Flag* other) { return other->name == flag.name; });
      if (!is_known && !flag.group.empty()) flags.push_back(&flag);
    }
  };
  for (const std::span<const Flag> set : command->flags) collect(set);
  collect(common_flags());

  std::vector<std::string_view> groups;
  for (const Flag* flag : flags)
    if (std::find(groups.begin(), groups.end(), flag->group) == groups.end())
      groups.push_back(flag->group);
  for (const std::string_view group : groups) {
    out += "\n" + std::string(group) + ":\n";
    for (const Flag* flag : flags)
      if (flag->group == group) out += lines(*flag, length);
  }
  return out;
}

}  // namespace qwenplan
