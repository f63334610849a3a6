#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/spelling.hpp"
#include "command/budget_search.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/method_plans.hpp"
#include "command/money.hpp"
#include "command/rental.hpp"
#include "qwenplan/base/nearest.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "qwenplan/estimate/storage.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr double kMostHours = 1e6;
constexpr std::int64_t kMostExperiments = 1'000'000;
constexpr std::size_t kShown = 20;
constexpr double kHoursOfYear = 8760;

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

/// An offer with the card that it has, and what the job is there.
struct Candidate {
  const Offer* offer = nullptr;
  std::optional<Gpu> gpu;            ///< none where the table lacks it
  std::optional<Fit> fit;            ///< none without a job, or where it cannot be told
  const CardFit* on_card = nullptr;  ///< none where the fit is none or the run is impossible there
  std::string why;                   ///< where it cannot be told or is impossible
  const JobTime* time = nullptr;     ///< none where the job's hours are not told or the card has none
  std::vector<Rental> rentals;       ///< the ways to pay for the job, the better first

  std::optional<bool> fits(bool is_strict) const {
    if (!fit) return std::nullopt;
    return is_yes(*fit, is_strict);
  }
  /// What one pays for an hour with the least commitment.
  double usd() const { return offer->lowest().value_or(std::numeric_limits<double>::infinity()); }
  std::optional<double> per_gpu() const {
    const auto usd = offer->lowest();
    if (!usd || !offer->gpus) return std::nullopt;
    return *usd / *offer->gpus;
  }
  std::optional<double> per_gib() const {
    const auto usd = per_gpu();
    if (!usd) return std::nullopt;
    return *usd / (static_cast<double>(offer->gpu_memory.count()) / (1024.0 * 1024 * 1024));
  }
  std::optional<double> per_tflop() const {
    const auto usd = per_gpu();
    if (!usd || !gpu) return std::nullopt;
    const auto& rate = gpu->bf16_rate ? gpu->bf16_rate : gpu->fp16_rate;
    if (!rate || rate->value <= 0) return std::nullopt;
    return *usd / (rate->value / 1e12);
  }
};

/// The offers that the flags ask for, with the job's fit on each.
struct Market {
  std::vector<Offer> offers;
  std::vector<Candidate> candidates;  ///< cheapest first; those that fit before the others
  std::unique_ptr<PricedJob> priced;
  std::int64_t withdrawn = 0;  ///< offers that are listed but no longer made

  const Job* job() const { return priced ? &priced->job : nullptr; }
  bool has_hours() const { return priced && priced->has_hours(); }
};

Result<std::string> provider_named(const std::string& text, const std::vector<Offer>& offers) {
  const std::string wanted = folded(text);
  std::vector<std::string> names;
  for (const Offer& offer : offers) {
    if (offer.provider == wanted) return wanted;
    if (std::find(names.begin(), names.end(), offer.provider) == names.end()) names.push_back(offer.provider);
  }
  const auto near = nearest(wanted, names);
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return wrong("no offer is of '" + text.substr(0, 40) + "'", "--provider",
               near.empty() ? "one of: " + all : "did you mean '" + near[0] + "'?");
}

/// The offers that --provider and --gpu leave.
struct Wanted {
  std::optional<std::string> provider;
  std::optional<FoundGpu> gpu;

  bool takes(const Offer& offer) const {
    return (!provider || offer.provider == *provider) && (!gpu || offer.gpu == gpu->gpu.id);
  }
};

Result<Wanted> read_wanted(const Invocation& in, const Tables& tables, const std::vector<Offer>& offers) {
  Wanted wanted;
  if (const auto text = in.value("provider")) {
    const auto named = provider_named(*text, offers);
    if (!named) return named.error();
    wanted.provider = *named;
  }
  if (const auto text = in.value("gpu")) {
    auto found = tables.gpu(*text);
    if (!found) return found.error();
    wanted.gpu = std::move(*found);
  }
  return wanted;
}

/// Whether the job's run can be on the card, and how well.
void judge_candidate(Candidate& candidate, Market& market, const Tables& tables, bool is_strict) {
  const Offer& offer = *candidate.offer;
  const auto found = tables.gpu(offer.gpu);
  if (found && found->gpu.id == offer.gpu) candidate.gpu = found->gpu;
  if (!market.priced) return;
  if (!candidate.gpu) {
    candidate.why = "the table of GPUs does not have it";
    return;
  }
  if (!offer.gpus) {
    candidate.why = "it is not told which share of a GPU it has";
    return;
  }
  const bool is_share = *offer.gpus < 1;
  const auto& on_card = market.priced->fits.on(*candidate.gpu, is_share ? offer.vram() : std::nullopt);
  if (on_card) {
    candidate.on_card = &*on_card;
    candidate.fit = on_card->fit;
  } else if (on_card.error().kind == Error::Kind::wrong) {
    candidate.fit = Fit::exceeds;
    candidate.why = on_card.error().what;
  } else {
    candidate.why = on_card.error().what;
  }
  if (!market.has_hours() || candidate.fits(is_strict) != true) return;
  if (is_share) {
    candidate.why = "the speed of a share of a GPU is not modelled";
    return;
  }
  const auto& time = market.priced->times.on(*candidate.gpu);
  if (time) candidate.time = &*time;
  else candidate.why = time.error().what;
  candidate.rentals = rentals_of(offer, *candidate.gpu, *market.priced, is_strict);
}

