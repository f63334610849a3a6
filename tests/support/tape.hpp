#pragma once

#include <cstdint>
#include <vector>

#include "qwenplan/emulate/tape.hpp"

namespace qwenplan::test {

using Sizes = std::vector<std::int64_t>;

/// Bytes in the order of the events: what was allocated, and what was freed as a negative number.
inline Sizes sizes(const Trace& trace) {
  Sizes out;
  for (const Event& event : trace.events) {
    if (event.kind == Event::Kind::allocate) out.push_back(event.bytes);
    if (event.kind == Event::Kind::free) out.push_back(-event.bytes);
  }
  return out;
}

/// A tape whose events can be looked at on the way. The keeper is made first: it outlives the tape.
struct Keeper {
  TraceKeeper keeper;
};
struct KeptTape : Keeper, emulate::Tape {
  KeptTape() : Tape(keeper) {}

  /// What happened since this was last asked.
  Trace take_trace() {
    flush();
    return keeper.take();
  }
};

/// What happened to memory since this was last asked.
inline Sizes happened(KeptTape& tape) { return sizes(tape.take_trace()); }

/// The allocations among sizes.
inline Sizes allocated(const Sizes& all) {
  Sizes out;
  for (const std::int64_t bytes : all)
    if (bytes > 0) out.push_back(bytes);
  return out;
}

inline std::int64_t sum(const Sizes& all) {
  std::int64_t total = 0;
  for (const std::int64_t bytes : all) total += bytes;
  return total;
}

}  // namespace qwenplan::test
