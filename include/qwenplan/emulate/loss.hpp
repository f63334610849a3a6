#pragma once

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// transformers' ForCausalLMLoss: logits in fp32, labels shifted by one, cross-entropy as
/// log-softmax and negative log-likelihood.
inline Tensor causal_lm_loss(Tape& t, const Setting& s, const Tensor& logits) {
  const Run& run = s.run;
  const Tensor upcast = cast(t, logits, DType::fp32);
  const Tensor padded = t.allocate(run.micro_batch * (run.length + 1), DType::int64);
  // The slice of one sequence is contiguous already; of several it is copied.
  const Tensor labels = run.micro_batch > 1 ? t.allocate(run.tokens(), DType::int64) : padded;
  auto normal = t.record(gradient::elementwise, {&upcast});
  Tensor log_softmax = t.allocate(upcast.elements(), DType::fp32);
  normal.save(log_softmax);
  log_softmax = normal.result(std::move(log_softmax));
  auto likelihood = t.record(gradient::widened, {&log_softmax});
  likelihood.save(log_softmax.detached()).save(labels);
  Tensor loss = t.allocate(1, DType::fp32);
  const Tensor total_weight = t.allocate(1, DType::fp32);
  likelihood.save(total_weight);
  return likelihood.result(std::move(loss));
}

}  // namespace qwenplan::emulate
