#include "read/trainer/launcher.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "qwenplan/base/nearest.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

using Names = std::vector<std::string>;

// The members of DeepSpeedConfig, of DeepSpeedZeroConfig and of accelerate's ClusterConfig and
// SageMakerConfig, with the names that older versions had.
const Names& deepspeed_keys() {
  static const Names kKeys = {"activation_checkpointing",
                              "aio",
                              "amp",
                              "autotuning",
                              "bf16",
                              "bfloat16",
                              "checkpoint",
                              "checkpoint_tag_validation",
                              "comms_logger",
                              "communication_data_type",
                              "compile",
                              "compression_training",
                              "csv_monitor",
                              "curriculum_learning",
                              "data_efficiency",
                              "data_types",
                              "dataloader_drop_last",
                              "disable_allgather",
                              "disable_python_gc",
                              "dump_state",
                              "eigenvalue",
                              "elasticity",
                              "expert_parallel",
                              "flops_profiler",
                              "fp16",
                              "fp32_allreduce",
                              "gradient_accumulation_steps",
                              "gradient_allreduce_op",
                              "gradient_clipping",
                              "gradient_predivide_factor",
                              "graph_harvesting",
                              "hybrid_engine",
                              "legacy_fusion",
                              "load_universal_checkpoint",
                              "log_level",
                              "managed_gradient_accumulation",
                              "memory_breakdown",
                              "nebula",
                              "optimizer",
                              "pipeline",
                              "prescale_gradients",
                              "profile",
                              "progressive_layer_drop",
                              "quantize_training",
                              "scheduler",
                              "seq_parallel_communication_data_type",
                              "sequence_parallel_size",
                              "sparse_attention",
                              "sparse_gradients",
                              "steps_per_print",
                              "tensor_parallel",
                              "tensorboard",
                              "timers",
                              "torch_autocast",
                              "train_batch_size",
                              "train_micro_batch_size_per_gpu",
                              "use_data_before_expert_parallelism",
                              "vocabulary_size",
                              "wall_clock_breakdown",
                              "wandb",
                              "weight_quantization",
                              "zero_allow_untested_optimizer",
                              "zero_force_ds_cpu_optimizer",
                              "zero_optimization"};
  return kKeys;
}
const Names& zero_keys() {
  static const Names kKeys = {"allgather_bucket_size",
                              "allgather_partitions",
                              "allgather_sequential",
                              "compute_grad_norm",
                              "contiguous_gradients",
                              "cpu_offload",
                              "cpu_offload_param",
                              "cpu_offload_params",
                              "cpu_offload_use_pin_memory",
                              "elastic_checkpoint",
                              "enable_sanity_checks",
                              "gather_16bit_weights_on_model_save",
                              "ignore_unused_parameters",
                              "leaf_module",
                              "legacy_stage1",
                              "load_from_fp32_weights",
                              "log_trace_cache_warnings",
                              "max_live_parameters",
                              "max_reuse_distance",
                              "memory_efficient_linear",
                              "mics_hierarchical_params_gather",
                              "mics_shard_size",
                              "model_persistence_threshold",
                              "module_granularity_threshold",
                              "offload_optimizer",
                              "offload_param",
                              "overlap_comm",
                              "override_module_apply",
                              "param_persistence_threshold",
                              "parameter_alignment",
                              "pipeline_loading_checkpoint",
                              "prefetch_bucket_size",
                              "reduce_bucket_size",
                              "reduce_scatter",
                              "round_robin_gradients",
                              "save_muon_momentum_buffer_in_memory",
                              "stage",
                              "stage3_allgather_sequential",
                              "stage3_gather_16bit_weights_on_model_save",
                              "stage3_gather_fp16_weights_on_model_save",
                              "stage3_max_live_parameters",
                              "stage3_max_reuse_distance",
                              "stage3_model_persistence_threshold",
                              "stage3_module_granularity_threshold",
                              "stage3_param_persistence_threshold",
                              "stage3_prefetch_bucket_size",
                              "stage3_use_all_reduce_for_fetch_params",
                              "sub_group_size",
                              "use_all_reduce_for_fetch_params",
                              "use_multi_rank_bucket_allreduce",
                              "zenflow",
                              "zero_hpz_partition_size",
                              "zero_quantized_gradients",
                              "zero_quantized_nontrainable_weights",
                              "zero_quantized_weights",
                              "zeropp_loco_param"};
  return kKeys;
}
const Names& accelerate_keys() {
  static const Names kKeys = {"additional_args",
                              "base_job_name",
                              "command_file",
                              "commands",
                              "compute_environment",
                              "debug",
                              "deepspeed_config",
                              "distributed_type",
                              "downcast_bf16",
                              "dynamo_backend",
                              "dynamo_config",
                              "ec2_instance_type",
                              "enable_cpu_affinity",
                              "fp16",
                              "fp8_config",
                              "fsdp_config",
                              "gpu_ids",
                              "iam_role_name",
                              "image_uri",
                              "machine_rank",
                              "main_process_ip",
                              "main_process_port",
                              "main_training_function",
                              "megatron_lm_config",
                              "mixed_precision",
                              "mpirun_config",
                              "num_machines",
                              "num_processes",
                              "parallelism_config",
                              "profile",
                              "py_version",
                              "pytorch_version",
                              "rdzv_backend",
                              "region",
                              "sagemaker_inputs_file",
                              "sagemaker_metrics_file",
                              "same_network",
                              "tpu_env",
                              "tpu_name",
                              "tpu_use_cluster",
                              "tpu_use_sudo",
                              "tpu_vm",
                              "tpu_zone",
                              "transformers_version",
                              "use_cpu"};
  return kKeys;
}

