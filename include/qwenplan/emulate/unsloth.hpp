#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/decoder.hpp"

/// Unsloth's decoder layer (models/{llama,qwen3}.py, kernels/{fast_lora,rms_layernorm,rope_embedding,
/// qk_norm_rope,swiglu,utils}.py): norms that write their gradient over the output's, layers and
/// their adapters in one function that computes in place, a rotary embedding that turns in place, and
/// 4-bit weights that all are dequantized into the same memory forward.
namespace qwenplan::emulate::unsloth {

/// Rows of the tables of cosines and sines, which are made once.
inline std::int64_t rotary_rows(const Setting& s) {
  constexpr std::int64_t kStep = 8192, kFirst = 4 * kStep;
  const std::int64_t most = s.model.max_positions > 0 ? s.model.max_positions : kFirst;
  const std::int64_t rows = std::min(kFirst, most);
  return s.run.length <= rows ? rows : (s.run.length + kStep - 1) / kStep * kStep;
}

/// Unsloth compiles each layer since torch 2.11 (models/_block_compile.py), and what the layer allocates
/// then is the compiler's choice, which no recording shows. Half of the layer's tensors in backward, and a
/// dequantized weight beside them, are taken as what it may be more or less.
inline Bytes left_to_compiler(const Model& model, const Run& run, const Stack& stack) {
  if (run.code != ModelCode::unsloth || stack.torch < Version{2, 11, 0}) return {};
  using S = Saturating;
  const std::int64_t elements = S::multiply(
      run.tokens(), S::add(S::multiply(3, S::add(model.ffn, model.hidden)), S::multiply(4, model.query_size())));
  const std::int64_t weight = run.is_quantized() ? S::multiply(model.hidden, model.ffn) : 0;
  return Bytes(S::add(elements, S::multiply(element_size(run.half), weight)));
}

/// RMSNorm keeps its input and a root for each row.
inline Tensor fast_norm(Tape& t, const Tensor& weight, const Tensor& x, std::int64_t rows) {
  auto op = t.record(gradient::passed, {&x});
  Tensor out = t.allocate(x.elements(), x.dtype());
  const Tensor root = t.allocate(rows, DType::fp32);
  op.save(x).save(weight).save(root);
  return op.result(std::move(out));
}

/// Forward, a 4-bit weight is dequantized into memory that all of them share: as large as the largest so
/// far. A dense one is used as it is.
inline void dequantize_shared(Tape& t, Setting& s, const Linear& layer) {
  if (!layer.is_quantized) return;
  const std::int64_t elements = layer.inputs * layer.outputs;
  const bool grows = !s.dequantized || s.dequantized.elements() < elements;
  t.compute(dequantization(elements, s.run.half), grows ? 1 : 0);
  if (grows) s.dequantized = t.allocate(elements, s.run.half, Term::buffers);
}

/// A 4-bit weight in memory of its own, as backward takes it but for the MLP's first, and forward with
/// dropout.
inline Tensor dequantize_alone(Tape& t, const Setting& s, const Linear& layer) {
  if (!layer.is_quantized) return {};
  t.compute(dequantization(layer.inputs * layer.outputs, s.run.half));
  return t.allocate(layer.inputs * layer.outputs, s.run.half);
}

inline bool drops(const Setting& s) { return s.run.lora_dropout > 0; }

/// matmul_lora: the product, and the adapter's added to it in place.
inline Tensor matmul_lora(Tape& t, Setting& s, const Linear& layer, DType dtype) {
  t.use_matmul();
  Tensor out;
  {
    const Tensor weight = drops(s) ? dequantize_alone(t, s, layer) : Tensor();
    if (!drops(s)) dequantize_shared(t, s, layer);
    t.multiply(s.tokens(), layer.inputs, layer.outputs, dtype);
    out = t.allocate(s.tokens() * layer.outputs, dtype);
  }
  const Tape::InSection section(t, Section::adapters);
  Tensor low;
  {
    const Tensor a = cast(t, layer.lora_a.detached(), dtype);
    t.multiply(s.tokens(), layer.inputs, s.run.lora_rank, dtype);
    low = t.allocate(s.tokens() * s.run.lora_rank, dtype);
  }
  const Tensor b = cast(t, layer.lora_b.detached(), dtype);
  multiply_in_place(t, s.tokens(), s.run.lora_rank, layer.outputs, dtype);
  return out;
}

/// Dropout in front of the adapters of a fused function: what is left of an input is there until the next
/// is, and the masks stay for backward.
class Dropouts {
 public:
  Dropouts(Tape& t, const Setting& s) : t_(t), s_(s) {}
  void draw(const Tensor& x) {
    if (!drops(s_)) return;
    const Tape::InSection section(t_, Section::adapters);
    t_.compute({.bytes = x.elements() * (2 * element_size(x.dtype()) + 1)}, 2);
    Tensor left = t_.allocate(x.elements(), x.dtype());
    masks_.push_back(t_.allocate(x.elements(), DType::boolean));
    left_ = std::move(left);
  }
  void let_go() { left_.reset(); }
  void save(Tape::Recording& op) const {
    for (const Tensor& mask : masks_) op.save(mask);
  }

