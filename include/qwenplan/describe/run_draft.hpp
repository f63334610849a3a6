#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwenplan/base/place.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/modules.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/describe/trainer.hpp"

namespace qwenplan {

/// Where a setting came from.
enum class From : std::uint8_t { flag, env, file, trainer, table, by_default };

constexpr std::string_view name(From from) {
  constexpr std::string_view names[] = {"flag", "env", "file", "trainer", "table", "default"};
  return names[static_cast<int>(from)];
}

/// A value that somebody gave, who did, and where in a file.
template <class T>
struct Given {
  T value{};
  From from = From::flag;
  Place place{};
};

/// The largest values that are asked about: they keep every count of the emulation far from
/// overflow.
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 28;  ///< of one micro-step
inline constexpr std::int64_t kMostLength = std::int64_t{1} << 24;
/// Of a row of linear attention in PyTorch's own code, where every chunk of 64 tokens is a turn of a loop.
inline constexpr std::int64_t kMostChunkedLength = std::int64_t{64} << 12;
inline constexpr std::int64_t kMostBatch = std::int64_t{1} << 16;
inline constexpr std::int64_t kMostAccumulation = std::int64_t{1} << 20;
inline constexpr std::int64_t kMostLayers = 1 << 12;
inline constexpr std::int64_t kMostRank = std::int64_t{1} << 16;


/// What is known of a run before the defaults: from flags, or from a trainer's file. It may be
/// nonsense; `validated` is the only place that says so.
struct RunDraft {
  template <class T>
  using Maybe = std::optional<Given<T>>;

  Maybe<Method> method;
  Maybe<Quantization> quantization;
  Maybe<bool> double_quantizes;
  Maybe<Precision> precision;
  Maybe<DType> weights;
  Maybe<bool> autocasts;
  Maybe<DType> adapter;
  Maybe<bool> upcasts_for_kbit;
  Maybe<bool> is_padded;
  Maybe<bool> keeps_outputs;
  Maybe<std::int64_t> length;
  Maybe<std::int64_t> micro_batch;
  Maybe<std::int64_t> accumulation;
  Maybe<bool> checkpoints;
  Maybe<bool> checkpoints_reentrant;
  Maybe<std::string> attention;  ///< as in --attention
  Maybe<Loss> loss;
  Maybe<std::string> optimizer;  ///< as in --optimizer; "adamw" is what the stack's trainer picks
  Maybe<std::int64_t> optimizer_rank;  ///< of GaLore's and APOLLO's projections
  Maybe<std::int64_t> trained_layers;  ///< of --method freeze: the last, or, below zero, the first
  Maybe<std::int64_t> lora_rank;
  Maybe<double> lora_alpha;
  Maybe<double> lora_dropout;
  Maybe<bool> uses_dora;
  Maybe<std::vector<std::string>> lora_targets;     ///< names, or all-linear, attention, qv
  Maybe<bool> lists_every_linear;  ///< all-linear is a list of names, which other layers can share, and not PEFT's word
  Maybe<std::vector<std::string>> modules_to_save;  ///< names

  // What trainers add.
  Maybe<Objective> objective;
  Maybe<bool> has_reference;          ///< a second, frozen model is held for comparison
  Maybe<bool> precomputes_reference;  ///< its answers are computed before the training
  Maybe<bool> adds_likelihood;        ///< CPO and SimPO of TRL: the chosen answers' likelihood is added
  Maybe<bool> packs;            ///< samples are joined until each sequence has its full length
  Maybe<bool> is_padding_free;  ///< the micro-batch is one row, with borders instead of padding
  Maybe<Borders> borders;       ///< how samples of one row are told apart
  Maybe<bool> takes_bf16;  ///< autocast in bf16 over weights that are stored in it
  Maybe<bool> takes_fp16;  ///< autocast in fp16 over weights that are stored in fp16 or fp32
  Maybe<Precision> launched_precision;  ///< of a launcher, where the trainer takes no autocast
  Maybe<bool> keeps_stored_dtype;  ///< weights are loaded in the dtype that the checkpoint has
  Maybe<bool> is_unbounded;     ///< samples are as long as the data has them; `length` is the user's
  Maybe<ModelCode> code;        ///< whose modelling code runs
  Maybe<ChunkedLoss> chunked_loss;        ///< whose code the chunked loss is
  Maybe<std::int64_t> loss_chunk_tokens;  ///< of the chunked loss: tokens of one piece
  Maybe<std::int64_t> loss_chunks;        ///< or: how many pieces
  Maybe<FusedLoss> fused_loss;            ///< which kernel the fused loss is
  Maybe<LogitMetrics> metrics;            ///< what is computed from the logits to log it
  Maybe<bool> liger_rope;      ///< Liger's rotary embedding
  Maybe<bool> liger_rms_norm;  ///< Liger's norm, which saves less for backward
  Maybe<bool> liger_glu;       ///< Liger's SwiGLU, which computes again what backward needs
  Maybe<bool> fuses_gated_norm;  ///< axolotl's kernel for the gated norm of linear attention
  Maybe<bool> offloads_checkpoints;   ///< each layer's input waits in host memory for backward
  Maybe<bool> offloads_activations;   ///< whatever is saved for backward waits in host memory
  Maybe<bool> lora_mlp_kernel;  ///< the MLP and its adapters are one function, with less to save
  Maybe<bool> lora_qkv_kernel;  ///< the same for q, k and v
  Maybe<bool> lora_o_kernel;    ///< and for the output projection
  Maybe<bool> optimizer_in_backward;  ///< each gradient is used and freed as soon as it is there
  Maybe<DType> norm_weights;    ///< format of the norms, where it is not that of the base
  Maybe<DType> embedding_weights;  ///< of the embeddings and the head, likewise
  Maybe<DType> router_weights;     ///< of what chooses experts, likewise
  Maybe<DType> quant_compute;      ///< format that a quantized layer computes in
  Maybe<bool> upcasts_head_output;  ///< the head's output is cast to fp32
  Maybe<bool> compiles;            ///< torch.compile
  Maybe<bool> uses_fp8;            ///< products in fp8
  Maybe<double> neftune_alpha;     ///< noise on the embeddings' output
  Maybe<bool> weighs_tokens;       ///< LLaMA-Factory's second form: a weight for each token's loss
  Maybe<std::vector<std::string>> lora_target_parameters;  ///< adapters on experts' tensors
  Maybe<std::string> lora_bias;    ///< none, all, lora_only
  Maybe<bool> trains_vision;       ///< the vision tower or its projector is trained too
  Maybe<bool> shows_picture;       ///< LLaMA-Factory's template knows pictures
  Maybe<bool> trains_on_images;    ///< the data has some
  Maybe<std::int64_t> tensor_parallel;
  Maybe<std::int64_t> pipeline_parallel;
  Maybe<std::int64_t> context_parallel;
  Maybe<std::int64_t> expert_parallel;

  Maybe<TrainerRelease> trainer;  ///< whose defaults stand in for what is absent
  Maybe<std::int64_t> gpus;
  Maybe<std::string> zero;
  Maybe<std::string> fsdp;
  Maybe<std::string> offload;
};

/// A setting of a validated run as it is shown: the flag's name, its value and where that is from.
struct RunSetting {
  using Value = std::variant<bool, std::int64_t, double, std::string>;
  std::string_view flag;
  Value value;
  From from = From::by_default;
};

/// A run whose every setting is decided and possible.
struct ValidRun {
  Run run;
  std::vector<RunSetting> settings;  ///< each of them, in the order of the help
  std::vector<std::string> notes;    ///< what a user should know: possible, but unusual

