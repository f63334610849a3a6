#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// A program's share of the host's memory.
struct HostProcess {
  pid_t id = 0;
  pid_t parent = 0;
  std::string name;  ///< as the kernel knows it: at most 15 letters
  Bytes resident{};  ///< what it touches, pages that it shares with others counted in full
};

/// One program; nothing if it is gone.
std::optional<HostProcess> read_process(pid_t process);

/// Every program that can be seen.
std::vector<HostProcess> all_processes();

/// Those of `all` that are `root` or came from it.
std::vector<HostProcess> descendants(const std::vector<HostProcess>& all, pid_t root);

/// The proportional size of a program: a page that three share counts a third. Nothing where it may
/// not be read, or is gone. It walks the whole page table: some milliseconds for each GiB.
std::optional<Bytes> proportional_size(pid_t process);

}  // namespace qwenplan
