#include "probe/disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

namespace qwenplan {
namespace {

constexpr std::size_t kBlock = std::size_t{4} << 20U;
constexpr std::size_t kPage = 4096;
constexpr Bytes kLeast = Bytes(16 * 1024 * 1024);  // less than this measures the disk's own cache

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}
Error unknown(std::string what, std::string where, std::string hint) {
  return {Error::Kind::unknown, std::move(what), std::move(where), std::move(hint)};
}

/// The kernel's names of common file systems (linux/magic.h).
std::pair<std::string, bool> file_system(std::uint64_t magic) {
  struct Known {
    std::uint64_t magic;
    const char* name;
    bool is_memory;
  };
  constexpr Known kKnown[] = {
      {0xEF53, "ext4", false},     {0x58465342, "xfs", false},     {0x9123683E, "btrfs", false},
      {0x2FC12FC1, "zfs", false},  {0xF2F52010, "f2fs", false},    {0x01021994, "tmpfs", true},
      {0x858458F6, "ramfs", true}, {0x6969, "nfs", false},         {0xFF534D42, "cifs", false},
      {0xFE534D42, "smb", false},  {0x794C7630, "overlay", false}, {0x65735546, "fuse", false},
      {0x01021997, "9p", false},   {0x4D44, "vfat", false},        {0x2011BAB0, "exfat", false},
      {0x5346544E, "ntfs", false}, {0x7366746E, "ntfs3", false},   {0x0BD00BD0, "lustre", false},
      {0x00C36400, "ceph", false},
  };
  for (const Known& known : kKnown)
    if (known.magic == magic) return {known.name, known.is_memory};
  return {};
}

class File {
 public:
  explicit File(int stream) : stream_(stream) {}
  ~File() {
    if (stream_ >= 0) close(stream_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int stream() const { return stream_; }

 private:
  int stream_;
};

/// A file without a name: O_TMPFILE, or one whose name goes as soon as it is open.
int open_nameless(const std::string& folder) {
  int stream = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (stream >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
    return stream;
  struct stat is {};
  if (stat(folder.c_str(), &is) != 0 || !S_ISDIR(is.st_mode)) return -1;
  std::string name = folder + "/.qwenplan-bench-XXXXXX";
  stream = mkostemp(name.data(), O_CLOEXEC);
  if (stream >= 0) unlink(name.c_str());
  return stream;
}

/// A write beyond a limit of the shell is an error to report, not a reason to die.
class IgnoredSignal {
 public:
  explicit IgnoredSignal(int number) : number_(number) {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(number, &ignore, &before_);
  }
  ~IgnoredSignal() { sigaction(number_, &before_, nullptr); }
  IgnoredSignal(const IgnoredSignal&) = delete;
  IgnoredSignal& operator=(const IgnoredSignal&) = delete;

 private:
  int number_;
  struct sigaction before_ {};
};

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Numbers without a pattern, so that neither compression nor deduplication makes a disk look
/// faster.
class Noise {
 public:
  std::uint64_t next() {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_;
  }
  void fill(unsigned char* at, std::size_t size) {
    for (std::size_t i = 0; i + sizeof(std::uint64_t) <= size; i += sizeof(std::uint64_t)) {
      const std::uint64_t value = next();
      std::memcpy(at + i, &value, sizeof value);
    }
  }

 private:
  std::uint64_t state_ = 0x9E3779B97F4A7C15U;
};

struct Measurement {
  const DiskBench& bench;
  const std::function<void(std::string_view, double)>& progress;
  int stream;
  unsigned char* buffer;
  DiskSpeed speed{};
  Noise noise{};
  Stopwatch whole{};

  bool sets_direct(bool is_wanted) const {
    const int flags = fcntl(stream, F_GETFL);
    return flags >= 0 &&
           fcntl(stream, F_SETFL, is_wanted ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
  }
  /// Lets go of the pages of the file, where the page cache has any.
  void drop_cache() const {
    if (!speed.is_direct) posix_fadvise(stream, 0, 0, POSIX_FADV_DONTNEED);
  }
  static off_t offset_of(std::int64_t bytes) { return static_cast<off_t>(bytes); }

  /// The whole of a block; false with errno.
  bool writes(std::int64_t at, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const ssize_t now =
          pwrite(stream, buffer + done, size - done, offset_of(at) + static_cast<off_t>(done));
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) {
        if (now == 0) errno = ENOSPC;
        return false;
      }
      done += static_cast<std::size_t>(now);
    }
    return true;
  }
  bool reads(std::int64_t at, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const ssize_t now =
          pread(stream, buffer + done, size - done, offset_of(at) + static_cast<off_t>(done));
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) return false;
      done += static_cast<std::size_t>(now);
    }
    return true;
  }

  Error failed(const char* doing) const {
    return unknown(std::string(doing) + " the disk failed: " + std::strerror(errno), bench.folder,
                   "qwenplan storage bench needs a folder that it can write and read");
  }

  /// Writes until the size, the time or the room ends. The noise is made outside of the time.
  std::optional<Error> write_sequentially(Bytes most, double seconds) {
    double spent = 0;
    std::int64_t written = 0;
    speed.is_direct = !speed.space.is_memory && sets_direct(true);
    while (written < most.count() && (written < kLeast.count() || spent < seconds)) {
      noise.fill(buffer, kBlock);
      progress("writing", static_cast<double>(written) / static_cast<double>(most.count()));
      const Stopwatch one;
      bool is_done = writes(written, kBlock);
      if (!is_done && errno == EINVAL && speed.is_direct) {
        speed.is_direct = false;
        sets_direct(false);
        is_done = writes(written, kBlock);
      }
      if (!is_done) {
        const bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
        if (!is_full) return failed("writing to");
        if (written < kLeast.count())
          return unknown("there is no room to measure: " + std::string(std::strerror(errno)),
                         bench.folder,
                         "16 MiB at least are needed; a limit of the shell (ulimit -f) or of a "
                         "quota counts too");
        if (ftruncate(stream, offset_of(written)) != 0) return failed("writing to");
        speed.notes.emplace_back("writing ended where the room did");
        break;
      }
      spent += one.seconds();
      written += static_cast<std::int64_t>(kBlock);
    }
    const Stopwatch sync;
    if (fsync(stream) != 0) return failed("syncing");
    spent += sync.seconds();
    speed.size = Bytes(written);
    speed.sequential_write = static_cast<double>(written) / spent;
    return std::nullopt;
  }

