// What a job costs: its hours on each card by the same prediction as `time`, times rates.
#include <cmath>
#include <optional>
#include <string>

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
  return left.json();
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b)); }

double likely(const json& range) { return range["likely"].get<double>(); }

const std::string kJob = "--model 1.5b --tokens 5000000 --seq-len 512";

}  // namespace

TEST_CASE("hours of an offer are those of time on its card, and the job costs hours times rate") {
  const json offers = asked("cloud compare --provider lambda " + kJob + " --epochs 2")["offers"];
  int timed = 0;
  for (const json& offer : offers) {
    if (offer["fits"] != true || offer["hours"].is_null()) continue;
    const auto gpu = offer["gpu"].get<std::string>();
    if (++timed <= 2) {
      const json alone = asked("time --method qlora --gpu " + gpu + " " + kJob + " --epochs 2");
      CHECK(near(likely(offer["hours"]), likely(alone["hours"])));
    }
    for (const char* end : {"low", "likely", "high"}) {
      CAPTURE(gpu, end);
      if (!offer["job_usd"].is_null())
        CHECK(near(offer["job_usd"][end].get<double>(), offer["usd_per_hour"].get<double>() * offer["hours"][end].get<double>()));
      if (!offer["spot_job_usd"].is_null()) CHECK(offer["spot_hours"][end].get<double>() > offer["hours"][end].get<double>());
    }
  }
  CHECK(timed >= 2);
}

TEST_CASE("a deadline leaves the offers that meet it, and a later one never costs more") {
  double before = 1e12;
  std::string statuses;
  for (const std::string deadline : {"1min", "20min", "1h", "3h", "1d"}) {
    const Left left = run("qwenplan cloud compare --json --strict --provider gcp " + kJob + " --deadline " + deadline);
    CAPTURE(deadline, left.err);
    REQUIRE(left.status <= 1);
    const json answer = left.json();
    statuses += std::to_string(left.status);
    if (left.status == 1) {
      CHECK(answer["cheapest"].is_null());
      CHECK(answer["closest"]["fastest"].is_object());
      continue;
    }
    CHECK(answer["cheapest"]["deadline"] == "meets");
    const double hours = answer["inputs"]["deadline_hours"]["value"].get<double>();
    CHECK(answer["cheapest"]["hours"]["high"].get<double>() <= hours);
    CHECK(likely(answer["cheapest"]["job_usd"]) <= before);
    before = likely(answer["cheapest"]["job_usd"]);
  }
  CHECK(statuses.front() == '1');
  CHECK(statuses.back() == '0');
}

TEST_CASE("tight is a deadline that only the likely hours meet, and no under --strict") {
  const json all = asked("cloud compare --provider runpod --gpu l40s " + kJob);
  const json& hours = all["cheapest"]["hours"];
  const double between = (likely(hours) + hours["high"].get<double>()) / 2;
  const std::string line = "cloud compare --provider runpod --gpu l40s " + kJob + " --deadline " + std::to_string(between);
  CHECK(asked(line)["cheapest"]["deadline"] == "tight");
  CHECK(asked(line + " --strict", 1)["cheapest"].is_null());
}

TEST_CASE("more epochs are never cheaper") {
  double before = 0;
  for (const std::string epochs : {"1", "2", "5"}) {
    const double usd = likely(asked("cloud compare --provider aws " + kJob + " --epochs " + epochs)["cheapest"]["job_usd"]);
    CHECK(usd > before);
    before = usd;
  }
}

TEST_CASE("the cheapest job is not the cheapest hour, and strategy finds it") {
  const json compare = asked("cloud compare --provider gcp " + kJob);
  const json strategy = asked("cloud strategy --provider gcp " + kJob);
  double least = 1e12;
  for (const json& option : strategy["options"]) {
    if (option["expected_usd"].is_null()) continue;
    least = std::min(least, likely(option["expected_usd"]));
    for (const char* end : {"low", "likely", "high"})
      CHECK(near(option["expected_usd"][end].get<double>(),
                 option["usd_per_hour"].get<double>() * option["expected_hours"][end].get<double>()));
  }
  CHECK(near(least, likely(compare["cheapest"]["job_usd"])));
  for (const json& offer : compare["offers"])
    for (const char* key : {"job_usd", "spot_job_usd"})
      if (!offer[key].is_null()) CHECK(likely(offer[key]) >= least - 1e-12);
}

