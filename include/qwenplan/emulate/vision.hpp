#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "qwenplan/emulate/decoder.hpp"

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

/// What comes out of the tower: the states of all patches, and those of the merged ones.
struct Seen {
  Tensor patches, merged;
};

/// A picture's patches: the convolution, and positions between the four nearest that are learned. The numbers
/// that say where a patch is are a few KiB and left out.
inline Tensor embed_patches(Tape& t, Setting& s, VisionWeights& w, const Tensor& pixels, Tensor& positions) {
  const std::int64_t hidden = s.model.vision->hidden, patches = s.model.vision->least_patches();
  const DType stored = w.positions.dtype();
  Tensor x;
  {
    const Tensor bias = autocast(t, s, w.patches.bias), weight = autocast(t, s, w.patches.weight);
    const Tensor in = autocast(t, s, pixels);
    t.multiply(patches, w.patches.inputs, hidden, in.dtype());
    x = t.allocate(patches * hidden, in.dtype());
  }
  t.reads(4 * patches * hidden * element_size(stored));
  Tensor near = t.allocate(4 * patches * hidden, stored);
  if (s.behavior.turns_by_products) {
    {
      near = t.allocate(4 * patches * hidden, stored);
      Tensor sum = t.allocate(patches * hidden, stored);  // one of the four after the other
      for (int i = 0; i < 2; ++i) sum = t.allocate(patches * hidden, stored);
      Tensor ordered = t.allocate(patches * hidden, stored);  // for each frame
      ordered = t.allocate(patches * hidden, stored);
      positions = t.allocate(patches * hidden, stored);  // of all pictures, joined
    }
    near.reset();
    return add(t, x, positions);
  }
  near = t.allocate(4 * patches * hidden, DType::fp32);
  positions = t.allocate(patches * hidden, DType::fp32);
  near.reset();
  return add(t, x, cast(t, positions, x.dtype()));
}

/// Cosines and sines of the patches' rows and columns, in fp32. Before 5.17 what they are of lives as long.
struct PatchTurns {
  Tensor angles, both, cos, sin;

  PatchTurns(Tape& t, const Setting& s) {
    const VisionTower& v = *s.model.vision;
    const std::int64_t elements = v.least_patches() * v.hidden / v.heads;
    angles = t.allocate(elements / 2, DType::fp32);
    if (s.behavior.turns_by_products) {
      both = t.allocate(elements, DType::fp32);
      cos = t.allocate(elements, DType::fp32);
      sin = t.allocate(elements, DType::fp32);
      return;
    }
    for (Tensor* each : {&cos, &sin}) {
      *each = t.allocate(elements / 2, DType::fp32);
      *each = t.allocate(elements / 2, DType::fp32);  // times the attention scaling
    }
    for (Tensor* each : {&cos, &sin}) {
      const Tensor rows = t.allocate(elements / 2, DType::fp32);
      *each = t.allocate(elements, DType::fp32);
    }
    angles.reset();
  }
};

/// Attention of all patches to all, with their positions turned in fp32.
inline Tensor attend_patches(Tape& t, Setting& s, VisionBlock& block, const Tensor& x, const PatchTurns& turns) {
  const VisionTower& v = *s.model.vision;
  const std::int64_t patches = v.least_patches(), elements = patches * v.hidden;
  const Tensor projected = run_linear(t, s, block.qkv, x);
  const DType dtype = projected.dtype();
  Tensor q, k;
  {
    const Tensor part = projected.viewed(elements);
    const Tensor q_wide = cast(t, part, DType::fp32), k_wide = cast(t, part, DType::fp32);
    Tensor q_turned = rotate(t, q_wide, turns.cos, turns.sin);
    const Tensor k_turned = rotate(t, k_wide, turns.cos, turns.sin);
    q = cast(t, q_turned, dtype);
    q_turned.reset();
    k = cast(t, k_turned, dtype);
  }
  Work work;
  work.kind = Work::Kind::flash_attention;
  work.rows = work.columns = patches, work.inner = v.hidden, work.count = 1, work.products = 2;
  work.bytes = 4 * elements * element_size(dtype);
  work.dtype = dtype;
  t.compute(work, 2);
  const Tensor answer = t.allocate(elements, dtype);
  { const Tensor sums = t.allocate(v.heads * patches, DType::fp32); }
  const Tensor out = t.allocate(elements, dtype);  // the pictures' answers, joined
  return run_linear(t, s, block.proj, out);
}

/// The tower's forward on one picture, without a graph: nothing of it is trained.
inline Seen look(Tape& t, Setting& s, VisionWeights& w, const Tensor& pixels) {
  const Tape::WithoutGraph silent(t);
  const std::int64_t patches = s.model.vision->least_patches();
  Tensor positions;
  Seen seen;
  Tensor& x = seen.patches;
  x = embed_patches(t, s, w, pixels, positions);
  const PatchTurns turns(t, s);
  const auto mlp = [&](Linear& up, Linear& down, const Tensor& in) {
    Tensor active;
    {
      const Tensor wide = run_linear(t, s, up, in);
      active = gelu(t, wide);
    }
    return run_linear(t, s, down, active);
  };
  for (VisionBlock& block : w.blocks) {
    const Tensor input = x;
    {
      const Tensor attended = attend_patches(t, s, block, norm(t, s, block.norm[0], x, patches, block.norm_bias[0]), turns);
      x = add(t, x, attended);
    }
    const Tensor answer = mlp(block.up, block.down, norm(t, s, block.norm[1], x, patches, block.norm_bias[1]));
    x = add(t, x, answer);
  }
  seen.merged = mlp(w.merge_up, w.merge_down, norm(t, s, w.norm, x, patches, w.norm_bias));
  return seen;
}

}  // namespace qwenplan::emulate
