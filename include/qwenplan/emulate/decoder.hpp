#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/attention.hpp"
#include "qwenplan/emulate/delta_net.hpp"
#include "qwenplan/emulate/experts.hpp"
#include "qwenplan/emulate/fused_adapters.hpp"
#include "qwenplan/emulate/liger.hpp"
#include "qwenplan/emulate/linear.hpp"

namespace qwenplan::emulate {

/// The weights of one decoder layer.
struct DecoderLayer {
  Linear q, k, v, o;
  Linear qkv, gate_up;  ///< in place of q, k and v, and of gate and up
  Tensor q_norm, k_norm;
  Linear gate, up, down;  ///< of the expert that every token visits, where there is one
  Linear shared_gate;     ///< how much of that expert's answer counts
  ExpertWeights experts;
  Tensor frequencies, cos, sin;  ///< rotary tables of all positions, where each layer holds its own
  Tensor norm[4];  ///< input, post-attention; Gemma 2: also before and after the MLP
  Tensor norm_bias[4];
  FusedAdapters fused_qkv, fused_o, fused_mlp;  ///< without a setting: the layers run one by one
  bool turns = true;  ///< query and key by their positions
  DeltaNet delta;     ///< in place of attention, in a layer that attends linearly

  std::array<Linear*, 15> linears() {
    return {&q, &k, &v, &qkv, &o, &delta.out, &delta.qkv, &delta.z, &delta.b, &delta.a, &gate, &up, &gate_up, &down,
            &shared_gate};
  }
  /// Weights that are no matrices of linear layers, apart from the norms over the hidden size.
  std::array<Tensor*, 6> vectors() {
    return {&q_norm, &k_norm, &delta.step_bias, &delta.decay, &delta.convolution, &delta.norm};
  }
};

/// What a layer is given besides the hidden states.
struct Surroundings {
  Tensor positions, cos, sin, mask;
};

/// RMSNorm as Qwen, Llama and Mistral write it: in fp32, the weight multiplied in the input's type. OLMo
/// multiplies first and casts then.
inline Tensor rms_norm(Tape& t, const Tensor& weight, const Tensor& input, std::int64_t groups, bool casts_last = false) {
  const DType dtype = input.dtype();
  Tensor x = cast(t, input, DType::fp32), variance;
  x = over_root_mean_square(t, x, groups, variance);
  if (casts_last) {
    const Tensor product = mul(t, weight, x);
    return cast(t, product, dtype);
  }
  const Tensor back = cast(t, x, dtype);
  return mul(t, weight, back);
}

/// Cohere's LayerNorm, in fp32 and without a bias.
inline Tensor centred_norm(Tape& t, const Tensor& weight, const Tensor& input, std::int64_t groups) {
  const DType dtype = input.dtype();
  Tensor x = cast(t, input, DType::fp32);
  const Tensor middle = mean(t, x, groups);
  Tensor variance;
  {
    const Tensor squared = square(t, subtract(t, x, middle));
    variance = mean(t, squared, groups);
  }
  {
    const Tensor centred = subtract(t, x, middle);
    const Tensor root = rsqrt(t, add_scalar(t, variance));
    x = mul(t, centred, root);
  }
  x = mul(t, cast(t, weight, DType::fp32), x);
  return cast(t, x, dtype);
}

/// Gemma's and Qwen3.5's RMSNorm: the weight is one plus its parameter, and all of it is in fp32.
inline Tensor gemma_norm(Tape& t, const Tensor& weight, const Tensor& input, std::int64_t groups) {
  const DType dtype = input.dtype();
  Tensor x = cast(t, input, DType::fp32);
  {
    Tensor root = square(t, x);
    root = mean(t, root, groups);
    root = add_scalar(t, root);
    root = rsqrt(t, root);
    x = mul(t, x, root);
  }
  {
    Tensor factor = cast(t, weight, DType::fp32);
    factor = add_scalar(t, factor);
    x = mul(t, x, factor);
  }
  return cast(t, x, dtype);
}

inline Tensor norm(Tape& t, const Setting& s, const Tensor& weight, const Tensor& input, std::int64_t groups,
                   const Tensor& bias = {}) {
  if (s.run.liger_rms_norm) return liger_norm(t, s, weight, input, groups);
  if (bias) {
    // Autocast has it in fp32, and casts the arguments from the last to the first.
    const DType dtype = s.run.autocasts ? DType::fp32 : input.dtype();
    const Tensor b = cast(t, bias, dtype), w = cast(t, weight, dtype);
    return layer_norm(t, cast(t, input, dtype), w, b, groups);
  }
  if (s.model.is_cohere()) return centred_norm(t, weight, input, groups);
  return s.model.has_zero_centred_norms() ? gemma_norm(t, weight, input, groups)
                                           : rms_norm(t, weight, input, groups, s.model.is_olmo());
}

namespace gradient {

/// What was turned and the rest of each head are views of the gradient, in the format of each.
inline void with_rest(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 0; i < 2; ++i)
    if (n.input[i] != Tensor::kNone)
      out[i] = n.input_dtype[i] == grad.dtype() ? grad.viewed(n.input_elements[i])
                                                : t.allocate(n.input_elements[i], n.input_dtype[i]);
}

/// A head of which nothing is left over: the gradient of that nothing is as large as all, and is added.
inline void added_to_nothing(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor zeros = t.allocate(n.input_elements[0], n.input_dtype[0]);
  out[0] = t.allocate(grad.elements(), grad.dtype());
}

}  // namespace gradient

