#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/emulate/decoder.hpp"
#include "qwenplan/emulate/fused_loss.hpp"
#include "qwenplan/emulate/litgpt.hpp"
#include "qwenplan/emulate/loss.hpp"
#include "qwenplan/emulate/optimizer.hpp"
#include "qwenplan/emulate/preference.hpp"
#include "qwenplan/emulate/torchtune.hpp"
#include "qwenplan/emulate/unsloth.hpp"
#include "qwenplan/emulate/weights.hpp"

namespace qwenplan {
namespace emulate {

/// A causal language model in training: its weights, and the forward of transformers' *ForCausalLM.
class Training : public Tape::Layers, public Tape::GradientHook {
 public:
  Training(Tape& tape, Setting& setting) : t_(tape), s_(setting), chunked_nll_(setting) {}

  void load() { weights_ = load_weights(t_, s_); }
  void prepare() {
    prepare_weights(t_, s_, weights_);
    add_value_head(t_, s_, weights_);
    if (s_.run.reference == Reference::second_model) {
      Run frozen = s_.run;
      frozen.method = Method::lora;  // whose base is not trained
      frozen.quantization = Quantization::none;
      frozen.weights = s_.run.reference_weights;
      frozen.lora_targets = frozen.modules_to_save = 0;
      frozen.upcasts_for_kbit = frozen.adapts_tower = false;
      if (s_.run.preference_code == PreferenceCode::llama_factory)
        frozen.norm_weights = frozen.embedding_weights = std::nullopt;
      Setting setting{s_.model, frozen, s_.behavior, s_.compute_capability, {}};
      reference_ = load_weights(t_, setting);
      prepare_weights(t_, setting, reference_);
    }
    if (is_unsloth()) {
      const std::int64_t elements = unsloth::rotary_rows(s_) * s_.model.head_dim;
      for (Tensor& table : rotary_tables_) table = t_.allocate(elements, s_.run.half, Term::buffers);
    }
    if (is_by_matrix(s_.run.optimizer))
      optimizer_.emplace(s_.run.optimizer, roles());
    else
      optimizer_.emplace(s_.run.optimizer, weights_.embedding);
    optimizer_->begin(t_);
    if (s_.run.optimizer_in_backward) t_.set_gradient_hook(this);
  }

  void make_inputs() {
    if (s_.run.weighs_tokens) return;  // each micro-step brings its own
    t_.set_term(Term::inputs);
    ids_ = t_.allocate(s_.tokens(), DType::int64);
    labels_ = t_.allocate(s_.tokens(), DType::int64);
    if (s_.run.is_padded) padding_ = t_.allocate(s_.tokens(), DType::int64);
    if (s_.run.has_positions()) positions_ = t_.allocate(s_.tokens(), DType::int64);
    if (s_.run.picture != Picture::none) {  // positions of time, height and width, and of the text
      positions_ = t_.allocate((s_.run.picture == Picture::beside ? 3 : 4) * s_.tokens(), DType::int64);
      if (s_.run.picture == Picture::within) pixels_ = new_pixels();
    }
    if (s_.run.borders == Borders::mask)
      block_mask_ = t_.allocate(s_.tokens() * s_.run.row_length(), s_.run.half);
  }

  void micro_step(int step, int micro) {
    if (t_.is_read_enough()) return;
    t_.enter(Phase::forward, step, micro);
    if (s_.run.objective == Objective::reward) return judging_step(step, micro);
    if (s_.run.compares()) {
      if (s_.run.preference_code == PreferenceCode::llama_factory) return comparing_step(step, micro);
      if (s_.run.preference_code == PreferenceCode::ms_swift) return swift_comparing_step(step, micro);
      return s_.run.loss == Loss::fused ? trl_scoring_step(step, micro) : trl_comparing_step(step, micro);
    }
    if (s_.run.weighs_tokens) return weighing_step(step, micro);
    if (s_.run.offloads_activations) t_.set_offload(Tape::Offload::with_streams);
    std::vector<Tensor> logits;
    Tensor loss;
    {
      t_.set_term(Term::activations);
      Tensor hidden = body();  // the model's output holds it until its forward returns
      t_.set_term(Term::logits);
      const Tape::InSection section(t_, Section::head);
      if (has_logits()) {
        logits.push_back(head(hidden));
        t_.enter(Phase::loss, step, micro);
        if (s_.behavior.upcasts_logits_in_model) logits.back() = cast(t_, logits.back(), DType::fp32);
        loss = loss_of_logits(logits.back());
      } else {
        t_.enter(Phase::loss, step, micro);
        loss = loss_of_states(std::move(hidden), logits);
      }
    }
    leave_autocast();
    if (s_.run.metrics != LogitMetrics::none && !logits.empty()) measure_logits(t_, s_, logits.back());
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    if (!s_.run.keeps_outputs) logits.clear();
    chunked_nll_.drop_metrics();
    backward(loss);
  }

  void optimizer_step(int step) {
    if (t_.is_read_enough()) return;
    t_.enter(Phase::step, step, 0);
    if (s_.run.optimizer_in_backward) return;
    clip_gradients(t_);
    optimizer_->step(t_);
    for (Leaf& leaf : t_.leaves()) leaf.grad.reset();
  }

  /// torchtune's hook: an optimizer for each weight steps, and the gradient goes.
  void gradient_arrived(Tape& tape, std::size_t leaf) override {
    const Term before = tape.term();
    optimizer_->step_alone(tape, leaf);
    tape.leaves()[leaf].grad.reset();
    tape.set_term(before);
  }

