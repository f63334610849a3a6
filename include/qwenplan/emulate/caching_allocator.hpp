#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/emulate/trace.hpp"

namespace qwenplan {

/// A card that never runs out: 1 PiB, small enough that no sum of segments overflows. A run that
/// needs more does not complete.
inline constexpr Bytes kUnlimited{std::int64_t{1} << 50};

/// The options of PYTORCH_CUDA_ALLOC_CONF that change which memory is reserved.
struct AllocatorSettings {
  bool expandable_segments = false;
  Bytes max_split_size{};  ///< `max_split_size_mb`, at least 21 MiB as PyTorch insists; 0: no limit
  /// `garbage_collection_threshold`, 0 to 1; 0: off. PyTorch heeds it only after
  /// `set_per_process_memory_fraction`: the capacity of the replay stands for that limit.
  double garbage_collection_threshold = 0.0;
};

/// The request that could not be met, after everything cached had been given back.
struct OutOfMemory {
  Phase phase = Phase::load;
  int step = 0;        ///< as in Mark
  int micro_step = 0;  ///< as in Mark
  Bytes request{};     ///< as asked for
  Bytes allocated{};   ///< in use at that moment
  Bytes reserved{};    ///< held by the allocator at that moment
};

/// What PyTorch's caching allocator did with a trace.
struct Reserved {
  /// Largest sum of the blocks in use, as `torch.cuda.max_memory_allocated()` reports it. A block
  /// is up to 1 MiB larger than its request where the rest was too small to split off.
  Bytes peak_allocated{};
  Bytes peak_reserved{};              ///< `torch.cuda.max_memory_reserved()`
  std::int64_t segments = 0;          ///< times that memory was taken from the driver
  std::int64_t flushes = 0;           ///< times that cached memory was given back to make room
  std::int64_t flushes_per_step = 0;  ///< of these, in the last step: later steps repeat it
  std::optional<OutOfMemory> out_of_memory;

  bool completes() const { return !out_of_memory; }
};

/// PyTorch's CUDACachingAllocator for one device and one stream (c10/cuda/CUDACachingAllocator.cpp;
/// the policy is unchanged from torch 2.1 to 2.9). Segments lie at ascending addresses, which the
/// driver does not promise: only ties between free blocks of equal size depend on it.
class CachingAllocator {
 public:
  CachingAllocator(const AllocatorSettings& settings, Bytes capacity)
      : expands_(settings.expandable_segments),
        collects_(settings.garbage_collection_threshold > 0.0 && capacity < kUnlimited),
        max_split_(settings.max_split_size > Bytes() ? size_of(settings.max_split_size) : kNoLimit),
        capacity_(size_of(std::clamp(capacity, Bytes(), kUnlimited))),
        collects_above_(
            static_cast<Size>(std::clamp(settings.garbage_collection_threshold, 0.0, 1.0) *
                              static_cast<double>(capacity_))) {
    pools_[0].is_small = true;
    blocks_.reserve(4096);
    blocks_.emplace_back();  // kNone: in use for ever, so that the ends of a segment need no test
  }

  /// Whether the size of the card may decide how a request is met: by giving cached memory back to the
  /// driver, or, where segments expand, by how much address space is left.
  enum class ByCapacity : std::uint8_t { allowed, forbidden };

  /// Takes a block for a storage; false if the device runs out, or if only the size of the card could
  /// decide, and may not: the same request can be made again. An empty storage takes none.
  bool allocate(std::uint32_t storage, std::int64_t bytes, ByCapacity by_capacity = ByCapacity::allowed) {
    if (bytes <= 0) return true;
    if (blocks_.size() > kMostBlocks) return false;
    const Size size = rounded_up(static_cast<Size>(bytes), kMinBlock);
    Pool& pool = pools_[size <= kSmallSize ? 0 : 1];
    bool is_by_space = false;
    const Index cached = best_fit(pool, size, is_by_space);
    if (is_by_space && by_capacity == ByCapacity::forbidden) return false;
    Index block = cached == kNone ? kNone : take(pool, cached, size);
    if (block == kNone) block = driver_block(pool, size, by_capacity);
    if (block == kNone) return false;
    blocks_[block].state = State::in_use;
    if (storage >= block_of_.size())
      block_of_.resize(std::max<std::size_t>(storage + std::size_t{1}, 2 * block_of_.size()),
                       kNone);
    block_of_[storage] = block;
    allocated_ += blocks_[block].size;
    peak_allocated_ = std::max(peak_allocated_, allocated_);
    return true;
  }

