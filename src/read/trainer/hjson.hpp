#pragma once

#include <string_view>

#include "read/trainer/document.hpp"
#include "read/trainer/document_builder.hpp"

namespace qwenplan {

/// Reads Hjson as Python's package does, which is DeepSpeed's own loader: JSON with remarks, with or
/// without commas, and with words that have no quotes. Throws what `builder` refuses with.
Document parse_hjson(std::string_view text, DocumentBuilder& builder);

}  // namespace qwenplan
