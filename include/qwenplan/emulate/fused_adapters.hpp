#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/linear.hpp"

/// axolotl's fused functions (kernels/lora.py): several linear layers with their adapters are one
/// node, which saves its input and little else, and computes in place where it can.
namespace qwenplan::emulate {

/// A 4-bit weight in the compute type; nothing where the weight is dense and can be used as it is.
inline Tensor dequantized(Tape& t, const Setting& s, const Linear& layer) {
  if (!layer.is_quantized) return {};
  t.compute(dequantization(layer.inputs * layer.outputs, s.run.half), layer.state.nested ? 2 : 1);
  Tensor weight = t.allocate(layer.inputs * layer.outputs, s.run.half);
  if (layer.state.nested) { const Tensor absmax = t.allocate(layer.state.absmax.elements(), DType::fp32); }
  return weight;
}

/// A product that is added to a tensor that is there: addmm_.
inline void multiply_in_place(Tape& t, std::int64_t rows, std::int64_t inner, std::int64_t columns, DType dtype) {
  t.multiply(rows, inner, columns, dtype);
  t.compute({.launches = 0}, 0);
}

/// matmul_lora: the product, and the adapter's added to it in place. `dtype` is the input's.
inline Tensor matmul_with_adapter(Tape& t, const Setting& s, const Linear& layer, std::int64_t outputs, DType dtype) {
  t.use_matmul();
  Tensor out;
  {
    const Tensor weight = dequantized(t, s, layer);
    t.multiply(s.tokens(), layer.inputs, outputs, dtype);
    out = t.allocate(s.tokens() * outputs, dtype);
  }
  if (!layer.lora_a) return out;
  const Tape::InSection section(t, Section::adapters);
  const Tensor a = cast(t, layer.lora_a.detached(), dtype);
  const Tensor b = cast(t, layer.lora_b.detached(), dtype);
  t.multiply(s.tokens(), layer.inputs, s.run.lora_rank, dtype);
  const Tensor low = t.allocate(s.tokens() * s.run.lora_rank, dtype);
  multiply_in_place(t, s.tokens(), s.run.lora_rank, outputs, dtype);
  return out;
}

namespace gradient {

/// Gradients of an adapter's two matrices.
struct AdapterResults {
  Tensor a, b;

  /// They are cast to the parameters' format when the function has returned.
  void give(Tape& t, const Linear& layer) {
    a = cast(t, a, layer.lora_a.dtype());
    t.give_gradient(layer.lora_a, std::move(a));
    b = cast(t, b, layer.lora_b.dtype());
    t.give_gradient(layer.lora_b, std::move(b));
  }
};

/// The same with that of the low-rank values, which is used again.
struct AdapterGradients : AdapterResults {
  Tensor low;

