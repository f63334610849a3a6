#include <cmath>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

bool has_python() { return run("python3 -c pass").status == 0; }

}  // namespace

TEST_CASE("The scripts are Python") {
  if (!has_python()) return;
  for (const char* command : {"bench --script --model 7b --method qlora --double-quant", "monitor --hook"}) {
    CAPTURE(command);
    const Left left = run(std::string("qwenplan ") + command + " | python3 -c 'import ast, sys; ast.parse(sys.stdin.read())'");
    CHECK(left.err == "");
    CHECK(left.status == 0);
  }
}

TEST_CASE("The benchmark's defaults are the run that was asked for") {
  if (!has_python()) return;
  const std::string model = R"(/مجلد/a "b" \ c)";
  const Left left = run(
      "qwenplan bench --script --model 1.7b --method lora --batch 3 --lora-dropout 0.05 --no-checkpointing --attention eager "
      "--lora-targets q_proj,v_proj | grep ^DEFAULTS | python3 -c 'import sys, json; exec(sys.stdin.read()); print(json.dumps(DEFAULTS))'");
  REQUIRE(left.status == 0);
  CHECK(left.json() == nlohmann::json({{"model", "Qwen/Qwen3-1.7B"}, {"method", "lora"}, {"batch", 3}, {"lora-dropout", 0.05},
                                       {"checkpointing", false}, {"attention", "eager"}, {"lora-targets", "q_proj,v_proj"}}));
}

TEST_CASE("The benchmark trains adapters where no method is named, and refuses them to full fine-tuning") {
  CHECK(run("qwenplan bench --script --model 7b --lora-r 8").status == 0);
  CHECK(run("qwenplan bench --script --lora-r 8 --method full").status == 2);
  CHECK(run("qwenplan bench --script --lora-targets nonsense").status == 3);
}

TEST_CASE("A measurement is held against the estimate of the same run") {
  // A published run on a Tesla T4 (Anassbzdd/fitcheck, t4-sweep-2026-09-15.json): 7401.81 MiB allocated,
  // 7766 MiB reserved, a context of 140.875 MiB.
  const TempFolder folder;
  const std::string file = folder.write("t4.json", R"({"schema": "qwenplan.measurement/1", "source": "bench", "day": "2026-09-15",
    "run": {"model": "qwen2.5-1.5b", "method": "lora", "seq-len": 1024, "batch": 2, "checkpointing": true,
            "optimizer": "adamw-foreach", "attention": "efficient", "keep-outputs": true, "precision": "fp16-true",
            "autocast": false, "lora-r": 32, "lora-targets": "attention", "adapter-dtype": "fp32",
            "stack": "torch=2.14.0,transformers=5.17.0,peft=0.20.0"},
    "gpu": {"name": "Tesla T4"}, "status": "ok",
    "peaks": {"allocated_bytes": 7761360486, "reserved_bytes": 8143241216, "device_bytes": 8290959360}})");
  const auto json = run("qwenplan bench --json --import " + quoted(file)).json();
  REQUIRE(json["compared"].size() == 3);
  for (const auto& each : json["compared"]) {
    CAPTURE(each.dump());
    CHECK(std::abs(each["off"].get<double>()) < 0.03);
  }
}

TEST_CASE("A record of the watcher can be imported") {
  const TempFolder folder;
  const std::string file = folder.path("r.json");
  REQUIRE(run("qwenplan monitor --quiet --model 0.5b --method lora --record " + quoted(file) + " -- sleep 0.1").status == 0);
  const Left left = run("qwenplan bench --json --import " + quoted(file));
  CHECK(left.status == 0);
  CHECK(left.json()["measurement"]["source"] == "monitor");
  CHECK(left.json()["measurement"]["run"]["method"] == "lora");
}

TEST_CASE("A model that no table names is not compared, and that is said") {
  const TempFolder folder;
  const std::string file = folder.write("m.json", R"({"schema": "qwenplan.measurement/1", "run": {"model": "nobody/knows"},
    "peaks": {"allocated_bytes": 1000}})");
  const Left left = run("qwenplan bench --json --import " + quoted(file));
  CHECK(left.status == 0);
  CHECK(left.json()["notes"][0].get<std::string>().find("not compared") == 0);
}
