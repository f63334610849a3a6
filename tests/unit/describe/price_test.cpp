#include "qwenplan/describe/price.hpp"

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

TEST_CASE("days of the calendar are counted") {
  CHECK(day_number("1970-01-01") == 0);
  // May 7 days, June 30, July 31, August 31, September 30, October 31, November 24.
  CHECK(days_between("2026-05-24", "2026-11-24") == 184);
  CHECK(days_between("2024-02-28", "2024-03-01") == 2);
  CHECK(days_between("2026-02-28", "2026-03-01") == 1);
  CHECK(days_between("2026-11-24", "2026-11-23") == -1);
}

TEST_CASE("what is no day is none") {
  const char* text = GENERATE("", "2026-02-30", "2026-13-01", "2026-5-24", "24.05.2026", "2026-05-2x", "unknown");
  CAPTURE(text);
  CHECK_FALSE(day_number(text));
  CHECK_FALSE(days_between(text, "2026-11-24"));
}

TEST_CASE("a share of a card has a share of its memory") {
  Offer offer;
  offer.gpu_memory = 24_GiB;
  CHECK_FALSE(offer.vram());
  offer.gpus = 4;
  CHECK(offer.vram() == 24_GiB);
  offer.gpus = 0.25;
  CHECK(offer.vram() == 6_GiB);
}

TEST_CASE("the lowest rate is that of either way to pay") {
  Offer offer;
  CHECK_FALSE(offer.lowest());
  offer.on_demand = 2;
  CHECK(offer.lowest() == 2.0);
  offer.spot = 3;
  CHECK(offer.lowest() == 2.0);
  offer.on_demand.reset();
  CHECK(offer.lowest() == 3.0);
}

TEST_CASE("a machine costs what its parts do") {
  Machine machine;
  machine.parts = {{}, {}};
  machine.parts[0].price.usd = 350;
  machine.parts[1].kind = Part::Kind::psu;
  machine.parts[1].price.usd = 70;
  CHECK(machine.usd() == 420);
  REQUIRE(machine.part(Part::Kind::psu));
  CHECK(machine.part(Part::Kind::psu)->price.usd == 70);
  CHECK_FALSE(machine.part(Part::Kind::ram));
}
