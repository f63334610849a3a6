#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "qwenplan/describe/valid_run.hpp"
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

/// The variables around the command that say how many cards take part.
struct Around {
  RunDraft::Maybe<std::int64_t> processes;  ///< NPROC_PER_NODE
  std::int64_t nodes = 1;
  std::int64_t visible = 0;  ///< of CUDA_VISIBLE_DEVICES; 0: not said
  Place place;
};

Around around(const ShellCommand& command) {
  Around out;
  for (const auto& [variable, value] : command.environment) {
    if (!value.unresolved.empty()) continue;
    const auto count = scalar_of(value).whole();
    if (variable == "NPROC_PER_NODE" && count)
      out.processes = from_file(std::clamp<std::int64_t>(*count, 1, kMostBatch), value.place);
    if (variable == "NNODES" && count) out.nodes = std::clamp<std::int64_t>(*count, 1, kMostBatch);
    if (variable == "CUDA_VISIBLE_DEVICES" && !value.text.empty()) {
      out.visible = 1 + std::count(value.text.begin(), value.text.end(), ',');
      out.place = value.place;
    }
  }
  return out;
}

/// Flags that decide a step, and the flag of ours that can give them.
constexpr std::pair<std::string_view, std::string_view> kDeciding[] = {
    {"cutoff_len", "seq-len"}, {"per_device_train_batch_size", "batch"}, {"stage", ""},     {"finetuning_type", ""},
    {"quantization_bit", ""},  {"lora_rank", ""},                         {"lora_target", ""}, {"optim", ""},
    {"flash_attn", ""},        {"deepspeed", ""},                         {"", ""}};

}  // namespace

TrainFile read_llama_factory_script(const Source& source) {
  FactoryCall found;
  std::string other;
  for (const ShellCommand& command : source.script->commands) {
    FactoryCall call = call_in(command);
    if (call.command && call.verb != "train") other = call.verb;
    if (call.command && call.verb == "train" && !found.command) found = std::move(call);
  }
  if (!found.command) {
    TrainFile file;
    file.trainer = Trainer::llama_factory;
    file.other_purpose = "runs " + (other.empty() ? "no command that trains" : other.substr(0, 40) + ", which does not train");
    return file;
  }

  CommandFlags flags(found.command->words, found.first_flag);
  flags.read();
  TrainFile file = read_llama_factory({flags.root, source.text, source.name, source.neighbours, source.version});
  for (const ShellWord* word : flags.further)
    for (const std::string& variable : word->unresolved) {
      if (word->is_either)
        flags.open.push_back({"", variable, true, true, word->place});
      else
        file.findings.push_back({"unresolved-value", "'" + variable.substr(0, 40) + "' may bring more flags, which are not known here",
                                 word->place, {}});
    }
  for (const OpenFlag& each : flags.open) {
    const auto* const ours = std::find_if(std::begin(kDeciding), std::end(kDeciding),
                                          [&](const auto& deciding) { return deciding.first == each.key; });
    if (ours == std::end(kDeciding)) continue;
    const std::string given(ours->second);
    const std::string what = (each.key.empty() ? "the script adds flags by '" : "the value of --" + each.key + " needs '") +
                             each.variable.substr(0, 40) + "', which " +
                             (each.is_either ? "its branches set differently" : "the script does not set");
    file.open.push_back({given,
                         {Error::Kind::unknown, what, where(source.name, each.place),
                          given.empty() ? "write the value out" : "give it with --" + given},
                         each.place});
  }

  const Around said = around(*found.command);
  const ProcessLaunch launch = process_launch(found.command->words, found.program, said.visible);
  if (launch.is_launcher) {
    put_process_launch(launch, source.name, source.neighbours, file);
  } else if (found.is_cli && said.visible != 1 && (said.processes || said.visible > 1)) {
    // Its command line starts torchrun where it sees several cards (launcher.py).
    const std::int64_t each = said.processes ? said.processes->value : said.visible;
    file.draft.gpus = from_file(each * said.nodes, said.processes ? said.processes->place : said.place);
  }
  return file;
}

}  // namespace qwenplan
