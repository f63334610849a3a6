#include <algorithm>
#include <utility>

#include "qwenplan/describe/trainer_defaults.hpp"
#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/keys.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/ms_swift.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/saved_adapter.hpp"

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

/// What goes with LoRA and makes another run of it.
void read_beside_lora(Settings& s, TrainFile& file) {
  if (const auto backend = s.text("tuner_backend"); backend && backend->value == "unsloth")
    set_unmodelled(file, "Unsloth under ms-swift is not modelled", s.place("tuner_backend"), "tuner_backend: peft");
  if (s.is_on("use_swift_lora"))
    set_unmodelled(file, "ms-swift's own LoRA is not modelled", s.place("use_swift_lora"), "use_swift_lora: false");
  // It looks at gradients of whole weights before the first step.
  if (const auto start = s.text("init_weights"); start && start->value == "lora-ga")
    set_unmodelled(file, "LoRA-GA's look at the gradients before the training is not modelled", s.place("init_weights"),
                   "leave it out");
  if (const auto bias = s.text("lora_bias"); bias && bias->value == "all")
    set_unmodelled(file, "trained biases are not modelled", s.place("lora_bias"), "lora_bias: none");
  for (const char* more : {"trainable_parameters", "trainable_parameters_regex"})
    if (s.is_set(more))
      set_unmodelled(file, "weights that are trained beside the adapters are not modelled", s.place(more), "use modules_to_save");
}

void read_method(Settings& s, const Neighbours& neighbours, TrainFile& file) {
  RunDraft& draft = file.draft;
  const auto tuner = s.text("tuner_type");
  const std::string word = tuner ? tuner->value : "lora";
  const auto quantizer = s.text("quant_method");
  const auto width = s.text("quant_bits");
  const bool is_float8 = width && width->value == "float8";
  auto bits = is_float8 ? RunDraft::Maybe<std::int64_t>() : s.whole("quant_bits");
  if (is_float8 || (quantizer && quantizer->value == "fp8"))
    set_unmodelled(file, "a base in fp8 is not modelled", s.place(is_float8 ? "quant_bits" : "quant_method"), "modelled: bnb");
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
    for (const char* part : {"freeze_parameters_ratio", "freeze_parameters", "freeze_parameters_regex"})
      if (s.is_set(part))
        set_unmodelled(file, "training a part of the weights is not modelled", s.place(part), "leave it out, or use tuner_type: lora");
    for (const char* key : {"lora_rank", "target_modules"})
      if (s.has(key)) {
        s.say("lora-key-without-adapter", key, "settings of LoRA do nothing with tuner_type: full",
              "remove them, or set tuner_type: lora");
        break;
      }
    return;
  }
  if (word != "lora") {
    set_unmodelled(file, "the tuner '" + word + "' is not modelled", s.place("tuner_type"),
                   "modelled: full, lora");
    return;
  }
  read_beside_lora(s, file);
  draft.method = tuner ? from_file(bits ? Method::qlora : Method::lora, tuner->place)
                       : by_trainer(bits ? Method::qlora : Method::lora);
  if (bits) {
    if (quantizer && quantizer->value != "bnb")
      set_unmodelled(file, "the quantization " + quantizer->value + " is not modelled",
                     s.place("quant_method"), "modelled: bnb");
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
                   s.place(s.has("target_regex") ? "target_regex" : "target_parameters"),
                   "name them with target_modules");
  // Swift.from_pretrained trains on what it loads. A run that is resumed has the settings that it was started with.
  const auto resumed = s.text("resume_from_checkpoint");
  const auto adapters = s.words("adapters");
  if (const Node* list = s.node("adapters"); list && list->items.size() > 1)
    s.say("ms-swift/several-adapters", "adapters", "ms-swift trains on a single adapter", "name one, and merge the others into the model first");
  if (resumed && neighbours.text_of(adapter_config_in(resumed->value)))
    take_saved_adapter(resumed->value, s.place("resume_from_checkpoint"), neighbours, file);
  else if (!resumed && adapters && !adapters->value.empty())
    take_saved_adapter(adapters->value[0], s.place("adapters"), neighbours, file);
}

