#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "qwenplan/emulate/matrix_optimizer.hpp"
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
  /// `embedding` is the leaf whose states transformers' Trainer keeps in 32 bits with 8-bit ones.
  Optimizer(OptimizerKind kind, const Tensor& embedding) : kind_(kind), embedding_(embedding.node()) {}
  /// One that looks at weights as matrices.
  Optimizer(OptimizerKind kind, MatrixRoles roles) : kind_(kind), embedding_(roles.embedding) {
    by_matrix_.emplace(kind, std::move(roles));
  }

  /// What it does when it is made: Adagrad's sums are there from then on.
  void begin(Tape& t) {
    if (kind_ != OptimizerKind::adagrad) return;
    t.set_term(Term::optimizer);
    for (std::size_t i = 0; i < t.leaves().size(); ++i)
      if (t.leaves()[i].trainable) make_states(t, i);
  }

  /// Updates every weight that has a gradient.
  void step(Tape& t) {
    updated_.clear();
    for (std::size_t i = 0; i < t.leaves().size(); ++i)
      if (t.leaves()[i].trainable && t.leaves()[i].grad) updated_.push_back(i);
    update(t);
  }

  /// Updates one weight, as an optimizer of its own does that steps as soon as the gradient is there.
  void step_alone(Tape& t, std::size_t leaf) {
    updated_.assign(1, leaf);
    update(t);
  }

 private:
  void update(Tape& t) {
    const Tape::InSection section(t, Section::optimizer);
    if (by_matrix_) {
      t.set_term(Term::temporary);
      return by_matrix_->step(t, updated_);
    }
    t.set_term(Term::optimizer);
    for (const std::size_t i : updated_) make_states(t, i);
    t.set_term(Term::temporary);
    tell_work(t);
    switch (kind_) {
      case OptimizerKind::adamw_foreach:
      case OptimizerKind::rmsprop: at_once(t, 1); break;  // _foreach_sqrt
      case OptimizerKind::adagrad: at_once(t, 2); break;  // _foreach_sqrt, and _foreach_mul of gradients
      case OptimizerKind::adamw_loop: one_by_one(t); break;
      case OptimizerKind::adamw_anyprecision: one_by_one(t); break;
      case OptimizerKind::adafactor: adafactor(t); break;
      case OptimizerKind::schedule_free_adamw: at_once(t, 1); break;  // _foreach_div of the second moments
      case OptimizerKind::adamw_torchao_8bit:
      case OptimizerKind::adamw_torchao_4bit: compiled_one_by_one(t); break;
      default: break;  // one kernel, in place
    }
  }

  /// What the update streams through: weight, gradient and states once with one fused kernel for a
  /// list of tensors (bitsandbytes: for each tensor), again and again with one kernel for each
  /// elementary operation (torch.optim.adam: nine operations that read or write 20 tensors).
  void tell_work(Tape& t) const {
    std::int64_t elements = 0, bytes = 0;
    for (const std::size_t i : updated_) {
      const Tensor& value = t.leaves()[i].value;
      elements = Saturating::add(elements, value.elements());
      bytes = Saturating::add(bytes, Saturating::multiply(value.elements(), element_size(value.dtype())));
    }
    const int each = static_cast<int>(updated_.size()), lists = multi_tensor_launches(updated_.size());
    const auto passes = [](std::int64_t size, std::int64_t count) { return Saturating::multiply(size, count); };
    if (const BitsandbytesStates states = bitsandbytes_states(kind_); states.copies > 0) {
      const std::int64_t state = states.is_8bit ? 2 : 8;  // read and written
      return t.touch(passes(bytes, 3) + passes(elements, state * states.copies), each);
    }
    switch (kind_) {
      case OptimizerKind::adamw_fused: return t.touch(passes(bytes, 7), lists);
      case OptimizerKind::adamw_foreach: return t.touch(passes(bytes, 20), lists * 9);
      case OptimizerKind::adamw_loop: return t.touch(passes(bytes, 20), each * 9);
      case OptimizerKind::sgd_momentum: return t.touch(passes(bytes, 5), lists * 2);
      case OptimizerKind::sgd: return t.touch(passes(bytes, 3), lists);
      case OptimizerKind::rmsprop: return t.touch(passes(bytes, 14), lists * 5);
      case OptimizerKind::adagrad: return t.touch(passes(bytes, 13), lists * 5);
      case OptimizerKind::schedule_free_adamw: return t.touch(passes(bytes, 24), lists * 10);
      // Weight, gradient and codes go through two kernels, and what is between them to memory and back.
      case OptimizerKind::adamw_torchao_8bit: return t.touch(passes(bytes, 5) + passes(elements, 22), each * 4);
      case OptimizerKind::adamw_torchao_4bit: return t.touch(passes(bytes, 3) + passes(elements, 51), each * 5);
      case OptimizerKind::adamw_anyprecision: return t.touch(passes(bytes, 4) + passes(elements, 76), each * 8);
      case OptimizerKind::adafactor: return t.touch(passes(bytes, 4) + passes(elements, 100), each * 24);
      default: return;
    }
  }

  /// Of the allocations that follow, the work was told as a whole.
  static void have_told(Tape& t, int allocations) { t.compute({.launches = 0}, allocations); }

  /// Copies of all that is updated, which live until the last of them is used.
  void at_once(Tape& t, int copies) const {
    std::vector<Tensor> held;
    have_told(t, copies * static_cast<int>(updated_.size()));
    for (int copy = 0; copy < copies; ++copy)
      for (const std::size_t i : updated_)
        held.push_back(t.allocate(t.leaves()[i].value.elements(), format_of_states(t.leaves()[i])));
  }

  /// The root of the second moment, and the denominator that it becomes; the last denominator keeps
  /// its name until the next one takes it.
  void one_by_one(Tape& t) const {
    Tensor denominator;
    for (const std::size_t i : updated_) {
      const std::int64_t n = t.leaves()[i].value.elements();
      have_told(t, 2);
      const Tensor root = t.allocate(n, format_of_states(t.leaves()[i]));
      denominator = t.allocate(n, root.dtype());
    }
  }

  /// torchao's single_param_adam as torch.compile makes it (torch 2.15): moments that are scaled to their
  /// blocks in fp32, and with 4 bits their codes as 64-bit numbers, go through memory.
  void compiled_one_by_one(Tape& t) const {
    for (const std::size_t i : updated_) {
      const std::int64_t n = t.leaves()[i].value.elements();
      if (!is_torchao_quantized(n)) continue;
      const bool is_4bit = kind_ == OptimizerKind::adamw_torchao_4bit;
      have_told(t, is_4bit ? 6 : 4);
      const std::int64_t blocks = n / kTorchaoBlock;
      const Tensor scales[] = {t.allocate(blocks, DType::fp32), t.allocate(blocks, DType::fp32)};
      const Tensor scaled[] = {t.allocate(n, DType::fp32), t.allocate(n, DType::fp32)};
      if (!is_4bit) continue;
      const Tensor codes[] = {t.allocate(n, DType::int64), t.allocate(n, DType::int64)};
    }
  }

  /// Blocks of 256 as transformers sets it; torchao's own are the same but for 4 bits, where they are 128.
  static constexpr std::int64_t kTorchaoBlock = 256;
  static bool is_torchao_quantized(std::int64_t elements) {
    return elements >= 4096 && elements % kTorchaoBlock == 0;
  }

  /// Codes of 8 or 4 bits, a scale for each block, and a table for each tensor.
  void make_torchao_states(Tape& t, const Leaf& leaf) {
    const std::int64_t n = leaf.value.elements();
    const bool is_4bit = kind_ == OptimizerKind::adamw_torchao_4bit;
    for (int i = 0; i < 2; ++i) {
      if (!is_torchao_quantized(n)) {
        states_.push_back(t.allocate(n, leaf.value.dtype()));
        continue;
      }
      states_.push_back(t.allocate(is_4bit ? n / 2 : n, DType::uint8));
      states_.push_back(t.allocate(n / kTorchaoBlock, DType::fp32));
      states_.push_back(t.allocate(is_4bit ? 16 : 256, DType::fp32));
    }
  }

  /// transformers' Adafactor as its Trainer sets it: no first moment, no scale of the parameter. Each
  /// name of the loop's body keeps its value until the next parameter.
  void adafactor(Tape& t) {
    Tensor gradient, value, update;
    for (const std::size_t i : updated_) {
      const Leaf& leaf = t.leaves()[i];
      const std::int64_t n = leaf.value.elements();
      const auto wide = [&t](const Tensor& x) { return cast(t, x.detached(), DType::fp32); };
      gradient.reset();
      gradient = wide(leaf.grad);
      make_factors(t, i);
      value.reset();
      value = wide(leaf.value);
      have_told(t, 20);
      const auto root_mean_square = [&t] {
        const Tensor norm = t.allocate(1, DType::fp32);
        return t.allocate(1, DType::fp32);
      };
      root_mean_squares_[i] = root_mean_square();
      {
        const Tensor square = t.allocate(n, DType::fp32);
        update = t.allocate(n, DType::fp32);
      }
      if (leaf.columns > 0) {
        const std::int64_t rows = n / leaf.columns, columns = leaf.matrices * leaf.columns;
        { const Tensor mean = t.allocate(rows, DType::fp32); }
        { const Tensor mean = t.allocate(columns, DType::fp32); }
        Tensor row_factor;
        {
          const Tensor mean = t.allocate(leaf.matrices, DType::fp32);
          row_factor = t.allocate(rows, DType::fp32);
        }
        const Tensor column_factor = t.allocate(columns, DType::fp32);
        update = t.allocate(n, DType::fp32);
      } else {
        update = t.allocate(n, DType::fp32);
      }
      {
        const Tensor size = root_mean_square();
        const Tensor clipped = t.allocate(1, DType::fp32);
      }
      const Tensor negated = t.allocate(n, DType::fp32);
    }
  }

  /// The averages of the squared gradients by row and by column, made on the host and moved; of a
  /// vector, of each element.
  void make_factors(Tape& t, std::size_t index) {
    if (root_mean_squares_.size() <= index) root_mean_squares_.resize(t.leaves().size());
    if (root_mean_squares_[index]) return;
    const Leaf& leaf = t.leaves()[index];
    const std::int64_t n = leaf.value.elements();
    t.set_term(Term::optimizer);
    if (leaf.columns > 0) {
      states_.push_back(t.allocate(n / leaf.columns, DType::fp32));
      states_.push_back(t.allocate(leaf.matrices * leaf.columns, DType::fp32));
    } else {
      states_.push_back(t.allocate(n, DType::fp32));
    }
    t.set_term(Term::temporary);
  }

  DType format_of_states(const Leaf& leaf) const {
    return kind_ == OptimizerKind::adamw_anyprecision ? DType::fp32 : leaf.value.dtype();
  }

  void make_states(Tape& t, std::size_t index) {
    if (has_states_.size() <= index) has_states_.resize(t.leaves().size());
    if (has_states_[index]) return;
    has_states_[index] = true;
    const Leaf& leaf = t.leaves()[index];
    const std::int64_t n = leaf.value.elements();
    const auto make = [&](int copies) {
      for (int i = 0; i < copies; ++i) states_.push_back(t.allocate(n, format_of_states(leaf)));
    };
    switch (kind_) {
      case OptimizerKind::adamw_fused:
        states_.push_back(t.allocate(1, DType::fp32));  // the step counter, on the device
        return make(2);
      case OptimizerKind::adamw_foreach:
      case OptimizerKind::adamw_loop:
      case OptimizerKind::adamw_anyprecision:
      case OptimizerKind::schedule_free_adamw: return make(2);  // its own: where the steps lead, without averaging
      case OptimizerKind::adamw_torchao_8bit:
      case OptimizerKind::adamw_torchao_4bit: return make_torchao_states(t, leaf);
      case OptimizerKind::sgd_momentum:
      case OptimizerKind::adagrad:
      case OptimizerKind::rmsprop: return make(1);
      case OptimizerKind::sgd: return;
      case OptimizerKind::adafactor: return;  // with its first gradient
      default: return make_bitsandbytes_states(t, leaf);
    }
  }

  /// Optimizer1State's and Optimizer2State's init_state: 8 bits an element and an fp32 scale per 256,
  /// or fp32 for small tensors and embeddings. Paged states of 100,000 elements and more are in
  /// unified memory, outside PyTorch's allocator. AdEMAMix keeps two averages in one tensor, and its
  /// scales come first.
  void make_bitsandbytes_states(Tape& t, const Leaf& leaf) {
    constexpr std::int64_t kSmallest8bit = 4096, kBlock = 256, kSmallestPaged = 100'000;
    const BitsandbytesStates states = bitsandbytes_states(kind_);
    const std::int64_t n = leaf.value.elements();
    const bool is_paged = states.is_paged && n >= kSmallestPaged;
    const bool is_8bit = states.is_8bit && n >= kSmallest8bit &&
                         (embedding_ == Tensor::kNone || leaf.value.node() != embedding_);
    const int tensors = states.copies == 1 ? 1 : 2;
    const auto averages = [&](int tensor) { return states.copies == 3 && tensor == 0 ? 2 : 1; };
    const auto make_values = [&] {
      for (int i = 0; i < tensors && !is_paged; ++i)
        states_.push_back(t.allocate(averages(i) * n, is_8bit ? DType::uint8 : DType::fp32));
    };
    if (is_8bit && !std::exchange(has_codes_, true))
      for (int i = 0; i < tensors; ++i) states_.push_back(t.allocate(256, DType::fp32));
    if (states.copies < 3) make_values();
    for (int i = 0; i < tensors && is_8bit; ++i)
      states_.push_back(t.allocate(averages(i) * ((n + kBlock - 1) / kBlock), DType::fp32));
    if (states.copies == 3) make_values();
  }

  OptimizerKind kind_;
  std::int32_t embedding_;
  std::optional<MatrixOptimizer> by_matrix_;
  bool has_codes_ = false;
  std::vector<std::size_t> updated_;  ///< leaves of this step
  std::vector<bool> has_states_;      ///< by leaf
  std::vector<Tensor> states_;
  std::vector<Tensor> root_mean_squares_;  ///< Adafactor's of each parameter, by leaf
};

}  // namespace qwenplan::emulate
