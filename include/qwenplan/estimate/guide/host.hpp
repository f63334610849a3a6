#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan::guide {

/// A Python dict whose keys are data: it keeps their order.
template <class T>
using Dict = std::vector<std::pair<std::string, T>>;

/// The answer of the guide's `calculate_training_memory`, in MB of 2^20 bytes. The parts leave out
/// the 2048 MB of a browser that the total has.
struct TrainingMemory {
  std::int64_t os_overhead_mb = 4 * 1024;
  double dataset_cache_mb = 0;
  double model_memory_mb = 0;
  std::int64_t training_overhead_mb = 4 * 1024;
  double total_needed_mb = 0;
  std::int64_t recommended_ram_gb = 0;
};

template <class Visit>
void for_each_field(const TrainingMemory& memory, Visit&& visit) {
  visit("os_overhead_mb", memory.os_overhead_mb);
  visit("dataset_cache_mb", memory.dataset_cache_mb);
  visit("model_memory_mb", memory.model_memory_mb);
  visit("training_overhead_mb", memory.training_overhead_mb);
  visit("total_needed_mb", memory.total_needed_mb);
  visit("recommended_ram_gb", memory.recommended_ram_gb);
}

/// Host memory as the guide has it, from two sizes in GB. Sizes whose sum is no whole number of GB
/// that can be counted are refused; the guide's code fails on infinity and on what is no number.
inline Result<TrainingMemory> calculate_training_memory(double dataset_size_gb,
                                                        double model_size_gb) {
  constexpr double kBrowserMb = 2 * 1024;
  constexpr double kCountable = 9223372036854775808.0;  // 2^63
  TrainingMemory memory;
  memory.dataset_cache_mb = std::min(dataset_size_gb * 1024, 8.0 * 1024);
  memory.model_memory_mb = model_size_gb * 1024 * 0.5;
  memory.total_needed_mb = static_cast<double>(memory.os_overhead_mb) + kBrowserMb +
                           memory.dataset_cache_mb + memory.model_memory_mb +
                           static_cast<double>(memory.training_overhead_mb);
  const double with_buffer = memory.total_needed_mb / 1024 * 1.2;
  if (!(with_buffer > -kCountable && with_buffer < kCountable))
    return Error{Error::Kind::wrong, "the guide cannot turn this much memory into whole GB",
                 "--dataset-size, --model-size", "write sizes such as 5GB and 14GB"};
  memory.recommended_ram_gb = static_cast<std::int64_t>(with_buffer);
  return memory;
}

/// One standard size of memory and what the guide says of it.
struct RamSize {
  std::string ram_size;
  bool suitable = false;
  std::string performance;
};

template <class Visit>
void for_each_field(const RamSize& size, Visit&& visit) {
  visit("ram_size", size.ram_size);
  visit("suitable", size.suitable);
  visit("performance", size.performance);
}

/// The answer of the guide's `recommend_ram_config`.
struct RamAdvice {
  std::string use_case;
  TrainingMemory memory_breakdown;
  std::vector<RamSize> recommended_configs;
  std::string note;  ///< ours, and no field of the guide's answer: empty, or what was taken instead
};

template <class Visit>
void for_each_field(const RamAdvice& advice, Visit&& visit) {
  visit("use_case", advice.use_case);
  visit("memory_breakdown", advice.memory_breakdown);
  visit("recommended_configs", advice.recommended_configs);
}

/// The guide's advice for basic_3b, advanced_7b or production_14b; any other use case is answered
/// as basic_3b, with a note.
inline RamAdvice recommend_ram_config(std::string_view use_case) {
  struct Case {
    std::string_view name;
    double dataset_gb;
    double model_gb;
    const char* description;
  };
  constexpr std::array<Case, 3> kCases = {{
      {"basic_3b", 2, 6, "Basic 3B model fine-tuning"},
      {"advanced_7b", 5, 14, "Advanced 7B model with large dataset"},
      {"production_14b", 10, 28, "Production 14B model training"},
  }};
  const auto* found = std::find_if(kCases.begin(), kCases.end(),
                                   [&](const Case& entry) { return entry.name == use_case; });
  RamAdvice advice;
  if (found == kCases.end()) {
    found = kCases.begin();
    advice.note = "the guide has no use case '" + std::string(use_case.substr(0, 40)) +
                  "' (basic_3b, advanced_7b, production_14b) and answers as for basic_3b";
  }
  advice.use_case = found->description;
  advice.memory_breakdown = calculate_training_memory(found->dataset_gb, found->model_gb).value();
  const bool fits_16 = advice.memory_breakdown.recommended_ram_gb <= 16;
  advice.recommended_configs = {{"16GB", fits_16, fits_16 ? "Basic" : "Insufficient"},
                                {"32GB", true, "Optimal"},
                                {"64GB", true, "Overkill (unless multiple models)"}};
  return advice;
}

