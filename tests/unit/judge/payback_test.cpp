#include "qwenplan/judge/payback.hpp"

#include <cmath>

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

bool near(double value, double expected) {
  return std::abs(value - expected) <= 1e-9 * std::max(1.0, std::abs(expected));
}

/// 860 USD and 300 W, 50 hours a month at 0.15 USD a kilowatt hour.
const Purchase kMachine{860, 0, 300};
const Usage kUsage{50, 24, 0.15, 0};

}  // namespace

TEST_CASE("a purchase pays when the rent saved is its price") {
  // Rent 0.27 x 50 = 13.50 a month, electricity 0.3 x 50 x 0.15 = 2.25: 11.25 saved, 860 / 11.25.
  const Payback result = payback(kMachine, 0.27, kUsage);
  CHECK(near(result.saves_per_month, 11.25));
  REQUIRE(result.breakeven_months);
  CHECK(near(*result.breakeven_months, 860 / 11.25));
  CHECK(near(result.electricity, 54));
  CHECK(near(result.local, 914));
  CHECK(near(result.cloud, 324));
  CHECK(near(result.savings, -590));
}

TEST_CASE("without interest the present value is what is saved") {
  const Payback result = payback({860, 200, 300}, 3, {100, 36, 0.2, 0});
  CHECK(near(result.npv, result.savings));
  CHECK(near(result.savings, 36 * (300 - 6.0) - 860 + 200));
}

TEST_CASE("interest discounts each month") {
  // At 1 % a month: 11.25 a month for 24 months is worth 11.25 x (1 - 1.01^-24) / 0.01.
  Usage usage = kUsage;
  usage.discount = std::pow(1.01, 12) - 1;
  const Payback result = payback({860, 100, 300}, 0.27, usage);
  const double factor = std::pow(1.01, -24);
  CHECK(near(result.npv, -860 + 11.25 * (1 - factor) / 0.01 + 100 * factor));
}

TEST_CASE("where electricity costs as much as the rent, buying never pays") {
  // 0.3 kW x 0.15 = 0.045 USD an hour.
  CHECK_FALSE(payback(kMachine, 0.045, kUsage).breakeven_months);
  CHECK_FALSE(payback(kMachine, 0.01, kUsage).breakeven_months);
  CHECK(payback(kMachine, 0.046, kUsage).breakeven_months);
}

TEST_CASE("a machine that is never used never pays, and nothing is divided by zero") {
  Usage idle = kUsage;
  idle.hours_per_month = 0;
  const Payback result = payback(kMachine, 3, idle);
  CHECK_FALSE(result.breakeven_months);
  CHECK(near(result.savings, -860));
  CHECK(std::isfinite(result.npv));
}

TEST_CASE("a machine that costs nothing pays at once") {
  const Payback result = payback({0, 0, 300}, 3, kUsage);
  REQUIRE(result.breakeven_months);
  CHECK(*result.breakeven_months == 0);
}

TEST_CASE("dearer rent never makes a purchase pay later") {
  double before = 1e12;
  for (const double rate : {0.1, 0.2, 0.5, 1.0, 3.0}) {
    const double months = *payback(kMachine, rate, kUsage).breakeven_months;
    CHECK(months < before);
    before = months;
  }
}

TEST_CASE("a job saves the rent of its hours less its electricity") {
  // 10 hours at 0.40 USD less 0.3 kW x 0.20 USD = 0.06: 0.34 an hour. At 0.5 kW 0.30, at 0.2 kW 0.36.
  const auto saves = saved_on_same_card({8, 10, 15}, 0.40, {200, 300, 500}, 0.20);
  CHECK(near(saves.likely, 3.4));
  CHECK(near(saves.low, 8 * 0.30));
  CHECK(near(saves.high, 15 * 0.36));
}

TEST_CASE("a job that costs more at home saves least where it takes longest") {
  // 0.05 USD an hour of rent against 0.04, 0.06 and 0.10 of electricity.
  const auto saves = saved_on_same_card({8, 10, 15}, 0.05, {200, 300, 500}, 0.20);
  CHECK(near(saves.low, 15 * -0.05));
  CHECK(near(saves.likely, 10 * -0.01));
  CHECK(near(saves.high, 15 * 0.01));
  const auto dear = saved_on_same_card({8, 10, 15}, 0.01, {200, 300, 500}, 0.20);
  CHECK(near(dear.high, 8 * -0.03));
}

TEST_CASE("break-even in jobs is the price over what a job saves") {
  // 860 USD over 3.40, 2.40 and 5.40 USD a job.
  const BreakEven jobs = breakeven_jobs(860, saved_on_same_card({8, 10, 15}, 0.40, {200, 300, 500}, 0.20));
  REQUIRE((jobs.low && jobs.likely && jobs.high));
  CHECK(near(*jobs.likely, 860 / 3.4));
  CHECK(near(*jobs.low, 860 / 5.4));
  CHECK(near(*jobs.high, 860 / 2.4));
  // What likely saves may never pay in the worst case.
  const BreakEven doubtful = breakeven_jobs(860, {-1, 2, 4});
  CHECK(near(*doubtful.low, 215));
  CHECK(near(*doubtful.likely, 430));
  CHECK_FALSE(doubtful.high);
}

TEST_CASE("against another card hours err apart: dear rent meets cheap electricity") {
  const auto saves = saved({3, 4, 6}, {0.5, 1, 1.5});
  CHECK(near(saves.low, 1.5));
  CHECK(near(saves.likely, 3));
  CHECK(near(saves.high, 5.5));
}

TEST_CASE("jobs and months agree on when a machine pays") {
  // Five jobs of 10 hours a month are the 50 hours of the usage.
  const double jobs = *breakeven_jobs(860, saved_on_same_card(Range<double>::exactly(10), 0.27, Range<double>::exactly(300), 0.15)).likely;
  CHECK(near(jobs / 5, *payback(kMachine, 0.27, kUsage).breakeven_months));
}
