#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/setting.hpp"

/// Optimizers that look at a weight as a matrix: Muon (LLaMA-Factory's third_party/muon), GaLore
/// (galore_torch 1.0), APOLLO (apollo_torch 1.0) and Adam-mini (adam_mini 1.1), as LLaMA-Factory sets them.
namespace qwenplan::emulate {

/// What such an optimizer is told of a model.
struct MatrixRoles {
  std::int64_t rank = 16;           ///< of GaLore's and APOLLO's projections
  std::int32_t embedding = Tensor::kNone;
  std::int32_t head = Tensor::kNone;
  std::vector<std::int32_t> biases;
  std::vector<std::int32_t> by_heads;  ///< queries and keys, of which Adam-mini takes a head as a block
  std::int64_t head_elements = 1;
};

class MatrixOptimizer {
 public:
  MatrixOptimizer(OptimizerKind kind, MatrixRoles roles) : kind_(kind), roles_(std::move(roles)) {}

  /// Updates the leaves, of which it makes states when it sees them first.
  void step(Tape& t, const std::vector<std::size_t>& leaves) {
    if (has_states_.size() < t.leaves().size()) has_states_.resize(t.leaves().size()), states_.resize(t.leaves().size());
    switch (kind_) {
      case OptimizerKind::muon: return muon(t, leaves);
      case OptimizerKind::adam_mini: return adam_mini(t, leaves);
      default: return projected(t, leaves);
    }
  }

 private:
  /// A matrix of the layers, which is neither embedding nor head.
  bool is_hidden(const Leaf& leaf) const {
    return leaf.columns > 0 && leaf.matrices == 1 && leaf.value.node() != roles_.embedding &&
           (roles_.head == Tensor::kNone || leaf.value.node() != roles_.head);
  }

  static bool is_one_of(const Leaf& leaf, const std::vector<std::int32_t>& nodes) {
    return std::find(nodes.begin(), nodes.end(), leaf.value.node()) != nodes.end();
  }
  static Tensor scalar(Tape& t, DType dtype) { return t.allocate(1, dtype); }

  /// States are made once; `make` allocates them in order.
  template <class Make>
  void with_states(Tape& t, std::size_t leaf, Make make) {
    if (has_states_[leaf]) return;
    has_states_[leaf] = true;
    t.set_term(Term::optimizer);
    make(states_[leaf]);
    t.set_term(Term::temporary);
  }

  void two_moments(Tape& t, std::size_t leaf, std::int64_t elements, DType dtype) {
    with_states(t, leaf, [&](std::vector<Tensor>& states) {
      for (int i = 0; i < 2; ++i) states.push_back(t.allocate(elements, dtype));
    });
  }

  /// Momentum, made orthogonal by five steps of Newton and Schulz in bf16; AdamW for embedding, head and
  /// vectors. Names of the loop keep their values until the next weight takes them.
  void muon(Tape& t, const std::vector<std::size_t>& leaves) {
    Tensor gradient, update;
    for (const std::size_t i : leaves) {
      const Leaf& leaf = t.leaves()[i];
      if (!is_hidden(leaf)) continue;
      const std::int64_t n = leaf.value.elements();
      const DType dtype = leaf.grad.dtype();
      gradient.reset();
      with_states(t, i, [&](std::vector<Tensor>& states) { states.push_back(t.allocate(n, dtype)); });
      t.touch(4 * n * element_size(dtype), 2);
      gradient = t.allocate(n, dtype);
      update = orthogonal(t, gradient, n / leaf.columns, leaf.columns);
      t.touch(4 * n * element_size(leaf.value.dtype()), 2);
    }
    for (const std::size_t i : leaves) {
      const Leaf& leaf = t.leaves()[i];
      if (is_hidden(leaf)) continue;
      const std::int64_t n = leaf.value.elements();
      const DType dtype = leaf.grad.dtype();
      gradient.reset();
      two_moments(t, i, n, dtype);
      { const Tensor square = t.allocate(n, dtype); }
      t.touch(10 * n * element_size(dtype), 4);
      Tensor denominator;
      {
        const Tensor root = t.allocate(n, dtype);
        denominator = t.allocate(n, dtype);
      }
      gradient = t.allocate(n, dtype);
    }
  }

