#include "probe/new_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace qwenplan {
namespace {

std::string reason(int error) { return std::error_code(error, std::generic_category()).message(); }

Error exists(const std::string& path) {
  return {Error::Kind::wrong, "the file exists and is kept", path,
          "name another one, or add --force to replace it"};
}

Error not_written(const std::string& path, int error) {
  return {Error::Kind::wrong, "the file cannot be written: " + reason(error), path,
          "name a file in a folder that can be written, on a disk with space"};
}

}  // namespace

NewFile::NewFile(std::string path, std::string part, int stream, Existing existing)
    : path_(std::move(path)), part_(std::move(part)), stream_(stream), existing_(existing) {}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      part_(std::exchange(other.part_, {})),
      stream_(std::exchange(other.stream_, -1)),
      existing_(other.existing_) {}

NewFile::~NewFile() {
  if (stream_ >= 0) close(stream_);
  if (!part_.empty()) unlink(part_.c_str());
}

Result<NewFile> NewFile::create(const std::string& path, Existing existing) {
  struct stat status {};
  if (lstat(path.c_str(), &status) == 0) {
    if (existing == Existing::kept) return exists(path);
    if (!S_ISREG(status.st_mode))
      return Error{Error::Kind::wrong, "it is no regular file, so it is not replaced", path,
                   "name a file"};
  }
  std::string part = path + ".part-XXXXXX";
  const int stream = mkostemp(part.data(), O_CLOEXEC);
  if (stream < 0) return not_written(path, errno);
  // mkostemp gives the owner alone access; the file is to be like any other.
  const mode_t mask = umask(0);
  umask(mask);
  fchmod(stream, 0666 & ~mask);
  return NewFile(path, std::move(part), stream, existing);
}

Result<std::string> NewFile::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(stream_, text.data(), text.size());
    if (written < 0 && errno != EINTR) return not_written(path_, errno);
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (fsync(stream_) != 0 && errno != EINVAL) return not_written(path_, errno);
  // A link fails where the name is taken; a rename takes it.
  if (existing_ == Existing::kept) {
    if (link(part_.c_str(), path_.c_str()) == 0) return path_;
    if (errno == EEXIST) return exists(path_);
    // File systems without links, such as FAT: the name was free when this began.
    struct stat status {};
    if (lstat(path_.c_str(), &status) == 0) return exists(path_);
  }
  if (rename(part_.c_str(), path_.c_str()) != 0) return not_written(path_, errno);
  part_.clear();
  return path_;
}

}  // namespace qwenplan