/// Rotary position embedding of one of query and key.
inline Tensor rotate(Tape& t, const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const Tensor straight = mul(t, x, cos);
  const Tensor turned = mul(t, rotate_half(t, x), sin);
  return add(t, straight, turned);
}

/// Query and key, turned by their positions. Cohere does it in fp32, OLMo by tables in fp32.
inline void turn_both(Tape& t, const Model& m, Tensor& q, Tensor& k, const Tensor& cos, const Tensor& sin) {
  const DType dtype = q.dtype();
  const Tensor q_in = m.is_cohere() ? cast(t, q, DType::fp32) : q;
  const Tensor k_in = m.is_cohere() ? cast(t, k, DType::fp32) : k;
  Tensor q_turned = rotate(t, q_in, cos, sin);
  Tensor k_turned = rotate(t, k_in, cos, sin);
  if (m.is_cohere() || m.is_olmo()) {
    Tensor q_back = cast(t, q_turned, dtype);
    k_turned = cast(t, k_turned, dtype);
    q_turned = std::move(q_back);
  }
  q = std::move(q_turned);
  k = std::move(k_turned);
}

/// The first elements of each head, which are turned, and the others. Where there are none, their
/// gradient holds on to that of the join, unless it is in another format.
struct HeadParts {
  Tensor turned, rest;
  HeadParts(Tape& t, const Setting& s, const Tensor& x, const Tensor& cos) {
    const std::int64_t elements = x.elements() / s.model.head_dim * s.model.rotary_size();
    const bool is_whole = elements == x.elements();
    if (is_whole && promoted(x.dtype(), cos.dtype()) != x.dtype()) {
      turned = t.record(gradient::added_to_nothing, {&x}).result(x);
      return;
    }
    turned = is_whole ? view(t, x) : slice(t, x, elements);
    rest = slice(t, x, x.elements() - elements);
  }
};

/// What was turned, and the rest of each head behind it.
inline Tensor join(Tape& t, const Tensor& turned, const Tensor& rest) {
  auto op = t.record(gradient::with_rest, {&turned, &rest});
  return op.result(t.allocate(turned.elements() + rest.elements(), turned.dtype()));
}

/// The rotary embedding of a part of each head of query and key, and the join with the rest.
inline void rotate_parts(Tape& t, const Setting& s, Tensor& q, Tensor& k, const Tensor& cos, const Tensor& sin) {
  const HeadParts q_parts(t, s, q, cos), k_parts(t, s, k, cos);
  const bool joins_last = is_qwen3_5(s.model.architecture);  // Phi-3 joins the query's at once
  Tensor q_turned = rotate(t, q_parts.turned, cos, sin);
  if (!joins_last) q_turned = join(t, q_turned, q_parts.rest);
  Tensor k_turned = rotate(t, k_parts.turned, cos, sin);
  if (joins_last) q_turned = join(t, q_turned, q_parts.rest);
  k = join(t, k_turned, k_parts.rest);
  q = std::move(q_turned);
}

/// The rows of a layer's own rotary table that a sequence needs, in the format of the values.
inline Tensor picked_rows(Tape& t, const Setting& s, const Tensor& table, DType dtype) {
  const std::int64_t elements = s.run.row_length() * s.model.head_dim;
  const Tensor rows = dtype == table.dtype() ? table : t.allocate(elements, dtype);
  return t.allocate(elements, dtype);
}

/// The query out of a projection that also makes the gate, which is copied out of it.
inline Tensor with_gate(Tape& t, const Tensor& projected, Tensor& gate) {
  auto split = t.record(gradient::passed, {&projected});
  split.joins_parts(2);
  const Tensor query = view(t, split.result(projected.viewed(projected.elements() / 2)));
  gate = clone(t, split.result(projected.viewed(projected.elements() / 2)));
  return query;
}

