#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "read/trainer/keys.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/saved_adapter.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// Keys that change nothing of a step's memory.
constexpr std::string_view kHarmless =
    "strict resume_from_checkpoint auto_resume_from_checkpoints base_model_config tokenizer_config "
    "base_model_ignore_patterns model_type tokenizer_type processor_type tokenizer_use_fast "
    "tokenizer_legacy tokenizer_use_mistral_common revision_of_model trust_remote_code "
    "chat_template "
    "chat_template_jinja default_system_message eot_tokens special_tokens tokens train_on_inputs "
    "added_tokens_overrides datasets test_datasets dataset_prepared_path dataset_num_proc "
    "dataset_processes dataset_keep_in_memory dataset_exact_deduplication dataset_shard_num "
    "dataset_shard_idx shuffle_merged_datasets skip_prepare_dataset push_dataset_to_hub "
    "hf_use_auth_token val_set_size output_dir hub_model_id hub_strategy learning_rate "
    "lr_scheduler "
    "lr_scheduler_kwargs warmup_steps warmup_ratio weight_decay adam_beta1 adam_beta2 adam_beta3 "
    "adam_epsilon adam_epsilon2 max_grad_norm cosine_min_lr_ratio cosine_constant_lr_ratio "
    "logging_steps eval_steps evals_per_epoch eval_strategy eval_table_size eval_max_new_tokens "
    "eval_sample_packing eval_sequence_len saves_per_epoch save_strategy save_only_model "
    "early_stopping_patience load_best_model_at_end metric_for_best_model greater_is_better seed "
    "tf32 "
    "group_by_length curriculum_sampling loss_watchdog_threshold loss_watchdog_patience "
    "wandb_project "
    "wandb_entity wandb_watch wandb_name wandb_run_id wandb_log_model wandb_mode use_wandb "
    "mlflow_tracking_uri use_mlflow mlflow_experiment_name use_comet comet_project_name "
    "use_tensorboard "
    "use_swanlab swanlab_project swanlab_workspace swanlab_experiment_name swanlab_description "
    "swanlab_mode swanlab_log_model swanlab_log_completions swanlab_completion_log_interval "
    "swanlab_completion_max_buffer local_rank ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers "
    "ddp_find_unused_parameters dataloader_pin_memory dataloader_prefetch_factor "
    "dataloader_drop_last remove_unused_columns low_cpu_mem_usage lora_fan_in_fan_out "
    "peft_use_rslora loraplus_lr_ratio loraplus_lr_embedding sample_packing_group_size "
    "sample_packing_bin_size sample_packing_sequentially excess_length_strategy min_sample_len "
    "max_prompt_len rl_beta orpo_alpha rpo_alpha simpo_gamma cpo_alpha kto_desirable_weight "
    "kto_undesirable_weight dpo_use_weighting accelerator_config device device_map max_memory "
    "gpu_memory_limit world_size gc_steps profiler_steps is_falcon_derived_model "
    "is_llama_derived_model is_mistral_derived_model is_qwen_derived_model deepcompile "
    "flex_attn_compile_kwargs heads_k_stride ring_attn_func trl vllm num_labels "
    "center_rewards_coefficient torch_compile_backend torch_compile_mode fsdp_version "
    "fsdp_final_state_dict_type dp_shard_size dp_replicate_size liger_layer_norm "
    "optim_args optim_target_modules include_tokens_per_second "
    "pretrain_multipack_attn pretrain_multipack_buffer_size streaming_multipack_buffer_size "
    "gradient_checkpointing_kwargs model_config overrides_of_model_config model_kwargs "
    "axolotl_config_path is_preprocess mora overrides_of_model_kwargs total_num_tokens "
    "total_supervised_tokens type_of_model image_size image_resize_algorithm embeddings_skip_upcast "
    "reinit_weights resize_token_embeddings_to_32x";  // at most 31 rows, where the tokenizer has more than the embedding

/// The plugins that come with it; each has its own switches, which are read as keys.
constexpr std::string_view kPlugins[] = {
    "CutCrossEntropyPlugin", "DenseMixerPlugin", "DiffusionPlugin", "ExpertParallelPlugin", "GrokfastPlugin",
    "HatcheryPlugin", "KDPlugin", "KernelsPlugin", "LLMCompressorPlugin", "LMEvalPlugin", "LigerPlugin",
    "MoraPlugin", "NemoGymPlugin", "SpectrumPlugin", "SwanLabPlugin"};

