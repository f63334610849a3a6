#pragma once

#include <optional>
#include <string>
#include <vector>

#include "command/planning.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// "fits: needs 11.2 GiB (10.9 to 11.9) at backward, NVIDIA GeForce RTX 3060 has 12.0 GiB"
Headline headline(const Setup& setup, const Plan& plan);

/// "fits", or "-" where there is no card.
std::string fit_words(const std::optional<Fit>& fit);

/// The `verdict` of an answer.
Value verdict_json(const Plan& plan);

Value advice_json(const std::vector<Advice>& advice);
Table advice_table(const std::vector<Advice>& advice);

}  // namespace qwenplan
