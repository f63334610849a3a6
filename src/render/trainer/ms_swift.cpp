#include "render/trainer/configuration.hpp"

namespace qwenplan {

Result<std::string> ms_swift_yaml(const Recipe& recipe, const Model& model,
                                         const std::vector<std::string>& remarks) {
  if (recipe.is_pure())
    return not_written(Trainer::ms_swift, "it always casts beside weights of 16 bits, which is not 16 bits throughout");
  YamlLines yaml(remarks);
  yaml.add("# NPROC_PER_NODE=1 swift sft THIS_FILE\n");
  yaml.group("model");
  yaml.set("model", model.hub_id);
  yaml.set("torch_dtype", recipe.is_bf16() ? "bfloat16" : "float16");
  yaml.set("attn_impl", recipe.attention);
  if (recipe.method == Method::qlora) {
    yaml.set("quant_method", "bnb");
    yaml.set("quant_bits", std::int64_t{4});
    yaml.set("bnb_4bit_quant_type", "nf4");
    yaml.set("bnb_4bit_use_double_quant", recipe.double_quantizes);
    yaml.set("bnb_4bit_compute_dtype", recipe.is_bf16() ? "bfloat16" : "float16");
  }
  if (recipe.fuses_loss)
    yaml.set("use_liger_kernel", true, "no logits in memory; pip install liger-kernel");
  yaml.group("method");
  yaml.set("tuner_type", recipe.has_adapters() ? "lora" : "full");
  if (recipe.has_adapters()) {
    yaml.set("lora_rank", recipe.lora_rank);
    yaml.set("lora_alpha", recipe.lora_alpha);
    yaml.set("lora_dropout", "0.0");
    yaml.set("target_modules", "all-linear");
  }
  yaml.group("data: replace by yours, jsonl with messages");
  yaml.set("dataset", "data/my_arabic_sft.jsonl");
  yaml.set("max_length", recipe.length, "the model's whole context unless given");
  yaml.set("packing", false);
  yaml.group("training");
  yaml.set("per_device_train_batch_size", recipe.micro_batch);
  yaml.set("gradient_accumulation_steps", recipe.accumulation);
  yaml.set("gradient_checkpointing", recipe.checkpoints);
  yaml.set("optim", hf_optimizer(recipe));
  yaml.set("learning_rate", recipe.learning_rate());
  yaml.set("num_train_epochs", std::int64_t{3});
  yaml.set("lr_scheduler_type", "cosine");
  yaml.set("warmup_steps", std::int64_t{50}, "a few percent of all steps");
  yaml.group("output");
  yaml.set("output_dir", "output/" + model.id + "-" + std::string(name(recipe.method)));
  yaml.set("logging_steps", std::int64_t{10});
  yaml.set("save_steps", std::int64_t{500});
  yaml.set("save_total_limit", std::int64_t{2});
  yaml.set("report_to", "none");
  return std::move(yaml).text();
}

}  // namespace qwenplan