/// What changes a model or a step in its own way, and what that is where the key does not tell.
constexpr std::pair<std::string_view, std::string_view> kRefused[] = {
    {"unfrozen_parameters", "training the weights that a pattern names, and no others"},
    {"qat", "fake quantization of weights and activations"},
    {"llmcompressor", "llm-compressor's changes of the weights while they are trained"},
    {"diffusion", "another objective, which masks tokens and predicts them"},
    {"ebft", "another objective, which samples answers"},
    {"quantize_moe_experts", "experts in 4 or 8 bits, which are unpacked in each forward"},
    {"fused_attn_kernel", "one kernel for norm and rotary embedding of query and key"},
    {"use_onebitllms", "BitNet's linear layers in place of the model's own"},
    {"use_kernels", "the Hub's kernels in the layers"},
    {"gptq", ""}, {"relora", ""}, {"relora_steps", ""}, {"layer_offloading", ""},
    {"selective_checkpointing", ""}, {"tiled_mlp", ""}, {"use_pose", ""}, {"lisa_n_layers", ""},
    {"use_scattermoe", ""}, {"use_sonicmoe", ""}, {"flash_attn_fuse_mlp", ""},
    {"flash_attn_fuse_qkv", ""}, {"flash_attn_rms_norm", ""}, {"bnb_config_kwargs", ""},
    {"model_quantization_config", ""}, {"peft_layers_to_transform", ""}, {"lora_rank_pattern", ""},
    {"nvfp4_merge_aware", ""}, {"use_mora", ""}, {"peft_layer_replication", ""},
    {"ple_cpu_offload", ""}, {"fp32_norms", ""}, {"large_head_attention", ""}, {"kd_trainer", ""},
    {"trainer_cls", ""}, {"spectrum_top_fraction", ""}, {"shrink_embeddings", ""},
    {"quantization", ""}, {"use_eaft", ""}, {"use_dft", ""}, {"enable_dft_loss", ""}, {"gkd_trainer", "a teacher"}, {"liger_swiglu", ""}, {"liger_cross_entropy", ""},
    {"hatchery", ""}, {"nemo_gym_enabled", ""}, {"use_dsv4_kernels", ""},
    {"use_glm_dsa_kernels", ""}, {"nonexpert_quantization", ""}, {"gemma4_nf4_nonexpert", ""},
    {"expert_backend", ""}, {"dense_mixer", ""}, {"grokfast_alpha", ""}, {"scaling_softmax", ""}};

void read_method(Settings& in, const Source& source, TrainFile& file) {
  RunDraft& d = file.draft;
  const auto adapter = in.text("adapter");
  const bool is_4bit = in.is_on("load_in_4bit");
  const bool is_8bit = in.is_on("load_in_8bit");
  const auto rank = in.whole("lora_r");
  const auto alpha = in.number("lora_alpha");
  const auto dropout = in.number("lora_dropout");
  const auto targets = in.words("lora_target_modules");
  const auto linear = in.truth("lora_target_linear");
  const auto saved = in.words("lora_modules_to_save");
  const auto experts = in.words("lora_target_parameters");
  const auto dora = in.truth("peft_use_dora");
  const auto cast = in.truth("peft_autocast_adapter_dtype");
  const char* const load = is_4bit ? "load_in_4bit" : "load_in_8bit";

  if (!adapter || adapter->value.empty()) {
    if (is_4bit || is_8bit)
      in.say("axolotl/quantized-full", load,
             "axolotl refuses a quantized model without an adapter", "write adapter: qlora");
    if (rank || targets || linear)
      in.say("lora-key-without-adapter", rank      ? "lora_r"
             : targets ? "lora_target_modules"
                       : "lora_target_linear",
             "without 'adapter' axolotl trains the whole model", "write adapter: lora");
    return;
  }
  if (adapter->value == "qlora" && !is_4bit)
    in.say("axolotl/qlora-without-4bit", "adapter",
           "axolotl's qlora needs load_in_4bit", "write load_in_4bit: true");
  if (adapter->value != "lora" && adapter->value != "qlora") {
    set_unmodelled(file, "the adapter '" + adapter->value.substr(0, 40) + "' is not modelled",
                   adapter->place, "adapter: lora");
    return;
  }
  Settings peft = in.inside("peft");
  for (const char* key : {"backend", "weight_dtype"})
    if (peft.has(key))
      set_unmodelled(file, "a base that torchao quantizes is not modelled", peft.place(key),
                     "load_in_4bit: true");
  const bool is_quantized = is_4bit || is_8bit;
  d.method = from_file(is_quantized ? Method::qlora : Method::lora, adapter->place);
  if (is_quantized) {
    d.quantization = from_file(is_4bit ? Quantization::nf4 : Quantization::int8, in.place(load));
    if (is_8bit) d.double_quantizes = by_trainer(false);
  }
  const auto saved_adapter = in.text("lora_model_dir");
  const bool trains_on = saved_adapter && !saved_adapter->value.empty();
  if (!rank && !trains_on)
    in.say("axolotl/no-rank", "adapter", "axolotl has no default of lora_r",
           "write lora_r: 16");
  if (linear && linear->value) {
    // What is listed joins all linear layers; a pattern would be one name more, and no layer's.
    std::vector<std::string> all = {"all-linear"};
    if (targets)
      for (const std::string& each : targets->value)
        if (each == "lm_head" || each == "embed_tokens") all.push_back(each);
    d.lora_targets = from_file(std::move(all), linear->place);
    d.lists_every_linear = from_file(true, linear->place);
  } else if (targets) {
    d.lora_targets = targets;
    if (const Node* listed = in.node("lora_target_modules"); !listed->is_list() && listed->scalar != "all-linear")
      file.target_pattern = from_file(listed->scalar, listed->place);
  } else if (!trains_on) {
    in.say("axolotl/no-targets", "adapter",
           "axolotl has no default of the layers that get an adapter",
           "write lora_target_linear: true");
  }
  d.lora_rank = rank;
  d.lora_alpha = alpha;
  d.lora_dropout = dropout;
  d.modules_to_save = saved;
  d.uses_dora = dora;
  d.lora_target_parameters = experts;
  if (cast && !cast->value) d.adapter = from_file(DType::bf16, cast->place);
  if (trains_on) take_saved_adapter(saved_adapter->value, in.place("lora_model_dir"), source.neighbours, file);
}

