#pragma once

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/token_rates.hpp"

namespace qwenplan {

/// Rates of a model's tokenizer, known by the model's name or class and the size of its vocabulary;
/// an error of kind unknown where nobody measured it.
Result<TokenRates> token_rates(const Model& model);

/// Rates of the tokenizer of Qwen2.5 and Qwen3.
Result<TokenRates> usual_token_rates();

}  // namespace qwenplan
