#include "probe/folders.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace qwenplan {
namespace {

constexpr int kOpenFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

class Stream {
 public:
  explicit Stream(int number) : number_(number) {}
  ~Stream() {
    if (number_ >= 0) close(number_);
  }
  Stream(Stream&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

/// "a/b/" and "a/b/." are the folder a/b: with the slash, the kernel would follow a link.
std::string without_trailing_slashes(std::string path) {
  for (;;) {
    if (path.size() > 1 && path.back() == '/')
      path.pop_back();
    else if (path.size() > 2 && path.ends_with("/."))
      path.pop_back();
    else
      return path;
  }
}

enum class Kind : unsigned char { absent, folder, link, other };

/// What a path below `base` is, links not followed; `link` also where a parent of it is one.
Kind kind_of(const std::string& base, std::string_view path) {
  for (std::size_t end = 0; end != path.size();) {
    const std::size_t slash = path.find('/', end == 0 ? 0 : end + 1);
    end = slash == std::string_view::npos ? path.size() : slash;
    struct stat is {};
    const std::string part = base + "/" + std::string(path.substr(0, end));
    if (lstat(part.c_str(), &is) != 0) return errno == ENOENT ? Kind::absent : Kind::other;
    if (S_ISLNK(is.st_mode)) return Kind::link;
    if (!S_ISDIR(is.st_mode)) return Kind::other;
  }
  return Kind::folder;
}

/// The folder at a path below `base`, no link followed on the way.
Stream open_below(const std::string& base, std::string_view path) {
  Stream at(open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (at && !path.empty()) {
    const std::string name(path.substr(0, path.find('/')));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    at = Stream(openat(at.number(), name.c_str(), kOpenFolder));
  }
  return at;
}

}  // namespace

Result<MadeTree> make_tree(const std::string& given, std::span<const std::string_view> paths) {
  namespace fs = std::filesystem;
  if (given.empty()) return wrong("no folder is named", "DIR", "such as ~/arabic-qwen");
  const std::string base = without_trailing_slashes(given);
  std::error_code error;

  MadeTree tree;
  std::vector<std::string_view> missing;
  const fs::file_status status = fs::status(base, error);
  const bool is_new = status.type() == fs::file_type::not_found;
  if (!is_new && status.type() != fs::file_type::directory)
    return wrong("'" + base + "' is no folder", base,
                 "name a folder, or a path where there is nothing yet");
  if (is_new && fs::is_symlink(fs::symlink_status(base, error)))
    return wrong("'" + base + "' is a link to nothing", base, "name the folder itself");
  for (const std::string_view path : paths) {
    const Kind kind = is_new ? Kind::absent : kind_of(base, path);
    if (kind == Kind::other)
      return wrong("'" + base + "/" + std::string(path) +
                       "' is in the way: it is no folder, or cannot be looked at",
                   base, "move it, or choose another folder; nothing was made");
    if (kind == Kind::absent)
      missing.push_back(path);
    else if (kind == Kind::folder)
      tree.kept.emplace_back(path);
    else
      tree.left.push_back({std::string(path), "it is, or is below, a symbolic link"});
  }

  // The parents of the base are made like those of mkdir -p, the rest one by one without links.
  std::vector<std::string> made_bases;
  for (fs::path part = base;
       !part.empty() && fs::status(part, error).type() == fs::file_type::not_found;
       part = part.parent_path())
    made_bases.insert(made_bases.begin(), part.string());
  const auto take_back = [&](std::size_t bases) {
    for (auto path = tree.made.rbegin(); path != tree.made.rend(); ++path)
      rmdir((base + "/" + *path).c_str());
    while (bases > 0) rmdir(made_bases[--bases].c_str());
  };
  for (std::size_t i = 0; i < made_bases.size(); ++i)
    if (mkdir(made_bases[i].c_str(), 0777) != 0 && errno != EEXIST) {
      const std::string reason = std::strerror(errno);
      take_back(i);
      return wrong("'" + made_bases[i] + "' cannot be made: " + reason, base, "nothing was made");
    }
  for (const std::string_view path : missing) {
    const std::size_t slash = path.rfind('/');
    const std::string_view parent =
        slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
    const std::string name(path.substr(slash == std::string_view::npos ? 0 : slash + 1));
    const Stream folder = open_below(base, parent);
    if (!folder || mkdirat(folder.number(), name.c_str(), 0777) != 0) {
      const std::string reason = std::strerror(errno);
      take_back(made_bases.size());
      return wrong("'" + base + "/" + std::string(path) + "' cannot be made: " + reason, base,
                   "nothing was made");
    }
    tree.made.emplace_back(path);
  }
  return tree;
}

namespace {

/// Which mount a folder is on, where the kernel says: one file system can be mounted twice.
std::optional<std::uint64_t> mount_of(int folder) {
#ifdef STATX_MNT_ID
  struct statx is {};
  if (statx(folder, "", AT_EMPTY_PATH, STATX_MNT_ID, &is) == 0 && (is.stx_mask & STATX_MNT_ID) != 0)
    return is.stx_mnt_id;
#endif
  return std::nullopt;
}

using FileId = std::pair<dev_t, ino_t>;

/// Files that a program holds open or mapped, of the programs that may be looked at.
std::set<FileId> files_in_use() {
  namespace fs = std::filesystem;
  std::set<FileId> used;
  std::error_code error;
  for (const auto& process : fs::directory_iterator("/proc", error)) {
    const std::string folder = process.path().string();
    if (folder.find_first_of("0123456789") != std::string("/proc/").size()) continue;
    for (fs::directory_iterator at(folder + "/fd", error), end; !error && at != end;
         at.increment(error)) {
      struct stat is {};
      if (stat(at->path().c_str(), &is) == 0 && S_ISREG(is.st_mode))
        used.insert({is.st_dev, is.st_ino});
    }
    std::ifstream maps(folder + "/maps");
    for (std::string line; std::getline(maps, line);) {
      // address permissions offset major:minor inode path
      unsigned major_number = 0, minor_number = 0;
      unsigned long inode = 0;
      if (std::sscanf(line.c_str(), "%*s %*s %*s %x:%x %lu", &major_number, &minor_number,
                      &inode) == 3 &&
          inode != 0)
        used.insert({makedev(major_number, minor_number), inode});
    }
  }
  return used;
}

struct Cleaner {
  std::int64_t now;
  std::int64_t age;
  CleanMode mode;
  dev_t device;
  std::optional<std::uint64_t> mount;
  std::set<FileId> used;
  Cleaning result{};

  static constexpr int kDeepest = 200;  // each level holds a folder open

  void leave(const std::string& path, std::string why) {
    result.left.push_back({path, std::move(why)});
  }

  void enter(Stream folder, const std::string& path, int depth) {
    DIR* opened = fdopendir(dup(folder.number()));
    if (!opened) return leave(path, std::strerror(errno));
    const auto close = [](DIR* entries) { closedir(entries); };
    const std::unique_ptr<DIR, decltype(close)> entries(opened, close);
    std::vector<std::string> names;
    while (const dirent* entry = readdir(entries.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    std::sort(names.begin(), names.end());  // the same order every time
    for (const std::string& name : names)
      look_at(folder.number(), name, path.empty() ? name : path + "/" + name, depth);
  }

  void look_at(int folder, const std::string& name, const std::string& path, int depth) {
    struct stat is {};
    if (fstatat(folder, name.c_str(), &is, AT_SYMLINK_NOFOLLOW) != 0)
      return leave(path, std::strerror(errno));
    if (S_ISLNK(is.st_mode)) return leave(path, "symbolic link");
    if (is.st_dev != device) return leave(path, "another file system");
    if (S_ISDIR(is.st_mode)) {
      if (depth == kDeepest) return leave(path, "too deep");
      Stream below(openat(folder, name.c_str(), kOpenFolder));
      if (!below) return leave(path, std::strerror(errno));
      struct stat there {};
      if (fstat(below.number(), &there) != 0 || there.st_dev != device ||
          mount_of(below.number()) != mount)
        return leave(path, "another file system");
      return enter(std::move(below), path, depth + 1);
    }
    if (!S_ISREG(is.st_mode)) return leave(path, "no regular file");
    const std::int64_t since = now - static_cast<std::int64_t>(is.st_mtim.tv_sec);
    if (since <= age) return;
    if (used.find({is.st_dev, is.st_ino}) != used.end())
      return leave(path, "a program has it open");
    constexpr std::int64_t kSector = 512;
    const OldFile file{path, is.st_nlink > 1 ? Bytes() : Bytes(is.st_blocks) * kSector, since};
    if (mode == CleanMode::deletes && unlinkat(folder, name.c_str(), 0) != 0) {
      result.failed.push_back({path, std::strerror(errno)});
      return;
    }
    result.bytes += file.bytes;
    result.files.push_back(file);
  }
};

}  // namespace

Result<Cleaning> clean_temp(const std::string& given, std::int64_t now, std::int64_t age,
                            CleanMode mode) {
  if (given.empty()) return wrong("no folder is named", "DIR", "the folder that has temp/");
  const std::string base = without_trailing_slashes(given);
  const auto refused = [&](const std::string& path) {
    struct stat is {};
    if (lstat(path.c_str(), &is) == 0 && S_ISLNK(is.st_mode)) {
      std::error_code error;
      const auto real = std::filesystem::canonical(path, error);
      return wrong("'" + path + "' is a symbolic link, and none is followed", path,
                   error ? "name the folder itself" : "it leads to " + real.string());
    }
    const int reason = errno;
    return wrong(
        "'" + path + "' cannot be cleaned: " + std::strerror(reason == 0 ? ENOTDIR : reason), path,
        "name a folder that has a folder temp, such as storage init makes it");
  };
  errno = 0;
  const Stream folder(open(base.c_str(), kOpenFolder));
  if (!folder) return refused(base);
  Stream temp(openat(folder.number(), "temp", kOpenFolder));
  if (!temp) return refused(base + "/temp");
  struct stat outer {
  }, inner{};
  if (fstat(folder.number(), &outer) != 0 || fstat(temp.number(), &inner) != 0)
    return refused(base + "/temp");
  if (outer.st_dev != inner.st_dev || mount_of(folder.number()) != mount_of(temp.number()))
    return wrong("'" + base + "/temp' is on another file system than '" + base + "'",
                 base + "/temp", "nothing is deleted across file systems; clean it by hand");
  Cleaner cleaner{now, age, mode, inner.st_dev, mount_of(temp.number()), files_in_use()};
  cleaner.enter(std::move(temp), "", 0);
  return std::move(cleaner.result);
}

}  // namespace qwenplan