  void show(std::string_view flag, RunSetting::Value value, From from) {
    RunSetting& shown = settings.emplace_back();
    shown.flag = flag;
    shown.value = std::move(value);
    shown.from = from;
  }
};

constexpr std::string_view name(Method method) {
  constexpr std::string_view names[] = {"full", "lora", "qlora", "freeze"};
  return names[static_cast<int>(method)];
}
constexpr std::string_view name(Quantization quantization) {
  constexpr std::string_view names[] = {"none", "int8", "nf4", "fp4", "gptq-int4", "awq-int4"};
  return names[static_cast<int>(quantization)];
}
constexpr std::string_view name(Precision precision) {
  constexpr std::string_view names[] = {"bf16-true", "bf16-mixed", "fp16-true", "fp16-mixed",
                                        "fp32"};
  return names[static_cast<int>(precision)];
}
constexpr std::string_view name(Attention attention) {
  constexpr std::string_view names[] = {"sdpa", "eager", "flash", "efficient", "math", "fa2"};
  return names[static_cast<int>(attention)];
}
constexpr std::string_view name(Loss loss) {
  constexpr std::string_view names[] = {"standard", "chunked", "fused"};
  return names[static_cast<int>(loss)];
}
constexpr std::string_view name(OptimizerKind optimizer) {
  constexpr std::string_view names[] = {"adamw-fused", "adamw-foreach", "adamw-loop",
                                        "adamw-8bit",  "paged-adamw",   "paged-adamw-8bit",
                                        "sgd",         "sgd-momentum",  "adafactor",
                                        "adagrad",     "lion",          "lion-8bit",
                                        "paged-lion",  "paged-lion-8bit", "ademamix",
                                        "ademamix-8bit", "paged-ademamix", "paged-ademamix-8bit",
                                        "rmsprop",     "rmsprop-bnb",   "rmsprop-8bit",
                                        "adamw-anyprecision", "adamw-torchao-8bit", "adamw-torchao-4bit",
                                        "schedule-free-adamw", "muon", "galore", "apollo", "adam-mini"};
  return names[static_cast<int>(optimizer)];
}

constexpr std::string_view name(Objective objective) {
  constexpr std::string_view names[] = {"sft",   "pretrain", "dpo", "ipo",  "orpo", "kto",
                                        "simpo", "cpo",      "reward", "ppo", "grpo", "rloo",
                                        "distillation"};
  return names[static_cast<int>(objective)];
}
constexpr std::string_view name(ChunkedLoss loss) {
  constexpr std::string_view names[] = {"trl", "torchtune", "torchtune-logits", "litgpt",
                                        "axolotl"};
  return names[static_cast<int>(loss)];
}
constexpr std::string_view name(FusedLoss loss) {
  constexpr std::string_view names[] = {"liger", "cut-cross-entropy", "unsloth", "flash-attn",
                                        "unsloth-logits", "trl"};
  return names[static_cast<int>(loss)];
}
constexpr std::string_view name(ModelCode code) {
  constexpr std::string_view names[] = {"transformers", "torchtune", "litgpt", "unsloth"};
  return names[static_cast<int>(code)];
}
constexpr std::string_view name(LogitMetrics metrics) {
  constexpr std::string_view names[] = {"none", "accuracy", "entropy"};
  return names[static_cast<int>(metrics)];
}

namespace draft {

/// The enumerator of an enumeration with so many members that has the name.
template <class Enum>
std::optional<Enum> by_name(std::string_view wanted, int members) {
  for (int i = 0; i < members; ++i)
    if (name(static_cast<Enum>(i)) == wanted) return static_cast<Enum>(i);
  return std::nullopt;
}

inline Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}
inline Error unmodelled(std::string what, std::string where, std::string hint) {
  return {Error::Kind::unknown, std::move(what) + " is not modelled", std::move(where),
          std::move(hint)};
}

/// PEFT's word for all linear layers, or LLaMA-Factory's, which --lora-targets takes for the same. TRL's files have
/// the first alone.
inline bool is_every_linear(const std::string& name) { return name == "all-linear" || name == "all"; }

/// A layer's name without the module that holds it, as in linear_attn.in_proj_z: PEFT compares the ends of paths.
inline std::string without_holder(const std::string& name, const Model& model) {
  for (const std::string_view holder : {"self_attn.", "linear_attn.", "mlp."})
    if (name.starts_with(holder) && !(model.experts && holder == "mlp.")) return name.substr(holder.size());
  return name;
}

/// Which layers get an adapter. PEFT passes over names that it does not find, as long as it finds one.
inline Result<ModuleSet> targets(const std::vector<std::string>& names, const Model& model, ModelCode code) {
  const std::string where = "--lora-targets";
  ModuleSet set = 0;
  for (const std::string& name_or_path : names) {
    const std::string each = without_holder(name_or_path, model);
    if (is_every_linear(each)) {
      set |= kEveryLinear;
    } else if (each == "attention") {
      set |= kAttentionModules | qkv_proj;
    } else if (each == "qv") {
      set |= q_proj | v_proj;
    } else if (const auto module = module_named(each)) {
      if (name(*module, model) == each) set |= *module;
    } else {
      return unmodelled("an adapter on '" + each + "'", where,
                        "modelled: all-linear, attention, qv, q_proj, k_proj, v_proj, o_proj, "
                        "gate_proj, up_proj, down_proj, qkv_proj, gate_up_proj, c_fc, c_proj, "
                        "shared_expert_gate, in_proj_qkv, in_proj_z, in_proj_b, in_proj_a, out_proj, lm_head, embed_tokens");
    }
  }
  if (names.empty()) return wrong("no layer is named", where, "all-linear is what most recipes use");
  set &= modules_of(model, code);
  if (set != 0) return set;
  std::string own;
  for (const auto& [known, module] : named_modules(kEveryLinear & modules_of(model, code), model))
    own += (own.empty() ? "" : ", ") + std::string(known);
  return wrong(std::string(name(model.architecture)) + " has none of these layers", where, "its layers are " + own);
}

/// Adapters on the embedding or on the output layer that do not do what is asked.
inline std::optional<Error> outside_of_ends(const Run& run) {
  const auto is_adapted = [&](Module module) {
    return (run.lora_targets & module) != 0 && (run.modules_to_save & module) == 0;
  };
  if (is_adapted(embed_tokens) && run.uses_dora)
    return unmodelled("DoRA on an embedding", "--dora", "leave embed_tokens out");
  const bool reads_weight =
      (run.loss == Loss::chunked && run.chunked_loss == ChunkedLoss::trl) ||
      (run.loss == Loss::fused && run.fused_loss != FusedLoss::flash_attn && run.fused_loss != FusedLoss::unsloth_logits);
  if (is_adapted(lm_head) && reads_weight)
    return unmodelled("a loss that takes the head's weight and leaves its adapter out", "--loss",
                      "use --loss standard, or leave lm_head out");
  return std::nullopt;
}

inline Result<ModuleSet> saved_modules(const std::vector<std::string>& names) {
  ModuleSet set = 0;
  for (const std::string& each : names) {
    const auto module = module_named(each);
    if (!module || (*module & kEveryLinear))
      return unmodelled("training '" + each + "' in full beside adapters", "--modules-to-save",
                        "modelled: lm_head, embed_tokens");
    set |= *module;
  }
  return set;
}

/// An error for a whole number below one or beyond its bound.
inline std::optional<Error> outside(const RunDraft::Maybe<std::int64_t>& given,
                                    std::string_view flag, std::int64_t high) {
  if (!given || (given->value >= 1 && given->value <= high)) return std::nullopt;
  return wrong(std::to_string(given->value) + " is out of range", "--" + std::string(flag),
               "write a number from 1 to " + std::to_string(high));
}

/// The version of TRL whose trainers compare the sequences of a run: its own, or what axolotl requires.
inline std::optional<Version> trl_of(const RunDraft& d) {
  if (!d.trainer) return latest_version(Trainer::trl);
  const auto [trainer, version] = d.trainer->value;
  if (trainer == Trainer::trl) return version;
  if (trainer != Trainer::axolotl) return std::nullopt;
  if (version >= Version{0, 19, 0}) return Version{1, 9, 0};
  if (version >= Version{0, 18, 0}) return Version{1, 8, 0};
  if (version >= Version{0, 17, 0}) return Version{1, 5, 1};
  return std::nullopt;
}

/// Whether TRL compares by its fused head, which scores tokens without their logits.
inline bool is_scored_by_trl(const RunDraft& d) {
  const auto trl = trl_of(d);
  const bool has_reference = d.objective && (d.objective->value == Objective::dpo || d.objective->value == Objective::ipo ||
                                             d.objective->value == Objective::kto);
  const bool is_trl = !d.trainer || d.trainer->value.trainer == Trainer::trl || d.trainer->value.trainer == Trainer::axolotl;
  return has_reference && is_trl && trl && *trl >= Version{1, 15, 0};
}

/// Whether what a trainer does with sequences that it compares is known.
inline bool is_comparison_known(const RunDraft& d) {
  const Objective objective = d.objective->value;
  if (d.trainer && d.trainer->value.trainer == Trainer::llama_factory)
    return objective != Objective::cpo;
  if (d.trainer && d.trainer->value.trainer == Trainer::torchtune) return objective == Objective::dpo;
  // ms-swift has DPO, KTO and reward models of its own, and ORPO and CPO of the TRL of its time.
  if (d.trainer && d.trainer->value.trainer == Trainer::ms_swift)
    return d.trainer->value.version >= Version{4, 6, 0};
  const auto trl = trl_of(d);
  if (!trl) return false;
  // Between these two, other code logs what it learns of logits.
  const bool is_between = *trl >= Version{1, 11, 0} && *trl < Version{1, 15, 0};
  switch (objective) {
    case Objective::dpo:
    case Objective::ipo: return *trl >= Version{0, 29, 0} && !is_between;
    case Objective::kto: return *trl >= Version{1, 8, 0} && !is_between;
    case Objective::orpo:
    case Objective::simpo:
    case Objective::cpo: return *trl >= Version{0, 15, 0};
    case Objective::reward: return *trl >= Version{0, 24, 0};  // before, a forward for each answer
    default: return false;
  }
}

/// What trainers add and has no mechanism yet.
inline std::optional<Error> trainers_addition_not_modelled(const RunDraft& d) {
  const std::string where = "the trainer's settings";
  const std::string leave_out = "leave it out";
  const auto refused = [&](std::string what) { return unmodelled(std::move(what), where, leave_out); };
  if (d.objective) {
    const Objective objective = d.objective->value;
    if (objective == Objective::ppo || objective == Objective::grpo || objective == Objective::rloo)
      return unmodelled("the generation of answers in " + std::string(name(objective)), "--objective",
                        "modelled: sft, pretrain, dpo, ipo, orpo, simpo, kto, reward");
    if (objective == Objective::distillation)
      return unmodelled("a teacher", "--objective",
                        "modelled: sft, pretrain, dpo, ipo, orpo, simpo, kto, reward");
    const bool compares = objective != Objective::sft && objective != Objective::pretrain;
    if (compares && !is_comparison_known(d))
      return unmodelled(
          std::string(name(objective)) + " as " +
              (d.trainer ? text(d.trainer->value) : std::string("TRL")) + " runs it",
          "--objective",
          "modelled: dpo, ipo, orpo, simpo, kto and reward with --trainer llama-factory; dpo and ipo of TRL "
          "0.29, kto of 1.8 (neither of 1.11 to 1.14), reward of 0.24, orpo, simpo and cpo of 0.15 and later; "
          "axolotl 0.17 and later; ms-swift 4.6");
    const bool scores = d.loss && d.loss->value == Loss::fused && d.fused_loss && d.fused_loss->value == FusedLoss::trl;
    if (compares && d.loss && (is_scored_by_trl(d) ? !scores : d.loss->value != Loss::standard))
      return unmodelled("a " + std::string(name(d.loss->value)) + " loss of preferences", "--loss",
                        "use --loss standard");
    const auto is_on = [](const RunDraft::Maybe<bool>& given) { return given && given->value; };
    if (objective == Objective::reward && (is_on(d.lora_mlp_kernel) || is_on(d.lora_qkv_kernel) || is_on(d.lora_o_kernel)))
      return wrong("axolotl's kernels of adapters, which are on unless told otherwise, take no reward model",
                   "--lora-kernels", "lora_mlp_kernel: false, lora_qkv_kernel: false, lora_o_kernel: false");
    if (compares && (is_on(d.lora_mlp_kernel) || is_on(d.lora_qkv_kernel) || is_on(d.lora_o_kernel) ||
                     is_on(d.offloads_checkpoints) || is_on(d.offloads_activations)))
      return unmodelled("a kernel of adapters or an offload with preferences", where, leave_out);
    if (compares && d.precomputes_reference && d.precomputes_reference->value && !trl_of(d))
      return unmodelled("a reference that answers before the training", where, leave_out);
    if (compares && ((d.packs && d.packs->value) || (d.is_padding_free && d.is_padding_free->value)))
      return unmodelled("packing of preferences", where, leave_out);
  }
  if (d.is_unbounded && d.is_unbounded->value && !d.length)
    return Error{Error::Kind::unknown, "the longest sample is not in the settings", "--seq-len",
                 "give the longest sample of the data in tokens"};
  const std::pair<const RunDraft::Maybe<bool>&, const char*> switches[] = {
      {d.compiles, "torch.compile"},
      {d.uses_fp8, "fp8"},
      {d.trains_vision, "training the vision tower"}};
  for (const auto& [given, what] : switches)
    if (given && given->value) return refused(what);
  const std::pair<const RunDraft::Maybe<std::int64_t>&, const char*> degrees[] = {
      {d.tensor_parallel, "tensor parallelism"},
      {d.pipeline_parallel, "pipeline parallelism"},
      {d.context_parallel, "context parallelism"},
      {d.expert_parallel, "expert parallelism"}};
  for (const auto& [given, what] : degrees)
    if (given && given->value > 1) return refused(what);
  if (d.lora_target_parameters) return refused("adapters on the experts' tensors");
  if (d.lora_bias && d.lora_bias->value != "none") return refused("training biases");
  return std::nullopt;
}

/// What has no mechanism yet is named, never ignored.
inline std::optional<Error> not_modelled(const RunDraft& d) {
  const auto is_off = [](const std::string& word) {
    return word == "none" || word == "no" || word == "0" || word == "false" || word.empty();
  };
  if (d.trainer && static_cast<int>(d.trainer->value.trainer) >= kTrainersWithDefaults)
    return unmodelled("the trainer " + std::string(name(d.trainer->value.trainer)), "--trainer",
                      "leave it out for transformers with PEFT, and set what differs by flags");
  if (d.trainer && d.trainer->value.trainer == Trainer::unsloth &&
      d.trainer->value.version < Version{2026, 10, 0})
    return unmodelled("the code of " + text(d.trainer->value), "--trainer",
                      "modelled: unsloth 2026.10; leave it out for transformers with PEFT");
  if (d.gpus && d.gpus->value != 1)
    return unmodelled("a run on " + std::to_string(d.gpus->value) + " GPUs", "--gpus",
                      "leave it out for one GPU");
  if (d.zero && !is_off(d.zero->value))
    return unmodelled("ZeRO " + d.zero->value, "--zero", "leave it out for one GPU");
  if (d.fsdp && !is_off(d.fsdp->value))
    return unmodelled("FSDP", "--fsdp", "leave it out for one GPU");
  if (d.offload && !is_off(d.offload->value))
    return unmodelled("offloading " + d.offload->value, "--offload",
                      "--optimizer paged-adamw-8bit moves the optimizer's states off the GPU");
  if (d.method && d.method->value == Method::freeze && d.trainer &&
      d.trainer->value.trainer != Trainer::llama_factory)
    return unmodelled("freezing some layers as " + std::string(name(d.trainer->value.trainer)) + " does",
                      "--method", "modelled: full, lora, qlora; LLaMA-Factory's freeze");
  if (d.quantization && (d.quantization->value == Quantization::gptq_int4 ||
                         d.quantization->value == Quantization::awq_int4))
    return unmodelled("the quantization " + std::string(name(d.quantization->value)), "--quant",
                      "modelled: nf4, fp4, int8");
  if (auto error = trainers_addition_not_modelled(d)) return error;
  if (d.uses_dora && d.uses_dora->value && d.quantization &&
      d.quantization->value == Quantization::int8)
    return unmodelled("DoRA on a base of 8 bits", "--dora", "use --quant nf4, or leave it out");
  if (d.uses_dora && d.uses_dora->value && d.trainer &&
      (d.trainer->value.trainer == Trainer::torchtune ||
       d.trainer->value.trainer == Trainer::unsloth || d.trainer->value.trainer == Trainer::litgpt))
    return unmodelled("DoRA of " + std::string(name(d.trainer->value.trainer)), "--dora",
                      "modelled: PEFT's");
  if (d.attention && !by_name<Attention>(d.attention->value, 6))
    return unmodelled("the attention '" + d.attention->value + "'", "--attention",
                      "modelled: sdpa, eager, flash, efficient, math, fa2");
  if (d.optimizer && d.optimizer->value != "adamw" &&
      !by_name<OptimizerKind>(d.optimizer->value, kOptimizers)) {
    std::string modelled = "modelled: adamw";
    for (int i = 0; i < kOptimizers; ++i)
      modelled.append(", ").append(name(static_cast<OptimizerKind>(i)));
    return unmodelled("the optimizer '" + d.optimizer->value + "'", "--optimizer",
                      std::move(modelled));
  }
  if (const auto kind = d.optimizer ? by_name<OptimizerKind>(d.optimizer->value, kOptimizers) : std::nullopt;
      kind && is_by_matrix(*kind) && d.trainer && d.trainer->value.trainer != Trainer::llama_factory)
    return unmodelled("the optimizer '" + d.optimizer->value + "' as " + std::string(name(d.trainer->value.trainer)) +
                          " runs it", "--optimizer", "modelled: LLaMA-Factory's");
  return std::nullopt;
}

}  // namespace draft

