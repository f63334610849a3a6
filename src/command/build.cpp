#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/method_plans.hpp"
#include "command/money.hpp"
#include "command/rental.hpp"
#include "command/shop.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr const char* kSchema = "qwenplan.build/1";
using enum Column::Align;

std::string origin(const Price& price) {
  if (price.evidence != Evidence::assumed && !price.as_of.empty()) return price.as_of;
  return price.evidence == Evidence::assumed ? "no source" : "no day";
}

Value as_json(const Price& price) {
  return Value::object({{"usd", price.usd},
                        {"as_of", price.as_of.empty() ? Value() : Value(price.as_of)},
                        {"evidence", name(price.evidence)},
                        {"source", price.source.empty() ? Value() : Value(price.source)}});
}

Value as_json(const Part& part, const std::optional<Price>& launch) {
  Value json = Value::object({{"part", name(part.kind)}, {"name", part.name}});
  if (!part.gpu.empty()) json.set("gpu", part.gpu);
  json.set("price_usd", part.price.usd);
  json.set("price", as_json(part.price));
  json.set("launch_price", launch ? as_json(*launch) : Value());
  return json;
}

/// The price of a card at launch, which is the one that a source dates.
std::optional<Price> launch_price(const Gpu& gpu) {
  if (!gpu.launch_price) return std::nullopt;
  return Price{gpu.launch_price->value, gpu.launch_date, gpu.launch_price->evidence, gpu.launch_price->source};
}

/// What a card that has a price is reckoned at: what it cost at launch, else what dealers asked, on no
/// known day.
Price card_price_of(const Gpu& gpu) {
  if (const auto launch = launch_price(gpu)) return *launch;
  return Price{gpu.price()->value, "", gpu.price()->evidence, gpu.price()->source};
}

std::string words(const std::optional<Price>& launch) {
  return launch ? text_usd(launch->usd) + " in " + (launch->as_of.empty() ? "an unknown year" : launch->as_of.substr(0, 4)) : "";
}

Table power_table(const PartsPower& power) {
  Table table{{{""}, {"", right}}, {}};
  table.rows = {{"graphics card", fixed(power.gpus, 0) + " W"},
                {"CPU at its socket's limit", fixed(power.cpu, 0) + " W"},
                {"board, RAM, disk, fans", fixed(power.others, 0) + " W"},
                {"together", fixed(power.load(), 0) + " W"},
                {"power supply", power.supply() ? fixed(*power.supply(), 0) + " W" : "none is sold"}};
  return table;
}

const char* const kPowerWords =
    "a supply of half as much again as the load, since cards exceed their limit for milliseconds; 75 W for board, RAM, disk "
    "and fans";

/// What the machine can train: each model with its best method on the card.
Result<Value> trains(const Invocation& in, const Tables& tables, const Gpu& gpu, Answer& answer) {
  Value rows = Value::list();
  Table table{{{"model"}, {"best"}, {"needs", right}, {"card has", right}, {""}}, {}};
  std::vector<std::string> models;
  if (const auto model = in.value("model")) models.push_back(*model);
  else models.assign(guide::kMatrixModels.begin(), guide::kMatrixModels.end());
  for (const std::string& model : models) {
    Invocation asked = in;
    asked.given["model"] = {model};
    std::vector<std::string> none;
    const auto job = read_job(asked, tables, none);
    if (!job) return job.error();
    CardFits fits(*job);
    const auto& fit = fits.on(gpu);
    if (!fit) return fit.error();
    Value row = Value::object({{"model", job->subject.model.model.id},
                               {"best", fit->fit == Fit::exceeds ? Value("none") : Value(name(fit->best().method))}});
    const Value on_card = qwenplan::as_json(*fit);
    for (const Value::Member& member : *on_card.as_object()) row.set(member.first, member.second);
    rows.push(std::move(row));
    table.rows.push_back({job->subject.model.model.id, fit->fit == Fit::exceeds ? "nothing" : fit->words(),
                          text(fit->estimate().device.likely), text(fit->estimate().on.usable->value),
                          fit->fit == Fit::tight ? "tight" : ""});
  }
  answer.add(std::move(table));
  return rows;
}

