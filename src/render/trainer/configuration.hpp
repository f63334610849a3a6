#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/recipe.hpp"
#include "qwenplan/describe/trainer.hpp"

namespace qwenplan {

/// Trainers whose configurations can be written.
inline constexpr Trainer kWrittenTrainers[] = {Trainer::llama_factory, Trainer::axolotl,
                                               Trainer::trl,           Trainer::torchtune,
                                               Trainer::ms_swift,      Trainer::transformers};

/// The error of a recipe that a trainer cannot run, and why.
Error not_written(Trainer trainer, std::string why);

/// A recipe as a trainer's own file: YAML, and for transformers a Python script. `remarks` stand
/// above it as comments. An error says why where the trainer cannot run it, such as fp16 in torchtune.
Result<std::string> configuration(Trainer trainer, const Recipe& recipe, const Model& model,
                                         const std::vector<std::string>& remarks);

/// Lines of YAML: keys with their values, remarks and blank lines.
class YamlLines {
 public:
  explicit YamlLines(const std::vector<std::string>& remarks);

  /// A blank line and a remark above a group of keys.
  void group(std::string_view title);
  void set(std::string_view key, std::string_view value, std::string_view remark = {});
  void set(std::string_view key, const char* value, std::string_view remark = {});
  void set(std::string_view key, bool value, std::string_view remark = {});
  void set(std::string_view key, std::int64_t value, std::string_view remark = {});
  /// Written as 1.0e-04, which every loader of YAML takes for a number.
  void set(std::string_view key, double value, std::string_view remark = {});
  /// Lines as they are.
  void add(std::string_view lines);

  std::string text() && { return std::move(text_); }

 private:
  std::string text_;
};

/// The chat template of a model by LLaMA-Factory's name for it (extras/constants.py): qwen, qwen3, llama3,
/// gemma2; empty where it is not known.
std::string chat_template(const Model& model);

/// `optim` of Hugging Face's TrainingArguments.
std::string hf_optimizer(const Recipe& recipe);

// One for each trainer.
Result<std::string> llama_factory_yaml(const Recipe&, const Model&, const std::vector<std::string>& remarks);
Result<std::string> axolotl_yaml(const Recipe&, const Model&, const std::vector<std::string>& remarks);
Result<std::string> trl_yaml(const Recipe&, const Model&, const std::vector<std::string>& remarks);
Result<std::string> torchtune_yaml(const Recipe&, const Model&, const std::vector<std::string>& remarks);
Result<std::string> ms_swift_yaml(const Recipe&, const Model&, const std::vector<std::string>& remarks);
Result<std::string> transformers_script(const Recipe&, const Model&, const std::vector<std::string>& remarks);

}  // namespace qwenplan
