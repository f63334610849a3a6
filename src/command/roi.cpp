#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/money.hpp"
#include "command/rental.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/judge/payback.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr double kMostUsd = 1e9;
constexpr std::int64_t kMostMonths = 600;
constexpr double kDiscount = 5;        // per cent of a year

/// A machine to judge by its name and price.
struct Named {
  std::string name;
  double usd = 0;
};

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

/// The machines of --setup and --hardware-cost, in that order; none where neither is given.
Result<std::vector<Named>> read_setups(const Invocation& in) {
  std::vector<Named> setups;
  for (const std::string& text : in.values("setup")) {
    const std::size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0)
      return wrong("'" + text.substr(0, 60) + "' is not a machine and its price", "--setup",
                   "write it as --setup \"Entry Level=860\"");
    const auto usd = parse_number(text.substr(equals + 1), "--setup", 0, kMostUsd);
    if (!usd) return usd.error();
    for (const Named& other : setups)
      if (other.name == text.substr(0, equals))
        return wrong("'" + other.name.substr(0, 60) + "' is named twice", "--setup", "give each machine a name of its own");
    setups.push_back({text.substr(0, equals), *usd});
  }
  const auto cost = in.number("hardware-cost", 0, kMostUsd);
  if (!cost) return cost.error();
  if (*cost) setups.push_back({"machine", **cost});
  return setups;
}

Error no_hours() {
  return wrong("no hours are given", "--hours-per-month",
               "such as --hours-per-month 50, --patterns for 20, 50, 100 and 200, or --dataset FILE or --tokens N for those of a job");
}

Result<Answer> as_the_guide(const Invocation& in) {
  const auto setups = read_setups(in);
  if (!setups) return setups.error();
  const auto hours = in.number("hours-per-month", 0, kMostUsd);
  if (!hours) return hours.error();
  const auto months = in.whole("months", 0, std::int64_t{1} << 31);
  if (!months) return months.error();

  const bool compares = in.has("setup") || setups->empty();
  guide::Dict<double> costs;
  if (compares)
    for (const Named& each : *setups) costs.emplace_back(each.name, each.usd);
  if (setups->empty())
    for (const auto& [name, usd] : guide::kSetups) costs.emplace_back(std::string(name), usd);

  if (in.has("patterns")) {
    Value patterns = Value::object();
    for (const auto& [name, each] : guide::kUsagePatterns) {
      const auto result = guide::compare_setups(costs, each);
      if (!result) return result.error();
      patterns.set(std::string(name), guide_value(*result));
    }
    return guide_answer("qwenplan.roi/1", {{"compare_setups", std::move(patterns)}}, {guide::GuideSystem::roi});
  }
  if (!*hours) return no_hours();
  if (compares) {
    const auto result = guide::compare_setups(costs, **hours);
    if (!result) return result.error();
    Answer answer = guide_answer("qwenplan.roi/1", {{"compare_setups", guide_value(*result)}}, {guide::GuideSystem::roi});
    if (*months && **months != guide::kAnalysisMonths)
      answer.notes.push_back("--months is not used: the guide compares machines over 24 months");
    return answer;
  }
  const auto result =
      guide::calculate_local_setup_roi(setups->front().usd, **hours, months->value_or(guide::kAnalysisMonths));
  if (!result) return result.error();
  return guide_answer("qwenplan.roi/1", {{"calculate_local_setup_roi", guide_value(*result)}}, {guide::GuideSystem::roi});
}

/// A machine with what it takes to compare it.
struct Candidate {
  Named named;
  Gpu gpu;
  std::int64_t gpus = 1;
  Purchase purchase;
  std::optional<Rent> rent;  ///< of all its GPUs; none where --cloud-price stands for it
  double usd_per_hour = 0;
};

/// What the flags say, or their defaults.
struct Terms {
  std::optional<double> cloud_price;
  std::optional<double> watts;
  double resale = 0;
  Usage usage;
};

