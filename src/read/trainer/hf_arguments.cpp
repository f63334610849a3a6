#include "read/trainer/hf_arguments.hpp"

#include <algorithm>
#include <utility>

#include "read/trainer/launcher.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kKeys =
    "accelerator_config activation_checkpointing activation_checkpointing_kwargs adafactor "
    "adam_beta1 adam_beta2 adam_epsilon auto_find_batch_size average_tokens_across_devices "
    "batch_eval_metrics bf16 bf16_full_eval data_seed dataloader_drop_last "
    "dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers "
    "dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor "
    "ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters "
    "ddp_static_graph ddp_timeout debug deepspeed disable_tqdm dispatch_batches do_eval "
    "do_predict do_train enable_jit_checkpoint eval_accumulation_steps eval_dataset "
    "eval_delay eval_do_concat_batches eval_on_start eval_steps eval_strategy "
    "eval_use_gather_object evaluation_strategy fp16 fp16_backend fp16_full_eval "
    "fp16_opt_level fsdp fsdp_config fsdp_min_num_params "
    "fsdp_transformer_layer_cls_to_wrap full_determinism generation_config "
    "generation_max_length generation_num_beams gradient_accumulation_steps "
    "gradient_checkpointing gradient_checkpointing_kwargs greater_is_better "
    "group_by_length half_precision_backend hub_always_push hub_model_id hub_private_repo "
    "hub_revision hub_strategy hub_token ignore_data_skip include_for_metrics "
    "include_inputs_for_metrics include_num_input_tokens_seen include_tokens_per_second "
    "jit_mode_eval label_names label_smoothing_factor learning_rate length_column_name "
    "liger_kernel_config load_best_model_at_end local_rank log_level log_level_replica "
    "log_on_each_node logging_dir logging_first_step logging_nan_inf_filter logging_steps "
    "logging_strategy lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps "
    "metric_for_best_model mp_parameters neftune_noise_alpha no_cuda num_train_epochs "
    "optim optim_args optim_target_modules output_dir overwrite_output_dir "
    "parallelism_config past_index per_device_eval_batch_size per_device_train_batch_size "
    "per_gpu_eval_batch_size per_gpu_train_batch_size predict_with_generate "
    "prediction_loss_only project push_to_hub push_to_hub_model_id "
    "push_to_hub_organization push_to_hub_token ray_scope remove_unused_columns report_to "
    "restore_callback_states_from_checkpoint resume_from_checkpoint run_name "
    "save_on_each_node save_only_model save_safetensors save_steps save_strategy "
    "save_total_limit seed skip_memory_metrics sortish_sampler split_batches tf32 "
    "torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps "
    "torchdynamo tpu_metrics_debug tpu_num_cores trackio_bucket_id trackio_space_id "
    "trackio_static_space_id train_sampling_strategy use_cache use_cpu use_ipex "
    "use_legacy_prediction_loop use_liger_kernel use_mps_device warmup_ratio warmup_steps "
    "weight_decay ";

/// A strategy's word; `no` is false to YAML.
std::string strategy(Settings& s, const char* key, const char* otherwise) {
  const auto text = s.text(key);
  if (!text) return otherwise;
  return text->value == "false" || text->value == "False" ? "no" : text->value;
}

/// A map as it is or as JSON in a text; nothing of either is a null.
Node map_or_json(const Node* node) {
  if (!node || node->is_map()) return node ? *node : Node{};
  const auto json = node->text();
  if (!json || !json->starts_with('{')) return {};
  auto document = parse_document(*json, "JSON", Syntax::json);
  return document ? std::move(document.value().root) : Node{};
}

