#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "qwenplan/emulate/tape.hpp"

/// The ATen operations that a decoder is made of: what each allocates forward, saves, and allocates
/// backward, in the order of PyTorch's own formulas (tools/autograd/derivatives.yaml).
namespace qwenplan::emulate {

constexpr bool is_half(DType dtype) { return dtype == DType::fp16 || dtype == DType::bf16; }

/// The format of a mixed element-wise result.
constexpr DType promoted(DType a, DType b) {
  if (a == b) return a;
  if (a == DType::fp32 || b == DType::fp32) return DType::fp32;
  if (is_half(a) && is_half(b)) return DType::fp32;
  return is_half(a) ? a : b;
}

namespace gradient {

inline void copied(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(grad.elements(), n.input_dtype[0]);
}
/// One output of the input's shape in the gradient's format: mean, embedding, slices, repeats.
inline void widened(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  t.reads(grad.elements() * element_size(grad.dtype()));
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}
inline void passed(Tape&, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 0; i < Node::kInputs; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = grad;
}
/// x * x: grad * (2 * x.pow(1)).
inline void squared(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  Tensor power = t.allocate(n.input_elements[0], grad.dtype());
  Tensor scaled = t.allocate(n.input_elements[0], grad.dtype());
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}
/// 1 / sqrt(x): -0.5 * grad * result.pow(3).
inline void inverse_root(Tape& t, const Node&, const Tensor& grad, Tensor* out) {
  Tensor power = t.allocate(grad.elements(), grad.dtype());
  Tensor scaled = t.allocate(grad.elements(), grad.dtype());
  out[0] = t.allocate(grad.elements(), grad.dtype());
}
inline void multiplied(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  if (n.input[1] != Tensor::kNone) out[1] = t.allocate(grad.elements(), promoted(grad.dtype(), n.input_dtype[0]));
  if (n.input[0] != Tensor::kNone) out[0] = t.allocate(grad.elements(), promoted(grad.dtype(), n.input_dtype[1]));
}
/// One output of the gradient's size: silu, tanh, softmax, dropout, a factor from the host.
inline void elementwise(Tape& t, const Node&, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(grad.elements(), grad.dtype());
}
/// Softmax: the kernel multiplies gradient and result into a buffer of its own first
/// (softmax_backward_cuda_out), and answers in the input's format.
inline void normalized(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(grad.elements(), n.input_dtype[0]);
  t.use_workspace(grad.elements() * element_size(grad.dtype()));
}
/// grad @ w. sizes: rows, inputs, outputs.
inline Tensor to_input(Tape& t, const Node& n, const Tensor& grad) {
  t.multiply(n.size[0], n.size[2], n.size[1], grad.dtype());
  return t.allocate(n.input_elements[0], grad.dtype());
}
/// grad^T @ x.
inline Tensor to_weight(Tape& t, const Node& n, const Tensor& grad) {
  t.multiply(n.size[2], n.size[0], n.size[1], grad.dtype());
  return t.allocate(n.input_elements[1], grad.dtype());
}
/// x @ w^T: the weight's gradient first.
inline void matrix(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  t.use_matmul();
  if (n.input[1] != Tensor::kNone) out[1] = to_weight(t, n, grad);
  if (n.input[0] != Tensor::kNone) out[0] = to_input(t, n, grad);
}
/// x @ w^T + b: the input's, the weight's, the bias' gradient; the last needs nothing saved.
inline void matrix_with_bias(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  t.use_matmul();
  if (n.input[0] != Tensor::kNone) out[0] = to_input(t, n, grad);
  if (n.input[1] != Tensor::kNone) out[1] = to_weight(t, n, grad);
  if (n.input[2] != Tensor::kNone) {
    t.release_unpacked(n);
    t.reads(grad.elements() * element_size(grad.dtype()));
    out[2] = t.allocate(n.input_elements[2], grad.dtype());
  }
}
/// What takes a number's gradient for each of its terms: a sum of them. The gradient is a view.
inline void expanded(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const bool is_same = n.input_dtype[0] == grad.dtype();
  out[0] = is_same ? grad.viewed(n.input_elements[0]) : t.allocate(n.input_elements[0], n.input_dtype[0]);
}
/// Rows that were picked by a mask: zeros, and a copy of them with the gradient put where the mask is
/// true. size: how many numbers say where that is.
inline void masked_rows(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor zeros = t.allocate(n.input_elements[0], grad.dtype());
  const Tensor where = t.allocate(n.size[0], DType::int64);
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}
/// Both halves of a concatenation are views of the gradient.
inline void joined(Tape&, const Node&, const Tensor& grad, Tensor* out) {
  out[0] = grad.viewed(grad.elements() / 2);
  out[1] = grad.viewed(grad.elements() / 2);
}
/// a - b: b's gradient is negated.
inline void subtracted(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  if (n.input[0] != Tensor::kNone) out[0] = grad;
  if (n.input[1] != Tensor::kNone) out[1] = t.allocate(grad.elements(), grad.dtype());
}
/// LayerNorm: the input's, the weight's and the bias' gradient.
inline void layer_normalized(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 0; i < Node::kInputs; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = t.allocate(n.input_elements[i], grad.dtype());
}
/// a @ b in batches: the second input's gradient first. sizes: matrices, rows, columns.
inline void batched(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const std::int64_t count = n.size[0], rows = n.size[1], columns = n.size[2];
  const std::int64_t inner = n.input_elements[0] / std::max<std::int64_t>(1, count * rows);
  t.use_matmul();
  if (n.input[1] != Tensor::kNone) {
    t.multiply(inner, rows, columns, grad.dtype(), count);
    out[1] = t.allocate(n.input_elements[1], grad.dtype());
  }
  if (n.input[0] != Tensor::kNone) {
    t.multiply(rows, columns, inner, grad.dtype(), count);
    out[0] = t.allocate(n.input_elements[0], grad.dtype());
  }
}

}  // namespace gradient

/// x.to(dtype): the tensor itself where nothing changes.
inline Tensor cast(Tape& t, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  auto op = t.record(gradient::copied, {&x});
  return op.result(t.allocate(x.elements(), dtype));
}

/// A contiguous copy; `x` itself never stands in for it. Its gradient passes through.
inline Tensor clone(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::passed, {&x});
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// A view whose gradient arrives in another memory order and has to be copied back.
inline Tensor reordered_view(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::copied, {&x});
  return op.result(x);
}

