#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/job.hpp"
#include "command/method_plans.hpp"
#include "command/money.hpp"
#include "command/shop.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// One for the trainer, four for data workers, one for the rest.
constexpr std::int64_t kCores = 6;

/// A machine of the table: what it is meant for, and the job that it has to run.
struct Level {
  const char* name;
  std::string purpose;
  Job job;
  bool needs_room;  ///< a tight fit is not enough
};

/// Where no method is named the levels are methods; where one is, they are batches.
std::vector<Level> levels(const Job& job, bool is_strict) {
  std::vector<Level> list;
  const bool has_method = job.draft.method || job.draft.quantization;
  if (!has_method) {
    list.push_back({"minimum", "the job runs, by whatever method", job, is_strict});
    for (const auto& [name, method] : {std::pair{"recommended", Method::lora}, {"optimal", Method::full}})
      if (auto draft = draft_for(method, job.draft)) {
        Job other = job;
        other.draft = std::move(*draft);
        // Left to the rungs, as every method is that nobody names; the others are no answer here.
        list.push_back({name, method == Method::lora ? "LoRA on a base that is not quantized" : "full fine-tuning", std::move(other), true});
      }
    return list;
  }
  const std::int64_t batch = job.draft.micro_batch ? job.draft.micro_batch->value : 1;
  for (const auto& [name, times] : {std::pair{"minimum", 1}, {"recommended", 2}, {"optimal", 4}}) {
    Job other = job;
    other.draft.micro_batch = Given<std::int64_t>{batch * times, From::flag};
    list.push_back({name, "the job at batch " + std::to_string(batch * times), std::move(other), times > 1 || is_strict});
  }
  return list;
}

/// The level's answer: the cheapest card and the machine around it.
struct Spec {
  std::optional<Buy> buy;
  HostNeed need;
  std::optional<PartsPower> power;
};

/// The fit of the level's method alone, through its rungs.
std::optional<CardFit> fit_of_method(const Level& level, const Gpu& gpu, bool has_method) {
  CardFits fits(level.job);
  if (has_method || !level.job.draft.method) {
    const auto& fit = fits.on(gpu);
    return fit ? std::optional(*fit) : std::nullopt;
  }
  const Subject subject = level.job.subject.on(gpu);
  const Setup setup = setup_of(subject);
  auto plan = best_rung(setup, level.job.draft.method->value, level.job.draft);
  if (!plan) return std::nullopt;
  const Fit fit = plan->plan.fit.value_or(Fit::exceeds);
  return CardFit{fit, std::move(*plan)};
}

Spec spec_of(const Level& level, const std::vector<Gpu>& cards, const std::vector<Machine>& machines, bool has_method) {
  Spec spec;
  double cheapest = 0;
  for (const Gpu& gpu : cards) {
    if (!gpu.price() || (spec.buy && gpu.price()->value >= cheapest)) continue;
    auto fit = fit_of_method(level, gpu, has_method);
    if (!fit || !fit->fits(level.needs_room)) continue;
    cheapest = gpu.price()->value;
    spec.buy = Buy{gpu, std::move(*fit)};
  }
  if (!spec.buy) return spec;
  spec.need = host_need(level.job.subject.model.model, spec.buy->fit.best().plan.valid.run, level.job.subject.stack);
  spec.power = assembled(machines, spec.buy->gpu, spec.need).power;
  return spec;
}

}  // namespace

