#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using qwenplan::test::Left;
using qwenplan::test::run;

namespace {

json asked(const std::string& line, int status = 0) {
  const Left left = run("SOURCE_DATE_EPOCH=1795500000 qwenplan " + line + " --json");
  CAPTURE(line, left.err);
  REQUIRE(left.status == status);
  const json answer = left.json();
  REQUIRE(answer.is_object());
  return answer;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b)); }
bool near(const json& a, double b) { return near(a.get<double>(), b); }

bool runs(const std::string& gpu, const std::string& job) {
  const Left left = run("qwenplan vram --quiet --gpu " + gpu + " " + job);
  CAPTURE(gpu, job, left.err);
  REQUIRE(left.status <= 1);
  return left.status == 0;
}

}  // namespace

TEST_CASE("an offer fits where vram says so") {
  const std::string job = GENERATE("--model 1.7b --method full", "--model 7b --method qlora --seq-len 512", "--model 14b");
  const json offers = asked("cloud compare " + job)["offers"];
  std::map<std::string, bool> fits;
  for (const json& offer : offers)
    if (!offer["fits"].is_null() && offer["gpus"].get<double>() >= 1) {
      const auto gpu = offer["gpu"].get<std::string>();
      // One job on one card has one answer, whoever rents it out.
      if (fits.count(gpu)) CHECK(fits[gpu] == offer["fits"].get<bool>());
      fits[gpu] = offer["fits"].get<bool>();
    }
  REQUIRE(fits.size() > 40);
  for (const std::string gpu : {"t4", "rtx3060-12g", "rtx4090-24g", "l40s-48g", "a100-80g-sxm", "h200-141g-sxm"}) {
    CAPTURE(job, gpu);
    REQUIRE(fits.count(gpu));
    CHECK(fits[gpu] == runs(gpu, job));
  }
}

TEST_CASE("offers that run the job come first, cheapest first") {
  const json offers = asked("cloud compare --model 7b --method lora")["offers"];
  const auto rate = [](const json& offer) {
    double least = 1e9;
    for (const char* key : {"usd_per_hour", "spot_usd_per_hour"})
      if (!offer[key].is_null()) least = std::min(least, offer[key].get<double>());
    return least;
  };
  bool still_fits = true;
  double before = 0;
  for (const json& offer : offers) {
    const bool fits = offer["fits"] == true;
    CHECK((still_fits || !fits));
    if (fits && still_fits) {
      CHECK(rate(offer) >= before);
      before = rate(offer);
    }
    still_fits = fits;
  }
}

TEST_CASE("a share of a card is judged by its share of memory") {
  const json offers = asked("cloud compare --model 0.5b --provider aws --gpu l4")["offers"];
  std::set<std::string> fits, not_fits;
  for (const json& offer : offers) (offer["fits"] == true ? fits : not_fits).insert(offer["instance"].get<std::string>());
  CHECK(fits.count("g6.xlarge"));
  CHECK(not_fits.count("g6f.large"));  // an eighth: 2.8 GiB
}

TEST_CASE("a strategy's cost is its rate times its hours, and interruptions cost time") {
  const json answer = asked("cloud strategy --hours 40 --gpu h100 --interruptions 3 --checkpoint-minutes 4");
  double spot = 0, on_demand = 0;
  for (const json& option : answer["options"]) {
    if (option["expected_usd"].is_null()) continue;
    CHECK(near(option["expected_usd"], option["usd_per_hour"].get<double>() * option["expected_hours"].get<double>()));
    if (option["strategy"] == "spot") spot = option["expected_hours"].get<double>();
    if (option["strategy"] == "on_demand") on_demand = option["expected_hours"].get<double>();
  }
  CHECK(on_demand == 40);
  CHECK(spot > 40);
  const json calm = asked("cloud strategy --hours 40 --gpu h100 --interruptions 0 --checkpoint-minutes 0");
  for (const json& option : calm["options"])
    if (option["strategy"] == "spot") CHECK(std::abs(option["expected_hours"].get<double>() - 40) < 1e-3);
}

TEST_CASE("spot that is always taken away is never done, and says so") {
  const json answer = asked("cloud strategy --hours 1000 --gpu h100 --interruptions 1440 --checkpoint-minutes 600 --restart-minutes 1440");
  for (const json& option : answer["options"])
    if (option["strategy"] == "spot") CHECK(option["expected_usd"].is_null());
  CHECK(answer["best"] == "on_demand");
}

TEST_CASE("a month is so many experiments, a year twelve months") {
  const json answer = asked("cloud budget --experiments 7 --hours 2.5 --gpu a100-80g");
  REQUIRE(answer["estimates"].size() == 3);
  for (const json& tier : answer["estimates"]) {
    CHECK(near(tier["usd_per_experiment"], tier["usd_per_hour"].get<double>() * 2.5));
    CHECK(near(tier["monthly_usd"], tier["usd_per_experiment"].get<double>() * 7));
    CHECK(near(tier["annual_usd"], tier["monthly_usd"].get<double>() * 12));
  }
}