/// When it evaluates and saves, and whether the two go together.
void read_evaluation(Settings& s, TrainFile& file) {
  const std::string evaluates = strategy(s, "eval_strategy", "no");
  const std::string saves = strategy(s, "save_strategy", "steps");
  if (evaluates != "no") file.evaluates = from_file(true, s.place("eval_strategy"));
  if (s.is_on("load_best_model_at_end") && saves != "best") {
    const auto eval_steps = s.number(s.has("eval_steps") ? "eval_steps" : "logging_steps");
    const auto save_steps = s.number("save_steps");
    const double eval_every = eval_steps ? eval_steps->value : 0;
    const double save_every = save_steps ? save_steps->value : 500;
    const bool is_apart = evaluates == "steps" && eval_every >= 1 && save_every >= 1 &&
                          eval_every < 1e15 && save_every < 1e15 &&
                          static_cast<std::int64_t>(save_every) %
                                  static_cast<std::int64_t>(eval_every) !=
                              0;
    if (evaluates != saves || is_apart)
      s.say("transformers/best-model", "load_best_model_at_end",
            evaluates != saves
                ? "it evaluates by '" + evaluates + "' and saves by '" + saves + "'"
                : std::string("save_steps is no multiple of eval_steps"),
            evaluates != saves ? "eval_strategy: " + saves : "save_steps: a multiple");
  }
  if (s.is_set("deepspeed") && s.is_set("fsdp"))
    s.say("transformers/deepspeed-and-fsdp", "fsdp", "DeepSpeed and FSDP cannot both be on",
          "keep one of them");
}

}  // namespace

RunDraft::Maybe<bool> reentrant_of(Settings& settings) {
  const Node arguments = map_or_json(settings.node("gradient_checkpointing_kwargs"));
  const Node* value = arguments.find("use_reentrant");
  if (!value || !value->truth()) return std::nullopt;
  return from_file(*value->truth(), settings.node("gradient_checkpointing_kwargs")->place);
}

RunDraft::Maybe<std::string> attention_named(RunDraft::Maybe<std::string> given) {
  if (!given) return given;
  const std::string& word = given->value;
  if (word == "flash_attention_2" || word == "flash_attn" || word == "fa2") given->value = "fa2";
  if (word == "auto") given.reset();
  return given;
}

void read_hf_arguments(Settings& s, TrainFile& file, const Neighbours& neighbours) {
  RunDraft& draft = file.draft;
  s.know(kKeys);
  s.expect_truth(
      "do_train do_eval do_predict logging_first_step logging_nan_inf_filter save_only_model use_cpu full_determinism "
      "bf16_full_eval fp16_full_eval tf32 dataloader_drop_last dataloader_pin_memory dataloader_persistent_workers "
      "remove_unused_columns greater_is_better ignore_data_skip push_to_hub hub_always_push auto_find_batch_size "
      "ddp_find_unused_parameters prediction_loss_only");
  s.renamed("per_gpu_train_batch_size", "per_device_train_batch_size", "transformers 3");
  s.renamed("evaluation_strategy", "eval_strategy", "transformers 4.46");
  draft.micro_batch = s.whole("per_device_train_batch_size");
  draft.accumulation = s.whole("gradient_accumulation_steps");
  draft.checkpoints = s.truth("gradient_checkpointing");
  draft.checkpoints_reentrant = reentrant_of(s);
  if (auto optimizer = s.text("optim")) {
    optimizer->value = optimizer_name(optimizer->value);
    draft.optimizer = std::move(optimizer);
  }
  // Both switched on is what transformers itself refuses.
  const bool is_bf16 = s.is_on("bf16");
  const bool is_fp16 = s.is_on("fp16");
  if (is_bf16 && is_fp16)
    s.say("transformers/two-precisions", "fp16", "bf16 and fp16 cannot both be on",
          "fp16: false");
  if (is_bf16)
    draft.precision = from_file(Precision::bf16_mixed, s.place("bf16"));
  else if (is_fp16)
    draft.precision = from_file(Precision::fp16_mixed, s.place("fp16"));
  // Liger's fused loss comes with its other kernels.
  if (s.is_on("use_liger_kernel")) {
    const Place place = s.place("use_liger_kernel");
    Settings kernels = s.inside("liger_kernel_config");
    const auto is_on = [&](const char* kernel) {
      const auto given = kernels.truth(kernel);
      return given ? *given : from_file(true, place);
    };
    const auto fused = is_on("fused_linear_cross_entropy");
    if (fused.value) {
      draft.loss = from_file(Loss::fused, fused.place);
      draft.fused_loss = from_file(FusedLoss::liger, fused.place);
    }
    draft.liger_rope = is_on("rope");
    draft.liger_rms_norm = is_on("rms_norm");
    draft.liger_glu = is_on(kernels.has("geglu") ? "geglu" : "swiglu");
    if (const auto own = kernels.truth("cross_entropy"); own && own->value)
      set_unmodelled(file, "Liger's cross-entropy of whole logits is not modelled",
                     s.place("liger_kernel_config"), "use fused_linear_cross_entropy, Liger's default");
  }
  draft.neftune_alpha = s.number("neftune_noise_alpha");
  refuse_label_smoothing(s, file);
  if (s.is_on("torch_compile")) draft.compiles = from_file(true, s.place("torch_compile"));
  if (const Node* deepspeed = s.node("deepspeed"))
    put_launch(deepspeed_setting({"deepspeed", s.place("deepspeed"), *deepspeed}, neighbours),
               file);
  put_launch(fsdp_settings(s.node("fsdp"), s.node("fsdp_config")), file);

  if (const auto epochs = s.number("num_train_epochs")) file.epochs = epochs->value;
  if (const auto steps = s.whole("max_steps"); steps && steps->value > 0)
    file.max_steps = steps->value;
  // Below one it is a share of all steps, which only the number of samples can tell.
  if (const auto steps = s.number("save_steps"); steps && steps->value >= 1)
    file.save_steps = static_cast<std::int64_t>(steps->value);
  if (const auto limit = s.whole("save_total_limit")) file.save_limit = limit->value;
  if (const auto batch = s.whole("per_device_eval_batch_size")) file.eval_batch = batch->value;
  if (const auto workers = s.whole("dataloader_num_workers")) file.workers = workers->value;
  read_evaluation(s, file);
}

