#pragma once

#include <cstdint>

#include "qwenplan/describe/run.hpp"
#include "qwenplan/describe/stack.hpp"

namespace qwenplan::emulate {

/// What the libraries of a stack do, where versions differ. Each line names what it was read in.
struct Behavior {
  // transformers
  bool asks_for_grouped_heads = true;    ///< sdpa_attention_forward passes enable_gqa where there is no mask (>= 4.54)
  bool makes_attention_inputs_contiguous = false;  ///< query/key/value.contiguous() before sdpa (4.48 to 4.53)
  bool flash_expands_heads = false;  ///< the classes for flash-attn repeat K and V first (< 4.48)
  bool masks_are_boolean = true;         ///< masking_utils: bool mask, turned into the dtype in each layer (>= 4.53)
  bool masks_by_positions = true;        ///< of packed samples also what comes later; before, by places in the row (>= 5.23)
  bool keeps_original_frequencies = true;  ///< rotary embedding keeps a second copy of inv_freq (>= 5.0)
  bool caches_rotary_tables = false;  ///< each layer holds cos and sin of all positions and picks its own (Qwen2, < 4.45)
  bool upcasts_logits_in_model = false;  ///< fp32 logits are the model's output (< 4.46)
  bool shifts_logits = false;            ///< not the labels; a copy with more than one sequence (< 4.49)
  // Experts (integrations/moe.py)
  bool inverts_visits_first = false;  ///< the way back from the order of experts is made with it (< 5.8)
  bool masks_visits_first = false;    ///< visits to experts elsewhere are hidden before the products (5.8 to 5.18)
  bool masks_visits_last = false;     ///< and in what comes of them (< 5.17)
  bool masks_products = false;        ///< or in each product's answer, which is copied (5.17, 5.18)
  // Qwen3.5's linear attention
  bool convolves_by_function = true;  ///< causal_conv1d_fn; before, the layer's own module (>= 5.15)
  bool masks_single_rows = true;      ///< padding is hidden also where one row has none (>= 5.15)
  bool solves_chunks = true;          ///< a triangular system for each chunk; before, row by row in a loop (>= 5.17)
  bool repeats_heads_in_rule = true;  ///< not by the caller, who keeps both (>= 5.23)
  bool turns_by_products = false;     ///< its rotary embedding is a product of matrices (< 5.17)
  bool warms_up_allocator = true;  ///< with a device map, one block of the model's size first (caching_allocator_warmup, >= 4.51)
  // PEFT
  bool empties_cache_after_upcast = true;  ///< prepare_model_for_kbit_training (>= 0.20)
  // bitsandbytes
  bool casts_quantized_bias_for_good = true;  ///< Linear4bit casts its input before it compares the bias' dtype (>= 0.48)
  bool quantized_linear_holds_input = false;  ///< MatMul4Bit keeps it as an attribute (< 0.43.2)
  bool copies_second_code = true;             ///< each doubly quantized layer has its own 1 KiB code table (>= 0.46)
  bool dequantizes_to_input = true;  ///< forward; before, to the format of the weight that was quantized (< 0.50)
  bool adds_offset_in_place = false;          ///< forward dequantization of the statistics (< 0.50: in place)
  // Liger
  bool liger_reuses_logits = true;  ///< one buffer for the logits of all pieces (fused_linear_cross_entropy.py, >= 0.8.3)
  /// The head's gradient is summed up where it is, in 16 and in 32 bits (>= 0.8.3 and >= 0.8.1; up to 0.6.0 too).
  /// Between them it is a product first, and a copy of that in fp32.
  bool liger_sums_half_in_place = true;
  bool liger_sums_fp32_in_place = true;
  bool liger_upcasts_logits = false;  ///< a piece's logits go to fp32 and back, and are scaled beside themselves (< 0.5)
  bool liger_skips_frozen_norms = true;  ///< no sums for the gradient of a norm that is frozen (rms_norm.py, >= 0.8.5)
  // torch
  std::int64_t cublaslt_workspace = 0;  ///< of each product with a bias; later versions use cuBLAS' (< 2.9: 1 MiB)
  /// Only flash and cuDNN know enable_gqa; sdpa falls to math (2.5 to 2.14: seen with 2.6 and 2.8, reported for
  /// 2.10; where it ended before 2.15 is not known).
  bool math_for_grouped_heads = false;
  bool prefers_cudnn_attention = true;  ///< on compute capability 9.0 (>= 2.9)
};

/// PyTorch's default cuBLAS workspace of a handle (CublasHandlePool.cpp): ":4096:2:16:8"; 32 MiB on
/// Hopper, and since 2.15 on Blackwell.
constexpr std::int64_t cublas_workspace(const Stack& stack, int compute_capability) {
  constexpr std::int64_t kKiB = 1024;
  const int generation = compute_capability / 10;
  const bool is_large = generation == 9 || (generation > 9 && stack.torch >= Version{2, 15, 0});
  return is_large ? 32 * 1024 * kKiB : (2 * 4096 + 8 * 16) * kKiB;
}

inline Behavior behavior_of(const Stack& stack) {
  Behavior b;
  b.asks_for_grouped_heads = stack.transformers >= Version{4, 54, 0} && stack.torch >= Version{2, 5, 0};
  b.makes_attention_inputs_contiguous =
      stack.transformers >= Version{4, 48, 0} && stack.transformers < Version{4, 54, 0};
  b.flash_expands_heads = stack.transformers < Version{4, 48, 0};
  b.masks_are_boolean = stack.transformers >= Version{4, 53, 0};
  b.masks_by_positions = stack.transformers >= Version{5, 23, 0};
  b.keeps_original_frequencies = stack.transformers >= Version{5, 0, 0};
  b.caches_rotary_tables = stack.transformers < Version{4, 45, 0};
  b.upcasts_logits_in_model = stack.transformers < Version{4, 46, 0};
  b.shifts_logits = stack.transformers < Version{4, 49, 0};
  b.inverts_visits_first = stack.transformers < Version{5, 8, 0};
  b.masks_visits_last = stack.transformers < Version{5, 17, 0};
  b.masks_visits_first = !b.inverts_visits_first && stack.transformers < Version{5, 19, 0};
  b.masks_products = b.masks_visits_first && !b.masks_visits_last;
  b.convolves_by_function = stack.transformers >= Version{5, 15, 0};
  b.masks_single_rows = stack.transformers >= Version{5, 15, 0};
  b.solves_chunks = stack.transformers >= Version{5, 17, 0};
  b.repeats_heads_in_rule = stack.transformers >= Version{5, 23, 0};
  b.turns_by_products = stack.transformers < Version{5, 17, 0};
  b.quantized_linear_holds_input = stack.bitsandbytes < Version{0, 43, 2};
  b.warms_up_allocator = stack.transformers >= Version{4, 51, 0};
  b.empties_cache_after_upcast = stack.peft >= Version{0, 20, 0};
  b.casts_quantized_bias_for_good = stack.bitsandbytes >= Version{0, 48, 0};
  b.copies_second_code = stack.bitsandbytes >= Version{0, 46, 0};
  b.dequantizes_to_input = stack.bitsandbytes >= Version{0, 50, 0};
  b.adds_offset_in_place = stack.bitsandbytes < Version{0, 50, 0};
  const bool is_old_liger = stack.liger < Version{0, 6, 1};
  b.liger_reuses_logits = stack.liger >= Version{0, 8, 3};
  b.liger_sums_half_in_place = stack.liger >= Version{0, 8, 3} || is_old_liger;
  b.liger_sums_fp32_in_place = stack.liger >= Version{0, 8, 1} || is_old_liger;
  b.liger_upcasts_logits = stack.liger < Version{0, 5, 0};
  b.liger_skips_frozen_norms = stack.liger >= Version{0, 8, 5};
  b.cublaslt_workspace = stack.torch < Version{2, 9, 0} ? 1024 * 1024 : 0;
  b.math_for_grouped_heads = stack.torch < Version{2, 15, 0};
  b.prefers_cudnn_attention = stack.torch >= Version{2, 9, 0};
  return b;
}

}  // namespace qwenplan::emulate
