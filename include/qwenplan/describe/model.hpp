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
  qwen2, qwen3, qwen3_moe, llama, mistral, gemma, gemma2, gemma3, phi3, smollm3, other
};

/// Classes that are emulated as transformers 5 has them, without older versions and Liger's kernels.
constexpr bool is_of_today_alone(Architecture a) {
  return a == Architecture::gemma || a == Architecture::gemma3 || a == Architecture::phi3 || a == Architecture::smollm3;
}

/// Classes whose attention norms query and key.
constexpr bool norms_query_and_key(Architecture a) {
  return a == Architecture::qwen3 || a == Architecture::qwen3_moe || a == Architecture::gemma3;
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
  friend bool operator==(const Experts&, const Experts&) = default;
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
  std::optional<Experts> experts;
  DType stored = DType::bf16;  ///< number format of the published checkpoint

  std::int64_t query_size() const { return heads * head_dim; }
  std::int64_t kv_size() const { return kv_heads * head_dim; }
  bool layer_is_sparse(std::int64_t layer) const {
    return experts && experts->count > 0 && (layer + 1) % experts->sparse_step == 0;
  }
  std::int64_t rotary_size() const { return rotary_dim > 0 ? rotary_dim : head_dim; }
  /// Norms of a decoder layer over the hidden size: Gemma 2 and 3 have four, all others two.
  std::int64_t norms_per_layer() const { return has_sandwich_norms() ? 4 : 2; }
  bool has_sandwich_norms() const { return architecture == Architecture::gemma2 || architecture == Architecture::gemma3; }
  bool is_gemma() const { return architecture == Architecture::gemma || has_sandwich_norms(); }
  /// Whether query, key and value are one linear layer, and gate and up another.
  bool fuses_projections() const { return architecture == Architecture::phi3; }
  /// Whether some layers have the window and others do not.
  bool alternates_windows() const { return architecture == Architecture::gemma2 || architecture == Architecture::gemma3; }
  /// Whether a layer attends within the window. Gemma alternates; SmolLM3's window is off.
  bool slides(std::int64_t layer) const {
    if (sliding_window == 0) return false;
    switch (architecture) {
      case Architecture::gemma2: return layer % 2 == 0;
      case Architecture::gemma3: return (layer + 1) % 6 != 0;
      case Architecture::mistral:
      case Architecture::phi3: return true;
      default: return false;
    }
  }
  /// Whether a layer turns query and key by their positions: SmolLM3 leaves out every fourth.
  bool turns(std::int64_t layer) const { return architecture != Architecture::smollm3 || (layer + 1) % 4 != 0; }
};

}  // namespace qwenplan
