#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// Kernels that go over a list of tensors take about so many at once (MultiTensorApply.cuh).
inline int multi_tensor_launches(std::size_t tensors) {
  constexpr std::size_t kTensors = 36;
  return static_cast<int>((tensors + kTensors - 1) / kTensors);
}

/// torch.nn.utils.clip_grad_norm_: a norm for each gradient, their norm, and a factor.
inline void clip_gradients(Tape& t) {
  t.set_term(Term::temporary);
  const Tape::InSection section(t, Section::optimizer);
  std::int64_t bytes = 0;
  std::vector<Tensor> norms;
  DType dtype = DType::fp32;
  for (const Leaf& leaf : t.leaves()) {
    if (!leaf.trainable || !leaf.grad) continue;
    dtype = leaf.grad.dtype();
    bytes = Saturating::add(bytes, Saturating::multiply(leaf.grad.elements(), element_size(dtype)));
    t.compute({.launches = 0});  // all norms are one list's, told below
    norms.push_back(t.allocate(1, dtype));
  }
  if (norms.empty()) return;
  // One kernel takes a few hundred tensors: reads them for the norm, and scales them in place.
  t.touch(bytes, multi_tensor_launches(norms.size()));
  Tensor total;
  {
    const Tensor stacked = t.allocate(static_cast<std::int64_t>(norms.size()), dtype);
    total = t.allocate(1, dtype);
  }
  const std::size_t tensors = norms.size();
  norms.clear();
  Tensor factor;
  {
    const Tensor shifted = t.allocate(1, dtype);
    const Tensor inverse = t.allocate(1, dtype);
    factor = t.allocate(1, dtype);
  }
  factor = t.allocate(1, dtype);
  t.touch(Saturating::multiply(bytes, 2), multi_tensor_launches(tensors));
}

/// The optimizer's states and what its step allocates for a while.
class Optimizer {
 public:
  /// `embedding` is the leaf whose states transformers' Trainer keeps in 32 bits with 8-bit AdamW.
  Optimizer(OptimizerKind kind, const Tensor& embedding) : kind_(kind), embedding_(embedding.node()) {}

  void step(Tape& t) {
    const Tape::InSection section(t, Section::optimizer);
    t.set_term(Term::optimizer);
    if (!std::exchange(has_states_, true)) make_states(t);
    t.set_term(Term::temporary);
    tell_work(t);
    std::vector<Tensor> roots;
    Tensor denominator;
    for (const Leaf& leaf : t.leaves()) {
      if (!leaf.trainable || !leaf.grad) continue;
      const std::int64_t n = leaf.value.elements();
      t.compute({.launches = 0}, 2);
      if (kind_ == OptimizerKind::adamw_foreach) {
        roots.push_back(t.allocate(n, leaf.value.dtype()));  // _foreach_sqrt, of all at once
      } else if (kind_ == OptimizerKind::adamw_loop) {
        const Tensor root = t.allocate(n, leaf.value.dtype());
        denominator = t.allocate(n, leaf.value.dtype());
      }
    }
  }

 private:
  /// What the update streams through: weight, gradient and states once with one fused kernel for a
  /// list of tensors (bitsandbytes: for each tensor), again and again with one kernel for each
  /// elementary operation (torch.optim.adam: thirteen operations that read or write 32 tensors).
  void tell_work(Tape& t) const {
    constexpr std::int64_t kFusedPasses = 7, kElementaryPasses = 32;
    constexpr int kElementaryOperations = 13;
    std::int64_t elements = 0, bytes = 0;
    std::size_t tensors = 0;
    for (const Leaf& leaf : t.leaves()) {
      if (!leaf.trainable || !leaf.grad) continue;
      ++tensors;
      elements = Saturating::add(elements, leaf.value.elements());
      bytes = Saturating::add(bytes, Saturating::multiply(leaf.value.elements(), element_size(leaf.value.dtype())));
    }
    const int each = static_cast<int>(tensors), lists = multi_tensor_launches(tensors);
    const auto passes = [](std::int64_t size, std::int64_t count) { return Saturating::multiply(size, count); };
    switch (kind_) {
      case OptimizerKind::adamw_fused: t.touch(passes(bytes, kFusedPasses), lists); break;
      case OptimizerKind::adamw_foreach: t.touch(passes(bytes, kElementaryPasses), lists * kElementaryOperations); break;
      case OptimizerKind::adamw_loop: t.touch(passes(bytes, kElementaryPasses), each * kElementaryOperations); break;
      case OptimizerKind::adamw_8bit:
      case OptimizerKind::paged_adamw_8bit: t.touch(passes(bytes, 3) + passes(elements, 4), each); break;
      case OptimizerKind::paged_adamw: t.touch(passes(bytes, 3) + passes(elements, 16), each); break;
      case OptimizerKind::sgd_momentum: t.touch(passes(bytes, 5), lists * 2); break;
      case OptimizerKind::sgd: t.touch(passes(bytes, 3), lists); break;
    }
  }

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
          for (int i = 0; i < 2; ++i) states_.push_back(t.allocate(n, leaf.value.dtype()));
          break;
        case OptimizerKind::adamw_8bit:
        case OptimizerKind::paged_adamw:
        case OptimizerKind::paged_adamw_8bit: make_bitsandbytes_states(t, leaf); break;
        case OptimizerKind::sgd_momentum: states_.push_back(t.allocate(n, leaf.value.dtype())); break;
        case OptimizerKind::sgd: break;
      }
    }
  }

  /// Optimizer2State.init_state: 8 bits an element and an fp32 scale per 256, or fp32 for small
  /// tensors and embeddings. Paged states of 100,000 elements and more are in unified memory,
  /// outside PyTorch's allocator.
  void make_bitsandbytes_states(Tape& t, const Leaf& leaf) {
    constexpr std::int64_t kSmallest8bit = 4096, kBlock = 256, kSmallestPaged = 100'000;
    const std::int64_t n = leaf.value.elements();
    const bool is_paged = kind_ != OptimizerKind::adamw_8bit && n >= kSmallestPaged;
    const bool is_8bit = kind_ != OptimizerKind::paged_adamw && n >= kSmallest8bit &&
                         (embedding_ == Tensor::kNone || leaf.value.node() != embedding_);
    if (is_8bit && !std::exchange(has_codes_, true))
      for (int i = 0; i < 2; ++i) states_.push_back(t.allocate(256, DType::fp32));  // the two 8-bit codes
    for (int i = 0; i < 2 && !is_paged; ++i)
      states_.push_back(t.allocate(n, is_8bit ? DType::uint8 : DType::fp32));
    for (int i = 0; i < 2 && is_8bit; ++i)
      states_.push_back(t.allocate((n + kBlock - 1) / kBlock, DType::fp32));
  }

  OptimizerKind kind_;
  std::int32_t embedding_;
  bool has_states_ = false;
  bool has_codes_ = false;
  std::vector<Tensor> states_;
};

}  // namespace qwenplan::emulate
