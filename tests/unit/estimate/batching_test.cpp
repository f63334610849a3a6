#include "qwenplan/estimate/batching.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

Lengths lengths_of(const std::vector<std::int64_t>& list) {
  Lengths lengths;
  for (const std::int64_t each : list) lengths.add(each);
  return lengths;
}

/// Best fit decreasing, one sequence after the other, as it is written in textbooks.
std::int64_t rows_one_by_one(std::vector<std::int64_t> list, std::int64_t length) {
  for (std::int64_t& each : list) each = std::min(each, length);
  std::sort(list.begin(), list.end(), std::greater<>());
  std::vector<std::int64_t> room;
  for (const std::int64_t each : list) {
    std::int64_t* best = nullptr;
    for (std::int64_t& left : room)
      if (left >= each && (!best || left < *best)) best = &left;
    if (best) *best -= each;
    else room.push_back(length - each);
  }
  return static_cast<std::int64_t>(room.size());
}

}  // namespace

TEST_CASE("A limit cuts the sequences that are longer, by what is beyond it") {
  const Lengths lengths = lengths_of({5, 10, 11, 30});
  CHECK(cut_at(lengths, 10).sequences == 2);
  CHECK(cut_at(lengths, 10).tokens == Tokens(21));
  CHECK(cut_at(lengths, 30).sequences == 0);
}

TEST_CASE("The longest of a batch is the mean over all batches") {
  // Of 1 and 3, drawn with replacement: pairs 11, 13, 31, 33 have 1, 3, 3, 3 as their longest.
  CHECK(padded_to_longest(lengths_of({1, 3}), 2, 100) == Tokens(5));
  CHECK(padded_to_longest(lengths_of({1, 3}), 1, 100) == Tokens(4));
  CHECK(padded_to_longest(lengths_of({7, 7, 7}), 16, 100) == Tokens(21));
  CHECK(padded_to_longest(lengths_of({1, 50}), 1, 10) == Tokens(11));
}

TEST_CASE("TRL's own example of packing") {
  // trl.pack_dataset of lengths 5, 2, 4, 1 with seq_length 4 and strategy bfd gives three rows.
  CHECK(packed_rows(lengths_of({5, 2, 4, 1}), 4) == 3);
  CHECK(joined_rows(lengths_of({5, 2, 4, 1}), 4) == 3);
}

TEST_CASE("Packing by counts gives the rows of packing one by one, and never fewer than the tokens take") {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t length = 1 + static_cast<std::int64_t>(random() % 60);
    std::vector<std::int64_t> list(1 + random() % 200);
    for (std::int64_t& each : list) each = 1 + static_cast<std::int64_t>(random() % 70);
    const Lengths lengths = lengths_of(list);
    const std::int64_t rows = packed_rows(lengths, length);
    CAPTURE(round, length, list.size());
    CHECK(rows == rows_one_by_one(list, length));
    const std::int64_t kept = (lengths.total() - cut_at(lengths, length).tokens).count();
    CHECK(rows * length >= kept);
    CHECK(rows <= lengths.count());
    CHECK(padded_to_longest(lengths, 4, length) >= padded_to_longest(lengths, 1, length));
    CHECK(padded_to_length(lengths, length) >= padded_to_longest(lengths, 4, length));
  }
}
