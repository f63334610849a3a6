#include "read/trainer/train_file.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "qwenplan/describe/trainer_defaults.hpp"
#include "read/trainer/interpolation.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/ms_swift.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"
#include "read/trainer/shell_text.hpp"

namespace qwenplan {
namespace {

using Reader = TrainFile (*)(const Source&);

/// Whose file something is: a reader, or the trainer that is only recognised.
struct Owner {
  Reader read = nullptr;
  Trainer trainer = Trainer::transformers;
};

bool has_any(const Node& map, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys)
    if (map.has(key)) return true;
  return false;
}

bool is_map(const Node& map, std::string_view key) {
  const Node* value = map.find(key);
  return value && value->is_map();
}

/// A key at any depth.
bool has_within(const Node& node, std::string_view key) {
  if (node.has(key)) return true;
  for (const Entry& each : node.entries)
    if (has_within(each.value, key)) return true;
  for (const Node& each : node.items)
    if (has_within(each, key)) return true;
  return false;
}

/// The rules in order; each was seen to tell the trainers' own examples apart.
std::optional<Owner> owner_of(const Node& root) {
  const auto has = [&](std::initializer_list<std::string_view> keys) {
    return has_any(root, keys);
  };
  if (has({"zero_optimization", "train_micro_batch_size_per_gpu"}) ||
      (has({"train_batch_size"}) && has({"fp16", "bf16", "optimizer", "steps_per_print"})))
    return Owner{read_deepspeed};
  if (has({"distributed_type", "compute_environment"}) ||
      (has({"num_processes"}) && has({"mixed_precision"})))
    return Owner{read_accelerate};
  if (has_within(root, "_component_")) return Owner{read_torchtune};
  if (has({"base_model"}) &&
      has({"datasets", "sequence_len", "micro_batch_size", "pretraining_dataset", "adapter"}))
    return Owner{read_axolotl};
  if (has({"actor_rollout_ref", "defaults", "_target_"}) ||
      (is_map(root, "trainer") && has({"data"})))
    return Owner{nullptr, Trainer::verl};
  if (const Node* train = root.find("train");
      train && has_any(*train, {"global_batch_size", "micro_batch_size"}) &&
      has({"checkpoint_dir", "model_name", "out_dir"}))
    return Owner{read_litgpt};
  if (has({"fsdp"}) && has({"fsdp_config"}) && !has({"model", "model_name_or_path"}))
    return Owner{read_fsdp};
  if (is_map(root, "training") && has({"lora", "model"})) return Owner{read_unsloth};
  if (has({"model_name_or_path"}))
    return has({"finetuning_type", "stage", "cutoff_len", "template", "export_dir", "infer_backend",
                "quantization_bit", "lora_rank"})
               ? Owner{read_llama_factory}
               : Owner{read_trl};
  // The parts that verl puts together; to the others a model is a word.
  if (is_map(root, "model")) return Owner{nullptr, Trainer::verl};
  if (has({"model"}) &&
      has({"model_class", "dist_config", "kernel_config", "peft_config", "train_dataset"}))
    return Owner{read_llama_factory_v1};
  if (const Node* model = root.find("model");
      model && !model->is_map() &&
      has({"tuner_type", "train_type", "sft_type", "rlhf_type", "torch_dtype", "dataset",
           "max_length", "target_modules"}))
    return Owner{read_ms_swift};
  if (has({"model_id_or_path", "model_type"}) && has({"sft_type", "rlhf_type", "template_type"}))
    return Owner{read_ms_swift};
  if (has({"num_generations", "max_completion_length", "reward_funcs"})) return Owner{read_trl};
  if (has({"per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"}))
    return Owner{read_transformers};
  if (has({"max_new_tokens", "infer_backend"}) && has({"stream", "adapters", "load_data_args", "infer_backend"}))
    return Owner{read_ms_swift};
  return std::nullopt;
}

std::optional<Owner> chosen_owner(Trainer trainer, const Node& root) {
  switch (trainer) {
    case Trainer::transformers:
    case Trainer::peft:
      return Owner{read_transformers};
    case Trainer::trl:
      return Owner{read_trl};
    case Trainer::llama_factory:
      return Owner{root.has("model_name_or_path") || !root.has("model") ? read_llama_factory
                                                                        : read_llama_factory_v1};
    case Trainer::axolotl:
      return Owner{read_axolotl};
    case Trainer::torchtune:
      return Owner{read_torchtune};
    case Trainer::ms_swift:
      return Owner{read_ms_swift};
    case Trainer::unsloth:
      return Owner{read_unsloth};
    case Trainer::litgpt:
      return Owner{read_litgpt};
    case Trainer::deepspeed:
      return Owner{read_deepspeed};
    case Trainer::accelerate:
      return Owner{read_accelerate};
    case Trainer::xtuner:
    case Trainer::verl:
    case Trainer::openrlhf:
      return Owner{nullptr, trainer};
  }
  return std::nullopt;
}

/// Readers know places of the file and not its name.
void put_name(const std::string& file_name, TrainFile& file) {
  const auto put = [&](Error& error) { error.where = where(file_name, error.place); };
  if (file.unmodelled) put(*file.unmodelled);
  if (file.unmodelled_experts) put(*file.unmodelled_experts);
  for (TrainFile::Open& each : file.open) put(each.error);
}

TrainFile recognised_only(Trainer trainer, const std::string& file_name) {
  TrainFile file = unmodelled_file(trainer, unknown_at({}, "the trainer " + std::string(name(trainer)) + " is not modelled",
                                                       "describe the run by flags: qwenplan vram --help"));
  put_name(file_name, file);
  return file;
}

bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> ends) {
  for (const std::string_view end : ends)
    if (text.ends_with(end)) return true;
  return false;
}

