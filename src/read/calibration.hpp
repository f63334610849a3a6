#pragma once

#include "qwenplan/base/result.hpp"
#include "qwenplan/estimate/calibration.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// The coefficients of calibration.json, overlay applied. Errors are of kind wrong, which only an
/// overlay can have.
Result<Calibration> read_calibration(const Tables& tables);

}  // namespace qwenplan
