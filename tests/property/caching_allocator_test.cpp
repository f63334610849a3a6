// The caching allocator against a second one that is slow and obvious: every block of the device in
// one map by address, every question answered by looking at all of them. They must agree exactly.

#include "qwenplan/emulate/caching_allocator.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "qwenplan/base/literals.hpp"
#include "qwenplan/emulate/torchtune.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

using Size = std::uint64_t;
constexpr Size kMega = 1 << 20;

/// Rules of c10/cuda/CUDACachingAllocator.cpp, each written where it applies.
class ObviousAllocator {
 public:
  ObviousAllocator(const AllocatorSettings& settings, Bytes capacity)
      : settings_(settings), capacity_(static_cast<Size>(capacity.count())) {
    collects_ = settings.garbage_collection_threshold > 0 && capacity < kUnlimited;
  }

  bool allocate(std::uint32_t storage, std::int64_t bytes) {
    if (bytes == 0) return true;
    const Size size = (static_cast<Size>(bytes) + 511) / 512 * 512;
    const bool small = size <= kMega;
    std::optional<Size> found = best_fit(small, size);
    if (!found) {
      if (collects_) collect_garbage();
      found = from_driver(small, size);
      if (!found && release_oversize(small, size)) found = from_driver(small, size);
      if (!found) {
        flush();
        found = from_driver(small, size);
      }
      if (!found) return false;
    }
    Block& block = blocks_.at(*found);
    const Size rest = block.size - size;
    const bool splits = small || settings_.expandable_segments
                            ? rest >= 512
                            : (!limits_splits() || size < max_split()) && rest > kMega;
    if (splits) {
      blocks_[*found + size] = {rest, block.segment, small, kFree, searches_[small]};
      block.size = size;
    }
    block.state = kInUse;
    at_[storage] = *found;
    allocated += block.size;
    peak_allocated = std::max(peak_allocated, allocated);
    return true;
  }

  void free(std::uint32_t storage) {
    const auto known = at_.find(storage);
    if (known == at_.end()) return;
    const Size address = known->second;
    at_.erase(known);
    Block& block = blocks_.at(address);
    allocated -= block.size;
    block.state = kFree;
    settle(address);
  }

  void empty_cache() { give_back(); }

  Size allocated = 0;
  Size reserved = 0;
  Size peak_allocated = 0;
  Size peak_reserved = 0;
  std::int64_t segments = 0;
  std::int64_t flushes = 0;

 private:
  enum State { kInUse, kFree, kUnmapped };
  struct Block {
    Size size = 0;
    int segment = 0;
    bool small = false;
    State state = kFree;
    std::int64_t born = 0;
  };

  bool limits_splits() const { return settings_.max_split_size > Bytes(); }
  Size max_split() const { return static_cast<Size>(settings_.max_split_size.count()); }

  bool fills_segment(Size address) const {
    const int segment = blocks_.at(address).segment;
    return std::count_if(blocks_.begin(), blocks_.end(),
                         [&](const auto& entry) { return entry.second.segment == segment; }) == 1;
  }

  /// Free blocks of a pool, smallest first, lowest address first among equals.
  std::vector<Size> free_blocks(bool small) const {
    std::vector<Size> result;
    for (const auto& [address, block] : blocks_)
      if (block.small == small && block.state == kFree) result.push_back(address);
    std::stable_sort(result.begin(), result.end(),
                     [&](Size a, Size b) { return blocks_.at(a).size < blocks_.at(b).size; });
    return result;
  }

  std::optional<Size> neighbour_after(Size address) const {
    const auto next = std::next(blocks_.find(address));
    if (next == blocks_.end() || next->second.segment != blocks_.at(address).segment) return {};
    return next->first;
  }

  std::optional<Size> neighbour_before(Size address) const {
    const auto here = blocks_.find(address);
    if (here == blocks_.begin() || std::prev(here)->second.segment != here->second.segment)
      return {};
    return std::prev(here)->first;
  }

  /// Joins a block with neighbours in the same state; gives the address of the whole.
  Size settle(Size address) {
    const auto joins = [&](std::optional<Size> other) {
      return other && blocks_.at(*other).state == blocks_.at(address).state;
    };
    if (const auto after = neighbour_after(address); joins(after)) {
      blocks_.at(address).size += blocks_.at(*after).size;
      blocks_.erase(*after);
    }
    if (const auto before = neighbour_before(address); joins(before)) {
      blocks_.at(*before).size += blocks_.at(address).size;
      blocks_.erase(address);
      address = *before;
    }
    blocks_.at(address).born = searches_[blocks_.at(address).small];
    return address;
  }