/// Shell scripts and Python files are no documents; the commands and imports in them tell whose
/// they are.
std::optional<Owner> owner_of_script(const std::string& text, const Neighbours& neighbours) {
  const auto says = [&](std::string_view word) { return text.find(word) != std::string::npos; };
  if (says("openrlhf") || (says("--micro_train_batch_size") && says("--pretrain"))) return Owner{nullptr, Trainer::openrlhf};
  if (says("verl.trainer") || says("actor_rollout_ref")) return Owner{nullptr, Trainer::verl};
  if (says("xtuner") || says("mmengine")) return Owner{nullptr, Trainer::xtuner};
  if (runs_ms_swift(text)) return Owner{read_ms_swift_script};
  // With a file of settings that is not here these are launchers only.
  const bool is_factory = says("llamafactory-cli") || says("train_bash.py") ||
                          (says("src/train.py") && (says("--stage") || says("--finetuning_type")));
  if (is_factory && says("--model_name_or_path")) return Owner{read_llama_factory_script};
  if (is_factory || says("src/train.py")) {
    // Many projects have a src/train.py; what it is given tells whose it is.
    const auto arguments = llama_factory_arguments(read_shell(text), neighbours);
    const auto owner = arguments && !is_factory ? owner_of(*arguments) : std::nullopt;
    if (arguments && (is_factory || (owner && owner->read == read_llama_factory))) return Owner{read_llama_factory_script};
  }
  return std::nullopt;
}

void say_secret(const std::string& key, Place place, TrainFile& file) {
  // A variable that is set once is in the environment of every command below.
  for (const Finding& each : file.findings)
    if (each.rule == "secret-in-file" && each.place.line == place.line) return;
  file.findings.push_back({"secret-in-file",
                           "the value of '" + key.substr(0, 60) + "' is a secret that everyone who "
                           "reads the file knows; it is not shown here",
                           place, "set it in the environment, and have it revoked"});
}

/// What the values themselves tell, whoever reads them: secrets, and references that no loader
/// resolves. `root` has OmegaConf's references filled in where the trainer does that.
void read_values(const Node& node, bool is_filled, TrainFile& file) {
  for (const Entry& each : node.entries) {
    const Node& value = each.value;
    if (value.kind != Node::Kind::scalar) {
      read_values(value, is_filled, file);
      continue;
    }
    if (is_credential(each.key, value.scalar)) say_secret(each.key, value.place, file);
    const std::size_t at = value.scalar.find("${");
    const bool is_known =
        (is_filled && value.scalar.find("oc.") != std::string::npos) ||
        std::any_of(file.open.begin(), file.open.end(), [&](const TrainFile::Open& open) {
          return open.error.place == value.place;
        });
    if (value.scalar == "???" || (at != std::string::npos && !is_known &&
                                  value.scalar.find('}', at) != std::string::npos &&
                                  value.scalar.find('\n') == std::string::npos))
      file.findings.push_back({"unresolved-value",
                               "'" + each.key.substr(0, 60) +
                                   "' refers to something that the file does not have",
                               value.place, "write the value out"});
  }
  for (const Node& each : node.items) read_values(each, is_filled, file);
}

