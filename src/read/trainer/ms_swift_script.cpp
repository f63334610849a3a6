#include <algorithm>
#include <span>
#include <utility>

#include "read/trainer/command_flags.hpp"
#include "read/trainer/ms_swift.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"
#include "read/trainer/shell_text.hpp"

namespace qwenplan {
namespace {

using Words = std::span<const std::string_view>;

/// The verb of a program's name: "sft" of swift/cli/sft.py, swift.cli.sft and version 2's llm_sft.py.
std::string verb_in(std::string_view word) {
  const auto behind = [&](std::string_view front, std::string_view end) {
    const std::size_t at = word.rfind(front);
    if (at == std::string_view::npos || !word.ends_with(end)) return std::string();
    return std::string(word.substr(at + front.size(), word.size() - end.size() - at - front.size()));
  };
  for (const auto& [front, end] : {std::pair("swift/cli/", ".py"), std::pair("llm_", ".py")})
    if (word.size() > std::string_view(end).size())
      if (std::string verb = behind(front, end); !verb.empty()) return verb;
  if (word.starts_with("swift.cli.")) return std::string(word.substr(10));
  return {};
}

constexpr std::string_view kTraining[] = {"sft", "pt", "rlhf"};
/// Version 2 had a command for each method.
constexpr std::string_view kOldMethods[] = {"dpo", "orpo", "simpo", "cpo", "kto"};
constexpr std::string_view kOthers[] = {"infer",  "merge-lora", "web-ui", "deploy", "rollout",
                                        "sample", "export",     "eval",   "app"};

bool is_any(std::string_view word, Words words) { return std::find(words.begin(), words.end(), word) != words.end(); }
bool is_training(std::string_view verb) { return is_any(verb, kTraining); }
bool is_old_method(std::string_view verb) { return is_any(verb, kOldMethods); }

/// Whether these words stand in a line of the script before any comment.
bool has_words(std::string_view script, std::string_view words) {
  const auto is_part = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || letter == '_' || letter == '-';
  };
  while (!script.empty()) {
    const std::string_view line = script.substr(0, script.find('\n'));
    script.remove_prefix(std::min(line.size() + 1, script.size()));
    // "$(which swift)" sft
    std::string code(line.substr(0, line.find('#')));
    std::erase_if(code, [](char c) { return c == ')' || c == '`' || c == '"'; });
    for (std::size_t at = code.find(words); at != std::string_view::npos; at = code.find(words, at + 1)) {
      const std::size_t end = at + words.size();
      if ((at == 0 || !is_part(code[at - 1])) && (end == code.size() || !is_part(words.back()) || !is_part(code[end])))
        return true;
    }
  }
  return false;
}

/// A command of ms-swift's and where its flags begin.
struct SwiftCall {
  const ShellCommand* command = nullptr;
  std::size_t program = 0;     ///< the word that names the program
  std::size_t first_flag = 0;
  std::string verb;            ///< as written
  bool is_megatron = false;
};

SwiftCall call_in(const ShellCommand& command) {
  for (std::size_t i = 0; i < command.words.size(); ++i) {
    const std::string& word = command.words[i].text;
    const bool is_megatron = word == "megatron";
    std::string verb = verb_in(word);
    const bool is_inner = verb.starts_with("_megatron");  // swift/cli/_megatron/sft.py
    if (is_inner) verb.erase(0, std::min(verb.size(), std::string_view("_megatron/").size()));
    const bool takes_verb = word == "swift" || word.ends_with("/swift") || is_megatron || verb == "main";
    if (takes_verb) verb = i + 1 < command.words.size() ? command.words[i + 1].text : std::string();
    if (verb.empty() || verb.starts_with("-")) continue;
    return {&command, i, i + (takes_verb ? 2 : 1), verb, is_megatron || is_inner};
  }
  return {};
}

/// A script of another trainer, which is only recognised.
std::optional<TrainFile> other_trainer(const std::vector<ShellCommand>& commands) {
  for (const ShellCommand& command : commands)
    for (const auto& [part, trainer] :
         {std::pair("openrlhf", Trainer::openrlhf), std::pair("verl.trainer", Trainer::verl), std::pair("xtuner", Trainer::xtuner)})
      for (const ShellWord& word : command.words)
        if (word.text.find(part) != std::string::npos)
          return unmodelled_file(trainer, unknown_at({}, "the trainer " + std::string(qwenplan::name(trainer)) + " is not modelled",
                                                     "say what the run does with the flags of qwenplan vram"));
  return std::nullopt;
}

}  // namespace

