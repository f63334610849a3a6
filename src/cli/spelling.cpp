#include "cli/spelling.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>

#include "cli/flags.hpp"
#include "command/command.hpp"
#include "qwenplan/base/nearest.hpp"

namespace qwenplan {
namespace {

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

/// "did you mean 'a' or 'b'?", or the alternative where nothing is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& names,
                         std::string_view dashes, std::string otherwise) {
  const std::vector<std::string> near = nearest(word, names);
  if (near.empty()) return otherwise;
  std::string out = "did you mean ";
  for (std::size_t i = 0; i < near.size(); ++i) {
    if (i > 0) out += i + 1 == near.size() ? " or " : ", ";
    out += quoted(std::string(dashes) + near[i]);
  }
  return out + "?";
}

bool is_listed(std::string_view list, std::string_view wanted) {
  bool is = false;
  each_word(list, [&](std::string_view word) { is = is || word == wanted; });
  return is;
}

struct Match {
  const Flag* flag = nullptr;
  bool is_negated = false;
};

Match match(const Flag& flag, std::string_view name) {
  const auto is_name = [&](std::string_view wanted) {
    return flag.name == wanted || is_listed(flag.aliases, wanted);
  };
  if (is_name(name)) return {&flag, false};
  if (flag.kind == Flag::Kind::on_off && name.starts_with("no-") && is_name(name.substr(3)))
    return {&flag, true};
  return {};
}

/// The flag of a command, or of all commands, by any spelling. A command's own come first.
Match find(const Command* command, std::string_view name) {
  if (command)
    for (const std::span<const Flag> flags : command->flags)
      for (const Flag& flag : flags)
        if (const Match found = match(flag, name); found.flag) return found;
  for (const Flag& flag : common_flags())
    if (const Match found = match(flag, name); found.flag) return found;
  return {};
}

const Flag* find_letter(const Command* command, char letter) {
  if (command)
    for (const std::span<const Flag> flags : command->flags)
      for (const Flag& flag : flags)
        if (flag.letter == letter) return &flag;
  for (const Flag& flag : common_flags())
    if (flag.letter == letter) return &flag;
  return nullptr;
}

Error unknown_option(const Command* command, std::string_view shown, std::string_view name) {
  // What a training script takes and what costs no memory: said so, rather than guessed at.
  constexpr std::string_view kFree =
      "lr learning-rate lr-scheduler-type warmup-ratio warmup-steps weight-decay num-train-epochs "
      "max-steps seed max-grad-norm output-dir logging-steps save-steps report-to adam-beta1 "
      "adam-beta2 "
      "adam-epsilon save-strategy run-name";
  if (is_listed(kFree, name))
    return wrong("unknown option " + quoted(shown), "command line",
                 "leave it out: it does not change the answer");
  std::vector<std::string> names;
  const auto collect = [&](std::span<const Flag> flags) {
    for (const Flag& flag : flags) {
      names.emplace_back(flag.name);
      each_word(flag.aliases, [&](std::string_view alias) { names.emplace_back(alias); });
      if (flag.kind == Flag::Kind::on_off) names.push_back("no-" + std::string(flag.name));
    }
  };
  if (command)
    for (const std::span<const Flag> flags : command->flags) collect(flags);
  collect(common_flags());
  std::string otherwise = "qwenplan --help lists the commands";
  if (command) {
    otherwise = "qwenplan " + std::string(command->name) + " --help lists the options";
    for (const Command& other : commands())
      if (find(&other, name).flag) {
        otherwise = "it is an option of 'qwenplan " + std::string(other.name) + "'";
        break;
      }
  }
  return wrong("unknown option " + quoted(shown), "command line",
               did_you_mean(name, names, "--", std::move(otherwise)));
}

std::optional<bool> truth(std::string_view text) {
  const std::string word = folded(text);
  if (word == "true" || word == "on" || word == "yes" || word == "1") return true;
  if (word == "false" || word == "off" || word == "no" || word == "0") return false;
  return std::nullopt;
}

/// Two-word commands under a first word: "plan, layout, init".
std::vector<std::string> second_words(std::string_view first) {
  std::vector<std::string> words;
  for (const Command& command : commands())
    if (command.name.size() > first.size() && command.name.starts_with(first) &&
        command.name[first.size()] == ' ')
      words.emplace_back(command.name.substr(first.size() + 1));
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) (out += out.empty() ? "" : ", ") += word;
  return out;
}

