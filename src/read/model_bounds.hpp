#pragma once

#include <cstdint>

namespace qwenplan {

/// The largest shapes that are taken from a file: several times what exists, and small enough that
/// a step of them is emulated in bounded time.
inline constexpr std::int64_t kDeepest = 1024;
inline constexpr std::int64_t kWidest = 1 << 20;     ///< hidden size
inline constexpr std::int64_t kWidestFfn = 1 << 22;  ///< intermediate size
inline constexpr std::int64_t kMostHeads = 4096;
inline constexpr std::int64_t kWidestHead = 8192;
inline constexpr std::int64_t kWidestPatch = 256;  ///< pixels, and patches that are merged
inline constexpr std::int64_t kMostWords = 1 << 22;  ///< vocabulary
inline constexpr std::int64_t kMostExperts = 4096;
inline constexpr std::int64_t kLongest = std::int64_t{1} << 31;  ///< positions

}  // namespace qwenplan
