#include "read/trainer/module_pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string_view>

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

}  // namespace

Result<std::vector<std::string>> modules_matching(const std::string& words, const Model& model) {
  Pattern pattern(words);
  if (!pattern.is_valid())
    return Error{Error::Kind::wrong, "lora_target_modules is one word, which PEFT takes for a pattern, and it is none", kWhere,
                 "write a list of names"};
  for (const char* other : {"model", "model.layers.0", "model.layers.0.self_attn", "model.layers.0.mlp", "model.norm",
                            "model.layers.0.input_layernorm"})
    if (pattern.matches(other))
      return Error{Error::Kind::wrong, "the pattern matches '" + std::string(other) + "' too, on which PEFT has no adapter",
                   kWhere, "end the pattern with the names of linear layers"};
  std::vector<std::string> names;
  for (const auto& [name, module] : named_modules(modules_of(model, ModelCode::transformers), model)) {
    if (module == lm_head || module == embed_tokens) {
      if (pattern.matches((module == lm_head ? "" : "model.") + std::string(name))) names.emplace_back(name);
      continue;
    }
    std::int64_t of = 0, taken = 0;
    for (std::int64_t layer = 0; layer < model.layers; ++layer) {
      const std::string_view holder = holder_of(module, model, layer);
      if (holder.empty()) continue;
      ++of;
      const std::string within = "layers." + std::to_string(layer) + "." + std::string(holder) + std::string(name);
      // With its tower a decoder is a part of the model, and text alone may be trained either way.
      taken += pattern.matches("model." + within) ||
               (model.vision && pattern.matches("model.language_model." + within));
    }
    if (taken > 0 && taken < of)
      return Error{Error::Kind::unknown, "adapters on '" + std::string(name) + "' of some layers alone are not modelled", kWhere,
                   "match it in all layers"};
    if (taken > 0) names.emplace_back(name);
  }
  if (pattern.gave_up())
    return Error{Error::Kind::unknown, "a pattern of layers' names that takes too long is not worked out", kWhere,
                 "write a list of names"};
  if (names.empty())
    return Error{Error::Kind::wrong,
                 "lora_target_modules is one word, which PEFT takes for a pattern of whole names: it matches no layer", kWhere,
                 "write a list of names, or a pattern such as '.*\\.(q|v)_proj'"};
  return names;
}

}  // namespace qwenplan
