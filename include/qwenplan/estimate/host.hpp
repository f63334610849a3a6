#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/estimate/parameters.hpp"

namespace qwenplan {

/// What host memory is for.
enum class HostTerm : std::uint8_t {
  system,          ///< kernel and services
  other_programs,  ///< desktop, browser, editor
  python,          ///< the interpreter with PyTorch, transformers, PEFT and datasets
  cuda,            ///< CUDA's libraries, driver mappings and kernels
  weights,         ///< copies of the checkpoint's tensors
  workers,         ///< pages that data workers do not share with the trainer
  prefetch,        ///< batches that wait, in shared memory
  pinned,          ///< batches in memory that the GPU reads by itself
  dataset,         ///< tokenized data that is held, not mapped
  offload,         ///< optimizer states or parameters that live on the host
  checkpoints,     ///< layers' inputs that wait for backward
  paged,           ///< states of a paged optimizer that the GPU has no room for
  saving           ///< tensors on their way from the GPU into a file
};

constexpr std::string_view name(HostTerm term) {
  constexpr std::string_view names[] = {"system",  "other_programs", "python",   "cuda",
                                        "weights", "workers",        "prefetch", "pinned",
                                        "dataset", "offload",        "checkpoints", "paged",
                                        "saving"};
  return names[static_cast<int>(term)];
}

/// Where the figures of a term come from; empty where they are assumed.
constexpr std::string_view source(HostTerm term) {
  switch (term) {
    case HostTerm::python:
    case HostTerm::weights:
    case HostTerm::workers:
    case HostTerm::dataset:
      return "tools/measure_ram.py: data/measurements/host";
    case HostTerm::cuda:
      return "pytorch/pytorch, issues 106511, 12873, 19397, 87539";
    case HostTerm::prefetch:
    case HostTerm::pinned:
      return "PyTorch documentation: torch.utils.data.DataLoader";
    case HostTerm::offload:
      return "DeepSpeed documentation: memory requirements";
    case HostTerm::checkpoints:
      return "PyTorch: c10/core/CachingHostAllocator, which takes powers of two";
    case HostTerm::paged:
      return "bitsandbytes: optimizer states in unified memory";
    case HostTerm::saving:
      return "safetensors 0.8, save_file; transformers, max_shard_size";
    case HostTerm::system:
    case HostTerm::other_programs:
      break;
  }
  return {};
}

/// Whether a term belongs to the training job, not to the machine.
constexpr bool is_of_job(HostTerm term) { return term > HostTerm::other_programs; }

enum class HostPhase : std::uint8_t { load, train, save };

constexpr std::string_view name(HostPhase phase) {
  constexpr std::string_view names[] = {"load", "train", "save"};
  return names[static_cast<int>(phase)];
}

/// How a checkpoint is read: safetensors mapped from the disk, or read and copied.
enum class Loading : std::uint8_t { mapped, copied };
/// Where from_pretrained puts the weights first.
enum class LoadTo : std::uint8_t { cpu, gpu };
/// Where the tokenized data are: Arrow mapped from the disk, Arrow in memory, lists of Python
/// numbers.
enum class DatasetIn : std::uint8_t { disk, memory, lists };
/// What DeepSpeed or a like engine keeps on the host.
enum class Offload : std::uint8_t { none, optimizer, parameters };

/// What decides host memory beside the model and the run.
struct HostOptions {
  Loading loading = Loading::mapped;
  LoadTo load_to = LoadTo::cpu;
  std::int64_t workers = 0;   ///< transformers' default
  std::int64_t prefetch = 2;  ///< batches for each worker; PyTorch's default
  bool pins = true;           ///< transformers' default
  DatasetIn dataset_in = DatasetIn::disk;
  Tokens tokens{};  ///< of the tokenized data; 0: not known
  Offload offload = Offload::none;
  Range<Bytes> paged{};  ///< states of a paged optimizer beyond the GPU's room
  std::optional<Bytes> other_programs;
};

namespace host {

constexpr Bytes mib(std::int64_t count) { return Bytes(1024 * 1024) * count; }

/// A Linux without a desktop holds some hundred MiB; with its services and a desktop's shell about
/// two GiB. Assumed: it can be read on any machine with `free`.
inline constexpr Range<Bytes> kSystem{mib(300), mib(1024), mib(2048)};
/// A browser and an editor. Assumed; --other-programs replaces it.
inline constexpr Range<Bytes> kOtherPrograms{Bytes(), mib(1024), mib(3072)};

/// Measured by tools/measure_ram.py (data/measurements/host): the proportional size of a process
/// that has imported torch, transformers with its Trainer, PEFT and datasets. Low: without the
/// pages of libraries, which the kernel can read again. High: assumed, for TRL, trackers and a
/// compiler.
inline constexpr Range<Bytes> kPython{mib(510), mib(870), mib(1400)};

/// What the first use of CUDA adds to a process. 1.15 to 1.2 GiB on a 2023 stack (pytorch/pytorch
/// issue 106511), 1.1 GiB (issue 12873) and 2 GiB (issues 19397, 87539) on older ones that loaded
/// every kernel at once. Low: assumed for a driver that loads kernels when they are needed.
inline constexpr Range<Bytes> kCuda{mib(400), mib(1200), mib(2048)};

/// One data worker is a fork of the trainer: it shares all pages that neither writes to. Counting
/// references writes to Python's objects. Measured by tools/measure_ram.py; high is assumed for a
/// worker that tokenizes.
inline constexpr Range<Bytes> kWorker{mib(10), mib(15), mib(150)};

/// Tokenized columns: input_ids as int32, attention_mask as int8, labels as int64.
inline constexpr std::int64_t kArrowPerToken = 4 + 1 + 8;
/// A Python list has a pointer for each number, and each number beyond 256 is an object of 28 bytes
/// in a slot of 32. Token ids and labels are such; the mask's ones are shared.
inline constexpr std::int64_t kListPerToken = (8 + 32) + 8 + (8 + 32);
/// A batch: input_ids, attention_mask and labels as int64.
inline constexpr std::int64_t kBatchPerToken = 3 * 8;

/// transformers loads this many tensors at once (core_model_loading.GLOBAL_WORKERS).
inline constexpr std::int64_t kLoaders = 4;
/// Shards of published checkpoints, and transformers' max_shard_size before 5.0.
inline constexpr Bytes kShard = Bytes(5'000'000'000);
/// transformers' max_shard_size since 5.0.
inline constexpr Bytes kLargeShard = Bytes(50'000'000'000);
/// From this version on a model is made without memory and takes the mapped tensors
/// themselves; 4.49 makes it first and copies into it. Versions between the two were not read.
inline constexpr Version kMapsTensors{4, 51, 0};

/// Adam on the host: parameter, gradient and two moments in fp32 (DeepSpeed's own documentation of
/// its memory needs); parameters in 16 bits beside them where those are offloaded too.
inline constexpr std::int64_t kOffloadedState = 16;
inline constexpr std::int64_t kOffloadedParameter = 2;

}  // namespace host

/// One cause, with what it takes.
struct HostUse {
  HostTerm term;
  Range<Bytes> bytes;
  Evidence evidence = Evidence::assumed;
};

struct HostStage {
  HostPhase phase = HostPhase::load;
  std::vector<HostUse> uses;  ///< those that are not 0

  Range<Bytes> total() const {
    Range<Bytes> sum{};
    for (const HostUse& use : uses) sum = sum + use.bytes;
    return sum;
  }
  /// The training job's own share.
  Range<Bytes> job() const {
    Range<Bytes> sum{};
    for (const HostUse& use : uses)
      if (is_of_job(use.term)) sum = sum + use.bytes;
    return sum;
  }
};

/// Host memory of a run on one GPU. Pages of mapped files are not in it: the kernel drops them when
/// memory is short, and reads them again.
struct HostEstimate {
  std::array<HostStage, 3> stages;  ///< load, train, save
  std::size_t peak = 0;             ///< the stage that likely needs most
  Bytes checkpoint;                 ///< the page cache that a second load would use
  Bytes dataset;  ///< the page cache of the tokenized data; 0: they are not mapped

  const HostStage& at_peak() const { return stages[peak]; }
  /// What the stage at the peak needs; the upper bound is that of all stages.
  Range<Bytes> total() const {
    Range<Bytes> most = at_peak().total();
    for (const HostStage& stage : stages) most.high = std::max(most.high, stage.total().high);
    return most;
  }
};

namespace host {

constexpr Bytes sized(Params count, DType dtype) {
  return Bytes(count.count()) * element_size(dtype);
}

/// The tensors that are on their way at once: the largest ones of the model.
inline Bytes in_flight(const Model& m, DType dtype) {
  const Params embedding = Params(m.vocabulary) * m.hidden;
  const std::int64_t large = m.ties_embeddings ? 1 : 2;
  return sized(
      embedding * large + Params(m.hidden) * std::max(m.ffn, m.hidden) * (kLoaders - large), dtype);
}

/// Copies of the weights while they are loaded.
inline HostUse loaded_weights(const Model& m, const Run& run, const Stack& stack,
                              const HostOptions& o) {
  const Params count = loaded_parameters(m, run);
  const Bytes as_stored = sized(count, m.stored);
  const bool is_cast = !run.is_quantized() && run.weights != m.stored;
  Range<Bytes> bytes{};
  if (o.loading == Loading::copied)
    bytes = Range<Bytes>::exactly(as_stored + std::min(as_stored, kShard));
  if (o.load_to == LoadTo::cpu && (is_cast || stack.transformers < kMapsTensors))
    bytes = bytes + Range<Bytes>::exactly(sized(count, run.weights));
  if (o.load_to == LoadTo::gpu) {
    // Tensors are cast on the host before they move; without a cast the GPU reads the mapped pages.
    const Bytes moving = is_cast ? in_flight(m, run.weights) : Bytes();
    bytes = bytes + Range<Bytes>{Bytes(), moving, moving};
  }
  return {HostTerm::weights, bytes, Evidence::measured};
}

/// The inputs of all layers, in memory that the GPU reads by itself: PyTorch takes the next power of
/// two for each. Where all activations wait, also the final norm's two, and the log-softmax of all
/// logits.
inline HostUse waiting_checkpoints(const Model& m, const Run& run) {
  const auto block = [&](std::int64_t width, DType dtype) {
    const std::int64_t bytes = Saturating::multiply(run.tokens() * width, element_size(dtype));
    return Bytes(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(bytes))));
  };
  const DType dtype = run.upcasts_for_kbit ? DType::fp32 : run.weights;
  Bytes bytes = block(m.hidden, dtype) * m.layers;
  if (run.offloads_activations) {
    bytes += block(m.hidden, DType::fp32) + block(m.hidden, dtype);
    if (run.loss == Loss::standard) bytes += block(m.vocabulary, DType::fp32);
  }
  return {HostTerm::checkpoints, Range<Bytes>::exactly(bytes), Evidence::literature};
}

/// safetensors holds the tensors of one file in memory while it writes them.
inline HostUse saved_tensors(const Model& m, const Run& run, const Stack& stack) {
  const Bytes whole = saved_weights(m, run);
  const Bytes shard = stack.transformers < Version{5, 0, 0} ? kShard : kLargeShard;
  return {HostTerm::saving, Range<Bytes>::exactly(std::min(whole, shard)), Evidence::literature};
}

inline Range<Bytes> times(const Range<Bytes>& range, std::int64_t count) {
  return {range.low * count, range.likely * count, range.high * count};
}

}  // namespace host

/// Host memory from its causes.
///
///   load = system + programs + python + cuda + copies of the weights
///   train = system + programs + python + cuda + workers + prefetch + pinned + dataset + offload +
///   checkpoints + paged save = train + tensors of one file
inline HostEstimate host_memory(const Model& m, const Run& run, const Stack& stack,
                                const HostOptions& o) {
  using namespace host;
  HostEstimate result;
  const std::vector<HostUse> always = {
      {HostTerm::system, kSystem, Evidence::assumed},
      {HostTerm::other_programs,
       o.other_programs ? Range<Bytes>::exactly(*o.other_programs) : kOtherPrograms,
       o.other_programs ? Evidence::exact : Evidence::assumed},
      {HostTerm::python, kPython, Evidence::measured},
      {HostTerm::cuda, kCuda, Evidence::literature}};
  for (std::size_t i = 0; i < result.stages.size(); ++i)
    result.stages[i] = {static_cast<HostPhase>(i), always};
  auto& [load, train, save] = result.stages;

  const Params count = loaded_parameters(m, run);
  const Params trained = trained_parameters(m, run);
  const Bytes batch = Bytes(kBatchPerToken) * run.tokens();
  const Bytes arrow = Bytes(kArrowPerToken) * o.tokens.count();
  result.checkpoint = sized(count, m.stored);
  result.dataset = o.dataset_in == DatasetIn::memory ? Bytes() : arrow;

  load.uses.push_back(loaded_weights(m, run, stack, o));
  train.uses.push_back({HostTerm::workers, times(kWorker, o.workers), Evidence::measured});
  train.uses.push_back(
      {HostTerm::prefetch, Range<Bytes>::exactly(batch * o.prefetch * o.workers), Evidence::exact});
  // The batch in use and the next one; PyTorch rounds each tensor up to a power of two.
  if (o.pins)
    train.uses.push_back({HostTerm::pinned, {batch, batch * 2, batch * 4}, Evidence::literature});
  if (o.dataset_in != DatasetIn::disk)
    train.uses.push_back({HostTerm::dataset,
                          Range<Bytes>::exactly(o.dataset_in == DatasetIn::memory
                                                    ? arrow
                                                    : Bytes(kListPerToken) * o.tokens.count()),
                          Evidence::measured});
  if (o.offload != Offload::none) {
    Bytes states = Bytes(kOffloadedState) * trained.count();
    if (o.offload == Offload::parameters) states += Bytes(kOffloadedParameter) * count.count();
    // DeepSpeed's own estimate adds half again for its buffers.
    train.uses.push_back({HostTerm::offload,
                          {states, states, states + Bytes(states.count() / 2)},
                          Evidence::literature});
  }
  if (run.offloads_checkpoints || run.offloads_activations)
    train.uses.push_back(waiting_checkpoints(m, run));
  train.uses.push_back({HostTerm::paged, o.paged, Evidence::emulated});

  save.uses = train.uses;
  save.uses.push_back(saved_tensors(m, run, stack));
  for (HostStage& stage : result.stages)
    std::erase_if(stage.uses, [](const HostUse& use) { return use.bytes.high == Bytes(); });
  for (std::size_t i = 1; i < result.stages.size(); ++i)
    if (result.stages[i].total().likely > result.stages[result.peak].total().likely)
      result.peak = i;
  return result;
}

/// Bytes of the states of a paged optimizer: bitsandbytes keeps them in memory that CUDA moves
/// between GPU and host, outside PyTorch's allocator. 0 for other optimizers.
inline Bytes paged_states(const Model& m, const Run& run) {
  const std::int64_t n = updated_parameters(m, run).count();
  const BitsandbytesStates states = bitsandbytes_states(run.optimizer);
  if (!states.is_paged) return Bytes();
  if (!states.is_8bit) return Bytes(n) * 4 * states.copies;
  return (Bytes(n) + Bytes(n / 256) * 4) * states.copies;  // a scale per 256
}

/// Memory as it is sold, in GiB: modules and pairs of modules.
inline constexpr std::array<std::int64_t, 16> kRamSizes = {
    8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048};

/// What Linux reports as total for modules of a size: firmware, the kernel and graphics without
/// memory of their own keep 2 to 6 % (15,770,044 and 16,381,696 KiB of 16 GiB, 32,976,220,160 bytes
/// of 32 GiB, 65,846,412 KiB of 64 GiB: reports in issues of sysinfo, linux_logo and btop).
constexpr Bytes reported_ram(Bytes modules) { return Bytes(modules.count() / 100 * 94); }

/// The smallest size as it is sold whose memory holds even the upper bound; none up to 2 TiB.
inline std::optional<std::int64_t> sufficient_ram_gib(const Range<Bytes>& total) {
  for (const std::int64_t gib : kRamSizes)
    if (total.high <= reported_ram(host::mib(1024) * gib)) return gib;
  return std::nullopt;
}

}  // namespace qwenplan
