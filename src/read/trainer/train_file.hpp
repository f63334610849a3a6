#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/place.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/describe/trainer.hpp"
#include "read/trainer/rules.hpp"

namespace qwenplan {

/// Something to say about a line of a file: a rule of the table, and what it means here.
struct Finding {
  RuleId rule;
  std::string message;  ///< lower case, no full stop
  Place place;
  std::string fix;  ///< what to write instead; empty if there is no one answer
};

/// What a trainer's own file says, before any default of ours.
struct TrainFile {
  Trainer trainer = Trainer::transformers;
  std::string version;  ///< of the trainer, whose defaults are taken: "0.9.6"; empty: the latest
  /// What the file is for, where it does not train: "merges an adapter". Empty: it trains.
  std::string other_purpose;
  std::string model;  ///< as written; empty: the file names none
  Place model_place;
  bool has_tower = false;  ///< other keys say that the model has a vision or audio tower
  bool unpacks_stored = false;  ///< the trainer makes 16 bits of a checkpoint in fp8 or mxfp4 when it loads it
  /// The file's values and what they mean to this trainer; `fill_defaults` adds the rest once the
  /// model is known.
  RunDraft draft;
  /// Layers that get an adapter by a pattern of their full names; the model tells which those are.
  RunDraft::Maybe<std::string> target_pattern;
  /// Neither bf16 nor fp16 is on in the file, so that accelerate's `mixed_precision` decides.
  bool leaves_precision = false;
  RunDraft::Maybe<std::string> mixed_precision;  ///< accelerate's, where the launcher is known
  /// Why there can be no estimate although the file is understood: the mechanism, named.
  std::optional<Error> unmodelled;
  /// The same for a mechanism that is the experts' alone; a model without them has none of it.
  std::optional<Error> unmodelled_experts;
  /// A setting whose value only a run of the script would tell, and why.
  struct Open {
    std::string flag;  ///< of this program that gives it; empty: none does
    Error error;
  };
  std::vector<Open> open;
  std::vector<Finding>
      findings;  ///< what the reader itself saw: ignored, unknown, contradicting keys

  // The job around the step, for storage, time and advice.
  std::optional<double> epochs;
  std::optional<std::int64_t> max_steps;
  std::optional<std::int64_t> save_steps;
  std::optional<std::int64_t> save_limit;
  std::optional<std::int64_t> eval_batch;
  std::optional<Given<bool>> evaluates;  ///< set where it evaluates while it trains
  std::optional<std::int64_t> workers;
  std::vector<std::string> datasets;
};

/// Other files that a file points to are asked for by name: DeepSpeed and accelerate settings.
/// Nothing if there is no such file.
class Neighbours {
 public:
  virtual ~Neighbours() = default;
  virtual std::optional<std::string> text_of(const std::string& path) const = 0;
};

/// What the user says about a file that the file does not.
struct TrainerChoice {
  std::optional<Trainer> trainer;  ///< whose file it is, where that should not be found out
  std::string version;             ///< of the trainer; empty: the latest that is known
};

/// Finds out whose file it is and reads it. `name` is for messages and for the extension; "-" is
/// standard input. Errors: `wrong` for what no trainer could read, with line and column in `where`.
Result<TrainFile> read_train_file(const std::string& text, const std::string& name,
                                  const Neighbours& neighbours, const TrainerChoice& choice = {});

/// Whether a text, such as one that no parser reads, has a key by which trainers' files are told.
bool names_training(std::string_view text);

}  // namespace qwenplan