/// As utils/config/__init__.py and core/builders/base.py decide it: bf16 or bfloat16 is autocast in
/// bf16, float16 alone loads fp16 without autocast, and fp16 beside bf16 is dropped.
void read_precision(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  in.know("float32");
  for (const char* key : {"fp16", "bf16", "float16", "bfloat16"}) {
    const Node* node = in.node(key);
    const bool may_be_auto = std::string_view(key) == "bf16";
    if (node && !node->is_null() && !node->truth() && !(may_be_auto && node->text() == "auto"))
      in.say("invalid-value", key,
             std::string(key) + ": expected " + (may_be_auto ? "auto, true or false" : "true or false") + ", found " +
                 node->shown(),
             may_be_auto ? "auto" : "true");
  }
  const auto is_on = [&](const char* key) {
    const Node* node = in.node(key);
    return node && node->truth() == true;
  };
  const auto take = [&](const char* key, Precision precision) { d.precision = from_file(precision, in.place(key)); };
  const Node* bf16 = in.node("bf16");
  const bool is_by_card = bf16 && bf16->text() == "auto";
  if (is_on("bf16")) take("bf16", Precision::bf16_mixed);
  else if (is_on("bfloat16")) take("bfloat16", Precision::bf16_mixed);
  else if (is_on("fp16")) take("fp16", Precision::fp16_mixed);
  else if (!is_by_card && is_on("float16")) take("float16", Precision::fp16_true);
  else if (bf16 && bf16->truth() == false) take("bf16", Precision::fp32);
  if (is_on("fp16") && is_on("bf16"))
    in.say("axolotl/two-precisions", "fp16", "fp16 is dropped beside bf16", "keep bf16: auto");
  else if (is_on("fp16") && is_on("bfloat16"))
    in.say("transformers/two-precisions", "fp16", "bf16 and fp16 cannot both be on", "keep bf16: auto");
  d.uses_fp8 = in.truth("fp8");
}

void read_batch(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  d.micro_batch = in.whole("micro_batch_size");
  d.accumulation = in.whole("gradient_accumulation_steps");
  const auto batch = in.whole("batch_size");
  if (batch && !d.accumulation && d.micro_batch && d.micro_batch->value > 0)
    d.accumulation = from_file(batch->value / d.micro_batch->value, batch->place);
  else if (batch && !d.micro_batch && d.accumulation && d.accumulation->value > 0)
    d.micro_batch = from_file(batch->value / d.accumulation->value, batch->place);
  if (batch && !d.micro_batch && !d.accumulation)
    in.say("axolotl/batch-not-given", "batch_size",
           "batch_size alone does not say what a GPU takes at once",
           "write micro_batch_size and gradient_accumulation_steps");
  in.conflict("axolotl/two-batches", "batch_size", "gradient_accumulation_steps",
              "axolotl refuses batch_size with gradient_accumulation_steps", "remove batch_size");
}