Result<Answer> listed_machines(Answer answer, const std::vector<Machine>& machines) {
  Value rows = Value::list();
  Table table{{{"machine"}, {"GPU"}, {"RAM"}, {"disk"}, {"price", right}}, {}};
  for (const Machine& machine : machines) {
    const auto part = [&](Part::Kind kind) { return machine.part(kind) ? machine.part(kind)->name : std::string("-"); };
    rows.push(Value::object({{"id", machine.id}, {"name", machine.name}, {"budget", machine.budget},
                             {"gpu", machine.part(Part::Kind::gpu) ? Value(machine.part(Part::Kind::gpu)->gpu) : Value()},
                             {"total_usd", machine.usd()}}));
    table.rows.push_back({machine.id, part(Part::Kind::gpu), part(Part::Kind::ram), part(Part::Kind::storage), text_usd(machine.usd())});
  }
  answer.add(Headline{"'qwenplan build entry' shows one; 'qwenplan build --for-job --model 7b' makes one for a job"});
  answer.add(std::move(table));
  answer.json.set("machines", rows);
  answer.rows = std::move(rows);
  return answer;
}

Result<Answer> one_machine(const Invocation& in, const Tables& tables, Answer answer, const Machine& machine) {
  Value parts = Value::list();
  Table table{{{"part"}, {""}, {"price", right}, {"of"}, {"at launch", right}}, {}};
  double unsourced = 0;
  const Part* card = machine.part(Part::Kind::gpu);
  if (!card)
    return Error{Error::Kind::wrong, "the machine has no GPU", "machines.json, " + machine.id, "add a part of kind gpu"};
  const auto gpu = tables.gpu(card->gpu);
  if (!gpu) return gpu.error();
  PriceDays days;
  for (const Part& part : machine.parts) {
    const std::optional<Price> launch = part.kind == Part::Kind::gpu ? launch_price(gpu->gpu) : part.launch_price;
    parts.push(as_json(part, launch));
    const bool is_sourced = part.price.evidence != Evidence::assumed && !part.price.as_of.empty();
    if (is_sourced) days.add(part.price.as_of);
    else unsourced += part.price.usd;
    table.rows.push_back({std::string(name(part.kind)), part.name, text_usd(part.price.usd), origin(part.price), words(launch)});
  }
  const Part* cpu = machine.part(Part::Kind::cpu);
  const Part* psu = machine.part(Part::Kind::psu);
  const PartsPower power = parts_power(gpu->gpu.power ? gpu->gpu.power->value : 0, 1, cpu && cpu->tdp ? *cpu->tdp : 0);
  const auto supply = power.supply();
  const bool is_enough = psu && psu->rating && supply && *psu->rating >= *supply;

  answer.inputs.push_back({"name", Value(machine.id), "flag"});
  answer.json.set("machine", Value::object({{"id", machine.id}, {"name", machine.name}, {"budget", machine.budget}}));
  answer.json.set("parts", parts);
  answer.json.set("total_usd", machine.usd());
  answer.json.set("unsourced_usd", unsourced);
  Value& watts = answer.json.set("power", qwenplan::as_json(power));
  watts.set("listed_supply_watts", psu ? Value(psu->rating) : Value());
  watts.set("is_enough", is_enough);
  answer.rows = std::move(parts);
  answer.add(Headline{machine.name + ": " + text_usd(machine.usd()) +
                      (unsourced > 0 ? ", of which " + text_usd(unsourced) + " are prices without a dated source" : "")});
  answer.add(std::move(table));
  answer.add(power_table(power));
  if (psu)
    answer.add(Paragraph{"the listed supply, " + psu->name + (is_enough ? ", is enough" : ", is too small"),
                         is_enough ? Tone::good : Tone::warning});
  const auto rows = trains(in, tables, gpu->gpu, answer);
  if (!rows) return rows.error();
  answer.json.set("trains", *rows);
  std::vector<std::string> assumed = {kPowerWords};
  if (unsourced > 0)
    assumed.push_back("prices without a source are the guide's; machines.json in a folder of --data replaces them");
  assumed.push_back("length 2048, batch 1, checkpointing, unless flags say otherwise");
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

std::string speed_words(const JobMachine& choice) {
  if (choice.hours) return text_hours(*choice.hours);
  return choice.time ? text_rate_of(choice.time->timing) : std::string();
}

Result<Answer> for_job(const Invocation& in, const Tables& tables, Answer answer, const std::vector<Machine>& machines) {
  std::vector<std::string> assumed;
  auto priced = read_priced_job(in, tables, assumed);
  if (!priced) return priced.error();
  PricedJob& job = **priced;
  if (!job.has_hours())
    if (auto error = refused(in, {"deadline"}, kNoHours)) return *error;
  job.tell(answer, assumed);
  const auto limits = read_limits(in, answer.inputs);
  if (!limits) return limits.error();
  job.limits = *limits;
  std::optional<std::string> card;
  if (const auto text = in.value("gpu")) {
    const auto wanted = tables.gpu(*text);
    if (!wanted) return wanted.error();
    card = wanted->gpu.id;
  }
  const Model& model = job.job.subject.model.model;
  const auto found = machines_for(tables, machines, job, card, in.is_strict);
  if (!found) return found.error();
  const std::vector<JobMachine>& choices = *found;
  const bool wants_best = limits->usd.has_value();
  const auto is_kept = [&](const JobMachine& choice) { return choice.is_kept(in.is_strict); };
  if (choices.empty() || !is_kept(choices.front())) {
    answer.status = kNo;
    answer.json.set("gpu", Value());
    answer.json.set("total_usd", Value());
    if (choices.empty()) {
      answer.add(Headline{"no card with a known price runs " + job.job.words() + " alone", Tone::bad});
    } else {
      answer.add(Headline{"no machine does " + job.words() + " " + words_of(*limits), Tone::bad});
      Value& closest = answer.json.set("closest", Value::object());
      const auto tell = [&](const char* key, const JobMachine& choice) {
        closest.set(key, Value::object({{"gpu", choice.buy.gpu.id}, {"total_usd", choice.machine.usd}, {"hours", choice.hours}}));
        const std::string speed = speed_words(choice);
        answer.add(Paragraph{std::string("the ") + key + ": " + choice.buy.gpu.name + ", " + text_usd(choice.machine.usd) +
                             (speed.empty() ? "" : ", " + speed)});
      };
      const auto with = [&](auto less) { return *std::min_element(choices.begin(), choices.end(), less); };
      if (limits->hours) tell("fastest", with([](const JobMachine& a, const JobMachine& b) { return a.hours->likely < b.hours->likely; }));
      tell("cheapest", with([](const JobMachine& a, const JobMachine& b) { return a.machine.usd < b.machine.usd; }));
    }
    tell_assumed(assumed, answer);
    return answer;
  }
  const JobMachine& chosen = choices.front();
  const Assembly& machine = chosen.machine;
  const Buy* const best = &chosen.buy;
  const HostNeed& need = chosen.need;
  const Price card_price = card_price_of(best->gpu);

  Value parts = Value::list();
  Table table{{{"part"}, {""}, {"price", right}, {"of"}}, {}};
  parts.push(Value::object({{"part", "gpu"}, {"name", best->gpu.name}, {"gpu", best->gpu.id},
                            {"price_usd", card_price.usd}, {"price", as_json(card_price)}}));
  table.rows.push_back({"gpu", best->gpu.name, text_usd(card_price.usd), origin(card_price)});
  for (const Part* part : machine.parts) {
    parts.push(as_json(*part, part->launch_price));
    table.rows.push_back({std::string(name(part->kind)), part->name, text_usd(part->price.usd), origin(part->price)});
  }
  for (const std::string& each : machine.missing) table.rows.push_back({"", each, "not in the table", ""});
  answer.json.set("gpu", best->gpu.id);
  answer.json.set("fit", qwenplan::as_json(best->fit));
  if (chosen.time) {
    answer.json.set("time", time_json(chosen.time->timing));
    answer.json.set("hours", chosen.hours);
    answer.json.set("energy_kwh", chosen.time->kilowatt_hours());
  }
  if (limits->hours) answer.json.set("deadline", name(chosen.deadline));
  answer.json.set("parts", parts);
  answer.json.set("total_usd", machine.usd);
  Value& missing = answer.json.set("missing", Value::list());
  for (const std::string& each : machine.missing) missing.push(each);
  answer.json.set("needs", Value::object({{"ram_bytes", need.ram}, {"ram_gib", need.ram_gib}, {"disk_bytes", need.disk}}));
  answer.json.set("power", qwenplan::as_json(machine.power));
  answer.rows = std::move(parts);
  const bool is_tight = best->fit.fit == Fit::tight || chosen.meets() == Meets::tight;
  answer.add(Headline{(machine.missing.empty() ? text_usd(machine.usd) : "from " + text_usd(machine.usd)) + " with " +
                      best->gpu.name + ": " + best->fit.words() + " of " + model.id + " needs " +
                      text(best->fit.estimate().device) + (best->fit.fit == Fit::tight ? ", tight" : ""),
                      is_tight ? Tone::warning : Tone::good});
  if (const std::string speed = speed_words(chosen); !speed.empty())
    answer.add(Paragraph{job.words() + ": " + speed + (chosen.deadline == Meets::tight ? "; tight: only likely " + words_of(*limits) : "")});
  answer.add(std::move(table));
  answer.add(power_table(machine.power));
  Value& others = answer.json.set("alternatives", Value::list());
  Table other_table{{{"other cards"}, {"memory", right}, {"card", right}, {"machine", right}, {"runs it as"}}, {}};
  const bool shows_speed = chosen.time != nullptr;
  if (shows_speed) other_table.columns.push_back({job.has_hours() ? "hours" : "tokens/s", right});
  for (std::size_t i = 1; i < choices.size() && i < 6; ++i) {
    const JobMachine& choice = choices[i];
    if (limits->any() && !is_kept(choice)) break;
    const Assembly& other = choice.machine;
    const Buy* const buy = &choice.buy;
    Value& row = others.push(Value::object({{"gpu", buy->gpu.id}, {"gpu_usd", buy->gpu.price()->value}, {"total_usd", other.usd},
                                            {"method", name(buy->fit.best().method)}, {"fit", name(buy->fit.fit)}}));
    other_table.rows.push_back({buy->gpu.name, text(buy->gpu.memory.value), text_usd(buy->gpu.price()->value),
                                (other.missing.empty() ? "" : "from ") + text_usd(other.usd),
                                buy->fit.words() + (buy->fit.fit == Fit::tight ? ", tight" : "")});
    if (!shows_speed) continue;
    row.set("hours", choice.hours);
    row.set("tokens_per_second", choice.time ? Value(choice.time->timing.rate) : Value());
    other_table.rows.back().push_back(!choice.time ? "-"
                                      : choice.hours ? text_duration(choice.hours->likely * 3600)
                                                     : grouped(std::llround(choice.time->timing.rate.likely)));
  }
  if (!other_table.rows.empty()) answer.add(std::move(other_table));
  if (wants_best) {
    Invocation any_model = in;
    any_model.given.erase("model");
    any_model.given.erase("gpu");
    const auto rows = trains(any_model, tables, best->gpu, answer);
    if (!rows) return rows.error();
    answer.json.set("trains", *rows);
    assumed.push_back("the best machine for the budget: the best method of " + model.id + ", then the most tokens a second");
  }
  const auto lacking = std::min_element(choices.begin(), choices.end(), [&](const JobMachine& a, const JobMachine& b) {
    const auto cost = [&](const JobMachine& each) { return is_kept(each) && !each.machine.missing.empty() ? each.machine.usd : 1e12; };
    return cost(a) < cost(b);
  });
  if (machine.missing.empty() && !lacking->machine.missing.empty() && is_kept(*lacking) && lacking->machine.usd < machine.usd)
    answer.add(Paragraph{"perhaps cheaper: " + lacking->buy.gpu.name + ", from " + text_usd(lacking->machine.usd) +
                         ", for which the table lacks " + listed(lacking->machine.missing)});
  assumed.push_back("a card costs what it did at launch, or what dealers asked for cards of data centres; other prices are the "
                    "guide's, without a source; machines.json in a folder of --data replaces them");
  assumed.push_back(kPowerWords);
  assumed.push_back("as much disk again as the job itself, for data");
  tell_assumed(assumed, answer);
  PriceDays days;
  days.add(card_price.as_of);
  days.tell(in.environment.today, answer);
  return answer;
}

}  // namespace