 private:
  Tape& t_;
  const Setting& s_;
  Tensor left_;
  std::vector<Tensor> masks_;
};

namespace gradient {

using emulate::gradient::leave;

/// What the forward's mask leaves: of an adapter's input, or of its share of the input's gradient.
inline Tensor masked(Tape& t, const Setting& s, std::int64_t elements, DType dtype) {
  return drops(s) ? t.allocate(elements, dtype) : Tensor();
}

/// An adapter's share of its input's gradient, which is added to it: in place, or through a mask.
inline void add_share(Tape& t, const Setting& s, const Linear& layer, DType dtype, Tensor low = {}) {
  const Tape::InSection section(t, Section::adapters);
  if (!drops(s)) return multiply_in_place(t, s.tokens(), s.run.lora_rank, layer.inputs, dtype);
  t.multiply(s.tokens(), s.run.lora_rank, layer.inputs, dtype);
  const Tensor product = t.allocate(s.tokens() * layer.inputs, dtype);
  low.reset();
  const Tensor left = masked(t, s, product.elements(), dtype);
}

/// Gradients of adapters in the format of the input, made before anything is computed.
struct Results : emulate::gradient::AdapterResults {
  void make(Tape& t, const Linear& layer, DType dtype) {
    a = t.allocate(layer.lora_a.elements(), dtype);
    b = t.allocate(layer.lora_b.elements(), dtype);
  }
};

/// The gradient of the low-rank values.
inline Tensor low_rank(Tape& t, const Setting& s, const Linear& layer, DType dtype) {
  const Tape::InSection section(t, Section::adapters);
  t.multiply(s.tokens(), layer.outputs, s.run.lora_rank, dtype);
  return t.allocate(s.tokens() * s.run.lora_rank, dtype);
}
/// Both results of an adapter, in place; the second from the low-rank values, which are computed again.
inline void fill(Tape& t, const Setting& s, const Linear& layer, DType dtype) {
  const Tape::InSection section(t, Section::adapters);
  multiply_in_place(t, layer.inputs, s.tokens(), s.run.lora_rank, dtype);
  t.multiply(s.run.lora_rank, layer.inputs, s.tokens(), dtype);
  const Tensor product = t.allocate(s.run.lora_rank * s.tokens(), dtype);
  multiply_in_place(t, s.run.lora_rank, s.tokens(), layer.outputs, dtype);
}
/// What a layer adds to the input's gradient, which is there.
inline void add_to_input(Tape& t, const Setting& s, const Linear& layer, DType dtype) {
  { const Tensor weight = dequantize_alone(t, s, layer); }
  multiply_in_place(t, s.tokens(), layer.outputs, layer.inputs, dtype);
  add_share(t, s, layer, dtype);
}

/// LoRA_MLP.backward: over the saved input, gate and up.
inline void mlp(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const auto [gate, up, down, none] = fused.layers;
  const DType dtype = n.input_dtype[0];
  const std::int64_t tokens = s.tokens();
  t.use_matmul();
  Results of_gate, of_up, of_down;
  {
    const std::vector<Tensor> copies = copied_adapters(t, fused, dtype);
    Tensor hidden;
    {
      const Tensor weight = drops(s) ? dequantize_alone(t, s, *down) : Tensor();
      if (down->is_quantized && !drops(s)) t.compute(dequantization(down->inputs * down->outputs, s.run.half), 0);
      t.multiply(tokens, down->outputs, down->inputs, dtype);
      hidden = t.allocate(tokens * down->inputs, dtype);
    }
    {
      Tensor low = low_rank(t, s, *down, dtype);
      add_share(t, s, *down, dtype, std::move(low));
    }
    t.touch(6 * tokens * down->inputs * element_size(dtype));  // SwiGLU's gradients
    const Tensor left_of_hidden = masked(t, s, tokens * down->inputs, dtype);
    of_down.make(t, *down, dtype);
    of_gate.make(t, *gate, dtype);
    of_up.make(t, *up, dtype);
    { const Tensor low = low_rank(t, s, *down, dtype); }
    fill(t, s, *down, dtype);
    const Tensor of_up_low = low_rank(t, s, *up, dtype), of_gate_low = low_rank(t, s, *gate, dtype);
    Tensor left;
    for (const Linear* layer : {up, gate}) {
      left = masked(t, s, tokens * layer->inputs, dtype);
      fill(t, s, *layer, dtype);
    }
    left.reset();
    add_to_input(t, s, *up, dtype);
    add_to_input(t, s, *gate, dtype);
    out[0] = t.saved(n, 0);
  }
  leave(t, n);
  of_gate.give(t, *gate);
  of_up.give(t, *up);
  of_down.give(t, *down);
}

/// LoRA_QKV.backward: over the saved input.
inline void qkv(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const DType dtype = n.input_dtype[0];
  t.use_matmul();
  std::array<Results, 3> results;
  {
    const std::vector<Tensor> copies = copied_adapters(t, fused, dtype);
    for (std::size_t i = 0; i < results.size(); ++i) results[i].make(t, *fused.layers[i], dtype);
    std::array<Tensor, 3> lows;
    for (std::size_t i = 0; i < lows.size(); ++i) lows[i] = low_rank(t, s, *fused.layers[i], dtype);
    Tensor left;
    for (std::size_t i = 0; i < lows.size(); ++i) {
      left = masked(t, s, s.tokens() * fused.layers[i]->inputs, dtype);
      fill(t, s, *fused.layers[i], dtype);
    }
    left.reset();
    for (std::size_t i = 0; i < lows.size(); ++i) add_to_input(t, s, *fused.layers[i], dtype);
    out[0] = t.saved(n, 0);
  }
  leave(t, n);
  for (std::size_t i = 0; i < results.size(); ++i) results[i].give(t, *fused.layers[i]);
}

/// LoRA_W.backward: its input's gradient is memory of its own.
inline void output_projection(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const Linear& o = *fused.layers[0];
  const DType dtype = n.input_dtype[0];
  t.use_matmul();
  Results of_o;
  {
    const std::vector<Tensor> copies = copied_adapters(t, fused, dtype);
    of_o.make(t, o, dtype);
    const Tensor low = low_rank(t, s, o, dtype);
    {
      const Tensor left = masked(t, s, s.tokens() * o.inputs, dtype);
      fill(t, s, o, dtype);
    }
    {
      const Tensor weight = dequantize_alone(t, s, o);
      t.multiply(s.tokens(), o.outputs, o.inputs, dtype);
      out[0] = t.allocate(s.tokens() * o.inputs, dtype);
    }
    add_share(t, s, o, dtype);
  }
  leave(t, n);
  of_o.give(t, o);
}

/// Gradients of query and key, turned back into memory of their own.
inline void turned(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], n.input_dtype[0]);
  out[1] = t.allocate(n.input_elements[1], n.input_dtype[1]);
  leave(t, n);
}

}  // namespace gradient

