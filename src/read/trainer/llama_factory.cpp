#include <string>

#include "qwenplan/base/parse.hpp"
#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/keys.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/saved_adapter.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// Keys that change nothing of a step's memory.
constexpr std::string_view kHarmless =
    "do_train do_eval dataset_dir media_dir template train_on_prompt mask_history overwrite_cache "
    "preprocessing_batch_size preprocessing_num_workers val_size eval_on_each_dataset "
    "tokenized_path "
    "mix_strategy interleave_probs buffer_size max_samples eval_num_beams streaming "
    "ignore_pad_token_for_loss default_system enable_thinking tool_format data_shared_file_system "
    "output_dir overwrite_output_dir learning_rate lr_scheduler_type lr_scheduler_kwargs "
    "warmup_ratio "
    "warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm logging_steps "
    "logging_strategy logging_first_step logging_dir save_strategy save_only_model "
    "save_safetensors "
    "report_to run_name plot_loss seed data_seed ddp_timeout ddp_find_unused_parameters "
    "resume_from_checkpoint eval_strategy eval_steps eval_dataset "
    "dataloader_drop_last dataloader_pin_memory dataloader_prefetch_factor "
    "dataloader_persistent_workers remove_unused_columns group_by_length "
    "load_best_model_at_end metric_for_best_model greater_is_better tf32 push_to_hub hub_model_id "
    "hub_token hf_hub_token ms_hub_token om_hub_token include_num_input_tokens_seen "
    "include_effective_tokens_per_second predict_with_generate compute_accuracy disable_shuffling "
    "early_stopping_steps trust_remote_code model_revision cache_dir use_fast_tokenizer "
    "split_special_tokens low_cpu_mem_usage rope_scaling use_kv_cache infer_dtype "
    "print_param_status "
    "create_new_adapter adapter_folder use_rslora pissa_init pissa_iter "
    "pissa_convert loraplus_lr_ratio loraplus_lr_embedding pref_beta pref_ftx pref_bco_weight "
    "simpo_gamma dpo_label_smoothing ld_alpha kto_chosen_weight kto_rejected_weight "
    "quantization_device_map "
    "image_max_pixels image_min_pixels video_max_pixels video_min_pixels video_fps video_maxlen "
    "use_swanlab swanlab_project swanlab_workspace swanlab_run_name swanlab_mode swanlab_api_key "
    "torch_empty_cache_steps disable_tqdm log_level "
    "full_determinism "
    "save_on_each_node dataloader_num_workers per_device_eval_batch_size max_new_tokens "
    "temperature "
    "top_p length_penalty use_mca ray_num_workers "
    "gradient_checkpointing_kwargs hyper_parallel_args offload_folder ref_model_adapters ref_model_quantization_bit "
    "asft_alpha badam_mode badam_start_block badam_switch_mode badam_switch_interval "
    "badam_update_ratio badam_mask_mode badam_verbose galore_target galore_rank "
    "galore_update_interval galore_scale galore_proj_type galore_layerwise apollo_target apollo_rank "
    "apollo_update_interval apollo_scale apollo_proj apollo_proj_type apollo_scale_type "
    "apollo_layerwise apollo_scale_front oft_rank oft_block_size oft_target module_dropout "
    "freeze_language_model ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards "
    "reward_model reward_model_adapters reward_model_quantization_bit reward_model_type "
    "new_special_tokens_config init_special_tokens freeze_original_embeddings fp8_backend fp8_enable_fsdp_float8_all_gather "
    "image_do_pan_and_scan crop_to_patches use_audio_in_video audio_sampling_rate sequence_parallel "
    "use_distributed_optimizer overlap_param_gather overlap_grad_reduce mixed_precision "
    "use_packed_sequences export_hf_on_finish bias_activation_fusion apply_rope_fusion "
    "moe_grouped_gemm moe_token_dispatcher_type recompute_granularity kt_cpu_activation kt_config";