  /// Returns the block of a storage to its pool. A storage without one is left alone.
  void free(std::uint32_t storage) {
    if (storage >= block_of_.size() || block_of_[storage] == kNone) return;
    const Index block = block_of_[storage];
    block_of_[storage] = kNone;
    allocated_ -= blocks_[block].size;
    put(pools_[blocks_[block].is_small ? 0 : 1], block);
  }

  /// torch.cuda.empty_cache(): asked for by the program, not forced by a lack of memory.
  void empty_cache() { give_back(); }

  /// Goes on as on a card that never runs out, and with its address space.
  void lift_limit() {
    const Size before = std::exchange(capacity_, size_of(kUnlimited));
    for (Pool& pool : pools_)
      for (const Index block : pool.unmapped) {
        if (blocks_[block].next != kNone) continue;
        const Size added = address_space(pool, capacity_) - address_space(pool, before);
        blocks_[block].size += added;
        next_address_ += added;
      }
  }

  Bytes allocated() const { return bytes_of(allocated_); }
  Bytes reserved() const { return bytes_of(reserved_); }
  Bytes peak_allocated() const { return bytes_of(peak_allocated_); }
  Bytes peak_reserved() const { return bytes_of(peak_reserved_); }
  std::int64_t segments() const { return segments_; }
  std::int64_t flushes() const { return flushes_; }

 private:
  using Size = std::uint64_t;
  using Index = std::uint32_t;

  static constexpr Index kNone = 0;
  static constexpr Size kNoLimit = ~Size{0};
  static constexpr Size kMiB = 1024 * 1024;
  static constexpr Size kMinBlock = 512;
  static constexpr Size kSmallSize = kMiB;           // the largest request of the small pool
  static constexpr Size kSmallSegment = 2 * kMiB;    // also the small pool's page when expandable
  static constexpr Size kLargeSegment = 20 * kMiB;   // also the large pool's page when expandable
  static constexpr Size kMinLargeAlloc = 10 * kMiB;  // from here on a segment of its own
  static constexpr Size kRoundLarge = 2 * kMiB;

  enum class State : std::uint8_t {
    in_use,
    free,
    unmapped  // address space of an expandable segment without memory
  };

  /// A stretch of a segment. Neighbours in address are linked; kNone lies beyond the ends.
  struct Block {
    Size address = 0;
    Size size = 0;
    Index previous = kNone;
    Index next = kNone;
    Index free_before = kNone;  // its neighbours in the list of free blocks of about its size
    Index free_after = kNone;
    std::uint32_t born = 0;  // the pool's searches when the block became free, for its age
    std::uint16_t bin = 0;  // of its size, while it is free
    State state = State::in_use;
    bool is_small = false;

    bool is_split() const { return previous != kNone || next != kNone; }
  };

  // Free blocks are kept by size: a bin for each multiple of 512 bytes up to 16 KiB, then thirty-two
  // bins for each power of two. A bin is a list by size, then by address, and a word of bits tells
  // which bins hold any.
  static constexpr int kBinBits = 5;
  static constexpr std::size_t kWords = 20;
  static constexpr std::size_t kBins = 64 * kWords;
  static constexpr std::size_t kMostBlocks = std::size_t{1} << 23;  // no run is near

  static std::size_t bin_of(Size size) {
    const Size units = size / kMinBlock;
    const int bits = static_cast<int>(std::bit_width(units));
    if (bits <= kBinBits) return static_cast<std::size_t>(units);
    const Size below = units >> (bits - kBinBits - 1);  // the leading bits, 32 to 63
    return static_cast<std::size_t>(bits - kBinBits - 1) * 32 + static_cast<std::size_t>(below);
  }

  struct Pool {
    bool is_small = false;
    std::uint32_t searches = 0;
    std::array<Index, kBins> first{}, last{};    // of the blocks of each bin
    std::array<std::uint64_t, kWords> filled{};  // a bit for each bin that holds any
    std::vector<Index> unmapped;                 // of expandable segments, by address
  };

