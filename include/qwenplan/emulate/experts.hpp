#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "qwenplan/emulate/setting.hpp"

namespace qwenplan::emulate {

/// The weights of a sparse MLP: all experts in two stacked tensors, as transformers 5 holds them.
struct ExpertWeights {
  Tensor router;   ///< [experts, hidden]
  Tensor gate_up;  ///< [experts, 2 * ffn, hidden]
  Tensor down;     ///< [experts, hidden, ffn]
};

/// Products of tokens sorted by expert with the weights of all experts: `visits` rows in all.
inline Work grouped_work(std::int64_t visits, std::int64_t input, std::int64_t weights, std::int64_t output, DType dtype) {
  Work work;
  work.kind = Work::Kind::matmul;
  work.rows = visits;
  work.inner = input / std::max<std::int64_t>(1, visits);
  work.columns = output / std::max<std::int64_t>(1, visits);
  work.count = work.products = 1;
  work.bytes = Saturating::multiply(Saturating::add(input, Saturating::add(weights, output)), element_size(dtype));
  work.dtype = dtype;
  return work;
}

namespace gradient {

/// x[index]: zeros of x, and a copy of them with the gradient put in.
inline void picked(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor zeros = t.allocate(n.input_elements[0], grad.dtype());
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}
/// grouped_mm(x, w): the weight's gradient, then the input's.
inline void grouped(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 1; i >= 0; --i) {
    if (n.input[i] == Tensor::kNone) continue;
    t.compute(grouped_work(n.size[0], n.input_elements[0], n.input_elements[1], grad.elements(), grad.dtype()));
    out[i] = t.allocate(n.input_elements[i], grad.dtype());
  }
}

/// A sum's gradient, spread over its terms and copied into their format.
inline void spread(Tape& t, const Node& n, const Tensor&, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], n.input_dtype[0]);
}

/// a /= b: the divisor's gradient, by way of the quotient, then the dividend's.
inline void divided_in_place(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  if (n.input[1] != Tensor::kNone) {
    const Tensor quotient = t.allocate(grad.elements(), grad.dtype());
    const Tensor again = t.allocate(grad.elements(), grad.dtype());
    const Tensor negative = t.allocate(grad.elements(), grad.dtype());
    out[1] = t.allocate(grad.elements(), grad.dtype());
  }
  out[0] = t.allocate(grad.elements(), grad.dtype());
}

}  // namespace gradient

/// Each token's scores, divided by their sum where they are; backward needs them as they were.
inline Tensor divided_by_sum(Tape& t, const Tensor& scores, std::int64_t tokens) {
  const Tensor sum = sum_to(t, scores, tokens);
  auto op = t.record(gradient::divided_in_place, {&scores, &sum});
  const Tensor before = op.active() ? t.allocate(scores.elements(), scores.dtype()) : Tensor();
  op.save(sum).save(before);
  return op.result(scores);
}

inline Tensor pick(Tape& t, const Tensor& x, const Tensor& index, std::int64_t elements) {
  auto op = t.record(gradient::picked, {&x});
  op.save(index);
  t.reads(elements * element_size(x.dtype()));
  return op.result(t.allocate(elements, x.dtype()));
}

inline Tensor grouped_matmul(Tape& t, const Tensor& x, const Tensor& weight, const Tensor& offsets,
                             std::int64_t visits, std::int64_t elements) {
  const Tensor in = cast(t, x, weight.dtype());
  auto op = t.record(gradient::grouped, {&in, &weight});
  if (weight.requires_grad()) op.save(in);
  if (in.requires_grad()) op.save(weight);
  op.save(offsets);
  op.sizes(visits);
  t.compute(grouped_work(visits, in.elements(), weight.elements(), elements, in.dtype()));
  return op.result(t.allocate(elements, in.dtype()));
}

/// What a router says of each token. A block that names these keeps them to its end.
struct Routing {
  Tensor logits, scores, chosen;
};

/// The experts that each token visits, and what each of them counts.
inline Routing route(Tape& t, Setting& s, const ExpertWeights& w, const Tensor& x) {
  const Experts& e = *s.model.experts;
  const std::int64_t visits = s.tokens() * e.per_token;
  Routing routing;
  const Tensor rows = t.record(gradient::passed, {&x}).result(x);  // its own view of the tokens
  routing.logits = linear(t, s, rows, w.router, {}, e.count);
  const Tensor probabilities = softmax(t, cast(t, routing.logits, DType::fp32), DType::fp32);
  auto top = t.record(gradient::picked, {&probabilities});
  Tensor value = t.allocate(visits, DType::fp32);
  routing.chosen = t.allocate(visits, DType::int64);
  top.save(routing.chosen);
  value = top.result(std::move(value));
  if (e.normalizes) value = divided_by_sum(t, value, s.tokens());
  // Mixtral's stay in fp32.
  const bool stays = s.model.architecture == Architecture::mixtral;
  routing.scores = stays ? std::move(value) : cast(t, value, routing.logits.dtype());
  return routing;
}

