#include "read/project_file.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "qwenplan/base/nearest.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "read/file_list.hpp"
#include "read/text_file.hpp"
#include "read/trainer/document.hpp"
#include "read/trainer/remarks.hpp"

namespace qwenplan {
namespace {

namespace fs = std::filesystem;

/// Flags that may stand in the file, and what their values are.
enum class Kind : unsigned char { text, whole, truth, severity };
constexpr std::pair<std::string_view, Kind> kFlags[] = {
    {"gpu", Kind::text},    {"vram", Kind::text},       {"vram-in-use", Kind::text},
    {"stack", Kind::text},  {"alloc-conf", Kind::text}, {"trainer", Kind::text},
    {"model", Kind::text},  {"launcher", Kind::text},   {"seq-len", Kind::whole},
    {"gpus", Kind::whole},  {"strict", Kind::truth},    {"fail-on", Kind::severity}};

struct Reader {
  const std::string& name;

  Error wrong(std::string what, Place place, std::string hint) const {
    return {Error::Kind::wrong, std::move(what), where(name, place), std::move(hint), place};
  }

  Result<std::string> value(const Entry& entry, Kind kind) const {
    const Node& node = entry.value;
    const auto expected = [&](const char* what, const char* hint) {
      return wrong(entry.key + ": expected " + what + ", found " + node.shown(), node.place, hint);
    };
    switch (kind) {
      case Kind::text:
        if (const auto text = node.text(); text && !text->empty()) return *text;
        return expected("a word", "such as gpu: rtx3060");
      case Kind::whole:
        if (const auto whole = node.whole(); whole && *whole >= 1) return std::to_string(*whole);
        return expected("a whole number from 1", "such as seq-len: 2048");
      case Kind::truth:
        if (const auto truth = node.truth()) return std::string(*truth ? "on" : "off");
        return expected("true or false", "such as strict: true");
      case Kind::severity:
        for (const char* each : {"error", "warning", "note", "never"})
          if (node.text() == each) return std::string(each);
        return expected("error, warning, note or never", "such as fail-on: warning");
    }
    return expected("a value", "");
  }

  Result<std::vector<std::string>> words(const Entry& entry, const char* hint) const {
    if (auto words = entry.value.words(); words && !words->empty()) return *std::move(words);
    return wrong(entry.key + ": expected a list of words, found " + entry.value.shown(),
                 entry.value.place, hint);
  }

  /// One entry of the settings that all files or some share; nothing if it is none of them.
  Result<bool> take(const Entry& entry, ProjectSettings& settings) const {
    std::string key = entry.key;
    std::replace(key.begin(), key.end(), '_', '-');
    for (const auto& [flag, kind] : kFlags) {
      if (key != flag) continue;
      auto read = value(entry, kind);
      if (!read) return read.error();
      settings.flags[key] = {*std::move(read), entry.place};
      return true;
    }
    if (key != "ignore") return false;
    const auto rules = words(entry, "such as ignore: [trainer-defaults]");
    if (!rules) return rules.error();
    for (const std::string& rule : *rules) {
      if (!rule_index(rule))
        return wrong("there is no rule '" + rule.substr(0, 60) + "' to ignore", entry.value.place,
                     rule_meant(rule));
      settings.ignored_rules.push_back(rule);
    }
    return true;
  }

  Error unknown(const Entry& entry, std::vector<std::string> others) const {
    std::vector<std::string> known = std::move(others);
    known.emplace_back("ignore");
    for (const auto& [flag, kind] : kFlags) known.emplace_back(flag);
    const auto near = nearest_keys(entry.key, known);
    std::string all;
    for (const std::string& each : known) (all += all.empty() ? "" : ", ") += each;
    return wrong("unknown key '" + entry.key.substr(0, 60) + "'", entry.place,
                 near.empty() ? "known: " + all : "did you mean '" + near[0] + "'?");
  }

