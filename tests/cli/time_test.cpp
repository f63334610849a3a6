#include <cmath>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

const std::string kJob = "--model 0.5b --gpu rtx3060 --method lora --seq-len 512";

/// Seconds of a step of that job.
double likely_seconds(const std::string& flags = "") {
  const Left left = run("qwenplan time " + kJob + " --load-ms 0 --json " + flags);
  REQUIRE(left.status == 0);
  return left.json()["seconds_per_step"]["likely"].get<double>();
}

bool is_near(double a, double b) { return std::abs(a - b) <= 1e-3 * std::abs(b); }

}  // namespace

TEST_CASE("The guide's speeds are held against the rate of the card") {
  const auto json = run("qwenplan time --table speed --json").json();
  REQUIRE(json["rows"].size() == 4);
  for (const auto& row : json["rows"]) {
    CAPTURE(row.dump());
    const auto& rate = row["tokens_per_second"];
    CHECK(rate["low"].get<double>() > 0);
    CHECK(rate["low"].get<double>() <= rate["likely"].get<double>());
    CHECK(rate["likely"].get<double>() <= rate["high"].get<double>());
    // What is predicted, the card's peak can do.
    CHECK(rate["high"].get<double>() * row["flop_per_token"].get<double>() < 25.5e12);
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

TEST_CASE("The terms of a step sum to it, and hours to what the job holds") {
  const Left left = run("qwenplan time " + kJob + " --examples 1000 --epochs 2 --eval-examples 100 --json");
  REQUIRE(left.status == 0);
  const auto json = left.json();
  double sum = 0;
  for (const auto& term : json["terms"]) sum += term["seconds"].get<double>();
  const double step = json["seconds_per_step"]["likely"].get<double>();
  CHECK(is_near(sum, step));
  CHECK(is_near(json["tokens_per_second"]["likely"].get<double>(), 512 / step));
  CHECK(json["epochs"]["steps"] == 2000);
  CHECK(is_near(json["epochs"]["training_hours"]["likely"].get<double>(), 2000 * step / 3600));
  CHECK(json["epochs"]["evaluation_hours"]["likely"].get<double>() < 200 * step / 3600);
  CHECK(json["hours"]["low"].get<double>() <= json["hours"]["likely"].get<double>());
  CHECK(json["energy_kwh"]["likely"].get<double>() > 0);
  CHECK(json["calibrated"] == false);
}

TEST_CASE("A file of examples says how long its batches are") {
  const TempFolder folder;
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += R"({"text": "the quick brown fox jumps over the lazy dog"})" "\n";
  const std::string file = quoted(folder.write("train.jsonl", lines));
  const Left left = run("qwenplan time " + kJob + " --batch 4 --dataset " + file + " --json");
  REQUIRE(left.status == 0);
  const auto json = left.json();
  CHECK(json["epochs"]["steps"] == 10);
  // Nine short words are some ten tokens, far from --seq-len.
  const auto tokens = json["tokens_per_step"].get<double>();
  CHECK(tokens >= 4 * 9);
  CHECK(tokens <= 4 * 20);
  CHECK(run("qwenplan time " + kJob + " --tokens 5 --dataset " + file).status == 2);
}

TEST_CASE("What is learnt from an own step changes the time of its card, by --data or QWENPLAN_DATA") {
  const TempFolder folder;
  const double before = likely_seconds();
  const std::string file = folder.write(
      "run.json",
      R"({"schema": "qwenplan.measurement/1", "source": "bench", "day": "2026-11-20", "run": {"model": "qwen2.5-0.5b",
          "gpu": "rtx3060-12g", "method": "lora", "seq-len": 512}, "peaks": {}, "seconds_per_step": )" +
          std::to_string(2 * before) + "}");
  const std::string overlay = folder.path("overlay");
  const Left learnt = run("qwenplan calibrate " + quoted(file) + " --out " + quoted(overlay) + " --json");
  REQUIRE(learnt.status == 0);
  // Twice as long may be the card's or the host's doing: together they give the measured time.
  const auto card = learnt.json()["cards"][0];
  CHECK(card["card_factor"].get<double>() >= 0.99);
  CHECK(card["launch_factor"].get<double>() >= 0.99);
  CHECK(is_near(likely_seconds("--data " + quoted(overlay)), 2 * before));
  CHECK(is_near(run("QWENPLAN_DATA=" + quoted(overlay) + " qwenplan time " + kJob + " --load-ms 0 --json")
                    .json()["seconds_per_step"]["likely"].get<double>(), 2 * before));
  // Another card stays as it is.
  const std::string other = "qwenplan time --model 0.5b --gpu t4 --method lora --json";
  CHECK(run(other).json()["seconds_per_step"] == run(other + " --data " + quoted(overlay)).json()["seconds_per_step"]);
}

TEST_CASE("The log of transformers' Trainer says how long a step took") {
  const TempFolder folder;
  const std::string file = folder.write(
      "trainer_state.json",
      R"({"global_step": 100, "log_history": [{"loss": 1.5, "step": 10},
          {"step": 100, "train_runtime": 250.0, "train_steps_per_second": 0.4, "train_loss": 1.2}]})");
  const Left left = run("qwenplan calibrate " + quoted(file) + " " + kJob + " --json");
  REQUIRE(left.status == 0);
  CHECK(is_near(left.json()["cards"][0]["files"][0]["measured_seconds"].get<double>(), 2.5));
  CHECK(left.json()["written"].is_null());
  // Ten times the time of this run: rather the flags of another.
  CHECK(left.json()["notes"][0].get<std::string>().find("far from what was predicted") != std::string::npos);
  CHECK(run("qwenplan calibrate " + quoted(file)).status == 2);  // of which run, nobody says
  const std::string cut = folder.write("cut.json", R"({"log_history": [{"loss": 1.5, "step": 10}]})");
  CHECK(run("qwenplan calibrate " + quoted(cut) + " " + kJob).status == 2);
}

TEST_CASE("What no time is modelled for is told") {
  const Left left = run("qwenplan time " + kJob + " --offload-checkpoints");
  CHECK(left.status == 3);
  CHECK(left.err.find("host memory") != std::string::npos);
  const auto memory = run("qwenplan vram " + kJob + " --offload-checkpoints --json");
  CHECK(memory.status == 0);
  CHECK(memory.json()["time"].is_null());
}

TEST_CASE("vram tells the same time as time") {
  const auto memory = run("qwenplan vram " + kJob + " --json").json();
  CHECK(is_near(memory["time"]["seconds_per_step"]["likely"].get<double>(), likely_seconds()));
  // Without a card, or where the run does not fit, there is none.
  CHECK(run("qwenplan vram --model 0.5b --method lora --json").json()["time"].is_null());
  CHECK(run("qwenplan vram --model 7b --gpu rtx3060 --method full --json").json()["time"].is_null());
}
