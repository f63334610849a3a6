#include "command/budget_search.hpp"

#include <algorithm>
#include <map>

#include "qwenplan/describe/valid_run.hpp"

namespace qwenplan {
namespace {

/// A step down on one card.
struct OnCard {
  RunDraft draft;
  std::string rung;
  std::optional<Run> run;  ///< none where it is impossible there
  std::optional<Range<double>> hours;
  std::optional<std::optional<Fit>> fit;  ///< found when it is asked for
};

/// Whether the run fits, emulated no further than it takes to say no.
std::optional<Fit> fit_of(const Job& job, const Gpu& gpu, const RunDraft& draft) {
  const Subject subject = job.subject.on(gpu);
  const Setup setup = setup_of(subject);
  const auto plan = planned(setup, draft, subject.allocator, most_that_is_tight(setup.device));
  if (!plan) return std::nullopt;
  return plan->estimate.is_least ? Fit::exceeds : plan->fit;
}

/// The cheapest way by the n-th rung, asked for in the order of prices, so that few cards are emulated.
std::optional<TrainingOffer> at_rung(std::size_t n, const std::vector<OfferedCard>& cards, PricedJob& job, Method method,
                                const RunDraft& draft, bool is_strict) {
  std::map<std::string, OnCard> known;
  std::vector<std::pair<Rental, const Gpu*>> ways;
  for (const auto& [offer, gpu] : cards) {
    auto found = known.find(gpu.id);
    if (found == known.end()) {
      OnCard on;
      const Subject subject = job.job.subject.on(gpu);
      const Setup setup = setup_of(subject);
      const auto list = rungs(setup, draft);
      if (n < list.size()) {
        on.draft = list[n].draft;
        on.rung = list[n].name;
        if (const auto valid = validated(on.draft, setup.model(), subject.stack, setup.gpu())) on.run = valid->run;
      }
      if (on.run)
        if (const auto time = job.times.of(*on.run, gpu)) on.hours = time->hours();
      found = known.emplace(gpu.id, std::move(on)).first;
    }
    const OnCard& on = found->second;
    if (!on.hours) continue;
    const double checkpoint = checkpoint_hours(job.job.subject.model.model, *on.run);
    for (Rental& rental : ways_to_pay(*offer, Fit::fits, *on.hours, checkpoint, job.spot, job.limits))
      ways.emplace_back(rental, &gpu);
  }
  std::stable_sort(ways.begin(), ways.end(), [](const auto& a, const auto& b) { return is_better(a.first, b.first); });
  for (auto& [rental, gpu] : ways) {
    OnCard& on = known.at(gpu->id);
    if (!on.fit) on.fit = fit_of(job.job, *gpu, on.draft);
    if (!*on.fit || !is_yes(**on.fit, is_strict)) continue;
    rental.fit = **on.fit;
    return TrainingOffer{method, on.rung, rental};
  }
  return std::nullopt;
}

}  // namespace

std::optional<TrainingOffer> cheapest_training(const std::vector<OfferedCard>& cards, PricedJob& job, Method method, bool is_strict) {
  const auto draft = draft_for(method, job.job.draft);
  if (!draft) return std::nullopt;
  std::optional<TrainingOffer> best;
  constexpr std::size_t kRungs = 3;
  for (std::size_t n = 0; n < kRungs; ++n) {
    auto training = at_rung(n, cards, job, method, *draft, is_strict);
    if (training && (!best || is_better(training->rental, best->rental))) best = std::move(training);
  }
  return best;
}

}  // namespace qwenplan
