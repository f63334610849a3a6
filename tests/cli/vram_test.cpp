#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

json asked(const std::string& flags, int status = 0) {
  const Left left = run("qwenplan vram --json " + flags);
  CAPTURE(flags, left.err);
  REQUIRE(left.status == status);
  const json answer = left.json();
  REQUIRE(answer.is_object());
  return answer;
}

std::int64_t likely(const json& answer, const char* what) {
  return answer["verdict"][what]["likely"].get<std::int64_t>();
}

/// A machine with one card, beside the driver library that answers what a file says.
std::string on_machine(const TempFolder& folder, const std::string& gpus) {
  return "export LD_LIBRARY_PATH=" + quoted(std::string(QWENPLAN_TEST_FILES) + "/support") +
         " FAKE_NVML=" + quoted(folder.write("gpus", gpus)) + "\n";
}

}  // namespace

TEST_CASE("the fields that are promised are there, in bytes") {
  const json answer = asked("--model 7b --gpu a100 --method qlora --seq-len 512 --grad-accum 2");
  CHECK(answer["schema"] == "qwenplan.vram/1");
  CHECK(answer["inputs"]["seq-len"] == json({{"value", 512}, {"from", "flag"}}));
  CHECK(answer["inputs"]["batch"] == json({{"value", 1}, {"from", "default"}}));
  // Qwen2.5-7B's own count; and rank 16 times inputs and outputs of its seven linear layers: q and
  // o 3584 + 3584, k and v 3584 + 512, gate, up and down 3584 + 18944.
  CHECK(answer["parameters"]["total"] == 7615616512);
  CHECK(answer["parameters"]["trainable"] == 28 * 16 * (2 * 7168 + 2 * 4096 + 3 * 22528));

  const json& verdict = answer["verdict"];
  CHECK(verdict["fit"] == "fits");
  for (const char* what : {"allocated_bytes", "reserved_bytes", "device_bytes"}) {
    CHECK(verdict[what]["low"] <= verdict[what]["likely"]);
    CHECK(verdict[what]["likely"] <= verdict[what]["high"]);
    CHECK(verdict[what]["likely"].is_number_integer());
  }
  CHECK(likely(answer, "allocated_bytes") <= likely(answer, "reserved_bytes"));
  CHECK(likely(answer, "reserved_bytes") <= likely(answer, "device_bytes"));
  CHECK(verdict["at_capacity"]["completes"] == true);
  CHECK(verdict["at_capacity"]["flushes_per_step"] == 0);
  CHECK(verdict["headroom_bytes"] ==
        verdict["usable_bytes"].get<std::int64_t>() - likely(answer, "device_bytes"));
  CHECK(answer["methods"].size() == 1);
  CHECK(answer["advice"].empty());
  CHECK_FALSE(answer["assumed"].empty());
  CHECK(answer["notes"].is_array());
}

TEST_CASE("a phase's terms sum to its bytes, and the largest phase is the verdict's") {
  const json answer = asked("--model qwen2.5-0.5b --method lora --grad-accum 2");
  std::int64_t largest = 0;
  std::string peak;
  std::vector<std::string> phases;
  for (const json& use : answer["timeline"]) {
    std::int64_t sum = 0;
    for (const json& term : use["terms"]) {
      sum += term["bytes"].get<std::int64_t>();
      CHECK(term["evidence"].is_string());
    }
    CHECK(sum == use["allocated_bytes"].get<std::int64_t>());
    CHECK(use["step"].is_null() == (use["phase"] == "load" || use["phase"] == "prepare"));
    phases.push_back(use["phase"].get<std::string>());
    if (sum > largest) {
      largest = sum;
      peak = use["phase"].get<std::string>();
    }
  }
  // The likely value counts whole blocks of the allocator, the timeline what tensors take.
  CHECK(largest == answer["verdict"]["allocated_bytes"]["low"].get<std::int64_t>());
  CHECK(answer["verdict"]["peak_phase"].get<std::string>() == peak);
  const std::vector<std::string> micro{"forward", "loss",     "backward", "forward",
                                       "loss",    "backward", "step"};
  std::vector<std::string> expected{"load", "prepare"};
  for (int step = 0; step < 2; ++step) expected.insert(expected.end(), micro.begin(), micro.end());
  phases.resize(expected.size());
  CHECK(phases == expected);
}

