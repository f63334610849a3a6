#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/emulate/caching_allocator.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "qwenplan/judge/fit.hpp"

namespace qwenplan {

/// What a change takes from the result, least first.
enum class Sacrifice : std::uint8_t {
  nothing,    ///< the same result up to rounding, at most more slowly
  precision,  ///< numbers in fewer bits where it is known to matter little
  capacity,   ///< less that can be learnt, or a coarser base
  data        ///< less of each example, or another method altogether
};

/// A question to ask again: what the user gave, with a change in it.
struct Question {
  RunDraft draft;
  AllocatorSettings allocator;
};

/// One way to need less, and what it really saves.
struct Advice {
  std::string change;     ///< as one writes it: "--batch 1 --grad-accum 4"
  std::string_view cost;  ///< what it takes: "the same result; the forward runs twice"
  Sacrifice sacrifice = Sacrifice::nothing;
  Bytes saves{};           ///< of the likely bytes on the device
  Fit fit = Fit::exceeds;  ///< with the change
};

namespace advice {

/// Changes of one kind, from the mildest to the strongest.
struct Family {
  Sacrifice sacrifice;
  std::string_view cost;
  struct Step {
    std::string change;
    void (*apply)(Question&, std::int64_t);
    std::int64_t value = 0;
  };
  std::vector<Step> steps;
};

/// A setting that the advice gives in the user's name, as if typed.
template <class T>
void give(std::optional<Given<T>>& setting, T value) {
  setting = Given<T>{std::move(value), From::flag};
}

inline void set_optimizer(Question& q, std::int64_t kind) {
  give(q.draft.optimizer, std::string(name(static_cast<OptimizerKind>(kind))));
}

/// What could be changed in this run, in order of what it takes from the result.
inline std::vector<Family> families(const Run& run, const AllocatorSettings& allocator,
                                    std::optional<Trainer> trainer = std::nullopt) {
  std::vector<Family> all;
  const auto add = [&](Sacrifice sacrifice, std::string_view cost,
                       std::vector<Family::Step> steps) {
    if (!steps.empty()) all.push_back({sacrifice, cost, std::move(steps)});
  };
  const auto optimizer = [](OptimizerKind kind) {
    return Family::Step{"--optimizer " + std::string(name(kind)), set_optimizer,
                        static_cast<std::int64_t>(kind)};
  };
  // The second form of LLaMA-Factory's files has one optimizer, one loss, and no place for checkpoints but the card.
  const bool is_fixed = run.weighs_tokens;
  const bool is_adam = run.optimizer <= OptimizerKind::paged_adamw_8bit && !is_fixed;
  const BitsandbytesStates states = bitsandbytes_states(run.optimizer);
  const bool is_8bit = states.is_8bit;
  const bool is_paged = states.is_paged;

  if (run.attention == Attention::eager || run.attention == Attention::math)
    add(Sacrifice::nothing, "the same result", {{"--attention sdpa", [](Question& q, std::int64_t) {
                                                   give(q.draft.attention, std::string("sdpa"));
                                                 }}});
  if (run.keeps_outputs)
    add(Sacrifice::nothing, "the same result; the loop must let go of the model's output",
        {{"--no-keep-outputs",
          [](Question& q, std::int64_t) { give(q.draft.keeps_outputs, false); }}});
  if (run.loss != Loss::fused && !is_fixed)
    add(Sacrifice::nothing, "the same result, with Liger's kernel: no logits are kept",
        {{"--loss fused", [](Question& q, std::int64_t) {
            give(q.draft.loss, Loss::fused);
            give(q.draft.fused_loss, FusedLoss::liger);
          }}});
  if (run.optimizer == OptimizerKind::adamw_foreach && !is_fixed)
    add(Sacrifice::nothing, "the same result", {optimizer(OptimizerKind::adamw_fused)});
  if (run.borders == Borders::positions && run.attention != Attention::fa2)
    add(Sacrifice::nothing, "the same result; flash-attn takes the borders of samples without a mask",
        {{"--attention fa2",
          [](Question& q, std::int64_t) { give(q.draft.attention, std::string("fa2")); }}});
  if (!allocator.expandable_segments)
    add(Sacrifice::nothing, "the same result",
        {{"PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
          [](Question& q, std::int64_t) { q.allocator.expandable_segments = true; }}});
  if (!run.checkpoints)
    add(Sacrifice::nothing, "the same result; the forward of each layer runs twice",
        {{"--checkpointing", [](Question& q, std::int64_t) { give(q.draft.checkpoints, true); }}});
  // What waits in RAM: the switches that these trainers have.
  if (run.checkpoints && !run.offloads_checkpoints && trainer == Trainer::llama_factory && !is_fixed)
    add(Sacrifice::nothing, "the same result; layers' inputs move to RAM and back",
        {{"--offload-checkpoints",
          [](Question& q, std::int64_t) { give(q.draft.offloads_checkpoints, true); }}});
  if (run.checkpoints && !run.checkpoints_reentrant && !run.offloads_activations &&
      trainer == Trainer::trl)
    add(Sacrifice::nothing, "the same result; what is saved for backward moves to RAM and back",
        {{"--offload-activations",
          [](Question& q, std::int64_t) { give(q.draft.offloads_activations, true); }}});
  if (trainer == Trainer::torchtune && run.accumulation == 1 && !run.optimizer_in_backward)
    add(Sacrifice::nothing, "each gradient is used as soon as it is there: no clipping",
        {{"--optimizer-in-backward",
          [](Question& q, std::int64_t) { give(q.draft.optimizer_in_backward, true); }}});
  std::vector<Family::Step> batches;
  for (std::int64_t parts = 2; parts <= run.micro_batch && parts <= 4096; ++parts) {
    // Powers of two, and all of it: enough to choose from, and each one is a run to emulate.
    const bool is_power = (parts & (parts - 1)) == 0;
    if (run.micro_batch % parts != 0 || (!is_power && parts != run.micro_batch)) continue;
    batches.push_back({"--batch " + std::to_string(run.micro_batch / parts) + " --grad-accum " +
                           std::to_string(run.accumulation * parts),
                       [](Question& q, std::int64_t by) {
                         const std::int64_t batch =
                             q.draft.micro_batch ? q.draft.micro_batch->value : 1;
                         const std::int64_t times =
                             q.draft.accumulation ? q.draft.accumulation->value : 1;
                         give(q.draft.micro_batch, batch / by);
                         give(q.draft.accumulation, times * by);
                       },
                       parts});
  }
  add(Sacrifice::nothing, "the same gradient from smaller parts, more slowly", std::move(batches));
  if (is_adam && !is_paged)
    add(Sacrifice::nothing,
        "the same result; the optimizer's states move to RAM where memory is short",
        {optimizer(is_8bit ? OptimizerKind::paged_adamw_8bit : OptimizerKind::paged_adamw)});

  if (run.quantization == Quantization::nf4 || run.quantization == Quantization::fp4) {
    if (!run.double_quantizes)
      add(Sacrifice::precision, "the scales of the quantized weights in 8 bits",
          {{"--double-quant",
            [](Question& q, std::int64_t) { give(q.draft.double_quantizes, true); }}});
  }
  if (run.upcasts_for_kbit && !run.norm_weights)
    add(Sacrifice::precision,
        "norms, embeddings and head stay in 16 bits, as several trainers leave them",
        {{"--no-kbit-upcast",
          [](Question& q, std::int64_t) { give(q.draft.upcasts_for_kbit, false); }}});
  if (is_adam && !is_8bit)
    add(Sacrifice::precision, "the optimizer's states in 8 bits",
        {optimizer(OptimizerKind::adamw_8bit), optimizer(OptimizerKind::paged_adamw_8bit)});

  if (run.method == Method::full && run.precision == Precision::bf16_mixed)
    add(Sacrifice::capacity,
        "weights, gradients and states in bf16: small updates are rounded away",
        {{"--precision bf16-true",
          [](Question& q, std::int64_t) { give(q.draft.precision, Precision::bf16_true); }}});
  if (run.has_adapters()) {
    std::vector<Family::Step> ranks;
    for (std::int64_t rank = run.lora_rank / 2; rank >= 4; rank /= 2)
      ranks.push_back({"--lora-r " + std::to_string(rank),
                       [](Question& q, std::int64_t r) { give(q.draft.lora_rank, r); }, rank});
    add(Sacrifice::capacity, "adapters that can learn less", std::move(ranks));
  }
  if (run.method == Method::lora)
    add(Sacrifice::capacity, "the base in 4 bits",
        {{"--method qlora",
          [](Question& q, std::int64_t) { give(q.draft.method, Method::qlora); }}});
  if (run.quantization == Quantization::int8)
    add(Sacrifice::capacity, "the base in 4 bits instead of 8",
        {{"--quant nf4",
          [](Question& q, std::int64_t) { give(q.draft.quantization, Quantization::nf4); }}});

  std::vector<Family::Step> lengths;
  for (const std::int64_t eighths : {6, 4, 3, 2, 1}) {
    const std::int64_t length = run.length * eighths / 8 / 64 * 64;
    if (length >= 128 && length < run.length)
      lengths.push_back({"--seq-len " + std::to_string(length),
                         [](Question& q, std::int64_t tokens) { give(q.draft.length, tokens); },
                         length});
  }
  add(Sacrifice::data, "longer examples are cut, or must be split", std::move(lengths));
  if (run.method == Method::full)
    add(Sacrifice::data, "trains adapters instead of all weights",
        {{"--method lora", [](Question& q, std::int64_t) { give(q.draft.method, Method::lora); }},
         {"--method qlora",
          [](Question& q, std::int64_t) { give(q.draft.method, Method::qlora); }}});
  return all;
}

/// A change that saves less than one part of this many is not worth a line.
inline constexpr std::int64_t kWorthwhile = 100;

}  // namespace advice

/// At most so many ways to make a run fit the card that it does not fit yet, each asked again with
/// the change in it; first those that take least from the result. Where no single change of its kind
/// is enough, a combination stands for it. What saves most without being enough comes last. Empty
/// where the run fits, or where there is no card.
///
/// `again` answers a Question with an optional<MemoryEstimate>: none where the change is impossible
/// for this model or card. Each answer is a step to emulate, so it is asked as seldom as possible,
/// and told how many bytes alive are too many to go on (`MemoryMeter`). Of a family's steps, and of
/// changes made together, more never need more memory: what is enough is searched by halves.
template <class Again>
std::vector<Advice> advise(const MemoryEstimate& now, const Run& run, const Question& asked,
                           std::size_t most, Again&& again) {
  using advice::Family;
  std::vector<Advice> found;
  const std::optional<Fit> fit_now = judge(now);
  if (!fit_now || *fit_now == Fit::fits) return found;

  Question whole = asked;  // with the batch spelt out, which the changes divide
  advice::give(whole.draft.micro_batch, run.micro_batch);
  advice::give(whole.draft.accumulation, run.accumulation);

  const Bytes too_many = most_that_fits(now.on);
  const auto saving = [&](const MemoryEstimate& then) {
    return now.device.likely - then.device.likely;
  };
  const Bytes worthwhile(now.device.likely.count() / advice::kWorthwhile);
  const auto question_of = [&](const Family::Step& step) {
    Question question = whole;
    step.apply(question, step.value);
    return question;
  };
  const auto is_fit = [](const std::optional<MemoryEstimate>& then) {
    return then && !then->is_least && judge(*then) == Fit::fits;
  };
  // The fewest of `count` with which `ask` answers with a fit, where all of them do so with `answer`,
  // which becomes that of the fewest.
  const auto fewest = [&](std::size_t count, std::optional<MemoryEstimate>& answer, auto&& ask) {
    std::size_t too_few = 0;
    while (too_few + 1 < count) {
      const std::size_t middle = (too_few + count) / 2;
      std::optional<MemoryEstimate> then = ask(middle);
      if (is_fit(then)) {
        count = middle;
        answer = std::move(then);
      } else {
        too_few = middle;
      }
    }
    return count;
  };

  struct Useful {
    const Family* family;
    const Family::Step* step;
    Bytes can_save{};                      // at most
    std::size_t reached = 0;               // phases of the run before it was given up
    std::optional<MemoryEstimate> answer;  // where it was not given up
  };
  const std::vector<Family> families = advice::families(
      run, asked.allocator,
      asked.draft.trainer ? std::optional(asked.draft.trainer->value.trainer) : std::nullopt);
  std::vector<Useful> useful;  // not enough alone
  const auto add = [&](const Family& family, const Family::Step& step, const MemoryEstimate& then) {
    const Fit fit = judge(then).value_or(Fit::exceeds);
    if (fit > *fit_now || (fit == *fit_now && saving(then) < worthwhile)) return;
    found.push_back({step.change, family.cost, family.sacrifice, saving(then), fit});
  };
  // What is useful so far, all of it together, if that is enough.
  std::size_t tried = 1;  // so many of them: one alone is not enough
  const auto combine = [&] {
    if (!found.empty() || useful.size() <= tried) return;
    tried = useful.size();
    const auto with_all = [&](const std::vector<const Useful*>& changes) {
      Question question = whole;
      for (const Useful* change : changes) change->step->apply(question, change->step->value);
      return again(question, too_many);
    };
    std::vector<const Useful*> open;
    for (const Useful& change : useful) open.push_back(&change);
    std::optional<MemoryEstimate> then = with_all(open);
    if (!is_fit(then)) return;
    // The last of the fewest that are enough is needed; so is, beside it, the last of the fewest before it.
    std::vector<const Useful*> needed;
    while (!open.empty()) {
      const std::size_t count = fewest(open.size(), then, [&](std::size_t first) {
        std::vector<const Useful*> changes = needed;
        changes.insert(changes.begin(), open.begin(), open.begin() + static_cast<std::ptrdiff_t>(first));
        return with_all(changes);
      });
      needed.insert(needed.begin(), open[count - 1]);
      open.resize(count - 1);
      if (needed.size() == 1 || open.empty()) continue;
      std::optional<MemoryEstimate> without = with_all(needed);
      if (!is_fit(without)) continue;
      then = std::move(without);
      break;
    }
    Advice combined{{}, "all of these together", Sacrifice::nothing, saving(*then), Fit::fits};
    for (const Useful* change : needed) {
      combined.change += (combined.change.empty() ? "" : " ") + change->step->change;
      combined.sacrifice = std::max(combined.sacrifice, change->family->sacrifice);
    }
    found.push_back(std::move(combined));
  };

  Sacrifice sacrifice = Sacrifice::nothing;
  for (const Family& family : families) {
    // Several changes that take little come before one that takes more.
    if (family.sacrifice != sacrifice) combine();
    sacrifice = family.sacrifice;
    if (found.size() == most) break;
    // The strongest step first: where that is not enough, no milder one is.
    std::optional<MemoryEstimate> then = again(question_of(family.steps.back()), too_many);
    if (!then) continue;
    if (!is_fit(then)) {
      Useful change{&family, &family.steps.back(), saving(*then), then->footprint.timeline.size(), {}};
      if (!then->is_least) change.answer = std::move(then);
      if (change.can_save >= worthwhile) useful.push_back(std::move(change));
      continue;
    }
    const std::size_t steps = fewest(family.steps.size(), then, [&](std::size_t count) {
      return again(question_of(family.steps[count - 1]), too_many);
    });
    add(family, family.steps[steps - 1], *then);
  }
  combine();

  // The places that are left go to what helps most without being enough: of runs that were given up,
  // those that came furthest.
  std::vector<Useful*> by_saving;
  for (Useful& change : useful) by_saving.push_back(&change);
  std::stable_sort(by_saving.begin(), by_saving.end(), [](const Useful* a, const Useful* b) {
    if (a->answer.has_value() != b->answer.has_value()) return a->answer.has_value();
    return a->answer ? a->can_save > b->can_save : a->reached > b->reached;
  });
  for (Useful* change : by_saving) {
    if (found.size() >= most) break;
    if (!change->answer) change->answer = again(question_of(*change->step), Bytes(Saturating::kMax));
    if (change->answer) add(*change->family, *change->step, *change->answer);
  }

  std::stable_sort(found.begin(), found.end(), [](const Advice& a, const Advice& b) {
    if (a.fit != b.fit) return a.fit < b.fit;
    return a.fit == Fit::fits ? a.sacrifice < b.sacrifice : a.saves > b.saves;
  });
  return found;
}

}  // namespace qwenplan
