#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/invocation.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/dataset.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/token_rates.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// A data set as a command asks for it, with where the settings came from.
struct DatasetJob {
  Dataset data;
  std::optional<TokenRates> rates;  ///< by which its tokens were estimated; none where they were counted
  std::vector<Input> inputs;
  std::vector<std::string> assumed;
  std::vector<std::string> notes;
};

/// Reads `file` by --column, --tokenizer, --template, --file-format and --example, those of them
/// that the command takes; `model` chooses the tokenizer's rates and the template, and may be null.
/// Shows on a terminal how far it is.
Result<DatasetJob> read_dataset_job(const Invocation& invocation, const std::string& file, const Model* model);

}  // namespace qwenplan
