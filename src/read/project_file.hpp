#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/place.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// What a repository says once for all of its checks.
struct ProjectSettings {
  struct Setting {
    std::string value;
    Place place;
  };
  std::map<std::string, Setting, std::less<>> flags;  ///< by the flag's name: "vram-in-use"
  std::vector<std::string> ignored_rules;
};

/// A repository's qwenplan.yaml.
struct ProjectFile {
  struct Override {
    std::vector<std::string> patterns;  ///< of paths below the file's folder
    ProjectSettings settings;
  };

  std::string path;
  std::string folder;
  ProjectSettings base;
  std::vector<Override> overrides;
  std::vector<std::string> excluded;  ///< patterns of files that a folder or a pattern brings

  /// The settings for a file: those for all, then those of each override that its path matches;
  /// later ones win, and ignored rules add up.
  ProjectSettings settings_for(const std::string& file) const;
  bool excludes(const std::string& file) const;
};

inline constexpr std::string_view kProjectFile = "qwenplan.yaml";

/// Reads a qwenplan.yaml. Errors: `wrong`, with line and column, for what it cannot say.
Result<ProjectFile> read_project_file(const std::string& path);

/// The qwenplan.yaml for a folder: the nearest one from it up to the root of its repository. Out
/// of a repository only the folder itself is looked at, since folders above may be anybody's.
std::optional<std::string> project_file_for(const std::string& folder);

}  // namespace qwenplan
