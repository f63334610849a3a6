#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"

namespace qwenplan {

/// The names of linear layers in transformers' code. StarCoder's MLP has names of its own.
inline constexpr std::pair<std::string_view, Module> kModuleNames[] = {
    {"q_proj", q_proj},       {"k_proj", k_proj},             {"v_proj", v_proj},
    {"o_proj", o_proj},       {"gate_proj", gate_proj},       {"up_proj", up_proj},
    {"down_proj", down_proj}, {"lm_head", lm_head},           {"embed_tokens", embed_tokens},
    {"qkv_proj", qkv_proj},   {"gate_up_proj", gate_up_proj}, {"shared_expert_gate", shared_expert_gate},
    {"c_fc", up_proj},        {"c_proj", down_proj},        {"in_proj_qkv", in_proj_qkv},
    {"in_proj_z", in_proj_z}, {"in_proj_b", in_proj_b},       {"in_proj_a", in_proj_a},
    {"out_proj", out_proj}};

/// A layer by a name that some class gives it.
constexpr std::optional<Module> module_named(std::string_view wanted) {
  for (const auto& [known, module] : kModuleNames)
    if (known == wanted) return module;
  return std::nullopt;
}

/// What a model's class calls a layer.
inline std::string_view name(Module module, const Model& model) {
  if (model.architecture == Architecture::starcoder2 && module == up_proj) return "c_fc";
  if (model.architecture == Architecture::starcoder2 && module == down_proj) return "c_proj";
  for (const auto& [known, each] : kModuleNames)
    if (each == module) return known;
  return {};
}

/// The layers of a set by the names that a model's class gives them.
inline std::vector<std::pair<std::string_view, Module>> named_modules(ModuleSet set, const Model& model) {
  std::vector<std::pair<std::string_view, Module>> result;
  for (const auto& [known, module] : kModuleNames)
    if ((set & module) != 0 && name(module, model) == known) result.emplace_back(known, module);
  return result;
}

/// The layers that a model has, as the code that runs names them.
inline ModuleSet modules_of(const Model& model, ModelCode code) {
  const bool is_fused = model.fuses_projections() && code == ModelCode::transformers;
  ModuleSet set = (is_fused ? kAllFusedLinear : kAllLinear) | lm_head | embed_tokens;
  if (!model.has_gate()) set &= ~gate_proj;
  if (model.experts && model.experts->shared_ffn > 0) set |= shared_expert_gate;
  if (!model.linear_attention) return set;
  const std::int64_t full = model.layers / model.linear_attention->full_interval;
  if (full == 0) set &= ~kAttentionModules;
  if (full < model.layers) set |= kLinearAttentionModules;
  return set;
}

}  // namespace qwenplan
