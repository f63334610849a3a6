#pragma once

#include <string>
#include <string_view>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/model.hpp"

namespace qwenplan {

/// The model that a Hugging Face config.json describes; keys that are missing take the defaults of
/// the class in transformers. `path` names the file or the folder that holds it. Classes that are
/// not emulated give Architecture::other with the facts that could be read. The file may be
/// hostile: it is bounded in size and depth, and every count in range; anything else is an error of
/// kind wrong.
Result<Model> read_hf_config(const std::string& path);

/// The same from the file's text; `where` names the file in errors.
Result<Model> parse_hf_config(std::string_view text, const std::string& where);

}  // namespace qwenplan