  static Size size_of(Bytes bytes) { return static_cast<Size>(bytes.count()); }
  static Bytes bytes_of(Size size) { return Bytes(static_cast<std::int64_t>(size)); }
  static Size rounded_up(Size size, Size unit) { return (size + unit - 1) / unit * unit; }
  static Size segment_size(Size size) {
    if (size <= kSmallSize) return kSmallSegment;
    if (size < kMinLargeAlloc) return kLargeSegment;
    return rounded_up(size, kRoundLarge);
  }
  static Size page_size(const Pool& pool) { return pool.is_small ? kSmallSegment : kLargeSegment; }

  Index make_block(const Pool& pool, Size address, Size size) {
    Index block = spare_;
    if (block != kNone) {
      spare_ = blocks_[block].next;
    } else {
      block = static_cast<Index>(blocks_.size());
      blocks_.emplace_back();
    }
    Block& b = blocks_[block];
    b.address = address;
    b.size = size;
    b.previous = b.next = kNone;
    b.state = State::in_use;
    b.is_small = pool.is_small;
    return block;
  }

  /// A node to use again.
  void discard(Index block) {
    blocks_[block].next = spare_;
    spare_ = block;
  }

  void link(Index first, Index second) {
    blocks_[first].next = second;
    blocks_[second].previous = first;
  }

  /// Joins a block with the one after it, whose node is spare from then on.
  void join(Index block, Index after) {
    blocks_[block].size += blocks_[after].size;
    link(block, blocks_[after].next);
    discard(after);
  }

  void insert(Pool& pool, Index block) {
    blocks_[block].state = State::free;
    blocks_[block].born = pool.searches;
    insert(pool, block, bin_of(blocks_[block].size));
  }

  bool goes_before(Index a, Index b) const {
    return blocks_[a].size < blocks_[b].size ||
           (blocks_[a].size == blocks_[b].size && blocks_[a].address < blocks_[b].address);
  }

  void insert(Pool& pool, Index block, std::size_t bin) {
    // What a step frees comes back in order or in reverse, mostly: one of the ends is its place.
    Index before = pool.last[bin], after = kNone;
    if (before != kNone && goes_before(block, before)) {
      after = pool.first[bin];
      while (goes_before(after, block)) after = blocks_[after].free_after;
      before = blocks_[after].free_before;
    }
    blocks_[block].bin = static_cast<std::uint16_t>(bin);
    blocks_[block].free_before = before;
    blocks_[block].free_after = after;
    (before == kNone ? pool.first[bin] : blocks_[before].free_after) = block;
    (after == kNone ? pool.last[bin] : blocks_[after].free_before) = block;
    pool.filled[bin / 64] |= std::uint64_t{1} << bin % 64;
  }

  void erase(Pool& pool, Index block) {
    const std::size_t bin = blocks_[block].bin;
    const Index before = blocks_[block].free_before, after = blocks_[block].free_after;
    (before == kNone ? pool.first[bin] : blocks_[before].free_after) = after;
    (after == kNone ? pool.last[bin] : blocks_[after].free_before) = before;
    if (pool.first[bin] == kNone) pool.filled[bin / 64] &= ~(std::uint64_t{1} << bin % 64);
  }

  /// Makes a free block one of this size. A large one mostly keeps its place.
  void resize(Pool& pool, Index block, Size size) {
    const std::size_t bin = bin_of(size);
    Block& b = blocks_[block];
    const bool grows = size > b.size;
    b.size = size;
    b.born = pool.searches;
    const Index overtaken = grows ? b.free_after : b.free_before;
    if (b.bin == bin && (overtaken == kNone || goes_before(overtaken, block) != grows)) return;
    erase(pool, block);
    insert(pool, block, bin);
  }

  /// The first bin from this one on that holds any; kBins if there is none.
  static std::size_t filled_from(const Pool& pool, std::size_t bin) {
    if (bin >= kBins) return kBins;
    std::size_t word = bin / 64;
    std::uint64_t bits = pool.filled[word] >> bin % 64 << bin % 64;
    while (bits == 0) {
      if (++word == kWords) return kBins;
      bits = pool.filled[word];
    }
    return word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
  }