  std::optional<Size> best_fit(bool small, Size size) {
    if (collects_) ++searches_[small];
    std::vector<Size> fitting = free_blocks(small);
    fitting.erase(std::remove_if(fitting.begin(), fitting.end(),
                                 [&](Size a) { return blocks_.at(a).size < size; }),
                  fitting.end());
    if (fitting.empty()) return {};
    std::size_t best = 0;
    if (settings_.expandable_segments) {
      const auto reach = [&](Size address) {
        const auto after = neighbour_after(address);
        const bool grows = after && blocks_.at(*after).state == kUnmapped;
        return blocks_.at(address).size + (grows ? blocks_.at(*after).size : 0);
      };
      while (best + 1 < fitting.size() && reach(fitting[best + 1]) < reach(fitting[best])) ++best;
    }
    const Size found = blocks_.at(fitting[best]).size;
    if (limits_splits() && size < max_split() && found >= max_split()) return {};
    if (limits_splits() && size >= max_split() && found >= size + 20 * kMega) return {};
    return fitting[best];
  }

  void release(Size address) {
    reserved -= blocks_.at(address).size;
    blocks_.erase(address);
  }

  void add_reserved(Size size) {
    reserved += size;
    peak_reserved = std::max(peak_reserved, reserved);
    ++segments;
  }

  std::optional<Size> from_driver(bool small, Size size) {
    const Size segment = small               ? 2 * kMega
                         : size < 10 * kMega ? 20 * kMega
                                             : (size + 2 * kMega - 1) / (2 * kMega) * (2 * kMega);
    if (collects_ && reserved + segment > capacity_) return {};
    if (settings_.expandable_segments) return from_pages(small, size);
    if (reserved + segment > capacity_) return {};
    add_reserved(segment);
    blocks_[next_address_] = {segment, next_segment_++, small, kFree, searches_[small]};
    next_address_ += segment;
    return next_address_ - segment;
  }

  std::optional<Size> from_pages(bool small, Size size) {
    const Size page = small ? 2 * kMega : 20 * kMega;
    std::optional<Size> start;
    for (const auto& [address, block] : blocks_) {
      if (block.small != small || block.state != kUnmapped) continue;
      Size first = address;
      if (const auto before = neighbour_before(address);
          before && blocks_.at(*before).state == kFree)
        first = *before;
      Size room = 0;
      for (std::optional<Size> at = first; at && blocks_.at(*at).state != kInUse;
           at = neighbour_after(*at))
        room += blocks_.at(*at).size;
      if (room >= size) {
        start = first;
        break;
      }
    }
    if (!start) {
      const Size space = (capacity_ + capacity_ / 8 + page - 1) / page * page;
      start = (next_address_ + page - 1) / page * page;
      blocks_[*start] = {space, next_segment_++, small, kUnmapped, 0};
      next_address_ = *start + space;
    }
    Size have = blocks_.at(*start).state == kFree ? blocks_.at(*start).size : 0;
    while (have < size) {
      // Map the unmapped stretch that follows what is had, as far as it is needed.
      const auto stretch = have == 0 ? start : neighbour_after(*start);
      if (!stretch) return {};
      Block& block = blocks_.at(*stretch);
      const Size mapped = (std::min(size - have, block.size) + page - 1) / page * page;
      if (reserved + mapped > capacity_) return {};
      if (mapped < block.size)
        blocks_[*stretch + mapped] = {block.size - mapped, block.segment, small, kUnmapped, 0};
      block.size = mapped;
      block.state = kFree;
      add_reserved(mapped);
      start = settle(*stretch);
      have = blocks_.at(*start).size;
    }
    return start;
  }

