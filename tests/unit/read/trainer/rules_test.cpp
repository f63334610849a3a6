#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "read/trainer/remarks.hpp"
#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

namespace {

/// A text in which a rule is broken, and what to add or to replace so that it is not.
struct Case {
  const char* rule;
  std::string text;
  std::string corrected;  ///< without the fault
  const char* name = "run.yaml";
  const char* version = "";
};

const std::string kFactory =
    "model_name_or_path: Qwen/Qwen2.5-7B\nstage: sft\ndo_train: true\ndataset: mine\ntemplate: qwen\n"
    "output_dir: out\ncutoff_len: 1024\nper_device_train_batch_size: 1\n";
std::string of_gptq(std::string text) {
  const std::string plain = "Qwen/Qwen2.5-7B";
  return text.replace(text.find(plain), plain.size(), plain + "-Instruct-GPTQ-Int4");
}
const std::string kFactorySecond = "model: a/b\nmodel_class: llm\ntrain_dataset: data/sft.yaml\n";
const std::string kFactoryFull = kFactory + "finetuning_type: full\nbf16: true\n";
const std::string kFactoryLora = kFactory + "finetuning_type: lora\nbf16: true\n";
const std::string kZero3 = "deepspeed: examples/deepspeed/ds_z3_config.json\n";

const std::string kAxolotl =
    "base_model: Qwen/Qwen2.5-7B\nsequence_len: 1024\nmicro_batch_size: 1\n"
    "gradient_accumulation_steps: 4\nattn_implementation: flash_attention_2\n";
const std::string kAxolotlData = kAxolotl + "datasets:\n  - path: mine\n";
const std::string kAxolotlLora =
    kAxolotlData + "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n";

const std::string kTrl =
    "model_name_or_path: Qwen/Qwen2.5-7B\ndtype: bfloat16\nmax_length: 1024\n"
    "per_device_train_batch_size: 1\n";
const std::string kTrlLora = kTrl + "use_peft: true\n";
const std::string kGrpo = kTrl + "max_completion_length: 64\nnum_processes: 1\n";

const std::string kTune =
    "output_dir: /tmp/out\nmodel:\n  _component_: torchtune.models.qwen3.lora_qwen3_8b_instruct\n"
    "  lora_attn_modules: ['q_proj']\ntokenizer:\n  max_seq_len: 1024\n"
    "checkpointer:\n  checkpoint_dir: /tmp/Qwen3-8B\noptimizer:\n  _component_: torch.optim.AdamW\n"
    "loss:\n  _component_: torchtune.modules.loss.LinearCrossEntropyLoss\nbatch_size: 2\n"
    "gradient_accumulation_steps: 1\nepochs: 1\ndtype: bf16\n";
const std::string kTuneData = kTune + "dataset:\n  _component_: torchtune.datasets.alpaca_dataset\n";

const std::string kSwift =
    "model: Qwen/Qwen2.5-7B\ntuner_type: lora\ndataset: mine\nmax_length: 1024\n";
const std::string kSwiftScript = "swift sft --model Qwen/Qwen2.5-7B --dataset mine --max_length 99";

const std::string kLit =
    "checkpoint_dir: checkpoints/Qwen/Qwen3-8B\nout_dir: o\nprecision: bf16-true\nlora_r: 8\n";
const std::string kLitTrain = "train:\n  micro_batch_size: 1\n  max_seq_length: 512\n";

const std::string kSloth = "model: unsloth/Qwen3-8B\nlora:\n  lora_r: 16\ntraining:\n";

std::vector<Case> cases() {
  return {
      {"invalid-value", kFactory + "lora_rank: many\n", kFactory + "lora_rank: 8\n"},
      {"unknown-key", kAxolotlData + "context_parapllel_size: 2\n", kAxolotlData},
      {"unknown-key-refused", kFactory + "lerning_rate: 1.0\n", kFactory + "learning_rate: 1.0\n"},
      {"unknown-key-of-script", "per_device_train_batch_size: 1\nmine: 2\n",
       "per_device_train_batch_size: 1\n"},
      {"renamed-key", kTrl + "evaluation_strategy: \"no\"\n", kTrl + "eval_strategy: \"no\"\n"},
      {"split-batches", kTrl + "accelerator_config: {split_batches: true}\n",
       kTrl + "accelerator_config: {split_batches: false}\n"},
      {"removed-key", kAxolotlData + "gptq_groupsize: 128\n", kAxolotlData + "gptq_groupsize:\n"},
      {"duplicate-key", kAxolotlData + "micro_batch_size: 2\n", kAxolotlData},
      {"refused-duplicate-key", kFactory + "stage: sft\n", kFactory},
      {"number-as-text", kFactory + "learning_rate: 1e-4\n", kFactory + "learning_rate: 1.0e-4\n",
       "run.yaml", "0.9.0"},
      {"unresolved-value", kTrl + "output_dir: ${ROOT:-/workspace}/x\n", kTrl + "output_dir: x\n"},
      {"secret-in-file", kTrl + "hub_token: hf_abcdefghijklmnopqrstuvwxyz\n",
       kTrl + "hub_token: $HF_TOKEN\n"},
      {"secret-in-file", kTrl + "hub_token: 0123456789abcdef\n", kTrl + "hub_token: your-own-token\n"},
      {"lora-key-without-adapter", kAxolotlData + "lora_r: 16\n", kAxolotlLora},
      {"lora-key-without-adapter", kFactoryFull + "lora_rank: 8\n", kFactoryFull},
      {"lora-key-without-adapter", "model: Qwen/Qwen2.5-7B\ntuner_type: full\ndataset: mine\nlora_rank: 8\n",
       "model: Qwen/Qwen2.5-7B\ntuner_type: full\ndataset: mine\n"},
      // transformers
      {"transformers/two-precisions", kTrl + "bf16: true\nfp16: true\n", kTrl + "bf16: true\n"},
      {"transformers/best-model", kTrl + "load_best_model_at_end: true\neval_strategy: epoch\n",
       kTrl + "load_best_model_at_end: true\neval_strategy: epoch\nsave_strategy: epoch\n"},
      {"transformers/best-model",
       kTrl + "load_best_model_at_end: true\neval_strategy: steps\neval_steps: 300\n",
       kTrl + "load_best_model_at_end: true\neval_strategy: steps\neval_steps: 250\n"},
      {"transformers/deepspeed-and-fsdp", kTrl + "deepspeed: zero2\nfsdp: full_shard\n",
       kTrl + "deepspeed: zero2\nfsdp: \"\"\n"},
      // LLaMA-Factory
      {"llama-factory/does-not-train",
       "model_name_or_path: a/b\nstage: sft\ntemplate: qwen\ndataset: mine\n", kFactory},
      {"llama-factory/ignored-gradient-checkpointing", kFactory + "gradient_checkpointing: false\n",
       kFactory + "disable_gradient_checkpointing: true\n"},
      {"llama-factory/pure-bf16-zero3",
       kFactory + "finetuning_type: full\npure_bf16: true\n" + kZero3, kFactoryFull + kZero3},
      {"llama-factory/quantized-full", kFactoryFull + "quantization_bit: 4\n",
       kFactoryLora + "quantization_bit: 4\n"},
      {"llama-factory/quantized-sharded", kFactoryLora + "quantization_bit: 8\n" + kZero3,
       kFactoryLora + "quantization_bit: 8\n"},
      {"llama-factory/quantized-sharded", of_gptq(kFactoryLora) + kZero3, of_gptq(kFactoryLora)},
      {"llama-factory/two-precisions", kFactoryLora + "fp16: true\n", kFactoryLora},
      {"llama-factory/fp8-quantized", kFactoryLora + "quantization_bit: 4\nfp8: true\n",
       kFactoryLora + "fp8: true\n"},
      {"llama-factory/low-rank-optimizer-with-lora", kFactoryLora + "use_galore: true\n",
       kFactoryFull + "use_galore: true\n"},
      {"llama-factory/low-rank-optimizer-with-deepspeed",
       kFactoryFull + "use_apollo: true\n" + kZero3, kFactoryFull + "use_apollo: true\n"},
      {"llama-factory/one-card-fp32", kFactorySecond + "dist_config:\n  name: fsdp2\n", kFactorySecond},
      {"llama-factory/no-kernel-included", kFactorySecond + "kernel_config:\n  name: liger_kernel\n",
       kFactorySecond + "kernel_config:\n  name: liger_kernel\n  include_kernels: auto\n"},
      {"llama-factory/padding-free-attention", kFactorySecond + "batching_strategy: padding_free\n",
       kFactorySecond + "batching_strategy: padding_free\nflash_attn: flash_attention_2\n"},
      {"llama-factory/dynamic-batching", kFactorySecond + "batching_strategy: dynamic_batching\n",
       kFactorySecond + "batching_strategy: dynamic_batching\nmax_steps: 10\n"},
      {"llama-factory/two-low-rank-optimizers", kFactoryFull + "use_apollo: true\nuse_badam: true\n",
       kFactoryFull + "use_badam: true\n"},
      {"llama-factory/unsloth-zero3", kFactoryLora + "use_unsloth: true\n" + kZero3,
       kFactoryLora + "use_unsloth: true\n"},
      {"llama-factory/lora-only", kFactoryFull + "use_dora: true\n", kFactoryLora + "use_dora: true\n"},
      {"llama-factory/adapters-quantized", kFactoryLora + "quantization_bit: 4\nlora_rank: 8\nadapter_name_or_path: a,b\n",
       kFactoryLora + "quantization_bit: 4\nlora_rank: 8\nadapter_name_or_path: b\n"},
      {"saved-adapter", kAxolotlLora + "lora_model_dir: out\n", kAxolotlLora + "lora_model_dir:\n"},
      {"llama-factory/pissa-quantized", kFactoryLora + "quantization_bit: 4\npissa_init: true\n",
       kFactoryLora + "pissa_init: true\n"},
      {"llama-factory/sft-only",
       "model_name_or_path: a/b\nstage: dpo\ndo_train: true\ndataset: x\nneat_packing: true\n",
       kFactory + "neat_packing: true\n"},
      {"llama-factory/evaluation-data", kFactory + "val_size: 0.1\neval_dataset: other\n",
       kFactory + "val_size: 0.1\n"},
      {"llama-factory/evaluation-data", kFactory + "eval_strategy: steps\n",
       kFactory + "eval_strategy: steps\neval_dataset: other\n"},
      {"llama-factory/streaming", kFactory + "streaming: true\n",
       kFactory + "streaming: true\nmax_steps: 10\n"},
      {"llama-factory/no-dataset",
       "model_name_or_path: a/b\nstage: sft\ndo_train: true\ntemplate: qwen\n", kFactory},
      {"llama-factory/reward-model",
       "model_name_or_path: a/b\nstage: ppo\ndo_train: true\ndataset: x\n",
       "model_name_or_path: a/b\nstage: ppo\ndo_train: true\ndataset: x\nreward_model: r\n"},
      {"llama-factory/generate-zero3", kFactory + "predict_with_generate: true\n" + kZero3,
       kFactory + "predict_with_generate: true\n"},
      {"llama-factory/best-model",
       "model_name_or_path: a/b\nstage: rm\ndo_train: true\ndataset: x\nload_best_model_at_end: true\n",
       kFactory + "load_best_model_at_end: true\n"},
      {"llama-factory/liger-stage",
       "model_name_or_path: a/b\nstage: dpo\ndo_train: true\ndataset: x\nenable_liger_kernel: true\n",
       kFactory + "enable_liger_kernel: true\n"},
      {"llama-factory/megatron-keys", kFactory + "tensor_model_parallel_size: 2\n", kFactory},
      // axolotl
      {"axolotl/batch-not-given",
       "base_model: a/b\ndatasets: [{path: x}]\nsequence_len: 512\nbatch_size: 8\n", kAxolotlData},
      {"axolotl/two-batches", kAxolotlData + "batch_size: 8\n", kAxolotlData},
      {"axolotl/deepspeed-and-fsdp",
       kAxolotlData + "deepspeed: deepspeed_configs/zero2.json\nfsdp: [full_shard]\n",
       kAxolotlData + "deepspeed: # deepspeed_configs/zero2.json\nfsdp: [full_shard]\n"},
      {"axolotl/liger-without-plugin", kAxolotlData + "liger_rope: true\n",
       kAxolotlData + "plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_rope: true\n"},
      {"axolotl/plugin-without-setting",
       kAxolotlData + "plugins: [axolotl.integrations.liger.LigerPlugin]\n",
       kAxolotlData + "plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_rms_norm: true\n"},
      {"axolotl/no-rank", kAxolotlData + "adapter: lora\nlora_target_linear: true\n", kAxolotlLora},
      {"axolotl/no-targets", kAxolotlData + "adapter: lora\nlora_r: 8\n", kAxolotlLora},
      {"axolotl/packing-with-rl", kAxolotlData + "sample_packing: true\nrl: dpo\n",
       kAxolotlData + "rl: dpo\n"},
      {"axolotl/packing-without-attention",
       "base_model: a/b\ndatasets: [{path: x}]\nmicro_batch_size: 1\nsample_packing: true\n",
       kAxolotlData + "sample_packing: true\n"},
      {"axolotl/padding-without-packing", kAxolotlData + "pad_to_sequence_len: true\n",
       kAxolotlData + "pad_to_sequence_len: true\nsample_packing: true\n"},
      {"axolotl/qlora-without-4bit", kAxolotlData + "adapter: qlora\nlora_r: 8\n", kAxolotlLora},
      {"axolotl/qlora-and-8bit",
       kAxolotlData + "adapter: qlora\nload_in_8bit: true\nlora_r: 8\nlora_target_linear: true\n",
       kAxolotlLora + "load_in_8bit: true\n"},
      {"axolotl/quantized-full", kAxolotlData + "load_in_4bit: true\n", kAxolotlData},
      {"axolotl/two-quantizations", kAxolotlLora + "load_in_4bit: true\nload_in_8bit: true\n",
       kAxolotlLora + "load_in_8bit: true\n"},
      {"axolotl/two-attentions", kAxolotlData + "flash_attention: true\n", kAxolotlData},
      {"axolotl/two-precisions", kAxolotlData + "bf16: true\nfp16: true\n",
       kAxolotlData + "bf16: auto\nfp16: false\n"},
      {"axolotl/two-warmups", kAxolotlData + "warmup_steps: 10\nwarmup_ratio: 0.1\n",
       kAxolotlData + "warmup_steps: 10\nwarmup_ratio:\n"},
      {"axolotl/save-strategy", kAxolotlData + "save_steps: 10\nsaves_per_epoch: 2\n",
       kAxolotlData + "save_steps: 10\n"},
      {"axolotl/save-strategy", kAxolotlData + "save_steps: 10\nsave_strategy: epoch\n",
       kAxolotlData + "save_steps: 10\nsave_strategy: steps\n"},
      {"axolotl/eval-strategy", kAxolotlData + "val_set_size: 0\neval_steps: 10\n",
       kAxolotlData + "val_set_size: 0.1\neval_steps: 10\n"},
      {"axolotl/two-test-sets", kAxolotlData + "val_set_size: 0.1\ntest_datasets: [{path: t}]\n",
       kAxolotlData + "val_set_size: 0.0\ntest_datasets: [{path: t}]\n"},
      {"axolotl/no-data", kAxolotl, kAxolotlData},
      {"axolotl/offload-without-checkpointing", kAxolotlData + "activation_offloading: true\n",
       kAxolotlData + "activation_offloading: true\ngradient_checkpointing: true\n"},
      {"axolotl/offload-without-checkpointing", kAxolotlLora + "activation_offloading: true\n",
       kAxolotlLora + "activation_offloading: true\ngradient_checkpointing: true\n"},
      {"axolotl/lora-kernels", kAxolotlLora + "load_in_8bit: true\nlora_mlp_kernel: true\n",
       kAxolotlLora + "lora_mlp_kernel: true\n"},
      {"axolotl/fsdp-8bit-optimizer",
       kAxolotlData + "optimizer: adamw_bnb_8bit\nfsdp_version: 2\nfsdp_config:\n  offload_params: false\n",
       kAxolotlData + "optimizer: adamw_torch_8bit\nfsdp_version: 2\nfsdp_config:\n  offload_params: false\n"},
      {"axolotl/kto-columns", kAxolotlData + "rl: kto\n",
       kAxolotlData + "rl: kto\nremove_unused_columns: false\n"},
      {"axolotl/two-packings", kAxolotlData + "sample_packing: true\nbatch_flattening: true\n",
       kAxolotlData + "sample_packing: true\n"},
      {"axolotl/two-losses",
       kAxolotlData + "cut_cross_entropy: true\nchunked_cross_entropy: true\n",
       kAxolotlData + "cut_cross_entropy: true\n"},
      {"axolotl/removed-key", kAxolotlData + "unsloth_lora_mlp: true\n", kAxolotlData},
      // TRL
      {"trl/compute-dtype", "model_name_or_path: a/b\nuse_peft: true\nload_in_4bit: true\n",
       kTrlLora + "load_in_4bit: true\n"},
      {"trl/default-dtype", "model_name_or_path: a/b\nmax_length: 512\n", kTrl},
      {"trl/lora-without-use-peft", kTrl + "lora_r: 16\n", kTrlLora + "lora_r: 16\n"},
      {"trl/packing-without-flash", kTrl + "packing: true\n",
       kTrl + "packing: true\nattn_implementation: flash_attention_2\n"},
      {"trl/quantized-without-use-peft", kTrl + "load_in_4bit: true\n",
       kTrlLora + "load_in_4bit: true\n"},
      {"trl/two-quantizations", kTrlLora + "load_in_4bit: true\nload_in_8bit: true\n",
       kTrlLora + "load_in_8bit: true\n"},
      {"trl/padding-free-length",
       kTrl + "padding_free: true\nattn_implementation: flash_attention_2\n",
       kTrl + "padding_free: true\npacking: true\nattn_implementation: flash_attention_2\n"},
      {"trl/head-adapter", kTrlLora + "lora_target_modules: [q_proj, lm_head]\n",
       kTrlLora + "lora_target_modules: [q_proj, lm_head]\nloss_type: nll\n"},
      {"trl/generations", kGrpo + "num_generations: 6\n", kTrl + "max_completion_length: 64\nnum_generations: 6\n"},
      {"trl/colocated-vllm", kGrpo + "num_generations: 1\nuse_vllm: true\n",
       kGrpo + "num_generations: 1\nuse_vllm: true\nvllm_mode: server\n"},
      {"trl/ignored-length",
       "model_name_or_path: a/b\ndtype: bfloat16\nmax_seq_length: 4096\n", kTrl},
      // torchtune
      {"torchtune/fp16", kTuneData + "dtype: fp16\n", kTuneData},
      {"torchtune/in-backward-with-accumulation",
       kTuneData + "gradient_accumulation_steps: 4\noptimizer_in_bwd: True\n",
       kTuneData + "optimizer_in_bwd: True\n"},
      {"torchtune/in-backward-with-clipping",
       kTuneData + "optimizer_in_bwd: True\nclip_grad_norm: 1.0\n",
       kTuneData + "optimizer_in_bwd: True\nclip_grad_norm: null\n"},
      {"torchtune/no-length", kTuneData + "tokenizer:\n  max_seq_len: null\n", kTuneData},
      {"torchtune/no-lora-modules",
       kTuneData + "model:\n  _component_: torchtune.models.qwen3.lora_qwen3_8b_instruct\n",
       kTuneData},
      {"torchtune/offload-without-checkpointing", kTuneData + "enable_activation_offloading: True\n",
       kTuneData + "enable_activation_offloading: True\nenable_activation_checkpointing: True\n"},
      {"torchtune/packed-without-length",
       kTune + "dataset:\n  packed: True\ntokenizer:\n  max_seq_len: null\n",
       kTune + "dataset:\n  packed: True\n"},
      {"torchtune/missing-key", kTune, kTuneData},
      // ms-swift
      {"ms-swift/flags-after-comment", kSwiftScript + " \\\n# remark\n --lora_rank 8\n",
       kSwiftScript + " \\\n --lora_rank 8\n", "train.sh"},
      {"ms-swift/no-nproc-per-node", "CUDA_VISIBLE_DEVICES=0,1 " + kSwiftScript,
       "NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0,1 " + kSwiftScript, "train.sh"},
      {"ms-swift/packing-without-flash", kSwift + "packing: true\n",
       kSwift + "packing: true\nattn_impl: flash_attn\n"},
      {"ms-swift/quantized-full",
       "model: a/b\ndataset: x\ntuner_type: full\nquant_method: bnb\nquant_bits: 4\n",
       kSwift + "quant_method: bnb\nquant_bits: 4\n"},
      {"ms-swift/several-commands", kSwiftScript + "\n" + kSwiftScript, kSwiftScript, "train.sh"},
      {"ms-swift/unresolved", kSwiftScript + " --output_dir $OUT", kSwiftScript + " --output_dir out",
       "train.sh"},
      {"ms-swift/quant-bits", kSwift + "quant_method: bnb\n",
       kSwift + "quant_method: bnb\nquant_bits: 4\n"},
      {"ms-swift/ignored-quant-bits", kSwift + "quant_bits: 4\n",
       kSwift + "quant_method: bnb\nquant_bits: 4\n"},
      {"ms-swift/several-adapters", kSwift + "adapters: [a, b]\n", kSwift + "adapters: [a]\n"},
      {"ms-swift/split-and-deepspeed",
       "CUDA_VISIBLE_DEVICES=0,1 " + kSwiftScript + " --deepspeed zero2",
       "NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0,1 " + kSwiftScript + " --deepspeed zero2",
       "train.sh"},
      // litgpt
      {"litgpt/batch", kLit + "devices: 32\n" + kLitTrain, kLit + kLitTrain},
      {"litgpt/no-length", kLit + "train:\n  micro_batch_size: 1\n", kLit + kLitTrain},
      {"litgpt/quantized-mixed", kLit + "precision: bf16-mixed\nquantize: bnb.nf4\n" + kLitTrain,
       kLit + "quantize: bnb.nf4\n" + kLitTrain},
      {"litgpt/quantized-several-gpus", kLit + "quantize: bnb.nf4\ndevices: 2\n" + kLitTrain,
       kLit + "quantize: bnb.nf4\n" + kLitTrain},
      {"litgpt/quantized-optimizer", kLit + "quantize: bnb.nf4\noptimizer: SGD\n" + kLitTrain,
       kLit + "quantize: bnb.nf4\noptimizer: AdamW\n" + kLitTrain},
      {"litgpt/two-warmups", kLit + kLitTrain + "  lr_warmup_steps: 9\n  lr_warmup_fraction: 0.1\n",
       kLit + kLitTrain + "  lr_warmup_steps: 9\n"},
      // Unsloth, DeepSpeed, accelerate
      {"unsloth/quantized-by-default", kSloth + "  training_type: lora\n",
       kSloth + "  training_type: lora\n  load_in_4bit: true\n"},
      {"deepspeed/batch-mismatch",
       kTrl + "deepspeed: '{\"zero_optimization\": {\"stage\": 2}, "
              "\"train_micro_batch_size_per_gpu\": 4}'\n",
       kTrl + "deepspeed: '{\"zero_optimization\": {\"stage\": 2}, "
              "\"train_micro_batch_size_per_gpu\": \"auto\"}'\n"},
      {"deepspeed/file-not-found", kTrl + "deepspeed: mine.json\n", kTrl + "deepspeed: zero2\n"},
      {"deepspeed/offload-without-zero",
       R"({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}})",
       R"({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}})", "ds.json"},
      {"deepspeed/removed-key", R"({"zero_optimization": {"stage": 2, "cpu_offload": true}})",
       R"({"zero_optimization": {"stage": 2}})", "ds.json"},
      {"deepspeed/stage", R"({"zero_optimization": {"stage": 4}})",
       R"({"zero_optimization": {"stage": 3}})", "ds.json"},
      {"deepspeed/two-precisions",
       R"({"zero_optimization": {"stage": 2}, "bf16": {"enabled": true}, "fp16": {"enabled": true}})",
       R"({"zero_optimization": {"stage": 2}, "bf16": {"enabled": true}, "fp16": {"enabled": "auto"}})",
       "ds.json"},
      {"deepspeed/hjson", "{\n  // sharded\n  \"zero_optimization\": {\"stage\": 2}\n}",
       "{\n  \"zero_optimization\": {\"stage\": 2}\n}", "ds.json"},
      {"deepspeed/unreadable", kTrl + "deepspeed: '{\"stage\": 2,}'\n", kTrl + "deepspeed: zero2\n"},
      {"accelerate/deepspeed-file-and-keys",
       "distributed_type: DEEPSPEED\nnum_processes: 2\ndeepspeed_config:\n"
       "  deepspeed_config_file: zero2.json\n  zero_stage: 2\n",
       "distributed_type: DEEPSPEED\nnum_processes: 2\ndeepspeed_config:\n"
       "  deepspeed_config_file: zero2.json\n"},
      {"accelerate/mixed-precision", kTrl + "mixed_precision: fp16\n", kTrl + "mixed_precision: bf16\n"},
      {"accelerate/fsdp-no-wrap",
       "distributed_type: FSDP\nnum_processes: 2\nfsdp_config:\n  fsdp_version: 2\n",
       "distributed_type: FSDP\nnum_processes: 2\nfsdp_config:\n  fsdp_version: 2\n"
       "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"},
      {"accelerate/fsdp2-old-key",
       "distributed_type: FSDP\nnum_processes: 2\nfsdp_config:\n  fsdp_version: 2\n"
       "  fsdp_sharding_strategy: FULL_SHARD\n",
       "distributed_type: FSDP\nnum_processes: 2\nfsdp_config:\n  fsdp_version: 2\n"
       "  fsdp_reshard_after_forward: true\n"},
  };
}

/// Rules that come from the card or from what stands around a file: tests/cli/check_test.cpp.
const std::set<std::string> kElsewhere = {
    "out-of-memory",     "tight-memory",      "beyond-positions",      "fp16-trained",
    "wasted-card",       "weights-format",    "needless-checkpointing", "needless-quantization",
    "trainer-defaults",  "default-length",    "default-batch",         "eval-batch",
    "several-gpus",      "not-modelled",      "unknown-model",         "not-a-training-file",
    "unreadable-file",   "impossible-run",    "launcher-decides",      "unused-ignore",
    "unknown-rule",      "quantized-checkpoint", "ms-swift/no-length",   "trl/no-targets"};

TrainFile read(const Case& each, const std::string& text) {
  TrainerChoice choice;
  choice.version = each.version;
  const auto file = read_train_file(text, each.name, Beside(), choice);
  REQUIRE(file.ok());
  return *file;
}

}  // namespace