  /// The first free block by size, then by address, that is at least this large and, if exactly as
  /// large, at this address or above; kNone if there is none.
  Index first_from(const Pool& pool, Size size, Size address) const {
    for (std::size_t bin = filled_from(pool, bin_of(size)); bin < kBins;
         bin = filled_from(pool, bin + 1)) {
      Index best = pool.first[bin];
      for (; best != kNone; best = blocks_[best].free_after)
        if (blocks_[best].size > size || (blocks_[best].size == size && blocks_[best].address >= address)) break;
      if (best != kNone) return best;
    }
    return kNone;
  }

  template <class Visit>
  void for_each_free(const Pool& pool, Visit&& visit) {
    for (std::size_t bin = filled_from(pool, 0); bin < kBins; bin = filled_from(pool, bin + 1))
      for (Index at = pool.first[bin]; at != kNone;) {
        const Index after = blocks_[at].free_after;  // the visit may erase the block
        visit(at);
        at = after;
      }
  }

  /// Returns a block to its pool, joined with the free neighbours of its segment; gives the whole.
  Index put(Pool& pool, Index block) {
    const Index before = blocks_[block].previous, after = blocks_[block].next;
    const bool joins_before = blocks_[before].state == State::free;
    const bool joins_after = blocks_[after].state == State::free;
    Size size = blocks_[block].size;
    if (joins_before) {
      if (joins_after) {
        erase(pool, after);
        join(block, after);
        size = blocks_[block].size;
      }
      link(before, blocks_[block].next);
      discard(block);
      resize(pool, before, blocks_[before].size + size);
      return before;
    }
    if (joins_after) {
      blocks_[after].address = blocks_[block].address;
      link(before, after);
      discard(block);
      resize(pool, after, size + blocks_[after].size);
      return after;
    }
    insert(pool, block);
    return block;
  }

  /// Takes `size` bytes from the front of a free block, or all of it if the rest is too small.
  Index take(Pool& pool, Index block, Size size) {
    const Size rest = blocks_[block].size - size;
    const bool splits =
        pool.is_small || expands_ ? rest >= kMinBlock : size < max_split_ && rest > kSmallSize;
    if (!splits) {
      erase(pool, block);
      return block;
    }
    const Index front = make_block(pool, blocks_[block].address, size);
    link(blocks_[block].previous, front);
    link(front, block);
    blocks_[block].address += size;
    resize(pool, block, rest);
    return front;
  }

  /// A block that can grow counts as large as it could become, so that a gap is filled first: the first of
  /// this and larger blocks than which the next is no narrower, if so much more address space were left.
  Index narrowest_from(const Pool& pool, Index best, Size more_space) const {
    const auto reach = [&](Index block) {
      const Block& next = blocks_[blocks_[block].next];
      if (next.state != State::unmapped) return blocks_[block].size;
      return blocks_[block].size + next.size + (next.next == kNone ? more_space : 0);
    };
    const auto after = [&](Index block) {
      return first_from(pool, blocks_[block].size, blocks_[block].address + 1);
    };
    for (Index next = after(best); next != kNone && reach(next) < reach(best); next = after(next)) best = next;
    return best;
  }

  /// The best fit among the free blocks; whether it would be another if more address space were left.
  Index best_fit(Pool& pool, Size size, bool& is_by_space) {
    if (collects_) ++pool.searches;
    Index best = first_from(pool, size, 0);
    if (best == kNone) return kNone;
    if (expands_ && blocks_[blocks_[best].next].state == State::unmapped) {
      const Index in_any_space = narrowest_from(pool, best, size_of(kUnlimited));
      best = narrowest_from(pool, best, 0);
      is_by_space = in_any_space != best;
    }
    if (max_split_ != kNoLimit) {
      // A block that is too large to split serves only a request of nearly its own size.
      const Size found = blocks_[best].size;
      if (size < max_split_ ? found >= max_split_ : found >= size + kLargeSegment) return kNone;
    }
    return best;
  }

