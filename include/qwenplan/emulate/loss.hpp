#pragma once

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// transformers' loss of a causal language model: logits in fp32, one step of shift between logits
/// and labels, cross-entropy as log-softmax and negative log-likelihood.
inline Tensor causal_lm_loss(Tape& t, const Setting& s, const Tensor& logits) {
  const Run& run = s.run;
  const bool is_batch = run.micro_batch > 1;
  const std::int64_t shifted = run.micro_batch * (run.length - 1);
  const Tensor upcast = cast(t, logits, DType::fp32);  // a name that stays to the end
  Tensor scores = upcast;
  Tensor padded, labels;
  if (s.behavior.shifts_logits) {
    // A slice of one sequence is contiguous already; of several it is copied.
    auto slice = t.record(gradient::widened, {&scores});
    scores = slice.result(scores.viewed(scores.elements() / run.tokens() * shifted));
    if (is_batch) scores = clone(t, scores);
    labels = t.allocate(is_batch ? shifted : 0, DType::int64);
  } else {
    padded = t.allocate(run.micro_batch * (run.length + 1), DType::int64);
    labels = is_batch ? t.allocate(run.tokens(), DType::int64) : padded;
  }
  auto normal = t.record(gradient::elementwise, {&scores});
  Tensor log_softmax = t.allocate(scores.elements(), DType::fp32);
  normal.save(log_softmax);
  log_softmax = normal.result(std::move(log_softmax));
  auto likelihood = t.record(gradient::widened, {&log_softmax});
  likelihood.save(log_softmax.detached()).save(labels);
  t.reads(0);  // one element of each row
  Tensor loss = t.allocate(1, DType::fp32);
  const Tensor total_weight = t.allocate(1, DType::fp32);
  likelihood.save(total_weight);
  return likelihood.result(std::move(loss));
}

}  // namespace qwenplan::emulate