  void collect_garbage() {
    const Size limit =
        static_cast<Size>(settings_.garbage_collection_threshold * static_cast<double>(capacity_));
    if (settings_.expandable_segments || reserved <= limit) return;
    Size left = reserved - limit;
    const auto age = [&](Size address) { return searches_[false] - blocks_.at(address).born; };
    while (true) {
      std::vector<Size> whole;
      double total = 0;
      for (const Size address : free_blocks(false)) {
        if (!fills_segment(address)) continue;
        whole.push_back(address);
        total += static_cast<double>(age(address));
      }
      if (whole.empty()) return;
      const double mean = total / static_cast<double>(whole.size());
      Size released = 0;
      for (const Size address : whole) {
        if (static_cast<double>(age(address)) < mean) continue;
        released += blocks_.at(address).size;
        release(address);
      }
      if (released == 0 || released >= left) return;
      left -= released;
    }
  }

  bool release_oversize(bool small, Size size) {
    if (!limits_splits() || settings_.expandable_segments) return false;
    const Size wanted = std::max(size, max_split());
    const std::vector<Size> free = free_blocks(small);
    for (const Size address : free) {
      if (blocks_.at(address).size < wanted) continue;
      release(address);
      ++flushes;
      return true;
    }
    Size released = 0;
    for (auto at = free.rbegin(); at != free.rend() && released < wanted; ++at) {
      if (blocks_.at(*at).size < max_split()) break;
      released += blocks_.at(*at).size;
      release(*at);
    }
    if (released < wanted) return false;
    ++flushes;
    return true;
  }

  void flush() {
    ++flushes;
    give_back();
  }

  void give_back() {
    for (const bool small : {false, true}) {
      for (const Size address : free_blocks(small)) {
        if (!settings_.expandable_segments) {
          if (fills_segment(address)) release(address);
          continue;
        }
        const Size page = small ? 2 * kMega : 20 * kMega;
        const Block block = blocks_.at(address);
        const Size end = address + block.size;
        const Size first = (address + page - 1) / page * page;
        const Size last = end / page * page;
        if (first >= last) continue;
        blocks_.erase(address);
        if (address < first) blocks_[address] = {first - address, block.segment, small, kFree, 0};
        if (last < end) blocks_[last] = {end - last, block.segment, small, kFree, 0};
        blocks_[first] = {last - first, block.segment, small, kUnmapped, 0};
        reserved -= last - first;
        const Size whole = settle(first);
        if (fills_segment(whole)) blocks_.erase(whole);
      }
    }
  }

  AllocatorSettings settings_;
  Size capacity_;
  bool collects_ = false;
  std::map<Size, Block> blocks_;  // by address
  std::map<std::uint32_t, Size> at_;
  std::int64_t searches_[2] = {0, 0};
  Size next_address_ = 0;
  int next_segment_ = 0;
};

struct Case {
  Trace trace;
  AllocatorSettings settings;
  Bytes capacity = kUnlimited;
};

/// A run of allocations and frees with the habits of training: few distinct sizes, stretches that
/// build up and stretches that are torn down, in order, in reverse, or at random.
Case random_case(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  Case result;
  result.settings.expandable_segments = below(3) == 0;
  if (below(3) == 0)
    result.settings.max_split_size = Bytes(static_cast<std::int64_t>((21 + below(100)) * kMega));
  if (below(3) == 0) result.settings.garbage_collection_threshold = 0.3 + 0.1 * below(7);

  std::vector<std::int64_t> sizes;
  for (std::uint32_t i = 0; i < 3 + below(12); ++i) {
    const std::uint32_t kind = below(8);
    sizes.push_back(kind == 0   ? below(3) * 512 + below(2)
                    : kind <= 3 ? 1 + below(1 << 20)
                    : kind <= 5 ? 1 + below(12 << 20)
                    : kind == 6 ? static_cast<std::int64_t>(below(80) * (kMega / 2))
                                : static_cast<std::int64_t>(below(150) * kMega));
  }
  std::vector<std::uint32_t> alive;
  std::uint32_t storages = 0;
  const std::size_t length = 20 + below(300);
  int step = 0;
  while (result.trace.events.size() < length) {
    result.trace.marks.push_back({static_cast<std::uint32_t>(result.trace.events.size()),
                                  Phase::forward, static_cast<std::int16_t>(step += below(2)), 0});
    const std::uint32_t order = below(3);
    const std::uint32_t frees_of_ten = below(11);
    for (std::uint32_t i = 0; i < 5 + below(30); ++i) {
      Event event;
      if (below(60) == 0) {
        event.kind = Event::Kind::empty_cache;
      } else if (below(10) < frees_of_ten && !alive.empty()) {
        const std::size_t at = order == 0   ? alive.size() - 1
                               : order == 1 ? 0
                                            : below(static_cast<std::uint32_t>(alive.size()));
        event.kind = Event::Kind::free;
        event.storage = alive[at];
        alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(at));
      } else {
        event.bytes = sizes[below(static_cast<std::uint32_t>(sizes.size()))];
        event.storage = storages++;
        alive.push_back(event.storage);
      }
      result.trace.events.push_back(event);
    }
  }
  // Most capacities lie about where it matters: between what is used and what would be reserved.
  if (below(5) != 0) {
    const Reserved unlimited = reserve(result.trace, result.settings);
    const auto from = static_cast<double>(unlimited.peak_allocated.count());
    const auto to = static_cast<double>(unlimited.peak_reserved.count());
    result.capacity =
        Bytes(static_cast<std::int64_t>(from + (to - from) * (below(120) - 5.0) / 100));
  }
  return result;
}

}  // namespace

