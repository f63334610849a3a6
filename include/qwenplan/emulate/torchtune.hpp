#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "qwenplan/emulate/decoder.hpp"
#include "qwenplan/emulate/loss.hpp"
#include "qwenplan/emulate/optimizer.hpp"
#include "qwenplan/emulate/preference.hpp"
#include "qwenplan/emulate/weights.hpp"

/// torchtune's own TransformerDecoder and the steps of its recipes (torchtune/modules, recipes):
/// everything in one format, no autocast, NF4 by torchao.
namespace qwenplan::emulate::torchtune {

/// torchao's NF4Tensor: blocks of 64 weights, a scale for each in 8 bits, a factor of the weight's
/// format for 256 scales, their mean and a table of 16 values.
inline constexpr std::int64_t kBlock = 64, kScaleBlock = 256;
/// It quantizes so many weights at a time.
inline constexpr std::int64_t kChunk = 1024 * 1024;

/// NF4Tensor.from_tensor of a weight in half precision.
inline void quantize_nf4(Tape& t, Linear& linear) {
  const Tensor weight = std::move(linear.weight);
  const DType dtype = weight.dtype();
  const std::int64_t elements = weight.elements();
  const std::int64_t blocks = elements / kBlock, groups = blocks / kScaleBlock;
  const auto largest_of = [&](std::int64_t inputs, std::int64_t outputs) {
    const Tensor magnitudes = t.allocate(inputs, dtype, Term::temporary);
    Tensor values = t.allocate(outputs, dtype, Term::temporary);
    const Tensor places = t.allocate(outputs, DType::int64, Term::temporary);
    return values;
  };
  QuantState& state = linear.state;
  state.code = t.allocate(16, dtype, Term::quantization);
  {
    Tensor scales = largest_of(elements, blocks);
    state.offset = t.allocate(1, dtype, Term::quantization);
    scales = t.allocate(blocks, dtype, Term::temporary);
    const Tensor largest = largest_of(blocks, groups);
    Tensor factors;
    {
      const Tensor doubled = t.allocate(blocks, dtype, Term::temporary);
      const Tensor inverse = t.allocate(blocks, dtype, Term::temporary);
      factors = t.allocate(blocks, dtype, Term::temporary);
    }
    Tensor quantized = t.allocate(blocks, dtype, Term::temporary);
    quantized = t.allocate(blocks, dtype, Term::temporary);
    quantized = t.allocate(blocks, dtype, Term::temporary);
    state.absmax = t.allocate(blocks, DType::uint8, Term::quantization);
    state.second_absmax = t.allocate(groups, dtype, Term::quantization);
  }
  const Tensor scales = largest_of(elements, blocks);
  const Tensor scaled = t.allocate(elements, dtype, Term::temporary);
  const Tensor places = t.allocate(elements, DType::uint8, Term::temporary);
  const auto quantize_chunk = [&](std::int64_t now) {
    Tensor nearest;
    {
      Tensor distances = t.allocate(now * 16, dtype, Term::temporary);
      distances = t.allocate(now * 16, dtype, Term::temporary);
      const Tensor smallest = t.allocate(now, dtype, Term::temporary);
      nearest = t.allocate(now, DType::int64, Term::temporary);
    }
    const Tensor narrow = t.allocate(now, DType::uint8, Term::temporary);
  };
  t.repeat(elements / kChunk, [&] { quantize_chunk(kChunk); });
  if (elements % kChunk > 0) quantize_chunk(elements % kChunk);
  const Tensor shifted = t.allocate(elements / 2, DType::uint8, Term::temporary);
  linear.weight = t.allocate(elements / 2, DType::uint8, Term::weights);
  linear.is_quantized = true;
}

/// NF4Tensor.get_original_weight: two tables of 64-bit places, one for each half byte, make it take
/// more than eight bytes a weight for a moment.
inline Tensor dequantized(Tape& t, std::int64_t elements, DType dtype) {
  const std::int64_t half = elements / 2, blocks = elements / kBlock;
  const auto places = [&] {
    const Tensor bits = t.allocate(half, DType::uint8);
    return t.allocate(half, DType::int64);
  };
  const Tensor first = places();
  const Tensor second = places();
  const Tensor first_values = t.allocate(half, dtype);
  const Tensor second_values = t.allocate(half, dtype);
  Tensor scales;
  {
    const Tensor divided = t.allocate(blocks, dtype);
    scales = t.allocate(blocks, dtype);
  }
  const auto scaled = [&] {
    const Tensor repeated = t.allocate(half, dtype);
    return t.allocate(half, dtype);
  };
  const Tensor first_scaled = scaled();
  const Tensor second_scaled = scaled();
  return t.allocate(elements, dtype);
}

namespace gradient {

/// grad @ the weight, which is dequantized again. size: its elements, its outputs.
inline void through_nf4(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  const Tensor weight = dequantized(t, n.size[0], grad.dtype());
  t.use_matmul();
  const std::int64_t inputs = n.size[0] / n.size[1];
  t.multiply(n.input_elements[0] / inputs, n.size[1], inputs, grad.dtype());
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
}

/// F.rms_norm in one kernel: the input's and the weight's gradient.
inline void normalized_by_kernel(Tape& t, const Node& n, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(n.input_elements[0], grad.dtype());
  if (n.input[1] != Tensor::kNone) out[1] = t.allocate(n.input_elements[1], grad.dtype());
}

/// A factor in place on a view (CopySlices): the gradient is copied into a base of its own, and its
/// part of that once more.
inline void scaled_view(Tape& t, const Node&, const Tensor& grad, Tensor* out) {
  out[0] = t.allocate(grad.elements(), grad.dtype());
  const Tensor part = t.allocate(grad.elements(), grad.dtype());
  const Tensor product = t.allocate(grad.elements(), grad.dtype());
}

}  // namespace gradient

/// A model in training by torchtune's single-device recipes.
class Training : public Tape::Layers, public Tape::GradientHook {
 public:
  Training(Tape& tape, Setting& setting) : t_(tape), s_(setting) {}

