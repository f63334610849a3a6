#pragma once

#include <vector>

#include "read/measurement.hpp"
#include "render/value.hpp"

namespace qwenplan {

/// A measurement as docs/measurements.md describes it, which `read_measurement` reads back.
Value as_json(const Measurement& measurement);

Value phases_json(const std::vector<MeasuredPhase>& phases);

/// A setting as a value.
Value as_value(const RunSetting::Value& setting);

}  // namespace qwenplan
