#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "probe/host.hpp"
#include "probe/nvml.hpp"
#include "probe/processes.hpp"
#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// One GPU at one moment, or as it was last seen.
struct SeenGpu {
  LiveGpu gpu;
  std::string problem;  ///< why it does not answer any more; empty: it does
};

/// The GPUs of this machine, for as long as they answer.
class GpuWatch {
 public:
  /// `only` is the number of the one GPU to look at; without it, all.
  explicit GpuWatch(std::optional<unsigned> only = {});

  /// Why there is nothing to see; nothing if there is.
  const std::optional<Error>& problem() const { return problem_; }
  std::string driver() const { return nvml_ ? nvml_->version() : std::string(); }
  const std::vector<SeenGpu>& read();
  const std::vector<SeenGpu>& seen() const { return seen_; }

 private:
  std::optional<Nvml> nvml_;
  std::optional<Error> problem_;
  std::vector<SeenGpu> seen_;
};

/// What a family of programs holds at one moment.
struct Sample {
  double seconds = 0;  ///< since the watch began
  Bytes host_used{};   ///< by all programs of this machine
  Bytes resident{};    ///< RSS of all together
  std::optional<Bytes> proportional;         ///< PSS of all together, where it was read
  std::vector<Bytes> used;                   ///< of each GPU, by all programs
  std::vector<std::optional<Bytes>> family;  ///< of each GPU, by the family; none: not listed there
};

/// A stretch in which the family's memory on a GPU stood still.
struct Plateau {
  double from = 0;
  double to = 0;
  Bytes level{};
};

/// Watches a family of programs: the host's memory, and that of the GPUs.
class FamilyWatch {
 public:
  explicit FamilyWatch(GpuWatch& gpus) : gpus_(gpus), begin_(Clock::now()) { baseline(); }

  /// Takes a sample of the programs that came from `root`; without one, of the machine alone.
  void take(std::optional<pid_t> root);
  double seconds() const;

  struct Peaks {
    Bytes host_used{};
    Bytes resident{};
    std::optional<Bytes> proportional;
    std::vector<Bytes> used;                   ///< of each GPU
    std::vector<std::optional<Bytes>> family;  ///< of each GPU; none where it was never listed
    std::map<pid_t, HostProcess> programs;     ///< each at its own peak
  };
  const Peaks& peaks() const { return peaks_; }
  /// What each GPU held before the family began.
  const std::vector<Bytes>& at_start() const { return at_start_; }
  /// The samples, thinned evenly where there are very many; the peaks come from all of them.
  const std::vector<Sample>& samples() const { return samples_; }
  std::size_t taken() const { return taken_; }

  /// The family's memory of a GPU in a sample: as the driver lists it, else what the GPU holds more
  /// than in the beginning.
  Bytes on_gpu(const Sample& sample, std::size_t gpu) const;
  /// The GPU on which the family holds most; nothing where it holds none.
  std::optional<std::size_t> main_gpu() const;
  std::vector<Plateau> plateaus(std::size_t gpu) const;

 private:
  using Clock = std::chrono::steady_clock;
  /// Work that may take one part in twenty of the time, one in four where it is called for.
  struct Budget {
    double end = 0;
    double cost = 0;
    bool is_due(double now, bool is_called_for = false) const {
      return now >= end + (is_called_for ? 3 : 19) * cost;
    }
    void spent(double from, double to) {
      end = to;
      cost = to - from;
    }
  };

  void baseline();
  void read_host(pid_t root, Sample& sample);
  void read_gpus(Sample& sample);
  void keep(Sample sample);

  GpuWatch& gpus_;
  Clock::time_point begin_;
  Budget scan_, walk_;
  Bytes walked_{};  ///< RSS when the PSS was read last
  std::vector<pid_t> family_;
  std::vector<Bytes> at_start_;
  Peaks peaks_;
  std::vector<Sample> samples_;
  std::size_t taken_ = 0;
  std::size_t stride_ = 1;
};

}  // namespace qwenplan