void read_objective(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  const auto stage = in.text("stage");
  const auto loss = in.text("pref_loss");
  if (!stage) return;
  const std::string& word = stage->value;
  const auto is = [&](Objective objective) { d.objective = from_file(objective, stage->place); };
  if (word == "pt") {
    is(Objective::pretrain);
    if (!d.packs) d.packs = by_trainer(true);
  } else if (word == "sft") {
    is(Objective::sft);
  } else if (word == "dpo") {
    is(loss && loss->value == "orpo"    ? Objective::orpo
       : loss && loss->value == "simpo" ? Objective::simpo
       : loss && loss->value == "ipo"   ? Objective::ipo
                                        : Objective::dpo);
  } else if (word == "orpo") {
    is(Objective::orpo);
  } else if (word == "simpo") {
    is(Objective::simpo);
  } else if (word == "kto") {
    is(Objective::kto);
  } else if (word == "rm") {
    is(Objective::reward);
  } else if (word == "ppo") {
    is(Objective::ppo);
  } else {
    in.say("invalid-value", "stage", "stage: '" + word + "' is no stage",
           "pt, sft, rm, ppo, dpo or kto");
    set_unmodelled(file, "the stage '" + word + "' is not modelled", {}, "use sft");
  }
  const auto reference = in.text("ref_model");
  if (reference) d.has_reference = from_file(true, reference->place);
}

void read_method(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  const auto type = in.text("finetuning_type");
  const auto bits = in.whole("quantization_bit");
  const auto method = in.text("quantization_method");
  const auto quant_type = in.text("quantization_type");
  d.double_quantizes = in.truth("double_quantization");
  const std::string word = type ? type->value : "lora";
  const Place place = type ? type->place : Place{};
  if (word == "full")
    d.method = from_file(Method::full, place);
  else if (word == "freeze") {
    d.method = from_file(Method::freeze, place);
    d.trained_layers = in.whole("freeze_trainable_layers");
    const auto modules = in.words("freeze_trainable_modules");
    if (modules && modules->value != std::vector<std::string>{"all"})
      set_unmodelled(file, "training some modules of a layer is not modelled",
                     modules->place, "leave freeze_trainable_modules out");
    if (in.has("freeze_extra_modules"))
      set_unmodelled(file, "training modules outside the layers is not modelled",
                     in.place("freeze_extra_modules"), "leave it out");
  } else if (type && word == "lora")
    d.method = from_file(Method::lora, place);
  else if (word == "oft")
    set_unmodelled(file, "the adapter 'oft' is not modelled", place, "finetuning_type: lora");
  else if (word != "lora")
    in.say("invalid-value", "finetuning_type",
           "finetuning_type: '" + word + "' is no method", "lora, oft, freeze or full");

  in.know("freeze_trainable_layers freeze_trainable_modules freeze_extra_modules");
  if (!bits) {
    d.double_quantizes.reset();
    return;
  }
  if (word == "full" || word == "freeze") {
    in.say("llama-factory/quantized-full", "quantization_bit",
           "LLaMA-Factory trains a quantized model with lora or oft only",
           "remove quantization_bit, or set finetuning_type: lora");
    return;
  }
  if (method && method->value != "bnb" && method->value != "bitsandbytes")
    set_unmodelled(file, "quantization by " + method->value + " is not modelled",
                   method->place, "modelled: bnb");
  if (bits->value != 4 && bits->value != 8)
    set_unmodelled(file, "a base of " + std::to_string(bits->value) + " bits is not modelled",
                   bits->place, "modelled: 4 and 8");
  d.quantization = from_file(bits->value == 8                           ? Quantization::int8
                             : quant_type && quant_type->value == "fp4" ? Quantization::fp4
                                                                        : Quantization::nf4,
                             bits->place);
  d.method = from_file(Method::qlora, bits->place);
  if (bits->value == 8) d.double_quantizes = by_trainer(false);
}

void read_precision(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  const auto bf16 = in.truth("bf16");
  const auto fp16 = in.truth("fp16");
  const auto pure = in.truth("pure_bf16");
  d.uses_fp8 = in.truth("fp8");
  const bool is_bf16 = bf16 && bf16->value;
  const bool is_fp16 = fp16 && fp16->value;
  if (is_bf16 && is_fp16)
    in.say("llama-factory/two-precisions", "fp16",
           "bf16 and fp16 are both on, and transformers stops", "keep bf16");
  if (pure && pure->value)
    d.precision = from_file(Precision::bf16_true, pure->place);
  else if (is_bf16)
    d.precision = from_file(Precision::bf16_mixed, bf16->place);
  else if (is_fp16)
    d.precision = from_file(Precision::fp16_mixed, fp16->place);
  file.leaves_precision = !is_bf16 && !is_fp16;
  if (pure && pure->value && is_fp16)
    in.say("llama-factory/two-precisions", "pure_bf16",
           "pure_bf16 and fp16 contradict each other", "keep pure_bf16");
}

