#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/describe/dtype.hpp"

namespace qwenplan {

/// The stages at which memory can be measured. Clipping belongs to `step`; `loss` starts where the
/// loss function is called and ends where the model's forward returns.
enum class Phase : std::uint8_t { load, prepare, forward, loss, backward, step, save };
inline constexpr int kPhases = 7;

/// What a storage is for.
enum class Term : std::uint8_t {
  weights, quantization, adapters, buffers, inputs, gradients, optimizer,
  activations, logits, temporary, workspace, communication
};
inline constexpr int kTerms = 12;

constexpr std::string_view name(Phase phase) {
  constexpr std::string_view names[] = {"load", "prepare", "forward", "loss", "backward", "step", "save"};
  return names[static_cast<int>(phase)];
}
constexpr std::string_view name(Term term) {
  constexpr std::string_view names[] = {"weights", "quantization", "adapters", "buffers", "inputs", "gradients",
                                        "optimizer", "activations", "logits", "temporary", "workspace", "communication"};
  return names[static_cast<int>(term)];
}

/// One thing that happens to device memory, in the order in which PyTorch would do it.
struct Event {
  enum class Kind : std::uint8_t { allocate, free, retag, empty_cache };
  std::int64_t bytes = 0;    ///< as asked for; the machines round
  std::uint32_t storage = 0; ///< names the storage; another may have the name once it is freed
  Kind kind = Kind::allocate;
  /// Of the storage. `retag` gives a living storage a new one; `empty_cache` has no storage: the
  /// program gives unused segments back, as torch.cuda.empty_cache() does.
  Term term = Term::temporary;
};

/// The part of the model that a computation belongs to.
enum class Section : std::uint8_t { layers, adapters, attention, head, optimizer };
inline constexpr int kSections = 5;

/// What the device computes in one call: what decides how long it takes, nothing of how fast the
/// device is.
struct Work {
  enum class Kind : std::uint8_t {
    elementwise,          ///< streams `bytes` through: casts, sums, norms, copies, optimizers
    matmul,               ///< [rows, inner] x [inner, columns], `count` times
    flash_attention,      ///< fused: `products` matrix products of rows x inner x columns
    efficient_attention,  ///< the same by the memory-efficient kernel
    dequantize            ///< 4-bit or 8-bit weights to the compute format
  };
  std::int64_t rows = 0, inner = 0, columns = 0, count = 0;  ///< shape of the products, if any
  std::int64_t bytes = 0;  ///< read and written, each once
  std::int32_t launches = 1;
  Kind kind = Kind::elementwise;
  DType dtype = DType::fp32;  ///< of the products' factors
  std::uint8_t products = 0;
  bool is_causal = false;  ///< a fused kernel that leaves out what the mask hides
  bool recomputes = false; ///< a checkpointed forward that runs again
  bool waits = false;      ///< the host waits here for all that it launched
  Section section = Section::layers;

  /// Floating-point operations as torch.utils.flop_counter counts them: two for each multiplication,
  /// causal or not; element-wise work has none.
  double flops() const {
    return 2.0 * products * static_cast<double>(count) * static_cast<double>(rows) *
           static_cast<double>(inner) * static_cast<double>(columns);
  }
};

/// A stretch of events: [first, next mark's first).
struct Mark {
  std::uint32_t first = 0;
  Phase phase = Phase::load;
  std::int16_t step = 0;        ///< 1, 2; 0 for load and prepare
  std::int16_t micro_step = 0;  ///< 1, 2 within an accumulation; 0 where there is none
};

/// Reads a run while it is emulated, a stretch of events at a time, so that a run of any length
/// needs the memory of one stretch.
class TraceReader {
 public:
  virtual void enter(const Mark& mark) = 0;
  virtual void read(std::span<const Event> events) = 0;
  /// True once the rest does not matter; asked before each phase.
  virtual bool has_enough() const { return false; }
  /// True if it wants to be told of work; asked once, at the start.
  virtual bool wants_work() const { return false; }
  virtual void work(const Work&) {}
  /// False if a loop that gives back in each pass what it took may end after the third: from then on no
  /// allocator needs more. Asked once, at the start.
  virtual bool wants_every_pass() const { return true; }

 protected:
  ~TraceReader() = default;
};

/// A run on shapes: everything that it allocates and frees on the device.
struct Trace {
  std::vector<Event> events;
  std::vector<Mark> marks;
};

/// Reads a whole trace to a reader.
inline void read(const Trace& trace, TraceReader& reader) {
  const std::span<const Event> events = trace.events;
  for (std::size_t m = 0; m < trace.marks.size() && !reader.has_enough(); ++m) {
    const std::size_t first = trace.marks[m].first;
    const std::size_t end = m + 1 < trace.marks.size() ? trace.marks[m + 1].first : events.size();
    reader.enter(trace.marks[m]);
    reader.read(events.subspan(first, end - first));
  }
}

/// Keeps everything that it reads.
class TraceKeeper final : public TraceReader {
 public:
  void enter(const Mark& mark) override { trace_.marks.push_back(mark); }
  void read(std::span<const Event> events) override {
    trace_.events.insert(trace_.events.end(), events.begin(), events.end());
  }
  Trace take() { return std::move(trace_); }

 private:
  Trace trace_;
};

}  // namespace qwenplan
