// Small traces worked out by hand from the rules of PyTorch's CUDACachingAllocator.

#include "qwenplan/emulate/caching_allocator.hpp"

#include <cstdint>
#include <vector>

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

/// Writes a trace event by event; storages are numbered as they come.
struct Script {
  Trace trace;
  std::uint32_t storages = 0;

  Script() { enter(Phase::load, 0); }

  void enter(Phase phase, std::int16_t step, std::int16_t micro_step = 0) {
    trace.marks.push_back(
        {static_cast<std::uint32_t>(trace.events.size()), phase, step, micro_step});
  }
  std::uint32_t allocate(Bytes bytes) {
    trace.events.push_back({bytes.count(), storages, Event::Kind::allocate, Term::temporary});
    return storages++;
  }
  void free(std::uint32_t storage) {
    trace.events.push_back({0, storage, Event::Kind::free, Term::temporary});
  }
};

AllocatorSettings expandable() { return {true, {}, 0.0}; }

}  // namespace

TEST_CASE("the size of a segment follows the size of the request") {
  const auto reserved = [](Bytes bytes) {
    Script script;
    script.allocate(bytes);
    return reserve(script.trace).peak_reserved;
  };
  CHECK(reserved(1_B) == 2_MiB);
  CHECK(reserved(1_MiB) == 2_MiB);
  CHECK(reserved(1_MiB + 1_B) == 20_MiB);
  CHECK(reserved(10_MiB - 512_B) == 20_MiB);
  CHECK(reserved(10_MiB - 1_B) == 10_MiB);  // rounded up to 10 MiB first: a segment of its own
  CHECK(reserved(10_MiB) == 10_MiB);
  CHECK(reserved(10_MiB + 1_B) == 12_MiB);
  CHECK(reserved(101_MiB) == 102_MiB);
  CHECK(reserved(0_B) == 0_B);  // an empty tensor has no block
}

TEST_CASE("a block in use counts whole where its rest is too small to split off") {
  const auto allocated = [](Bytes bytes) {
    Script script;
    script.allocate(bytes);
    return reserve(script.trace).peak_allocated;
  };
  // Small pool: a rest of 512 bytes is split off.
  CHECK(allocated(1_B) == 512_B);
  CHECK(allocated(1_MiB - 1_B) == 1_MiB);
  // Large pool: a rest of up to 1 MiB stays with the block.
  CHECK(allocated(19_MiB) == 20_MiB);
  CHECK(allocated(18_MiB + 1_MiB - 512_B) == 19_MiB - 512_B);
  CHECK(allocated(21_MiB + 512_B) == 22_MiB);
}

TEST_CASE("the smallest block that is large enough is taken") {
  Script script;
  const auto a = script.allocate(60_MiB);
  const auto b = script.allocate(40_MiB);
  const auto c = script.allocate(50_MiB);
  for (const auto storage : {a, b, c}) script.free(storage);
  script.allocate(45_MiB);  // into the 50
  script.allocate(38_MiB);  // into the 40
  script.allocate(60_MiB);  // into the 60, which would be gone had the 45 taken it
  const Reserved result = reserve(script.trace);
  CHECK(result.peak_reserved == 150_MiB);
  CHECK(result.segments == 3);
}

TEST_CASE("a freed block joins its free neighbours, but never another segment") {
  Script script;
  // Three blocks of one 20 MiB segment: 6 + 6 + 8.
  const auto a = script.allocate(6_MiB);
  const auto b = script.allocate(6_MiB);
  const auto c = script.allocate(8_MiB);
  CHECK(reserve(script.trace).segments == 1);

  SECTION("neighbours on both sides") {
    script.free(a);
    script.free(c);
    script.free(b);
    script.allocate(20_MiB);
    CHECK(reserve(script.trace).peak_reserved == 20_MiB);
  }
  SECTION("one neighbour is not enough") {
    script.free(a);
    script.free(b);
    script.allocate(14_MiB);
    CHECK(reserve(script.trace).peak_reserved == 34_MiB);
  }
  SECTION("two segments do not make one block") {
    const auto d = script.allocate(20_MiB);
    for (const auto storage : {a, b, c, d}) script.free(storage);
    script.allocate(40_MiB);
    CHECK(reserve(script.trace).peak_reserved == 80_MiB);
  }
}