void read_checkpointing(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  if (const auto off = in.truth("disable_gradient_checkpointing"))
    d.checkpoints = from_file(!off->value, off->place);
  const bool is_on = !d.checkpoints || d.checkpoints->value;
  const auto reentrant = in.truth("use_reentrant_gc");
  if (is_on) d.checkpoints_reentrant = reentrant;
  if (in.is_on("use_unsloth_gc") && is_on)
    d.offloads_checkpoints = from_file(true, in.place("use_unsloth_gc"));
  for (const char* key : {"gradient_checkpointing", "activation_checkpointing"})
    if (const auto said = in.truth(key))
      in.say("llama-factory/ignored-gradient-checkpointing", key,
             "LLaMA-Factory does not ask " + std::string(key) + "; checkpointing stays " +
                 (is_on ? "on" : "off"),
             std::string("write disable_gradient_checkpointing: ") + (is_on ? "true" : "false"));
}

void read_optimizer(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  if (const auto optim = in.text("optim"))
    d.optimizer = from_file(optimizer_name(optim->value), optim->place);
  for (const char* name : {"galore", "apollo", "badam", "adam_mini", "muon"})
    if (const std::string key = std::string("use_") + name; in.is_on(key))
      d.optimizer = from_file(optimizer_name(name), in.place(key));
  for (const char* name : {"galore", "apollo"}) {
    const std::string word = name;
    if (!in.is_on("use_" + word)) continue;
    d.optimizer_rank = in.whole(word + "_rank");
    const auto differs = [&](const char* key, const char* usual) {
      const auto given = in.text(word + "_" + key);
      if (given && given->value != usual)
        set_unmodelled(file, word + " with '" + word + "_" + key + ": " + given->value + "' is not modelled",
                       given->place, std::string("modelled: ") + usual);
    };
    differs("target", "all");
    differs("proj", "random");
    differs("proj_type", "std");
    differs("scale_type", "channel");
    if (in.is_on(word + "_layerwise"))
      set_unmodelled(file, word + " layer by layer is not modelled", in.place(word + "_layerwise"),
                     "leave " + word + "_layerwise out");
    const auto optim = in.text("optim");
    if (optim && optim->value != "adamw_torch")
      set_unmodelled(file, word + " with '" + optim->value + "' is not modelled", optim->place,
                     "optim: adamw_torch");
  }
}

void read_parallel(Settings& in, const Source& source, TrainFile& file) {
  RunDraft& d = file.draft;
  if (const Node* node = in.node("deepspeed"))
    put_launch(deepspeed_setting({"deepspeed", in.place("deepspeed"), *node}, source.neighbours),
               file);
  if (const Node* fsdp = in.node("fsdp"))
    if (const auto words = fsdp->words(); words && !words->empty() && fsdp->truth() != false)
      d.fsdp = from_file(words->front(), fsdp->place);
  in.know("fsdp_config tensor_model_parallel_size pipeline_model_parallel_size expert_model_parallel_size "
          "context_parallel_size");
  for (const char* key : {"tensor_model_parallel_size", "pipeline_model_parallel_size",
                          "expert_model_parallel_size", "context_parallel_size"}) {
    if (!in.has(key)) continue;
    in.say("llama-factory/megatron-keys", key,
           "'" + std::string(key) + "' is known with USE_MCA=1 in the environment alone; without it LLaMA-Factory stops",
           "remove it, or set USE_MCA=1");
    set_unmodelled(file, "training with Megatron, which this key asks for, is not modelled",
                   in.place(key), "remove the keys of Megatron");
    break;
  }
}