/// A mask's places filled with zeros where the tensor lies.
inline Tensor fill_masked_in_place(Tape& t, const Tensor& x, const Tensor& mask) {
  auto op = t.record(gradient::elementwise, {&x});
  op.save(mask);
  t.touch(2 * x.elements() * element_size(x.dtype()));
  return op.result(x);
}

/// Visits in the order of the experts, and what they bring; what says so is kept to the end of the block.
struct SortedVisits {
  Tensor tokens, experts, absent, sorted, order, inverse, narrow, counts, offsets;
  Tensor weights, states;
};

inline SortedVisits sort_visits(Tape& t, const Setting& s, const Routing& routing, const Tensor& x) {
  const std::int64_t visits = s.tokens() * s.model.experts->per_token, hidden = s.model.hidden;
  const auto numbers = [&] { return t.allocate(visits, DType::int64); };
  SortedVisits v;
  const auto pick_states = [&] {
    const Tensor rows = numbers();
    v.states = pick(t, x, rows, visits * hidden);
  };
  if (s.behavior.inverts_visits_first) {
    {
      const Tensor range = t.allocate(s.tokens(), DType::int64);
      v.tokens = numbers();
    }
    v.absent = t.allocate(visits, DType::boolean);
    v.experts = numbers();
    {
      const Tensor values = numbers();
      v.order = numbers();
    }
    v.inverse = numbers();
    { const Tensor range = numbers(); }
    v.sorted = numbers();
    v.weights = pick(t, routing.scores, v.order, visits);
    pick_states();
  } else {
    v.sorted = numbers();
    v.order = numbers();
    pick_states();
    v.weights = pick(t, routing.scores, v.order, visits);
  }
  v.narrow = t.allocate(visits, DType::int32);
  v.counts = t.allocate(s.model.experts->count, DType::int32);
  v.offsets = t.allocate(s.model.experts->count, DType::int32);
  if (s.behavior.masks_visits_first) {
    v.absent = t.allocate(visits, DType::boolean);
    v.states = fill_masked_in_place(t, v.states, v.absent);
  }
  return v;
}

/// The sparse MLP of Qwen's and Mistral's models with transformers' grouped matrix products: every
/// token is copied once for each expert that it visits, sorted by expert. Which expert it is does not
/// matter. Autocast does not know grouped products; it takes sums in fp32.
inline Tensor run_experts(Tape& t, Setting& s, const ExpertWeights& w, const Routing& routing, const Tensor& x) {
  const Experts& e = *s.model.experts;
  const std::int64_t tokens = s.tokens();
  const std::int64_t visits = tokens * e.per_token;
  const std::int64_t hidden = s.model.hidden;
  SortedVisits v = sort_visits(t, s, routing, x);

  Tensor product = grouped_matmul(t, v.states, w.gate_up, v.offsets, visits, Saturating::multiply(visits, 2 * e.ffn));
  if (s.behavior.masks_products) product = fill_masked(t, product, v.absent);
  {
    auto split = t.record(gradient::passed, {&product});
    split.joins_parts(2);
    const Tensor part = split.result(product.viewed(visits * e.ffn));
    const Tensor activated = silu(t, part);
    product = mul(t, activated, part);
  }
  product = grouped_matmul(t, product, w.down, v.offsets, visits, visits * hidden);
  if (s.behavior.masks_products) product = fill_masked(t, product, v.absent);
  Tensor weighted = mul(t, product, v.weights), absent_sorted;
  if (s.behavior.masks_visits_last) {
    if (s.behavior.inverts_visits_first) absent_sorted = t.allocate(visits, DType::boolean);
    weighted = fill_masked_in_place(t, weighted, absent_sorted ? absent_sorted : v.absent);
  }
  if (!v.inverse) {
    v.inverse = t.allocate(visits, DType::int64);
    const Tensor range = t.allocate(visits, DType::int64);
  }
  weighted = pick(t, weighted, v.inverse, visits * hidden);
  auto sum = t.record(gradient::spread, {&weighted});
  const Tensor total =
      sum.result(t.allocate(tokens * hidden, s.run.autocasts ? DType::fp32 : weighted.dtype()));
  return cast(t, total, x.dtype());
}

}  // namespace qwenplan::emulate