void read_precision(Settings& s, TrainFile& file) {
  RunDraft& draft = file.draft;
  // The weights keep the checkpoint's format, and each switch that is not given is on for its own: bf16 for bf16, fp16 else.
  const auto dtype = s.text("torch_dtype");
  const auto named = dtype ? dtype_named(dtype->value) : std::nullopt;
  if (named) draft.weights = from_file(*named, dtype->place);
  if (draft.precision) return;
  const auto bf16 = s.truth("bf16");
  const auto fp16 = s.truth("fp16");
  if (!named) {
    draft.takes_bf16 = bf16;
    draft.takes_fp16 = fp16;
    file.leaves_precision = bf16 || fp16;
    return;
  }
  const auto& own = *named == DType::bf16 ? bf16 : fp16;
  file.leaves_precision = own.has_value();
  if (own)
    draft.precision = from_file(without_autocast(*named), own->place);
  else
    otherwise(draft.precision, *named == DType::bf16 ? Precision::bf16_mixed : Precision::fp16_mixed);
}

/// The names of versions 2 and 3, and since when they are others.
void read_old_names(Settings& s) {
  struct Old {
    const char* old_key;
    const char* key;
    const char* since;
  };
  constexpr Old kOld[] = {{"sft_type", "tuner_type", "4.0"},
                          {"train_type", "tuner_type", "4.0"},
                          {"model_id_or_path", "model", "3.0"},
                          {"template_type", "template", "3.0"},
                          {"dtype", "torch_dtype", "3.0"},
                          {"batch_size", "per_device_train_batch_size", "3.0"},
                          {"eval_batch_size", "per_device_eval_batch_size", "3.0"},
                          {"quantization_bit", "quant_bits", "3.0"},
                          {"bnb_4bit_comp_dtype", "bnb_4bit_compute_dtype", "3.0"},
                          {"lora_target_modules", "target_modules", "3.0"},
                          {"lora_modules_to_save", "modules_to_save", "3.0"},
                          {"lora_dropout_p", "lora_dropout", "3.0"},
                          {"lora_lr_ratio", "lorap_lr_ratio", "3.0"},
                          {"init_lora_weights", "init_weights", "3.0"},
                          {"use_liger", "use_liger_kernel", "3.0"},
                          {"neftune_alpha", "neftune_noise_alpha", "3.0"},
                          {"deepspeed_config_path", "deepspeed", "3.0"},
                          {"device_map_config", "device_map", "3.0"},
                          {"device_map_config_path", "device_map", "3.0"},
                          {"dataset_test_ratio", "split_dataset_ratio", "3.0"},
                          {"custom_train_dataset_path", "dataset", "3.0"},
                          {"custom_val_dataset_path", "val_dataset", "3.0"},
                          {"preprocess_num_proc", "dataset_num_proc", "3.0"},
                          {"check_model_is_latest", "check_model", "3.0"},
                          {"only_save_model", "save_only_model", "3.0"},
                          {"add_output_dir_suffix", "add_version", "3.0"}};
  for (const Old& each : kOld) s.renamed(each.old_key, each.key, "ms-swift " + std::string(each.since));
  for (const char* sample : {"train_dataset_sample", "val_dataset_sample", "train_dataset_mix_ratio"})
    s.removed(sample, "ms-swift 3.0", "'name#500' in dataset");
  s.removed("use_loss_scale", "ms-swift 3.0", "loss_scale");
  s.removed("check_dataset_strategy", "ms-swift 3.0", "");
  s.removed("max_prompt_length", "ms-swift 3.0", "max_length");
}

/// Losses of single tokens are computed beside the model, which gives whole logits then.
void read_loss(Settings& s, TrainFile& file) {
  for (const char* single : {"enable_dft_loss", "enable_channel_loss", "use_loss_scale"})
    if (s.is_on(single))
      set_unmodelled(file, "a loss of single tokens is not modelled", s.place(single), std::string(single) + ": false");
  if (const auto own = s.text("loss_type"))
    set_unmodelled(file, "the loss '" + own->value + "' is not modelled", s.place("loss_type"), "leave it out");
  const auto scale = s.text("loss_scale");
  std::string_view rest = scale ? std::string_view(scale->value) : std::string_view();
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('+'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    // These leave tokens out; the others weigh them.
    bool leaves_out = false;
    for (const std::string_view known :
         {"default", "last_round", "all", "base", "ignore_empty_think", "ignore_think_prefix"})
      leaves_out = leaves_out || part == known;
    if (!leaves_out)
      set_unmodelled(file, "tokens that are weighed by '" + std::string(part) + "' are not modelled", s.place("loss_scale"),
                     "loss_scale: default");
  }
}

/// True where each process spreads one model over several of the visible cards.
bool splits_model(const SwiftCommand& command) {
  if (command.launch.is_launcher) return false;
  return command.environment.visible / (command.environment.processes ? command.environment.processes->value : 1) > 1;
}