TEST_CASE("interruptions of spot are counted on the job's own hours and checkpoints") {
  // Daly by hand from the answer's own mean, checkpoint and restart.
  const json answer = asked("cloud strategy --provider gcp --gpu a100-40g " + kJob + " --epochs 40 --interruptions 4 --restart-minutes 15");
  const json compare = asked("cloud compare --provider gcp --gpu a100-40g " + kJob + " --epochs 40");
  const double work = likely(compare["cheapest"]["work_hours"]);
  const double mean = answer["interruptions"]["mean_hours_between"].get<double>();
  const double checkpoint = answer["interruptions"]["checkpoint_hours"].get<double>();
  CHECK(mean == 6);
  CHECK(answer["interruptions"]["restart_hours"] == 0.25);
  const double ratio = checkpoint / (2 * mean);
  const double interval = std::sqrt(2 * checkpoint * mean) * (1 + std::sqrt(ratio) / 3 + ratio / 9) - checkpoint;
  const double expected = mean * std::exp(0.25 / mean) * std::expm1((interval + checkpoint) / mean) * work / interval;
  for (const json& option : answer["options"])
    if (option["strategy"] == "spot") CHECK(std::abs(likely(option["expected_hours"]) - expected) < 1e-6 * expected);
}

TEST_CASE("hours are told once, by a flag or by the data") {
  for (const std::string line :
       {"cloud strategy --model 7b --tokens 1000000 --hours 5", "cloud compare --model 7b --deadline 5h", "cloud compare --model 7b --budget 5",
        "cloud compare --model 7b --epochs 3", "cloud compare --tokens 1000 --deadline soon", "cloud compare --tokens 1000 --deadline 0h",
        "cloud budget --budget 0 --tokens 1000", "cloud budget --budget 5 --experiments 3", "cloud budget --budget 5 --model 7b --models 3b"}) {
    CAPTURE(line);
    CHECK(run("qwenplan " + line).status == 2);
  }
}

TEST_CASE("a mechanism that has no time is named, not priced") {
  CHECK(run("qwenplan cloud strategy --provider gcp --tokens 1000000 --model qwen3-next-80b-a3b").status == 3);
}

TEST_CASE("a larger budget never trains less") {
  const std::string line = "cloud budget --gpu rtx4090 --models 0.5b,3b,7b --tokens 5000000 --epochs 2 --budget ";
  int before = 0;
  for (const std::string usd : {"0.2", "0.7", "3"}) {
    const Left left = run("qwenplan " + line + usd + " --json");
    REQUIRE(left.status <= 1);
    int trained = 0;
    const json answer = left.json();
    for (const json& row : answer["trainings"]) {
      const json& rental = row["rental"];
      if (row["trains"] == true) {
        ++trained;
        CHECK(likely(rental["job_usd"]) <= std::stod(usd));
      }
      // Epochs are those that were asked for, as often as the budget pays for them.
      CHECK(near(likely(row["epochs"]), 2 * std::stod(usd) / likely(rental["job_usd"])));
      CHECK(near(likely(row["tokens"]), 5e6 * likely(row["epochs"])));
    }
    CHECK(trained >= before);
    before = trained;
  }
  CHECK(before > 0);
}

TEST_CASE("a budget without data is told in tokens") {
  const json row = asked("cloud budget --budget 5 --gpu l4 --model 0.5b --method qlora")["largest"];
  CHECK(row["epochs"].is_null());
  const json more = asked("cloud budget --budget 10 --gpu l4 --model 0.5b --method qlora")["largest"];
  CHECK(near(likely(more["tokens"]), 2 * likely(row["tokens"])));
}

