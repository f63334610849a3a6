#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwenplan/emulate/loss.hpp"

/// Kernels that stand for head and cross-entropy, or for cross-entropy alone. They are not ATen: each
/// is described by what its Python code allocates and saves.
namespace qwenplan::emulate {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

namespace gradient {

/// Gradients that were made in the forward and saved: of the hidden states, and of the head.
inline void precomputed(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  { const Tensor one = t.allocate(1, DType::fp32); }  // which the loss' gradient is compared with
  out[0] = t.saved(n, 0);
  if (n.input[1] != Tensor::kNone) out[1] = t.saved(n, 1);
}

/// cut_cross_entropy's backward: the vocabulary sorted by average logit, gradients that are summed up in
/// the hidden states' format, and locks for that.
inline void cut(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const std::int64_t tokens = n.size[0], vocabulary = n.size[1], width = n.size[2];
  const std::int64_t columns = ceil_div(width, 64);
  Tensor ordering;
  {
    Tensor sorted = t.allocate(vocabulary, DType::fp32);
    const Tensor indices = t.allocate(vocabulary, DType::int64);
    sorted.reset();
    ordering = t.allocate(vocabulary, DType::int32);
  }
  // One kernel computes the logits again and both gradients.
  const bool is_trained = n.input[1] != Tensor::kNone;
  t.multiply(tokens, width, vocabulary, n.input_dtype[0], is_trained ? 3 : 2);
  Tensor of_hidden = t.allocate(n.input_elements[0], n.input_dtype[0]);
  Tensor of_weight;
  if (is_trained) of_weight = t.allocate(n.input_elements[1], n.input_dtype[0]);
  const Tensor locks = t.allocate(ceil_div(tokens, columns) * columns, DType::int32);
  const Tensor weight_locks = t.allocate(ceil_div(vocabulary, columns) * columns, DType::int32);
  out[0] = std::move(of_hidden), out[1] = std::move(of_weight);
}

/// Cross-entropy's gradient in memory of its own, in the logits' format.
inline void beside_logits(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], n.input_dtype[0]);
}

/// Cross-entropy's gradient written over the logits, which were saved.
inline void over_logits(Tape& t, const Node& n, const Tensor&, Tensor* out) { out[0] = t.saved(n, 0); }

}  // namespace gradient

/// TRL's fused head goes over tiles of so many tokens and words.
struct HeadTiles {
  static constexpr std::int64_t kTokens = 4096, kWords = 32768;
  std::int64_t tokens, vocabulary, width;
  DType hidden, weight, computed;
  Tensor logits, rows, words;  ///< names of its loops

  /// Forward the cast of a piece of the head has no name; backward it has one, and two gradients are made.
  void run(Tape& t, bool is_backward, int gradients) {
    logits = t.allocate(std::min(tokens, kTokens) * kWords, computed);
    t.use_matmul();
    for (std::int64_t first = 0; first < tokens; first += kTokens) {
      const std::int64_t size = std::min(kTokens, tokens - first);
      if (hidden != computed) rows = t.allocate(size * width, computed);
      for (std::int64_t word = 0; word < vocabulary; word += kWords) {
        const std::int64_t count = std::min(kWords, vocabulary - word);
        if (weight != computed) {
          words = t.allocate(count * width, computed);
          if (!is_backward) words.reset();
        }
        t.multiply(size, width, count, computed, 1, 0);
        t.touch((is_backward ? 2 : 1) * size * count * element_size(computed));
        for (int i = 0; i < gradients; ++i) t.multiply(size, count, width, computed, 1, 0);
      }
    }
  }
};

namespace gradient {

/// The logits once more, tile by tile, and gradients of hidden states and head that are summed up in fp32.
/// context: the setting; sizes: tokens, vocabulary, width.
inline void fused_head(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  const Setting& s = *static_cast<const Setting*>(n.context);
  const auto wide = [&](int input) {
    return n.input[input] == Tensor::kNone ? Tensor() : t.allocate(n.input_elements[input], DType::fp32);
  };
  const Tensor of_hidden = wide(0), of_weight = wide(1);
  HeadTiles tiles{n.size[0], n.size[1], n.size[2], n.input_dtype[0], n.input_dtype[1],
                  s.run.autocasts ? s.run.half : n.input_dtype[0], {}, {}, {}};
  tiles.run(t, true, (of_hidden ? 1 : 0) + (of_weight ? 1 : 0));
  if (of_hidden) out[0] = cast(t, of_hidden, n.input_dtype[0]);
  if (of_weight) out[1] = cast(t, of_weight, n.input_dtype[1]);
}

}  // namespace gradient