  Tensor run(Tape& tape, std::int32_t layer, const std::vector<Tensor>& arguments) override {
    DecoderLayer& weights = weights_.layers[static_cast<std::size_t>(layer)];
    if (is_unsloth()) return unsloth::decoder_layer(tape, s_, weights, arguments[0]);
    const Surroundings around{arguments[1], arguments[2], arguments[3], arguments[4]};
    return decoder_layer(tape, s_, weights, arguments[0], around);
  }

  Tensor run_again(Tape& tape, std::int32_t layer, const std::vector<Tensor>& arguments) override {
    Tensor out = run(tape, layer, arguments);
    // A recomputation is under autocast of its own; the function that offloads is in it to its end.
    if (!s_.run.offloads_checkpoints) leave_autocast();
    return out;
  }
  void finish_again() override { leave_autocast(); }

 private:
  /// What an optimizer that looks at matrices is told of the weights.
  MatrixRoles roles() {
    MatrixRoles roles;
    roles.rank = s_.run.optimizer_rank;
    roles.embedding = weights_.embedding.node();
    if (!s_.model.ties_embeddings && s_.run.has_language_head()) roles.head = weights_.head.weight.node();
    roles.head_elements = std::max<std::int64_t>(1, s_.model.hidden * s_.model.hidden / s_.model.heads);
    for (DecoderLayer& layer : weights_.layers) {
      for (const Linear* linear : {&layer.q, &layer.k}) roles.by_heads.push_back(linear->weight.node());
      for (const Linear* linear : layer.linears())
        if (linear->bias) roles.biases.push_back(linear->bias.node());
    }
    return roles;
  }

