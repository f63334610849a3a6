#pragma once

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// The kernels behind scaled_dot_product_attention, and the model's own eager code.
enum class AttentionKernel : std::uint8_t { flash, efficient, cudnn, math, eager };

/// Whether K and V are expanded to all heads before the kernel sees them.
inline bool expands_heads(const Setting& s, bool has_mask) {
  if (s.model.heads == s.model.kv_heads) return false;
  if (s.run.attention == Attention::fa2) return s.behavior.flash_expands_heads;
  if (s.run.borders == Borders::varlen) return true;
  return has_mask || !s.behavior.asks_for_grouped_heads || s.model.head_dim > 256 ||
         s.run.attention == Attention::eager;
}

/// Which kernel PyTorch picks (sdp_utils.cpp): flash needs half precision, Ampere and no mask;
/// cuDNN comes first on Hopper; efficient takes the rest that it can; bf16 before Ampere and, up to
/// torch 2.8, grouped heads outside flash are left to math.
inline AttentionKernel attention_kernel(const Setting& s, DType dtype, bool has_mask) {
  const bool asks_for_groups = s.model.heads != s.model.kv_heads && !expands_heads(s, has_mask);
  switch (s.run.attention) {
    case Attention::eager: return AttentionKernel::eager;
    case Attention::flash:
    case Attention::fa2: return AttentionKernel::flash;
    case Attention::efficient: return AttentionKernel::efficient;
    case Attention::math: return AttentionKernel::math;
    case Attention::sdpa: break;
  }
  if (s.run.borders == Borders::varlen) return AttentionKernel::flash;
  const bool half = is_half(dtype);
  if (half && s.behavior.prefers_cudnn_attention && s.compute_capability >= 90 && s.compute_capability < 110 &&
      s.model.head_dim <= 128)
    return AttentionKernel::cudnn;
  if (half && s.compute_capability >= 80 && !has_mask && s.model.head_dim <= 256) return AttentionKernel::flash;
  if (dtype == DType::bf16 && s.compute_capability < 80) return AttentionKernel::math;
  if (asks_for_groups && s.behavior.math_for_grouped_heads) return AttentionKernel::math;
  return AttentionKernel::efficient;
}

/// What flash-attention 2's backward takes and gives back: the row sums of the softmax, an fp32
/// accumulator of dq, and with grouped heads dk and dv of all heads (flash_api.cpp, mha_bwd).
inline void use_flash_backward(Tape& t, const Setting& s, bool is_grouped) {
  constexpr std::int64_t kTile = 128;
  const std::int64_t head = s.model.head_dim;
  const std::int64_t width = head <= 192 ? (head + 31) / 32 * 32 : 256;
  // Samples of one row share the buffers, with a tile between them (mha_varlen_bwd).
  const bool has_borders = s.run.borders == Borders::positions || s.run.borders == Borders::varlen;
  const std::int64_t tokens = has_borders ? s.tokens() + kTile * s.run.samples
                                          : s.run.rows() * ((s.run.row_length() + kTile - 1) / kTile * kTile);
  const Tensor sums = t.allocate(s.model.heads * tokens, DType::fp32, Term::workspace);
  const Tensor accumulator = t.allocate(s.model.heads * tokens * width, DType::fp32, Term::workspace);
  Tensor dk, dv;
  if (is_grouped && s.run.borders != Borders::varlen) {
    dk = t.allocate(s.model.heads * s.tokens() * head, DType::bf16, Term::workspace);
    dv = t.allocate(s.model.heads * s.tokens() * head, DType::bf16, Term::workspace);
  }
}

/// The efficient kernel's backward: the row sums of gradient times output, by a whole product where
/// they are in fp32, and a copy of dq in tiles of fp32 (attention_backward.cu, kernel_backward.h).
inline void use_efficient_backward(Tape& t, const Setting& s, DType dtype) {
  constexpr std::int64_t kTile = 64;
  const std::int64_t heads = s.run.rows() * s.model.heads;
  const std::int64_t length = s.run.row_length();
  Tensor delta;
  if (dtype == DType::fp32) {
    {
      const Tensor product = t.allocate(heads * length * s.model.head_dim, DType::fp32, Term::workspace);
      delta = t.allocate(heads * length, DType::fp32, Term::workspace);
    }
    delta = t.allocate(heads * length, DType::fp32, Term::workspace);
  } else {
    delta = t.allocate(heads * length, DType::fp32, Term::workspace);
  }
  const std::int64_t tiles = (length + kTile - 1) / kTile;
  const std::int64_t width = (s.model.head_dim + kTile - 1) / kTile * kTile;
  t.use_workspace(4 * heads * tiles * (kTile * width + 4 * (width / kTile)));
}

