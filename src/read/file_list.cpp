#include "read/file_list.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

namespace qwenplan {
namespace {

namespace fs = std::filesystem;

/// One character against a class behind its '['; the length of the class, or 0 if it is none.
std::size_t class_length(std::string_view pattern, char c, bool& is_in) {
  std::size_t i = 1;
  const bool is_negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (is_negated) ++i;
  is_in = false;
  const std::size_t first = i;
  for (; i < pattern.size() && (pattern[i] != ']' || i == first); ++i) {
    if (i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
      is_in = is_in || (pattern[i] <= c && c <= pattern[i + 2]);
      i += 2;
    } else {
      is_in = is_in || pattern[i] == c;
    }
  }
  if (i >= pattern.size()) return 0;
  is_in = is_in != is_negated;
  return i + 1;
}

/// A name against a pattern, neither with a '/'. Goes back to the last star alone, so that no
/// pattern takes more than the product of the lengths.
bool matches_name(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0;
  std::optional<std::pair<std::size_t, std::size_t>> star;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = {p++, n};
      continue;
    }
    if (p < pattern.size()) {
      bool is_in = false;
      const std::size_t length =
          pattern[p] == '[' ? class_length(pattern.substr(p), name[n], is_in) : 0;
      const bool is_same = length > 0 ? is_in : pattern[p] == '?' || pattern[p] == name[n];
      if (is_same) {
        p += std::max<std::size_t>(length, 1);
        ++n;
        continue;
      }
    }
    if (!star) return false;
    p = star->first + 1;
    n = ++star->second;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t end = path.find('/');
    const std::string_view part = path.substr(0, end);
    if (!part.empty() && part != ".") parts.push_back(part);
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
  }
  return parts;
}

bool is_pattern(std::string_view text) { return text.find_first_of("*?[") != std::string::npos; }

bool is_trainers(const fs::path& path) {
  const std::string extension = path.extension().string();
  for (const char* each : {".yaml", ".yml", ".json", ".sh"})
    if (extension == each) return true;
  return false;
}

/// Regular files below a folder; hidden folders and packages of other programs are no one's runs.
Result<std::vector<std::string>> files_below(const fs::path& folder, const std::string& word) {
  std::vector<std::string> files;
  std::error_code failed;
  fs::recursive_directory_iterator each(folder, fs::directory_options::skip_permission_denied,
                                        failed);
  for (std::size_t seen = 0; !failed && each != fs::recursive_directory_iterator();
       each.increment(failed)) {
    if (++seen > 20 * kMostFiles)
      return Error{Error::Kind::wrong, "more than " + std::to_string(20 * kMostFiles) + " files",
                   word, "name a smaller folder"};
    const std::string name = each->path().filename().string();
    std::error_code ignored;
    if (each->is_directory(ignored) && !each->is_symlink(ignored)) {
      if (name.starts_with('.') || name == "node_modules") each.disable_recursion_pending();
    } else if (each->is_regular_file(ignored)) {
      files.push_back(each->path().generic_string());
    }
  }
  if (failed)
    return Error{Error::Kind::wrong, "cannot be listed: " + failed.message(), word,
                 "check its permissions"};
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

bool matches(std::string_view pattern, std::string_view path) {
  const auto patterns = parts_of(pattern);
  const auto names = parts_of(path);
  std::size_t p = 0, n = 0;
  std::optional<std::pair<std::size_t, std::size_t>> stars;
  while (n < names.size()) {
    if (p < patterns.size() && patterns[p] == "**") {
      stars = {p++, n};
    } else if (p < patterns.size() && matches_name(patterns[p], names[n])) {
      ++p, ++n;
    } else if (stars) {
      p = stars->first + 1;
      n = ++stars->second;
    } else {
      return false;
    }
  }
  while (p < patterns.size() && patterns[p] == "**") ++p;
  return p == patterns.size();
}

Result<std::vector<ListedFile>> listed_files(const std::string& word) {
  std::error_code ignored;
  if (word == "-" || (fs::exists(word, ignored) && !fs::is_directory(word, ignored)))
    return std::vector<ListedFile>{{word}};
  const bool is_folder = fs::is_directory(word, ignored);
  if (!is_folder && !is_pattern(word)) return std::vector<ListedFile>{{word}};

  // What stands before the first pattern is the folder to look through.
  std::string folder = word;
  if (!is_folder) {
    const std::size_t end = word.rfind('/', word.find_first_of("*?["));
    folder = end == std::string::npos ? "." : end == 0 ? "/" : word.substr(0, end);
    if (!fs::is_directory(folder, ignored))
      return Error{Error::Kind::wrong, "no file matches", word, "check the path"};
  }
  auto files = files_below(folder, word);
  if (!files) return files.error();
  std::vector<ListedFile> listed;
  for (std::string& path : *files) {
    std::string_view shown = path;
    if (folder == "." && shown.starts_with("./")) shown.remove_prefix(2);
    if (is_folder ? is_trainers(path) : matches(word, shown))
      listed.push_back({std::string(shown), false});
  }
  if (listed.empty())
    return Error{Error::Kind::wrong,
                 is_folder ? "no YAML, JSON or shell file is in it" : "no file matches", word,
                 "check the path"};
  if (listed.size() > kMostFiles)
    return Error{Error::Kind::wrong, "more than " + std::to_string(kMostFiles) + " files", word,
                 "name a smaller folder"};
  return listed;
}

}  // namespace qwenplan
