#include "probe/nvml.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

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
struct ProcessInfo1 {
  unsigned pid;
  unsigned long long used;
};
struct ProcessInfo {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
constexpr int kSuccess = 0;
constexpr int kInsufficientSize = 7;
constexpr unsigned kMemory2Version = sizeof(Memory2) | (2U << 24);
constexpr unsigned long long kNotAvailable = ~0ULL;

struct Close {
  void operator()(void* library) const { dlclose(library); }
};
using Library = std::unique_ptr<void, Close>;

/// The first function of the library that has one of the names, or null: newer forms come first.
template <class Function>
Function* function(const Library& library, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (void* found = dlsym(library.get(), name)) return reinterpret_cast<Function*>(found);
  return nullptr;
}

Library open_library() {
  for (const char* name : {"libnvidia-ml.so.1", "libnvidia-ml.so",
                           "/usr/lib/wsl/lib/libnvidia-ml.so.1"})
    if (void* library = dlopen(name, RTLD_LAZY | RTLD_LOCAL)) return Library(library);
  return nullptr;
}

Bytes counted(unsigned long long bytes) { return Bytes(static_cast<std::int64_t>(bytes)); }

/// nvml.h's words for the statuses that a watcher meets.
std::string reason(int status) {
  switch (status) {
    case 3: return "it does not support this";
    case 4: return "no permission";
    case 9: return "the driver is not loaded";
    case 15: return "the GPU is lost: it has fallen off the bus";
    case 16: return "the GPU must be reset";
    case 18: return "library and driver are of different versions: restart the machine";
    default: return "status " + std::to_string(status);
  }
}

/// The processes of one list of the driver; nothing where it does not tell.
template <class Info>
std::vector<GpuProcess> listed(int (*list)(Device, unsigned*, Info*), Device device) {
  std::vector<Info> infos(64);
  auto count = static_cast<unsigned>(infos.size());
  int status = list(device, &count, infos.data());
  if (status == kInsufficientSize && count < (1U << 16)) {
    infos.resize(count + 16);
    count = static_cast<unsigned>(infos.size());
    status = list(device, &count, infos.data());
  }
  std::vector<GpuProcess> found;
  if (status != kSuccess) return found;
  for (unsigned i = 0; i < count && i < infos.size(); ++i)
    found.push_back({infos[i].pid, infos[i].used == kNotAvailable ? Bytes() : counted(infos[i].used)});
  return found;
}

}  // namespace

struct Nvml::Session {
  Library library;
  std::string version;
  unsigned count = 0;
  int (*shut_down)() = nullptr;
  int (*device_at)(unsigned, Device*) = nullptr;
  int (*name_of)(Device, char*, unsigned) = nullptr;
  int (*memory)(Device, Memory*) = nullptr;
  int (*memory2)(Device, Memory2*) = nullptr;
  int (*compute)(Device, unsigned*, ProcessInfo*) = nullptr;
  int (*graphics)(Device, unsigned*, ProcessInfo*) = nullptr;
  int (*compute1)(Device, unsigned*, ProcessInfo1*) = nullptr;

  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    if (shut_down) shut_down();
  }

  /// The second form of the call leaves the driver's own share out of `used`. No program can have
  /// it, so it is counted as used here, as the first form does.
  int read_memory(Device device, LiveGpu& gpu) const {
    if (memory2) {
      Memory2 now{kMemory2Version, 0, 0, 0, 0};
      if (memory2(device, &now) == kSuccess) {
        gpu.total = counted(now.total);
        gpu.used = counted(now.used + now.reserved);
        return kSuccess;
      }
    }
    Memory now{};
    const int status = memory(device, &now);
    if (status == kSuccess) {
      gpu.total = counted(now.total);
      gpu.used = counted(now.used);
    }
    return status;
  }

  std::vector<GpuProcess> processes(Device device) const {
    if (!compute) return compute1 ? listed(compute1, device) : std::vector<GpuProcess>{};
    std::vector<GpuProcess> found = listed(compute, device);
    if (!graphics) return found;
    // A program that computes and draws stands in both lists, with the same amount.
    for (const GpuProcess& process : listed(graphics, device))
      if (std::none_of(found.begin(), found.end(),
                       [&](const GpuProcess& other) { return other.id == process.id; }))
        found.push_back(process);
    return found;
  }
};

