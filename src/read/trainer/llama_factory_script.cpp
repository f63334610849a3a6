#include <string_view>
#include <utility>

#include "qwenplan/describe/run_draft.hpp"
#include "read/trainer/command_flags.hpp"
#include "read/trainer/process_launch.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// A command of LLaMA-Factory's, and where its flags begin.
struct FactoryCall {
  const ShellCommand* command = nullptr;
  std::size_t program = 0;
  std::size_t first_flag = 0;
  std::string verb;  ///< train, or what does not train
  bool is_cli = false;
};

/// Before there was a command line, each purpose had a script: src/train_bash.py, and src/train.py after it.
FactoryCall call_in(const ShellCommand& command) {
  for (std::size_t i = 0; i < command.words.size(); ++i) {
    const std::string_view word = command.words[i].text;
    const std::string_view name = word.substr(word.find_last_of('/') + 1);
    if (name == "llamafactory-cli" || name == "lmf")
      return {&command, i, i + 2, i + 1 < command.words.size() ? command.words[i + 1].text : "", true};
    if (name == "train_bash.py" || word.ends_with("src/train.py")) return {&command, i, i + 1, "train", false};
    for (const std::string_view other : {"export_model.py", "cli_demo.py", "web_demo.py", "api_demo.py", "evaluate.py"})
      if (name == other) return {&command, i, i + 1, std::string(name), false};
  }
  return {};
}

/// Behind a file its settings stand without hyphens, as OmegaConf takes them: key=value.
std::vector<ShellWord> words_of(const FactoryCall& call) {
  std::vector<ShellWord> words = call.command->words;
  for (std::size_t i = call.first_flag + 1; i < words.size(); ++i) {
    const std::string& text = words[i].text;
    const bool is_behind_file = !words[call.first_flag].text.starts_with("--");
    if (is_behind_file && !text.starts_with("--") && text.find('=') != std::string::npos) words[i].text = "--" + text;
  }
  return words;
}

/// The first command that trains, and the last other one.
std::pair<FactoryCall, std::string> training_in(const ShellScript& script) {
  FactoryCall found;
  std::string other;
  for (const ShellCommand& command : script.commands) {
    FactoryCall call = call_in(command);
    if (call.command && call.verb != "train") other = call.verb;
    if (call.command && call.verb == "train" && !found.command) found = std::move(call);
  }
  return {std::move(found), std::move(other)};
}

}  // namespace

std::optional<Node> llama_factory_arguments(const ShellScript& script, const Neighbours& neighbours) {
  const FactoryCall call = training_in(script).first;
  if (!call.command || call.first_flag >= call.command->words.size()) return std::nullopt;
  const std::string& file = call.command->words[call.first_flag].text;
  if (file.starts_with("--") || !neighbours.text_of(file)) return std::nullopt;
  const std::vector<ShellWord> words = words_of(call);
  CommandFlags flags(words, call.first_flag);
  if (flags.take_file(neighbours)) return Node{};
  flags.read();
  return std::move(flags.root);
}

TrainFile read_llama_factory_script(const Source& source) {
  const auto [found, other] = training_in(*source.script);
  if (!found.command) {
    TrainFile file;
    file.trainer = Trainer::llama_factory;
    file.other_purpose = "runs " + (other.empty() ? "no command that trains" : other.substr(0, 40) + ", which does not train");
    return file;
  }

  const std::vector<ShellWord> words = words_of(found);
  CommandFlags flags(words, found.first_flag);
  if (auto unread = flags.take_file(source.neighbours)) return unmodelled_file(Trainer::llama_factory, *std::move(unread));
  flags.read();
  TrainFile file = read_llama_factory({flags.root, source.text, source.name, source.neighbours, source.version});
  flags.take_further("unresolved-value", file.findings);
  const CommandLaunch around = launch_of(*found.command, found.program);
  const LaunchEnvironment& said = around.environment;
  // Its command line starts torchrun where it is told to or sees several cards (launcher.py); the script does not.
  const bool starts_processes = !around.launch.is_launcher && found.is_cli && (said.forces_torchrun || said.visible != 1);
  if (around.launch.is_launcher) {
    put_process_launch(around.launch, source.neighbours, file);
  } else if (starts_processes && (said.processes || said.visible > 0)) {
    const std::int64_t each = said.processes ? said.processes->value : said.visible;
    file.draft.gpus = from_file(each * said.machines(), said.processes ? said.processes->place : said.visible_place);
  } else if (starts_processes && said.machines() > 1) {
    file.open.push_back({"gpus", unknown_at(said.nodes->place,
                                            "how many cards each of the " + std::to_string(said.machines()) +
                                                " machines has is left to them",
                                            "give their number in all with --gpus")});
  }
  std::vector<OpenFlag> open = std::move(flags.open);
  if (starts_processes || around.launch.is_launcher) open.insert(open.end(), around.open.begin(), around.open.end());
  for (const OpenFlag& each : open) put_open_flag(each, true, "unresolved-value", file);
  return file;
}

}  // namespace qwenplan
