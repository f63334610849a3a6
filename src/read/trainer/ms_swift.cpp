#include <algorithm>
#include <utility>

#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/keys.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/shell_text.hpp"

namespace qwenplan {
namespace {

// The arguments of ms-swift 4.6 for training, and names of versions 2 and 3.
constexpr std::string_view kKeys =
    "ENV acc_strategy adalora_beta1 adalora_beta2 adalora_deltaT adalora_init_r "
    "adalora_orth_reg_weight adalora_target_r adalora_tfinal adalora_tinit adapter_act "
    "adapter_length adapters add_non_thinking_prefix add_version advantage_estimator "
    "advantage_reweight agent_template aligner_lr api_key async_generate attn_impl "
    "base_url batch_size beta bnb_4bit_compute_dtype bnb_4bit_quant_storage "
    "bnb_4bit_quant_type bnb_4bit_use_double_quant boft_block_num boft_block_size "
    "boft_dropout boft_n_butterfly_factor cache_files cached_dataset cached_val_dataset "
    "callbacks center_rewards_coefficient check_dataset_strategy check_model "
    "chord_enable_phi_function chord_mu_decay_steps chord_mu_peak chord_mu_valley "
    "chord_mu_warmup_steps chord_sft_dataset chord_sft_per_device_train_batch_size "
    "cliprange cliprange_value columns commit_message completion_length_limit_scope "
    "context_manager cosine_max_len cosine_max_len_value_correct "
    "cosine_max_len_value_wrong cosine_min_len_value_correct cosine_min_len_value_wrong "
    "cpo_alpha create_checkpoint_symlink custom_dataset_info custom_register_path "
    "custom_train_dataset_path data_range dataset dataset_num_proc dataset_shuffle "
    "decision_drop_instructions decision_shuffle_fields decision_state_as_text "
    "decision_subsample_options deepspeed_autotp_size delta desirable_weight device_groups "
    "device_map disable_auto_column_mapping disable_ignore_empty_think discopop_tau "
    "download_mode ds3_gather_for_generation dtype dynamic_sample early_stop_interval "
    "easy_query_threshold enable_channel_loss enable_dft_loss enable_flattened_weight_sync "
    "enable_npu_model_patch enable_thinking engine_kwargs epsilon epsilon_high "
    "eval_backend eval_batch_size eval_dataset eval_dataset_args eval_generation_config "
    "eval_human eval_limit eval_metric eval_num_proc eval_output_dir eval_url "
    "eval_use_evalscope exist_ok experts_impl external_plugins extra_eval_args "
    "fipo_clip_high_only fipo_clip_range fipo_decay_rate fipo_safety_threshold "
    "fourier_n_frequency fourier_scaling freeze_aligner freeze_llm freeze_parameters "
    "freeze_parameters_ratio freeze_parameters_regex freeze_vit galore_cos_threshold "
    "galore_gamma_proj galore_optim_per_parameter galore_proj_bits galore_proj_group_size "
    "galore_proj_quant galore_proj_type galore_quantization galore_queue_size galore_rank "
    "galore_scale galore_target_modules galore_update_proj_gap galore_with_embedding gamma "
    "generation_batch_size gkd_logits_topk group_size gym_env host hqq_axis "
    "ignore_args_error importance_sampling_level infer_backend init_strategy init_weights "
    "interleave_prob is_binary_loss_scale is_multimodal kl_coef kl_in_reward "
    "label_smoothing lam lang lazy_tokenize ld_alpha lisa_activated_layers "
    "lisa_step_interval llamapro_num_groups llamapro_num_new_blocks lmbda "
    "lmdeploy_cache_max_entry_count lmdeploy_quant_policy lmdeploy_session_len lmdeploy_tp "
    "lmdeploy_vision_batch_size load_args load_data_args load_from_cache_file "
    "local_dataset local_repo_path local_rollout_forward_batch_size log_completions "
    "log_entropy log_interval log_rollout_offpolicy_metrics logprobs lora_alpha lora_bias "
    "lora_bias_trainable lora_dropout lora_dtype lora_ga_batch_size lora_ga_direction "
    "lora_ga_iters lora_ga_max_length lora_ga_scale lora_ga_stable_gamma "
    "lora_modules_to_save lora_rank lora_target_modules lorap_lr_ratio loss_scale "
    "loss_type loss_weights max_batch_size max_completion_length max_epochs max_length "
    "max_logprobs max_memory max_model_len max_new_tokens max_pixels max_resample_times "
    "max_shard_size max_turns mcore_adapter mcore_model merge_lora metric min_p "
    "missing_eos_penalty model model_author model_kwargs model_name model_revision "
    "model_type modules_to_save move_model_batches mrl_dims multi_turn_scheduler "
    "n_best_to_keep new_special_tokens norm_bbox num_beams num_generations "
    "num_generations_eval num_iterations num_labels num_mini_batches num_ppo_epochs "
    "num_return_sequences num_sample_generations num_sampling_batch_size "
    "num_sampling_batches off_policy_sequence_mask_delta offload_model offload_optimizer "
    "offload_teacher_model optimizer orm_model output_file overlong_filter "
    "override_exist_file owned_by packing packing_length packing_num_proc packing_strategy "
    "padding_free padding_side port preprocess_num_proc preserve_thinking prm_model "
    "prm_threshold problem_type quant_batch_size quant_bits quant_method quant_n_samples "
    "quantization_bit real_tau ref_adapter_name ref_adapters ref_model "
    "ref_model_id_or_path ref_model_mixup_alpha ref_model_revision ref_model_sync_steps "
    "ref_model_type reference_free reft_args reft_intervention_type reft_layer_key "
    "reft_layers reft_rank repetition_max_penalty repetition_n_grams repetition_penalty "
    "reranker_use_activation response_length response_prefix result_path resume "
    "resume_only_model reward_adapters reward_funcs reward_model reward_model_plugin "
    "reward_model_revision reward_model_type reward_template reward_weights rlhf_type "
    "rlsd_lambda rlsd_lambda_decay_steps rlsd_lambda_warmup_steps rlsd_negative_only "
    "rlsd_reweight_clip_range rollout_importance_sampling_mode "
    "rollout_importance_sampling_threshold rope_scaling router_aux_loss_coef rpo_alpha "
    "safe_serialization sampler_engine sampler_type save_missing_weights scale_rewards "
    "sdar_gate_beta sdar_loss_coef self_cognition_sample seq_kd sequence_parallel_size "
    "served_model_name server_name server_port sft_alpha sft_type sglang_context_length "
    "sglang_disable_cuda_graph sglang_disable_custom_all_reduce sglang_dp_size "
    "sglang_enable_dp_attention sglang_enable_ep_moe sglang_ep_size sglang_kv_cache_dtype "
    "sglang_mem_fraction_static sglang_pp_size sglang_quantization "
    "sglang_speculative_algorithm sglang_speculative_eagle_topk "
    "sglang_speculative_num_draft_tokens sglang_speculative_num_steps sglang_tp_size share "
    "shuffle_buffer_size simpo_gamma sleep_level soft_cache_length soft_max_length "
    "split_dataset_ratio ssl_certfile ssl_keyfile steps_per_generation stop_words "
    "stopping_strategy stream streaming strict structured_outputs_regex studio_title "
    "swanlab_email_language swanlab_exp_name swanlab_mode swanlab_notification_method "
    "swanlab_project swanlab_receiver_email swanlab_secret swanlab_sender_email "
    "swanlab_smtp_port swanlab_smtp_server swanlab_token swanlab_webhook_url "
    "swanlab_workspace sync_ref_model system target_modules target_parameters target_regex "
    "task_type tau_neg tau_pos teacher_adapters teacher_deepspeed teacher_kl_coef "
    "teacher_model teacher_model_revision teacher_model_server teacher_model_type "
    "teacher_tag_key temperature template template_backend template_mode "
    "tensor_parallel_size test_convert_dtype test_convert_precision thread_count "
    "to_cached_dataset to_hf to_mcore to_ollama to_peft_format top_entropy_quantile top_k "
    "top_logprobs top_p torch_dtype train_dataloader_shuffle train_dataset_sample "
    "train_type trainable_parameters trainable_parameters_regex truncation_strategy "
    "tuner_backend tuner_type undesirable_weight use_chat_template use_dora use_flash_attn "
    "use_flash_ckpt use_galore use_gym_env use_hf use_logits_to_keep use_ray use_rslora "
    "use_swift_lora use_vllm val_dataset val_dataset_sample val_dataset_shuffle "
    "vera_d_initial vera_dropout vera_projection_prng_key vera_rank verbose vf_coef "
    "vit_gradient_checkpointing vit_lr vllm_data_parallel_size vllm_disable_cascade_attn "
    "vllm_disable_custom_all_reduce vllm_enable_expert_parallel vllm_enable_lora "
    "vllm_enable_prefix_caching vllm_enforce_eager vllm_engine_kwargs "
    "vllm_gpu_memory_utilization vllm_limit_mm_per_prompt vllm_max_lora_rank "
    "vllm_max_model_len vllm_max_num_seqs vllm_mm_processor_cache_gb vllm_mode "
    "vllm_pipeline_parallel_size vllm_quantization vllm_reasoning_parser "
    "vllm_server_base_url vllm_server_group_port vllm_server_host vllm_server_pass_dataset "
    "vllm_server_port vllm_server_timeout vllm_speculative_config "
    "vllm_tensor_parallel_size vllm_use_async_engine wandb_log_unique_prompts "
    "whiten_rewards write_batch_size zero_hpz_partition_size ";

/// What stands around the arguments: the command's name and the environment.
struct Around {
  std::string command;  ///< sft, pt, rlhf; empty for a file
  bool is_megatron = false;
  RunDraft::Maybe<std::int64_t> processes;  ///< NPROC_PER_NODE
  std::int64_t nodes = 1;                   ///< NNODES
  std::int64_t visible = 0;                 ///< of CUDA_VISIBLE_DEVICES; 0: not said
  Place visible_place;

