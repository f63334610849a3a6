#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/emulate/caching_allocator.hpp"
#include "qwenplan/emulate/trace.hpp"

namespace qwenplan {

using Terms = std::array<Bytes, kTerms>;

/// One stretch of a run: the most that was alive in it, of what, and what it leaves alive. Sizes
/// are rounded up to 512 bytes, each storage for itself, as PyTorch does.
struct PhaseUse {
  Phase phase = Phase::load;
  int step = 0;        ///< as in Mark
  int micro_step = 0;  ///< as in Mark
  Bytes allocated{};   ///< the peak, from what was alive at the start onward
  Terms terms{};       ///< what is alive at that peak: sums to `allocated`
  Bytes left{};        ///< alive at the end
  Bytes allocated_without_workspace{};  ///< the peak of everything but Term::workspace
};

/// The bytes that a run keeps alive, phase by phase.
struct Footprint {
  std::vector<PhaseUse> timeline;
  Bytes allocated{};     ///< the largest peak of all phases
  std::size_t peak = 0;  ///< the phase that reaches it first
};

/// Counts what is alive over a trace, in one pass.
inline Footprint footprint(const Trace& trace) {
  struct Storage {
    std::int64_t bytes = 0;
    Term term = Term::temporary;
  };
  // Counts are kept raw: with at most 2^40 storages of a saturated trace cut at 2^62, see `rounded`.
  constexpr auto workspace = static_cast<std::size_t>(Term::workspace);
  const auto rounded = [](std::int64_t bytes) {
    if (bytes <= 0) return std::int64_t{0};
    return bytes > kUnlimited.count() ? Saturating::kMax : (bytes + 511) / 512 * 512;
  };
  Footprint result;
  std::vector<Storage> storages(trace.events.size() + 1);
  std::array<std::int64_t, kTerms> live{};
  std::int64_t total = 0;

  result.timeline.reserve(trace.marks.size());
  for (std::size_t m = 0; m < trace.marks.size(); ++m) {
    const Mark& mark = trace.marks[m];
    const std::size_t end =
        m + 1 < trace.marks.size() ? trace.marks[m + 1].first : trace.events.size();
    std::int64_t peak = total;
    std::int64_t peak_without_workspace = total - live[workspace];
    std::array<std::int64_t, kTerms> at_peak = live;
    bool is_at_peak = false;  // the terms are copied only when the count leaves a new peak
    for (std::size_t i = mark.first; i < end; ++i) {
      const Event& event = trace.events[i];
      if (event.storage >= storages.size()) storages.resize(event.storage * std::size_t{2});
      Storage& storage = storages[event.storage];
      if (event.kind == Event::Kind::allocate) {
        storage = {rounded(event.bytes), event.term};
        std::int64_t& term = live[static_cast<std::size_t>(event.term)];
        term = Saturating::add(term, storage.bytes);
        total = Saturating::add(total, storage.bytes);
        if (total > peak) {
          peak = total;
          is_at_peak = true;
        }
        peak_without_workspace = std::max(peak_without_workspace, total - live[workspace]);
        continue;
      }
      if (is_at_peak) {
        at_peak = live;
        is_at_peak = false;
      }
      live[static_cast<std::size_t>(storage.term)] -= storage.bytes;
      if (event.kind == Event::Kind::free) {
        total -= storage.bytes;
        storage.bytes = 0;
      } else {
        storage.term = event.term;
        live[static_cast<std::size_t>(storage.term)] += storage.bytes;
        peak_without_workspace = std::max(peak_without_workspace, total - live[workspace]);
      }
    }
    if (is_at_peak) at_peak = live;

    PhaseUse use;
    use.phase = mark.phase;
    use.step = mark.step;
    use.micro_step = mark.micro_step;
    use.allocated = Bytes(peak);
    for (std::size_t t = 0; t < at_peak.size(); ++t) use.terms[t] = Bytes(at_peak[t]);
    use.left = Bytes(total);
    use.allocated_without_workspace = Bytes(peak_without_workspace);
    if (result.timeline.empty() || use.allocated > result.allocated) {
      result.allocated = use.allocated;
      result.peak = result.timeline.size();
    }
    result.timeline.push_back(use);
  }
  return result;
}

}  // namespace qwenplan