Result<Answer> build(const Invocation& in) {
  if (in.uses_guide) {
    const guide::Build* machine = in.words.empty() ? nullptr : guide::build(in.words[0]);
    if (!machine)
      return Error{Error::Kind::wrong, in.words.empty() ? "no machine is named" : "the guide has no machine '" + in.words[0].substr(0, 40) + "'",
                   "build", "one of: entry, mainstream, high-end"};
    Answer answer = guide_table(kSchema, *machine->parts, {guide::GuideSystem::builds});
    Value& list = answer.json.set("capabilities", Value::list());
    for (const std::string_view each : machine->capabilities) {
      list.push(each);
      answer.add(Paragraph{std::string(each)});
    }
    return answer;
  }
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto machines = read_machines(*tables);
  if (!machines) return machines.error();
  Answer answer;
  answer.schema = kSchema;
  answer.data_as_of = tables->as_of();
  tell_overlay(in, *tables, answer);
  for (const char* flag : {"for-job", "budget", "deadline", "dataset", "tokens", "dataset-size", "examples"}) {
    if (!in.has(flag)) continue;
    if (!in.words.empty())
      return Error{Error::Kind::wrong, "--" + std::string(flag) + " finds a machine, and one is named", "build", "leave one of them out"};
    return for_job(in, *tables, std::move(answer), *machines);
  }
  if (auto error = refused(in, {"gpu"}, "a machine of the table has its own card")) return *error;
  if (in.words.empty()) return listed_machines(std::move(answer), *machines);
  const auto machine = machine_named(*tables, *machines, in.words[0]);
  if (!machine) return machine.error();
  if (*machine) return one_machine(in, *tables, std::move(answer), **machine);
  std::string ids;
  for (const Machine& each : *machines) ids += (ids.empty() ? "" : ", ") + each.id;
  return Error{Error::Kind::wrong, "no machine is called '" + in.words[0].substr(0, 40) + "'", "build", "one of: " + ids};
}

}  // namespace qwenplan::command
