#include "command/recommend.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/recipe_search.hpp"
#include "command/shop.hpp"
#include "command/step_time.hpp"
#include "command/verdict.hpp"
#include "qwenplan/base/version.hpp"
#include "read/calibration.hpp"
#include "render/quantity.hpp"
#include "render/trainer/configuration.hpp"

namespace qwenplan::command {
namespace {

constexpr std::pair<std::string_view, Goal> kGoals[] = {{"best-quality", Goal::best_quality},
                                                        {"fastest", Goal::fastest},
                                                        {"largest-batch", Goal::largest_batch},
                                                        {"longest", Goal::longest}};

/// What may stand beside a recommendation; everything else it decides, or cannot say.
constexpr std::string_view kTaken[] = {
    "model",     "gpu",           "vram",      "vram-in-use", "stack",  "alloc-conf",
    "goal",      "for",           "method",    "quant",       "double-quant", "precision",
    "seq-len",   "batch",         "grad-accum", "checkpointing", "optimizer", "loss",
    "lora-r",    "lora-alpha",    "effective-batch", "format", "json", "quiet", "color", "strict", "data"};

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

template <class T>
void take(std::optional<T>& wish, const RunDraft::Maybe<T>& given) {
  if (given) wish = given->value;
}

Result<RecipeWish> wish_of(const Invocation& in) {
  for (const auto& [flag, values] : in.given)
    if (std::find(std::begin(kTaken), std::end(kTaken), flag) == std::end(kTaken))
      return wrong("a recommendation does not take --" + flag, "--" + flag,
                   "leave it out; qwenplan vram judges a run with it");
  RecipeWish wish;
  const std::string goal = in.value("goal").value_or("best-quality");
  for (const auto& [name, each] : kGoals)
    if (name == goal) wish.goal = each;
  if (const auto wanted = in.value("for")) {
    const auto release = trainer_release(*wanted);
    if (!release) {
      Error error = release.error();
      error.where = "--for";
      return error;
    }
    wish.trainer = release->trainer;
    if (std::find(std::begin(kWrittenTrainers), std::end(kWrittenTrainers), release->trainer) ==
        std::end(kWrittenTrainers))
      return Error{Error::Kind::unknown,
                   "no configuration is written for " + std::string(name(release->trainer)), "--for",
                   "written: llama-factory, axolotl, trl, torchtune, ms-swift, transformers"};
  }
  const auto draft = read_run(in);
  if (!draft) return draft.error();
  take(wish.method, draft->method);
  take(wish.precision, draft->precision);
  take(wish.double_quantizes, draft->double_quantizes);
  take(wish.length, draft->length);
  take(wish.micro_batch, draft->micro_batch);
  take(wish.accumulation, draft->accumulation);
  take(wish.checkpoints, draft->checkpoints);
  take(wish.optimizer, draft->optimizer);
  take(wish.lora_rank, draft->lora_rank);
  if (draft->lora_alpha) wish.lora_alpha = static_cast<std::int64_t>(draft->lora_alpha->value);
  if (draft->loss) wish.fuses_loss = draft->loss->value != Loss::standard;
  if (draft->quantization) {
    const Quantization quantization = draft->quantization->value;
    if (quantization != Quantization::none && quantization != Quantization::nf4)
      return Error{Error::Kind::unknown,
                   "a recommendation with " + std::string(name(quantization)) + " is not built",
                   "--quant", "nf4 and none are"};
    if (!wish.method && quantization == Quantization::nf4) wish.method = Method::qlora;
  }
  if (wish.method == Method::freeze)
    return Error{Error::Kind::unknown, "a recommendation that freezes layers is not built",
                 "--method", "full, lora and qlora are"};
  if (wish.optimizer == "adamw") wish.optimizer = "adamw-fused";
  if (wish.optimizer && wish.optimizer != "adamw-fused" && wish.optimizer != "adamw-8bit" &&
      wish.optimizer != "paged-adamw-8bit")
    return Error{Error::Kind::unknown,
                 "a recommendation with the optimizer '" + *wish.optimizer + "' is not built",
                 "--optimizer", "adamw-fused, adamw-8bit and paged-adamw-8bit are"};
  const auto batch = in.whole("effective-batch", 1, kMostBatch);
  if (!batch) return batch.error();
  if (*batch) wish.batch = **batch;
  return wish;
}

/// "lora of rank 64, micro-batch 4, no checkpointing"
std::string in_words(const Recipe& recipe) {
  std::string words = std::string(name(recipe.method));
  if (recipe.has_adapters()) words += " of rank " + std::to_string(recipe.lora_rank);
  words += ", " + std::string(name(recipe.precision)) + ", " + recipe.optimizer + ", " +
           std::to_string(recipe.length) + " tokens, micro-batch " +
           std::to_string(recipe.micro_batch);
  if (!recipe.checkpoints) words += ", no checkpointing";
  return words;
}

/// Whether the user decided a setting, by the name of its flag.
bool is_asked(std::string_view flag, const RecipeWish& wish) {
  if (flag == "method") return wish.method.has_value();
  if (flag == "seq-len") return wish.length.has_value();
  if (flag == "batch") return wish.micro_batch.has_value();
  if (flag == "grad-accum") return wish.accumulation.has_value();
  if (flag == "checkpointing") return wish.checkpoints.has_value();
  if (flag == "precision") return wish.precision.has_value();
  if (flag == "optimizer") return wish.optimizer.has_value();
  if (flag == "loss") return wish.fuses_loss.has_value();
  if (flag == "double-quant") return wish.double_quantizes.has_value();
  if (flag == "lora-r") return wish.lora_rank.has_value();
  if (flag == "lora-alpha") return wish.lora_alpha.has_value();
  return false;
}

/// Why each setting is as it is, by the name of its flag; empty where nothing was chosen.
std::string reason(std::string_view flag, const Recipe& recipe, const RecipeWish& wish) {
  if (is_asked(flag, wish)) return "asked for";
  if (flag == "method")
    return wish.goal == Goal::best_quality    ? "best quality: full before lora before qlora"
           : wish.goal == Goal::fastest       ? "the most tokens per second, as predicted"
           : wish.goal == Goal::largest_batch ? "what takes the largest micro-batch"
                                              : "what takes the longest sequence";
  if (flag == "seq-len")
    return wish.goal == Goal::longest     ? "the longest that fits"
           : recipe.length < kUsualLength ? "2048 tokens do not fit (--seq-len)"
                                          : "a usual length (--seq-len)";
  if (flag == "batch") return "the largest that fits, up to the sequences of a step";
  if (flag == "grad-accum")
    return std::to_string(recipe.batch()) + " sequences an optimizer step (--effective-batch)";
  if (flag == "checkpointing")
    return recipe.checkpoints ? "without it the run does not fit"
                              : "it fits without, which saves a second forward";
  if (flag == "precision") return "the first of the formats that fits";
  if (flag == "optimizer")
    return recipe.optimizer == "adamw-fused" ? "the usual one fits" : "states of 32 bits do not fit";
  if (flag == "loss") return recipe.fuses_loss ? "keeps no logits in memory" : "a fused one is not modelled for this model there";
  if (flag == "double-quant") return "0.4 bits a weight less";
  if (flag == "quant") return "the base of qlora";
  if (flag == "lora-r") return "the highest of 16, 32, 64 and 128 that fits";
  if (flag == "lora-alpha") return "twice the rank, a rule of thumb";
  if (flag == "lora-targets") return "adapters on every linear layer learn most";
  if (flag == "lora-dropout") return "saves a copy of each adapter's input";
  return {};
}

Value run_json(const Trial& trial, const RecipeWish& wish) {
  Value run = Value::object();
  const auto add = [&](std::string flag, Value value, std::string_view from, std::string why) {
    run.set(std::move(flag), Value::object({{"value", std::move(value)}, {"from", from}, {"reason", std::move(why)}}));
  };
  for (const RunSetting& setting : trial.plan.valid.settings) {
    const std::string flag(setting.flag);
    const Value value = as_input(setting).value;
    if (std::string why = reason(flag, trial.recipe, wish); !why.empty())
      add(flag, value, is_asked(flag, wish) ? "flag" : "search", std::move(why));
    else if (flag == "loss-kernel")
      add(flag, value, "search", "goes with the loss");
    else if (setting.from == From::trainer)
      add(flag, value, "trainer", "what " + std::string(name(*wish.trainer)) + " does unless told otherwise");
    else if (setting.from == From::by_default)
      add(flag, value, "default", "as transformers and PEFT have it");
    else
      add(flag, value, "search", "goes with the rest");
  }
  add("learning-rate", trial.recipe.learning_rate(), "default",
      "as LLaMA-Factory's examples have it: 1e-4 for adapters, 1e-5 for all weights; no memory depends on it");
  return run;
}

/// What a larger card would allow, the smallest step up of each kind.
struct NextCard {
  Gpu gpu;
  Trial trial;
};
std::vector<NextCard> next_cards(const Tables& tables, const Subject& subject,
                                 const Setup& here, const RecipeWish& wish,
                                 const Calibration& calibration, const std::optional<Trial>& best) {
  std::vector<NextCard> list;
  if (!here.card) return list;
  auto cards = sold_cards(tables);
  if (!cards) return list;
  std::erase_if(*cards, [&](const Gpu& gpu) {
    return gpu.memory.value <= here.card->memory.value || !gpu.price();
  });
  std::stable_sort(cards->begin(), cards->end(), [](const Gpu& a, const Gpu& b) {
    if (a.memory.value != b.memory.value) return a.memory.value < b.memory.value;
    return a.price()->value < b.price()->value;
  });
  const auto is_better = [&](const Trial& other) {
    if (!best) return true;
    if (wish.goal == Goal::longest) return other.recipe.length > best->recipe.length;
    if (wish.goal == Goal::largest_batch)
      return other.recipe.micro_batch > best->recipe.micro_batch;
    if (other.recipe.method != best->recipe.method)
      return other.recipe.method < best->recipe.method;
    return wish.goal == Goal::best_quality ? other.recipe.lora_rank > best->recipe.lora_rank
                                           : other.recipe.micro_batch > best->recipe.micro_batch;
  };
  Bytes tried{};
  for (const Gpu& gpu : *cards) {
    if (gpu.memory.value == tried || list.size() == 2) continue;
    tried = gpu.memory.value;
    Subject other = subject.on(gpu);
    other.vram.reset();
    const Setup setup = setup_of(other);
    auto found = RecipeSearch(setup, wish, calibration).best();
    if (found && is_better(*found)) {
      list.push_back({gpu, std::move(*found)});
      if (best) break;
    }
  }
  return list;
}

std::vector<std::string> remarks_of(const Trial& trial, const Setup& setup) {
  return {"Written by qwenplan " + std::string(kVersion) + " for " + text(trial.plan.draft.trainer->value) +
              " on " + (setup.card ? setup.card->name : "a GPU") + ".",
          headline(setup, trial.plan).text + ".",
          "Learning rate, schedule and data are placeholders; no memory depends on them but on",
          "the length of the data."};
}

}  // namespace

Result<Answer> recommend(const Invocation& in) {
  if (const auto preset = in.value("preset")) {
    if (in.has("for"))
      return wrong("a preset is judged, not written for a trainer", "--for",
                   "leave one of --preset and --for out");
    return recommend_preset(in, *preset);
  }
  const auto wish = wish_of(in);
  if (!wish) return wish.error();
  const bool wants_cheapest = in.value("goal") == "cheapest";
  if (!in.has("gpu") && !in.has("vram") && !wants_cheapest)
    return wrong("no card is given to recommend for", "--gpu",
                 "such as --gpu rtx3060; --goal cheapest finds one");
  if (wants_cheapest && (in.has("gpu") || in.has("vram")))
    return wrong("the cheapest card is what is asked for", "--goal cheapest", "leave --gpu out");
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();
  Invocation asked = in;
  if (wish->trainer) asked.given["trainer"] = {std::string(name(*wish->trainer))};
  auto subject = read_subject(asked, *tables);
  if (!subject) return subject.error();
  if (auto error = not_emulated(*subject)) return *std::move(error);
  if (wish->trainer && subject->model.model.hub_id.empty()) {
    subject->model.model.hub_id = subject->model.model.id;
    subject->notes.push_back("the model's name on the Hub is not known; the configuration has '" +
                             subject->model.model.id + "'");
  }

  Answer answer;
  answer.schema = "qwenplan.recommend/1";
  answer.data_as_of = tables->as_of();
  answer.inputs.push_back({"goal", Value(in.value("goal").value_or("best-quality")),
                           in.has("goal") ? "flag" : "default"});
  if (wish->trainer)
    answer.inputs.push_back({"for", Value(name(*wish->trainer)), "flag"});

  // The cheapest card is the first in order of price on which anything fits.
  std::optional<double> price;
  if (wants_cheapest) {
    auto cards = sold_cards(*tables);
    if (!cards) return cards.error();
    std::erase_if(*cards, [](const Gpu& gpu) { return !gpu.price(); });
    std::stable_sort(cards->begin(), cards->end(), [](const Gpu& a, const Gpu& b) {
      return a.price()->value < b.price()->value;
    });
    for (const Gpu& gpu : *cards) {
      subject->gpu = FoundGpu{gpu, 1, {}, {}};
      const Setup setup = setup_of(*subject);
      RecipeSearch search(setup, *wish, *calibration);
      const bool fits = search.first_of(wish->method.value_or(Method::qlora)).has_value();
      if (search.refused() && !search.nearest() && !fits) return *search.refused();
      if (!fits) continue;
      price = gpu.price()->value;
      break;
    }
    if (!price) subject->gpu.reset();
  }
  answer.inputs.insert(answer.inputs.end(), subject->inputs.begin(), subject->inputs.end());
  answer.notes = subject->notes;
  const Setup setup = setup_of(*subject);
  if (wants_cheapest && !price) {
    answer.status = kNo;
    answer.json.set("run", Value());
    answer.json.set("verdict", Value());
    answer.json.set("alternatives", Value::list());
    answer.add(Headline{"no card of the table runs " + subject->model.model.id, Tone::bad});
    if (wish->trainer) answer.raw = std::string();
    return answer;
  }

  RecipeSearch search(setup, *wish, *calibration);
  std::optional<Trial> best = search.best();
  if (!best && !search.nearest() && search.refused()) return *search.refused();
  if (!best && !search.nearest()) return *search.unwritten();

  const Trial& shown = best ? *best : *search.nearest();
  Value alternatives = Value::list();
  Table others{{{"instead"}, {"verdict"}, {"needs", Column::Align::right}, {"with"}}, {}};
  const auto add_other = [&](const std::string& what, const Trial& trial, Value json) {
    json.set("fit", fit_words(trial.plan.fit));
    json.set("device_bytes", trial.plan.estimate.device);
    json.set("run", in_words(trial.recipe));
    alternatives.push(std::move(json));
    others.rows.push_back({what, fit_words(trial.plan.fit),
                           text(trial.plan.estimate.device), in_words(trial.recipe)});
  };
  for (const Method method : {Method::full, Method::lora, Method::qlora}) {
    if (method == shown.recipe.method || wish->method) continue;
    RecipeSearch again(setup, *wish, *calibration);
    auto other = again.first_of(method);
    if (!other) other = again.nearest();
    if (other)
      add_other("--method " + std::string(name(method)), *other,
                Value::object({{"change", "--method " + std::string(name(method))}}));
  }
  for (NextCard& next : next_cards(*tables, *subject, setup, *wish, *calibration, best))
    add_other(next.gpu.id + ", $" + std::to_string(static_cast<int>(next.gpu.price()->value)),
              next.trial,
              Value::object({{"change", "--gpu " + next.gpu.id},
                             {"gpu", next.gpu.id},
                             {"price_usd", next.gpu.price()->value}}));

  const Plan& plan = shown.plan;
  if (!best) answer.status = kNo;
  answer.notes.insert(answer.notes.end(), plan.valid.notes.begin(), plan.valid.notes.end());
  answer.json.set("run", run_json(shown, *wish));
  answer.json.set("verdict", verdict_json(plan));
  std::optional<Timing> timing;
  if (best && subject->gpu && !not_timed(plan.valid.run)) timing = timed(setup, plan.valid.run, *calibration);
  answer.json.set("time", timing ? time_json(*timing) : Value());
  if (wants_cheapest)
    answer.json.set("card", Value::object({{"gpu", subject->gpu->gpu.id}, {"price_usd", *price}}));
  answer.json.set("alternatives", std::move(alternatives));

  if (wish->trainer) {
    const auto text = configuration(*wish->trainer, shown.recipe, setup.model(),
                                    remarks_of(shown, setup));
    answer.json.set("configuration", best && text ? Value(*text) : Value());
    answer.raw = best && text ? *text : std::string();
    answer.notes.push_back(headline(setup, plan).text);
    if (best) answer.notes.push_back("chosen: " + in_words(shown.recipe));
    for (const auto& row : others.rows)
      answer.notes.push_back("instead " + row[0] + ": " + row[1] + ", needs " + row[2] + ", " + row[3]);
    return answer;
  }
  if (wants_cheapest)
    answer.add(Paragraph{"the cheapest card that runs it: " + subject->gpu->gpu.name + ", $" +
                         std::to_string(static_cast<int>(*price))});
  answer.add(headline(setup, plan));
  if (timing) answer.add(Paragraph{text_rate_of(*timing)});
  Table choices{{{"setting"}, {"because"}}, {}};
  for (const RunSetting& setting : plan.valid.settings) {
    const std::string why = reason(setting.flag, shown.recipe, *wish);
    if (!why.empty()) choices.rows.push_back({as_words(setting), why});
  }
  answer.add(std::move(choices));
  if (!others.rows.empty()) answer.add(std::move(others));
  answer.add(Paragraph{"--for llama-factory, axolotl, trl, torchtune, ms-swift or transformers "
                       "writes it down; --goal fastest, largest-batch, longest or cheapest asks for "
                       "something else",
                       Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
