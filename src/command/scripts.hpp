#pragma once

#include <string_view>

namespace qwenplan {

/// A callback for Hugging Face's Trainer that writes allocated and reserved bytes by phase.
std::string_view hook_script();

/// A benchmark of load, inference and training step, which writes a measurement.
std::string_view bench_script();

}  // namespace qwenplan
