#pragma once

#include <cstdint>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/modules.hpp"
#include "qwenplan/describe/run.hpp"

namespace qwenplan {

/// Parameters of decoder layers, by part. Exact: each is a weight of transformers' modelling code.
struct LayerParameters {
  Params attention;  ///< q, k, v, o with their biases, or all of a linear attention
  Params mlp;        ///< gate, up, down of a dense layer, or of the expert that every token visits
  Params experts;    ///< gate, up, down of every expert of a sparse layer
  Params router;     ///< the sparse layer's gate, and the gate of the expert that every token visits
  Params norms;      ///< over the hidden size
  Params qk_norms;   ///< over a head

  Params total() const { return attention + mlp + experts + router + norms + qk_norms; }
  friend bool operator==(const LayerParameters&, const LayerParameters&) = default;
};

/// Parameters of a model, by part; a tied head counts once, as the embedding.
struct ModelParameters {
  Params embedding;
  LayerParameters layers;  ///< of all layers together
  Params final_norm;
  Params head;  ///< 0 when it is the embedding

  Params total() const { return embedding + layers.total() + final_norm + head; }
  friend bool operator==(const ModelParameters&, const ModelParameters&) = default;
};

/// Weight and bias of a linear layer.
constexpr Params linear_parameters(std::int64_t in, std::int64_t out, bool has_bias) {
  return Params(in) * out + Params(has_bias ? out : 0);
}

/// Gate, where there is one, up and down projections between the hidden size and `ffn`.
constexpr Params mlp_parameters(std::int64_t hidden, std::int64_t ffn, bool has_bias, bool has_gate = true) {
  return linear_parameters(hidden, ffn, has_bias) * (has_gate ? 2 : 1) + linear_parameters(ffn, hidden, has_bias);
}

/// Query, key, value, gate, step and strength of a linear attention and its output; the convolution, the
/// decay and the step's bias of each value head, and the norm over one.
inline Params linear_attention_parameters(const Model& model) {
  const LinearAttention& a = *model.linear_attention;
  return linear_parameters(model.hidden, a.channels() + a.value_size() + 2 * a.value_heads, false) +
         linear_parameters(a.value_size(), model.hidden, false) +
         Params(a.channels() * a.kernel + 2 * a.value_heads + a.value_head_dim);
}

/// Parameters of one decoder layer. A model of Architecture::other is counted as if its layers were
/// Llama's, which they are not: ask the table for its total instead.
inline LayerParameters layer_parameters(const Model& model, std::int64_t layer) {
  LayerParameters parts;
  const bool is_linear = model.is_linear(layer);
  parts.attention = is_linear ? linear_attention_parameters(model)
                              : linear_parameters(model.hidden, model.query_outputs(), model.has_qkv_bias) +
                                    linear_parameters(model.hidden, model.kv_size(), model.has_qkv_bias) * 2 +
                                    linear_parameters(model.query_size(), model.hidden, model.has_o_bias);
  if (model.layer_is_sparse(layer)) {
    parts.experts = mlp_parameters(model.hidden, model.experts->ffn, false) * model.experts->count;
    parts.router = linear_parameters(model.hidden, model.experts->count, false);
    if (model.experts->shared_ffn > 0) {
      parts.mlp = mlp_parameters(model.hidden, model.experts->shared_ffn, false);
      parts.router += linear_parameters(model.hidden, 1, false);
    }
  } else {
    parts.mlp = mlp_parameters(model.hidden, model.ffn, model.has_mlp_bias, model.has_gate());
  }
  parts.norms = Params(model.norm_size()) * model.norms_per_layer();
  parts.qk_norms = Params(model.has_qk_norm && !is_linear ? model.query_norm_size() + model.key_norm_size() : 0);
  return parts;
}

/// How many parameters a model has, by part.
///
///   embedding + sum over layers + final norm + head (0 when tied)
inline ModelParameters model_parameters(const Model& model) {
  ModelParameters parts;
  parts.embedding = Params(model.vocabulary) * model.hidden;
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    const LayerParameters one = layer_parameters(model, layer);
    parts.layers.attention += one.attention;
    parts.layers.mlp += one.mlp;
    parts.layers.experts += one.experts;
    parts.layers.router += one.router;
    parts.layers.norms += one.norms;
    parts.layers.qk_norms += one.qk_norms;
  }
  parts.final_norm = Params(model.norm_size());
  parts.head = model.ties_embeddings ? Params(0) : parts.embedding;
  return parts;
}