/// What TRL's fused head makes of hidden states: the log-probability of each label, and beside it for
/// nobody's gradient an entropy and whether the label is the likeliest word.
struct ScoredTokens {
  Tensor log_probabilities, entropy, is_top, mask;
};

/// TRL's fused head of 1.15 and later (kernels/chunked_logprob.py, add_fused_lm_head): no logits but a tile
/// of them. It takes the rows of labels that count; here all of them.
inline ScoredTokens fused_head(Tape& t, Setting& s, const Linear& head, const Tensor& hidden) {
  const Run& run = s.run;
  const std::int64_t tokens = run.rows() * (run.row_length() - 1), width = s.model.hidden;
  const Tensor shifted = slice(t, hidden, tokens * width);
  ScoredTokens scored;
  scored.mask = t.allocate(tokens, DType::boolean);
  Tensor rows;
  {
    auto op = t.record(gradient::masked_rows, {&shifted});
    op.sizes(2 * tokens).save(scored.mask);
    const Tensor where = t.allocate(2 * tokens, DType::int64);
    rows = op.result(t.allocate(tokens * width, hidden.dtype()));
  }
  Tensor targets;
  {
    const Tensor where = t.allocate(2 * tokens, DType::int64);
    targets = t.allocate(tokens, DType::int64);
  }
  auto op = t.record(gradient::fused_head, {&rows, &head.weight});
  op.sizes(tokens, s.model.vocabulary, width).context(&s);
  Tensor picked;
  {
    std::vector<Tensor> statistics;
    for (int i = 0; i < 7; ++i) statistics.push_back(t.allocate(tokens, DType::fp32));
    HeadTiles tiles{tokens, s.model.vocabulary, width, rows.dtype(), head.weight.dtype(),
                    run.autocasts ? run.half : rows.dtype(), {}, {}, {}};
    tiles.run(t, false, 0);
    Tensor normalizer;
    {
      const Tensor logarithm = t.allocate(tokens, DType::fp32);
      normalizer = t.allocate(tokens, DType::fp32);
    }
    picked = t.allocate(tokens, DType::fp32);
    {
      const Tensor ratio = t.allocate(tokens, DType::fp32);
      scored.entropy = t.allocate(tokens, DType::fp32);
    }
    scored.is_top = t.allocate(tokens, DType::boolean);
    op.save(rows.detached()).save(head.weight.detached()).save(targets).save(normalizer).save(scored.entropy);
    picked = op.result(std::move(picked));
  }
  auto scatter = t.record(gradient::passed, {&picked});
  scored.log_probabilities = scatter.result(t.allocate(tokens, DType::fp32));
  return scored;
}

/// The mean over all labels: TRL's supervised loss on its fused head.
inline Tensor fused_head_loss(Tape& t, Setting& s, const Linear& head, const Tensor& hidden) {
  const ScoredTokens scored = fused_head(t, s, head, hidden);
  const Tensor losses = scale(t, scored.log_probabilities);
  const Tensor sum = sum_to(t, losses, 1);
  const Tensor count = t.allocate(1, DType::int64);
  return divide(t, sum, count);
}

/// The tokens that Liger's loss takes at a time: so many that their logits are about as large as all
/// hidden states, as a power of two (ops/fused_linear_cross_entropy.py).
constexpr std::int64_t liger_chunk(std::int64_t tokens, std::int64_t vocabulary, std::int64_t hidden) {
  const std::int64_t wanted = ceil_div(tokens, ceil_div(vocabulary, hidden));
  std::int64_t power = 1;
  while (power < wanted) power *= 2;
  return std::min(power, tokens);
}