  std::optional<Error> read_sequentially(double seconds) {
    drop_cache();
    const Stopwatch time;
    std::int64_t done = 0;
    while (done < speed.size.count() && (done < kLeast.count() || time.seconds() < seconds)) {
      progress("reading", static_cast<double>(done) / static_cast<double>(speed.size.count()));
      if (!reads(done, kBlock)) return failed("reading from");
      done += static_cast<std::int64_t>(kBlock);
    }
    speed.sequential_read = static_cast<double>(done) / std::max(time.seconds(), 1e-9);
    return std::nullopt;
  }

  std::int64_t random_page() {
    const auto pages = static_cast<std::uint64_t>(speed.size.count()) / kPage;
    return static_cast<std::int64_t>(noise.next() % pages * kPage);
  }

  /// Operations a second, one after the other.
  std::optional<Error> random(const char* phase, bool is_write, double seconds, double& rate) {
    constexpr std::int64_t kMostOperations = 20'000;
    drop_cache();
    if (!speed.is_direct) posix_fadvise(stream, 0, 0, POSIX_FADV_RANDOM);
    noise.fill(buffer, kPage);
    const Stopwatch time;
    std::int64_t count = 0;
    for (; count < kMostOperations && time.seconds() < seconds; ++count) {
      if (count % 64 == 0)
        progress(phase,
                 std::max(time.seconds() / seconds, static_cast<double>(count) / kMostOperations));
      if (!(is_write ? writes(random_page(), kPage) : reads(random_page(), kPage)))
        return failed(is_write ? "writing to" : "reading from");
    }
    if (is_write && fsync(stream) != 0) return failed("syncing");
    rate = static_cast<double>(count) / std::max(time.seconds(), 1e-9);
    return std::nullopt;
  }
};

}  // namespace

Result<DiskSpace> disk_space_of(const std::string& folder) {
  struct statvfs space {};
  struct statfs kind {};
  if (statvfs(folder.c_str(), &space) != 0 || statfs(folder.c_str(), &kind) != 0)
    return wrong("'" + folder + "' cannot be asked: " + std::strerror(errno), folder,
                 "name a folder that is there");
  const auto bytes = [&](auto blocks) {
    return Bytes(Saturating::multiply(static_cast<std::int64_t>(blocks),
                                      static_cast<std::int64_t>(space.f_frsize)));
  };
  DiskSpace result;
  result.total = bytes(space.f_blocks);
  result.available = bytes(space.f_bavail);
  std::tie(result.file_system, result.is_memory) =
      file_system(static_cast<std::uint32_t>(kind.f_type));
  return result;
}

Result<DiskSpeed> bench_disk(const DiskBench& bench,
                             const std::function<void(std::string_view, double)>& progress) {
  const auto space = disk_space_of(bench.folder);
  if (!space) return space.error();
  const Bytes room(space->available.count() / 2);
  if (room < kLeast)
    return unknown("there is no room to measure", bench.folder,
                   "32 MiB have to be free; half of what is free is never used");

  const File file(open_nameless(bench.folder));
  if (file.stream() < 0) {
    const std::string reason = std::strerror(errno);
    return wrong("no file can be made in '" + bench.folder + "': " + reason, bench.folder,
                 "name a folder that you may write to");
  }
  const auto release = [](unsigned char* memory) { std::free(memory); };
  const std::unique_ptr<unsigned char, decltype(release)> buffer(
      static_cast<unsigned char*>(std::aligned_alloc(kPage, kBlock)), release);
  if (!buffer)
    return unknown("there is no memory for a buffer of 4 MiB", "bench", "close other programs");

  const IgnoredSignal too_large(SIGXFSZ);
  Measurement measurement{bench, progress, file.stream(), buffer.get()};
  DiskSpeed& speed = measurement.speed;
  speed.space = *space;
  Bytes most = std::max(bench.most, kLeast);
  if (most > room) {
    most = room;
    speed.notes.emplace_back("half of the free space is used, not more");
  }
  const double long_part = bench.seconds * 0.35, short_part = bench.seconds * 0.15;
  most =
      Bytes(most.count() / static_cast<std::int64_t>(kBlock) * static_cast<std::int64_t>(kBlock));
  if (const auto error = measurement.write_sequentially(most, long_part)) return *error;
  if (const auto error = measurement.read_sequentially(long_part)) return *error;
  if (const auto error = measurement.random("random reading", false, short_part, speed.random_read))
    return *error;
  if (const auto error = measurement.random("random writing", true, short_part, speed.random_write))
    return *error;
  speed.seconds = measurement.whole.seconds();
  if (space->is_memory)
    speed.notes.emplace_back("this is memory (" + space->file_system + "), not a disk");
  else if (!speed.is_direct)
    speed.notes.emplace_back(
        "O_DIRECT is refused here; fsync and POSIX_FADV_DONTNEED stand in, and the page "
        "cache may still help");
  return std::move(speed);
}

}  // namespace qwenplan
