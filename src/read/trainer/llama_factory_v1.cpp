#include <string>
#include <utility>

#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/saved_adapter.hpp"
#include "read/trainer/settings.hpp"

// The second form of LLaMA-Factory's files (USE_V1=1): classes and a training loop of its own, beside
// transformers' Trainer. Read in v1/config, v1/core and v1/plugins of 0.9.5.

namespace qwenplan {
namespace {

void refuse(TrainFile& file, std::string what, Place place, std::string hint) {
  set_unmodelled(file, std::move(what) + " in the second form of LLaMA-Factory's files is not modelled",
                 place, std::move(hint));
}

/// What is trained. Without adapters all weights are cast to fp32, and nothing casts back: autocast is
/// not used, and bf16 is FSDP2's.
void read_method(Settings& in, const Source& source, TrainFile& file) {
  RunDraft& d = file.draft;
  Settings peft = in.inside("peft_config");
  const auto name = peft.text("name");
  d.precision = by_trainer(Precision::fp32);
  if (!name) {
    d.method = by_trainer(Method::full);
    d.weights = by_trainer(DType::fp32);
  } else if (name->value == "lora") {
    d.method = from_file(Method::lora, name->place);
    d.lora_rank = peft.whole("r");
    d.lora_alpha = peft.number("lora_alpha");
    d.lora_dropout = peft.number("lora_dropout");
    if (!d.lora_alpha) d.lora_alpha = by_trainer(16.0);
    if (!d.lora_dropout) d.lora_dropout = by_trainer(0.05);
    d.lora_targets = peft.words("target_modules");
    d.modules_to_save = peft.words("modules_to_save");
    d.uses_dora = peft.truth("use_dora");
    if (const auto adapters = peft.words("adapter_name_or_path"); adapters && !adapters->value.empty())
      take_saved_adapter(adapters->value[0], peft.place("adapter_name_or_path"), source.neighbours, file);
    peft.know("use_rslora export_dir export_size export_hub_model_id infer_dtype "
              "export_legacy_format");
  } else {
    refuse(file, "the method '" + name->value + "'", name->place, "modelled: lora, and none for all weights");
    return;
  }
  Settings quantization = in.inside("quant_config");
  if (!quantization.has("name")) return;
  const auto bits = quantization.whole("quantization_bit");
  const auto type = quantization.text("quantization_type");
  const auto twice = quantization.truth("double_quantization");
  quantization.know("compute_dtype");  // where hidden states are in bf16, bitsandbytes computes in that
  const Place place = quantization.place("name");
  if (!bits && quantization.text("name")->value == "auto") return;
  if (bits && bits->value != 4 && bits->value != 8) {
    in.say("invalid-value", "quant_config", "quantization_bit is 4 or 8", "quantization_bit: 4");
    return;
  }
  if (!name) {
    in.say("llama-factory/quantized-full", "quant_config",
           "a quantized model is cast to fp32 as a whole where there is no adapter, which bitsandbytes refuses",
           "add peft_config with name: lora");
    return;
  }
  const bool is_8bit = bits && bits->value == 8;
  d.quantization = from_file(is_8bit                              ? Quantization::int8
                             : type && type->value == "fp4" ? Quantization::fp4
                                                            : Quantization::nf4,
                             bits ? bits->place : place);
  d.method = from_file(Method::qlora, place);
  d.double_quantizes = is_8bit ? by_trainer(false) : twice ? twice : by_trainer(true);
}

/// How samples make a micro-batch. Batches by a budget of tokens have as many as one of full length.
void read_batches(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  d.length = in.whole("cutoff_len");
  d.micro_batch = in.whole("micro_batch_size");
  if (!d.micro_batch) d.micro_batch = by_trainer(std::int64_t{1});
  if (const auto all = in.whole("global_batch_size")) {
    const std::int64_t each = d.micro_batch->value;
    if (each > 0 && all->value >= each && all->value % each == 0)
      d.accumulation = from_file(all->value / each, all->place);
    else
      in.say("invalid-value", "global_batch_size", "the global batch is no multiple of the micro-batch",
             "write a multiple of micro_batch_size");
  }
  if (!d.accumulation) d.accumulation = by_trainer(std::int64_t{1});

  const auto attention = in.text("flash_attn");
  const bool is_flash = attention && attention->value == "flash_attention_2";
  if (attention && attention->value != "sdpa" && attention->value != "eager" && !is_flash)
    in.say("invalid-value", "flash_attn", "flash_attn is eager, sdpa or flash_attention_2", "flash_attn: sdpa");
  else if (attention)
    d.attention = from_file(is_flash ? std::string("fa2") : attention->value, attention->place);

  const auto strategy = in.text("batching_strategy");
  if (!strategy) return;
  const bool joins = strategy->value == "padding_free" || strategy->value == "dynamic_padding_free";
  if (joins) {
    d.is_padding_free = from_file(true, strategy->place);
    // The batch's mask hides nothing, so that only flash-attn looks for borders in the positions.
    d.borders = from_file(is_flash ? Borders::positions : Borders::none, strategy->place);
  }
  if (strategy->value == "padding_free" && !is_flash)
    in.say("llama-factory/padding-free-attention", "batching_strategy",
           "padding_free needs flash-attn, and LLaMA-Factory stops without it", "flash_attn: flash_attention_2");
  if (strategy->value == "dynamic_batching" && !in.has("max_steps"))
    in.say("llama-factory/dynamic-batching", "batching_strategy",
           "dynamic_batching counts steps, and LLaMA-Factory stops without max_steps", "max_steps: 1000");
}

void read_parallel(Settings& in, const Source& source, TrainFile& file) {
  RunDraft& d = file.draft;
  Settings spread = in.inside("dist_config");
  const auto size = [](const auto& own, const auto& inner) { return own ? own : inner; };
  if (const auto degree = size(in.whole("cp_size"), spread.whole("cp_size")); degree && degree->value > 1)
    d.context_parallel = degree;
  spread.know("name cp_mode dcp_path mp_replicate_size mp_shard_size dp_size timeout reshard_after_forward "
              "offload_params pin_memory config_file");
  const auto name = spread.text("name");
  if (name && name->value == "deepspeed") {
    if (const Node* path = spread.node("config_file"))
      put_launch(deepspeed_setting({"config_file", path->place, *path}, source.neighbours), file);
    else
      refuse(file, "DeepSpeed without its file", name->place, "write config_file");
  } else if (name && name->value != "fsdp2") {
    refuse(file, "the distribution '" + name->value + "'", name->place, "leave dist_config out for one GPU");
  } else if (name) {
    in.say("llama-factory/one-card-fp32", "dist_config",
           "one card that is started without torchrun shards nothing, and leaves bf16 out with it: " +
               std::string(d.method->value == Method::full ? "weights, gradients and states are in fp32"
                                                           : "adapters are in fp32, and there is no autocast"),
           "FORCE_TORCHRUN=1 in the environment brings FSDP2 back");
  }
  if (const auto init = in.inside("init_config").text("name"); init && init->value != "init_on_default")
    refuse(file, "loading by '" + init->value + "', which wants torchrun and FSDP2,", init->place,
           "leave init_config out for one GPU");
}

}  // namespace

TrainFile read_llama_factory_v1(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::llama_factory;
  // Its loader is OmegaConf, but to_container leaves references as they are written.
  const Node& root = source.root;
  Settings in(&root, "", file.findings);
  if (const auto model = in.text("model")) {
    file.model = model->value;
    file.model_place = model->place;
  }
  if (const auto version = version_of(source.version); version && *version < Version{0, 9, 5})
    refuse(file, "LLaMA-Factory " + source.version, {}, "modelled: 0.9.5");

  RunDraft& d = file.draft;
  d.weighs_tokens = by_trainer(true);
  d.optimizer = by_trainer(std::string("adamw-foreach"));
  if (const auto optimizer = in.inside("optim_config").text("name"))
    refuse(file, "the optimizer '" + optimizer->value + "'", optimizer->place,
           "leave optim_config out for AdamW, the only one that 0.9.5 has");
  read_method(in, source, file);
  read_batches(in, file);
  d.checkpoints = in.truth("enable_activation_checkpointing");
  d.checkpoints_reentrant = by_trainer(false);
  read_parallel(in, source, file);

  if (const auto kind = in.text("model_class"); kind && kind->value != "llm")
    refuse(file, "a model of class '" + kind->value + "'", kind->place, "model_class: llm");
  Settings kernels = in.inside("kernel_config");
  const auto kernel = kernels.text("name");
  const bool includes = kernels.is_set("include_kernels");
  if (kernel && kernel->value == "liger_kernel") {
    if (includes)
      refuse(file, "Liger's cross-entropy", kernel->place, "leave kernel_config out");
    else
      in.say("llama-factory/no-kernel-included", "kernel_config",
             "without include_kernels none of Liger's kernels is used", "include_kernels: auto");
  }
  // On CUDA what "auto" includes is one kernel, for experts (plugins/model_plugins/kernels/ops).
  if (kernel && kernel->value == "auto" && includes)
    file.unmodelled_experts = unknown_at(kernel->place, "LLaMA-Factory's kernel for experts is not modelled", "leave include_kernels out");
  // Newer than 0.9.5.
  if (in.is_set("mtp_config"))
    refuse(file, "'mtp_config' (heads for further tokens)", in.place("mtp_config"), "leave it out");
  in.inside("lr_scheduler_config");
  if (auto data = in.words("train_dataset")) {
    for (const std::string& each : data->value)
      if (each.find("dpo") != std::string::npos)
        refuse(file, "training on pairs of answers, as the data's name says,", data->place,
               "describe the run by flags: qwenplan vram --objective dpo");
    file.datasets = std::move(data->value);
  }
  file.epochs = value_of(in.number("num_train_epochs"));
  file.max_steps = value_of(in.whole("max_steps"));
  file.save_steps = value_of(in.whole("save_steps"));
  file.save_limit = value_of(in.whole("save_total_limit"));
  file.workers = value_of(in.whole("batching_workers"));
  in.know("template trust_remote_code eval_dataset output_dir learning_rate max_grad_norm bf16 seed "
          "full_determinism resume_from_checkpoint save_epochs save_ckpt_as_hf logging_steps sample_backend "
          "max_new_tokens cp_mode lr_scheduler_config");
  in.report_unknown("unknown-key-refused", "LLaMA-Factory stops at keys that its second form does not know");
  return file;
}

}  // namespace qwenplan