/// Fills a market whose job is already set.
std::optional<Error> open_market(const Invocation& in, const Tables& tables, Market& market) {
  auto offers = read_offers(tables);
  if (!offers) return offers.error();
  market.offers = std::move(*offers);
  const auto wanted = read_wanted(in, tables, market.offers);
  if (!wanted) return wanted.error();
  for (const Offer& offer : market.offers) {
    if (!wanted->takes(offer)) continue;
    if (wanted->gpu && wanted->gpu->count > 1 && offer.gpus != static_cast<double>(wanted->gpu->count)) continue;
    if (!offer.is_available) {
      ++market.withdrawn;
      continue;
    }
    Candidate candidate{&offer, std::nullopt, std::nullopt, nullptr, {}, nullptr, {}};
    judge_candidate(candidate, market, tables, in.is_strict);
    market.candidates.push_back(std::move(candidate));
  }
  const auto rank = [&](const Candidate& candidate) {
    const auto fits = candidate.fits(in.is_strict);
    const bool has_no_hours = market.has_hours() && candidate.rentals.empty();
    return !market.priced ? 0 : !fits ? 2 : !*fits ? 3 : has_no_hours ? 1 : 0;
  };
  std::stable_sort(market.candidates.begin(), market.candidates.end(), [&](const Candidate& a, const Candidate& b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (!a.rentals.empty() && !b.rentals.empty()) return is_better(a.rentals.front(), b.rentals.front());
    return a.usd() < b.usd();
  });
  return std::nullopt;
}

/// The candidates on which the job fits and that have a price, cheapest first; without a job all that
/// have a price.
std::vector<const Candidate*> usable(const Market& market, bool is_strict) {
  std::vector<const Candidate*> list;
  for (const Candidate& candidate : market.candidates) {
    if (!candidate.offer->lowest()) continue;
    if (market.priced && candidate.fits(is_strict) != true) continue;
    list.push_back(&candidate);
  }
  return list;
}

Value as_json(const Candidate& candidate, bool is_strict, bool has_hours) {
  const Offer& offer = *candidate.offer;
  Value json = Value::object({{"id", offer.id},
                              {"provider", offer.provider},
                              {"instance", offer.instance},
                              {"gpu", offer.gpu},
                              {"gpus", offer.gpus},
                              {"vram_bytes", offer.vram()},
                              {"vcpus", offer.vcpus},
                              {"ram_bytes", offer.ram},
                              {"usd_per_hour", offer.on_demand},
                              {"spot_usd_per_hour", offer.spot},
                              {"reserved_usd_per_hour", offer.reserved},
                              {"usd_per_gib_hour", candidate.per_gib()},
                              {"usd_per_tflop_hour", candidate.per_tflop()},
                              {"region", offer.region.empty() ? Value() : Value(offer.region)},
                              {"as_of", offer.as_of.empty() ? Value() : Value(offer.as_of)},
                              {"evidence", name(offer.evidence)},
                              {"source", offer.source.empty() ? Value() : Value(offer.source)},
                              {"fits", candidate.fits(is_strict)},
                              {"fit", candidate.fit ? Value(name(*candidate.fit)) : Value()},
                              {"method", candidate.on_card ? Value(name(candidate.on_card->best().method)) : Value()},
                              {"device_bytes", candidate.on_card ? Value(candidate.on_card->estimate().device) : Value()}});
  if (has_hours) {
    const auto way = [&](Payment payment) {
      const auto found = std::find_if(candidate.rentals.begin(), candidate.rentals.end(),
                                      [&](const Rental& each) { return each.payment == payment; });
      return found == candidate.rentals.end() ? nullptr : &*found;
    };
    const Rental* const on_demand = way(Payment::on_demand);
    const Rental* const spot = way(Payment::spot);
    const Rental* const best = candidate.rentals.empty() ? nullptr : &candidate.rentals.front();
    json.set("hours", candidate.time ? Value(candidate.time->hours()) : Value());
    json.set("job_usd", on_demand ? Value(on_demand->usd) : Value());
    json.set("spot_hours", spot ? Value(spot->hours) : Value());
    json.set("spot_job_usd", spot ? Value(spot->usd) : Value());
    json.set("strategy", best ? Value(name(best->payment)) : Value());
    json.set("deadline", best ? Value(name(best->deadline)) : Value());
    json.set("budget", best ? Value(name(best->budget)) : Value());
  }
  if (!candidate.why.empty()) json.set("why", candidate.why);
  return json;
}

std::string offers_words(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " offer" : " offers");
}

/// An instance without what the columns beside it say, cut to the width of one.
std::string shown_instance(const Offer& offer) {
  std::string text = offer.instance;
  for (const char* prefix : {"1x ", "NVIDIA "})
    if (text.starts_with(prefix)) text.erase(0, std::string(prefix).size());
  return text.size() > 22 ? text.substr(0, 21) + "~" : text;
}

std::string rate_words(const std::optional<double>& rate) { return rate ? text_rate(*rate) : "-"; }

/// What every command here begins with.
Answer begin(const Invocation& in, const Tables& tables, const char* schema) {
  Answer answer;
  answer.schema = schema;
  answer.data_as_of = tables.as_of();
  tell_overlay(in, tables, answer);
  return answer;
}

/// The job of the flags, with all that surrounds its price; limits without hours are refused.
std::optional<Error> take_job(const Invocation& in, const Tables& tables, Market& market, Answer& answer,
                              std::vector<std::string>& assumed, KnownText known = nullptr) {
  auto priced = read_priced_job(in, tables, assumed, known);
  if (!priced) return priced.error();
  market.priced = std::move(*priced);
  market.priced->tell(answer, assumed);
  return std::nullopt;
}

const std::string kRentedWords = std::string(kPaidFrom) + "; on-demand machines are not taken away";
const char* const kSeveralWords = "of a machine with several GPUs one is used and all are paid: several are not modelled";

/// Reads --deadline, --budget and how spot machines end, which need the hours of a job.
std::optional<Error> take_limits(const Invocation& in, Market& market, Answer& answer, std::vector<std::string>& assumed) {
  if (!market.has_hours())
    return refused(in, {"deadline", "budget", "interruptions", "checkpoint-minutes", "restart-minutes"},
                   kNoHours);
  auto limits = read_limits(in, answer.inputs);
  if (!limits) return limits.error();
  market.priced->limits = *limits;
  auto spot = read_spot_terms(in, assumed);
  if (!spot) return spot.error();
  market.priced->spot = *spot;
  assumed.push_back(kRentedWords);
  return std::nullopt;
}

