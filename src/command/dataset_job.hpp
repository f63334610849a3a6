#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/invocation.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
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

/// How much text a run reads in an epoch.
struct TextJob {
  Range<Tokens> tokens;
  Bytes text;                       ///< with all that stands around it in a file, decompressed
  std::optional<DatasetJob> job;    ///< where it is a file
  std::vector<Input> inputs;
  std::vector<std::string> assumed;
  std::vector<std::string> notes;
};

/// The text that --dataset, --tokens or --dataset-size name; none where none of them is given.
Result<std::optional<TextJob>> read_text_job(const Invocation& invocation, const Model& model);

}  // namespace qwenplan