/// The command that the first words name; takes these words away.
Result<const Command*> take_command(std::vector<std::string>& words) {
  if (words.empty())
    return wrong("no command given", "command line",
                 "try 'qwenplan vram --model 7b --gpu rtx3060', or qwenplan --help");
  const std::string first = folded(words[0]);
  const std::vector<std::string> seconds = second_words(first);
  if (!seconds.empty() && words.size() == 1)
    return wrong("'qwenplan " + first + "' needs one more word", "command line",
                 "one of: " + joined(seconds));
  const std::string name = seconds.empty() ? first : first + " " + folded(words[1]);
  for (const Command& command : commands())
    if (command.name == name) {
      words.erase(words.begin(), words.begin() + (seconds.empty() ? 1 : 2));
      return &command;
    }
  if (!seconds.empty())
    return wrong(
        "unknown command " + quoted(first + " " + words[1]), "command line",
        did_you_mean(folded(words[1]), seconds, first + " ", "one of: " + joined(seconds)));
  std::vector<std::string> names;
  for (const Command& command : commands())
    names.emplace_back(command.name.substr(0, command.name.find(' ')));
  return wrong("unknown command " + quoted(words[0]), "command line",
               did_you_mean(first, names, "", "qwenplan --help lists the commands"));
}

bool looks_like_option(std::string_view token) {
  return token.size() > 1 && token[0] == '-' && !(token[1] >= '0' && token[1] <= '9') &&
         token[1] != '.';
}

/// "2x" of `--gpu 2x rtx4090`, which people write without quotes.
bool is_count(std::string_view text) {
  return text.size() > 1 && (text.back() == 'x' || text.back() == 'X') &&
         text.find_first_not_of("0123456789") == text.size() - 1;
}

/// Goes over the arguments and sorts them into flags and words.
class Reader {
 public:
  Reader(const std::vector<std::string>& arguments, const Command* command)
      : arguments_(arguments), command_(command) {}

  /// Where the command is not known yet, a flag of it is passed over with what might be its value.
  std::optional<Error> read(Taught& out) {
    for (; at_ < arguments_.size(); ++at_) {
      const std::string& token = arguments_[at_];
      if (token == "--") {
        out.rest.assign(arguments_.begin() + static_cast<std::ptrdiff_t>(at_) + 1,
                        arguments_.end());
        return std::nullopt;
      }
      if (!looks_like_option(token)) {
        out.words.push_back(token);
      } else if (std::optional<Error> error =
                     token.starts_with("--") ? read_long(token, out) : read_letters(token, out)) {
        return error;
      }
    }
    return std::nullopt;
  }

 private:
  std::optional<Error> read_long(std::string_view token, Taught& out) {
    const std::size_t equals = token.find('=');
    const std::string name = folded(token.substr(2, equals == token.npos ? equals : equals - 2));
    std::optional<std::string> value;
    if (equals != token.npos) value = token.substr(equals + 1);
    const Match found = find(command_, name);
    if (!found.flag) return unknown_option(command_, token.substr(0, equals), name);
    return add(*found.flag, found.is_negated, token.substr(0, equals), std::move(value), out);
  }

  std::optional<Error> read_letters(std::string_view token, Taught& out) {
    for (std::size_t i = 1; i < token.size(); ++i) {
      const std::string shown{'-', token[i]};
      const Flag* flag = find_letter(command_, token[i]);
      if (!flag) return unknown_option(command_, token, token.substr(1));
      std::optional<std::string> value;
      const bool takes_rest = flag->kind == Flag::Kind::value && i + 1 < token.size();
      if (takes_rest) value = token.substr(i + (token[i + 1] == '=' ? 2 : 1));
      if (auto error = add(*flag, false, shown, std::move(value), out)) return error;
      if (takes_rest) break;
    }
    return std::nullopt;
  }

  std::optional<Error> add(const Flag& flag, bool is_negated, std::string_view shown,
                           std::optional<std::string> value, Taught& out) {
    using Kind = Flag::Kind;
    const std::string where(shown);
    if (flag.kind == Kind::value || flag.kind == Kind::values) {
      if (!value && at_ + 1 < arguments_.size() && !is_option_here(arguments_[at_ + 1]))
        value = arguments_[++at_];
      if (value && flag.name == "gpu" && is_count(*value) && at_ + 1 < arguments_.size())
        *value += " " + arguments_[++at_];
      if (!value || value->empty())
        return wrong(
            where + " needs a value", where,
            "write " + where + " " + std::string(flag.value) + ": " + std::string(flag.help));
    } else if (flag.kind == Kind::marker || is_negated) {
      if (value) return wrong(where + " takes no value", where, "write " + where + " alone");
      value = is_negated ? "off" : "on";
    } else {
      // Trainers write `--bf16 True`; the word belongs to the flag.
      if (!value && at_ + 1 < arguments_.size()) {
        const std::string next = folded(arguments_[at_ + 1]);
        if (next == "true" || next == "false") value = arguments_[++at_];
      }
      const std::optional<bool> is_on = value ? truth(*value) : true;
      if (!is_on)
        return wrong(
            quoted(*value) + " is neither yes nor no", where,
            "write " + where +
                (flag.kind == Kind::on_off ? " or --no-" + std::string(flag.name)
                                           : std::string(" alone, or with true or false")));
      value = *is_on ? "on" : "off";
    }
    out.tokens.push_back("--" + std::string(flag.name));
    out.tokens.push_back(std::move(*value));
    return std::nullopt;
  }