void read_checkpointing(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  bool offloads = false;
  if (const Node* node = in.node("gradient_checkpointing")) {
    const auto truth = node->truth();
    offloads = !truth && node->text().value_or("").starts_with("offload");
    d.checkpoints = from_file(offloads || truth == true, node->place);
    if (offloads) d.offloads_activations = from_file(true, node->place);
    if (!offloads && !truth && !node->is_null())
      in.say("invalid-value", "gradient_checkpointing",
             "gradient_checkpointing: expected true, false, offload or offload_disk, found " + node->shown(), "true");
  }
  if (const Node* node = in.node("activation_offloading"))
    if (node->truth() != false) {
      d.offloads_activations = from_file(true, node->place);
      if (!node->truth())
        set_unmodelled(file, "activation_offloading: " + node->text().value_or("") + " is not modelled",
                       in.place("activation_offloading"), "modelled: true");
    }
  Settings inside = in.inside("gradient_checkpointing_kwargs");
  if (d.offloads_activations && d.checkpoints && d.checkpoints->value) {
    // Adapters' activations are offloaded instead of computed again; else wrappers that are not
    // reentrant take the place of transformers' (_configure_gradient_checkpointing).
    if (in.has("adapter")) d.checkpoints->value = false;
    d.checkpoints_reentrant = by_trainer(false);
    if (!d.checkpoints->value) d.checkpoints_reentrant.reset();
  } else if (d.checkpoints && d.checkpoints->value) {
    d.checkpoints_reentrant = inside.truth("use_reentrant");
    if (!d.checkpoints_reentrant)
      d.checkpoints_reentrant = by_trainer(!in.has("rl"));
  }
}

/// The kernel by its old switches, of which the first that is on counts, or by attn_implementation, which came with 0.12 and
/// stands alone since 0.17, by names of axolotl's own or the Hub's.
void read_attention(Settings& in, Version version, TrainFile& file) {
  RunDraft& d = file.draft;
  const bool is_strict = version >= Version{0, 17, 0};
  constexpr std::pair<const char*, const char*> kOld[] = {
      {"xformers_attention", "xformers"}, {"sage_attention", "sage"}, {"flex_attention", "flex"},
      {"flash_attention", "fa2"},         {"sdp_attention", "sdpa"},  {"eager_attention", "eager"},
      {"s2_attention", "s2"}};
  for (const auto& [key, ours] : kOld)
    if (in.is_on(key) && !d.attention) d.attention = from_file(std::string(ours), in.place(key));
  const auto given = in.text("attn_implementation");
  if (!given) return;
  if (version < Version{0, 12, 0}) {
    in.say("unknown-key", "attn_implementation", "attn_implementation came with axolotl 0.12, and is ignored before it",
           "flash_attention: true");
    return;
  }
  if (d.attention && is_strict)
    in.say("axolotl/two-attentions", "attn_implementation",
           "axolotl refuses attn_implementation beside the old switches", "keep it alone");
  constexpr std::string_view kNames[] = {"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4",
                                         "flash_attention_torch", "flex_attention", "xformers", "sage", "fp8"};
  const bool is_known = std::find(std::begin(kNames), std::end(kNames), given->value) != std::end(kNames);
  if (is_strict && !is_known && given->value.find('/') == std::string::npos)
    in.say("invalid-value", "attn_implementation",
           "attn_implementation: " + in.node("attn_implementation")->shown() + " is no name that axolotl takes",
           given->value.starts_with("flex") ? "flex_attention" : given->value.starts_with("sdp") ? "sdpa" : "flash_attention_2");
  d.attention = given->value == "flash_attention_2" ? from_file(std::string("fa2"), given->place) : given;
}

