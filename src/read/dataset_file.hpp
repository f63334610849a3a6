#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/dataset.hpp"
#include "qwenplan/describe/token_rates.hpp"
#include "read/chat_template.hpp"
#include "read/tokenizer_file.hpp"

namespace qwenplan {

/// What is asked of a file of examples.
struct DatasetQuestion {
  std::string file;
  std::vector<std::string> columns;       ///< the fields to read; empty: those of a known shape
  std::optional<DataFormat> format;       ///< else by the content and the name of the file
  std::optional<ChatTemplate> written_by;  ///< else `usual` for conversations, none for plain text
  ChatTemplate usual = ChatTemplate::chatml;
  bool by_paragraph = false;       ///< text: examples are cut at blank lines, not at each line
  TokenRates rates;                ///< for the estimate
  Tokenizer* tokenizer = nullptr;  ///< counts exactly where it is given
  std::function<void(std::int64_t taken, std::optional<std::int64_t> of)> progress = {};
};

/// Reads a file of examples once, from front to back, in bounded memory. A part that is no example
/// is counted in `bad`; a file without any example is an error.
Result<Dataset> read_dataset(const DatasetQuestion& question);

}  // namespace qwenplan
