#include <fmt/format.h>

#include "render/trainer/configuration.hpp"

namespace qwenplan {

Result<std::string> transformers_script(const Recipe& recipe, const Model& model,
                                               const std::vector<std::string>& remarks) {
  const auto truth = [](bool is) { return is ? "True" : "False"; };
  const char* const half = recipe.is_bf16() ? "bfloat16" : "float16";
  const bool is_wide = !recipe.has_adapters() && !recipe.is_pure();
  const bool is_quantized = recipe.method == Method::qlora;
  std::string text;
  for (const std::string& remark : remarks) text += "# " + remark + "\n";
  text += fmt::format(
      "# pip install torch transformers datasets accelerate{}{}{}\n"
      "# python THIS_FILE\n",
      recipe.has_adapters() ? " peft" : "",
      is_quantized || recipe.optimizer != "adamw-fused" ? " bitsandbytes" : "",
      recipe.fuses_loss ? " liger-kernel" : "");
  text += fmt::format(
      R"(import torch
from datasets import load_dataset
from transformers import (AutoModelForCausalLM, AutoTokenizer, {0}DataCollatorForLanguageModeling,
                          Trainer, TrainingArguments)
{1}
MODEL = "{2}"
DATA = "data/my_arabic_sft.jsonl"  # replace by yours: one object with "messages" a line
LENGTH = {3}

tokenizer = AutoTokenizer.from_pretrained(MODEL)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token

model = AutoModelForCausalLM.from_pretrained(
    MODEL, dtype=torch.{4}, attn_implementation="{6}"{5})
model.config.use_cache = False
)",
      is_quantized ? "BitsAndBytesConfig, " : "",
      is_quantized            ? "from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training\n"
      : recipe.has_adapters() ? "from peft import LoraConfig, get_peft_model\n"
                              : "",
      model.hub_id, recipe.length, is_wide ? "float32" : half,
      is_quantized ? fmt::format(R"(, device_map={{"": 0}},
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant={},
        bnb_4bit_compute_dtype=torch.{}))",
                                 truth(recipe.double_quantizes), half)
                   : "",
      recipe.attention);
  if (is_quantized)
    text += fmt::format(R"(model = prepare_model_for_kbit_training(
    model, use_gradient_checkpointing={}, gradient_checkpointing_kwargs={{"use_reentrant": False}})
)",
                        truth(recipe.checkpoints));
  else if (recipe.has_adapters() && recipe.checkpoints)
    text += "model.enable_input_require_grads()\n";
  if (recipe.has_adapters())
    text += fmt::format(R"(model = get_peft_model(model, LoraConfig(
    r={}, lora_alpha={}, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"))
)",
                        recipe.lora_rank, recipe.lora_alpha);
  text += fmt::format(R"(

def tokenized(example):
    text = tokenizer.apply_chat_template(example["messages"], tokenize=False)
    return tokenizer(text, truncation=True, max_length=LENGTH, add_special_tokens=False)


data = load_dataset("json", data_files=DATA, split="train")
data = data.map(tokenized, remove_columns=data.column_names)

trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir="outputs/{0}-{1}",
        per_device_train_batch_size={2},
        gradient_accumulation_steps={3},
        gradient_checkpointing={4},
        gradient_checkpointing_kwargs={{"use_reentrant": False}},
        bf16={5},
        fp16={6},
        optim="{7}",
        use_liger_kernel={8},
        learning_rate={9:.1e},
        lr_scheduler_type="cosine",
        warmup_steps=50,
        num_train_epochs=3,
        logging_steps=10,
        save_steps=500,
        save_total_limit=2,
        report_to="none",
    ),
    train_dataset=data,
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
trainer.train()
trainer.save_model()
)",
                      model.id, name(recipe.method), recipe.micro_batch, recipe.accumulation,
                      truth(recipe.checkpoints), truth(recipe.is_bf16() && !recipe.is_pure()),
                      truth(!recipe.is_bf16() && !recipe.is_pure()), hf_optimizer(recipe),
                      truth(recipe.fuses_loss), recipe.learning_rate());
  return text;
}

}  // namespace qwenplan
