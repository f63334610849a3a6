#include "render/trainer/configuration.hpp"

#include <utility>

#include <fmt/format.h>

namespace qwenplan {

YamlLines::YamlLines(const std::vector<std::string>& remarks) {
  for (const std::string& remark : remarks) text_ += "# " + remark + "\n";
}

void YamlLines::group(std::string_view title) { text_ += fmt::format("\n# {}\n", title); }

void YamlLines::set(std::string_view key, std::string_view value, std::string_view remark) {
  text_ += fmt::format("{}: {}", key, value);
  if (!remark.empty()) text_ += fmt::format("  # {}", remark);
  text_ += '\n';
}
void YamlLines::set(std::string_view key, const char* value, std::string_view remark) {
  set(key, std::string_view(value), remark);
}
void YamlLines::set(std::string_view key, bool value, std::string_view remark) {
  set(key, std::string_view(value ? "true" : "false"), remark);
}
void YamlLines::set(std::string_view key, std::int64_t value, std::string_view remark) {
  set(key, std::string_view(std::to_string(value)), remark);
}
void YamlLines::set(std::string_view key, double value, std::string_view remark) {
  set(key, std::string_view(fmt::format("{:.1e}", value)), remark);
}
void YamlLines::add(std::string_view lines) { text_ += lines; }

Error not_written(Trainer trainer, std::string why) {
  return {Error::Kind::wrong, std::string(name(trainer)) + ": " + std::move(why), "--for",
          "leave --for out to see what transformers and PEFT could do"};
}

std::string chat_template(const Model& model) {
  // Models of a class that were tuned with words of their own.
  constexpr std::pair<std::string_view, const char*> kOwn[] = {
      {"smollm2", "smollm2"},     {"yi-", "yi"}, {"mistral-small", "mistral_small"}, {"mistral-nemo", "ministral"},
      {"deepseek-r1", "deepseekr1"}, {"qwen3.6", "qwen3_6"}};
  for (const auto& [start, own] : kOwn)
    if (model.id.starts_with(start)) return own;
  if (model.hub_id.ends_with("-Instruct-2507")) return "qwen3_nothink";
  switch (model.architecture) {
    case Architecture::qwen2:
    case Architecture::qwen2_moe:
      return "qwen";
    case Architecture::qwen3:
    case Architecture::qwen3_moe:
      return "qwen3";
    case Architecture::llama:
      return model.vocabulary > 100'000 ? "llama3" : "llama2";
    case Architecture::mistral:
    case Architecture::mixtral:
      return "mistral";
    case Architecture::gemma:
      return "gemma";
    case Architecture::gemma2:
    case Architecture::gemma3:
      return "gemma2";  // what the smallest of Gemma 3, which have no tower, take too
    case Architecture::phi3:
      return model.vocabulary > 200'000 ? "phi4_mini" : model.vocabulary > 100'000 ? "phi4" : "phi";
    case Architecture::cohere:
    case Architecture::cohere2:
      return "cohere";
    case Architecture::seed_oss:
      return "seed_oss";
    case Architecture::smollm3:
    case Architecture::olmo2:
    case Architecture::olmo3:
    case Architecture::starcoder2:
    case Architecture::arcee:
      return "chatml";
    case Architecture::qwen3_5:
    case Architecture::qwen3_5_moe:
      return "qwen3_5";
    case Architecture::other:
      break;
  }
  return {};
}

std::string hf_optimizer(const Recipe& recipe) {
  if (recipe.optimizer == "adamw-8bit") return "adamw_8bit";
  if (recipe.optimizer == "paged-adamw-8bit") return "paged_adamw_8bit";
  return "adamw_torch_fused";
}

Result<std::string> configuration(Trainer trainer, const Recipe& recipe, const Model& model,
                                         const std::vector<std::string>& remarks) {
  switch (trainer) {
    case Trainer::llama_factory:
      return llama_factory_yaml(recipe, model, remarks);
    case Trainer::axolotl:
      return axolotl_yaml(recipe, model, remarks);
    case Trainer::trl:
      return trl_yaml(recipe, model, remarks);
    case Trainer::torchtune:
      return torchtune_yaml(recipe, model, remarks);
    case Trainer::ms_swift:
      return ms_swift_yaml(recipe, model, remarks);
    case Trainer::transformers:
      return transformers_script(recipe, model, remarks);
    default:
      return not_written(trainer, "its files are read, not written");
  }
}

}  // namespace qwenplan