TEST_CASE("the rent of a setup is that of its own card") {
  const json answer = asked("roi --setup 'Entry Level=860' --setup High-End=2270 --hours-per-month 100");
  REQUIRE(answer["setups"].size() == 2);
  CHECK(answer["setups"][0]["cloud"]["gpu"] == "rtx3060-12g");
  CHECK(answer["setups"][1]["cloud"]["gpu"] == "rtx4080-16g");
  CHECK(answer["breakeven_months"] == answer["setups"][0]["breakeven_months"]);
  for (const json& setup : answer["setups"]) {
    const double saves = 100 * (setup["cloud"]["usd_per_hour"].get<double>() - setup["local"]["watts"].get<double>() / 1000 * 0.15);
    CHECK(near(setup["breakeven_months"], setup["local"]["hardware_usd"].get<double>() / saves));
  }
}

TEST_CASE("the machine for a job has a card that runs it, and costs what its parts do") {
  const std::string job = GENERATE("--model 1.7b --method lora", "--model 7b", "--model 3b --method full --optimizer adamw-8bit");
  const json answer = asked("build --for-job " + job);
  CAPTURE(job);
  CHECK(runs(answer["gpu"].get<std::string>(), job));
  double sum = 0;
  for (const json& part : answer["parts"]) sum += part["price_usd"].get<double>();
  CHECK(near(answer["total_usd"], sum));
  CHECK(answer["power"]["supply_watts"].get<double>() >= 1.5 * answer["power"]["load_watts"].get<double>());
  if (answer["missing"].empty())
    for (const json& other : answer["alternatives"]) CHECK(other["total_usd"].get<double>() >= sum);
}

TEST_CASE("no machine is made for what no card runs") {
  CHECK(asked("build --for-job --model 72b --method full", 1)["gpu"].is_null());
}

TEST_CASE("each level of a specification runs its method") {
  const json rows = asked("specs --model 3b")["rows"];
  REQUIRE(rows.size() == 3);
  CHECK(rows[1]["method"] == "lora");
  CHECK(rows[2]["method"] == "full");
  double before = 0;
  for (const json& row : rows) {
    const std::string rung = row["rung"] == "defaults" ? "" : row["rung"].get<std::string>();
    CHECK(runs(row["gpu"].get<std::string>(), "--model 3b --method " + row["method"].get<std::string>() + " " + rung));
    CHECK(row["gpu_usd"].get<double>() >= before);
    before = row["gpu_usd"].get<double>();
    CHECK(row["ram_gib"].get<double>() * 1024 * 1024 * 1024 >= row["ram_bytes"]["likely"].get<double>());
  }
}

TEST_CASE("figures of the comparison follow from each other") {
  const json rows = asked("gpus --gpus rtx3060,rtx4090,t4,h100 --model 1.7b")["rows"];
  REQUIRE(rows.size() == 4);
  double best = 0;
  for (const json& row : rows) {
    best = std::max(best, row["score"].get<double>());
    const json& rate = row["tokens_per_second"];
    REQUIRE(rate.is_null() == (row["best"] == "none"));
    if (!rate.is_null()) {
      CHECK(rate["low"].get<double>() <= rate["likely"].get<double>());
      CHECK(rate["likely"].get<double>() <= rate["high"].get<double>());
    }
    const json& price = row[row["launch_price_usd"].is_null() ? "street_price_usd" : "launch_price_usd"];
    CHECK(near(row["usd_per_tflops"], price.get<double>() / (row["tensor_flops"].get<double>() / 1e12)));
    if (row["best"] != "none") {
      CHECK(row["memory_efficiency"] > 0);
      CHECK(row["memory_efficiency"] <= 1);
    }
  }
  CHECK(best == 10);
  // What training computes with, not the fp16 accumulate of the box: 25.5 TFLOP/s on the RTX 3060.
  CHECK(near(rows[0]["tensor_flops"], 25.5e12));
}

TEST_CASE("prices older than ninety days are said to be old, fresh ones are not") {
  const std::string ask = "qwenplan cloud compare --provider lambda --gpu a10";
  // 2026-08-22 is 90 days after 2026-05-24, the day of the offer.
  CHECK(run("SOURCE_DATE_EPOCH=1787400000 " + ask).err.find("days old") == std::string::npos);
  CHECK(run("SOURCE_DATE_EPOCH=1787486400 " + ask).err.find("91 days old") != std::string::npos);
  CHECK(run("SOURCE_DATE_EPOCH=0 " + ask).err.find("days old") == std::string::npos);
}

TEST_CASE("a script has the card and the settings of its answer") {
  const json answer = asked("cloud script sagemaker --model 7b --method qlora");
  const auto script = answer["script"].get<std::string>();
  CHECK(script.find("INSTANCE = \"" + answer["instance"].get<std::string>() + "\"") != std::string::npos);
  CHECK(script.find("load_in_4bit=True") != std::string::npos);
  CHECK(runs(answer["gpu"].get<std::string>(), "--model 7b --method qlora"));
  CHECK(asked("cloud script colab --model 72b --method full", 1)["script"].is_null());
}