/// What hparams/parser.py and the classes of hparams stop at.
void read_contradictions(Settings& in, TrainFile& file) {
  const RunDraft& d = file.draft;
  const std::string stage = in.text("stage") ? in.text("stage")->value : "sft";
  const auto type = in.text("finetuning_type");
  const bool is_lora = !type || type->value == "lora";
  const bool is_zero3 = d.zero && d.zero->value == "3";
  const bool is_sharded = is_zero3 || d.fsdp;
  const auto refuse = [&](RuleId rule, const char* key, std::string message, std::string fix) {
    in.say(rule, key, std::move(message), std::move(fix));
  };
  if (is_zero3 && d.precision && d.precision->value == Precision::bf16_true)
    refuse("llama-factory/pure-bf16-zero3", "pure_bf16",
           "LLaMA-Factory refuses pure_bf16 with ZeRO-3", "write bf16: true");
  if (is_zero3 && in.is_on("use_unsloth"))
    refuse("llama-factory/unsloth-zero3", "use_unsloth", "Unsloth does not work with ZeRO-3",
           "use ZeRO-2, or use_unsloth: false");
  if (is_zero3 && in.is_on("predict_with_generate"))
    refuse("llama-factory/generate-zero3", "predict_with_generate",
           "predict_with_generate does not work with ZeRO-3", "remove one of them");
  const auto bits = in.whole("quantization_bit");
  const auto method = in.text("quantization_method");
  const bool is_bnb = !method || method->value == "bnb" || method->value == "bitsandbytes";
  if (is_sharded && bits && (!is_bnb || bits->value != 4))
    refuse("llama-factory/quantized-sharded", "quantization_bit",
           "with ZeRO-3 or FSDP only bitsandbytes' 4 bits can be loaded", "quantization_bit: 4");
  const std::string base = lowered(file.model);
  if (is_sharded && (base.find("gptq") != base.npos || base.find("awq") != base.npos))
    refuse("llama-factory/quantized-sharded", "model_name_or_path",
           "a checkpoint that is quantized cannot be loaded with ZeRO-3 or FSDP", "name the plain checkpoint");
  if (bits && in.is_on("fp8"))
    refuse("llama-factory/fp8-quantized", "fp8", "fp8 does not work with a quantized base",
           "remove one of them");
  int low_rank = 0;
  for (const char* key : {"use_galore", "use_apollo", "use_badam"}) {
    if (!in.is_on(key)) continue;
    ++low_rank;
    if (is_lora)
      refuse("llama-factory/low-rank-optimizer-with-lora", key,
             "'" + std::string(key) + "' does not work with LoRA", "finetuning_type: full");
    if (std::string_view(key) != "use_badam" && in.has("deepspeed"))
      refuse("llama-factory/low-rank-optimizer-with-deepspeed", key,
             "'" + std::string(key) + "' does not work with DeepSpeed", "remove deepspeed");
    if (low_rank == 2)
      refuse("llama-factory/two-low-rank-optimizers", key,
             "only one of GaLore, APOLLO and BAdam can be on", "keep one of them");
  }
  if (!is_lora)
    for (const char* key : {"use_dora", "use_rslora", "pissa_init", "loraplus_lr_ratio", "adapter_name_or_path"})
      if (in.is_set(key))
        refuse("llama-factory/lora-only", key,
               "'" + std::string(key) + "' is for LoRA, and finetuning_type is " + type->value,
               "finetuning_type: lora, or remove it");
  if (bits && in.is_on("pissa_init"))
    refuse("llama-factory/pissa-quantized", "pissa_init",
           "PiSSA cannot start on a quantized base", "run scripts/pissa_init.py first");
  if (stage != "sft")
    for (const char* key :
         {"neat_packing", "predict_with_generate", "train_on_prompt", "mask_history"})
      if (in.is_on(key))
        refuse("llama-factory/sft-only", key,
               "'" + std::string(key) + "' is for stage: sft, not " + stage, "remove it");
  if ((stage == "rm" || stage == "ppo") && in.is_on("load_best_model_at_end"))
    refuse("llama-factory/best-model", "load_best_model_at_end",
           "stage " + stage + " cannot load the best model at the end", "remove it");
  if (stage == "ppo" && !in.has("reward_model"))
    refuse("llama-factory/reward-model", "stage", "PPO needs a reward model", "write reward_model");
  const auto share = in.number("val_size");
  const bool has_share = share && share->value > 1e-6;
  if (has_share && in.has("eval_dataset"))
    refuse("llama-factory/evaluation-data", "val_size",
           "val_size does not work with eval_dataset", "keep one of them");
  const auto strategy = in.text("eval_strategy");
  const bool asks_eval = strategy && strategy->value != "no" && strategy->value != "false" &&
                         strategy->value != "False";
  if ((asks_eval || in.is_on("do_eval")) && !has_share && !in.has("eval_dataset"))
    refuse("llama-factory/evaluation-data", asks_eval ? "eval_strategy" : "do_eval",
           "an evaluation needs val_size or eval_dataset", "val_size: 0.1");
  if (has_share || in.has("eval_dataset"))
    file.evaluates = from_file(true, in.place(has_share ? "val_size" : "eval_dataset"));
  if (in.is_on("streaming")) {
    const auto steps = in.whole("max_steps");
    if (!steps || steps->value < 0)
      refuse("llama-factory/streaming", "streaming", "streaming needs max_steps",
             "max_steps: 1000");
    if (in.has("max_samples"))
      refuse("llama-factory/streaming", "max_samples", "max_samples does not work with streaming",
             "remove it");
    if (has_share && share->value < 1)
      refuse("llama-factory/streaming", "val_size", "with streaming val_size is a whole number",
             "val_size: 1000");
  }
  if (in.is_on("do_train") && !in.has("dataset"))
    refuse("llama-factory/no-dataset", "do_train", "no dataset is named to train on",
           "write dataset");
  const auto liger = in.truth("enable_liger_kernel");
  if (liger && liger->value && stage != "sft" && stage != "pt")
    refuse("llama-factory/liger-stage", "enable_liger_kernel",
           "Liger's fused loss is off in stage " + stage + ": all logits are held", "");
}

