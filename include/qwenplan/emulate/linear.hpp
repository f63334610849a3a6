#pragma once

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// The statistics of a quantized weight (bitsandbytes' QuantState).
struct QuantState {
  Tensor absmax;         ///< fp32 per block of 64; 8 bits with double quantization
  Tensor code;           ///< the 16 values of the 4-bit format
  Tensor second_absmax;  ///< fp32 per 256 statistics, with double quantization
  Tensor second_code;
  Tensor offset;
  bool nested = false;
  DType original = DType::bf16;  ///< format of the weights that were quantized
};

/// A linear layer as the model holds it: dense or quantized, with an adapter or without.
struct Linear {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  Tensor weight;  ///< packed bytes where it is quantized
  Tensor bias;
  bool is_quantized = false;
  QuantState state;
  Tensor lora_a, lora_b;
  Tensor magnitude;  ///< DoRA's size of each output
  bool is_adapter_dropped = true;  ///< the run's dropout holds for its adapter
};

/// Reading half a byte for each weight and its statistics, and writing the weights.
inline Work dequantization(std::int64_t elements, DType dtype) {
  return {.bytes = elements / 2 + elements / 16 + elements * element_size(dtype), .kind = Work::Kind::dequantize, .dtype = dtype};
}

/// In which order in memory the gradient of a layer's output comes: as the output lies, or with the
/// elements of each column together, which the product of a dense layer copies first.
enum class GradientOrder : std::uint8_t { by_rows, by_columns };

namespace gradient {

/// grad @ dequantized weight, which comes in the format that it was quantized from.
inline void through_quantized(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Linear& layer = *static_cast<const Linear*>(n.context);
  const DType original = layer.state.original;
  const std::int64_t elements = layer.inputs * layer.outputs;
  Tensor weight;
  {
    const Tensor absmax =
        layer.state.nested ? t.allocate(layer.state.absmax.elements(), DType::fp32) : Tensor();
    t.compute(dequantization(elements, original));
    weight = t.allocate(elements, original);
  }
  if (original != grad.dtype()) weight = t.allocate(elements, grad.dtype());
  t.use_matmul();
  t.multiply(n.input_elements[0] / layer.inputs, layer.outputs, layer.inputs, grad.dtype());
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}

/// LLM.int8's backward: the weight in the input's format, scaled in place, for one product.
inline void through_8bit(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor weight = t.allocate(n.size[0], n.input_dtype[0]);
  { const Tensor scales = t.allocate(n.size[1], DType::fp32); }
  t.use_matmul();
  const std::int64_t inputs = n.size[0] / n.size[1];
  t.multiply(n.input_elements[0] / inputs, n.size[1], inputs, n.input_dtype[0]);
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}

}  // namespace gradient

/// bitsandbytes' Linear8bitLt with outliers handled apart, where none are found: how many there are
/// is up to the data. Its node holds the input as an attribute, which checkpointing cannot drop.
inline Tensor linear_8bit(Tape& t, Linear& layer, const Tensor& x) {
  if (layer.bias && layer.bias.dtype() != x.dtype()) layer.bias = t.allocate(layer.outputs, x.dtype(), Term::weights);
  auto op = t.record(gradient::through_8bit, {&x});
  op.sizes(layer.inputs * layer.outputs, layer.outputs).hold(x);
  const std::int64_t tokens = x.elements() / layer.inputs;
  Tensor rows, scales;
  {
    const Tensor half = x.dtype() == DType::fp16 ? x : t.allocate(x.elements(), DType::fp16);
    scales = t.allocate(tokens, DType::fp32);
    rows = t.allocate(x.elements(), DType::uint8);
    Tensor outliers;
    {
      const Tensor magnitude = t.allocate(x.elements(), DType::fp16);
      outliers = t.allocate(x.elements(), DType::boolean);
    }
    const Tensor any = t.allocate(1, DType::boolean);
  }
  Tensor product;
  {
    t.multiply(tokens, layer.inputs, layer.outputs, DType::uint8);
    const Tensor whole = t.allocate(tokens * layer.outputs, DType::int32);
    product = t.allocate(tokens * layer.outputs, DType::fp16);
    if (x.dtype() != DType::fp16) product = t.allocate(tokens * layer.outputs, x.dtype());
  }
  return op.result(std::move(product));
}

