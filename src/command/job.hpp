#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/invocation.hpp"
#include "command/planning.hpp"
#include "command/subject.hpp"
#include "qwenplan/base/result.hpp"
#include "read/tables.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// A run that looks for a card: a model and settings, on whatever GPU.
struct Job {
  Subject subject;  ///< without a card
  RunDraft draft;
  bool is_assumed = false;  ///< nobody named a model

  /// "qwen2.5-7b", "qwen2.5-7b, qlora, batch 2": what was asked for.
  std::string words() const;
};

/// The job of the flags; nothing where no model is named. A model that is not emulated is an error.
Result<std::optional<Job>> read_job(const Invocation& in, const Tables& tables);
/// The same, and Qwen2.5-7B where no model is named, which `assumed` then says.
Result<Job> read_job_or_7b(const Invocation& in, const Tables& tables, std::vector<std::string>& assumed);

/// What a job is on one card: its best method there, and whether that fits.
struct CardFit {
  Fit fit = Fit::exceeds;
  MethodPlan best;
  std::vector<MethodPlan> methods;  ///< all that were tried

  bool fits(bool is_strict) const { return fit == Fit::fits || (fit == Fit::tight && !is_strict); }
  const MemoryEstimate& estimate() const { return best.plan.estimate; }
  /// "qlora", "full with --precision bf16-true".
  std::string words() const;
};

/// Asks for one job on many cards, each once.
class CardFits {
 public:
  explicit CardFits(const Job& job) : job_(job) {}

  /// An error where the run is impossible on the card, or the card is not emulated. `memory` is that of
  /// a share of the card; by default the whole.
  const Result<CardFit>& on(const Gpu& gpu, std::optional<Bytes> memory = {});

 private:
  const Job& job_;
  std::map<std::string, Result<CardFit>> known_;
};

/// A fit on a card as JSON: `fit`, `method`, `rung`, `device_bytes`, `usable_bytes`.
Value as_json(const CardFit& fit);

}  // namespace qwenplan