  /// The builder makes layers first, each linear quantized as soon as it is there; then the
  /// checkpoint is copied in, and quantized again on the way.
  void load() {
    const Model& m = s_.model;
    Tensor table;
    if (shares_rotary_table()) table = rotary_table();
    w_.layers.resize(static_cast<std::size_t>(m.layers));
    for (DecoderLayer& layer : w_.layers) {
      layer.q = linear_layer(m.hidden, m.query_size(), m.has_qkv_bias, q_proj);
      layer.k = linear_layer(m.hidden, m.kv_size(), m.has_qkv_bias, k_proj);
      layer.v = linear_layer(m.hidden, m.kv_size(), m.has_qkv_bias, v_proj);
      layer.o = linear_layer(m.query_size(), m.hidden, false, o_proj);
      layer.cos = table ? table : rotary_table();
      if (m.has_qk_norm) {
        layer.q_norm = weight(m.head_dim);
        layer.k_norm = weight(m.head_dim);
      }
      layer.gate = linear_layer(m.hidden, m.ffn, false, gate_proj);
      layer.down = linear_layer(m.ffn, m.hidden, false, down_proj);
      layer.up = linear_layer(m.hidden, m.ffn, false, up_proj);
      for (std::int64_t i = 0; i < m.norms_per_layer(); ++i) layer.norm[i] = weight(m.hidden);
    }
    w_.embedding = weight(m.vocabulary * m.hidden);
    w_.final_norm = weight(m.hidden);
    w_.head.inputs = m.hidden;
    w_.head.outputs = m.vocabulary;
    if (!m.ties_embeddings) w_.head.weight = weight(m.vocabulary * m.hidden);
    adapt(w_.head, lm_head);
    w_.head.is_adapter_dropped = m.architecture != Architecture::mistral;  // its builder leaves it out there
    copy_checkpoint();
  }

  void prepare() {
    register_parameters();
    optimizer_.emplace(s_.run.optimizer, Tensor());
    optimizer_->begin(t_);
    if (s_.run.optimizer_in_backward) t_.set_gradient_hook(this);
    if (!s_.run.compares()) ignored_ = t_.allocate(s_.run.micro_batch, DType::int64, Term::inputs);
  }

  void make_inputs() {
    if (s_.run.compares()) return;  // each forward copies the batch from the host
    t_.set_term(Term::inputs);
    ids_ = t_.allocate(s_.tokens(), DType::int64);
    labels_ = t_.allocate(s_.tokens(), DType::int64);
  }

