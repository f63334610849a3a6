#include "render/trainer/configuration.hpp"

namespace qwenplan {

Result<std::string> axolotl_yaml(const Recipe& recipe, const Model& model,
                                        const std::vector<std::string>& remarks) {
  YamlLines yaml(remarks);
  yaml.add("# axolotl train THIS_FILE\n");
  yaml.group("model");
  yaml.set("base_model", model.hub_id);
  yaml.set("load_in_8bit", false);
  yaml.set("load_in_4bit", recipe.method == Method::qlora);
  yaml.set("attn_implementation", recipe.attention);
  if (recipe.has_adapters()) {
    yaml.group("adapters");
    yaml.set("adapter", recipe.method == Method::qlora ? "qlora" : "lora");
    yaml.set("lora_r", recipe.lora_rank);
    yaml.set("lora_alpha", recipe.lora_alpha);
    yaml.set("lora_dropout", "0.0");
    yaml.set("lora_target_linear", true);
    yaml.set("lora_mlp_kernel", false);
    yaml.set("lora_qkv_kernel", false);
    yaml.set("lora_o_kernel", false);
  }
  if (recipe.fuses_loss) {
    yaml.group("no logits in memory; pip install liger-kernel");
    yaml.add("plugins:\n  - axolotl.integrations.liger.LigerPlugin\n");
    yaml.set("liger_fused_linear_cross_entropy", true);
  }
  yaml.group("data: replace by yours");
  yaml.add("datasets:\n  - path: data/my_arabic_sft.jsonl\n    type: chat_template\n");
  yaml.set("dataset_prepared_path", "prepared");
  yaml.set("val_set_size", "0.0");
  yaml.set("sequence_len", recipe.length);
  yaml.set("sample_packing", false);
  yaml.set("pad_to_sequence_len", false);
  yaml.group("training");
  yaml.set("micro_batch_size", recipe.micro_batch);
  yaml.set("gradient_accumulation_steps", recipe.accumulation);
  yaml.set("gradient_checkpointing", recipe.checkpoints);
  if (recipe.checkpoints) yaml.add("gradient_checkpointing_kwargs:\n  use_reentrant: false\n");
  yaml.set("optimizer", hf_optimizer(recipe));
  if (recipe.is_bf16()) yaml.set("bf16", recipe.is_pure() ? "full" : "true");
  else yaml.set(recipe.is_pure() ? "float16" : "fp16", true);
  yaml.set("learning_rate", recipe.learning_rate());
  yaml.set("num_epochs", std::int64_t{3});
  yaml.set("lr_scheduler", "cosine");
  yaml.set("warmup_steps", std::int64_t{50}, "a few percent of all steps");
  yaml.group("output");
  yaml.set("output_dir", "outputs/" + model.id + "-" + std::string(name(recipe.method)));
  yaml.set("logging_steps", std::int64_t{10});
  yaml.set("saves_per_epoch", std::int64_t{1});
  yaml.set("save_total_limit", std::int64_t{2});
  return std::move(yaml).text();
}

}  // namespace qwenplan
