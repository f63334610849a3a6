#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"
#include "read/plan_file.hpp"

namespace qwenplan {

inline constexpr std::string_view kMeasurementSchema = "qwenplan.measurement/1";

/// What was seen in one phase of a run. What was not measured is absent.
struct MeasuredPhase {
  std::string phase;  ///< load, prepare, forward, loss, backward, step, save, inference
  std::optional<int> step;
  std::optional<Bytes> allocated;  ///< max_memory_allocated within the phase
  std::optional<Bytes> reserved;   ///< max_memory_reserved within the phase
  std::optional<Bytes> device;     ///< of the process, as nvidia-smi shows it
  std::optional<double> seconds;
};

/// A run that was really done, in the form of docs/measurements.md.
struct Measurement {
  std::string source;  ///< what wrote it: "monitor" or "bench"
  std::string day;     ///< YYYY-MM-DD
  NamedSettings run;   ///< by the names of the flags; empty: nobody said
  std::optional<std::string> gpu;
  std::optional<Bytes> gpu_total;
  std::vector<std::pair<std::string, std::string>> software;  ///< "torch", "2.6.0+cu124"
  std::string status = "ok";                                  ///< "ok", "oom", "failed"

  std::optional<Bytes> allocated;
  std::optional<Bytes> reserved;
  std::optional<Bytes> device;             ///< the process on the GPU, context included
  std::optional<Bytes> host_resident;      ///< RSS of all its processes together
  std::optional<Bytes> host_proportional;  ///< PSS of all its processes together
  std::vector<MeasuredPhase> phases;

  std::optional<double> seconds;           ///< of the whole run
  std::optional<double> seconds_per_step;
  std::optional<double> training_rate;     ///< tokens a second
  std::optional<double> inference_rate;    ///< tokens made a second
};

/// Errors are of kind wrong: no such file, no JSON, another schema, or a figure that is none.
Result<Measurement> read_measurement(const std::string& path);

}  // namespace qwenplan
