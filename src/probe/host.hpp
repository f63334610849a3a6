#pragma once

#include <optional>
#include <string>

#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// What the operating system says of this machine. What it does not say is absent.
struct Host {
  int logical_cpus = 0;          ///< 0: not known
  std::string cpu;               ///< "AMD Ryzen 5 5600X 6-Core Processor"; empty: not known
  std::optional<Bytes> total;    ///< memory
  std::optional<Bytes> available;  ///< memory that programs can have without swapping
};

Host probe_host();

}  // namespace qwenplan
