#include "command/recipe_search.hpp"

#include <algorithm>
#include <utility>

#include "command/step_time.hpp"
#include "qwenplan/judge/search.hpp"
#include "read/trainer/train_file.hpp"
#include "render/trainer/configuration.hpp"

namespace qwenplan {
namespace {

/// Files that a configuration of ours never names.
class Nothing final : public Neighbours {
 public:
  std::optional<std::string> text_of(const std::string&) const override { return std::nullopt; }
};

/// What our script for transformers says beyond the flags.
void add_script(const Recipe& recipe, RunDraft& draft) {
  const DType half = recipe.is_bf16() ? DType::bf16 : DType::fp16;
  const bool is_wide = !recipe.has_adapters() && !recipe.is_pure();
  if (!recipe.is_pure()) settle(draft.weights, is_wide ? DType::fp32 : half);
  settle(draft.attention, recipe.attention);
  if (recipe.checkpoints) settle(draft.checkpoints_reentrant, false);
  if (recipe.fuses_loss) {
    settle(draft.fused_loss, FusedLoss::liger);
    settle(draft.liger_rope, true);
    settle(draft.liger_rms_norm, true);
    settle(draft.liger_glu, true);
  }
  const Trainer trainer = recipe.has_adapters() ? Trainer::peft : Trainer::transformers;
  settle(draft.trainer, TrainerRelease{trainer, latest_version(trainer)});
}

}  // namespace

RunDraft draft_of(const Recipe& recipe) {
  RunDraft draft;
  settle(draft.method, recipe.method);
  settle(draft.precision, recipe.precision);
  settle(draft.length, recipe.length);
  settle(draft.micro_batch, recipe.micro_batch);
  settle(draft.accumulation, recipe.accumulation);
  settle(draft.checkpoints, recipe.checkpoints);
  settle(draft.optimizer, recipe.optimizer);
  settle(draft.loss, recipe.fuses_loss ? Loss::fused : Loss::standard);
  if (recipe.method == Method::qlora) {
    settle(draft.quantization, Quantization::nf4);
    settle(draft.double_quantizes, recipe.double_quantizes);
  }
  if (recipe.has_adapters()) {
    settle(draft.lora_rank, recipe.lora_rank);
    settle(draft.lora_alpha, static_cast<double>(recipe.lora_alpha));
    settle(draft.lora_dropout, 0.0);
    settle(draft.lora_targets, std::vector<std::string>{"all-linear"});
  }
  return draft;
}

std::optional<Trial> RecipeSearch::tried(const Recipe& recipe, Bytes give_up_above) {
  std::optional<Error> refused;
  auto trial = judged(recipe, give_up_above, refused);
  if (!trial && refused && recipe.fuses_loss && !wish_.fuses_loss) {
    // Not every model or trainer has the kernel that keeps no logits.
    Recipe plain = recipe;
    plain.fuses_loss = false;
    std::optional<Error> unneeded;
    trial = judged(plain, give_up_above, unneeded);
  }
  if (!trial && refused && !refused_) refused_ = std::move(refused);
  return trial;
}

std::optional<Trial> RecipeSearch::judged(const Recipe& recipe, Bytes give_up_above, std::optional<Error>& refused) {
  Trial trial{recipe, {}, {}};
  RunDraft draft = draft_of(recipe);
  if (wish_.trainer) {
    auto text = configuration(*wish_.trainer, recipe, setup_.model(), {});
    if (!text) {
      unwritten_ = text.error();
      return std::nullopt;
    }
    trial.configuration = std::move(*text);
    if (*wish_.trainer == Trainer::transformers) {
      add_script(recipe, draft);
    } else {
      auto read = read_train_file(trial.configuration, "recommended.yaml", Nothing(),
                                  {wish_.trainer, {}});
      if (!read || read->unmodelled) {
        refused = read ? *read->unmodelled : read.error();
        return std::nullopt;
      }
      draft = std::move(read->draft);
      const Version version = version_of(read->version).value_or(latest_version(*wish_.trainer));
      draft.trainer = Given<TrainerRelease>{{*wish_.trainer, version}, From::file, {}};
    }
  }
  auto plan = planned(setup_, std::move(draft), setup_.subject.allocator, give_up_above);
  if (!plan) {
    refused = plan.error();
    return std::nullopt;
  }
  trial.plan = std::move(*plan);
  return trial;
}

std::optional<Trial> RecipeSearch::fitting(const Recipe& recipe) {
  auto trial = tried(recipe, most_that_fits(setup_.device));
  if (!trial || trial->plan.valid.run.stops_at_scaler()) return std::nullopt;
  if (!trial->plan.estimate.is_least && trial->plan.fit == Fit::fits) return trial;
  return std::nullopt;
}

std::vector<Method> RecipeSearch::methods() const {
  if (wish_.method) return {*wish_.method};
  return {Method::full, Method::lora, Method::qlora};
}

/// Formats and optimizers of a method, the one with the fewest compromises first.
std::vector<Recipe> RecipeSearch::ladder(Method method, bool checkpoints) const {
  const bool has_bf16 = !setup_.card || setup_.card->has_bf16;
  Recipe recipe;
  recipe.method = method;
  recipe.length = length_;
  recipe.micro_batch = wish_.micro_batch.value_or(1);
  recipe.accumulation = wish_.accumulation.value_or(
      std::max<std::int64_t>(1, wish_.batch / std::max<std::int64_t>(1, recipe.micro_batch)));
  recipe.checkpoints = wish_.checkpoints.value_or(checkpoints);
  recipe.double_quantizes = wish_.double_quantizes.value_or(true);
  recipe.fuses_loss = wish_.fuses_loss.value_or(true);
  // sdpa leaves the cap on Gemma 2's scores out, or is refused.
  if (setup_.model().architecture == Architecture::gemma2) recipe.attention = "eager";
  recipe.lora_rank = wish_.lora_rank.value_or(16);
  recipe.lora_alpha = wish_.lora_alpha.value_or(2 * recipe.lora_rank);
  std::vector<Recipe> list;
  const Precision mixed = has_bf16 ? Precision::bf16_mixed : Precision::fp16_mixed;
  std::vector<Precision> precisions{mixed};
  if (has_bf16) precisions.push_back(Precision::bf16_true);
  if (wish_.precision) precisions = {*wish_.precision};
  for (const Precision precision : precisions)
    for (const char* optimizer : {"adamw-fused", "paged-adamw-8bit"}) {
      if (wish_.optimizer && optimizer != std::string_view("adamw-fused")) continue;
      recipe.precision = precision;
      recipe.optimizer = wish_.optimizer.value_or(optimizer);
      list.push_back(recipe);
    }
  return list;
}

std::optional<Trial> RecipeSearch::first_of(Method method) {
  const std::vector<Recipe> recipes = ladder(method, true);
  for (const Recipe& recipe : recipes)
    if (auto trial = fitting(recipe)) return trial;
  // The last that can be asked at all needs least.
  for (auto recipe = recipes.rbegin(); recipe != recipes.rend(); ++recipe)
    if (auto trial = tried(*recipe)) {
      if (!nearest_ ||
          trial->plan.estimate.device.likely < nearest_->plan.estimate.device.likely)
        nearest_ = std::move(trial);
      break;
    }
  return std::nullopt;
}

void RecipeSearch::raise_rank(Trial& trial) {
  if (!trial.recipe.has_adapters() || wish_.lora_rank) return;
  for (const std::int64_t rank : {128, 64, 32}) {
    Recipe recipe = trial.recipe;
    recipe.lora_rank = rank;
    recipe.lora_alpha = wish_.lora_alpha.value_or(2 * rank);
    if (auto more = fitting(recipe)) {
      trial = std::move(*more);
      return;
    }
  }
}

/// Larger micro-batches make the same step from fewer parts.
void RecipeSearch::raise_batch(Trial& trial) {
  if (wish_.micro_batch || wish_.accumulation) return;
  std::int64_t batch = 1;
  while (batch * 2 <= wish_.batch) batch *= 2;
  for (; batch > trial.recipe.micro_batch; batch /= 2) {
    Recipe recipe = trial.recipe;
    recipe.micro_batch = batch;
    recipe.accumulation = std::max<std::int64_t>(1, wish_.batch / batch);
    if (auto more = fitting(recipe)) {
      trial = std::move(*more);
      return;
    }
  }
}

std::optional<Trial> RecipeSearch::best_quality() {
  for (const Method method : methods()) {
    auto trial = first_of(method);
    if (!trial) continue;
    raise_rank(*trial);
    raise_batch(*trial);
    if (!wish_.checkpoints) {
      Recipe recipe = trial->recipe;
      recipe.checkpoints = false;
      if (auto faster = fitting(recipe)) return faster;
    }
    return trial;
  }
  return std::nullopt;
}

std::optional<Trial> RecipeSearch::fastest() {
  // Fewest operations first: they decide where no time is modelled, or no card is named.
  std::vector<Method> order{Method::lora, Method::qlora, Method::full};
  if (wish_.method) order = {*wish_.method};
  std::optional<Trial> best;
  double most = 0;
  for (const Method method : order)
    for (const bool checkpoints : {false, true}) {
      if (wish_.checkpoints && *wish_.checkpoints != checkpoints) continue;
      for (const Recipe& recipe : ladder(method, checkpoints)) {
        auto trial = fitting(recipe);
        if (!trial) continue;
        raise_batch(*trial);
        const Run& run = trial->plan.valid.run;
        const bool is_timed = setup_.subject.gpu && !not_timed(run);
        const double rate = is_timed ? timed(setup_, run, calibration_).rate.likely : 0;
        if (!best || rate > most) {
          best = std::move(trial);
          most = rate;
        }
        break;
      }
    }
  return best;
}

/// The recipe of a method that needs least, if it fits.
std::optional<Trial> RecipeSearch::leanest_of(Method method) {
  const std::vector<Recipe> recipes = ladder(method, true);
  for (auto recipe = recipes.rbegin(); recipe != recipes.rend(); ++recipe)
    if (auto trial = fitting(*recipe)) return trial;
  return std::nullopt;
}

template <class Change>
std::optional<Trial> RecipeSearch::furthest(std::int64_t first, std::int64_t last,
                                            std::int64_t step, Change&& change) {
  std::optional<Trial> best;
  std::int64_t most = 0;
  for (const Method method : methods()) {
    const auto lean = leanest_of(method);
    if (!lean) continue;
    const auto at = [&](std::int64_t value) {
      Recipe recipe = lean->recipe;
      change(recipe, value);
      return fitting(recipe);
    };
    std::optional<std::int64_t> guess;
    if (setup_.device.usable)
      guess = guessed_limit(first, last, step, setup_.device.usable->value, [&](std::int64_t value) {
        const auto trial = at(value);
        return trial ? std::optional(trial->plan.estimate.device.high) : std::nullopt;
      });
    const Largest limit =
        largest(first, last, step, [&](std::int64_t value) { return at(value).has_value(); }, guess);
    if (!limit.value || (best && *limit.value <= most)) continue;  // a richer method stays
    if (auto trial = at(*limit.value)) {
      best = std::move(trial);
      most = *limit.value;
    }
    if (limit.is_bounded) break;
  }
  return best;
}

std::optional<Trial> RecipeSearch::largest_batch() {
  return furthest(1, 4096, 1, [&](Recipe& recipe, std::int64_t batch) {
    recipe.micro_batch = batch;
    recipe.accumulation = wish_.accumulation.value_or(
        std::max<std::int64_t>(1, (wish_.batch + batch - 1) / batch));
  });
}

std::optional<Trial> RecipeSearch::longest() {
  constexpr std::int64_t kStep = 256;
  const std::int64_t positions =
      setup_.model().max_positions > 0 ? setup_.model().max_positions : 32'768;
  return furthest(kStep, std::max(kStep, positions / kStep * kStep), kStep,
                  [](Recipe& recipe, std::int64_t length) { recipe.length = length; });
}

std::optional<Trial> RecipeSearch::best_of_goal() {
  switch (wish_.goal) {
    case Goal::best_quality:
      return best_quality();
    case Goal::fastest:
      return fastest();
    case Goal::largest_batch:
      return largest_batch();
    case Goal::longest:
      return longest();
  }
  return std::nullopt;
}

std::optional<Trial> RecipeSearch::best() {
  // Shorter sequences only where nobody asked for a length and nothing else helps.
  for (const std::int64_t length : {kUsualLength, kUsualLength / 2, kUsualLength / 4}) {
    length_ = wish_.length.value_or(length);
    if (auto trial = best_of_goal()) return trial;
    if (wish_.length || wish_.goal == Goal::longest) break;
  }
  if (!nearest_)
    for (const Method method : methods())
      if (auto trial = first_of(method)) return trial;
  return std::nullopt;
}

}  // namespace qwenplan
