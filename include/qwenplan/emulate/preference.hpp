#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/loss.hpp"
#include "qwenplan/emulate/setting.hpp"

/// Losses that compare sequences, as LLaMA-Factory (train/{trainer_utils,dpo/trainer,kto/trainer}.py)
/// and TRL (trainer/{utils,dpo_trainer,kto_trainer}.py, experimental/{orpo,cpo}) run them. What is a
/// number for each sequence, or in TRL's for each token, is left out but for a few.
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

/// TRL's kernel writes the gradient of all logits into memory of its own (kernels/logprob_entropy.py).
inline void picked_by_kernel(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], n.input_dtype[0]);
}

/// logsumexp over the words: grad * exp(x - result).
inline void log_sum(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor difference = t.allocate(n.input_elements[0], grad.dtype());
  const Tensor p = t.allocate(n.input_elements[0], grad.dtype());
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

/// TRL's selective_log_softmax, summed up for each sequence: of fp32 logits the labels' less the
/// logarithm of the sum over all words, one sequence after the other; in 16 bits, where that is too
/// coarse, a log-softmax of each sequence. `shifted` is the caller's name for all logits but the last;
/// ms-swift moves the labels instead, and takes all.
inline Tensor selective_log_probabilities(Tape& t, const Setting& s, const Tensor& logits,
                                          const Tensor& labels, std::int64_t sequences, Tensor& shifted) {
  const bool is_whole = s.run.preference_code == PreferenceCode::ms_swift;
  const std::int64_t positions = is_whole ? s.run.length : s.run.length - 1;
  const std::int64_t words = s.model.vocabulary;
  shifted = is_whole ? logits : slice(t, logits, sequences * positions * words);
  if (s.run.copies_shifted_logits && sequences > 1) shifted = clone(t, shifted);
  if (s.run.picks_by_kernel) {
    auto op = t.record(gradient::picked_by_kernel, {&shifted});
    std::vector<Tensor> results;  // log-probability, entropy, the logarithm of the sum, the expected logit
    for (int i = 0; i < 4; ++i) results.push_back(t.allocate(sequences * positions, DType::fp32));
    op.save(shifted.detached()).save(labels).save(results[2]).save(results[3]);
    const Tensor picked = op.result(results.front());
    auto sum = t.record(gradient::masked_sum, {&picked});
    return sum.result(t.allocate(sequences, DType::fp32));
  }
  const auto pick = [&](const Tensor& from) {
    auto gather = t.record(gradient::gathered, {&from});
    gather.save(from).save(labels);
    return gather.result(t.allocate(from.elements() / words, from.dtype()));
  };
  const bool is_fp32 = logits.dtype() == DType::fp32;
  Tensor picked;
  if (is_fp32) picked = pick(shifted);
  std::vector<Tensor> rows;
  auto unbind = t.record(gradient::passed, {&shifted});
  unbind.joins_parts(sequences);
  for (std::int64_t i = 0; i < sequences; ++i)
    rows.push_back(unbind.result(shifted.viewed(positions * words)));
  std::vector<Tensor> parts;
  Tensor log_p;  // a name of the loop: the next is there before it goes
  for (const Tensor& row : rows) {
    if (is_fp32) {
      auto op = t.record(gradient::log_sum, {&row});
      op.save(row);
      t.use_workspace(row.elements() * element_size(DType::fp32));  // exp(x - largest)
      Tensor sum = t.allocate(positions, DType::fp32);
      op.save(sum);
      parts.push_back(op.result(std::move(sum)));
    } else {
      log_p = log_softmax(t, row);
      parts.push_back(pick(log_p));
    }
  }
  // Stacked and summed up at once; on paper, one after the other.
  const Tensor sums = t.allocate(sequences, logits.dtype());
  Tensor all = is_fp32 ? picked : parts.front();
  for (std::size_t i = is_fp32 ? 0 : 1; i < parts.size(); ++i)
    all = t.record(gradient::passed, {&all, &parts[i]}).result(sums);
  return t.record(gradient::passed, {&all}).result(sums);
}

/// The likelihood of the chosen answers, for ORPO and CPO: a cross-entropy over prompt and answer.
inline Tensor chosen_likelihood(Tape& t, const Setting& s, const Tensor& logits, std::int64_t pairs) {
  const std::int64_t words = s.model.vocabulary;
  const Tensor chosen = slice(t, logits, pairs * s.run.length * words);
  Tensor shifted = slice(t, chosen, pairs * (s.run.length - 1) * words);
  if (pairs > 1) shifted = clone(t, shifted);
  const Tensor labels = t.allocate(pairs * (s.run.length - 1), DType::int64);
  return likelihood(t, log_softmax(t, shifted), labels);
}

/// What TRL's DPO and KTO log of the policy's logits: their entropy, and their mean over the tokens of
/// the chosen and of the rejected answers, which are copied. How many tokens an answer has is not
/// known: all of them.
inline void measure_answers(Tape& t, const Setting& s, const Tensor& logits, std::int64_t sequences) {
  const std::int64_t row = (s.run.length - 1) * s.model.vocabulary;
  const bool is_copied = s.run.copies_shifted_logits || sequences == 1;
  {
    const Tensor flat = is_copied ? Tensor() : t.allocate(sequences * row, logits.dtype());
    measure_entropy(t, s, logits.dtype(), sequences * (s.run.length - 1));
  }
  const std::int64_t chosen = (sequences + 1) / 2, rejected = sequences - chosen;
  Tensor examples[2];
  if (s.run.objective == Objective::kto) {
    examples[0] = t.allocate(chosen * row, logits.dtype());
    examples[1] = t.allocate(rejected * row, logits.dtype());
  }
  { const Tensor picked = t.allocate(chosen * row, logits.dtype()); }
  const Tensor picked = t.allocate(rejected * row, logits.dtype());
}

/// The value of each sequence's last token.
inline Tensor last_values(Tape& t, const Tensor& values, std::int64_t sequences) {
  auto op = t.record(gradient::gathered, {&values});
  return op.result(t.allocate(sequences, values.dtype()));
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
