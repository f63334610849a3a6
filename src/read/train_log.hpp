#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// What a trainer's own log says of its speed.
struct TrainLog {
  double seconds_per_step = 0;  ///< of optimizer steps, with what the trainer counts besides
  std::int64_t steps = 0;
};

/// Reads the `trainer_state.json` of transformers' Trainer: its last entry has the run's time, in
/// which evaluation and saving are counted too. Nothing if the file is none; errors are of kind wrong.
Result<std::optional<TrainLog>> read_train_log(const std::string& path);

}  // namespace qwenplan
