#pragma once

#include <compare>
#include <string>
#include <string_view>

namespace qwenplan {

/// A library version; missing parts are 0.
struct Version {
  int major = 0;
  int minor = 0;
  int patch = 0;
  friend constexpr auto operator<=>(const Version&, const Version&) = default;
};

/// The libraries of a training environment. They decide which tensors exist.
struct Stack {
  std::string_view name = "latest";
  Version torch{2, 15, 0};
  Version transformers{5, 23, 0};
  Version peft{0, 21, 2};
  Version accelerate{1, 15, 0};
  Version bitsandbytes{0, 50, 2};
  Version liger{0, 8, 5};
};

inline constexpr Stack kLatest{};
inline constexpr Stack kLate2025{"2025-09", {2, 8, 0}, {4, 56, 2}, {0, 17, 1}, {1, 10, 1}, {0, 47, 0}, {0, 6, 2}};
inline constexpr Stack kEarly2025{"2025-02", {2, 6, 0}, {4, 49, 0}, {0, 14, 0}, {1, 3, 0}, {0, 45, 3}, {0, 5, 3}};
inline constexpr Stack kMid2024{"2024-06", {2, 3, 1}, {4, 41, 2}, {0, 11, 1}, {0, 30, 1}, {0, 43, 1}, {0, 4, 2}};

}  // namespace qwenplan
