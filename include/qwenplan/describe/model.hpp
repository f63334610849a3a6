#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/dtype.hpp"

namespace qwenplan {

/// The modelling classes of transformers whose decoder is emulated. `other` shows its facts only.
enum class Architecture : std::uint8_t {
  qwen2, qwen3, qwen3_moe, llama, mistral, gemma, gemma2, gemma3, phi3, smollm3,
  qwen2_moe, mixtral, cohere, cohere2, olmo2, olmo3, starcoder2, seed_oss, arcee,
  qwen3_5, qwen3_5_moe, other
};

/// Classes that are emulated as transformers 5 has them, without older versions and Liger's kernels.
constexpr bool is_of_today_alone(Architecture a) {
  switch (a) {
    case Architecture::qwen2:
    case Architecture::qwen3:
    case Architecture::qwen3_moe:
    case Architecture::llama:
    case Architecture::mistral:
    case Architecture::gemma2: return false;
    default: return true;
  }
}

/// Classes whose attention projects query, key and value in the lines that axolotl's fused functions take the place
/// of; it stops at the others (monkeypatch/lora_kernels.py).
constexpr bool takes_fused_adapters(Architecture a) {
  return a != Architecture::phi3 && a != Architecture::cohere && a != Architecture::olmo2 && a != Architecture::olmo3;
}

/// Classes for which PEFT knows layers that get an adapter where none are named (utils/constants.py).
constexpr bool has_default_targets(Architecture a) {
  switch (a) {
    case Architecture::qwen2:
    case Architecture::qwen3:
    case Architecture::llama:
    case Architecture::mistral:
    case Architecture::mixtral:
    case Architecture::gemma:
    case Architecture::gemma2:
    case Architecture::gemma3:
      return true;
    default:
      return false;
  }
}

/// Hybrids of linear and full attention, with an MLP or with experts.
constexpr bool is_qwen3_5(Architecture a) { return a == Architecture::qwen3_5 || a == Architecture::qwen3_5_moe; }

/// Classes whose attention norms query and key.
constexpr bool norms_query_and_key(Architecture a) {
  return a == Architecture::qwen3 || a == Architecture::qwen3_moe || a == Architecture::gemma3 ||
         a == Architecture::olmo2 || a == Architecture::olmo3 || is_qwen3_5(a);
}

/// Classes whose MLP is sparse.
constexpr bool has_experts(Architecture a) {
  return a == Architecture::qwen3_moe || a == Architecture::qwen2_moe || a == Architecture::mixtral ||
         a == Architecture::qwen3_5_moe;
}

constexpr std::string_view name(Architecture architecture) {
  switch (architecture) {
    case Architecture::qwen2: return "Qwen2ForCausalLM";
    case Architecture::qwen3: return "Qwen3ForCausalLM";
    case Architecture::qwen3_moe: return "Qwen3MoeForCausalLM";
    case Architecture::llama: return "LlamaForCausalLM";
    case Architecture::mistral: return "MistralForCausalLM";
    case Architecture::gemma: return "GemmaForCausalLM";
    case Architecture::gemma2: return "Gemma2ForCausalLM";
    case Architecture::gemma3: return "Gemma3ForCausalLM";
    case Architecture::phi3: return "Phi3ForCausalLM";
    case Architecture::smollm3: return "SmolLM3ForCausalLM";
    case Architecture::qwen2_moe: return "Qwen2MoeForCausalLM";
    case Architecture::mixtral: return "MixtralForCausalLM";
    case Architecture::cohere: return "CohereForCausalLM";
    case Architecture::cohere2: return "Cohere2ForCausalLM";
    case Architecture::olmo2: return "Olmo2ForCausalLM";
    case Architecture::olmo3: return "Olmo3ForCausalLM";
    case Architecture::starcoder2: return "Starcoder2ForCausalLM";
    case Architecture::seed_oss: return "SeedOssForCausalLM";
    case Architecture::arcee: return "ArceeForCausalLM";
    case Architecture::qwen3_5: return "Qwen3_5ForCausalLM";
    case Architecture::qwen3_5_moe: return "Qwen3_5MoeForCausalLM";
    case Architecture::other: return "other";
  }
  return "other";
}

/// Experts of a sparse decoder layer.
struct Experts {
  std::int64_t count = 0;      ///< experts in a layer
  std::int64_t per_token = 0;  ///< experts that each token visits
  std::int64_t ffn = 0;        ///< intermediate size of one expert
  std::int64_t sparse_step = 1;  ///< every n-th layer is sparse
  bool normalizes = false;       ///< a token's scores are divided by their sum
  std::int64_t shared_ffn = 0;   ///< intermediate size of the expert that every token visits; 0: none
  friend bool operator==(const Experts&, const Experts&) = default;
};

/// Layers of a hybrid decoder that attend linearly, by a gated delta rule (Gated DeltaNet).
struct LinearAttention {
  std::int64_t key_heads = 0;  ///< of query and key each
  std::int64_t value_heads = 0;
  std::int64_t key_head_dim = 0;
  std::int64_t value_head_dim = 0;
  std::int64_t kernel = 0;         ///< taps of the causal convolution before it
  std::int64_t full_interval = 4;  ///< every n-th layer attends to all tokens instead
  bool is_stored_wide = false;     ///< the checkpoint has decay and norm in fp32, whatever the rest is in

