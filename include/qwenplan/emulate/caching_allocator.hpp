#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
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
  Bytes peak_reserved{};       ///< `torch.cuda.max_memory_reserved()`
  std::int64_t segments = 0;   ///< times that memory was taken from the driver
  std::int64_t flushes = 0;    ///< times that cached memory was given back to make room
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
        max_split_(settings.max_split_size > Bytes() ? bytes_of(settings.max_split_size) : kNoLimit),
        capacity_(bytes_of(std::clamp(capacity, Bytes(), kUnlimited))),
        is_limited_(capacity < kUnlimited) {
    collects_ = is_limited_ && settings.garbage_collection_threshold > 0.0;
    collects_above_ = static_cast<Size>(settings.garbage_collection_threshold *
                                        static_cast<double>(capacity_));
    blocks_.reserve(4096);
  }

  /// Takes a block for a storage; false if the device runs out. An empty storage takes none.
  bool allocate(std::uint32_t storage, std::int64_t bytes) {
    if (bytes <= 0) return true;
    const Size size = rounded(static_cast<Size>(bytes));
    Pool& pool = pools_[size <= kSmallSize ? 0 : 1];
    Index block = cached_block(pool, size);
    if (block == kNone) {
      if (collects_) collect_garbage();
      block = new_block(pool, size);
      if (block == kNone && release_oversize(pool, size)) block = new_block(pool, size);
      if (block == kNone) {
        flush();
        block = new_block(pool, size);
      }
      if (block == kNone) return false;
    }
    if (splits(pool, blocks_[block].size, size)) block = split(pool, block, size);
    Block& taken = blocks_[block];
    taken.in_use = true;
    if (storage >= block_of_.size()) block_of_.resize(storage + std::size_t{1} + storage / 2, kNone);
    block_of_[storage] = block;
    allocated_ += taken.size;
    peak_allocated_ = std::max(peak_allocated_, allocated_);
    return true;
  }

  /// Returns the block of a storage to its pool. A storage without one is left alone.
  void free(std::uint32_t storage) {
    if (storage >= block_of_.size() || block_of_[storage] == kNone) return;
    const Index block = block_of_[storage];
    block_of_[storage] = kNone;
    allocated_ -= blocks_[block].size;
    blocks_[block].in_use = false;
    Pool& pool = pools_[blocks_[block].is_small ? 0 : 1];
    merge_with_neighbours(pool, block);
    put(pool, block);
  }

  Bytes allocated() const { return count_of(allocated_); }
  Bytes reserved() const { return count_of(reserved_); }
  Bytes peak_allocated() const { return count_of(peak_allocated_); }
  Bytes peak_reserved() const { return count_of(peak_reserved_); }
  std::int64_t segments() const { return segments_; }
  std::int64_t flushes() const { return flushes_; }

 private:
  using Size = std::uint64_t;
  using Index = std::uint32_t;

  static constexpr Index kNone = ~Index{0};
  static constexpr Size kNoLimit = ~Size{0};
  static constexpr Size kMiB = 1024 * 1024;
  static constexpr Size kMinBlock = 512;
  static constexpr Size kSmallSize = kMiB;          // the largest request of the small pool
  static constexpr Size kSmallSegment = 2 * kMiB;   // also the small pool's page when expandable
  static constexpr Size kLargeSegment = 20 * kMiB;  // also the large pool's page when expandable
  static constexpr Size kMinLargeAlloc = 10 * kMiB;  // from here on a segment of its own
  static constexpr Size kRoundLarge = 2 * kMiB;

  /// A stretch of a segment. Neighbours in address are linked; a segment's ends have none beyond.
  struct Block {
    Size address = 0;
    Size size = 0;
    Index previous = kNone;
    Index next = kNone;
    std::uint32_t born = 0;  // searches of the pool when it was last freed, for garbage collection
    bool in_use = false;
    bool is_mapped = true;  // false: address space of an expandable segment without memory
    bool is_small = false;

    bool is_split() const { return previous != kNone || next != kNone; }
  };

  /// A free block, as its pool orders it: by size, then by address.
  struct Entry {
    Size size;
    Size address;
    Index block;
    friend bool operator<(const Entry& a, const Entry& b) {
      return a.size != b.size ? a.size < b.size : a.address < b.address;
    }
  };

  struct Pool {
    bool is_small = false;
    std::vector<Entry> free;      // sorted
    std::vector<Index> unmapped;  // of expandable segments, by address
    std::uint32_t searches = 0;
  };

  static Size bytes_of(Bytes bytes) { return static_cast<Size>(bytes.count()); }
  static Bytes count_of(Size size) { return Bytes(static_cast<std::int64_t>(size)); }
  static Size rounded_up(Size size, Size unit) { return (size + unit - 1) / unit * unit; }
  static Size rounded(Size size) { return rounded_up(size, kMinBlock); }
  static Size segment_size(Size size) {
    if (size <= kSmallSize) return kSmallSegment;
    if (size < kMinLargeAlloc) return kLargeSegment;
    return rounded_up(size, kRoundLarge);
  }
  static Size page_size(const Pool& pool) { return pool.is_small ? kSmallSegment : kLargeSegment; }

  bool splits(const Pool& pool, Size block, Size size) const {
    const Size rest = block - size;
    if (pool.is_small || expands_) return rest >= kMinBlock;
    return size < max_split_ && rest > kSmallSize;
  }

  Index make_block(const Pool& pool, Size address, Size size) {
    Index index;
    if (spare_.empty()) {
      index = static_cast<Index>(blocks_.size());
      blocks_.emplace_back();
    } else {
      index = spare_.back();
      spare_.pop_back();
    }
    blocks_[index] = Block{};
    blocks_[index].address = address;
    blocks_[index].size = size;
    blocks_[index].is_small = pool.is_small;
    return index;
  }

  Entry entry_of(Index block) const { return {blocks_[block].size, blocks_[block].address, block}; }

  void put(Pool& pool, Index block) {
    blocks_[block].born = pool.searches;
    const Entry entry = entry_of(block);
    pool.free.insert(std::lower_bound(pool.free.begin(), pool.free.end(), entry), entry);
  }

  void take(Pool& pool, Index block) {
    pool.free.erase(std::lower_bound(pool.free.begin(), pool.free.end(), entry_of(block)));
  }

  void put_unmapped(Pool& pool, Index block) {
    const auto above = [this](Index a, Index b) { return blocks_[a].address < blocks_[b].address; };
    pool.unmapped.insert(
        std::lower_bound(pool.unmapped.begin(), pool.unmapped.end(), block, above), block);
  }

  void take_unmapped(Pool& pool, Index block) {
    pool.unmapped.erase(std::find(pool.unmapped.begin(), pool.unmapped.end(), block));
  }

  void link(Index first, Index second) {
    if (first != kNone) blocks_[first].next = second;
    if (second != kNone) blocks_[second].previous = first;
  }

  /// Cuts the block's front off for a request; the rest goes back to the pool.
  Index split(Pool& pool, Index block, Size size) {
    const Index front = make_block(pool, blocks_[block].address, size);
    link(blocks_[block].previous, front);
    link(front, block);
    blocks_[block].address += size;
    blocks_[block].size -= size;
    put(pool, block);
    return front;
  }

  /// Adds the neighbours that are as free, and as mapped, as the block itself.
  void merge_with_neighbours(Pool& pool, Index block) {
    for (const Index neighbour : {blocks_[block].previous, blocks_[block].next}) {
      if (neighbour == kNone || blocks_[neighbour].in_use ||
          blocks_[neighbour].is_mapped != blocks_[block].is_mapped)
        continue;
      if (blocks_[neighbour].is_mapped)
        take(pool, neighbour);
      else
        take_unmapped(pool, neighbour);
      if (neighbour == blocks_[block].previous) {
        blocks_[block].address = blocks_[neighbour].address;
        link(blocks_[neighbour].previous, block);
      } else {
        link(block, blocks_[neighbour].next);
      }
      blocks_[block].size += blocks_[neighbour].size;
      spare_.push_back(neighbour);
    }
  }

  /// The best fit among the free blocks, taken out of the pool.
  Index cached_block(Pool& pool, Size size) {
    if (collects_) ++pool.searches;
    auto best = std::lower_bound(pool.free.begin(), pool.free.end(), Entry{size, 0, 0});
    if (best == pool.free.end()) return kNone;
    if (expands_) {
      // A block that can grow counts as large as it could become, so that a closed gap comes first.
      const auto reach = [this](const Entry& entry) {
        const Index next = blocks_[entry.block].next;
        return entry.size + (next != kNone && !blocks_[next].is_mapped ? blocks_[next].size : 0);
      };
      for (auto next = best + 1; next != pool.free.end() && reach(*next) < reach(*best); ++next)
        best = next;
    }
    // With a limit on splitting, an oversize block serves only requests of nearly its own size.
    if (size < max_split_ ? best->size >= max_split_ : best->size >= size + kLargeSegment)
      if (max_split_ != kNoLimit) return kNone;
    const Index block = best->block;
    pool.free.erase(best);
    return block;
  }

  /// Memory from the driver, outside the free list; none if it does not fit.
  Index new_block(Pool& pool, Size size) {
    const Size segment = segment_size(size);
    if (collects_ && reserved_ + segment > capacity_) return kNone;
    if (expands_) return expanded_block(pool, size);
    if (reserved_ + segment > capacity_) return kNone;
    count_segment(segment);
    const Index block = make_block(pool, next_address_, segment);
    next_address_ += segment;
    return block;
  }

  void count_segment(Size bytes) {
    reserved_ += bytes;
    peak_reserved_ = std::max(peak_reserved_, reserved_);
    ++segments_;
  }

  void release_segment(Pool& pool, Index block) {
    reserved_ -= blocks_[block].size;
    take(pool, block);
    spare_.push_back(block);
  }

  /// Gives back the oldest unused segments once more than the threshold is reserved.
  void collect_garbage() {
    if (reserved_ <= collects_above_) return;
    const Size target = reserved_ - collects_above_;
    Pool& pool = pools_[1];
    const auto age = [&](Index block) { return Size{pool.searches - blocks_[block].born}; };
    Size reclaimed = 0;
    Size total_age = 0;
    Size count = 0;
    for (const Entry& entry : pool.free) {
      if (blocks_[entry.block].is_split()) continue;
      total_age += age(entry.block);
      ++count;
    }
    bool released = true;
    while (reclaimed < target && released && count > 0) {
      const double threshold = static_cast<double>(total_age) / static_cast<double>(count);
      released = false;
      for (std::size_t i = 0; i < pool.free.size();) {
        const Index block = pool.free[i].block;
        if (blocks_[block].is_split() || static_cast<double>(age(block)) < threshold) {
          ++i;
          continue;
        }
        released = true;
        reclaimed += blocks_[block].size;
        total_age -= age(block);
        --count;
        release_segment(pool, block);
      }
    }
  }

  /// With a limit on splitting: gives back one oversize block that is large enough, or several.
  bool release_oversize(Pool& pool, Size size) {
    if (max_split_ == kNoLimit || expands_) return false;
    const Size wanted = std::max(size, max_split_);
    const auto fit = std::lower_bound(pool.free.begin(), pool.free.end(), Entry{wanted, 0, 0});
    if (fit != pool.free.end()) {
      release_segment(pool, fit->block);
      ++flushes_;
      return true;
    }
    Size released = 0;
    while (released < wanted && !pool.free.empty() && pool.free.back().size >= max_split_) {
      released += pool.free.back().size;
      release_segment(pool, pool.free.back().block);
    }
    if (released < wanted) return false;
    ++flushes_;
    return true;
  }

  /// Gives every wholly unused segment, or page of one, back to the driver.
  void flush() {
    ++flushes_;
    for (Pool* pool : {&pools_[1], &pools_[0]}) {
      std::vector<Index> unused;
      for (const Entry& entry : pool->free)
        if (expands_ || !blocks_[entry.block].is_split()) unused.push_back(entry.block);
      for (const Index block : unused) {
        if (expands_)
          unmap(*pool, block);
        else
          release_segment(*pool, block);
      }
    }
  }

  /// The free or unmapped block of the lowest address from which `size` bytes can be had; a new
  /// expandable segment if there is none.
  Index room(Pool& pool, Size size) {
    for (Index start : pool.unmapped) {
      const Index before = blocks_[start].previous;
      if (before != kNone && !blocks_[before].in_use) start = before;
      Size bytes = 0;
      for (Index block = start; bytes < size && block != kNone && !blocks_[block].in_use;
           block = blocks_[block].next)
        bytes += blocks_[block].size;
      if (bytes >= size) return start;
    }
    // PyTorch takes address space for 1 1/8 of the card, in whole pages.
    const Size page = page_size(pool);
    const Size space = rounded_up(capacity_ + capacity_ / 8, page);
    next_address_ = rounded_up(next_address_, page);
    const Index block = make_block(pool, next_address_, space);
    next_address_ += space;
    blocks_[block].is_mapped = false;
    put_unmapped(pool, block);
    return block;
  }

  /// Backs the front of an unmapped block with whole pages of memory; false if they do not fit.
  bool map(Pool& pool, Index block, Size size) {
    const Size mapped = rounded_up(size, page_size(pool));
    if (reserved_ + mapped > capacity_) return false;
    take_unmapped(pool, block);
    blocks_[block].is_mapped = true;
    if (mapped < blocks_[block].size) {
      const Index rest =
          make_block(pool, blocks_[block].address + mapped, blocks_[block].size - mapped);
      blocks_[rest].is_mapped = false;
      link(rest, blocks_[block].next);
      link(block, rest);
      blocks_[block].size = mapped;
      put_unmapped(pool, rest);
    }
    merge_with_neighbours(pool, block);
    put(pool, block);
    count_segment(mapped);
    return true;
  }

  Index expanded_block(Pool& pool, Size size) {
    Index block = room(pool, size);
    if (!blocks_[block].is_mapped && !map(pool, block, std::min(blocks_[block].size, size)))
      return kNone;
    while (blocks_[block].size < size) {
      const Index next = blocks_[block].next;
      if (next == kNone) return kNone;
      if (!map(pool, next, std::min(size - blocks_[block].size, blocks_[next].size))) return kNone;
      block = next;
    }
    take(pool, block);
    return block;
  }

  /// Gives the whole pages inside a free block back; what sticks out of them stays free.
  void unmap(Pool& pool, Index block) {
    const Size page = page_size(pool);
    const Size begin = rounded_up(blocks_[block].address, page);
    const Size end = (blocks_[block].address + blocks_[block].size) / page * page;
    if (begin >= end) return;
    take(pool, block);
    const Size before = begin - blocks_[block].address;
    const Size after = blocks_[block].address + blocks_[block].size - end;
    if (before > 0) {
      const Index head = make_block(pool, blocks_[block].address, before);
      link(blocks_[block].previous, head);
      link(head, block);
      put(pool, head);
    }
    if (after > 0) {
      const Index tail = make_block(pool, end, after);
      link(tail, blocks_[block].next);
      link(block, tail);
      put(pool, tail);
    }
    blocks_[block].address = begin;
    blocks_[block].size = end - begin;
    blocks_[block].is_mapped = false;
    merge_with_neighbours(pool, block);
    reserved_ -= end - begin;
    // An expandable segment without a page left goes as a whole.
    if (blocks_[block].is_split())
      put_unmapped(pool, block);
    else
      spare_.push_back(block);
  }

  bool expands_;
  Size max_split_;
  Size capacity_;
  bool is_limited_;
  bool collects_ = false;
  Size collects_above_ = 0;

  std::array<Pool, 2> pools_{Pool{true, {}, {}, 0}, Pool{false, {}, {}, 0}};  // small, large
  std::vector<Block> blocks_;
  std::vector<Index> spare_;
  std::vector<Index> block_of_;  // by storage

  Size next_address_ = 0;
  Size allocated_ = 0;
  Size reserved_ = 0;
  Size peak_allocated_ = 0;
  Size peak_reserved_ = 0;
  std::int64_t segments_ = 0;
  std::int64_t flushes_ = 0;
};