/// bitsandbytes' Linear4bit: the input goes to the compute type, the weight is dequantized to what it
/// was quantized from for this one product, and the output returns to the input's type.
inline Tensor linear_4bit(Tape& t, Setting& s, Linear& layer, const Tensor& x) {
  const DType compute = s.run.quant_compute.value_or(s.run.half);
  const DType original = layer.state.original;
  Tensor in, bias;
  if (s.behavior.casts_quantized_bias_for_good) {
    in = cast(t, x, compute);
    if (layer.bias && layer.bias.dtype() != compute) layer.bias = t.allocate(layer.outputs, compute, Term::weights);
    bias = layer.bias;
  } else {
    if (layer.bias && layer.bias.dtype() != x.dtype()) layer.bias = t.allocate(layer.outputs, x.dtype(), Term::weights);
    in = cast(t, x, compute);
    if (layer.bias) bias = cast(t, layer.bias, compute);
  }
  const std::int64_t elements = layer.inputs * layer.outputs;
  auto op = t.record(gradient::through_quantized, {&in});
  op.context(&layer);
  if (s.behavior.quantized_linear_holds_input) op.hold(in);
  Tensor product;
  {
    Tensor absmax;
    if (layer.state.nested) {
      absmax = t.allocate(layer.state.absmax.elements(), DType::fp32);
      if (!s.behavior.adds_offset_in_place) absmax = t.allocate(layer.state.absmax.elements(), DType::fp32);
    }
    const DType made = s.behavior.dequantizes_to_input ? compute : original;
    t.compute(dequantization(elements, made));
    Tensor weight = t.allocate(elements, made);
    if (s.behavior.adds_offset_in_place) absmax.reset();
    if (made != compute) weight = t.allocate(elements, compute);
    t.use_matmul();
    const std::int64_t rows = x.elements() / layer.inputs;
    t.multiply(rows, layer.inputs, layer.outputs, compute);
    product = t.allocate(rows * layer.outputs, compute);
  }
  return cast(t, op.result(std::move(product)), x.dtype());
}

namespace gradient {

/// a / b where b is a constant.
inline void divided(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
  t.touch(3 * grad.elements() * element_size(grad.dtype()));
}

}  // namespace gradient

/// The weight that DoRA looks at: a dense one as it is, a 4-bit one dequantized.
inline Tensor plain_weight(Tape& t, const Linear& layer) {
  if (!layer.is_quantized) return layer.weight.detached();
  const std::int64_t elements = layer.inputs * layer.outputs;
  const Tensor absmax =
      layer.state.nested ? t.allocate(layer.state.absmax.elements(), DType::fp32) : Tensor();
  t.compute(dequantization(elements, layer.state.original));
  return t.allocate(elements, layer.state.original);
}