/// Liger's fused linear cross-entropy: logits of one piece at a time, their gradient written over them,
/// and the gradients of hidden states and head summed up in the forward, where nothing else is kept.
inline Tensor liger_loss(Tape& t, Setting& s, const Linear& head, const Tensor& hidden) {
  const Run& run = s.run;
  const std::int64_t tokens = run.tokens(), vocabulary = s.model.vocabulary, width = s.model.hidden;
  const std::int64_t chunk = liger_chunk(tokens, vocabulary, width);
  const Tensor& weight = head.weight;
  const bool trains_head = weight.requires_grad();
  Tensor padded;
  const Tensor labels = shifted_labels(t, run, padded);
  auto op = t.record(gradient::precomputed, {&hidden, &weight});
  const Tensor grad_hidden = t.allocate(hidden.elements(), hidden.dtype());
  const Tensor grad_weight = trains_head ? t.allocate(weight.elements(), weight.dtype()) : Tensor();
  const Tensor losses = t.allocate(tokens, DType::fp32);
  Tensor right;
  if (run.metrics != LogitMetrics::none) right = t.allocate(tokens, DType::fp32);
  const Tensor mask = t.allocate(tokens, DType::boolean);
  { const Tensor count = t.allocate(1, DType::int64); }
  // Products into memory that is there already, where no format has to change.
  const bool is_plain = hidden.dtype() == weight.dtype() &&
                        (!run.autocasts || hidden.dtype() == run.half);
  const bool reuses = s.behavior.liger_reuses_logits && is_plain;
  const DType dtype = run.autocasts ? run.half : hidden.dtype();
  t.use_matmul();
  {
    const Tape::NoGrad none(t);
    Tensor logits, scaled;
    if (reuses) logits = t.allocate(chunk * vocabulary, dtype);
    for (std::int64_t first = 0; first < tokens; first += chunk) {
      const std::int64_t rows = std::min(chunk, tokens - first);
      const Tensor x = hidden.viewed(rows * width);
      if (reuses) {
        t.multiply(rows, width, vocabulary, dtype, 1, 0);
        t.touch(2 * rows * vocabulary * element_size(dtype));
        t.multiply(rows, vocabulary, width, dtype, 1, 0);
      } else {
        {
          const Tensor w = autocast_once(t, s, weight);  // the transposed weight, whose cast is not kept
          const Tensor x_half = autocast_once(t, s, x);
          t.multiply(rows, width, vocabulary, dtype);
          logits = t.allocate(rows * vocabulary, dtype);
        }
        if (s.behavior.liger_upcasts_logits) {
          logits = t.allocate(rows * vocabulary, DType::fp32);
          logits = t.allocate(rows * vocabulary, dtype);
          scaled = t.allocate(rows * vocabulary, dtype);
        } else {
          t.touch(2 * rows * vocabulary * element_size(dtype));
        }
        const Tensor w = autocast(t, s, weight);
        t.multiply(rows, vocabulary, width, dtype);
        const Tensor product = t.allocate(rows * width, dtype);
      }
      if (trains_head) {
        const Tensor x_half = autocast_once(t, s, x);
        const bool sums_in_place = weight.dtype() == DType::fp32 && is_half(dtype)
                                       ? s.behavior.liger_sums_fp32_in_place
                                       : s.behavior.liger_sums_half_in_place;
        t.multiply(vocabulary, rows, width, dtype, 1, sums_in_place ? 0 : 1);
        if (!sums_in_place) {
          const Tensor product = t.allocate(weight.elements(), dtype);
          const Tensor wide = cast(t, product, DType::fp32);
        }
      }
      // Older code let go of a piece when the next took its name.
      if (!reuses && !s.behavior.liger_upcasts_logits) logits.reset();
    }
  }
  op.save(grad_hidden);
  if (trains_head) op.save(grad_weight);
  return op.result(t.allocate(1, DType::fp32));
}

/// Apple's cut_cross_entropy (cce.py): no logits at all. It keeps hidden states, a log-sum-exp for each
/// token and an average for each entry of the vocabulary.
inline Tensor cut_loss(Tape& t, const Setting& s, const Linear& head, const Tensor& hidden) {
  const Run& run = s.run;
  const std::int64_t tokens = run.rows() * (run.row_length() - 1);
  Tensor valid;
  {
    Tensor positions;
    {
      const Tensor mask = t.allocate(tokens, DType::boolean);
      positions = t.allocate(2 * tokens, DType::int64);
    }
    positions = t.allocate(2 * tokens, DType::int32);
    valid = t.allocate(tokens, DType::int64);
  }
  auto op = t.record(gradient::cut, {&hidden, &head.weight});
  op.sizes(tokens, s.model.vocabulary, s.model.hidden);
  t.multiply(tokens, s.model.hidden, s.model.vocabulary, hidden.dtype());
  const Tensor sums = t.allocate(tokens, DType::fp32);
  Tensor averages;
  {
    const Tensor locks = t.allocate(ceil_div(tokens, 128), DType::int32);
    averages = t.allocate(s.model.vocabulary, DType::fp32);
  }
  const Tensor products = t.allocate(tokens, DType::fp32);
  Tensor loss = t.allocate(1, DType::fp32);
  op.save(hidden.detached()).save(head.weight.detached()).save(sums).save(averages).hold(valid);
  return op.result(std::move(loss));
}

