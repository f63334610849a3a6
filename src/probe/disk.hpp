#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// What a file system says of itself.
struct DiskSpace {
  Bytes total{};
  Bytes available{};        ///< to this user
  std::string file_system;  ///< "ext4"; empty: not known
  bool is_memory = false;   ///< tmpfs and the like: no disk at all
};

Result<DiskSpace> disk_space_of(const std::string& folder);

/// Bounds of a measurement: it ends with the first that is reached.
struct DiskBench {
  std::string folder;
  Bytes most =
      Bytes(1024 * 1024 * 1024);  ///< written at most, and never more than half of what is free
  double seconds = 20;
};

/// Speeds as this machine sees them. Bytes a second; operations of 4 KiB a second, one at a time.
struct DiskSpeed {
  double sequential_write = 0;  ///< with fsync
  double sequential_read = 0;
  double random_read = 0;
  double random_write = 0;  ///< with fsync
  Bytes size{};             ///< of the file
  double seconds = 0;       ///< that it took
  bool is_direct = false;   ///< O_DIRECT; else fsync and POSIX_FADV_DONTNEED
  DiskSpace space;
  std::vector<std::string> notes;
};

/// Writes and reads a file that has no name in the folder, or loses it at once: whatever ends the
/// program, nothing stays behind. `progress` hears a phase and how much of it is done, 0 to 1.
Result<DiskSpeed> bench_disk(
    const DiskBench& bench,
    const std::function<void(std::string_view phase, double done)>& progress);

}  // namespace qwenplan