  std::int64_t key_size() const { return key_heads * key_head_dim; }
  std::int64_t value_size() const { return value_heads * value_head_dim; }
  /// Query, key and value together, which the convolution takes as its channels.
  std::int64_t channels() const { return 2 * key_size() + value_size(); }
  friend bool operator==(const LinearAttention&, const LinearAttention&) = default;
};

/// The vision tower of a model of text and images: pixels in patches, blocks that attend to all of them, and
/// a merger that makes one token of `merge` x `merge` patches.
struct VisionTower {
  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;
  std::int64_t heads = 0;
  std::int64_t patch = 16;          ///< pixels on a side
  std::int64_t temporal_patch = 2;  ///< pictures of a patch
  std::int64_t merge = 2;
  std::int64_t positions = 0;       ///< that are learned

  /// Numbers of a patch: three colours of each of its pixels.
  std::int64_t patch_size() const { return 3 * temporal_patch * patch * patch; }
  /// Patches of the smallest picture that its processor makes, of 65,536 pixels, and the tokens of these.
  std::int64_t least_patches() const { return 256 * 256 / (patch * patch); }
  std::int64_t least_tokens() const { return least_patches() / (merge * merge); }
  /// Width of what the merger joins.
  std::int64_t merged() const { return hidden * merge * merge; }
  friend bool operator==(const VisionTower&, const VisionTower&) = default;
};

/// The shape of a decoder-only language model, as its config.json gives it. Counts, no units.
struct Model {
  std::string id;      ///< row of the table, or the path it was read from
  std::string hub_id;  ///< name on the Hugging Face Hub; empty if unknown
  Architecture architecture = Architecture::other;
  std::string architecture_name;  ///< as written in config.json; for messages

  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;  ///< intermediate size of a dense layer
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocabulary = 0;
  std::int64_t max_positions = 0;
  std::int64_t sliding_window = 0;  ///< tokens; 0: none
  std::int64_t rotary_dim = 0;      ///< elements of a head that are turned; 0: all
  bool ties_embeddings = false;
  bool has_qkv_bias = false;
  bool has_o_bias = false;
  bool has_mlp_bias = false;
  bool has_qk_norm = false;
  bool has_dropout = false;  ///< of attention weights, of each block's answer, and StarCoder's of the embedding
  std::optional<Experts> experts;
  std::optional<LinearAttention> linear_attention;
  std::optional<VisionTower> vision;  ///< of a checkpoint for images too, which some trainers load whole
  DType stored = DType::bf16;  ///< number format of the published checkpoint

