#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/flags.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/planning.hpp"
#include "command/verdict.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "read/speeds.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// Work of the linear layers and the head on one token of a training step, in FLOP: 2 for each
/// weight in forward, 2 in backward to the inputs, 2 to the weights where they are trained, and the
/// layers' forward once more with checkpointing. Attention's products come on top, so that a step
/// takes at least this.
double work_per_token(const Model& model, Method method, bool checkpoints) {
  const ModelParameters parts = model_parameters(model);
  const auto layers = static_cast<double>((parts.layers.attention + parts.layers.mlp).count());
  const auto head = static_cast<double>(model.vocabulary) * static_cast<double>(model.hidden);
  const double passes = method == Method::full ? 6 : 4;
  return passes * (layers + head) + (checkpoints ? 2 * layers : 0);
}

/// Matrix rate of a card in the 16-bit format that training would use there, in FLOP/s.
std::optional<double> matrix_rate(const Gpu& gpu) {
  const auto& rate = gpu.has_bf16 ? gpu.bf16_rate : gpu.fp16_rate;
  return rate ? std::optional(rate->value) : std::nullopt;
}

/// A published speed with the share of the card's matrix rate that its linear layers took.
struct Known {
  PublishedSpeed speed;
  Model model;
  double share = 0;
};

Result<std::vector<Known>> known_speeds(const Tables& tables) {
  const auto speeds = read_speeds();
  if (!speeds) return speeds.error();
  std::vector<Known> known;
  for (const PublishedSpeed& speed : *speeds) {
    const auto model = tables.model(speed.model);
    if (!model) return model.error();
    const auto gpu = tables.gpu(speed.gpu);
    if (!gpu) return gpu.error();
    const auto rate = matrix_rate(gpu->gpu);
    if (!rate) continue;
    known.push_back({speed, model->model,
                     speed.rate * work_per_token(model->model, speed.method, speed.checkpoints) / *rate});
  }
  return known;
}

/// The run of the same method whose model is nearest in size; of several the one that used its card
/// best.
const Known* nearest(const std::vector<Known>& known, Method method, const Model& model) {
  const auto size = [](const Model& each) {
    return std::log(static_cast<double>(model_parameters(each).total().count()));
  };
  const Known* best = nullptr;
  double distance = 0;
  for (const Known& each : known) {
    if (each.speed.method != method) continue;
    const double off = std::abs(size(each.model) - size(model));
    if (!best || off < distance - 1e-9 || (off < distance + 1e-9 && each.share > best->share)) {
      best = &each;
      distance = off;
    }
  }
  return best;
}