Result<Terms> read_terms(const Invocation& in, std::vector<Input>& inputs, std::vector<std::string>& assumed) {
  Terms terms;
  std::optional<Error> error;
  const auto number = [&](const char* flag, double high) -> std::optional<double> {
    const auto value = in.number(flag, 0, high);
    if (!value) {
      if (!error) error = value.error();
      return std::nullopt;
    }
    return *value;
  };
  const auto or_else = [&](const char* flag, const char* name, double high, double otherwise, const std::string& words) {
    const auto value = number(flag, high);
    inputs.push_back({name, Value(value.value_or(otherwise)), value ? "flag" : "default"});
    if (!value) assumed.push_back(words);
    return value.value_or(otherwise);
  };
  terms.usage.usd_per_kwh = or_else("electricity", "electricity_usd_per_kwh", 1000, kElectricity,
                                    "a kilowatt hour costs " + text_usd(kElectricity));
  terms.resale = or_else("resale", "resale_usd", kMostUsd, 0, "the machine brings nothing at the end");
  terms.usage.discount = or_else("discount", "discount_percent", 1000, kDiscount, "money bears 5 % a year elsewhere") / 100;
  terms.cloud_price = number("cloud-price", 1e6);
  if (terms.cloud_price) inputs.push_back({"cloud_price_usd_per_hour", Value(*terms.cloud_price), "flag"});
  terms.watts = number("watts", 1e6);
  if (terms.watts) inputs.push_back({"watts", Value(*terms.watts), "flag"});
  const auto months = in.whole("months", 1, kMostMonths);
  if (!months) return months.error();
  terms.usage.months = months->value_or(kUsualMonths);
  inputs.push_back({"months", Value(terms.usage.months), *months ? "flag" : "default"});
  if (!*months) assumed.push_back("used for 24 months");
  if (error) return *error;
  return terms;
}

/// The GPU of a machine: that of --gpu, else of the table's machine of that name, else of the table's
/// machine of the nearest price.
Result<FoundGpu> gpu_of(const Invocation& in, const Tables& tables, const std::vector<Machine>& machines,
                        const Named& named, std::vector<std::string>& assumed) {
  if (const auto gpu = in.value("gpu")) return tables.gpu(*gpu);
  const auto known = machine_named(tables, machines, named.name);
  if (!known) return known.error();
  const Machine* machine = *known;
  if (!machine) {
    machine = &*std::min_element(machines.begin(), machines.end(), [&](const Machine& a, const Machine& b) {
      return std::abs(a.usd() - named.usd) < std::abs(b.usd() - named.usd);
    });
  }
  const Part* part = machine->part(Part::Kind::gpu);
  if (!part)
    return Error{Error::Kind::wrong, "the machine '" + machine->id + "' has no GPU", "machines.json", "name one with --gpu"};
  if (!*known)
    assumed.push_back("the GPU of '" + named.name + "' is the " + part->name + " of the '" + machine->id +
                      "' build, whose price is nearest; --gpu names another");
  return tables.gpu(part->gpu);
}

Result<Candidate> candidate_of(const Invocation& in, const Tables& tables, const std::vector<Machine>& machines,
                       const std::vector<Offer>& offers, const Terms& terms, const Named& named,
                       std::vector<std::string>& assumed) {
  auto found = gpu_of(in, tables, machines, named, assumed);
  if (!found) return found.error();
  Candidate setup{named, std::move(found->gpu), found->count, {named.usd, terms.resale, 0}, std::nullopt, 0};
  if (terms.watts) {
    setup.purchase.watts = *terms.watts;
  } else if (setup.gpu.power) {
    setup.purchase.watts = training_watts(setup.gpu.power->value, setup.gpus);
  } else {
    return Error{Error::Kind::unknown, "the table does not know the power of " + setup.gpu.name, "--gpu",
                 "give the machine's with --watts"};
  }
  if (terms.cloud_price) {
    setup.usd_per_hour = *terms.cloud_price;
    return setup;
  }
  setup.rent = rent_of(setup.gpu.id, offers);
  if (!setup.rent)
    return Error{Error::Kind::unknown, "no offer of the table rents out " + setup.gpu.name, "--gpu",
                 "give the rent of an hour with --cloud-price"};
  Range<double>& rate = setup.rent->per_hour;
  const auto count = static_cast<double>(setup.gpus);
  rate = {rate.low * count, rate.likely * count, rate.high * count};
  setup.usd_per_hour = rate.likely;
  return setup;
}

