#pragma once

#include <string>

namespace qwenplan {

/// A word in quotes, which any POSIX shell reads as it stands.
inline std::string shell_quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace qwenplan
