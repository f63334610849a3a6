#include <cstdint>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using qwenplan::test::Left;
using qwenplan::test::run;

TEST_CASE("The largest value fits, and the next one does not") {
  const std::string run_of = GENERATE("--model 1.7b --gpu rtx3060 --method lora", "--model 3b --gpu rtx3060 --method qlora",
                                      "--model 7b --gpu 4090 --method qlora --lora-dropout 0.05",
                                      "--model 0.5b --gpu t4 --method full --precision fp16-true");
  const std::string what = GENERATE("batch", "seq-len");
  CAPTURE(run_of, what);
  const auto answer = run("qwenplan batch --json --solve " + what + " " + run_of).json();
  REQUIRE(answer["solved"] == what);
  REQUIRE(answer["largest"].is_number_integer());
  const auto value = answer["largest"].get<std::int64_t>();
  const auto fit = [&](std::int64_t at) {
    return run("qwenplan vram --json " + run_of + " --" + what + " " + std::to_string(at)).json()["verdict"]["fit"];
  };
  CHECK(fit(value) == "fits");
  CHECK(fit(value + (what == "batch" ? 1 : 64)) != "fits");
  CHECK(answer["largest_tight"].get<std::int64_t>() >= value);
}

TEST_CASE("The largest rank fits, and the next one does not") {
  const std::string run_of = "--model 7b --gpu 4090 --method lora";
  const auto value = run("qwenplan batch --json --solve lora-r " + run_of).json()["largest"].get<std::int64_t>();
  const auto fit = [&](std::int64_t at) {
    return run("qwenplan vram --json " + run_of + " --lora-r " + std::to_string(at)).json()["verdict"]["fit"];
  };
  CHECK(fit(value) == "fits");
  CHECK(fit(value + 1) != "fits");
}

TEST_CASE("More memory never takes a smaller batch") {
  std::int64_t before = 0;
  for (const char* memory : {"8GiB", "12GiB", "16GiB", "24GiB", "48GiB", "80GiB"}) {
    CAPTURE(memory);
    const auto largest =
        run(std::string("qwenplan batch --json --model 1.5b --method lora --vram ") + memory).json()["largest"];
    const std::int64_t now = largest.is_null() ? 0 : largest.get<std::int64_t>();
    CHECK(now >= before);
    before = now;
  }
  CHECK(before > 1);
}

TEST_CASE("Nothing that fits is a no") {
  const Left left = run("qwenplan batch --json --model 72b --gpu rtx3060 --method qlora");
  CHECK(left.status == 1);
  CHECK(left.json()["largest"].is_null());
}

TEST_CASE("Every rung of the ladder keeps the effective batch") {
  // 24 sequences a step; halves of 8 divide it, halves of 3 do not.
  const std::string events = GENERATE("oom,oom,oom,oom", "oom,underutilized,oom+underutilized", "underutilized,ok,oom");
  const std::string with = GENERATE("", " --model 1.7b --gpu rtx3060 --method qlora");
  const auto ladder = run("qwenplan batch --json --start 8 --grad-accum 3 --events " + events + with).json()["ladder"];
  REQUIRE(ladder.size() > 2);
  std::int64_t batch = 8;
  for (const auto& rung : ladder) {
    CAPTURE(events, rung.dump());
    CHECK(rung["batch"].get<std::int64_t>() * rung["grad_accum"].get<std::int64_t>() == 24);
    const std::string event = rung["event"].get<std::string>();
    if (event.starts_with("oom") && batch > 1) CHECK(rung["batch"].get<std::int64_t>() <= batch / 2);
    if (event.starts_with("oom") && batch == 1) CHECK(rung["remark"].get<std::string>().find("no smaller") == 0);
    if (event == "underutilized") CHECK(rung["batch"].get<std::int64_t>() >= batch);
    batch = rung["batch"].get<std::int64_t>();
  }
}

TEST_CASE("A batch that the card cannot hold is not advised after an underutilized one") {
  const auto ladder =
      run("qwenplan batch --json --model 3b --gpu rtx3060 --method qlora --start 1 --grad-accum 64 --events underutilized,"
          "underutilized,underutilized,underutilized,underutilized,underutilized").json()["ladder"];
  for (std::size_t i = 1; i < ladder.size(); ++i) CHECK(ladder[i]["fit"] != "exceeds");
  CHECK(ladder.back()["remark"].get<std::string>().find("would not fit") != std::string::npos);
}

TEST_CASE("The guide's sizer is answered event by event") {
  // By its own code: 4 halves to 2, doubles to 4 and 8, halves to 4; 1 stays after an error, doubles after both flags.
  CHECK(run("qwenplan batch --json --estimator guide --events oom,underutilized,underutilized,oom").json()["guide"]["batch_sizes"] ==
        nlohmann::json({2, 4, 8, 4}));
  CHECK(run("qwenplan batch --json --estimator guide --start 1 --events oom,oom+underutilized").json()["guide"]["batch_sizes"] ==
        nlohmann::json({1, 2}));
  CHECK(run("qwenplan batch --json --estimator guide --start 16 --events underutilized").json()["guide"]["batch_sizes"] ==
        nlohmann::json({16}));
}

TEST_CASE("What cannot be solved is said") {
  CHECK(run("qwenplan batch --model 7b").status == 2);
  CHECK(run("qwenplan batch --model 7b --gpu 4090 --batch 4").status == 2);
  CHECK(run("qwenplan batch --model 7b --gpu 4090 --solve seq-len --start 4").status == 2);
  CHECK(run("qwenplan batch --model 7b --gpu 4090 --events crash").status == 2);
  CHECK(run("qwenplan batch --model 7b --gpu 4090 --method full --solve lora-r").status == 2);
  CHECK(run("qwenplan batch --model 7b --gpu 4090 --method qlora --zero 3").status == 3);
}