inline Tensor self_attention(Tape& t, Setting& s, DecoderLayer& layer, const Tensor& x, const Surroundings& around,
                             Tensor& weights) {
  const Model& m = s.model;
  const bool turns_in_place = s.run.liger_rope;
  const bool joins_heads = m.fuses_projections() || m.rotary_size() < m.head_dim;  // of a part that is turned and the rest
  const bool is_eager = s.run.attention == Attention::eager;
  const bool has_mask = static_cast<bool>(around.mask);
  const DType dtype = s.run.autocasts ? s.run.half : x.dtype();
  const bool reorders_query = is_eager || attention_kernel(s, dtype, has_mask) == AttentionKernel::math;
  const bool reorders_key = reorders_query || expands_heads(s, has_mask);
  const auto shape = [&](const Tensor& projected, const Tensor& norm_weight, std::int64_t heads) {
    // The gradient comes back by heads, and is put in order where a kernel or a projection wants it so.
    if (norm_weight && s.run.liger_rms_norm)
      return liger_norm(t, s, norm_weight, projected, s.tokens() * heads, !turns_in_place);
    const bool is_wanted = layer.turns || (heads == m.heads ? reorders_query : reorders_key);
    const bool reorders = !turns_in_place && is_wanted && heads > 1;
    Tensor y = reorders ? reordered_view(t, projected) : projected;
    if (norm_weight) y = norm(t, s, norm_weight, y, s.tokens() * heads);
    return y;
  };
  Tensor q, k, v, qkv_states, gate;
  // The gradient of the value comes back from a fused kernel in the projection's own order.
  if (layer.fused_qkv.setting != nullptr) {
    std::array<Tensor, 3> qkv = run_fused_qkv(t, s, layer.fused_qkv, x);
    if (m.gates_attention()) q = norm(t, s, layer.q_norm, with_gate(t, Tensor(std::move(qkv[0])), gate), s.tokens() * m.heads);
    else q = shape(Tensor(std::move(qkv[0])), layer.q_norm, m.heads);
    k = shape(Tensor(std::move(qkv[1])), layer.k_norm, m.kv_heads);
    v = std::move(qkv[2]);
  } else if (layer.qkv.weight) {
    qkv_states = run_linear(t, s, layer.qkv, x);
    q = slice(t, qkv_states, s.tokens() * m.query_size());
    k = slice(t, qkv_states, s.tokens() * m.kv_size());
    v = slice(t, qkv_states, s.tokens() * m.kv_size());
    q = shape(q, {}, m.heads);
    k = shape(k, {}, m.kv_heads);
  } else if (m.is_olmo()) {
    // It norms all heads together, and orders them by heads when all three are there.
    q = norm(t, s, layer.q_norm, run_linear(t, s, layer.q, x), s.tokens());
    k = norm(t, s, layer.k_norm, run_linear(t, s, layer.k, x), s.tokens());
    v = run_linear(t, s, layer.v, x);
    q = shape(q, {}, m.heads);
    k = shape(k, {}, m.kv_heads);
  } else {
    // Gemma 3 projects all three before it norms two of them.
    const bool norms_last = m.architecture == Architecture::gemma3;
    if (m.gates_attention()) {
      q = with_gate(t, run_linear(t, s, layer.q, x), gate);
      q = norm(t, s, layer.q_norm, q, s.tokens() * m.heads);
    } else {
      q = shape(run_linear(t, s, layer.q, x), norms_last ? Tensor() : layer.q_norm, m.heads);
    }
    k = shape(run_linear(t, s, layer.k, x), norms_last ? Tensor() : layer.k_norm, m.kv_heads);
    v = run_linear(t, s, layer.v, x);
    if (norms_last) {
      q = norm(t, s, layer.q_norm, q, s.tokens() * m.heads);
      k = norm(t, s, layer.k_norm, k, s.tokens() * m.kv_heads);
    }
  }
  if (reorders_key && m.kv_heads > 1) v = reordered_view(t, v);
  Tensor cos = around.cos, sin = around.sin;
  if (s.behavior.caches_rotary_tables) {
    cos = picked_rows(t, s, layer.cos, v.dtype());
    sin = picked_rows(t, s, layer.sin, v.dtype());
  }
  if (turns_in_place) {
    k = liger_rotate(t, k, {}, {}, reorders_key);
    q = liger_rotate(t, q, cos, sin, reorders_query);
  } else if (joins_heads) {
    rotate_parts(t, s, q, k, cos, sin);
  } else if (layer.turns) {
    turn_both(t, m, q, k, cos, sin);
  }
  Tensor out;
  {
    const Tape::InSection section(t, Section::attention);
    out = is_eager ? eager_attention(t, s, q, k, v, around.mask, weights)
                   : sdpa_attention(t, s, q, k, v, around.mask);
    // What was joined again has heads before positions, and so has what flash attention makes of it.
    const AttentionKernel kernel = attention_kernel(s, dtype, has_mask);
    if (joins_heads && (kernel == AttentionKernel::flash || kernel == AttentionKernel::cudnn)) out = clone(t, out);
  }
  if (gate) {
    const Tensor opened = sigmoid(t, gate);
    out = mul(t, out, opened);
  }
  out = layer.fused_o.setting != nullptr ? run_fused_o(t, s, layer.fused_o, out) : run_linear(t, s, layer.o, out);
  return m.has_dropout ? dropout(t, out) : out;
}

