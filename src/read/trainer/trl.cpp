#include <algorithm>
#include <array>
#include <utility>

#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/keys.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/readers.hpp"

namespace qwenplan {
namespace {

// ScriptArguments, ModelConfig, DatasetMixtureConfig and the configurations of TRL 0.12 to 1.16,
// the keys of alignment-handbook and open-r1, and those that go on to accelerate launch.
constexpr std::string_view kKeys =
    "accelerate_config activation_offloading alpha assistant_only_loss attn_implementation "
    "auto_insert_empty_system_msg base_model_attribute_name base_model_revision benchmarks "
    "beta bnb_4bit_quant_storage bnb_4bit_quant_type cache_implementation callbacks "
    "cast_lm_head_to_fp32 center_rewards_coefficient chars_per_token chat_template "
    "chat_template_kwargs chat_template_path cliprange code_eval_scoring_mode "
    "code_eval_test_batch_size code_language code_provider completion_only_loss config "
    "config_file config_name cosine_max_len cosine_max_value_correct "
    "cosine_max_value_wrong cosine_min_value_correct cosine_min_value_wrong cpo_alpha "
    "dataset_batch_size dataset_config dataset_configs dataset_kwargs dataset_mixer "
    "dataset_mixture dataset_name dataset_num_proc dataset_prompt_column dataset_splits "
    "dataset_streaming dataset_test_split dataset_text_field dataset_train_split datasets "
    "deepspeed_config_file delta desirable_weight disable_dropout discopop_tau "
    "ds3_gather_for_generation dtype e2b_router_url entropy_coef entropy_coef_delta "
    "entropy_coef_max entropy_coef_min entropy_target env eos_token epsilon epsilon_high "
    "eval_packing exp_name f_alpha_divergence_coef f_divergence_type force_use_ref_model "
    "generate_during_eval generation_batch_size generation_kwargs gpu_ids "
    "gpu_memory_utilization gradient_checkpointing_use_reentrant hub_model_revision "
    "ignore_bias_buffers importance_sampling_level ioi_provider is_encoder_decoder judge "
    "kl_coef label_pad_token_id label_smoothing ld_alpha lmbda load_in_4bit load_in_8bit "
    "log_completions log_completions_hub_repo log_multimodal log_unique_prompts lora_alpha "
    "lora_dropout lora_modules_to_save lora_r lora_target_modules lora_target_parameters "
    "lora_task_type loss_type loss_weights machine_rank main_process_ip main_process_port "
    "mask_truncated_completions max_completion_len max_completion_length max_density_ratio "
    "max_length max_new_tokens max_prompt_length max_seq_length max_target_length "
    "max_tool_calling_iterations min_density_ratio min_p missing_eos_penalty "
    "mixed_precision model_adapter_name model_code_revision model_init_kwargs "
    "model_name_or_path model_revision morph_router_url multi_objective_aggregation "
    "normalize_advantage normalize_advantages normalize_reward num_completions_to_print "
    "num_generations num_generations_eval num_iterations num_machines num_of_sequences "
    "num_ppo_epochs num_processes off_policy_mask_threshold overwrite_hub_revision packing "
    "packing_strategy pad_to_multiple_of pad_token padding_free padding_value "
    "parallel_code_exec_per_proc precompute_ref_batch_size precompute_ref_log_probs "
    "preprocessing_num_workers prompt_sample_size push_to_hub_revision ref_adapter_name "
    "ref_model_init_kwargs ref_model_mixup_alpha ref_model_sync_steps reference_free "
    "repetition_max_penalty repetition_n_grams repetition_penalty reward_clip_range "
    "reward_funcs reward_model_name_or_path reward_model_path reward_weights rloo_k "
    "router_aux_loss_coef rpo_alpha sapo_temperature_neg sapo_temperature_pos "
    "scale_rewards seq_kd shuffle_dataset simpo_gamma soft_punish_cache "
    "steps_per_generation streaming sync_ref_model system_prompt teacher_model_init_kwargs "
    "teacher_model_name_or_path temperature test_split_size text_column token_level_kl "
    "tokenizer_name_or_path tools top_entropy_quantile top_k top_p torch_dtype "
    "transformers_continuous_batching_config trl_project truncation_mode truncation_side "
    "trust_remote_code undesirable_weight use_adaptive_entropy use_bias_correction_kl "
    "use_bnb_nested_quant use_deepspeed use_dora use_liger use_liger_loss "
    "use_logits_to_keep use_num_logits_to_keep use_peft use_rslora "
    "use_transformers_continuous_batching use_transformers_paged use_vllm use_weighting "
    "vespo_k_neg vespo_k_pos vespo_lambda_neg vespo_lambda_pos vllm_device vllm_dtype "
    "vllm_enable_sleep_mode vllm_gpu_memory_utilization vllm_group_port "
    "vllm_guided_decoding_regex vllm_importance_sampling_cap "
    "vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min "
    "vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_max_model_len "
    "vllm_max_model_length vllm_mode vllm_model_impl vllm_server_base_url vllm_server_host "
    "vllm_server_port vllm_server_timeout vllm_structured_outputs_regex "
    "vllm_tensor_parallel_size wandb_entity wandb_log_unique_prompts wandb_project "
    "wandb_run_group whiten_rewards ";

enum class Stage : std::uint8_t { sft, dpo, orpo, kto, reward, grpo };

bool has_any(Settings& s, std::initializer_list<std::string_view> keys) {
  return std::any_of(keys.begin(), keys.end(), [&](std::string_view key) { return s.has(key); });
}

/// The stage that the file's name or the nearest folder names as a word of its own (dpo/config_full.yaml,
/// config_sft.yaml); a name with two stages tells none.
std::optional<Stage> named_stage(std::string_view path) {
  constexpr std::pair<std::string_view, Stage> kWords[] = {
      {"orpo", Stage::orpo}, {"kto", Stage::kto},   {"dpo", Stage::dpo},
      {"sft", Stage::sft},   {"grpo", Stage::grpo}, {"reward", Stage::reward}};
  while (!path.empty()) {
    const std::size_t slash = path.find_last_of("/\\");
    std::string_view rest = path.substr(slash == path.npos ? 0 : slash + 1);
    path = slash == path.npos ? std::string_view() : path.substr(0, slash);
    std::optional<Stage> found;
    int stages = 0;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find_first_of("-_. "), rest.size());
      for (const auto& [word, stage] : kWords)
        if (rest.substr(0, end) == word) found = stage, ++stages;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (stages == 1) return found;
  }
  return std::nullopt;
}

/// Which of TRL's scripts a recipe is for. No key says it; the keys of one method do, or the
/// folder.
Stage stage_of(Settings& s, const std::string& name) {
  if (has_any(s, {"num_generations", "max_completion_length", "reward_funcs", "use_vllm"}) &&
      !name.ends_with("orpo.yaml"))
    return Stage::grpo;
  if (has_any(s, {"desirable_weight", "undesirable_weight"})) return Stage::kto;
  if (s.has("center_rewards_coefficient")) return Stage::reward;
  if (const auto named = named_stage(name)) return *named;
  if (has_any(s,
              {"beta", "max_prompt_length", "precompute_ref_log_probs", "ref_model_init_kwargs"}))
    return Stage::dpo;
  return Stage::sft;
}

/// Keys of older versions, which TRL and the recipes' own scripts pass over today.
void say_old_names(Settings& s, Stage stage, Version version) {
  struct Old {
    const char* key;
    Version since;
    const char* who;
    const char* instead;
  };
  const bool is_pair = stage == Stage::dpo || stage == Stage::orpo || stage == Stage::kto;
  const Version prompts = stage == Stage::dpo ? Version{0, 29, 0} : stage == Stage::kto ? Version{0, 26, 0} : Version{0, 28, 0};
  const Old kOld[] = {{"max_prompt_length", prompts, "TRL", is_pair ? "max_length alone" : ""},
                      {"use_liger_loss", {0, 28, 0}, "TRL", "use_liger_kernel"},
                      {"use_num_logits_to_keep", {0, 17, 0}, "TRL", ""},
                      {"chars_per_token", {0, 17, 0}, "TRL", ""},
                      {"dataset_batch_size", {0, 17, 0}, "TRL", ""},
                      {"num_of_sequences", {0, 17, 0}, "TRL", ""},
                      {"vllm_device", {0, 18, 0}, "TRL", "vllm_mode: server, or colocate"},
                      {"vllm_dtype", {0, 18, 0}, "TRL", ""},
                      {"vllm_max_model_len", {0, 18, 0}, "TRL", ""},
                      {"vllm_guided_decoding_regex", {0, 28, 0}, "TRL", "vllm_structured_outputs_regex"},
                      {"rpo_alpha", {0, 29, 0}, "TRL", "loss_type: [sigmoid, sft] with loss_weights"},
                      {"label_pad_token_id", prompts, "TRL", ""},
                      {"ref_model_init_kwargs", prompts, "TRL", "model_init_kwargs"},
                      {"force_use_ref_model", {0, 29, 0}, "TRL", ""},
                      {"model_adapter_name", {0, 29, 0}, "TRL", ""},
                      {"ref_adapter_name", {0, 29, 0}, "TRL", ""},
                      {"reference_free", {0, 29, 0}, "TRL", ""},
                      {"use_logits_to_keep", {0, 29, 0}, "TRL", ""},
                      {"dataset_mixer", {}, "alignment-handbook 0.4", "dataset_mixture"},
                      {"dataset_splits", {}, "alignment-handbook 0.4", "split in dataset_mixture"},
                      {"preprocessing_num_workers", {}, "alignment-handbook 0.4", "dataset_num_proc"},
                      {"use_flash_attention_2", {}, "alignment-handbook 0.3", "attn_implementation: flash_attention_2"}};
  for (const Old& each : kOld) {
    const bool is_of_trl = each.since > Version{};
    if (version >= each.since)
      s.removed(each.key, is_of_trl ? std::string(each.who) + " " + std::to_string(each.since.major) + "." + std::to_string(each.since.minor) : each.who,
                each.instead);
  }
}

void read_precision(Settings& s, Version version, TrainFile& file) {
  RunDraft& draft = file.draft;
  s.renamed("torch_dtype", "dtype", "TRL 0.27");
  const auto bf16 = s.truth("bf16");
  // The weights are loaded in float32 unless the file says otherwise, since 0.27.
  const auto dtype = s.text("dtype");
  const auto named = dtype ? dtype_named(dtype->value) : std::nullopt;
  const bool is_auto = dtype && !named && dtype->value == "auto";
  const DType weights = named.value_or(DType::fp32);
  if (is_auto) draft.keeps_stored_dtype = from_file(true, dtype->place);
  else if (dtype) draft.weights = from_file(weights, dtype->place);
  // Since 0.19 bf16 is on where nothing is said.
  file.leaves_precision = !draft.precision && (bf16 ? !bf16->value : version < Version{0, 19, 0});
  if (draft.precision || !bf16 || bf16->value) return;
  if (is_auto) draft.autocasts = from_file(false, bf16->place);  // in which format, the model says
  else draft.precision = from_file(without_autocast(weights), bf16->place);
}

void read_adapters(Settings& s, TrainFile& file) {
  RunDraft& draft = file.draft;
  s.know("lora_task_type use_rslora bnb_4bit_quant_storage");
  const bool is_4bit = s.is_on("load_in_4bit");
  const bool is_8bit = s.is_on("load_in_8bit");
  if (is_4bit && is_8bit)
    s.say("trl/two-quantizations", "load_in_8bit",
          "4 and 8 bits cannot both be used", "load_in_8bit: false");
  if (!s.is_on("use_peft")) {
    draft.method =
        s.has("use_peft") ? from_file(Method::full, s.place("use_peft")) : by_trainer(Method::full);
    if (is_4bit || is_8bit) {
      s.say("trl/quantized-without-use-peft", is_4bit ? "load_in_4bit" : "load_in_8bit",
            "a quantized model cannot be trained without adapters", "use_peft: true");
      draft.method.reset();
    }
    for (const char* key : {"lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
                            "lora_modules_to_save", "use_dora", "lora_target_parameters"})
      if (s.has(key)) {
        s.say("trl/lora-without-use-peft", key,
              "'" + std::string(key) + "' is ignored without use_peft: all weights are trained",
              "use_peft: true");
        break;
      }
    return;
  }
  const Place place = s.place("use_peft");
  draft.method = from_file(is_4bit || is_8bit ? Method::qlora : Method::lora, place);
  if (is_4bit) {
    const auto kind = s.text("bnb_4bit_quant_type");
    draft.quantization =
        from_file(kind && kind->value == "fp4" ? Quantization::fp4 : Quantization::nf4,
                  s.place("load_in_4bit"));
    draft.double_quantizes = s.truth("use_bnb_nested_quant");
    otherwise(draft.double_quantizes, false);
    if (!s.has("dtype") && !s.has("torch_dtype"))
      s.say("trl/compute-dtype", "load_in_4bit",
            "bitsandbytes computes in float32, because dtype is not set", "dtype: bfloat16");
  } else if (is_8bit) {
    draft.quantization = from_file(Quantization::int8, s.place("load_in_8bit"));
  }
  // QLoRA's adapters are bf16; the model is not prepared for k-bit training.
  if (is_4bit || is_8bit) {
    draft.adapter = by_trainer(DType::bf16);
    draft.upcasts_for_kbit = by_trainer(false);
  }
  draft.lora_rank = s.whole("lora_r");
  otherwise(draft.lora_rank, std::int64_t{16});
  draft.lora_alpha = s.number("lora_alpha");
  otherwise(draft.lora_alpha, 32.0);
  draft.lora_dropout = s.number("lora_dropout");
  otherwise(draft.lora_dropout, 0.05);
  draft.uses_dora = s.truth("use_dora");
  draft.modules_to_save = s.words("lora_modules_to_save");
  draft.lora_targets = s.words("lora_target_modules");
  if (draft.lora_targets && draft.lora_targets->value == std::vector<std::string>{"all"})
    s.say("invalid-value", "lora_target_modules", "PEFT finds no module 'all'", "lora_target_modules: all-linear");
  // TRL makes one word of a list of one (trainer/model_config.py), which PEFT takes for a pattern.
  else if (draft.lora_targets && draft.lora_targets->value.size() == 1 && draft.lora_targets->value[0] != "all-linear")
    file.target_pattern = from_file(draft.lora_targets->value[0], draft.lora_targets->place);
  // PEFT's table, for the classes that are in it.
  otherwise(draft.lora_targets, std::vector<std::string>{"q_proj", "v_proj"});
  if (s.has("lora_target_parameters"))
    set_unmodelled(file, "adapters on experts are not modelled", s.place("lora_target_parameters"),
                   "leave it out");
}

/// What DPO and KTO read beside the data.
void read_comparison(Settings& s, TrainFile& file) {
  RunDraft& draft = file.draft;
  draft.precomputes_reference = s.truth("precompute_ref_log_probs");
  // Warned of and ignored since the refactoring of 0.29.
  draft.is_padding_free.reset();
  if (const auto losses = s.words("loss_type")) {
    const std::vector<std::string>& all = losses->value;
    if (all == std::vector<std::string>{"ipo"}) draft.objective = from_file(Objective::ipo, losses->place);
    if (all == std::vector<std::string>{"apo_zero_unpaired"}) refuse_without_divergence(s, file);
    if (std::find(all.begin(), all.end(), "sft") != all.end())
      set_unmodelled(file, "a supervised loss beside the comparison is not modelled", s.place("loss_type"),
                     "loss_type: sigmoid");
  }
  if (s.is_on("use_weighting"))
    set_unmodelled(file, "weighting pairs by the policy's likelihood is not modelled", s.place("use_weighting"),
                   "use_weighting: false");
}

/// What TRL's configuration classes and trainers stop at, and what surprises.
void read_contradictions(Settings& s, Stage stage, TrainFile& file) {
  const RunDraft& d = file.draft;
  const bool is_4bit = d.quantization && d.quantization->value != Quantization::int8;
  if (!s.has("dtype") && !is_4bit && !file.model.empty())
    file.findings.push_back({"trl/default-dtype",
                             "the weights are loaded in float32, because dtype is not set",
                             file.model_place, "dtype: bfloat16"});
  if (stage == Stage::sft) {
    if (s.is_on("padding_free") && !s.is_on("packing") && !(d.is_unbounded && d.is_unbounded->value))
      s.say("trl/padding-free-length", "padding_free",
            "without packing padding_free cuts nothing, and TRL stops where max_length is set",
            "packing: true, or max_length: null");
    const auto targets = s.words("lora_target_modules");
    const auto loss = s.text("loss_type");
    const bool is_whole = loss && loss->value == "nll" && !s.is_on("use_liger_kernel");
    if (targets && s.is_on("use_peft") && !is_whole &&
        std::find(targets->value.begin(), targets->value.end(), "lm_head") != targets->value.end())
      s.say("trl/head-adapter", "lora_target_modules",
            "an adapter on lm_head does not work with a chunked or fused loss", "loss_type: nll");
  }
  if (stage != Stage::grpo) return;
  const auto or_else = [](const RunDraft::Maybe<std::int64_t>& given, std::int64_t value) {
    return std::clamp<std::int64_t>(given ? given->value : value, 1, kMostBatch);
  };
  const auto generations = s.whole("num_generations");
  const std::int64_t many = or_else(generations, 8);
  const std::int64_t steps = or_else(s.whole("steps_per_generation"), or_else(d.accumulation, 1));
  const std::int64_t batch =
      Saturating::multiply(Saturating::multiply(or_else(d.micro_batch, 8), steps), or_else(d.gpus, 1));
  // Where the launcher decides how many processes there are, another number may make it work.
  bool is_possible = batch % many == 0;
  for (std::int64_t world = 2; world <= 64 && !d.gpus; ++world)
    is_possible = is_possible || Saturating::multiply(batch, world) % many == 0;
  if (!s.has("generation_batch_size") && !is_possible)
    s.say("trl/generations", generations ? "num_generations" : "per_device_train_batch_size",
          std::to_string(batch) + " completions cannot be divided by " + std::to_string(many) +
              " of each prompt",
          "num_generations: a divisor");
  const auto mode = s.text("vllm_mode");
  if (s.is_on("use_vllm") && (!mode || mode->value == "colocate")) {
    const auto share = s.number("vllm_gpu_memory_utilization");
    s.say("trl/colocated-vllm", "use_vllm",
          "vLLM takes " + std::to_string(static_cast<int>(
                              100 * std::clamp(share ? share->value : 0.3, 0.0, 1.0))) +
              " % of the same card before the first step",
          "vllm_mode: server");
  }
}

/// The keys that its command line hands on to accelerate launch; flags of their own go before a file.
void read_launch(Settings& s, const Neighbours& neighbours, TrainFile& file) {
  RunDraft& draft = file.draft;
  if (const auto gpus = s.whole("num_processes"); gpus && !draft.gpus) draft.gpus = gpus;
  if (auto mixed = s.text("mixed_precision")) file.mixed_precision = std::move(mixed);
  const auto settings = s.text("accelerate_config");
  if (!settings) return;
  const std::string& word = settings->value;
  if (auto own = accelerate_setting(word, settings->place, neighbours)) return put_launch(*std::move(own), file);
  // Those that come with TRL (trl/accelerate_configs).
  if (!file.mixed_precision) file.mixed_precision = from_file(std::string("bf16"), settings->place);
  if (word != "single_gpu" && !draft.gpus) draft.gpus = from_file(std::int64_t{8}, settings->place);
  if (word == "fsdp1" || word == "fsdp2")
    draft.fsdp = from_file(word.substr(4), settings->place);
  else if (word == "zero1" || word == "zero2" || word == "zero3")
    draft.zero = from_file(word.substr(4), settings->place);
  else if (word != "single_gpu" && word != "multi_gpu")
    open_launcher(word, settings->place, file);
}

}  // namespace