/// apply_lora_mlp_swiglu.
inline Tensor run_mlp(Tape& t, Setting& s, const FusedAdapters& fused, const Tensor& x) {
  const auto [gate, up, down, none] = fused.layers;
  auto op = t.record(gradient::mlp, {&x}, Tape::Required::yes);
  op.context(&fused).collects_gradients();
  Dropouts dropouts(t, s);
  dropouts.draw(x);
  const Tensor gated = matmul_lora(t, s, *gate, x.dtype());
  dropouts.draw(x);
  const Tensor upped = matmul_lora(t, s, *up, x.dtype());
  dropouts.let_go();
  const Tensor hidden = t.allocate(upped.elements(), x.dtype());
  dropouts.draw(hidden);
  Tensor out = matmul_lora(t, s, *down, x.dtype());
  op.save(x).save(gated).save(upped);
  dropouts.save(op);
  save_adapters(op, fused, {});
  return output(t, op.result(std::move(out)));
}

/// apply_lora_qkv.
inline std::array<Tensor, 3> run_qkv(Tape& t, Setting& s, const FusedAdapters& fused, const Tensor& x) {
  auto op = t.record(gradient::qkv, {&x}, Tape::Required::yes);
  op.context(&fused).collects_gradients();
  std::array<Tensor, 3> outs;
  Dropouts dropouts(t, s);
  for (std::size_t i = 0; i < outs.size(); ++i) {
    dropouts.draw(x);
    outs[i] = matmul_lora(t, s, *fused.layers[i], x.dtype());
  }
  op.save(x);
  dropouts.save(op);
  save_adapters(op, fused, {});
  for (Tensor& out : outs) out = op.result(std::move(out));
  for (Tensor& out : outs) out = output(t, std::move(out));
  return outs;
}

