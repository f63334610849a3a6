#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/money.hpp"
#include "command/shop.hpp"
#include "command/step_time.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "read/calibration.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// The cards that the guide compares, by our ids.
constexpr const char* kGuideCards[] = {"rtx3060-12g", "rtx4060ti-16g", "rtx4070-12g",
                                       "rtx4070ti-12g", "rtx4080-16g", "rtx4090-24g"};

/// What the figures mean, for text and JSON.
constexpr std::pair<const char*, const char*> kDefinitions[] = {
    {"tensor_flops", "dense rate in bf16, or fp16 before Ampere, accumulated in fp32, which training does; GeForce cards run it at "
                     "half their fp16-accumulate rate"},
    {"memory_efficiency", "share of the card's usable memory that the job's best method needs there"},
    {"usd_per_tflops", "price per TFLOP/s of that rate"},
    {"usd_per_gib", "price per GiB"},
    {"score", "that rate, 10 for the fastest card listed"},
    {"tokens_per_second", "of training the job with its best method there, predicted (docs/accuracy.md says how well); null where nothing fits"}};

const std::optional<Sourced<double>>& tensor_rate(const Gpu& gpu) { return gpu.bf16_rate ? gpu.bf16_rate : gpu.fp16_rate; }

Result<std::vector<Gpu>> chosen_cards(const Invocation& in, const Tables& tables) {
  const auto list = in.value("gpus");
  if (list && in.has("gpu"))
    return Error{Error::Kind::wrong, "--gpu and --gpus both name cards", "--gpu, --gpus", "give one of them"};
  if (list == "all") return sold_cards(tables);
  std::vector<std::string> names(std::begin(kGuideCards), std::end(kGuideCards));
  if (const auto one = in.value("gpu")) names = {*one};
  if (list) {
    names = items_of(*list);
    if (names.empty()) return Error{Error::Kind::wrong, "no card is named", "--gpus", "such as --gpus rtx3060,rtx4090, or all"};
  }
  std::vector<Gpu> cards;
  for (const std::string& name : names) {
    const auto found = listed_card(tables, name, list ? "--gpus" : "--gpu");
    if (!found) return found.error();
    if (std::none_of(cards.begin(), cards.end(), [&](const Gpu& gpu) { return gpu.id == found->gpu.id; }))
      cards.push_back(found->gpu);
  }
  return cards;
}

template <class T>
Value value_of(const std::optional<Sourced<T>>& figure) {
  return figure ? Value(figure->value) : Value();
}

}  // namespace

