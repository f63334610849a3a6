#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// Something that was left alone, and why.
struct LeftAlone {
  std::string path;
  std::string why;
};

/// What became of the folders of a tree.
struct MadeTree {
  std::vector<std::string> made;
  std::vector<std::string> kept;  ///< were there
  std::vector<LeftAlone> left;    ///< symbolic links, and what would be below them
};

/// Makes a tree of folders: `paths` are relative, parents before children. What exists stays as it
/// is; nothing is made through a symbolic link inside of `base`. Where a file is in the way, or
/// something cannot be made, nothing is made at all.
Result<MadeTree> make_tree(const std::string& base, std::span<const std::string_view> paths);

struct OldFile {
  std::string path;      ///< below the folder that was cleaned
  Bytes bytes{};         ///< of the disk; 0 where another name keeps the file
  std::int64_t age = 0;  ///< seconds since it was last written
};

struct Cleaning {
  std::vector<OldFile> files;     ///< that are old enough; gone if `deletes`
  std::vector<LeftAlone> left;    ///< symbolic links, other file systems, sockets
  std::vector<LeftAlone> failed;  ///< old enough, and could not be deleted
  Bytes bytes{};                  ///< of `files`
};

enum class CleanMode : unsigned char { shows, deletes };

/// Finds regular files of BASE/temp that were last written more than `age` seconds before `now`
/// (seconds since 1970), at any depth, and deletes them if it is told to. Never follows a symbolic
/// link, BASE itself and temp/ included, never enters another file system or mount, never deletes a
/// folder, nor a file that a program has open or mapped.
Result<Cleaning> clean_temp(const std::string& base, std::int64_t now, std::int64_t age,
                            CleanMode mode);

}  // namespace qwenplan
