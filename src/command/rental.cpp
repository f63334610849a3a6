#include "command/rental.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cli/spelling.hpp"
#include "read/calibration.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

constexpr double kMostHours = 1e6;
constexpr double kMostUsd = 1e9;
constexpr double kPerDay = 1, kRestartMinutes = 10;

}  // namespace

Result<std::optional<double>> read_deadline(const Invocation& in) {
  const auto text = in.value("deadline");
  if (!text) return std::optional<double>();
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},        {"h", 1},    {"hour", 1},  {"hours", 1}, {"m", 1.0 / 60}, {"min", 1.0 / 60},
      {"minutes", 1.0 / 60}, {"d", 24}, {"day", 24}, {"days", 24}, {"w", 168}, {"weeks", 168}};
  const std::size_t digits = std::min(text->find_first_not_of("0123456789."), text->size());
  std::size_t unit_at = digits;
  while (unit_at < text->size() && (*text)[unit_at] == ' ') ++unit_at;
  const std::string unit = folded(text->substr(unit_at));
  for (const auto& [name, hours] : kUnits)
    if (unit == name && digits > 0) {
      const auto number = parse_number(text->substr(0, digits), "--deadline", 0, kMostHours);
      if (!number) return number.error();
      if (*number <= 0) break;
      return std::optional(*number * hours);
    }
  return Error{Error::Kind::wrong, "'" + text->substr(0, 40) + "' is no time", "--deadline", "write it as 8h, 2d or 90min"};
}

Result<Limits> read_limits(const Invocation& in, std::vector<Input>& inputs) {
  Limits limits;
  const auto hours = read_deadline(in);
  if (!hours) return hours.error();
  limits.hours = *hours;
  const auto usd = in.number("budget", 0, kMostUsd);
  if (!usd) return usd.error();
  limits.usd = *usd;
  if (limits.hours) inputs.push_back({"deadline_hours", Value(*limits.hours), "flag"});
  if (limits.usd) inputs.push_back({"budget_usd", Value(*limits.usd), "flag"});
  return limits;
}

std::string words_of(const Limits& limits) {
  std::string text;
  if (limits.hours) text = "in " + text_duration(*limits.hours * 3600);
  if (limits.usd) text += (text.empty() ? "for " : " and for ") + text_usd(*limits.usd);
  return text;
}

Interruptions SpotTerms::of(double checkpoint) const {
  return {per_day > 0 ? 24 / per_day : 1e9, checkpoint_hours.value_or(checkpoint), restart_hours};
}

Result<SpotTerms> read_spot_terms(const Invocation& in, std::vector<std::string>& assumed) {
  const auto per_day = in.number("interruptions", 0, 1440);
  if (!per_day) return per_day.error();
  const auto checkpoint = in.number("checkpoint-minutes", 0, 1440);
  if (!checkpoint) return checkpoint.error();
  const auto restart = in.number("restart-minutes", 0, 1440);
  if (!restart) return restart.error();
  SpotTerms terms;
  terms.per_day = per_day->value_or(kPerDay);
  if (*checkpoint) terms.checkpoint_hours = **checkpoint / 60;
  terms.restart_hours = restart->value_or(kRestartMinutes) / 60;
  if (!*per_day) assumed.push_back("a spot machine is taken away once a day, at random; no source tells how often");
  if (!*restart) assumed.push_back("it takes 10 minutes to get another one, load and go on, which is paid");
  return terms;
}

std::string PricedJob::words() const {
  std::string text = job.words();
  if (workload.data) text += ", " + short_count(workload.data->tokens.likely.count()) + " tokens";
  if (workload.examples) text += ", " + grouped(std::llround(*workload.examples)) + " examples";
  if (workload.is_told() && workload.epochs != 1) text += ", " + plain(workload.epochs) + " epochs";
  return text;
}

void PricedJob::tell(Answer& answer, std::vector<std::string>& assumed) const {
  answer.inputs.insert(answer.inputs.end(), job.subject.inputs.begin(), job.subject.inputs.end());
  answer.notes.insert(answer.notes.end(), job.subject.notes.begin(), job.subject.notes.end());
  answer.inputs.push_back({"method", job.draft.method ? Value(name(job.draft.method->value)) : Value("each in turn"),
                           job.draft.method && job.draft.method->from != From::by_default ? "flag" : "default"});
  if (!has_hours()) return;
  workload.tell(answer, assumed);
  if (job.draft.method && job.draft.method->from == From::by_default)
    assumed.push_back("the same method on every card, " + std::string(name(job.draft.method->value)) + " (--method)");
}