Finding finding(RuleId rule, std::string message, Place place, std::string fix = {}) {
  return {rule, std::move(message), place, std::move(fix)};
}

bool is_any(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Says which keys of a map nobody reads. A leading underscore is how people write remarks in JSON.
void say_unknown(const Node& map, const Names& known, RuleId rule, const std::string& who, std::vector<Finding>& findings) {
  for (const Entry& entry : map.entries) {
    if (entry.key.empty() || entry.key.front() == '_') continue;
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    const auto near = nearest_keys(entry.key, known);
    findings.push_back(finding(rule, who + " '" + entry.key + "'", entry.place,
                               near.empty() ? "" : "did you mean '" + near.front() + "'?"));
  }
}

/// True for a member that is on: {"enabled": true}, or true itself. "auto" is decided elsewhere.
bool is_enabled(const Node* section) {
  if (!section) return false;
  const Node* switch_of = section->is_map() ? section->find("enabled") : section;
  return switch_of && switch_of->truth().value_or(false);
}

void add_word(RunDraft::Maybe<std::string>& list, const std::string& word, Place place) {
  if (!list)
    list = from_file(word, place);
  else if (list->value.find(word) == std::string::npos)
    list->value += "," + word;
}

/// The device of an offload section, if it is one.
bool offloads(const Node* section) {
  if (!section || !section->is_map()) return false;
  const Node* device = section->find("device");
  const auto word = device ? device->text() : std::nullopt;
  return word && !is_any(*word, {"none", "None", ""});
}

void zero_settings(const Node& zero, Launch& out) {
  if (!zero.is_map()) {
    // Before version 0.1 the key was a switch for stage 1.
    if (zero.truth().value_or(false)) out.zero = from_file(std::string("1"), zero.place);
    return;
  }
  const Node* stage_node = zero.find("stage");
  const bool is_given = stage_node && !stage_node->is_null();
  const std::int64_t stage = is_given ? stage_node->whole().value_or(-1) : 0;
  const Place place = stage_node ? stage_node->place : zero.place;
  if (stage < 0 || stage > 3) {
    out.findings.push_back(finding("deepspeed/stage", "ZeRO has no stage " + stage_node->shown(), place,
                                   "0, 1, 2 or 3"));
    return;
  }
  out.zero = from_file(std::to_string(stage), place);
  const auto is_on = [&](const char* key) {
    const Node* node = zero.find(key);
    return node && node->truth().value_or(false);
  };
  const bool offloads_optimizer = offloads(zero.find("offload_optimizer")) || is_on("cpu_offload");
  const bool offloads_params = offloads(zero.find("offload_param")) || is_on("cpu_offload_param") ||
                               is_on("cpu_offload_params");
  const auto place_of = [&](const char* key) {
    const Node* node = zero.find(key);
    return node ? node->place : zero.place;
  };
  for (const char* old : {"cpu_offload", "cpu_offload_param", "cpu_offload_params"})
    if (zero.has(old))
      out.findings.push_back(finding("deepspeed/removed-key", std::string("'") + old + "' is an old name", place_of(old),
                                     std::string(old) == "cpu_offload"
                                         ? R"("offload_optimizer": {"device": "cpu"})"
                                         : R"("offload_param": {"device": "cpu"})"));
  if (offloads_optimizer) {
    if (stage == 0)
      out.findings.push_back(finding("deepspeed/offload-without-zero", "the optimizer is not offloaded without a ZeRO stage",
                                     place_of("offload_optimizer"), "\"stage\": 2"));
    else
      add_word(out.offload, "optimizer", place_of("offload_optimizer"));
  }
  if (offloads_params) {
    if (stage < 3)
      out.findings.push_back(finding("deepspeed/offload-without-zero", "parameters are offloaded at ZeRO stage 3 only",
                                     place_of("offload_param"), "\"stage\": 3"));
    else
      add_word(out.offload, "params", place_of("offload_param"));
  }
  say_unknown(zero, zero_keys(), "unknown-key-refused", "DeepSpeed refuses the unknown key", out.findings);
}

/// A configuration that comes with ms-swift, LLaMA-Factory, axolotl, TRL or open-r1 by its name or
/// the name of its file: the stage and what is offloaded.
std::optional<Launch> preset(std::string_view path, Place place) {
  std::string name(path.substr(path.find_last_of('/') + 1));
  for (const char* ending : {".json", ".yaml", ".yml"})
    if (const std::size_t at = name.rfind(ending); at != std::string::npos) name.resize(at);
  for (const char* beginning : {"default-", "deepspeed_", "ds_"})
    if (name.rfind(beginning, 0) == 0) name.erase(0, std::string_view(beginning).size());
  if (const std::size_t at = name.rfind("_config"); at != std::string::npos) name.erase(at, 7);
  for (const char* beginning : {"zero_stage", "zero", "z"}) {
    if (name.rfind(beginning, 0) != 0) continue;
    std::string rest = name.substr(std::string_view(beginning).size());
    if (rest.empty() || rest.front() < '0' || rest.front() > '3') return std::nullopt;
    Launch launch;
    launch.zero = from_file(rest.substr(0, 1), place);
    rest.erase(0, 1);
    if (rest == "_offload" || rest == "_bf16_cpuoffload_all") {
      launch.offload = from_file(std::string("optimizer"), place);
      if (launch.zero->value == "3") launch.offload->value += ",params";
    } else if (rest == "_bf16_cpuoffload_params") {
      launch.offload = from_file(std::string("params"), place);
    } else if (!rest.empty() && rest != "_bf16" && rest != "_fp16" && rest != "_autotp" &&
               rest != "_torch_compile") {
      return std::nullopt;
    }
    return launch;
  }
  return std::nullopt;
}

/// Settings of another file have their places there; here they count at the key that points to it.
void move_to(Launch& launch, Place place) {
  const auto move_one = [&](auto& setting) {
    if (setting) setting->place = place;
  };
  move_one(launch.gpus), move_one(launch.zero), move_one(launch.fsdp), move_one(launch.offload);
  move_one(launch.mixed), move_one(launch.micro_batch), move_one(launch.accumulation);
  move_one(launch.checkpoints), move_one(launch.optimizer);
  for (Finding& each : launch.findings) each.place = place;
  if (launch.unmodelled) launch.unmodelled->place = place;
}

std::string without_prefix(const std::string& key) {
  return key.rfind("fsdp_", 0) == 0 ? key.substr(5) : key;
}

/// The members that FSDP's maps share, whoever wrote them.
void fsdp_members(const Node& config, bool is_accelerate, Launch& out) {
  const auto find = [&](std::string_view key) -> const Entry* {
    for (const Entry& entry : config.entries)
      if (without_prefix(entry.key) == key) return &entry;
    return nullptr;
  };
  const Entry* version_entry = find("version");
  const auto version = version_entry ? version_entry->value.whole() : std::nullopt;
  if (!out.fsdp) out.fsdp = from_file(std::string("1"), config.place);
  if (version) out.fsdp = from_file(std::to_string(*version), version_entry->place);
  const bool is_second = out.fsdp->value == "2";
  if (const Entry* entry = find("offload_params"); entry && entry->value.truth().value_or(false))
    add_word(out.offload, "params", entry->place);
  if (const Entry* entry = find("activation_checkpointing"))
    if (const auto is_on = entry->value.truth()) out.checkpoints = from_file(*is_on, entry->place);
  if (const Entry* entry = find("sharding_strategy"); entry && is_second)
    out.findings.push_back(finding("accelerate/fsdp2-old-key", "FSDP2 has no sharding strategy; the key is ignored",
                                   entry->place, "fsdp_reshard_after_forward: true"));
  if (const Entry* entry = find("reshard_after_forward");
      entry && is_second && !entry->value.is_null() && !entry->value.truth())
    out.findings.push_back(finding("accelerate/fsdp2-old-key", "FSDP2 wants true or false, not " + entry->value.shown(),
                                   entry->place, "fsdp_reshard_after_forward: true"));
  const Entry* policy = find("auto_wrap_policy");
  const auto word = policy ? policy->value.text() : std::nullopt;
  if (is_accelerate && (!word || *word == "NO_WRAP"))
    out.findings.push_back(finding(
        "accelerate/fsdp-no-wrap", "without a wrapping policy the whole model is one unit and is gathered at once",
        policy ? policy->place : config.place, "fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP"));
}

}  // namespace

