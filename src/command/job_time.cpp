#include "command/job_time.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "qwenplan/estimate/storage.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

/// A tokenized example is read and collated in well under a millisecond.
constexpr double kLoadMilliseconds = 0.3;

/// What a run makes of the data of one epoch.
struct Amount {
  std::optional<double> tokens;
  Range<double> share{1, 1, 1};  ///< how much more or less they may be
  std::int64_t length = 0;       ///< tokens of a sequence on average, padding included
};

Amount amount_of(const Workload& workload, const Run& run) {
  Amount amount;
  amount.length = run.length;
  if (workload.data) {
    const auto count = [](Tokens tokens) { return static_cast<double>(tokens.count()); };
    const Range<Tokens>& told = workload.data->tokens;
    Range<double> tokens = {count(told.low), count(told.likely), count(told.high)};
    amount.tokens = tokens.likely;
    if (const auto& job = workload.data->job) {
      // A row without padding takes each sequence as long as it is.
      const Epoch epoch = epoch_of(job->data.lengths, run.length, run.is_joined ? 1 : run.micro_batch, run.packs);
      tokens = epoch.tokens;
      amount.length = epoch.length;
      amount.tokens = static_cast<double>(epoch.length) * static_cast<double>(epoch.rows);
    }
    amount.share = {tokens.low / tokens.likely, 1, tokens.high / tokens.likely};
  }
  if (workload.examples) amount.tokens = *workload.examples * static_cast<double>(run.length);
  return amount;
}

Run of_length(const Run& run, std::int64_t length) {
  Run other = run;
  other.length = length;
  return other;
}

/// `work` is that of a step of the data's average length.
JobTime time_of(const StepWork& work, const Setup& setup, const Run& run, const Workload& workload, const Amount& amount,
                const Calibration& calibration) {
  const Gpu& gpu = *setup.gpu();
  const double alone = timed(work, gpu, calibration).step.seconds;
  JobTime result;
  result.timing = timed(work, gpu, calibration, input_wait(workload.loading, run, alone));
  result.length = amount.length;
  result.tokens = amount.tokens;
  if (amount.tokens) {
    Course course;
    course.tokens = *amount.tokens;
    course.epochs = workload.epochs;
    course.evaluation_tokens = workload.evaluation_examples * static_cast<double>(amount.length);
    course.saves = workload.saves.value_or(static_cast<std::int64_t>(std::ceil(workload.epochs)));
    course.checkpoint = checkpoint_size(setup.model(), run).likely;
    course.write_rate = kDiskBytesPerSecond;
    Duration d = duration(course, of_length(run, amount.length), result.timing.seconds, result.timing.forward_share);
    d.training = {d.training.low * amount.share.low, d.training.likely, d.training.high * amount.share.high};
    result.duration = d;
  }
  if (gpu.power) {
    const StepTime& s = result.timing.step;
    result.watts = drawn_watts(gpu.power->value, s.compute / s.seconds, (s.device - s.compute) / s.seconds);
  }
  return result;
}

}  // namespace

Result<Workload> read_workload(const Invocation& in, const Model& model, command::KnownText known) {
  constexpr double kMost = 1e15;
  Workload workload;
  const auto examples = in.number("examples", 1, kMost);
  if (!examples) return examples.error();
  const auto epochs = in.number("epochs", 0.001, 1e6);
  if (!epochs) return epochs.error();
  const auto evaluated = in.number("eval-examples", 0, kMost);
  if (!evaluated) return evaluated.error();
  const auto saves = in.whole("saves", 0, 1'000'000);
  if (!saves) return saves.error();
  const auto workers = in.whole("workers", 0, 1024);
  if (!workers) return workers.error();
  const auto load = in.number("load-ms", 0, 1e6);
  if (!load) return load.error();
  auto data = read_text_job(in, model, known);
  if (!data) return data.error();
  if (*data && *examples)
    return Error{Error::Kind::wrong, "--examples and another flag both say how much data there is", "--examples",
                 "give one of --dataset, --tokens, --dataset-size and --examples"};
  workload.data = std::move(*data);
  workload.examples = *examples;
  workload.epochs = epochs->value_or(1);
  workload.evaluation_examples = evaluated->value_or(0);
  workload.saves = *saves;
  workload.loading = {load->value_or(kLoadMilliseconds) / 1e3, workers->value_or(0)};
  if (*examples) workload.inputs.push_back({"examples", Value(**examples), "flag"});
  for (const auto& [flag, value] : {std::pair{"epochs", Value(workload.epochs)},
                                    {"eval-examples", Value(workload.evaluation_examples)},
                                    {"workers", Value(workload.loading.workers)},
                                    {"load-ms", Value(workload.loading.seconds_per_example * 1e3)}})
    workload.inputs.push_back({flag, value, in.has(flag) ? "flag" : "default"});
  return workload;
}