/// Why no way to rent keeps the limits, and what comes closest.
void tell_closest(const std::vector<Rental>& rentals, const Limits& limits, Answer& answer) {
  const Closest closest = closest_of(rentals);
  Value& json = answer.json.set("closest", Value::object());
  const auto tell = [&](const char* key, const char* what, const Rental* rental) {
    json.set(key, rental ? as_json(*rental) : Value());
    if (rental) answer.add(Paragraph{std::string(what) + words(*rental) + ": " + cost_words(*rental)});
  };
  tell("fastest", "the fastest: ", limits.hours ? closest.fastest : nullptr);
  tell("cheapest", "the cheapest: ", closest.cheapest);
}

/// Every candidate's ways to rent, the best first.
std::vector<Rental> all_rentals(const Market& market) {
  std::vector<Rental> list;
  for (const Candidate& candidate : market.candidates)
    list.insert(list.end(), candidate.rentals.begin(), candidate.rentals.end());
  std::stable_sort(list.begin(), list.end(), is_better);
  return list;
}

Result<Answer> compared(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Answer answer = begin(in, *tables, "qwenplan.cloud-compare/1");
  Market market;
  std::vector<std::string> assumed;
  if (names_job(in)) {
    if (auto error = take_job(in, *tables, market, answer, assumed)) return *error;
  } else if (auto error = refused(in, {"vram", "vram-in-use"}, "there is no job to judge")) {
    return *error;
  }
  if (auto error = take_limits(in, market, answer, assumed)) return *error;
  if (auto error = open_market(in, *tables, market)) return *error;
  const bool has_hours = market.has_hours();
  const Job* const job = market.job();

  Value rows = Value::list();
  PriceDays days;
  using enum Column::Align;
  Table table{{{"provider"}, {"instance"}, {"GPU"}, {"memory", right}, {"on demand", right}, {"spot", right},
               {"per GiB", right}, {"per TFLOP", right}, {"of"}, {"job"}}, {}};
  if (!job) table.columns.pop_back();
  if (has_hours)
    table.columns = {{"provider"}, {"instance"}, {"GPU"}, {"rate", right}, {""}, {"hours", right}, {"the job", right}, {"of"}, {""}};
  std::int64_t fitting = 0, unknown = 0, without_hours = 0, shown = 0;
  for (const Candidate& candidate : market.candidates) {
    rows.push(as_json(candidate, in.is_strict, has_hours));
    const Offer& offer = *candidate.offer;
    days.add(offer.as_of);
    const auto fits = candidate.fits(in.is_strict);
    fitting += fits == true;
    unknown += job && !fits;
    without_hours += has_hours && fits == true && candidate.rentals.empty();
    if (job && fits != true) continue;
    if (has_hours && (candidate.rentals.empty() || !candidate.rentals.front().is_kept(in.is_strict))) continue;
    ++shown;
    if (table.rows.size() == kShown) continue;
    if (has_hours) {
      const Rental& best = candidate.rentals.front();
      std::string remark = candidate.fit == Fit::tight ? "memory tight" : "";
      if (best.meets() == Meets::tight) remark += std::string(remark.empty() ? "" : ", ") + (best.deadline == Meets::tight ? "time" : "budget") + " tight";
      table.rows.push_back({offer.provider, shown_instance(offer), gpus_words(offer), text_rate(best.usd_per_hour),
                            std::string(words(best.payment)), text_duration(best.hours.likely * 3600), text_usd(best.usd),
                            offer.as_of.empty() ? "no day" : offer.as_of, std::move(remark)});
      continue;
    }
    const auto per = [](const std::optional<double>& usd) { return usd ? "$" + fixed(*usd, 4) : "-"; };
    std::vector<std::string> line = {offer.provider,
                                     shown_instance(offer),
                                     gpus_words(offer),
                                     offer.vram() ? text(*offer.vram()) : "-",
                                     rate_words(offer.on_demand),
                                     rate_words(offer.spot),
                                     per(candidate.per_gib()),
                                     per(candidate.per_tflop()),
                                     offer.as_of.empty() ? "no day" : offer.as_of};
    if (job) line.push_back(candidate.on_card->words() + (candidate.fit == Fit::tight ? ", tight" : ""));
    table.rows.push_back(std::move(line));
  }
  const std::size_t count = market.candidates.size();
  answer.json.set("offers", rows);
  answer.rows = std::move(rows);
  const auto rentals = all_rentals(market);
  if (count == 0) {
    answer.status = kNo;
    answer.add(Headline{"nobody offers that", Tone::bad});
  } else if (has_hours) {
    const Limits& limits = market.priced->limits;
    answer.json.set("cheapest", shown > 0 ? as_json(rentals.front()) : Value());
    if (shown > 0) {
      const Rental& best = rentals.front();
      answer.add(Headline{market.priced->words() + (limits.any() ? " " + words_of(limits) : "") + ": " + words(best) + ", " +
                          cost_words(best) + (best.meets() == Meets::tight ? ", tight" : ""),
                          best.meets() == Meets::tight || best.fit == Fit::tight ? Tone::warning : Tone::good});
    } else {
      answer.status = kNo;
      answer.add(Headline{rentals.empty() ? "none of " + offers_words(count) + " runs " + job->words()
                                          : "none of " + offers_words(count) + " does " + market.priced->words() + " " + words_of(limits),
                          Tone::bad});
      tell_closest(rentals, limits, answer);
    }
  } else if (job) {
    const auto best = usable(market, in.is_strict);
    if (best.empty()) {
      answer.status = kNo;
      answer.add(Headline{"none of " + offers_words(count) + " runs " + job->words(), Tone::bad});
    } else {
      const Offer& offer = *best[0]->offer;
      answer.add(Headline{std::to_string(fitting) + " of " + offers_words(count) + " run " + job->words() +
                          "; the cheapest is " + offer.provider + ", " + gpus_words(offer) + ", " +
                          text_rate(*offer.lowest()), Tone::good});
      answer.add(Paragraph{"--dataset FILE or --tokens N asks for the hours and the price of the job on each", Tone::faint});
    }
  } else {
    answer.add(Headline{offers_words(count) + ", cheapest first; --model 7b asks which of them run it"});
  }
  if (unknown > 0)
    answer.notes.push_back("of " + offers_words(static_cast<std::size_t>(unknown)) + " it cannot be told: their GPU is not emulated, or its share not known");
  if (without_hours > 0)
    answer.notes.push_back(offers_words(static_cast<std::size_t>(without_hours)) +
                           " run it in an unknown time: a share of a GPU, whose speed is not modelled, or no price");
  const std::size_t listed_rows = table.rows.size();
  const std::size_t total = job ? static_cast<std::size_t>(shown) : count;
  if (listed_rows > 0) answer.add(std::move(table));
  if (total > listed_rows)
    answer.add(Paragraph{"the cheapest " + std::to_string(listed_rows) + " of " + std::to_string(total) +
                         "; --format csv has them all", Tone::faint});
  if (market.withdrawn > 0)
    answer.notes.push_back(offers_words(static_cast<std::size_t>(market.withdrawn)) + " left out: still listed, no longer made");
  if (has_hours) assumed.push_back(kSeveralWords);
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

/// The guide's figures that its functions take; an error where one is missing.
Result<double> needed_hours(const Invocation& in, double least) {
  const auto hours = in.number("hours", least, kMostHours);
  if (!hours) return hours.error();
  if (!*hours) return wrong("no hours are given", "--hours", "such as --hours 6");
  return **hours;
}

/// One way to pay.
struct Option {
  std::string strategy;
  std::optional<Range<double>> usd;
  std::optional<Range<double>> hours;
  const Candidate* candidate = nullptr;
  std::optional<double> rate;
  std::string why;
  Meets meets = Meets::meets;  ///< the limits
  const Rental* rental = nullptr;  ///< where the job tells the hours
};

/// The rate of an offer by a way to pay.
using RateOf = std::optional<double> Offer::*;

/// The ways to pay for hours that are given, which are taken to be the same on each card.
std::vector<Option> options_for(double hours, const std::vector<const Candidate*>& candidates, const SpotTerms& spot,
                                const Job* job, std::vector<std::string>& assumed, Interruptions& interruptions) {
  const auto cheapest = [&](RateOf rate) {
    const Candidate* best = nullptr;
    for (const Candidate* each : candidates)
      if (each->offer->*rate && (!best || *(each->offer->*rate) < *(best->offer->*rate))) best = each;
    return best;
  };
  const Candidate* const on_demand = cheapest(&Offer::on_demand);
  const Candidate* const on_spot = cheapest(&Offer::spot);
  const Candidate* const reserved = cheapest(&Offer::reserved);
  double checkpoint = 1.0 / 60;
  if (!spot.checkpoint_hours) {
    if (on_spot && on_spot->on_card && job) {
      const Model& model = job->subject.model.model;
      const Run& run = on_spot->on_card->best().plan.valid.run;
      checkpoint = checkpoint_hours(model, run);
      assumed.push_back("a checkpoint is " + text(checkpoint_size(model, run).likely) + ", and the disk writes 200 MB/s");
    } else {
      assumed.push_back("a checkpoint takes a minute to write");
    }
  }
  interruptions = spot.of(checkpoint);
  const auto exactly = [](double value) { return Range<double>::exactly(value); };
  std::vector<Option> options;
  if (on_demand) {
    const double rate = *on_demand->offer->on_demand;
    options.push_back({"on_demand", exactly(rate * hours), exactly(hours), on_demand, rate, "", {}, nullptr});
  } else {
    options.push_back({"on_demand", {}, {}, nullptr, {}, "no offer", {}, nullptr});
  }
  if (on_spot) {
    const double rate = *on_spot->offer->spot;
    const double takes = expected_hours(hours, interruptions);
    if (std::isfinite(takes)) options.push_back({"spot", exactly(rate * takes), exactly(takes), on_spot, rate, "", {}, nullptr});
    else options.push_back({"spot", {}, {}, on_spot, rate, "it would never end with so many interruptions", {}, nullptr});
  } else {
    options.push_back({"spot", {}, {}, nullptr, {}, "no spot price", {}, nullptr});
  }
  if (reserved) {
    // A commitment is paid whether or not it is used.
    const double rate = *reserved->offer->reserved;
    options.push_back({"reserved", exactly(rate * std::max(hours, kHoursOfYear)), exactly(hours), reserved, rate,
                       "a year is paid in any case", {}, nullptr});
  } else {
    options.push_back({"reserved", {}, {}, nullptr, {}, "no dated price", {}, nullptr});
  }
  return options;
}

/// The ways to pay for a job, whose hours depend on the card: of each the one that keeps the limits
/// and is cheapest; or ends first.
std::vector<Option> options_for(const Market& market, bool is_urgent) {
  const auto is_first = [&](const Rental& a, const Rental& b) {
    if (a.meets() != b.meets()) return a.meets() < b.meets();
    if (is_urgent && a.hours.likely != b.hours.likely) return a.hours.likely < b.hours.likely;
    return a.usd.likely < b.usd.likely;
  };
  Option on_demand{"on_demand", {}, {}, nullptr, {}, "no offer", {}, nullptr};
  Option spot{"spot", {}, {}, nullptr, {}, "no spot price, or too many interruptions to end", {}, nullptr};
  Option reserved{"reserved", {}, {}, nullptr, {}, "no dated price", {}, nullptr};
  for (const Candidate& candidate : market.candidates) {
    for (const Rental& rental : candidate.rentals) {
      Option& option = rental.payment == Payment::spot ? spot : on_demand;
      if (option.rental && !is_first(rental, *option.rental)) continue;
      option.candidate = &candidate;
      option.rental = &rental;
    }
    // A commitment is paid whether or not it is used.
    const auto& rate = candidate.offer->reserved;
    if (!rate || !candidate.time) continue;
    const Range<double> hours = *candidate.time->hours();
    const Range<double> paid = {std::max(hours.low, kHoursOfYear), std::max(hours.likely, kHoursOfYear), std::max(hours.high, kHoursOfYear)};
    const Range<double> usd = hours_usd(paid, *rate);
    if (reserved.usd && reserved.usd->likely <= usd.likely) continue;
    reserved = {"reserved", usd, hours, &candidate, *rate, "a year is paid in any case",
                market.priced->limits.of(hours, usd), nullptr};
  }
  for (Option* option : {&on_demand, &spot}) {
    if (!option->rental) continue;
    option->usd = option->rental->usd;
    option->hours = option->rental->hours;
    option->rate = option->rental->usd_per_hour;
    option->meets = option->rental->meets();
    option->why.clear();
  }
  return {on_demand, spot, reserved};
}

/// A number where it is exact.
Value value_of(const std::optional<Range<double>>& range) {
  if (range && range->low == range->high) return Value(range->likely);
  return Value(range);
}

Result<Answer> strategies(const Invocation& in, KnownText known) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const std::string urgency = folded(in.value("urgency").value_or("normal"));
  if (urgency != "urgent" && urgency != "normal")
    return wrong("'" + urgency.substr(0, 40) + "' is no urgency", "--urgency", "normal or urgent");
  const bool is_urgent = urgency == "urgent";

  Answer answer = begin(in, *tables, "qwenplan.cloud-strategy/1");
  std::vector<std::string> assumed;
  Market market;
  if (names_job(in) || !in.has("gpu")) {
    if (auto error = take_job(in, *tables, market, answer, assumed, known)) return *error;
  } else if (auto error = refused(in, {"vram", "vram-in-use"}, "there is no job to judge")) {
    return *error;
  }
  const bool has_hours = market.has_hours();
  std::optional<double> given;
  if (has_hours) {
    if (auto error = refused(in, {"hours"}, "the data tell the hours of the job")) return *error;
  } else {
    const auto hours = needed_hours(in, 0);
    if (!hours) return hours.error();
    if (*hours == 0) return wrong("there is nothing to run in 0 hours", "--hours", "such as --hours 6");
    given = *hours;
    answer.inputs.push_back({"hours", Value(*hours), "flag"});
  }
  answer.inputs.push_back({"urgency", Value(urgency), in.has("urgency") ? "flag" : "default"});
  const auto limits = read_limits(in, answer.inputs);
  if (!limits) return limits.error();
  const auto spot = read_spot_terms(in, assumed);
  if (!spot) return spot.error();
  if (market.priced) {
    market.priced->limits = *limits;
    market.priced->spot = *spot;
  }
  if (auto error = open_market(in, *tables, market)) return *error;
  const auto candidates = usable(market, in.is_strict);
  const auto rentals = all_rentals(market);
  if (has_hours ? rentals.empty() : candidates.empty())
    return Error{Error::Kind::unknown, "no priced offer runs that", in.has("gpu") ? "--gpu" : "--model",
                 "qwenplan cloud compare lists the offers"};
  Interruptions interruptions;
  std::vector<Option> options;
  if (has_hours) {
    options = options_for(market, is_urgent);
    if (const Rental* const rental = options[1].rental) {
      interruptions = rental->interruptions;
      if (!spot->checkpoint_hours)
        assumed.push_back("a checkpoint of this run is " +
                          text(Bytes(std::llround(interruptions.checkpoint * 3600 * kDiskBytesPerSecond))) +
                          ", and the disk writes 200 MB/s");
    }
    assumed.push_back(kRentedWords);
    assumed.push_back(kSeveralWords);
  } else {
    options = options_for(*given, candidates, *spot, market.job(), assumed, interruptions);
    for (Option& option : options)
      if (option.usd) option.meets = limits->of(*option.hours, *option.usd);
    assumed.push_back("on-demand machines are not taken away; hours are the same on each GPU (--tokens N or --dataset FILE in "
                      "place of --hours predicts them for each)");
  }
  std::stable_sort(options.begin(), options.end(), [&](const Option& a, const Option& b) {
    if (a.usd.has_value() != b.usd.has_value()) return a.usd.has_value();
    if (!a.usd) return false;
    if (a.meets != b.meets) return a.meets < b.meets;
    if (is_urgent && a.hours->likely != b.hours->likely) return a.hours->likely < b.hours->likely;
    return a.usd->likely < b.usd->likely;
  });

  PriceDays days;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{"way"}, {"provider"}, {"instance"}, {"GPU"}, {"rate", right}, {"hours", right}, {"cost", right}, {""}}, {}};
  for (const Option& option : options) {
    const Offer* offer = option.candidate ? option.candidate->offer : nullptr;
    if (offer) days.add(offer->as_of);
    std::string why = option.why;
    if (option.usd && option.meets != Meets::meets)
      why += (why.empty() ? "" : "; ") + std::string(option.meets == Meets::tight ? "tight: only likely " : "not ") + words_of(*limits);
    rows.push(Value::object({{"strategy", option.strategy},
                             {"expected_usd", value_of(option.usd)},
                             {"expected_hours", value_of(option.hours)},
                             {"usd_per_hour", option.rate},
                             {"provider", offer ? Value(offer->provider) : Value()},
                             {"instance", offer ? Value(offer->instance) : Value()},
                             {"gpu", offer ? Value(offer->gpu) : Value()},
                             {"gpus", offer ? Value(offer->gpus) : Value()},
                             {"as_of", offer && !offer->as_of.empty() ? Value(offer->as_of) : Value()},
                             {"why", why.empty() ? Value() : Value(why)},
                             {"meets", option.usd ? Value(name(option.meets)) : Value()}}));
    table.rows.push_back({option.strategy == "on_demand" ? "on demand" : option.strategy,
                          offer ? offer->provider : "-",
                          offer ? shown_instance(*offer) : "-",
                          offer ? gpus_words(*offer) : "-",
                          rate_words(option.rate),
                          !option.hours ? "-" : has_hours ? text_duration(option.hours->likely * 3600) : fixed(option.hours->likely, 2),
                          option.usd ? text_usd(*option.usd) : "-",
                          why});
  }
  const Option& best = options.front();
  const bool is_kept = best.usd && is_yes(best.meets, in.is_strict);
  answer.json.set("options", rows);
  answer.json.set("best", is_kept ? Value(best.strategy) : Value());
  const bool counts_spot = std::any_of(options.begin(), options.end(), [](const Option& o) { return o.strategy == "spot" && o.candidate; });
  const double work = has_hours && counts_spot
                          ? std::find_if(options.begin(), options.end(), [](const Option& o) { return o.strategy == "spot"; })->rental->work.likely
                          : given.value_or(0);
  answer.json.set("interruptions", Value::object({{"mean_hours_between", spot->per_day > 0 ? Value(interruptions.mean_between) : Value()},
                                                  {"checkpoint_hours", interruptions.checkpoint},
                                                  {"restart_hours", interruptions.restart},
                                                  {"checkpoint_interval_hours", std::min(work, checkpoint_interval(interruptions))}}));
  answer.rows = std::move(rows);
  const std::string strategy = best.strategy == "on_demand" ? "on demand" : best.strategy;
  if (!is_kept) {
    answer.status = kNo;
    answer.add(Headline{"no offer does it " + words_of(*limits), Tone::bad});
    if (has_hours) tell_closest(rentals, *limits, answer);
  } else {
    const std::string from = ", " + gpus_words(*best.candidate->offer) + " of " + best.candidate->offer->provider;
    const std::string tight = best.meets == Meets::tight ? "; tight: only likely " + words_of(*limits) : "";
    answer.add(Headline{has_hours ? strategy + ": " + text_usd(*best.usd) + " for " + market.priced->words() + " in " +
                                        text_hours(*best.hours) + from + tight
                                  : strategy + ": " + text_usd(best.usd->likely) + " for " +
                                        fixed(*given, *given == std::floor(*given) ? 0 : 2) + " hours of work in " +
                                        fixed(best.hours->likely, 2) + " hours" + from + tight,
                        tight.empty() ? Tone::good : Tone::warning});
  }
  answer.add(std::move(table));
  if (const double every = counts_spot && spot->per_day > 0 ? checkpoint_interval(interruptions) : work; every < work)
    answer.add(Paragraph{"on spot, write a checkpoint every " + text_duration(every * 3600) + " (Young and Daly)"});
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

