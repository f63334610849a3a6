#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// A byte-level BPE tokenizer as a tokenizer.json describes it: those of GPT-2, Llama 3 and Qwen.
class Tokenizer {
 public:
  /// What it cannot do exactly it refuses, named, with status 3.
  static Result<Tokenizer> open(const std::string& path);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Appends the ids of UTF-8 text, special tokens in it as one id each; nothing is added around
  /// it. Text that is no UTF-8, or too long for the pattern, is an error.
  Result<std::int64_t> encode(std::string_view text, std::vector<std::int32_t>* ids = nullptr);

  std::int64_t vocabulary() const;
  bool has_token(std::string_view text) const;  ///< as one of its added tokens

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

}  // namespace qwenplan