/// A view with a node of its own, which decides when the gradient goes on.
inline Tensor view(Tape& t, const Tensor& x) { return t.record(gradient::passed, {&x}).result(x); }

inline Tensor square(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::squared, {&x});
  op.save(x);
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// Mean over groups of elements: `count` results.
inline Tensor mean(Tape& t, const Tensor& x, std::int64_t count) {
  auto op = t.record(gradient::widened, {&x});
  return op.result(t.allocate(count, x.dtype()));
}

/// a += b
inline Tensor add_in_place(Tape& t, const Tensor& a, const Tensor& b) {
  auto op = t.record(gradient::passed, {&a, &b});
  return op.result(a);
}

inline Tensor add_scalar(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::passed, {&x});
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// A number times a tensor; the number lives on the host.
inline Tensor scale(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::elementwise, {&x});
  return op.result(t.allocate(x.elements(), x.dtype()));
}

inline Tensor rsqrt(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::inverse_root, {&x});
  Tensor out = t.allocate(x.elements(), x.dtype());
  op.save(out);
  return op.result(std::move(out));
}

inline Tensor mul(Tape& t, const Tensor& a, const Tensor& b) {
  auto op = t.record(gradient::multiplied, {&a, &b});
  if (a.requires_grad()) op.save(b);
  if (b.requires_grad()) op.save(a);
  return op.result(t.allocate(std::max(a.elements(), b.elements()), promoted(a.dtype(), b.dtype())));
}

inline Tensor add(Tape& t, const Tensor& a, const Tensor& b) {
  auto op = t.record(gradient::passed, {&a, &b});
  return op.result(t.allocate(std::max(a.elements(), b.elements()), promoted(a.dtype(), b.dtype())));
}

/// a - b, which may be of more elements than either, as of every pair of them.
inline Tensor subtract(Tape& t, const Tensor& a, const Tensor& b, std::int64_t elements) {
  auto op = t.record(gradient::subtracted, {&a, &b});
  return op.result(t.allocate(elements, promoted(a.dtype(), b.dtype())));
}
inline Tensor subtract(Tape& t, const Tensor& a, const Tensor& b) { return subtract(t, a, b, a.elements()); }