/// Pieces of Unsloth's fused loss: one while all logits in fp32 stay below half the free memory and
/// 4 GiB, then fours. With less than 8 GiB free there are more of them, and they need less.
constexpr std::int64_t unsloth_chunks(std::int64_t tokens, std::int64_t vocabulary) {
  constexpr std::int64_t kTarget = std::int64_t{4} << 30;
  const std::int64_t wanted = ceil_div(Saturating::multiply(4 * tokens, vocabulary), kTarget);
  return wanted <= 1 ? 1 : ceil_div(wanted, 4) * 4;
}

/// Unsloth's fused loss (unsloth_zoo, fused_losses/cross_entropy_loss.py): gradients made in the
/// forward, piece by piece, in one compiled function. Compiled, a piece has its logits and their
/// gradient in 16 bits; what is in fp32 stays in registers.
inline Tensor unsloth_loss(Tape& t, const Setting& s, const Linear& head, const Tensor& states) {
  const Run& run = s.run;
  const std::int64_t tokens = run.tokens(), vocabulary = s.model.vocabulary;
  const Tensor& weight = head.weight;
  const std::int64_t chunk = ceil_div(tokens, unsloth_chunks(tokens, vocabulary));
  auto op = t.record(gradient::precomputed, {&states, &weight});
  const Tensor labels = t.allocate(tokens, DType::int64);
  const Tensor grad_states = t.allocate(states.elements(), states.dtype());
  const bool trains_head = weight.requires_grad();
  const Tensor grad_weight = trains_head ? t.allocate(weight.elements(), weight.dtype()) : Tensor();
  Tensor loss = t.allocate(1, DType::fp32);
  t.use_matmul();
  const Tape::NoGrad none(t);
  const DType dtype = run.autocasts ? run.half : weight.dtype();
  for (std::int64_t first = 0; first < tokens; first += chunk) {
    const std::int64_t rows = std::min(chunk, tokens - first);
    const Tensor w_half = autocast_once(t, s, weight.detached());
    const std::int64_t width = s.model.hidden;
    t.multiply(rows, width, vocabulary, dtype);
    Tensor logits = t.allocate(rows * vocabulary, dtype);
    const Tensor rows_of_sums = t.allocate(2 * rows, DType::fp32);
    const Tensor gradient = t.allocate(rows * vocabulary, dtype);
    logits.reset();
    t.multiply(rows, vocabulary, width, dtype);
    const Tensor of_states = t.allocate(rows * width, dtype);
    if (trains_head) {
      t.multiply(vocabulary, rows, width, dtype);
      const Tensor of_weight = t.allocate(weight.elements(), dtype);
    }
  }
  op.save(grad_states);
  if (trains_head) op.save(grad_weight);
  return op.result(std::move(loss));
}

/// A kernel for cross-entropy alone: it keeps the logits and a log-sum-exp for each row.
/// flash-attn's takes them in fp32, Unsloth's as they are and writes the gradient over them.
inline Tensor kernel_loss(Tape& t, const Setting& s, const Tensor& logits) {
  const Run& run = s.run;
  const bool is_flash = run.fused_loss == FusedLoss::flash_attn;
  const Tensor scores = is_flash ? cast(t, logits, DType::fp32) : logits;
  Tensor padded;
  const Tensor labels = shifted_labels(t, run, padded);
  auto op = t.record(is_flash ? gradient::beside_logits : gradient::over_logits, {&scores});
  constexpr std::int64_t kBlock = 65536;
  const std::int64_t parts = is_flash ? 1 : ceil_div(s.model.vocabulary, kBlock);
  Tensor losses = t.allocate(run.tokens(), DType::fp32);
  Tensor sums = t.allocate(run.tokens() * parts, DType::fp32);
  if (parts > 1) sums = t.allocate(run.tokens(), DType::fp32);
  op.save(scores.detached()).save(sums).save(labels);
  losses = op.result(std::move(losses));
  return scale(t, sum_to(t, losses, 1));
}

}  // namespace qwenplan::emulate