TEST_CASE("A rule is found where it is broken, and not where it is kept") {
  for (const Case& each : cases()) {
    INFO(each.rule << "\n" << each.text);
    CHECK(says(read(each, each.text), each.rule));
    INFO("corrected:\n" << each.corrected);
    CHECK_FALSE(says(read(each, each.corrected), each.rule));
  }
}

TEST_CASE("Every rule of the table has a test, and its words") {
  std::set<std::string> tested = kElsewhere;
  for (const Case& each : cases()) tested.insert(each.rule);
  std::set<std::string_view> ids;
  for (const Rule& rule : kRules) {
    INFO(rule.id);
    CHECK(tested.count(std::string(rule.id)) == 1);
    CHECK(ids.insert(rule.id).second);
    for (const std::string_view words : {rule.meaning, rule.explanation, rule.fix})
      CHECK((words.size() > 5 && words.back() == '.'));
    CHECK_FALSE(rule.source.empty());
  }
  for (const std::string& id : tested) {
    INFO(id);
    CHECK(rule_index(id).has_value());
  }
}

TEST_CASE("A value that is a secret is never repeated") {
  const std::string secret = "hf_abcdefghijklmnopqrstuvwxyz";
  for (const std::string& text :
       {kTrl + "hub_token: " + secret + "\n", kFactory + "swanlab_api_key: " + secret + "\n",
        kAxolotlData + "wandb_api_key: " + secret + "\n",
        kTrl + "per_device_train_batch_size: " + secret + "\n"}) {
    const auto file = read_train_file(text, "run.yaml", Beside());
    REQUIRE(file.ok());
    for (const Finding& each : file->findings) {
      INFO(each.message);
      CHECK(each.message.find(secret) == std::string::npos);
      CHECK(each.fix.find(secret) == std::string::npos);
    }
  }
  const auto script = reading("export WANDB_API_KEY=0123456789abcdef0123\n" + kSwiftScript +
                                  " --hub_token " + secret + "\n",
                              "train.sh");
  CHECK(std::count_if(script.findings.begin(), script.findings.end(), [](const Finding& each) {
          return each.rule == "secret-in-file";
        }) == 2);
  // Tokens of a text are none, nor are words that stand for one.
  for (const char* line :
       {"pad_token: \"<|endoftext|>\"\n", "eos_token: \"<|im_end|>\"\n", "hub_token: ${HF_TOKEN}\n",
        "hub_token: <your token>\n", "hub_token:\n"})
    CHECK_FALSE(says(reading(kTrl + line), "secret-in-file"));
}