/// x / sqrt(mean of squares + epsilon). The mean stays with the caller, who drops it late.
inline Tensor over_root_mean_square(Tape& t, const Tensor& x, std::int64_t groups, Tensor& variance) {
  variance = square(t, x);
  variance = mean(t, variance, groups);
  const Tensor root = rsqrt(t, add_scalar(t, variance));
  return mul(t, x, root);
}

/// torch.nn.functional.layer_norm over `groups` groups of elements.
inline Tensor layer_norm(Tape& t, const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups) {
  auto op = t.record(gradient::layer_normalized, {&x, &weight, &bias});
  op.save(x).save(weight).save(bias);
  Tensor out = t.allocate(x.elements(), x.dtype());
  const Tensor means = t.allocate(groups, DType::fp32);
  const Tensor roots = t.allocate(groups, DType::fp32);
  op.save(means).save(roots);
  return op.result(std::move(out));
}

inline Tensor silu(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::elementwise, {&x});
  op.save(x);
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// gelu of either kind and softplus save their input, as silu does.
inline Tensor gelu(Tape& t, const Tensor& x) { return silu(t, x); }
inline Tensor softplus(Tape& t, const Tensor& x) { return silu(t, x); }

/// Sigmoid, tanh, relu and exp keep their results.
inline Tensor sigmoid(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::elementwise, {&x});
  Tensor out = t.allocate(x.elements(), x.dtype());
  op.save(out);
  return op.result(std::move(out));
}

inline Tensor tanh(Tape& t, const Tensor& x) { return sigmoid(t, x); }

inline Tensor relu(Tape& t, const Tensor& x) { return sigmoid(t, x); }

inline Tensor exp(Tape& t, const Tensor& x) { return sigmoid(t, x); }

/// A mask's places filled with a number; the mask is kept.
inline Tensor fill_masked(Tape& t, const Tensor& x, const Tensor& mask) {
  auto op = t.record(gradient::elementwise, {&x});
  op.save(mask);
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// Gemma 2's cap: divided by it, tanh, multiplied by it.
inline Tensor soft_capped(Tape& t, Tensor x) {
  x = scale(t, x);
  x = tanh(t, x);
  return scale(t, x);
}

/// -x and x times a number save nothing.
inline Tensor negate(Tape& t, const Tensor& x) { return scale(t, x); }

/// Softmax into `dtype`. From fp16 to fp32 it is one kernel; other formats are copied first.
inline Tensor softmax(Tape& t, const Tensor& x, DType dtype) {
  Tensor in = x.dtype() == DType::fp16 && dtype == DType::fp32 ? x : cast(t, x, dtype);
  auto op = t.record(gradient::normalized, {&in});
  Tensor out = t.allocate(x.elements(), dtype);
  op.save(out);
  return op.result(std::move(out));
}

/// x[rows, inputs] @ w[outputs, inputs]^T without autocast, and a bias where there is one.
inline Tensor linear(Tape& t, const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t rows,
                     std::int64_t outputs) {
  const std::int64_t inputs = x.elements() / std::max<std::int64_t>(1, rows);
  t.use_matmul();
  if (bias) {
    auto op = t.record(gradient::matrix_with_bias, {&x, &weight, &bias});
    op.sizes(rows, inputs, outputs);
    if (weight.requires_grad()) op.save(x);
    if (x.requires_grad()) op.save(weight);
    t.multiply(rows, inputs, outputs, x.dtype());
    return op.result(t.allocate(rows * outputs, x.dtype()));
  }
  auto op = t.record(gradient::matrix, {&x, &weight});
  op.sizes(rows, inputs, outputs).reaches_leaves_last();
  if (x.requires_grad()) op.save(weight);
  if (weight.requires_grad()) op.save(x);
  t.multiply(rows, inputs, outputs, x.dtype());
  return op.result(t.allocate(rows * outputs, x.dtype()));
}

/// A part of a tensor. Backward, a tensor of the whole's size takes the part's gradient.
inline Tensor slice(Tape& t, const Tensor& x, std::int64_t elements) {
  auto op = t.record(gradient::widened, {&x});
  return op.result(x.viewed(elements));
}

inline Tensor log_softmax(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::elementwise, {&x});
  Tensor out = t.allocate(x.elements(), x.dtype());
  op.save(out);
  return op.result(std::move(out));
}