  AdapterGradients(Tape& t, const Setting& s, const Linear& layer, DType dtype) {
    const Tape::InSection section(t, Section::adapters);
    const std::int64_t tokens = s.tokens(), rank = s.run.lora_rank;
    t.multiply(tokens, layer.outputs, rank, dtype);
    low = t.allocate(tokens * rank, dtype);
    t.multiply(layer.inputs, tokens, rank, dtype);
    a = t.allocate(layer.lora_a.elements(), dtype);
    t.multiply(rank, tokens, layer.outputs, dtype);
    b = t.allocate(layer.lora_b.elements(), dtype);
    t.multiply(rank, layer.inputs, tokens, dtype);
    const Tensor product = t.allocate(tokens * rank, dtype);
    multiply_in_place(t, tokens, rank, layer.inputs, dtype);  // to the input's gradient
  }
};

}  // namespace gradient

/// What a fused function's backward looks at.
struct FusedAdapters {
  const Setting* setting = nullptr;
  using Layers = std::array<const Linear*, 4>;
  Layers layers{};  ///< gate, up and down; q, k and v; linear attention's qkv, z, b and a; or one alone
};

namespace gradient {

/// The function has returned: its gradients, and what it unpacked, are gone before the results are
/// cast.
inline void leave(Tape& t, const Node& n) {
  t.forget_collected();
  t.release_unpacked(n);
}

/// LoRA_MLP.backward. inputs: x, and x after dropout where there is one.
inline void fused_mlp(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const auto [gate, up, down, none] = fused.layers;
  const DType dtype = n.input_dtype[0];
  const std::int64_t tokens = s.tokens();
  {
    // Swiglu's backward writes into the gradient, gate and up.
    t.use_matmul();
    Tensor hidden;
    {
      const Tensor weight = dequantized(t, s, *down);
      t.multiply(tokens, down->outputs, down->inputs, dtype);
      hidden = t.allocate(tokens * down->inputs, dtype);
    }
    t.multiply(tokens, down->outputs, s.run.lora_rank, dtype);
    { const Tensor low = t.allocate(tokens * s.run.lora_rank, dtype); }
    AdapterGradients of_down(t, s, *down, dtype), of_up(t, s, *up, dtype), of_gate(t, s, *gate, dtype);
    if (n.input[0] != Tensor::kNone) {
      {
        const Tensor weight = dequantized(t, s, *up);
        t.multiply(tokens, up->outputs, up->inputs, dtype);
        out[0] = t.allocate(tokens * up->inputs, dtype);
      }
      { const Tensor weight = dequantized(t, s, *gate); }
      multiply_in_place(t, tokens, gate->outputs, gate->inputs, dtype);
      if (n.size[0] != 0) out[1] = t.allocate(tokens * up->inputs, dtype);
    }
    hidden.reset();
    of_down.low.reset(), of_up.low.reset(), of_gate.low.reset();
    leave(t, n);
    of_gate.give(t, *gate);
    of_up.give(t, *up);
    of_down.give(t, *down);
  }
}

/// LoRA_QKV.backward.
inline void fused_qkv(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const auto [q, k, v, none] = fused.layers;
  const DType dtype = n.input_dtype[0];
  t.use_matmul();
  AdapterGradients of_q(t, s, *q, dtype), of_k(t, s, *k, dtype), of_v(t, s, *v, dtype);
  {
    const Tensor weight = dequantized(t, s, *q);
    t.multiply(s.tokens(), q->outputs, q->inputs, dtype);
    out[0] = t.allocate(s.tokens() * q->inputs, dtype);
  }
  { const Tensor weight = dequantized(t, s, *k); }
  multiply_in_place(t, s.tokens(), k->outputs, k->inputs, dtype);
  { const Tensor weight = dequantized(t, s, *v); }
  multiply_in_place(t, s.tokens(), v->outputs, v->inputs, dtype);
  if (n.size[0] != 0) out[1] = t.allocate(s.tokens() * q->inputs, dtype);
  of_q.low.reset(), of_k.low.reset(), of_v.low.reset();
  leave(t, n);
  of_q.give(t, *q);
  of_k.give(t, *k);
  of_v.give(t, *v);
}

/// LoRA_O.backward.
inline void fused_o(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const Linear& o = *fused.layers[0];
  t.use_matmul();
  AdapterGradients of_o(t, s, o, n.input_dtype[0]);
  {
    const Tensor weight = dequantized(t, s, o);
    t.multiply(s.tokens(), o.outputs, o.inputs, n.input_dtype[0]);
    out[0] = t.allocate(s.tokens() * o.inputs, n.input_dtype[0]);
  }
  if (n.size[0] != 0) {
    const Tensor product = t.allocate(s.tokens() * o.inputs, n.input_dtype[0]);
    out[1] = t.allocate(s.tokens() * o.inputs, n.input_dtype[0]);
  }
  of_o.low.reset();
  leave(t, n);
  of_o.give(t, o);
}

/// LoRA_FusedProj.backward: of layers that share an input, each with an adapter or without.
inline void fused_projections(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const auto& fused = *static_cast<const FusedAdapters*>(n.context);
  const Setting& s = *fused.setting;
  const DType dtype = n.input_dtype[0];
  const bool drops = n.size[0] != 0;
  if (drops) out[1] = t.allocate(n.input_elements[0], dtype);
  std::array<AdapterResults, FusedAdapters::Layers().size()> results;
  {
    Tensor low;  // of the layer before until it is the next one's turn
    t.use_matmul();
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Linear& layer = *fused.layers[i];
      low.reset();
      if (layer.lora_a) {
        AdapterGradients of(t, s, layer, dtype);
        low = std::move(of.low);
        results[i] = {std::move(of.a), std::move(of.b)};
      }
      const Tensor weight = dequantized(t, s, layer);
      t.multiply(s.tokens(), layer.outputs, layer.inputs, dtype);
      if (i == 0) out[0] = t.allocate(n.input_elements[0], dtype);
      else t.compute({.launches = 0}, 0);
    }
  }
  leave(t, n);
  for (std::size_t i = 0; i < results.size(); ++i)
    if (results[i].a) results[i].give(t, *fused.layers[i]);
}

}  // namespace gradient

/// Copies of an adapter's matrices in the format of the input, which the node keeps.
inline void copy_adapter(Tape& t, const Linear& layer, DType dtype, std::vector<Tensor>& copies) {
  if (!layer.lora_a) return;
  copies.push_back(cast(t, layer.lora_a.detached(), dtype));
  copies.push_back(cast(t, layer.lora_b.detached(), dtype));
}

/// Those of all layers, made together.
inline std::vector<Tensor> copied_adapters(Tape& t, const FusedAdapters& fused, DType dtype) {
  std::vector<Tensor> copies;
  for (const Linear* layer : fused.layers)
    if (layer != nullptr) copy_adapter(t, *layer, dtype, copies);
  return copies;
}