TEST_CASE("Remarks ignore rules by line, by the line above, and by file") {
  std::vector<Finding> findings;
  const std::string text =
      "# qwenplan: ignore-file trainer-defaults\n"
      "a: 1  # qwenplan: ignore unknown-key, renamed-key -- both are known\n"
      "# qwenplan: ignore out-of-memory\n"
      "# another remark\n"
      "\n"
      "b: \"# qwenplan: ignore default-length\"\n"
      "c: it's # qwenplan: ignore secret-in-file\n"
      "# qwenplan: ignore no-such-rule\n"
      "# qwenplan: skip everything\n";
  std::vector<Ignore> ignores = ignores_of(text, findings);
  REQUIRE(ignores.size() == 5);
  CHECK(findings.size() == 2);
  for (const Finding& each : findings) CHECK(each.rule == "unknown-rule");
  CHECK(findings[0].place.line == 8);
  CHECK(findings[0].place.column == 20);
  const auto is = [&](RuleId rule, std::uint32_t line) {
    return is_ignored({rule, "", Place{line, 1}, ""}, ignores);
  };
  CHECK(is("unknown-key", 2));
  CHECK(is("renamed-key", 2));
  CHECK_FALSE(is("unknown-key", 3));
  CHECK(is("out-of-memory", 6));
  CHECK_FALSE(is("out-of-memory", 2));
  CHECK(is("trainer-defaults", 0));
  CHECK_FALSE(is("default-length", 6));
  CHECK(ignores.back().rule == "secret-in-file");
  CHECK_FALSE(ignores.back().is_used);
  CHECK(is("secret-in-file", 7));
  CHECK(ignores.back().is_used);
}