/// The models that a budget is asked about.
std::vector<std::string> asked_models(const Invocation& in) {
  if (const auto one = in.value("model")) return {*one};
  const auto list = in.value("models");
  if (!list) return {"qwen2.5-72b", "qwen2.5-32b", "qwen2.5-14b", "qwen2.5-7b", "qwen2.5-3b", "qwen2.5-1.5b", "qwen2.5-0.5b"};
  return items_of(*list);
}

/// How often a training can be had for a limit.
Range<double> times_within(const Range<double>& usd, double limit) { return {limit / usd.high, limit / usd.likely, limit / usd.low}; }

std::string count_words(const Range<double>& count) {
  const auto words = [](double each) { return each < 9.95 ? fixed(each, 1) : grouped(std::llround(each)); };
  return words(count.likely) + " (" + words(count.low) + " to " + words(count.high) + ")";
}

std::string tokens_words(const Range<double>& count) {
  const auto words = [](double each) { return short_count(std::llround(each)); };
  return words(count.likely) + " (" + words(count.low) + " to " + words(count.high) + ")";
}

/// A step down from a method's defaults, in a few words.
std::string rung_words(const TrainingOffer& training) {
  std::string text(name(training.method));
  if (training.rung.find("--precision") != std::string::npos) text += ", 16 bits";
  if (training.rung.find("--optimizer") != std::string::npos) text += ", 8-bit AdamW";
  return text;
}