Result<Answer> specs(const Invocation& in) {
  if (in.uses_guide) return guide_table("qwenplan.specs/1", guide::kSpecs, {guide::GuideSystem::specs});
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto machines = read_machines(*tables);
  if (!machines) return machines.error();
  const auto cards = sold_cards(*tables);
  if (!cards) return cards.error();
  if (auto error = refused(in, {"gpu"}, "the card is what is looked for")) return *error;
  Answer answer;
  answer.schema = "qwenplan.specs/1";
  answer.data_as_of = tables->as_of();
  tell_overlay(in, *tables, answer);
  std::vector<std::string> assumed;
  const auto job = read_job(in, *tables, assumed);
  if (!job) return job.error();
  answer.inputs.insert(answer.inputs.end(), job->subject.inputs.begin(), job->subject.inputs.end());
  answer.notes.insert(answer.notes.end(), job->subject.notes.begin(), job->subject.notes.end());

  const bool has_method = job->draft.method || job->draft.quantization;
  Table table{{{""}}, {{"for"}, {"method"}, {"GPU"}, {"memory"}, {"it needs"}, {"RAM"}, {"disk"}, {"CPU"}, {"power supply"}}};
  Value rows = Value::list();
  for (const Level& level : levels(*job, in.is_strict)) {
    const Spec spec = spec_of(level, *cards, *machines, has_method);
    table.columns.push_back({level.name});
    if (!spec.buy) {
      rows.push(Value::object({{"level", level.name}, {"purpose", level.purpose}, {"gpu", Value()},
                               {"why", "no single card of the table with a price runs it"}}));
      const std::string cells[] = {level.purpose, "no card runs it", "-", "-", "-", "-", "-", "-", "-"};
      for (std::size_t i = 0; i < table.rows.size(); ++i) table.rows[i].push_back(cells[i]);
      continue;
    }
    const Gpu& gpu = spec.buy->gpu;
    const MemoryEstimate& estimate = spec.buy->fit.estimate();
    const auto disk = sufficient_disk(spec.need);
    const auto supply = gpu.power ? spec.power->supply() : std::nullopt;
    rows.push(Value::object({{"level", level.name},
                             {"purpose", level.purpose},
                             {"method", name(spec.buy->fit.best().method)},
                             {"rung", spec.buy->fit.best().rung.empty() ? "defaults" : spec.buy->fit.best().rung},
                             {"gpu", gpu.id},
                             {"gpu_usd", gpu.price()->value},
                             {"gpu_price_of", gpu.launch_price ? "launch" : "dealers"},
                             {"fit", name(spec.buy->fit.fit)},
                             {"vram_bytes", gpu.memory.value},
                             {"device_bytes", estimate.device},
                             {"ram_bytes", spec.need.ram},
                             {"ram_gib", spec.need.ram_gib},
                             {"job_disk_bytes", spec.need.disk},
                             {"disk_bytes", disk},
                             {"cpu_cores", kCores},
                             {"power", as_json(*spec.power)},
                             {"psu_watts", supply}}));
    const std::string cells[] = {level.purpose,
                                 spec.buy->fit.words(),
                                 gpu.name,
                                 text(gpu.memory.value),
                                 text(estimate.device) + (spec.buy->fit.fit == Fit::tight ? ", tight" : ""),
                                 spec.need.ram_gib ? std::to_string(*spec.need.ram_gib) + " GiB" : "more than 2 TiB",
                                 disk ? text_disk(*disk) + " NVMe" : "more than 8 TB",
                                 std::to_string(kCores) + " cores",
                                 supply ? fixed(*supply, 0) + " W" : "not known"};
    for (std::size_t i = 0; i < table.rows.size(); ++i) table.rows[i].push_back(cells[i]);
  }
  answer.json.set("job", job->words());
  answer.json.set("rows", rows);
  answer.rows = std::move(rows);
  answer.add(Headline{"machines for " + job->words()});
  answer.add(std::move(table));
  assumed.push_back("of the cards that fit, the one with the lowest price: that at launch, or for cards of data centres what dealers asked");
  if (!has_method) assumed.push_back("length 2048, batch 1, checkpointing, unless flags say otherwise");
  assumed.push_back("six cores: trainer, four data workers, the rest; as much disk again as the job itself, for data");
  assumed.push_back("a supply of half as much again as card, a CPU of 65 W TDP at its socket's limit, and 75 W for the rest");
  tell_assumed(assumed, answer);
  return answer;
}

}  // namespace qwenplan::command
