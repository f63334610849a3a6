#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit_status.hpp"
#include "command/planning.hpp"
#include "qwenplan/estimate/calibration.hpp"
#include "qwenplan/estimate/roofline.hpp"
#include "qwenplan/judge/advice.hpp"
#include "read/project_file.hpp"
#include "read/tables.hpp"
#include "read/trainer/train_file.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// From which severity on a finding is a no: --fail-on.
enum class FailOn : unsigned char { note, warning, error, never };

/// How long a file's run takes.
struct CheckedTime {
  Range<double> rate{};     ///< tokens per second
  Range<double> seconds{};  ///< of a step
  Bound bound = Bound::compute;
  std::optional<Range<double>> hours;  ///< none unless its steps or its data are told
  std::string of;                      ///< what they are of: "1,000 steps", "3 epochs"
};

/// What a file came to.
struct CheckedFile {
  std::string file;
  std::string trainer;  ///< empty: nobody's
  From trainer_from = From::file;
  From version_from = From::by_default;  ///< of the trainer's version
  std::string model;
  std::string status;  ///< fits, tight, exceeds, invalid, unknown
  ExitStatus exit = kYes;
  std::vector<Input> settings;  ///< card, libraries and what else stands around the file
  std::optional<Error> error;   ///< why there is no estimate
  RunDraft draft;               ///< what was read, with the trainer's defaults where the model is known
  std::optional<Plan> plan;
  std::optional<CheckedTime> time;  ///< none where a mechanism has no time, or no card of the table is named
  std::optional<Plan> one_gpu;  ///< of a run on several: the same micro-batch on one card
  std::vector<Advice> advice;
  std::vector<Finding> findings;
  std::vector<Finding> ignored;  ///< by remarks in the file, or by qwenplan.yaml
  std::string headline;
  bool is_nobodys = false;  ///< the keys are no trainer's
};

/// Checks files one after the other. Tables are opened once, and files whose runs are equal share
/// one estimate.
class Checker {
 public:
  /// `in` has the flags; what a qwenplan.yaml says stands in where a flag is missing. `epochs` go
  /// before a file's own.
  Checker(const Invocation& in, const Tables& tables, const Calibration& calibration, std::optional<double> epochs);
  ~Checker();

  /// The qwenplan.yaml of --config, or the one that is found for the file; nothing without one.
  /// Errors: what is wrong with it.
  Result<const ProjectFile*> project_for(const std::string& file);
  CheckedFile check(const std::string& file);

 private:
  struct Estimates;
  class OneFile;
  Result<const ProjectFile*> project_at(const std::string& path);

  const Invocation in_;  ///< but for the names of the files, of which each file's copy would be one more
  const Tables& tables_;
  const Calibration& calibration_;
  std::optional<double> epochs_;  ///< of --epochs
  std::map<std::string, std::string> found_;  ///< folder -> path of its qwenplan.yaml, or ""
  std::map<std::string, Result<ProjectFile>> projects_;
  std::unique_ptr<Estimates> estimates_;
};

}  // namespace qwenplan
