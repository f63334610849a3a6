#pragma once

#include "qwenplan/base/quantity.hpp"

namespace qwenplan::literals {

constexpr Bytes operator""_B(unsigned long long n) { return Bytes(static_cast<std::int64_t>(n)); }
constexpr Bytes operator""_KiB(unsigned long long n) { return Bytes(1024) * static_cast<std::int64_t>(n); }
constexpr Bytes operator""_MiB(unsigned long long n) { return Bytes(1024 * 1024) * static_cast<std::int64_t>(n); }
constexpr Bytes operator""_GiB(unsigned long long n) { return Bytes(1024 * 1024 * 1024) * static_cast<std::int64_t>(n); }
constexpr Bytes operator""_MB(unsigned long long n) { return Bytes(1'000'000) * static_cast<std::int64_t>(n); }
constexpr Bytes operator""_GB(unsigned long long n) { return Bytes(1'000'000'000) * static_cast<std::int64_t>(n); }

}  // namespace qwenplan::literals
