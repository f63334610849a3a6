#pragma once

#include <optional>
#include <string>
#include <vector>

#include "command/rental.hpp"

namespace qwenplan {

/// The cheapest way to train a model by a method.
struct TrainingOffer {
  Method method = Method::qlora;
  std::string rung;  ///< flags that step down from the defaults; empty: none
  Rental rental;
};

/// Of the method's defaults and the steps down from them the cheapest that keeps the job's limits, else
/// the cheapest. Nothing where none fits a card, or has a time.
std::optional<TrainingOffer> cheapest_training(const std::vector<OfferedCard>& cards, PricedJob& job, Method method, bool is_strict);

}  // namespace qwenplan
