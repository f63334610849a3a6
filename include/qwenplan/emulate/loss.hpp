#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/experts.hpp"
#include "qwenplan/emulate/linear.hpp"

namespace qwenplan::emulate {

/// Labels moved by one token, as transformers' loss and its likes make them: padded, then copied
/// where there are several sequences. `padded` is held as long as a name holds it.
inline Tensor shifted_labels(Tape& t, const Run& run, Tensor& padded) {
  padded = t.allocate(run.rows() * (run.row_length() + 1), DType::int64);
  return run.rows() > 1 ? t.allocate(run.tokens(), DType::int64) : padded;
}

/// transformers' loss of a causal language model: logits in fp32, one step of shift between logits
/// and labels, cross-entropy as log-softmax and negative log-likelihood.
inline Tensor causal_lm_loss(Tape& t, const Setting& s, const Tensor& logits) {
  const Run& run = s.run;
  const bool is_batch = run.rows() > 1;
  const std::int64_t shifted = run.rows() * (run.row_length() - 1);
  const Tensor upcast = cast(t, logits, DType::fp32);  // a name that stays to the end
  Tensor scores = upcast;
  Tensor padded, labels;
  if (s.behavior.shifts_logits) {
    // A slice of one sequence is contiguous already; of several it is copied.
    scores = slice(t, scores, scores.elements() / run.tokens() * shifted);
    if (is_batch) scores = clone(t, scores);
    labels = t.allocate(is_batch ? shifted : 0, DType::int64);
  } else {
    padded = t.allocate(run.rows() * (run.row_length() + 1), DType::int64);
    labels = is_batch ? t.allocate(run.tokens(), DType::int64) : padded.viewed(run.tokens());
  }
  return likelihood(t, log_softmax(t, scores), labels);
}

/// A loss that the model computes because it is given labels, and that nobody asks for gradients: what
/// its graph holds as long as the model's output lives.
inline std::vector<Tensor> unused_loss(Tape& t, const Setting& s, const Tensor& logits) {
  const Tape::NoGrad none(t);
  const Tensor upcast = cast(t, logits, DType::fp32);
  Tensor padded;
  const Tensor labels = shifted_labels(t, s.run, padded);
  const Tensor log_p = log_softmax(t, upcast);
  const Tensor loss = t.allocate(1, DType::fp32);
  return {log_p, labels, loss, t.allocate(1, DType::fp32)};
}

/// The log-probability of each label, as LLaMA-Factory's second form takes it from the logits
/// (v1/core/base_trainer.py). Slices of one sequence are contiguous, those of several are copied.
inline Tensor label_log_probabilities(Tape& t, const Setting& s, const Tensor& logits, Tensor labels) {
  const Run& run = s.run;
  const bool is_batch = run.rows() > 1;
  const std::int64_t positions = run.rows() * (run.row_length() - 1);
  const Tensor wide = cast(t, logits, DType::fp32);
  const Tensor targets = is_batch ? t.allocate(positions, DType::int64) : labels.viewed(positions);
  Tensor shifted = slice(t, wide, positions * s.model.vocabulary);
  if (is_batch) shifted = clone(t, shifted);
  const Tensor losses = likelihood(t, log_softmax(t, shifted), targets, positions);
  return scale(t, losses);
}

/// The mean of negative log-probabilities by their weights.
inline Tensor weighted_loss(Tape& t, const Tensor& log_probabilities, const Tensor& weights) {
  const auto weighed = [&] {
    const Tensor losses = scale(t, log_probabilities);
    return mul(t, losses, weights);
  };
  const Tensor total = sum_to(t, weighed(), 1);
  Tensor weight = sum_to(t, weights, 1);
  weight = t.allocate(1, DType::fp32);  // and a little, against a division by zero
  return divide(t, total, weight);
}

/// How many labels count: nobody's gradient, and a number on the host.
inline void count_labels(Tape& t, std::int64_t tokens) {
  Tensor counted;
  {
    const Tensor labels = t.allocate(tokens, DType::int64);
    counted = t.allocate(tokens, DType::boolean);
  }
  const Tensor count = t.allocate(1, DType::int64);
}

/// Gemma 2 caps its logits; torchtune caps what they are made of. Cohere scales them.
inline Tensor capped(Tape& t, const Setting& s, Tensor logits) {
  if (s.model.is_cohere()) return scale(t, logits);
  if (s.model.architecture != Architecture::gemma2 || s.run.code == ModelCode::torchtune) return logits;
  return soft_capped(t, std::move(logits));
}

/// TRL's chunked_nll (trainer/sft_trainer.py): head and loss of so many tokens at a time, in fp32 but
/// for autocast, each piece under checkpointing of its own. Every piece casts the whole weight of the
/// head, forward and backward. Counts right tokens and sums up the entropy on the way.
class ChunkedNll final : public Tape::Layers {
 public:
  explicit ChunkedNll(Setting& setting) : s_(setting) {}

