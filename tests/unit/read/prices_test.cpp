#include "read/prices.hpp"

#include <algorithm>
#include <string>

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

const Offer* find(const std::vector<Offer>& offers, std::string_view id) {
  const auto found = std::find_if(offers.begin(), offers.end(), [&](const Offer& offer) { return offer.id == id; });
  return found == offers.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("an offer is read with its rates, its day and its source") {
  const auto tables = Tables::open();
  REQUIRE(tables);
  const auto offers = read_offers(*tables);
  REQUIRE(offers);
  CHECK(offers->size() > 490);
  const Offer* g5 = find(*offers, "aws-g5.xlarge");
  REQUIRE(g5);
  CHECK(g5->gpu == "a10g-24g");
  CHECK(g5->gpus == 1.0);
  CHECK(g5->on_demand == 1.006);
  CHECK_FALSE(g5->spot);
  CHECK_FALSE(g5->reserved);
  CHECK(g5->as_of == "2026-07-20");
  CHECK(g5->evidence == Evidence::literature);
  CHECK(g5->source == "karpenter-aws");
  CHECK(g5->ram == 16_GiB);
  // Retired, though the price list still has it.
  const Offer* nc6 = find(*offers, "azure-standard-nc6s-v3");
  REQUIRE(nc6);
  CHECK_FALSE(nc6->is_available);
  // An eighth of an L4.
  const Offer* slice = find(*offers, "aws-g6f.large");
  REQUIRE(slice);
  CHECK(slice->gpus == 0.125);
  CHECK(slice->vram()->count() == slice->gpu_memory.count() / 8);
}

TEST_CASE("an overlay replaces a price, adds an offer, and says how each is known") {
  test::TempFolder folder;
  folder.write("prices.json", R"({"schema": "qwenplan.prices/1", "prices": [
    {"id": "aws-g5.xlarge", "on_demand": "0.90 USD/h", "reserved": "0.60 USD/h", "as_of": "2026-11-20"},
    {"id": "my-rack", "provider": "us", "instance": "rack", "gpu": "rtx4090-24g", "gpus": 2, "gpu_memory": "24 GiB",
     "on_demand": "0.10 USD/h", "as_of": null, "evidence": "measured", "source": "our-meter"}]})");
  const auto tables = Tables::open(folder.path());
  REQUIRE(tables);
  const auto offers = read_offers(*tables);
  REQUIRE(offers);
  const Offer* g5 = find(*offers, "aws-g5.xlarge");
  REQUIRE(g5);
  CHECK(g5->on_demand == 0.9);
  CHECK(g5->reserved == 0.6);
  CHECK(g5->as_of == "2026-11-20");
  CHECK(g5->evidence == Evidence::assumed);
  CHECK(g5->gpu == "a10g-24g");
  const Offer* rack = find(*offers, "my-rack");
  REQUIRE(rack);
  CHECK(rack->gpus == 2.0);
  CHECK(rack->as_of.empty());
  CHECK(rack->source == "our-meter");
}

TEST_CASE("an overlay's mistake is named") {
  struct Mistake {
    const char* row;
    const char* named;
  };
  const Mistake mistake = GENERATE(Mistake{R"("on_demand": "0.90 EUR/h")", "/on_demand"}, Mistake{R"("on_demand": 0.9)", "/on_demand"},
                                   Mistake{R"("gpus": 0)", "/gpus"}, Mistake{R"("gpus": "two")", "/gpus"},
                                   Mistake{R"("as_of": "yesterday")", "/as_of"}, Mistake{R"("gpu_memory": "24 parsec")", "/gpu_memory"});
  CAPTURE(mistake.row);
  test::TempFolder folder;
  folder.write("prices.json", std::string(R"({"schema": "qwenplan.prices/1", "prices": [{"id": "aws-g5.xlarge", )") + mistake.row + "}]}");
  const auto tables = Tables::open(folder.path());
  REQUIRE(tables);
  const auto offers = read_offers(*tables);
  REQUIRE_FALSE(offers);
  CHECK(offers.error().kind == Error::Kind::wrong);
  CHECK(offers.error().what.find(mistake.named) != std::string::npos);
  CHECK(offers.error().where.find("aws-g5.xlarge") != std::string::npos);
}

TEST_CASE("the three machines cost what their parts do") {
  const auto tables = Tables::open();
  REQUIRE(tables);
  const auto machines = read_machines(*tables);
  REQUIRE(machines);
  REQUIRE(machines->size() == 3);
  CHECK((*machines)[0].usd() == 860);
  CHECK((*machines)[1].usd() == 1360);
  CHECK((*machines)[2].usd() == 2270);
  for (const Machine& machine : *machines) {
    const Part* card = machine.part(Part::Kind::gpu);
    REQUIRE(card);
    CHECK(tables->gpu(card->gpu)->gpu.id == card->gpu);
    REQUIRE(machine.part(Part::Kind::cpu));
    CHECK(machine.part(Part::Kind::cpu)->tdp);
    CHECK(machine.part(Part::Kind::cpu)->launch_price);
    REQUIRE(machine.part(Part::Kind::ram));
    CHECK(machine.part(Part::Kind::ram)->size);
  }
}

TEST_CASE("a machine is found as people write its name") {
  const auto tables = Tables::open();
  const auto machines = read_machines(*tables);
  REQUIRE(machines);
  const char* name = GENERATE("entry", "Entry Level", "entry-level", "ENTRY");
  CAPTURE(name);
  const auto found = machine_named(*tables, *machines, name);
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->id == "entry");
  CHECK_FALSE(*machine_named(*tables, *machines, "entries"));
}

TEST_CASE("an overlay replaces the parts of a machine") {
  test::TempFolder folder;
  folder.write("machines.json", R"({"schema": "qwenplan.machines/1", "machines": [{"id": "entry", "parts": [
    {"part": "gpu", "name": "RTX 3060", "gpu": "rtx3060-12g",
     "price": {"value": "280 USD", "as_of": "2026-11-01", "evidence": "vendor", "source": "shop"}}]}]})");
  const auto tables = Tables::open(folder.path());
  REQUIRE(tables);
  const auto machines = read_machines(*tables);
  REQUIRE(machines);
  CHECK((*machines)[0].usd() == 280);
  CHECK((*machines)[0].parts[0].price.evidence == Evidence::vendor);
  CHECK((*machines)[0].parts[0].price.as_of == "2026-11-01");
}

TEST_CASE("a part without a price is named") {
  test::TempFolder folder;
  folder.write("machines.json", R"({"schema": "qwenplan.machines/1", "machines": [{"id": "entry", "parts": [
    {"part": "gpu", "name": "RTX 3060", "gpu": "rtx3060-12g"}]}]})");
  const auto tables = Tables::open(folder.path());
  REQUIRE(tables);
  const auto machines = read_machines(*tables);
  REQUIRE_FALSE(machines);
  CHECK(machines.error().what.find("/parts/0/price") != std::string::npos);
}