/// The two arguments of one call of the guide's `adjust_batch_size`.
struct BatchEvent {
  bool memory_error = false;
  bool underutilized = false;
};

/// One step of the guide's DynamicBatchSizer, which stays within 1 and 16 but leaves a start
/// outside of them. Out of memory at batch 1 counts as nothing, so that a second flag can double
/// the batch.
inline std::int64_t adjust_batch_size(std::int64_t batch, BatchEvent event) {
  constexpr std::int64_t kSmallest = 1;
  constexpr std::int64_t kLargest = 16;
  if (event.memory_error && batch > kSmallest) return std::max(kSmallest, batch / 2);
  if (event.underutilized && batch < kLargest)
    return std::min(kLargest, Saturating::multiply(batch, 2));
  return batch;
}

/// The batch size after each event, from DynamicBatchSizer(start); the guide's own start is 4.
inline std::vector<std::int64_t> batch_sizes(std::int64_t start,
                                             const std::vector<BatchEvent>& events) {
  std::vector<std::int64_t> sizes;
  sizes.reserve(events.size());
  for (const BatchEvent event : events) sizes.push_back(start = adjust_batch_size(start, event));
  return sizes;
}

/// The answer of the guide's `optimize_torch_settings`.
struct TorchSettings {
  std::int64_t torch_threads = 0;
  std::int64_t interop_threads = 2;
  bool cudnn_benchmark = true;
  std::int64_t total_cpu_cores = 0;
  std::int64_t physical_cores = 0;
};

template <class Visit>
void for_each_field(const TorchSettings& settings, Visit&& visit) {
  visit("torch_threads", settings.torch_threads);
  visit("interop_threads", settings.interop_threads);
  visit("cudnn_benchmark", settings.cudnn_benchmark);
  visit("total_cpu_cores", settings.total_cpu_cores);
  visit("physical_cores", settings.physical_cores);
}

/// Threads for a machine of that many logical CPUs (at least 1): half of them, so none for one CPU.
inline TorchSettings optimize_torch_settings(std::int64_t logical_cpus) {
  TorchSettings settings;
  settings.total_cpu_cores = logical_cpus;
  settings.physical_cores = logical_cpus / 2;
  settings.torch_threads = settings.physical_cores;
  return settings;
}

/// DataLoader workers as the guide has them, for a machine of that many logical CPUs (at least 1).
inline std::int64_t optimize_dataloader_workers(std::int64_t logical_cpus, std::int64_t batch) {
  return std::max<std::int64_t>(0, std::min<std::int64_t>({logical_cpus / 2 - 2, batch, 8}));
}

/// The variables of the guide's `set_environment_variables`; nothing is set here.
inline Dict<std::string> set_environment_variables(std::int64_t logical_cpus) {
  const std::string threads = std::to_string(logical_cpus / 2);
  return {{"OMP_NUM_THREADS", threads},
          {"MKL_NUM_THREADS", threads},
          {"NUMEXPR_NUM_THREADS", threads},
          {"TOKENIZERS_PARALLELISM", "true"}};
}

/// The variables of the guide's `optimize_cache_settings` under a folder, spelt as Python's pathlib
/// does on POSIX; nothing is set or made here.
inline Dict<std::string> optimize_cache_settings(std::string_view base) {
  const std::size_t slashes = std::min(base.find_first_not_of('/'), base.size());
  std::string root = slashes == 0 ? "" : slashes == 2 ? "//" : "/";  // POSIX keeps exactly two.
  for (std::string_view rest = base.substr(slashes); !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (!part.empty() && part != ".") root.append(part) += '/';
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
  }
  const std::string cache = root + "datasets/cache";
  return {{"HF_DATASETS_CACHE", cache},
          {"TRANSFORMERS_CACHE", cache + "/transformers"},
          {"HF_HOME", cache + "/huggingface"},
          {"TORCH_HOME", cache + "/torch"}};
}

}  // namespace qwenplan::guide
