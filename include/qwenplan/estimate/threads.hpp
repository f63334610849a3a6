#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "qwenplan/describe/cpu.hpp"

namespace qwenplan {

/// How one training process should share a processor with its data workers.
struct ThreadPlan {
  std::int64_t threads = 1;          ///< torch.set_num_threads, OMP_NUM_THREADS
  std::int64_t interop_threads = 1;  ///< torch.set_num_interop_threads
  std::int64_t workers = 0;          ///< DataLoader(num_workers=...)
};

/// A batch of tokenized text is some KiB, and one worker makes hundreds in a second: more than
/// these few bring memory use and no speed. Assumed for text; images need more.
inline constexpr std::int64_t kMostWorkers = 4;

/// PyTorch runs independent operations of one graph in parallel only for scripted models: two
/// threads are enough for eager training.
inline constexpr std::int64_t kMostInterop = 2;

/// Threads for each of `processes` training processes (one for a GPU).
///
/// One thread for a physical core: two threads of one core share its arithmetic units. On a hybrid
/// processor the fast cores alone, since PyTorch divides work evenly and waits for the slowest. A
/// control group's quota counts like that many cores. Workers take what is left of all cores when
/// each process has kept one for itself.
inline ThreadPlan plan_threads(const Cpu& cpu, std::int64_t processes = 1) {
  const auto limited = [&](std::int64_t cores) {
    if (cpu.quota) cores = std::min(cores, static_cast<std::int64_t>(std::floor(*cpu.quota)));
    return std::max<std::int64_t>(1, cores / std::max<std::int64_t>(1, processes));
  };
  ThreadPlan plan;
  plan.threads = limited(cpu.performance.physical);
  plan.interop_threads = std::min(plan.threads, kMostInterop);
  plan.workers = std::min(kMostWorkers, limited(cpu.physical()) - 1);
  return plan;
}

/// One class of processors for a machine with one GPU.
struct CpuTier {
  std::string_view name;
  std::int64_t cores;         ///< physical cores from which on it counts
  std::string_view examples;  ///< parts with their own cores and threads
  std::string_view use;
};

/// The guide's four classes by physical cores, with the cores that its examples really have: the
/// two hybrid parts move up a class.
inline constexpr std::array<CpuTier, 4> kCpuTiers = {{
    {"budget", 6, "Ryzen 5 5600X (6C/12T), i5-12400 (6C/12T)", "one GPU, data tokenized ahead"},
    {"mainstream", 8, "Ryzen 7 5700X (8C/16T)", "one GPU, tokenizing while it trains"},
    {"high-end", 12, "Ryzen 9 5900X (12C/24T), i7-12700 (8P + 4E, 20T)",
     "one or two GPUs, large data to prepare"},
    {"workstation", 16, "i9-12900K (8P + 8E, 24T), Threadripper and Xeon families",
     "several GPUs, optimizer offloaded to the CPU"},
}};

/// The class of a processor; null below the first.
constexpr const CpuTier* tier_of(std::int64_t physical_cores) {
  const CpuTier* found = nullptr;
  for (const CpuTier& tier : kCpuTiers)
    if (physical_cores >= tier.cores) found = &tier;
  return found;
}

}  // namespace qwenplan
