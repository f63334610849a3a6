#pragma once

#include <cstdint>
#include <vector>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// torch.nn.utils.clip_grad_norm_: a norm for each gradient, their norm, and a factor.
inline void clip_gradients(Tape& t) {
  t.set_term(Term::temporary);
  std::vector<Tensor> norms;
  DType dtype = DType::fp32;
  for (const Leaf& leaf : t.leaves()) {
    if (!leaf.trainable || !leaf.grad) continue;
    dtype = leaf.grad.dtype();
    norms.push_back(t.allocate(1, dtype));
  }
  if (norms.empty()) return;
  Tensor total;
  {
    const Tensor stacked = t.allocate(static_cast<std::int64_t>(norms.size()), dtype);
    total = t.allocate(1, dtype);
  }
  norms.clear();
  Tensor factor;
  {
    const Tensor shifted = t.allocate(1, dtype);
    const Tensor inverse = t.allocate(1, dtype);
    factor = t.allocate(1, dtype);
  }
  factor = t.allocate(1, dtype);
}

/// The optimizer's states and what its step allocates for a while.
class Optimizer {
 public:
  explicit Optimizer(OptimizerKind kind) : kind_(kind) {}

  void step(Tape& t) {
    t.set_term(Term::optimizer);
    if (!has_states_) make_states(t);
    has_states_ = true;
    t.set_term(Term::temporary);
    switch (kind_) {
      case OptimizerKind::adamw_foreach:
      case OptimizerKind::paged_adamw: break;
      default: break;
    }
    if (kind_ == OptimizerKind::adamw_foreach) {
      std::vector<Tensor> roots;
      for (const Leaf& leaf : t.leaves())
        if (leaf.trainable && leaf.grad) roots.push_back(t.allocate(leaf.value.elements(), leaf.value.dtype()));
    } else if (kind_ == OptimizerKind::adamw_loop) {
      Tensor denominator;
      for (const Leaf& leaf : t.leaves()) {
        if (!leaf.trainable || !leaf.grad) continue;
        const Tensor root = t.allocate(leaf.value.elements(), leaf.value.dtype());
        denominator = t.allocate(leaf.value.elements(), leaf.value.dtype());
      }
    }
  }

 private:
  void make_states(Tape& t) {
    for (const Leaf& leaf : t.leaves()) {
      if (!leaf.trainable || !leaf.grad) continue;
      const std::int64_t n = leaf.value.elements();
      switch (kind_) {
        case OptimizerKind::adamw_fused:
          states_.push_back(t.allocate(1, DType::fp32));  // the step counter, on the device
          [[fallthrough]];
        case OptimizerKind::adamw_foreach:
        case OptimizerKind::adamw_loop:
          states_.push_back(t.allocate(n, leaf.value.dtype()));
          states_.push_back(t.allocate(n, leaf.value.dtype()));
          break;
        case OptimizerKind::adamw_8bit: make_8bit_states(t, n); break;
        case OptimizerKind::sgd_momentum: states_.push_back(t.allocate(n, leaf.value.dtype())); break;
        case OptimizerKind::paged_adamw:
        case OptimizerKind::paged_adamw_8bit:
        case OptimizerKind::sgd: break;
      }
    }
  }

  /// bitsandbytes: 8 bits an element and one fp32 scale per 256; small tensors stay in fp32.
  void make_8bit_states(Tape& t, std::int64_t n) {
    constexpr std::int64_t kSmallest = 4096, kBlock = 256;
    for (int i = 0; i < 2; ++i) {
      if (n < kSmallest) {
        states_.push_back(t.allocate(n, DType::fp32));
        continue;
      }
      states_.push_back(t.allocate(n, DType::uint8));
      states_.push_back(t.allocate((n + kBlock - 1) / kBlock, DType::fp32));
    }
  }

  OptimizerKind kind_;
  bool has_states_ = false;
  std::vector<Tensor> states_;
};

}  // namespace qwenplan::emulate