  /// A block of new memory, for which cached memory is given back if there is no other way.
  Index driver_block(Pool& pool, Size size, ByCapacity by_capacity) {
    if (collects_) collect_garbage();
    const bool may_decide = by_capacity == ByCapacity::allowed;
    if (!may_decide && expands_ && !has_space_for(pool, size)) return kNone;
    if (!extend(pool, size)) {
      if (!may_decide) return kNone;
      if (!(release_oversize(pool, size) && extend(pool, size))) {
        ++flushes_;
        give_back();
        if (!extend(pool, size)) return kNone;
      }
    }
    return take(pool, extended_, size);
  }

  /// Adds memory from the driver to a pool as a free block for the request; false if it does not
  /// fit the device.
  bool extend(Pool& pool, Size size) {
    const Size segment = segment_size(size);
    // With a memory fraction PyTorch tests for a whole segment even where it maps single pages.
    if ((collects_ || !expands_) && reserved_ + segment > capacity_) return false;
    if (expands_) return expand(pool, size);
    extended_ = make_block(pool, next_address_, segment);
    next_address_ += segment;
    insert(pool, extended_);
    count_segment(segment);
    return true;
  }

  void count_segment(Size size) {
    reserved_ += size;
    peak_reserved_ = std::max(peak_reserved_, reserved_);
    ++segments_;
  }

  void release(Pool& pool, Index block) {
    reserved_ -= blocks_[block].size;
    erase(pool, block);
    blocks_[block].state = State::in_use;
    discard(block);
  }

  /// Gives the oldest unused segments back once more than the threshold is reserved.
  void collect_garbage() {
    if (reserved_ <= collects_above_ || expands_) return;
    Pool& pool = pools_[1];
    const auto age = [&](Index block) { return Size{pool.searches - blocks_[block].born}; };
    const Size target = reserved_ - collects_above_;
    Size total_age = 0;
    Size count = 0;
    for_each_free(pool, [&](Index block) {
      if (blocks_[block].is_split()) return;
      total_age += age(block);
      ++count;
    });
    Size reclaimed = 0;
    bool has_released = true;
    while (reclaimed < target && has_released && count > 0) {
      const double mean_age = static_cast<double>(total_age) / static_cast<double>(count);
      has_released = false;
      for_each_free(pool, [&](Index block) {
        if (blocks_[block].is_split() || static_cast<double>(age(block)) < mean_age) return;
        has_released = true;
        reclaimed += blocks_[block].size;
        total_age -= age(block);
        --count;
        release(pool, block);
      });
    }
  }

  /// The last free block by size, then by address.
  Index largest_free(const Pool& pool) {
    Index largest = kNone;
    for_each_free(pool, [&](Index block) {
      const Block& b = blocks_[block];
      const Block& l = blocks_[largest];
      if (largest == kNone || b.size > l.size || (b.size == l.size && b.address > l.address))
        largest = block;
    });
    return largest;
  }

  /// With a limit on splitting: gives back one oversize block that is large enough, or several
  /// that are together, the largest first.
  bool release_oversize(Pool& pool, Size size) {
    if (max_split_ == kNoLimit || expands_) return false;
    const Size wanted = std::max(size, max_split_);
    Size released = 0;
    if (const Index fit = first_from(pool, wanted, 0); fit != kNone) {
      released = blocks_[fit].size;
      release(pool, fit);
    } else {
      while (released < wanted) {
        const Index largest = largest_free(pool);
        if (largest == kNone || blocks_[largest].size < max_split_) break;
        released += blocks_[largest].size;
        release(pool, largest);
      }
    }
    if (released < wanted) return false;
    ++flushes_;
    return true;
  }

  /// Gives every wholly unused segment, or page of an expandable one, back to the driver.
  void give_back() {
    for (Pool* pool : {&pools_[1], &pools_[0]}) {
      std::vector<Index> free;  // unmapping makes free blocks of its own
      for_each_free(*pool, [&](Index block) { free.push_back(block); });
      for (const Index block : free) {
        if (expands_) unmap(*pool, block);
        else if (!blocks_[block].is_split()) release(*pool, block);
      }
    }
  }

  void insert_unmapped(Pool& pool, Index block) {
    blocks_[block].state = State::unmapped;
    const auto lower = [&](Index a, Index b) { return blocks_[a].address < blocks_[b].address; };
    pool.unmapped.insert(std::lower_bound(pool.unmapped.begin(), pool.unmapped.end(), block, lower),
                         block);
  }