/// The keys of an answer, for one machine and way of use.
Value as_json(const Candidate& setup, const Usage& usage, const Payback& result) {
  const auto at = [&](double usd_per_hour) {
    const Payback other = payback(setup.purchase, usd_per_hour, usage);
    return Value::object({{"usd_per_hour", usd_per_hour},
                          {"breakeven_months", other.breakeven_months},
                          {"savings_usd", other.savings}});
  };
  Value cloud = Value::object({{"gpu", setup.gpu.id}, {"gpus", setup.gpus}, {"usd_per_hour", setup.usd_per_hour}});
  if (setup.rent) {
    cloud.set("is_spot", setup.rent->is_spot);
    cloud.set("offers", static_cast<std::int64_t>(setup.rent->offers));
    cloud.set("oldest_price", setup.rent->oldest.empty() ? Value() : Value(setup.rent->oldest));
    cloud.set("cheapest", at(setup.rent->per_hour.low));
    cloud.set("dearest", at(setup.rent->per_hour.high));
  }
  cloud.set("total_usd", result.cloud);
  return Value::object({{"setup", setup.named.name},
                        {"verdict", result.savings > 0 ? "buy" : "rent"},
                        {"hours_per_month", usage.hours_per_month},
                        {"breakeven_months", result.breakeven_months},
                        {"savings_usd", result.savings},
                        {"npv_usd", result.npv},
                        {"local", Value::object({{"hardware_usd", setup.purchase.price},
                                                 {"watts", setup.purchase.watts},
                                                 {"electricity_usd", result.electricity},
                                                 {"resale_usd", setup.purchase.resale},
                                                 {"total_usd", result.local}})},
                        {"cloud", std::move(cloud)}});
}

std::vector<std::string> cells(const Candidate& setup, const Usage& usage, const Payback& result) {
  return {setup.named.name,
          text_usd(setup.named.usd),
          (setup.gpus > 1 ? std::to_string(setup.gpus) + "x " : "") + setup.gpu.id,
          fixed(usage.hours_per_month, usage.hours_per_month == std::floor(usage.hours_per_month) ? 0 : 1),
          text_rate(setup.usd_per_hour),
          text_rate(electricity_usd(setup.purchase.watts, 1, usage.usd_per_kwh)),
          text_months(result.breakeven_months),
          text_usd(result.savings),
          text_usd(result.npv)};
}

Headline headline(const Candidate& setup, const Usage& usage, const Payback& result) {
  const std::string rates = "renting " + setup.gpu.id + " costs " + text_rate(setup.usd_per_hour) + ", running one's own " +
                            text_rate(electricity_usd(setup.purchase.watts, 1, usage.usd_per_kwh));
  if (!result.breakeven_months) return {"rent: buying never pays; " + rates, Tone::warning};
  const std::string when = "buying pays after " + text_months(result.breakeven_months);
  if (result.savings > 0) return {"buy: " + when + "; " + rates, Tone::good};
  return {"rent: " + when + ", and it is used for " + std::to_string(usage.months) + "; " + rates, Tone::warning};
}

/// How a job of one machine compares with renting.
struct JobPayback {
  const JobTime* time = nullptr;
  Range<double> hours{};
  Range<double> watts{};  ///< at the wall
  Range<double> own_usd{}, rent_usd{};  ///< of a job: electricity, and rent of the same card
  double jobs_per_month = 0;
  BreakEven jobs;      ///< against the same card
  BreakEven jobs_any;  ///< against the cheapest rental
  Payback same, any;
  const Rental* cheapest = nullptr;  ///< of any card; none where --cloud-price stands for all

  /// Over the months, against the cheaper of both rents.
  double savings() const { return cheapest ? std::min(same.savings, any.savings) : same.savings; }
  bool buys() const { return savings() > 0; }
};

Value as_json(const BreakEven& breakeven, double per = 1) {
  if (!breakeven.low) return Value();
  const auto each = [&](const std::optional<double>& count) { return count ? Value(*count / per) : Value(); };
  return Value::object({{"low", each(breakeven.low)}, {"likely", each(breakeven.likely)}, {"high", each(breakeven.high)}});
}