/// A fused kernel's products, `products` of them: two forward; backward one of them again and four
/// more. Only an explicit mask keeps it from leaving out what the causal mask hides.
inline Work attention_work(const Setting& s, AttentionKernel kernel, DType dtype, bool has_mask, std::uint8_t products) {
  Work work;
  work.kind = kernel == AttentionKernel::efficient ? Work::Kind::efficient_attention : Work::Kind::flash_attention;
  work.rows = work.columns = s.run.row_length();
  work.inner = s.model.head_dim;
  work.count = s.run.rows() * s.model.heads;
  work.products = products;
  work.dtype = dtype;
  work.is_causal = !has_mask;
  // Each product has its own input or output of the query's size.
  work.bytes = Saturating::multiply(s.tokens() * s.model.query_size(), (products + 2) * element_size(dtype));
  return work;
}

namespace gradient {

/// Gradients of query, key and value at once, and what the kernel needs beside them.
/// size: the kernel, whether it has a mask; context: the setting that is to be asked for shapes.
inline void attended(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Setting& setting = *static_cast<const Setting*>(n.context);
  const auto kernel = static_cast<AttentionKernel>(n.size[0]);
  constexpr int kGradients = 3;
  t.compute(attention_work(setting, kernel, grad.dtype(), n.size[1] != 0, 5), kGradients);
  // The kernel makes all three, wanted or not.
  for (int i = 0; i < kGradients; ++i) out[i] = t.allocate(n.input_elements[i], grad.dtype());
  if (kernel == AttentionKernel::efficient) use_efficient_backward(t, setting, grad.dtype());
  else use_flash_backward(t, setting, n.input_elements[1] < n.input_elements[0]);  // cuDNN's graph asks for as much
}

}  // namespace gradient

/// A boolean mask as an additive one of the query's format: made anew in each layer, for each row.
inline Tensor additive_mask(Tape& t, const Tensor& mask, std::int64_t elements, DType dtype) {
  if (!mask || mask.dtype() != DType::boolean) return mask;
  const Tensor lowest = t.allocate(1, dtype);
  const Tensor zero = t.allocate(1, dtype);
  return t.allocate(elements, dtype);
}

/// The efficient kernel reads its mask in rows of eights: other lengths are padded (pad_bias).
inline Tensor padded_mask(Tape& t, const Setting& s, const Tensor& mask) {
  constexpr std::int64_t kRow = 8;
  const std::int64_t length = s.run.row_length();
  if (!mask || length % kRow == 0) return mask;
  return t.allocate(mask.elements() / length * ((length + kRow - 1) / kRow * kRow), mask.dtype());
}

/// A fused kernel: out, the log-sum-exp of its rows, and the state of the random generator.
inline Tensor fused_attention(Tape& t, const Setting& s, AttentionKernel kernel, const Tensor& q, const Tensor& k,
                              const Tensor& v, const Tensor& mask) {
  const std::int64_t rows = s.run.rows() * s.model.heads;
  const std::int64_t length = kernel == AttentionKernel::efficient ? (s.run.row_length() + 31) / 32 * 32 : s.run.row_length();
  auto op = t.record(gradient::attended, {&q, &k, &v});
  op.sizes(static_cast<std::int64_t>(kernel), mask ? 1 : 0).context(&s);
  op.save(q).save(k).save(v);
  if (mask) op.save(mask);
  t.compute(attention_work(s, kernel, q.dtype(), static_cast<bool>(mask), 2), 4);
  Tensor out = t.allocate(q.elements(), q.dtype());
  // All but the flash kernel leave it out where there will be no backward.
  const bool keeps_sums = kernel == AttentionKernel::flash || op.active();
  const Tensor sums = keeps_sums ? t.allocate(rows * length, DType::fp32) : Tensor();
  const Tensor seed = t.allocate(kernel == AttentionKernel::flash ? 2 : 1, DType::int64);
  const Tensor offset = t.allocate(1, DType::int64);
  op.save(out).save(sums).save(seed).save(offset);
  return op.result(std::move(out));
}