  void micro_step(int step, int micro) {
    if (t_.is_read_enough()) return;
    t_.enter(Phase::forward, step, micro);
    if (s_.run.compares()) return comparing_step(step, micro);
    t_.set_term(Term::temporary);
    {
      const Tensor counted = t_.allocate(s_.tokens(), DType::boolean);
      count_ = t_.allocate(1, DType::int64);
    }
    if (!sum_of_counts_) sum_of_counts_ = t_.allocate(1, DType::int64);
    if (s_.run.offloads_activations) t_.set_offload(Tape::Offload::each_with_streams);
    {
      Tensor mean_loss = loss_step(step, micro);
      t_.set_term(Term::temporary);
      auto op = t_.record(emulate::gradient::elementwise, {&mean_loss});
      op.save(count_);
      loss_ = op.result(t_.allocate(1, DType::fp32));
    }
    if (!sum_of_losses_) sum_of_losses_ = t_.allocate(1, DType::fp32);
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    t_.set_term(Term::temporary);
    t_.backward(loss_);
    loss_ = loss_.detached();
    t_.forget();
  }

  void optimizer_step(int step) {
    if (t_.is_read_enough()) return;
    t_.enter(Phase::step, step, 0);
    t_.set_term(Term::temporary);
    if (s_.run.compares()) {
      optimizer_->step(t_);
      for (Leaf& leaf : t_.leaves()) leaf.grad.reset();
      return;
    }
    if (!s_.run.optimizer_in_backward) {
      {
        const Tensor inverse = t_.allocate(1, DType::fp32);
        const Tensor factor = t_.allocate(1, DType::fp32);
      }
      clip_gradients(t_);
      optimizer_->step(t_);
      for (Leaf& leaf : t_.leaves()) leaf.grad.reset();
      t_.set_term(Term::temporary);
    }
    { const Tensor logged = t_.allocate(1, DType::fp32); }
    sum_of_losses_.reset();
    sum_of_counts_.reset();
  }

  /// Its hook: an optimizer for each weight steps, and the gradient goes.
  void gradient_arrived(Tape& tape, std::size_t leaf) override {
    const Term before = tape.term();
    optimizer_->step_alone(tape, leaf);
    tape.leaves()[leaf].grad.reset();
    tape.set_term(before);
  }

  Tensor run(Tape&, std::int32_t layer, const std::vector<Tensor>& arguments) override {
    return decoder_layer(w_.layers[static_cast<std::size_t>(layer)], arguments[0], s_.model.slides(layer));
  }
  Tensor run_again(Tape& tape, std::int32_t layer, const std::vector<Tensor>& arguments) override {
    return run(tape, layer, arguments);
  }

 private:
  struct Scored {
    Tensor sums, logits;
  };

  /// concatenated_forward of the DPO recipe: logits in fp32 of both answers, and the log-probabilities of
  /// their labels (rlhf/sequence_processing.py), summed up for each.
  Scored scored() {
    const std::int64_t positions = s_.run.sequences() * (s_.run.length - 1);
    t_.set_term(Term::inputs);
    ids_ = t_.allocate(s_.tokens(), DType::int64);
    const Tensor labels = t_.allocate(s_.tokens(), DType::int64);
    Scored out;
    {
      const Tensor h = body();
      const Tensor hidden = rms_norm(w_.final_norm, h, s_.tokens());
      t_.set_term(Term::logits);
      const Tape::InSection section(t_, Section::head);
      const Tensor logits = linear(t_, hidden, w_.head.weight, {}, s_.tokens(), s_.model.vocabulary);
      out.logits = cast(t_, logits, DType::fp32);
    }
    const Tape::InSection section(t_, Section::head);
    const Tensor moved = t_.allocate(positions, DType::int64);
    const Tensor counted = t_.allocate(positions, DType::boolean);
    { const Tensor ignored = t_.allocate(positions, DType::boolean); }
    Tensor picked;
    {
      Tensor divided = scale(t_, slice(t_, out.logits, positions * s_.model.vocabulary));
      const Tensor log_p = log_softmax(t_, divided);
      divided.reset();
      auto gather = t_.record(emulate::gradient::gathered, {&log_p});
      gather.save(moved);
      picked = gather.result(t_.allocate(positions, DType::fp32));
    }
    auto sum = t_.record(emulate::gradient::masked_sum, {&picked});
    sum.save(counted);
    const Tensor masked = t_.allocate(positions, DType::fp32);
    out.sums = sum.result(t_.allocate(s_.run.sequences(), DType::fp32));
    ids_.reset();
    return out;
  }

