#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/describe/trainer.hpp"
#include "qwenplan/emulate/trace.hpp"
#include "support/csv.hpp"

namespace qwenplan::test {

inline std::string reference_path(const std::string& name) {
  return std::string(QWENPLAN_SOURCE_DIR) + "/tests/reference/" + name;
}

/// The model of a row of tests/reference/shapes.csv.
inline Model model_of_shape(const CsvRow& row) {
  Model m;
  m.id = row.text("model");
  m.architecture_name = row.text("architecture");
  for (int i = 0; i < static_cast<int>(Architecture::other); ++i)
    if (name(static_cast<Architecture>(i)) == m.architecture_name) m.architecture = static_cast<Architecture>(i);
  m.layers = row.integer("layers");
  m.hidden = row.integer("hidden");
  m.ffn = row.integer("ffn");
  m.heads = row.integer("heads");
  m.kv_heads = row.integer("kv_heads");
  m.head_dim = row.integer("head_dim");
  m.vocabulary = row.integer("vocabulary");
  m.max_positions = row.integer("max_positions");
  m.sliding_window = row.integer("sliding_window");
  m.rotary_dim = row.integer("rotary_dim");
  m.ties_embeddings = row.integer("ties_embeddings") != 0;
  m.has_qkv_bias = row.integer("qkv_bias") != 0;
  m.has_qk_norm = row.integer("qk_norm") != 0;
  m.has_o_bias = row.integer("o_bias") != 0;
  m.has_mlp_bias = row.integer("mlp_bias") != 0;
  m.has_dropout = row.integer("dropout") != 0;
  if (row.integer("experts") > 0)
    m.experts = Experts{row.integer("experts"), row.integer("experts_per_token"),
                        row.integer("expert_ffn"), 1, row.integer("normalizes") != 0, row.integer("shared_ffn")};
  if (row.integer("value_heads") > 0)
    m.linear_attention = LinearAttention{row.integer("key_heads"), row.integer("value_heads"), row.integer("key_head_dim"),
                                         row.integer("value_head_dim"), row.integer("kernel")};
  if (row.integer("tower_hidden") > 0) {
    m.vision = VisionTower{};
    m.vision->hidden = row.integer("tower_hidden");
    m.vision->ffn = row.integer("tower_ffn");
    m.vision->heads = row.integer("tower_heads");
    m.vision->positions = row.integer("tower_positions");
  }
  return m;
}

/// The models that reference rows were made with, by the names that the rows use.
inline const std::map<std::string, Model, std::less<>>& reference_models() {
  static const auto models = [] {
    std::map<std::string, Model, std::less<>> found;
    for (const CsvRow& row : read_csv(reference_path("shapes.csv")))
      found.emplace(row.text("model"), model_of_shape(row));
    return found;
  }();
  return models;
}

/// What a method of the recordings is in our words: `base` and `adapter` dtype, autocast, format of
/// the quantized weights, and whether norms, embeddings and head were cast to fp32.
struct RecordedMethod {
  std::string_view name;
  Method method;
  bool base_is_half;
  bool adapter_is_half;
  bool autocasts;
  Quantization quantization;
  bool double_quantizes;
  bool upcasts;
};

inline constexpr std::array<RecordedMethod, 24> kRecordedMethods{{
    {"full_bf16", Method::full, true, true, false, Quantization::none, false, false},
    {"full_bf16_amp", Method::full, true, true, true, Quantization::none, false, false},
    {"full_amp", Method::full, false, false, true, Quantization::none, false, false},
    {"full_fp32", Method::full, false, false, false, Quantization::none, false, false},
    {"lora_bf16", Method::lora, true, true, false, Quantization::none, false, false},
    {"lora_amp", Method::lora, true, false, true, Quantization::none, false, false},
    {"lora_bf16_amp", Method::lora, true, true, true, Quantization::none, false, false},
    {"lora_fp32adapter", Method::lora, true, false, false, Quantization::none, false, false},
    {"lora_fp32_amp", Method::lora, false, false, true, Quantization::none, false, false},
    {"qlora_bf16_single", Method::qlora, true, true, false, Quantization::nf4, false, false},
    {"lora_upcast", Method::lora, true, false, true, Quantization::none, false, true},
    {"qlora", Method::qlora, true, false, true, Quantization::nf4, false, true},
    {"qlora_noamp", Method::qlora, true, false, false, Quantization::nf4, false, true},
    {"qlora_dq", Method::qlora, true, false, true, Quantization::nf4, true, true},
    {"qlora_dq_noamp", Method::qlora, true, false, false, Quantization::nf4, true, true},
    {"qlora_noprep", Method::qlora, true, false, true, Quantization::nf4, true, false},
    {"qlora_trl", Method::qlora, false, true, true, Quantization::nf4, false, false},
    {"int8", Method::qlora, true, false, true, Quantization::int8, false, true},
    {"int8_noamp", Method::qlora, true, false, false, Quantization::int8, false, true},
    {"int8_noprep", Method::qlora, true, false, true, Quantization::int8, false, false},
    {"int8_bf16", Method::qlora, true, true, false, Quantization::int8, false, false},
    {"freeze_amp", Method::freeze, true, false, true, Quantization::none, false, false},
    {"freeze_bf16", Method::freeze, true, true, false, Quantization::none, false, false},
    {"qlora_bf16", Method::qlora, true, true, false, Quantization::nf4, true, false},
}};

inline const RecordedMethod* recorded_method(std::string_view name) {
  for (const RecordedMethod& method : kRecordedMethods)
    if (method.name == name) return &method;
  return nullptr;
}

inline OptimizerKind optimizer_of(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  for (int i = 0; i < kOptimizers; ++i)
    if (qwenplan::name(static_cast<OptimizerKind>(i)) == name) return static_cast<OptimizerKind>(i);
  return OptimizerKind::adamw_fused;
}

/// The sets of linear layers that rows name.
inline ModuleSet targets_of(std::string_view name) {
  if (name == "qv") return q_proj | v_proj;
  if (name == "qo") return q_proj | o_proj;
  if (name == "parts") return q_proj | k_proj | v_proj | o_proj | up_proj | down_proj | in_proj_qkv | in_proj_z | out_proj;
  if (name == "mlp") return gate_proj | up_proj | down_proj;
  if (name == "head") return kAllLinear | lm_head;
  if (name == "tokens") return kAllLinear | embed_tokens;
  if (name == "ends") return kAllLinear | lm_head | embed_tokens;
  return name.starts_with("att") ? kAttentionModules : kAllLinear;
}

inline ModuleSet saved_of(std::string_view names) {
  const bool embedding = names.find("embed_tokens") != std::string_view::npos;
  const bool head = names.find("lm_head") != std::string_view::npos;
  return (embedding ? ModuleSet{embed_tokens} : 0) | (head ? ModuleSet{lm_head} : 0);
}

/// The loss of a recorded trace: whose code it is.
inline void set_loss(Run& run, std::string_view name) {
  const auto chunked = [&](ChunkedLoss loss) { run.loss = Loss::chunked, run.chunked_loss = loss; };
  const auto fused = [&](FusedLoss loss) { run.loss = Loss::fused, run.fused_loss = loss; };
  run.weighs_tokens = name == "weighted";
  if (name == "trlchunked") chunked(ChunkedLoss::trl);
  if (name == "torchtune") chunked(ChunkedLoss::torchtune);
  if (name == "torchtunelogits") chunked(ChunkedLoss::torchtune_logits);
  if (name == "litgpt") chunked(ChunkedLoss::litgpt), run.loss_chunk_tokens = 128;
  if (name == "liger") fused(FusedLoss::liger);
  if (name == "trlfused") fused(FusedLoss::trl);
  if (name == "cce") fused(FusedLoss::cut_cross_entropy);
}

/// Whose modelling code a trace was recorded of: its name begins with it, if not transformers'.
inline ModelCode code_of(std::string_view trace) {
  if (trace.starts_with("torchtune_")) return ModelCode::torchtune;
  if (trace.starts_with("litgpt_")) return ModelCode::litgpt;
  if (trace.starts_with("unsloth_")) return ModelCode::unsloth;
  return ModelCode::transformers;
}

/// axolotl's formats of norms and of embedding and head, and the packages that it brings along.
inline void set_axolotl(Run& run, const CsvRow& row) {
  if (run.method == Method::full || run.is_quantized()) {
    run.norm_weights = run.embedding_weights = run.method == Method::full ? DType::fp32 : run.half;
  }
  run.router_weights = DType::fp32;
  run.has_delta_kernels = true;
  run.packs = run.is_joined;
  run.samples = row.integer("micro_batch");
}

/// The run of a recorded row; its table may leave out columns that all its rows share.
inline Run run_of(const CsvRow& row) {
  const RecordedMethod& recorded = *recorded_method(row.text("method"));
  Run run;
  if (row.has("trace")) run.code = code_of(row.text("trace"));
  run.method = recorded.method;
  run.half =
      row.text("half") == "fp16" || row.text("half_dtype") == "fp16" ? DType::fp16 : DType::bf16;
  run.weights = recorded.base_is_half ? run.half : DType::fp32;
  run.adapter = recorded.adapter_is_half ? run.half : DType::fp32;
  if (row.text("method") == "qlora_trl") run.quant_compute = DType::fp32;
  run.autocasts = recorded.autocasts;
  run.quantization = recorded.quantization;
  run.double_quantizes = recorded.double_quantizes;
  run.upcasts_for_kbit = recorded.upcasts;
  run.precision = recorded.autocasts      ? Precision::bf16_mixed
                  : recorded.base_is_half ? Precision::bf16_true
                                          : Precision::fp32;
  run.is_padded = row.integer("padded") != 0;
  run.keeps_outputs = row.integer("keep_outputs") != 0;
  run.length = row.has("seq_len") ? row.integer("seq_len") : row.integer("seq_len_tokens");
  run.micro_batch = row.integer("micro_batch");
  run.accumulation = row.has("grad_accum") ? row.integer("grad_accum") : 1;
  run.checkpoints = row.integer("grad_checkpointing") != 0;
  run.checkpoints_reentrant =
      row.integer("reentrant") != 0 || row.integer("checkpoint_reentrant") != 0;
  run.attention = row.text("attn") == "eager" ? Attention::eager : Attention::sdpa;
  run.optimizer = optimizer_of(row.text("optimizer"));
  if (row.has("objective") && !row.text("objective").empty()) {
    for (int i = 0; i < 13; ++i)
      if (name(static_cast<Objective>(i)) == row.text("objective"))
        run.objective = static_cast<Objective>(i);
    const bool is_compared = run.objective != Objective::orpo && run.objective != Objective::simpo &&
                             run.objective != Objective::cpo && run.objective != Objective::reward;
    if (is_compared)
      run.reference = run.has_adapters() ? Reference::without_adapters : Reference::second_model;
    run.reference_weights = run.half;
    const std::string trace = row.text("trace");
    if (trace.starts_with("swift_")) {
      run.preference_code = PreferenceCode::ms_swift;
      run.reference_weights = run.weights;
    }
    if (trace.starts_with("trl")) {
      run.preference_code = PreferenceCode::trl;
      run.reference_weights = run.weights;
      run.adds_likelihood = run.objective == Objective::orpo || run.objective == Objective::cpo;
      run.copies_shifted_logits = trace.starts_with("trl1.5_");
      if (trace.starts_with("trl1.16_")) {
        if (is_compared) set_loss(run, "trlfused");
        run.picks_by_kernel = true;
      }
    }
  }
  if (row.has("freeze") && row.integer("freeze") != 0) {
    const std::int64_t asked = row.integer("freeze");
    run.trained_layers = asked > 0 ? asked : -asked;
    run.first_trained_layer = asked > 0 ? row.integer("layers_measured") - asked : 0;
    run.trained_weights = run.autocasts ? DType::fp32 : run.weights;
  }
  run.uses_dora = row.has("dora") && row.integer("dora") != 0;
  run.magnitude = run.adapter;
  run.lora_rank = row.integer("lora_r");
  run.lora_dropout = row.real("lora_dropout");
  run.lora_targets = targets_of(row.text("lora_targets"));
  const auto model = reference_models().find(row.text("model"));
  if (model != reference_models().end() && model->second.fuses_projections() && run.code == ModelCode::transformers &&
      run.lora_targets == kAllLinear)
    run.lora_targets = kAllFusedLinear;
  if (model != reference_models().end() && model->second.linear_attention && run.lora_targets == kAllLinear)
    run.lora_targets |= kLinearAttentionModules;
  if (model != reference_models().end() && model->second.experts && row.text("lora_targets") == "whole")
    run.lora_targets |= shared_expert_gate;
  run.modules_to_save = saved_of(row.text("modules_to_save"));
  if (row.has("liger")) {
    set_loss(run, row.text("loss"));
    const std::string kernels = row.text("liger");
    run.liger_rope = kernels.find("rope") != std::string_view::npos;
    run.liger_rms_norm = kernels.find("norm") != std::string_view::npos;
    run.liger_glu = kernels.find("glu") != std::string_view::npos;
  }
  run.is_joined = row.integer("packed") != 0;
  run.borders = run.is_joined ? Borders::positions : Borders::none;
  if (row.has("trace") && row.text("trace").starts_with("axolotl_")) set_axolotl(run, row);
  run.adds_noise = row.integer("neftune") != 0;
  run.offloads_checkpoints = row.text("offload") == "unsloth";
  run.offloads_activations = row.text("offload") == "streams";
  const std::string kernels = row.text("lora_kernels");
  run.fuses_mlp = run.fuses_qkv = run.fuses_o = !kernels.empty() || run.code == ModelCode::unsloth;
  run.optimizer_in_backward = row.integer("in_backward") != 0;
  if (row.has("tower")) {
    run.has_tower = row.integer("tower") > 0;
    run.tower_weights = run.weights;
    run.trains_tower = run.method == Method::full;
    run.adapts_patches = row.text("lora_targets") == "every";
    run.adapts_tower = run.adapts_patches || row.text("lora_targets") == "whole";
    const std::string image = row.text("image");
    run.picture = image == "swift" ? Picture::beside : image == "factory" ? Picture::within : Picture::none;
    if (run.picture != Picture::none) run.trains_tower = false;
    run.keeps_decay_wide = run.picture == Picture::beside;
    run.quantizes_tower = run.picture != Picture::beside;
  }
  return run;
}

/// The libraries of a recorded row: the newest, but for a version that it names.
inline Stack stack_of_row(const CsvRow& row) {
  Stack stack = kLatest;
  if (const auto version = version_of(row.text("transformers"))) stack.transformers = *version;
  return stack;
}

/// A trace without the workspaces of libraries and kernels, which the recordings cannot see.
inline Trace without_workspaces(const Trace& trace) {
  Trace out;
  std::set<std::uint32_t> dropped;
  std::size_t mark = 0;
  for (std::size_t i = 0; i <= trace.events.size(); ++i) {
    for (; mark < trace.marks.size() && trace.marks[mark].first == i; ++mark) {
      out.marks.push_back(trace.marks[mark]);
      out.marks.back().first = static_cast<std::uint32_t>(out.events.size());
    }
    if (i == trace.events.size()) break;
    const Event& event = trace.events[i];
    if (event.kind == Event::Kind::allocate && event.term == Term::workspace)
      dropped.insert(event.storage);
    if (!dropped.contains(event.storage))
      out.events.push_back(event);
    else if (event.kind == Event::Kind::free)
      dropped.erase(event.storage);
  }
  return out;
}

/// Loss functions, caches and optimizers that a run cannot ask for.
inline bool is_expressible(const CsvRow& row) {
  return row.text("loss") != "no_head" && row.integer("use_cache") == 0 &&
         row.text("optimizer") != "adafactor";
}

}  // namespace qwenplan::test
