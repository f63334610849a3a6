#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/flags.hpp"
#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/dataset_job.hpp"
#include "command/guide_answer.hpp"
#include "command/job_time.hpp"
#include "command/planning.hpp"
#include "command/verdict.hpp"
#include "qwenplan/estimate/duration.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "read/calibration.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// Work of the linear layers and the head on one token of a training step, in FLOP: 2 for each
/// weight in forward, 2 in backward to the inputs, 2 to the weights where they are trained, and the
/// layers' forward once more with checkpointing. Attention's products come on top, so that a step
/// takes at least this.
double work_per_token(const Model& model, Method method, bool checkpoints) {
  const ModelParameters parts = model_parameters(model);
  const auto layers = static_cast<double>((parts.layers.attention + parts.layers.mlp).count());
  const auto head = static_cast<double>(model.vocabulary) * static_cast<double>(model.hidden);
  const double passes = method == Method::full ? 6 : 4;
  return passes * (layers + head) + (checkpoints ? 2 * layers : 0);
}

/// Matrix rate of a card in the 16-bit format that training would use there, in FLOP/s.
std::optional<double> matrix_rate(const Gpu& gpu) {
  const auto& rate = gpu.has_bf16 ? gpu.bf16_rate : gpu.fp16_rate;
  return rate ? std::optional(rate->value) : std::nullopt;
}

double number_in(std::string_view text) {
  std::string digits;
  for (const char c : text)
    if ((c >= '0' && c <= '9') || c == '.') digits += c;
  double number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

Method method_of(std::string_view text) {
  return text == "Full FT" ? Method::full : text == "LoRA" ? Method::lora : Method::qlora;
}

Result<Subject> subject_of(const Tables& tables, std::string_view model, std::string_view gpu) {
  Subject subject;
  auto found = tables.model(model);
  if (!found) return found.error();
  subject.model = std::move(*found);
  auto card = tables.gpu(gpu);
  if (!card) return card.error();
  subject.gpu = std::move(*card);
  return subject;
}

/// "RTX 4070 Ti 12GB" by its id in the table of GPUs.
Result<std::string> gpu_id(std::string_view name) {
  const auto columns = guide::kMatrix.columns();
  for (std::size_t i = 0; i < guide::kMatrixGpus.size(); ++i)
    if (columns[i + 1] == name) return std::string(guide::kMatrixGpus[i]);
  return Error{Error::Kind::unknown, "no row for '" + std::string(name) + "'", "--table", "gpus.json"};
}

std::string percent(double share) { return fixed(share * 100, 0) + " %"; }

Result<Answer> speed_table(const Tables& tables, const Calibration& calibration) {
  Answer answer;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{"run on an RTX 3060"}, {"guide", right}, {"of the card's peak", right}, {"ours", right}, {"memory"}}, {}};
  for (std::size_t i = 0; i < guide::kSpeed.rows(); ++i) {
    const auto cells = guide::kSpeed.row(i);
    const auto subject = subject_of(tables, cells[0], "rtx3060-12g");
    if (!subject) return subject.error();
    const Setup setup = setup_of(*subject);
    const Method method = method_of(cells[1]);
    RunDraft draft;
    draft.method = Given<Method>{method, From::file};
    draft.micro_batch = Given<std::int64_t>{static_cast<std::int64_t>(number_in(cells[2])), From::file};
    draft.length = Given<std::int64_t>{static_cast<std::int64_t>(number_in(cells[3])), From::file};
    const auto best = best_rung(setup, method, draft);
    if (!best) return best.error();
    const Plan& plan = best->plan;
    const Timing timing = timed(setup, plan.valid.run, calibration);

    const double said = number_in(cells[4]);
    const double work = work_per_token(setup.model(), method, true);
    const auto rate = matrix_rate(*setup.gpu());
    if (!rate) return Error{Error::Kind::unknown, "the table does not know the matrix rate of this card", "gpus.json",
                   "qwenplan data show rtx3060-12g"};
    rows.push(Value::object(
        {{"model", setup.model().id},
         {"method", name(method)},
         {"batch", plan.valid.run.micro_batch},
         {"seq_len", plan.valid.run.length},
         {"gpu", "rtx3060-12g"},
         {"guide_tokens_per_second", said},
         {"guide_memory", cells[6]},
         {"tokens_per_second", timing.rate},
         {"bound_by", name(bound_of(timing.step))},
         {"flop_per_token", work},
         {"share_of_peak", said * work / *rate},
         {"fit", fit_words(plan.fit)},
         {"rung", best->rung.empty() ? "defaults" : best->rung},
         {"device_bytes", plan.estimate.device}}));
    table.rows.push_back({std::string(cells[0]) + " " + std::string(cells[1]) + ", " + std::string(cells[2]) + " x " +
                              std::string(cells[3]),
                          std::string(cells[4]) + " tokens/s", percent(said * work / *rate), text_rate_of(timing),
                          fit_words(plan.fit) + ": " + text(plan.estimate.device) + ", guide " + std::string(cells[6])});
  }
  answer.add(Headline{"the guide's speeds of an RTX 3060 beside ours"});
  answer.add(std::move(table));
  answer.add(Paragraph{"of the peak: the linear layers and the head alone, with checkpointing as the guide configures it; "
                       "over 100 % no such card can do it"});
  answer.json.set("rows", std::move(rows));
  return answer;
}

