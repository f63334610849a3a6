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

Result<Answer> cloud_strategy(const Invocation&);
Result<Answer> recommend(const Invocation&);
Result<Answer> roi(const Invocation&);

namespace {

constexpr double kHoursOfMonth = 744;
constexpr double kWeeksOfMonth = 52.0 / 12;

/// Settings that a recommendation decides, in the order in which they are shown.
constexpr std::string_view kDecided[] = {"method",    "precision",  "seq-len", "batch",        "grad-accum",
                                         "checkpointing", "optimizer", "loss", "quant",        "double-quant",
                                         "lora-r",    "lora-alpha", "lora-targets", "lora-dropout"};
constexpr std::string_view kOfCard[] = {"gpu", "vram", "vram-in-use"};
constexpr std::string_view kOfSubject[] = {"model", "gpu", "vram", "vram-in-use", "stack", "alloc-conf"};
constexpr std::string_view kOfData[] = {"dataset", "dataset-size", "tokens",      "column",
                                        "tokenizer", "template",   "file-format", "example"};

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

std::string usd_words(const Range<double>& usd) {
  return text_usd(usd.likely) + (usd.low == usd.high ? "" : " (" + text_usd(usd.low) + " to " + text_usd(usd.high) + ")");
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
    if (!is_one_of(kOfData) && name != "epochs" && name != "hours-per-month" && name != "electricity")
      wishes.emplace_back(name, values.back());
  }
  const bool has_card = in.has("gpu");
  if (!has_card && in.has("vram"))
    return Error{Error::Kind::wrong, "a plan needs the card, not its memory alone", "--vram", "give --gpu too, or leave it out"};
  if (!has_card) wishes.emplace_back("goal", "cheapest");
  Flags suggestion;
  if (lengths && !in.has("seq-len")) {
    std::int64_t length = suggested_length(*lengths);
    if (model->model.max_positions > 0) length = std::min(length, model->model.max_positions);
    suggestion.emplace_back("seq-len", std::to_string(length));
  }
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
  if (!has_card && fits) {
    subject.emplace_back("gpu", card_id);
    assumed.push_back("the cheapest card that runs it (--gpu)");
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

  answer.inputs = chosen->inputs;
  if (data) answer.inputs.insert(answer.inputs.end(), data->inputs.begin(), data->inputs.end());

  Value& memory = answer.json.set("memory", Value::object());
  for (const char* key : {"fit", "peak_phase", "device_bytes", "usable_bytes", "headroom_bytes"})
    memory.set(key, at(chosen->json, {"verdict", key}));
  memory.set("run", at(chosen->json, {"run"}));

  Flags explained = subject;
  explained.insert(explained.end(), run.begin(), run.end());
  const Flags of_data = taken(in, kOfData);
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
  Flags loop;
  if (const auto epochs = in.value("epochs")) loop.emplace_back("epochs", *epochs);
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
  std::string rent_words, buy_words, advice;
  Tone tone = Tone::plain;
  if (!hours) {
    cost = Value();
    recommendation.set("action", Value());
    recommendation.set("reason", "without --dataset, --tokens or --dataset-size nobody knows the hours");
  } else if (!card) {
    tell_why(cost, card.error());
    recommendation.set("action", Value());
  } else {
    const double usual = std::min(kHoursOfMonth, hours->likely * kWeeksOfMonth);
    const double monthly = hours_per_month->value_or(usual);
    if (!*hours_per_month)
      assumed.push_back("one such run a week, " + fixed(monthly, 1) + " hours a month (--hours-per-month)");
    cost.set("hours_per_month", monthly);

    Flags paid;
    if (const auto price = in.value("electricity")) paid.emplace_back("electricity", *price);
    const Flags by_the_hour = {{"hours", plain(hours->likely)}};
    const auto ways = cloud_strategy(asked(in, {without_card, {{"gpu", card->gpu.id}}, by_the_hour}));
    if (ways) {
      join(answer, *ways);
      cost.set("rent", members(ways->json, {"options", "best"}));
      if (const auto* options = at(ways->json, {"options"}).as_list())
        for (const Value& option : *options)
          if (words_of(at(option, {"strategy"})) == words_of(at(ways->json, {"best"})))
            if (const auto usd = number(at(option, {"expected_usd"})))
              rent_words = usd_words({*usd * hours->low / hours->likely, *usd, *usd * hours->high / hours->likely}) +
                           ", " + (words_of(at(option, {"strategy"})) == "on_demand" ? "on demand" : words_of(at(option, {"strategy"}))) + " at " + words_of(at(option, {"provider"}));
      explain("rent", "cloud strategy", {without_card, {{"gpu", card->gpu.id}}, by_the_hour});
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
      recommendation.set("action", rent_words.empty() ? Value() : Value("rent"));
      recommendation.set("reason", why);
    } else {
      const Flags bought = {{"gpu", card->gpu.id}, {"hours-per-month", plain(monthly)}, {"setup", "machine=" + fixed(machine.usd, 2)}};
      const auto paid_back = roi(asked(in, {bought, paid}));
      if (paid_back) {
        join(answer, *paid_back);
        Value& buy = cost.set("buy", members(paid_back->json, {"verdict", "breakeven_months", "savings_usd", "npv_usd", "local", "cloud"}));
        Value& parts = buy.set("parts", Value::list());
        parts.push(Value::object({{"name", card->gpu.name}, {"usd", card->gpu.price()->value}}));
        for (const Part* part : machine.parts) parts.push(Value::object({{"name", part->name}, {"usd", part->price.usd}}));
        const auto price = number(at(paid_back->json, {"local", "hardware_usd"}));
        const auto watts = number(at(paid_back->json, {"local", "watts"}));
        double per_kwh = 0;
        for (const Input& input : paid_back->inputs)
          if (input.name == "electricity_usd_per_kwh") per_kwh = number(input.value).value_or(0);
        const double power = electricity_usd(watts.value_or(0), hours->likely, per_kwh);
        cost.set("electricity_usd", Range<double>{power * hours->low / hours->likely, power, power * hours->high / hours->likely});
        const auto months = number(at(paid_back->json, {"breakeven_months"}));
        buy_words = text_usd(price.value_or(0)) + ", and " + text_usd(power) + " of electricity a run; pays after " + text_months(months);
        const bool buys = words_of(at(paid_back->json, {"verdict"})) == "buy";
        recommendation.set("action", buys ? "buy" : "rent");
        advice = buys ? "buy: it pays after " + text_months(months) + " at " + fixed(monthly, 0) + " hours a month"
                      : "rent: at " + fixed(monthly, monthly < 10 ? 1 : 0) + " hours a month a machine " +
                            (months ? "pays after " + text_months(months) : "never pays");
        tone = buys ? Tone::good : Tone::plain;
        recommendation.set("reason", advice);
        if (const auto* list = at(paid_back->json, {"assumed"}).as_list())
          for (const Value& each : *list) assumed.push_back(words_of(each));
        explain("buy", "roi", {bought, paid});
      } else {
        Value& none = cost.set("buy", Value::object());
        tell_why(none, paid_back.error());
        buy_words = paid_back.error().what;
        recommendation.set("action", Value());
        recommendation.set("reason", paid_back.error().what);
      }
    }
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
    show("time", (hours ? text_duration(hours->likely * 3600) + " (" + text_duration(hours->low * 3600) + " to " +
                              text_duration(hours->high * 3600) + "), "
                        : "") + grouped(std::llround(rate->likely)) + " tokens/s", "time");
  if (const auto energy = range(at(timed->json, {"energy_kwh"})))
    show("energy", fixed(energy->likely, 2) + " kWh (" + fixed(energy->low, 2) + " to " + fixed(energy->high, 2) + ") for the card", "time");
  const auto gib = number(at(host->json, {"sufficient_ram_gib"}));
  show("ram", (gib ? plain(*gib) + " GiB suffice: " : "") + bytes_words(at(host->json, {"total_bytes"})), "ram");
  show("disk", bytes_words(at(disk->json, {"total_bytes"})), "storage plan");
  if (!rent_words.empty()) show("rent", rent_words, "cloud strategy");
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
