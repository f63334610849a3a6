#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

namespace {
const std::string kLora =
    "# tune run --nnodes 1 --nproc_per_node 4 lora_finetune_distributed --config x\n"
    "output_dir: /tmp/out\nmodel:\n  _component_: torchtune.models.qwen3.lora_qwen3_8b_instruct\n"
    "  lora_attn_modules: ['q_proj', 'output_proj']\n  apply_lora_to_mlp: True\n  lora_rank: 32\n"
    "tokenizer:\n  _component_: torchtune.models.qwen3.qwen3_tokenizer\n  max_seq_len: null\n"
    "checkpointer:\n  _component_: torchtune.training.FullModelHFCheckpointer\n"
    "  checkpoint_dir: /tmp/Qwen3-8B\noptimizer:\n  _component_: torch.optim.AdamW\n  fused: True\n"
    "loss:\n  _component_: torchtune.modules.loss.LinearCrossEntropyLoss\nbatch_size: 2\n"
    "gradient_accumulation_steps: 8\ndtype: bf16\n";
}

TEST_CASE("A torchtune recipe says its model and method by a function's name", "[torchtune]") {
  const auto file = reading(kLora);
  CHECK(file.trainer == Trainer::torchtune);
  CHECK(file.model == "Qwen3-8B");
  CHECK(file.draft.method->value == Method::lora);
  CHECK(file.draft.lora_targets->value ==
        std::vector<std::string>{"q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"});
  CHECK(file.draft.weights->value == DType::bf16);
  CHECK(file.draft.adapter->value == DType::bf16);
  CHECK_FALSE(file.draft.autocasts->value);
  CHECK(file.draft.loss->value == Loss::chunked);
  CHECK(file.draft.optimizer->value == "adamw-fused");
  CHECK(file.draft.gpus->value == 4);
  CHECK_FALSE(file.draft.length);
  CHECK(says(file, "torchtune/no-length"));
}

TEST_CASE("torchtune's builder decides of which model a recipe is", "[torchtune]") {
  const auto model = [](const std::string& folder) {
    std::string text = kLora;
    text.replace(text.find("/tmp/Qwen3-8B"), std::string("/tmp/Qwen3-8B").size(), folder);
    return reading(text).model;
  };
  CHECK(model("/tmp/Qwen3-8B-Base") == "Qwen3-8B-Base");
  for (const char* folder : {"/tmp/Qwen3-0.6B", "/tmp/Meta-Llama-3.1-8B-Instruct", "/tmp/my-model", "/tmp/8b"})
    CHECK(model(folder) == "Qwen/Qwen3-8B");
}

TEST_CASE("What torchtune refuses", "[torchtune]") {
  CHECK(
      says(reading(kLora + "optimizer_in_bwd: True\n"), "torchtune/in-backward-with-accumulation"));
  CHECK(says(reading(kLora + "enable_activation_offloading: True\n"),
             "torchtune/offload-without-checkpointing"));
  CHECK(says(reading(kLora + "dataset:\n  packed: True\n"), "torchtune/packed-without-length"));
}

TEST_CASE("torchtune's DPO compares the model with itself without its adapters", "[torchtune]") {
  std::string text = kLora;
  const std::string loss = "torchtune.modules.loss.LinearCrossEntropyLoss";
  text.replace(text.find(loss), loss.size(), "torchtune.rlhf.loss.DPOLoss");
  const auto file = reading(text);
  CHECK_FALSE(file.unmodelled);
  CHECK(file.draft.objective->value == Objective::dpo);
  CHECK(file.draft.loss->value == Loss::standard);
  CHECK_FALSE(reading(kLora).draft.objective);
}

TEST_CASE("torchao's AdamW of 8 bits is not bitsandbytes'", "[torchtune]") {
  std::string text = kLora;
  const std::string adam = "torch.optim.AdamW\n  fused: True";
  text.replace(text.find(adam), adam.size(), "torchao.optim.AdamW8bit");
  CHECK(reading(text).draft.optimizer->value == "adamw-torchao-8bit");
}

TEST_CASE("A torchtune file without an optimizer trains nothing", "[torchtune]") {
  CHECK_FALSE(
      reading("model:\n  _component_: torchtune.models.qwen3.qwen3_8b\n").other_purpose.empty());
}

TEST_CASE("torchtune: remarks that name a recipe for several GPUs alone say so without a number", "[torchtune]") {
  const std::string keys =
      "\nmodel:\n  _component_: torchtune.models.llama3_3.llama3_3_70b\noptimizer:\n  _component_: torch.optim.AdamW\n"
      "loss:\n  _component_: torchtune.modules.loss.LinearCrossEntropyLoss\n";
  CHECK(reading("# For full_finetune_distributed.py\n#   sbatch run.slurm\n" + keys).draft.fsdp);
  CHECK_FALSE(reading("# For full_finetune_single_device.py, not full_finetune_distributed.py\n" + keys).draft.fsdp);
  CHECK_FALSE(reading("# For one card\n" + keys + "# as full_finetune_distributed does\n").draft.fsdp);
}
