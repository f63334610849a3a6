#pragma once

/// The version of qwenplan, in one place: CMake reads it from here.
#define QWENPLAN_VERSION_MAJOR 0
#define QWENPLAN_VERSION_MINOR 1
#define QWENPLAN_VERSION_PATCH 0

namespace qwenplan {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace qwenplan
