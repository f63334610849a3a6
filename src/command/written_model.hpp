#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// A model as a trainer's file names it: the Hub's name, a folder with a config.json, or a folder
/// that is called like a model. ModelScope writes dots as "___"; a cache has models--OWNER--NAME.
Result<FoundModel> written_model(const Tables& tables, const std::string& written);

/// How a checkpoint is stored that is not in 16 bits.
struct StoredForm {
  std::string_view how;
  std::optional<Quantization> quantization;  ///< none: no such base is modelled
  bool is_float = false;                     ///< in a form that transformers can unpack to 16 bits
};

/// What a model's name says of that; none where it says nothing.
std::optional<StoredForm> stored_form(const std::string& model);

}  // namespace qwenplan