void Workload::tell(Answer& answer, std::vector<std::string>& assumed) const {
  if (data) {
    answer.inputs.insert(answer.inputs.end(), data->inputs.begin(), data->inputs.end());
    answer.notes.insert(answer.notes.end(), data->notes.begin(), data->notes.end());
    assumed.insert(assumed.end(), data->assumed.begin(), data->assumed.end());
    if (!data->job)
      answer.inputs.push_back({"tokens", Value(data->tokens.likely), "flag"});
  }
  answer.inputs.insert(answer.inputs.end(), inputs.begin(), inputs.end());
}

void settle_method(RunDraft& draft) {
  if (draft.method) return;
  if (!draft.quantization) draft.method = Given<Method>{Method::qlora, From::by_default};
  else if (draft.quantization->value == Quantization::none) draft.method = Given<Method>{Method::lora, From::by_default};
}

std::optional<Range<double>> JobTime::hours() const {
  if (!duration) return std::nullopt;
  return times(1.0 / 3600, duration->total());
}

std::optional<Range<double>> JobTime::kilowatt_hours() const {
  const auto took = hours();
  if (!took || !watts) return std::nullopt;
  return Range<double>{watts->low * took->low / 1e3, watts->likely * took->likely / 1e3, watts->high * took->high / 1e3};
}

Result<JobTime> job_time(const Setup& setup, const Run& run, const Workload& workload, const Calibration& calibration,
                         const StepWork* work) {
  if (auto error = not_timed(run)) return *std::move(error);
  const Amount amount = amount_of(workload, run);
  if (work && amount.length == run.length) return time_of(*work, setup, run, workload, amount, calibration);
  return time_of(work_of(setup, of_length(run, amount.length)), setup, run, workload, amount, calibration);
}

Result<JobTime> CardTimes::of(const Run& run, const Gpu& gpu) {
  if (auto error = not_timed(run)) return *std::move(error);
  const Subject subject = job_.subject.on(gpu);
  const Setup setup = setup_of(subject);
  const Amount amount = amount_of(workload_, run);
  const std::pair key(subject.compute_capability(), of_length(run, amount.length));
  auto counted = std::find_if(works_.begin(), works_.end(), [&](const auto& each) { return each.first == key; });
  if (counted == works_.end()) counted = works_.insert(works_.end(), {key, work_of(setup, key.second)});
  return time_of(counted->second, setup, run, workload_, amount, calibration_);
}

const Result<JobTime>& CardTimes::on(const Gpu& gpu) {
  const auto known = known_.find(gpu.id);
  if (known != known_.end()) return known->second;
  const auto& fit = fits_.on(gpu);
  return known_.emplace(gpu.id, fit ? of(fit->best().plan.valid.run, gpu) : Result<JobTime>(fit.error())).first->second;
}

std::string text_hours(const Range<double>& hours) {
  return text_duration(hours.likely * 3600) + " (" + text_duration(hours.low * 3600) + " to " +
         text_duration(hours.high * 3600) + ")";
}

std::string text_usd(const Range<double>& usd) {
  return text_usd(usd.likely) + (text_usd(usd.low) == text_usd(usd.high) ? "" : " (" + text_usd(usd.low) + " to " + text_usd(usd.high) + ")");
}

}  // namespace qwenplan
