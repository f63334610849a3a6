#include "probe/processes.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string_view>

namespace qwenplan {
namespace {

std::string path_of(pid_t process, const char* file) {
  return "/proc/" + std::to_string(process) + "/" + file;
}

}  // namespace

std::optional<HostProcess> read_process(pid_t id) {
  std::ifstream file(path_of(id, "stat"));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // "PID (name) state parent ...": the name may hold blanks and parentheses.
  const std::size_t open = line.find('(');
  const std::size_t close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return std::nullopt;
  HostProcess process;
  process.id = id;
  process.name = line.substr(open + 1, close - open - 1);
  std::istringstream fields(line.substr(close + 1));
  std::string skipped;
  fields >> skipped >> process.parent;
  constexpr int kResident = 24;  // of proc(5), counted from 1
  for (int field = 5; field < kResident; ++field) fields >> skipped;
  std::int64_t pages = 0;
  if (fields >> pages) process.resident = Bytes(sysconf(_SC_PAGESIZE)) * pages;
  return process;
}

std::vector<HostProcess> all_processes() {
  std::vector<HostProcess> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc"), closedir);
  if (!folder) return found;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    pid_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc{} || end != name.data() + name.size()) continue;
    if (auto process = read_process(id)) found.push_back(std::move(*process));
  }
  return found;
}

std::vector<HostProcess> descendants(const std::vector<HostProcess>& all, pid_t root) {
  std::set<pid_t> family{root};
  // Numbers come round again, so that a child may stand before its parent.
  for (std::size_t before = 0; before != family.size();) {
    before = family.size();
    for (const HostProcess& process : all)
      if (family.count(process.parent) > 0) family.insert(process.id);
  }
  std::vector<HostProcess> found;
  std::copy_if(all.begin(), all.end(), std::back_inserter(found),
               [&](const HostProcess& process) { return family.count(process.id) > 0; });
  return found;
}

std::optional<Bytes> proportional_size(pid_t process) {
  std::ifstream file(path_of(process, "smaps_rollup"));
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Pss:")) continue;
    std::istringstream fields(line.substr(4));
    std::int64_t kibibytes = 0;
    if (fields >> kibibytes) return Bytes(1024) * kibibytes;
  }
  return std::nullopt;
}

}  // namespace qwenplan