TEST_CASE("the caching allocator agrees with the obvious one after every event") {
  std::int64_t flushed = 0;
  std::int64_t ran_out = 0;
  for (std::uint32_t seed = 1; seed <= 3000; ++seed) {
    const Case random = random_case(seed);
    CachingAllocator fast(random.settings, random.capacity);
    ObviousAllocator slow(random.settings, random.capacity);
    CAPTURE(seed, random.settings.expandable_segments, random.settings.max_split_size.count(),
            random.settings.garbage_collection_threshold, random.capacity.count());
    bool completes = true;
    bool agrees = true;
    for (std::size_t i = 0; i < random.trace.events.size() && completes && agrees; ++i) {
      const Event& event = random.trace.events[i];
      if (event.kind == Event::Kind::free) {
        fast.free(event.storage);
        slow.free(event.storage);
      } else if (event.kind == Event::Kind::empty_cache) {
        fast.empty_cache();
        slow.empty_cache();
      } else {
        completes = slow.allocate(event.storage, event.bytes);
        agrees = fast.allocate(event.storage, event.bytes) == completes;
      }
      agrees = agrees && fast.allocated() == Bytes(static_cast<std::int64_t>(slow.allocated)) &&
               fast.reserved() == Bytes(static_cast<std::int64_t>(slow.reserved)) &&
               fast.peak_allocated() == Bytes(static_cast<std::int64_t>(slow.peak_allocated)) &&
               fast.peak_reserved() == Bytes(static_cast<std::int64_t>(slow.peak_reserved)) &&
               fast.segments() == slow.segments && fast.flushes() == slow.flushes;
      if (!agrees) {
        CAPTURE(i, event.bytes, fast.allocated().count(), slow.allocated, fast.reserved().count(),
                slow.reserved, fast.flushes(), slow.flushes, fast.segments(), slow.segments);
        REQUIRE(agrees);
      }
    }
    const Reserved whole = reserve(random.trace, random.settings, random.capacity);
    REQUIRE(whole.completes() == completes);
    REQUIRE(whole.peak_allocated == fast.peak_allocated());
    REQUIRE(whole.peak_reserved == fast.peak_reserved());
    REQUIRE(whole.segments == fast.segments());
    REQUIRE(whole.flushes == fast.flushes());
    flushed += completes && slow.flushes > 0;
    ran_out += !completes;
  }
  // The cases are worth something only if many of them run into the capacity, and some survive it.
  CHECK(flushed > 100);
  CHECK(ran_out > 500);
}

TEST_CASE("one reading for a card with and without a limit tells what a reading for each does") {
  std::int64_t parted = 0;
  for (std::uint32_t seed = 20001; seed <= 24000; ++seed) {
    const Case random = random_case(seed);
    CAPTURE(seed, random.settings.expandable_segments, random.settings.max_split_size.count(),
            random.settings.garbage_collection_threshold, random.capacity.count());
    ReplayOnCard both(random.settings, random.capacity);
    read(random.trace, both);
    const auto agrees = [](const Reserved& a, const Reserved& b) {
      return a.peak_allocated == b.peak_allocated && a.peak_reserved == b.peak_reserved && a.segments == b.segments &&
             a.flushes == b.flushes && a.flushes_per_step == b.flushes_per_step && a.completes() == b.completes();
    };
    const Reserved limited = reserve(random.trace, random.settings, random.capacity);
    REQUIRE(agrees(both.limited(), limited));
    if (limited.out_of_memory) {
      REQUIRE(both.limited().out_of_memory->request == limited.out_of_memory->request);
      REQUIRE(both.limited().out_of_memory->reserved == limited.out_of_memory->reserved);
    }
    REQUIRE(agrees(both.unlimited(), reserve(random.trace, random.settings)));
    parted += random.settings.expandable_segments && !agrees(both.limited(), both.unlimited());
  }
  CHECK(parted > 300);
}