  Tensor operator()(Tape& t, const Linear& head, const Tensor& hidden) {
    const Run& run = s_.run;
    const std::int64_t tokens = run.rows() * (run.row_length() - 1);
    const std::int64_t width = s_.model.hidden;
    const bool is_batch = run.rows() > 1;
    Tensor rows = slice(t, hidden, tokens * width);
    if (is_batch) rows = clone(t, rows);
    Tensor labels = is_batch ? t.allocate(tokens, DType::int64) : Tensor();
    const Tensor valid = t.allocate(tokens, DType::boolean);
    const Tensor count = t.allocate(1, DType::int64);
    Tensor correct = t.allocate(1, DType::fp32);
    Tensor entropy = t.allocate(1, DType::fp32);
    { const Tensor is_empty = t.allocate(1, DType::boolean); }
    Tensor order;
    {
      const Tensor keys = t.allocate(tokens, DType::uint8);
      const Tensor sorted = t.allocate(tokens, DType::uint8);
      order = t.allocate(tokens, DType::int64);
    }
    rows = reordered(t, rows, order);
    labels = t.allocate(tokens, DType::int64);
    Tensor padded;
    {
      Tensor ratio = t.allocate(1, DType::fp32);
      ratio = t.allocate(1, DType::fp32);
      padded = t.allocate(1, DType::int64);
      ratio.reset();
      padded = t.allocate(1, DType::int64);
    }
    Tensor loss = t.allocate(1, DType::fp32);
    Tensor piece_loss;
    for (std::int64_t first = 0; first < tokens; first += run.loss_chunk_tokens) {
      const std::int64_t size = std::min(run.loss_chunk_tokens, tokens - first);
      const Tensor piece = slice(t, rows, size * width);
      piece_loss = t.checkpoint(*this, 0, {piece, labels.viewed(size), head.weight});
      loss = add(t, loss, piece_loss);
      correct = add(t, correct, correct_);
      entropy = add(t, entropy, entropy_);
    }
    loss = divide(t, loss, count);
    correct_ = std::move(correct), entropy_ = std::move(entropy);
    return loss;
  }

  /// Lets go of what is returned beside the loss.
  void drop_metrics() { correct_.reset(), entropy_.reset(); }

  Tensor run(Tape& t, std::int32_t, const std::vector<Tensor>& arguments) override {
    const Tensor &rows = arguments[0], &labels = arguments[1], &weight = arguments[2];
    const std::int64_t count = labels.elements();
    Tensor logits;
    {
      const Tensor wide = cast(t, rows, DType::fp32);
      const Tensor wide_weight = cast(t, weight, DType::fp32);
      const Tensor w = autocast_once(t, s_, wide_weight);
      const Tensor x = autocast_once(t, s_, wide);
      logits = emulate::linear(t, x, w, {}, count, s_.model.vocabulary);
    }
    logits = capped(t, s_, logits);
    const Tensor log_p = log_softmax(t, cast(t, logits, DType::fp32));
    Tensor loss = likelihood(t, log_p, labels);
    const Tensor valid = t.allocate(count, DType::boolean);
    Tensor right;
    {
      const Tensor best = t.allocate(count, DType::int64);
      right = t.allocate(count, DType::boolean);
    }
    right = t.allocate(count, DType::boolean);
    right = t.allocate(1, DType::int64);
    right = t.allocate(1, DType::fp32);
    Tensor sum = entropy(t, log_p, valid);
    if (!t.stopped()) correct_ = std::move(right), entropy_ = std::move(sum);
    return loss;
  }

  Tensor run_again(Tape& t, std::int32_t layer, const std::vector<Tensor>& arguments) override {
    return run(t, layer, arguments);
  }

 private:
  /// x[order]
  static Tensor reordered(Tape& t, const Tensor& x, const Tensor& order) {
    auto op = t.record(gradient::picked, {&x});
    op.save(order);
    return op.result(t.allocate(x.elements(), x.dtype()));
  }