/// How many cards the run takes, as its launcher or the environment says.
void spread(const SwiftCommand& command, const Neighbours& neighbours, TrainFile& file) {
  RunDraft& draft = file.draft;
  const ProcessLaunch& launch = command.launch;
  if (launch.is_launcher) {
    put_process_launch(launch, neighbours, file);
    return;
  }
  const LaunchEnvironment& said = command.environment;
  // Either variable starts torchrun, which runs one process on each machine where nobody says more.
  const std::int64_t processes = (said.processes ? said.processes->value : 1) * said.machines();
  if (splits_model(command)) {
    // Each process counts its samples, and not each card.
    otherwise(draft.accumulation, trainer_defaults::swift_accumulation(draft.micro_batch->value, processes));
    if (!draft.checkpoints || draft.checkpoints->value) otherwise(draft.checkpoints_reentrant, processes == 1);
    if (!draft.gpus) draft.gpus = from_file(said.visible * said.machines(), said.visible_place);
    if (!said.processes)
      file.findings.push_back({"ms-swift/no-nproc-per-node", "without NPROC_PER_NODE one model is split over the " +
                                   std::to_string(said.visible) + " GPUs, one working at a time",
                               said.visible_place, "NPROC_PER_NODE=" + std::to_string(said.visible)});
  } else if ((said.processes || said.nodes) && !draft.gpus) {
    draft.gpus = from_file(processes, said.processes ? said.processes->place : said.nodes->place);
  }
}

}  // namespace