/// Where the heads lie in memory: behind the positions, as a projection leaves them, or before.
enum class HeadOrder { inner, outer };

/// K and V lie as their projection left them unless they were expanded to all heads.
inline HeadOrder order_of_heads(const Setting& s) {
  return s.model.heads == s.model.kv_heads ? HeadOrder::inner : HeadOrder::outer;
}

/// torch.matmul of two tensors by heads. Heads behind the positions cannot be one batch together
/// with several sequences: they are copied first.
inline Tensor attention_product(Tape& t, const Setting& s, const Tensor& a, HeadOrder order_of_a, const Tensor& b,
                                HeadOrder order_of_b, std::int64_t elements) {
  const bool is_batch = s.run.rows() > 1;
  const Tensor rows = is_batch && order_of_a == HeadOrder::inner ? clone(t, a) : a;
  const Tensor columns = is_batch && order_of_b == HeadOrder::inner ? clone(t, b) : b;
  return batched_matmul(t, rows, columns, elements, s.run.rows() * s.model.heads, s.run.row_length());
}

/// The product's own view of several sequences: its gradient comes back in the other order.
inline Tensor reordered_rows(Tape& t, const Setting& s, const Tensor& x) {
  return s.run.rows() > 1 ? reordered_view(t, x) : x;
}

/// The composite kernel: scores in fp32, kept whole. It scales query and key apart, and its softmax
/// looks for rows that are masked out.
inline Tensor math_attention(Tape& t, const Setting& s, const Tensor& q_half, const Tensor& k_half,
                             const Tensor& v_half, const Tensor& mask) {
  const std::int64_t scores = s.scores();
  const Tensor q_wide = cast(t, q_half, DType::fp32);
  const Tensor k_wide = cast(t, k_half, DType::fp32);
  const Tensor v_wide = cast(t, v_half, DType::fp32);
  const Tensor q = scale(t, q_wide);
  Tensor causal = mask;
  if (!mask) {
    const std::int64_t square = s.run.row_length() * s.run.row_length();
    Tensor allowed = t.allocate(square, DType::boolean);
    allowed = t.allocate(square, DType::boolean);
    causal = additive_mask(t, allowed, square, DType::fp32);
  }
  const std::int64_t times = q.elements() / std::max<std::int64_t>(1, k_wide.elements());
  const Tensor k = repeat_heads(t, k_wide, times);
  const Tensor v = repeat_heads(t, v_wide, times);
  Tensor weights;
  {
    const Tensor k_scaled = scale(t, k);
    weights = attention_product(t, s, q, HeadOrder::inner, k_scaled, order_of_heads(s), scores);
  }
  weights = add(t, weights, causal);
  {
    // _safe_softmax looks for rows that are masked out: a second result and a mask of bytes.
    auto op = t.record(gradient::normalized, {&weights});
    Tensor out = t.allocate(scores, DType::fp32);
    t.use_workspace(scores * (element_size(DType::fp32) + element_size(DType::boolean)));
    op.save(out);
    weights = op.result(std::move(out));
  }
  if (s.model.has_dropout) weights = dropout(t, weights);
  const Tensor returned = cast(t, weights, q_half.dtype());
  const Tensor wide = reordered_rows(
      t, s, attention_product(t, s, weights, HeadOrder::outer, v, order_of_heads(s), q.elements()));
  return cast(t, wide, q_half.dtype());
}

