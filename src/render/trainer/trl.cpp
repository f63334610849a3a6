#include "render/trainer/configuration.hpp"

namespace qwenplan {

Result<std::string> trl_yaml(const Recipe& recipe, const Model& model,
                                    const std::vector<std::string>& remarks) {
  YamlLines yaml(remarks);
  yaml.add("# trl sft --config THIS_FILE\n");
  const char* const half = recipe.is_bf16() ? "bfloat16" : "float16";
  const bool is_wide = !recipe.has_adapters() && !recipe.is_pure();
  yaml.group("model");
  yaml.set("model_name_or_path", model.hub_id);
  yaml.set("dtype", is_wide ? "float32" : half, is_wide ? "" : "float32 unless given");
  yaml.set("attn_implementation", recipe.attention);
  if (recipe.method == Method::qlora) {
    yaml.set("load_in_4bit", true);
    yaml.set("bnb_4bit_quant_type", "nf4");
    yaml.set("use_bnb_nested_quant", recipe.double_quantizes);
  }
  if (recipe.has_adapters()) {
    yaml.group("adapters");
    yaml.set("use_peft", true, "without it the keys below are ignored");
    yaml.set("lora_r", recipe.lora_rank);
    yaml.set("lora_alpha", recipe.lora_alpha);
    yaml.set("lora_dropout", "0.0");
    yaml.set("lora_target_modules", "all-linear");
  }
  yaml.group("data: replace by yours, on the Hub or a folder of jsonl files with messages");
  yaml.set("dataset_name", "data/my_arabic_sft");
  yaml.set("max_length", recipe.length);
  yaml.set("packing", false);
  yaml.group("training");
  yaml.set("per_device_train_batch_size", recipe.micro_batch);
  yaml.set("gradient_accumulation_steps", recipe.accumulation);
  yaml.set("gradient_checkpointing", recipe.checkpoints);
  if (recipe.checkpoints) yaml.add("gradient_checkpointing_kwargs:\n  use_reentrant: false\n");
  yaml.set("optim", hf_optimizer(recipe));
  yaml.set("bf16", recipe.is_bf16() && !recipe.is_pure());
  yaml.set("fp16", !recipe.is_bf16() && !recipe.is_pure());
  yaml.set("learning_rate", recipe.learning_rate());
  yaml.set("num_train_epochs", std::int64_t{3});
  yaml.set("lr_scheduler_type", "cosine");
  yaml.set("warmup_steps", std::int64_t{50}, "a few percent of all steps");
  yaml.group("output");
  yaml.set("output_dir", "outputs/" + model.id + "-" + std::string(name(recipe.method)));
  yaml.set("logging_steps", std::int64_t{10});
  yaml.set("save_steps", std::int64_t{500});
  yaml.set("save_total_limit", std::int64_t{2});
  yaml.set("report_to", "none");
  return std::move(yaml).text();
}

}  // namespace qwenplan