Result<Answer> comparative_table(const Tables& tables, const Calibration& calibration) {
  Answer answer;
  Value rows = Value::list(), flat = Value::list();
  using enum Column::Align;
  Table table{{{"GPU"}, {"job"}, {"guide", right}, {"matrix rate", right}, {"bandwidth", right}, {"USD/TFLOPS", right}, {"memory"}}, {}};
  const auto first = tables.gpu("rtx3060-12g");
  if (!first) return first.error();
  for (std::size_t i = 0; i < guide::kComparative.rows(); ++i) {
    const auto cells = guide::kComparative.row(i);
    const auto id = gpu_id(cells[0]);
    if (!id) return id.error();
    const auto subject = subject_of(tables, cells[1], *id);
    if (!subject) return subject.error();
    const Setup setup = setup_of(*subject);
    RunDraft draft;
    draft.method = Given<Method>{Method::full, From::file};
    const auto best = best_rung(setup, Method::full, draft);
    if (!best) return best.error();
    const Gpu& gpu = *setup.gpu();
    const auto rate = matrix_rate(gpu), base = matrix_rate(first->gpu);
    if (!rate || !base)
      return Error{Error::Kind::unknown, "the table does not know the matrix rate of " + gpu.name, "gpus.json",
                   "qwenplan data show " + gpu.id};
    const double matrix = *rate / *base;
    const double bandwidth = gpu.bandwidth.value / first->gpu.bandwidth.value;
    const double price = gpu.launch_price ? gpu.launch_price->value / (*rate / 1e12) : 0;
    const MemoryEstimate& estimate = best->plan.estimate;
    const Timing timing = timed(setup, best->plan.valid.run, calibration);
    rows.push(Value::object({{"gpu", *id},
                             {"model", setup.model().id},
                             {"method", "full"},
                             {"guide_relative_speed", number_in(cells[3])},
                             {"tokens_per_second", timing.rate},
                             {"relative_matrix_rate", matrix},
                             {"relative_bandwidth", bandwidth},
                             {"launch_usd_per_tflops", price > 0 ? Value(price) : Value()},
                             {"fit", fit_words(best->plan.fit)},
                             {"rung", best->rung.empty() ? "defaults" : best->rung},
                             {"device_bytes", estimate.device}}));
    table.rows.push_back({std::string(cells[0]), std::string(cells[1]) + ", full", std::string(cells[3]),
                          fixed(matrix, 1) + "x", fixed(bandwidth, 1) + "x", price > 0 ? fixed(price, 1) : "-",
                          fit_words(best->plan.fit) + ": " + text(estimate.device) + " of " + text(estimate.on.usable->value)});
  }
  answer.add(Headline{"the guide's five cards beside their rates, and whether its jobs fit them"});
  answer.add(std::move(table));
  answer.add(Paragraph{"a step lies between the two ratios if it fits: compute-bound runs follow the matrix rate (16 bits, "
                       "fp32 accumulate), small batches the bandwidth. USD at launch. Two models on two cards do not compare.",
                       Tone::faint});
  answer.json.set("rows", std::move(rows));
  return answer;
}

