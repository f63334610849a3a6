#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "qwenplan/emulate/linear.hpp"

/// The vision tower of Qwen3.5 (Qwen3_5VisionModel of transformers), which trainers of text load too.
namespace qwenplan::emulate {

/// The weights of one block.
struct VisionBlock {
  Tensor norm[2], norm_bias[2];
  Linear qkv, proj, up, down;

  std::array<Linear*, 4> linears() { return {&qkv, &proj, &up, &down}; }
};

/// The weights of the tower.
struct VisionWeights {
  Linear patches;    ///< a convolution whose steps are as wide as its kernel
  Tensor positions;
  std::vector<VisionBlock> blocks;
  Tensor norm, norm_bias;  ///< the merger's
  Linear merge_up, merge_down;

  explicit operator bool() const { return static_cast<bool>(positions); }

  /// Everything that is a linear layer, in the order of the modules.
  template <class Do>
  void for_linears(const Do& each) {
    for (VisionBlock& block : blocks)
      for (Linear* linear : block.linears()) each(*linear);
    for (Linear* linear : {&merge_up, &merge_down}) each(*linear);
  }
  template <class Do>
  void for_norms(const Do& each) {
    for (VisionBlock& block : blocks)
      for (int i = 0; i < 2; ++i) each(block.norm[i]), each(block.norm_bias[i]);
    each(norm), each(norm_bias);
  }
};

}  // namespace qwenplan::emulate