  /// What a variable of the environment says about cards and processes.
  void take(std::string_view variable, const Node& value);
};

void Around::take(std::string_view variable, const Node& value) {
  const auto text = value.text();
  if (variable == "NPROC_PER_NODE") {
    if (const auto count = value.whole())
      processes = from_file(std::clamp<std::int64_t>(*count, 1, kMostBatch), value.place);
  } else if (variable == "NNODES") {
    nodes = std::clamp<std::int64_t>(value.whole().value_or(1), 1, kMostBatch);
  } else if (variable == "CUDA_VISIBLE_DEVICES" && text && !text->empty()) {
    visible = 1 + std::count(text->begin(), text->end(), ',');
    visible_place = value.place;
  }
}

/// A flag of the script whose value only a run of it would tell.
struct OpenFlag {
  std::string key;
  std::string variable;
  bool is_either = false;    ///< branches of the script set it differently
  bool decides_run = false;  ///< whatever the reader asks for
  Place place;
};

/// Settings that change neither memory nor time of a step, although they are read.
bool is_beside_the_step(const std::string& key) {
  for (const std::string_view each :
       {"dataset", "val_dataset", "model", "num_train_epochs", "max_steps", "save_steps", "save_strategy",
        "eval_steps", "eval_strategy", "evaluation_strategy", "logging_steps", "save_total_limit",
        "per_device_eval_batch_size", "dataloader_num_workers", "load_best_model_at_end",
        "split_dataset_ratio"})
    if (key == each) return true;
  return false;
}

/// Why a flag leaves the run open.
TrainFile::Open open_setting(const OpenFlag& flag, const std::string& name) {
  constexpr std::pair<std::string_view, std::string_view> kOurs[] = {
      {"max_length", "seq-len"},
      {"per_device_train_batch_size", "batch"},
      {"NPROC_PER_NODE", "gpus"},
      {"CUDA_VISIBLE_DEVICES", "gpus"}};
  const auto* const ours = std::find_if(std::begin(kOurs), std::end(kOurs),
                                        [&](const auto& each) { return each.first == flag.key; });
  const std::string given = ours == std::end(kOurs) ? "" : std::string(ours->second);
  const bool is_variable = given == "gpus";
  const std::string subject =
      flag.key.empty() ? "the script adds flags" : "the value of " + std::string(is_variable ? "" : "--") + flag.key;
  const std::string what = subject + (flag.key.empty() ? " by '" : " needs '") + flag.variable.substr(0, 40) + "', which " +
                           (flag.is_either ? "its branches set differently" : "the script does not set");
  return {given,
          {Error::Kind::unknown, what, where(name, flag.place),
           given.empty() ? "write the value out" : "give it with --" + given},
          flag.place};
}

void read_method(Settings& s, TrainFile& file) {
  RunDraft& draft = file.draft;
  s.renamed("sft_type", "train_type", "ms-swift 3.0");
  s.renamed("train_type", "tuner_type", "ms-swift 4.0");
  s.renamed("quantization_bit", "quant_bits", "ms-swift 3.0");
  s.renamed("lora_target_modules", "target_modules", "ms-swift 3.0");
  s.renamed("lora_modules_to_save", "modules_to_save", "ms-swift 3.0");
  const auto tuner = s.has("tuner_type")   ? s.text("tuner_type")
                     : s.has("train_type") ? s.text("train_type")
                                           : s.text("sft_type");
  const std::string word = tuner ? tuner->value : "lora";
  auto bits = s.whole("quant_bits");
  const auto quantizer = s.text("quant_method");
  // quant_bits alone does nothing; version 2 had one key for both.
  if (bits && !quantizer && !s.has_old("quantization_bit")) {
    s.say("ms-swift/ignored-quant-bits", "quant_bits",
          "without quant_method the base is not quantized", "quant_method: bnb");
    bits.reset();
  }
  if (word == "full") {
    draft.method = from_file(Method::full, tuner->place);
    if (bits)
      s.say("ms-swift/quantized-full", "quant_bits",
            "full training cannot train a quantized base", "tuner_type: lora");
    if (s.number("freeze_parameters_ratio") && s.number("freeze_parameters_ratio")->value > 0)
      draft.method = from_file(Method::freeze, s.place("freeze_parameters_ratio"));
    for (const char* key : {"lora_rank", "target_modules"})
      if (s.has(key)) {
        s.say("lora-key-without-adapter", key, "settings of LoRA do nothing with tuner_type: full",
              "remove them, or set tuner_type: lora");
        break;
      }
    return;
  }
  if (word != "lora") {
    set_unmodelled(file, "the tuner '" + word + "' is not modelled", "tuner_type",
                   "modelled: full, lora");
    return;
  }
  draft.method = tuner ? from_file(bits ? Method::qlora : Method::lora, tuner->place)
                       : by_trainer(bits ? Method::qlora : Method::lora);
  if (bits) {
    if (quantizer && quantizer->value != "bnb")
      set_unmodelled(file, "the quantization " + quantizer->value + " is not modelled",
                     "quant_method", "modelled: bnb");
    const auto kind = s.text("bnb_4bit_quant_type");
    if (bits->value == 4) {
      draft.quantization = from_file(
          kind && kind->value == "fp4" ? Quantization::fp4 : Quantization::nf4, bits->place);
      draft.double_quantizes = s.truth("bnb_4bit_use_double_quant");
      otherwise(draft.double_quantizes, true);
    } else {
      draft.quantization = from_file(Quantization::int8, bits->place);
    }
    draft.upcasts_for_kbit = by_trainer(false);
  }
  draft.lora_rank = s.whole("lora_rank");
  otherwise(draft.lora_rank, std::int64_t{8});
  draft.lora_alpha = s.number("lora_alpha");
  otherwise(draft.lora_alpha, 32.0);
  draft.lora_dropout = s.number("lora_dropout");
  otherwise(draft.lora_dropout, 0.05);
  draft.uses_dora = s.truth("use_dora");
  draft.lora_targets = s.words("target_modules");
  if (draft.lora_targets)
    for (std::string& each : draft.lora_targets->value)
      if (each == "ALL" || each == "DEFAULT" || each == "AUTO") each = "all-linear";
  otherwise(draft.lora_targets, std::vector<std::string>{"all-linear"});
  draft.modules_to_save = s.words("modules_to_save");
  if (draft.modules_to_save && draft.modules_to_save->value.empty()) draft.modules_to_save.reset();
  if (const auto dtype = s.text("lora_dtype"))
    if (const auto named = dtype_named(dtype->value))
      draft.adapter = from_file(*named, dtype->place);
  if (s.has("target_parameters") || s.has("target_regex"))
    set_unmodelled(file, "adapters on modules by pattern are not modelled",
                   s.has("target_regex") ? "target_regex" : "target_parameters",
                   "name them with target_modules");
}

void read_precision(Settings& s, TrainFile& file) {
  RunDraft& draft = file.draft;
  s.renamed("dtype", "torch_dtype", "ms-swift 3.0");
  // The weights keep the checkpoint's format; autocast goes with it: bf16 for bf16, fp16 else.
  const auto dtype = s.has("torch_dtype") ? s.text("torch_dtype") : s.text("dtype");
  const auto named = dtype ? dtype_named(dtype->value) : std::nullopt;
  if (named) {
    draft.weights = from_file(*named, dtype->place);
    const Precision mixed = *named == DType::bf16 ? Precision::bf16_mixed : Precision::fp16_mixed;
    otherwise(draft.precision, mixed);
  }
  otherwise(draft.precision, Precision::bf16_mixed);
  if (!draft.weights && draft.method && draft.method->value == Method::full)
    draft.weights = by_trainer(DType::bf16);
}

TrainFile read_arguments(const Node& root, const Around& around, const std::string& name,
                         const Neighbours& neighbours, const std::vector<OpenFlag>& open = {}) {
  TrainFile file;
  file.trainer = Trainer::ms_swift;
  file.version = "4.6";
  Settings s(&root, "", file.findings);
  RunDraft& draft = file.draft;
  s.know(kKeys);
  read_hf_arguments(s, file, neighbours);
  s.renamed("model_id_or_path", "model", "ms-swift 3.0");
  const auto model = s.has("model")              ? s.text("model")
                     : s.has("model_id_or_path") ? s.text("model_id_or_path")
                                                 : s.text("model_type");
  if (model) {
    file.model = model->value;
    file.model_place = model->place;
  } else {
    file.other_purpose = "sets arguments for another command";
  }
  const bool is_megatron = around.is_megatron || s.has("tensor_model_parallel_size") ||
                           s.has("micro_batch_size") || root.has("train");
  if (is_megatron) set_unmodelled(file, "Megatron is not modelled", name, "modelled: swift sft");
  read_method(s, file);
  read_precision(s, file);
  draft.attention = attention_named(s.text("attn_impl"));
  if (s.is_on("use_flash_attn"))
    draft.attention = from_file(std::string("fa2"), s.place("use_flash_attn"));
  draft.length = s.whole("max_length");
  otherwise(draft.checkpoints, true);
  if (draft.checkpoints->value)
    // Reentrant but for several processes of DDP.
    otherwise(draft.checkpoints_reentrant,
              !(around.processes && around.processes->value * around.nodes > 1 && !draft.zero && !draft.fsdp));
  otherwise(draft.loss, Loss::standard);
  const bool is_packed = s.is_on("packing");
  if (!is_megatron && (is_packed || s.is_on("padding_free")) &&
      !(draft.attention && draft.attention->value.starts_with("f")))
    s.say("ms-swift/packing-without-flash", is_packed ? "packing" : "padding_free",
          "ms-swift refuses it without flash attention", "attn_impl: flash_attn");
  if (is_packed) draft.packs = from_file(true, s.place("packing"));
  if (is_packed || s.is_on("padding_free"))
    draft.is_padding_free = from_file(true, s.place(is_packed ? "packing" : "padding_free"));
  if (const auto task = s.text("task_type"); task && task->value != "causal_lm")
    set_unmodelled(file, "the task '" + task->value + "' is not modelled", "task_type",
                   "modelled: causal_lm");
  for (const char* plugin : {"optimizer", "use_galore", "lisa_activated_layers", "lorap_lr_ratio"})
    if (const Node* node = s.node(plugin); node && node->text() != "false" && node->text() != "0")
      set_unmodelled(file, "the optimizer plugin is not modelled", plugin, "use optim");
  if (const auto split = s.whole("sequence_parallel_size"); split && split->value > 1)
    set_unmodelled(file, "a sequence that is split over GPUs is not modelled",
                   "sequence_parallel_size", "leave it out for one GPU");
  for (const char* rollout : {"use_vllm", "teacher_model"})
    if (s.has(rollout) && s.node(rollout)->text() != "false")
      set_unmodelled(file, "answers that are generated while it trains are not modelled", rollout,
                     "modelled: swift sft");
  const auto rlhf = s.text("rlhf_type");
  if (around.command == "rlhf" || rlhf) {
    const std::string kind = rlhf ? rlhf->value : "dpo";
    const auto known = draft::by_name<Objective>(kind == "rm" ? "reward" : kind, 13);
    if (known)
      draft.objective = rlhf ? from_file(*known, rlhf->place) : by_trainer(*known);
    else
      set_unmodelled(file, "the method '" + kind + "' is not modelled", "rlhf_type",
                     "modelled: swift sft, pt, and rlhf with dpo, orpo, simpo, cpo, kto and rm");
    if (const auto loss = s.text("loss_type")) {
      if (known == Objective::dpo && loss->value == "ipo") draft.objective = from_file(Objective::ipo, loss->place);
      if (known == Objective::kto && loss->value == "apo_zero_unpaired") set_without_divergence(file);
    }
    if (const auto alpha = s.number("cpo_alpha"))
      draft.adds_likelihood = from_file(alpha->value != 0, alpha->place);
  }
  for (const char* key : {"freeze_vit", "freeze_aligner"})
    if (const auto frozen = s.truth(key); frozen && !frozen->value) draft.trains_vision = from_file(true, frozen->place);
  if (has_tower(file.model))
    set_unmodelled(file, "a model with a vision or audio tower is not modelled", "model",
                   "modelled: causal language models");
  for (const std::string_view part : {"GPTQ", "AWQ", "gptq", "awq", "FP8", "fp8"})
    if (file.model.find(part) != std::string::npos)
      set_unmodelled(file, "a base that is quantized already is not modelled", "model",
                     "use the plain model with quant_bits: 4");

  if (s.is_on("use_ray")) set_unmodelled(file, "Ray is not modelled", "use_ray", "use_ray: false");
  std::int64_t processes = 1;
  if (around.processes) {
    processes = around.processes->value * around.nodes;
    if (!draft.gpus) draft.gpus = from_file(processes, around.processes->place);
  } else if (around.visible > 1 && !draft.gpus) {
    draft.gpus = from_file(around.visible, around.visible_place);
    file.findings.push_back({"ms-swift/no-nproc-per-node", "without NPROC_PER_NODE one model is split over the " +
                                 std::to_string(around.visible) + " GPUs, one working at a time",
                             around.visible_place,
                             "NPROC_PER_NODE=" + std::to_string(around.visible)});
  }
  otherwise(draft.micro_batch, std::int64_t{1});
  // 16 samples for an optimizer step, over all processes.
  const std::int64_t world = std::max<std::int64_t>(draft.gpus ? draft.gpus->value : processes, 1);
  const std::int64_t samples = std::clamp<std::int64_t>(draft.micro_batch->value, 1, kMostBatch) *
                               std::min(world, kMostBatch);
  otherwise(draft.accumulation, std::max<std::int64_t>((16 + samples - 1) / samples, 1));
  if (const auto data = s.words("dataset")) file.datasets = data->value;
  if (!file.eval_batch) file.eval_batch = 1;
  if (!file.workers) file.workers = 1;
  hf_defaults(file);
  const auto share = s.number("split_dataset_ratio");
  const bool has_share = share && share->value > 0;
  if (has_share || s.has("val_dataset"))
    file.evaluates = from_file(true, s.place(has_share ? "split_dataset_ratio" : "val_dataset"));
  const auto quantizer = s.text("quant_method");
  if (quantizer && !s.has("quant_bits") && quantizer->value != "fp8")
    s.say("ms-swift/quant-bits", "quant_method", "quant_method needs quant_bits", "quant_bits: 4");
  if (!around.processes && around.visible > 1 && s.is_set("deepspeed"))
    s.say("ms-swift/split-and-deepspeed", "deepspeed",
          "DeepSpeed does not work with a model that is split over the visible GPUs",
          "NPROC_PER_NODE=" + std::to_string(around.visible));
  s.know(kMoreSwiftKeys);
  // Megatron has several hundred arguments of its own.
  if (!is_megatron) s.report_unknown("unknown-key-refused", "ms-swift stops at it");
  for (const OpenFlag& each : open) {
    TrainFile::Open setting = open_setting(each, name);
    if (each.decides_run || (s.was_asked(each.key) && !is_beside_the_step(each.key)))
      file.open.push_back(std::move(setting));
    else
      file.findings.push_back({"ms-swift/unresolved", setting.error.what, each.place, {}});
  }
  return file;
}

}  // namespace

TrainFile read_ms_swift(const Source& source) {
  const Node& root = source.root;
  const std::string& name = source.name;
  const Neighbours& neighbours = source.neighbours;
  Around around;
  if (const Node* environment = root.find("ENV"))
    for (const Entry& each : environment->entries) around.take(each.key, each.value);
  return read_arguments(root, around, name, neighbours);
}

TrainFile read_ms_swift_script(const Source& source) {
  const std::string& name = source.name;
  const Neighbours& neighbours = source.neighbours;
  const std::vector<ShellCommand>& commands = source.script->commands;
  const auto has_word = [](const ShellCommand& command, std::string_view part) {
    return std::any_of(command.words.begin(), command.words.end(), [&](const ShellWord& word) {
      return word.text.find(part) != std::string::npos;
    });
  };
  const ShellCommand* found = nullptr;
  std::size_t first_flag = 0;
  Around around;
  std::vector<Finding> findings;
  for (const ShellCommand& command : commands) {
    for (const auto& [part, trainer] :
         {std::pair{"openrlhf", Trainer::openrlhf}, std::pair{"verl.trainer", Trainer::verl},
          std::pair{"xtuner", Trainer::xtuner}})
      if (has_word(command, part)) {
        TrainFile file;
        file.trainer = trainer;
        set_unmodelled(file,
                       "the trainer " + std::string(qwenplan::name(trainer)) + " is not modelled",
                       name, "say what the run does with the flags of qwenplan vram");
        return file;
      }
    for (std::size_t i = 0; i < command.words.size(); ++i) {
      const std::string& word = command.words[i].text;
      const std::string& next = i + 1 < command.words.size() ? command.words[i + 1].text : word;
      const bool is_named = word == "swift" || word == "megatron";
      std::string verb;
      if (is_named && (next == "sft" || next == "pt" || next == "rlhf")) verb = next;
      for (const char* each : {"sft", "pt", "rlhf"})
        if (word.ends_with("swift/cli/" + std::string(each) + ".py") ||
            word == "swift.cli." + std::string(each))
          verb = each;
      if (verb.empty()) continue;
      if (found) {
        findings.push_back({"ms-swift/several-commands", "another training command stands here; only the first is read",
                            command.words[i].place,
                            {}});
      } else {
        found = &command;
        first_flag = i + (is_named ? 2 : 1);
        around.command = verb;
        around.is_megatron = word == "megatron";
      }
      break;
    }
    if (!command.words.empty() && command.words.front().text.starts_with("--") && found)
      findings.push_back(
          {"ms-swift/flags-after-comment", "these flags belong to no command: a comment or a blank line above ended it",
           command.words.front().place, "remove the comment"});
  }
  if (!found) {
    TrainFile file;
    file.trainer = Trainer::ms_swift;
    file.other_purpose = "runs no training command that is read: swift sft, pt and rlhf";
    return file;
  }

  const auto scalar = [](const ShellWord& word) {
    Node node;
    node.kind = Node::Kind::scalar;
    node.scalar = word.text;
    node.place = word.place;
    return node;
  };
  std::vector<OpenFlag> open;
  const auto leaves_open = [&](const std::string& key, const ShellWord& value) {
    for (const std::string& variable : value.unresolved)
      open.push_back({key, variable, value.is_either, false, value.place});
  };
  for (const auto& [variable, value] : found->environment) {
    const bool is_about = variable == "NPROC_PER_NODE" || variable == "CUDA_VISIBLE_DEVICES";
    if (value.unresolved.empty())
      around.take(variable, scalar(value));
    else if (is_about)
      for (const std::string& each : value.unresolved)
        open.push_back({variable, each, value.is_either, true, value.place});
  }
  // With processes the visible cards do not count.
  const auto is_visible = [](const OpenFlag& each) { return each.key == "CUDA_VISIBLE_DEVICES"; };
  if (around.processes) open.erase(std::remove_if(open.begin(), open.end(), is_visible), open.end());

  // The flags as a map: --key value, --key=value, and --key with several values or none.
  Node root;
  root.kind = Node::Kind::map;
  const auto& words = found->words;
  std::size_t i = first_flag;
  if (i < words.size() && !words[i].text.starts_with("--")) {
    // A file of arguments comes first, and flags after it.
    if (const auto text = neighbours.text_of(words[i].text)) {
      auto document = parse_document(*text, words[i].text, syntax_of(*text, words[i].text));
      if (document) root = std::move(document.value().root);
      if (!root.is_map()) root = Node{Node::Kind::map, false, {}, {}, {}, words[i].place};
      for (Entry& entry : root.entries) entry.place = entry.value.place = words[i].place;
    } else {
      TrainFile file;
      file.trainer = Trainer::ms_swift;
      set_unmodelled(file, "the file of arguments is not here", words[i].text,
                     "check that file itself");
      return file;
    }
    ++i;
  }
  std::vector<const ShellWord*> further;  // words that may be no word or more flags
  while (i < words.size()) {
    if (!words[i].text.starts_with("--")) {
      if (words[i].is_open) further.push_back(&words[i]);
      ++i;
      continue;
    }
    Entry entry{words[i].text.substr(2), words[i].place, {}};
    std::vector<const ShellWord*> values;
    ShellWord behind_sign;
    if (const std::size_t sign = entry.key.find('='); sign != std::string::npos) {
      behind_sign = words[i];
      behind_sign.text = entry.key.substr(sign + 1);
      entry.key.resize(sign);
      values.push_back(&behind_sign);
    }
    // HfArgumentParser knows each flag with hyphens too.
    if (entry.key.find('_') == std::string::npos)
      std::replace(entry.key.begin(), entry.key.end(), '-', '_');
    for (++i; i < words.size() && !words[i].text.starts_with("--"); ++i) {
      // Behind a value, what may be no word or more flags is not this flag's.
      if (words[i].is_open && !values.empty())
        further.push_back(&words[i]);
      else
        values.push_back(&words[i]);
    }
    bool is_resolved = true;
    for (const ShellWord* value : values) {
      is_resolved = is_resolved && value->unresolved.empty();
      leaves_open(entry.key, *value);
    }
    if (values.empty()) {
      entry.value = scalar({"true", entry.place, {}});
    } else if (values.size() == 1) {
      entry.value = scalar(*values.front());
    } else {
      entry.value.kind = Node::Kind::list;
      entry.value.place = values.front()->place;
      for (const ShellWord* value : values) entry.value.items.push_back(scalar(*value));
    }
    // A model may keep its variable in its name; a number may not.
    if (!is_resolved && entry.key != "model" && entry.key != "dataset") {
      entry.value = Node{};
      entry.value.place = entry.place;
    }
    const auto before = std::find_if(root.entries.begin(), root.entries.end(),
                                     [&](const Entry& each) { return each.key == entry.key; });
    if (before != root.entries.end())
      *before = std::move(entry);
    else
      root.entries.push_back(std::move(entry));
  }
  for (const ShellWord* word : further)
    for (const std::string& variable : word->unresolved) {
      if (word->is_either)
        open.push_back({"", variable, true, true, word->place});
      else
        findings.push_back({"ms-swift/unresolved",
                            "'" + variable.substr(0, 40) + "' may bring more flags, which are not known here",
                            word->place,
                            {}});
    }
  TrainFile file = read_arguments(root, around, name, neighbours, open);
  file.findings.insert(file.findings.begin(), findings.begin(), findings.end());
  return file;
}

}  // namespace qwenplan
