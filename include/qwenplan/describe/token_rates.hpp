#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/text_counts.hpp"

namespace qwenplan {

/// How many tokens a tokenizer makes of a character of each script.
struct TokenRates {
  std::string id;                              ///< row of tokens.json
  std::string name;                            ///< "Qwen2.5 and Qwen3"
  std::array<Range<double>, kScripts> rates{};  ///< tokens of one character, by Script
  std::array<Evidence, kScripts> evidence{};    ///< of each rate
};

/// Tokens of a text by its characters.
inline Range<double> tokens_of(const TextCounts& text, const TokenRates& rates) {
  Range<double> tokens{};
  for (std::size_t i = 0; i < kScripts; ++i) {
    const auto n = static_cast<double>(text.characters[i]);
    tokens.low += n * rates.rates[i].low;
    tokens.likely += n * rates.rates[i].likely;
    tokens.high += n * rates.rates[i].high;
  }
  return tokens;
}

/// How an estimate of a text's tokens is known: as the weakest rate of those that make at least one
/// token in fifty.
inline Evidence evidence_of(const TextCounts& text, const TokenRates& rates) {
  const double all = tokens_of(text, rates).likely;
  Evidence evidence = Evidence::measured;
  for (std::size_t i = 0; i < kScripts; ++i)
    if (static_cast<double>(text.characters[i]) * rates.rates[i].likely * 50 >= all && text.characters[i] > 0)
      evidence = weaker(evidence, rates.evidence[i]);
  return evidence;
}

}  // namespace qwenplan
