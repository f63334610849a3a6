#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/dataset_job.hpp"
#include "command/job.hpp"
#include "command/step_time.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/estimate/calibration.hpp"
#include "qwenplan/estimate/duration.hpp"

namespace qwenplan {

/// The data of a job and the loop around its steps: what does not depend on a card.
struct Workload {
  std::optional<TextJob> data;  ///< where flags name it
  std::optional<double> examples;
  double epochs = 1;
  double evaluation_examples = 0;
  std::optional<std::int64_t> saves;
  BatchLoading loading;
  std::vector<Input> inputs;  ///< of the loop

  /// Whether it is told how much data there is; else nobody knows the hours.
  bool is_told() const { return data || examples; }
  /// What it adds to an answer: its inputs and notes.
  void tell(Answer& answer, std::vector<std::string>& assumed) const;
};

/// Reads --dataset, --tokens, --dataset-size or --examples, and the flags of the loop.
Result<Workload> read_workload(const Invocation& in, const Model& model, command::KnownText known = nullptr);

/// The method of a job whose time is asked for and that names none: QLoRA, or LoRA on a base that is
/// told not to be quantized. One job is one method on every card, so that its costs compare.
void settle_method(RunDraft& draft);

/// How long a run takes on a card, all of it.
struct JobTime {
  Timing timing;
  std::int64_t length = 0;            ///< tokens of a sequence on average, padding included
  std::optional<double> tokens;       ///< of one epoch, padding included; none unless the workload tells
  std::optional<Duration> duration;   ///< the same
  std::optional<Range<double>> watts; ///< that the card draws on average; none where its power is not known

  std::optional<Range<double>> hours() const;
  std::optional<Range<double>> kilowatt_hours() const;  ///< of the card
};

/// The time of a run on the card of a setup; it has to have one. `work` is that of the run at its own
/// length, where it was counted before. Errors: what no time is modelled for.
Result<JobTime> job_time(const Setup& setup, const Run& run, const Workload& workload, const Calibration& calibration,
                         const StepWork* work = nullptr);

/// The time of runs of one job on many cards.
class CardTimes {
 public:
  CardTimes(const Job& job, CardFits& fits, const Workload& workload, const Calibration& calibration)
      : job_(job), fits_(fits), workload_(workload), calibration_(calibration) {}

  /// The time of the job's best method on a card, found when it is asked for and once; an error where
  /// that does not run or has no time.
  const Result<JobTime>& on(const Gpu& gpu);
  /// The time of another run of the job, whether or not it fits.
  Result<JobTime> of(const Run& run, const Gpu& gpu);

 private:
  const Job& job_;
  CardFits& fits_;
  const Workload& workload_;
  const Calibration& calibration_;
  std::map<std::string, Result<JobTime>> known_;
  /// Cards of one compute capability run the same kernels: their work is counted once.
  std::vector<std::pair<std::pair<int, Run>, StepWork>> works_;
};

/// "3 h 20 min (2 h 50 min to 4 h 10 min)", of hours.
std::string text_hours(const Range<double>& hours);
/// "$4.10 ($3.60 to $5.20)".
std::string text_usd(const Range<double>& usd);

}  // namespace qwenplan