  static Tensor orthogonal(Tape& t, const Tensor& gradient, std::int64_t rows, std::int64_t columns) {
    const std::int64_t n = rows * columns, m = std::min(rows, columns), width = std::max(rows, columns);
    const DType half = DType::bf16;
    Tensor x;
    {
      const Tensor cast_down = cast(t, gradient.detached(), half);
      Tensor norm = t.allocate(1, half);
      norm = t.allocate(1, half);
      x = t.allocate(n, half);
    }
    Tensor square, polynomial;
    for (int step = 0; step < 5; ++step) {
      t.multiply(m, width, m, half);
      square = t.allocate(m * m, half);
      {
        const Tensor linear = t.allocate(m * m, half);
        Tensor scaled = t.allocate(m * m, half);
        t.multiply(m, m, m, half);
        const Tensor quadratic = t.allocate(m * m, half);
        scaled.reset();
        polynomial = t.allocate(m * m, half);
      }
      const Tensor scaled = t.allocate(n, half);
      t.multiply(m, m, width, half);
      const Tensor product = t.allocate(n, half);
      x = t.allocate(n, half);
    }
    return x;
  }

  /// GaLore and APOLLO: Adam on a gradient that is projected to a few rows or columns; plain Adam on all
  /// else, first on vectors.
  void projected(Tape& t, const std::vector<std::size_t>& leaves) {
    Names names;
    const auto each = [&](auto wanted) {
      for (const std::size_t i : leaves)
        if (wanted(t.leaves()[i])) project_one(t, i, names);
    };
    each([](const Leaf& leaf) { return leaf.columns == 0; });
    each([&](const Leaf& leaf) { return leaf.columns > 0 && !is_hidden(leaf); });
    each([&](const Leaf& leaf) { return is_hidden(leaf); });
  }

  struct Names {
    Tensor gradient, denominator, update, factor, norm;
    bool is_held = false;  ///< by another name too: APOLLO's scaled gradient
  };

  void project_one(Tape& t, std::size_t i, Names& names) {
    const Leaf& leaf = t.leaves()[i];
    const bool is_low = is_hidden(leaf);
    const std::int64_t n = leaf.value.elements();
    const DType dtype = leaf.grad.dtype();
    const std::int64_t columns = std::max<std::int64_t>(1, leaf.columns), rows = n / columns;
    const std::int64_t low = is_low ? roles_.rank * std::max(rows, columns) : n;
    names.gradient.reset();
    const bool is_new = !has_states_[i];
    if (is_low) {
      if (is_new) {
        t.set_term(Term::optimizer);
        projections_.push_back(kind_ == OptimizerKind::galore ? decomposition(t, rows, columns, dtype)
                                                              : random_projection(t, rows, columns, dtype));
        t.set_term(Term::temporary);
      }
      t.multiply(rows, columns, roles_.rank, dtype);
      names.gradient = t.allocate(low, dtype);
    }
    two_moments(t, i, low, dtype);
    t.touch(9 * low * element_size(dtype), 5);
    names.denominator = t.allocate(low, dtype);
    if (!is_low || kind_ == OptimizerKind::galore) {
      names.update = t.allocate(low, dtype);
      if (is_low) {
        t.multiply(rows, roles_.rank, columns, dtype);
        const Tensor back = t.allocate(n, dtype);
        names.update = t.allocate(n, dtype);
      }
    } else {
      scale_by_channel(t, i, names, low, n, std::max(rows, columns), is_new);
    }
    t.touch(3 * n * element_size(leaf.value.dtype()));
  }

  /// galore_torch's projector: the singular vectors of the larger side. Of a matrix in fp32 it keeps a view,
  /// and with it all singular vectors.
  Tensor decomposition(Tape& t, std::int64_t rows, std::int64_t columns, DType dtype) const {
    const std::int64_t small = std::min(rows, columns), rank = roles_.rank;
    const bool is_wide = dtype == DType::fp32;
    const Tensor matrix = is_wide ? Tensor() : t.allocate(rows * columns, DType::fp32);
    const Tensor left = t.allocate(rows * small, DType::fp32);
    const Tensor values = t.allocate(small, DType::fp32);
    const Tensor right = t.allocate(small * columns, DType::fp32);
    // The decomposition works on a copy of the matrix.
    t.use_workspace(rows * columns * element_size(DType::fp32));
    const bool takes_right = rows >= columns;
    Tensor scaled;
    {
      const Tensor diagonal = t.allocate(rank * rank, DType::fp32);
      scaled = t.allocate(rank * (takes_right ? rows : columns), DType::fp32);
    }
    if (is_wide) return takes_right ? right : left;
    return t.allocate(rank * small, dtype);
  }

