#pragma once

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

/// Liger's kernels inside a decoder layer, by what their Python code allocates and saves
/// (liger_kernel/ops: rms_norm.py, swiglu.py, geglu.py, rope.py).
namespace qwenplan::emulate {

/// Multiprocessors of the largest card of a compute capability: a norm's gradient has a row of sums for
/// each of them.
constexpr std::int64_t multiprocessors(int compute_capability) {
  switch (compute_capability) {
    case 75: return 72;
    case 80: return 108;
    case 86: return 84;
    case 89: return 142;
    case 90: return 132;
    case 100: case 103: return 160;
    case 120: case 121: return 188;
    default: return 132;
  }
}

namespace gradient {

/// The input's gradient is written over the output's, or beside it (size 0: 1 for beside). Sums of the
/// weight's in fp32, of size 1 rows; none where that is 0. Size 2: 1 where the gradient comes by heads
/// and is copied into order.
inline void liger_norm(Tape& t, const Node& n, const Tensor& arriving, Tensor* out) {
  const std::int64_t width = n.input_elements[1];
  const Tensor grad = n.size[2] != 0 ? t.allocate(arriving.elements(), arriving.dtype()) : arriving;
  const Tensor sums = n.size[1] > 0 ? t.allocate(n.size[1] * width, DType::fp32) : Tensor();
  out[0] = n.size[0] != 0 ? t.allocate(grad.elements(), grad.dtype()) : grad;
  if (!sums) return;
  Tensor of_weight = t.allocate(width, DType::fp32);
  if (n.input_dtype[1] != DType::fp32) of_weight = t.allocate(width, n.input_dtype[1]);
  if (n.input[1] != Tensor::kNone) out[1] = std::move(of_weight);
}

/// Gradients of gate and up, written over them.
inline void liger_glu(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  out[0] = t.saved(n, 0);
  out[1] = t.saved(n, 1);
}

}  // namespace gradient

/// Liger's norm keeps its input and a root for each row; its output has the input's format, whatever
/// the weight's.
inline Tensor liger_norm(Tape& t, const Setting& s, const Tensor& weight, const Tensor& x, std::int64_t groups,
                         bool reorders = false) {
  auto op = t.record(gradient::liger_norm, {&x, &weight});
  const bool is_beside = s.model.architecture == Architecture::gemma2;
  const bool sums = weight.requires_grad() || !s.behavior.liger_skips_frozen_norms;
  op.sizes(is_beside, sums ? multiprocessors(s.compute_capability) : 0, reorders);
  Tensor out = t.allocate(x.elements(), x.dtype());
  const Tensor root = t.allocate(groups, DType::fp32);
  op.save(x).save(weight).save(root);
  return op.result(std::move(out));
}

/// Liger's SwiGLU and GeGLU keep gate and up, and compute the activation again.
inline Tensor liger_glu(Tape& t, const Tensor& gate, const Tensor& up) {
  auto op = t.record(gradient::liger_glu, {&gate, &up});
  Tensor out = t.allocate(gate.elements(), gate.dtype());
  op.save(gate).save(up);
  return op.result(std::move(out));
}

/// Liger's rotary embedding turns query and key where they are. A gradient that comes back in another
/// memory order is copied.
inline Tensor liger_rotate(Tape& t, const Tensor& x, const Tensor& cos, const Tensor& sin, bool reorders) {
  auto op = t.record(reorders ? gradient::copied : gradient::passed, {&x});
  if (cos) op.save(cos).save(sin);
  return op.result(x);
}

}  // namespace qwenplan::emulate
