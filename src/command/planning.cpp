#include "command/planning.hpp"

#include <span>

#include "command/reading_thread.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "qwenplan/emulate/step.hpp"
#include "qwenplan/judge/advice.hpp"

namespace qwenplan {
namespace {

/// Counts the work of a run beside another reader of it.
class WorkBeside final : public TraceReader {
 public:
  WorkBeside(TraceReader& reader, const Run& run) : reader_(reader), counter_(run) {}

  void enter(const Mark& mark) override {
    reader_.enter(mark);
    counter_.enter(mark);
  }
  void read(std::span<const Event> events) override { reader_.read(events); }
  bool has_enough() const override { return reader_.has_enough(); }
  bool wants_work() const override { return true; }
  bool wants_every_pass() const override { return reader_.wants_every_pass(); }
  void work(const Work& work) override { counter_.work(work); }
  StepWork finish() { return counter_.finish(); }

 private:
  TraceReader& reader_;
  WorkCounter counter_;
};

}  // namespace

Setup setup_of(const Subject& subject) {
  Setup setup{subject, std::nullopt, {}};
  if (subject.gpu) setup.card = subject.gpu->gpu;
  if (subject.vram) {
    if (!setup.card) {
      setup.card.emplace();
      setup.card->name = "GPU";
      setup.card->vendor = "nvidia";
      setup.card->compute_capability = 80;
      setup.card->has_bf16 = setup.card->has_flash_attention = true;
    }
    setup.card->memory = {*subject.vram, Evidence::exact, {}};
    setup.card->driver_total = setup.card->memory;
  }
  if (setup.card) setup.device = device(*setup.card, subject.in_use);
  return setup;
}

std::optional<Error> not_emulated(const Subject& subject) {
  if (subject.model.model.architecture == Architecture::other)
    return Error{Error::Kind::unknown, "the class " + subject.model.model.architecture_name + " is not emulated",
                 "--model", "emulated: Qwen2, Qwen3, Qwen3-MoE, Qwen3.5, Llama, Mistral, Gemma, Gemma-2, Gemma-3, Phi-3, SmolLM3, Qwen2-MoE, Mixtral, Cohere, Cohere2, OLMo-2, OLMo-3, StarCoder2, Seed-OSS and Arcee classes"};
  if (subject.gpu && !subject.gpu->gpu.is_cuda())
    return Error{Error::Kind::unknown, "only CUDA cards are emulated, not " + subject.gpu->gpu.name, "--gpu",
                 "qwenplan data show " + subject.gpu->gpu.id + " tells its facts"};
  return std::nullopt;
}

Result<Plan> planned(const Setup& setup, RunDraft draft, const AllocatorSettings& allocator,
                     Bytes give_up_above, StepWork* work) {
  auto valid = validated(draft, setup.model(), setup.subject.stack, setup.gpu());
  if (!valid) return valid.error();
  MemoryMeter meter(setup.device, allocator, give_up_above);
  meter.widen(emulate::unsloth::left_to_compiler(setup.model(), valid->run, setup.subject.stack));
  const bool may_give_up = give_up_above < Bytes(Saturating::kMax);
  ReadingThread reading(meter, may_give_up ? ReadingThread::Until::enough : ReadingThread::Until::end);
  const auto told_to = [&](TraceReader& reader) {
    trace(setup.model(), valid->run, setup.subject.stack, setup.subject.compute_capability(), reader);
  };
  if (work) {
    WorkBeside both(reading, valid->run);
    told_to(both);
    *work = both.finish();
  } else {
    told_to(reading);
  }
  reading.finish();
  Plan plan{std::move(draft), std::move(*valid), meter.finish(), {}};
  plan.fit = judge(plan.estimate);
  return plan;
}

std::optional<RunDraft> draft_for(Method method, const RunDraft& given) {
  RunDraft draft = given;
  draft.method = Given<Method>{method, From::by_default};
  if (given.quantization) {
    const bool is_quantized = given.quantization->value != Quantization::none;
    if (is_quantized != (method == Method::qlora)) return std::nullopt;
  }
  if (method == Method::full) {
    const bool asks_for_adapters = draft.lora_rank || draft.lora_targets || draft.modules_to_save ||
                                   draft.adapter || draft.lora_dropout || draft.lora_alpha;
    if (asks_for_adapters) return std::nullopt;
    draft.upcasts_for_kbit.reset();
  }
  if (method != Method::qlora) draft.double_quantizes.reset();
  return draft;
}

std::vector<Rung> rungs(const Setup& setup, const RunDraft& draft) {
  std::vector<Rung> list{{"", draft}};
  // Unsloth's code is modelled in its own precision alone.
  const bool is_unsloth = draft.trainer && draft.trainer->value.trainer == Trainer::unsloth;
  if (!setup.device.usable || is_unsloth) return list;
  const bool has_bf16 = !setup.card || setup.card->has_bf16;
  RunDraft down = draft;
  std::string name;
  if (!draft.precision) {
    settle(down.precision, has_bf16 ? Precision::bf16_true : Precision::fp16_true);
    name = "--precision " + std::string(qwenplan::name(down.precision->value));
    list.push_back({name, down});
  }
  if (!draft.optimizer) {
    settle(down.optimizer, std::string("paged-adamw-8bit"));
    list.push_back({name + (name.empty() ? "" : " ") + "--optimizer paged-adamw-8bit", down});
  }
  return list;
}

Result<MethodPlan> best_rung(const Setup& setup, Method method, const RunDraft& draft) {
  const std::vector<Rung> list = rungs(setup, draft);
  const auto tried = [&](const Rung& rung, Bytes give_up_above) {
    return planned(setup, rung.draft, setup.subject.allocator, give_up_above);
  };
  // A rung that surely exceeds is given up, but for the last, which stands for all if none is left.
  std::optional<MethodPlan> best;
  for (const Rung& rung : list) {
    const bool is_last = &rung == &list.back();
    auto plan = tried(rung, is_last && (!best || best->plan.fit == Fit::exceeds)
                                ? Bytes(Saturating::kMax)
                                : most_that_is_tight(setup.device));
    if (!plan) return plan.error();
    if (plan->estimate.is_least) continue;
    const bool is_better =
        !best || *plan->fit < *best->plan.fit ||
        (plan->fit == Fit::exceeds && best->plan.fit == Fit::exceeds &&
         plan->estimate.device.likely < best->plan.estimate.device.likely);
    if (is_better) best = MethodPlan{method, rung.name, std::move(*plan)};
    if (!best->plan.fit || best->plan.fit == Fit::fits) break;
  }
  return std::move(*best);
}

std::size_t best_of(const std::vector<MethodPlan>& methods) {
  std::size_t best = 0;
  const auto rank = [](const Plan& plan) { return plan.fit ? static_cast<int>(*plan.fit) : 0; };
  for (std::size_t i = 1; i < methods.size(); ++i) {
    const Plan& plan = methods[i].plan;
    const Plan& other = methods[best].plan;
    const bool needs_less = plan.estimate.device.likely < other.estimate.device.likely;
    if (rank(plan) < rank(other) || (rank(plan) == rank(other) && plan.fit == Fit::exceeds && needs_less))
      best = i;
  }
  return best;
}

std::vector<Advice> advised(const Setup& setup, const Plan& plan, std::size_t most) {
  return advise(plan.estimate, plan.valid.run, Question{plan.draft, setup.subject.allocator}, most,
                [&](const Question& question, Bytes give_up_above) -> std::optional<MemoryEstimate> {
                  auto other = planned(setup, question.draft, question.allocator, give_up_above);
                  if (!other) return std::nullopt;
                  return std::move(other->estimate);
                });
}

}  // namespace qwenplan