Result<Answer> gpus(const Invocation& in) {
  if (in.uses_guide) return guide_table("qwenplan.gpus/1", guide::kGpus, {guide::GuideSystem::gpus});
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto offers = read_offers(*tables);
  if (!offers) return offers.error();
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();
  const auto cards = chosen_cards(in, *tables);
  if (!cards) return cards.error();

  Answer answer;
  answer.schema = "qwenplan.gpus/1";
  answer.data_as_of = tables->as_of();
  tell_overlay(in, *tables, answer);
  std::vector<std::string> assumed;
  const auto job = read_job(in, *tables, assumed);
  if (!job) return job.error();
  answer.inputs.insert(answer.inputs.end(), job->subject.inputs.begin(), job->subject.inputs.end());
  answer.notes.insert(answer.notes.end(), job->subject.notes.begin(), job->subject.notes.end());
  CardFits fits(*job);

  double fastest = 0;
  for (const Gpu& gpu : *cards)
    if (const auto& rate = tensor_rate(gpu)) fastest = std::max(fastest, rate->value);
  const auto per = [](const std::optional<double>& usd, double amount) {
    return usd && amount > 0 ? std::optional(*usd / amount) : std::nullopt;
  };

  using enum Column::Align;
  Table table{{{"GPU"}, {"memory", right}, {"GB/s", right}, {"TFLOP/s", right}, {"W", right}, {"price", right}, {"rent", right},
               {"$/TFLOP/s", right}, {"score", right}, {"job"}, {"memory used", right}, {"tokens/s", right}}, {}};
  Value rows = Value::list();
  PriceDays days;
  const bool has_street = std::any_of(cards->begin(), cards->end(), [](const Gpu& gpu) { return gpu.price() && !gpu.launch_price; });
  for (const Gpu& gpu : *cards) {
    const auto& rate = tensor_rate(gpu);
    std::optional<double> price, score;
    if (gpu.price()) price = gpu.price()->value;
    if (rate && fastest > 0) score = 10 * rate->value / fastest;
    const auto rent = rent_of(gpu.id, *offers);
    if (rent) days.add(*rent);
    const auto per_tflops = per(price, rate ? rate->value / 1e12 : 0);
    const auto per_gib = per(price, static_cast<double>(gpu.memory.value.count()) / (1024.0 * 1024 * 1024));
    Value row = Value::object({{"gpu", gpu.id},
                               {"name", gpu.name},
                               {"generation", gpu.generation},
                               {"memory_bytes", gpu.memory.value},
                               {"bandwidth_bytes_per_second", gpu.bandwidth.value},
                               {"tensor_flops", value_of(rate)},
                               {"tensor_format", rate ? Value(gpu.bf16_rate ? "bf16" : "fp16") : Value()},
                               {"accumulate", rate ? Value("fp32") : Value()},
                               {"power_watts", value_of(gpu.power)},
                               {"launch_price_usd", value_of(gpu.launch_price)},
                               {"street_price_usd", value_of(gpu.street_price)},
                               {"launch_date", gpu.launch_date.empty() ? Value() : Value(gpu.launch_date)},
                               {"rent_usd_per_hour", rent ? Value(rent->per_hour) : Value()},
                               {"usd_per_tflops", per_tflops},
                               {"usd_per_gib", per_gib},
                               {"score", score}});
    const auto& fit = fits.on(gpu);
    std::string job_words = "not emulated", used = "-", rate_words = "-";
    Value rate_value;
    if (fit) {
      const MemoryEstimate& estimate = fit->estimate();
      const bool runs = fit->fit != Fit::exceeds;
      if (runs) {
        const Subject subject = job->subject.on(gpu);
        const Run& run = fit->best().plan.valid.run;
        if (!not_timed(run)) {
          const Timing timing = timed(setup_of(subject), run, *calibration);
          rate_value = timing.rate;
          rate_words = grouped(std::llround(timing.rate.likely));
        }
      }
      const double share = static_cast<double>(estimate.device.likely.count()) / static_cast<double>(estimate.on.usable->value.count());
      row.set("fit", name(fit->fit));
      row.set("best", runs ? Value(name(fit->best().method)) : Value("none"));
      row.set("rung", fit->best().rung.empty() ? "defaults" : fit->best().rung);
      row.set("device_bytes", estimate.device);
      row.set("memory_efficiency", runs ? Value(share) : Value());
      job_words = !runs ? "none" : fit->words() + (fit->fit == Fit::tight ? ", tight" : "");
      if (runs) used = text_percent(share);
    } else {
      for (const char* key : {"fit", "best", "rung", "device_bytes", "memory_efficiency"}) row.set(key, Value());
      row.set("why", fit.error().what);
    }
    row.set("tokens_per_second", std::move(rate_value));
    rows.push(std::move(row));
    table.rows.push_back({gpu.id, text(gpu.memory.value), fixed(gpu.bandwidth.value / 1e9, 0),
                          rate ? fixed(rate->value / 1e12, 1) : "-", gpu.power ? fixed(gpu.power->value, 0) : "-",
                          price ? "$" + fixed(*price, 0) + (gpu.launch_price ? "" : "*") : "-", rent ? text_rate(rent->per_hour.likely) : "-",
                          per_tflops ? fixed(*per_tflops, 1) : "-", score ? fixed(*score, 1) : "-", job_words, used, rate_words});
  }
  answer.json.set("job", job->words());
  answer.json.set("rows", rows);
  answer.rows = std::move(rows);
  Value& definitions = answer.json.set("definitions", Value::object());
  for (const auto& [key, meaning] : kDefinitions) definitions.set(key, meaning);
  answer.add(Headline{std::to_string(cards->size()) + " cards, and the best method of " + job->words() + " on each"});
  answer.add(std::move(table));
  std::string meanings;
  for (const auto& [key, meaning] : kDefinitions) meanings += (meanings.empty() ? "" : "; ") + std::string(key) + ": " + meaning;
  answer.add(Paragraph{meanings, Tone::faint});
  assumed.push_back("rent is the middle of the table's offers; the price is that at launch, which is not today's"
                    + std::string(has_street ? "; * what dealers asked, on no known day" : ""));
  tell_assumed(assumed, answer);
  days.tell(in.environment.today, answer);
  return answer;
}

}  // namespace qwenplan::command
