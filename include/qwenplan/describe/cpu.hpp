#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace qwenplan {

/// Cores of one kind, as the kernel schedules on them.
struct CoreCount {
  std::int64_t physical = 0;
  std::int64_t logical = 0;  ///< hardware threads of these cores
  friend bool operator==(const CoreCount&, const CoreCount&) = default;
};

/// The processor that a program may use, which can be less than the machine has.
struct Cpu {
  std::string name;             ///< "AMD Ryzen 5 5600X 6-Core Processor"; empty: not known
  std::int64_t online = 0;      ///< logical CPUs that run, allowed or not
  CoreCount performance;        ///< allowed cores; all of them where there is one kind
  CoreCount efficiency;         ///< allowed cores of the slower kind of a hybrid processor
  std::int64_t packages = 1;    ///< sockets with an allowed core
  std::optional<double> quota;  ///< CPUs' worth of time that a control group grants; none: no limit
  bool has_topology = true;     ///< false: physical cores are assumed, not read

  std::int64_t physical() const { return performance.physical + efficiency.physical; }
  std::int64_t logical() const { return performance.logical + efficiency.logical; }
  bool is_hybrid() const { return performance.physical > 0 && efficiency.physical > 0; }
};

/// A processor of which only the number of logical CPUs is known: two for each core, as nearly all
/// desktop processors have it, unless the number is odd or 1.
inline Cpu cpu_of(std::int64_t logical) {
  Cpu cpu;
  cpu.online = logical;
  cpu.performance = {logical % 2 == 0 ? std::max<std::int64_t>(1, logical / 2) : logical, logical};
  cpu.has_topology = false;
  return cpu;
}

}  // namespace qwenplan