/// What can be trained for a sum: of each model and method the cheapest way, and how far the sum goes.
Result<Answer> trained_for(const Invocation& in) {
  if (auto error = refused(in, {"experiments", "hours"}, "--budget asks what can be trained for a sum")) return *error;
  if (in.has("model") && in.has("models"))
    return wrong("--model and --models both name models", "--model, --models", "give one of them");
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Answer answer = begin(in, *tables, "qwenplan.cloud-budget/1");
  std::vector<std::string> assumed;
  const auto limits = read_limits(in, answer.inputs);
  if (!limits) return limits.error();
  if (*limits->usd <= 0) return wrong("nothing is trained for nothing", "--budget", "such as --budget 50");
  const auto spot = read_spot_terms(in, assumed);
  if (!spot) return spot.error();
  auto all_offers = read_offers(*tables);
  if (!all_offers) return all_offers.error();
  const auto wanted = read_wanted(in, *tables, *all_offers);
  if (!wanted) return wanted.error();
  std::vector<Offer> offers;
  for (const Offer& offer : *all_offers)
    if (wanted->takes(offer)) offers.push_back(offer);
  const auto cards = offered_cards(offers, *tables);
  if (cards.empty()) return Error{Error::Kind::unknown, "no priced offer is left", "--provider, --gpu", "qwenplan cloud compare lists the offers"};

  constexpr std::int64_t kUnit = 1'000'000;
  PriceDays days;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{"model"}, {"method"}, {"offer"}, {"rate", right}, {""}}, {}};
  std::optional<std::optional<TextJob>> known;
  std::optional<double> largest;  ///< parameters
  Value best_row;
  std::string head, nearest_words;
  double nearest_usd = std::numeric_limits<double>::infinity();
  bool has_data = false;
  Tone tone = Tone::good;
  for (const std::string& name_of_model : asked_models(in)) {
    Invocation asked = in;
    asked.given["model"] = {name_of_model};
    asked.given.erase("gpu");
    std::vector<std::string> assumed_here;
    // The data are read once, by the first model's tokenizer.
    auto priced = read_priced_job(asked, *tables, assumed_here, known ? &*known : nullptr);
    if (!priced) return priced.error();
    PricedJob& job = **priced;
    has_data = job.has_hours();
    const bool is_first = !known;
    known = job.workload.data;
    if (is_first) {
      if (has_data) {
        job.workload.tell(answer, assumed);
        table.columns.insert(table.columns.begin() + 4, {{"hours", right}, {"the job", right}, {"epochs for the budget", right}});
      } else {
        if (auto error = refused(in, {"deadline"}, kNoHours)) return *error;
        table.columns.insert(table.columns.begin() + 4, {{"tokens for the budget", right}});
      }
      answer.inputs.push_back({"method", in.has("method") ? Value(*in.value("method")) : Value("each in turn"), in.has("method") ? "flag" : "default"});
    }
    if (!has_data) {
      TextJob unit;
      unit.tokens = Range<Tokens>::exactly(Tokens(kUnit));
      job.workload.data = unit;
      job.workload.saves = 0;
    }
    // A method that was settled for one job on all cards is open here.
    if (job.job.draft.method && job.job.draft.method->from == From::by_default) job.job.draft.method.reset();
    job.spot = *spot;
    if (has_data) job.limits = *limits;
    const Model& model = job.job.subject.model.model;
    const auto given = job.job.draft.method;
    bool has_best = false;
    for (const Method method : kMethods) {
      if (given && given->value != method) continue;
      const auto training = cheapest_training(cards, job, method, in.is_strict);
      if (!training) continue;
      const Rental& rental = training->rental;
      const bool is_kept = rental.is_kept(in.is_strict);
      Range<double> factor = times_within(rental.usd, *limits->usd);
      if (has_data && limits->hours) {
        const Range<double> in_time = times_within(rental.hours, *limits->hours);
        factor = {std::min(factor.low, in_time.low), std::min(factor.likely, in_time.likely), std::min(factor.high, in_time.high)};
      }
      const Range<double> epochs = times(job.workload.epochs, factor);
      const auto text_tokens = static_cast<double>(job.workload.data ? job.workload.data->tokens.likely.count() : 0);
      const bool counts_tokens = job.workload.data.has_value();
      const Range<double> tokens = times(text_tokens, epochs);
      Value row = Value::object({{"model", model.id},
                                 {"method", name(method)},
                                 {"rung", training->rung.empty() ? "defaults" : training->rung},
                                 {"trains", is_kept},
                                 {"epochs", has_data ? Value(epochs) : Value()},
                                 {"tokens", counts_tokens ? Value(tokens) : Value()}});
      Value offer = as_json(rental);
      if (!has_data) {
        offer = Value::object({{"id", rental.offer->id}, {"provider", rental.offer->provider}, {"instance", rental.offer->instance},
                               {"gpu", rental.offer->gpu}, {"gpus", rental.offer->gpus}, {"strategy", name(rental.payment)},
                               {"usd_per_hour", rental.usd_per_hour}, {"fit", name(rental.fit)}});
      }
      row.set("rental", std::move(offer));
      rows.push(std::move(row));
      days.add(rental.offer->as_of);
      const std::string method_words = rung_words(*training);
      if (!is_kept && rental.usd.likely < nearest_usd) {
        nearest_usd = rental.usd.likely;
        nearest_words = "what comes closest is " + method_words + " of " + model.id + ": " + words(rental) + ", " + cost_words(rental);
      }
      if (!is_kept || has_best) continue;
      // The best method of the model.
      has_best = true;
      const bool is_tight = rental.meets() == Meets::tight || rental.fit == Fit::tight;
      const std::string remark = rental.meets() == Meets::tight ? "tight" : rental.fit == Fit::tight ? "memory tight" : "";
      std::vector<std::string> line = {model.id, method_words, rental.offer->provider + ", " + gpus_words(*rental.offer),
                                       text_rate(rental.usd_per_hour) + (rental.payment == Payment::spot ? " spot" : "")};
      if (has_data) {
        line.insert(line.end(), {text_duration(rental.hours.likely * 3600), text_usd(rental.usd), count_words(epochs)});
      } else {
        line.push_back(tokens_words(tokens));
      }
      line.push_back(remark);
      table.rows.push_back(std::move(line));
      const auto size = static_cast<double>(model_parameters(model).total().count());
      if (!largest || size > *largest) {
        largest = size;
        tone = is_tight ? Tone::warning : Tone::good;
        head = (has_data ? words_of(*limits) + " at most " + model.id + " by " + method_words + ": " + words(rental) + ", " + cost_words(rental)
                         : words_of(*limits) + " " + tokens_words(tokens) + " tokens of " + model.id + " by " + method_words + ": " + words(rental)) +
               (rental.meets() == Meets::tight ? ", tight" : "");
        best_row = rows.as_list()->back();
      }
    }
  }
  answer.json.set("largest", std::move(best_row));
  answer.json.set("trainings", rows);
  answer.rows = std::move(rows);
  if (largest) {
    answer.add(Headline{head, tone});
    answer.add(std::move(table));
    answer.add(Paragraph{"of each model the first of full, lora and qlora that the budget pays for, as cheaply as it runs: 16 bits are --precision "
                         "bf16-true (fp16-true before Ampere), 8-bit AdamW is --optimizer paged-adamw-8bit; --json has all methods", Tone::faint});
  } else {
    answer.status = kNo;
    answer.add(Headline{"nothing is trained " + words_of(*limits) + (nearest_words.empty() ? ": no offer runs it" : ""), Tone::bad});
    if (!nearest_words.empty()) answer.add(Paragraph{nearest_words});
  }
  if (!has_data) answer.add(Paragraph{"--dataset FILE or --tokens N asks for epochs", Tone::faint});
  assumed.push_back(kRentedWords);
  assumed.push_back(kSeveralWords);
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