/// One of the guide's tables beside what is said here.
Result<Answer> table(const Invocation& in, bool is_speed) {
  for (const std::span<const Flag> flags : {subject_flags(), run_flags(), parallel_flags(), data_flags(), loop_flags(), time_flags()})
    for (const Flag& flag : flags)
      if (flag.name != "table" && in.has(flag.name))
        return Error{Error::Kind::wrong, "the rows of the table are the guide's own", "--" + std::string(flag.name),
                     "leave it out"};
  if (in.uses_guide)
    return guide_table("qwenplan.time/1", is_speed ? guide::kSpeed : guide::kComparative,
                       {is_speed ? guide::GuideSystem::speed : guide::GuideSystem::comparative});
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();
  auto answer = is_speed ? speed_table(*tables, *calibration) : comparative_table(*tables, *calibration);
  if (!answer) return answer.error();
  answer->schema = "qwenplan.time/1";
  answer->data_as_of = tables->as_of();
  answer->inputs.push_back({"table", Value(is_speed ? "speed" : "comparative"), "flag"});
  return answer;
}

std::string seconds_text(double seconds) {
  if (seconds >= 100) return text_duration(seconds);
  return seconds >= 0.1 ? fixed(seconds, 2) + " s" : fixed(seconds * 1e3, 1) + " ms";
}

std::string_view bound_words(Bound bound) {
  switch (bound) {
    case Bound::compute: return "matrix products decide: a card with a higher tensor rate is faster";
    case Bound::bandwidth: return "memory decides: kernels that stream tensors; fused kernels or less checkpointing help";
    case Bound::launch: return "the host decides: it launches kernels more slowly than the card runs them; a larger batch is free";
    case Bound::input: return "data loading decides: more --workers or tokenizing beforehand help";
  }
  return "";
}

}  // namespace

Result<Answer> time(const Invocation& in) { return time(in, nullptr); }

