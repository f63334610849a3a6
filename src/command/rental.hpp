#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "command/job.hpp"
#include "command/job_time.hpp"
#include "command/money.hpp"
#include "qwenplan/describe/price.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "qwenplan/judge/limits.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// Why --deadline and the like are refused.
inline constexpr const char* kNoHours = "without --dataset FILE or --tokens N nobody knows the hours of the job";
/// What every price of a job on a rented machine takes for granted.
inline constexpr const char* kPaidFrom = "a machine is paid from the first step on, not while it starts and loads the model";

/// Hours as --deadline has them: "8h", "2d", "90min", or a number of hours; none without the flag.
Result<std::optional<double>> read_deadline(const Invocation& in);

/// --deadline and --budget, which are told in the inputs.
Result<Limits> read_limits(const Invocation& in, std::vector<Input>& inputs);

/// "in 8 h", "for $20.00", "in 8 h and for $20.00"; empty without limits.
std::string words_of(const Limits& limits);

/// How often a spot machine is taken away, and what it takes to go on.
struct SpotTerms {
  double per_day = 1;
  std::optional<double> checkpoint_hours;  ///< none: by the size of the run's checkpoint
  double restart_hours = 0;

  Interruptions of(double checkpoint) const;
};
Result<SpotTerms> read_spot_terms(const Invocation& in, std::vector<std::string>& assumed);

/// A job whose time and cost are asked for, with all that its answers are made of. It stays where it
/// is: its parts refer to each other.
struct PricedJob {
  PricedJob(Job which, Workload what, Calibration by)
      : job(std::move(which)), workload(std::move(what)), calibration(std::move(by)), fits(job),
        times(job, fits, workload, calibration) {}
  PricedJob(const PricedJob&) = delete;
  PricedJob& operator=(const PricedJob&) = delete;

  Job job;
  Workload workload;
  Calibration calibration;
  CardFits fits;
  CardTimes times;
  SpotTerms spot;
  Limits limits;

  bool has_hours() const { return workload.is_told(); }
  /// "qwen2.5-7b, qlora, 20 M tokens".
  std::string words() const;
  /// What an answer says of it beside its result.
  void tell(Answer& answer, std::vector<std::string>& assumed) const;
};

/// The job of the flags, with its data where they tell it.
Result<std::unique_ptr<PricedJob>> read_priced_job(const Invocation& in, const Tables& tables,
                                                   std::vector<std::string>& assumed, command::KnownText known = nullptr);

enum class Payment : unsigned char { on_demand, spot };
constexpr std::string_view name(Payment payment) { return payment == Payment::spot ? "spot" : "on_demand"; }
constexpr std::string_view words(Payment payment) { return payment == Payment::spot ? "on spot" : "on demand"; }

/// A job on a rented machine.
struct Rental {
  const Offer* offer = nullptr;
  Payment payment = Payment::on_demand;
  double usd_per_hour = 0;
  Range<double> work{};   ///< hours without interruptions
  Range<double> hours{};  ///< from start to end
  Range<double> usd{};
  Fit fit = Fit::fits;
  Meets deadline = Meets::meets;
  Meets budget = Meets::meets;
  Interruptions interruptions;  ///< on spot

  Meets meets() const { return std::max(deadline, budget); }
  bool is_kept(bool is_strict) const { return is_yes(meets(), is_strict); }
};

/// Whether a way to rent is a better one: one that keeps the limits for sure before one that likely
/// does, then the cheaper one.
bool is_better(const Rental& a, const Rental& b);

/// The ways to pay for so many hours of work on an offer whose card the run fits, the better first.
/// `checkpoint` is the hours that writing one takes.
std::vector<Rental> ways_to_pay(const Offer& offer, Fit fit, const Range<double>& work, double checkpoint,
                                const SpotTerms& spot, const Limits& limits);

/// A card of the table and an offer of it.
using OfferedCard = std::pair<const Offer*, Gpu>;

/// The offers of whole CUDA cards that have a price, with their cards.
std::vector<OfferedCard> offered_cards(const std::vector<Offer>& offers, const Tables& tables);

/// The ways to rent an offer for a job, the better first: none where the job does not fit its card or
/// its hours are not told. Of an offer with several cards one is used and all are paid. `gpu` is the
/// offer's.
std::vector<Rental> rentals_of(const Offer& offer, const Gpu& gpu, PricedJob& job, bool is_strict);

/// The ways to rent any offer that is made, the best first.
std::vector<Rental> rentals_of(const std::vector<Offer>& offers, const Tables& tables, PricedJob& job, bool is_strict);

/// The offer with the fastest card, and the cheapest one, whatever the limits say; null where there is none.
struct Closest {
  const Rental* fastest = nullptr;
  const Rental* cheapest = nullptr;
};
Closest closest_of(const std::vector<Rental>& rentals);

/// "runpod, rtx3090-24g, on spot at $0.22/h".
std::string words(const Rental& rental);
/// "$1.90 ($1.50 to $2.60) in 8 h 30 min (7 h to 11 h)".
std::string cost_words(const Rental& rental);

Value as_json(const Rental& rental);

/// "2x a100-80g": cards of an offer.
std::string gpus_words(const Offer& offer);

}  // namespace qwenplan