TEST_CASE("small and large requests do not share") {
  Script script;
  script.free(script.allocate(20_MiB));
  script.allocate(1_MiB);
  CHECK(reserve(script.trace).peak_reserved == 22_MiB);
}

TEST_CASE("at its capacity the allocator flushes before it gives up") {
  Script script;
  script.free(script.allocate(60_MiB));
  script.enter(Phase::forward, 1);
  script.free(script.allocate(70_MiB));
  script.enter(Phase::forward, 2);
  script.free(script.allocate(80_MiB));
  script.free(script.allocate(90_MiB));

  SECTION("without a limit nothing is given back") {
    const Reserved result = reserve(script.trace);
    CHECK(result.peak_reserved == 300_MiB);
    CHECK(result.flushes == 0);
  }
  SECTION("room for the largest alone: a flush before each but the first") {
    const Reserved result = reserve(script.trace, {}, 90_MiB);
    CHECK(result.completes());
    CHECK(result.peak_reserved == 90_MiB);
    CHECK(result.flushes == 3);
    CHECK(result.flushes_per_step == 2);  // those of step 2
  }
  SECTION("not even that") {
    const Reserved result = reserve(script.trace, {}, 89_MiB);
    REQUIRE(!result.completes());
    CHECK(result.out_of_memory->phase == Phase::forward);
    CHECK(result.out_of_memory->step == 2);
    CHECK(result.out_of_memory->request == 90_MiB);
    CHECK(result.out_of_memory->allocated == 0_B);
    CHECK(result.out_of_memory->reserved == 0_B);
  }
}

TEST_CASE("a segment with one block in use cannot be given back") {
  Script script;
  const auto a = script.allocate(6_MiB);
  script.allocate(6_MiB);
  script.free(a);
  script.allocate(12_MiB);
  CHECK(reserve(script.trace, {}, 32_MiB).completes());
  const Reserved result = reserve(script.trace, {}, 31_MiB);
  REQUIRE(!result.completes());
  CHECK(result.out_of_memory->allocated == 6_MiB);
  CHECK(result.out_of_memory->reserved == 20_MiB);  // of which 14 lie idle
}

TEST_CASE("a program that empties the cache gives unused segments back without a flush") {
  Script script;
  script.free(script.allocate(60_MiB));
  const auto kept = script.allocate(6_MiB);  // in the 60 that are free
  script.trace.events.push_back({0, 0, Event::Kind::empty_cache, Term::temporary});
  script.allocate(70_MiB);
  CHECK(reserve(script.trace).peak_reserved == 130_MiB);  // the 60 are in part use
  script.free(kept);
  script.trace.events.push_back({0, 0, Event::Kind::empty_cache, Term::temporary});
  script.allocate(50_MiB);
  const Reserved result = reserve(script.trace, {}, 130_MiB);
  CHECK(result.completes());
  CHECK(result.flushes == 0);
}