/// Numbers without a dot are words to PyYAML, and LLaMA-Factory read its files with it once.
void read_numbers(const Node& root, TrainFile& file) {
  for (const Entry& each : root.entries) {
    const std::string& text = each.value.scalar;
    if (each.value.kind != Node::Kind::scalar || each.value.is_quoted || !each.value.number() ||
        text.find_first_of("eE") == std::string::npos)
      continue;
    const std::size_t sign = text.find_first_of("eE") + 1;
    if (text.find('.') != std::string::npos && sign < text.size() &&
        (text[sign] == '-' || text[sign] == '+'))
      continue;
    file.findings.push_back({"number-as-text",
                             "LLaMA-Factory before 0.9.4 reads " + each.value.shown() + " as a word",
                             each.value.place, "1.0e-4"});
  }
}

/// Secrets in a script: values of flags, and variables that are set.
void read_script_values(const ShellScript& script, TrainFile& file) {
  for (const ShellCommand& command : script.commands) {
    for (const auto& [variable, value] : command.environment)
      if (is_credential(variable, value.text)) say_secret(variable, value.place, file);
    for (std::size_t i = 0; i + 1 < command.words.size(); ++i) {
      const std::string& flag = command.words[i].text;
      if (flag.starts_with("--") && is_credential(flag.substr(2), command.words[i + 1].text))
        say_secret(flag.substr(2), command.words[i + 1].place, file);
    }
  }
}

/// A script that starts a trainer with a file of its own: what it starts, and that file's name.
std::optional<Error> launch_script(const std::string& text, const std::string& file_name) {
  constexpr std::pair<std::string_view, std::string_view> kStarts[] = {
      {"llamafactory-cli", "LLaMA-Factory"}, {"llamafactory", "LLaMA-Factory"},
      {"axolotl", "axolotl"},                {"tune run", "torchtune"},
      {"litgpt", "litgpt"},                  {"trl sft", "TRL"},
      {"trl dpo", "TRL"},                    {"unsloth", "Unsloth"},
      {"accelerate launch", "accelerate"},   {"deepspeed", "DeepSpeed"},
      {"torchrun", "torchrun"}};
  for (const auto& [word, starts] : kStarts) {
    const std::size_t at = text.find(word);
    if (at == std::string::npos) continue;
    const std::string_view line = std::string_view(text).substr(at, text.find('\n', at) - at);
    std::string file;
    for (const std::string_view ending : {".yaml", ".yml", ".json"}) {
      const std::size_t end = line.find(ending);
      if (end == std::string_view::npos || !file.empty()) continue;
      const std::size_t first = line.find_last_of(" \t'\"=", end) + 1;
      file = line.substr(first, end + ending.size() - first).substr(0, 100);
    }
    return Error{Error::Kind::wrong,
                 "no trainer's file, but a script that starts or uses " + std::string(starts),
                 where(file_name, {}),
                 "give the file of settings that it trains with" + (file.empty() ? "" : ": " + file)};
  }
  if (file_name.ends_with(".py"))
    return Error{Error::Kind::wrong, "no trainer's file, but a Python program", where(file_name, {}),
                 "give the file of settings that it trains with, or describe the run by flags: "
                 "qwenplan vram --help"};
  return std::nullopt;
}

Error nobodys(const std::string& file_name) {
  return {Error::Kind::wrong, "no trainer's file: the keys are none that qwenplan knows",
          where(file_name, {}),
          "known: LLaMA-Factory, axolotl, TRL, transformers, torchtune, ms-swift, litgpt, Unsloth, "
          "DeepSpeed, accelerate; --trainer says whose it is"};
}

/// A DeepSpeed configuration that is no JSON, as DeepSpeed itself reads it.
Result<Document> deepspeed_as_hjson(const std::string& text, const std::string& name) {
  auto document = parse_document(text, name, Syntax::hjson);
  if (!document) return document;
  const auto owner = owner_of(document->root);
  if (owner && owner->read == read_deepspeed) return document;
  return nobodys(name);
}

}  // namespace

