// A libnvidia-ml.so.1 for tests. It answers what the file named by FAKE_NVML says, which is read
// again at each call, so that a test can change the machine while it is watched:
//
//   driver 550.54.15                    the driver's version
//   init 9                              nvmlInit answers this status
//   gpu 12884901888 536870912 A name    total and used bytes, and the name, of the next GPU
//   process 0 4711 268435456            a program on GPU 0: its number and bytes; - for not told
//   lost 0 15                           GPU 0 answers this status to everything
//
// Bytes of processes are added to what their GPU uses.

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Process {
  unsigned id = 0;
  unsigned long long used = 0;
  bool is_told = true;
};
struct Gpu {
  unsigned long long total = 0, used = 0;
  std::string name;
  int status = 0;
  std::vector<Process> processes;
};
struct Machine {
  std::string driver;
  int init = 0;
  std::vector<Gpu> gpus;
};

Machine machine() {
  Machine read;
  const char* path = std::getenv("FAKE_NVML");
  std::ifstream file(path == nullptr ? "" : path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string what, bytes;
    std::size_t index = 0;
    words >> what;
    if (what == "driver") {
      words >> read.driver;
    } else if (what == "init") {
      words >> read.init;
    } else if (what == "gpu") {
      Gpu gpu;
      words >> gpu.total >> gpu.used >> std::ws;
      std::getline(words, gpu.name);
      read.gpus.push_back(gpu);
    } else if (words >> index && index < read.gpus.size()) {
      Gpu& gpu = read.gpus[index];
      if (what == "lost") words >> gpu.status;
      if (what == "process") {
        Process process;
        words >> process.id >> bytes;
        process.is_told = bytes != "-";
        if (process.is_told) process.used = std::stoull(bytes);
        gpu.used += process.used;
        gpu.processes.push_back(process);
      }
    }
  }
  return read;
}

// A handle is the number of the GPU, counted from 1, since null is none.
std::size_t index_of(void* device) { return reinterpret_cast<std::size_t>(device) - 1; }

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
constexpr int kInvalid = 2;
constexpr int kTooSmall = 7;

int copy(const std::string& text, char* out, unsigned size) {
  if (text.size() + 1 > size) return kTooSmall;
  std::memcpy(out, text.c_str(), text.size() + 1);
  return 0;
}

}  // namespace

extern "C" {

int nvmlInit_v2() { return machine().init; }
int nvmlShutdown() { return 0; }
int nvmlSystemGetDriverVersion(char* text, unsigned size) { return copy(machine().driver, text, size); }
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(machine().gpus.size());
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  const Machine now = machine();
  if (index >= now.gpus.size()) return kInvalid;
  *device = reinterpret_cast<void*>(static_cast<std::size_t>(index) + 1);
  return now.gpus[index].status;
}
int nvmlDeviceGetName(void* device, char* text, unsigned size) {
  return copy(machine().gpus.at(index_of(device)).name, text, size);
}
int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  const Gpu gpu = machine().gpus.at(index_of(device));
  *memory = {gpu.total, gpu.total - gpu.used, gpu.used};
  return gpu.status;
}
int nvmlDeviceGetMemoryInfo_v2(void* device, Memory2* memory) {
  if (memory->version != (sizeof(Memory2) | (2U << 24))) return kInvalid;
  const Gpu gpu = machine().gpus.at(index_of(device));
  // The second form leaves the driver's own share out of `used`.
  const unsigned long long reserved = gpu.used < (64ULL << 20) ? gpu.used : 64ULL << 20;
  *memory = {memory->version, gpu.total, reserved, gpu.total - gpu.used, gpu.used - reserved};
  return gpu.status;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, ProcessInfo* infos) {
  const Gpu gpu = machine().gpus.at(index_of(device));
  const unsigned room = *count;
  *count = static_cast<unsigned>(gpu.processes.size());
  if (*count > room) return kTooSmall;
  for (std::size_t i = 0; i < gpu.processes.size(); ++i)
    infos[i] = {gpu.processes[i].id, gpu.processes[i].is_told ? gpu.processes[i].used : ~0ULL, 0, 0};
  return gpu.status;
}

}  // extern "C"
