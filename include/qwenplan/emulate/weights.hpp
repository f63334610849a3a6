#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "qwenplan/emulate/decoder.hpp"
#include "qwenplan/emulate/vision.hpp"

namespace qwenplan::emulate {

/// Everything of the model that stays on the device.
struct Weights {
  VisionWeights vision;
  Tensor embedding;
  Tensor embedding_a, embedding_b;           ///< its adapter: [rank, vocabulary] and [hidden, rank]
  std::vector<DecoderLayer> layers;
  Tensor final_norm, final_norm_bias;
  Linear head;
  Linear score;                              ///< a reward model's number for each token
  std::vector<Tensor> frequencies;           ///< of the rotary embeddings
  Tensor normalizer;                         ///< Gemma scales its embeddings by a buffer
  std::vector<Tensor> originals;             ///< of modules that are trained as copies
  Tensor quantization_map;                   ///< bitsandbytes' dynamic map, once a process
};

namespace detail {

inline Tensor weight(Tape& t, const Setting& s, std::int64_t elements, std::int64_t columns = 0,
                     std::int64_t matrices = 1) {
  Tensor tensor = t.allocate(elements, s.run.weights, Term::weights);
  return s.run.method == Method::full ? t.parameter(std::move(tensor), columns, matrices) : tensor;
}

inline Linear dense(Tape& t, const Setting& s, std::int64_t inputs, std::int64_t outputs, bool has_bias) {
  Linear linear;
  linear.inputs = inputs;
  linear.outputs = outputs;
  linear.weight = weight(t, s, inputs * outputs, inputs);
  if (has_bias) linear.bias = weight(t, s, outputs);
  return linear;
}

/// bitsandbytes' 4-bit format: blocks of 64 weights, a statistic for each. Double quantization
/// stores the statistics in 8 bits, blocks of 256 of them with a statistic of their own.
inline void quantize_4bit(Tape& t, const Setting& s, Linear& linear, const Tensor& shared_code) {
  constexpr std::int64_t kBlock = 64, kSecondBlock = 256;
  const std::int64_t elements = linear.inputs * linear.outputs;
  const std::int64_t blocks = (elements + kBlock - 1) / kBlock;
  QuantState& state = linear.state;
  state.original = linear.weight.dtype();
  Tensor packed = t.allocate((elements + 1) / 2, DType::uint8, Term::weights);
  state.absmax = t.allocate(blocks, DType::fp32, Term::quantization);
  state.code = t.allocate(16, DType::fp32, Term::quantization);
  if (s.run.double_quantizes) {
    state.nested = true;
    state.offset = t.allocate(1, DType::fp32, Term::quantization);
    const Tensor centred = t.allocate(blocks, DType::fp32, Term::quantization);
    Tensor narrow = t.allocate(blocks, DType::uint8, Term::quantization);
    state.second_absmax = t.allocate((blocks + kSecondBlock - 1) / kSecondBlock, DType::fp32, Term::quantization);
    state.second_code = s.behavior.copies_second_code ? t.allocate(256, DType::fp32, Term::quantization) : shared_code;
    state.absmax = std::move(narrow);
  }
  linear.weight = std::move(packed);
  linear.is_quantized = true;
}

/// LLM.int8: a byte for each weight and a scale for each output.
inline void quantize_8bit(Tape& t, Linear& linear) {
  Tensor rows = t.allocate(linear.inputs * linear.outputs, DType::uint8, Term::weights);
  linear.state.absmax = t.allocate(linear.outputs, DType::fp32, Term::quantization);
  linear.weight = std::move(rows);
  linear.is_quantized = true;
}

/// The vision tower's part of that which follows.
inline std::int64_t tower_bytes_before_loading(const Setting& s) {
  const VisionTower& v = *s.model.vision;
  const std::int64_t half_bytes = s.run.quantization == Quantization::int8 ? 2 : 1;
  const std::int64_t wide = element_size(s.run.tower_weights);
  const std::int64_t linear = v.layers * v.hidden * (4 * v.hidden + 2 * v.ffn) + v.merged() * (v.merged() + s.model.hidden);
  const std::int64_t vectors = v.layers * (9 * v.hidden + v.ffn) + 2 * v.hidden + v.merged() + s.model.hidden;
  const std::int64_t patches = v.hidden * (v.patch_size() + 1 + v.positions);
  return (vectors + patches) * wide + (s.run.quantizes_tower ? linear * half_bytes / 2 : linear * wide);
}

/// The size that transformers reckons a quantized model with before it loads it: tied weights once,
/// half a byte or one for each weight of a quantized layer.
inline std::int64_t bytes_before_loading(const Setting& s) {
  const Model& m = s.model;
  const std::int64_t half_bytes = s.run.quantization == Quantization::int8 ? 2 : 1;
  const std::int64_t wide = element_size(s.run.weights);
  std::int64_t bytes = m.vocabulary * m.hidden * wide * (m.ties_embeddings ? 1 : 2) + m.norm_size() * wide;
  for (std::int64_t i = 0; i < m.layers; ++i) {
    std::int64_t linear = m.hidden * (m.query_outputs() + 2 * m.kv_size()) + m.query_size() * m.hidden;
    if (m.is_linear(i)) {
      const LinearAttention& a = *m.linear_attention;
      linear = m.hidden * (a.channels() + 2 * a.value_size() + 2 * a.value_heads);
      bytes += (a.channels() * a.kernel + 2 * a.value_heads + a.value_head_dim) * wide;
    }
    linear += (m.has_gate() ? 3 : 2) * m.hidden * m.common_ffn(i);
    if (m.layer_is_sparse(i)) {
      bytes += (3 * m.experts->ffn + 1) * m.experts->count * m.hidden * wide;
      if (m.experts->shared_ffn > 0) linear += m.hidden;
    }
    bytes += linear * half_bytes / 2 + m.norms_per_layer() * m.norm_size() * wide;
    if (m.has_qkv_bias) bytes += (m.query_size() + 2 * m.kv_size()) * wide;
  }
  if (s.run.has_tower) bytes += tower_bytes_before_loading(s);
  return bytes;
}

/// A linear layer as the run stores it: quantized one at a time, after it was on the device in half
/// precision for a moment.
inline Linear project(Tape& t, const Setting& s, const Tensor& map, std::int64_t inputs, std::int64_t outputs,
                      bool has_bias) {
  Linear linear = dense(t, s, inputs, outputs, has_bias);
  if (s.run.quantization == Quantization::int8) quantize_8bit(t, linear);
  else if (s.run.is_quantized()) quantize_4bit(t, s, linear, map);
  return linear;
}

/// The tower in the order of its modules; whether it is trained and quantized is the run's.
inline VisionWeights load_tower(Tape& t, const Setting& s, const Tensor& map) {
  const VisionTower& tower = *s.model.vision;
  Run run = s.run;
  run.weights = run.tower_weights;
  if (!run.trains_tower) run.method = Method::lora;
  if (!run.quantizes_tower) run.quantization = Quantization::none;
  const Setting own{s.model, run, s.behavior, s.compute_capability, {}};
  const std::int64_t hidden = tower.hidden;
  VisionWeights w;
  const auto linear = [&](std::int64_t inputs, std::int64_t outputs) { return project(t, own, map, inputs, outputs, true); };
  w.patches = dense(t, own, tower.patch_size(), hidden, true);
  w.positions = weight(t, own, tower.positions * hidden, hidden);
  w.blocks.resize(static_cast<std::size_t>(tower.layers));
  for (VisionBlock& block : w.blocks) {
    for (int i = 0; i < 2; ++i) {
      block.norm[i] = weight(t, own, hidden);
      block.norm_bias[i] = weight(t, own, hidden);
    }
    block.qkv = linear(hidden, 3 * hidden);
    block.proj = linear(hidden, hidden);
    block.up = linear(hidden, tower.ffn);
    block.down = linear(tower.ffn, hidden);
  }
  w.norm = weight(t, own, hidden);
  w.norm_bias = weight(t, own, hidden);
  w.merge_up = linear(tower.merged(), tower.merged());
  w.merge_down = linear(tower.merged(), s.model.hidden);
  return w;
}

template <class Project>
void load_attention(Tape& t, const Setting& s, DecoderLayer& layer, const Project& project) {
  const Model& m = s.model;
  if (!m.fuses_projections()) {
    layer.q = project(m.hidden, m.query_outputs(), m.has_qkv_bias);
    layer.k = project(m.hidden, m.kv_size(), m.has_qkv_bias);
    layer.v = project(m.hidden, m.kv_size(), m.has_qkv_bias);
  }
  layer.o = project(m.query_size(), m.hidden, m.has_o_bias);
  if (m.fuses_projections()) layer.qkv = project(m.hidden, m.query_size() + 2 * m.kv_size(), false);
  if (m.has_qk_norm) {
    layer.q_norm = weight(t, s, m.query_norm_size());
    layer.k_norm = weight(t, s, m.key_norm_size());
  }
}

template <class Project>
void load_delta_net(Tape& t, const Setting& s, DeltaNet& net, const Project& project) {
  const LinearAttention& a = *s.model.linear_attention;
  const std::int64_t hidden = s.model.hidden;
  Run run = s.run;
  if (run.keeps_decay_wide) run.weights = DType::fp32;
  const Setting wide{s.model, run, s.behavior, s.compute_capability, {}};
  net.step_bias = weight(t, s, a.value_heads);
  net.decay = weight(t, wide, a.value_heads);
  net.convolution = weight(t, s, a.channels() * a.kernel, a.kernel, a.channels());
  net.norm = weight(t, wide, a.value_head_dim);
  net.out = project(a.value_size(), hidden, false);
  net.qkv = project(hidden, a.channels(), false);
  net.z = project(hidden, a.value_size(), false);
  for (Linear* small : {&net.b, &net.a})
    *small = s.run.quantizes_tower ? project(hidden, a.value_heads, false) : dense(t, s, hidden, a.value_heads, false);
}

}  // namespace detail

/// The weights as the checkpoint and the run's formats make them, in the order of the modules.
inline Weights load_weights(Tape& t, Setting& s) {
  const Model& m = s.model;
  Weights w;
  // A quantized model is always loaded with a device map.
  if (s.run.is_quantized() && s.behavior.warms_up_allocator)
    t.allocate(detail::bytes_before_loading(s), DType::uint8, Term::temporary);
  if (s.run.is_quantized() && s.run.double_quantizes)
    w.quantization_map = t.allocate(256, DType::fp32, Term::quantization);
  if (s.run.has_tower) w.vision = detail::load_tower(t, s, w.quantization_map);
  w.embedding = detail::weight(t, s, m.vocabulary * m.hidden, m.hidden);
  if (m.is_gemma()) w.normalizer = t.allocate(1, s.run.weights, Term::buffers);
  const auto project = [&](std::int64_t inputs, std::int64_t outputs, bool has_bias) {
    return detail::project(t, s, w.quantization_map, inputs, outputs, has_bias);
  };
  w.layers.resize(static_cast<std::size_t>(m.layers));
  for (std::int64_t i = 0; i < m.layers; ++i) {
    DecoderLayer& layer = w.layers[static_cast<std::size_t>(i)];
    layer.turns = m.turns(i);
    if (m.is_linear(i)) detail::load_delta_net(t, s, layer.delta, project);
    else detail::load_attention(t, s, layer, project);
    if (m.layer_is_sparse(i)) {
      const Experts& e = *m.experts;
      const bool has_router_first = m.architecture != Architecture::qwen3_moe;
      if (has_router_first) layer.experts.router = detail::weight(t, s, e.count * m.hidden, m.hidden);
      layer.experts.gate_up = detail::weight(t, s, e.count * 2 * e.ffn * m.hidden, m.hidden, e.count);
      layer.experts.down = detail::weight(t, s, e.count * m.hidden * e.ffn, e.ffn, e.count);
      if (!has_router_first) layer.experts.router = detail::weight(t, s, e.count * m.hidden, m.hidden);
    }
    if (const std::int64_t ffn = m.common_ffn(i); ffn > 0) {
      if (m.fuses_projections()) {
        layer.gate_up = project(m.hidden, 2 * ffn, false);
      } else {
        if (m.has_gate()) layer.gate = project(m.hidden, ffn, m.has_mlp_bias);
        layer.up = project(m.hidden, ffn, m.has_mlp_bias);
      }
      layer.down = project(ffn, m.hidden, m.has_mlp_bias);
      if (m.layer_is_sparse(i)) layer.shared_gate = project(m.hidden, 1, false);
    }
    for (std::int64_t n = 0; n < m.norms_per_layer(); ++n) {
      layer.norm[n] = detail::weight(t, s, m.hidden);
      if (m.has_layer_norms()) layer.norm_bias[n] = detail::weight(t, s, m.hidden);
    }
  }
  w.final_norm = detail::weight(t, s, m.hidden);
  if (m.has_layer_norms()) w.final_norm_bias = detail::weight(t, s, m.hidden);
  if (s.behavior.caches_rotary_tables) {
    for (DecoderLayer& layer : w.layers) {
      layer.frequencies = t.allocate(m.head_dim / 2, DType::fp32, Term::buffers);
      layer.cos = t.allocate(m.max_positions * m.head_dim, s.run.weights, Term::buffers);
      layer.sin = t.allocate(m.max_positions * m.head_dim, s.run.weights, Term::buffers);
    }
  }
  // Gemma 3 and OLMo 3 have frequencies for layers with a window and for those without.
  const int embeddings = m.turns_by_window() ? 2 : 1;
  const int copies = (s.behavior.caches_rotary_tables ? 0 : 1) + (s.behavior.keeps_original_frequencies ? 1 : 0);
  for (int i = 0; i < embeddings * copies; ++i)
    w.frequencies.push_back(t.allocate(m.rotary_size() / 2, DType::fp32, Term::buffers));
  // The tower's had no second copy as long as its positions were read from a table.
  for (int i = 0; w.vision && i < (s.behavior.turns_by_products ? 1 : copies); ++i)
    w.frequencies.push_back(t.allocate(m.vision->hidden / m.vision->heads / 4, DType::fp32, Term::buffers));
  w.head.inputs = m.hidden;
  w.head.outputs = m.vocabulary;
  if (s.run.has_language_head())
    w.head.weight = m.ties_embeddings ? w.embedding : detail::weight(t, s, m.vocabulary * m.hidden, m.hidden);
  else
    w.score = detail::dense(t, s, m.hidden, 1, false);
  return w;
}

/// What stands between loading and the first step: the upcasts of prepare_model_for_kbit_training,
/// the adapters, and full copies of the modules that are to be saved.
inline void prepare_weights(Tape& t, Setting& s, Weights& w) {
  const Run& run = s.run;
  const Model& m = s.model;
  const bool head_is_tied = m.ties_embeddings && run.has_language_head();
  if (run.upcasts_for_kbit) {
    const auto upcast = [&t](Tensor& tensor) {
      if (tensor && is_half(tensor.dtype())) tensor = t.allocate(tensor.elements(), DType::fp32, Term::weights);
    };
    if (head_is_tied) w.head.weight.reset();
    upcast(w.embedding);
    for (DecoderLayer& layer : w.layers) {
      for (Linear* linear : layer.linears())
        if (run.is_quantized()) upcast(linear->bias);
      for (Tensor* vector : layer.vectors()) upcast(*vector);
      if (run.is_quantized()) {  // prepare_model_for_kbit_training takes whatever is in 16 bits
        upcast(layer.experts.gate_up);
        upcast(layer.experts.down);
        upcast(layer.experts.router);
      }
      for (Tensor& norm : layer.norm) upcast(norm);
      for (Tensor& bias : layer.norm_bias) upcast(bias);
    }
    upcast(w.final_norm);
    upcast(w.final_norm_bias);
    upcast(w.score.weight);
    w.vision.for_norms(upcast);
    if (run.is_quantized()) {
      for (Tensor* tensor : {&w.vision.patches.weight, &w.vision.patches.bias, &w.vision.positions}) upcast(*tensor);
      w.vision.for_linears([&](Linear& linear) { upcast(linear.weight), upcast(linear.bias); });
    }
    if (head_is_tied) w.head.weight = w.embedding;
    else upcast(w.head.weight);
  }
  if (run.upcasts_for_kbit && run.is_quantized() && s.behavior.empties_cache_after_upcast) t.empty_cache();
  // What a trainer keeps in another format than the rest.
  const auto recast = [&t](Tensor& tensor, const std::optional<DType>& format) {
    if (format && tensor && tensor.dtype() != *format) tensor = t.recast(std::move(tensor), *format);
  };
  if (head_is_tied) w.head.weight.reset();
  recast(w.embedding, run.embedding_weights);
  if (head_is_tied) w.head.weight = w.embedding;
  else recast(w.head.weight, run.embedding_weights);
  for (DecoderLayer& layer : w.layers) {
    for (Tensor* each : {&layer.q_norm, &layer.k_norm, &layer.delta.norm}) recast(*each, run.norm_weights);
    for (Tensor& norm : layer.norm) recast(norm, run.norm_weights);
    for (Tensor& bias : layer.norm_bias) recast(bias, run.norm_weights);
    recast(layer.experts.router, run.router_weights);
  }
  recast(w.final_norm, run.norm_weights);
  recast(w.final_norm_bias, run.norm_weights);
  w.vision.for_norms([&](Tensor& norm) { recast(norm, run.norm_weights); });
  if (run.method == Method::freeze) {
    const auto train = [&](Tensor& tensor, std::int64_t columns, std::int64_t matrices = 1) {
      if (!tensor) return;
      if (tensor.dtype() != run.trained_weights)
        tensor = t.allocate(tensor.elements(), run.trained_weights, Term::weights);
      tensor = t.parameter(std::move(tensor), columns, matrices);
    };
    for (std::int64_t i = 0; i < m.layers; ++i) {
      if (!run.unfreezes(i)) continue;
      DecoderLayer& layer = w.layers[static_cast<std::size_t>(i)];
      const auto train_linear = [&](Linear& linear) {
        train(linear.weight, linear.inputs);
        train(linear.bias, 0);
      };
      for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.qkv}) train_linear(*linear);
      train(layer.q_norm, 0);
      train(layer.k_norm, 0);
      DeltaNet& delta = layer.delta;
      train(delta.step_bias, 0);
      train(delta.decay, 0);
      if (delta) train(delta.convolution, m.linear_attention->kernel, m.linear_attention->channels());
      train(delta.norm, 0);
      for (Linear* linear : {&delta.out, &delta.qkv, &delta.z, &delta.b, &delta.a}) train_linear(*linear);
      train(layer.experts.gate_up, m.hidden, m.experts ? m.experts->count : 1);
      train(layer.experts.down, m.experts ? m.experts->ffn : 0, m.experts ? m.experts->count : 1);
      train(layer.experts.router, m.hidden);
      for (Linear* linear : {&layer.gate, &layer.up, &layer.gate_up, &layer.down, &layer.shared_gate}) train_linear(*linear);
      for (Tensor& norm : layer.norm) train(norm, 0);
      for (Tensor& bias : layer.norm_bias) train(bias, 0);
    }
  }
  if (!run.has_adapters()) return;
  const auto wrap = [&](Linear& linear) {
    linear.lora_a = t.parameter(t.allocate(run.lora_rank * linear.inputs, run.adapter, Term::adapters), linear.inputs);
    linear.lora_b = t.parameter(t.allocate(linear.outputs * run.lora_rank, run.adapter, Term::adapters), run.lora_rank);
    if (run.uses_dora)
      linear.magnitude = t.parameter(t.allocate(linear.outputs, run.magnitude, Term::adapters));
  };
  const auto adapt = [&](Linear& linear, Module module) {
    if ((run.lora_targets & module) != 0 && linear.weight) wrap(linear);
  };
  if (run.adapts_patches) wrap(w.vision.patches);
  if (run.adapts_tower) w.vision.for_linears(wrap);
  // PEFT's ModulesToSaveWrapper keeps the original beside a trainable copy of the same format:
  // autocast_adapter_dtype looks at adapters only.
  const auto copy = [&](Tensor& tensor) {
    w.originals.push_back(tensor);
    tensor = t.parameter(t.allocate(tensor.elements(), tensor.dtype(), Term::adapters), m.hidden);
  };
  if (run.modules_to_save & embed_tokens) {
    copy(w.embedding);
  } else if (run.lora_targets & embed_tokens) {
    w.embedding_a = t.parameter(t.allocate(run.lora_rank * m.vocabulary, run.adapter, Term::adapters), m.vocabulary);
    w.embedding_b = t.parameter(t.allocate(m.hidden * run.lora_rank, run.adapter, Term::adapters), run.lora_rank);
    t.leaves()[t.leaf_number(w.embedding_a)].turns_gradient = true;  // it looks words up in its transpose
  }
  for (DecoderLayer& layer : w.layers) {
    adapt(layer.q, q_proj);
    adapt(layer.k, k_proj);
    adapt(layer.v, v_proj);
    adapt(layer.o, o_proj);
    adapt(layer.qkv, qkv_proj);
    adapt(layer.delta.out, out_proj);
    adapt(layer.delta.qkv, in_proj_qkv);
    adapt(layer.delta.z, in_proj_z);
    adapt(layer.delta.b, in_proj_b);
    adapt(layer.delta.a, in_proj_a);
    adapt(layer.gate_up, gate_up_proj);
    adapt(layer.gate, gate_proj);
    adapt(layer.up, up_proj);
    adapt(layer.down, down_proj);
    adapt(layer.shared_gate, shared_expert_gate);
  }
  // A function is fused only where all its layers have adapters (apply_lora_kernel_patches).
  const auto fuse = [&s](FusedAdapters& fused, bool is_asked, FusedAdapters::Layers layers) {
    fused.layers = layers;
    if (is_asked && has_adapters(fused)) fused.setting = &s;
  };
  for (DecoderLayer& layer : w.layers) {
    fuse(layer.fused_qkv, run.fuses_qkv, {&layer.q, &layer.k, &layer.v});
    fuse(layer.fused_o, run.fuses_o, {&layer.o});
    if (layer.delta && run.packs && run.has_delta_kernels) {
      // Fused where one of them has an adapter.
      DeltaNet& delta = layer.delta;
      const bool has_any = delta.qkv.lora_a || delta.z.lora_a || delta.b.lora_a || delta.a.lora_a;
      delta.fused_in.layers = {&delta.qkv, &delta.z, &delta.b, &delta.a};
      if (run.fuses_qkv && has_any) delta.fused_in.setting = &s;
      fuse(delta.fused_out, run.fuses_o, {&delta.out});
    }
    // What every token visits beside experts has no place of its own in a layer, where it is looked for.
    fuse(layer.fused_mlp, run.fuses_mlp && !layer.experts.router, {&layer.gate, &layer.up, &layer.down});
  }
  if (w.score.weight) copy(w.score.weight);  // task_type SEQ_CLS
  if (run.modules_to_save & lm_head) copy(w.head.weight);
  else adapt(w.head, lm_head);
}

/// TRL's value head, in fp32 and always trained, which LLaMA-Factory puts on what is prepared.
inline void add_value_head(Tape& t, const Setting& s, Weights& w) {
  if (!s.run.has_value_head()) return;
  w.score.inputs = s.model.hidden;
  w.score.outputs = 1;
  w.score.weight = t.parameter(t.allocate(s.model.hidden, DType::fp32, Term::weights), s.model.hidden);
  w.score.bias = t.parameter(t.allocate(1, DType::fp32, Term::weights));
}

}  // namespace qwenplan::emulate