TEST_CASE("expandable segments grow by pages and tile") {
  SECTION("pages of 20 MiB, and of 2 MiB for small requests") {
    Script script;
    script.allocate(101_MiB);
    script.allocate(1_MiB);
    const Reserved result = reserve(script.trace, expandable());
    CHECK(result.peak_reserved == 122_MiB);
    CHECK(result.peak_allocated == 102_MiB);  // every rest of 512 bytes is split off
  }
  SECTION("growing requests reuse what is there") {
    Script script;
    for (const Bytes size : {60_MiB, 70_MiB, 80_MiB, 90_MiB}) script.free(script.allocate(size));
    CHECK(reserve(script.trace).peak_reserved == 300_MiB);
    CHECK(reserve(script.trace, expandable()).peak_reserved == 100_MiB);
  }
  SECTION("a flush unmaps the whole pages of a free block, and only those") {
    Script script;
    const auto a = script.allocate(50_MiB);
    script.allocate(10_MiB);  // ends at 60, on the page
    script.free(a);           // the pages of 0 to 40 are free, that of 40 to 60 is shared
    script.allocate(60_MiB);
    // 60 more do not fit 100 beside the 60, so 40 go, and 20 + 60 are mapped.
    const Reserved result = reserve(script.trace, expandable(), 100_MiB);
    CHECK(result.completes());
    CHECK(result.flushes == 1);
    CHECK(result.peak_reserved == 80_MiB);
    CHECK(!reserve(script.trace, expandable(), 79_MiB).completes());
  }
}

TEST_CASE("max_split_size keeps large blocks whole") {
  const AllocatorSettings settings{false, 64_MiB, 0.0};
  SECTION("a small request does not nibble at an oversize block") {
    Script script;
    script.free(script.allocate(100_MiB));
    script.allocate(30_MiB);
    CHECK(reserve(script.trace).peak_reserved == 100_MiB);
    CHECK(reserve(script.trace, settings).peak_reserved == 130_MiB);
  }
  SECTION("an oversize request takes a block less than 20 MiB larger") {
    Script near;
    near.free(near.allocate(100_MiB));
    near.allocate(82_MiB);
    CHECK(reserve(near.trace, settings).peak_reserved == 100_MiB);
    CHECK(reserve(near.trace, settings).peak_allocated == 100_MiB);  // unsplit
    Script far;
    far.free(far.allocate(100_MiB));
    far.allocate(80_MiB);
    CHECK(reserve(far.trace, settings).peak_reserved == 180_MiB);
  }
  SECTION("short of memory, just enough oversize blocks go, and the others stay") {
    Script script;
    const auto a = script.allocate(100_MiB);
    const auto b = script.allocate(70_MiB);
    script.free(a);
    script.free(b);
    script.allocate(30_MiB);
    // 200 MiB are reserved. For 40 more the 70 go, the smallest block of at least 64, and 170 are
    // left; the 100 stay to serve the last request.
    script.allocate(40_MiB);
    script.allocate(100_MiB);
    const Reserved result = reserve(script.trace, settings, 200_MiB);
    CHECK(result.completes());
    CHECK(result.flushes == 1);
    CHECK(result.segments == 4);
    CHECK(result.peak_reserved == 200_MiB);
  }
}

TEST_CASE("garbage collection gives back the older half once the threshold is passed") {
  Script script;
  const auto a = script.allocate(20_MiB);
  script.free(a);
  const auto b = script.allocate(40_MiB);
  script.free(b);
  script.allocate(60_MiB);
  // 60 MiB are cached when the third request finds no block. Above 50 of 100 the collector
  // releases blocks of at least the mean age: the 20 (freed before two searches), not the 40.
  const AllocatorSettings settings{false, {}, 0.5};
  const Reserved result = reserve(script.trace, settings, 100_MiB);
  CHECK(result.completes());
  CHECK(result.flushes == 0);
  CHECK(result.peak_reserved == 100_MiB);
  // Without it the same request has to flush.
  CHECK(reserve(script.trace, {}, 100_MiB).flushes == 1);
}

TEST_CASE("a run that no card can hold does not complete, and does not overflow") {
  Script script;
  for (int i = 0; i < 4; ++i) script.allocate(Bytes(Saturating::kMax));
  const Reserved result = reserve(script.trace);
  CHECK(!result.completes());
  CHECK(result.peak_reserved == 0_B);
  CHECK(!reserve(script.trace, expandable()).completes());
}