bool is_hyperscaler(const Offer& offer) {
  return offer.provider == "aws" || offer.provider == "gcp" || offer.provider == "azure";
}

Result<Answer> budgeted(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto experiments = in.whole("experiments", 0, kMostExperiments);
  if (!experiments) return experiments.error();
  if (!*experiments) return wrong("no number of experiments is given", "--experiments", "such as --experiments 10");
  if (**experiments == 0)
    return wrong("no experiments cost nothing, and have no cost each", "--experiments", "write a number above zero");
  const auto hours = needed_hours(in, 0);
  if (!hours) return hours.error();
  Answer answer = begin(in, *tables, "qwenplan.cloud-budget/1");
  std::vector<std::string> assumed;
  Market market;
  if (names_job(in) || !in.has("gpu")) {
    if (auto error = take_job(in, *tables, market, answer, assumed)) return *error;
  } else if (auto error = refused(in, {"vram", "vram-in-use"}, "there is no job to judge")) {
    return *error;
  }
  answer.inputs.push_back({"experiments", Value(**experiments), "flag"});
  answer.inputs.push_back({"hours", Value(*hours), "flag"});
  if (auto error = open_market(in, *tables, market)) return *error;

  // One price for each offer on demand: a month is planned with what is there when it is needed.
  std::vector<const Candidate*> list;
  for (const Candidate* each : usable(market, in.is_strict))
    if (each->offer->on_demand) list.push_back(each);
  std::stable_sort(list.begin(), list.end(), [](const Candidate* a, const Candidate* b) {
    return *a->offer->on_demand < *b->offer->on_demand;
  });
  if (list.empty())
    return Error{Error::Kind::unknown, "no offer on demand runs that", in.has("gpu") ? "--gpu" : "--model",
                 "qwenplan cloud compare lists the offers"};
  const auto large = std::find_if(list.begin(), list.end(), [](const Candidate* each) { return is_hyperscaler(*each->offer); });
  std::vector<std::pair<const char*, const Candidate*>> tiers = {{"cheapest", list.front()}, {"middle", list[list.size() / 2]}};
  if (large != list.end()) tiers.emplace_back("large cloud", *large);

  const double month_hours = static_cast<double>(**experiments) * *hours;
  PriceDays days;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{""}, {"provider"}, {"instance"}, {"GPU"}, {"rate", right}, {"an experiment", right}, {"a month", right}, {"a year", right}}, {}};
  for (const auto& [tier, candidate] : tiers) {
    const Offer& offer = *candidate->offer;
    days.add(offer.as_of);
    const double month = month_hours * *offer.on_demand;
    const double each = *offer.on_demand * *hours;
    rows.push(Value::object({{"tier", tier},
                             {"provider", offer.provider},
                             {"instance", offer.instance},
                             {"gpu", offer.gpu},
                             {"gpus", offer.gpus},
                             {"usd_per_hour", *offer.on_demand},
                             {"usd_per_experiment", each},
                             {"monthly_usd", month},
                             {"annual_usd", month * 12},
                             {"as_of", offer.as_of.empty() ? Value() : Value(offer.as_of)}}));
    table.rows.push_back({tier, offer.provider, shown_instance(offer), gpus_words(offer), text_rate(*offer.on_demand),
                          text_usd(each), text_usd(month), text_usd(month * 12)});
  }
  answer.json.set("hours_per_month", month_hours);
  answer.json.set("offers_that_run_it", static_cast<std::int64_t>(list.size()));
  answer.json.set("estimates", rows);
  answer.rows = std::move(rows);
  answer.add(Headline{std::to_string(**experiments) + " experiments of " + plain(*hours) + " hours: from " +
                      text_usd(month_hours * *list.front()->offer->on_demand) + " a month"});
  answer.add(std::move(table));
  assumed.push_back("on demand; hours are the same on each GPU (qwenplan time tells them); 'middle' is the middle of " +
                    std::to_string(list.size()) + " offers that run it, 'large cloud' the cheapest of AWS, Google and Azure");
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

}  // namespace

