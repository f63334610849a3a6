#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qwenplan/describe/dtype.hpp"

namespace qwenplan {

enum class Method : std::uint8_t { full, lora, qlora, freeze };
enum class Quantization : std::uint8_t { none, int8, nf4, fp4, gptq_int4, awq_int4 };
enum class Precision : std::uint8_t { bf16_true, bf16_mixed, fp16_true, fp16_mixed, fp32 };
/// The precision of a run that computes in the format of its weights.
constexpr Precision without_autocast(DType weights) {
  return weights == DType::bf16 ? Precision::bf16_true : weights == DType::fp16 ? Precision::fp16_true : Precision::fp32;
}
enum class Attention : std::uint8_t { sdpa, eager, flash, efficient, math, fa2 };
enum class Loss : std::uint8_t { standard, chunked, fused };
/// Whose code computes the loss piece by piece; they keep different things.
enum class ChunkedLoss : std::uint8_t { trl, torchtune, torchtune_logits, litgpt, axolotl };
/// A kernel in place of logits and cross-entropy, or of cross-entropy alone (flash_attn and
/// unsloth_logits).
enum class FusedLoss : std::uint8_t { liger, cut_cross_entropy, unsloth, flash_attn, unsloth_logits, trl };
/// What a trainer computes from the logits after the forward, to log it.
enum class LogitMetrics : std::uint8_t { none, accuracy, entropy };
/// Whose modelling code runs.
enum class ModelCode : std::uint8_t { transformers, torchtune, litgpt, unsloth };
enum class OptimizerKind : std::uint8_t {
  adamw_fused, adamw_foreach, adamw_loop, adamw_8bit, paged_adamw, paged_adamw_8bit, sgd, sgd_momentum,
  adafactor, adagrad, lion, lion_8bit, paged_lion, paged_lion_8bit, ademamix, ademamix_8bit,
  paged_ademamix, paged_ademamix_8bit, rmsprop, rmsprop_bnb, rmsprop_8bit, adamw_anyprecision,
  adamw_torchao_8bit, adamw_torchao_4bit, schedule_free_adamw, muon, galore, apollo, adam_mini
};
inline constexpr int kOptimizers = 29;

/// Optimizers that look at a weight as a matrix, with projections or blocks of their own.
constexpr bool is_by_matrix(OptimizerKind kind) {
  return kind == OptimizerKind::muon || kind == OptimizerKind::galore || kind == OptimizerKind::apollo ||
         kind == OptimizerKind::adam_mini;
}

/// The states of an optimizer of bitsandbytes: how many values it keeps for each weight, and how.
struct BitsandbytesStates {
  int copies = 0;  ///< 0: the optimizer is of another library
  bool is_8bit = false;
  bool is_paged = false;
};

constexpr BitsandbytesStates bitsandbytes_states(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::adamw_8bit: return {2, true, false};
    case OptimizerKind::paged_adamw: return {2, false, true};
    case OptimizerKind::paged_adamw_8bit: return {2, true, true};
    case OptimizerKind::lion: return {1, false, false};
    case OptimizerKind::lion_8bit: return {1, true, false};
    case OptimizerKind::paged_lion: return {1, false, true};
    case OptimizerKind::paged_lion_8bit: return {1, true, true};
    case OptimizerKind::ademamix: return {3, false, false};
    case OptimizerKind::ademamix_8bit: return {3, true, false};
    case OptimizerKind::paged_ademamix: return {3, false, true};
    case OptimizerKind::paged_ademamix_8bit: return {3, true, true};
    case OptimizerKind::rmsprop_bnb: return {1, false, false};
    case OptimizerKind::rmsprop_8bit: return {1, true, false};
    default: return {};
  }
}

/// What a run teaches. All but the first two see more than one sequence or one model in a step.
enum class Objective : std::uint8_t {
  sft, pretrain, dpo, ipo, orpo, kto, simpo, cpo, reward, ppo, grpo, rloo, distillation
};
/// Who answers each batch for comparison: nobody, the model itself without its adapters, or a
/// second, frozen model.
enum class Reference : std::uint8_t { none, without_adapters, second_model };
/// Whose code compares the sequences.
enum class PreferenceCode : std::uint8_t { llama_factory, trl, ms_swift };

