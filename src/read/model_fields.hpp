#pragma once

#include "qwenplan/describe/model.hpp"
#include "read/json_text.hpp"
#include "read/model_bounds.hpp"

namespace qwenplan {

/// The sizes of linear attention, which config.json and models.json name alike; `otherwise` has what
/// stands where one of them is missing.
inline LinearAttention read_linear_sizes(Fields& fields, const LinearAttention& otherwise) {
  const auto size = [&](const char* key, std::int64_t most, std::int64_t missing) {
    return fields.whole(key, 1, most).value_or(missing);
  };
  return {size("linear_num_key_heads", kMostHeads, otherwise.key_heads),
          size("linear_num_value_heads", kMostHeads, otherwise.value_heads),
          size("linear_key_head_dim", kWidestHead, otherwise.key_head_dim),
          size("linear_value_head_dim", kWidestHead, otherwise.value_head_dim),
          size("linear_conv_kernel_dim", kWidestHead, otherwise.kernel),
          size("full_attention_interval", kDeepest, otherwise.full_interval),
          fields.boolean("stored_fp32").value_or(otherwise.is_stored_wide)};
}

/// The same of a vision tower.
inline VisionTower read_vision_sizes(Fields& fields, const VisionTower& otherwise) {
  const auto size = [&](const char* key, std::int64_t most, std::int64_t missing) {
    return fields.whole(key, 1, most).value_or(missing);
  };
  const VisionTower tower{size("depth", kDeepest, otherwise.layers),
                          size("hidden_size", kWidest, otherwise.hidden),
                          size("intermediate_size", kWidestFfn, otherwise.ffn),
                          size("num_heads", kMostHeads, otherwise.heads),
                          size("patch_size", kWidestPatch, otherwise.patch),
                          size("temporal_patch_size", kWidestPatch, otherwise.temporal_patch),
                          size("spatial_merge_size", kWidestPatch, otherwise.merge),
                          size("num_position_embeddings", kWidest, otherwise.positions)};
  if (tower.heads > 0 && tower.hidden % (4 * tower.heads) != 0)
    fields.expected("num_heads", "heads whose size is a multiple of four");
  return tower;
}

}  // namespace qwenplan