  void erase_unmapped(Pool& pool, Index block) {
    pool.unmapped.erase(std::find(pool.unmapped.begin(), pool.unmapped.end(), block));
  }

  /// PyTorch takes address space for 1 1/8 of the card, in whole pages.
  static Size address_space(const Pool& pool, Size capacity) {
    return rounded_up(capacity + capacity / 8, page_size(pool));
  }

  /// Whether address space is left whatever this request maps.
  bool has_space_for(const Pool& pool, Size size) const {
    if (pool.unmapped.empty()) return true;
    const Block& last = blocks_[pool.unmapped.back()];
    return last.next == kNone && last.size > size + page_size(pool);
  }

  /// The block of the lowest address from which `size` bytes are free or can be mapped; the start of a
  /// new expandable segment if there is none.
  Index room(Pool& pool, Size size) {
    for (Index start : pool.unmapped) {
      const Index before = blocks_[start].previous;
      if (blocks_[before].state == State::free) start = before;
      Size found = 0;
      for (Index block = start; found < size && blocks_[block].state != State::in_use;
           block = blocks_[block].next)
        found += blocks_[block].size;
      if (found >= size) return start;
    }
    const Size space = address_space(pool, capacity_);
    const Index block = make_block(pool, rounded_up(next_address_, page_size(pool)), space);
    next_address_ = blocks_[block].address + space;
    insert_unmapped(pool, block);
    return block;
  }

  /// Backs the front of an unmapped block with whole pages of memory. Gives the free block that it
  /// becomes part of, or none if the pages do not fit.
  Index map(Pool& pool, Index block, Size size) {
    const Size mapped = rounded_up(std::min(size, blocks_[block].size), page_size(pool));
    if (reserved_ + mapped > capacity_) return kNone;
    erase_unmapped(pool, block);
    if (mapped < blocks_[block].size) {
      const Index rest =
          make_block(pool, blocks_[block].address + mapped, blocks_[block].size - mapped);
      link(rest, blocks_[block].next);
      link(block, rest);
      blocks_[block].size = mapped;
      insert_unmapped(pool, rest);
    }
    count_segment(mapped);
    return put(pool, block);
  }

  bool expand(Pool& pool, Size size) {
    Index block = room(pool, size);
    if (blocks_[block].state == State::unmapped) block = map(pool, block, size);
    while (block != kNone && blocks_[block].size < size) {
      const Index next = blocks_[block].next;
      block = next == kNone ? kNone : map(pool, next, size - blocks_[block].size);
    }
    extended_ = block;
    return block != kNone;
  }

  /// Gives the whole pages inside a free block back; what sticks out of them stays free.
  void unmap(Pool& pool, Index block) {
    const Size page = page_size(pool);
    const Size address = blocks_[block].address;
    const Size end = address + blocks_[block].size;
    const Size first = rounded_up(address, page);
    const Size last = end / page * page;
    if (first >= last) return;
    erase(pool, block);
    if (address < first) {
      const Index head = make_block(pool, address, first - address);
      link(blocks_[block].previous, head);
      link(head, block);
      insert(pool, head);
    }
    if (last < end) {
      const Index tail = make_block(pool, last, end - last);
      link(tail, blocks_[block].next);
      link(block, tail);
      insert(pool, tail);
    }
    blocks_[block].address = first;
    blocks_[block].size = last - first;
    reserved_ -= last - first;
    if (const Index after = blocks_[block].next; blocks_[after].state == State::unmapped) {
      erase_unmapped(pool, after);
      join(block, after);
    }
    if (const Index before = blocks_[block].previous; blocks_[before].state == State::unmapped) {
      erase_unmapped(pool, before);
      join(before, block);
      block = before;
    }
    // An expandable segment without a page goes as a whole.
    if (blocks_[block].is_split()) {
      insert_unmapped(pool, block);
    } else {
      blocks_[block].state = State::in_use;
      discard(block);
    }
  }

  bool expands_;
  bool collects_;
  Size max_split_;
  Size capacity_;
  Size collects_above_;