/// The linear layers that an adapter can wrap, as bits of a set.
enum Module : std::uint32_t {
  q_proj = 1, k_proj = 2, v_proj = 4, o_proj = 8, gate_proj = 16, up_proj = 32, down_proj = 64,
  lm_head = 128, embed_tokens = 256, qkv_proj = 512, gate_up_proj = 1024,
  shared_expert_gate = 2048,
  in_proj_qkv = 4096, in_proj_z = 8192, in_proj_b = 16384, in_proj_a = 32768, out_proj = 65536
};
using ModuleSet = std::uint32_t;
inline constexpr ModuleSet kAttentionModules = q_proj | k_proj | v_proj | o_proj;
inline constexpr ModuleSet kAllLinear = kAttentionModules | gate_proj | up_proj | down_proj;
/// The same of a model whose query, key and value are one layer, and gate and up another.
inline constexpr ModuleSet kAllFusedLinear = qkv_proj | o_proj | gate_up_proj | down_proj;
/// Those of a layer that attends linearly.
inline constexpr ModuleSet kLinearAttentionModules = in_proj_qkv | in_proj_z | in_proj_b | in_proj_a | out_proj;
/// Every layer that PEFT's "all-linear" finds in some class.
inline constexpr ModuleSet kEveryLinear = kAllLinear | kAllFusedLinear | shared_expert_gate |
                                           kLinearAttentionModules;

/// How attention tells the samples of one row apart.
enum class Borders : std::uint8_t {
  none,       ///< it does not: a row holds one sample, or its samples see each other
  positions,  ///< position ids that start anew: flash-attn takes them, other kernels get a mask
  mask,       ///< the collator brings a mask of every pair of tokens
  varlen      ///< sdpa is replaced by PyTorch's flash kernel for rows of many samples
};

/// A picture that a trainer runs through the vision tower although the data is text: one beside each
/// micro-batch, which is added as nothing, or one whose tokens stand behind the first sample, masked.
enum class Picture : std::uint8_t { none, beside, within };

/// One fine-tuning run, complete and consistent: every default is already decided.
struct Run {
  ModelCode code = ModelCode::transformers;
  bool stable_embedding = true;  ///< litgpt replaces a quantized model's embedding; up to early 2024 it did not
  Method method = Method::qlora;
  Quantization quantization = Quantization::none;
  bool double_quantizes = false;
  Precision precision = Precision::bf16_mixed;
  DType weights = DType::bf16;   ///< stored format of the base weights that are not quantized
  DType half = DType::bf16;      ///< the 16-bit format of this run: autocast's and bitsandbytes' compute type
  bool autocasts = true;
  DType adapter = DType::fp32;
  bool upcasts_for_kbit = false; ///< prepare_model_for_kbit_training: norms, embeddings, head to fp32
  std::optional<DType> norm_weights;       ///< of the norms, where it is not that of the base
  std::optional<DType> embedding_weights;  ///< of embedding and head, likewise
  std::optional<DType> router_weights;     ///< of what chooses experts, likewise
  std::optional<DType> quant_compute;      ///< of quantized layers, where it is not `half`
  bool is_padded = false;        ///< the batch carries a padding mask
  bool keeps_outputs = false;    ///< the loop holds the model's output during backward
  bool packs = false;            ///< each sequence is full of samples, whose positions come with the batch
  bool is_joined = false;        ///< the sequences of a micro-step are one row without padding
  Borders borders = Borders::none;
  std::int64_t samples = 0;      ///< of one micro-step, as attention sees them; 0: one for each sequence

  std::int64_t length = 2048;      ///< tokens of one sequence
  std::int64_t micro_batch = 1;    ///< sequences of one micro-step, or pairs of them
  std::int64_t accumulation = 1;   ///< micro-steps of one optimizer step

