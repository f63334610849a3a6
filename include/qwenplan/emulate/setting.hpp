#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/emulate/behavior.hpp"
#include "qwenplan/emulate/operations.hpp"

namespace qwenplan::emulate {

/// What every part of the emulation looks at: the model, the run, the libraries, the card, and the
/// autocast cache of the forward that is running.
struct Setting {
  const Model& model;
  const Run& run;
  Behavior behavior;
  int compute_capability = 80;

  /// Copies in half precision that autocast made of trainable fp32 weights in this forward.
  std::vector<Tensor> autocast_copies;
  /// Whether layers leave their adapters out, as under PEFT's disable_adapter.
  bool leaves_adapters_out = false;
  /// In which Unsloth dequantizes weights forward; as large as the largest so far.
  Tensor dequantized{};

  std::int64_t tokens() const { return run.tokens(); }
  /// Elements of a layer's attention scores, cut at a size that no card has: the largest run of the
  /// largest model has 2^64.
  std::int64_t scores() const {
    return std::min(Saturating::multiply(run.tokens() * model.heads, run.row_length()), std::int64_t{1} << 50);
  }
};

/// What autocast does to an argument of a matrix operation: fp32 becomes half precision, and the
/// copy of a trainable weight, or of an input that is asked for a gradient, is made once a forward and
/// kept to its end.
inline Tensor autocast(Tape& t, Setting& s, const Tensor& x) {
  if (!s.run.autocasts || x.dtype() == s.run.half || (x.dtype() != DType::fp32 && !is_half(x.dtype()))) return x;
  const bool caches = x.dtype() == DType::fp32 && t.is_leaf(x);
  if (!caches) return cast(t, x, s.run.half);
  const std::size_t index = t.leaf_number(x);
  if (s.autocast_copies.size() <= index) s.autocast_copies.resize(index + 1);
  Tensor& copy = s.autocast_copies[index];
  if (!copy) copy = cast(t, x, s.run.half);
  return copy;
}

/// The same for a view or a copy of a weight: its cast is never kept.
inline Tensor autocast_once(Tape& t, const Setting& s, const Tensor& x) {
  return s.run.autocasts && x.dtype() == DType::fp32 ? cast(t, x, s.run.half) : x;
}

/// torch.nn.functional.linear, under autocast where the run has it.
inline Tensor linear(Tape& t, Setting& s, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     std::int64_t outputs) {
  const std::int64_t inputs = std::max<std::int64_t>(1, weight.elements() / outputs);
  const std::int64_t rows = x.elements() / inputs;
  // The arguments are cast from the last to the first.
  const Tensor b = bias ? autocast(t, s, bias) : Tensor();
  const Tensor w = autocast(t, s, weight);
  const Tensor in = autocast(t, s, x);
  Tensor out = linear(t, in, w, b, rows, outputs);
  if (b) t.use_workspace(s.behavior.cublaslt_workspace);
  return out;
}

}  // namespace qwenplan::emulate