inline void save_adapters(Tape::Recording& op, const FusedAdapters& fused, const std::vector<Tensor>& copies) {
  for (const Tensor& copy : copies) op.save(copy);
  for (const Linear* layer : fused.layers)
    if (layer != nullptr && layer->lora_a) op.reaches(layer->lora_a).reaches(layer->lora_b);
}

inline Tensor dropped(Tape& t, const Setting& s, const Tensor& x) {
  return s.run.lora_dropout > 0 ? dropout(t, x) : Tensor();
}

/// One of the outputs of a node that collects its gradients: it adds those of its own uses first.
inline Tensor output(Tape& t, Tensor made) {
  auto pass = t.record(gradient::passed, {&made});
  return pass.result(std::move(made));
}

inline bool has_adapters(const FusedAdapters& fused) {
  for (const Linear* layer : fused.layers)
    if (layer != nullptr && !layer->lora_a) return false;
  return true;
}

/// apply_lora_mlp_swiglu, and Gemma's with another activation.
inline Tensor run_fused_mlp(Tape& t, const Setting& s, const FusedAdapters& fused, const Tensor& x) {
  const auto [gate, up, down, none] = fused.layers;
  const Tensor x_dropped = dropped(t, s, x);
  const DType dtype = x.dtype();
  auto op = t.record(gradient::fused_mlp, {&x, &x_dropped}, Tape::Required::yes);
  op.sizes(x_dropped ? 1 : 0).context(&fused).collects_gradients();
  const Tensor gated = matmul_with_adapter(t, s, *gate, gate->outputs, dtype);
  const Tensor upped = matmul_with_adapter(t, s, *up, up->outputs, dtype);
  const Tensor hidden = t.allocate(upped.elements(), dtype);
  Tensor out = matmul_with_adapter(t, s, *down, down->outputs, dtype);
  const std::vector<Tensor> copies = copied_adapters(t, fused, dtype);
  op.save(x).save(x_dropped ? x_dropped : x).save(gated).save(upped);
  save_adapters(op, fused, copies);
  return output(t, op.result(std::move(out)));
}

/// Several results of one node, which `project` computes; it gives the copies of the adapters' weights.
template <std::size_t Results, class Project>
std::array<Tensor, Results> run_as_one(Tape& t, const Setting& s, const FusedAdapters& fused, const Tensor& x,
                                       Node::Backward backward, Project&& project) {
  const Tensor x_dropped = dropped(t, s, x);
  auto op = t.record(backward, {&x, &x_dropped}, Tape::Required::yes);
  op.sizes(x_dropped ? 1 : 0).context(&fused).collects_gradients();
  std::array<Tensor, Results> outs;
  const std::vector<Tensor> copies = project(outs);
  op.save(x).save(x_dropped ? x_dropped : x);
  save_adapters(op, fused, copies);
  for (Tensor& out : outs) out = op.result(std::move(out));
  for (Tensor& out : outs) out = output(t, std::move(out));
  return outs;
}

/// apply_lora_qkv.
inline std::array<Tensor, 3> run_fused_qkv(Tape& t, const Setting& s, const FusedAdapters& fused, const Tensor& x) {
  const DType dtype = x.dtype();
  return run_as_one<3>(t, s, fused, x, gradient::fused_qkv, [&](std::array<Tensor, 3>& outs) {
    for (std::size_t i = 0; i < outs.size(); ++i)
      outs[i] = matmul_with_adapter(t, s, *fused.layers[i], fused.layers[i]->outputs, dtype);
    return copied_adapters(t, fused, dtype);
  });
}

/// apply_lora_gdn_in_proj: what linear attention projects its input to.
inline std::array<Tensor, 4> run_fused_projections(Tape& t, const Setting& s, const FusedAdapters& fused, const Tensor& x) {
  const DType dtype = x.dtype();
  return run_as_one<4>(t, s, fused, x, gradient::fused_projections, [&](std::array<Tensor, 4>& outs) {
    std::vector<Tensor> copies;
    for (std::size_t i = 0; i < outs.size(); ++i) {
      const Linear& layer = *fused.layers[i];
      outs[i] = matmul_with_adapter(t, s, layer, layer.outputs, dtype);
      copy_adapter(t, layer, dtype, copies);
    }
    return copies;
  });
}

/// apply_lora_o.
inline Tensor run_fused_o(Tape& t, const Setting& s, const FusedAdapters& fused, const Tensor& x) {
  const Linear& o = *fused.layers[0];
  const Tensor x_dropped = dropped(t, s, x);
  const DType dtype = x.dtype();
  auto op = t.record(gradient::fused_o, {&x, &x_dropped}, Tape::Required::yes);
  op.sizes(x_dropped ? 1 : 0).context(&fused).collects_gradients();
  Tensor out = matmul_with_adapter(t, s, o, o.outputs, dtype);
  save_adapters(op, fused, copied_adapters(t, fused, dtype));
  op.save(x).save(x_dropped ? x_dropped : x);
  return output(t, op.result(std::move(out)));
}

}  // namespace qwenplan::emulate
