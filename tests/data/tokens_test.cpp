#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/schema.hpp"
#include "read/token_rates.hpp"
#include "support/catch.hpp"

using nlohmann::json;
using namespace qwenplan;

namespace {

json read(const std::string& file) {
  std::ifstream in(std::string(QWENPLAN_SOURCE_DIR) + "/data/" + file);
  REQUIRE(in);
  return json::parse(in);
}

}  // namespace

TEST_CASE("The table of tokens is as its schema says, with known sources, and its ranges are in order") {
  const json document = read("tokens.json");
  std::vector<std::string> wrong;
  test::check_schema(read("schema/tokens.schema.json"), document, "", wrong);
  std::string lines;
  for (const std::string& line : wrong) lines += line + "\n";
  INFO(lines);
  CHECK(wrong.empty());

  std::set<std::string> sources;
  const json known = read("sources.json");
  for (const json& source : known["sources"]) sources.insert(source["id"].get<std::string>());
  for (const json& row : document["tokens"]) {
    CAPTURE(row["id"].get<std::string>());
    for (const json& source : row["sources"]) CHECK(sources.count(source.get<std::string>()) == 1);
    for (const json& vocabulary : row["vocabularies"]) {
      const auto rates = token_rates(vocabulary.get<std::int64_t>());
      REQUIRE(rates);
      CHECK(rates->id == row["id"].get<std::string>());
      for (const auto& rate : rates->rates) {
        CHECK(rate.low > 0);
        CHECK(rate.low <= rate.likely);
        CHECK(rate.likely <= rate.high);
      }
    }
  }
}

TEST_CASE("A tokenizer that nobody measured is assumed, with a wide range") {
  const auto known = token_rates(151936), other = token_rates(4711);
  REQUIRE(known);
  REQUIRE(other);
  CHECK(other->evidence[0] == Evidence::assumed);
  CHECK(other->rates[0].high > known->rates[0].high);
}
