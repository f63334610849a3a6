#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/result.hpp"

namespace qwenplan::guide {

/// What the guide lets a run have on its RTX 3060: 12 GB less 1 GB, in its MB of 2^20 bytes.
inline constexpr std::int64_t kAvailableVramMb = 12 * 1024 - 1024;

/// The answer of the guide's `calculate_model_memory`.
struct ModelMemory {
  double model_size_mb = 0;  ///< 10^6 bytes, although it is compared with MB of 2^20
  double gradient_memory_mb = 0;
  double optimizer_memory_mb = 0;
  double activation_memory_mb = 0;
  double total_memory_mb = 0;
  bool fits_in_vram = false;
  double memory_utilization = 0;  ///< percent
};

template <class Visit>
void for_each_field(const ModelMemory& memory, Visit&& visit) {
  visit("model_size_mb", memory.model_size_mb);
  visit("gradient_memory_mb", memory.gradient_memory_mb);
  visit("optimizer_memory_mb", memory.optimizer_memory_mb);
  visit("activation_memory_mb", memory.activation_memory_mb);
  visit("total_memory_mb", memory.total_memory_mb);
  visit("fits_in_vram", memory.fits_in_vram);
  visit("memory_utilization", memory.memory_utilization);
}

namespace detail {

inline ModelMemory model_memory(double params_b, double bytes_per_param) {
  const auto available = static_cast<double>(kAvailableVramMb);
  ModelMemory memory;
  memory.model_size_mb = params_b * 1000 * bytes_per_param;
  memory.gradient_memory_mb = memory.model_size_mb;
  memory.optimizer_memory_mb = memory.model_size_mb * 2;
  memory.activation_memory_mb = memory.model_size_mb * 0.5;
  memory.total_memory_mb = memory.model_size_mb + memory.gradient_memory_mb +
                           memory.optimizer_memory_mb + memory.activation_memory_mb;
  memory.fits_in_vram = memory.total_memory_mb <= available;
  memory.memory_utilization = memory.total_memory_mb / available * 100;
  return memory;
}

}  // namespace detail

/// Memory of full fine-tuning as the guide has it. `params_b` in 10^9; `precision` is fp32, fp16,
/// int8 or int4, and any other is refused (the guide's code fails on it).
inline Result<ModelMemory> calculate_model_memory(double params_b,
                                                  std::string_view precision = "fp16") {
  if (precision == "fp32") return detail::model_memory(params_b, 4);
  if (precision == "fp16") return detail::model_memory(params_b, 2);
  if (precision == "int8") return detail::model_memory(params_b, 1);
  if (precision == "int4") return detail::model_memory(params_b, 0.5);
  return Error{Error::Kind::wrong,
               "the guide has no precision '" + std::string(precision.substr(0, 40)) + "'",
               "--precision", "fp32, fp16, int8 or int4"};
}

/// One of the ways to fine-tune that `recommend_optimization` lists.
struct OptimizationStrategy {
  std::string method;
  double memory_usage = 0;  ///< MB
  double utilization = 0;   ///< percent
  bool feasible = false;
};

template <class Visit>
void for_each_field(const OptimizationStrategy& strategy, Visit&& visit) {
  visit("method", strategy.method);
  visit("memory_usage", strategy.memory_usage);
  visit("utilization", strategy.utilization);
  visit("feasible", strategy.feasible);
}

/// The answer of the guide's `recommend_optimization`.
struct OptimizationAdvice {
  double model_params = 0;  ///< 10^9
  std::int64_t available_vram_mb = kAvailableVramMb;
  std::vector<OptimizationStrategy> strategies;
};

template <class Visit>
void for_each_field(const OptimizationAdvice& advice, Visit&& visit) {
  visit("model_params", advice.model_params);
  visit("available_vram_mb", advice.available_vram_mb);
  visit("strategies", advice.strategies);
}

/// What the guide would do with a model: fp16 and 8-bit where they fit, and QLoRA always, feasible
/// or not. `params_b` in 10^9.
inline OptimizationAdvice recommend_optimization(double params_b) {
  OptimizationAdvice advice;
  advice.model_params = params_b;
  const auto add = [&](const char* method, const ModelMemory& memory) {
    if (memory.fits_in_vram)
      advice.strategies.push_back(
          {method, memory.total_memory_mb, memory.memory_utilization, true});
  };
  add("Full Fine-tuning (FP16)", detail::model_memory(params_b, 2));
  add("8-bit Fine-tuning", detail::model_memory(params_b, 1));
  const auto available = static_cast<double>(kAvailableVramMb);
  const double qlora = params_b * 1000 * 0.5 + 2048;
  advice.strategies.push_back(
      {"QLoRA (4-bit + LoRA)", qlora, qlora / available * 100, qlora <= available});
  return advice;
}

}  // namespace qwenplan::guide