  Result<ProjectFile::Override> override_of(const Node& node) const {
    if (!node.is_map())
      return wrong("an override is a map with paths and settings", node.place,
                   "such as - {paths: ['big/**'], gpu: a100}");
    ProjectFile::Override out;
    for (const Entry& entry : node.entries) {
      if (entry.key == "paths") {
        auto paths = words(entry, "such as paths: ['big/**']");
        if (!paths) return paths.error();
        out.patterns = *std::move(paths);
        continue;
      }
      const auto taken = take(entry, out.settings);
      if (!taken) return taken.error();
      if (!*taken) return unknown(entry, {"paths"});
    }
    if (out.patterns.empty())
      return wrong("an override has no paths", node.place, "such as paths: ['big/**']");
    return out;
  }
};

/// A file's path below a folder, with '/' between its parts.
std::string below(const std::string& file, const std::string& folder) {
  std::error_code failed;
  const fs::path path = fs::weakly_canonical(fs::absolute(file, failed), failed);
  return path.lexically_relative(fs::weakly_canonical(folder, failed)).generic_string();
}

}  // namespace

ProjectSettings ProjectFile::settings_for(const std::string& file) const {
  ProjectSettings all = base;
  const std::string relative = overrides.empty() ? "" : below(file, folder);
  for (const Override& each : overrides) {
    const bool is_meant = std::any_of(each.patterns.begin(), each.patterns.end(),
                                      [&](const std::string& p) { return matches(p, relative); });
    if (!is_meant) continue;
    for (const auto& [flag, setting] : each.settings.flags) all.flags[flag] = setting;
    all.ignored_rules.insert(all.ignored_rules.end(), each.settings.ignored_rules.begin(),
                             each.settings.ignored_rules.end());
  }
  return all;
}

bool ProjectFile::excludes(const std::string& file) const {
  if (excluded.empty()) return false;
  const std::string relative = below(file, folder);
  return std::any_of(excluded.begin(), excluded.end(),
                     [&](const std::string& pattern) { return matches(pattern, relative); });
}

Result<ProjectFile> read_project_file(const std::string& path) {
  const auto text = read_text_file(path, kMostText);
  if (!text) return text.error();
  const auto document = parse_document(*text, path, Syntax::yaml);
  if (!document) return document.error();
  ProjectFile file;
  file.path = path;
  std::error_code failed;
  file.folder = fs::absolute(path, failed).parent_path().string();
  const Reader reader{path};
  if (document->root.is_null()) return file;
  if (!document->root.is_map())
    return reader.wrong("settings are keys with values", document->root.place,
                        "such as gpu: rtx3060");
  if (!document->repeats.empty())
    return reader.wrong("'" + document->repeats[0].key + "' stands twice",
                        document->repeats[0].place, "remove one of them");
  for (const Entry& entry : document->root.entries) {
    if (entry.key == "exclude") {
      auto patterns = reader.words(entry, "such as exclude: ['data/**']");
      if (!patterns) return patterns.error();
      file.excluded = *std::move(patterns);
    } else if (entry.key == "overrides") {
      if (!entry.value.is_list())
        return reader.wrong("overrides: expected a list, found " + entry.value.shown(),
                            entry.value.place, "such as - {paths: ['big/**'], gpu: a100}");
      for (const Node& each : entry.value.items) {
        auto read = reader.override_of(each);
        if (!read) return read.error();
        file.overrides.push_back(*std::move(read));
      }
    } else {
      const auto taken = reader.take(entry, file.base);
      if (!taken) return taken.error();
      if (!*taken) return reader.unknown(entry, {"exclude", "overrides"});
    }
  }
  return file;
}

std::optional<std::string> project_file_for(const std::string& folder) {
  std::error_code failed;
  const fs::path start = fs::absolute(folder.empty() ? "." : folder, failed).lexically_normal();
  std::optional<std::string> own;
  fs::path at = start;
  if (!at.has_filename() && at.has_parent_path()) at = at.parent_path();
  std::optional<std::string> nearest_one;
  for (int up = 0; up < 64 && !at.empty(); ++up) {
    const fs::path candidate = at / kProjectFile;
    if (!nearest_one && fs::is_regular_file(candidate, failed)) nearest_one = candidate.string();
    if (up == 0) own = nearest_one;
    if (fs::exists(at / ".git", failed)) return nearest_one;
    if (at == at.parent_path()) break;
    at = at.parent_path();
  }
  return own;
}

}  // namespace qwenplan
