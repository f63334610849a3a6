#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/method_plans.hpp"
#include "command/planning.hpp"
#include "command/step_time.hpp"
#include "command/subject.hpp"
#include "command/terms.hpp"
#include "command/verdict.hpp"
#include "command/vram_guide.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "qwenplan/judge/advice.hpp"
#include "qwenplan/judge/fit.hpp"
#include "read/calibration.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

std::string_view evidence_of(std::string_view term) {
  for (const TermEntry& entry : terms())
    if (entry.name == term) return entry.evidence;
  return name(Evidence::emulated);
}

Value as_json(const PhaseUse& use) {
  Value phase =
      Value::object({{"phase", name(use.phase)},
                     {"step", use.step > 0 ? Value(use.step) : Value()},
                     {"micro_step", use.micro_step > 0 ? Value(use.micro_step) : Value()},
                     {"allocated_bytes", use.allocated},
                     {"allocated_without_workspace_bytes", use.allocated_without_workspace}});
  Value& list = phase.set("terms", Value::list());
  for (int t = 0; t < kTerms; ++t) {
    const Bytes bytes = use.terms[static_cast<std::size_t>(t)];
    const std::string_view term = name(static_cast<Term>(t));
    if (bytes > Bytes())
      list.push(Value::object({{"term", term}, {"bytes", bytes}, {"evidence", evidence_of(term)}}));
  }
  return phase;
}

/// The term that takes most at the peak.
std::string largest_term(const MemoryEstimate& estimate) {
  const Terms& terms = estimate.footprint.timeline[estimate.footprint.peak].terms;
  const auto most = std::max_element(terms.begin(), terms.end()) - terms.begin();
  return std::string(name(static_cast<Term>(most)));
}

/// The largest terms of a phase: "logits 6.9 GiB, weights 4.1 GiB".
std::string largest_terms(const PhaseUse& use, std::size_t count) {
  std::vector<std::pair<Bytes, std::string_view>> terms;
  for (int t = 0; t < kTerms; ++t)
    terms.emplace_back(use.terms[static_cast<std::size_t>(t)], name(static_cast<Term>(t)));
  std::stable_sort(terms.begin(), terms.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string out;
  for (std::size_t i = 0; i < count && terms[i].first > Bytes(); ++i)
    out += (i > 0 ? ", " : "") + std::string(terms[i].second) + " " + text(terms[i].first);
  return out;
}

Bars timeline(const MemoryEstimate& estimate) {
  Bars bars;
  if (estimate.on.usable) bars.limit = static_cast<double>(estimate.on.usable->value.count());
  const auto& uses = estimate.footprint.timeline;
  const PhaseUse& peak = uses[estimate.footprint.peak];
  int last_micro = 0;
  for (const PhaseUse& use : uses) last_micro = std::max(last_micro, use.micro_step);
  // Of the two steps the one with the peak is shown: they differ by the optimizer's states. Of an
  // accumulation, the last micro-step, which finds gradients.
  const int shown_step = peak.step > 0 ? peak.step : 2;
  for (const PhaseUse& use : uses) {
    const bool is_peak = &use == &peak;
    const bool is_shown = use.step == 0 || (use.step == shown_step && use.phase != Phase::save &&
                                            (use.micro_step == 0 || use.micro_step == last_micro));
    if (!is_shown && !is_peak) continue;
    bars.bars.push_back({std::string(name(use.phase)), static_cast<double>(use.allocated.count()),
                         text(use.allocated), is_peak ? "<- peak" : "",
                         is_peak ? Tone::warning : Tone::plain});
  }
  return bars;
}

/// What the allocator does at the size of the card, where that is worth saying.
std::optional<std::string> at_capacity_words(const Plan& plan) {
  const auto& capacity = plan.estimate.at_capacity;
  if (!capacity) return std::nullopt;
  if (!capacity->completes()) {
    const OutOfMemory& out = *capacity->out_of_memory;
    return "out of memory in " + std::string(name(out.phase)) +
           (out.step > 0 ? " of step " + std::to_string(out.step) : "") + ", at a request of " +
           text(out.request);
  }
  if (capacity->flushes > 0)
    return "a step completes only by giving cached memory back to the driver, " +
           std::to_string(capacity->flushes_per_step) + " times a step";
  if (plan.fit == Fit::tight) return "the likely need fits, its upper bound does not";
  return std::nullopt;
}

/// Where another card of the same name would answer otherwise, that is said.
void note_variants(const Setup& setup, const Tables& tables, const Plan& plan, Answer& answer) {
  if (!setup.subject.gpu || setup.subject.vram || !plan.fit) return;
  for (const std::string& id : setup.subject.gpu->also) {
    const auto other = tables.gpu(id);
    if (!other || other->gpu.memory.value == setup.card->memory.value) continue;
    const Device there = device(other->gpu, setup.subject.in_use);
    const Fit fit = judge(plan.estimate.reserved + there.context.bytes, there.usable->value, false);
    if (fit != *plan.fit)
      answer.notes.push_back("on " + id + ", with " + text(there.usable->value) +
                             ", the answer would be: " + std::string(name(fit)));
  }
}

/// Facts alone, where the decoder or the card cannot be emulated.
Answer facts_alone(Answer answer, const Subject& subject, Error error) {
  const Model& m = subject.model.model;
  answer.json.set("parameters",
                  Value::object({{"total", subject.model.parameters}, {"trainable", Value()}}));
  answer.json.set("verdict", Value());
  Table table{{{""}, {""}}, {}};
  const auto row = [&](const char* what, std::string value) {
    table.rows.push_back({what, std::move(value)});
  };
  row("model", m.hub_id.empty() ? m.id : m.hub_id);
  row("class", m.architecture_name);
  if (subject.model.parameters) row("parameters", short_count(subject.model.parameters->count()));
  for (const auto& [what, count] :
       {std::pair{"layers", m.layers}, {"hidden", m.hidden}, {"vocabulary", m.vocabulary}})
    if (count > 0) row(what, grouped(count));
  if (subject.gpu) {
    row("GPU", subject.gpu->gpu.name);
    row("memory", text(subject.gpu->gpu.memory.value));
  }
  answer.add(Headline{"cannot be told: " + error.what, Tone::warning});
  answer.add(std::move(table));
  answer.error = std::move(error);
  return answer;
}

}  // namespace

