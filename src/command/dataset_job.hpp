#pragma once

#include <cstdint>
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

/// The text that --dataset, --tokens or --dataset-size name, none where none of them is given; or
/// `known`, where it was read before.
Result<std::optional<TextJob>> read_text_job(const Invocation& invocation, const Model& model,
                                             const std::optional<TextJob>* known = nullptr);

/// What a run makes of the sequences of one epoch.
struct Epoch {
  std::int64_t rows = 0;
  std::int64_t length = 0;       ///< of a row on average, padding included
  Range<double> tokens;          ///< of all rows, padding included
  std::int64_t cut = 0;          ///< sequences longer than the run's length
  double padding = 0;            ///< share of the tokens
};

/// Rows of at most `length` tokens: `batch` sequences padded to their longest, or packed whole.
Epoch epoch_of(const Range<Lengths>& lengths, std::int64_t length, std::int64_t batch, bool packs);

/// The shortest length in whole 64 that 99 of 100 sequences do not exceed.
std::int64_t suggested_length(const Range<Lengths>& lengths);

namespace command {

/// The commands of these names, with data that another command has read; null: by their own flags.
using KnownText = const std::optional<TextJob>*;
Result<Answer> ram(const Invocation& invocation, KnownText known);
Result<Answer> storage_plan(const Invocation& invocation, KnownText known);
Result<Answer> time(const Invocation& invocation, KnownText known);

}  // namespace command

}  // namespace qwenplan