/// PEFT's DoraLinearLayer (tuners/lora/dora.py): the product of both adapters as a whole weight, the
/// sizes of the rows of base and product, and the adapter's output scaled by the learned sizes over
/// these. `base` is the base layer's output; with dropout it is computed again from what is left.
inline Tensor run_dora(Tape& t, Setting& s, Linear& layer, const Tensor& x, Tensor base) {
  const std::int64_t inputs = layer.inputs, outputs = layer.outputs;
  // The product's gradient is never asked for: what its operations keep goes with this call, and a
  // checkpointed forward keeps nothing of it.
  const bool keeps = t.mode() == Tape::Mode::record || t.mode() == Tape::Mode::recompute;
  Tensor kept_in, kept_low;
  Tensor product;
  {
    const Tensor eye = t.allocate(inputs * inputs, layer.lora_a.dtype());
    autocast(t, s, layer.lora_a);
    Tensor in;
    {
      const Tape::WithoutGraph silent(t);
      in = autocast(t, s, eye);
    }
    t.use_matmul();
    t.multiply(inputs, inputs, s.run.lora_rank, in.dtype());
    Tensor low = t.allocate(inputs * s.run.lora_rank, in.dtype());
    if (keeps) kept_in = in;
    in.reset();
    autocast(t, s, layer.lora_b);
    t.multiply(inputs, s.run.lora_rank, outputs, low.dtype());
    product = t.allocate(inputs * outputs, low.dtype());
    if (keeps) kept_low = low;
  }
  Tensor weight, sizes;
  {
    const Tape::WithoutGraph silent(t);
    product = cast(t, product, x.dtype());
    weight = cast(t, plain_weight(t, layer), x.dtype());
    Tensor sum;
    {
      const Tensor scaled = t.allocate(product.elements(), x.dtype());
      sum = t.allocate(product.elements(), x.dtype());
    }
    // Autocast has norms in fp32, and PEFT casts them back.
    sizes = t.allocate(outputs, s.run.autocasts ? DType::fp32 : x.dtype());
    sizes = cast(t, sizes, x.dtype());
    t.touch(7 * product.elements() * element_size(x.dtype()), 3);
  }
  Tensor ratio;
  {
    auto op = t.record(gradient::divided, {&layer.magnitude});
    op.save(sizes);
    ratio = op.result(t.allocate(outputs, promoted(layer.magnitude.dtype(), sizes.dtype())));
  }
  Tensor low = linear(t, s, x, layer.lora_a, {}, s.run.lora_rank);
  const Tensor up = linear(t, s, low, layer.lora_b, {}, outputs);
  low.reset();
  if (base) {
    if (layer.bias) base = add(t, base, layer.bias);
  } else {
    base = linear(t, s, x, weight, {}, outputs);
  }
  Tensor turned;
  {
    const Tensor rest = add_scalar(t, ratio);
    turned = mul(t, rest, base);
  }
  Tensor delta = mul(t, ratio, up);
  delta = scale(t, delta);
  return add(t, turned, delta);
}

/// The layer and its adapter (PEFT's lora.Linear and lora.Linear4bit).
inline Tensor run_linear(Tape& t, Setting& s, Linear& layer, const Tensor& x,
                         GradientOrder order = GradientOrder::by_rows) {
  const bool is_8bit = layer.is_quantized && s.run.quantization == Quantization::int8;
  const auto in_order = [&](Tensor product) {
    return order == GradientOrder::by_columns ? reordered_view(t, product) : product;
  };
  Tensor result = is_8bit              ? in_order(linear_8bit(t, layer, x))
                  : layer.is_quantized ? linear_4bit(t, s, layer, x)
                                       : in_order(linear(t, s, x, layer.weight, layer.bias, layer.outputs));
  if (!layer.lora_a || s.leaves_adapters_out) return result;
  const Tape::InSection section(t, Section::adapters);
  const DType result_dtype = result.dtype();
  if (layer.is_quantized && !is_8bit) result = clone(t, result);
  // A quantized layer leaves the cast of its input to autocast; a dense one always casts.
  const bool casts = !layer.is_quantized || !s.run.autocasts;
  const Tensor in = casts ? cast(t, x, layer.lora_a.dtype()) : x;
  if (layer.magnitude) {
    const bool drops = s.run.lora_dropout > 0;
    {
      const Tensor dropped = drops ? dropout(t, in) : in;
      const Tensor delta = run_dora(t, s, layer, dropped, drops ? Tensor() : result);
      result = add(t, result, delta);
    }
    return layer.is_quantized && s.run.autocasts ? result : cast(t, result, result_dtype);
  }
  Tensor low;
  if (s.run.lora_dropout > 0 && layer.is_adapter_dropped) {
    const Tensor dropped = dropout(t, in);
    low = linear(t, s, dropped, layer.lora_a, {}, s.run.lora_rank);
  } else {
    low = linear(t, s, in, layer.lora_a, {}, s.run.lora_rank);
  }
  Tensor up = in_order(linear(t, s, low, layer.lora_b, {}, layer.outputs));
  low.reset();
  Tensor delta = scale(t, up);
  up.reset();
  if (layer.is_quantized && !s.run.autocasts) delta = cast(t, delta, result_dtype);
  result = add(t, result, delta);
  delta.reset();
  return cast(t, result, result_dtype);
}

}  // namespace qwenplan::emulate
