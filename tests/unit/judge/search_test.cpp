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