/// "55 (40 to 80)", "55 (40 to never)", "never", "never (at best 900)".
std::string words(const BreakEven& jobs) {
  const auto each = [](const std::optional<double>& count) { return count ? grouped(std::llround(std::ceil(*count))) : std::string("never"); };
  if (!jobs.low) return "never";
  if (!jobs.likely) return "never (at best " + each(jobs.low) + ")";
  return each(jobs.likely) + " (" + each(jobs.low) + " to " + each(jobs.high) + ")";
}

/// "buying pays after 55 (40 to 80) jobs, 6.9 months", "buying never pays (at best after 900 jobs)".
std::string pays_words(const BreakEven& jobs, double jobs_per_month) {
  if (!jobs.likely) return "buying never pays" + (jobs.low ? " (at best after " + grouped(std::llround(std::ceil(*jobs.low))) + " jobs)" : "");
  return "buying pays after " + words(jobs) + " jobs, " + text_months(*jobs.likely / jobs_per_month);
}

/// One machine and one job; an error where the job does not run on it.
Result<JobPayback> job_payback(const Candidate& setup, PricedJob& job, const std::vector<Rental>& rentals, const Terms& terms,
                               const std::optional<double>& jobs_per_month, const std::optional<double>& hours_per_month,
                               bool is_strict) {
  if (setup.gpus > 1)
    return Error{Error::Kind::unknown, "the time of a job on several GPUs is not modelled", "--gpu", "name one card"};
  const auto& fit = job.fits.on(setup.gpu);
  if (!fit) return fit.error();
  if (!fit->fits(is_strict))
    return Error{Error::Kind::unknown, job.job.words() + " does not fit " + setup.gpu.name, "--gpu", "qwenplan build --for-job finds a card"};
  const auto& time = job.times.on(setup.gpu);
  if (!time) return time.error();
  JobPayback result;
  result.time = &*time;
  result.hours = *time->hours();
  if (terms.watts) result.watts = Range<double>::exactly(*terms.watts);
  else if (time->watts) result.watts = wall_watts(*time->watts);
  else result.watts = Range<double>::exactly(setup.purchase.watts);
  const double per_kwh = terms.usage.usd_per_kwh;
  const auto own = [&](double watts, double hours) { return electricity_usd(watts, hours, per_kwh); };
  result.own_usd = {own(result.watts.low, result.hours.low), own(result.watts.likely, result.hours.likely), own(result.watts.high, result.hours.high)};
  result.rent_usd = hours_usd(result.hours, setup.usd_per_hour);
  if (jobs_per_month) result.jobs_per_month = *jobs_per_month;
  else if (hours_per_month) result.jobs_per_month = *hours_per_month / result.hours.likely;
  else result.jobs_per_month = kWeeksOfMonth;
  Usage usage = terms.usage;
  usage.hours_per_month = result.jobs_per_month * result.hours.likely;
  Purchase purchase = setup.purchase;
  purchase.watts = result.watts.likely;
  result.jobs = breakeven_jobs(purchase.price, saved_on_same_card(result.hours, setup.usd_per_hour, result.watts, per_kwh));
  result.same = payback(purchase, setup.usd_per_hour, usage);
  if (!rentals.empty() && !terms.cloud_price) {
    result.cheapest = &rentals.front();
    result.jobs_any = breakeven_jobs(purchase.price, saved(result.cheapest->usd, result.own_usd));
    result.any = payback(purchase, result.cheapest->usd.likely / result.hours.likely, usage);
  }
  return result;
}

/// The keys of an answer, for one machine and one job: those of hours, and what the job adds.
Value as_json(const Candidate& setup, const Usage& usage, const JobPayback& job) {
  Candidate measured = setup;
  measured.purchase.watts = job.watts.likely;
  const Value of_hours = as_json(measured, usage, job.same);
  Value json = Value::object();
  for (const Value::Member& member : *of_hours.as_object())
    json.set(member.first, member.first == "verdict" ? Value(job.buys() ? "buy" : "rent") : member.second);
  json.set("jobs_per_month", job.jobs_per_month);
  json.set("breakeven_jobs", as_json(job.jobs));
  json.set("breakeven_months_range", as_json(job.jobs, job.jobs_per_month));
  json.set("job", Value::object({{"hours", job.hours},
                                 {"energy_kwh", times(1.0 / 1000, {job.watts.low * job.hours.low, job.watts.likely * job.hours.likely,
                                                                   job.watts.high * job.hours.high})},
                                 {"watts", job.watts},
                                 {"electricity_usd", job.own_usd},
                                 {"rent_usd", job.rent_usd}}));
  Value cheapest;
  if (job.cheapest) {
    cheapest = qwenplan::as_json(*job.cheapest);
    cheapest.set("breakeven_jobs", as_json(job.jobs_any));
    cheapest.set("breakeven_months", job.any.breakeven_months);
    cheapest.set("savings_usd", job.any.savings);
  }
  json.set("cheapest_rent", std::move(cheapest));
  return json;
}

