#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/money.hpp"
#include "qwenplan/base/nearest.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "qwenplan/estimate/guide.hpp"
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

  std::optional<bool> fits(bool is_strict) const {
    if (!fit) return std::nullopt;
    return *fit == Fit::fits || (*fit == Fit::tight && !is_strict);
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
  std::optional<Job> job;
  std::optional<CardFits> fits;
  std::int64_t withdrawn = 0;  ///< offers that are listed but no longer made
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

/// Whether the job's run can be on the card, and how well.
void judge_candidate(Candidate& candidate, Market& market, const Tables& tables) {
  const Offer& offer = *candidate.offer;
  const auto found = tables.gpu(offer.gpu);
  if (found && found->gpu.id == offer.gpu) candidate.gpu = found->gpu;
  if (!market.job) return;
  if (!candidate.gpu) {
    candidate.why = "the table of GPUs does not have it";
    return;
  }
  if (!offer.gpus) {
    candidate.why = "it is not told which share of a GPU it has";
    return;
  }
  const bool is_share = *offer.gpus < 1;
  const auto& on_card = market.fits->on(*candidate.gpu, is_share ? offer.vram() : std::nullopt);
  if (on_card) {
    candidate.on_card = &*on_card;
    candidate.fit = on_card->fit;
  } else if (on_card.error().kind == Error::Kind::wrong) {
    candidate.fit = Fit::exceeds;
    candidate.why = on_card.error().what;
  } else {
    candidate.why = on_card.error().what;
  }
}

/// Fills a market whose job is already set.
std::optional<Error> open_market(const Invocation& in, const Tables& tables, Market& market) {
  auto offers = read_offers(tables);
  if (!offers) return offers.error();
  market.offers = std::move(*offers);
  if (market.job) market.fits.emplace(*market.job);
  std::optional<std::string> provider;
  if (const auto text = in.value("provider")) {
    const auto named = provider_named(*text, market.offers);
    if (!named) return named.error();
    provider = *named;
  }
  std::optional<FoundGpu> gpu;
  if (const auto text = in.value("gpu")) {
    auto found = tables.gpu(*text);
    if (!found) return found.error();
    gpu = std::move(*found);
  }
  for (const Offer& offer : market.offers) {
    if (provider && offer.provider != *provider) continue;
    if (gpu && offer.gpu != gpu->gpu.id) continue;
    if (gpu && gpu->count > 1 && offer.gpus != static_cast<double>(gpu->count)) continue;
    if (!offer.is_available) {
      ++market.withdrawn;
      continue;
    }
    Candidate candidate{&offer, std::nullopt, std::nullopt, nullptr, {}};
    judge_candidate(candidate, market, tables);
    market.candidates.push_back(std::move(candidate));
  }
  const auto rank = [&](const Candidate& candidate) {
    const auto fits = candidate.fits(in.is_strict);
    return !market.job ? 0 : !fits ? 1 : *fits ? 0 : 2;
  };
  std::stable_sort(market.candidates.begin(), market.candidates.end(), [&](const Candidate& a, const Candidate& b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
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
    if (market.job && candidate.fits(is_strict) != true) continue;
    list.push_back(&candidate);
  }
  return list;
}

Value as_json(const Candidate& candidate, bool is_strict) {
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

std::string gpus_words(const Offer& offer) {
  if (!offer.gpus || *offer.gpus == 1) return offer.gpu;
  return plain(*offer.gpus) + "x " + offer.gpu;
}

/// What every command here begins with.
Answer begin(const Invocation& in, const Tables& tables, const char* schema) {
  Answer answer;
  answer.schema = schema;
  answer.data_as_of = tables.as_of();
  tell_overlay(in, tables, answer);
  return answer;
}

void take_inputs(const Job& job, Answer& answer) {
  answer.inputs.insert(answer.inputs.end(), job.subject.inputs.begin(), job.subject.inputs.end());
  answer.notes.insert(answer.notes.end(), job.subject.notes.begin(), job.subject.notes.end());
  answer.inputs.push_back({"method", job.draft.method ? Value(name(job.draft.method->value)) : Value("each in turn"),
                           job.draft.method ? "flag" : "default"});
}

Result<Answer> compared(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Answer answer = begin(in, *tables, "qwenplan.cloud-compare/1");
  Market market;
  std::vector<std::string> assumed;
  if (names_job(in)) {
    auto job = read_job(in, *tables, assumed);
    if (!job) return job.error();
    market.job = std::move(*job);
    take_inputs(*market.job, answer);
  } else if (auto error = refused(in, {"vram", "vram-in-use"}, "there is no job to judge")) {
    return *error;
  }
  if (auto error = open_market(in, *tables, market)) return *error;

  Value rows = Value::list();
  PriceDays days;
  using enum Column::Align;
  Table table{{{"provider"}, {"instance"}, {"GPU"}, {"memory", right}, {"on demand", right}, {"spot", right},
               {"per GiB", right}, {"per TFLOP", right}, {"of"}, {"job"}}, {}};
  if (!market.job) table.columns.pop_back();
  std::int64_t fitting = 0, unknown = 0;
  for (const Candidate& candidate : market.candidates) {
    rows.push(as_json(candidate, in.is_strict));
    const Offer& offer = *candidate.offer;
    days.add(offer.as_of);
    const auto fits = candidate.fits(in.is_strict);
    fitting += fits == true;
    unknown += market.job && !fits;
    if (table.rows.size() == kShown || (market.job && fits != true)) continue;
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
    if (market.job) line.push_back(candidate.on_card->words() + (candidate.fit == Fit::tight ? ", tight" : ""));
    table.rows.push_back(std::move(line));
  }
  const std::size_t count = market.candidates.size();
  answer.json.set("offers", rows);
  answer.rows = std::move(rows);
  if (count == 0) {
    answer.status = kNo;
    answer.add(Headline{"nobody offers that", Tone::bad});
  } else if (market.job) {
    const auto best = usable(market, in.is_strict);
    if (best.empty()) {
      answer.status = kNo;
      answer.add(Headline{"none of " + offers_words(count) + " runs " + market.job->words(), Tone::bad});
    } else {
      const Offer& offer = *best[0]->offer;
      answer.add(Headline{std::to_string(fitting) + " of " + offers_words(count) + " run " + market.job->words() +
                          "; the cheapest is " + offer.provider + ", " + gpus_words(offer) + ", " +
                          text_rate(*offer.lowest()), Tone::good});
    }
    if (unknown > 0)
      answer.notes.push_back("of " + offers_words(static_cast<std::size_t>(unknown)) + " it cannot be told: their GPU is not emulated, or its share not known");
  } else {
    answer.add(Headline{offers_words(count) + ", cheapest first; --model 7b asks which of them run it"});
  }
  const std::size_t listed_rows = table.rows.size();
  const std::size_t total = market.job ? static_cast<std::size_t>(fitting) : count;
  if (listed_rows > 0) answer.add(std::move(table));
  if (total > listed_rows)
    answer.add(Paragraph{"the cheapest " + std::to_string(listed_rows) + " of " + std::to_string(total) +
                         "; --format csv has them all", Tone::faint});
  if (market.withdrawn > 0)
    answer.notes.push_back(offers_words(static_cast<std::size_t>(market.withdrawn)) + " left out: still listed, no longer made");
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
  std::optional<double> usd;
  std::optional<double> hours;
  const Candidate* candidate = nullptr;
  std::optional<double> rate;
  std::string why;
};

Result<Answer> strategies(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto hours = needed_hours(in, 0);
  if (!hours) return hours.error();
  if (*hours == 0) return wrong("there is nothing to run in 0 hours", "--hours", "such as --hours 6");
  const std::string urgency = folded(in.value("urgency").value_or("normal"));
  if (urgency != "urgent" && urgency != "normal")
    return wrong("'" + urgency.substr(0, 40) + "' is no urgency", "--urgency", "normal or urgent");

  Answer answer = begin(in, *tables, "qwenplan.cloud-strategy/1");
  std::vector<std::string> assumed;
  Market market;
  if (names_job(in) || !in.has("gpu")) {
    auto job = read_job(in, *tables, assumed);
    if (!job) return job.error();
    market.job = std::move(*job);
    take_inputs(*market.job, answer);
  } else if (auto error = refused(in, {"vram", "vram-in-use"}, "there is no job to judge")) {
    return *error;
  }
  answer.inputs.push_back({"hours", Value(*hours), "flag"});
  answer.inputs.push_back({"urgency", Value(urgency), in.has("urgency") ? "flag" : "default"});
  if (auto error = open_market(in, *tables, market)) return *error;
  const auto candidates = usable(market, in.is_strict);
  if (candidates.empty())
    return Error{Error::Kind::unknown, "no priced offer runs that", in.has("gpu") ? "--gpu" : "--model",
                 "qwenplan cloud compare lists the offers"};

  // Interruptions, and the checkpoints against them.
  const auto per_day = in.number("interruptions", 0, 1440);
  if (!per_day) return per_day.error();
  const auto checkpoint = in.number("checkpoint-minutes", 0, 1440);
  if (!checkpoint) return checkpoint.error();
  const auto restart = in.number("restart-minutes", 0, 1440);
  if (!restart) return restart.error();
  constexpr double kPerDay = 1, kRestartMinutes = 10;
  const Candidate* cheapest_spot = nullptr;
  const Candidate* cheapest_on_demand = nullptr;
  const Candidate* cheapest_reserved = nullptr;
  for (const Candidate* each : candidates) {
    const auto less = [](const std::optional<double>& a, const Candidate* best, auto rate) {
      return a && (!best || *a < *rate(best));
    };
    if (less(each->offer->on_demand, cheapest_on_demand, [](const Candidate* c) { return c->offer->on_demand; })) cheapest_on_demand = each;
    if (less(each->offer->spot, cheapest_spot, [](const Candidate* c) { return c->offer->spot; })) cheapest_spot = each;
    if (less(each->offer->reserved, cheapest_reserved, [](const Candidate* c) { return c->offer->reserved; })) cheapest_reserved = each;
  }
  double minutes = 1;
  if (*checkpoint) {
    minutes = **checkpoint;
  } else if (cheapest_spot && cheapest_spot->on_card && market.job) {
    const Model& model = market.job->subject.model.model;
    const Run& run = cheapest_spot->on_card->best().plan.valid.run;
    minutes = checkpoint_hours(model, run) * 60;
    assumed.push_back("a checkpoint is " + text(checkpoint_size(model, run).likely) + ", and the disk writes 200 MB/s");
  } else {
    assumed.push_back("a checkpoint takes a minute to write");
  }
  const double rate_of_loss = per_day->value_or(kPerDay);
  if (!*per_day) assumed.push_back("a spot machine is taken away once a day, at random; no source tells how often");
  if (!*restart) assumed.push_back("it takes 10 minutes to get another one, load and go on, which is paid");
  const Interruptions interruptions{rate_of_loss > 0 ? 24 / rate_of_loss : 1e9, minutes / 60,
                                    restart->value_or(kRestartMinutes) / 60};
  assumed.push_back("on-demand machines are not taken away; hours are the same on each GPU (qwenplan time tells them)");

  std::vector<Option> options;
  if (cheapest_on_demand) {
    const double rate = *cheapest_on_demand->offer->on_demand;
    options.push_back({"on_demand", rate * *hours, *hours, cheapest_on_demand, rate, ""});
  } else {
    options.push_back({"on_demand", {}, {}, nullptr, {}, "no offer"});
  }
  if (cheapest_spot) {
    const double rate = *cheapest_spot->offer->spot;
    const double takes = expected_hours(*hours, interruptions);
    if (std::isfinite(takes)) options.push_back({"spot", rate * takes, takes, cheapest_spot, rate, ""});
    else options.push_back({"spot", {}, {}, cheapest_spot, rate, "it would never end with so many interruptions"});
  } else {
    options.push_back({"spot", {}, {}, nullptr, {}, "no spot price"});
  }
  if (cheapest_reserved) {
    // A commitment is paid whether or not it is used.
    const double rate = *cheapest_reserved->offer->reserved;
    options.push_back({"reserved", rate * std::max(*hours, kHoursOfYear), *hours, cheapest_reserved, rate, "a year is paid in any case"});
  } else {
    options.push_back({"reserved", {}, {}, nullptr, {}, "no dated price"});
  }
  const bool is_urgent = urgency == "urgent";
  std::stable_sort(options.begin(), options.end(), [&](const Option& a, const Option& b) {
    if (a.usd.has_value() != b.usd.has_value()) return a.usd.has_value();
    if (!a.usd) return false;
    if (is_urgent && *a.hours != *b.hours) return *a.hours < *b.hours;
    return *a.usd < *b.usd;
  });

  PriceDays days;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{"way"}, {"provider"}, {"instance"}, {"GPU"}, {"rate", right}, {"hours", right}, {"cost", right}, {""}}, {}};
  for (const Option& option : options) {
    const Offer* offer = option.candidate ? option.candidate->offer : nullptr;
    if (offer) days.add(offer->as_of);
    rows.push(Value::object({{"strategy", option.strategy},
                             {"expected_usd", option.usd},
                             {"expected_hours", option.hours},
                             {"usd_per_hour", option.rate},
                             {"provider", offer ? Value(offer->provider) : Value()},
                             {"instance", offer ? Value(offer->instance) : Value()},
                             {"gpu", offer ? Value(offer->gpu) : Value()},
                             {"gpus", offer ? Value(offer->gpus) : Value()},
                             {"as_of", offer && !offer->as_of.empty() ? Value(offer->as_of) : Value()},
                             {"why", option.why.empty() ? Value() : Value(option.why)}}));
    table.rows.push_back({option.strategy == "on_demand" ? "on demand" : option.strategy,
                          offer ? offer->provider : "-",
                          offer ? shown_instance(*offer) : "-",
                          offer ? gpus_words(*offer) : "-",
                          rate_words(option.rate),
                          option.hours ? fixed(*option.hours, 2) : "-",
                          option.usd ? text_usd(*option.usd) : "-",
                          option.why});
  }
  const Option& best = options.front();
  answer.json.set("options", rows);
  answer.json.set("best", best.usd ? Value(best.strategy) : Value());
  answer.json.set("interruptions", Value::object({{"mean_hours_between", rate_of_loss > 0 ? Value(interruptions.mean_between) : Value()},
                                                  {"checkpoint_hours", interruptions.checkpoint},
                                                  {"restart_hours", interruptions.restart},
                                                  {"checkpoint_interval_hours", std::min(*hours, checkpoint_interval(interruptions))}}));
  answer.rows = std::move(rows);
  answer.add(Headline{(best.strategy == "on_demand" ? "on demand" : best.strategy) + ": " + text_usd(*best.usd) + " for " +
                      fixed(*hours, *hours == std::floor(*hours) ? 0 : 2) + " hours of work in " + fixed(*best.hours, 2) + " hours, " +
                      gpus_words(*best.candidate->offer) + " of " + best.candidate->offer->provider, Tone::good});
  answer.add(std::move(table));
  if (cheapest_spot && rate_of_loss > 0)
    answer.add(Paragraph{"on spot, write a checkpoint every " +
                         text_duration(std::min(*hours, checkpoint_interval(interruptions)) * 3600) + " (Young and Daly)"});
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
    auto job = read_job(in, *tables, assumed);
    if (!job) return job.error();
    market.job = std::move(*job);
    take_inputs(*market.job, answer);
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

Result<Answer> cloud_strategy(const Invocation& in) {
  if (!in.uses_guide) return strategies(in);
  const auto hours = needed_hours(in, 0);
  if (!hours) return hours.error();
  const auto result = guide::calculate_optimal_cloud_strategy(*hours, in.value("urgency").value_or("normal"));
  return guide_answer("qwenplan.cloud-strategy/1", {{"calculate_optimal_cloud_strategy", guide_value(result)}},
                      {guide::GuideSystem::cloud_strategy});
}

Result<Answer> cloud_budget(const Invocation& in) {
  if (!in.uses_guide) return budgeted(in);
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
