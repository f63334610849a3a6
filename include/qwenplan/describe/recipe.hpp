#pragma once

#include <cstdint>
#include <string>

#include "qwenplan/describe/run_draft.hpp"

namespace qwenplan {

/// A supervised fine-tuning run as a trainer's configuration writes it down: what is worth choosing.
/// Everything else follows from the trainer.
struct Recipe {
  Method method = Method::qlora;  ///< full, lora or qlora, whose base is nf4
  Precision precision = Precision::bf16_mixed;
  bool double_quantizes = true;
  std::int64_t length = 2048;     ///< tokens of one sequence
  std::int64_t micro_batch = 1;   ///< sequences of one micro-step
  std::int64_t accumulation = 16; ///< micro-steps of one optimizer step
  bool checkpoints = true;
  std::string optimizer = "adamw-fused";  ///< or adamw-8bit, paged-adamw-8bit
  std::string attention = "sdpa";  ///< or eager
  bool fuses_loss = true;  ///< by the trainer's loss that keeps no logits, where it has one
  std::int64_t lora_rank = 16;
  std::int64_t lora_alpha = 32;

  bool has_adapters() const { return method != Method::full; }
  bool is_bf16() const {
    return precision == Precision::bf16_mixed || precision == Precision::bf16_true;
  }
  bool is_pure() const {
    return precision == Precision::bf16_true || precision == Precision::fp16_true;
  }
  /// Sequences of one optimizer step.
  std::int64_t batch() const { return micro_batch * accumulation; }
  /// What recipes of the trainers' own examples use: adapters start at zero and take ten times more.
  double learning_rate() const { return has_adapters() ? 1e-4 : 1e-5; }
};

}  // namespace qwenplan