Result<Answer> cloud_compare(const Invocation& in) {
  if (in.uses_guide) return guide_table("qwenplan.cloud-compare/1", guide::kCloud, {guide::GuideSystem::cloud_compare});
  return compared(in);
}

Result<Answer> cloud_strategy(const Invocation& in, KnownText known) {
  if (!in.uses_guide) return strategies(in, known);
  const auto hours = needed_hours(in, 0);
  if (!hours) return hours.error();
  const auto result = guide::calculate_optimal_cloud_strategy(*hours, in.value("urgency").value_or("normal"));
  return guide_answer("qwenplan.cloud-strategy/1", {{"calculate_optimal_cloud_strategy", guide_value(result)}},
                      {guide::GuideSystem::cloud_strategy});
}

Result<Answer> cloud_strategy(const Invocation& in) { return cloud_strategy(in, nullptr); }

Result<Answer> cloud_budget(const Invocation& in) {
  if (!in.uses_guide) return in.has("budget") ? trained_for(in) : budgeted(in);
  const auto experiments = in.whole("experiments", 0, kMostExperiments);
  if (!experiments) return experiments.error();
  if (!*experiments) return wrong("no number of experiments is given", "--experiments", "such as --experiments 10");
  const auto hours = needed_hours(in, 0);
  if (!hours) return hours.error();
  const auto result = guide::estimate_monthly_cloud_budget(**experiments, *hours);
  if (!result) return result.error();
  return guide_answer("qwenplan.cloud-budget/1", {{"estimate_monthly_cloud_budget", guide_value(*result)}},
                      {guide::GuideSystem::cloud_budget});
}

}  // namespace qwenplan::command
