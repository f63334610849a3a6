#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwenplan {

/// Edits (insert, delete, replace, swap of neighbours) from one word to another.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

/// The closest names to a misspelt one: at most three edits and at most a third of the word,
/// nearest first, at most three. Words over 64 letters have no near names.
inline std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& names) {
  std::vector<std::pair<std::size_t, std::string>> found;
  if (word.size() > 64) return {};
  const std::size_t limit = std::min<std::size_t>(3, std::max<std::size_t>(1, word.size() / 3));
  for (const std::string& name : names) {
    // Each letter that one has more is an edit.
    if (std::max(word.size(), name.size()) - std::min(word.size(), name.size()) > limit) continue;
    const std::size_t distance = edit_distance(word, name);
    if (distance <= limit) found.emplace_back(distance, name);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (const auto& entry : found) {
    if (result.size() == 3) break;
    if (std::find(result.begin(), result.end(), entry.second) == result.end()) result.push_back(entry.second);
  }
  return result;
}

/// Whether a key of words with underscores is a slip of the pen for another: the same letters, or word
/// by word at most an edit for each four letters. Keys that share an ending mean other things.
inline bool is_slip(std::string_view key, std::string_view name) {
  const auto letters = [](std::string_view text) {
    std::string plain;
    for (const char c : text)
      if (c != '_' && c != '-') plain += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return plain;
  };
  if (key.size() > 4 && edit_distance(letters(key), letters(name)) <= 1) return true;
  while (!key.empty() && !name.empty()) {
    const std::string_view mine = key.substr(0, key.find('_'));
    const std::string_view theirs = name.substr(0, name.find('_'));
    if (edit_distance(mine, theirs) > std::max<std::size_t>(theirs.size() / 4, theirs.size() > 2 ? 1 : 0)) return false;
    key.remove_prefix(std::min(mine.size() + 1, key.size()));
    name.remove_prefix(std::min(theirs.size() + 1, name.size()));
  }
  return key.empty() && name.empty();
}

/// The closest keys of which a misspelt one is a slip.
inline std::vector<std::string> nearest_keys(std::string_view key, const std::vector<std::string>& names) {
  std::vector<std::string> found = nearest(key, names);
  found.erase(std::remove_if(found.begin(), found.end(), [&](const std::string& name) { return !is_slip(key, name); }),
              found.end());
  return found;
}

}  // namespace qwenplan
