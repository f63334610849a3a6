#include <cmath>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using qwenplan::test::run;

TEST_CASE("The guide's speeds are held against the rate of the card") {
  const auto json = run("qwenplan time --table speed --json").json();
  REQUIRE(json["rows"].size() == 4);
  for (const auto& row : json["rows"]) {
    CAPTURE(row.dump());
    CHECK(row["tokens_per_second"].is_null());
    CHECK(row["nearest"]["tokens_per_second"].get<double>() > 0);
    CHECK(row["nearest"]["share_of_peak"].get<double>() > 0);
    CHECK(row["nearest"]["share_of_peak"].get<double>() < 1);  // what was measured, a card can do
    CHECK(row["device_bytes"]["likely"].get<double>() > 0);
  }
  // By hand, for Qwen2.5-7B with adapters: 28 layers of 233,057,792 weights less biases and norms are
  // 6,525,288,448; the head has 152,064 x 3,584. Forward and backward to the inputs take 4 FLOP a
  // weight, running the layers again 2 more.
  const double layers = 6525288448.0 + 28 * 4608, head = 152064.0 * 3584;
  const double work = 6 * layers + 4 * head;
  const double counted = json["rows"][2]["flop_per_token"].get<double>();
  CHECK(std::abs(counted / work - 1) < 1e-9);
  // 800 tokens a second on a card of 25.5 TFLOPS.
  CHECK(std::abs(json["rows"][2]["share_of_peak"].get<double>() - 800 * work / 25.5e12) < 0.01);
}

TEST_CASE("The five cards are compared by figures that have a source") {
  const auto json = run("qwenplan time --table comparative --json").json();
  REQUIRE(json["rows"].size() == 5);
  CHECK(json["rows"][0]["relative_matrix_rate"] == 1.0);
  CHECK(json["rows"][0]["guide_relative_speed"] == 1.0);
  // 1008 of 360 GB/s, 504.2 of 360: the 4070 is listed with 504.2.
  CHECK(std::abs(json["rows"][4]["relative_bandwidth"].get<double>() - 2.8) < 1e-9);
  CHECK(std::abs(json["rows"][1]["relative_bandwidth"].get<double>() - 504.2 / 360) < 1e-9);
  // Full fine-tuning of 7B on 12 GB and 16 GB, of 14B on 24 GB: 4 bytes a parameter and more.
  for (const std::size_t i : {2U, 3U, 4U}) CHECK(json["rows"][i]["fit"] == "exceeds");
}

TEST_CASE("The guide's own tables have all their rows") {
  CHECK(run("qwenplan time --table speed --estimator guide --json").json()["guide"]["rows"].size() == 4);
  CHECK(run("qwenplan time --table comparative --estimator guide --json").json()["guide"]["rows"].size() == 5);
}