void read_loss(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  const Node* plugins = in.node("plugins");
  bool has_liger = false;
  bool has_cut = false;
  if (plugins)
    for (const Node& each : plugins->items) {
      has_liger = has_liger || each.scalar.find("LigerPlugin") != std::string::npos;
      has_cut = has_cut || each.scalar.find("CutCrossEntropyPlugin") != std::string::npos;
    }
  const auto liger = [&](const char* key, RunDraft::Maybe<bool>& setting) {
    const auto given = in.truth(key);
    if (!given || !given->value) return;
    if (has_liger) {
      setting = given;
      return;
    }
    in.say("axolotl/liger-without-plugin", key,
           "without its plugin axolotl ignores this key",
           "add axolotl.integrations.liger.LigerPlugin to plugins");
  };
  liger("liger_rope", d.liger_rope);
  liger("liger_rms_norm", d.liger_rms_norm);
  liger("liger_glu_activation", d.liger_glu);
  liger("liger_rms_norm_gated", d.fuses_gated_norm);
  RunDraft::Maybe<bool> fused;
  liger("liger_fused_linear_cross_entropy", fused);
  const bool is_liger_idle = has_liger && !d.liger_rope && !d.liger_rms_norm && !d.liger_glu &&
                             !d.fuses_gated_norm && !fused && !in.is_on("liger_layer_norm") &&
                             !in.is_on("liger_cross_entropy") && !in.is_on("liger_swiglu");
  if (is_liger_idle)
    in.say("axolotl/plugin-without-setting", "plugins",
           "Liger's plugin is listed and none of its kernels is on",
           "liger_fused_linear_cross_entropy: true");
  const auto cut = in.truth("cut_cross_entropy");
  if (fused) {
    d.loss = from_file(Loss::fused, fused->place);
    d.fused_loss = from_file(FusedLoss::liger, fused->place);
  } else if (has_cut && (!cut || cut->value)) {
    d.loss = from_file(Loss::fused, plugins->place);
    d.fused_loss = from_file(FusedLoss::cut_cross_entropy, plugins->place);
  } else if (in.is_on("flash_attn_cross_entropy")) {
    d.loss = from_file(Loss::fused, in.place("flash_attn_cross_entropy"));
    d.fused_loss = from_file(FusedLoss::flash_attn, in.place("flash_attn_cross_entropy"));
  } else if (in.is_on("chunked_cross_entropy")) {
    d.loss = from_file(Loss::chunked, in.place("chunked_cross_entropy"));
    d.loss_chunks = in.whole("chunked_cross_entropy_num_chunks");
  }
  d.lora_mlp_kernel = in.truth("lora_mlp_kernel");
  d.lora_qkv_kernel = in.truth("lora_qkv_kernel");
  d.lora_o_kernel = in.truth("lora_o_kernel");
  const auto embedding = in.truth("lora_embedding_kernel");
  const bool is_one_given = d.lora_mlp_kernel || d.lora_qkv_kernel || d.lora_o_kernel || embedding;
  // Left out, all four are on, but not for a model's own code (check_auto_enable_lora_kernels).
  const bool are_off = is_one_given || in.is_on("trust_remote_code");
  if (are_off)
    for (auto* const kernel : {&d.lora_mlp_kernel, &d.lora_qkv_kernel, &d.lora_o_kernel})
      if (!*kernel) *kernel = by_trainer(false);
  const bool fuses_embedding = embedding ? embedding->value : !are_off && !in.is_on("load_in_8bit") && !in.has("rl");
  if (fuses_embedding && d.lora_targets)
    for (const std::string& each : d.lora_targets->value)
      if (each == "embed_tokens")
        set_unmodelled(file, "axolotl's fused adapter on an embedding is not modelled", in.place("lora_target_modules"),
                       "lora_embedding_kernel: false");
}

/// A plugin of somebody else may change the model, the loss and the step, and brings keys of its own.
bool has_unknown_plugin(Settings& in, TrainFile& file) {
  const Node* plugins = in.node("plugins");
  if (!plugins) return false;
  for (const Node& each : plugins->items) {
    const std::string_view name = std::string_view(each.scalar).substr(each.scalar.find_last_of('.') + 1);
    if (std::find(std::begin(kPlugins), std::end(kPlugins), name) != std::end(kPlugins)) continue;
    set_unmodelled(file, "the plugin '" + std::string(name.substr(0, 60)) + "' is not modelled",
                   each.place, "leave it out");
    return true;
  }
  return false;
}

void read_objective(Settings& in, TrainFile& file) {
  RunDraft& d = file.draft;
  if (const auto rl = in.text("rl")) {
    if (const auto known = draft::by_name<Objective>(rl->value, 13))
      d.objective = from_file(*known, rl->place);
    else
      set_unmodelled(file, "the objective '" + rl->value + "' is not modelled", in.place("rl"),
                     "leave rl out for supervised training");
  }
  if (in.is_on("reward_model")) d.objective = from_file(Objective::reward, in.place("reward_model"));
  if (in.is_on("process_reward_model"))
    set_unmodelled(file, "a reward for each step of an answer is not modelled", in.place("process_reward_model"),
                   "modelled: reward_model");
  if (in.has("pretraining_dataset") && !d.objective)
    d.objective = from_file(Objective::pretrain, in.place("pretraining_dataset"));
  d.precomputes_reference = in.truth("precompute_ref_log_probs");
  if (in.is_on("rl_adapter_ref_model")) d.has_reference = from_file(true, in.place("rl_adapter_ref_model"));
  if (const auto alpha = in.number("cpo_alpha"))
    d.adds_likelihood = from_file(alpha->value != 0, alpha->place);
  for (const auto& [key, what] : {std::pair{"dpo_use_weighting", "weighting pairs by the policy's likelihood"},
                                  std::pair{"dpo_use_liger_kernel", "Liger's fused loss of preferences"}})
    if (in.is_on(key)) set_unmodelled(file, std::string(what) + " is not modelled", in.place(key), "leave it out");
  if (const auto losses = in.words("dpo_loss_type")) {
    const std::vector<std::string>& all = losses->value;
    if (std::find(all.begin(), all.end(), "sft") != all.end())
      set_unmodelled(file, "a supervised loss beside the comparison is not modelled", in.place("dpo_loss_type"),
                     "leave sft out");
  }
}

