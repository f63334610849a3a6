#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "qwenplan/emulate/attention.hpp"
#include "qwenplan/emulate/linear.hpp"
#include "qwenplan/emulate/loss.hpp"
#include "qwenplan/emulate/optimizer.hpp"
#include "qwenplan/emulate/weights.hpp"

/// litgpt's own GPT (litgpt/model.py, lora.py) in the loop of its finetune scripts, under Lightning
/// Fabric: the precision plugin casts the logits to fp32, and the loop's names hold them until the
/// next forward has made others.
namespace qwenplan::emulate::litgpt {

namespace gradient {

/// A concatenation with an empty part: both gradients are views.
inline void joined_with_nothing(Tape&, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = grad.viewed(n.input_elements[0]);
  out[1] = grad.viewed(0);
}

/// conv1d over one position: the input's and the weight's gradient. size: tokens, rank, outputs.
inline void convolved(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  if (n.input[0] != Tensor::kNone) {
    t.multiply(n.size[0], n.size[2], n.size[1], grad.dtype());
    out[0] = t.allocate(n.input_elements[0], grad.dtype());
  }
  if (n.input[1] != Tensor::kNone) {
    t.multiply(n.size[2], n.size[0], n.size[1], grad.dtype());
    out[1] = t.allocate(n.input_elements[1], grad.dtype());
  }
}

/// The parts of a concatenation are views of its gradient.
inline void parted(Tape&, const Node& n, const Tensor& grad, Tensor* out) {
  for (int i = 0; i < Node::kInputs; ++i)
    if (n.input[i] != Tensor::kNone) out[i] = grad.viewed(n.input_elements[i]);
}

/// Rows put into zeros by an index: their gradient is picked again. size: elements of the rows.
inline void put(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(n.size[0], grad.dtype());
}

}  // namespace gradient

/// A view that hands its gradient on.
inline Tensor alias(Tape& t, const Tensor& x) {
  auto op = t.record(emulate::gradient::passed, {&x});
  return op.result(x);
}

/// A block's weights: query, key and value are one layer.
struct Block {
  Tensor norm_1, norm_2, q_norm, k_norm;
  Linear qkv, proj, fc_1, fc_2, mlp_proj;
  Tensor places;  ///< where an adapter's outputs go among those of qkv, where it does not have all
};

/// A model in training by litgpt's finetune scripts on one GPU, which never checkpoint.
class Training {
 public:
  Training(Tape& tape, Setting& setting) : t_(tape), s_(setting) {}

  void load() {
    const Model& m = s_.model;
    if (s_.run.is_quantized() && s_.run.double_quantizes)
      quantization_map_ = t_.allocate(256, DType::fp32, Term::quantization);
    head_ = linear_layer(m.hidden, m.vocabulary, false, lm_head);
    embedding_ = weight(m.vocabulary * m.hidden);
    blocks_.resize(static_cast<std::size_t>(m.layers));
    for (Block& block : blocks_) {
      block.norm_1 = weight(m.hidden);
      block.qkv = linear_layer(m.hidden, m.query_size() + 2 * m.kv_size(), m.has_qkv_bias, 0);
      adapt_qkv(block.qkv);
      block.proj = linear_layer(m.query_size(), m.hidden, false, o_proj);
      if (m.has_qk_norm) {
        block.q_norm = weight(m.head_dim);
        block.k_norm = weight(m.head_dim);
      }
      block.norm_2 = weight(m.hidden);
      block.fc_1 = linear_layer(m.hidden, m.ffn, false, gate_proj);
      block.fc_2 = linear_layer(m.hidden, m.ffn, false, up_proj);
      block.mlp_proj = linear_layer(m.ffn, m.hidden, false, down_proj);
    }
    final_norm_ = weight(m.hidden);
  }

  void prepare() {
    if (s_.run.is_quantized() && s_.run.stable_embedding) make_stable_embedding();
    optimizer_.emplace(s_.run.optimizer, Tensor());
    optimizer_->begin(t_);
    // The table is made anew for the longest sample, in fp32.
    cos_ = t_.allocate(s_.run.length * s_.model.head_dim, DType::fp32, Term::buffers);
    sin_ = t_.allocate(s_.run.length * s_.model.head_dim, DType::fp32, Term::buffers);
  }

  void make_inputs() {
    t_.set_term(Term::inputs);
    ids_ = t_.allocate(s_.tokens(), DType::int64);
    labels_ = t_.allocate(s_.tokens(), DType::int64);
  }