/// flash-attn's bert_padding: rows without padding are copied out, and back into zeros. As many rows
/// as there are positions: how many are padding is up to the data.
inline Tensor moved_rows(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::widened, {&x});
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// scaled_dot_product_attention as transformers calls it: K and V are expanded to all heads where
/// the call cannot ask for grouped heads.
inline Tensor sdpa_attention(Tape& t, Setting& s, const Tensor& query, const Tensor& key, const Tensor& value,
                             const Tensor& mask) {
  const bool grouped = s.model.heads != s.model.kv_heads;
  const std::int64_t times = expands_heads(s, static_cast<bool>(mask)) ? s.model.heads / s.model.kv_heads : 1;
  Tensor k = repeat_heads(t, key, times, s.model.kv_heads == 1);
  Tensor v = repeat_heads(t, value, times, s.model.kv_heads == 1);
  Tensor q = query;
  const bool is_contiguous = s.behavior.makes_attention_inputs_contiguous && s.run.attention != Attention::fa2;
  if (is_contiguous) {
    q = clone(t, q);
    if (!grouped) k = clone(t, k), v = clone(t, v);
  }
  // Autocast casts the arguments from the last to the first.
  Tensor v_half = autocast(t, s, v);
  Tensor k_half = autocast(t, s, k);
  Tensor q_half = autocast(t, s, q);
  const bool is_unpadded = s.run.attention == Attention::fa2 && s.run.is_padded;
  // Where the samples of a row begin, or that it is one sample, each layer asks the device.
  if (s.run.attention == Attention::fa2 && (s.run.is_padded || s.run.has_positions() || s.run.rows() == 1)) t.wait();
  if (is_unpadded)
    for (Tensor* input : {&q_half, &k_half, &v_half}) *input = moved_rows(t, *input);
  const AttentionKernel kernel = attention_kernel(s, q_half.dtype(), static_cast<bool>(mask));
  // Whoever pins the efficient kernel where it knows no grouped heads expands K and V first.
  if (kernel == AttentionKernel::efficient && s.behavior.math_for_grouped_heads && grouped && times == 1) {
    k_half = repeat_heads(t, k_half, s.model.heads / s.model.kv_heads);
    v_half = repeat_heads(t, v_half, s.model.heads / s.model.kv_heads);
  }
  Tensor additive = additive_mask(t, mask, s.tokens() * s.run.row_length(), q_half.dtype());
  if (kernel == AttentionKernel::efficient) additive = padded_mask(t, s, additive);
  if (kernel == AttentionKernel::math) {
    const Tensor out = math_attention(t, s, q_half, k_half, v_half, additive);
    additive.reset();
    return clone(t, out);
  }
  Tensor out = fused_attention(t, s, kernel, q_half, k_half, v_half, additive);
  // Flash answers in the order of its query: a query that was made contiguous costs a copy here.
  if (is_contiguous && kernel == AttentionKernel::flash) out = clone(t, out);
  return is_unpadded ? moved_rows(t, out) : out;
}

/// The model's own attention: scores, softmax in fp32, weighted sum. `weights` stays with the
/// caller: the model returns it and drops it late.
inline Tensor eager_attention(Tape& t, Setting& s, const Tensor& q, const Tensor& key, const Tensor& value,
                              const Tensor& mask, Tensor& weights) {
  const std::int64_t times = s.model.heads / s.model.kv_heads;
  const std::int64_t scores = s.scores();
  const Tensor k = repeat_heads(t, key, times, s.model.kv_heads == 1);
  const Tensor v = repeat_heads(t, value, times, s.model.kv_heads == 1);
  {
    const Tensor k_half = autocast(t, s, k);
    const Tensor q_half = autocast(t, s, q);
    weights = attention_product(t, s, q_half, HeadOrder::inner, k_half, order_of_heads(s), scores);
  }
  weights = scale(t, weights);
  if (s.model.architecture == Architecture::gemma2) weights = soft_capped(t, std::move(weights));
  if (mask) weights = add(t, weights, mask);
  weights = cast(t, softmax(t, weights, DType::fp32), q.dtype());
  if (s.model.has_dropout) weights = dropout(t, weights);
  Tensor out;
  {
    const Tensor v_half = autocast(t, s, v);
    const Tensor w_half = autocast(t, s, weights);
    out = attention_product(t, s, w_half, HeadOrder::outer, v_half, order_of_heads(s), q.elements());
    out = reordered_rows(t, s, out);
  }
  return clone(t, out);  // transpose(1, 2).contiguous()
}

}  // namespace qwenplan::emulate