bool runs_ms_swift(std::string_view script) {
  if (has_words(script, "swift/cli/") || has_words(script, "swift.cli.")) return true;
  for (const Words verbs : {Words(kTraining), Words(kOldMethods), Words(kOthers)})
    for (const std::string_view verb : verbs)
      for (const auto& [front, end] : {std::pair("swift ", ""), std::pair("megatron ", ""), std::pair("llm_", ".py")})
        if (has_words(script, front + std::string(verb) + end)) return true;
  return false;
}

TrainFile read_ms_swift_script(const Source& source) {
  const std::vector<ShellCommand>& commands = source.script->commands;
  if (auto other = other_trainer(commands)) return *std::move(other);
  SwiftCall found;
  std::string other_verb;
  std::vector<Finding> findings;
  for (const ShellCommand& command : commands) {
    const bool reads_another = !found.command && command.words.size() > 1 && (command.words.front().text == "source" || command.words.front().text == ".");
    if (reads_another)
      findings.push_back({"ms-swift/unresolved",
                          "what '" + command.words[1].text.substr(0, 100) + "' sets is not known: it is not read",
                          command.words.front().place,
                          {}});
    SwiftCall call = call_in(command);
    const bool trains = is_training(call.verb) || is_old_method(call.verb);
    if (call.command && !trains && other_verb.empty()) other_verb = (call.is_megatron ? "megatron " : "swift ") + call.verb;
    if (trains && found.command)
      findings.push_back({"ms-swift/several-commands", "another training command stands here; only the first is read",
                          command.words[call.program].place,
                          {}});
    else if (trains)
      found = std::move(call);
    if (found.command && !command.words.empty() && command.words.front().text.starts_with("--"))
      findings.push_back(
          {"ms-swift/flags-after-comment", "these flags belong to no command: a comment or a blank line above ended it",
           command.words.front().place, "remove the comment"});
  }
  if (!found.command) {
    TrainFile file;
    file.trainer = Trainer::ms_swift;
    file.other_purpose = other_verb.empty() ? "runs no training command that is read: swift sft, pt and rlhf"
                                            : "runs " + other_verb.substr(0, 40) + ", which does not train";
    return file;
  }

  CommandFlags flags(found.command->words, found.first_flag);
  if (auto unread = flags.take_file(source.neighbours))
    return unmodelled_file(Trainer::ms_swift,
                           found.is_megatron ? unknown_at(unread->place, "Megatron is not modelled", "modelled: swift sft")
                                             : *std::move(unread));
  flags.read();
  const Version version = version_of(source.version).value_or(latest_version(Trainer::ms_swift));
  if (version >= Version{3, 10, 0} && version < Version{4, 1, 0})
    if (auto unread = flags.take_named_file("config", source.neighbours))
      return unmodelled_file(Trainer::ms_swift, *std::move(unread));
  flags.take_further("ms-swift/unresolved", findings);
  SwiftCommand command;
  command.verb = is_old_method(found.verb) ? "rlhf" : found.verb;
  if (is_old_method(found.verb)) command.method = found.verb;
  command.is_megatron = found.is_megatron;
  CommandLaunch around = launch_of(*found.command, found.program);
  command.launch = std::move(around.launch);
  std::vector<OpenFlag> open = std::move(flags.open);
  open.insert(open.end(), around.open.begin(), around.open.end());
  // What the file of arguments sets counts where the environment does not have it.
  if (const Node* environment = flags.root.find("ENV"))
    for (const Entry& each : environment->entries) {
      const auto& set = found.command->environment;
      if (std::none_of(set.begin(), set.end(), [&](const auto& own) { return own.first == each.key; }))
        around.environment.take(each.key, each.value);
    }
  command.environment = std::move(around.environment);
  TrainFile file = read_swift_arguments(flags.root, command, source.neighbours, open);
  file.findings.insert(file.findings.begin(), findings.begin(), findings.end());
  return file;
}

}  // namespace qwenplan