  bool is_option_here(std::string_view token) const {
    if (token == "--") return true;
    if (!looks_like_option(token)) return false;
    if (!token.starts_with("--"))
      return token.size() == 2 && find_letter(command_, token[1]) != nullptr;
    return find(command_, folded(token.substr(2, token.find('=') - 2))).flag != nullptr;
  }

  const std::vector<std::string>& arguments_;
  const Command* command_;
  std::size_t at_ = 0;
};

/// Words that may name the command: those that are no flag's value. Flags may stand before it, but
/// only those that every command has.
std::vector<std::string> leading_words(const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < arguments.size() && words.size() < 2; ++i) {
    const std::string& token = arguments[i];
    if (token == "--") break;
    if (!looks_like_option(token)) {
      words.push_back(token);
      continue;
    }
    if (!words.empty()) {
      // Behind `storage`, only its second word can still come; a value must not be taken for it.
      break;
    }
    const Match found = find(nullptr, folded(token.starts_with("--") ? token.substr(2) : token));
    if (found.flag && found.flag->kind == Flag::Kind::value && token.find('=') == token.npos) ++i;
  }
  return words;
}

}  // namespace

std::vector<std::string> items_of(std::string_view list) {
  std::vector<std::string> items;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    std::string item(list.substr(at, end - at));
    item.erase(0, item.find_first_not_of(' '));
    item.erase(item.find_last_not_of(' ') + 1);
    if (!item.empty()) items.push_back(std::move(item));
    at = end + 1;
  }
  return items;
}

std::string folded(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '_') c = '-';
  }
  return out;
}

Result<std::string> choose(const Flag& flag, std::string_view text) {
  const std::string wanted = folded(text);
  std::vector<std::string> names;
  std::string shown;
  for (const Choice& choice : flag.choices) {
    if (choice.name == wanted || is_listed(choice.aliases, wanted)) return std::string(choice.name);
    names.emplace_back(choice.name);
    each_word(choice.aliases, [&](std::string_view alias) { names.emplace_back(alias); });
    if (choice.help != "not modelled") (shown += shown.empty() ? "" : ", ") += choice.name;
  }
  return wrong("unknown value " + quoted(text), "--" + std::string(flag.name),
               did_you_mean(wanted, names, "", "one of: " + shown));
}

Result<Taught> taught(const std::vector<std::string>& arguments) {
  Taught out;
  std::vector<std::string> words = leading_words(arguments);
  const bool asks_for_help = !words.empty() && folded(words[0]) == "help";
  if (asks_for_help) {
    words.assign(arguments.begin() + 1, arguments.end());
    out.wish = Taught::Wish::long_help;
  }
  for (const std::string& token : arguments) {
    if (token == "--") break;
    if (token == "--version" || token == "-V")
      out.wish = Taught::Wish::version;
    else if (token == "--help")
      out.wish = Taught::Wish::long_help;
    else if (token == "-h")
      out.wish = Taught::Wish::short_help;
  }
  const bool is_general =
      words.empty() || (words.size() == 1 && !second_words(folded(words[0])).empty());
  if (out.wish == Taught::Wish::version || (out.wish != Taught::Wish::answer && is_general))
    return out;

  auto command = take_command(words);
  if (!command) return command.error();
  out.command = *command;
  if (out.wish != Taught::Wish::answer) return out;

  Reader reader(arguments, out.command);
  if (std::optional<Error> error = reader.read(out)) return *error;
  const auto named =
      static_cast<std::ptrdiff_t>(out.command->name.find(' ') == std::string_view::npos ? 1 : 2);
  out.words.erase(out.words.begin(), out.words.begin() + named);

  const Words& wanted = out.command->words;
  const auto count = static_cast<int>(out.words.size());
  const std::string name(out.command->name);
  if (count < wanted.at_least)
    return wrong("'qwenplan " + name + "' needs " + std::string(wanted.name), "command line",
                 "qwenplan " + name + " --help shows how");
  if (wanted.at_most >= 0 && count > wanted.at_most)
    return wrong("unexpected word " + quoted(out.words[static_cast<std::size_t>(wanted.at_most)]),
                 "command line",
                 wanted.at_most == 0 ? "values stand behind their flag, as in --model 7b"
                                     : "qwenplan " + name + " takes " + std::string(wanted.name));
  return out;
}

}  // namespace qwenplan
