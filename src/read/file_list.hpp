#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// A file to read, and whether somebody named it or a folder or a pattern brought it.
struct ListedFile {
  std::string path;
  bool is_named = true;
};

inline constexpr std::size_t kMostFiles = 20'000;

/// Whether a path matches a pattern: '*' and '?' are any characters but '/', "**" any folders, and
/// [abc], [a-z] and [!a] one character.
bool matches(std::string_view pattern, std::string_view path);

/// The files of a word of a command line: itself, what a pattern in it matches, or the YAML, JSON
/// and shell files in a folder. Names come sorted; hidden folders and node_modules are left out.
/// Errors: `wrong` for a pattern or a folder without a file, and beyond kMostFiles.
Result<std::vector<ListedFile>> listed_files(const std::string& word);

}  // namespace qwenplan
