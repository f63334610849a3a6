#include "probe/host.hpp"

#include <fstream>
#include <sstream>
#include <thread>

namespace qwenplan {

Host probe_host() {
  Host host;
  host.logical_cpus = static_cast<int>(std::thread::hardware_concurrency());

  std::string line;
  for (std::ifstream cpus("/proc/cpuinfo"); host.cpu.empty() && std::getline(cpus, line);)
    if (line.starts_with("model name"))
      if (const std::size_t colon = line.find(": "); colon != std::string::npos)
        host.cpu = line.substr(colon + 2);

  for (std::ifstream memory("/proc/meminfo"); std::getline(memory, line);) {
    std::istringstream words(line);
    std::string key;
    std::int64_t kibibytes = 0;
    if (!(words >> key >> kibibytes)) continue;
    if (key == "MemTotal:") host.total = Bytes(1024) * kibibytes;
    if (key == "MemAvailable:") host.available = Bytes(1024) * kibibytes;
  }
  return host;
}

}  // namespace qwenplan