/// Switches that bring something of their own, and whether they are on.
void read_refused(Settings& in, TrainFile& file) {
  for (const char* key : {"use_unsloth", "use_kt", "use_llama_pro", "shift_attn",
                          "use_dft_loss", "use_asft_loss", "use_eaft_loss", "use_hyper_parallel", "train_from_scratch", "resize_vocab"})
    if (in.is_on(key))
      set_unmodelled(file, std::string("'") + key + "' of LLaMA-Factory is not modelled",
                     in.place(key), "leave it out");
  refuse_label_smoothing(in, file);
  if (const auto share = in.number("moe_aux_loss_coef"); share && share->value != 0)
    file.unmodelled_experts = unknown_at(share->place, "the loss that balances experts is not modelled", "leave it out");
  // On CUDA these are one kernel, for experts (v1/plugins/model_plugins/kernels/ops).
  if (const Node* kernels = in.node("use_v1_kernels"); kernels && kernels->truth() != false)
    file.unmodelled_experts = unknown_at(in.place("use_v1_kernels"), "'use_v1_kernels' of LLaMA-Factory on experts is not modelled", "leave it out");
  for (const char* key : {"mixture_of_depths", "add_tokens", "add_special_tokens"})
    if (in.has(key))
      set_unmodelled(file, std::string("'") + key + "' of LLaMA-Factory is not modelled",
                     in.place(key), "leave it out");
}

