#include "render/trainer/configuration.hpp"

namespace qwenplan {

Result<std::string> llama_factory_yaml(const Recipe& recipe, const Model& model,
                                              const std::vector<std::string>& remarks) {
  if (recipe.precision == Precision::fp16_true)
    return not_written(Trainer::llama_factory, "16 bits throughout are bf16 there (pure_bf16), and this is fp16");
  YamlLines yaml(remarks);
  yaml.add("# llamafactory-cli train THIS_FILE\n");
  yaml.group("model");
  yaml.set("model_name_or_path", model.hub_id);
  if (recipe.method == Method::qlora) {
    yaml.set("quantization_bit", std::int64_t{4});
    yaml.set("quantization_method", "bnb");
    yaml.set("quantization_type", "nf4");
    yaml.set("double_quantization", recipe.double_quantizes);
  }
  yaml.set("flash_attn", recipe.attention == "eager" ? "disabled" : recipe.attention);
  yaml.set("enable_liger_kernel", recipe.fuses_loss,
           recipe.fuses_loss ? "no logits in memory; pip install liger-kernel" : "");
  yaml.group("method");
  yaml.set("stage", "sft");
  yaml.set("do_train", true);
  yaml.set("finetuning_type", recipe.has_adapters() ? "lora" : "full");
  if (recipe.has_adapters()) {
    yaml.set("lora_rank", recipe.lora_rank);
    yaml.set("lora_alpha", recipe.lora_alpha);
    yaml.set("lora_dropout", "0.0");
    yaml.set("lora_target", "all");
  }
  yaml.group("data: replace by yours, described in data/dataset_info.json");
  yaml.set("dataset", "my_arabic_sft");
  yaml.set("dataset_dir", "data");
  yaml.set("template", chat_template(model));
  yaml.set("cutoff_len", recipe.length);
  yaml.set("packing", false);
  yaml.set("preprocessing_num_workers", std::int64_t{4});
  yaml.group("training");
  yaml.set("per_device_train_batch_size", recipe.micro_batch);
  yaml.set("gradient_accumulation_steps", recipe.accumulation);
  yaml.set("disable_gradient_checkpointing", !recipe.checkpoints,
           "the only switch of checkpointing that counts");
  yaml.set("optim", hf_optimizer(recipe));
  if (recipe.is_pure()) {
    yaml.set("bf16", true);
    yaml.set("pure_bf16", true, "weights, gradients and states in bf16");
  } else {
    yaml.set(recipe.is_bf16() ? "bf16" : "fp16", true);
  }
  yaml.set("learning_rate", recipe.learning_rate());
  yaml.set("num_train_epochs", "3.0");
  yaml.set("lr_scheduler_type", "cosine");
  yaml.set("warmup_steps", std::int64_t{50}, "a few percent of all steps");
  yaml.group("output");
  yaml.set("output_dir", "saves/" + model.id + "-" + std::string(name(recipe.method)));
  yaml.set("logging_steps", std::int64_t{10});
  yaml.set("save_steps", std::int64_t{500});
  yaml.set("save_total_limit", std::int64_t{2});
  yaml.set("report_to", "none");
  return std::move(yaml).text();
}

}  // namespace qwenplan
