#pragma once

#include <cstdint>
#include <string>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// The text of a regular file of at most `limit` bytes. Pipes and devices are refused before they
/// are opened, since reading one may never end.
Result<std::string> read_text_file(const std::string& path, std::uintmax_t limit);

}  // namespace qwenplan
