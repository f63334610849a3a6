#include "qwenplan/judge/accuracy.hpp"

#include <cmath>
#include <vector>

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

bool is_near(double a, double b) { return std::abs(a - b) < 1e-12; }

Accuracy of(const std::vector<double>& errors) { return accuracy(errors); }

}  // namespace

TEST_CASE("an error is a share of the measurement, negative where the estimate is too low") {
  CHECK(is_near(relative_error(90_MiB, 100_MiB), -0.1));
  CHECK(is_near(relative_error(125_GiB, 100_GiB), 0.25));
  CHECK(relative_error(7_B, 7_B) == 0);
}

TEST_CASE("a mean counts errors without their sign, the worst ones keep it") {
  const Accuracy a = of({0.02, -0.01, 0.0, -0.05});  // (2 + 1 + 0 + 5) / 4 = 2
  CHECK(a.count == 4);
  CHECK(is_near(a.mean, 0.02));
  CHECK(is_near(a.lowest, -0.05));
  CHECK(is_near(a.highest, 0.02));
}

TEST_CASE("without an under-estimate the worst one is none") {
  CHECK(of({0.1, 0.3}).lowest == 0);
  CHECK(is_near(of({0.1, 0.3}).highest, 0.3));
  CHECK(of({-0.1, -0.3}).highest == 0);
  CHECK(of({}).count == 0);
  CHECK(of({}).mean == 0);
}

TEST_CASE("a tolerance bounds the mean error, and under-estimates alone") {
  const Tolerance tolerance{0.02, 0.05};
  CHECK(is_within(of({}), tolerance));
  CHECK(is_within(of({0.02, -0.02}), tolerance));
  CHECK_FALSE(is_within(of({0.02, -0.03}), tolerance));           // mean 2.5 %
  CHECK(is_within(of({-0.05, 0, 0, 0}), tolerance));              // mean 1.25 %
  CHECK_FALSE(is_within(of({-0.06, 0, 0, 0}), tolerance));        // mean 1.5 %, but one 6 % too low
  CHECK(is_within(of({0.06, 0, 0, 0}), tolerance));               // too high is safe
  // The project's own bar.
  CHECK(kAllocatedTolerance.mean == 0.01);
  CHECK(kAllocatedTolerance.under == 0.03);
  CHECK(kReservedTolerance.mean == 0.03);
  CHECK(kReservedTolerance.under == 0.06);
}