/// Autocast takes powers in fp32.
inline Tensor squared_relu(Tape& t, const Setting& s, const Tensor& x) {
  const Tensor positive = relu(t, x);
  return square(t, s.run.autocasts ? cast(t, positive, DType::fp32) : positive);
}

inline Tensor mlp(Tape& t, Setting& s, DecoderLayer& layer, const Tensor& x) {
  if (layer.fused_mlp.setting != nullptr) return run_fused_mlp(t, s, layer.fused_mlp, x);
  Tensor product;
  if (layer.gate_up.weight) {
    const Tensor both = run_linear(t, s, layer.gate_up, x);
    auto split = t.record(gradient::passed, {&both});
    split.joins_parts(2);
    const Tensor gate = split.result(both.viewed(both.elements() / 2));
    const Tensor up = split.result(both.viewed(both.elements() / 2));
    {
      const Tensor activated = silu(t, gate);
      product = mul(t, up, activated);
    }
    return run_linear(t, s, layer.down, product);
  }
  if (!layer.gate.weight) {
    {
      const Tensor up = run_linear(t, s, layer.up, x);
      product = s.model.architecture == Architecture::arcee ? squared_relu(t, s, up) : gelu(t, up);
    }
    return run_linear(t, s, layer.down, product);
  }
  if (s.run.liger_glu) {
    const Tensor gate = run_linear(t, s, layer.gate, x);
    const Tensor up = run_linear(t, s, layer.up, x);
    product = liger_glu(t, gate, up);
  } else {
    Tensor activated;
    {
      const Tensor gate = run_linear(t, s, layer.gate, x);
      activated = silu(t, gate);
    }
    const Tensor up = run_linear(t, s, layer.up, x);
    product = mul(t, activated, up);
  }
  return run_linear(t, s, layer.down, product);
}

/// The MLP of a layer: one for all tokens, or experts, and beside these what every token visits.
inline Tensor feed_forward(Tape& t, Setting& s, DecoderLayer& layer, const Tensor& x) {
  if (!layer.experts.router) {
    Tensor out = mlp(t, s, layer, x);
    // What takes the place of the MLP leaves its dropout out.
    return s.model.has_dropout && layer.fused_mlp.setting == nullptr ? dropout(t, out) : out;
  }
  Tensor shared = layer.shared_gate.weight ? mlp(t, s, layer, x) : Tensor();
  const Routing routing = route(t, s, layer.experts, x);
  Tensor chosen = run_experts(t, s, layer.experts, routing, x);
  if (!shared) return chosen;
  {
    const Tensor share = sigmoid(t, run_linear(t, s, layer.shared_gate, x));
    shared = mul(t, share, shared);
  }
  return add(t, chosen, shared);
}

inline Tensor decoder_layer(Tape& t, Setting& s, DecoderLayer& layer, const Tensor& input,
                            const Surroundings& around) {
  const bool has_four = s.model.has_sandwich_norms(), norms_answers = s.model.is_olmo();
  const std::int64_t rows = s.tokens();
  const auto normed = [&](int which, const Tensor& x) {
    return norm(t, s, layer.norm[which], x, rows, layer.norm_bias[which]);
  };
  Tensor residual = input;
  Tensor x = norms_answers ? input : normed(0, residual);
  Tensor weights;  // eager attention returns them, and the layer's code drops them with its other names
  if (s.model.is_parallel()) {
    const Tensor attended = self_attention(t, s, layer, x, around, weights);
    const Tensor answer = feed_forward(t, s, layer, x);
    const Tensor sum = add(t, residual, attended);
    return add(t, sum, answer);
  }
  x = layer.delta ? gated_delta_net(t, s, layer.delta, x, around.mask)
                  : self_attention(t, s, layer, x, around, weights);
  if (has_four || norms_answers) x = normed(has_four ? 1 : 0, x);
  x = add(t, residual, x);
  residual = x;
  if (!norms_answers) x = normed(has_four ? 2 : 1, x);
  x = feed_forward(t, s, layer, x);
  if (has_four || norms_answers) x = normed(has_four ? 3 : 1, x);
  return add(t, residual, x);
}

}  // namespace qwenplan::emulate
