#pragma once

#include <string>
#include <vector>

#include "cli/environment.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/estimate/calibration.hpp"
#include "read/published.hpp"
#include "read/tables.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// Published runs with a rate as measured steps, in the order of the table; errors of runs that
/// cannot be emulated.
Result<std::vector<MeasuredStep>> published_steps(const std::vector<PublishedRun>& rows, const Tables& tables,
                                                  const Environment& environment);

/// The errors of time by source, fitted without the source: tables for people, `time` for programs.
/// `sources` chooses some; empty: all. True if the means over the sources are what they are held to.
bool tell_time(const std::vector<MeasuredStep>& steps, const std::vector<PublishedRun>& rows, const Efficiency& all,
               const std::vector<std::string>& sources, Answer& answer);

}  // namespace qwenplan