/// Buying against renting, by the job: `--dataset`, `--tokens` and the like tell it.
Result<Answer> of_job(const Invocation& in, const Tables& tables, const std::vector<Machine>& machines, const std::vector<Offer>& offers,
                      const std::vector<Named>& named, const Terms& terms, PricedJob& job, Answer answer,
                      std::vector<std::string> assumed) {
  if (in.has("patterns")) return wrong("--patterns has hours of its own", "--patterns", "leave it out, or the data");
  const auto per_month = in.number("jobs-per-month", 0, 1e6);
  if (!per_month) return per_month.error();
  const auto hours = in.number("hours-per-month", 0, kHoursOfMonth);
  if (!hours) return hours.error();
  if (*per_month && *hours)
    return wrong("--jobs-per-month and --hours-per-month both say how much is trained", "--jobs-per-month", "give one of them");
  if ((*per_month && **per_month == 0) || (*hours && **hours == 0))
    return wrong("a machine that does nothing never pays", *per_month ? "--jobs-per-month" : "--hours-per-month", "write a number above zero");
  if (*per_month) answer.inputs.push_back({"jobs_per_month", Value(**per_month), "flag"});
  else if (*hours) answer.inputs.push_back({"hours_per_month", Value(**hours), "flag"});
  else assumed.push_back("one such job a week (--jobs-per-month)");
  const auto spot = read_spot_terms(in, assumed);
  if (!spot) return spot.error();
  job.spot = *spot;
  const std::vector<Rental> rentals = terms.cloud_price ? std::vector<Rental>() : rentals_of(offers, tables, job, in.is_strict);

  PriceDays days;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{"machine"}, {"price", right}, {"GPU"}, {"hours a job", right}, {"electricity", right}, {"rent, same card", right},
               {"pays after jobs", right}, {"than the cheapest", right}, {"saves", right}}, {}};
  std::optional<Value> first;
  bool one_runs = false, one_is_in_time = false;
  for (const Named& each : named) {
    auto setup = candidate_of(in, tables, machines, offers, terms, each, assumed);
    if (!setup) return setup.error();
    if (setup->rent) days.add(*setup->rent);
    const auto result = job_payback(*setup, job, rentals, terms, *per_month, *hours, in.is_strict);
    if (!result) {
      if (named.size() == 1) return result.error();
      rows.push(Value::object({{"setup", each.name}, {"gpu", setup->gpu.id}, {"why", result.error().what}}));
      table.rows.push_back({each.name, text_usd(each.usd), setup->gpu.id, "does not run", "", "", "", "", ""});
      continue;
    }
    one_runs = true;
    Usage usage = terms.usage;
    usage.hours_per_month = result->jobs_per_month * result->hours.likely;
    const bool is_in_time = usage.hours_per_month <= kHoursOfMonth;
    one_is_in_time |= is_in_time;
    Value row = as_json(*setup, usage, *result);
    row.set("is_too_slow", !is_in_time);
    table.rows.push_back({each.name, text_usd(each.usd), setup->gpu.id, text_duration(result->hours.likely * 3600), text_usd(result->own_usd),
                          text_usd(result->rent_usd), words(result->jobs), result->cheapest ? words(result->jobs_any) : "-",
                          is_in_time ? text_usd(result->savings())
                                     : "too slow"});
    if (!first) {
      first = row;
      if (named.size() == 1) {
        const bool buys = result->buys() && is_in_time;
        const std::string jobs = fixed(result->jobs_per_month, result->jobs_per_month == std::floor(result->jobs_per_month) ? 0 : 1);
        const std::string over = " over " + std::to_string(usage.months) + " months";
        answer.add(Headline{!is_in_time ? "rent: " + jobs + " jobs of " + text_hours(result->hours) + " are more than a month has for one machine"
                            : buys ? "buy: at " + jobs + " jobs a month it saves " + text_usd(result->savings()) + over
                                   : "rent: at " + jobs + " jobs a month buying does not pay" + over,
                            buys ? Tone::good : Tone::warning});
        answer.add(Paragraph{"a job, " + job.words() + ": " + text_hours(result->hours) + " on " + setup->gpu.name + ", " +
                             text_usd(result->own_usd) + " of electricity"});
        answer.add(Paragraph{"rented on the same card, " + text_rate(setup->usd_per_hour) + ": " + text_usd(result->rent_usd) +
                             "; " + pays_words(result->jobs, result->jobs_per_month)});
        if (result->cheapest)
          answer.add(Paragraph{"rented where it is cheapest, " + qwenplan::words(*result->cheapest) + ": " + cost_words(*result->cheapest) +
                               "; " + pays_words(result->jobs_any, result->jobs_per_month)});
      }
    }
    rows.push(std::move(row));
  }
  if (!one_runs) {
    answer.status = kNo;
    answer.add(Headline{"none of these machines runs " + job.job.words(), Tone::bad});
  } else if (!one_is_in_time) {
    answer.status = kNo;
  }
  if (first)
    for (const char* key : {"verdict", "breakeven_months", "breakeven_months_range", "breakeven_jobs", "jobs_per_month", "savings_usd", "npv_usd", "job", "local", "cloud",
                            "cheapest_rent"})
      answer.json.set(key, *first->find(key));
  answer.json.set("setups", rows);
  answer.rows = std::move(rows);
  if (one_runs && named.size() > 1) {
    answer.add(Headline{"buying against renting for " + job.words() + ", over " + std::to_string(terms.usage.months) + " months"});
    if (!rentals.empty())
      answer.add(Paragraph{"rented where it is cheapest, " + qwenplan::words(rentals.front()) + ": " + cost_words(rentals.front())});
    answer.add(std::move(table));
  }
  if (!rentals.empty()) days.add(rentals.front().offer->as_of);
  if (!terms.watts)
    assumed.push_back("the card draws what 'time' predicts, " + fixed(kHostWatts, 0) + " W beside it, from a supply of 90 % efficiency");
  if (!terms.cloud_price) assumed.push_back("rent of the same card is the middle of the table's offers");
  assumed.push_back("buying has to beat both rents; " + std::string(kPaidFrom));
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

}  // namespace

