#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "qwenplan/emulate/fused_adapters.hpp"

/// Gated DeltaNet, the linear attention of Qwen3.5: tokens in chunks, within a chunk by matrix products,
/// from chunk to chunk by a state of each head (modeling_qwen3_5.py). It is transformers' own PyTorch code,
/// or the kernels of flash-linear-attention where a trainer brings that package along.
namespace qwenplan::emulate {

/// The weights of a layer that attends linearly.
struct DeltaNet {
  Linear qkv, z, b, a, out;
  Tensor step_bias;    ///< dt_bias
  Tensor decay;        ///< A_log
  Tensor convolution;  ///< of each channel over time
  Tensor norm;         ///< over a value head
  FusedAdapters fused_in, fused_out;  ///< of axolotl's forward for packed samples

  explicit operator bool() const { return static_cast<bool>(out.weight); }
};

/// Tokens of a chunk.
inline constexpr std::int64_t kDeltaChunk = 64;

/// What a convolution of each channel computes: as many products as it has taps, of every position.
inline void tell_convolution(Tape& t, std::int64_t positions, std::int64_t taps, DType dtype) {
  Work work;
  work.kind = Work::Kind::matmul;
  work.rows = positions, work.inner = taps, work.columns = work.count = work.products = 1;
  work.bytes = Saturating::multiply(positions, 2 * element_size(dtype));
  work.dtype = dtype;
  t.compute(work);
}

namespace gradient {

/// A depthwise convolution, whose input the kernel wants contiguous.
inline void convolved(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor contiguous = t.allocate(n.input_elements[0], grad.dtype(), Term::workspace);
  for (int i = 0; i < 2; ++i) {
    if (n.input[i] == Tensor::kNone) continue;
    tell_convolution(t, grad.elements(), n.size[0], grad.dtype());
    out[i] = t.allocate(n.input_elements[i], grad.dtype());
  }
}

/// The gradient of each position, added up over all later ones: turned around, summed, turned back.
inline void summed_up(Tape& t, const Node&, const Tensor& grad, Tensor* out) {
  const Tensor turned = t.allocate(grad.elements(), grad.dtype());
  const Tensor sums = t.allocate(grad.elements(), grad.dtype());
  out[0] = t.allocate(grad.elements(), grad.dtype());
}

/// Padding is cut off again.
inline void unpadded(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}

/// Products of a triangular system's size: `count` matrices of rows x rows with rows x columns.
inline void tell_triangles(Tape& t, std::int64_t count, std::int64_t columns, DType dtype) {
  t.use_workspace(2 * count * element_size(DType::int64));  // the addresses of the matrices
  const std::int64_t elements = count * kDeltaChunk * (2 * columns + kDeltaChunk / 2);
  t.compute({.bytes = elements * element_size(dtype)});
}

/// A triangular system: the right side's gradient solves the transposed one; the matrix' is a product of
/// that with the solution. size: matrices.
inline void solved(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const std::int64_t count = n.size[0];
  const std::int64_t columns = grad.elements() / (count * kDeltaChunk);
  t.use_matmul();
  tell_triangles(t, count, columns, grad.dtype());
  Tensor right = t.allocate(grad.elements(), grad.dtype());
  if (n.input[0] != Tensor::kNone) {
    const std::int64_t elements = count * kDeltaChunk * kDeltaChunk;
    t.multiply(kDeltaChunk, columns, kDeltaChunk, grad.dtype(), count);
    Tensor left = t.allocate(elements, grad.dtype());
    left = t.allocate(elements, grad.dtype());  // negative
    out[0] = t.allocate(elements, grad.dtype());
  }
  if (n.input[1] != Tensor::kNone) out[1] = std::move(right);
}

/// A copy into a part: the whole's gradient without that part, and the part's own.
inline void placed(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  Tensor whole = t.allocate(grad.elements(), grad.dtype());
  Tensor part = t.allocate(n.input_elements[1], grad.dtype());
  const Tensor zeros = n.input[0] != Tensor::kNone ? t.allocate(part.elements(), grad.dtype()) : Tensor();
  out[1] = n.input_dtype[1] == grad.dtype() ? std::move(part) : t.allocate(n.input_elements[1], n.input_dtype[1]);
  if (n.input[0] != Tensor::kNone) out[0] = std::move(whole);
}

}  // namespace gradient

/// torch.nn.functional.pad, which copies also where there is nothing to add.
inline Tensor padded(Tape& t, const Tensor& x, std::int64_t elements) {
  auto op = t.record(gradient::unpadded, {&x});
  return op.result(t.allocate(elements, x.dtype()));
}

/// The sums of each chunk's positions up to each of them.
inline Tensor sum_up(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::summed_up, {&x});
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// torch.linalg.solve_triangular of `count` systems of a chunk's size.
inline Tensor solve_triangular(Tape& t, const Tensor& system, const Tensor& right, std::int64_t count) {
  auto op = t.record(gradient::solved, {&system, &right});
  op.sizes(count);
  gradient::tell_triangles(t, count, right.elements() / (count * kDeltaChunk), right.dtype());
  Tensor out = t.allocate(right.elements(), right.dtype());
  op.save(system).save(out);
  return op.result(std::move(out));
}

/// Each head's vectors over their length: x / sqrt(sum of squares + epsilon). Autocast has sums in fp32.
inline Tensor normalize_heads(Tape& t, const Setting& s, const Tensor& x, std::int64_t vectors) {
  Tensor root;
  {
    Tensor squares = mul(t, x, x);
    squares = sum_to(t, squares, vectors, s.run.autocasts ? DType::fp32 : x.dtype());
    squares = add_scalar(t, squares);
    root = rsqrt(t, squares);
  }
  return mul(t, x, root);
}

/// A norm over the value heads, in fp32, whose result is opened by a gate.
inline Tensor gated_norm(Tape& t, const Tensor& weight, const Tensor& input, const Tensor& gate, std::int64_t groups) {
  const DType dtype = input.dtype();
  Tensor x = cast(t, input, DType::fp32), variance;
  x = over_root_mean_square(t, x, groups, variance);
  {
    const Tensor back = cast(t, x, dtype);
    x = mul(t, weight, back);
  }
  {
    const Tensor opened = silu(t, cast(t, gate, DType::fp32));
    x = mul(t, x, opened);
  }
  return cast(t, x, dtype);
}

/// causal_conv1d_fn: each channel's last positions, weighted, in the weights' format.
inline Tensor convolve(Tape& t, Setting& s, const DeltaNet& net, const Tensor& x) {
  const LinearAttention& shape = *s.model.linear_attention;
  const std::int64_t rows = s.run.rows(), channels = shape.channels();
  const bool is_function = s.behavior.convolves_by_function;
  Tensor out;
  {
    const Tensor wide = is_function ? cast(t, x, net.convolution.dtype()) : x;
    const Tensor weight = is_function ? autocast_once(t, s, view(t, net.convolution)) : autocast(t, s, net.convolution);
    const Tensor in = autocast_once(t, s, wide);
    { const Tensor contiguous = t.allocate(in.elements(), in.dtype(), Term::workspace); }
    auto op = t.record(gradient::convolved, {&in, &weight});
    op.sizes(shape.kernel);
    op.save(in).save(weight);
    const std::int64_t positions = rows * channels * (s.run.row_length() + shape.kernel - 1);
    tell_convolution(t, positions, shape.kernel, in.dtype());
    out = op.result(t.allocate(positions, in.dtype()));
  }
  out = silu(t, slice(t, out, x.elements()));
  return is_function ? cast(t, out, x.dtype()) : out;
}

/// A factor of torch.matmul by heads, and whether its heads lie behind its positions, so that they have
/// to be copied to be one batch.
struct HeadFactor {
  const Tensor& tensor;
  bool is_strided = false;
};

/// torch.matmul of parts of each head: `count` products of `rows` rows, to `elements` in all.
inline Tensor head_product(Tape& t, const Setting& s, HeadFactor a, HeadFactor b, std::int64_t elements,
                           std::int64_t count, std::int64_t rows) {
  const Tensor right = autocast_once(t, s, b.tensor);
  const Tensor left = autocast_once(t, s, a.tensor);
  const Tensor left_batch = a.is_strided ? clone(t, left) : left;
  const Tensor right_batch = b.is_strided ? clone(t, right) : right;
  return batched_matmul(t, left_batch, right_batch, elements, count, rows);
}

/// What an operation keeps of two factors although nobody takes a gradient of its result: checkpointing
/// counts it, and it goes with the result.
inline void drop_factors(Tape& t, const Tensor& a, const Tensor& b) {
  auto op = t.record(gradient::passed, {&a, &b});
  for (const Tensor* factor : {&a, &b})
    if (factor->requires_grad()) op.drop({});
}

/// Whether what an operation saves is there until its result goes.
inline bool keeps_saved(const Tape& t) { return t.mode() == Tape::Mode::record || t.mode() == Tape::Mode::recompute; }

/// The state after the last chunk, which is let go of. `key_of` makes the key's factor when it is its turn.
template <class Key>
void leave_state(Tape& t, const Setting& s, const Tensor& state, Tensor factor, const Key& key_of, bool is_strided,
                 const Tensor& values) {
  const LinearAttention& shape = *s.model.linear_attention;
  const bool keeps = keeps_saved(t);
  drop_factors(t, state, factor);
  const Tensor kept = t.allocate(state.elements(), DType::fp32);
  if (!keeps || !(state.requires_grad() || factor.requires_grad())) factor.reset();
  Tensor key = key_of();
  Tensor right = autocast_once(t, s, values), cast_key = autocast_once(t, s, key);
  Tensor left = is_strided ? clone(t, cast_key) : cast_key;
  t.use_matmul();
  drop_factors(t, left, right);
  t.multiply(shape.key_head_dim, kDeltaChunk, shape.value_head_dim, left.dtype(), s.run.rows() * shape.value_heads);
  const Tensor added = t.allocate(state.elements(), left.dtype());
  cast_key.reset(), key.reset();
  const bool keeps_right = keeps && left.requires_grad(), keeps_left = keeps && right.requires_grad();
  if (!keeps_right) right.reset();
  if (!keeps_left) left.reset();
  const Tensor last = t.allocate(state.elements(), DType::fp32);
}

/// The rows of each chunk's system, one after the other: a row is what it was and its product with the rows
/// above it, put back into its place. `count`: systems.
inline Tensor solve_by_rows(Tape& t, Tensor system, std::int64_t count, Tensor& row, Tensor& above) {
  for (std::int64_t i = 1; i < kDeltaChunk; ++i) {
    row = clone(t, slice(t, slice(t, system, count * kDeltaChunk), count * i));
    above = clone(t, slice(t, slice(t, system, count * i * kDeltaChunk), count * i * i));
    Tensor answer;
    {
      Tensor sums;
      {
        const Tensor products = mul(t, row, above);
        sums = sum_to(t, products, count * i);
      }
      answer = add(t, row, sums);
    }
    auto op = t.record(gradient::placed, {&system, &answer});
    t.touch(2 * count * i * element_size(DType::fp32));
    system = op.result(std::move(system));
  }
  return system;
}

/// exp() of the last chunk's decay, for a state that is let go of.
inline Tensor unused_exp(Tape& t, const Tensor& x) {
  auto op = t.record(gradient::passed, {&x});
  Tensor out = t.allocate(x.elements(), x.dtype());
  if (x.requires_grad()) op.drop({});
  return op.result(std::move(out));
}

/// Elements of the rule's tensors, over all rows and heads.
struct DeltaSizes {
  std::int64_t heads, chunks, positions;
  std::int64_t places;      ///< positions with the padding
  std::int64_t squares;     ///< each place beside those of its chunk
  std::int64_t state_size;
  std::int64_t part;        ///< values of one chunk
};

inline DeltaSizes delta_sizes(const Setting& s) {
  const LinearAttention& shape = *s.model.linear_attention;
  DeltaSizes of{};
  of.heads = s.run.rows() * shape.value_heads;
  of.chunks = (s.run.row_length() + kDeltaChunk - 1) / kDeltaChunk;
  of.positions = of.heads * s.run.row_length();
  of.places = of.heads * of.chunks * kDeltaChunk;
  of.squares = of.places * kDeltaChunk;
  of.state_size = of.heads * shape.key_head_dim * shape.value_head_dim;
  of.part = of.heads * kDeltaChunk * shape.value_head_dim;
  return of;
}

/// torch_chunk_gated_delta_rule as it was before transformers 5.17: within a chunk row by row. Query, key and
/// value come with the value heads, all by positions.
inline Tensor gated_delta_rule_by_rows(Tape& t, const Setting& s, Tensor query, Tensor key, Tensor value, Tensor decay,
                                       Tensor beta) {
  const LinearAttention& shape = *s.model.linear_attention;
  const DType dtype = query.dtype();
  const DeltaSizes n = delta_sizes(s);

  query = normalize_heads(t, s, query, n.positions);
  key = normalize_heads(t, s, key, n.positions);
  {
    const auto by_heads = [&](const Tensor& x) {
      const Tensor copy = clone(t, x);
      return cast(t, copy, DType::fp32);
    };
    Tensor q = by_heads(query), k = by_heads(key), v = by_heads(value);
    beta = by_heads(beta);
    decay = by_heads(decay);
    query = std::move(q), key = std::move(k), value = std::move(v);
  }
  for (Tensor* each : {&query, &key}) *each = padded(t, *each, n.places * shape.key_head_dim);
  value = padded(t, value, n.places * shape.value_head_dim);
  for (Tensor* each : {&beta, &decay}) *each = padded(t, *each, n.places);
  query = scale(t, query);
  Tensor v_beta, k_beta;
  {
    const Tensor each = view(t, beta);
    v_beta = mul(t, value, each);
  }
  {
    const Tensor each = view(t, beta);
    k_beta = mul(t, key, each);
  }
  for (Tensor* chunked : {&query, &key, &k_beta, &v_beta, &decay}) *chunked = view(t, *chunked);
  Tensor hidden = t.allocate(kDeltaChunk * kDeltaChunk, DType::boolean);
  hidden = t.allocate(kDeltaChunk * kDeltaChunk, DType::boolean);
  const Tensor sums = sum_up(t, decay);
  decay.reset();
  Tensor pairs;
  {
    const Tensor rows = view(t, sums), columns = view(t, sums);
    pairs = subtract(t, rows, columns, n.squares);
  }
  pairs = scale(t, pairs);  // its upper triangle is zero
  pairs = exp(t, pairs);
  pairs = scale(t, pairs);
  Tensor system;
  {
    const Tensor columns = view(t, key);
    const Tensor product = head_product(t, s, {k_beta}, {columns}, n.squares, n.heads * n.chunks, kDeltaChunk);
    system = mul(t, product, pairs);
  }
  system = fill_masked(t, system, hidden);
  system = negate(t, system);
  Tensor row, above;
  system = solve_by_rows(t, std::move(system), n.heads * n.chunks, row, above);
  {
    const Tensor eye = t.allocate(kDeltaChunk * kDeltaChunk, DType::fp32);
    system = add_scalar(t, system);
  }
  value = head_product(t, s, {system}, {v_beta}, n.places * shape.value_head_dim, n.heads * n.chunks, kDeltaChunk);
  Tensor keys;
  {
    const Tensor decayed = mul(t, k_beta, view(t, exp(t, sums)));
    keys = head_product(t, s, {system}, {decayed}, n.places * shape.key_head_dim, n.heads * n.chunks, kDeltaChunk);
  }
  Tensor state = t.allocate(n.state_size, value.dtype());
  Tensor out = t.allocate(n.places * shape.value_head_dim, value.dtype());
  {
    const Tensor ones = t.allocate(kDeltaChunk * kDeltaChunk, DType::boolean);
    hidden = t.allocate(kDeltaChunk * kDeltaChunk, DType::boolean);
  }

  const auto of_chunk = [&](const Tensor& x) { return slice(t, x, x.elements() / n.chunks); };
  const auto last_of_chunk = [&] { return slice(t, of_chunk(sums), n.heads); };
  Tensor read, updated, across;  // of the chunk before until the next one's are there
  for (std::int64_t i = 0; i < n.chunks; ++i) {
    const Tensor q = of_chunk(query), k = of_chunk(key), v = of_chunk(value);
    {
      const Tensor product = head_product(t, s, {q}, {view(t, k)}, n.heads * kDeltaChunk * kDeltaChunk, n.heads, kDeltaChunk);
      system = mul(t, product, of_chunk(pairs));
    }
    read = head_product(t, s, {of_chunk(keys)}, {state}, n.part, n.heads, kDeltaChunk);
    updated = subtract(t, v, read, n.part);
    {
      const Tensor decayed = mul(t, q, view(t, exp(t, of_chunk(sums))));
      across = head_product(t, s, {decayed}, {state}, n.part, n.heads, kDeltaChunk);
    }
    {
      Tensor answer;
      {
        const Tensor inside = head_product(t, s, {system}, {updated}, n.part, n.heads, kDeltaChunk);
        answer = add(t, across, inside);
      }
      auto op = t.record(gradient::placed, {&out, &answer});
      t.touch(2 * n.part * element_size(DType::fp32));
      out = op.result(std::move(out));
    }
    if (i + 1 < n.chunks) {
      Tensor kept;
      {
        const Tensor factor = exp(t, last_of_chunk());
        kept = mul(t, state, factor);
      }
      Tensor added;
      {
        Tensor rest;
        {
          const Tensor last = last_of_chunk();
          rest = subtract(t, last, of_chunk(sums), n.heads * kDeltaChunk);
        }
        rest = exp(t, rest);
        const Tensor weighted = mul(t, k, view(t, rest));
        rest.reset();
        added = head_product(t, s, {view(t, weighted)}, {updated}, n.state_size, n.heads, shape.key_head_dim);
      }
      state = add(t, kept, added);
      continue;
    }
    const bool keeps = keeps_saved(t);
    Tensor factor;
    const auto weighted_key = [&] {
      {
        const Tensor last = last_of_chunk();
        const Tensor rest = subtract(t, last, of_chunk(sums), n.heads * kDeltaChunk);
        factor = unused_exp(t, rest);
      }
      drop_factors(t, k, factor);
      Tensor weighted = t.allocate(k.elements(), DType::fp32);
      if (!keeps || !(k.requires_grad() || factor.requires_grad())) factor.reset();
      return t.record(gradient::passed, {&k}).result(std::move(weighted));
    };
    leave_state(t, s, state, unused_exp(t, last_of_chunk()), weighted_key, false, updated);
  }
  state.reset();
  if (n.places != n.positions) out = slice(t, out, n.positions * shape.value_head_dim);
  const Tensor by_positions = clone(t, out);
  return cast(t, by_positions, dtype);
}

/// torch_chunk_gated_delta_rule. Query and key come with the key heads, or with the value heads, all by
/// positions.
inline Tensor gated_delta_rule(Tape& t, const Setting& s, Tensor query, Tensor key, Tensor value, Tensor decay, Tensor beta) {
  const LinearAttention& shape = *s.model.linear_attention;
  const DType dtype = query.dtype();
  const DeltaSizes n = delta_sizes(s);
  const bool has_rest = n.places != n.positions;
  // What is in fp32 already is not copied by heads, unless padding does it: channels lie before positions,
  // as the convolution left them, or positions before heads, where these were repeated.
  const bool is_strided = dtype == DType::fp32 && !has_rest && shape.value_heads > 1;
  const bool is_apart = is_strided && shape.value_heads > shape.key_heads && s.run.rows() > 1;

  if (s.behavior.repeats_heads_in_rule)
    for (Tensor* each : {&query, &key}) *each = repeat_heads(t, *each, shape.value_heads / shape.key_heads);
  {
    Tensor q = cast(t, query, DType::fp32), k = cast(t, key, DType::fp32), v = cast(t, value, DType::fp32);
    beta = cast(t, beta, DType::fp32);
    query = std::move(q), key = std::move(k), value = std::move(v);
  }
  query = normalize_heads(t, s, query, n.positions);
  key = normalize_heads(t, s, key, n.positions);
  query = scale(t, query);
  {
    Tensor q = padded(t, query, n.places * shape.key_head_dim), k = padded(t, key, n.places * shape.key_head_dim);
    value = padded(t, value, n.places * shape.value_head_dim);
    query = std::move(q), key = std::move(k);
    Tensor b = padded(t, beta, n.places);
    decay = padded(t, decay, n.places);
    beta = std::move(b);
  }
  Tensor v_beta, k_beta;
  {
    const Tensor each = view(t, beta);
    v_beta = mul(t, value, each);
  }
  {
    const Tensor each = view(t, beta);
    k_beta = mul(t, key, each);
  }
  for (Tensor* chunked : {&query, &key}) *chunked = view(t, *chunked);
  // Solutions lie by columns, and so do the gradients of what went into them.
  for (Tensor* chunked : {&k_beta, &v_beta}) *chunked = n.chunks > 1 ? reordered_view(t, *chunked) : view(t, *chunked);
  decay = view(t, decay);
  Tensor hidden = t.allocate(kDeltaChunk * kDeltaChunk, DType::boolean);
  hidden = t.allocate(kDeltaChunk * kDeltaChunk, DType::boolean);
  const Tensor sums = sum_up(t, decay);
  Tensor pairs;
  {
    const Tensor rows = view(t, sums), columns = view(t, sums);
    pairs = subtract(t, rows, columns, n.squares);
  }
  pairs = fill_masked(t, pairs, hidden);
  pairs = exp(t, pairs);
  const auto of_pairs = [&](const Tensor& rows) {
    const Tensor columns = view(t, key);
    const bool copies = is_apart || (is_strided && n.chunks > 1);
    const Tensor product = head_product(t, s, {rows, copies}, {columns, copies}, n.squares, n.heads * n.chunks, kDeltaChunk);
    return mul(t, product, pairs);
  };
  const Tensor system = of_pairs(k_beta);
  const Tensor within = of_pairs(query);
  const auto times_exp = [&](const Tensor& x, Tensor exponent) {
    exponent = view(t, exp(t, exponent));
    return mul(t, x, exponent);
  };
  const Tensor decayed = times_exp(k_beta, sums);
  const Tensor values = solve_triangular(t, system, v_beta, n.heads * n.chunks);
  const Tensor keys = solve_triangular(t, system, decayed, n.heads * n.chunks);
  Tensor state = t.allocate(n.state_size, DType::fp32);
  Tensor out = t.allocate(n.places * shape.value_head_dim, DType::fp32);
  query = times_exp(query, sums);
  {
    Tensor left;
    {
      const Tensor last = slice(t, sums, n.heads * n.chunks);
      left = subtract(t, last, sums, n.places);
    }
    key = times_exp(key, std::move(left));
  }
  const Tensor chunk_decay = view(t, exp(t, slice(t, sums, n.heads * n.chunks)));

  const auto of_chunk = [&](const Tensor& x) { return slice(t, x, x.elements() / n.chunks); };
  Tensor updated, across;  // of the chunk before until the next one's are there
  for (std::int64_t i = 0; i < n.chunks; ++i) {
    {
      const Tensor mine = of_chunk(values);
      const Tensor read = head_product(t, s, {of_chunk(keys)}, {state}, n.part, n.heads, kDeltaChunk);
      updated = subtract(t, mine, read, n.part);
    }
    across = head_product(t, s, {of_chunk(query), is_apart}, {state}, n.part, n.heads, kDeltaChunk);
    {
      const Tensor inside = head_product(t, s, {of_chunk(within)}, {updated}, n.part, n.heads, kDeltaChunk);
      const Tensor answer = add(t, across, inside);
      auto op = t.record(gradient::placed, {&out, &answer});
      t.touch(2 * n.part * element_size(DType::fp32));
      out = op.result(std::move(out));
    }
    if (i + 1 < n.chunks) {
      const Tensor kept = mul(t, state, of_chunk(chunk_decay));
      const Tensor turned = view(t, of_chunk(key));
      const Tensor added = head_product(t, s, {turned, is_apart}, {updated}, n.state_size, n.heads, shape.key_head_dim);
      state = add(t, kept, added);
    } else {
      leave_state(t, s, state, of_chunk(chunk_decay), [&] { return of_chunk(key); }, is_apart, updated);
    }
  }
  state.reset();
  if (n.chunks > 1) out = clone(t, out);  // the solutions lie by columns
  if (has_rest) out = slice(t, out, n.positions * shape.value_head_dim);
  return cast(t, out, dtype);
}

/// Chunks of all rows, which begin anew with each sample where samples are kept apart.
inline std::int64_t kernel_chunks(const Setting& s) {
  const std::int64_t pieces = s.run.packs ? std::max<std::int64_t>(1, s.run.samples) : s.run.rows();
  const std::int64_t length = (s.tokens() + pieces - 1) / pieces;
  return pieces * ((length + kDeltaChunk - 1) / kDeltaChunk);
}

/// In how many parts the kernels split a key for its gradient: by the shared memory of a multiprocessor
/// (fla.utils.check_shared_mem).
constexpr std::int64_t key_tiles(std::int64_t key_head_dim, int compute_capability) {
  const int generation = compute_capability / 10;
  const std::int64_t tile = generation == 9 || generation == 10 ? 128 : generation >= 8 ? 64 : 32;
  return (key_head_dim + tile - 1) / tile;
}

/// Products of a chunk with itself, over the heads of all chunks.
inline void multiply_chunks(Tape& t, const Setting& s, std::int64_t rows, std::int64_t inner, std::int64_t columns,
                            DType dtype) {
  t.multiply(rows, inner, columns, dtype, kernel_chunks(s) * s.model.linear_attention->value_heads, 0);
}

namespace gradient {

/// causal_conv1d_bwd: what the activation took, again; the weight's gradient is a sum over chunks, wanted
/// or not. sizes: chunks, taps.
inline void convolved_by_kernel(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  tell_convolution(t, grad.elements(), n.size[1], grad.dtype());
  const Tensor again = t.allocate(n.input_elements[0], n.input_dtype[0]);
  tell_convolution(t, 2 * grad.elements(), n.size[1], grad.dtype());
  out[0] = t.allocate(n.input_elements[0], n.input_dtype[0]);
  const Tensor sums = t.allocate(n.size[0] * n.input_elements[1], DType::fp32);
  const Tensor sum = t.allocate(n.input_elements[1], DType::fp32);
  Tensor weight = n.input_dtype[1] == DType::fp32 ? sum : t.allocate(n.input_elements[1], n.input_dtype[1]);
  if (n.input[1] != Tensor::kNone) out[1] = std::move(weight);
}

/// chunk_gated_delta_rule_bwd: what forward let go of is made again. inputs: query, key, value, decay, beta.
inline void delta_rule_by_kernels(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const Setting& s = *static_cast<const Setting*>(n.context);
  const LinearAttention& shape = *s.model.linear_attention;
  const std::int64_t k = shape.key_head_dim, v = shape.value_head_dim, c = kDeltaChunk;
  const std::int64_t keys = n.input_elements[1], values = n.input_elements[2], gates = n.input_elements[3];
  const std::int64_t states = kernel_chunks(s) * shape.value_heads * k * v;
  const DType dtype = n.input_dtype[0];
  Tensor query, key;
  {
    multiply_chunks(t, s, c, c, k + v, dtype);
    const Tensor decayed = t.allocate(keys, dtype), weighted = t.allocate(values, dtype);
    multiply_chunks(t, s, c, k, 2 * v, dtype);
    const Tensor state = t.allocate(states, dtype), updated = t.allocate(values, dtype);
    multiply_chunks(t, s, c, k + v, c, dtype);
    Tensor local = t.allocate(values, dtype);
    multiply_chunks(t, s, c, k, 3 * v, dtype);
    const Tensor of_state = t.allocate(states, dtype);
    Tensor inside = t.allocate(values, dtype);
    local.reset();
    multiply_chunks(t, s, c, k, 4 * c + 3 * v, dtype);
    query = t.allocate(keys, dtype);
    key = t.allocate(keys, dtype);
    Tensor parts = t.allocate(key_tiles(k, s.compute_capability) * gates, DType::fp32);
    const Tensor of_decayed = t.allocate(keys, dtype);
    Tensor gate = t.allocate(gates, DType::fp32);
    parts.reset();
    multiply_chunks(t, s, c, c, 3 * k + 2 * v + 2 * c, dtype);
    const Tensor of_key = t.allocate(keys, dtype);
    out[2] = t.allocate(values, dtype);
    const Tensor of_gate = t.allocate(gates, DType::fp32);
    out[4] = t.allocate(n.input_elements[4], n.input_dtype[4]);
    inside.reset();
    t.touch(3 * keys * element_size(dtype));
    out[3] = t.allocate(gates, DType::fp32);
  }
  out[0] = t.allocate(keys, dtype);
  query.reset();
  out[1] = t.allocate(keys, dtype);
}

}  // namespace gradient

/// flash-linear-attention's causal_conv1d with its activation, which knows where samples begin.
inline Tensor convolve_by_kernel(Tape& t, const Setting& s, const DeltaNet& net, const Tensor& x) {
  const LinearAttention& shape = *s.model.linear_attention;
  const Tensor weight = view(t, net.convolution);
  auto op = t.record(gradient::convolved_by_kernel, {&x, &weight});
  op.sizes(kernel_chunks(s), shape.kernel).save(x).save(weight);
  tell_convolution(t, x.elements(), shape.kernel, x.dtype());
  return op.result(t.allocate(x.elements(), x.dtype()));
}

/// flash-linear-attention's chunk_gated_delta_rule (0.5). A query and key that are parts of the convolution's
/// answer are copied first, and so is the value.
inline Tensor gated_delta_rule_by_kernels(Tape& t, const Setting& s, const Tensor& query, const Tensor& key,
                                          const Tensor& value, const Tensor& decay, const Tensor& beta) {
  const LinearAttention& shape = *s.model.linear_attention;
  const std::int64_t k = shape.key_head_dim, v = shape.value_head_dim, c = kDeltaChunk;
  const std::int64_t keys = query.elements(), values = value.elements(), heads = decay.elements();
  const DType dtype = query.dtype();
  const bool are_parts = shape.value_heads == shape.key_heads;
  auto op = t.record(gradient::delta_rule_by_kernels, {&query, &key, &value, &decay, &beta});
  op.context(&s);
  const auto contiguous = [&](const Tensor& x, bool is_part) {
    return is_part ? t.allocate(x.elements(), x.dtype()) : x.detached();
  };
  const Tensor q = contiguous(query, are_parts), k_whole = contiguous(key, are_parts), v_whole = contiguous(value, true);
  const Tensor q_normed = t.allocate(keys, dtype), q_root = t.allocate(heads, DType::fp32);
  const Tensor k_normed = t.allocate(keys, dtype), k_root = t.allocate(heads, DType::fp32);
  const Tensor sums = t.allocate(heads, DType::fp32);
  multiply_chunks(t, s, c, k, c, dtype);
  const Tensor system = t.allocate(heads * c, dtype);
  Tensor out;
  {
    multiply_chunks(t, s, c, c, k + v, dtype);
    const Tensor decayed = t.allocate(keys, dtype), weighted = t.allocate(values, dtype);
    multiply_chunks(t, s, c, k, 2 * v, dtype);
    const Tensor state = t.allocate(kernel_chunks(s) * shape.value_heads * k * v, dtype);
    const Tensor updated = t.allocate(values, dtype);
    multiply_chunks(t, s, c, k, c + v, dtype);
    multiply_chunks(t, s, c, c, v, dtype);
    out = t.allocate(values, dtype);
  }
  op.save(q_normed).save(q_root).save(k_normed).save(k_root).save(v_whole).save(sums);
  op.save(beta).save(beta).save(system);
  return op.result(std::move(out));
}

/// What a layer of linear attention projects its input to.
struct DeltaProjections {
  Tensor mixed, z, b, a;
};

inline DeltaProjections project_delta(Tape& t, Setting& s, DeltaNet& net, const Tensor& x) {
  if (net.fused_in.setting != nullptr) {
    auto [mixed, z, b, a] = run_fused_projections(t, s, net.fused_in, x);
    return {std::move(mixed), std::move(z), std::move(b), std::move(a)};
  }
  // What comes back through the heads lies by positions: a product of several sequences has it copied.
  // Kernels give it back as it came, but for PyTorch's convolution.
  const bool is_turned = s.run.rows() > 1, has_kernels = s.run.has_delta_kernels;
  const auto order = [](bool turns) { return turns ? GradientOrder::by_columns : GradientOrder::by_rows; };
  DeltaProjections out;
  out.mixed = run_linear(t, s, net.qkv, x, order(is_turned));
  out.z = run_linear(t, s, net.z, x);
  out.b = run_linear(t, s, net.b, x, order(is_turned && !has_kernels));
  out.a = run_linear(t, s, net.a, x);
  return out;
}

/// A layer's linear attention. `present` tells padding from tokens, where there is any.
inline Tensor gated_delta_net(Tape& t, Setting& s, DeltaNet& net, const Tensor& input, const Tensor& present) {
  const LinearAttention& shape = *s.model.linear_attention;
  const bool has_kernels = s.run.has_delta_kernels, knows_samples = has_kernels && s.run.packs;
  const Tensor x = present && (s.behavior.masks_single_rows || s.run.rows() > 1) ? mul(t, input, present) : input;
  DeltaProjections projected = project_delta(t, s, net, x);
  const Tensor &z = projected.z, &b = projected.b, &a = projected.a;
  const Tape::InSection section(t, Section::attention);
  // axolotl's forward for packed samples holds its projections to the end.
  Tensor mixed = knows_samples ? convolve_by_kernel(t, s, net, projected.mixed)
                               : convolve(t, s, net, std::exchange(projected.mixed, {}));
  Tensor query, key, value;
  {
    auto split = t.record(gradient::passed, {&mixed});
    split.joins_parts(3);
    query = split.result(mixed.viewed(s.tokens() * shape.key_size()));
    key = split.result(mixed.viewed(s.tokens() * shape.key_size()));
    value = split.result(mixed.viewed(s.tokens() * shape.value_size()));
    // Sums over the heads that share a key have put its gradient in order.
    const bool is_shared = shape.value_heads > shape.key_heads;
    for (Tensor* each : {&query, &key}) *each = is_shared || has_kernels ? view(t, *each) : reordered_view(t, *each);
    value = has_kernels ? view(t, value) : reordered_view(t, value);
  }
  const Tensor beta = sigmoid(t, b);
  Tensor decay;
  {
    Tensor rate = cast(t, net.decay, DType::fp32);
    rate = exp(t, rate);
    rate = negate(t, rate);
    Tensor step = add(t, cast(t, a, DType::fp32), net.step_bias);
    step = softplus(t, step);
    decay = mul(t, rate, step);
  }
  if (!s.behavior.repeats_heads_in_rule)
    for (Tensor* each : {&query, &key}) *each = repeat_heads(t, *each, shape.value_heads / shape.key_heads);
  Tensor out;
  if (has_kernels) {
    out = gated_delta_rule_by_kernels(t, s, query, key, value, decay, beta);
  } else if (s.behavior.solves_chunks) {
    out = gated_delta_rule(t, s, query, key, value, decay, beta);
    if (out.dtype() == DType::fp32) out = clone(t, out);  // heads behind positions; a cast has seen to that elsewhere
  } else {
    out = gated_delta_rule_by_rows(t, s, query, key, value, decay, beta);
  }
  out = gated_norm(t, net.norm, out, z, s.tokens() * shape.value_heads);
  const Tape::InSection layers(t, Section::layers);
  return net.fused_out.setting != nullptr ? run_fused_o(t, s, net.fused_out, out) : run_linear(t, s, net.out, out);
}

}  // namespace qwenplan::emulate