  void micro_step(int step, int micro) {
    if (t_.is_read_enough()) return;
    t_.enter(Phase::forward, step, micro);
    logits_ = forward();
    graph_.clear();  // the old logits were its last name
    t_.enter(Phase::loss, step, micro);
    {
      const Tape::InSection section(t_, Section::head);
      loss_ = s_.run.method == Method::full ? loss_of_whole() : loss_of_chunks();
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    t_.set_term(Term::temporary);
    {
      const Tensor share = scale(t_, loss_);
      t_.backward(share);
    }
    loss_ = running_ = loss_.detached();
    for (Tensor& piece : logits_) piece = piece.detached();
    graph_ = t_.take_held();
    t_.forget();
  }

  void optimizer_step(int step) {
    if (t_.is_read_enough()) return;
    t_.enter(Phase::step, step, 0);
    std::vector<Tensor> apart;
    for (const std::size_t leaf : not_optimized_) apart.push_back(std::move(t_.leaves()[leaf].grad));
    optimizer_->step(t_);
    for (Leaf& leaf : t_.leaves()) leaf.grad.reset();
    for (std::size_t i = 0; i < apart.size(); ++i) t_.leaves()[not_optimized_[i]].grad = std::move(apart[i]);
  }

 private:
  /// The head and the loss of `lora` go over so many tokens at a time, the loss of `full` too.
  std::int64_t chunk() const { return s_.run.loss_chunk_tokens; }

  Tensor weight(std::int64_t elements) {
    Tensor tensor = t_.allocate(elements, s_.run.weights, Term::weights);
    return s_.run.method == Method::full ? t_.parameter(std::move(tensor)) : tensor;
  }

  Tensor adapter(std::int64_t elements) {
    return t_.parameter(t_.allocate(elements, s_.run.adapter, Term::adapters));
  }

  Linear linear_layer(std::int64_t inputs, std::int64_t outputs, bool has_bias, ModuleSet module) {
    Linear layer = detail::dense(t_, s_, inputs, outputs, has_bias);
    if (s_.run.is_quantized()) {
      layer.weight = t_.allocate(inputs * outputs, DType::fp16, Term::temporary);  // Fabric's way there
      detail::quantize_4bit(t_, s_, layer, quantization_map_);
    }
    if (s_.run.has_adapters() && (s_.run.lora_targets & module)) {
      layer.lora_a = adapter(s_.run.lora_rank * inputs);
      layer.lora_b = adapter(outputs * s_.run.lora_rank);
    }
    return layer;
  }

  /// LoRAQKVLinear: the A of query, key and value are one matrix, and so are their B.
  void adapt_qkv(Linear& qkv) {
    if (!s_.run.has_adapters() || adapted_parts() == 0) return;
    qkv.lora_a = adapter(adapted_parts() * s_.run.lora_rank * qkv.inputs);
    qkv.lora_b = adapter(adapted_size() * s_.run.lora_rank);
  }

  std::vector<std::int64_t> sizes_of_parts() const {
    std::vector<std::int64_t> sizes;
    if (s_.run.lora_targets & q_proj) sizes.push_back(s_.model.query_size());
    if (s_.run.lora_targets & k_proj) sizes.push_back(s_.model.kv_size());
    if (s_.run.lora_targets & v_proj) sizes.push_back(s_.model.kv_size());
    return sizes;
  }
  std::int64_t adapted_parts() const { return static_cast<std::int64_t>(sizes_of_parts().size()); }
  std::int64_t adapted_size() const {
    std::int64_t size = 0;
    for (const std::int64_t part : sizes_of_parts()) size += part;
    return size;
  }

  /// A quantized model gets bitsandbytes' StableEmbedding in place of its own after the optimizer was
  /// made: it takes gradients that nobody uses or clears.
  void make_stable_embedding() {
    const std::int64_t width = s_.model.hidden;
    const auto train = [&](std::int64_t elements) {
      Tensor tensor = t_.parameter(t_.allocate(elements, s_.run.weights, Term::weights));
      not_optimized_.push_back(t_.leaf_number(tensor));
      return tensor;
    };
    first_embedding_ = embedding_;  // the optimizer has it
    embedding_ = train(embedding_.elements());
    embedding_norm_ = train(width);
    embedding_norm_bias_ = train(width);
  }

  Tensor embed() {
    Tensor x = embedding(t_, embedding_, ids_, s_.model.hidden);
    if (!embedding_norm_) return x;
    return layer_norm(t_, x, embedding_norm_, embedding_norm_bias_, s_.tokens());
  }

  /// RMSNorm in fp32.
  Tensor rms_norm(const Tensor& weight, const Tensor& input, std::int64_t groups) {
    const Tensor x = cast(t_, input, DType::fp32);
    Tensor means;
    {
      const Tensor squares = mul(t_, x, x);
      means = mean(t_, squares, groups);
    }
    Tensor normal;
    {
      Tensor roots;
      {
        const Tensor shifted = add_scalar(t_, means);
        roots = rsqrt(t_, shifted);
      }
      normal = mul(t_, x, roots);
    }
    const Tensor factor = s_.model.is_gemma() ? add_scalar(t_, weight) : weight;
    Tensor out;
    {
      const Tensor wide = cast(t_, factor, DType::fp32);
      out = mul(t_, normal, wide);
    }
    return cast(t_, out, input.dtype());
  }

  Tensor base_linear(Linear& layer, const Tensor& x) {
    return layer.is_quantized ? linear_4bit(t_, s_, layer, x)
                              : linear(t_, s_, x, layer.weight, layer.bias, layer.outputs);
  }

  /// x @ w.T of an adapter's matrix: the transposed view keeps autocast from keeping its cast.
  Tensor product(const Tensor& x, const Tensor& w, std::int64_t outputs) {
    const Tensor matrix = autocast_once(t_, s_, w);
    const Tensor rows = autocast_once(t_, s_, x);
    return emulate::linear(t_, rows, matrix, {}, rows.elements() / (w.elements() / outputs), outputs);
  }

  /// LoRALinear.
  Tensor run_linear(Linear& layer, const Tensor& x) {
    const Tensor pretrained = base_linear(layer, x);
    if (!layer.lora_a) return pretrained;
    const Tape::InSection section(t_, Section::adapters);
    Tensor lora;
    {
      Tensor low;
      {
        const Tensor in = s_.run.lora_dropout > 0 ? dropout(t_, x) : x;
        low = product(in, layer.lora_a, s_.run.lora_rank);
      }
      lora = product(low, layer.lora_b, layer.outputs);
    }
    lora = scale(t_, lora);
    return add(t_, pretrained, lora);
  }

  /// conv1d of one part's low-rank values, over one position.
  Tensor convolution(const Tensor& x, const Tensor& w, std::int64_t outputs) {
    const Tensor matrix = autocast_once(t_, s_, w);
    auto op = t_.record(gradient::convolved, {&x, &matrix});
    const std::int64_t rank = x.elements() / s_.tokens();
    op.sizes(s_.tokens(), rank, outputs).save(x).save(matrix);
    t_.multiply(s_.tokens(), rank, outputs, x.dtype());
    return op.result(t_.allocate(s_.tokens() * outputs, x.dtype()));
  }

  /// LoRAQKVLinear.conv1d: grouped queries are split, and their parts concatenated.
  Tensor upward(const Tensor& low, const Linear& layer) {
    const Tensor matrices = alias(t_, layer.lora_b);  // a view with one more dimension
    if (s_.model.heads == s_.model.kv_heads) return convolution(low, matrices, adapted_size());
    const std::vector<std::int64_t> sizes = sizes_of_parts();
    auto chunk = t_.record(emulate::gradient::passed, {&low});
    chunk.joins_parts(adapted_parts());
    auto split = t_.record(emulate::gradient::passed, {&matrices});
    split.joins_parts(adapted_parts());
    std::vector<Tensor> parts;
    for (const std::int64_t size : sizes) {
      const Tensor values = chunk.result(low.viewed(s_.tokens() * s_.run.lora_rank));
      const Tensor matrix = split.result(matrices.viewed(size * s_.run.lora_rank));
      parts.push_back(convolution(values, matrix, size));
    }
    while (parts.size() < 3) parts.emplace_back();
    auto join = t_.record(gradient::parted, {&parts[0], &parts[1], &parts[2]});
    return join.result(t_.allocate(s_.tokens() * adapted_size(), low.dtype()));
  }

  /// LoRAQKVLinear.
  Tensor query_key_value(Block& block, const Tensor& x) {
    Linear& layer = block.qkv;
    const Tensor pretrained = base_linear(layer, x);
    if (!layer.lora_a) return pretrained;
    const Tape::InSection section(t_, Section::adapters);
    Tensor low;
    {
      const Tensor in = s_.run.lora_dropout > 0 ? dropout(t_, x) : x;
      low = linear(t_, s_, in, layer.lora_a, {}, adapted_parts() * s_.run.lora_rank);
      if (s_.run.micro_batch > 1) low = reordered_view(t_, low);
    }
    const Tensor up = upward(low, layer);
    Tensor lora;
    if (adapted_parts() < 3) {
      const Tensor padded = t_.allocate(s_.tokens() * layer.outputs, up.dtype());
      if (!block.places) block.places = t_.allocate(adapted_size(), DType::int64, Term::buffers);
      const Tensor places = t_.allocate(adapted_size(), DType::int64);
      auto op = t_.record(gradient::put, {&up});
      op.sizes(up.elements()).save(places).save(up);
      lora = scale(t_, op.result(padded));
    } else {
      lora = scale(t_, up);
    }
    return add(t_, pretrained, lora);
  }

  /// apply_rope, in fp32 for the table's sake.
  Tensor rotate(const Tensor& heads) {
    const Tensor x = alias(t_, heads);
    const Tensor turned = rotate_half(t_, x);
    Tensor sum;
    {
      const Tensor a = mul(t_, x, cos_);
      const Tensor b = mul(t_, turned, sin_);
      sum = add(t_, a, b);
    }
    return cast(t_, sum, heads.dtype());
  }

  /// torch.cat of what was turned and of the rest of a head, which is empty.
  Tensor joined_with_rest(const Tensor& turned, const Tensor& heads) {
    auto rest_of = t_.record(emulate::gradient::widened, {&heads});
    const Tensor rest = rest_of.result(heads.viewed(0));
    auto op = t_.record(gradient::joined_with_nothing, {&turned, &rest});
    return op.result(t_.allocate(turned.elements(), turned.dtype()));
  }

  /// The mask of a model with a window, however long that is: made anew in each layer, row by row.
  Tensor window_mask(DType dtype) {
    const std::int64_t length = s_.run.length;
    Tensor causal;
    {
      const Tensor ones = t_.allocate(length * length, dtype);
      causal = t_.allocate(length * length, dtype);
    }
    { const Tensor is_hidden = t_.allocate(length * length, DType::boolean); }
    t_.compute({.launches = static_cast<std::int32_t>(length)});
    return t_.allocate(length * length, dtype);
  }

  /// CausalSelfAttention.
  Tensor attention(Block& block, const Tensor& x) {
    const Model& m = s_.model;
    const bool expands = m.heads != m.kv_heads;
    const Tensor qkv = query_key_value(block, x);
    auto split = t_.record(emulate::gradient::passed, {&qkv});
    split.joins_parts(3);
    const std::int64_t tokens = s_.tokens();
    Tensor q = split.result(qkv.viewed(tokens * m.query_size()));
    Tensor k = split.result(qkv.viewed(tokens * m.kv_size()));
    Tensor v = split.result(qkv.viewed(tokens * m.kv_size()));
    q = reordered_view(t_, q);
    k = m.kv_heads > 1 ? reordered_view(t_, k) : alias(t_, k);
    if (expands && m.kv_heads > 1) v = reordered_view(t_, v);
    if (block.q_norm) {
      q = rms_norm(block.q_norm, q, tokens * m.heads);
      k = rms_norm(block.k_norm, k, tokens * m.kv_heads);
    }
    const Tensor q_turned = rotate(q);
    const Tensor k_turned = rotate(k);
    q = joined_with_rest(q_turned, q);
    k = joined_with_rest(k_turned, k);
    if (expands) {
      k = repeat_heads(t_, k, m.heads / m.kv_heads);
      v = repeat_heads(t_, v, m.heads / m.kv_heads);
    }
    Tensor y;
    {
      const Tape::InSection section(t_, Section::attention);
      const Tensor mask = m.slides(0) ? window_mask(q.dtype()) : Tensor();
      const AttentionKernel kernel = attention_kernel(s_, q.dtype(), static_cast<bool>(mask));
      y = fused_attention(t_, s_, kernel, q, k, v, mask);
      if (kernel != AttentionKernel::efficient) y = clone(t_, y);  // it answers with heads before positions
    }
    return run_linear(block.proj, y);
  }

  /// LLaMAMLP.
  Tensor mlp(Block& block, const Tensor& x) {
    const Tensor gate = run_linear(block.fc_1, x);
    const Tensor up = run_linear(block.fc_2, x);
    Tensor h;
    {
      const Tensor activated = silu(t_, gate);
      h = mul(t_, activated, up);
    }
    return run_linear(block.mlp_proj, h);
  }

  Tensor run(Block& block, const Tensor& input) {
    const std::int64_t rows = s_.tokens();
    Tensor normal = rms_norm(block.norm_1, input, rows);
    const Tensor attended = attention(block, normal);
    const Tensor x = add(t_, attended, input);
    normal = rms_norm(block.norm_2, x, rows);
    const Tensor out = mlp(block, normal);
    return add(t_, out, x);
  }

  /// The model's forward and what Fabric does to its output.
  std::vector<Tensor> forward() {
    std::vector<Tensor> logits;
    {
      t_.set_term(Term::activations);
      Tensor x = embed();
      if (s_.model.is_gemma()) x = scale(t_, x);
      for (Block& block : blocks_) x = run(block, x);
      x = rms_norm(final_norm_, x, s_.tokens());
      t_.set_term(Term::logits);
      const Tape::InSection section(t_, Section::head);
      if (s_.run.method == Method::full) {
        logits.push_back(base_linear(head_, x));
      } else {
        for (const Tensor& part : emulate::split(t_, x, s_.run.length, chunk())) logits.push_back(run_linear(head_, part));
      }
    }
    s_.autocast_copies.clear();
    std::vector<Tensor> wide;
    for (const Tensor& piece : logits) wide.push_back(cast(t_, piece, DType::fp32));
    return wide;
  }

  /// One piece's cross-entropy, a number for each token.
  void add_loss(const Tensor& logits, const Tensor& labels, std::vector<Tensor>& losses) {
    const std::int64_t tokens = logits.elements() / s_.model.vocabulary;
    losses.push_back(likelihood(t_, log_softmax(t_, logits), labels, tokens));
  }

  /// chunked_cross_entropy's end: the losses' sum over the number of tokens that count.
  Tensor mean_of(const std::vector<Tensor>& losses) {
    Tensor count;
    {
      const Tensor counts = t_.allocate(s_.run.micro_batch * (s_.run.length - 1), DType::boolean);
      count = t_.allocate(1, DType::int64);
    }
    return mean_of_pieces(t_, losses);
  }

  /// `full`: all logits at once, one position short, then in pieces.
  Tensor loss_of_whole() {
    const std::int64_t batch = s_.run.micro_batch, vocabulary = s_.model.vocabulary;
    const std::int64_t tokens = batch * (s_.run.length - 1);
    Tensor rows = slice(t_, logits_.front(), tokens * vocabulary);
    Tensor labels = labels_;
    if (batch > 1) {
      rows = clone(t_, rows);
      labels = t_.allocate(tokens, DType::int64);
    }
    std::vector<Tensor> losses;
    for (const Tensor& part : emulate::split(t_, rows, tokens, chunk())) add_loss(part, labels, losses);
    return mean_of(losses);
  }

  /// `lora`: the head's pieces as they are, the last one position short.
  Tensor loss_of_chunks() {
    const std::int64_t batch = s_.run.micro_batch, vocabulary = s_.model.vocabulary;
    Tensor& last = logits_.back();
    last = slice(t_, last, last.elements() - batch * vocabulary);
    std::vector<Tensor> rows = logits_, labels, losses;
    if (batch > 1) rows.back() = clone(t_, rows.back());
    for (const Tensor& piece : rows)
      labels.push_back(batch > 1 ? t_.allocate(piece.elements() / vocabulary, DType::int64) : labels_);
    for (std::size_t i = 0; i < rows.size(); ++i) add_loss(rows[i], labels[i], losses);
    return mean_of(losses);
  }

  Tape& t_;
  Setting& s_;
  Tensor embedding_, first_embedding_, embedding_norm_, embedding_norm_bias_, final_norm_, quantization_map_;
  Linear head_;
  std::vector<Block> blocks_;
  std::vector<std::size_t> not_optimized_;  ///< leaves that take gradients all the same
  std::optional<Optimizer> optimizer_;
  Tensor cos_, sin_, ids_, labels_;
  std::vector<Tensor> logits_, graph_;
  Tensor loss_, running_;
};

}  // namespace qwenplan::emulate::litgpt
