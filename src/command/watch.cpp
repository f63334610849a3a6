#include "command/watch.hpp"

#include <algorithm>
#include <utility>

namespace qwenplan {
namespace {

constexpr std::size_t kMostSamples = 4096;

template <class T>
void raise(std::optional<T>& peak, const std::optional<T>& now) {
  if (now && (!peak || *peak < *now)) peak = now;
}

}  // namespace

GpuWatch::GpuWatch(std::optional<unsigned> only) {
  auto nvml = Nvml::open();
  if (!nvml) {
    problem_ = nvml.error();
    return;
  }
  if (only && *only >= nvml->count()) {
    problem_ = Error{Error::Kind::unknown, "there is no GPU " + std::to_string(*only), "--gpu",
                     "this machine has " + std::to_string(nvml->count()) + ", counted from 0"};
    return;
  }
  nvml_ = std::move(*nvml);
  for (unsigned i = only.value_or(0); i < (only ? *only + 1 : nvml_->count()); ++i) {
    SeenGpu gpu;
    gpu.gpu.index = i;
    seen_.push_back(std::move(gpu));
  }
  read();
  const bool none_answers = std::all_of(seen_.begin(), seen_.end(),
                                        [](const SeenGpu& gpu) { return !gpu.problem.empty(); });
  if (none_answers)
    problem_ = Error{Error::Kind::unknown, seen_.front().problem, "NVIDIA driver",
                     "nvidia-smi and dmesg tell more"};
}

const std::vector<SeenGpu>& GpuWatch::read() {
  for (SeenGpu& gpu : seen_) {
    auto now = nvml_->read(gpu.gpu.index);
    if (now) {
      gpu.gpu = std::move(*now);
      gpu.problem.clear();
    } else {
      gpu.problem = now.error().what;
      gpu.gpu.processes.clear();
    }
  }
  return seen_;
}

void FamilyWatch::baseline() {
  for (const SeenGpu& gpu : gpus_.seen()) at_start_.push_back(gpu.gpu.used);
  peaks_.used = at_start_;
  peaks_.family.resize(at_start_.size());
}

double FamilyWatch::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

void FamilyWatch::take(std::optional<pid_t> root) {
  Sample sample;
  sample.seconds = seconds();
  const Host host = probe_host();
  if (host.total && host.available) sample.host_used = *host.total - *host.available;
  peaks_.host_used = std::max(peaks_.host_used, sample.host_used);
  if (root) read_host(*root, sample);
  read_gpus(sample);
  keep(std::move(sample));
}

void FamilyWatch::read_host(pid_t root, Sample& sample) {
  if (const double from = seconds(); scan_.is_due(from)) {
    family_.clear();
    for (const HostProcess& process : descendants(all_processes(), root)) family_.push_back(process.id);
    scan_.spent(from, seconds());
  }
  for (const pid_t id : family_) {
    const auto process = read_process(id);
    if (!process) continue;
    sample.resident += process->resident;
    HostProcess& known = peaks_.programs[id];
    // A program that starts another under its own number takes the new one's name.
    const Bytes most = std::max(known.resident, process->resident);
    known = *process;
    known.resident = most;
  }
  peaks_.resident = std::max(peaks_.resident, sample.resident);

  const bool has_grown = sample.resident > walked_ + Bytes(walked_.count() / 100);
  if (const double from = seconds(); walk_.is_due(from, has_grown)) {
    walked_ = sample.resident;
    for (const pid_t id : family_)
      if (const auto size = proportional_size(id))
        sample.proportional = sample.proportional.value_or(Bytes()) + *size;
    walk_.spent(from, seconds());
    raise(peaks_.proportional, sample.proportional);
  }
}

void FamilyWatch::read_gpus(Sample& sample) {
  const std::vector<SeenGpu>& gpus = gpus_.problem() ? gpus_.seen() : gpus_.read();
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    const LiveGpu& gpu = gpus[i].gpu;
    std::optional<Bytes> ours;
    for (const GpuProcess& process : gpu.processes)
      if (process.used > Bytes() &&
          std::find(family_.begin(), family_.end(), static_cast<pid_t>(process.id)) != family_.end())
        ours = ours.value_or(Bytes()) + process.used;
    sample.used.push_back(gpu.used);
    sample.family.push_back(ours);
    peaks_.used[i] = std::max(peaks_.used[i], gpu.used);
    raise(peaks_.family[i], ours);
  }
}

void FamilyWatch::keep(Sample sample) {
  if (taken_++ % stride_ != 0) return;
  samples_.push_back(std::move(sample));
  if (samples_.size() < kMostSamples) return;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < samples_.size(); i += 2) std::swap(samples_[kept++], samples_[i]);
  samples_.resize(kept);
  stride_ *= 2;
}

Bytes FamilyWatch::on_gpu(const Sample& sample, std::size_t gpu) const {
  if (peaks_.family[gpu]) return sample.family[gpu].value_or(Bytes());
  return std::max(Bytes(), sample.used[gpu] - at_start_[gpu]);
}

std::optional<std::size_t> FamilyWatch::main_gpu() const {
  std::optional<std::size_t> most;
  Bytes level{};
  for (std::size_t i = 0; i < peaks_.used.size(); ++i) {
    const Bytes held = peaks_.family[i] ? *peaks_.family[i] : peaks_.used[i] - at_start_[i];
    if (held > level) {
      level = held;
      most = i;
    }
  }
  return most;
}

std::vector<Plateau> FamilyWatch::plateaus(std::size_t gpu) const {
  constexpr double kShortest = 0.5;  // seconds: less is a step on the way
  constexpr std::size_t kFewest = 3;
  std::vector<Plateau> found;
  std::size_t first = 0;
  for (std::size_t i = 0; i <= samples_.size(); ++i) {
    if (first < i) {
      const Bytes level = on_gpu(samples_[first], gpu);
      if (i < samples_.size()) {
        const Bytes now = on_gpu(samples_[i], gpu);
        const Bytes off = now > level ? now - level : level - now;
        // What the driver rounds, and small workspaces, are no step.
        if (off <= std::max(Bytes(8 << 20), Bytes(level.count() / 200))) continue;
      }
      const Plateau plateau{samples_[first].seconds, samples_[i - 1].seconds,
                            on_gpu(samples_[i - 1], gpu)};
      if (i - first >= kFewest && plateau.to - plateau.from >= kShortest) found.push_back(plateau);
    }
    first = i;
  }
  return found;
}

}  // namespace qwenplan