/// apply_lora_o.
inline Tensor run_o(Tape& t, Setting& s, const FusedAdapters& fused, const Tensor& x) {
  auto op = t.record(gradient::output_projection, {&x}, Tape::Required::yes);
  op.context(&fused).collects_gradients();
  Dropouts dropouts(t, s);
  dropouts.draw(x);
  Tensor out = matmul_lora(t, s, *fused.layers[0], x.dtype());
  save_adapters(op, fused, {});
  op.save(x);
  dropouts.save(op);
  return output(t, op.result(std::move(out)));
}

/// Query and key turned where they are; with norms of their own, into memory of their own, and what
/// came in is kept.
inline void turn(Tape& t, const Setting& s, const DecoderLayer& layer, Tensor& q, Tensor& k) {
  auto op = t.record(gradient::turned, {&q, &k});
  op.collects_gradients();
  Tensor q_out = q, k_out = k;
  if (layer.q_norm) {
    q_out = t.allocate(q.elements(), q.dtype());
    k_out = t.allocate(k.elements(), k.dtype());
    const Tensor q_roots = t.allocate(s.tokens() * s.model.heads, DType::fp32);
    const Tensor k_roots = t.allocate(s.tokens() * s.model.kv_heads, DType::fp32);
    op.save(q).save(k).save(q_roots).save(k_roots);
  }
  q_out = op.result(std::move(q_out)), k_out = op.result(std::move(k_out));
  q = output(t, std::move(q_out)), k = output(t, std::move(k_out));
}

/// flash-attn where it is installed, else xformers, which takes K and V of all heads where there will be
/// a backward: its flash kernel from Ampere on, its memory-efficient one before.
inline Tensor attend(Tape& t, const Setting& s, const Tensor& q, Tensor k, Tensor v) {
  const Tape::InSection section(t, Section::attention);
  const bool is_flash_attn = s.run.attention == Attention::fa2;
  if (!is_flash_attn && t.mode() != Tape::Mode::silent) {
    const std::int64_t times = s.model.heads / s.model.kv_heads;
    k = repeat_heads(t, k, times);
    v = repeat_heads(t, v, times);
  }
  const AttentionKernel kernel =
      is_flash_attn || s.compute_capability >= 80 ? AttentionKernel::flash : AttentionKernel::efficient;
  return fused_attention(t, s, kernel, q, k, v, {});
}

inline Tensor self_attention(Tape& t, Setting& s, DecoderLayer& layer, const Tensor& x) {
  Tensor q, k, v;
  // Layers with a bias stay PEFT's.
  if (layer.fused_qkv.setting != nullptr && !layer.q.bias) {
    std::array<Tensor, 3> qkv = run_qkv(t, s, layer.fused_qkv, x);
    q = std::move(qkv[0]), k = std::move(qkv[1]), v = std::move(qkv[2]);
  } else {
    q = run_linear(t, s, layer.q, x);
    k = run_linear(t, s, layer.k, x);
    v = run_linear(t, s, layer.v, x);
  }
  turn(t, s, layer, q, k);
  const Tensor out = attend(t, s, q, k, v);
  return layer.fused_o.setting != nullptr ? run_o(t, s, layer.fused_o, out) : run_linear(t, s, layer.o, out);
}

inline Tensor decoder_layer(Tape& t, Setting& s, DecoderLayer& layer, const Tensor& input) {
  Tensor residual = input;
  Tensor x = fast_norm(t, layer.norm[0], residual, s.tokens());
  x = self_attention(t, s, layer, x);
  x = add(t, residual, x);
  residual = x;
  x = fast_norm(t, layer.norm[1], x, s.tokens());
  x = layer.fused_mlp.setting != nullptr ? run_mlp(t, s, layer.fused_mlp, x) : emulate::mlp(t, s, layer, x);
  return add(t, residual, x);
}

}  // namespace qwenplan::emulate::unsloth
