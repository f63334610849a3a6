#include "qwenplan/estimate/cost.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

bool near(double value, double expected, double relative = 1e-9) {
  return std::abs(value - expected) <= relative * std::max(1.0, std::abs(expected));
}

Offer offer(const char* gpu, double gpus, std::optional<double> on_demand, std::optional<double> spot,
            const char* day = "2026-05-24") {
  Offer made;
  made.gpu = gpu;
  made.gpus = gpus;
  made.on_demand = on_demand;
  made.spot = spot;
  made.as_of = day;
  return made;
}

/// Hours until a piece of work is done, played through: a machine fails at random, a failure costs what
/// was not saved and a restart, and a restart can fail too.
double played(double work, double interval, const Interruptions& i, std::mt19937_64& random) {
  std::exponential_distribution<double> failure(1 / i.mean_between);
  double clock = 0;
  for (double done = 0; done < work;) {
    const double piece = std::min(interval, work - done);
    double wanted = piece + i.checkpoint;
    for (double fails_after = failure(random); fails_after < wanted; fails_after = failure(random)) {
      clock += fails_after;
      wanted = i.restart + piece + i.checkpoint;
    }
    clock += wanted;
    done += piece;
  }
  return clock;
}

}  // namespace

TEST_CASE("electricity is watts times hours times the price of a kilowatt hour") {
  // 0.3 kW x 50 h = 15 kWh, at 0.15 USD: 2.25 USD.
  CHECK(near(electricity_usd(300, 50, 0.15), 2.25));
  CHECK(electricity_usd(300, 0, 0.15) == 0);
}

TEST_CASE("a machine that trains takes its card, its host, and what its supply loses") {
  // (170 + 100) / 0.9
  CHECK(near(training_watts(170, 1), 300));
  CHECK(near(training_watts(450, 2), 1000 / 0.9));
}

TEST_CASE("a power supply has half as much again as the parts") {
  // RTX 3060 and Ryzen 5 5600X: 170 + 1.35 x 65 + 75 = 332.75 W; x 1.5 = 499 W.
  const PartsPower entry = parts_power(170, 1, 65);
  CHECK(near(entry.load(), 332.75));
  CHECK(entry.supply() == 550.0);
  // RTX 4090 and Ryzen 9 5900X: 450 + 141.75 + 75 = 666.75 W; x 1.5 = 1000.1 W, just above 1000.
  CHECK(parts_power(450, 1, 105).supply() == 1200.0);
  // RTX 4080 and the same CPU: 536.75 x 1.5 = 805.1 W.
  CHECK(parts_power(320, 1, 105).supply() == 850.0);
  CHECK_FALSE(parts_power(700, 2, 105).supply());
}

TEST_CASE("checkpoints are as far apart as Young and Daly have it") {
  // Five minutes to write, a failure a day: Young's sqrt(2 x 1/12 x 24) is 2 hours. Daly's terms:
  // ratio = (1/12)/48 = 1/576, its root 1/24, so 2 x (1 + 1/72 + 1/5184) - 1/12.
  const Interruptions daily{24, 1.0 / 12, 0.5};
  CHECK(near(checkpoint_interval(daily), 2 * (1 + 1.0 / 72 + 1.0 / 5184) - 1.0 / 12));
  CHECK(checkpoint_interval({24, 100, 0}) == 24);
}

TEST_CASE("a machine that is never taken away takes as long as the work and its checkpoints") {
  const Interruptions never{1e9, 0.1, 1};
  // The interval is longer than the work: one checkpoint in the end.
  CHECK(near(expected_hours(6, never), 6.1, 1e-6));
  CHECK(expected_hours(0, never) == 0);
}

