#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run_draft.hpp"

namespace qwenplan {

/// Settings of a run by the names of the flags, as `inputs` of an answer lists them.
using NamedSettings = std::vector<std::pair<std::string, RunSetting::Value>>;

/// The answer of `qwenplan vram --json`, as far as a watcher needs it.
struct PlanFile {
  struct Phase {
    std::string name;  ///< "load", "backward"
    int step = 0;      ///< 1, 2; 0 for load and prepare
    Bytes allocated{};
  };
  NamedSettings inputs;
  Range<Bytes> allocated{};
  Range<Bytes> reserved{};
  Range<Bytes> device{};
  std::vector<Phase> timeline;  ///< never empty
};

/// Errors are of kind wrong: no such file, no JSON, or not the answer of `vram` to a whole question.
Result<PlanFile> read_plan(const std::string& path);

}  // namespace qwenplan
