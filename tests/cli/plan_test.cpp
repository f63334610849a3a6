#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using qwenplan::test::Left;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

std::string examples() {
  std::string lines;
  for (int i = 0; i < 400; ++i)
    lines += "{\"instruction\": \"" + std::string(static_cast<std::size_t>(20 + i % 7), 'q') + "\", \"output\": \"" +
             std::string(static_cast<std::size_t>(i * 9), 'a') + "\"}\n";
  return lines;
}

/// The answer of a command line of `explained_by`.
json answer_of(const json& plan, const std::string& part) {
  const auto line = plan["explained_by"][part].get<std::string>();
  CAPTURE(line);
  const Left left = run(line + " --json");
  REQUIRE(left.status <= 1);
  return left.json();
}

}  // namespace

TEST_CASE("Each figure of a plan is that of the command that explains it") {
  const TempFolder folder;
  const std::string file = folder.write("train set.jsonl", examples());
  const Left left = run("qwenplan plan --json --model 1.7b --gpu rtx3060 --epochs 2 --dataset '" + file + "'");
  CAPTURE(left.err);
  REQUIRE(left.status == 0);
  const json plan = left.json();
  CHECK(answer_of(plan, "memory")["verdict"]["device_bytes"] == plan["memory"]["device_bytes"]);
  const json time = answer_of(plan, "time");
  CHECK(time["hours"] == plan["time"]["hours"]);
  CHECK(time["tokens_per_second"] == plan["time"]["tokens_per_second"]);
  CHECK(answer_of(plan, "ram")["total_bytes"] == plan["ram"]["total_bytes"]);
  CHECK(answer_of(plan, "storage")["total_bytes"] == plan["storage"]["total_bytes"]);
  CHECK(answer_of(plan, "rent")["options"] == plan["cost"]["rent"]["options"]);
  CHECK(answer_of(plan, "buy")["breakeven_months"] == plan["cost"]["buy"]["breakeven_months"]);
  CHECK(answer_of(plan, "data")["tokens"]["total"] == plan["data"]["tokens"]);
  CHECK((plan["recommendation"]["action"] == "buy" || plan["recommendation"]["action"] == "rent"));
}

TEST_CASE("The length of a plan holds 99 of 100 examples, and a flag goes before it") {
  const TempFolder folder;
  const std::string file = folder.write("a.jsonl", examples());
  const auto length = [&](const std::string& flags) {
    return run("qwenplan plan --json --model 0.5b --gpu 4090 --dataset " + file + flags).json()["data"];
  };
  const json suggested = length("");
  CHECK(suggested["seq_len"].get<std::int64_t>() % 64 == 0);
  CHECK(suggested["cut_sequences"].get<std::int64_t>() <= 4);
  const json given = length(" --seq-len 256");
  CHECK(given["seq_len"] == 256);
  CHECK(given["cut_sequences"].get<std::int64_t>() > 4);
}

TEST_CASE("More use of a machine never makes renting cheaper") {
  const auto months = [](const std::string& hours) {
    return run("qwenplan plan --json --model 1.7b --gpu rtx3060 --tokens 5000000 --hours-per-month " + hours)
        .json()["cost"]["buy"]["breakeven_months"]
        .get<double>();
  };
  CHECK(months("20") > months("200"));
}

TEST_CASE("Without data there are no hours and no costs; without a card it is the cheapest that runs it") {
  const Left left = run("qwenplan plan --json --model 1.7b");
  REQUIRE(left.status == 0);
  const json plan = left.json();
  CHECK(plan["time"]["hours"].is_null());
  CHECK(plan["time"]["tokens_per_second"]["likely"].get<double>() > 0);
  CHECK(plan["cost"].is_null());
  CHECK(plan["memory"]["fit"] == "fits");
  CHECK(plan["explained_by"]["memory"].get<std::string>().find("--gpu ") != std::string::npos);
}

TEST_CASE("What does not fit is a no that says what would; a wrong question is refused") {
  const Left left = run("qwenplan plan --json --model 72b --gpu rtx3060 --tokens 1000000");
  CHECK(left.status == 1);
  const json plan = left.json();
  CHECK(plan["memory"]["fit"] == "exceeds");
  CHECK(plan["time"].is_null());
  CHECK(plan["recommendation"]["alternatives"].size() > 0);
  CHECK(run("qwenplan plan --gpu rtx3060").status == 2);
  CHECK(run("qwenplan plan --model 7b --gpu rtx3060 --tokens 5 --dataset none.jsonl").status == 2);
  CHECK(run("qwenplan plan --model 7b --gpu rtx3060 --dataset none.jsonl").status == 2);
  CHECK(run("qwenplan plan --model 7b --gpu rtx3060 --estimator guide").status == 2);
}

TEST_CASE("Without a card a plan takes the one on which the job costs least, within its limits") {
  const std::string job = "qwenplan plan --json --model 1.5b --tokens 5000000 --seq-len 512";
  const Left left = run(job);
  CAPTURE(left.err);
  REQUIRE(left.status == 0);
  const json plan = left.json();
  CHECK(plan["recommendation"]["action"] == "rent");
  CHECK(plan["explained_by"]["rent"].get<std::string>().find("--gpu ") != std::string::npos);
  CHECK(plan["cost"]["buy"]["breakeven_jobs"].is_object() == !plan["cost"]["buy"]["breakeven_months"].is_null());
  const double hours = plan["time"]["hours"]["likely"].get<double>();
  // A deadline of half the time takes a faster card, or says that none is.
  const Left soon = run(job + " --strict --deadline " + std::to_string(hours / 2));
  REQUIRE(soon.status <= 1);
  if (soon.status == 0) CHECK(soon.json()["time"]["hours"]["likely"].get<double>() <= hours / 2);
  const Left never = run(job + " --deadline 1min");
  CHECK(never.status == 1);
  CHECK(never.json()["recommendation"]["closest"].size() == 2);
}

TEST_CASE("A plan's limits need hours, and leave what meets them") {
  CHECK(run("qwenplan plan --model 1.5b --gpu rtx3060 --deadline 5h").status == 2);
  CHECK(run("qwenplan plan --model 1.5b --gpu rtx3060 --tokens 1000000 --deadline never").status == 2);
  const Left left = run("qwenplan plan --json --model 1.5b --gpu rtx3060 --tokens 50000000 --budget 0.01");
  CHECK(left.status == 1);
  CHECK(left.json()["recommendation"]["action"] == "change");
}
