#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/money.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/judge/payback.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr double kMostUsd = 1e9;
constexpr double kHoursOfMonth = 744;  // of one with 31 days
constexpr std::int64_t kMostMonths = 600;
constexpr double kElectricity = 0.15;  // US dollars for a kilowatt hour
constexpr double kDiscount = 5;        // per cent of a year
constexpr std::int64_t kMonths = 24;

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
               "such as --hours-per-month 50, or --patterns for 20, 50, 100 and 200; qwenplan plan takes them from a run");
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
  terms.usage.months = months->value_or(kMonths);
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

}  // namespace

Result<Answer> roi(const Invocation& in) {
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
  if (names_job(in))
    answer.notes.push_back("the job does not change the answer: the hours are given, and any job on the card costs the same");
  std::vector<std::string> assumed;

  auto named = read_setups(in);
  if (!named) return named.error();
  if (named->empty())
    for (const Machine& machine : *machines) named->push_back({machine.name, machine.usd()});
  for (const Named& each : *named)
    answer.inputs.push_back({each.name == "machine" ? "hardware_cost_usd" : "setup " + each.name, Value(each.usd),
                             in.has("setup") || in.has("hardware-cost") ? "flag" : "table"});
  auto terms = read_terms(in, answer.inputs, assumed);
  if (!terms) return terms.error();

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

}  // namespace qwenplan::command
