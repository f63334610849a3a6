#include "qwenplan/judge/limits.hpp"

#include "support/catch.hpp"

using namespace qwenplan;

TEST_CASE("a limit is met if even the upper bound keeps it, tight if only the likely value does") {
  const Range<double> hours{6, 8, 11};
  CHECK(judge(hours, 11) == Meets::meets);
  CHECK(judge(hours, 10.9) == Meets::tight);
  CHECK(judge(hours, 8) == Meets::tight);
  CHECK(judge(hours, 7.9) == Meets::misses);
  CHECK(judge(hours, 0) == Meets::misses);
}

TEST_CASE("of a deadline and a budget the worse one counts") {
  const Range<double> hours{6, 8, 11}, usd{3, 4, 5.5};
  CHECK(Limits{}.of(hours, usd) == Meets::meets);
  CHECK(Limits{12.0, {}}.of(hours, usd) == Meets::meets);
  CHECK(Limits{12.0, 4.5}.of(hours, usd) == Meets::tight);
  CHECK(Limits{12.0, 3.5}.of(hours, usd) == Meets::misses);
  CHECK(Limits{5.0, 9.0}.of(hours, usd) == Meets::misses);
}

TEST_CASE("a later deadline is met no worse") {
  Meets before = Meets::misses;
  for (const double deadline : {1.0, 6.0, 8.0, 9.0, 11.0, 100.0}) {
    const Meets now = judge(Range<double>{6, 8, 11}, deadline);
    CHECK(now <= before);
    before = now;
  }
}
