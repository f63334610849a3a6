#include <algorithm>
#include <utility>

#include "qwenplan/base/parse.hpp"
#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// Unsloth Studio keeps a file for each model, which the file's name names: unsloth_Qwen3-8B.yaml.
std::string model_in(const std::string& name) {
  std::string stem = name.substr(name.find_last_of('/') + 1);
  stem.resize(std::min(stem.rfind('.'), stem.size()));
  const std::size_t sign = stem.find('_');
  if (sign == std::string::npos || stem.compare(0, sign, "unsloth") != 0) return {};
  stem[sign] = '/';
  return stem;
}

}  // namespace

TrainFile read_unsloth(const Source& source) {
  const Node& root = source.root;
  const std::string& name = source.name;
  TrainFile file;
  file.trainer = Trainer::unsloth;
  RunDraft& draft = file.draft;
  Settings s(&root, "", file.findings);
  s.know("data logging inference");
  if (const auto model = s.text("model")) {
    file.model = model->value;
    file.model_place = model->place;
  } else {
    file.model = model_in(name);
    if (file.model.empty()) file.other_purpose = "sets defaults for models that it does not name";
  }
  Settings training = s.inside("training");
  Settings lora = s.inside("lora");
  const auto type = training.text("training_type");
  const auto four = training.truth("load_in_4bit");
  const bool is_full = type && lowered(type->value) == "full";
  const bool is_4bit = four ? four->value : true;
  draft.length = training.whole("max_seq_length");
  otherwise(draft.length, std::int64_t{2048});
  if (is_full) {
    draft.method = from_file(Method::full, type->place);
    lora.know("lora_r lora_alpha lora_dropout use_dora target_modules");  // legal, and not used
  } else {
    draft.method = four ? from_file(is_4bit ? Method::qlora : Method::lora, four->place)
                        : by_trainer(Method::qlora);
    draft.lora_rank = lora.whole("lora_r");
    otherwise(draft.lora_rank, std::int64_t{64});
    draft.lora_alpha = lora.number("lora_alpha");
    otherwise(draft.lora_alpha, 16.0);
    draft.lora_dropout = lora.number("lora_dropout");
    otherwise(draft.lora_dropout, 0.0);
    draft.uses_dora = lora.truth("use_dora");
    draft.lora_targets = lora.words("target_modules");
    otherwise(draft.lora_targets, std::vector<std::string>{"all-linear"});
    draft.adapter = by_trainer(DType::fp32);
    if (is_4bit) draft.quantization = by_trainer(Quantization::nf4);
    if (!four)
      file.findings.push_back({"unsloth/quantized-by-default",
                               "the base is loaded in 4 bits, because load_in_4bit is not set",
                               s.place("training"), "load_in_4bit: true or false"});
    if (is_4bit) draft.double_quantizes = by_trainer(true);
  }
  draft.micro_batch = training.whole("batch_size");
  otherwise(draft.micro_batch, std::int64_t{2});
  draft.accumulation = training.whole("gradient_accumulation_steps");
  otherwise(draft.accumulation, std::int64_t{4});
  const auto optimizer = training.text("optim");
  draft.optimizer = optimizer ? from_file(optimizer_name(optimizer->value), optimizer->place)
                              : by_trainer(std::string("adamw-8bit"));
  const auto kind = training.text("gradient_checkpointing");
  const std::string word = kind ? lowered(kind->value) : "unsloth";
  const bool is_off = word == "none" || word == "false" || word == "0" || word == "no" || word == "off";
  draft.checkpoints = kind ? from_file(!is_off, kind->place) : by_trainer(true);
  // "unsloth" sends the layers' inputs to the host; true is transformers' checkpointing.
  if (kind && word != "unsloth") draft.offloads_checkpoints = from_file(false, kind->place);
  draft.packs = training.truth("packing");
  if (const auto epochs = training.number("num_epochs"); epochs && epochs->value > 0)
    file.epochs = epochs->value;
  if (const auto steps = training.whole("max_steps"); steps && steps->value > 0)
    file.max_steps = steps->value;
  if (const auto steps = training.whole("save_steps"); steps && steps->value > 0)
    file.save_steps = steps->value;
  training.know(
      "output_dir learning_rate warmup_steps warmup_ratio weight_decay random_seed "
      "train_on_completions lr_scheduler_type eval_steps trust_remote_code "
      "embedding_learning_rate");
  lora.know(
      "vision_all_linear use_rslora use_loftq finetune_vision_layers "
      "finetune_language_layers finetune_attention_modules finetune_mlp_modules "
      "modules_to_save");
  training.report_unknown("unknown-key-refused", "Unsloth stops at it");
  lora.report_unknown("unknown-key-refused", "Unsloth stops at it");
  return file;
}

}  // namespace qwenplan