/// Names of earlier versions, as the classes of hparams had them.
void read_old_names(Settings& in) {
  struct Old {
    std::string_view old_key, key, since;
  };
  constexpr Old kRenamed[] = {
      {"dpo_loss", "pref_loss", "0.8.0"},
      {"dpo_beta", "pref_beta", "0.8.0"},
      {"dpo_ftx", "pref_ftx", "0.8.0"},
      {"orpo_beta", "pref_beta", "0.8.0"},
      {"vllm_dtype", "infer_dtype", "0.8.3"},
      {"image_dir", "media_dir", "0.9.2"},
      {"new_special_tokens", "add_special_tokens", "0.9.3"},
      {"use_cache", "use_kv_cache", "0.9.4"},
      {"evaluation_strategy", "eval_strategy", "transformers 4.46"},
      {"num_layer_trainable", "freeze_trainable_layers", "0.7"},
      {"name_module_trainable", "freeze_trainable_modules", "0.7"},
      {"cache_path", "tokenized_path", "0.7"},
      {"sft_packing", "packing", "0.6"},
      {"checkpoint_dir", "adapter_name_or_path", "0.5"},
      {"neft_alpha", "neftune_noise_alpha", "0.5"}};
  for (const Old& each : kRenamed) in.renamed(each.old_key, each.key, each.since);
  constexpr Old kRemoved[] = {
      {"lora_bf16_mode", "pure_bf16: true", "0.6"},
      {"ppo_logger", "report_to", "0.7"},
      {"split", "split in dataset_info.json", "0.8.3"},
      {"reserved_label_len", "", "0.8.3"},
      {"visual_inputs", "", "0.9.0"},
      {"image_resolution", "image_max_pixels", "0.9.2"},
      {"video_resolution", "video_max_pixels", "0.9.2"},
      {"train_mm_proj_only", "freeze_multi_modal_projector: false", "0.9.2"},
      {"fsdp_transformer_layer_cls_to_wrap", "fsdp_config", "transformers 5.0"},
      {"ray_run_name", "", "0.9.5"},
      {"ray_storage_path", "", "0.9.5"},
      {"ray_storage_filesystem", "", "0.9.5"},
      {"placement_strategy", "", "0.9.5"},
      {"resources_per_worker", "", "0.9.5"}};
  for (const Old& each : kRemoved) in.removed(each.old_key, each.since, each.key);
}

}  // namespace