void read_parallel(Settings& in, const Source& source, TrainFile& file) {
  RunDraft& d = file.draft;
  const Node* deepspeed = in.node("deepspeed");
  if (deepspeed)
    put_launch(deepspeed_setting({"deepspeed", in.place("deepspeed"), *deepspeed},
                                 source.neighbours),
               file);
  const Node* fsdp = in.node("fsdp");
  const Node* config = in.node("fsdp_config");
  if (const Node* any = fsdp ? fsdp : config;
      any && !(any->is_list() && any->items.empty()) && !(any->is_map() && any->entries.empty())) {
    put_launch(fsdp_settings(fsdp, config), file);
    // The version stands in either place; without one it is the first.
    const auto version = in.whole("fsdp_version");
    d.fsdp = from_file(std::to_string(version     ? version->value
                                      : d.fsdp && d.fsdp->value == "2" ? 2
                                                                       : 1),
                       any->place);
    if (deepspeed)
      in.say("axolotl/deepspeed-and-fsdp", "deepspeed",
             "axolotl refuses deepspeed and fsdp together", "keep one of them");
  }
  if (in.is_on("use_ray"))
    if (const auto workers = in.whole("ray_num_workers"); workers && workers->value > 1) d.gpus = workers;
  in.renamed("sequence_parallel_degree", "context_parallel_size", "0.12");
  d.tensor_parallel = in.whole("tensor_parallel_size");
  d.context_parallel = in.whole("context_parallel_size");
  d.expert_parallel = in.whole("expert_parallel_size");
}