TrainFile read_trl(const Source& source) {
  const Node& root = source.root;
  const std::string& name = source.name;
  const Neighbours& neighbours = source.neighbours;
  TrainFile file;
  file.trainer = Trainer::trl;
  Settings s(&root, "", file.findings);
  RunDraft& draft = file.draft;
  s.take_letters();
  s.know(kKeys);
  s.renamed("use_liger", "use_liger_kernel", "TRL 0.16");
  const Version version = version_of(source.version).value_or(latest_version(Trainer::trl));
  if (version >= Version{1, 0, 0}) say_old_hf_names(s);
  read_hf_arguments(s, file, neighbours);
  const Stage stage = stage_of(s, name);
  say_old_names(s, stage, version);
  if (const auto model = s.text("model_name_or_path")) {
    file.model = model->value;
    file.model_place = model->place;
  }
  read_precision(s, version, file);
  read_adapters(s, file);
  draft.attention = attention_named(s.text("attn_implementation"));
  if (version < Version{0, 20, 0})
    s.renamed("max_seq_length", "max_length", "TRL 0.16");
  else if (s.has("max_seq_length"))
    s.say("trl/ignored-length", "max_seq_length",
          "'max_seq_length' is ignored since TRL 0.20" +
              std::string(s.has("max_length") ? "" : ": samples are cut at 1024 tokens"),
          "write max_length");
  const Node* max_length = root.find("max_length");
  draft.length = s.whole("max_length");
  if (max_length && max_length->is_null()) {
    draft.is_unbounded = from_file(true, max_length->place);
    draft.length.reset();
  }
  const bool has_fused_head = version >= Version{1, 15, 0};
  if (const Node* kwargs = root.find("gradient_checkpointing_kwargs"); kwargs && kwargs->is_map())
    if (const Node* selective = kwargs->find("selective"); selective && selective->truth() == true)
      set_unmodelled(file, "selective checkpointing is not modelled", selective->place, "leave it out");
  const auto loss = s.text("loss_type");
  if (loss && stage == Stage::sft) {
    if (loss->value == "chunked_nll")
      draft.loss = from_file(Loss::chunked, loss->place);
    else if (loss->value == "dft" && has_fused_head)
      draft.loss = from_file(Loss::fused, loss->place);  // of the same log-probabilities
    else if (loss->value != "nll")
      set_unmodelled(file, "the loss '" + loss->value + "' is not modelled", s.place("loss_type"),
                     "modelled: nll, chunked_nll");
    else if (!draft.loss)  // Liger computes it where its kernels are on
      draft.loss = from_file(Loss::standard, loss->place);
  }
  const auto packing = s.truth("packing");
  const bool is_packed = packing && packing->value;
  // Samples that are cut at the end of a row need no borders: its batches are plain ones.
  auto strategy = s.text("packing_strategy");
  if (strategy && strategy->value == "ffd") {
    s.say("renamed-key", "packing_strategy", "'packing_strategy: ffd' is called 'bfd' since TRL 0.20, which stops at it",
          "packing_strategy: bfd");
    strategy->value = "bfd";
  } else if (strategy && !strategy->value.starts_with("bfd") && strategy->value != "wrapped") {
    s.say("invalid-value", "packing_strategy", "packing_strategy: expected bfd, bfd_split or wrapped, found " + s.node("packing_strategy")->shown(),
          "packing_strategy: bfd");
  }
  if (is_packed && (!strategy || strategy->value.starts_with("bfd")))
    draft.packs = draft.is_padding_free = packing;
  if (s.is_on("padding_free")) draft.is_padding_free = from_file(true, s.place("padding_free"));
  const bool is_flash = draft.attention && draft.attention->value == "fa2";
  if ((is_packed || s.is_on("padding_free")) && !is_flash)
    s.say("trl/packing-without-flash", is_packed ? "packing" : "padding_free",
          "samples see each other: only flash attention keeps packed samples apart",
          "attn_implementation: flash_attention_2");
  if (s.is_on("activation_offloading"))
    draft.offloads_activations = from_file(true, s.place("activation_offloading"));
  read_launch(s, neighbours, file);
  if (const auto data = s.text("dataset_name")) file.datasets.push_back(data->value);
  if (const Node* mixture = s.node("dataset_mixture"); mixture && mixture->is_map())
    if (const Node* sets = mixture->find("datasets"); sets && sets->is_list())
      for (const Node& each : sets->items)
        if (const Node* id = each.find("id"))
          if (const auto text = id->text()) file.datasets.push_back(*text);
  hf_defaults(file);
  split_batch(s, file);

  switch (stage) {
    case Stage::sft:
      draft.objective = by_trainer(Objective::sft);
      break;
    case Stage::dpo:
      draft.objective = by_trainer(Objective::dpo);
      read_comparison(s, file);
      break;
    case Stage::orpo:
      draft.objective = by_trainer(Objective::orpo);
      // It is experimental, and still prepares a quantized base as TRL did before 0.26.
      draft.adapter.reset();
      draft.upcasts_for_kbit.reset();
      break;
    case Stage::kto:
      draft.objective = by_trainer(Objective::kto);
      read_comparison(s, file);
      break;
    case Stage::reward:
      draft.objective = by_trainer(Objective::reward);
      break;
    case Stage::grpo:
      draft.objective = by_trainer(Objective::grpo);
      set_unmodelled(file, "GRPO is not modelled: its answers are generated while it trains", {},
                     "modelled: supervised fine-tuning");
      if (!s.has("per_device_train_batch_size") &&
          has_any(s, {"pass_rate_min", "low_reward_threshold", "high_reward_threshold"}))
        file.other_purpose = "filters a dataset";
      break;
  }
  s.know("pass_rate_min pass_rate_max low_reward_threshold high_reward_threshold");
  if (const Node* runs = root.find("runs"); runs && runs->is_list())
    file.other_purpose = "plans several runs, and trains none itself";
  s.know(kMoreTrlKeys);
  read_contradictions(s, stage, file);
  s.report_unknown("unknown-key", "the scripts of TRL ignore it");
  return file;
}

}  // namespace qwenplan
