#pragma once

#include <string>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// A program that holds memory of a GPU.
struct GpuProcess {
  unsigned id = 0;
  Bytes used{};  ///< 0 where the driver does not tell, as under WSL
};

/// What the driver says of one GPU now.
struct LiveGpu {
  unsigned index = 0;
  std::string name;  ///< "NVIDIA GeForce RTX 3060"
  Bytes total{};
  Bytes used{};  ///< by all programs and the driver itself
  std::vector<GpuProcess> processes;
};

struct Driver {
  std::string version;  ///< "550.54.15"
  std::vector<LiveGpu> gpus;
};

/// Asks NVIDIA's management library, which the driver installs; it is opened at run time, so that
/// qwenplan needs no driver. Errors are of kind unknown: no library, no driver, no device.
Result<Driver> probe_driver();

}  // namespace qwenplan