  /// -(log_p.exp() * log_p).sum(-1) of the tokens that count. Nobody asks for its gradient.
  Tensor entropy(Tape& t, const Tensor& log_p, const Tensor& valid) const {
    const std::int64_t count = log_p.elements() / s_.model.vocabulary;
    Tensor terms;
    {
      auto exponential = t.record(gradient::elementwise, {&log_p});
      const Tensor p = t.allocate(log_p.elements(), DType::fp32);
      exponential.drop(p);
      t.record(gradient::multiplied, {&log_p, &p}).drop(log_p).drop(p);
      terms = t.allocate(log_p.elements(), DType::fp32);
    }
    terms = t.allocate(count, DType::fp32);
    terms = t.allocate(count, DType::fp32);
    t.record(gradient::elementwise, {&log_p}).drop(valid);
    terms = t.allocate(count, DType::fp32);
    return t.allocate(1, DType::fp32);
  }

  Setting& s_;
  Tensor correct_, entropy_;
};

/// Labels moved by one token, as torchtune's recipes do it: joined with a column that is kept for that.
inline Tensor moved_labels(Tape& t, const Run& run) { return t.allocate(run.tokens(), DType::int64); }

/// torchtune's LinearCrossEntropyLoss: head and cross-entropy of one of so many pieces of the length
/// at a time, of the tokens that count. What their backward needs is kept of all of them.
inline Tensor linear_cross_entropy(Tape& t, Setting& s, Linear& head, const Tensor& hidden) {
  const Run& run = s.run;
  const Tensor labels = moved_labels(t, run);
  const Tensor mask = t.allocate(run.tokens(), DType::boolean);
  const Tensor count = t.allocate(1, DType::int64);
  const std::int64_t pieces = std::min(run.loss_chunks, run.row_length());
  std::vector<Tensor> parts;
  for (std::int64_t i = 0; i < pieces; ++i) {
    // The first pieces take what the division leaves.
    const std::int64_t length = run.row_length() / pieces + (i < run.row_length() % pieces);
    parts.push_back(slice(t, hidden, run.rows() * length * s.model.hidden));
  }
  Tensor total;
  for (const Tensor& part : parts) {
    const std::int64_t tokens = part.elements() / s.model.hidden;
    Tensor loss;
    {
      const Tensor counts = t.allocate(tokens, DType::boolean);
      {
        const Tensor sum = t.allocate(1, DType::int64);
        const Tensor is_empty = t.allocate(1, DType::boolean);
      }
      Tensor target, rows;
      {
        const Tensor where = t.allocate(2 * tokens, DType::int64);
        target = t.allocate(tokens, DType::int64);
      }
      {
        auto op = t.record(gradient::masked_rows, {&part});
        op.sizes(2 * tokens).save(counts);
        const Tensor where = t.allocate(2 * tokens, DType::int64);
        rows = op.result(t.allocate(part.elements(), part.dtype()));
      }
      const Tensor logits = run_linear(t, s, head, rows);
      loss = likelihood(t, log_softmax(t, cast(t, logits, DType::fp32)), target);
    }
    total = total ? add_in_place(t, total, loss) : add_scalar(t, loss);
  }
  { const Tensor is_empty = t.allocate(1, DType::boolean); }
  return divide(t, total, count);
}

/// The pieces of a tensor that split or chunk makes of so many rows, at most `most` each.
inline std::vector<Tensor> split(Tape& t, const Tensor& x, std::int64_t rows, std::int64_t most) {
  const std::int64_t width = x.elements() / std::max<std::int64_t>(1, rows);
  std::vector<Tensor> pieces;
  auto op = t.record(gradient::passed, {&x});
  op.joins_parts((rows + most - 1) / most);
  for (std::int64_t first = 0; first < rows; first += most) {
    const Tensor part = op.result(x.viewed(std::min(most, rows - first) * width));
    pieces.push_back(t.record(gradient::passed, {&part}).result(part));  // sums up the gradients of its uses
  }
  return pieces;
}

/// The head's output of each piece of the hidden states. A piece of several sequences is no matrix:
/// torch.matmul copies it for a weight that is trained, else it multiplies them one by one.
inline std::vector<Tensor> chunked_logits(Tape& t, Setting& s, Linear& head, const Tensor& hidden,
                                          std::int64_t most) {
  const bool copies = s.run.rows() > 1 && head.weight.requires_grad();
  std::vector<Tensor> logits;
  for (const Tensor& piece : split(t, hidden, s.run.row_length(), most)) {
    const Tensor rows = copies ? clone(t, piece) : piece;
    logits.push_back(capped(t, s, run_linear(t, s, head, rows)));
  }
  return logits;
}

/// Pieces of the length: of so many, as torch.chunk cuts them.
inline std::int64_t chunk_length(const Run& run) { return (run.row_length() + run.loss_chunks - 1) / run.loss_chunks; }

/// torchtune's CEWithChunkedOutputLoss: of all logits, each piece of them in fp32 for itself.
inline Tensor chunked_output_loss(Tape& t, const Setting& s, const std::vector<Tensor>& logits) {
  const Run& run = s.run;
  const Tensor labels = moved_labels(t, run);
  Tensor count;
  {
    const Tensor mask = t.allocate(run.tokens(), DType::boolean);
    count = t.allocate(1, DType::int64);
  }
  std::vector<Tensor> targets;
  for (const Tensor& piece : logits)
    targets.push_back(run.rows() > 1 ? t.allocate(piece.elements() / s.model.vocabulary, DType::int64)
                                          : labels);
  Tensor total;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const Tensor loss = likelihood(t, log_softmax(t, cast(t, logits[i], DType::fp32)), targets[i]);
    total = total ? add_in_place(t, total, loss) : add_scalar(t, loss);
  }
  return divide(t, total, count);
}

