#include "probe/topology.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <utility>

namespace qwenplan {
namespace {

/// The whole of a small file without its line end; empty if it cannot be read.
std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// The CPUs that the kernel lets this process run on: affinity, which a cpuset limits too.
std::vector<int> own_affinity() {
  std::vector<int> cpus;
  for (std::size_t count = 1024; count <= (1U << 20U); count *= 4) {
    cpu_set_t* set = CPU_ALLOC(count);
    if (!set) return cpus;
    const std::size_t size = CPU_ALLOC_SIZE(count);
    const bool fits = sched_getaffinity(0, size, set) == 0;
    for (std::size_t i = 0; fits && i < count; ++i)
      if (CPU_ISSET_S(i, size, set)) cpus.push_back(static_cast<int>(i));
    CPU_FREE(set);
    if (fits) break;  // refused: the kernel counts more CPUs than the set holds
  }
  return cpus;
}

/// The CPUs of the slower kind: Intel says so by its counters' names, Arm by their capacity.
std::set<int> slow_cpus(const std::string& root, const std::vector<int>& cpus) {
  const std::vector<int> atoms = parse_cpu_list(contents(root + "/sys/devices/cpu_atom/cpus"));
  if (!atoms.empty()) return {atoms.begin(), atoms.end()};
  std::map<int, std::int64_t> capacity;
  std::int64_t most = 0;
  for (const int cpu : cpus) {
    const auto found = number_in(
        contents(root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpu_capacity"));
    if (!found) return {};
    capacity[cpu] = *found;
    most = std::max(most, *found);
  }
  std::set<int> slow;
  for (const auto& [cpu, value] : capacity)
    if (value < most) slow.insert(cpu);
  return slow;
}

/// The folders of this process' control group from itself up to the root of `controller`; the
/// group's own path may not be visible from within a container, its root is.
std::vector<std::string> group_folders(const std::string& root, std::string_view controller) {
  std::vector<std::string> folders;
  std::istringstream lines(contents(root + "/proc/self/cgroup"));
  const std::string base = root + "/sys/fs/cgroup";
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string mount;
    if (names == ",,")
      mount = base;
    else if (names.find("," + std::string(controller) + ",") != std::string::npos)
      mount = base + "/" + std::string(controller);
    else
      continue;
    std::string path = line.substr(second + 1);
    while (path.starts_with('/') && path != "/") {
      folders.push_back(mount + path);
      path.resize(path.find_last_of('/'));
    }
    folders.push_back(mount);
  }
  return folders;
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view text) {
  constexpr std::int64_t kMost = 1 << 20;
  std::vector<int> cpus;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t dash = item.find('-');
    const auto first = number_in(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number_in(item.substr(dash + 1));
    if (!first || !last || *first < 0 || *last >= kMost) continue;
    for (std::int64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

std::optional<double> group_cpus(const std::string& root) {
  std::optional<double> least;
  const auto limit = [&](std::int64_t quota, std::int64_t period) {
    if (quota <= 0 || period <= 0) return;
    const double cpus = static_cast<double>(quota) / static_cast<double>(period);
    least = std::min(least.value_or(cpus), cpus);
  };
  for (const std::string& folder : group_folders(root, "cpu")) {
    std::istringstream words(contents(folder + "/cpu.max"));
    std::string quota, period;
    if (words >> quota >> period)
      limit(number_in(quota).value_or(0), number_in(period).value_or(0));  // "max": no limit
    limit(number_in(contents(folder + "/cpu.cfs_quota_us")).value_or(0),
          number_in(contents(folder + "/cpu.cfs_period_us")).value_or(0));
  }
  return least;
}

std::optional<Bytes> group_memory(const std::string& root) {
  constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;  // version 1 writes a number for none
  std::optional<Bytes> least;
  for (const std::string& folder : group_folders(root, "memory"))
    for (const char* file : {"/memory.max", "/memory.high", "/memory.limit_in_bytes"})
      if (const auto bytes = number_in(contents(folder + file));
          bytes && *bytes > 0 && *bytes < kNoLimit)
        least = std::min(least.value_or(Bytes(*bytes)), Bytes(*bytes));
  return least;
}

Cpu probe_cpu(const std::string& root, std::optional<std::vector<int>> allowed) {
  const std::string base = root + "/sys/devices/system/cpu/";
  std::vector<int> online = parse_cpu_list(contents(base + "online"));
  std::vector<int> usable = allowed ? std::move(*allowed) : own_affinity();
  if (online.empty()) online = usable;

  Cpu cpu;
  cpu.online = static_cast<std::int64_t>(online.size());
  cpu.quota = group_cpus(root);
  const std::set<int> runs(online.begin(), online.end());
  std::erase_if(usable, [&](int id) { return runs.find(id) == runs.end(); });
  if (usable.empty()) usable = online;

  const std::set<int> slow = slow_cpus(root, usable);
  std::set<std::string> fast_cores, slow_cores, packages;
  for (const int id : usable) {
    const std::string folder = base + "cpu" + std::to_string(id) + "/topology/";
    const std::string package = contents(folder + "physical_package_id");
    std::string core = contents(folder + "thread_siblings_list");
    if (core.empty()) core = contents(folder + "core_cpus_list");
    if (core.empty()) {
      cpu.has_topology = false;
      core = std::to_string(id);
    }
    const bool is_slow = slow.find(id) != slow.end();
    (is_slow ? slow_cores : fast_cores).insert(core);
    ++(is_slow ? cpu.efficiency : cpu.performance).logical;
    if (!package.empty()) packages.insert(package);
  }
  cpu.performance.physical = static_cast<std::int64_t>(fast_cores.size());
  cpu.efficiency.physical = static_cast<std::int64_t>(slow_cores.size());
  if (cpu.performance.logical == 0)
    std::swap(cpu.performance, cpu.efficiency);  // bound to slow ones
  cpu.packages = std::max<std::int64_t>(1, static_cast<std::int64_t>(packages.size()));
  if (!cpu.has_topology) {
    Cpu assumed = cpu_of(cpu.logical());
    assumed.online = cpu.online;
    assumed.quota = cpu.quota;
    cpu = std::move(assumed);
  }

  std::ifstream info(root + "/proc/cpuinfo");
  for (std::string line; cpu.name.empty() && std::getline(info, line);)
    if (line.starts_with("model name"))
      if (const std::size_t colon = line.find(": "); colon != std::string::npos)
        cpu.name = line.substr(colon + 2);
  return cpu;
}

}  // namespace qwenplan