/// The negative log-likelihood of labels, summed up or averaged, or one number for each of them.
inline Tensor likelihood(Tape& t, const Tensor& log_softmax, const Tensor& labels, std::int64_t results = 1) {
  auto op = t.record(gradient::widened, {&log_softmax});
  op.save(log_softmax.detached()).save(labels);
  t.reads(0);  // one element of each row
  Tensor loss = t.allocate(results, log_softmax.dtype());
  const Tensor total_weight = t.allocate(1, log_softmax.dtype());
  op.save(total_weight);
  return op.result(std::move(loss));
}

/// A number divided by a number on the device, as a loss by its count of tokens.
inline Tensor divide(Tape& t, const Tensor& x, const Tensor& by) {
  auto op = t.record(gradient::elementwise, {&x});
  op.save(by);
  return op.result(t.allocate(x.elements(), x.dtype()));
}

inline Tensor embedding(Tape& t, const Tensor& weight, const Tensor& ids, std::int64_t width) {
  auto op = t.record(gradient::widened, {&weight});
  op.save(ids);
  const std::int64_t elements = ids.elements() * width;
  t.reads(elements * element_size(weight.dtype()));
  return op.result(t.allocate(elements, weight.dtype()));
}

/// Fused dropout: one byte per element tells what was dropped.
inline Tensor dropout(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::elementwise, {&x});
  t.compute({.bytes = x.elements() * (2 * element_size(x.dtype()) + 1)}, 2);
  Tensor out = t.allocate(x.elements(), x.dtype());
  Tensor mask = t.allocate(x.elements(), DType::boolean);
  op.save(mask);
  return op.result(std::move(out));
}

/// torch.cat((-x2, x1), dim=-1) of the two halves of the last dimension.
inline Tensor rotate_half(Tape& t, const Tensor& x) {
  const std::int64_t half = x.elements() / 2;
  auto first = t.record(gradient::widened, {&x});
  const Tensor x1 = first.result(x.viewed(half));
  auto second = t.record(gradient::widened, {&x});
  const Tensor x2 = second.result(x.viewed(half));
  const Tensor minus = negate(t, x2);
  auto join = t.record(gradient::joined, {&minus, &x1});
  return join.result(t.allocate(x.elements(), x.dtype()));
}

/// Sums of all elements of x: `numbers` of them, in a format.
inline Tensor sum_to(Tape& t, const Tensor& x, std::int64_t numbers, DType dtype) {
  auto op = t.record(gradient::expanded, {&x});
  return op.result(t.allocate(numbers, dtype));
}
inline Tensor sum_to(Tape& t, const Tensor& x, std::int64_t numbers) { return sum_to(t, x, numbers, x.dtype()); }

/// K or V expanded from the key/value heads to all heads; one head is only looked at so many times.
inline Tensor repeat_heads(Tape& t, const Tensor& x, std::int64_t times, bool is_one_head = false) {
  if (times == 1) return x;
  auto op = t.record(gradient::widened, {&x});
  if (is_one_head) return op.result(x.viewed(x.elements() * times));
  return op.result(t.allocate(x.elements() * times, x.dtype()));
}

/// `count` products of `rows` rows.
inline Tensor batched_matmul(Tape& t, const Tensor& a, const Tensor& b, std::int64_t elements, std::int64_t count,
                             std::int64_t rows) {
  const std::int64_t inner = a.elements() / std::max<std::int64_t>(1, count * rows);
  const std::int64_t columns = elements / std::max<std::int64_t>(1, count * rows);
  t.use_matmul();
  auto op = t.record(gradient::batched, {&a, &b});
  op.sizes(count, rows, columns);
  if (b.requires_grad()) op.save(a);
  if (a.requires_grad()) op.save(b);
  t.multiply(rows, inner, columns, a.dtype(), count);
  return op.result(t.allocate(elements, a.dtype()));
}

}  // namespace qwenplan::emulate