TEST_CASE("the exit status is the verdict") {
  CHECK(asked("--model 7b --gpu t4 --method full", 1)["verdict"]["fit"] == "exceeds");
  CHECK(asked("--model qwen2.5-0.5b --gpu t4 --method lora")["verdict"]["fit"] == "fits");
  CHECK(asked("--model 72b --method full")["verdict"]["fit"].is_null());
  CHECK(run("qwenplan vram --model 7b --gpu t4 --method full --quiet").status == 1);
  CHECK(run("qwenplan vram --model 7b --gpu t4 --method full --quiet").out.empty());

  // Between what is likely and its upper bound lies a card that is tight.
  const json free = asked("--model qwen2.5-0.5b --method lora");
  const std::int64_t bytes = (likely(free, "device_bytes") * 3 +
                              free["verdict"]["device_bytes"]["high"].get<std::int64_t>()) /
                             4;
  const std::string size = " --vram " + std::to_string(bytes) + "B";
  CHECK(asked("--model qwen2.5-0.5b --method lora" + size)["verdict"]["fit"] == "tight");
  CHECK(asked("--model qwen2.5-0.5b --method lora --strict" + size, 1)["verdict"]["fit"] ==
        "tight");
}

TEST_CASE("a run that is too large to count does not fit") {
  const json answer = asked(
      "--model 72b --gpu h100 --method full --seq-len 16777216 --batch 16 --no-checkpointing", 1);
  CHECK(answer["verdict"]["fit"] == "exceeds");
  CHECK(likely(answer, "allocated_bytes") > std::int64_t{1} << 40);
}

TEST_CASE("without a method each is tried, and the best that fits is shown") {
  const json answer = asked("--model qwen2.5-1.5b --gpu rtx4090");
  REQUIRE(answer["methods"].size() == 3);
  CHECK(answer["methods"][0]["method"] == "full");
  CHECK(answer["methods"][2]["method"] == "qlora");
  std::string best;
  for (const json& each : answer["methods"])
    if (best.empty() && each["fit"] == "fits") best = each["method"].get<std::string>();
  CHECK(answer["inputs"]["method"]["value"] == best);
}

TEST_CASE("a method that a trainer runs in a way that is not modelled is left out, and named") {
  const Left left = run("qwenplan vram --model 7b --trainer unsloth --gpu rtx3060 --json");
  CHECK(left.status == 0);
  const json answer = left.json();
  REQUIRE(answer["methods"].size() == 2);
  CHECK(answer["methods"][0]["method"] == "lora");
  CHECK(answer["methods"][1]["method"] == "qlora");
  CHECK(answer["notes"].dump().find("full: full fine-tuning in Unsloth's own code") != std::string::npos);
  CHECK(run("qwenplan vram --model 7b --trainer unsloth --method full").status == 3);
}

TEST_CASE("advice saves what it says when it is taken") {
  const std::string ask = "--model 7b --gpu rtx3060 --method qlora";
  const json before = asked(ask, 1);
  REQUIRE_FALSE(before["advice"].empty());
  for (const json& advice : before["advice"]) {
    const auto change = advice["change"].get<std::string>();
    if (change.rfind("--", 0) != 0) continue;
    const json after = asked(ask + " " + change, advice["fit"] == "exceeds" ? 1 : 0);
    CHECK(after["verdict"]["fit"] == advice["fit"]);
    CHECK(likely(before, "device_bytes") - likely(after, "device_bytes") == advice["saves_bytes"]);
  }
}

