#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "render/trainer/configuration.hpp"

namespace qwenplan {
namespace {

/// A model that torchtune has builders for (torchtune/models), and the files of its checkpoint.
struct Built {
  std::string_view id;
  std::string_view family;  ///< the package under torchtune.models
  std::string_view builder;
  std::string_view kind;  ///< checkpointer's model_type
  int files;              ///< safetensors files on the Hub
};
constexpr Built kBuilt[] = {
    {"qwen2-0.5b", "qwen2", "qwen2_0_5b", "QWEN2", 1},
    {"qwen2-1.5b", "qwen2", "qwen2_1_5b", "QWEN2", 1},
    {"qwen2-7b", "qwen2", "qwen2_7b", "QWEN2", 4},
    {"qwen2.5-0.5b", "qwen2_5", "qwen2_5_0_5b", "QWEN2", 1},
    {"qwen2.5-1.5b", "qwen2_5", "qwen2_5_1_5b_base", "QWEN2", 1},
    {"qwen2.5-3b", "qwen2_5", "qwen2_5_3b", "QWEN2", 2},
    {"qwen2.5-7b", "qwen2_5", "qwen2_5_7b_base", "QWEN2", 4},
    {"qwen2.5-14b", "qwen2_5", "qwen2_5_14b_base", "QWEN2", 8},
    {"qwen2.5-32b", "qwen2_5", "qwen2_5_32b_base", "QWEN2", 17},
    {"qwen2.5-72b", "qwen2_5", "qwen2_5_72b_base", "QWEN2", 37},
    {"qwen3-0.6b", "qwen3", "qwen3_0_6b_instruct", "QWEN3", 1},
    {"qwen3-1.7b", "qwen3", "qwen3_1_7b_instruct", "QWEN3", 2},
    {"qwen3-4b", "qwen3", "qwen3_4b_instruct", "QWEN3", 3},
    {"qwen3-8b", "qwen3", "qwen3_8b_instruct", "QWEN3", 5},
    {"qwen3-14b", "qwen3", "qwen3_14b_instruct", "QWEN3", 8},
    {"qwen3-32b", "qwen3", "qwen3_32b", "QWEN3", 17},
    {"llama3.1-8b", "llama3_1", "llama3_1_8b", "LLAMA3", 4},
    {"llama3.1-70b", "llama3_1", "llama3_1_70b", "LLAMA3", 30},
    {"llama3.2-1b", "llama3_2", "llama3_2_1b", "LLAMA3_2", 1},
    {"llama3.2-3b", "llama3_2", "llama3_2_3b", "LLAMA3_2", 2}};

std::string optimizer_lines(const Recipe& recipe) {
  const std::string rate = fmt::format("  lr: {:.1e}\n", recipe.learning_rate());
  if (recipe.optimizer == "adamw-8bit")
    return "optimizer:\n  _component_: bitsandbytes.optim.AdamW8bit\n" + rate;
  if (recipe.optimizer == "paged-adamw-8bit")
    return "optimizer:\n  _component_: bitsandbytes.optim.PagedAdamW8bit\n" + rate;
  return "optimizer:\n  _component_: torch.optim.AdamW\n  fused: True\n" + rate;
}

}  // namespace

Result<std::string> torchtune_yaml(const Recipe& recipe, const Model& model,
                                          const std::vector<std::string>& remarks) {
  const auto* built = std::find_if(std::begin(kBuilt), std::end(kBuilt),
                                   [&](const Built& each) { return each.id == model.id; });
  if (built == std::end(kBuilt)) return not_written(Trainer::torchtune, "no builder of its own for " + model.id + " is known here");
  if (recipe.precision != Precision::bf16_true)
    return not_written(Trainer::torchtune, "everything is in bf16 there, and fp16 and mixed precision are refused");
  const std::string folder = model.hub_id.substr(model.hub_id.find('/') + 1);
  const bool is_llama = built->family.starts_with("llama");

  YamlLines yaml(remarks);
  yaml.add(fmt::format("# tune download {} --output-dir checkpoints/{}\n"
                       "# tune run {}_finetune_single_device --config THIS_FILE\n",
                       model.hub_id, folder, recipe.has_adapters() ? "lora" : "full"));
  yaml.group("model");
  yaml.set("output_dir", "outputs/" + model.id + "-" + std::string(name(recipe.method)));
  yaml.add(fmt::format("model:\n  _component_: torchtune.models.{}.{}{}\n", built->family,
                       recipe.has_adapters() ? "lora_" : "", built->builder));
  if (recipe.has_adapters()) {
    yaml.add("  lora_attn_modules: ['q_proj', 'k_proj', 'v_proj', 'output_proj']\n"
             "  apply_lora_to_mlp: True\n");
    yaml.add(fmt::format("  lora_rank: {}\n  lora_alpha: {}\n  lora_dropout: 0.0\n",
                         recipe.lora_rank, recipe.lora_alpha));
    if (recipe.method == Method::qlora) yaml.add("  quantize_base: True\n");
  }
  yaml.add("tokenizer:\n");
  if (is_llama)
    yaml.add(fmt::format("  _component_: torchtune.models.llama3.llama3_tokenizer\n"
                         "  path: checkpoints/{}/original/tokenizer.model\n",
                         folder));
  else
    yaml.add(fmt::format("  _component_: torchtune.models.{0}.{0}_tokenizer\n"
                         "  path: checkpoints/{1}/vocab.json\n"
                         "  merges_file: checkpoints/{1}/merges.txt\n",
                         built->family, folder));
  yaml.add(fmt::format("  max_seq_len: {}  # no limit unless given\n", recipe.length));
  yaml.add(fmt::format("checkpointer:\n  _component_: torchtune.training.FullModelHFCheckpointer\n"
                       "  checkpoint_dir: checkpoints/{}\n",
                       folder));
  if (built->files == 1)
    yaml.add("  checkpoint_files: [model.safetensors]\n");
  else
    yaml.add(fmt::format("  checkpoint_files:\n    filename_format: model-{{}}-of-{{}}.safetensors\n"
                         "    max_filename: \"{:05}\"\n",
                         built->files));
  yaml.add(fmt::format("  output_dir: ${{output_dir}}\n  model_type: {}\n", built->kind));
  yaml.set("resume_from_checkpoint", "False");
  yaml.group("data: replace by yours, jsonl with messages");
  yaml.add("dataset:\n  _component_: torchtune.datasets.chat_dataset\n  source: json\n"
           "  data_files: data/my_arabic_sft.jsonl\n  conversation_column: messages\n"
           "  conversation_style: openai\n  packed: False\n");
  yaml.set("seed", "null");
  yaml.set("shuffle", "True");
  yaml.group("training");
  yaml.set("batch_size", recipe.micro_batch);
  yaml.set("gradient_accumulation_steps", recipe.accumulation);
  yaml.set("enable_activation_checkpointing", recipe.checkpoints ? "True" : "False");
  yaml.set("enable_activation_offloading", "False");
  yaml.add(optimizer_lines(recipe));
  if (recipe.has_adapters())
    yaml.add("lr_scheduler:\n"
             "  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
             "  num_warmup_steps: 50\n");
  else
    yaml.set("optimizer_in_bwd", "False");
  yaml.add(std::string("loss:\n  _component_: torchtune.modules.loss.") +
           (recipe.fuses_loss ? "LinearCrossEntropyLoss\n" : "CEWithChunkedOutputLoss\n"));
  yaml.set("epochs", std::int64_t{3});
  yaml.set("max_steps_per_epoch", "null");
  yaml.set("clip_grad_norm", "null");
  yaml.set("compile", "False");
  yaml.set("dtype", "bf16");
  yaml.set("device", "cuda");
  yaml.group("output");
  yaml.add("metric_logger:\n  _component_: torchtune.training.metric_logging.DiskLogger\n"
           "  log_dir: ${output_dir}/logs\n");
  yaml.set("log_every_n_steps", std::int64_t{10});
  yaml.set("log_peak_memory_stats", "True");
  return std::move(yaml).text();
}

}  // namespace qwenplan
