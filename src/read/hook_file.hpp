#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "read/measurement.hpp"

namespace qwenplan {

/// What the callback of `qwenplan monitor --hook` has written.
struct HookFile {
  /// The largest of each phase: load, then the first step, then the second and all later ones as
  /// step 2. `device` is absent.
  std::vector<MeasuredPhase> phases;
  std::vector<std::pair<std::string, std::string>> software;
  std::optional<double> seconds_per_step;  ///< of the steps after the second
};

/// A line that broke off, because the program was killed, is passed over.
Result<HookFile> read_hook(const std::string& path);

}  // namespace qwenplan
