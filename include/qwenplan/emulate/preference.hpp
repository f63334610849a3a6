#pragma once

#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

/// Losses that compare sequences, as LLaMA-Factory runs them (train/{trainer_utils,dpo/trainer,
/// kto/trainer}.py). What is a number for each sequence is left out but for a few.
namespace qwenplan::emulate {

namespace gradient {

/// gather from a wide tensor: zeros of its shape, and a copy with the gradient put in.
inline void gathered(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor zeros = t.allocate(n.input_elements[0], grad.dtype());
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}
/// Masked values, summed over a sequence.
inline void masked_sum(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}

}  // namespace gradient

/// get_batch_logps: the logarithm of every token's probability over all words, of which the labels'
/// are picked and summed for each sequence. `logits` are fp32, of `sequences` whole sequences.
inline Tensor sequence_log_probabilities(Tape& t, const Setting& s, const Tensor& logits,
                                         std::int64_t sequences) {
  const std::int64_t positions = sequences * (s.run.length - 1);
  const Tensor labels = t.allocate(positions, DType::int64);
  const Tensor mask = t.allocate(positions, DType::boolean);
  { const Tensor ignored = t.allocate(positions, DType::boolean); }
  Tensor picked;
  {
    // All positions but the last, which is no contiguous view of several sequences: the kernel
    // copies it beside its output (host_softmax in SoftMax.cu).
    auto slice = t.record(gradient::widened, {&logits});
    const Tensor shifted =
        slice.result(logits.viewed(logits.elements() / s.run.length * (s.run.length - 1)));
    auto normal = t.record(gradient::elementwise, {&shifted});
    Tensor log_softmax = t.allocate(shifted.elements(), DType::fp32);
    if (sequences > 1) t.use_workspace(shifted.elements() * element_size(DType::fp32));
    normal.save(log_softmax);
    log_softmax = normal.result(std::move(log_softmax));
    auto gather = t.record(gradient::gathered, {&log_softmax});
    gather.save(labels);
    picked = gather.result(t.allocate(positions, DType::fp32));
  }
  const Tensor lengths = t.allocate(sequences, DType::int64);
  auto sum = t.record(gradient::masked_sum, {&picked});
  sum.save(mask);
  { const Tensor masked = t.allocate(positions, DType::fp32); }
  return sum.result(t.allocate(sequences, DType::fp32));
}

/// A loss of numbers for each sequence: what it keeps are a few of them.
inline Tensor loss_of_sequences(Tape& t, const Tensor& policy, const Tensor& reference) {
  auto op = t.record(gradient::widened, {&policy});
  Tensor ratio = t.allocate(policy.elements(), DType::fp32);
  op.save(ratio);
  if (reference) ratio = t.allocate(policy.elements(), DType::fp32);
  return op.result(t.allocate(1, DType::fp32));
}

}  // namespace qwenplan::emulate