  /// A step of lora_dpo_single_device. The recipe's loop keeps the reference's logits under a name that
  /// nobody reads, until the next reference has answered.
  void comparing_step(int step, int micro) {
    Tensor loss;
    {
      Scored policy = scored();
      t_.enter(Phase::loss, step, micro);
      policy.logits.reset();
      Tensor reference;
      {
        const Tape::WithoutGraph silent(t_);
        s_.leaves_adapters_out = true;
        Scored answered = scored();
        s_.leaves_adapters_out = false;
        reference_logits_ = std::move(answered.logits);
        reference = std::move(answered.sums);
      }
      loss = loss_of_sequences(t_, policy.sums, reference);
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    t_.set_term(Term::temporary);
    t_.backward(loss);
    loss.reset();
    t_.forget();
  }

  Tensor weight(std::int64_t elements) { return t_.allocate(elements, s_.run.weights, Term::weights); }

  Linear linear_layer(std::int64_t inputs, std::int64_t outputs, bool has_bias, Module module) {
    Linear linear;
    linear.inputs = inputs;
    linear.outputs = outputs;
    linear.weight = weight(inputs * outputs);
    if (has_bias) linear.bias = weight(outputs);
    if (s_.run.is_quantized()) quantize_nf4(t_, linear);
    adapt(linear, module);
    return linear;
  }

  void adapt(Linear& linear, Module module) {
    if (!s_.run.has_adapters() || (s_.run.lora_targets & module) == 0) return;
    linear.lora_a = t_.allocate(s_.run.lora_rank * linear.inputs, s_.run.weights, Term::adapters);
    linear.lora_b = t_.allocate(linear.outputs * s_.run.lora_rank, s_.run.weights, Term::adapters);
  }

  /// cos and sin of all positions that the model knows, in fp32.
  Tensor rotary_table() {
    const Model& m = s_.model;
    const std::int64_t half = m.max_positions * m.head_dim / 2;
    frequencies_.push_back(t_.allocate(m.head_dim / 2, DType::fp32, Term::buffers));
    const Tensor angles = t_.allocate(half, DType::fp32, Term::temporary);
    const Tensor cos = t_.allocate(half, DType::fp32, Term::temporary);
    const Tensor sin = t_.allocate(half, DType::fp32, Term::temporary);
    return t_.allocate(m.max_positions * m.head_dim * (turns_halves() ? 2 : 1), DType::fp32, Term::buffers);
  }

  /// load_state_dict: each quantized weight comes to the device in half precision and is quantized
  /// beside the model, whose own bytes it is then copied to.
  void copy_checkpoint() {
    if (!s_.run.is_quantized()) return;
    for (const DecoderLayer& layer : w_.layers)
      for (const Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.down, &layer.up}) {
        Linear copy;
        copy.weight = t_.allocate(linear->inputs * linear->outputs, s_.run.weights, Term::temporary);
        quantize_nf4(t_, copy);
      }
  }