void refuse_label_smoothing(Settings& s, TrainFile& file) {
  if (const auto smoothing = s.number("label_smoothing_factor"); smoothing && smoothing->value > 0)
    set_unmodelled(file, "label smoothing is not modelled", s.place("label_smoothing_factor"), "label_smoothing_factor: 0");
}

void say_old_hf_names(Settings& s) {
  s.removed("overwrite_output_dir", "transformers 5", "");
  s.removed("warmup_ratio", "transformers 5.2", "warmup_steps, which below one is a share");
  s.removed("group_by_length", "transformers 5", "train_sampling_strategy: group_by_length");
  s.removed("no_cuda", "transformers 5", "use_cpu");
  s.removed("push_to_hub_token", "transformers 5", "hub_token");
  for (const char* gone : {"fp16_backend", "half_precision_backend", "save_safetensors", "use_legacy_prediction_loop",
                           "include_tokens_per_second", "fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap"})
    s.removed(gone, "transformers 5", "");
}

void split_batch(Settings& s, TrainFile& file) {
  const Node config = map_or_json(s.node("accelerator_config"));
  const Node* inner = config.find("split_batches");
  const bool is_on = inner ? inner->truth().value_or(false) : s.is_on("split_batches");
  if (!is_on) return;
  const char* key = inner ? "accelerator_config" : "split_batches";
  RunDraft& draft = file.draft;
  const std::int64_t gpus = draft.gpus ? std::clamp<std::int64_t>(draft.gpus->value, 1, kMostBatch) : 1;
  if (draft.micro_batch && gpus > 1 && draft.micro_batch->value >= 1)
    draft.micro_batch->value = (draft.micro_batch->value + gpus - 1) / gpus;
  s.say("split-batches", key,
        gpus > 1 ? "the batch is that of all " + std::to_string(gpus) + " GPUs together: each takes " +
                       std::to_string(draft.micro_batch ? draft.micro_batch->value : 1)
                 : std::string("the batch is that of all GPUs together, however many there are"),
        "split_batches: false");
}

void hf_defaults(TrainFile& file) {
  otherwise(file.draft.micro_batch, std::int64_t{8});
  otherwise(file.draft.accumulation, std::int64_t{1});
  if (!file.epochs) file.epochs = 3.0;
  if (!file.eval_batch) file.eval_batch = 8;
  if (!file.workers) file.workers = 0;
}

void refuse_without_divergence(Settings& s, TrainFile& file) {
  set_unmodelled(file, "KTO without its divergence is not modelled", s.place("loss_type"), "loss_type: kto");
}

}  // namespace qwenplan