  /// apollo_torch's projector: random numbers, made in fp32.
  Tensor random_projection(Tape& t, std::int64_t rows, std::int64_t columns, DType dtype) const {
    const std::int64_t elements = roles_.rank * std::min(rows, columns);
    const Tensor matrix = dtype == DType::fp32 ? Tensor() : t.allocate(rows * columns, DType::fp32);
    Tensor projection;
    {
      const Tensor random = t.allocate(elements, DType::fp32);
      projection = t.allocate(elements, DType::fp32);
    }
    return dtype == DType::fp32 ? projection : t.allocate(elements, dtype);
  }

  /// APOLLO scales the gradient by the ratio of norms of what Adam made of the projection and of that
  /// itself, for each channel, and limits how much the whole norm grows.
  void scale_by_channel(Tape& t, std::size_t i, Names& names, std::int64_t low, std::int64_t n, std::int64_t channels,
                        bool is_new) {
    const DType dtype = t.leaves()[i].grad.dtype();
    const Tensor normed = t.allocate(low, dtype);
    if (!names.is_held) names.update.reset();
    {
      const Tensor norm = t.allocate(channels, dtype);
      Tensor other = t.allocate(channels, dtype);
      other = t.allocate(channels, dtype);
      names.factor = t.allocate(channels, dtype);
    }
    Tensor scaled = t.allocate(n, dtype);
    names.update.reset();
    names.is_held = true;
    if (is_new) {
      growth_.resize(std::max(growth_.size(), t.leaves().size()));
      growth_[i] = scalar(t, dtype);
    } else {
      names.norm = scalar(t, dtype);
      {
        Tensor ratio = scalar(t, dtype);
        ratio = scalar(t, dtype);
        const Tensor is_larger = t.allocate(1, DType::boolean);
      }
      scaled = t.allocate(n, dtype);
      growth_[i] = scalar(t, dtype);
    }
    t.touch(2 * n * element_size(dtype));
    names.update = std::move(scaled);
  }

  /// One second moment for each row of a matrix, for each head of queries and keys, for a whole norm; AdamW
  /// for biases.
  void adam_mini(Tape& t, const std::vector<std::size_t>& leaves) {
    Tensor mean, root, stepsize, update;
    for (const std::size_t i : leaves) {
      const Leaf& leaf = t.leaves()[i];
      const std::int64_t n = leaf.value.elements();
      const DType dtype = leaf.value.dtype();
      if (is_one_of(leaf, roles_.biases)) {
        two_moments(t, i, n, dtype);
        const Tensor square_root = t.allocate(n, dtype);
        root = t.allocate(n, dtype);
        stepsize.reset();
        continue;
      }
      const std::int64_t blocks = leaf.columns == 0                 ? 1
                                  : is_one_of(leaf, roles_.by_heads) ? std::max<std::int64_t>(1, n / roles_.head_elements)
                                                                     : n / leaf.columns;
      with_states(t, i, [&](std::vector<Tensor>& states) {
        states.push_back(t.allocate(n, dtype));
        Tensor sum;
        if (leaf.columns == 0) {
          const Tensor square = t.allocate(n, dtype);
          sum = scalar(t, dtype);
        }
        states.push_back(t.allocate(blocks, dtype));
      });
      {
        Tensor sum;
        {
          const Tensor square = t.allocate(n, dtype);
          sum = t.allocate(blocks, dtype);
        }
        mean = sum;
        if (leaf.columns == 0) mean = scalar(t, dtype);
      }
      t.touch(5 * n * element_size(dtype), 2);
      {
        const Tensor square_root = t.allocate(blocks, dtype);
        root = t.allocate(blocks, dtype);
      }
      {
        const Tensor inverse = t.allocate(blocks, dtype);
        stepsize = t.allocate(blocks, dtype);
      }
      update = t.allocate(n, dtype);
      const Tensor negated = t.allocate(n, dtype);
      t.touch(5 * n * element_size(dtype), 2);
    }
  }

  OptimizerKind kind_;
  MatrixRoles roles_;
  std::vector<bool> has_states_;             ///< by leaf
  std::vector<std::vector<Tensor>> states_;  ///< by leaf
  std::vector<Tensor> projections_, growth_;
};

}  // namespace qwenplan::emulate
