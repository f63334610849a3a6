#pragma once

#include <initializer_list>
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

  /// "qwen2.5-7b", "qwen2.5-7b, qlora, batch 2": what was asked for.
  std::string words() const;
};

/// Whether any flag describes a run, so that an answer without the job would ignore it.
bool names_job(const Invocation& in);

/// An error for the first of these flags that is given: it has no meaning here.
std::optional<Error> refused(const Invocation& in, std::initializer_list<const char*> flags,
                             const std::string& why);

/// The job of the flags: Qwen2.5-7B where no model is named, which `assumed` then says. A model that is
/// not emulated is an error.
Result<Job> read_job(const Invocation& in, const Tables& tables, std::vector<std::string>& assumed);

/// What a job is on one card: its best method there, and whether that fits.
struct CardFit {
  Fit fit = Fit::exceeds;
  MethodPlan method;

  const MethodPlan& best() const { return method; }
  bool fits(bool is_strict) const { return is_yes(fit, is_strict); }
  const MemoryEstimate& estimate() const { return method.plan.estimate; }
  /// "qlora", "full --precision bf16-true".
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

/// What a disk or a bucket takes in a second. Assumed.
inline constexpr double kDiskBytesPerSecond = 200e6;
/// Hours to write one checkpoint of a run.
double checkpoint_hours(const Model& model, const Run& run);

/// What a run takes of the machine around its card.
struct HostNeed {
  Range<Bytes> ram{};
  std::optional<std::int64_t> ram_gib;  ///< the smallest size that is sold and holds it; none up to 2 TiB
  Range<Bytes> job_ram{};               ///< without the system and other programs
  Range<Bytes> disk{};                  ///< without a data set
};
HostNeed host_need(const Model& model, const Run& run, const Stack& stack);

/// A fit on a card as JSON: `fit`, `method`, `rung`, `device_bytes`, `usable_bytes`.
Value as_json(const CardFit& fit);

}  // namespace qwenplan