Result<Answer> roi(const Invocation& in, KnownText known) {
  if (in.uses_guide) return as_the_guide(in);
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto machines = read_machines(*tables);
  if (!machines) return machines.error();
  const auto offers = read_offers(*tables);
  if (!offers) return offers.error();

  if (auto error = refused(in, {"vram", "vram-in-use"}, "money does not depend on it")) return *error;
  Answer answer;
  answer.schema = "qwenplan.roi/1";
  answer.data_as_of = tables->as_of();
  tell_overlay(in, *tables, answer);
  std::vector<std::string> assumed;
  std::unique_ptr<PricedJob> job;
  if (names_job(in)) {
    auto read = read_priced_job(in, *tables, assumed, known);
    if (!read) return read.error();
    job = std::move(*read);
    if (!job->has_hours()) {
      assumed.clear();
      answer.notes.push_back("the job does not change the answer: the hours are given, and any job on the card costs the same; "
                             "--dataset FILE or --tokens N asks for the job's own");
    }
  }

  auto named = read_setups(in);
  if (!named) return named.error();
  if (named->empty())
    for (const Machine& machine : *machines) named->push_back({machine.name, machine.usd()});
  for (const Named& each : *named)
    answer.inputs.push_back({each.name == "machine" ? "hardware_cost_usd" : "setup " + each.name, Value(each.usd),
                             in.has("setup") || in.has("hardware-cost") ? "flag" : "table"});
  auto terms = read_terms(in, answer.inputs, assumed);
  if (!terms) return terms.error();
  if (job && job->has_hours()) {
    job->tell(answer, assumed);
    return of_job(in, *tables, *machines, *offers, *named, *terms, *job, std::move(answer), std::move(assumed));
  }
  if (auto error = refused(in, {"jobs-per-month", "interruptions", "checkpoint-minutes", "restart-minutes"},
                           "without --dataset FILE or --tokens N nobody knows the hours of a job"))
    return *error;

  std::vector<std::pair<std::string, double>> uses;
  const auto hours = in.number("hours-per-month", 0, kHoursOfMonth);
  if (!hours) return hours.error();
  if (in.has("patterns")) {
    if (*hours) return wrong("--patterns has hours of its own", "--hours-per-month", "leave one of them out");
    for (const auto& [name, each] : guide::kUsagePatterns) uses.emplace_back(name, each);
  } else {
    if (!*hours) return no_hours();
    uses.emplace_back("", **hours);
    answer.inputs.push_back({"hours_per_month", Value(**hours), "flag"});
  }

  std::vector<Candidate> setups;
  PriceDays days;
  for (const Named& each : *named) {
    auto setup = candidate_of(in, *tables, *machines, *offers, *terms, each, assumed);
    if (!setup) return setup.error();
    if (setup->rent) days.add(*setup->rent);
    setups.push_back(std::move(*setup));
  }
  if (!terms->watts)
    assumed.push_back("the GPU at its limit and " + fixed(kHostWatts, 0) + " W beside it, from a supply of 90 % efficiency");
  if (!terms->cloud_price)
    assumed.push_back("rent is the middle of the table's offers of the same GPU; hours are the same on a rented one");

  Table table{{{in.has("patterns") ? "use" : ""}, {"machine"}, {"price", Column::Align::right}, {"GPU"},
               {"hours", Column::Align::right}, {"rent", Column::Align::right}, {"electricity", Column::Align::right},
               {"pays after", Column::Align::right}, {"saves", Column::Align::right},
               {"today's value", Column::Align::right}}, {}};
  if (!in.has("patterns")) table.columns.erase(table.columns.begin());
  Value rows = Value::list();
  std::optional<Value> first;
  for (const auto& [pattern, each] : uses) {
    Usage usage = terms->usage;
    usage.hours_per_month = each;
    for (const Candidate& setup : setups) {
      const Payback result = payback(setup.purchase, setup.usd_per_hour, usage);
      Value row = as_json(setup, usage, result);
      if (!first) {
        first = row;
        if (setups.size() == 1 && pattern.empty()) answer.add(headline(setup, usage, result));
      }
      std::vector<std::string> line = cells(setup, usage, result);
      if (in.has("patterns")) {
        row.set("pattern", pattern);
        line.insert(line.begin(), pattern);
      }
      rows.push(std::move(row));
      table.rows.push_back(std::move(line));
    }
  }
  for (const char* key : {"verdict", "breakeven_months", "savings_usd", "npv_usd", "local", "cloud"})
    answer.json.set(key, *first->find(key));
  answer.json.set(in.has("patterns") ? "patterns" : "setups", rows);
  if (answer.blocks.empty())
    answer.add(Headline{"buying against renting the same GPU, over " + std::to_string(terms->usage.months) + " months"});
  answer.add(std::move(table));
  for (const Candidate& setup : setups)
    if (setup.rent && (uses.size() == 1 || setups.size() == 1)) {
      Usage usage = terms->usage;
      usage.hours_per_month = uses.front().second;
      const auto at = [&](double rate) {
        const auto months = payback(setup.purchase, rate, usage).breakeven_months;
        return text_rate(rate) + (months ? ", it pays after " + text_months(months) : ", it never pays");
      };
      answer.add(Paragraph{setup.named.name + ": " + std::to_string(setup.rent->offers) +
                           (setup.rent->is_spot ? " offers, all of which can be interrupted" : " offers") + " of " +
                           setup.gpu.id + "; bought instead of the cheapest, " + at(setup.rent->per_hour.low) + "; instead of the dearest, " +
                           at(setup.rent->per_hour.high)});
    }
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

Result<Answer> roi(const Invocation& in) { return roi(in, nullptr); }

}  // namespace qwenplan::command