  std::int64_t query_size() const { return heads * head_dim; }
  std::int64_t kv_size() const { return kv_heads * head_dim; }
  bool layer_is_sparse(std::int64_t layer) const {
    return experts && experts->count > 0 && (layer + 1) % experts->sparse_step == 0;
  }
  /// Intermediate size of the MLP that every token of a layer passes; 0: there is none.
  std::int64_t common_ffn(std::int64_t layer) const { return layer_is_sparse(layer) ? experts->shared_ffn : ffn; }
  std::int64_t rotary_size() const { return rotary_dim > 0 ? rotary_dim : head_dim; }
  /// Whether a layer attends linearly; the others attend to all tokens.
  bool is_linear(std::int64_t layer) const {
    return linear_attention && (layer + 1) % linear_attention->full_interval != 0;
  }
  /// Whether the query's projection also makes a gate for what attention answers.
  bool gates_attention() const { return is_qwen3_5(architecture); }
  /// Outputs of the query's projection.
  std::int64_t query_outputs() const { return query_size() * (gates_attention() ? 2 : 1); }
  /// Norms of a decoder layer over the hidden size.
  std::int64_t norms_per_layer() const { return has_sandwich_norms() ? 4 : is_parallel() ? 1 : 2; }
  bool has_sandwich_norms() const { return architecture == Architecture::gemma2 || architecture == Architecture::gemma3; }
  bool is_gemma() const { return architecture == Architecture::gemma || has_sandwich_norms(); }
  bool is_cohere() const { return architecture == Architecture::cohere || architecture == Architecture::cohere2; }
  bool is_olmo() const { return architecture == Architecture::olmo2 || architecture == Architecture::olmo3; }
  /// Whether attention and MLP read the same norm of a layer's input, and both are added to it.
  bool is_parallel() const { return is_cohere(); }
  /// Whether norms over the hidden size are PyTorch's LayerNorm, with a bias.
  bool has_layer_norms() const { return architecture == Architecture::starcoder2; }
  std::int64_t norm_size() const { return has_layer_norms() ? 2 * hidden : hidden; }
  /// Elements of the norms of query and of key: of a head, or of all heads.
  std::int64_t query_norm_size() const { return is_olmo() ? query_size() : head_dim; }
  std::int64_t key_norm_size() const { return is_olmo() ? kv_size() : head_dim; }
  /// Whether the MLP multiplies two projections, or has one alone.
  bool has_gate() const { return architecture != Architecture::starcoder2 && architecture != Architecture::arcee; }
  /// Whether norms multiply by one plus their weight, all of it in fp32.
  bool has_zero_centred_norms() const { return is_gemma() || is_qwen3_5(architecture); }
  /// Whether query, key and value are one linear layer, and gate and up another.
  bool fuses_projections() const { return architecture == Architecture::phi3; }
  /// Whether some layers have the window and others do not.
  bool alternates_windows() const {
    return has_sandwich_norms() || architecture == Architecture::cohere2 || architecture == Architecture::olmo3;
  }
  /// Whether a layer attends within the window. SmolLM3's is off.
  bool slides(std::int64_t layer) const {
    if (sliding_window == 0) return false;
    switch (architecture) {
      case Architecture::gemma2: return layer % 2 == 0;
      case Architecture::gemma3: return (layer + 1) % 6 != 0;
      case Architecture::cohere2:
      case Architecture::olmo3: return (layer + 1) % 4 != 0;
      case Architecture::mistral:
      case Architecture::mixtral:
      case Architecture::starcoder2:
      case Architecture::phi3: return true;
      default: return false;
    }
  }
  /// Whether layers with a window turn by other angles than those without.
  bool turns_by_window() const { return architecture == Architecture::gemma3 || architecture == Architecture::olmo3; }
  /// Whether a layer turns query and key by their positions: SmolLM3 and Cohere 2 leave out every fourth.
  bool turns(std::int64_t layer) const {
    const bool leaves_out = architecture == Architecture::smollm3 || architecture == Architecture::cohere2;
    return !leaves_out || (layer + 1) % 4 != 0;
  }
};

}  // namespace qwenplan