Result<std::unique_ptr<PricedJob>> read_priced_job(const Invocation& in, const Tables& tables,
                                                   std::vector<std::string>& assumed, command::KnownText known) {
  auto job = read_job(in, tables, assumed);
  if (!job) return job.error();
  auto workload = read_workload(in, job->subject.model.model, known);
  if (!workload) return workload.error();
  if (!workload->is_told())
    for (const char* flag : {"epochs", "eval-examples", "saves", "workers", "load-ms"})
      if (in.has(flag))
        return Error{Error::Kind::wrong, "nobody knows how much data there is", "--" + std::string(flag),
                     "give --dataset FILE, --tokens N, --dataset-size or --examples too"};
  auto calibration = read_calibration(tables);
  if (!calibration) return calibration.error();
  if (workload->is_told()) settle_method(job->draft);
  return std::make_unique<PricedJob>(std::move(*job), std::move(*workload), std::move(*calibration));
}

bool is_better(const Rental& a, const Rental& b) {
  if (a.meets() != b.meets()) return a.meets() < b.meets();
  return a.usd.likely < b.usd.likely;
}

std::vector<Rental> ways_to_pay(const Offer& offer, Fit fit, const Range<double>& work, double checkpoint,
                                const SpotTerms& spot, const Limits& limits) {
  std::vector<Rental> list;
  const auto add = [&](Payment payment, double rate, const Range<double>& hours, const Interruptions& interruptions) {
    const Range<double> usd = hours_usd(hours, rate);
    list.push_back({&offer, payment, rate, work, hours, usd, fit, limits.of_hours(hours), limits.of_usd(usd), interruptions});
  };
  if (offer.on_demand) add(Payment::on_demand, *offer.on_demand, work, {});
  if (offer.spot) {
    const Interruptions interruptions = spot.of(checkpoint);
    if (const auto hours = expected_hours(work, interruptions)) add(Payment::spot, *offer.spot, *hours, interruptions);
  }
  std::stable_sort(list.begin(), list.end(), is_better);
  return list;
}

std::vector<OfferedCard> offered_cards(const std::vector<Offer>& offers, const Tables& tables) {
  std::vector<OfferedCard> cards;
  for (const Offer& offer : offers) {
    if (!offer.is_available || !offer.gpus || *offer.gpus < 1 || !offer.lowest()) continue;
    const auto found = tables.gpu(offer.gpu);
    if (found && found->gpu.id == offer.gpu && found->gpu.is_cuda()) cards.emplace_back(&offer, found->gpu);
  }
  return cards;
}

std::vector<Rental> rentals_of(const Offer& offer, const Gpu& gpu, PricedJob& job, bool is_strict) {
  if (!job.has_hours() || !offer.is_available || !offer.gpus || *offer.gpus < 1 || !offer.lowest()) return {};
  const auto& fit = job.fits.on(gpu);
  if (!fit || !fit->fits(is_strict)) return {};
  const auto& time = job.times.on(gpu);
  if (!time) return {};
  return ways_to_pay(offer, fit->fit, *time->hours(),
                     checkpoint_hours(job.job.subject.model.model, fit->best().plan.valid.run), job.spot, job.limits);
}

std::vector<Rental> rentals_of(const std::vector<Offer>& offers, const Tables& tables, PricedJob& job, bool is_strict) {
  std::vector<Rental> list;
  for (const auto& [offer, gpu] : offered_cards(offers, tables))
    for (const Rental& rental : rentals_of(*offer, gpu, job, is_strict)) list.push_back(rental);
  std::stable_sort(list.begin(), list.end(), is_better);
  return list;
}

Closest closest_of(const std::vector<Rental>& rentals) {
  Closest closest;
  for (const Rental& each : rentals) {
    const auto ends_first = [](const Rental& a, const Rental& b) {
      return a.hours.likely != b.hours.likely ? a.hours.likely < b.hours.likely : a.usd.likely < b.usd.likely;
    };
    if (!closest.fastest || ends_first(each, *closest.fastest)) closest.fastest = &each;
    if (!closest.cheapest || each.usd.likely < closest.cheapest->usd.likely) closest.cheapest = &each;
  }
  return closest;
}

std::string gpus_words(const Offer& offer) {
  if (!offer.gpus || *offer.gpus == 1) return offer.gpu;
  return plain(*offer.gpus) + "x " + offer.gpu;
}

std::string words(const Rental& rental) {
  return rental.offer->provider + ", " + gpus_words(*rental.offer) + ", " + std::string(words(rental.payment)) + " at " +
         text_rate(rental.usd_per_hour);
}

std::string cost_words(const Rental& rental) { return text_usd(rental.usd) + " in " + text_hours(rental.hours); }

Value as_json(const Rental& rental) {
  const Offer& offer = *rental.offer;
  return Value::object({{"id", offer.id},
                        {"provider", offer.provider},
                        {"instance", offer.instance},
                        {"gpu", offer.gpu},
                        {"gpus", offer.gpus},
                        {"strategy", name(rental.payment)},
                        {"usd_per_hour", rental.usd_per_hour},
                        {"work_hours", rental.work},
                        {"hours", rental.hours},
                        {"job_usd", rental.usd},
                        {"fit", name(rental.fit)},
                        {"deadline", name(rental.deadline)},
                        {"budget", name(rental.budget)},
                        {"as_of", offer.as_of.empty() ? Value() : Value(offer.as_of)}});
}

}  // namespace qwenplan
