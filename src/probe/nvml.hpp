#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// A program that holds memory of a GPU.
struct GpuProcess {
  unsigned id = 0;  ///< as the driver counts them: in a container these are the host's numbers
  Bytes used{};     ///< 0 where the driver does not tell, as under WSL
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

/// NVIDIA's management library, which the driver installs. It is opened at run time, so that qwenplan
/// needs no driver, and stays open for as many readings as one likes.
class Nvml {
 public:
  /// Errors are of kind unknown: no library, no driver, no device.
  static Result<Nvml> open();

  const std::string& version() const;  ///< of the driver; empty: not known
  unsigned count() const;              ///< of GPUs, when it was opened

  /// One GPU now; an error of kind unknown where it does not answer (any more).
  Result<LiveGpu> read(unsigned index) const;

 private:
  struct Session;
  explicit Nvml(std::shared_ptr<const Session> session) : session_(std::move(session)) {}
  std::shared_ptr<const Session> session_;
};

/// All GPUs that answer, once.
Result<Driver> probe_driver();

}  // namespace qwenplan