namespace draft {

/// Why a model and a stack do not go together: the class is younger than the library, or what the
/// library did with it then is not modelled.
inline std::optional<Error> mismatched(const Model& model, const Stack& stack, ModelCode code) {
  const auto is_older = [&](int major, int minor) {
    return stack.transformers < Version{major, minor, 0};
  };
  const bool is_qwen3 =
      model.architecture == Architecture::qwen3 || model.architecture == Architecture::qwen3_moe;
  if ((is_qwen3 && is_older(4, 51)) ||
      (model.architecture == Architecture::gemma2 && is_older(4, 42)))
    return wrong(
        "this version of transformers does not know " + std::string(name(model.architecture)),
        "--stack", is_qwen3 ? "it came with transformers=4.51" : "it came with transformers=4.42");
  if (is_of_today_alone(model.architecture) && is_older(5, 0) && code == ModelCode::transformers)
    return Error{Error::Kind::unknown, std::string(name(model.architecture)) + " before transformers 5 is not modelled",
                 "--stack", "use latest"};
  if (model.linear_attention && is_older(5, 2))
    return wrong("this version of transformers does not know " + std::string(name(model.architecture)), "--stack",
                 "it came with transformers=5.2");
  if (model.experts && is_older(5, 0))
    return Error{Error::Kind::unknown, "experts before transformers 5 are not modelled", "--stack",
                 "use latest"};
  if (model.architecture != Architecture::qwen2 && is_older(4, 45))
    return Error{Error::Kind::unknown, "before transformers 4.45 only Qwen2 classes are modelled",
                 "--stack", "use 2025-02 or later"};
  return std::nullopt;
}

/// What a trainer of this runs through a model's vision tower although the data is text.
inline Picture picture_of(const RunDraft& d, const Run& run) {
  if (d.trainer->value.trainer == Trainer::ms_swift) return Picture::beside;
  // LLaMA-Factory's collator of samples puts one in where the template knows pictures (data/collator.py).
  const bool is_known = !d.shows_picture || d.shows_picture->value;
  const bool is_collated = !d.objective || d.objective->value != Objective::pretrain;
  return run.has_tower && is_known && is_collated ? Picture::within : Picture::none;
}

/// What is not modelled of a model that is loaded with its tower.
inline std::optional<Error> outside_of_tower(const RunDraft& d, const Run& run, const Model& model) {
  const std::string whose = " of " + std::string(name(model.architecture)) + " with its vision tower";
  if (run.picture == Picture::none) return std::nullopt;
  if (d.objective && d.objective->value != Objective::sft && d.objective->value != Objective::pretrain)
    return unmodelled(std::string(name(d.objective->value)) + whose, "--objective", "use sft");
  if (d.weighs_tokens && d.weighs_tokens->value)
    return unmodelled("the second form of LLaMA-Factory's files" + whose, "--model", "use the first form");
  const auto is_on = [](const RunDraft::Maybe<bool>& given) { return given && given->value; };
  if (is_on(d.packs) || is_on(d.is_padding_free))
    return unmodelled("packing" + whose, is_on(d.packs) ? "--packing" : "--padding-free", "leave it out");
  if (run.picture == Picture::within && run.attention == Attention::flash)
    return wrong("sdpa's flash kernel takes no padding mask, and a picture in the batch is masked", "--attention", "use sdpa or fa2");
  if (run.offloads_activations || run.offloads_checkpoints)
    return unmodelled("keeping activations in host memory" + whose, "--offload-activations, --offload-checkpoints", "leave it out");
  return std::nullopt;
}

/// Whether a trainer loads a model of text and images with its vision tower also where the data is text; the
/// others take the class for text, which leaves it out.
inline bool loads_tower(Trainer trainer) {
  return trainer == Trainer::trl || trainer == Trainer::llama_factory || trainer == Trainer::ms_swift ||
         trainer == Trainer::axolotl;
}

/// The vision tower of a model of text and images.
inline std::optional<Error> settle_tower(const RunDraft& d, const Model& model, Run& run, ValidRun& out) {
  if (!model.vision) return std::nullopt;
  const Trainer trainer = d.trainer ? d.trainer->value.trainer : Trainer::transformers;
  if (d.trains_on_images && d.trains_on_images->value)
    return unmodelled("training on images", "the data", "use data of text alone");
  if (!loads_tower(trainer)) {
    out.notes.push_back("the text decoder alone is loaded, without the vision tower");
    return std::nullopt;
  }
  run.has_tower = true;
  run.tower_weights = run.weights;
  out.show("vision-tower", std::string("loaded"), From::trainer);
  if (trainer == Trainer::trl || trainer == Trainer::axolotl) {
    // The class of the checkpoint (TRL's trainer/utils.py, create_model_from_path; axolotl's loaders/model.py), all of
    // it trained unless it is frozen, in one format; PEFT's all-linear finds the tower's layers too, and a list of all
    // names its convolution, which is called as a linear layer is. A tower that does not run has no gradients.
    run.freezes_tower = d.trains_vision && !d.trains_vision->value;
    run.trains_tower = run.method == Method::full && !run.freezes_tower;
    run.adapts_tower = run.has_adapters() &&
                       (!d.lora_targets || std::any_of(d.lora_targets->value.begin(), d.lora_targets->value.end(), is_every_linear));
    run.adapts_patches = run.adapts_tower && d.lists_every_linear && d.lists_every_linear->value;
    if (run.adapts_patches && d.uses_dora && d.uses_dora->value)
      return unmodelled("DoRA on the vision tower's convolution", "--dora", "name the layers that are to have adapters");
    out.notes.push_back("the vision tower is loaded too" + std::string(run.adapts_tower ? ", with adapters" : "") +
                        std::string(run.freezes_tower ? ", frozen" : run.trains_tower ? ", and counts as trained" : "") +
                        "; text never runs through it, so that it has no gradients");
    return std::nullopt;
  }
  run.picture = picture_of(d, run);
  if (trainer == Trainer::llama_factory) {
    // freeze_vision_tower and freeze_multi_modal_projector are on; torch_dtype is "auto" (model/loader.py).
    const bool is_pure = run.precision == Precision::bf16_true || run.precision == Precision::fp16_true;
    run.tower_weights = is_pure ? run.half : model.stored;
    if (run.picture == Picture::within) {
      // Between two marks, and rows are filled up to a multiple of eight.
      const std::int64_t longer = run.length + model.vision->least_tokens() + 2;
      run.picture_tokens = (longer + 7) / 8 * 8 - run.length;
    }
  } else {
    if (model.experts)
      return unmodelled(std::string(name(model.architecture)) + " with its vision tower as ms-swift quantizes and freezes it", "--trainer",
                        "modelled: TRL's, LLaMA-Factory's and axolotl's");
    if (d.trainer->value.version < Version{4, 6, 0})
      return unmodelled("the vision tower as " + text(d.trainer->value) + " runs it", "--trainer", "modelled: ms-swift 4.6");
    // get_modules_to_not_convert; Qwen3.5's checkpoints have two kinds of weights in fp32, which it keeps.
    run.quantizes_tower = false;
    run.keeps_decay_wide = model.linear_attention && model.linear_attention->is_stored_wide;
  }
  out.notes.push_back(run.picture == Picture::within
                          ? "the vision tower is loaded too, frozen; a picture stands in each micro-batch of text and makes its rows "
                            "longer by " + std::to_string(run.picture_tokens) + " tokens"
                      : run.picture == Picture::beside
                          ? "the vision tower is loaded too, frozen; a picture runs through it beside each micro-batch of text"
                          : "the vision tower is loaded too, frozen");
  return outside_of_tower(d, run, model);
}

/// Whether a trainer brings flash-linear-attention along (axolotl's requirements); its kernels then run instead of
/// transformers' own code of linear attention.
inline bool has_delta_kernels(const RunDraft& d, const Model& model) {
  return model.linear_attention && d.trainer && d.trainer->value.trainer == Trainer::axolotl;
}

/// Whether the user asks for fused functions of adapters, and not the trainer.
inline bool gives_kernels(const RunDraft& d) {
  for (const auto* kernel : {&d.lora_mlp_kernel, &d.lora_qkv_kernel, &d.lora_o_kernel})
    if (*kernel && (*kernel)->value && (*kernel)->from != From::trainer) return true;
  return false;
}

/// What axolotl does with those kernels in a way that is not modelled.
inline std::optional<Error> outside_of_delta_kernels(const RunDraft& d, const Run& run, const std::string& whose) {
  if (d.trainer->value.version < Version{0, 19, 0})
    return unmodelled("the linear attention" + whose + " as " + text(d.trainer->value) + " runs it", "--trainer", "modelled: axolotl 0.19");
  if (d.objective && d.objective->value != Objective::sft && d.objective->value != Objective::pretrain)
    return unmodelled(std::string(name(d.objective->value)) + whose + " by flash-linear-attention's kernels", "--objective", "use sft");
  if (d.fuses_gated_norm && d.fuses_gated_norm->value)
    return unmodelled("axolotl's kernel for the gated norm" + whose, "liger_rms_norm_gated", "leave it out");
  if (run.is_joined && !run.packs)
    return unmodelled("batches without padding" + whose + " by flash-linear-attention's kernels", "--padding-free", "leave it out");
  if (!run.packs) return std::nullopt;
  if (run.borders == Borders::none)  // segment numbers stay in the mask that padding is told by
    return unmodelled("packing" + whose + " with an attention that knows no borders", "--attention", "use fa2, sdpa or eager");
  if (run.rows() > 1)
    return wrong("flash-linear-attention takes packed samples as one row", "--batch", "use --batch 1, or --attention fa2");
  return std::nullopt;
}

/// What is not modelled of linear attention.
inline std::optional<Error> outside_of_linear_attention(const RunDraft& d, const Run& run, const Model& model) {
  if (!model.linear_attention) return std::nullopt;
  const std::string whose = " of " + std::string(name(model.architecture));
  if (run.has_delta_kernels)
    if (auto error = outside_of_delta_kernels(d, run, whose)) return error;
  if ((run.packs || run.is_joined) && d.trainer && d.trainer->value.trainer == Trainer::ms_swift)
    return unmodelled("packing" + whose + " by flash-linear-attention's kernels, without which the trainer refuses it,",
                      run.packs ? "--packing" : "--padding-free", "leave it out");
  if (!run.has_delta_kernels && run.row_length() > kMostChunkedLength)
    return unmodelled("linear attention over rows of more than " + std::to_string(kMostChunkedLength) + " tokens", "--seq-len",
                      "use shorter sequences");
  if (run.offloads_activations)
    return unmodelled("keeping activations in host memory" + whose, "--offload-activations", "leave it out");
  if (is_by_matrix(run.optimizer))
    return unmodelled(std::string(name(run.optimizer)) + " on the convolutions" + whose, "--optimizer", "use adamw-8bit");
  return std::nullopt;
}

/// What a user of linear attention should know.
inline void note_linear_attention(const Run& run, const Model& model, std::vector<std::string>& notes) {
  if (!model.linear_attention) return;
  if (run.has_delta_kernels) {
    notes.push_back("linear attention by the Triton kernels of flash-linear-attention, which axolotl requires");
    return;
  }
  notes.push_back(
      "linear attention as transformers' own PyTorch code computes it: with flash-linear-attention and causal-conv1d "
      "installed it takes less memory and time");
  if (run.borders != Borders::none || run.packs)
    notes.push_back("that code does not keep the samples of a row apart: they see each other in layers of linear attention");
}

/// A packed sample has about so many tokens, where nobody says how many.
inline constexpr std::int64_t kPackedSample = 512;

/// How the rows of the batch are made of samples, and how attention tells these apart.
inline std::optional<Error> shape_rows(const RunDraft& d, Run& run, std::vector<std::string>& notes) {
  if (!run.has_positions()) return std::nullopt;
  if (run.is_padded)
    return wrong("a batch of packed samples has no padding", "--padded",
                 "leave it out, or leave out --packing and --padding-free");
  run.borders = d.borders ? d.borders->value : run.is_joined ? Borders::positions : Borders::none;
  if (run.borders == Borders::none) return std::nullopt;
  run.samples = run.micro_batch;
  if (run.packs) run.samples = std::max(run.samples, run.tokens() / kPackedSample);
  if (run.borders != Borders::varlen && run.attention != Attention::fa2)
    notes.push_back("packed samples are kept apart by a mask of " +
                    std::to_string(run.row_length()) + " x " + std::to_string(run.row_length()) +
                    " for each row; flash-attn (--attention fa2) needs none");
  return std::nullopt;
}

}  // namespace draft

