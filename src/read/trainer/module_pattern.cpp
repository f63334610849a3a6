#include "read/trainer/module_pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "qwenplan/describe/modules.hpp"

namespace qwenplan {
namespace {

const std::string kWhere = "--lora-targets";
constexpr std::uint32_t kMostSteps = 20'000;  ///< of one match: what PEFT's patterns need are some hundreds

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

/// A pattern that a whole text has to match, in a bounded number of steps.
class Pattern {
 public:
  explicit Pattern(std::string_view words) {
    int failure = 0;
    PCRE2_SIZE place = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(words.data()), words.size(), PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                              &failure, &place, nullptr));
    match_.reset(pcre2_match_data_create(1, nullptr));
    context_.reset(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(context_.get(), kMostSteps);
  }
  bool is_valid() const { return code_ != nullptr; }
  bool gave_up() const { return gave_up_; }
  bool matches(std::string_view text) {
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, match_.get(),
                                  context_.get());
    gave_up_ = gave_up_ || (found < 0 && found != PCRE2_ERROR_NOMATCH);
    return found >= 0;
  }

 private:
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  bool gave_up_ = false;
};

/// The module of a decoder layer that holds a linear layer; empty where the layer has none of the kind.
std::string_view holder_of(Module module, const Model& model, std::int64_t layer) {
  if (module & (kAttentionModules | qkv_proj)) return model.is_linear(layer) ? "" : "self_attn.";
  if (module & kLinearAttentionModules) return model.is_linear(layer) ? "linear_attn." : "";
  if (module == shared_expert_gate) return model.layer_is_sparse(layer) ? "mlp." : "";
  if (model.common_ffn(layer) == 0) return "";  // experts are no linear layers
  return model.layer_is_sparse(layer) ? "mlp.shared_expert." : "mlp.";
}

/// Modules on which PEFT has no adapter, and stops: those of the text that are in every class, of the tower where it is
/// loaded, and the first layer of a kind for all of them.
std::vector<std::string> modules_without_adapters(const std::string& text, const Model& model, bool has_tower) {
  std::vector<std::string> names = {"model"};
  const auto add = [&](const std::string& of, std::initializer_list<const char*> own) {
    for (const char* each : own) names.push_back(of + each);
  };
  add(text, {"layers", "norm", "rotary_emb"});
  bool has_seen[2] = {};
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    const bool is_linear = model.is_linear(layer);
    if (std::exchange(has_seen[is_linear], true)) continue;
    const std::string of = text + "layers." + std::to_string(layer);
    add(of, {"", ".input_layernorm", ".post_attention_layernorm", ".mlp", ".mlp.act_fn"});
    if (is_linear) add(of, {".linear_attn", ".linear_attn.norm"});
    else add(of, {".self_attn"});
    if (!is_linear && model.has_qk_norm) add(of, {".self_attn.q_norm", ".self_attn.k_norm"});
  }
  if (has_tower) {
    add("model.", {"language_model", "visual"});
    add("model.visual.", {"patch_embed", "rotary_pos_emb", "blocks", "blocks.0", "blocks.0.norm1", "blocks.0.norm2", "blocks.0.attn",
                          "blocks.0.mlp", "blocks.0.mlp.act_fn", "merger", "merger.norm", "merger.act_fn"});
  }
  return names;
}

/// Why adapters beside those of the text's linear layers are not worked out.
std::optional<Error> outside_of_layers(Pattern& pattern, const std::string& text, const Model& model, bool has_tower) {
  for (const std::string& each : modules_without_adapters(text, model, has_tower))
    if (pattern.matches(each))
      return Error{Error::Kind::wrong, "the pattern matches '" + each + "' too, on which PEFT has no adapter", kWhere,
                   "end the pattern with the names of linear layers"};
  if (has_tower)
    for (const char* each : {"patch_embed.proj", "pos_embed", "blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.linear_fc1",
                             "blocks.0.mlp.linear_fc2", "merger.linear_fc1", "merger.linear_fc2"})
      if (pattern.matches(std::string("model.visual.") + each))
        return Error{Error::Kind::unknown, "adapters on the vision tower by a pattern are not modelled", kWhere,
                     "write all-linear, or a pattern of the text's layers alone"};
  if (model.is_linear(0) && pattern.matches(text + "layers.0.linear_attn.conv1d"))
    return Error{Error::Kind::unknown, "adapters on the convolutions of linear attention are not modelled", kWhere,
                 "end the pattern with the names of linear layers"};
  return std::nullopt;
}

}  // namespace

Result<std::vector<std::string>> modules_matching(const std::string& words, const Model& model, bool has_tower) {
  Pattern pattern(words);
  if (!pattern.is_valid())
    return Error{Error::Kind::wrong, "lora_target_modules has one entry, which PEFT takes for a pattern, and it is none", kWhere,
                 "name two layers or more"};
  // With its tower a decoder is a part of the model.
  const std::string text = has_tower ? "model.language_model." : "model.";
  if (auto error = outside_of_layers(pattern, text, model, has_tower)) return *std::move(error);
  std::vector<std::string> names;
  for (const auto& [name, module] : named_modules(modules_of(model, ModelCode::transformers), model)) {
    if (module == lm_head || module == embed_tokens) {
      if (pattern.matches((module == lm_head ? "" : text) + std::string(name))) names.emplace_back(name);
      continue;
    }
    std::int64_t of = 0, taken = 0;
    for (std::int64_t layer = 0; layer < model.layers; ++layer) {
      const std::string_view holder = holder_of(module, model, layer);
      if (holder.empty()) continue;
      ++of;
      taken += pattern.matches(text + "layers." + std::to_string(layer) + "." + std::string(holder) + std::string(name));
    }
    if (taken > 0 && taken < of)
      return Error{Error::Kind::unknown, "adapters on '" + std::string(name) + "' of some layers alone are not modelled", kWhere,
                   "match it in all layers"};
    if (taken > 0) names.emplace_back(name);
  }
  if (pattern.gave_up())
    return Error{Error::Kind::unknown, "a pattern of layers' names that takes too long is not worked out", kWhere,
                 "name two layers or more"};
  if (names.empty())
    return Error{Error::Kind::wrong,
                 "lora_target_modules has one entry, which PEFT takes for a pattern of whole names: it matches no layer", kWhere,
                 "write '.*\\.q_proj', or name two layers or more"};
  return names;
}

}  // namespace qwenplan