/// Parameters of a vision tower: its convolution of patches and learned positions, its blocks of two norms and
/// four linear layers, and its merger, all with biases.
inline Params tower_parameters(const Model& model) {
  const VisionTower& v = *model.vision;
  const Params block = Params(4 * v.hidden) + linear_parameters(v.hidden, 3 * v.hidden, true) +
                       linear_parameters(v.hidden, v.hidden, true) + mlp_parameters(v.hidden, v.ffn, true, false);
  return linear_parameters(v.patch_size(), v.hidden, true) + Params(v.positions) * v.hidden + block * v.layers +
         Params(2 * v.hidden) + linear_parameters(v.merged(), v.merged(), true) +
         linear_parameters(v.merged(), model.hidden, true);
}

/// Parameters that a run loads: the language model's, and its vision tower's where the trainer takes it too.
inline Params loaded_parameters(const Model& model, const Run& run) {
  const Params language = model_parameters(model).total();
  return run.has_tower ? language + tower_parameters(model) : language;
}

/// Parameters of adapters on all linear layers of a vision tower, and on its convolution where that has one.
inline Params tower_adapters(const Model& model, const Run& run) {
  const VisionTower& v = *model.vision;
  const auto adapter = [&](std::int64_t inputs, std::int64_t outputs) {
    return Params(run.lora_rank) * (inputs + outputs) + Params(run.uses_dora ? outputs : 0);
  };
  const Params block = adapter(v.hidden, 3 * v.hidden) + adapter(v.hidden, v.hidden) + adapter(v.hidden, v.ffn) +
                       adapter(v.ffn, v.hidden);
  const Params patches = run.adapts_patches ? adapter(v.patch_size(), v.hidden) : Params();
  return patches + block * v.layers + adapter(v.merged(), v.merged()) + adapter(v.merged(), model.hidden);
}

/// Parameters that one token passes: all, less the experts that it does not visit.
inline Params active_parameters(const Model& model) {
  Params active = model_parameters(model).total();
  if (!model.experts) return active;
  const Params expert = mlp_parameters(model.hidden, model.experts->ffn, false);
  for (std::int64_t layer = 0; layer < model.layers; ++layer)
    if (model.layer_is_sparse(layer))
      active -= expert * (model.experts->count - model.experts->per_token);
  return active;
}