double number_in(std::string_view text) {
  std::string digits;
  for (const char c : text)
    if ((c >= '0' && c <= '9') || c == '.') digits += c;
  double number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

Method method_of(std::string_view text) {
  return text == "Full FT" ? Method::full : text == "LoRA" ? Method::lora : Method::qlora;
}

Result<Subject> subject_of(const Tables& tables, std::string_view model, std::string_view gpu) {
  Subject subject;
  auto found = tables.model(model);
  if (!found) return found.error();
  subject.model = std::move(*found);
  auto card = tables.gpu(gpu);
  if (!card) return card.error();
  subject.gpu = std::move(*card);
  return subject;
}

/// "RTX 4070 Ti 12GB" by its id in the table of GPUs.
Result<std::string> gpu_id(std::string_view name) {
  const auto columns = guide::kMatrix.columns();
  for (std::size_t i = 0; i < guide::kMatrixGpus.size(); ++i)
    if (columns[i + 1] == name) return std::string(guide::kMatrixGpus[i]);
  return Error{Error::Kind::unknown, "no row for '" + std::string(name) + "'", "--table", "gpus.json"};
}

std::string percent(double share) { return fixed(share * 100, 0) + " %"; }

Result<Answer> speed_table(const Tables& tables) {
  const auto known = known_speeds(tables);
  if (!known) return known.error();
  Answer answer;
  Value rows = Value::list();
  using enum Column::Align;
  Table table{{{"run on an RTX 3060"}, {"guide", right}, {"of the card's peak", right}, {"memory"}}, {}};
  Table measured{{{"run"}, {"nearest published"}, {"measured", right}, {"of its peak", right}, {"same share here", right}},
                 {}};
  for (std::size_t i = 0; i < guide::kSpeed.rows(); ++i) {
    const auto cells = guide::kSpeed.row(i);
    const auto subject = subject_of(tables, cells[0], "rtx3060-12g");
    if (!subject) return subject.error();
    const Setup setup = setup_of(*subject);
    const Method method = method_of(cells[1]);
    RunDraft draft;
    draft.method = Given<Method>{method, From::file};
    draft.micro_batch = Given<std::int64_t>{static_cast<std::int64_t>(number_in(cells[2])), From::file};
    draft.length = Given<std::int64_t>{static_cast<std::int64_t>(number_in(cells[3])), From::file};
    const auto best = best_rung(setup, method, draft);
    if (!best) return best.error();
    const Plan& plan = best->plan;

    const double said = number_in(cells[4]);
    const double work = work_per_token(setup.model(), method, true);
    const auto rate = matrix_rate(*setup.gpu());
    if (!rate) return Error{Error::Kind::unknown, "the table does not know the matrix rate of this card", "gpus.json",
                   "qwenplan data show rtx3060-12g"};
    const Known* other = nearest(*known, method, setup.model());
    const std::string run = std::string(cells[0]) + " " + std::string(cells[1]) + ", " + std::string(cells[2]) + " x " +
                            std::string(cells[3]);
    const double here = other ? other->share * *rate / work : 0;
    rows.push(Value::object(
        {{"model", setup.model().id},
         {"method", name(method)},
         {"batch", plan.valid.run.micro_batch},
         {"seq_len", plan.valid.run.length},
         {"gpu", "rtx3060-12g"},
         {"guide_tokens_per_second", said},
         {"guide_memory", cells[6]},
         {"tokens_per_second", Value()},
         {"flop_per_token", work},
         {"share_of_peak", said * work / *rate},
         {"fit", fit_words(plan.fit)},
         {"rung", best->rung.empty() ? "defaults" : best->rung},
         {"device_bytes", plan.estimate.device},
         {"nearest", other ? Value::object({{"id", other->speed.id},
                                            {"model", other->speed.model},
                                            {"gpu", other->speed.gpu},
                                            {"batch", other->speed.micro_batch},
                                            {"seq_len", other->speed.length},
                                            {"tokens_per_second", other->speed.rate},
                                            {"share_of_peak", other->share},
                                            {"same_share_here_tokens_per_second", here},
                                            {"source", other->speed.source}})
                           : Value()}}));
    table.rows.push_back({run, std::string(cells[4]) + " tokens/s", percent(said * work / *rate),
                          fit_words(plan.fit) + ": " + text(plan.estimate.device) + ", guide " + std::string(cells[6])});
    if (other)
      measured.rows.push_back({run, other->speed.model + " on " + other->speed.gpu + " (" + other->speed.id + ")",
                               grouped(std::llround(other->speed.rate)) + " tokens/s", percent(other->share),
                               grouped(std::llround(here)) + " tokens/s"});
  }
  answer.add(Headline{"the guide's speeds of an RTX 3060 beside what was measured"});
  answer.add(std::move(table));
  answer.add(Paragraph{"of the peak: the linear layers and the head alone, with checkpointing as the guide configures it; "
                       "over 100 % no such card can do it"});
  answer.add(std::move(measured));
  answer.add(Paragraph{"same share here: what the RTX 3060 would do if it used as much of its matrix rate; an orientation, no "
                       "prediction: lengths, batches and kernels differ",
                       Tone::faint});
  answer.json.set("rows", std::move(rows));
  return answer;
}

Result<Answer> comparative_table(const Tables& tables) {
  Answer answer;
  Value rows = Value::list(), flat = Value::list();
  using enum Column::Align;
  Table table{{{"GPU"}, {"job"}, {"guide", right}, {"matrix rate", right}, {"bandwidth", right}, {"USD/TFLOPS", right}, {"memory"}}, {}};
  const auto first = tables.gpu("rtx3060-12g");
  if (!first) return first.error();
  for (std::size_t i = 0; i < guide::kComparative.rows(); ++i) {
    const auto cells = guide::kComparative.row(i);
    const auto id = gpu_id(cells[0]);
    if (!id) return id.error();
    const auto subject = subject_of(tables, cells[1], *id);
    if (!subject) return subject.error();
    const Setup setup = setup_of(*subject);
    RunDraft draft;
    draft.method = Given<Method>{Method::full, From::file};
    const auto best = best_rung(setup, Method::full, draft);
    if (!best) return best.error();
    const Gpu& gpu = *setup.gpu();
    const auto rate = matrix_rate(gpu), base = matrix_rate(first->gpu);
    if (!rate || !base)
      return Error{Error::Kind::unknown, "the table does not know the matrix rate of " + gpu.name, "gpus.json",
                   "qwenplan data show " + gpu.id};
    const double matrix = *rate / *base;
    const double bandwidth = gpu.bandwidth.value / first->gpu.bandwidth.value;
    const double price = gpu.launch_price ? gpu.launch_price->value / (*rate / 1e12) : 0;
    const MemoryEstimate& estimate = best->plan.estimate;
    rows.push(Value::object({{"gpu", *id},
                             {"model", setup.model().id},
                             {"method", "full"},
                             {"guide_relative_speed", number_in(cells[3])},
                             {"tokens_per_second", Value()},
                             {"relative_matrix_rate", matrix},
                             {"relative_bandwidth", bandwidth},
                             {"launch_usd_per_tflops", price > 0 ? Value(price) : Value()},
                             {"fit", fit_words(best->plan.fit)},
                             {"rung", best->rung.empty() ? "defaults" : best->rung},
                             {"device_bytes", estimate.device}}));
    table.rows.push_back({std::string(cells[0]), std::string(cells[1]) + ", full", std::string(cells[3]),
                          fixed(matrix, 1) + "x", fixed(bandwidth, 1) + "x", price > 0 ? fixed(price, 1) : "-",
                          fit_words(best->plan.fit) + ": " + text(estimate.device) + " of " + text(estimate.on.usable->value)});
  }
  answer.add(Headline{"the guide's five cards beside their rates, and whether its jobs fit them"});
  answer.add(std::move(table));
  answer.add(Paragraph{"a step lies between the two ratios if it fits: compute-bound runs follow the matrix rate (16 bits, "
                       "fp32 accumulate), small batches the bandwidth. USD at launch. Two models on two cards do not compare.",
                       Tone::faint});
  answer.json.set("rows", std::move(rows));
  return answer;
}

}  // namespace

Result<Answer> time(const Invocation& in) {
  const auto which = in.value("table");
  if (!which)
    return Error{Error::Kind::unknown, "the time of a step is not modelled yet", "time",
                 "qwenplan time --table speed shows published measurements; qwenplan bench --script measures"};
  for (const std::span<const Flag> flags : {subject_flags(), run_flags(), parallel_flags(), time_flags()})
    for (const Flag& flag : flags)
      if (flag.name != "table" && in.has(flag.name))
        return Error{Error::Kind::wrong, "the rows of the table are the guide's own", "--" + std::string(flag.name),
                     "leave it out"};
  const bool is_speed = *which == "speed";
  if (in.uses_guide)
    return guide_table("qwenplan.time/1", is_speed ? guide::kSpeed : guide::kComparative,
                       {is_speed ? guide::GuideSystem::speed : guide::GuideSystem::comparative});
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  auto answer = is_speed ? speed_table(*tables) : comparative_table(*tables);
  if (!answer) return answer.error();
  answer->schema = "qwenplan.time/1";
  answer->data_as_of = tables->as_of();
  answer->inputs.push_back({"table", Value(*which), "flag"});
  return answer;
}

}  // namespace qwenplan::command
