#pragma once

#include <cstdint>

namespace qwenplan {

/// A position in a text file, counted from 1 as editors do; columns are counted in characters.
/// Zero means that there is none.
struct Place {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

}  // namespace qwenplan
