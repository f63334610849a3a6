#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/emulate/step.hpp"
#include "support/catch.hpp"
#include "support/recording.hpp"
#include "support/reference.hpp"

// The emulated step against recorded steps of the real modelling code, allocation by allocation.

namespace qwenplan::test {
namespace {

/// One allocation of a step: its size, and what is alive with it. The latter says that everything
/// before was freed in time, whatever the order among frees that follow each other. Sizes are those
/// that the allocator gives, multiples of 512 bytes.
struct Moment {
  std::int64_t bytes = 0;
  std::int64_t alive = 0;
  std::string what;
};

std::int64_t rounded(std::int64_t bytes) { return (bytes + 511) / 512 * 512; }

struct Sequence {
  std::vector<std::int64_t> resident;  ///< sizes of what lives when the first step starts, sorted
  std::vector<Moment> moments;         ///< from the first forward on
};

/// Turns allocations and frees into a sequence, whichever kind of event they come from.
class Reader {
 public:
  /// Leaves out what takes no more than this.
  explicit Reader(std::int64_t leaves_out) : leaves_out_(leaves_out) {}
  void start() {
    has_started_ = true;
    for (const auto& [storage, bytes] : live_) sequence_.resident.push_back(bytes);
    std::sort(sequence_.resident.begin(), sequence_.resident.end());
  }
  bool has_started() const { return has_started_; }
  void take(std::int64_t storage, std::int64_t bytes, const std::string& what) {
    if (rounded(bytes) <= leaves_out_) return;
    live_[storage] = rounded(bytes);
    alive_ += rounded(bytes);
    if (has_started_) sequence_.moments.push_back({rounded(bytes), alive_, what});
  }
  void drop(std::int64_t storage) {
    const auto at = live_.find(storage);
    if (at == live_.end()) return;
    alive_ -= at->second;
    live_.erase(at);
  }
  Sequence sequence() && { return std::move(sequence_); }

 private:
  std::int64_t leaves_out_;
  Sequence sequence_;
  std::map<std::int64_t, std::int64_t> live_;
  std::int64_t alive_ = 0;
  bool has_started_ = false;
};

Sequence sequence_of(const Recording& recording, std::int64_t leaves_out) {
  Reader reader(leaves_out);
  for (const Recording::Event& event : recording.events) {
    const std::string& phase = recording.phases[event.phase];
    if (phase == "activations" && !reader.has_started()) reader.start();
    const Recording::Allocation& allocation =
        recording.allocations[static_cast<std::size_t>(event.storage)];
    if (event.is_allocation)
      reader.take(event.storage, allocation.bytes, phase + "  " + allocation.what);
    else
      reader.drop(event.storage);
  }
  return std::move(reader).sequence();
}

Sequence sequence_of(const Trace& trace, std::int64_t leaves_out) {
  Reader reader(leaves_out);
  std::size_t mark = 0;
  std::string where;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    for (; mark < trace.marks.size() && trace.marks[mark].first <= i; ++mark) {
      where = std::string(name(trace.marks[mark].phase));
      if (trace.marks[mark].phase == Phase::forward && !reader.has_started()) reader.start();
    }
    const Event& event = trace.events[i];
    if (event.kind == Event::Kind::allocate)
      reader.take(event.storage, event.bytes, where + "  " + std::string(name(event.term)));
    else if (event.kind == Event::Kind::free)
      reader.drop(event.storage);
  }
  return std::move(reader).sequence();
}

/// The first place where two sequences part, with what stands around it; empty where they agree.
std::string difference(const Sequence& recorded, const Sequence& emulated) {
  std::string text;
  char line[500];
  if (recorded.resident != emulated.resident) {
    std::vector<std::int64_t> missing, extra;
    std::set_difference(recorded.resident.begin(), recorded.resident.end(),
                        emulated.resident.begin(), emulated.resident.end(),
                        std::back_inserter(missing));
    std::set_difference(emulated.resident.begin(), emulated.resident.end(),
                        recorded.resident.begin(), recorded.resident.end(),
                        std::back_inserter(extra));
    text += "before the first step, missing:";
    for (const auto bytes : missing) text += ' ' + std::to_string(bytes);
    text += "; too much:";
    for (const auto bytes : extra) text += ' ' + std::to_string(bytes);
    text += '\n';
  }
  const std::vector<Moment>&a = recorded.moments, &b = emulated.moments;
  std::size_t i = 0;
  while (i < std::min(a.size(), b.size()) && a[i].bytes == b[i].bytes && a[i].alive == b[i].alive)
    ++i;
  if (i == a.size() && i == b.size()) return text;
  std::snprintf(line, sizeof line, "%zu of %zu recorded and %zu emulated allocations agree\n", i,
                a.size(), b.size());
  text += line;
  for (std::size_t j = i > 6 ? i - 6 : 0; j < i + 12; ++j) {
    if (j < a.size())
      std::snprintf(line, sizeof line, "%c recorded %12lld alive %12lld  %s\n", j == i ? '>' : ' ',
                    static_cast<long long>(a[j].bytes), static_cast<long long>(a[j].alive),
                    a[j].what.c_str());
    text += j < a.size() ? line : "";
    if (j < i) continue;
    if (j < b.size())
      std::snprintf(line, sizeof line, "%c emulated %12lld alive %12lld  %s\n", j == i ? '>' : ' ',
                    static_cast<long long>(b[j].bytes), static_cast<long long>(b[j].alive),
                    b[j].what.c_str());
    text += j < b.size() ? line : "";
  }
  return text;
}

/// The largest of the numbers that say where each of a picture's 256 patches is.
constexpr std::int64_t kPlacesOfPatches = 256 * 4 * 8;

TEST_CASE("recorded steps and emulated steps allocate the same sequence") {
  const std::vector<CsvRow> rows = read_csv(reference_path("traces.csv"));
  REQUIRE(rows.size() >= 29);
  const char* only = std::getenv("QWENPLAN_TRACE");
  for (const CsvRow& row : rows) {
    const std::string file = row.text("trace");
    if (only && file.find(only) == std::string::npos) continue;
    Model model = reference_models().at(row.text("model"));
    model.layers = row.integer("layers_measured");
    if (model.vision) model.vision->layers = row.integer("tower");
    const Run run = run_of(row);
    const Trace emulated = without_workspaces(trace(model, run, stack_of_row(row), static_cast<int>(row.integer("sm"))));
    const Recording recording = read_recording(reference_path("traces/" + file));
    REQUIRE(recording.events.size() > 800);
    // Losses that compare sequences make dozens of tensors with a number for each of them, in other
    // ways for each loss: what takes a block of 512 bytes is left out there. TRL's make as many with a
    // number for each token, and the attention that stands in for xformers' no random state.
    const bool is_fused = run.loss == Loss::fused && run.fused_loss == FusedLoss::trl;
    const bool counts_samples = run.packs && run.has_delta_kernels;  // where each begins, in numbers
    const std::int64_t leaves_out = run.code == ModelCode::unsloth || counts_samples ? 512
                                    : run.picture != Picture::none ? kPlacesOfPatches
                                    : !run.compares() && !is_fused ? 0
                                    : is_fused || run.objective == Objective::reward ||
                                            run.preference_code != PreferenceCode::llama_factory
                                        ? 2 * element_size(DType::int64) * run.tokens()
                                        : 512;
    const std::string parted =
        difference(sequence_of(recording, leaves_out), sequence_of(emulated, leaves_out));
    INFO(file << '\n' << parted);
    CHECK(parted.empty());
  }
}

}  // namespace
}  // namespace qwenplan::test