  /// In the order of the modules, which is the optimizer's.
  void register_parameters() {
    const bool is_full = s_.run.method == Method::full;
    const auto train = [&](Tensor& tensor, bool is_trained) {
      if (tensor && is_trained) tensor = t_.parameter(std::move(tensor));
    };
    const auto train_linear = [&](Linear& linear) {
      train(linear.weight, is_full);
      train(linear.bias, is_full);
      train(linear.lora_a, true);
      train(linear.lora_b, true);
    };
    train(w_.embedding, is_full);
    for (DecoderLayer& layer : w_.layers) {
      for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.o}) train_linear(*linear);
      train(layer.q_norm, is_full);
      train(layer.k_norm, is_full);
      for (Linear* linear : {&layer.gate, &layer.down, &layer.up}) train_linear(*linear);
      for (Tensor& norm : layer.norm) train(norm, is_full);
    }
    train(w_.final_norm, is_full);
    if (s_.model.ties_embeddings) w_.head.weight = w_.embedding;
    else train_linear(w_.head);
  }

  /// The base layer, without its adapter.
  Tensor base_linear(const Linear& layer, const Tensor& x) {
    if (!layer.is_quantized) return linear(t_, x, layer.weight, layer.bias, s_.tokens(), layer.outputs);
    auto op = t_.record(gradient::through_nf4, {&x});
    op.sizes(layer.inputs * layer.outputs, layer.outputs);
    Tensor out;
    {
      const Tensor weight = dequantized(t_, layer.inputs * layer.outputs, x.dtype());
      t_.use_matmul();
      t_.multiply(s_.tokens(), layer.inputs, layer.outputs, x.dtype());
      out = t_.allocate(s_.tokens() * layer.outputs, x.dtype());
    }
    op.save(layer.weight);
    out = op.result(std::move(out));
    return layer.bias ? add(t_, out, layer.bias) : out;
  }

  /// LoRALinear, or the plain layer where there is no adapter.
  Tensor run_linear(const Linear& layer, const Tensor& x) {
    const Tensor out = base_linear(layer, x);
    if (!layer.lora_a || s_.leaves_adapters_out) return out;
    const Tape::InSection section(t_, Section::adapters);
    Tensor low;
    {
      const Tensor in = s_.run.lora_dropout > 0 && layer.is_adapter_dropped ? dropout(t_, x) : x;
      low = linear(t_, in, layer.lora_a, {}, s_.tokens(), s_.run.lora_rank);
    }
    {
      const Tensor up = linear(t_, low, layer.lora_b, {}, s_.tokens(), layer.outputs);
      low = scale(t_, up);
    }
    return add(t_, out, low);
  }

  /// RMSNorm: F.rms_norm of the input in fp32. A weight of another format keeps PyTorch from its
  /// kernel, and the operations are done one by one; the result of heads before positions is copied.
  Tensor rms_norm(const Tensor& weight, const Tensor& input, std::int64_t groups, bool is_turned = false) {
    if (s_.model.is_gemma()) return gemma_norm(t_, weight, input, groups);
    Tensor x = cast(t_, input, DType::fp32);
    if (weight.dtype() == DType::fp32) {
      auto op = t_.record(gradient::normalized_by_kernel, {&x, &weight});
      op.save(x).save(weight);
      Tensor out = t_.allocate(x.elements(), DType::fp32);
      const Tensor roots = t_.allocate(groups, DType::fp32);
      op.save(roots);
      return cast(t_, op.result(std::move(out)), input.dtype());
    }
    Tensor root;
    {
      const Tensor squares = square(t_, x);
      const Tensor means = mean(t_, squares, groups);
      root = rsqrt(t_, means);
    }
    Tensor out;
    {
      const Tensor normal = mul(t_, x, root);
      out = mul(t_, normal, weight);
    }
    if (is_turned) out = clone(t_, out);
    root.reset();
    x.reset();
    return cast(t_, out, input.dtype());
  }

  /// RotaryPositionalEmbeddings of Llama and Mistral: neighbours are turned together, in fp32.
  Tensor rotate_neighbours(const Tensor& x, const Tensor& table) {
    const Tensor wide = cast(t_, x, DType::fp32);
    const std::int64_t half = wide.elements() / 2;
    const Tensor rows = table.viewed(s_.run.length * s_.model.head_dim / 2);
    const auto product = [&] { return mul(t_, slice(t_, wide, half), rows); };
    Tensor both;
    {
      Tensor first, second;
      {
        const Tensor a = product();
        const Tensor b = product();
        first = subtract(t_, a, b);
      }
      {
        const Tensor a = product();
        const Tensor b = product();
        second = add(t_, a, b);
      }
      auto op = t_.record(emulate::gradient::joined, {&first, &second});
      both = op.result(t_.allocate(wide.elements(), DType::fp32));
    }
    return cast(t_, both, x.dtype());
  }

  /// Qwen2RotaryPositionalEmbeddings: the halves of a head are turned together; the rows of the table
  /// are cast for each call.
  Tensor rotate_halves(const Tensor& x, const Tensor& table) {
    const std::int64_t rows = s_.run.length * s_.model.head_dim;
    const auto picked_rows = [&] { return x.dtype() == table.dtype() ? table : t_.allocate(rows, x.dtype()); };
    const Tensor cos = picked_rows();
    const Tensor sin = picked_rows();
    const Tensor rotated = rotate_half(t_, x);
    const Tensor straight = mul(t_, x, cos);
    const Tensor turned = mul(t_, rotated, sin);
    return add(t_, straight, turned);
  }

  /// Phi3RotaryPositionalEmbeddings: the same with the rows in fp32.
  Tensor rotate_halves_in_fp32(const Tensor& x, const Tensor& table) {
    const Tensor rows = table.viewed(s_.run.length * s_.model.head_dim);
    const Tensor rotated = rotate_half(t_, x);
    Tensor sum;
    {
      const Tensor straight = mul(t_, x, rows);
      const Tensor turned = mul(t_, rotated, rows);
      sum = add(t_, straight, turned);
    }
    return cast(t_, sum, x.dtype());
  }

  bool turns_halves() const {
    return s_.model.architecture == Architecture::qwen2 || s_.model.architecture == Architecture::qwen3 ||
           s_.model.architecture == Architecture::phi3;
  }

  Tensor rotate(const Tensor& x, const Tensor& table) {
    if (s_.model.architecture == Architecture::phi3) return rotate_halves_in_fp32(x, table);
    return turns_halves() ? rotate_halves(x, table) : rotate_neighbours(x, table);
  }

  bool caps_scores() const { return s_.model.architecture == Architecture::gemma2; }

  /// The mask that each layer of Gemma 2 makes for itself, in fp32, and what it is made of: names that
  /// stay until the layer's attention returns. The mask is the last.
  std::vector<Tensor> capped_mask(bool slides) {
    const std::int64_t square = s_.run.length * s_.run.length;
    const auto table = [&](DType dtype) { return t_.allocate(square, dtype); };
    Tensor mask;
    {
      Tensor allowed = table(DType::boolean);
      allowed = table(DType::boolean);
      const Tensor hidden = table(DType::boolean);
      const Tensor lowest = t_.allocate(1, DType::fp32), zero = t_.allocate(1, DType::fp32);
      mask = table(DType::fp32);
    }
    if (!slides) return {mask};
    Tensor ones = table(DType::fp32);
    Tensor within;
    {
      const Tensor above = table(DType::fp32);
      const Tensor below = table(DType::fp32);
      within = table(DType::fp32);
    }
    const Tensor is_within = table(DType::boolean);
    const Tensor lowest = t_.allocate(1, DType::fp32);
    Tensor masked = table(DType::fp32);
    return {std::move(ones), std::move(within), std::move(masked)};
  }

  /// Gemma2Attention, which caps its scores and therefore keeps them.
  Tensor capped_attention(const Tensor& q, const Tensor& k, const Tensor& v, bool slides, std::vector<Tensor>& masks) {
    const Tensor scaled = t_.record(gradient::scaled_view, {&q}).result(q);
    t_.touch(2 * q.elements() * element_size(q.dtype()));
    Tensor weights = attention_product(t_, s_, scaled, HeadOrder::inner, k, HeadOrder::inner, s_.scores());
    masks = capped_mask(slides);
    weights = soft_capped(t_, std::move(weights));
    weights = add(t_, weights, masks.back());
    weights = cast(t_, softmax(t_, weights, DType::fp32), q.dtype());
    weights = attention_product(t_, s_, weights, HeadOrder::outer, v, HeadOrder::inner, q.elements());
    return clone(t_, reordered_rows(t_, s_, weights));
  }

  /// MultiHeadAttention: K and V are always expanded to all heads, and no mask is given.
  Tensor attention(const DecoderLayer& layer, const Tensor& x, bool slides) {
    const Model& m = s_.model;
    Tensor q = run_linear(layer.q, x);
    if (layer.q_norm) q = rms_norm(layer.q_norm, reordered_view(t_, q), s_.tokens() * m.heads, true);
    q = rotate(q, layer.cos);
    Tensor k = run_linear(layer.k, x);
    Tensor v = run_linear(layer.v, x);
    // Gradients that were summed over the heads of a group come back in another order.
    const bool expands = m.heads != m.kv_heads;
    const bool reorders = expands && m.kv_heads > 1 && !caps_scores();
    if (reorders && turns_halves()) k = reordered_view(t_, k);
    if (reorders) v = reordered_view(t_, v);
    if (layer.k_norm) k = rms_norm(layer.k_norm, k, s_.tokens() * m.kv_heads, true);
    k = rotate(k, layer.cos);
    if (expands) {
      const std::int64_t times = m.heads / m.kv_heads;
      k = repeat_heads(t_, k, times, m.kv_heads == 1);
      v = repeat_heads(t_, v, times, m.kv_heads == 1);
    }
    Tensor out;
    std::vector<Tensor> masks;
    {
      const Tape::InSection section(t_, Section::attention);
      out = caps_scores() ? capped_attention(q, k, v, slides, masks)
                          : fused_attention(t_, s_, attention_kernel(s_, q.dtype(), false), q, k, v, {});
    }
    if (layer.q_norm) out = clone(t_, out);  // a norm leaves heads before positions
    return run_linear(layer.o, out);
  }

  /// FeedForward.
  Tensor mlp(const DecoderLayer& layer, const Tensor& x) {
    Tensor h;
    {
      const Tensor gate = run_linear(layer.gate, x);
      h = silu(t_, gate);
    }
    {
      const Tensor up = run_linear(layer.up, x);
      h = mul(t_, h, up);
    }
    return run_linear(layer.down, h);
  }

  /// TransformerSelfAttentionLayer.
  Tensor decoder_layer(const DecoderLayer& layer, const Tensor& x, bool slides) {
    // Gemma 2 norms what attention and MLP make, too.
    const auto scaled = [&](int norm, const Tensor& made) {
      return layer.norm[norm] ? rms_norm(layer.norm[norm], made, s_.tokens()) : made;
    };
    Tensor h = rms_norm(layer.norm[0], x, s_.tokens());
    const Tensor attended = attention(layer, h, slides);
    h = add(t_, scaled(2, attended), x);
    Tensor out;
    {
      const Tensor normal = rms_norm(layer.norm[1], h, s_.tokens());
      out = mlp(layer, normal);
    }
    return add(t_, h, scaled(3, out));
  }

  /// Whether all layers share one rotary table: full fine-tuning always, and Llama 3.1 and later. The
  /// builders of other models with adapters make one for each layer.
  bool shares_rotary_table() const {
    constexpr std::int64_t kLlama3Positions = 8192;
    return s_.run.method == Method::full ||
           (s_.model.architecture == Architecture::llama && s_.model.max_positions > kLlama3Positions);
  }

  /// The decoder without its last norm and its head.
  Tensor body() {
    t_.set_term(Term::activations);
    Tensor h = embedding(t_, w_.embedding, ids_, s_.model.hidden);
    if (s_.model.is_gemma()) h = scale(t_, h);
    for (std::int32_t i = 0; i < s_.model.layers; ++i)
      h = s_.run.checkpoints && t_.mode() != Tape::Mode::silent ? t_.checkpoint(*this, i, {h}) : run(t_, i, {h});
    return h;
  }

  Tensor loss_step(int step, int micro) {
    Tensor hidden, scores;
    std::vector<Tensor> pieces;
    {
      const Tensor h = body();
      hidden = rms_norm(w_.final_norm, h, s_.tokens());
      if (caps_scores()) hidden = soft_capped(t_, hidden);  // Gemma2FinalNorm: the states in place of the logits
      t_.set_term(Term::logits);
      const Tape::InSection section(t_, Section::head);
      const Tape::WithoutOffload stays(t_);
      if (s_.run.loss == Loss::standard) {
        const Tensor logits = run_linear(w_.head, hidden);
        scores = cast(t_, logits, DType::fp32);
        hidden.reset();
      } else if (s_.run.chunked_loss == ChunkedLoss::torchtune_logits) {
        pieces = chunked_logits(t_, s_, w_.head, hidden, chunk_length(s_.run));
        hidden.reset();
      }
    }
    t_.enter(Phase::loss, step, micro);
    const Tape::InSection section(t_, Section::head);
    const Tape::WithoutOffload stays(t_);  // the recipe's context ends with the model's forward
    if (hidden) return linear_cross_entropy(t_, s_, w_.head, hidden);
    if (!pieces.empty()) return chunked_output_loss(t_, s_, pieces);
    const Tensor labels = moved_labels(t_, s_.run);
    return likelihood(t_, log_softmax(t_, scores), labels);
  }

  Tape& t_;
  Setting& s_;
  Weights w_;
  std::vector<Tensor> frequencies_;
  std::optional<Optimizer> optimizer_;
  Tensor ids_, labels_, ignored_, reference_logits_;
  Tensor count_, loss_, sum_of_counts_, sum_of_losses_;  ///< names of the recipe's loop
};

}  // namespace qwenplan::emulate::torchtune