/// What utils/schemas/validation.py stops at, and old names.
void read_contradictions(Settings& in, TrainFile& file) {
  const RunDraft& d = file.draft;
  for (const char* key : {"unsloth_cross_entropy_loss", "unsloth_lora_mlp", "unsloth_lora_qkv",
                          "unsloth_lora_o", "unsloth_rms_norm", "unsloth_rope"})
    if (in.is_set(key))
      in.say("axolotl/removed-key", key, "'" + std::string(key) + "' has been removed",
             "lora_mlp_kernel, lora_qkv_kernel, lora_o_kernel");
  for (const auto& [key, instead] :
       {std::pair{"max_packed_sequence_len", "sequence_len"},
        std::pair{"s2_attention", "attn_implementation"},
        std::pair{"rope_scaling", "model_config with rope_scaling in it"},
        std::pair{"flash_attn_rms_norm", "liger_rms_norm"}})
    if (in.has(key))
      in.say("axolotl/removed-key", key, "'" + std::string(key) + "' has been removed", instead);
  in.renamed("noisy_embedding_alpha", "neftune_noise_alpha", "0.5");
  in.renamed("evaluation_strategy", "eval_strategy", "0.6");
  in.renamed("dpo_beta", "rl_beta", "0.4");
  in.renamed("eval_table_max_new_tokens", "eval_max_new_tokens", "0.5");
  in.renamed("relora_warmup_steps", "jagged_restart_warmup_steps", "0.12");
  in.renamed("relora_anneal_steps", "jagged_restart_anneal_steps", "0.12");
  in.removed("gptq_groupsize", "0.4", "");
  in.removed("gptq_model_v1", "0.4", "");
  in.removed("eta_min", "0.4", "cosine_min_lr_ratio");
  in.removed("adam_eps", "0.4", "adam_epsilon");
  in.removed("torch_dtype", "0.4", "bf16: true");
  in.removed("debug", "0.5", "");
  in.conflict("axolotl/two-warmups", "warmup_steps", "warmup_ratio",
              "axolotl refuses warmup_steps with warmup_ratio", "keep one of them");
  in.conflict("axolotl/two-test-sets", "val_set_size", "test_datasets",
              "axolotl refuses val_set_size with test_datasets", "keep one of them");
  in.conflict("axolotl/save-strategy", "save_steps", "saves_per_epoch",
              "axolotl refuses save_steps with saves_per_epoch", "keep one of them");
  in.conflict("axolotl/eval-strategy", "eval_steps", "evals_per_epoch",
              "axolotl refuses eval_steps with evals_per_epoch", "keep one of them");
  const auto strategy = [&](const char* key) {
    const auto text = in.text(key);
    return text ? text->value : std::string("steps");
  };
  if (in.is_set("save_steps") && strategy("save_strategy") != "steps")
    in.say("axolotl/save-strategy", "save_strategy", "save_steps wants save_strategy: steps",
           "save_strategy: steps");
  if (in.is_set("eval_steps") && strategy("eval_strategy") != "steps")
    in.say("axolotl/eval-strategy", "eval_strategy", "eval_steps wants eval_strategy: steps",
           "eval_strategy: steps");
  const Node* share = in.node("val_set_size");
  if (share && share->number() == 0.0 && !in.is_set("test_datasets") &&
      (in.is_set("eval_steps") || (in.has("eval_strategy") && strategy("eval_strategy") != "no")))
    in.say("axolotl/eval-strategy", in.is_set("eval_steps") ? "eval_steps" : "eval_strategy",
           "an evaluation is asked for and val_set_size is 0", "val_set_size: 0.05");
  // NeMo Gym's plugin loads data of its own.
  if (!in.is_set("datasets") && !in.is_set("pretraining_dataset") && !in.is_on("nemo_gym_enabled"))
    in.say("axolotl/no-data", "base_model", "neither datasets nor pretraining_dataset is set",
           "write datasets");
  if (in.is_set("test_datasets") || in.is_set("val_set_size"))
    file.evaluates =
        from_file(true, in.place(in.is_set("val_set_size") ? "val_set_size" : "test_datasets"));

  const bool is_8bit = in.is_on("load_in_8bit");
  in.conflict("axolotl/two-quantizations", "load_in_8bit", "load_in_4bit",
              "4 and 8 bits cannot both be used", "load_in_8bit: false");
  for (const char* key : {"load_in_8bit", "load_in_4bit"})
    in.conflict("axolotl/two-quantizations", "gptq", key,
                "a GPTQ checkpoint is not quantized again", std::string(key) + ": false");
  if (const auto adapter = in.text("adapter"); adapter && adapter->value == "qlora")
    for (const char* key : {"load_in_8bit", "gptq"})
      if (in.is_set(key))
        in.say("axolotl/qlora-and-8bit", key,
               "axolotl's qlora refuses " + std::string(key), "adapter: lora");
  for (const char* kernel : {"lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"}) {
    if (!in.is_on(kernel)) continue;
    if (is_8bit || in.is_on("trust_remote_code"))
      in.say("axolotl/lora-kernels", kernel,
             "'" + std::string(kernel) + "' does not work with " +
                 (is_8bit ? "an 8-bit base" : "trust_remote_code"),
             std::string(kernel) + ": false");
    break;
  }
  // With adapters the offloading takes the place of the recomputation, but asks for its switch.
  if (in.is_set("activation_offloading") && !in.is_set("gradient_checkpointing"))
    in.say("axolotl/offload-without-checkpointing", "activation_offloading",
           "activation_offloading needs gradient_checkpointing", "gradient_checkpointing: true");
  const bool is_packed = in.is_on("sample_packing");
  if (is_packed && !d.attention)
    in.say("axolotl/packing-without-attention", "sample_packing",
           "packed samples see each other without an attention that knows their borders",
           "attn_implementation: flash_attention_2");
  if (!is_packed && in.is_on("pad_to_sequence_len") && !in.has("rl") && !in.is_on("reward_model"))
    in.say("axolotl/padding-without-packing", "pad_to_sequence_len",
           "every sample is padded to sequence_len, however short it is", "sample_packing: true");
  if (is_packed)
    in.conflict("axolotl/two-packings", "batch_flattening", "sample_packing",
                "axolotl refuses batch_flattening with sample_packing", "keep one of them");
  if (const auto rl = in.text("rl"); rl && rl->value == "kto")
    if (const Node* columns = in.node("remove_unused_columns");
        !columns || columns->truth() != false)
      in.say("axolotl/kto-columns", "rl", "KTO needs remove_unused_columns: false",
             "remove_unused_columns: false");
  int losses = 0;
  for (const char* key : {"cut_cross_entropy", "chunked_cross_entropy", "liger_cross_entropy",
                          "liger_fused_linear_cross_entropy"})
    if (in.is_on(key) && ++losses == 2)
      in.say("axolotl/two-losses", key, "only one way to compute the cross-entropy can be on",
             "keep one of them");
  if (d.fsdp && d.optimizer && d.optimizer->value.find("8bit") != std::string::npos) {
    const bool is_second = d.fsdp->value == "2";
    const bool offloads = d.offload && d.offload->value.find("params") != std::string::npos;
    if (is_second ? d.optimizer->value == "adamw-8bit" : offloads)
      in.say("axolotl/fsdp-8bit-optimizer", "optimizer",
             std::string("an 8-bit optimizer of bitsandbytes does not work with FSDP") +
                 (is_second ? "2" : " that offloads parameters"),
             is_second ? "optimizer: adamw_torch_8bit" : "optimizer: adamw_torch_fused");
  }
}

}  // namespace

