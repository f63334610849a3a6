#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/dataset_job.hpp"
#include "command/job.hpp"
#include "command/money.hpp"
#include "command/shop.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "read/prices.hpp"
#include "render/quantity.hpp"
#include "render/shell.hpp"

namespace qwenplan::command {

Result<Answer> cloud_strategy(const Invocation&, KnownText);
Result<Answer> recommend(const Invocation&);
Result<Answer> roi(const Invocation&, KnownText);

namespace {

/// Settings that a recommendation decides, in the order in which they are shown.
constexpr std::string_view kDecided[] = {"method",    "precision",  "seq-len", "batch",        "grad-accum",
                                         "checkpointing", "optimizer", "loss", "quant",        "double-quant",
                                         "lora-r",    "lora-alpha", "lora-targets", "lora-dropout"};
constexpr std::string_view kOfCard[] = {"gpu", "vram", "vram-in-use"};
constexpr std::string_view kOfSubject[] = {"model", "gpu", "vram", "vram-in-use", "stack", "alloc-conf"};
constexpr std::string_view kOfData[] = {"dataset", "dataset-size", "tokens",      "column",
                                        "tokenizer", "template",   "file-format", "example"};
constexpr std::string_view kOfLoop[] = {"epochs", "examples", "eval-examples", "saves", "workers", "load-ms"};
constexpr std::string_view kOfMoney[] = {"hours-per-month", "electricity", "deadline", "budget"};

const Value kNull;

/// The member of a member, or null.
const Value& at(const Value& value, std::initializer_list<std::string_view> path) {
  const Value* here = &value;
  for (const std::string_view key : path) {
    here = here->find(key);
    if (!here) return kNull;
  }
  return *here;
}

std::optional<double> number(const Value& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value.data())) return static_cast<double>(*whole);
  if (const auto* real = std::get_if<double>(&value.data())) return *real;
  return std::nullopt;
}

std::optional<Range<double>> range(const Value& value) {
  const auto low = number(at(value, {"low"})), likely = number(at(value, {"likely"})), high = number(at(value, {"high"}));
  if (!low || !likely || !high) return std::nullopt;
  return Range<double>{*low, *likely, *high};
}

std::string bytes_words(const Value& value) {
  const auto bytes = range(value);
  if (!bytes) return "not known";
  const auto whole = [](double each) { return Bytes(static_cast<std::int64_t>(each)); };
  return text(Range<Bytes>{whole(bytes->low), whole(bytes->likely), whole(bytes->high)});
}

std::string words_of(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value.data())) return *text;
  if (const auto* is = std::get_if<bool>(&value.data())) return *is ? "on" : "off";
  const auto one = number(value);
  return one ? plain(*one) : "";
}

/// A word as a shell takes it, in quotes where it needs them.
std::string shell_word(const std::string& word) {
  const bool is_plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-/:=,+@%").find(c) != std::string_view::npos;
  });
  return is_plain ? word : shell_quoted(word);
}

/// Flags with their values, as a command takes them.
using Flags = std::vector<std::pair<std::string, std::string>>;

std::string line_of(const Flags& flags) {
  std::string line;
  for (const auto& [name, value] : flags) {
    line += line.empty() ? "" : " ";
    if (value == "on") line += "--" + name;
    else if (value == "off") line += "--no-" + name;
    else line += "--" + name + " " + shell_word(value);
  }
  return line;
}

template <std::size_t N>
Flags taken(const Invocation& in, const std::string_view (&names)[N]) {
  Flags flags;
  for (const std::string_view name : names)
    if (const auto value = in.value(name)) flags.emplace_back(std::string(name), *value);
  return flags;
}

/// The same question with these flags alone.
Invocation asked(const Invocation& in, const std::vector<Flags>& parts) {
  Invocation other = in;
  other.given.clear();
  for (const Flags& flags : parts)
    for (const auto& [name, value] : flags) other.given[name] = {value};
  return other;
}

void join(Answer& answer, const Answer& part) {
  for (const std::string& note : part.notes)
    if (std::find(answer.notes.begin(), answer.notes.end(), note) == answer.notes.end()) answer.notes.push_back(note);
}

/// The members of an answer that are named, in this order.
Value members(const Value& json, std::initializer_list<const char*> names) {
  Value value = Value::object();
  for (const char* name : names) value.set(name, at(json, {name}));
  return value;
}