  bool checkpoints = true;       ///< gradient checkpointing, one decoder layer at a time
  bool checkpoints_reentrant = false;
  bool offloads_checkpoints = false;  ///< each layer's input waits in host memory for backward
  /// Whatever is saved for backward waits in host memory; with layers that run again, their inputs
  /// and what is saved outside of them.
  bool offloads_activations = false;
  Attention attention = Attention::sdpa;
  Loss loss = Loss::standard;
  ChunkedLoss chunked_loss = ChunkedLoss::trl;
  std::int64_t loss_chunk_tokens = 256;  ///< of TRL's and litgpt's chunked loss
  std::int64_t loss_chunks = 8;          ///< of torchtune's and axolotl's
  FusedLoss fused_loss = FusedLoss::liger;
  LogitMetrics metrics = LogitMetrics::none;
  bool upcasts_head_output = false;  ///< the head's output is cast to fp32
  bool liger_rope = false;           ///< Liger's kernels in place of the model's own code
  bool liger_rms_norm = false;
  bool liger_glu = false;
  Objective objective = Objective::sft;
  Reference reference = Reference::none;
  DType reference_weights = DType::bf16;  ///< stored format of the second model
  PreferenceCode preference_code = PreferenceCode::llama_factory;
  bool adds_likelihood = false;        ///< the likelihood of the chosen answers is part of the loss
  bool picks_by_kernel = false;        ///< TRL 1.14 and later: a kernel picks probabilities, and keeps only logits
  bool copies_shifted_logits = false;  ///< TRL's DPO copies all logits but the last (up to 1.5)
  bool empties_cache = false;          ///< each micro-step ends with torch.cuda.empty_cache()
  OptimizerKind optimizer = OptimizerKind::adamw_fused;
  std::int64_t optimizer_rank = 16;    ///< of GaLore's and APOLLO's projections
  bool optimizer_in_backward = false;  ///< each weight is updated as soon as its gradient is there
  bool has_tower = false;              ///< the model is loaded with its vision tower
  DType tower_weights = DType::bf16;   ///< stored format of the tower's weights that are not quantized
  bool trains_tower = false;           ///< its weights are trained, although text alone gives them no gradient
  bool freezes_tower = false;          ///< neither its weights nor its adapters are trained
  bool adapts_tower = false;           ///< adapters are on its linear layers too
  bool adapts_patches = false;         ///< and on its convolution of patches
  bool quantizes_tower = true;         ///< where the rest is quantized, and what is small in linear attention
  bool keeps_decay_wide = false;       ///< the decay and the gated norm of linear attention stay in fp32
  bool has_delta_kernels = false;      ///< flash-linear-attention's kernels run the delta rule
  Picture picture = Picture::none;
  std::int64_t picture_tokens = 0;     ///< that it makes each row longer by, with what fills the row up
  bool adds_noise = false;             ///< NEFTune: noise on the embeddings' output
  bool weighs_tokens = false;          ///< LLaMA-Factory's second form: each token's loss has a weight of its own

  std::int64_t first_trained_layer = 0;  ///< of a run that freezes the others
  std::int64_t trained_layers = 0;
  DType trained_weights = DType::fp32;

  std::int64_t lora_rank = 16;
  double lora_dropout = 0.0;
  ModuleSet lora_targets = kAllLinear;
  bool uses_dora = false;  ///< the adapters' direction and size are learned apart
  DType magnitude = DType::fp32;  ///< stored format of DoRA's sizes
  ModuleSet modules_to_save = 0; ///< trained in full beside the adapters: embed_tokens, lm_head

  // Adapters and their layers as one function, which saves less for backward.
  bool fuses_mlp = false;
  bool fuses_qkv = false;
  bool fuses_o = false;

  bool has_adapters() const { return method == Method::lora || method == Method::qlora; }
  /// Whether PyTorch's gradient scaler stops the run: what it trains is fp16, and it wants fp32.
  bool stops_at_scaler() const {
    return precision == Precision::fp16_mixed && (has_adapters() ? adapter : weights) == DType::fp16;
  }
  /// Whether a layer's own weights are trained while others are not.
  bool unfreezes(std::int64_t layer) const {
    return method == Method::freeze && layer >= first_trained_layer &&
           layer < first_trained_layer + trained_layers;
  }
  bool is_quantized() const { return quantization != Quantization::none; }
  /// Whether sequences are compared with each other or with what a reference makes of them.
  bool compares() const { return objective != Objective::sft && objective != Objective::pretrain; }
  /// Whether each token gets a number beside the language model's logits, as LLaMA-Factory's reward models
  /// have it; others have a head for it in place of the language model's.
  bool has_value_head() const {
    return objective == Objective::reward && preference_code == PreferenceCode::llama_factory;
  }
  bool has_language_head() const { return objective != Objective::reward || has_value_head(); }
  /// Sequences of one forward: a pair has two.
  std::int64_t sequences() const {
    return compares() && objective != Objective::kto ? 2 * micro_batch : micro_batch;
  }
  std::int64_t tokens() const { return (length + picture_tokens) * sequences(); }
  /// The same without a picture, which no data set has.
  std::int64_t data_tokens() const { return length * sequences(); }
  /// What the model is given: so many rows of so many tokens.
  std::int64_t rows() const { return is_joined ? 1 : sequences(); }
  std::int64_t row_length() const { return is_joined ? tokens() : length + picture_tokens; }
  bool has_positions() const { return packs || is_joined; }
  friend bool operator==(const Run&, const Run&) = default;
};

}  // namespace qwenplan
