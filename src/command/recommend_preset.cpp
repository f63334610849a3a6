#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/planning.hpp"
#include "command/recommend.hpp"
#include "command/verdict.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/judge/advice.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// A preset as a question: what the guide sets, under the flags' names.
struct Preset {
  RunDraft draft;
  std::string model;
  std::string gpu = "rtx3060-12g";
};

template <class T>
void give(RunDraft::Maybe<T>& setting, T value) {
  setting = Given<T>{std::move(value), From::file};
}

Preset preset_of(const guide::TrainingConfig& config) {
  Preset preset;
  RunDraft& draft = preset.draft;
  const bool is_full = config.method == "full_finetuning";
  preset.model = is_full ? "qwen2.5-3b" : "qwen2.5-7b";
  give(draft.method, is_full ? Method::full : Method::qlora);
  // "fp16" beside fp16=True of the guide's TrainingArguments: autocast, over fp32 weights.
  if (config.precision == "fp16") give(draft.precision, Precision::fp16_mixed);
  if (config.precision == "4bit") give(draft.quantization, Quantization::nf4);
  give(draft.micro_batch, config.batch_size);
  give(draft.accumulation, config.gradient_accumulation_steps);
  give(draft.length, config.max_seq_length);
  give(draft.checkpoints, config.memory_optimization.gradient_checkpointing);
  if (const auto& lora = config.lora_config) {
    give(draft.lora_rank, lora->r);
    give(draft.lora_alpha, static_cast<double>(lora->lora_alpha));
    give(draft.lora_dropout, lora->lora_dropout);
    give(draft.lora_targets, lora->target_modules);
  }
  return preset;
}

/// What was asked for by flags goes before the preset.
void overlay(RunDraft& draft, const RunDraft& flags) {
  const auto take = [](auto& setting, const auto& given) {
    if (given) setting = given;
  };
  take(draft.method, flags.method);
  take(draft.quantization, flags.quantization);
  take(draft.double_quantizes, flags.double_quantizes);
  take(draft.precision, flags.precision);
  take(draft.weights, flags.weights);
  take(draft.autocasts, flags.autocasts);
  take(draft.adapter, flags.adapter);
  take(draft.upcasts_for_kbit, flags.upcasts_for_kbit);
  take(draft.is_padded, flags.is_padded);
  take(draft.keeps_outputs, flags.keeps_outputs);
  take(draft.length, flags.length);
  take(draft.micro_batch, flags.micro_batch);
  take(draft.accumulation, flags.accumulation);
  take(draft.checkpoints, flags.checkpoints);
  take(draft.checkpoints_reentrant, flags.checkpoints_reentrant);
  take(draft.attention, flags.attention);
  take(draft.loss, flags.loss);
  take(draft.optimizer, flags.optimizer);
  take(draft.lora_rank, flags.lora_rank);
  take(draft.lora_alpha, flags.lora_alpha);
  take(draft.lora_dropout, flags.lora_dropout);
  take(draft.uses_dora, flags.uses_dora);
  take(draft.objective, flags.objective);
  take(draft.trained_layers, flags.trained_layers);
  take(draft.lora_targets, flags.lora_targets);
  take(draft.modules_to_save, flags.modules_to_save);
  take(draft.trainer, flags.trainer);
  take(draft.gpus, flags.gpus);
  take(draft.zero, flags.zero);
  take(draft.fsdp, flags.fsdp);
  take(draft.offload, flags.offload);
}

std::string reason(From from) {
  switch (from) {
    case From::flag: return "asked for";
    case From::file: return "the guide's configuration";
    default: return "default";
  }
}

/// What the guide sets beside, and why it changes nothing here.
Value carried_json(const guide::TrainingConfig& config, Table& table) {
  Value carried = Value::list();
  const auto carry = [&](const char* setting, Value value, std::string shown, const char* why) {
    carried.push(Value::object({{"setting", setting}, {"value", std::move(value)}, {"why", why}}));
    table.rows.push_back({setting, std::move(shown), why});
  };
  const auto& memory = config.memory_optimization;
  carry("learning_rate", config.learning_rate, plain(config.learning_rate), "takes no memory");
  carry("dataloader_pin_memory", memory.dataloader_pin_memory, memory.dataloader_pin_memory ? "true" : "false",
        "pins a few MiB of the host's memory, none of the GPU's");
  carry("empty_cache_steps", memory.empty_cache_steps, std::to_string(memory.empty_cache_steps),
        "torch_empty_cache_steps of TrainingArguments: gives cached memory back, and does not lower a peak");
  if (memory.cpu_offload)
    carry("cpu_offload", *memory.cpu_offload, *memory.cpu_offload ? "true" : "false",
          "no setting of a trainer by that name, and offloading is not modelled: the run is judged without it");
  return carried;
}

}  // namespace

Result<Answer> recommend_preset(const Invocation& in, const std::string& name) {
  const auto config = guide::training_config(name);
  if (!config) return config.error();
  if (in.uses_guide) {
    Value rows = Value::list();
    rows.push(guide_value(*config));
    return guide_answer("qwenplan.recommend/1", {{"rows", std::move(rows)}}, {guide::GuideSystem::training_configs});
  }
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Preset preset = preset_of(*config);
  const auto flags = read_run(in);
  if (!flags) return flags.error();
  overlay(preset.draft, *flags);

  // The subject is that of the flags, where they name one.
  Invocation asked = in;
  asked.given.try_emplace("model", std::vector{preset.model});
  if (!in.has("vram")) asked.given.try_emplace("gpu", std::vector{preset.gpu});
  auto subject = read_subject(asked, *tables);
  if (!subject) return subject.error();
  if (const auto error = not_emulated(*subject)) return *error;
  const Setup setup = setup_of(*subject);
  auto plan = planned(setup, preset.draft, subject->allocator);
  if (!plan) return plan.error();

  Answer answer;
  answer.schema = "qwenplan.recommend/1";
  answer.data_as_of = tables->as_of();
  answer.inputs.push_back({"preset", Value(name), "flag"});
  for (Input& input : subject->inputs)
    answer.inputs.push_back({input.name, input.value, in.has(input.name) ? input.from : "default"});
  answer.notes = subject->notes;
  answer.notes.insert(answer.notes.end(), plan->valid.notes.begin(), plan->valid.notes.end());
  if (plan->fit == Fit::exceeds || (plan->fit == Fit::tight && in.is_strict)) answer.status = kNo;

  Value& run = answer.json.set("run", Value::object());
  std::string set, assumed;
  for (const RunSetting& setting : plan->valid.settings) {
    run.set(std::string(setting.flag),
            Value::object({{"value", as_input(setting).value}, {"reason", reason(setting.from)}}));
    ((setting.from == From::by_default ? assumed : set) += " ") += as_words(setting);
  }
  answer.json.set("verdict", verdict_json(*plan));
  const std::vector<Advice> changes = advised(setup, *plan);
  answer.json.set("alternatives", advice_json(changes));
  Table carried{{{"carried along"}, {""}, {"why it changes nothing here"}}, {}};
  answer.json.set("carried", carried_json(*config, carried));

  answer.add(headline(setup, *plan));
  answer.add(Paragraph{"the guide's " + name + ":" + set});
  if (!changes.empty()) answer.add(advice_table(changes));
  answer.add(std::move(carried));
  answer.add(Paragraph{"assumed:" + assumed, Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