/// "$4.10 ($3.60 to $5.20)" of a range, "$4.10" of a number.
std::string usd_words(const Value& usd) {
  if (const auto all = range(usd)) return text_usd(*all);
  const auto one = number(usd);
  return one ? text_usd(*one) : "";
}

/// The card for a job whose hours are known, by what the runs of two years cost: rented by the job
/// where it is cheapest, or in a machine of one's own.
struct CardChoice {
  std::string gpu;  ///< empty: nothing keeps the limits
  std::string why;
  std::vector<std::string> closest;
};

Result<CardChoice> chosen_card(const Tables& tables, PricedJob& job, const std::optional<double>& hours_per_month,
                               double usd_per_kwh, bool is_strict) {
  const auto offers = read_offers(tables);
  if (!offers) return offers.error();
  const auto machines = read_machines(tables);
  if (!machines) return machines.error();
  const auto rentals = rentals_of(*offers, tables, job, is_strict);
  const auto own = machines_for(tables, *machines, job, {}, is_strict);
  if (!own) return own.error();
  const Rental* const rent = !rentals.empty() && rentals.front().is_kept(is_strict) ? &rentals.front() : nullptr;
  const auto runs = [&](const Range<double>& hours) {
    return static_cast<double>(kUsualMonths) * (hours_per_month ? *hours_per_month / hours.likely : kWeeksOfMonth);
  };
  const auto cost_of = [&](const JobMachine& each) {
    const double watts = each.time->watts ? wall_watts(*each.time->watts).likely : 0;
    return each.machine.usd + runs(*each.hours) * electricity_usd(watts, each.hours->likely, usd_per_kwh);
  };
  const JobMachine* buy = nullptr;
  for (const JobMachine& each : *own)
    if (each.is_kept(is_strict) && each.machine.missing.empty() && (!buy || cost_of(each) < cost_of(*buy))) buy = &each;
  CardChoice choice;
  if (!rent && !buy) {
    const Closest closest = closest_of(rentals);
    if (closest.fastest) choice.closest.push_back("the fastest: " + words(*closest.fastest) + ": " + cost_words(*closest.fastest));
    if (closest.cheapest) choice.closest.push_back("the cheapest: " + words(*closest.cheapest) + ": " + cost_words(*closest.cheapest));
    return choice;
  }
  // As often as the rented card would run it, since the hours of a month are those of a card.
  const bool rents = rent && (!buy || runs(rent->work) * rent->usd.likely <= cost_of(*buy));
  choice.gpu = rents ? rent->offer->gpu : buy->buy.gpu.id;
  choice.why = rents ? "the card on which the job is rented for least (--gpu)" : "the card of the machine that is cheapest over two years (--gpu)";
  return choice;
}

void tell_why(Value& json, const Error& error) { json.set("why", error.what + " (" + error.where + "): " + error.hint); }

}  // namespace

