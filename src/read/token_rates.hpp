#pragma once

#include <cstdint>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/token_rates.hpp"

namespace qwenplan {

/// What tokens.json knows of the tokenizer of models with a vocabulary of this size; without a row
/// for it, or for 0, Qwen2.5's rates as `assumed`, with twice their tokens as the upper end.
Result<TokenRates> token_rates(std::int64_t vocabulary);

}  // namespace qwenplan