  /// A micro-step of LLaMA-Factory's second form (v1/core/base_trainer.py, trainers/sft_trainer.py): all
  /// of the batch goes to the model, which computes a loss of its own beside the one that is trained on.
  void weighing_step(int step, int micro) {
    const std::int64_t tokens = s_.tokens();
    t_.set_term(Term::inputs);
    count_labels(t_, tokens);
    Tensor weights = t_.allocate(tokens, DType::fp32);
    Tensor log_probabilities;
    {
      ids_ = t_.allocate(tokens, DType::int64);
      const Tensor mask = t_.allocate(tokens, DType::int64);
      const Tensor labels = t_.allocate(tokens, DType::int64);
      weights_given_ = t_.allocate(tokens, DType::fp32);
      positions_ = t_.allocate(tokens, DType::int64);
      const Tensor targets = t_.allocate(tokens, DType::int64);
      t_.set_term(Term::activations);
      Tensor logits;
      std::vector<Tensor> unused;
      {
        const Tensor hidden = body();
        t_.set_term(Term::logits);
        const Tape::InSection section(t_, Section::head);
        logits = head(hidden);
        t_.enter(Phase::loss, step, micro);
        unused = unused_loss(t_, s_, logits);
      }
      const Tape::InSection section(t_, Section::head);
      log_probabilities = label_log_probabilities(t_, s_, logits, targets);
      for (Tensor* name : {&ids_, &weights_given_, &positions_}) name->reset();
    }
    Tensor loss = weighted_loss(t_, log_probabilities, weights.viewed(log_probabilities.elements()));
    weights.reset(), log_probabilities.reset();
    count_labels(t_, tokens);
    {
      // Times the labels of this micro-step and the processes, by the labels of the step.
      Tensor share = scale(t_, loss);
      share = scale(t_, share);
      loss = scale(t_, share);
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    backward(loss);
  }

  /// What a model makes of a batch: all logits in fp32, and a number for each sequence.
  struct Comparison {
    Tensor logits, sums;
  };

  /// LLaMA-Factory's forward of sequences that are compared. `enters_loss` is done after the head.
  template <class Enter>
  Comparison compared(Enter enters_loss) {
    t_.set_term(Term::inputs);
    Tensor ids, labels, padding;
    if (s_.run.reference != Reference::none) {  // nested_detach clones the batch
      const std::int64_t tokens = s_.tokens() * (s_.run.objective == Objective::kto ? 2 : 1);
      ids = t_.allocate(tokens, DType::int64);
      labels = t_.allocate(tokens, DType::int64);
      if (s_.run.is_padded) padding = t_.allocate(tokens, DType::int64);
    }
    t_.set_term(Term::activations);
    Comparison out;
    {
      if (ids) std::swap(ids_, ids);  // what the embedding saves is the clone
      const Tensor hidden = body();
      if (ids) std::swap(ids_, ids);
      t_.set_term(Term::logits);
      const Tape::InSection section(t_, Section::head);
      out.logits = head(hidden);
    }
    leave_autocast();
    enters_loss();
    out.logits = cast(t_, out.logits, DType::fp32);
    out.sums = sequence_log_probabilities(t_, s_, out.logits, s_.run.sequences());
    return out;
  }
  Comparison compared() {
    return compared([] {});
  }

  /// KTO's divergence on other examples' answers, without a graph, of which only the sums stay.
  template <class Answer>
  void diverge(const Answer& other_answers) {
    if (s_.run.objective != Objective::kto) return;
    const Tape::WithoutGraph silent(t_);
    other_answers();
  }

  /// The reference's view, without a graph: of the second model, or of this one as it was.
  template <class Ask>
  void ask_reference(Ask ask) {
    if (s_.run.reference == Reference::none) return;
    const Tape::WithoutGraph silent(t_);
    const bool is_second = s_.run.reference == Reference::second_model;
    const auto exchange = [&] {
      if (is_second) return std::swap(weights_, reference_);
      std::size_t original = 0;
      if (s_.run.modules_to_save & embed_tokens)
        std::swap(weights_.embedding, weights_.originals[original++]);
      if (s_.run.modules_to_save & lm_head)
        std::swap(weights_.head.weight, weights_.originals[original]);
    };
    exchange();
    s_.leaves_adapters_out = true;
    ask();
    s_.leaves_adapters_out = false;
    exchange();
  }

  /// A micro-step on sequences that are compared: the policy's forward, the reference's, and a loss
  /// of their probabilities.
  void comparing_step(int step, int micro) {
    const auto enters_loss = [&] { t_.enter(Phase::loss, step, micro); };
    Tensor loss;
    if (s_.run.objective == Objective::kto) {
      // Each example is also judged by its divergence on another's answer, without a graph.
      const auto both = [&](auto enter) {
        Comparison target = compared(enter);
        diverge([&] { const Comparison divergence = compared(); });
        // target_logits[kto_tags] and the others: half of them each, where nobody knows.
        const std::int64_t chosen = (s_.run.sequences() + 1) / 2 * (target.logits.elements() / s_.run.sequences());
        std::pair<Tensor, Tensor> parts{t_.allocate(chosen, DType::fp32),
                                        t_.allocate(target.logits.elements() - chosen, DType::fp32)};
        return std::pair{std::move(target.sums), std::move(parts)};
      };
      auto policy = both(enters_loss);
      Tensor reference;
      ask_reference([&] { reference = both([] {}).first; });
      loss = loss_of_sequences(t_, policy.first, reference);
    } else {
      const Comparison policy = compared(enters_loss);
      Tensor reference;
      ask_reference([&] { reference = compared().sums; });
      loss = loss_of_sequences(t_, policy.sums, reference);
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    backward(loss);
  }

  /// The model's logits as accelerate wraps it: where autocast is on, the outputs come in fp32.
  Tensor wrapped_logits() {
    Tensor logits;
    {
      t_.set_term(Term::activations);
      const Tensor hidden = body();
      t_.set_term(Term::logits);
      const Tape::InSection section(t_, Section::head);
      logits = head(hidden);
    }
    leave_autocast();
    if (s_.run.autocasts) logits = cast(t_, logits, DType::fp32);
    return logits;
  }

  /// TRL's micro-step on sequences that are compared: their logits, and the reference's, live until the
  /// metrics are computed.
  void trl_comparing_step(int step, int micro) {
    const Run& run = s_.run;
    const std::int64_t sequences = run.sequences();
    const auto sums_of = [&](const Tensor& logits, Tensor& shifted) {
      return selective_log_probabilities(t_, s_, logits, ids_, sequences, shifted);
    };
    const auto other_answers = [&] {
      const Tensor logits = wrapped_logits();
      Tensor shifted;
      const Tensor sums = sums_of(logits, shifted);
    };
    Tensor loss;
    {
      diverge(other_answers);
      const Tensor logits = wrapped_logits();
      t_.enter(Phase::loss, step, micro);
      Tensor likelihood_of_chosen;
      if (run.adds_likelihood) likelihood_of_chosen = chosen_likelihood(t_, s_, logits, run.micro_batch);
      Tensor shifted, reference_logits, reference_shifted, reference;
      const Tensor policy = cast(t_, sums_of(logits, shifted), DType::fp32);
      ask_reference([&] {
        diverge(other_answers);
        reference_logits = wrapped_logits();
        reference = sums_of(reference_logits, reference_shifted);
      });
      loss = loss_of_sequences(t_, policy, reference);
      if (likelihood_of_chosen) loss = add(t_, cast(t_, likelihood_of_chosen, DType::fp32), loss);
      if (run.objective == Objective::dpo || run.objective == Objective::ipo || run.objective == Objective::kto)
        measure_answers(t_, s_, logits, sequences);
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    backward(loss);
    if (run.empties_cache) t_.empty_cache();
  }

  /// TRL's micro-step on sequences that are compared, from 1.15 on: a fused head scores their tokens, and
  /// there are no logits.
  void trl_scoring_step(int step, int micro) {
    const auto score = [&](auto enters_loss) {
      Tensor labels = t_.allocate(s_.tokens(), DType::int64, Term::inputs);
      t_.set_term(Term::activations);
      ScoredTokens scored;
      {
        const Tensor hidden = body();
        enters_loss();
        t_.set_term(Term::logits);
        const Tape::InSection section(t_, Section::head);
        scored = fused_head(t_, s_, weights_.head, hidden);
      }
      leave_autocast();
      return scored;
    };
    const auto sum = [&](const Tensor& tokens) { return sum_to(t_, tokens, s_.run.sequences()); };
    const auto other_answers = [&] { score([] {}); };
    Tensor loss;
    {
      diverge(other_answers);
      const ScoredTokens policy = score([&] { t_.enter(Phase::loss, step, micro); });
      const Tensor sums = sum(policy.log_probabilities);
      Tensor reference;
      ask_reference([&] {
        diverge(other_answers);
        reference = sum(score([] {}).log_probabilities);
      });
      loss = loss_of_sequences(t_, sums, reference);
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    backward(loss);
  }

  /// ms-swift's micro-step of DPO and KTO: what its forward returns are numbers, so that logits live as
  /// long as the graph wants them.
  void swift_comparing_step(int step, int micro) {
    const auto sums_of = [&](auto enters_loss) {
      const Tensor logits = wrapped_logits();
      enters_loss();
      Tensor shifted;
      return selective_log_probabilities(t_, s_, logits, ids_, s_.run.sequences(), shifted);
    };
    const auto other_answers = [&] { sums_of([] {}); };
    Tensor loss;
    {
      diverge(other_answers);
      const Tensor policy = cast(t_, sums_of([&] { t_.enter(Phase::loss, step, micro); }), DType::fp32);
      Tensor reference;
      ask_reference([&] {
        diverge(other_answers);
        reference = sums_of([] {});
      });
      loss = loss_of_sequences(t_, policy, reference);
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    backward(loss);
  }

  /// A reward model's micro-step: a number for each token, of which each sequence's last counts, and a
  /// loss of the differences of pairs.
  void judging_step(int step, int micro) {
    const auto enters_loss = [&] { t_.enter(Phase::loss, step, micro); };
    Tensor loss;
    {
      std::vector<Tensor> unused;
      Tensor values;
      {
        t_.set_term(Term::activations);
        Tensor hidden = body();
        const Tape::InSection section(t_, Section::head);
        if (s_.run.has_value_head()) {
          values = values_beside_logits(hidden, unused, enters_loss);
        } else {
          if (s_.run.preference_code == PreferenceCode::ms_swift) hidden = cast(t_, hidden, weights_.score.weight.dtype());
          values = run_linear(t_, s_, weights_.score, hidden);
          enters_loss();
        }
      }
      leave_autocast();
      loss = loss_of_sequences(t_, last_values(t_, values, s_.run.sequences()), {});
    }
    if (t_.is_read_enough()) return;
    t_.enter(Phase::backward, step, micro);
    backward(loss);
  }

  /// TRL's AutoModelForCausalLMWithValueHead around a model that is given labels: it makes logits and a
  /// loss of its own, and the wrapper has the states of all layers and casts the logits to fp32, for a
  /// caller that drops them.
  template <class Enter>
  Tensor values_beside_logits(const Tensor& hidden, std::vector<Tensor>& unused, Enter enters_loss) {
    Tensor logits;
    {
      const Tape::NoGrad none(t_);
      t_.set_term(Term::logits);
      if (t_.is_parameter(weights_.head.weight)) unused.push_back(autocast(t_, s_, weights_.head.weight));
      unused.push_back(autocast_once(t_, s_, hidden));
      logits = head(unused.back());
      enters_loss();
      for (Tensor& kept : unused_loss(t_, s_, logits)) unused.push_back(std::move(kept));
      t_.set_term(Term::activations);
    }
    Tensor values;
    {
      Tensor states = dropout(t_, hidden);
      states = cast(t_, states, DType::fp32);
      values = run_linear(t_, s_, weights_.score, states);
    }
    const Tensor wide = cast(t_, logits, DType::fp32);
    states_.clear();
    return values;
  }

  Tensor head(const Tensor& hidden) {
    const Tape::WithoutOffload stays(t_);
    Tensor logits = run_linear(t_, s_, weights_.head, hidden);
    if (s_.run.upcasts_head_output) logits = cast(t_, logits, DType::fp32);
    return capped(t_, s_, std::move(logits));
  }

  /// Whether the model computes all logits and hands them to the loss.
  bool has_logits() const {
    switch (s_.run.loss) {
      case Loss::standard: return true;
      case Loss::chunked:
        return s_.run.chunked_loss == ChunkedLoss::axolotl ||
               (s_.run.chunked_loss == ChunkedLoss::litgpt && !s_.run.has_adapters());
      case Loss::fused:
        return s_.run.fused_loss == FusedLoss::flash_attn || s_.run.fused_loss == FusedLoss::unsloth_logits;
    }
    return true;
  }

  Tensor loss_of_logits(const Tensor& logits) {
    switch (s_.run.loss) {
      case Loss::chunked:
        return s_.run.chunked_loss == ChunkedLoss::litgpt ? litgpt_loss(t_, s_, logits)
                                                          : compiled_chunked_loss(t_, s_, logits);
      case Loss::fused: return kernel_loss(t_, s_, logits);
      case Loss::standard: break;
    }
    return causal_lm_loss(t_, s_, logits);
  }

  Tensor loss_of_states(Tensor hidden, std::vector<Tensor>& logits) {
    if (s_.run.loss == Loss::chunked) {
      switch (s_.run.chunked_loss) {
        case ChunkedLoss::torchtune: return linear_cross_entropy(t_, s_, weights_.head, hidden);
        case ChunkedLoss::torchtune_logits: {
          const std::vector<Tensor> pieces = chunked_logits(t_, s_, weights_.head, hidden, chunk_length(s_.run));
          hidden.reset();
          return chunked_output_loss(t_, s_, pieces);
        }
        case ChunkedLoss::litgpt: return litgpt_loss(t_, s_, weights_.head, std::move(hidden), logits);
        case ChunkedLoss::trl:
        case ChunkedLoss::axolotl: break;
      }
      return chunked_nll_(t_, weights_.head, hidden);
    }
    // What stands for head and loss takes the hidden states in the head's format.
    if (s_.run.fused_loss == FusedLoss::unsloth)
      return unsloth_loss(t_, s_, weights_.head, cast(t_, hidden, weights_.head.weight.dtype()));
    if (s_.run.fused_loss == FusedLoss::trl) return fused_head_loss(t_, s_, weights_.head, hidden);
    if (s_.run.fused_loss == FusedLoss::cut_cross_entropy) return cut_loss(t_, s_, weights_.head, hidden);
    return liger_loss(t_, s_, weights_.head, hidden);
  }

  /// The embedding and its adapter (PEFT's lora.Embedding), which is not under dropout.
  Tensor embed() {
    const auto scaled = [&](Tensor x) {
      if (!weights_.normalizer) return x;
      const Tensor factor = cast(t_, weights_.normalizer, x.dtype());
      return mul(t_, x, factor);
    };
    Tensor result = scaled(embedding(t_, weights_.embedding, ids_, s_.model.hidden));
    if (!weights_.embedding_a || s_.leaves_adapters_out) return result;
    // prepare_model_for_kbit_training asks the base layer's output for a gradient, before it is wrapped.
    if (s_.run.upcasts_for_kbit && s_.run.is_quantized() && s_.run.checkpoints && t_.mode() != Tape::Mode::silent)
      result = t_.require_grad(std::move(result));
    const Tape::InSection section(t_, Section::adapters);
    const Tensor low = embedding(t_, weights_.embedding_a, ids_, s_.run.lora_rank);
    Tensor delta;
    {
      Tensor up;
      {
        const Tensor b = autocast_once(t_, s_, weights_.embedding_b);
        const Tensor in = autocast_once(t_, s_, low);
        up = linear(t_, in, b, {}, s_.tokens(), s_.model.hidden);
      }
      delta = scale(t_, up);
    }
    delta = scaled(std::move(delta));
    const DType dtype = result.dtype();
    result = add(t_, result, delta);
    return cast(t_, result, dtype);
  }

  Tensor new_pixels() {
    const VisionTower& v = *s_.model.vision;
    return t_.allocate(v.least_patches() * v.patch_size(), DType::fp32);
  }

  /// ms-swift's picture: outside of autocast, and nothing times the mean of what the tower says of it.
  Tensor beside_picture(const Tensor& embedded) {
    Run run = s_.run;
    run.autocasts = false;
    Setting plain{s_.model, run, s_.behavior, s_.compute_capability, {}};
    const Tensor pixels = new_pixels();
    const Tensor cast_pixels = cast(t_, pixels, weights_.vision.positions.dtype());
    const Tensor merged = look(t_, plain, weights_.vision, cast_pixels).merged;
    Tensor nothing;
    {
      const Tensor mean = t_.allocate(1, merged.dtype());
      nothing = t_.allocate(1, merged.dtype());
    }
    return add(t_, embedded, nothing);
  }

  /// LLaMA-Factory's picture: its tokens take the places that are marked for them. What the tower says, and
  /// the marks, live as long as the model's forward.
  Tensor with_picture(const Tensor& embedded) {
    const std::int64_t tokens = s_.tokens();
    {
      const Tensor pixels = cast(t_, pixels_, weights_.vision.positions.dtype());
      Seen seen = look(t_, s_, weights_.vision, pixels);
      seen_ = {std::move(seen.patches), std::move(seen.merged)};
    }
    seen_.push_back(t_.allocate(seen_[1].elements(), seen_[1].dtype()));  // of all pictures, joined
    seen_.push_back(cast(t_, seen_.back(), embedded.dtype()));
    Tensor marks = t_.allocate(tokens, DType::boolean);
    {
      const Tensor of_videos = t_.allocate(tokens, DType::boolean);
      const Tensor count = t_.allocate(1, DType::int64);
      const Tensor places = t_.allocate(3 * seen_[1].elements(), DType::int64);
      const Tensor picked = t_.allocate(seen_[1].elements(), embedded.dtype());
    }
    auto op = t_.record(gradient::elementwise, {&embedded});
    op.save(marks);
    {
      const Tensor everywhere = t_.allocate(embedded.elements(), DType::boolean, Term::workspace);
      const Tensor numbers = t_.allocate(embedded.elements(), DType::int64, Term::workspace);
    }
    seen_.push_back(std::move(marks));
    return op.result(t_.allocate(embedded.elements(), embedded.dtype()));
  }

  /// The decoder without its head.
  Tensor body() {
    const Model& m = s_.model;
    Tensor embedded = embed();
    if (s_.run.picture == Picture::within) {
      // PEFT asks the embedding of a model that is not quantized, LLaMA-Factory what its first layer is given.
      const bool asks_embedding = asks_inputs_for_gradients() && !s_.run.is_quantized() && !embedded.requires_grad();
      if (asks_embedding) embedded = t_.require_grad(std::move(embedded));
      embedded = with_picture(embedded);
    }
    if (asks_inputs_for_gradients() && !embedded.requires_grad()) embedded = t_.require_grad(std::move(embedded));
    if (s_.run.adds_noise) {
      const Tensor noise = t_.allocate(embedded.elements(), embedded.dtype());
      embedded = add(t_, embedded, noise);
    }
    if (s_.run.picture == Picture::beside) embedded = beside_picture(embedded);
    Tensor hidden = embedded;
    if (!is_unsloth()) surround(hidden);
    for (std::int32_t i = 0; i < m.layers; ++i) {
      const Surroundings& around = m.slides(i) ? sliding_ : around_;
      // LLaMA-Factory checkpoints the layers that it trains, and asks their input for a gradient.
      const bool is_frozen = s_.run.method == Method::freeze && !s_.run.unfreezes(i);
      if (s_.run.checkpoints && s_.run.unfreezes(i) && !hidden.requires_grad() &&
          t_.mode() != Tape::Mode::silent)
        hidden = t_.require_grad(std::move(hidden));
      // A layer of linear attention is told of padding alone.
      std::vector<Tensor> arguments = {hidden, around.positions, around.cos, around.sin,
                                       m.is_linear(i) ? padding_ : around.mask};
      if (weights_given_) arguments.push_back(weights_given_);
      if (s_.run.has_value_head()) states_.push_back(hidden);
      if (!s_.run.checkpoints || is_frozen || t_.mode() == Tape::Mode::silent) {
        hidden = run(t_, i, arguments);
      } else if (s_.run.checkpoints_reentrant || s_.run.offloads_checkpoints) {
        const bool is_buffered = s_.run.offloads_checkpoints && is_unsloth();
        hidden = t_.checkpoint_reentrant(
            *this, i, arguments,
            s_.run.offloads_checkpoints && !is_buffered ? Tape::Keep::on_host : Tape::Keep::on_device,
            is_buffered ? offload_buffer(i, hidden) : Tensor());
      } else {
        hidden = t_.checkpoint(*this, i, std::move(arguments));
      }
    }
    hidden = is_unsloth() ? unsloth::fast_norm(t_, weights_.final_norm, hidden, s_.tokens())
                          : norm(t_, s_, weights_.final_norm, hidden, s_.tokens(), weights_.final_norm_bias);
    around_ = sliding_ = {};
    seen_.clear();
    return hidden;
  }

  bool asks_inputs_for_gradients() const {
    return (s_.run.checkpoints || is_unsloth()) && s_.run.has_adapters() &&
           !weights_.embedding.requires_grad() && t_.mode() != Tape::Mode::silent;
  }

  bool is_unsloth() const { return s_.run.code == ModelCode::unsloth; }

  /// Where a layer's input comes back to from the host (unsloth_zoo's UnslothCheckpointFunction): one
  /// buffer in the first pass, two that take turns after it. What is small stays on the device, and so
  /// does the last layer's input once it is known which that is.
  Tensor offload_buffer(std::int32_t layer, const Tensor& input) {
    constexpr std::int64_t kSmallest = 2 * 1024 * 1024;
    const bool is_last = layer + 1 == s_.model.layers && !is_first_pass_;
    if (is_last || Saturating::multiply(input.elements(), element_size(input.dtype())) <= kSmallest) return {};
    Tensor& buffer = offload_buffers_[is_first_pass_ ? 0 : layer % 2];
    if (!buffer) buffer = t_.allocate(input.elements(), input.dtype(), Term::buffers);
    return buffer;
  }

  /// Position ids, rotary tables and masks: once a forward. StarCoder drops some of the embedding between them.
  void surround(Tensor& embedded) {
    const DType dtype = embedded.dtype();
    // Then each row has its own rotary table.
    const bool is_given = s_.run.has_positions() || s_.run.weighs_tokens || s_.run.picture != Picture::none;
    const std::int64_t length = is_given ? s_.tokens() : s_.run.row_length();
    around_ = sliding_ = {};
    if (is_given) {
      around_.positions = positions_;
    } else {
      const Tensor range = t_.allocate(length, DType::int64);
      around_.positions = t_.allocate(length, DType::int64);
    }
    sliding_.positions = around_.positions;
    const bool has_window = s_.model.slides(0);  // the first layer has one wherever any has
    if (block_mask_) {
      around_.mask = sliding_.mask = block_mask_;
    } else {
      if (needs_mask(Window::all) && (!has_window || s_.model.alternates_windows()))
        around_.mask = causal_mask(dtype, Window::all);
      if (needs_mask(Window::sliding) && (has_window || makes_unused_mask()))
        sliding_.mask = causal_mask(dtype, Window::sliding);
    }
    // A mask that hides nothing is read and left out.
    if (s_.run.weighs_tokens && !around_.mask) { const Tensor present = t_.allocate(s_.tokens(), DType::boolean); }
    if (s_.model.has_dropout && s_.model.architecture == Architecture::starcoder2) embedded = dropout(t_, embedded);
    if (s_.model.linear_attention && s_.run.is_padded) {
      // Whether there is any, each forward asks the device.
      const Tensor present = t_.allocate(s_.tokens(), DType::boolean);
      const Tensor all = t_.allocate(1, DType::boolean);
      t_.wait();
    }
    if (s_.behavior.caches_rotary_tables) return;
    if (is_qwen3_5(s_.model.architecture)) return turn_grid_positions(around_, dtype);
    turn_positions(around_, dtype, length);
    if (s_.model.turns_by_window()) {
      turn_positions(sliding_, dtype, length);
    } else {
      sliding_.cos = around_.cos;
      sliding_.sin = around_.sin;
    }
  }

  /// A rotary embedding's forward.
  void turn_positions(Surroundings& around, DType dtype, std::int64_t length) {
    const std::int64_t width = s_.model.rotary_size();
    Tensor angles;
    {
      const Tensor positions = t_.allocate(length, DType::fp32);
      angles = t_.allocate(length * width / 2, DType::fp32);
    }
    const Tensor both = t_.allocate(length * width, DType::fp32);
    Tensor cos = t_.allocate(length * width, DType::fp32);
    cos = t_.allocate(length * width, DType::fp32);  // times the attention scaling
    Tensor sin = t_.allocate(length * width, DType::fp32);
    sin = t_.allocate(length * width, DType::fp32);
    if (s_.model.is_olmo()) dtype = DType::fp32;  // its tables stay so
    around.cos = cast(t_, cos, dtype);
    around.sin = cast(t_, sin, dtype);
  }

  /// Qwen3.5's, whose positions are of time, height and width, of which text has the same three times.
  void turn_grid_positions(Surroundings& around, DType dtype) {
    constexpr std::int64_t kAxes = 3;
    const std::int64_t elements = s_.tokens() * s_.model.rotary_size() / 2;
    Tensor positions = t_.allocate(kAxes * s_.tokens(), DType::fp32);
    const Tensor angles = t_.allocate(kAxes * elements, DType::fp32);
    if (!s_.behavior.turns_by_products) positions.reset();
    // Before 5.17 one axis' angles take the others', and are what cosine and sine are taken of.
    const bool is_joined_first = s_.behavior.turns_by_products;
    const std::int64_t turned = is_joined_first ? 2 * elements : kAxes * elements;
    const Tensor both = is_joined_first ? t_.allocate(2 * elements, DType::fp32) : Tensor();
    Tensor cos = t_.allocate(turned, DType::fp32);
    cos = t_.allocate(turned, DType::fp32);  // times the attention scaling
    Tensor sin = t_.allocate(turned, DType::fp32);
    sin = t_.allocate(turned, DType::fp32);
    if (!is_joined_first) {
      sin = t_.allocate(2 * elements, DType::fp32);
      cos = t_.allocate(2 * elements, DType::fp32);
    }
    around.cos = cast(t_, cos, dtype);
    around.sin = cast(t_, sin, dtype);
  }

  enum class Window { all, sliding };

  /// Qwen2-MoE makes the mask of a window of no tokens, whether a layer has a window or not.
  bool makes_unused_mask() const { return s_.model.architecture == Architecture::qwen2_moe; }

  bool needs_mask(Window window) const {
    if (s_.run.attention == Attention::fa2) return false;  // it takes padding and window as they are
    if (window == Window::sliding && s_.run.row_length() >= s_.model.sliding_window) return true;
    return s_.run.attention == Attention::eager || s_.run.is_padded || has_block_mask();
  }
  /// Whether the model finds the borders in its positions, as masking_utils does since 4.53.
  bool has_block_mask() const {
    return s_.run.borders == Borders::positions && s_.behavior.masks_are_boolean &&
           s_.run.attention != Attention::fa2;
  }

  /// The causal mask, [batch or 1, 1, length, length]: boolean for sdpa, additive for eager.
  Tensor causal_mask(DType dtype, Window window) {
    const std::int64_t length = s_.run.row_length();
    const std::int64_t square = length * length;
    const std::int64_t batch = s_.run.rows();
    Tensor samples;  // the number of each token's sample
    if (has_block_mask()) samples = sample_numbers();
    Tensor allowed, present;
    {
      const Tensor padding = s_.run.is_padded ? t_.allocate(batch * length, DType::boolean) : Tensor();
      const Tensor batches = t_.allocate(batch, DType::int64);
      const Tensor heads = t_.allocate(1, DType::int64);
      Tensor rows = t_.allocate(length, DType::int64);
      rows = t_.allocate(length, DType::int64);
      Tensor columns = t_.allocate(length, DType::int64);
      columns = t_.allocate(length, DType::int64);
      allowed = samples ? mask_of_samples(window) : mask_of_rows(window, present);
    }
    if (s_.run.attention != Attention::eager && s_.behavior.masks_are_boolean) return allowed;
    const Tensor zero = t_.allocate(1, dtype);
    const Tensor lowest = t_.allocate(1, dtype);
    // Since the masks are boolean at first they are as many as sequences; before, one served all.
    return t_.allocate(s_.behavior.masks_are_boolean || s_.run.is_padded ? batch * square : square, dtype);
  }

  /// Which tokens of its row a token sees; `present`: which of them are none of padding.
  Tensor mask_of_rows(Window window, Tensor& present) {
    const std::int64_t length = s_.run.row_length();
    const std::int64_t square = length * length;
    const std::int64_t batch = s_.run.rows();
    // What is joined begins with one truth: of padding and the rest, and of a window and the rest.
    Tensor with_padding = s_.run.is_padded ? t_.allocate(1, DType::boolean) : Tensor();
    Tensor allowed;
    if (window == Window::sliding) {
      const Tensor one = t_.allocate(1, DType::boolean);
      Tensor within;
      {
        const Tensor start = t_.allocate(length, DType::int64);
        within = t_.allocate(square, DType::boolean);
      }
      allowed = t_.allocate(square, DType::boolean);
    }
    {
      const Tensor before = t_.allocate(square, DType::boolean);
      allowed = with_padding || allowed ? t_.allocate(square, DType::boolean) : before;
    }
    if (with_padding && window == Window::sliding) allowed = t_.allocate(square, DType::boolean);
    with_padding.reset();
    if (s_.run.is_padded) {
      present = t_.allocate(batch * length, DType::boolean);
      allowed = t_.allocate(batch * square, DType::boolean);
    }
    return allowed;
  }

  /// find_packed_sequence_indices: a sample begins where a position does not follow the one before.
  Tensor sample_numbers() {
    const std::int64_t rows = s_.run.rows(), tokens = s_.tokens();
    const Tensor before = t_.allocate(rows, DType::int64);
    Tensor steps;
    {
      const Tensor joined = t_.allocate(tokens + rows, DType::int64);
      steps = t_.allocate(tokens, DType::int64);
    }
    Tensor numbers;
    {
      const Tensor begins = t_.allocate(tokens, DType::boolean);
      numbers = t_.allocate(tokens, DType::int64);
    }
    const Tensor is_first = t_.allocate(rows, DType::boolean);
    const Tensor all = t_.allocate(1, DType::boolean);
    return numbers;
  }

  /// Which tokens of the same sample a token sees, compared by their positions.
  Tensor mask_of_samples(Window window) {
    const std::int64_t tokens = s_.tokens(), square = tokens * s_.run.row_length();
    const auto compare = [&] {
      const Tensor rows = t_.allocate(tokens, DType::int64);
      const Tensor columns = t_.allocate(tokens, DType::int64);
      return t_.allocate(square, DType::boolean);
    };
    const auto both = [&] { return t_.allocate(square, DType::boolean); };
    Tensor one = t_.allocate(1, DType::boolean);
    Tensor causal;
    if (window == Window::sliding) {
      const std::int64_t places = s_.behavior.masks_by_positions ? tokens : 0;
      const Tensor rows = t_.allocate(places, DType::int64);
      const Tensor columns = t_.allocate(places, DType::int64);
      Tensor within;
      {
        Tensor inner = t_.allocate(1, DType::boolean);
        Tensor near;
        {
          const Tensor start = t_.allocate(tokens, DType::int64);
          near = both();
        }
        within = both();
      }
      const Tensor before = both();
      causal = both();
    } else {
      causal = s_.behavior.masks_by_positions ? compare() : both();
    }
    Tensor allowed = both();
    causal.reset();
    one.reset();
    const Tensor same = compare();
    return both();
  }

  void leave_autocast() { s_.autocast_copies.clear(); }

  void backward(Tensor& loss) {
    t_.set_term(Term::temporary);
    t_.backward(loss);
    is_first_pass_ = false;
    loss.reset();
    t_.forget();
  }

  Tape& t_;
  Setting& s_;
  ChunkedNll chunked_nll_;
  Weights weights_, reference_;
  std::optional<Optimizer> optimizer_;
  Surroundings around_, sliding_;  ///< of layers without a window, and of those with one
  Tensor ids_, labels_, padding_, positions_, block_mask_, pixels_;
  std::vector<Tensor> seen_;    // what a picture leaves for the length of a forward
  std::vector<Tensor> states_;  // of layers, where the model returns them
  Tensor weights_given_;  // of each token: layers are handed them too
  Tensor rotary_tables_[2], offload_buffers_[2];  // Unsloth's
  bool is_first_pass_ = true;
};

}  // namespace emulate

/// How the second step comes about: its passes are the first one's told again, without what was made
/// once and for all, or emulated anew, which takes longer and must say the same.
enum class SecondStep : std::uint8_t { repeated, emulated };

namespace emulate {

/// Loading, preparation and two optimizer steps of a model in training. Loops whose names hold the
/// end of one pass while the next begins have each pass emulated.
template <class Training>
void run_steps(Tape& tape, Setting& setting, bool repeats) {
  Training training(tape, setting);
  tape.enter(Phase::load, 0, 0);
  training.load();
  tape.enter(Phase::prepare, 0, 0);
  training.prepare();
  training.make_inputs();
  const auto micro_steps = [&](int step) {
    if (setting.run.accumulation > 1) {
      training.micro_step(step, 1);
      training.micro_step(step, 2);
    } else {
      training.micro_step(step, 0);
    }
  };
  if (repeats) tape.keep_steps();
  micro_steps(1);
  if (repeats) tape.end_kept_steps();
  training.optimizer_step(1);
  if (!repeats) micro_steps(2);
  else if (!tape.is_read_enough()) tape.repeat_steps(2);
  training.optimizer_step(2);
  if (!tape.is_read_enough()) tape.enter(Phase::save, 2, 0);
  tape.finish();
}

}  // namespace emulate

/// A fine-tuning run on shapes alone: loading, preparation, and two optimizer steps. The first step
/// makes the optimizer's states, the second finds them; with accumulation each step has a first and
/// a last micro-step, since more of them change nothing.
///
/// The reader may stop it before any phase; what was begun is then simply let go of.
///
/// `compute_capability` is the card's, as 86 for 8.6: it decides which kernels run.
inline void trace(const Model& model, const Run& run, const Stack& stack, int compute_capability,
                  TraceReader& reader, SecondStep second_step = SecondStep::repeated) {
  using namespace emulate;
  Tape tape(reader);
  Setting setting{model, run, behavior_of(stack), compute_capability, {}};
  tape.set_matmul_workspace(cublas_workspace(stack, compute_capability));
  const bool repeats =
      second_step == SecondStep::repeated && !run.optimizer_in_backward && !run.offloads_activations &&
      run.code != ModelCode::unsloth;
  switch (run.code) {
    case ModelCode::transformers:
    case ModelCode::unsloth: return run_steps<Training>(tape, setting, repeats);
    case ModelCode::torchtune: return run_steps<torchtune::Training>(tape, setting, false);
    case ModelCode::litgpt: return run_steps<litgpt::Training>(tape, setting, false);
  }
}

/// The same as a whole.
inline Trace trace(const Model& model, const Run& run, const Stack& stack, int compute_capability,
                   SecondStep second_step = SecondStep::repeated) {
  TraceKeeper keeper;
  trace(model, run, stack, compute_capability, keeper, second_step);
  return keeper.take();
}

}  // namespace qwenplan