Result<Answer> time(const Invocation& in, KnownText known) {
  if (const auto which = in.value("table")) return table(in, *which == "speed");
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();
  const auto subject = read_subject(in, *tables);
  if (!subject) return subject.error();
  if (auto error = not_emulated(*subject)) return *std::move(error);
  auto draft = read_run(in);
  if (!draft) return draft.error();
  if (!subject->gpu)
    return Error{Error::Kind::wrong, "time depends on the card", "--gpu", "name one: --gpu rtx3060"};
  if (subject->gpu->count > 1 && !draft->gpus) draft->gpus = Given<std::int64_t>{subject->gpu->count, From::flag};
  settle_method(*draft);

  const Setup setup = setup_of(*subject);
  StepWork work;
  const auto plan = planned(setup, *draft, subject->allocator, Bytes(Saturating::kMax), &work);
  if (!plan) return plan.error();
  const Run& run = plan->valid.run;
  const auto workload = read_workload(in, setup.model(), known);
  if (!workload) return workload.error();
  const auto job = job_time(setup, run, *workload, *calibration, &work);
  if (!job) return job.error();
  const Timing& t = job->timing;

  Answer answer;
  answer.schema = "qwenplan.time/1";
  answer.data_as_of = tables->as_of();
  answer.inputs = subject->inputs;
  answer.notes = subject->notes;
  for (const RunSetting& setting : plan->valid.settings) answer.inputs.push_back(as_input(setting));
  answer.notes.insert(answer.notes.end(), plan->valid.notes.begin(), plan->valid.notes.end());
  if (workload->data) {
    for (const Input& input : workload->data->inputs) answer.inputs.push_back(input);
    answer.notes.insert(answer.notes.end(), workload->data->notes.begin(), workload->data->notes.end());
    if (job->length != run.length)
      answer.notes.push_back("the step is of sequences of " + grouped(job->length) +
                             " tokens, which batches of this file have on average, padding included");
  }
  if (plan->fit == Fit::exceeds) answer.notes.push_back("this run does not fit the card: the time is of one that would");
  if (const std::string what = not_compared(run, setup.model()); !what.empty())
    answer.notes.push_back("no measured run has " + what + ": how far its time is met is not known, and the range may be too narrow");
  const bool knows_epochs = job->duration.has_value();
  answer.inputs.push_back({"tokens", job->tokens, knows_epochs ? "flag" : "default"});
  answer.inputs.insert(answer.inputs.end(), workload->inputs.begin(), workload->inputs.end());
  const Duration d = job->duration.value_or(Duration());
  const auto total = job->hours(), kilowatt_hours = job->kilowatt_hours();
  const auto& watts = job->watts;
  const auto hours = [](const Range<double>& seconds) { return times(1.0 / 3600, seconds); };

  answer.json.set("tokens_per_second", t.rate);
  answer.json.set("seconds_per_step", t.seconds);
  answer.json.set("hours", total);
  answer.json.set("energy_kwh", kilowatt_hours);
  answer.json.set("bound_by", name(bound_of(t.step)));
  Value& terms = answer.json.set("terms", Value::list());
  Value flat = Value::list();
  Bars bars;
  for (int i = 0; i < kTimeTerms; ++i) {
    const double seconds = t.step.terms[static_cast<std::size_t>(i)];
    if (seconds <= 0) continue;
    const std::string_view term = name(static_cast<TimeTerm>(i));
    Value row = Value::object({{"term", term}, {"seconds", seconds}, {"share", seconds / t.step.seconds}});
    flat.push(row);
    terms.push(std::move(row));
    bars.bars.push_back({std::string(term), seconds, seconds_text(seconds), text_percent(seconds / t.step.seconds), Tone::plain});
  }
  answer.rows = std::move(flat);
  answer.json.set("tokens_per_step", t.work.tokens);
  answer.json.set("flops_per_step", t.work.flops());
  answer.json.set("launches_per_step", t.work.launches());
  answer.json.set("device_seconds", t.step.device);
  answer.json.set("watts", watts);
  answer.json.set("epochs", knows_epochs ? Value::object({{"steps", d.steps},
                                                         {"training_hours", hours(d.training)},
                                                         {"evaluation_hours", hours(d.evaluation)},
                                                         {"saving_hours", hours(d.saving)}})
                                         : Value());
  answer.json.set("calibrated", t.is_calibrated);
  answer.json.set("fit", plan->fit ? Value(name(*plan->fit)) : Value());

  answer.add(Headline{text_rate_of(t) + ", " + seconds_text(t.seconds.likely) + " a step of " + grouped(t.work.tokens) +
                      " tokens on " + setup.gpu()->name + (total ? "; " + text_hours(*total) : "")});
  answer.add(Paragraph{std::string(name(run.method)) + " of " + setup.model().id + "; " + std::string(bound_words(bound_of(t.step)))});
  answer.add(std::move(bars));
  if (knows_epochs) {
    std::string words = grouped(d.steps) + " steps: training " + text_duration(d.training.likely);
    if (d.evaluation.likely > 0) words += ", evaluation " + text_duration(d.evaluation.likely);
    if (d.saving.likely > 0) words += ", saving " + text_duration(d.saving.likely);
    if (kilowatt_hours)
      words += "; " + fixed(kilowatt_hours->likely, 2) + " kWh (" + fixed(kilowatt_hours->low, 2) + " to " +
               fixed(kilowatt_hours->high, 2) + ") for the card";
    answer.add(Paragraph{words});
  } else {
    answer.add(Paragraph{"give --dataset, --tokens or --examples for hours and energy", Tone::faint});
  }
  if (watts) answer.add(Paragraph{"assumed: the card draws " + fixed(watts->likely, 0) + " W on average; checkpoints go to a disk at 200 MB/s",
                                  Tone::faint});
  answer.add(Paragraph{t.is_calibrated ? "corrected by your own steps on this card (qwenplan calibrate)"
                                       : "no step of yours was measured on this card: 'qwenplan calibrate run.json' narrows the range",
                       Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
