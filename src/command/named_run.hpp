#pragma once

#include "cli/environment.hpp"
#include "command/planning.hpp"
#include "read/plan_file.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// A run that is given by the names of the flags, as the same command line would have it.
struct NamedRun {
  Subject subject;
  RunDraft draft;
};

struct Measurement;

/// The settings of a measured run. What was seen, its libraries and card, goes before what was planned.
NamedSettings settings_of(const Measurement& measurement);

/// Errors are those of that command line.
Result<NamedRun> named_run(const NamedSettings& run, const Tables& tables, Environment environment);

/// Plans a run that is given by the names of the flags, as measurements have it, just as the same
/// command line would be planned. Sizes of the card are passed over: what a run needs does not
/// depend on them. Errors are those of that command line.
Result<Plan> planned(const NamedSettings& run, const Tables& tables, const Environment& environment);

}  // namespace qwenplan
