#pragma once

#include <string>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/model.hpp"

namespace qwenplan {

/// The names of the layers that a pattern picks by their full names, such as
/// model.layers.0.self_attn.q_proj, or model.language_model.layers... where the tower is loaded: where
/// `target_modules` is one word and no list, PEFT takes it for a pattern that the whole name has to match.
/// Errors: `wrong` for what PEFT stops at, `unknown` for adapters in some of the layers alone or on the
/// tower, and for a pattern that takes too long.
Result<std::vector<std::string>> modules_matching(const std::string& pattern, const Model& model, bool has_tower);

}  // namespace qwenplan
