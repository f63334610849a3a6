#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/dataset.hpp"

namespace qwenplan {

/// What a limit on the length cuts off.
struct Cut {
  std::int64_t sequences = 0;  ///< longer than the limit
  Tokens tokens{};             ///< that are lost
};

/// Sequences that are longer than `length`, and their tokens beyond it.
inline Cut cut_at(const Lengths& lengths, std::int64_t length) {
  Cut cut;
  lengths.each([&](const Lengths::Class& each) {
    if (each.length <= length) return;
    cut.sequences += each.count;
    cut.tokens += Tokens(std::max<std::int64_t>(0, each.sum - each.count * length));
  });
  return cut;
}

/// Tokens that a GPU works on in one epoch if each batch is padded to its longest sequence:
/// the mean of the longest of `batch` sequences in random order, times the sequences.
///
///   sum over lengths l of l * (F(l)^batch - F(l - 1)^batch), F the share of sequences up to l
inline Tokens padded_to_longest(const Lengths& lengths, std::int64_t batch, std::int64_t length) {
  if (lengths.count() == 0) return {};
  const auto n = static_cast<double>(lengths.count());
  double seen = 0, below = 0, mean = 0;
  lengths.each([&](const Lengths::Class& each) {
    seen += static_cast<double>(each.count);
    const double up_to = std::pow(seen / n, static_cast<double>(batch));
    // One class may hold several lengths: with a batch of one their mean is exact.
    const double l = batch == 1 ? static_cast<double>(each.sum) / static_cast<double>(each.count)
                                : static_cast<double>(each.length);
    mean += std::min(l, static_cast<double>(length)) * (up_to - below);
    below = up_to;
  });
  return Tokens(std::llround(mean * n));
}

/// Tokens if every sequence is padded to `length`.
inline Tokens padded_to_length(const Lengths& lengths, std::int64_t length) {
  return Tokens(lengths.count()) * length;
}

/// Rows of `length` tokens if sequences, cut at it, are packed whole: best fit, the longest first,
/// as TRL's "bfd" and LLaMA-Factory's packing do.
inline std::int64_t packed_rows(const Lengths& lengths, std::int64_t length) {
  std::vector<Lengths::Class> classes;
  lengths.each([&](const Lengths::Class& each) { classes.push_back(each); });
  std::map<std::int64_t, std::int64_t> room;  // tokens left -> rows
  std::int64_t rows = 0;
  for (auto each = classes.rbegin(); each != classes.rend(); ++each) {
    const std::int64_t size = std::min(each->length, length);
    if (size == 0) continue;
    std::int64_t left = each->count;
    while (left > 0) {
      const auto tightest = room.lower_bound(size);
      const std::int64_t space = tightest == room.end() ? length : tightest->first;
      const std::int64_t in_each = space / size;
      const std::int64_t there = tightest == room.end() ? left / in_each + 1 : tightest->second;
      // Rows are filled one after the other; the last may stay with less in it.
      const std::int64_t full = std::min(there, left / in_each);
      const std::int64_t rest = full < there ? left - full * in_each : 0;
      const std::int64_t used = full + (rest > 0 ? 1 : 0);
      if (tightest == room.end()) rows += used;
      else if ((tightest->second -= used) == 0) room.erase(tightest);
      if (full > 0 && space - in_each * size > 0) room[space - in_each * size] += full;
      if (rest > 0 && space - rest * size > 0) room[space - rest * size] += 1;
      left -= full * in_each + rest;
    }
  }
  return rows;
}

/// Rows of `length` tokens if all tokens are joined and cut, as TRL's "wrapped" does.
inline std::int64_t joined_rows(const Lengths& lengths, std::int64_t length) {
  const std::int64_t tokens = lengths.total().count();
  return tokens / length + (tokens % length != 0 ? 1 : 0);
}

}  // namespace qwenplan