namespace draft {

/// Shows a setting that only a trainer or its file gives.
template <class T>
void show_given(ValidRun& out, std::string_view flag, const RunDraft::Maybe<T>& given,
                RunSetting::Value value) {
  if (given) out.show(flag, std::move(value), given->from);
}

/// Formats that differ from the base's.
inline void settle_formats(const RunDraft& d, Run& run, ValidRun& out) {
  const auto take = [&](std::string_view flag, const RunDraft::Maybe<DType>& given,
                        std::optional<DType>& format) {
    if (!given) return;
    format = given->value;
    show_given(out, flag, given, std::string(name(given->value)));
  };
  take("norm-weights", d.norm_weights, run.norm_weights);
  take("embedding-weights", d.embedding_weights, run.embedding_weights);
  take("router-weights", d.router_weights, run.router_weights);
  if (run.is_quantized()) take("quant-compute", d.quant_compute, run.quant_compute);
}

/// What is taught, and who answers for comparison. The odds and margins of ORPO and SimPO are the
/// policy's own.
inline std::optional<Error> settle_objective(const RunDraft& d, const Model& model, Run& run, ValidRun& out) {
  if (!d.objective) return std::nullopt;
  run.objective = d.objective->value;
  show_given(out, "objective", d.objective, std::string(name(run.objective)));
  if (!run.compares()) return std::nullopt;
  run.metrics = LogitMetrics::none;
  const bool is_reward = run.objective == Objective::reward;
  const auto is_by = [&](Trainer trainer) { return d.trainer && d.trainer->value.trainer == trainer; };
  const bool keeps_dropout = is_by(Trainer::torchtune) || (is_reward && is_by(Trainer::llama_factory));
  if (run.lora_dropout > 0 && !keeps_dropout) {
    out.notes.push_back("trainers of preferences turn dropout off");
    run.lora_dropout = 0;
  }
  const bool has_reference = run.objective == Objective::dpo || run.objective == Objective::ipo ||
                             run.objective == Objective::kto;
  run.adds_likelihood = !has_reference && !is_reward && (!d.adds_likelihood || d.adds_likelihood->value);
  if (is_by(Trainer::ms_swift)) {
    run.preference_code = has_reference || is_reward ? PreferenceCode::ms_swift : PreferenceCode::trl;
    if (run.objective == Objective::kto && run.micro_batch * run.accumulation == 1)
      return wrong("ms-swift's KTO wants more than one example in a step", "--batch, --grad-accum", "use --batch 2");
    if (has_reference)
      out.notes.push_back("ms-swift computes the logits of the answers alone: taken as if they were all tokens");
  } else if (const auto trl = trl_of(d)) {
    run.preference_code = PreferenceCode::trl;
    run.copies_shifted_logits = *trl < Version{1, 6, 0} && has_reference;
    run.picks_by_kernel = *trl >= Version{1, 14, 0};
    run.empties_cache = is_by(Trainer::axolotl) && has_reference && run.objective != Objective::kto;
    if (run.objective == Objective::kto && run.micro_batch == 1)
      return wrong("TRL's KTO wants more than one example in a micro-batch", "--batch", "use --batch 2");
    if (has_reference)
      out.notes.push_back(run.loss == Loss::fused
                              ? "TRL's fused head takes the tokens of the answers alone: taken as if they were all tokens"
                              : "logits are logged of the tokens of all answers: taken as if they were all tokens");
  }
  if (!run.has_language_head()) {  // names that PEFT does not find it passes over
    run.lora_targets &= static_cast<ModuleSet>(~lm_head);
    run.modules_to_save &= static_cast<ModuleSet>(~lm_head);
  }
  const bool is_precomputed = d.precomputes_reference && d.precomputes_reference->value;
  if (!has_reference || is_precomputed) return std::nullopt;
  const bool has_second = d.has_reference ? d.has_reference->value : !run.has_adapters();
  run.reference = has_second ? Reference::second_model : Reference::without_adapters;
  // LLaMA-Factory loads it as it is stored, the others as the policy.
  const bool is_pure = run.precision == Precision::bf16_true || run.precision == Precision::fp16_true;
  run.reference_weights = run.preference_code != PreferenceCode::llama_factory ? run.weights
                          : is_pure                                            ? run.half
                                                                               : model.stored;
  out.show("reference", std::string(has_second ? "second-model" : "without-adapters"),
           d.has_reference ? d.has_reference->from
           : d.trainer     ? From::trainer
                           : From::by_default);
  return std::nullopt;
}

/// Which code computes the loss, and which kernels of Liger's run in the layers.
inline std::optional<Error> settle_loss(const RunDraft& d, const Model& model, Run& run,
                                        ValidRun& out) {
  const auto from_of = [](const auto& given) { return given ? given->from : From::by_default; };
  if (d.loss) run.loss = d.loss->value;
  if (d.fused_loss) run.fused_loss = d.fused_loss->value;
  if (d.chunked_loss) run.chunked_loss = d.chunked_loss->value;
  if (is_scored_by_trl(d)) run.loss = Loss::fused, run.fused_loss = FusedLoss::trl;
  if (run.loss == Loss::fused && run.fused_loss == FusedLoss::flash_attn &&
      model.architecture != Architecture::llama) {
    run.loss = Loss::standard;
    out.notes.push_back(
        "flash-attn's cross-entropy takes the place of Llama's loss only; this model keeps its own");
  }
  // Liger's takes the place of the text class' alone (integrations/liger/models/qwen3_5.py).
  if (run.loss == Loss::fused && run.fused_loss == FusedLoss::liger && run.has_tower && d.trainer->value.trainer == Trainer::axolotl) {
    run.loss = Loss::standard;
    out.notes.push_back("axolotl puts Liger's fused loss into the class for text; with its vision tower the model keeps its own");
  }
  out.show("loss", std::string(name(run.loss)), from_of(d.loss));
  if (run.loss == Loss::fused)
    out.show("loss-kernel", std::string(name(run.fused_loss)), from_of(d.fused_loss));
  if (run.loss == Loss::chunked) {
    out.show("loss-code", std::string(name(run.chunked_loss)), from_of(d.chunked_loss));
    const bool counts_tokens =
        run.chunked_loss == ChunkedLoss::trl || run.chunked_loss == ChunkedLoss::litgpt;
    if (run.chunked_loss == ChunkedLoss::litgpt) run.loss_chunk_tokens = 128;
    const RunDraft::Maybe<std::int64_t>& given = counts_tokens ? d.loss_chunk_tokens : d.loss_chunks;
    std::int64_t& size = counts_tokens ? run.loss_chunk_tokens : run.loss_chunks;
    if (const auto error = outside(given, counts_tokens ? "loss-chunk-tokens" : "loss-chunks", kMostLength))
      return error;
    if (given) size = given->value;
    out.show(counts_tokens ? "loss-chunk-tokens" : "loss-chunks", size, from_of(given));
  }
  // A piece's node is remembered: a run of more pieces than this is split into that many.
  constexpr std::int64_t kMostPieces = 4096;
  run.loss_chunks = std::min(run.loss_chunks, kMostPieces);
  run.loss_chunk_tokens =
      std::max(run.loss_chunk_tokens, (run.tokens() + kMostPieces - 1) / kMostPieces);

  const bool streams_fp32 =
      run.precision == Precision::fp32 ||
      run.norm_weights.value_or(run.upcasts_for_kbit ? DType::fp32 : run.weights) == DType::fp32;
  if (run.loss == Loss::fused && run.fused_loss == FusedLoss::cut_cross_entropy && streams_fp32)
    return wrong("cut cross-entropy takes hidden states in 16 bits, and the last norm makes fp32",
                 "--loss", "keep norms in bf16, or use Liger's fused loss");
  if (d.metrics) {
    run.metrics = d.metrics->value;
    if (run.metrics != LogitMetrics::none)
      out.show("metrics", std::string(name(run.metrics)), d.metrics->from);
  }
  const auto take = [&](std::string_view flag, const RunDraft::Maybe<bool>& given, bool& setting) {
    if (!given) return;
    setting = given->value;
    show_given(out, flag, given, given->value);
  };
  take("liger-rope", d.liger_rope, run.liger_rope);
  take("liger-rms-norm", d.liger_rms_norm, run.liger_rms_norm);
  take("liger-glu", d.liger_glu, run.liger_glu);
  take("upcast-head-output", d.upcasts_head_output, run.upcasts_head_output);
  const bool is_in_layers = run.liger_rope || run.liger_rms_norm || run.liger_glu;
  if (is_in_layers && is_of_today_alone(model.architecture))
    return unmodelled("Liger's code in the layers of " + std::string(name(model.architecture)), "--use-liger-kernel",
                      "leave it out, or use --loss fused for its loss alone");
  if (run.loss == Loss::fused && model.is_cohere())
    return unmodelled("a fused loss of logits that are scaled", "--loss", "use --loss standard");
  if (run.liger_glu && model.experts)
    return unmodelled("Liger's kernel for experts", "--use-liger-kernel",
                      "leave it out, or use --loss fused for its loss alone");
  return std::nullopt;
}

/// What the second form of LLaMA-Factory's files asks for in a way that is not modelled.
inline std::optional<Error> outside_of_weights(const Run& run) {
  const auto refused = [](const std::string& what, std::string where, std::string hint) {
    return unmodelled(what + " in the second form of LLaMA-Factory's files", std::move(where), std::move(hint));
  };
  if (run.loss != Loss::standard) return refused("another loss", "--loss", "leave it out");
  if (run.compares())
    return refused("the objective '" + std::string(name(run.objective)) + "'", "--objective", "use sft");
  if (!run.checkpoints)
    return refused("the keys and values that the model caches without checkpointing", "--no-checkpointing",
                   "leave it out");
  if (run.packs || run.borders == Borders::mask) return refused("packing", "--packing", "leave it out");
  if (run.offloads_checkpoints || run.offloads_activations)
    return refused("keeping activations in host memory", "--offload-checkpoints, --offload-activations", "leave it out");
  return std::nullopt;
}

/// What Unsloth does in a way that is not modelled: it has other code for most of these.
inline std::optional<Error> outside_of_unsloth(const Run& run) {
  const auto refused = [](const std::string& what, std::string where, std::string hint) {
    return unmodelled(what + " in Unsloth's own code", std::move(where), std::move(hint));
  };
  if (!run.has_adapters())
    return refused("full fine-tuning", "--method", "use --method lora or qlora");
  if (run.is_quantized() && run.quantization != Quantization::nf4)
    return refused(std::string(name(run.quantization)), "--quant", "modelled: nf4");
  if (run.modules_to_save != 0)
    return refused("training whole modules beside adapters", "--modules-to-save", "leave it out");
  if (run.weights == DType::fp32 || !run.autocasts)
    return refused("a base in fp32, or without autocast", "--precision", "use bf16-mixed or fp16-mixed");
  if (run.attention != Attention::sdpa && run.attention != Attention::fa2)
    return refused("the attention '" + std::string(name(run.attention)) + "'", "--attention",
                   "leave it out for xformers, or use fa2");
  if (run.has_positions())
    return refused("several samples in one row", run.packs ? "--packing" : "--padding-free", "leave it out");
  if (run.checkpoints && !run.checkpoints_reentrant)
    return refused("checkpointing without reentry", "--no-reentrant", "leave it out");
  if (run.offloads_activations)
    return refused("keeping activations in host memory", "--offload-activations", "leave it out");
  if (run.liger_rope || run.liger_rms_norm || run.liger_glu)
    return refused("a kernel of Liger's", "--use-liger-kernel", "leave it out");
  const bool is_own_loss = run.loss == Loss::fused && (run.fused_loss == FusedLoss::unsloth ||
                                                       run.fused_loss == FusedLoss::unsloth_logits);
  if (!is_own_loss) return refused("another loss", "--loss", "use --loss fused");
  if (run.upcasts_for_kbit || run.norm_weights || run.embedding_weights)
    return refused("norms or embeddings in a format of their own", "--kbit-upcast", "leave it out");
  if (run.adds_noise) return refused("NEFTune", "--neftune-alpha", "leave it out");
  return std::nullopt;
}

/// What a trainer's own modelling code refuses, or does in a way that is not modelled.
inline std::optional<Error> outside_of_code(const Run& run, const Model& model) {
  if (run.code == ModelCode::transformers) return std::nullopt;
  const std::string whose(name(run.code));
  const auto refused = [&](const std::string& what, std::string where, std::string hint) {
    return unmodelled(what + " in " + whose + "'s own code", std::move(where), std::move(hint));
  };
  const auto is_of = [&](std::initializer_list<Architecture> all) {
    return std::find(all.begin(), all.end(), model.architecture) != all.end();
  };
  const bool is_known = is_of({Architecture::qwen2, Architecture::qwen3, Architecture::llama, Architecture::mistral}) ||
                        (run.code != ModelCode::unsloth && is_of({Architecture::phi3, Architecture::gemma})) ||
                        (run.code == ModelCode::torchtune && is_of({Architecture::gemma2}));
  if (!is_known || model.rotary_dim > 0 || model.experts || model.has_o_bias || model.has_mlp_bias)
    return refused(model.architecture_name, "--model",
                   std::string("modelled: Qwen2, Qwen2.5, Qwen3, Llama, Mistral") +
                       (run.code == ModelCode::unsloth ? "" : ", Phi-3, Gemma") +
                       (run.code == ModelCode::torchtune ? ", Gemma 2" : ""));
  if (run.lora_targets & embed_tokens && run.has_adapters())
    return refused("an adapter on the embedding", "--lora-targets", "leave embed_tokens out");
  if (run.code == ModelCode::unsloth) return outside_of_unsloth(run);
  if (run.code == ModelCode::torchtune && run.has_adapters() && run.lora_targets & lm_head && model.ties_embeddings)
    return wrong("torchtune has no adapter on the output layer of a model that ties it to its embedding",
                 "--lora-targets", "leave lm_head out");
  if (run.modules_to_save != 0)
    return refused("training whole modules beside adapters", "--modules-to-save", "leave it out");
  const bool caps_scores = model.architecture == Architecture::gemma2;  // which no fused kernel does
  if ((run.attention == Attention::eager && !caps_scores) || run.attention == Attention::math ||
      run.attention == Attention::fa2)
    return refused("the attention '" + std::string(name(run.attention)) + "'", "--attention", "use sdpa");
  if (run.is_padded)
    return wrong(whose + " gives attention no padding mask", "--padded", "leave it out");
  if (run.liger_rope || run.liger_rms_norm || run.liger_glu || run.loss == Loss::fused)
    return refused("a kernel of Liger's", "--loss", "leave it out");
  if (run.has_positions())
    return refused("several samples in one row", run.packs ? "--packing" : "--padding-free", "leave it out");
  if (run.offloads_checkpoints)
    return refused("checkpoints in host memory", "--offload-checkpoints", "leave it out");
  if (run.offloads_activations && run.code == ModelCode::litgpt)
    return refused("keeping activations in host memory", "--offload-activations", "leave it out");
  if (run.optimizer_in_backward && run.code == ModelCode::litgpt)
    return refused("an optimizer that steps during backward", "--optimizer-in-backward", "leave it out");
  if (run.adds_noise) return wrong(whose + " has no NEFTune", "--neftune-alpha", "leave it out");
  if (run.fuses_mlp || run.fuses_qkv || run.fuses_o)
    return wrong("fused adapters are axolotl's", "--lora-kernels", "leave it out");
  if (run.code == ModelCode::torchtune) {
    if (run.compares() && !run.has_adapters())
      return refused("DPO of all weights", "--objective", "use --method lora");
    if (run.compares() && caps_scores) return refused("DPO of Gemma 2", "--objective", "use sft");
    if (run.autocasts || run.weights == DType::fp16 || (run.has_adapters() && run.adapter != run.weights))
      return wrong("torchtune keeps everything in one format, bf16 or fp32", "--precision",
                   "use bf16-true or fp32, and the same for adapters");
    if (run.is_quantized() && (run.quantization != Quantization::nf4 || !run.double_quantizes))
      return wrong("torchtune quantizes to nf4, with quantized scales", "--quant", "use --quant nf4 --double-quant");
    if (run.weights == DType::fp32 && model.has_qk_norm)
      return refused("Qwen3 in fp32", "--precision", "use bf16-true");
    if (run.checkpoints && run.checkpoints_reentrant)
      return wrong("torchtune's checkpointing is not reentrant", "--reentrant", "leave it out");
  }
  if (run.code == ModelCode::litgpt) {
    if (run.checkpoints)
      return wrong("litgpt has no checkpointing on one GPU", "--checkpointing", "use --no-checkpointing");
    if (run.is_quantized() && run.autocasts)
      return wrong("litgpt refuses quantization with a mixed precision", "--precision", "use bf16-true");
    if (run.quantization == Quantization::int8)
      return refused("int8", "--quant", "modelled: nf4, fp4");
  }
  return std::nullopt;
}

}  // namespace draft

