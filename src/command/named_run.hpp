#pragma once

#include "cli/environment.hpp"
#include "command/planning.hpp"
#include "read/plan_file.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// Plans a run that is given by the names of the flags, as measurements have it, just as the same
/// command line would be planned. Sizes of the card are passed over: what a run needs does not
/// depend on them. Errors are those of that command line.
Result<Plan> planned(const NamedSettings& run, const Tables& tables, Environment environment);

}  // namespace qwenplan