namespace gradient {

/// Parts of a concatenation take views of its gradient.
inline void parts(Tape&, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 0; i < 2; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = grad.viewed(n.input_elements[i]);
}

}  // namespace gradient

/// torch.cat(pieces).sum(), divided by a count on the device that is at least one.
inline Tensor mean_of_pieces(Tape& t, const std::vector<Tensor>& pieces) {
  std::int64_t elements = 0;
  for (const Tensor& piece : pieces) elements += piece.elements();
  Tensor sum;
  {
    Tensor all = t.allocate(elements, pieces.front().dtype());
    // Concatenated one by one on paper, all at once in memory.
    const Tensor memory = all.detached();
    std::int64_t joined = pieces.front().elements();
    Tensor before = pieces.front();
    for (std::size_t i = 1; i < pieces.size(); ++i) {
      joined += pieces[i].elements();
      auto op = t.record(gradient::parts, {&before, &pieces[i]});
      all = op.result(memory.viewed(joined));
      before = all;
    }
    if (pieces.size() == 1) all = t.record(gradient::parts, {&before}).result(memory);
    sum = sum_to(t, all, 1);
  }
  Tensor divisor;
  {
    const Tensor one = t.allocate(1, DType::int64);
    divisor = t.allocate(1, DType::int64);
  }
  return divide(t, sum, divisor);
}

/// The loss of each token in litgpt's pieces of the logits. The log-softmax has the logits' format;
/// autocast casts it for the likelihood.
inline Tensor litgpt_loss_of(Tape& t, Setting& s, const std::vector<Tensor>& pieces,
                             const std::vector<Tensor>& targets) {
  std::vector<Tensor> losses;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::int64_t tokens = pieces[i].elements() / s.model.vocabulary;
    const Tensor log_p = log_softmax(t, pieces[i]);
    losses.push_back(
        likelihood(t, s.run.autocasts ? cast(t, log_p, DType::fp32) : log_p, targets[i], tokens));
  }
  Tensor count;
  {
    const Tensor mask = t.allocate(s.run.rows() * (s.run.row_length() - 1), DType::boolean);
    count = t.allocate(1, DType::int64);
  }
  return mean_of_pieces(t, losses);
}

/// litgpt's chunked_cross_entropy where adapters are trained: the head's output in pieces of the length.
/// Its loop holds all of them through backward.
inline Tensor litgpt_loss(Tape& t, Setting& s, Linear& head, Tensor hidden, std::vector<Tensor>& logits) {
  const Run& run = s.run;
  const bool is_batch = run.rows() > 1;
  logits = chunked_logits(t, s, head, hidden, run.loss_chunk_tokens);
  hidden.reset();
  const std::int64_t last = logits.back().elements() / run.rows() / s.model.vocabulary - 1;
  const std::int64_t last_tokens = run.rows() * last;
  logits.back() = slice(t, logits.back(), last_tokens * s.model.vocabulary);
  std::vector<Tensor> rows, targets;
  for (const Tensor& piece : logits) {
    const bool is_cut = &piece == &logits.back();
    rows.push_back(is_batch && is_cut ? clone(t, piece) : piece);
  }
  for (const Tensor& piece : rows)
    targets.push_back(is_batch ? t.allocate(piece.elements() / s.model.vocabulary, DType::int64) : Tensor());
  return litgpt_loss_of(t, s, rows, targets);
}