Result<Answer> plan(const Invocation& in) {
  if (in.uses_guide)
    return Error{Error::Kind::wrong, "the guide has no plan", "--estimator guide", "its systems are vram, ram, time and roi"};
  const auto hours_per_month = in.number("hours-per-month", 0, kHoursOfMonth);
  if (!hours_per_month) return hours_per_month.error();
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  if (!in.has("model"))
    return Error{Error::Kind::wrong, "no model is given", "--model", "such as --model 7b"};
  const auto model = tables->model(*in.value("model"));
  if (!model) return model.error();

  Answer answer;
  answer.schema = "qwenplan.plan/1";
  answer.data_as_of = tables->as_of();
  std::vector<std::string> assumed;

  if (const auto name = in.value("gpu")) {
    const auto found = tables->gpu(*name);
    if (found && found->count > 1)
      return Error{Error::Kind::unknown, "a plan for several cards is not built", "--gpu", "name one card"};
  }

  // The data, read once for all.
  auto read = read_text_job(in, model->model);
  if (!read) return read.error();
  const std::optional<TextJob>& data = *read;
  const Range<Lengths>* const lengths = data && data->job ? &data->job->data.lengths : nullptr;
  if (data) {
    assumed = data->assumed;
    answer.notes = data->notes;
  }

  // The run.
  Flags wishes;
  for (const auto& [name, values] : in.given) {
    const auto is_one_of = [&name = name](const auto& list) {
      return std::find(std::begin(list), std::end(list), name) != std::end(list);
    };
    if (!is_one_of(kOfData) && !is_one_of(kOfLoop) && !is_one_of(kOfMoney))
      wishes.emplace_back(name, values.back());
  }
  const bool has_card = in.has("gpu");
  const auto limits = read_limits(in, answer.inputs);
  if (!limits) return limits.error();
  const bool has_hours = data || in.has("examples");
  if (!has_hours && limits->any())
    return Error{Error::Kind::wrong, kNoHours,
                 limits->hours ? "--deadline" : "--budget", "tell how much data there is"};
  if (!has_card && in.has("vram"))
    return Error{Error::Kind::wrong, "a plan needs the card, not its memory alone", "--vram", "give --gpu too, or leave it out"};
  const Flags of_data = taken(in, kOfData), loop = taken(in, kOfLoop);
  Flags suggestion;
  if (lengths && !in.has("seq-len")) {
    std::int64_t length = suggested_length(*lengths);
    if (model->model.max_positions > 0) length = std::min(length, model->model.max_positions);
    suggestion.emplace_back("seq-len", std::to_string(length));
  }
  std::string card_why = "the cheapest card that runs it (--gpu)";
  Flags card_found;
  if (!has_card && has_hours) {
    const auto usd_per_kwh = in.number("electricity", 0, 1000);
    if (!usd_per_kwh) return usd_per_kwh.error();
    std::vector<std::string> of_job;
    auto job = read_priced_job(asked(in, {wishes, suggestion, of_data, loop}), *tables, of_job, &data);
    if (!job) return job.error();
    const auto spot = read_spot_terms(asked(in, {}), of_job);
    if (!spot) return spot.error();
    (*job)->spot = *spot;
    (*job)->limits = *limits;
    const auto card = chosen_card(*tables, **job, *hours_per_month, usd_per_kwh->value_or(kElectricity), in.is_strict);
    if (!card) return card.error();
    if (card->gpu.empty()) {
      answer.status = kNo;
      for (const char* part : {"memory", "time", "ram", "storage", "cost"}) answer.json.set(part, Value());
      answer.add(Headline{"nothing does " + (*job)->words() + (limits->any() ? " " + words_of(*limits) : ""), Tone::bad});
      Value& closest = answer.json.set("recommendation", Value::object({{"action", "change"}})).set("closest", Value::list());
      for (const std::string& each : card->closest) {
        answer.add(Paragraph{each});
        closest.push(each);
      }
      tell_assumed(of_job, answer);
      return answer;
    }
    card_found.emplace_back("gpu", card->gpu);
    card_why = card->why;
    const auto& method = (*job)->job.draft.method;
    if (!in.has("method") && method) {
      card_found.emplace_back("method", std::string(name(method->value)));
      assumed.push_back("the method that was compared on all cards, " + std::string(name(method->value)) + " (--method)");
    }
  } else if (!has_card) {
    card_found.emplace_back("goal", "cheapest");
  }
  wishes.insert(wishes.end(), card_found.begin(), card_found.end());
  auto chosen = recommend(asked(in, {wishes, suggestion}));
  bool suggests = !suggestion.empty();
  if (suggests && (!chosen || chosen->status == kNo)) {
    suggests = false;
    chosen = recommend(asked(in, {wishes}));
  }
  if (!chosen) return chosen.error();
  join(answer, *chosen);
  const bool fits = chosen->status != kNo;
  if (!fits) answer.status = kNo;
  const std::string fit = words_of(at(chosen->json, {"verdict", "fit"}));
  if (fit == "tight" && in.is_strict) answer.status = kNo;

  Flags subject = taken(in, kOfSubject), run;
  std::string card_id = words_of(at(chosen->json, {"card", "gpu"}));
  if (!has_card && has_hours) card_id = card_found.front().second;
  if (!has_card && fits) {
    subject.emplace_back("gpu", card_id);
    assumed.push_back(card_why);
  }
  for (const Input& input : chosen->inputs)
    if (input.name == "gpu" && has_card) card_id = words_of(input.value);
  for (const std::string_view name : kDecided) {
    const Value& value = at(chosen->json, {"run", name, "value"});
    if (value.data().index() == 0 || (name == "quant" && words_of(value) == "none")) continue;
    run.emplace_back(std::string(name), words_of(value));
  }
  const auto setting = [&](std::string_view name) -> std::int64_t {
    return static_cast<std::int64_t>(number(at(chosen->json, {"run", name, "value"})).value_or(0));
  };

  answer.inputs.insert(answer.inputs.begin(), chosen->inputs.begin(), chosen->inputs.end());
  if (data) answer.inputs.insert(answer.inputs.end(), data->inputs.begin(), data->inputs.end());

  Value& memory = answer.json.set("memory", Value::object());
  for (const char* key : {"fit", "peak_phase", "device_bytes", "usable_bytes", "headroom_bytes"})
    memory.set(key, at(chosen->json, {"verdict", key}));
  memory.set("run", at(chosen->json, {"run"}));

  Flags explained = subject;
  explained.insert(explained.end(), run.begin(), run.end());
  Value commands = Value::object();
  const auto explain = [&](const char* part, const std::string& command, const std::vector<Flags>& flags) {
    std::string line = "qwenplan " + command;
    for (const Flags& each : flags)
      if (!each.empty()) line += " " + line_of(each);
    commands.set(part, line);
  };
  explain("memory", "vram", {explained});

  using enum Column::Align;
  Table table{{{""}, {""}, {"in full"}}, {}};
  const auto show = [&](const char* what, std::string words, const char* command) {
    table.rows.push_back({what, std::move(words), std::string("qwenplan ") + command});
  };

  if (!fits) {
    for (const char* part : {"time", "ram", "storage", "cost"}) answer.json.set(part, Value());
    const Value& alternatives = at(chosen->json, {"alternatives"});
    answer.json.set("recommendation", Value::object({{"action", "change"}, {"alternatives", alternatives}}));
    answer.json.set("explained_by", std::move(commands));
    for (const Block& block : chosen->blocks)
      if (!std::holds_alternative<Paragraph>(block)) answer.blocks.push_back(block);
    tell_assumed(assumed, answer);
    return answer;
  }

  // Hours.
  const auto timed = time(asked(in, {subject, run, loop}), &data);
  if (!timed) return timed.error();
  join(answer, *timed);
  answer.json.set("time", members(timed->json, {"tokens_per_second", "seconds_per_step", "hours", "energy_kwh", "bound_by",
                                                "epochs"}));
  const auto hours = range(at(timed->json, {"hours"}));
  const auto rate = range(at(timed->json, {"tokens_per_second"}));
  explain("time", "time", {explained, of_data, loop});

  // The machine around the card.
  const auto host = ram(asked(in, {subject, run}), &data);
  if (!host) return host.error();
  answer.json.set("ram", members(host->json, {"total_bytes", "sufficient_ram_gib", "peak_phase", "terms"}));
  explain("ram", "ram", {explained, of_data});
  Flags without_card;
  for (const auto& flag : explained)
    if (std::find(std::begin(kOfCard), std::end(kOfCard), flag.first) == std::end(kOfCard)) without_card.push_back(flag);
  const auto disk = storage_plan(asked(in, {subject, run}), &data);
  if (!disk) return disk.error();
  answer.json.set("storage", members(disk->json, {"total_bytes", "terms"}));
  explain("storage", "storage plan", {explained, of_data});
  for (const Answer* part : {&*host, &*disk})
    if (const auto* list = at(part->json, {"assumed"}).as_list())
      for (const Value& each : *list)
        if (const std::string words = words_of(each); std::find(assumed.begin(), assumed.end(), words) == assumed.end())
          assumed.push_back(words);

  // Money.
  const auto card = tables->gpu(card_id);
  Value cost = Value::object(), recommendation = Value::object();
  std::string rent_words, any_words, buy_words, advice;
  Tone tone = Tone::plain;
  if (!hours) {
    cost = Value();
    recommendation.set("action", Value());
    recommendation.set("reason", "without --dataset, --tokens or --dataset-size nobody knows the hours");
  } else if (!card) {
    tell_why(cost, card.error());
    recommendation.set("action", Value());
  } else {
    const Flags gpu = {{"gpu", card->gpu.id}};
    Flags limit_flags;
    for (const char* flag : {"deadline", "budget"})
      if (const auto value = in.value(flag)) limit_flags.emplace_back(flag, *value);
    const auto ways = cloud_strategy(asked(in, {without_card, gpu, of_data, loop, limit_flags}), &data);
    bool can_rent = false, can_buy = false;
    if (ways) {
      join(answer, *ways);
      cost.set("rent", members(ways->json, {"options", "best"}));
      const std::string best = words_of(at(ways->json, {"best"}));
      can_rent = !best.empty();
      if (const auto* options = at(ways->json, {"options"}).as_list())
        for (const Value& option : *options)
          if (can_rent && words_of(at(option, {"strategy"})) == best)
            rent_words = usd_words(at(option, {"expected_usd"})) + ", " + (best == "on_demand" ? "on demand" : best) + " at " +
                         words_of(at(option, {"provider"}));
      if (!can_rent) rent_words = "nothing " + words_of(*limits) + " on this card";
      explain("rent", "cloud strategy", {without_card, gpu, of_data, loop, limit_flags});
    } else {
      Value& none = cost.set("rent", Value::object());
      tell_why(none, ways.error());
      rent_words = ways.error().what;
    }

    const auto machines = read_machines(*tables);
    if (!machines) return machines.error();
    const auto host_bytes = range(at(host->json, {"total_bytes"})), disk_bytes = range(at(disk->json, {"total_bytes"}));
    HostNeed need;
    if (const auto gib = number(at(host->json, {"sufficient_ram_gib"}))) need.ram_gib = static_cast<std::int64_t>(*gib);
    const auto as_bytes = [](const std::optional<Range<double>>& bytes) {
      if (!bytes) return Range<Bytes>{};
      const auto whole = [](double each) { return Bytes(static_cast<std::int64_t>(each)); };
      return Range<Bytes>{whole(bytes->low), whole(bytes->likely), whole(bytes->high)};
    };
    need.ram = as_bytes(host_bytes);
    need.disk = as_bytes(disk_bytes);
    const Assembly machine = assembled(*machines, card->gpu, need);
    if (!card->gpu.price() || !machine.missing.empty()) {
      Value& none = cost.set("buy", Value::object());
      const std::string why = card->gpu.price() ? "the table has no part for " + listed(machine.missing)
                                                : "the table has no price of " + card->gpu.name;
      none.set("why", why);
      buy_words = why;
      recommendation.set("action", can_rent ? Value("rent") : Value());
      recommendation.set("reason", why);
    } else {
      Flags bought = {{"setup", "machine=" + fixed(machine.usd, 2)}};
      for (const char* flag : {"hours-per-month", "electricity"})
        if (const auto value = in.value(flag)) bought.emplace_back(flag, *value);
      const auto paid_back = roi(asked(in, {without_card, gpu, of_data, loop, bought}), &data);
      if (paid_back) {
        join(answer, *paid_back);
        const auto jobs = number(at(paid_back->json, {"jobs_per_month"})).value_or(0);
        cost.set("hours_per_month", jobs * hours->likely);
        Value& buy = cost.set("buy", members(paid_back->json, {"verdict", "breakeven_jobs", "breakeven_months", "savings_usd", "npv_usd",
                                                               "local", "cloud", "job", "cheapest_rent"}));
        Value& parts = buy.set("parts", Value::list());
        parts.push(Value::object({{"name", card->gpu.name}, {"usd", card->gpu.price()->value}}));
        for (const Part* part : machine.parts) parts.push(Value::object({{"name", part->name}, {"usd", part->price.usd}}));
        const Value& power = at(paid_back->json, {"job", "electricity_usd"});
        cost.set("electricity_usd", power);
        const auto months = number(at(paid_back->json, {"breakeven_months"}));
        const auto jobs_until = number(at(paid_back->json, {"breakeven_jobs", "likely"}));
        buy_words = text_usd(machine.usd) + ", and " + usd_words(power) + " of electricity a run; pays after " +
                    (jobs_until ? grouped(std::llround(std::ceil(*jobs_until))) + " runs, " : "") + text_months(months);
        const Value& any = at(paid_back->json, {"cheapest_rent"});
        if (const std::string provider = words_of(at(any, {"provider"})); !provider.empty())
          any_words = usd_words(at(any, {"job_usd"})) + ", " + words_of(at(any, {"gpu"})) + (words_of(at(any, {"strategy"})) == "spot" ? ", spot" : ", on demand") +
                      " at " + provider;
        can_buy = paid_back->status != kNo && limits->of_usd(Range<double>::exactly(machine.usd)) == Meets::meets &&
                  limits->of_hours(*hours) != Meets::misses;
        const bool buys = can_buy && (!can_rent || words_of(at(paid_back->json, {"verdict"})) == "buy");
        const std::string often = fixed(jobs, jobs < 10 ? 1 : 0) + " runs a month";
        if (buys) {
          advice = "buy: at " + often + " it pays after " + text_months(months);
          if (!can_rent) advice = "buy: no rented machine does it " + words_of(*limits);
        } else if (can_rent) {
          advice = "rent: at " + often + " a machine does not beat " + (any_words.empty() ? "the rent" : "the cheapest rent");
          if (!can_buy) advice = "rent: a machine of one's own does not do it" + (limits->any() ? " " + words_of(*limits) : " in time");
        }
        recommendation.set("action", buys ? Value("buy") : can_rent ? Value("rent") : Value("change"));
        tone = buys ? Tone::good : Tone::plain;
        if (!buys && !can_rent) {
          advice = "neither rent nor purchase does it " + words_of(*limits);
          tone = Tone::bad;
        }
        recommendation.set("reason", advice);
        if (const auto* list = at(paid_back->json, {"assumed"}).as_list())
          for (const Value& each : *list)
            if (const std::string words = words_of(each); std::find(assumed.begin(), assumed.end(), words) == assumed.end())
              assumed.push_back(words);
        explain("buy", "roi", {without_card, gpu, of_data, loop, bought});
      } else {
        Value& none = cost.set("buy", Value::object());
        tell_why(none, paid_back.error());
        buy_words = paid_back.error().what;
        recommendation.set("action", can_rent ? Value("rent") : Value());
        recommendation.set("reason", paid_back.error().what);
      }
    }
    if (limits->any() && !can_rent && !can_buy) answer.status = kNo;
  }
  answer.json.set("cost", std::move(cost));
  answer.json.set("recommendation", std::move(recommendation));

  // One screen.
  for (const Block& block : chosen->blocks)
    if (std::holds_alternative<Headline>(block)) answer.blocks.push_back(block);
  answer.add(Paragraph{"settings: " + line_of(explained)});
  if (lengths) {
    const Epoch epoch = epoch_of(*lengths, setting("seq-len"), setting("batch"), false);
    const Dataset& set = data->job->data;
    answer.json.set("data", Value::object({{"examples", set.examples},
                                           {"tokens", set.tokens()},
                                           {"seq_len", setting("seq-len")},
                                           {"cut_sequences", epoch.cut},
                                           {"padding", epoch.padding}}));
    show("data", grouped(set.examples) + " examples, " + short_count(set.tokens().likely.count()) + " tokens; " +
                     (epoch.cut > 0 ? grouped(epoch.cut) : "none") + " longer than " + grouped(setting("seq-len")), "dataset");
    constexpr std::string_view kOfReading[] = {"column", "tokenizer", "template", "file-format", "example"};
    Flags shape;
    for (const auto& flag : explained)
      if (flag.first == "model" || flag.first == "seq-len" || flag.first == "batch" || flag.first == "grad-accum")
        shape.push_back(flag);
    explain("data", "dataset " + shell_word(*in.value("dataset")), {taken(in, kOfReading), shape});
  }
  show("memory", bytes_words(at(chosen->json, {"verdict", "device_bytes"})) + ", " + fit, "vram");
  if (rate)
    show("time", (hours ? text_hours(*hours) + ", " : "") + grouped(std::llround(rate->likely)) + " tokens/s", "time");
  if (const auto energy = range(at(timed->json, {"energy_kwh"})))
    show("energy", fixed(energy->likely, 2) + " kWh (" + fixed(energy->low, 2) + " to " + fixed(energy->high, 2) + ") for the card", "time");
  const auto gib = number(at(host->json, {"sufficient_ram_gib"}));
  show("ram", (gib ? plain(*gib) + " GiB suffice: " : "") + bytes_words(at(host->json, {"total_bytes"})), "ram");
  show("disk", bytes_words(at(disk->json, {"total_bytes"})), "storage plan");
  if (!rent_words.empty()) show("rent", rent_words, "cloud strategy");
  if (!any_words.empty()) show("", "any card: " + any_words, "cloud compare");
  if (!buy_words.empty()) show("buy", buy_words, "roi");
  answer.add(std::move(table));
  if (!advice.empty()) answer.add(Headline{advice, tone});
  if (!hours) answer.add(Paragraph{"give --dataset FILE, --tokens or --dataset-size for hours and cost", Tone::faint});
  if (suggests) assumed.push_back("--seq-len " + std::to_string(setting("seq-len")) + ", which 99 % of the examples do not exceed");
  answer.json.set("explained_by", std::move(commands));
  tell_assumed(assumed, answer);
  answer.add(Paragraph{"a line in full: the command beside it with these settings; --json has the whole command lines",
                       Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
