#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "command/planning.hpp"
#include "qwenplan/describe/recipe.hpp"
#include "qwenplan/describe/trainer.hpp"
#include "qwenplan/estimate/calibration.hpp"

namespace qwenplan {

enum class Goal : unsigned char { best_quality, fastest, largest_batch, longest };

/// Tokens of a sequence where nobody asks for a length, and more than half of it fits.
inline constexpr std::int64_t kUsualLength = 2048;

/// What the user decided; the rest is searched.
struct RecipeWish {
  Goal goal = Goal::best_quality;
  std::optional<Trainer> trainer;  ///< whose configuration it is to be; none: transformers and PEFT
  std::optional<Method> method;
  std::optional<Precision> precision;
  std::optional<bool> double_quantizes;
  std::optional<std::int64_t> length;
  std::optional<std::int64_t> micro_batch;
  std::optional<std::int64_t> accumulation;
  std::optional<bool> checkpoints;
  std::optional<std::string> optimizer;
  std::optional<bool> fuses_loss;
  std::optional<std::int64_t> lora_rank;
  std::optional<std::int64_t> lora_alpha;
  std::int64_t batch = 16;  ///< sequences of an optimizer step, where nothing else decides it
};

/// A recipe that was asked of the engine.
struct Trial {
  Recipe recipe;
  Plan plan;
  std::string configuration;  ///< as the wished trainer's file; empty without one
};

/// Asks the engine for recipes on one card. With a trainer each recipe is written as its file and
/// read back, so that the answer is what `check` says of that file.
class RecipeSearch {
 public:
  RecipeSearch(const Setup& setup, const RecipeWish& wish, const Calibration& calibration)
      : setup_(setup), wish_(wish), calibration_(calibration), length_(wish.length.value_or(kUsualLength)) {}

  /// The best recipe for the goal; nothing if none fits.
  std::optional<Trial> best();
  /// The first recipe of a method that fits, as mild as possible; nothing if none does.
  std::optional<Trial> first_of(Method method);
  /// Where a method does not fit: what needs least of it.
  const std::optional<Trial>& nearest() const { return nearest_; }
  /// Why recipes could not be judged at all, such as a mechanism that is not modelled.
  const std::optional<Error>& refused() const { return refused_; }
  /// Why recipes could not be written for the trainer.
  const std::optional<Error>& unwritten() const { return unwritten_; }

  /// A recipe as the engine sees it, with the model's own loss where the fused one is refused and nobody
  /// asked for it; nothing where trainer or engine refuse it.
  std::optional<Trial> tried(const Recipe& recipe, Bytes give_up_above = Bytes(Saturating::kMax));

 private:
  std::optional<Trial> judged(const Recipe& recipe, Bytes give_up_above, std::optional<Error>& refused);
  std::vector<Recipe> ladder(Method method, bool checkpoints) const;
  std::vector<Method> methods() const;
  std::optional<Trial> fitting(const Recipe& recipe);
  std::optional<Trial> leanest_of(Method method);
  /// The recipe that goes furthest in a number that `change` sets, over all methods.
  template <class Change>
  std::optional<Trial> furthest(std::int64_t first, std::int64_t last, std::int64_t step,
                                Change&& change);
  void raise_rank(Trial& trial);
  void raise_batch(Trial& trial);
  std::optional<Trial> best_of_goal();
  std::optional<Trial> best_quality();
  std::optional<Trial> fastest();
  std::optional<Trial> largest_batch();
  std::optional<Trial> longest();

  const Setup& setup_;
  const RecipeWish& wish_;
  const Calibration& calibration_;
  std::int64_t length_;
  std::optional<Trial> nearest_;
  std::optional<Error> refused_;
  std::optional<Error> unwritten_;
};

/// A recipe as the flags of `vram` would describe it, for transformers and PEFT.
RunDraft draft_of(const Recipe& recipe);

}  // namespace qwenplan