/// Decides every setting of a run of which the trainer left nothing open but what it leaves to its
/// libraries: what was given, else the defaults of transformers with PEFT on this stack and GPU
/// (without one, an A100). `validated` is what commands ask.
inline Result<ValidRun> decided(const RunDraft& d, const Model& model, const Stack& stack,
                                  const Gpu* gpu) {
  using draft::wrong;
  if (const auto error = draft::not_modelled(d)) return *error;
  if (const auto error = draft::mismatched(model, stack, d.code ? d.code->value : ModelCode::transformers)) return *error;
  for (const auto& error : {draft::outside(d.length, "seq-len", kMostLength),
                            draft::outside(d.micro_batch, "batch", kMostBatch),
                            draft::outside(d.accumulation, "grad-accum", kMostAccumulation),
                            draft::outside(d.lora_rank, "lora-r", kMostRank)})
    if (error) return *error;

  ValidRun out;
  Run& run = out.run;
  const auto from_of = [](const auto& given) { return given ? given->from : From::by_default; };
  /// Takes what was given, else the default; shows a number or a truth as it is.
  const auto settle = [&](std::string_view flag, const auto& given, auto otherwise) {
    const auto value = given ? given->value : otherwise;
    out.show(flag, RunSetting::Value(value), from_of(given));
    return value;
  };
  /// The same for an enumeration, which is shown by its name.
  const auto settle_name = [&](std::string_view flag, const auto& given, auto otherwise) {
    const auto value = given ? given->value : otherwise;
    out.show(flag, RunSetting::Value(std::string(name(value))), from_of(given));
    return value;
  };

  if (d.trainer) out.show("trainer", text(d.trainer->value), d.trainer->from);

  // What is trained, and on which base.
  const bool is_quantized = d.quantization && d.quantization->value != Quantization::none;
  Method method = d.method ? d.method->value : is_quantized ? Method::qlora : Method::full;
  if ((method == Method::full || method == Method::freeze) && is_quantized)
    return wrong("full fine-tuning cannot train a quantized base", "--quant",
                 "use --method qlora, or leave --quant out");
  if (method == Method::qlora && d.quantization && !is_quantized)
    return wrong("qlora needs a quantized base", "--quant", "use --quant nf4, or --method lora");
  if (method == Method::lora && is_quantized) method = Method::qlora;
  run.method = method;
  out.show("method", std::string(name(method)), from_of(d.method));
  const bool has_adapters = run.has_adapters();
  if (!has_adapters) {
    const auto refused = [&](bool is_given, const char* flag) -> std::optional<Error> {
      if (!is_given) return std::nullopt;
      return wrong("full fine-tuning has no adapters", flag, "leave it out, or use --method lora");
    };
    for (const auto& error :
         {refused(d.lora_rank.has_value(), "--lora-r"),
          refused(d.lora_alpha.has_value(), "--lora-alpha"),
          refused(d.lora_dropout.has_value(), "--lora-dropout"),
          refused(d.lora_targets.has_value(), "--lora-targets"),
          refused(d.modules_to_save.has_value(), "--modules-to-save"),
          refused(d.adapter.has_value(), "--adapter-dtype"),
          refused(d.lora_mlp_kernel && d.lora_mlp_kernel->value, "--lora-kernels"),
          refused(d.upcasts_for_kbit && d.upcasts_for_kbit->value, "--kbit-upcast")})
      if (error) return *error;
  }

  run.length = settle("seq-len", d.length, std::int64_t{2048});
  run.micro_batch = settle("batch", d.micro_batch, std::int64_t{1});
  run.accumulation = settle("grad-accum", d.accumulation, std::int64_t{1});
  if (run.tokens() > kMostTokens)
    return wrong("a micro-step of " + std::to_string(run.tokens()) + " tokens is out of range",
                 "--seq-len, --batch",
                 "their product may be " + std::to_string(kMostTokens) + " at most");
  run.checkpoints = settle("checkpointing", d.checkpoints, true);
  // transformers' gradient_checkpointing_enable: reentrant by default up to 4.x.
  run.checkpoints_reentrant =
      settle("reentrant", d.checkpoints_reentrant, stack.transformers < Version{5, 0, 0});
  if (d.checkpoints_reentrant && d.checkpoints_reentrant->value && !run.checkpoints)
    return wrong("--reentrant is a kind of checkpointing, and there is none", "--no-checkpointing",
                 "leave one of them out");
  if (d.offloads_checkpoints)
    run.offloads_checkpoints = settle("offload-checkpoints", d.offloads_checkpoints, false);
  if (run.offloads_checkpoints && !run.checkpoints)
    return wrong("there are no checkpoints to offload", "--no-checkpointing, --offload-checkpoints",
                 "leave one of them out");
  if (d.offloads_activations)
    run.offloads_activations = settle("offload-activations", d.offloads_activations, false);
  if (run.offloads_activations) {
    if (run.offloads_checkpoints)
      return wrong("checkpoints are activations too", "--offload-activations, --offload-checkpoints",
                   "leave one of them out");
    // The hooks are told of other tensors where no layer runs again, or where it runs in backward.
    if (!run.checkpoints || run.checkpoints_reentrant)
      return draft::unmodelled(
          run.checkpoints ? "offloading activations with reentrant checkpointing"
                          : "offloading activations without checkpointing",
          "--offload-activations", run.checkpoints ? "add --no-reentrant" : "add --checkpointing");
    out.notes.push_back(
        "what comes back from the host is allocated on a stream of its own, whose reserve is not "
        "told apart");
  }
  if (d.neftune_alpha) {
    run.adds_noise = d.neftune_alpha->value > 0;
    out.show("neftune-alpha", d.neftune_alpha->value, d.neftune_alpha->from);
  }

  // Adam as transformers' TrainingArguments picks it: fused from 4.54 on with torch 2.8 or later.
  const bool is_fused_default =
      stack.transformers >= Version{4, 54, 0} && stack.torch >= Version{2, 8, 0};
  run.optimizer = is_fused_default ? OptimizerKind::adamw_fused : OptimizerKind::adamw_foreach;
  if (d.optimizer && d.optimizer->value != "adamw")
    run.optimizer = *draft::by_name<OptimizerKind>(d.optimizer->value, kOptimizers);
  out.show("optimizer", std::string(name(run.optimizer)), from_of(d.optimizer));
  if (is_by_matrix(run.optimizer)) {
    const bool is_low = run.optimizer == OptimizerKind::galore || run.optimizer == OptimizerKind::apollo;
    const std::string whose(name(run.optimizer));
    if (is_low && method != Method::full)
      return wrong(whose + " projects gradients of whole weights", "--optimizer", "use --method full");
    if (method != Method::full && run.optimizer == OptimizerKind::adam_mini)
      return draft::unmodelled("adam-mini on less than all weights", "--optimizer", "use --method full");
    if (model.experts && run.optimizer != OptimizerKind::muon)
      return draft::unmodelled(whose + " on experts", "--optimizer", "use adamw-8bit");
    if (is_low) run.optimizer_rank = settle("optimizer-rank", d.optimizer_rank, std::int64_t{16});
    if (run.optimizer_rank < 1 || run.optimizer_rank > model.hidden)
      return wrong("a projection of that rank is out of range", "--optimizer", "16 is LLaMA-Factory's");
    if (run.optimizer == OptimizerKind::galore)
      out.notes.push_back("the workspace of GaLore's decompositions is counted as one copy of the matrix, which nobody measured");
  }
  if (d.optimizer_in_backward)
    run.optimizer_in_backward = settle("optimizer-in-backward", d.optimizer_in_backward, false);
  if (run.optimizer_in_backward && run.accumulation > 1)
    return wrong("an optimizer that steps during backward cannot accumulate",
                 "--optimizer-in-backward, --grad-accum", "leave one of them out");

  // Numbers.
  const bool has_bf16 = !gpu || gpu->has_bf16;
  run.precision = settle_name("precision", d.precision,
                              has_bf16 ? Precision::bf16_mixed : Precision::fp16_mixed);
  const bool is_bf16 =
      run.precision == Precision::bf16_mixed || run.precision == Precision::bf16_true;
  const bool is_fp16 =
      run.precision == Precision::fp16_mixed || run.precision == Precision::fp16_true;
  const bool is_mixed =
      run.precision == Precision::bf16_mixed || run.precision == Precision::fp16_mixed;
  const bool is_true = is_bf16 != is_fp16 && !is_mixed;
  if (is_bf16 && !has_bf16)
    return wrong("the " + gpu->name + " has no bf16", "--precision", "use fp16-mixed or fp16-true");
  run.half = is_bf16 ? DType::bf16 : is_fp16 ? DType::fp16 : DType::fp32;
  DType weights = model.stored;
  if (is_true)
    weights = run.half;
  else if (run.precision == Precision::fp32 || method == Method::full)
    weights = DType::fp32;
  else if (weights == DType::bf16 && !has_bf16)
    weights = DType::fp16;
  run.weights = settle_name("weights", d.weights, weights);
  if (method == Method::freeze) {
    // LLaMA-Factory casts what it trains to fp32 unless all is in 16 bits (model/adapter.py).
    const std::int64_t asked = d.trained_layers ? d.trained_layers->value : 2;
    if (asked == 0 || asked > kMostLayers || asked < -kMostLayers)
      return wrong("no layer would be trained", "--freeze-layers", "such as 2, the default");
    run.trained_layers = std::min(model.layers, asked > 0 ? asked : -asked);
    run.first_trained_layer = asked > 0 ? model.layers - run.trained_layers : 0;
    run.trained_weights = is_true ? run.weights : DType::fp32;
    out.show("freeze-layers", asked, from_of(d.trained_layers));
    if (run.trained_weights != run.weights && !is_mixed)
      return wrong("layers in fp32 do not go with others in 16 bits without autocast", "--precision",
                   "use bf16-mixed, or bf16-true");
  } else if (d.trained_layers) {
    return wrong("only --method freeze chooses layers", "--freeze-layers", "add --method freeze");
  }
  run.autocasts = settle("autocast", d.autocasts, is_mixed);
  if (run.autocasts && run.precision == Precision::fp32)
    return wrong("autocast needs a 16-bit format to cast to", "--autocast",
                 "use --precision bf16-mixed, or leave --autocast out");

  const Quantization quantization = d.quantization            ? d.quantization->value
                                    : method == Method::qlora ? Quantization::nf4
                                                              : Quantization::none;
  run.quantization = quantization;
  out.show("quant", std::string(name(quantization)), from_of(d.quantization));
  const bool is_4bit = quantization == Quantization::nf4 || quantization == Quantization::fp4;
  if (d.double_quantizes && d.double_quantizes->value && !is_4bit)
    return wrong("double quantization is for nf4 and fp4", "--double-quant",
                 "leave it out, or use --quant nf4");
  if (is_4bit) run.double_quantizes = settle("double-quant", d.double_quantizes, false);
  if (has_adapters)
    run.upcasts_for_kbit = settle("kbit-upcast", d.upcasts_for_kbit, run.is_quantized());
  draft::settle_formats(d, run, out);

  // Gemma 2 caps its scores, which no fused kernel of PyTorch does: transformers 5.18 and later
  // refuse.
  const bool caps_scores =
      model.architecture == Architecture::gemma2 && stack.transformers >= Version{5, 18, 0};
  const auto attention = d.attention   ? *draft::by_name<Attention>(d.attention->value, 6)
                         : caps_scores ? Attention::eager
                                       : Attention::sdpa;
  if (caps_scores && attention != Attention::eager && attention != Attention::fa2)
    return wrong("transformers refuses sdpa for Gemma 2, whose scores are capped", "--attention",
                 "use eager");
  if (model.experts && gpu && gpu->is_cuda() && gpu->compute_capability < 80)
    return Error{Error::Kind::unknown, "experts on a card before Ampere are not modelled", "--gpu",
                 "grouped matrix products need compute capability 8.0"};
  run.attention = attention;
  out.show("attention", std::string(name(attention)), from_of(d.attention));
  if (const auto error = draft::settle_tower(d, model, run, out)) return *error;
  run.has_delta_kernels = draft::has_delta_kernels(d, model);
  if (run.has_delta_kernels) out.show("delta-rule", std::string("flash-linear-attention"), From::trainer);
  run.is_padded = settle("padded", d.is_padded, run.picture == Picture::within);
  if (run.picture == Picture::within && !run.is_padded)
    return wrong("a picture in the batch is masked, so that the batch has a padding mask", "--no-padded", "leave it out");
  if (d.packs) run.packs = settle("packing", d.packs, false);
  if (d.is_padding_free) run.is_joined = settle("padding-free", d.is_padding_free, false);
  if (const auto error = draft::shape_rows(d, run, out.notes)) return *error;
  if (attention == Attention::flash || attention == Attention::fa2) {
    const std::string kernel = attention == Attention::fa2 ? "flash-attn" : "sdpa's flash kernel";
    if (gpu && !gpu->has_flash_attention)
      return wrong(kernel + " does not run on the " + gpu->name, "--attention",
                   "it needs an Ampere card or later; use sdpa");
    const bool is_wide = run.weights == DType::fp32 || run.norm_weights == DType::fp32 || run.upcasts_for_kbit;
    if (run.precision == Precision::fp32 && is_wide)
      return wrong(kernel + " does not compute in fp32", "--attention",
                   "use sdpa, or a 16-bit precision");
    if (attention == Attention::flash && run.is_padded)
      return wrong(kernel + " takes no padding mask", "--attention",
                   "use sdpa or fa2, or --no-padded");
    if (attention == Attention::flash && run.borders != Borders::none)
      return wrong(kernel + " takes no borders between samples", "--attention",
                   "use fa2, or sdpa, which gets a mask");
  }
  if (const auto error = draft::settle_loss(d, model, run, out)) return *error;
  run.keeps_outputs = settle("keep-outputs", d.keeps_outputs, false);

  if (has_adapters) {
    run.lora_rank = settle("lora-r", d.lora_rank, std::int64_t{16});
    run.lora_dropout = settle("lora-dropout", d.lora_dropout, 0.0);
    if (!(run.lora_dropout >= 0.0 && run.lora_dropout < 1.0))
      return wrong("a dropout of that size is out of range", "--lora-dropout",
                   "write a number from 0 to below 1");
    const auto joined = [](const std::vector<std::string>& names) {
      std::string text;
      for (const std::string& each : names) (text += text.empty() ? "" : ",") += each;
      return text;
    };
    const auto set = draft::targets(d.lora_targets ? d.lora_targets->value : std::vector<std::string>{"all-linear"}, model,
                                    d.code ? d.code->value : ModelCode::transformers);
    if (!set) return set.error();
    run.lora_targets = *set;
    out.show("lora-targets", d.lora_targets ? joined(d.lora_targets->value) : "all-linear",
          from_of(d.lora_targets));
    if (d.modules_to_save) {
      const auto saved = draft::saved_modules(d.modules_to_save->value);
      if (!saved) return saved.error();
      run.modules_to_save = *saved;
      out.show("modules-to-save", joined(d.modules_to_save->value), d.modules_to_save->from);
    }
    // PEFT's autocast_adapter_dtype, since 0.12. Before, adapters took the base weight's format.
    const DType adapter =
        stack.peft < Version{0, 12, 0} && !run.is_quantized() ? run.weights : DType::fp32;
    run.adapter = settle_name("adapter-dtype", d.adapter, adapter);
    const auto is_on = [](const RunDraft::Maybe<bool>& given) { return given && given->value; };
    run.fuses_mlp = is_on(d.lora_mlp_kernel);
    run.fuses_qkv = is_on(d.lora_qkv_kernel);
    run.fuses_o = is_on(d.lora_o_kernel);
    if (run.fuses_mlp || run.fuses_qkv || run.fuses_o) {
      const bool is_unsloth = d.code && d.code->value == ModelCode::unsloth;
      const bool is_taken = takes_fused_adapters(model.architecture);
      const bool is_unknown = (model.linear_attention && !run.has_delta_kernels) || (is_unsloth && !is_taken);
      if (is_unknown && is_unsloth && !draft::gives_kernels(d))
        return draft::unmodelled(std::string(name(model.architecture)) + " as " + text(d.trainer->value) + " runs it", "--trainer",
                                 std::string("modelled for it: transformers, peft, trl, llama-factory, ") +
                                     (!model.linear_attention ? "ms-swift" : model.experts ? "axolotl" : "axolotl, ms-swift"));
      if (is_unknown)
        return draft::unmodelled("the fusing of adapters on " + std::string(name(model.architecture)),
                                 "--lora-kernels", "leave it out");
      if (!is_taken && (run.fuses_qkv || run.fuses_o))
        return wrong("axolotl stops at the attention of " + std::string(name(model.architecture)) +
                         ", in which its fused functions of adapters find no place",
                     "--lora-kernels", "leave it out; in axolotl's file lora_qkv_kernel: false and lora_o_kernel: false");
      if (run.quantization == Quantization::int8 && !is_unsloth)
        return wrong("the fused functions of adapters know no 8-bit base", "--lora-kernels",
                     "use --quant nf4, or leave it out");
      const auto is_wide = [&](std::optional<DType> own) {
        return own.value_or(run.upcasts_for_kbit ? DType::fp32 : run.weights) == DType::fp32;
      };
      // Under autocast StarCoder's norms answer in fp32, and so do Arcee's 4-bit layers, in the format of their input.
      const bool answers_wide =
          run.autocasts && (model.architecture == Architecture::starcoder2 ||
                            (model.architecture == Architecture::arcee && run.is_quantized()));
      if (is_wide(run.norm_weights) || is_wide(run.embedding_weights) || answers_wide)
        return draft::unmodelled("the fusing of adapters on hidden states in fp32",
                                 "--lora-kernels", "add --no-kbit-upcast, or leave it out");
      out.show("lora-kernels", true, d.lora_mlp_kernel ? d.lora_mlp_kernel->from
                                  : d.lora_qkv_kernel ? d.lora_qkv_kernel->from
                                                      : d.lora_o_kernel->from);
    }
    if (d.uses_dora && d.uses_dora->value && (run.fuses_mlp || run.fuses_qkv || run.fuses_o))
      return draft::unmodelled("DoRA in the fused functions of adapters", "--dora",
                               "leave one of them out");
    if (d.uses_dora) {
      run.uses_dora = d.uses_dora->value;
      out.show("dora", run.uses_dora, d.uses_dora->from);
      // TRL's cast of a quantized model's adapters to bf16 leaves the sizes out.
      const bool is_trl = d.trainer && d.trainer->value.trainer == Trainer::trl;
      run.magnitude = is_trl && run.is_quantized() ? DType::fp32 : run.adapter;
    }
  }

  if (has_adapters)
    if (const auto error = draft::outside_of_ends(run)) return *error;
  if (const auto error = draft::outside_of_linear_attention(d, run, model)) return *error;
  draft::note_linear_attention(run, model, out.notes);
  if (const auto error = draft::settle_objective(d, model, run, out)) return *error;
  if (d.weighs_tokens && d.weighs_tokens->value) {
    run.weighs_tokens = true;
    out.show("weighs-tokens", true, d.weighs_tokens->from);
    if (const auto error = draft::outside_of_weights(run)) return *error;
  }
  if (model.max_positions > 0 && run.length > model.max_positions)
    out.notes.push_back("the model was made for " + std::to_string(model.max_positions) +
                        " positions; --seq-len asks for " + std::to_string(run.length));
  if (model.experts && run.quantization != Quantization::none)
    out.notes.push_back("experts are stacked tensors in transformers 5: bitsandbytes quantizes none of them, and " +
                        std::string(run.upcasts_for_kbit ? "kbit preparation turns them to fp32" : "they stay in 16 bits"));
  if (run.stops_at_scaler())
    out.notes.push_back(
        "PyTorch's gradient scaler refuses trained parameters in fp16; use fp32 for them");
  if (d.lora_alpha) out.show("lora-alpha", d.lora_alpha->value, d.lora_alpha->from);
  if (d.code) {
    run.code = d.code->value;
    if (run.code == ModelCode::unsloth) {
      // Training, it leaves the padding mask out.
      run.is_padded = false;
      if (stack.torch >= Version{2, 11, 0})
        out.notes.push_back(
            "Unsloth compiles its layers with this torch, and what they allocate is the compiler's choice: the "
            "range is half of a layer's tensors wider to both sides, which nobody measured");
    }
    out.show("model-code", std::string(name(run.code)), d.code->from);
    if (const auto error = draft::outside_of_code(run, model)) return *error;
  }
  return out;
}

}  // namespace qwenplan