TEST_CASE("expected hours are those of a game played many times") {
  std::mt19937_64 random(7);
  const Interruptions i = GENERATE(Interruptions{24, 1.0 / 12, 0.5}, Interruptions{4, 0.05, 0.25},
                                   Interruptions{2, 0.2, 0.1});
  CAPTURE(i.mean_between);
  // A whole number of intervals, for which the formula is exact.
  const double interval = checkpoint_interval(i);
  const double work = 5 * interval;
  double sum = 0;
  constexpr int kTimes = 40'000;
  for (int n = 0; n < kTimes; ++n) sum += played(work, interval, i, random);
  // Daly charges a restart for failures as if each piece began after one: a little more.
  const double mean = sum / kTimes;
  const double expected = expected_hours(work, i);
  CAPTURE(mean, expected);
  CHECK(expected >= mean * 0.99);
  CHECK(expected <= mean * std::exp(i.restart / i.mean_between) * 1.01);
}

TEST_CASE("more interruptions, slower checkpoints and slower restarts never take less time") {
  double before = 0;
  for (const double mean : {100.0, 24.0, 6.0, 1.0}) {
    const double hours = expected_hours(30, {mean, 0.05, 0.2});
    CHECK(hours > before);
    before = hours;
  }
  CHECK(expected_hours(30, {24, 0.5, 0.2}) > expected_hours(30, {24, 0.05, 0.2}));
  CHECK(expected_hours(30, {24, 0.05, 1}) > expected_hours(30, {24, 0.05, 0.2}));
  CHECK(expected_hours(30, {24, 0.05, 0.2}) > 30);
}

TEST_CASE("a job on spot takes longer at both ends of its hours, and costs its hours") {
  // Daly's formula by hand for 10 hours, an interruption in 24, 6 minutes to save, 10 to go on.
  const Interruptions i{24, 0.1, 1.0 / 6};
  const double interval = std::sqrt(2 * 0.1 * 24) * (1 + std::sqrt(0.1 / 48) / 3 + 0.1 / 48 / 9) - 0.1;
  const double expected = 24 * std::exp(1.0 / 6 / 24) * (std::exp((interval + 0.1) / 24) - 1) * 10 / interval;
  const auto hours = expected_hours(Range<double>{8, 10, 15}, i);
  REQUIRE(hours);
  CHECK(near(hours->likely, expected, 1e-12));
  CHECK(hours->low > 8);
  CHECK(hours->low < hours->likely);
  CHECK(hours->high > 15);
  const Range<double> usd = hours_usd(*hours, 0.2);
  CHECK(near(usd.likely, 0.2 * expected, 1e-12));
  CHECK_FALSE(expected_hours(Range<double>{100, 200, 1000}, {1.0 / 60, 10, 24}));
}

TEST_CASE("watts at the wall are the card's and the host's through the supply") {
  const Range<double> watts = wall_watts({80, 260, 350});
  CHECK(near(watts.low, 200, 1e-12));
  CHECK(near(watts.likely, 400, 1e-12));
  CHECK(near(watts.high, 500, 1e-12));
}

TEST_CASE("rent is the middle of what is offered for one whole GPU") {
  std::vector<Offer> offers = {offer("a", 1, 0.50, 0.10),  offer("a", 4, 1.20, {}), offer("a", 1, 0.90, {}, ""),
                               offer("a", 0.5, 0.01, {}),  offer("b", 1, 0.05, {}), offer("a", 1, {}, 0.02)};
  const auto rent = rent_of("a", offers);
  REQUIRE(rent);
  // 0.30 (a quarter of four), 0.50 and 0.90; neither the half card nor the other kind.
  CHECK(near(rent->per_hour.low, 0.30));
  CHECK(near(rent->per_hour.likely, 0.50));
  CHECK(near(rent->per_hour.high, 0.90));
  CHECK(rent->offers == 3);
  CHECK(rent->undated == 1);
  CHECK(rent->oldest == "2026-05-24");
  CHECK_FALSE(rent->is_spot);
  offers[0].is_available = false;
  CHECK(near(rent_of("a", offers)->per_hour.likely, 0.60));
}

TEST_CASE("where nobody rents on demand, the rent is that of spot, and says so") {
  const std::vector<Offer> offers = {offer("a", 1, {}, 0.02), offer("a", 1, {}, 0.04)};
  const auto rent = rent_of("a", offers);
  REQUIRE(rent);
  CHECK(near(rent->per_hour.likely, 0.03));
  CHECK(rent->is_spot);
  CHECK_FALSE(rent_of("c", offers));
}