/// Inputs and outputs of a linear layer; 0 where a decoder layer has no such.
struct LinearShape {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

inline LinearShape linear_shape(const Model& model, Module module, std::int64_t layer) {
  const std::int64_t ffn = model.common_ffn(layer);
  const LinearAttention linear = model.linear_attention.value_or(LinearAttention{});
  if ((((kAttentionModules | qkv_proj) & module) != 0 && model.is_linear(layer)) ||
      ((kLinearAttentionModules & module) != 0 && !model.is_linear(layer)))
    return {};
  switch (module) {
    case q_proj: return {model.hidden, model.query_outputs()};
    case k_proj:
    case v_proj: return {model.hidden, model.kv_size()};
    case qkv_proj: return {model.hidden, model.query_size() + 2 * model.kv_size()};
    case o_proj: return {model.query_size(), model.hidden};
    case gate_proj:
    case up_proj: return {model.hidden, ffn};
    case gate_up_proj: return {model.hidden, 2 * ffn};
    case down_proj: return {ffn, model.hidden};
    case shared_expert_gate: return {model.layer_is_sparse(layer) ? model.hidden : 0, 1};
    case in_proj_qkv: return {model.hidden, linear.channels()};
    case in_proj_z: return {model.hidden, linear.value_size()};
    case in_proj_b:
    case in_proj_a: return {model.hidden, linear.value_heads};
    case out_proj: return {linear.value_size(), model.hidden};
    case lm_head:
    case embed_tokens: break;
  }
  return {};
}

/// Parameters that a run trains: all of them, or its adapters and the modules trained beside them.
///
///   rank * (inputs + outputs) of each adapted layer; experts and routers have no adapter
inline Params trained_parameters(const Model& model, const Run& run) {
  // A reward model's head: in place of the language model's, or beside it with a bias.
  const Params score = run.objective != Objective::reward ? Params()
                                                          : linear_parameters(model.hidden, 1, run.has_value_head());
  if (run.method == Method::freeze) {
    Params trained = score;
    for (std::int64_t layer = 0; layer < model.layers; ++layer)
      if (run.unfreezes(layer)) trained += layer_parameters(model, layer).total();
    return trained;
  }
  if (!run.has_adapters()) {
    const ModelParameters all = model_parameters(model);
    return all.total() + score - (run.has_language_head() ? Params() : all.head) +
           (run.trains_tower ? tower_parameters(model) : Params());
  }
  Params trained = score;
  if (run.adapts_tower && !run.freezes_tower) trained += tower_adapters(model, run);
  for (const auto& [known, module] : named_modules(run.lora_targets & kEveryLinear, model)) {
    for (std::int64_t layer = 0; layer < model.layers; ++layer) {
      const LinearShape shape = linear_shape(model, module, layer);
      if (shape.inputs == 0 || shape.outputs == 0) continue;
      trained += Params(run.lora_rank) * (shape.inputs + shape.outputs) + Params(run.uses_dora ? shape.outputs : 0);
    }
  }
  for (const Module module : {lm_head, embed_tokens}) {
    if ((run.modules_to_save & module) != 0)
      trained += Params(model.vocabulary) * model.hidden;
    else if ((run.lora_targets & module) != 0)
      trained += Params(run.lora_rank) * (model.hidden + model.vocabulary) +
                 (run.uses_dora ? Params(model.vocabulary) : Params());
  }
  return trained;
}

/// Of these the ones that a step updates: text alone gives a vision tower no gradient.
inline Params updated_parameters(const Model& model, const Run& run) {
  Run text = run;
  text.trains_tower = text.adapts_tower = false;
  return trained_parameters(model, text);
}

/// Bytes of the weights that a run saves: without adapters the whole model, what is frozen too; else the
/// adapters. PEFT also saves an embedding or an output layer that has an adapter.
inline Bytes saved_weights(const Model& model, const Run& run) {
  const auto sized = [](const Params& count, DType dtype) { return Bytes(count.count()) * element_size(dtype); };
  Run saved = run;
  saved.freezes_tower = false;  // frozen adapters are written too
  const Params trained = trained_parameters(model, saved);
  if (!run.has_adapters()) {
    Run whole = run;
    whole.method = Method::full;
    const bool is_part = run.method == Method::freeze;
    Bytes bytes = sized(trained_parameters(model, whole) - (is_part ? trained : Params()), run.weights);
    if (is_part) bytes += sized(trained, run.trained_weights);
    if (run.has_tower && !run.trains_tower) bytes += sized(tower_parameters(model), run.tower_weights);
    return bytes;
  }
  Bytes bytes = sized(trained, run.adapter);
  if (run.code == ModelCode::transformers)
    for (const Module module : {lm_head, embed_tokens})
      if ((run.lora_targets & module) != 0 && (run.modules_to_save & module) == 0)
        bytes += sized(Params(model.vocabulary * model.hidden),
                       run.embedding_weights.value_or(run.upcasts_for_kbit ? DType::fp32 : run.weights));
  return bytes;
}

}  // namespace qwenplan
