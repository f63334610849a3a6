#include "probe/nvml.hpp"

#include <dlfcn.h>

#include <memory>
#include <string>

namespace qwenplan {
namespace {

Error unknown(std::string what, std::string hint) {
  return {Error::Kind::unknown, std::move(what), "NVIDIA driver", std::move(hint)};
}

// The few types of nvml.h that are needed, as its ABI has fixed them.
using Device = struct nvmlDevice_st*;
struct Memory {
  unsigned long long total, free, used;
};
struct Memory2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
struct ProcessInfo {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
constexpr int kSuccess = 0;
constexpr unsigned kMemory2Version = sizeof(Memory2) | (2U << 24);
constexpr unsigned long long kNotAvailable = ~0ULL;

struct Close {
  void operator()(void* library) const { dlclose(library); }
};
using Library = std::unique_ptr<void, Close>;

/// A function of the library, or null.
template <class Function>
Function* function(const Library& library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library.get(), name));
}

Library open_library() {
  for (const char* name : {"libnvidia-ml.so.1", "libnvidia-ml.so",
                           "/usr/lib/wsl/lib/libnvidia-ml.so.1"})
    if (void* library = dlopen(name, RTLD_LAZY | RTLD_LOCAL)) return Library(library);
  return nullptr;
}

Bytes counted(unsigned long long bytes) { return Bytes(static_cast<std::int64_t>(bytes)); }

std::vector<GpuProcess> processes(const Library& library, Device device) {
  auto* list = function<int(Device, unsigned*, ProcessInfo*)>(
      library, "nvmlDeviceGetComputeRunningProcesses_v3");
  if (!list) return {};
  ProcessInfo infos[64];
  unsigned count = 64;
  if (list(device, &count, infos) != kSuccess) return {};
  std::vector<GpuProcess> found;
  for (unsigned i = 0; i < count; ++i)
    found.push_back({infos[i].pid, infos[i].used == kNotAvailable ? Bytes() : counted(infos[i].used)});
  return found;
}

/// The second form of the call leaves the driver's own share out of `used`. No program can have it,
/// so it is counted as used here, as the first form does.
bool read_memory(const Library& library, Device device, LiveGpu& gpu) {
  if (auto* read = function<int(Device, Memory2*)>(library, "nvmlDeviceGetMemoryInfo_v2")) {
    Memory2 memory{kMemory2Version, 0, 0, 0, 0};
    if (read(device, &memory) == kSuccess) {
      gpu.total = counted(memory.total);
      gpu.used = counted(memory.used + memory.reserved);
      return true;
    }
  }
  auto* read = function<int(Device, Memory*)>(library, "nvmlDeviceGetMemoryInfo");
  Memory memory{};
  if (!read || read(device, &memory) != kSuccess) return false;
  gpu.total = counted(memory.total);
  gpu.used = counted(memory.used);
  return true;
}

}  // namespace

Result<Driver> probe_driver() {
  const Library library = open_library();
  if (!library)
    return unknown("no NVIDIA driver is installed here", "name the card instead: --gpu rtx3060");
  auto* init = function<int()>(library, "nvmlInit_v2");
  auto* shut_down = function<int()>(library, "nvmlShutdown");
  auto* count_devices = function<int(unsigned*)>(library, "nvmlDeviceGetCount_v2");
  auto* device_at = function<int(unsigned, Device*)>(library, "nvmlDeviceGetHandleByIndex_v2");
  auto* name_of = function<int(Device, char*, unsigned)>(library, "nvmlDeviceGetName");
  auto* version_of = function<int(char*, unsigned)>(library, "nvmlSystemGetDriverVersion");
  if (!init || !shut_down || !count_devices || !device_at || !name_of)
    return unknown("libnvidia-ml lacks the functions of any driver since 2013",
                   "name the card instead: --gpu rtx3060");
  if (const int status = init(); status != kSuccess)
    return unknown("the NVIDIA driver does not answer (status " + std::to_string(status) + ")",
                   "is it loaded? nvidia-smi tells more");

  Driver driver;
  char text[128] = "";
  if (version_of && version_of(text, sizeof text) == kSuccess) driver.version = text;
  unsigned count = 0;
  if (count_devices(&count) != kSuccess) count = 0;
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    LiveGpu gpu;
    gpu.index = i;
    if (device_at(i, &device) != kSuccess || !read_memory(library, device, gpu)) continue;
    if (name_of(device, text, sizeof text) == kSuccess) gpu.name = text;
    gpu.processes = processes(library, device);
    driver.gpus.push_back(std::move(gpu));
  }
  shut_down();
  if (driver.gpus.empty())
    return unknown("the NVIDIA driver is here, but shows no GPU", "is one given to this machine or container?");
  return driver;
}

}  // namespace qwenplan