/// Runs a trace through the caching allocator of a device with so much memory for it. Ends at the
/// first request that cannot be met.
inline Reserved reserve(const Trace& trace, const AllocatorSettings& settings = {},
                        Bytes capacity = kUnlimited) {
  CachingAllocator allocator(settings, capacity);
  Reserved result;
  std::int64_t flushes_before_step = 0;
  for (std::size_t m = 0; m < trace.marks.size() && result.completes(); ++m) {
    const Mark& mark = trace.marks[m];
    if (m > 0 && mark.step != trace.marks[m - 1].step) flushes_before_step = allocator.flushes();
    const std::size_t end =
        m + 1 < trace.marks.size() ? trace.marks[m + 1].first : trace.events.size();
    for (std::size_t i = mark.first; i < end; ++i) {
      const Event& event = trace.events[i];
      if (event.kind == Event::Kind::free) {
        allocator.free(event.storage);
      } else if (event.kind == Event::Kind::allocate &&
                 !allocator.allocate(event.storage, event.bytes)) {
        result.out_of_memory = OutOfMemory{mark.phase, mark.step, mark.micro_step, Bytes(event.bytes),
                                           allocator.allocated(), allocator.reserved()};
        break;
      }
    }
  }
  result.peak_allocated = allocator.peak_allocated();
  result.peak_reserved = allocator.peak_reserved();
  result.segments = allocator.segments();
  result.flushes = allocator.flushes();
  result.flushes_per_step = allocator.flushes() - flushes_before_step;
  return result;
}

}  // namespace qwenplan