bool names_training(std::string_view text) {
  constexpr std::string_view kKeys[] = {
      "base_model",     "model_name_or_path",      "per_device_train_batch_size", "micro_batch_size",
      "_component_",    "zero_optimization",       "distributed_type",            "finetuning_type",
      "actor_rollout_ref", "gradient_accumulation_steps", "training_type",        "tuner_type",
      "train_type"};
  return std::any_of(std::begin(kKeys), std::end(kKeys),
                     [&](std::string_view key) { return text.find(key) != std::string_view::npos; });
}

Result<TrainFile> read_train_file(const std::string& text, const std::string& name,
                                  const Neighbours& neighbours, const TrainerChoice& choice) {
  const bool is_script =
      ends_with_any(name, {".sh", ".bash", ".slurm", ".py"}) || text.starts_with("#!");
  if (is_script) {
    if (auto error = refused_text(text, name)) return *std::move(error);
    const auto owner = owner_of_script(text, neighbours);
    if (!owner) return launch_script(text, name).value_or(nobodys(name));
    if (!owner->read) return recognised_only(owner->trainer, name);
    const Node nothing;
    const ShellScript script = read_shell(text);
    if (script.is_cut)
      return Error{Error::Kind::wrong, "a script whose variables expand to more than is read",
                   where(name, {}), "is this the right file?"};
    TrainFile file = owner->read({nothing, text, name, neighbours, choice.version, &script});
    file.version = choice.version;
    settle_mixed_precision(file);
    read_script_values(script, file);
    put_name(name, file);
    return file;
  }

  const Syntax syntax = syntax_of(text, name);
  auto document = parse_document(text, name, syntax);
  std::optional<Error> no_json;
  if (!document) {
    no_json = document.error();
    if (syntax == Syntax::json || name.ends_with(".hjson")) document = deepspeed_as_hjson(text, name);
    if (!document) return *no_json;
  }
  const Node& root = document->root;
  if (!root.is_map())
    return Error{Error::Kind::wrong,
                 root.is_null() ? "the file is empty" : "a trainer's file has keys and values",
                 where(name, root.is_null() ? Place{} : root.place), "is this the right file?", root.place};
  const auto owner = choice.trainer ? chosen_owner(*choice.trainer, root) : owner_of(root);
  if (!owner) return nobodys(name);
  // torchtune fills in OmegaConf's references; LLaMA-Factory, which uses it too, does not.
  const bool is_filled = owner->read == read_torchtune;
  if (is_filled)
    if (const auto place = resolve_references(document.value().root))
      return Error{Error::Kind::wrong, "references that go too deep, or make too much, to be followed",
                   where(name, *place), "write the values out", *place};
  TrainFile file = owner->read ? owner->read({root, text, name, neighbours, choice.version})
                               : recognised_only(owner->trainer, name);
  settle_mixed_precision(file);
  for (const Finding& each : file.findings)
    if (each.rule == "unresolved-value")
      file.open.push_back({"", unknown_at(each.place, each.message, each.fix)});
  file.version = choice.version;
  if (no_json)
    file.findings.push_back({"deepspeed/hjson",
                             "DeepSpeed reads this itself; transformers and accelerate stop here: " + no_json->what,
                             no_json->place, no_json->hint});
  // OmegaConf's loader refuses what PyYAML and json pass over.
  const bool is_omega =
      file.trainer == Trainer::torchtune ||
      (file.trainer == Trainer::llama_factory &&
       (file.version.empty() || version_of(file.version) >= Version{0, 9, 4}));
  // Files that are only recognised are parts of what their trainer puts together.
  if (owner->read) read_values(root, is_filled, file);
  if (file.trainer == Trainer::llama_factory && !is_omega) read_numbers(root, file);
  for (const Repeat& each : document->repeats)
    file.findings.push_back({is_omega ? RuleId("refused-duplicate-key") : RuleId("duplicate-key"),
                             "'" + each.key + "' stands in line " +
                                 std::to_string(each.first.line) + (is_omega ? " already, and OmegaConf stops"
                                           : " already; the last one counts"),
                             each.place, "remove one of them"});
  put_name(name, file);
  return file;
}

}  // namespace qwenplan