/// The same where all weights are trained: all logits at once, and pieces of them.
inline Tensor litgpt_loss(Tape& t, Setting& s, const Tensor& logits) {
  const Run& run = s.run;
  const bool is_batch = run.rows() > 1;
  const std::int64_t tokens = run.rows() * (run.row_length() - 1);
  const std::int64_t vocabulary = s.model.vocabulary;
  Tensor rows = slice(t, logits, tokens * vocabulary);
  if (is_batch) rows = clone(t, rows);
  const Tensor labels = is_batch ? t.allocate(tokens, DType::int64) : Tensor();
  const std::vector<Tensor> pieces = split(t, rows, tokens, run.loss_chunk_tokens);
  return litgpt_loss_of(t, s, pieces, std::vector<Tensor>(pieces.size(), labels));
}

namespace gradient {

/// Cross-entropy as torch.compile makes it of one piece: the gradient in the logits' format.
inline void compiled_cross_entropy(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], n.input_dtype[0]);
}

}  // namespace gradient

/// axolotl's chunked_cross_entropy (monkeypatch/loss/chunked.py): the model's own logits, whose pieces
/// go through a compiled cross-entropy. It keeps no log-softmax but largest logit and sum of each row,
/// and makes the fp32 copy in registers. The gradients of all pieces are joined at the end.
inline Tensor compiled_chunked_loss(Tape& t, const Setting& s, const Tensor& logits) {
  const Run& run = s.run;
  Tensor padded;
  const Tensor labels = shifted_labels(t, run, padded);
  Tensor total;
  for (const Tensor& piece : split(t, logits, run.row_length(), chunk_length(run))) {
    const Tensor rows = run.rows() > 1 ? clone(t, piece) : piece;
    const std::int64_t tokens = rows.elements() / s.model.vocabulary;
    auto op = t.record(gradient::compiled_cross_entropy, {&rows});
    op.save(rows).save(labels);
    const Tensor largest = t.allocate(tokens, DType::fp32);
    const Tensor sums = t.allocate(tokens, DType::fp32);
    op.save(largest).save(sums);
    const Tensor loss = op.result(t.allocate(1, DType::fp32));
    total = total ? add_in_place(t, total, loss) : add_scalar(t, loss);
  }
  return scale(t, total);
}

/// TRL's entropy_from_logits: the entropy of 128 tokens at a time. The log-softmax of the last of them is
/// a name of the loop: the next is there before it goes.
inline void measure_entropy(Tape& t, const Setting& s, DType dtype, std::int64_t tokens) {
  constexpr std::int64_t kRows = 128;
  const std::int64_t vocabulary = s.model.vocabulary;
  std::vector<Tensor> entropies;
  Tensor log_p;
  for (std::int64_t first = 0; first < tokens; first += kRows) {
    const std::int64_t rows = std::min(kRows, tokens - first);
    log_p = t.allocate(rows * vocabulary, dtype);
    const Tensor p = t.allocate(rows * vocabulary, dtype);
    const Tensor terms = t.allocate(rows * vocabulary, dtype);
    entropies.push_back(t.allocate(rows, dtype));
  }
  const Tensor entropy = t.allocate(tokens, dtype);
}

/// What TRL computes from the logits to log it: which token is likeliest, up to 1.5 from a copy of the
/// shifted logits, and the entropy. Where accelerate lets autocast cast, it has put the model's outputs
/// into fp32.
inline void measure_logits(Tape& t, const Setting& s, Tensor& logits) {
  const Run& run = s.run;
  const std::int64_t tokens = run.rows() * (run.row_length() - 1);
  const std::int64_t vocabulary = s.model.vocabulary;
  if (run.autocasts && is_half(logits.dtype())) logits = t.allocate(logits.elements(), DType::fp32);
  {
    const bool copies = run.metrics == LogitMetrics::accuracy || run.rows() > 1;
    const Tensor shifted = copies ? t.allocate(tokens * vocabulary, logits.dtype()) : Tensor();
    if (run.metrics == LogitMetrics::entropy) measure_entropy(t, s, logits.dtype(), tokens);
    if (run.metrics == LogitMetrics::accuracy) {
      const Tensor best = t.allocate(tokens, DType::int64);
      const Tensor right = t.allocate(tokens, DType::boolean);
      return;
    }
  }
  const Tensor best = t.allocate(tokens, DType::int64);
  const Tensor right = t.allocate(tokens, DType::boolean);
}

}  // namespace qwenplan::emulate