Result<Answer> vram(const Invocation& in) {
  if (in.uses_guide) return vram_guide(in);
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  auto read = read_subject(in, *tables);
  if (!read) return read.error();
  const Subject& subject = *read;
  auto given = read_run(in);
  if (!given) return given.error();
  if (subject.gpu && subject.gpu->count > 1 && !given->gpus)
    given->gpus = Given<std::int64_t>{subject.gpu->count, From::flag};

  Answer answer;
  answer.schema = "qwenplan.vram/1";
  answer.data_as_of = tables->as_of();
  answer.inputs = subject.inputs;
  answer.notes = subject.notes;
  if (auto error = not_emulated(subject))
    return facts_alone(std::move(answer), subject, std::move(*error));

  const Setup setup = setup_of(subject);
  const bool tries_methods = !names_method(*given);
  // Work is counted where there is a card to do it: that takes a fifth of the emulation.
  StepWork work;
  const auto methods = method_plans(setup, *given, subject.gpu ? &work : nullptr);
  if (!methods) return methods.error();
  answer.notes.insert(answer.notes.end(), methods->left_out.begin(), methods->left_out.end());
  const Plan& plan = methods->chosen().plan;
  const MemoryEstimate& e = plan.estimate;
  std::optional<Timing> timing;
  if (subject.gpu && plan.fit != Fit::exceeds && !not_timed(plan.valid.run)) {
    const auto calibration = read_calibration(*tables);
    if (!calibration) return calibration.error();
    if (tries_methods) work = work_of(setup, plan.valid.run);
    timing = timed(work, *setup.gpu(), *calibration);
  }

  for (const RunSetting& setting : plan.valid.settings) answer.inputs.push_back(as_input(setting));
  answer.notes.insert(answer.notes.end(), plan.valid.notes.begin(), plan.valid.notes.end());
  note_variants(setup, *tables, plan, answer);
  if (plan.fit == Fit::exceeds || (plan.fit == Fit::tight && in.is_strict)) answer.status = kNo;

  const Params total = loaded_parameters(setup.model(), plan.valid.run);
  const Params trained = trained_parameters(setup.model(), plan.valid.run);
  answer.json.set("parameters", Value::object({{"total", total}, {"trainable", trained}}));
  answer.json.set("verdict", verdict_json(plan));
  Value& phases = answer.json.set("timeline", Value::list());
  for (const PhaseUse& use : e.footprint.timeline) phases.push(as_json(use));
  Value& method_rows = answer.json.set("methods", Value::list());
  for (const MethodPlan& each : methods->plans)
    method_rows.push(Value::object({{"method", name(each.method)},
                                    {"fit", each.plan.fit ? Value(name(*each.plan.fit)) : Value()},
                                    {"rung", each.rung.empty() ? "defaults" : each.rung},
                                    {"device_bytes", each.plan.estimate.device}}));
  answer.json.set("time", timing ? time_json(*timing) : Value());
  const std::vector<Advice> advice = advised(setup, plan);
  answer.json.set("advice", advice_json(advice));
  Value& assumed = answer.json.set("assumed", Value::list());
  std::string assumed_words, trainer_words;
  for (const RunSetting& setting : plan.valid.settings) {
    const bool is_trainers = setting.from == From::trainer;
    if ((!is_trainers && setting.from != From::by_default) || setting.flag == "method") continue;
    assumed.push(as_words(setting));
    std::string& words = is_trainers ? trainer_words : assumed_words;
    words += (words.empty() ? "" : " ") + as_words(setting);
  }
  if (!in.has("stack")) {
    auto& words = in.has("trainer") ? trainer_words : assumed_words;
    words += (words.empty() ? "" : " ") + ("--stack " + as_words(subject.stack));
  }
  if (!subject.gpu) assumed_words += ", and the kernels of an A100";

  Value rows = Value::list();
  for (const PhaseUse& use : e.footprint.timeline) {
    Value& row = rows.push(Value::object({{"phase", name(use.phase)},
                                          {"step", use.step},
                                          {"micro_step", use.micro_step},
                                          {"allocated_bytes", use.allocated}}));
    for (int t = 0; t < kTerms; ++t)
      row.set(std::string(name(static_cast<Term>(t))) + "_bytes",
              use.terms[static_cast<std::size_t>(t)]);
  }
  answer.rows = std::move(rows);

  answer.add(headline(setup, plan));
  std::string run_words = std::string(name(plan.valid.run.method)) + " of " + setup.model().id +
                          ", " + short_count(total.count()) + " parameters, " +
                          short_count(trained.count()) + " trained";
  if (const std::string& rung = methods->chosen().rung; !rung.empty()) run_words += ", with " + rung;
  answer.add(Paragraph{run_words + "; tensors " + text(e.allocated.likely) + ", PyTorch holds " +
                       text(e.reserved.likely) + ", CUDA context " +
                       text(e.on.context.bytes.likely)});
  answer.add(timeline(e));
  answer.add(Paragraph{"at the peak: " + largest_terms(e.footprint.timeline[e.footprint.peak], 4)});
  if (timing) answer.add(Paragraph{text_rate_of(*timing) + "; 'qwenplan time' tells what a step goes to"});
  if (const auto words = at_capacity_words(plan)) answer.add(Paragraph{*words, Tone::warning});
  if (tries_methods) {
    Table table{{{"method"}, {"verdict"}, {"needs"}, {"with"}}, {}};
    for (const MethodPlan& each : methods->plans)
      table.rows.push_back({std::string(name(each.method)), fit_words(each.plan.fit),
                            text(each.plan.estimate.device),
                            each.rung.empty() ? "the defaults" : each.rung});
    answer.add(std::move(table));
  }
  if (!advice.empty()) answer.add(advice_table(advice));
  if (!trainer_words.empty())
    answer.add(Paragraph{"of " + text(given->trainer->value) + ": " + trainer_words, Tone::faint});
  if (!assumed_words.empty()) answer.add(Paragraph{"assumed: " + assumed_words, Tone::faint});
  answer.add(
      Paragraph{"qwenplan explain " + largest_term(e) + " tells how a term is found", Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
