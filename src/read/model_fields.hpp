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
          size("full_attention_interval", kDeepest, otherwise.full_interval)};
}

}  // namespace qwenplan
