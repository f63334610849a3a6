#include "qwenplan/judge/search.hpp"

#include <cstdint>
#include <set>

#include "support/catch.hpp"

using namespace qwenplan;

TEST_CASE("the largest value that holds is found, whatever it is") {
  for (std::int64_t limit = 0; limit <= 70; ++limit) {
    CAPTURE(limit);
    const Largest result = largest(1, 64, 1, [&](std::int64_t v) { return v <= limit; });
    if (limit < 1) {
      CHECK(!result.value);
    } else {
      CHECK(result.value == std::min<std::int64_t>(limit, 64));
      CHECK(result.is_bounded == (limit >= 64));
      CHECK(result.is_monotone);
    }
  }
}

TEST_CASE("only values of the grid are asked for, none twice, and few of them") {
  std::set<std::int64_t> asked;
  const Largest result = largest(64, 1'000'000, 64, [&](std::int64_t v) {
    CHECK(v >= 64);
    CHECK(v <= 1'000'000);
    CHECK(v % 64 == 0);
    CHECK(asked.insert(v).second);
    return v < 100'000;
  });
  CHECK(result.value == 99'968);  // 1562 * 64
  CHECK(asked.size() <= 2 * 14 + 3);
}

TEST_CASE("a guess changes how many values are asked for, not which is found") {
  for (std::int64_t limit = 0; limit <= 70; ++limit)
    for (const std::int64_t guess : {-5, 1, 17, 40, 64, 1000}) {
      CAPTURE(limit, guess);
      std::set<std::int64_t> asked;
      const auto holds = [&](std::int64_t v) {
        CHECK(asked.insert(v).second);
        return v <= limit;
      };
      const auto found = largest(1, 64, 1, holds, guess).value;
      CHECK(found == (limit < 1 ? std::nullopt : std::optional(std::min<std::int64_t>(limit, 64))));
    }
  int questions = 0;
  const auto counted = [&](std::int64_t v) { return ++questions, v < 100'000; };
  CHECK(largest(64, 1'000'000, 64, counted, 100'100).value == 99'968);
  CHECK(questions <= 5);
}

TEST_CASE("a straight need tells where it reaches the room") {
  // 10 at 1 and 16 at 4 are 2 a value: 50 is reached at 21.
  CHECK(straight_limit(1, Bytes(10), 4, Bytes(16), Bytes(50)) == 21);
  CHECK(straight_limit(1, Bytes(10), 4, Bytes(16), Bytes(2)) == 0);
  CHECK(!straight_limit(1, Bytes(10), 4, Bytes(10), Bytes(50)));
}

TEST_CASE("a value that holds beyond one that fails is found, and said") {
  const Largest result =
      largest(1, 100, 1, [](std::int64_t v) { return v <= 20 && v != 11 && v != 15 && v != 16; });
  CHECK(result.value == 20);
  CHECK(!result.is_monotone);
}

TEST_CASE("an empty range has no largest value") {
  const auto yes = [](std::int64_t) { return true; };
  CHECK(!largest(5, 4, 1, yes).value);
  CHECK(!largest(1, 4, 0, yes).value);
  CHECK(largest(4, 4, 7, yes).value == 4);
  CHECK(largest(4, 4, 7, yes).is_bounded);
}