TrainFile read_axolotl(const Source& source) {
  TrainFile file;
  file.trainer = Trainer::axolotl;
  Settings in(&source.root, "", file.findings);
  if (const auto model = in.text("base_model")) {
    file.model = model->value;
    file.model_place = model->place;
  }
  RunDraft& d = file.draft;
  d.length = in.whole("sequence_len");
  d.packs = in.truth("sample_packing");
  if (const Node* flat = in.node("batch_flattening"); flat && flat->truth() == true)
    d.is_padding_free = from_file(true, flat->place);
  in.know("pad_to_sequence_len");
  read_method(in, source, file);
  read_precision(in, file);
  read_batch(in, file);
  read_checkpointing(in, file);
  read_attention(in, version_of(source.version).value_or(latest_version(Trainer::axolotl)), file);
  read_loss(in, file);
  read_objective(in, file);
  read_parallel(in, source, file);
  if (const auto optimizer = in.text("optimizer"))
    d.optimizer = from_file(optimizer_name(optimizer->value), optimizer->place);
  if (const Node* compile = in.node("torch_compile"); compile && compile->truth() != false)
    d.compiles = from_file(true, compile->place);
  d.neftune_alpha = in.number("neftune_noise_alpha");
  if (d.packs && d.packs->value && in.has("rl"))
    in.say("axolotl/packing-with-rl", "sample_packing",
           "axolotl refuses sample_packing with rl", "write sample_packing: false");
  if (const auto frozen = in.truth("freeze_mm_modules"); frozen && frozen->value)
    d.trains_vision = from_file(false, frozen->place);
  // With a processor the collator is the one that takes images along (core/builders/causal.py).
  if (in.is_set("processor_type") && !in.is_on("sample_packing"))
    d.trains_on_images = from_file(true, in.place("processor_type"));
  if (in.is_set("lora_exclude_modules"))
    set_unmodelled(file, "leaving modules out of those with adapters is not modelled", in.place("lora_exclude_modules"),
                   "name those that get one in lora_target_modules");
  for (const auto& [key, does] : kRefused)
    if (const Node* node = in.node(key); node && node->truth() != false)
      set_unmodelled(file,
                     "'" + std::string(key) + "' of axolotl" + (does.empty() ? "" : " (" + std::string(does) + ")") + " is not modelled",
                     in.place(key), "leave it out");
  // transformers 5 takes grouped products for experts on its own.
  if (const auto experts = in.text("experts_implementation"); experts && experts->value != "grouped_mm")
    set_unmodelled(file, "experts_implementation: " + experts->value + " (experts by other products) is not modelled",
                   experts->place, "modelled: grouped_mm");
  if (Settings inside = in.inside("model_config"); inside.is_on("output_router_logits"))
    set_unmodelled(file, "the loss that balances experts is not modelled", inside.place("output_router_logits"),
                   "leave output_router_logits out");
  const auto written_by = in.text("chat_template");
  file.has_tower = in.has("processor_type") || in.has("freeze_mm_modules") || in.has("image_size") ||
                   (written_by && written_by->value.size() < 40 && has_tower(written_by->value));

  file.epochs = value_of(in.number("num_epochs"));
  file.max_steps = value_of(in.whole("max_steps"));
  if (const Node* steps = in.node("save_steps")) file.save_steps = steps->whole();
  file.save_limit = value_of(in.whole("save_total_limit"));
  file.eval_batch = value_of(in.whole("eval_batch_size"));
  file.workers = value_of(in.whole("dataloader_num_workers"));
  for (const char* key : {"datasets", "pretraining_dataset"})
    if (const Node* data = in.node(key))
      for (const Node& each : data->items)
        if (const Node* path = each.find("path"); path && path->text())
          file.datasets.push_back(*path->text());
  read_contradictions(in, file);
  in.know(kHarmless);
  in.know(kMoreAxolotlKeys);
  if (!has_unknown_plugin(in, file))
    in.report_unknown("unknown-key", "axolotl ignores keys that it does not know");
  return file;
}

}  // namespace qwenplan