  std::array<Pool, 2> pools_;  // small, large
  std::vector<Block> blocks_;
  Index spare_ = kNone;                  // nodes of blocks_ to use again, linked by `next`
  std::vector<Index> block_of_;          // by storage
  Index extended_ = kNone;               // the free block that the last extension made

  Size next_address_ = 0;
  Size allocated_ = 0;
  Size reserved_ = 0;
  Size peak_allocated_ = 0;
  Size peak_reserved_ = 0;
  std::int64_t segments_ = 0;
  std::int64_t flushes_ = 0;
};

/// A trace as the caching allocator of one device sees it. Ends at the first request that cannot be
/// met.
class Replay final : public TraceReader {
 public:
  explicit Replay(const AllocatorSettings& settings = {}, Bytes capacity = kUnlimited)
      : allocator_(settings, capacity) {}

  void enter(const Mark& mark) override {
    if (out_of_memory_) return;
    if (mark.step != mark_.step) flushes_before_step_ = allocator_.flushes();
    mark_ = mark;
  }

  void read(std::span<const Event> events) override {
    const std::size_t met = read_as(events, CachingAllocator::ByCapacity::allowed);
    if (met == events.size() || out_of_memory_) return;
    out_of_memory_ = OutOfMemory{mark_.phase,
                                 mark_.step,
                                 mark_.micro_step,
                                 Bytes(events[met].bytes),
                                 allocator_.allocated(),
                                 allocator_.reserved()};
  }

  /// Reads up to the first request that is met as the size of the card decides; says how many events
  /// that were.
  std::size_t read_while_it_fits(std::span<const Event> events) {
    return read_as(events, CachingAllocator::ByCapacity::forbidden);
  }

  /// Goes on as on a card that never runs out.
  void lift_limit() { allocator_.lift_limit(); }

  Reserved result() const {
    return {allocator_.peak_allocated(), allocator_.peak_reserved(),
            allocator_.segments(),       allocator_.flushes(),
            allocator_.flushes() - flushes_before_step_, out_of_memory_};
  }

 private:
  std::size_t read_as(std::span<const Event> events, CachingAllocator::ByCapacity by_capacity) {
    if (out_of_memory_) return events.size();
    for (std::size_t i = 0; i < events.size(); ++i) {
      const Event& event = events[i];
      if (event.kind == Event::Kind::free) {
        allocator_.free(event.storage);
      } else if (event.kind == Event::Kind::allocate) {
        if (!allocator_.allocate(event.storage, event.bytes, by_capacity)) return i;
      } else if (event.kind == Event::Kind::empty_cache) {
        allocator_.empty_cache();
      }
    }
    return events.size();
  }

  CachingAllocator allocator_;
  Mark mark_;
  std::int64_t flushes_before_step_ = 0;
  std::optional<OutOfMemory> out_of_memory_;
};

/// Two replays in one reading: on a card that never runs out, and on one that may. They are one as
/// long as both would do the same.
class ReplayOnCard final : public TraceReader {
 public:
  ReplayOnCard(const AllocatorSettings& settings, std::optional<Bytes> capacity)
      : limited_(settings, capacity.value_or(kUnlimited)) {
    // Garbage is collected as the capacity comes near.
    if (capacity && settings.garbage_collection_threshold > 0.0) unlimited_.emplace(settings);
  }

  void enter(const Mark& mark) override {
    limited_.enter(mark);
    if (unlimited_) unlimited_->enter(mark);
  }

  void read(std::span<const Event> events) override {
    if (!unlimited_) {
      events = events.subspan(limited_.read_while_it_fits(events));
      if (events.empty()) return;
      unlimited_ = limited_;
      unlimited_->lift_limit();
    }
    unlimited_->read(events);
    limited_.read(events);
  }

  Reserved unlimited() const { return unlimited_ ? unlimited_->result() : limited_.result(); }
  Reserved limited() const { return limited_.result(); }

 private:
  Replay limited_;
  std::optional<Replay> unlimited_;  ///< once it differs
};

/// Runs a trace through the caching allocator of a device with so much memory for it.
inline Reserved reserve(const Trace& trace, const AllocatorSettings& settings = {},
                        Bytes capacity = kUnlimited) {
  Replay replay(settings, capacity);
  read(trace, replay);
  return replay.result();
}

}  // namespace qwenplan
