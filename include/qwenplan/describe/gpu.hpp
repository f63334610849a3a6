#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// A figure that knows how it is known; `source` is a key of data/sources.json, empty if assumed.
template <class T>
struct Sourced {
  T value{};
  Evidence evidence = Evidence::assumed;
  std::string source;
};

/// What a graphics card offers to a training step.
struct Gpu {
  std::string id;
  std::string name;    ///< as the driver reports it
  std::string vendor;  ///< nvidia, amd, apple, intel
  std::string generation;   ///< Turing, Ampere, ...
  int compute_capability = 0;  ///< 86 for 8.6; 0 where the vendor has none
  Sourced<Bytes> memory;       ///< nominal size
  std::optional<Sourced<Bytes>> driver_total;  ///< what nvidia-smi reports as total, where known
  Sourced<double> bandwidth;                   ///< bytes per second
  std::optional<Sourced<double>> bf16_rate;    ///< dense tensor FLOP/s with fp32 accumulate
  std::optional<Sourced<double>> fp16_rate;    ///< dense tensor FLOP/s with fp32 accumulate
  std::optional<Sourced<double>> fp32_rate;    ///< FLOP/s outside tensor cores
  std::optional<Sourced<double>> power;        ///< watts, board limit
  std::optional<Sourced<double>> launch_price; ///< US dollars
  std::optional<Sourced<double>> street_price; ///< US dollars that dealers asked, on no known day
  std::string launch_date;
  bool has_bf16 = false;
  bool has_flash_attention = false;
  int multiprocessors = 0;  ///< streaming multiprocessors; 0: not known

  bool is_cuda() const { return vendor == "nvidia"; }

  /// What it costs, as far as is known: its price at launch, else what dealers asked.
  const std::optional<Sourced<double>>& price() const {
    return launch_price ? launch_price : street_price;
  }
};

}  // namespace qwenplan