TrainFile read_llama_factory(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::llama_factory;
  file.unpacks_stored = true;
  // Its loader is OmegaConf, but to_container leaves references as they are written.
  const Node& root = source.root;
  Settings in(&root, "", file.findings);
  read_old_names(in);

  if (const auto model = in.text("model_name_or_path")) {
    file.model = model->value;
    file.model_place = model->place;
  }
  if (in.has("export_dir"))
    file.other_purpose = "merges an adapter into a model";
  else if (in.is_on("do_predict") && !in.is_on("do_train"))
    file.other_purpose = "predicts";
  else if (in.has("infer_backend") && !in.is_on("do_train"))
    file.other_purpose = "answers questions";
  else if (in.has("task") && !in.is_on("do_train"))
    file.other_purpose = "evaluates";
  if (!file.other_purpose.empty()) return file;
  if (!in.is_on("do_train"))
    in.say("llama-factory/does-not-train", "do_train",
           "LLaMA-Factory trains only with do_train: true", "write do_train: true");

  RunDraft& d = file.draft;
  d.length = in.whole("cutoff_len");
  d.micro_batch = in.whole("per_device_train_batch_size");
  d.accumulation = in.whole("gradient_accumulation_steps");
  d.packs = in.truth("packing");
  if (const auto neat = in.truth("neat_packing"); neat && neat->value) {
    d.packs = neat;
    // flash-attn takes the positions of its single row; else the collator makes a mask.
    const auto attention = in.text("flash_attn");
    const bool is_flash = attention && attention->value == "fa2";
    d.borders = from_file(is_flash ? Borders::positions : Borders::mask, neat->place);
  }
  read_method(in, file);
  read_objective(in, file);
  // Packed rows of pre-training are a token shorter than the cutoff where `packing` is spelt out;
  // those of supervised training are filled up to it.
  if (d.packs && d.packs->value && d.packs->from == From::file && d.length && d.length->value > 1 &&
      d.objective && d.objective->value == Objective::pretrain)
    --d.length->value;
  read_precision(in, file);
  read_checkpointing(in, file);
  read_optimizer(in, file);
  read_parallel(in, source, file);
  read_refused(in, file);

  const auto rank = in.whole("lora_rank");
  const auto alpha = in.number("lora_alpha");
  const auto dropout = in.number("lora_dropout");
  const auto targets = in.words("lora_target");
  if (targets && targets->value == std::vector<std::string>{"all-linear"})
    in.say("invalid-value", "lora_target", "PEFT finds no module 'all-linear' in a list, which LLaMA-Factory makes of it",
           "lora_target: all");
  const auto extra = in.words("additional_target");
  const auto dora = in.truth("use_dora");
  if (!d.method || d.method->value == Method::lora || d.method->value == Method::qlora) {
    d.lora_rank = rank;
    d.lora_alpha = alpha;
    d.lora_dropout = dropout;
    d.lora_targets = targets;
    d.modules_to_save = extra;
    d.uses_dora = dora;
    // The last adapter that is named is trained on; those before it are merged into the base.
    if (const auto adapters = in.words("adapter_name_or_path"); adapters && !adapters->value.empty()) {
      const auto folder = in.text("adapter_folder");
      if (!in.is_on("create_new_adapter"))
        take_saved_adapter(adapters->value.back() + (folder ? "/" + folder->value : ""), in.place("adapter_name_or_path"),
                           source.neighbours, file);
      if (d.quantization && (in.is_on("create_new_adapter") || adapters->value.size() > 1))
        in.say("llama-factory/adapters-quantized", "adapter_name_or_path",
               in.is_on("create_new_adapter") ? "no new adapter can be made beside one on a quantized base"
                                              : "a quantized base takes a single adapter",
               "merge them into the plain model first");
    }
  } else if (rank || targets) {
    in.say(
        "lora-key-without-adapter", rank ? "lora_rank" : "lora_target",
        "settings of LoRA do nothing with finetuning_type: " + std::string(name(d.method->value)),
        "remove them, or set finetuning_type: lora");
  }
  if (const auto attention = in.text("flash_attn")) {
    const std::string& word = attention->value;
    // Its first form was a truth value.
    const auto truth = root.find("flash_attn")->truth();
    const std::string ours = word == "fa2" || truth == true         ? "fa2"
                             : word == "disabled" || truth == false ? "eager"
                                                                    : word;
    if (ours != "auto") d.attention = from_file(ours, attention->place);
  }
  // transformers' own switch puts on what LLaMA-Factory's does.
  for (const char* key : {"enable_liger_kernel", "use_liger_kernel"}) {
    const auto liger = in.truth(key);
    if (!liger || !liger->value) continue;
    d.liger_rope = d.liger_rms_norm = d.liger_glu = liger;
    const bool is_fused = !d.objective || d.objective->value == Objective::sft ||
                          d.objective->value == Objective::pretrain;
    if (is_fused) {
      d.loss = from_file(Loss::fused, liger->place);
      d.fused_loss = from_file(FusedLoss::liger, liger->place);
    }
  }
  if (const auto norms = in.truth("upcast_layernorm"); norms && norms->value)
    d.norm_weights = from_file(DType::fp32, norms->place);
  d.upcasts_head_output = in.truth("upcast_lmhead_output");
  d.compiles = in.truth("torch_compile");
  d.neftune_alpha = in.number("neftune_noise_alpha");
  const auto written_by = in.text("template");
  file.has_tower = written_by && has_tower(written_by->value);
  // Templates that know pictures put one into each batch that has none; without a template there is none.
  const auto begins = [&](const char* name) { return written_by && written_by->value.starts_with(name); };
  d.shows_picture = from_file(begins("qwen3_5") || begins("qwen3_6") || begins("qwen3_8") || begins("qwen2_vl") || begins("qwen3_vl"),
                              written_by ? written_by->place : Place{});
  for (const char* key : {"freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model", "image_max_pixels",
                          "video_max_pixels"})
    file.has_tower = file.has_tower || in.has(key);
  for (const char* key : {"freeze_vision_tower", "freeze_multi_modal_projector"})
    if (const auto frozen = in.truth(key); frozen && !frozen->value)
      d.trains_vision = from_file(true, frozen->place);

  file.epochs = value_of(in.number("num_train_epochs"));
  file.max_steps = value_of(in.whole("max_steps"));
  if (const Node* steps = in.node("save_steps")) file.save_steps = steps->whole();
  file.save_limit = value_of(in.whole("save_total_limit"));
  file.eval_batch = value_of(in.whole("per_device_eval_batch_size"));
  if (!file.eval_batch) file.eval_batch = 8;
  file.workers = value_of(in.whole("dataloader_num_workers"));
  if (auto data = in.words("dataset")) file.datasets = std::move(data->value);
  read_contradictions(in, file);
  in.know(kHarmless);
  in.know(kMoreLlamaFactoryKeys);
  in.report_unknown("unknown-key-refused",
                    "LLaMA-Factory stops at keys that it and transformers do not know");
  return file;
}

}  // namespace qwenplan