Launch deepspeed_settings(const Node& root) {
  Launch out;
  out.zero = from_file(std::string("0"), root.place);
  if (const Node* zero = root.find("zero_optimization")) zero_settings(*zero, out);
  const auto whole = [&](const char* key, RunDraft::Maybe<std::int64_t>& setting) {
    if (const Node* node = root.find(key))
      if (const auto value = node->whole()) setting = from_file(*value, node->place);
  };
  whole("train_micro_batch_size_per_gpu", out.micro_batch);
  whole("gradient_accumulation_steps", out.accumulation);
  for (const char* key : {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"})
    if (const Node* node = root.find(key); node && !node->is_null() && !node->whole() && node->text() != "auto")
      out.findings.push_back(finding("invalid-value", std::string(key) + ": expected a whole number or auto, found " + node->shown(),
                                     node->place, "\"auto\""));
  const Node* bf16 = root.has("bf16") ? root.find("bf16") : root.find("bfloat16");
  const Node* fp16 = root.find("fp16");
  if (is_enabled(bf16) && is_enabled(fp16))
    out.findings.push_back(finding("deepspeed/two-precisions", "bf16 and fp16 cannot both be enabled", fp16->place,
                                   "\"fp16\": {\"enabled\": false}"));
  if (const Node* optimizer = root.find("optimizer"); optimizer && optimizer->is_map())
    if (const Node* type = optimizer->find("type"))
      if (const auto name = type->text()) out.optimizer = from_file(*name, type->place);
  if (const Node* parallel = root.find("tensor_parallel"); parallel && parallel->is_map())
    if (const Node* size = parallel->find("autotp_size"))
      if (size->whole().value_or(0) > 1)
        out.unmodelled = unknown_at(size->place, "DeepSpeed's tensor parallelism is not modelled", "leave it out for one GPU");
  if (const Node* experts = root.find("expert_parallel"); is_enabled(experts))
    out.unmodelled = unknown_at(experts->place, "DeepSpeed's expert parallelism is not modelled", "leave it out for one GPU");
  say_unknown(root, deepspeed_keys(), "unknown-key", "DeepSpeed ignores the unknown key", out.findings);
  return out;
}

Launch accelerate_settings(const Node& root, const Neighbours& neighbours) {
  Launch out;
  const Node* type_node = root.find("distributed_type");
  const std::string type = type_node ? type_node->text().value_or("") : "";
  const Node* deepspeed = root.find("deepspeed_config");
  if (deepspeed && deepspeed->is_map() && (type == "DEEPSPEED" || type.empty())) {
    const Entry* path = nullptr;
    for (const Entry& entry : deepspeed->entries)
      if (entry.key == "deepspeed_config_file") path = &entry;
    if (path) {
      Launch inner = deepspeed_setting(*path, neighbours);
      out = std::move(inner);
      for (const Entry& entry : deepspeed->entries)
        if (is_any(entry.key, {"gradient_accumulation_steps", "gradient_clipping", "zero_stage",
                               "offload_optimizer_device", "offload_param_device",
                               "offload_optimizer_nvme_path", "offload_param_nvme_path",
                               "zero3_save_16bit_model"}))
          out.findings.push_back(
              finding("accelerate/deepspeed-file-and-keys", "accelerate refuses '" + entry.key + "' beside deepspeed_config_file",
                      entry.place, "write it in the DeepSpeed file"));
    } else if (!deepspeed->entries.empty() || type == "DEEPSPEED") {
      const Node* stage = deepspeed->find("zero_stage");
      // accelerate's DeepSpeedPlugin: stage 2 unless something else is said.
      out.zero = from_file(std::to_string(stage ? stage->whole().value_or(2) : 2),
                       stage ? stage->place : deepspeed->place);
      const auto device = [&](const char* key, const char* what) {
        const Node* node = deepspeed->find(key);
        const auto word = node ? node->text() : std::nullopt;
        if (word && !is_any(*word, {"none", "None", ""})) add_word(out.offload, what, node->place);
      };
      device("offload_optimizer_device", "optimizer");
      device("offload_param_device", "params");
      if (const Node* steps = deepspeed->find("gradient_accumulation_steps"))
        if (const auto value = steps->whole()) out.accumulation = from_file(*value, steps->place);
    }
  }
  if (const Node* fsdp = root.find("fsdp_config");
      fsdp && fsdp->is_map() && !fsdp->entries.empty() && (type == "FSDP" || type.empty()))
    fsdp_members(*fsdp, true, out);
  if (const Node* node = root.find("num_processes"))
    if (const auto value = node->whole()) out.gpus = from_file(*value, node->place);
  if (const Node* node = root.find("mixed_precision")) {
    if (const auto word = node->text())
      out.mixed = from_file(*word == "false" || *word == "False" ? "no" : *word, node->place);
  }
  if (type == "MEGATRON_LM")
    out.unmodelled = unknown_at(type_node->place, "Megatron-LM is not modelled", "use MULTI_GPU, FSDP or DEEPSPEED");
  if (const Node* parallel = root.find("parallelism_config"); parallel && parallel->is_map())
    for (const Entry& entry : parallel->entries)
      if (is_any(entry.key, {"parallelism_config_tp_size", "parallelism_config_cp_size",
                             "parallelism_config_sp_size"}) &&
          entry.value.whole().value_or(1) > 1)
        out.unmodelled = unknown_at(entry.place,
                                    entry.key.find("_tp_") != std::string::npos
                                        ? "tensor parallelism is not modelled"
                                        : "a sequence that is split over GPUs is not modelled",
                                    "leave it out for one GPU");
  say_unknown(root, accelerate_keys(), "unknown-key-refused", "accelerate refuses the unknown key", out.findings);
  return out;
}

std::optional<Launch> accelerate_setting(const std::string& path, Place place, const Neighbours& neighbours) {
  const auto text = neighbours.text_of(path);
  if (!text) return std::nullopt;
  const auto document = parse_document(*text, path, syntax_of(*text, path));
  Launch out;
  if (document)
    out = accelerate_settings(document->root, neighbours);
  else
    out.unmodelled = unknown_at(place, "the file of accelerate cannot be read: " + document.error().where + ": " + document.error().what,
                                "check that file itself");
  move_to(out, place);
  return out;
}

void open_launcher(const std::string& path, Place place, TrainFile& file) {
  file.open.push_back({"launcher", unknown_at(place,
                                              "how the run is spread stands in '" + path.substr(0, 100) + "', which is not here",
                                              "give that file with --launcher")});
}

Launch fsdp_settings(const Node* fsdp, const Node* config) {
  Launch out;
  // ms-swift takes a preset's name, a file or JSON of both keys here, and means FSDP2 where nothing is said.
  if (const auto whole = fsdp ? fsdp->text() : std::nullopt; whole && fsdp->kind == Node::Kind::scalar) {
    if (*whole == "fsdp2" || whole->ends_with(".json")) {
      out.fsdp = from_file(std::string("2"), fsdp->place);
      return out;
    }
    if (whole->starts_with('{')) {
      const auto document = parse_document(*whole, "fsdp", Syntax::json);
      if (!document) {
        out.unmodelled = unknown_at(fsdp->place, "the setting of FSDP cannot be read: " + document.error().what, "write it as JSON");
        return out;
      }
      out = fsdp_settings(document->root.find("fsdp"), document->root.find("fsdp_config"));
      if (!out.fsdp) out.fsdp = from_file(std::string("2"), fsdp->place);
      move_to(out, fsdp->place);
      return out;
    }
  }
  const auto words = fsdp ? fsdp->words() : std::nullopt;
  bool is_on = false;
  if (fsdp && fsdp->truth()) {
    is_on = *fsdp->truth();
    if (is_on) out.fsdp = from_file(std::string("1"), fsdp->place);
  } else if (words) {
    for (const std::string& group : *words) {
      // "full_shard auto_wrap offload" in one string, or a list of these words.
      std::size_t at = 0;
      while (at < group.size()) {
        const std::size_t end = std::min(group.find(' ', at), group.size());
        const std::string word = group.substr(at, end - at);
        at = end + 1;
        if (word.empty()) continue;
        is_on = true;
        if (!out.fsdp) out.fsdp = from_file(std::string("1"), fsdp->place);
        if (word == "offload") add_word(out.offload, "params", fsdp->place);
      }
    }
  }
  if (config && config->is_map() && (is_on || !fsdp)) fsdp_members(*config, false, out);
  return out;
}

Launch deepspeed_setting(const Entry& key, const Neighbours& neighbours) {
  const Node& value = key.value;
  if (value.is_null()) return {};
  if (value.is_map()) return deepspeed_settings(value);
  const std::string text = value.text().value_or("");
  if (text.empty()) return {};
  const auto parsed = [&](const std::string& json, const std::string& name) {
    Launch out;
    const auto document = parse_document(json, name, Syntax::json);
    // What the trainer stops at still tells what is meant, where DeepSpeed itself would read it.
    const auto meant = document ? document : parse_document(json, name, Syntax::hjson);
    if (meant)
      out = deepspeed_settings(meant->root);
    else
      out.unmodelled = unknown_at(value.place, name + " cannot be read", "correct it");
    if (!document)
      out.findings.push_back(finding("deepspeed/unreadable",
                                     document.error().where + ": " + document.error().what +
                                         (meant ? ", which DeepSpeed reads itself and the trainer does not" : ""),
                                     key.place, document.error().hint));
    move_to(out, value.place);
    return out;
  };
  if (text.front() == '{') return parsed(text, "the DeepSpeed setting");
  if (const auto neighbour = neighbours.text_of(text)) return parsed(*neighbour, text);
  if (auto known = preset(text, value.place)) return *known;
  Launch out;
  out.findings.push_back(finding(
      "deepspeed/file-not-found", "there is no DeepSpeed file " + value.shown() + ", so its ZeRO stage cannot be told",
      value.place, "give the file beside this one"));
  out.unmodelled = unknown_at(value.place, "the DeepSpeed file " + value.shown() + " is not here",
                              "give the file beside this one, or check it where it is");
  return out;
}

void put_launch(Launch launch, TrainFile& file) {
  RunDraft& draft = file.draft;
  const auto take = [](auto& own, auto& other) {
    if (!own && other) own = std::move(other);
  };
  const auto contradicts = [&](const auto& own, const auto& other, const char* what) {
    if (own && own->from == From::file && other && other->value != own->value)
      file.findings.push_back(finding(
          "deepspeed/batch-mismatch", std::string("DeepSpeed has another ") + what + " than the trainer, which is refused",
          other->place, "\"auto\""));
  };
  // Stage 0 still works on an fp32 copy of its own.
  if (launch.zero && launch.zero->value == "0" && !launch.unmodelled)
    launch.unmodelled = unknown_at(launch.zero->place, "DeepSpeed without ZeRO is not modelled", "leave DeepSpeed out for one GPU");
  contradicts(draft.micro_batch, launch.micro_batch, "micro-batch");
  contradicts(draft.accumulation, launch.accumulation, "number of accumulation steps");
  take(draft.gpus, launch.gpus);
  take(draft.zero, launch.zero);
  take(draft.fsdp, launch.fsdp);
  take(draft.offload, launch.offload);
  take(draft.micro_batch, launch.micro_batch);
  take(draft.accumulation, launch.accumulation);
  take(file.mixed_precision, launch.mixed);
  if (launch.checkpoints && launch.checkpoints->value) draft.checkpoints = launch.checkpoints;
  if (!file.unmodelled) file.unmodelled = std::move(launch.unmodelled);
  for (Finding& each : launch.findings) file.findings.push_back(std::move(each));
}

void settle_mixed_precision(TrainFile& file) {
  RunDraft& draft = file.draft;
  if (!file.mixed_precision || file.mixed_precision->value == "no" || file.trainer == Trainer::accelerate) return;
  const auto& [word, from, place] = *file.mixed_precision;
  const auto stop = [&](std::string what) {
    if (!file.unmodelled) file.unmodelled = unknown_at(place, std::move(what), "write bf16: true in the trainer's file");
  };
  if (!file.leaves_precision) {
    const bool is_fp8 = draft.uses_fp8 && draft.uses_fp8->value;
    const auto precision = draft.precision ? draft.precision->value : Precision::bf16_mixed;
    const std::string_view own = is_fp8                                                                     ? "fp8"
                                 : precision == Precision::bf16_mixed || precision == Precision::bf16_true ? "bf16"
                                 : precision == Precision::fp32                                            ? "no"
                                                                                                           : "fp16";
    if (own != word)
      file.findings.push_back(finding("accelerate/mixed-precision",
                                      "mixed_precision: " + word.substr(0, 40) + " of accelerate does nothing: " +
                                          std::string(name(file.trainer)) + " takes " +
                                          (own == "no" ? "no autocast" : std::string(own)),
                                      place, "mixed_precision: " + std::string(own)));
    return;
  }
  const bool is_full = draft.method && draft.method->value == Method::full;
  if (word == "fp8") {
    draft.uses_fp8 = from_file(true, place);
  } else if (word != "bf16" && word != "fp16") {
    stop("the precision '" + word.substr(0, 40) + "' of accelerate is not known");
  } else if (file.trainer == Trainer::llama_factory && draft.precision && word == "bf16") {
    draft.autocasts = from_file(true, place);  // pure_bf16
  } else if (file.trainer == Trainer::llama_factory && (draft.precision || draft.quantization || (word == "fp16" && !is_full))) {
    // It loads the model as if there were no autocast; what is trained is fp32.
    stop("autocast by accelerate alone, over a model that LLaMA-Factory loads without it, is not modelled");
  } else {
    draft.autocasts.reset();
    const bool is_by_format = draft.takes_bf16 || draft.takes_fp16;
    (is_by_format ? draft.launched_precision : draft.precision) =
        from_file(word == "bf16" ? Precision::bf16_mixed : Precision::fp16_mixed, place);
  }
}

}  // namespace qwenplan
