#pragma once

#include <optional>
#include <string>

#include "command/planning.hpp"
#include "qwenplan/estimate/calibration.hpp"
#include "qwenplan/estimate/roofline.hpp"
#include "render/value.hpp"

namespace qwenplan {

/// The time of one optimizer step of a run on a card.
struct Timing {
  StepWork work;
  StepTime step;           ///< likely; what the card's own measurements say is in it
  Range<double> seconds{}; ///< of a step
  Range<double> rate{};    ///< tokens per second, padding included
  double forward_share = 0;
  bool is_calibrated = false;  ///< by the user's own steps on this card
};

/// What of a run no time is modelled for: an error of kind unknown, if anything.
std::optional<Error> not_timed(const Run& run);

/// What of a run no measured time was compared with, in words; empty if nothing.
std::string not_compared(const Run& run, const Model& model);

/// The work of a run, emulated.
StepWork work_of(const Setup& setup, const Run& run);

/// `waits` seconds for batches come on top of each step.
Timing timed(const StepWork& work, const Gpu& gpu, const Calibration& calibration, double waits = 0);

/// The same of a run on the card of a setup; it has to have one.
Timing timed(const Setup& setup, const Run& run, const Calibration& calibration);

/// `{tokens_per_second, seconds_per_step, bound_by}`, for commands that answer more than time.
Value time_json(const Timing& timing);

/// "1,240 tokens/s (870 to 1,420)".
std::string text_rate_of(const Timing& timing);

/// A published run as a measured step; none if it has no rate or cannot be emulated, and why.
struct PublishedRun;
Result<std::optional<MeasuredStep>> measured_step(const PublishedRun& run, const Tables& tables,
                                                  const Environment& environment);

}  // namespace qwenplan