Result<Nvml> Nvml::open() {
  auto session = std::make_shared<Session>();
  Session& s = *session;
  s.library = open_library();
  if (!s.library)
    return unknown("no NVIDIA driver is installed here", "name the card instead: --gpu rtx3060");
  const Library& library = s.library;
  auto* init = function<int()>(library, {"nvmlInit_v2", "nvmlInit"});
  auto* shut_down = function<int()>(library, {"nvmlShutdown"});
  auto* count_devices =
      function<int(unsigned*)>(library, {"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"});
  auto* version_of = function<int(char*, unsigned)>(library, {"nvmlSystemGetDriverVersion"});
  s.device_at = function<int(unsigned, Device*)>(
      library, {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"});
  s.name_of = function<int(Device, char*, unsigned)>(library, {"nvmlDeviceGetName"});
  s.memory = function<int(Device, Memory*)>(library, {"nvmlDeviceGetMemoryInfo"});
  s.memory2 = function<int(Device, Memory2*)>(library, {"nvmlDeviceGetMemoryInfo_v2"});
  s.compute = function<int(Device, unsigned*, ProcessInfo*)>(
      library, {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"});
  s.graphics = function<int(Device, unsigned*, ProcessInfo*)>(
      library,
      {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"});
  s.compute1 = function<int(Device, unsigned*, ProcessInfo1*)>(
      library, {"nvmlDeviceGetComputeRunningProcesses"});
  if (!init || !shut_down || !count_devices || !s.device_at || !s.name_of || !s.memory)
    return unknown("libnvidia-ml lacks the functions of any driver since 2013",
                   "name the card instead: --gpu rtx3060");
  if (const int status = init(); status != kSuccess)
    return unknown("the NVIDIA driver does not answer: " + reason(status),
                   "is it loaded? nvidia-smi tells more");
  s.shut_down = shut_down;

  char text[128] = "";
  if (version_of && version_of(text, sizeof text) == kSuccess) s.version = text;
  if (count_devices(&s.count) != kSuccess) s.count = 0;
  if (s.count == 0)
    return unknown("the NVIDIA driver is here, but shows no GPU",
                   "is one given to this machine or container?");
  return Nvml(std::move(session));
}

const std::string& Nvml::version() const { return session_->version; }

unsigned Nvml::count() const { return session_->count; }

Result<LiveGpu> Nvml::read(unsigned index) const {
  const Session& s = *session_;
  Device device = nullptr;
  LiveGpu gpu;
  gpu.index = index;
  int status = s.device_at(index, &device);
  if (status == kSuccess) status = s.read_memory(device, gpu);
  if (status != kSuccess)
    return unknown("GPU " + std::to_string(index) + " does not answer: " + reason(status),
                   "nvidia-smi and dmesg tell more");
  char text[128] = "";
  if (s.name_of(device, text, sizeof text) == kSuccess) gpu.name = text;
  gpu.processes = s.processes(device);
  return gpu;
}

Result<Driver> probe_driver() {
  const auto nvml = Nvml::open();
  if (!nvml) return nvml.error();
  Driver driver;
  driver.version = nvml->version();
  Error last = unknown("the NVIDIA driver is here, but shows no GPU",
                       "is one given to this machine or container?");
  for (unsigned i = 0; i < nvml->count(); ++i) {
    auto gpu = nvml->read(i);
    if (gpu) driver.gpus.push_back(std::move(*gpu));
    else last = gpu.error();
  }
  if (driver.gpus.empty()) return last;
  return driver;
}

}  // namespace qwenplan