TEST_CASE("the answer does not depend on the order of flags, the locale or the time") {
  const std::string one =
      run("qwenplan vram --json --model 7b --gpu t4 --method qlora --seq-len 512").out;
  CHECK(one == run("qwenplan vram --seq-len 512 --method qlora --gpu t4 --model 7b --json").out);
  CHECK(one == run("LC_ALL=de_DE.UTF-8 COLUMNS=40 SOURCE_DATE_EPOCH=1 qwenplan vram --json --model "
                   "7b --gpu t4 "
                   "--method qlora --seq-len 512")
                   .out);
}

TEST_CASE("the card of this machine is asked for by 'this'") {
  const TempFolder folder;
  const Left left = run(
      on_machine(folder, "driver 550.54\ngpu 12884901888 1073741824 NVIDIA GeForce RTX 3060\n") +
      "qwenplan vram --model 1.5b --gpu this --method lora --json");
  REQUIRE(left.status == 0);
  const json answer = left.json();
  CHECK(answer["inputs"]["gpu"]["value"] == "rtx3060-12g");
  // What the desktop holds is not there for the run.
  CHECK(answer["verdict"]["usable_bytes"] == 12884901888 - 1073741824);
}

TEST_CASE("a card that the table does not know is not guessed at") {
  const TempFolder folder;
  const Left left = run(on_machine(folder, "driver 1.0\ngpu 1073741824 0 NVIDIA Imaginary 1\n") +
                        "qwenplan vram --model 7b --gpu this");
  CHECK(left.status == 3);
  CHECK(left.err.find("NVIDIA Imaginary 1") != std::string::npos);
}

TEST_CASE("a machine without a driver says so, with status 3") {
  const Left left = run("LD_LIBRARY_PATH=/nowhere qwenplan doctor --json");
  if (left.status == 0) return;  // this machine has a card
  CHECK(left.status == 3);
  CHECK(left.json()["gpus"].empty());
  CHECK(json::parse(left.err)["error"]["kind"] == "unknown");
}

TEST_CASE("the doctor shows the cards and their ids") {
  const TempFolder folder;
  const Left left =
      run(on_machine(folder, "driver 550.54\ngpu 25769803776 0 NVIDIA GeForce RTX 4090\n") +
          "qwenplan doctor --json");
  CHECK(left.status == 0);
  CHECK(left.json()["driver"] == "550.54");
  CHECK(left.json()["gpus"][0]["id"] == "rtx4090-24g");
}

TEST_CASE("this shell's allocator options count, and a flag counts more") {
  const std::string ask = "qwenplan vram --json --model 7b --method qlora";
  const json plain = run(ask).json();
  const json set = run("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True " + ask).json();
  CHECK(set["inputs"]["alloc-conf"]["from"] == "env");
  CHECK(likely(set, "reserved_bytes") < likely(plain, "reserved_bytes"));
  const json unset = run("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True " + ask +
                         " --alloc-conf expandable_segments:False")
                         .json();
  CHECK(likely(unset, "reserved_bytes") == likely(plain, "reserved_bytes"));
}

TEST_CASE("an overlay counts, and the answer says what it changed") {
  const TempFolder folder;
  folder.write(
      "gpus.json",
      R"({"schema": "qwenplan.gpus/1", "as_of": "2026-01-01", "gpus": [{"id": "t4", "memory": "20 GiB",
                   "driver_total": "20480 MiB"}]})");
  const std::string ask = "qwenplan vram --json --model 1.5b --gpu t4 --method lora";
  const Left flag = run(ask + " --data " + quoted(folder.path("")));
  CAPTURE(flag.err);
  REQUIRE(flag.status == 0);
  CHECK(flag.json()["verdict"]["usable_bytes"] == std::int64_t{20} << 30);
  CHECK(flag.json()["inputs"]["data"]["from"] == "flag");
  CHECK(flag.json()["notes"].dump().find("gpus/t4") != std::string::npos);
  const Left variable = run("QWENPLAN_DATA=" + quoted(folder.path("")) + " " + ask);
  CHECK(variable.json()["verdict"] == flag.json()["verdict"]);
  CHECK(variable.json()["inputs"]["data"]["from"] == "env");
}