TEST_CASE("a machine pays after so many jobs as the rent they save makes its price") {
  const json answer = asked("roi --gpu rtx3090 --hardware-cost 700 " + kJob + " --jobs-per-month 50 --electricity 0.2");
  const json& job = answer["job"];
  const json alone = asked("time --method qlora --gpu rtx3090 " + kJob);
  CHECK(near(likely(job["hours"]), likely(alone["hours"])));
  // The wall: the card's energy and 100 W beside it through a supply of 90 %.
  const double energy = (likely(alone["energy_kwh"]) + 0.1 * likely(alone["hours"])) / 0.9;
  CHECK(near(likely(job["energy_kwh"]), energy));
  CHECK(near(likely(job["electricity_usd"]), energy * 0.2));
  CHECK(near(likely(job["rent_usd"]), likely(job["hours"]) * answer["cloud"]["usd_per_hour"].get<double>()));
  const double jobs = 700 / (likely(job["rent_usd"]) - likely(job["electricity_usd"]));
  CHECK(near(likely(answer["breakeven_jobs"]), jobs));
  CHECK(near(answer["breakeven_months"].get<double>(), jobs / 50));
  CHECK(answer["breakeven_jobs"]["low"].get<double>() < jobs);
  const json& cheapest = answer["cheapest_rent"];
  CHECK(likely(cheapest["job_usd"]) <= likely(job["rent_usd"]));
  const double saves = likely(cheapest["job_usd"]) - likely(job["electricity_usd"]);
  if (saves <= 0) CHECK(cheapest["breakeven_months"].is_null());
  else CHECK(near(likely(cheapest["breakeven_jobs"]), 700 / saves));
  CHECK((answer["verdict"] == "buy") == (answer["savings_usd"].get<double>() > 0 && cheapest["savings_usd"].get<double>() > 0));
}

TEST_CASE("roi by the job tells what it cannot do") {
  CHECK(run("qwenplan roi --hardware-cost 900 --gpu '2x rtx3090' " + kJob).status == 3);
  CHECK(run("qwenplan roi --hardware-cost 900 --gpu rtx3060 --tokens 1000000 --model 32b").status == 3);
  CHECK(run("qwenplan roi --hardware-cost 900 --gpu rtx3090 " + kJob + " --jobs-per-month 3 --hours-per-month 5").status == 2);
  CHECK(run("qwenplan roi --hardware-cost 900 --gpu rtx3090 --hours-per-month 5 --jobs-per-month 3").status == 2);
  CHECK(run("qwenplan roi --patterns " + kJob).status == 2);
  const json slow = asked("roi --hardware-cost 900 --gpu rtx3090 " + kJob + " --jobs-per-month 100000", 1);
  CHECK(slow["setups"][0]["is_too_slow"] == true);
}

TEST_CASE("the machine for a deadline is in time, and costs no less than one without") {
  const std::string job = "build --model 3b --tokens 20000000";
  const json any = asked(job);
  const double hours = likely(any["hours"]);
  const std::string half = std::to_string(hours / 2);
  const json soon = asked(job + " --strict --deadline " + half + "h");
  CHECK(soon["hours"]["high"].get<double>() <= hours / 2);
  CHECK(soon["total_usd"].get<double>() >= any["total_usd"].get<double>());
  CHECK(asked(job + " --deadline 1min", 1)["closest"]["fastest"].is_object());
}

TEST_CASE("a larger budget buys a machine that does no less, within the budget") {
  const auto rank = [](const std::string& method) { return method == "full" ? 0 : method == "lora" ? 1 : 2; };
  int best = 9;
  double rate = 0;
  for (const std::string usd : {"1000", "1500", "2500"}) {
    const json answer = asked("build --budget " + usd + " --model 1.5b --method lora");
    CHECK(answer["total_usd"].get<double>() <= std::stod(usd));
    const int method = rank(answer["fit"]["method"].get<std::string>());
    const double now = likely(answer["time"]["tokens_per_second"]);
    CHECK((method < best || (method == best && now >= rate)));
    best = method;
    rate = now;
    CHECK(answer["trains"].size() > 1);
  }
  CHECK(asked("build --budget 200 --model 7b", 1)["closest"]["cheapest"].is_object());
  CHECK(run("qwenplan build entry --budget 900").status == 2);
  CHECK(run("qwenplan build --for-job --deadline 5h").status == 2);
}