TEST_CASE("what is in use is reserved, and what is reserved fits the device") {
  std::int64_t tight = 0;
  for (std::uint32_t seed = 5001; seed <= 5800; ++seed) {
    CAPTURE(seed);
    const Case random = random_case(seed);
    const Reserved result = reserve(random.trace, random.settings, random.capacity);
    REQUIRE(result.peak_allocated <= result.peak_reserved);
    REQUIRE(result.peak_reserved <= random.capacity);
    REQUIRE(result.flushes_per_step <= result.flushes);

    // Without options the allocator gives memory back only where it must: below what it would
    // reserve without a limit, and never from there on. (Expandable segments have less address
    // space on a smaller card, and may lie otherwise for that.)
    const Reserved unlimited = reserve(random.trace);
    const Reserved limited = reserve(random.trace, {}, random.capacity);
    REQUIRE(unlimited.completes());
    REQUIRE(unlimited.flushes == 0);
    REQUIRE((limited.flushes > 0) == (random.capacity < unlimited.peak_reserved));
    if (limited.flushes == 0) {
      REQUIRE(limited.peak_allocated == unlimited.peak_allocated);
      REQUIRE(limited.peak_reserved == unlimited.peak_reserved);
      REQUIRE(limited.segments == unlimited.segments);
    }
    tight += limited.completes() && limited.flushes > 0;
  }
  CHECK(tight > 20);
}

TEST_CASE("a loop that is cut short after its third pass reserves what the whole loop does") {
  std::int64_t flushed = 0;
  for (std::uint32_t seed = 9001; seed <= 9060; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::int64_t least, std::int64_t most) {
      return least + static_cast<std::int64_t>(random() % static_cast<std::uint32_t>(most - least + 1));
    };
    std::vector<std::int64_t> weights(4);
    for (std::int64_t& elements : weights) elements = pick(1, 40'000) * 1024;
    // torchtune quantizes one weight after the other, a million of its elements at a time.
    const auto quantize = [&](TraceReader& reader) {
      emulate::Tape tape(reader);
      tape.enter(Phase::load, 0, 0);
      std::vector<emulate::Linear> kept(weights.size());
      for (std::size_t i = 0; i < weights.size(); ++i) {
        kept[i].weight = tape.allocate(weights[i], DType::bf16, Term::weights);
        emulate::torchtune::quantize_nf4(tape, kept[i]);
      }
      tape.finish();
    };
    AllocatorSettings settings;
    settings.expandable_segments = seed % 3 == 1;
    if (seed % 3 == 2) settings.max_split_size = 64_MiB;
    TraceKeeper whole;
    quantize(whole);
    const Trace trace = whole.take();
    Device device;
    device.context.bytes = {};
    for (const std::int64_t per_cent : {200, 98, 90}) {
      device.usable = Sourced<Bytes>{scaled(reserve(trace, settings).peak_reserved, per_cent * 10'000), Evidence::exact, {}};
      const MemoryEstimate of_whole = estimate(trace, device, settings);
      MemoryMeter meter(device, settings);
      REQUIRE(!meter.wants_every_pass());
      quantize(meter);
      const MemoryEstimate of_cut = meter.finish();
      REQUIRE(of_cut.unlimited.peak_reserved == of_whole.unlimited.peak_reserved);
      REQUIRE(of_cut.unlimited.peak_allocated == of_whole.unlimited.peak_allocated);
      REQUIRE(of_cut.footprint.allocated == of_whole.footprint.allocated);
      REQUIRE(of_cut.at_capacity->completes() == of_whole.at_capacity->completes());
      REQUIRE(of_cut.at_capacity->peak_reserved == of_whole.at_capacity->peak_reserved);
      flushed += of_whole.at_capacity->flushes > 0;
    }
  }
  CHECK(flushed > 20);
}
