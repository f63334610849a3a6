#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/schema.hpp"
#include "read/embedded.hpp"
#include "read/speeds.hpp"
#include "read/tables.hpp"
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

TEST_CASE("The table of speeds is as its schema says, and names rows of the other tables") {
  const json document = read("speeds.json");
  std::vector<std::string> wrong;
  test::check_schema(read("schema/speeds.schema.json"), document, "", wrong);
  std::string lines;
  for (const std::string& line : wrong) lines += line + "\n";
  INFO(lines);
  CHECK(wrong.empty());

  std::set<std::string> sources, ids;
  const json known = read("sources.json");
  for (const json& source : known["sources"]) sources.insert(source["id"].get<std::string>());
  const auto tables = Tables::open();
  REQUIRE(tables);
  const auto speeds = read_speeds();
  REQUIRE(speeds);
  REQUIRE(speeds->size() == document["speeds"].size());
  for (const PublishedSpeed& speed : *speeds) {
    CAPTURE(speed.id);
    CHECK(ids.insert(speed.id).second);
    CHECK(sources.count(speed.source) == 1);
    CHECK(tables->model(speed.model));
    CHECK(tables->gpu(speed.gpu));
    // Nobody trains a model of 100 M parameters and more at a million tokens a second on one card.
    CHECK(speed.rate > 10);
    CHECK(speed.rate < 1e6);
  }
}

TEST_CASE("A rate that was computed is the printed step's tokens over its seconds") {
  std::size_t printed = 0;
  const json document = read("speeds.json");
  for (const json& row : document["speeds"]) {
    if (!row.contains("printed")) continue;
    ++printed;
    CAPTURE(row["id"].get<std::string>());
    const double seconds = std::stod(row["printed"].get<std::string>());
    const double tokens = row["run"]["seq-len"].get<double>() * row["run"]["batch"].get<double>();
    const double rate = std::stod(row["rate"].get<std::string>());
    CHECK(std::abs(rate * seconds / tokens - 1) < 1e-3);
  }
  CHECK(printed > 40);
}
