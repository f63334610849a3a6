#pragma once

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// What a script learns from qwenplan without reading its output.
enum ExitStatus : int {
  kYes = 0,      ///< yes, or the work is done
  kNo = 1,       ///< the answer is no: does not fit, over budget, outside tolerance
  kWrong = 2,    ///< the question was wrong
  kUnknown = 3,  ///< it cannot be told here, or is not modelled
};

constexpr ExitStatus status_of(Error::Kind kind) {
  return kind == Error::Kind::wrong ? kWrong : kUnknown;
}

}  // namespace qwenplan