TrainFile read_swift_arguments(const Node& root, const SwiftCommand& command,
                               const Neighbours& neighbours, const std::vector<OpenFlag>& open) {
  TrainFile file;
  file.trainer = Trainer::ms_swift;
  Settings s(&root, "", file.findings);
  RunDraft& draft = file.draft;
  s.take_letters();
  s.know(kKeys);
  read_old_names(s);
  read_hf_arguments(s, file, neighbours);
  otherwise(draft.micro_batch, std::int64_t{1});
  spread(command, neighbours, file);
  const auto model = s.has("model") ? s.text("model") : s.text("model_type");
  if (model) {
    file.model = model->value;
    file.model_place = model->place;
  } else if (command.verb.empty()) {
    file.other_purpose = "sets arguments for another command";
  }
  if (command.verb.empty() && (s.has("sampler_engine") || s.has("sampler_type")))
    file.other_purpose = "sets swift sample up, which does not train";
  const bool is_megatron = command.is_megatron || s.has("tensor_model_parallel_size") ||
                           s.has("micro_batch_size") || root.has("train");
  if (is_megatron) set_unmodelled(file, "Megatron is not modelled", {}, "modelled: swift sft");
  read_method(s, neighbours, file);
  read_precision(s, file);
  draft.attention = attention_named(s.text("attn_impl"));
  if (s.is_on("use_flash_attn"))
    draft.attention = from_file(std::string("fa2"), s.place("use_flash_attn"));
  draft.length = s.whole("max_length");
  if (const auto row = s.whole("packing_length"); row && s.is_on("packing")) draft.length = row;
  otherwise(draft.checkpoints, true);
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
    set_unmodelled(file, "the task '" + task->value + "' is not modelled", s.place("task_type"),
                   "modelled: causal_lm");
  for (const char* plugin : {"optimizer", "use_galore", "lisa_activated_layers", "lorap_lr_ratio"})
    if (const Node* node = s.node(plugin); node && node->text() != "false" && node->text() != "0")
      set_unmodelled(file, "the optimizer plugin is not modelled", s.place(plugin), "use optim");
  if (const auto split = s.whole("sequence_parallel_size"); split && split->value > 1)
    set_unmodelled(file, "a sequence that is split over GPUs is not modelled",
                   s.place("sequence_parallel_size"), "leave it out for one GPU");
  for (const char* rollout : {"use_vllm", "teacher_model"})
    if (s.has(rollout) && s.node(rollout)->text() != "false")
      set_unmodelled(file, "answers that are generated while it trains are not modelled", s.place(rollout),
                     "modelled: swift sft");
  for (const char* placed : {"device_map", "max_memory"})
    if (s.is_set(placed) && s.node(placed)->text() != "auto")
      set_unmodelled(file, "a model that a map spreads over devices is not modelled", s.place(placed), "leave it out for one GPU");
  const auto rlhf = s.text("rlhf_type");
  if (command.verb == "rlhf" || rlhf) {
    const std::string kind = rlhf ? rlhf->value : command.method.empty() ? "dpo" : command.method;
    if (kind == "ppo" || kind == "grpo")
      set_unmodelled(file, (kind == "ppo" ? "PPO" : "GRPO") + std::string(" is not modelled: its answers are generated while it trains"),
                     s.place("rlhf_type"), "modelled: swift sft, pt, and rlhf with dpo, orpo, simpo, cpo, kto and rm");
    const auto known = draft::by_name<Objective>(kind == "rm" ? "reward" : kind, 13);
    if (known)
      draft.objective = rlhf ? from_file(*known, rlhf->place) : by_trainer(*known);
    else
      set_unmodelled(file, "the method '" + kind + "' is not modelled", s.place("rlhf_type"),
                     "modelled: swift sft, pt, and rlhf with dpo, orpo, simpo, cpo, kto and rm");
    if (const auto losses = s.words("loss_type")) {
      const std::vector<std::string>& all = losses->value;
      const auto is_only = [&](const char* loss) { return all == std::vector<std::string>{loss}; };
      if (known == Objective::dpo && is_only("ipo")) draft.objective = from_file(Objective::ipo, losses->place);
      if (known == Objective::kto && is_only("apo_zero_unpaired")) refuse_without_divergence(s, file);
      if (std::find(all.begin(), all.end(), "sft") != all.end())
        set_unmodelled(file, "a supervised loss beside the comparison is not modelled", s.place("loss_type"), "loss_type: sigmoid");
    }
    if (known == Objective::dpo && s.has("rpo_alpha"))
      set_unmodelled(file, "a supervised loss beside the comparison is not modelled", s.place("rpo_alpha"), "leave it out");
    if (const auto alpha = s.number("cpo_alpha"))
      draft.adds_likelihood = from_file(alpha->value != 0, alpha->place);
  } else {
    read_loss(s, file);
  }
  for (const char* key : {"freeze_vit", "freeze_aligner"})
    if (const auto frozen = s.truth(key); frozen && !frozen->value) draft.trains_vision = from_file(true, frozen->place);
  if (has_tower(file.model))
    set_unmodelled(file, "a model with a vision or audio tower is not modelled", s.place("model"),
                   "modelled: causal language models");
  for (const std::string_view part : {"GPTQ", "AWQ", "gptq", "awq", "FP8", "fp8"})
    if (file.model.find(part) != std::string::npos)
      set_unmodelled(file, "a base that is quantized already is not modelled", s.place("model"),
                     "use the plain model with quant_bits: 4");

  if (s.has("config"))
    s.say("unknown-key-refused", "config", "'--config FILE' is for ms-swift 3.10 to 4.0, and others stop at it", "swift sft FILE");
  if (s.is_on("use_ray")) set_unmodelled(file, "Ray is not modelled", s.place("use_ray"), "use_ray: false");
  if (const auto data = s.words("dataset")) file.datasets = data->value;
  if (!file.eval_batch) file.eval_batch = 1;
  if (!file.workers) file.workers = 1;
  if (!file.epochs) file.epochs = 3.0;
  split_batch(s, file);
  const auto share = s.number("split_dataset_ratio");
  const bool has_share = share && share->value > 0;
  if (has_share || s.has("val_dataset"))
    file.evaluates = from_file(true, s.place(has_share ? "split_dataset_ratio" : "val_dataset"));
  const auto quantizer = s.text("quant_method");
  if (quantizer && !s.has("quant_bits") && quantizer->value != "fp8")
    s.say("ms-swift/quant-bits", "quant_method", "quant_method needs quant_bits", "quant_bits: 4");
  if (splits_model(command) && s.is_set("deepspeed") && !s.is_on("use_ray"))
    s.say("ms-swift/split-and-deepspeed", "deepspeed",
          "DeepSpeed does not work with a model that is split over the visible GPUs",
          "NPROC_PER_NODE=" + std::to_string(command.environment.visible));
  s.know(kMoreSwiftKeys);
  // Megatron has several hundred arguments of its own.
  if (!is_megatron && file.other_purpose.empty()) s.report_unknown("unknown-key-refused", "ms-swift stops at it");
  for (const OpenFlag& each : open) put_open_flag(each, s.was_asked(each.key), "ms-swift/unresolved", file);
  return file;
}

TrainFile read_ms_swift(const Source& source) {
  const Node& root = source.root;
  SwiftCommand command;
  if (const Node* environment = root.find("ENV"))
    for (const Entry& each : environment->entries) command.environment.take(each.key, each.value);
  return read_swift_arguments(root, command, source.neighbours);
}

}  // namespace qwenplan
