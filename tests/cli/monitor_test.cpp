#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

// The program itself is run, beside a driver library that answers what a file says and a program
// that holds a known amount of memory.

using qwenplan::test::contents;
using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

const std::string kSupport = std::string(QWENPLAN_TEST_FILES) + "/support";
const std::string kHold = quoted(kSupport + "/hold_memory");
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;

/// A machine with GPUs, described by a file.
class FakeGpus {
 public:
  explicit FakeGpus(const std::string& text) : path_(folder_.write("gpus", text)) {}
  const std::string& path() const { return path_; }
  /// Runs a line on this machine; $FAKE_NVML is the file.
  Left run(const std::string& line) const {
    return qwenplan::test::run("export LD_LIBRARY_PATH=" + quoted(kSupport) + " FAKE_NVML=" + quoted(path_) + "\n" +
                               line);
  }
  const TempFolder& folder() const { return folder_; }

 private:
  TempFolder folder_;
  std::string path_;
};

const std::string kTwoCards =
    "driver 550.54.15\n"
    "gpu 12884901888 536870912 NVIDIA GeForce RTX 3060\n"
    "gpu 25769803776 1073741824 NVIDIA GeForce RTX 4090\n";

/// The answer of `vram --json`, as far as the contract fixes it, with hand-made figures: context
/// 0.5 GiB; tensors 2 GiB after loading, 3 in the first step, 4 in the second, a tenth more reserved.
std::string plan(double scale = 1) {
  const auto bytes = [&](double gib) {
    return std::to_string(static_cast<std::int64_t>(gib * scale * static_cast<double>(kGiB)));
  };
  const auto range = [&](double low, double likely, double high) {
    return R"({"low": )" + bytes(low) + R"(, "likely": )" + bytes(likely) + R"(, "high": )" + bytes(high) + "}";
  };
  const auto phase = [&](const char* name, const char* step, double gib) {
    return std::string(R"({"phase": ")") + name + R"(", "step": )" + step + R"(, "allocated_bytes": )" + bytes(gib) +
           R"(, "terms": []})";
  };
  return R"({"schema": "qwenplan.vram/1", "inputs": {"model": {"value": "qwen2.5-7b", "from": "flag"},
    "seq-len": {"value": 2048, "from": "default"}},
    "verdict": {"allocated_bytes": )" +
         range(4, 4, 4) + R"(, "reserved_bytes": )" + range(4.3, 4.4, 4.5) + R"(, "device_bytes": )" +
         range(4.8, 4.9, 5) + R"(}, "timeline": [)" + phase("load", "null", 2) + "," + phase("backward", "1", 3) + "," +
         phase("backward", "2", 4) + "]}";
}

}  // namespace

TEST_CASE("One reading shows host and GPUs with their programs") {
  const FakeGpus machine(kTwoCards + "process 1 4194304 2147483648\nprocess 1 4194305 -\n");
  const Left once = machine.run("qwenplan monitor --once --json");
  REQUIRE(once.status == 0);
  const auto json = once.json();
  REQUIRE(json["gpus"].size() == 2);
  CHECK(json["gpus"][0]["name"] == "NVIDIA GeForce RTX 3060");
  CHECK(json["gpus"][0]["used_bytes"] == 512 * kMiB);
  CHECK(json["gpus"][0]["total_bytes"] == 12 * kGiB);
  CHECK(json["gpus"][0]["processes"].empty());
  CHECK(json["gpus"][1]["index"] == 1);
  CHECK(json["gpus"][1]["used_bytes"] == 3 * kGiB);
  REQUIRE(json["gpus"][1]["processes"].size() == 2);
  CHECK(json["gpus"][1]["processes"][0]["pid"] == 4194304);
  CHECK(json["gpus"][1]["processes"][0]["used_bytes"] == 2 * kGiB);
  CHECK(json["gpus"][1]["processes"][1]["used_bytes"].is_null());
  const auto& host = json["host"];
  CHECK(host["used_bytes"].get<std::int64_t>() + host["available_bytes"].get<std::int64_t>() ==
        host["total_bytes"].get<std::int64_t>());
  CHECK(host["available_bytes"].get<std::int64_t>() > 0);

  CHECK(machine.run("qwenplan monitor --once --gpu 1 --json").json()["gpus"].size() == 1);
  CHECK(machine.run("qwenplan monitor --once --gpu 2").status == 3);
}

TEST_CASE("Without a GPU the host part works, and 3 answers a question about one") {
  const FakeGpus machine("init 9\n");
  const Left once = machine.run("qwenplan monitor --once --json");
  CHECK(once.status == 0);
  CHECK(once.json()["gpus"].empty());
  CHECK(once.json()["gpu_problem"].get<std::string>().find("driver is not loaded") != std::string::npos);
  CHECK(once.json()["host"]["total_bytes"].get<std::int64_t>() > 0);
  CHECK(machine.run("qwenplan monitor --once --gpu this").status == 3);
  CHECK(machine.run("qwenplan monitor --gpu this -- true").status == 3);
  const std::string file = machine.folder().write("plan.json", plan());
  CHECK(machine.run("qwenplan monitor --once --plan " + quoted(file)).status == 3);
  CHECK(machine.run("qwenplan monitor --plan " + quoted(file) + " -- sh -c 'exit 4'").status == 4);
}

TEST_CASE("A watched program's host memory is what it holds") {
  // 300 MiB and what a small program needs besides.
  const auto json = run("qwenplan monitor --json -- " + kHold + " 300 0.5").json();
  const auto resident = json["peaks"]["host_resident_bytes"].get<std::int64_t>();
  CHECK(resident >= 300 * kMiB);
  CHECK(resident < 316 * kMiB);
  const auto proportional = json["peaks"]["host_proportional_bytes"].get<std::int64_t>();
  CHECK(proportional >= 300 * kMiB);
  CHECK(proportional < 316 * kMiB);
}

TEST_CASE("A peak that no reading meets is known from the kernel") {
  const auto json = run("qwenplan monitor --interval 5 --json -- " + kHold + " 200 0").json();
  CHECK(json["peaks"]["host_resident_bytes"].get<std::int64_t>() >= 200 * kMiB);
  CHECK(json["peaks"]["host_resident_bytes"].get<std::int64_t>() < 216 * kMiB);
}

TEST_CASE("Children count, shared pages once in the proportional size") {
  // Three programs with 100 MiB each, below a shell.
  // Long enough that all three hold theirs together even where the machine is busy.
  const auto json =
      run("qwenplan monitor --interval 0.1 --json -- sh -c " + quoted(kHold + " 100 3 0 2; exit 0"))
          .json();
  const auto resident = json["peaks"]["host_resident_bytes"].get<std::int64_t>();
  CHECK(resident >= 300 * kMiB);
  CHECK(resident < 340 * kMiB);
  CHECK(json["peaks"]["host_proportional_bytes"].get<std::int64_t>() <= resident);
}

TEST_CASE("The exit status is the program's own") {
  CHECK(run("qwenplan monitor -- true").status == 0);
  CHECK(run("qwenplan monitor -- sh -c 'exit 1'").status == 1);
  CHECK(run("qwenplan monitor --json -- sh -c 'exit 200'").status == 200);
  const Left killed = run("qwenplan monitor --json -- sh -c 'kill -9 $$'");
  CHECK(killed.status == 128 + SIGKILL);
  CHECK(killed.json()["signal"] == SIGKILL);
  CHECK(run("qwenplan monitor -- " + quoted("/no/such program")).status == 2);
  CHECK(run("qwenplan monitor -- /etc").status == 2);
}

TEST_CASE("Streams and arguments reach the program as they are") {
  const Left left = run("echo in | qwenplan monitor --quiet -- sh -c 'cat; echo err >&2; echo \"$1\"' x 'a  b'");
  CHECK(left.status == 0);
  CHECK(left.out == "in\na  b\n");
  CHECK(left.err == "err\n");
}

TEST_CASE("Signals are passed on") {
  const std::string program = "trap 'echo got it; exit 9' TERM USR1; i=0; while [ $i -lt 100 ]; do sleep 0.05; i=$((i+1)); done";
  for (const char* signal : {"TERM", "USR1"}) {
    CAPTURE(signal);
    const Left left = run(quoted(QWENPLAN_BINARY) + " monitor --quiet -- sh -c " + quoted(program) +
                          " & sleep 0.4; kill -" + signal + " $!; wait $!");
    CHECK(left.status == 9);
    CHECK(left.out == "got it\n");
  }
}

TEST_CASE("The GPU memory of the program's own processes is told from that of others") {
  const FakeGpus machine(kTwoCards + "process 0 4194304 1073741824\n");
  const Left left = machine.run(
      "qwenplan monitor --json -- sh -c 'echo process 1 $$ 3221225472 >>$FAKE_NVML; sleep 0.6'");
  REQUIRE(left.status == 0);
  const auto json = left.json();
  CHECK(json["peaks"]["gpu_bytes"] == 3 * kGiB);
  CHECK(json["gpus"][0]["peak_family_bytes"] == 0);
  CHECK(json["gpus"][0]["peak_used_bytes"] == 1536 * kMiB);
  CHECK(json["gpus"][1]["peak_family_bytes"] == 3 * kGiB);
  CHECK(json["gpus"][1]["peak_used_bytes"] == 4 * kGiB);
}

TEST_CASE("Where the driver lists no processes, what the GPU grew by is taken, and said") {
  const FakeGpus machine(kTwoCards);
  const Left left = machine.run(
      "qwenplan monitor --json -- sh -c 'echo process 0 4194304 2147483648 >>$FAKE_NVML; sleep 0.4'");
  CHECK(left.json()["peaks"]["gpu_bytes"] == 2 * kGiB);
  CHECK(left.json()["gpus"][0]["peak_family_bytes"].is_null());
  CHECK(left.json()["notes"][0].get<std::string>().find("does not list") != std::string::npos);
}

TEST_CASE("A GPU that is lost in mid-run ends neither the watch nor the program") {
  const FakeGpus machine(kTwoCards);
  const Left left = machine.run(
      "qwenplan monitor --json -- sh -c 'echo process 0 $$ 1073741824 >>$FAKE_NVML; sleep 0.4; "
      "echo lost 0 15 >>$FAKE_NVML; sleep 0.5; exit 5'");
  CHECK(left.status == 5);
  const auto json = left.json();
  CHECK(json["peaks"]["gpu_bytes"] == kGiB);
  CHECK(json["gpus"][0]["problem"].get<std::string>().find("lost") != std::string::npos);
  CHECK(json["gpus"][1]["problem"].is_null());
  CHECK(left.err.find("warning: GPU 0 does not answer") != std::string::npos);
}

TEST_CASE("A card that fills up is warned of while the program runs") {
  const FakeGpus machine(kTwoCards);
  const Left left = machine.run(
      "qwenplan monitor --quiet -- true; qwenplan monitor -- sh -c 'echo process 0 $$ 12200000000 >>$FAKE_NVML; "
      "sleep 0.4; echo end >&2'");
  const std::size_t warning = left.err.find("warning: GPU 0 is nearly full");
  REQUIRE(warning != std::string::npos);
  CHECK(warning < left.err.find("end\n"));
}

TEST_CASE("A plan is compared with the plateaus that were seen") {
  const FakeGpus machine(kTwoCards);
  const std::string file = machine.folder().write("plan.json", plan());
  // 2.6 GiB after loading, 3.7 in the first step, 4.9 from the second on.
  const std::string program =
      "for g in 2791728742 1181116006 1288490188; do echo process 0 $$ $g >>$FAKE_NVML; sleep 1.1; done";
  const Left left =
      machine.run("qwenplan monitor --json --plan " + quoted(file) + " -- sh -c " + quoted(program));
  REQUIRE(left.status == 0);
  const auto json = left.json();
  const auto& stages = json["plan"]["stages"];
  REQUIRE(stages.size() == 3);
  const std::int64_t seen[] = {2791728742, 2791728742 + 1181116006, 2791728742LL + 1181116006 + 1288490188};
  for (std::size_t i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(stages[i]["seen_bytes"] == seen[i]);
    CHECK(stages[i]["verdict"] == "as planned");
  }
  CHECK(json["warnings"].empty());
}

TEST_CASE("A run that loads more than planned is warned of before its card is full") {
  // The first card has 11.5 GiB left; the plan needs 10.5, of which 5.25 after loading.
  const FakeGpus machine(kTwoCards);
  const std::string file = machine.folder().write("plan.json", plan(2.14));
  // 7 GiB instead.
  const Left left = machine.run("qwenplan monitor --json --plan " + quoted(file) +
                                " -- sh -c 'echo process 0 $$ 7516192768 >>$FAKE_NVML; sleep 1.5'");
  REQUIRE(left.json()["warnings"].size() == 1);
  CHECK(left.json()["warnings"][0].get<std::string>().find("will need about") != std::string::npos);
}

TEST_CASE("A plan is held against what is free now") {
  const FakeGpus machine(kTwoCards);
  const std::string small = machine.folder().write("small.json", plan());
  CHECK(machine.run("qwenplan monitor --once --plan " + quoted(small)).status == 0);
  const std::string large = machine.folder().write("large.json", plan(6));
  CHECK(machine.run("qwenplan monitor --once --plan " + quoted(large)).status == 1);
  CHECK(machine.run("qwenplan monitor --once --plan " + quoted(machine.path())).status == 2);
  const std::string other = machine.folder().write("other.json", R"({"schema": "qwenplan.ram/1"})");
  CHECK(machine.run("qwenplan monitor --once --plan " + quoted(other)).status == 2);
}

TEST_CASE("A record is written whole, and no file is replaced without being told to") {
  const TempFolder folder;
  const std::string file = folder.path("سجل run 1.json");
  const std::string line = "qwenplan monitor --quiet --model 7b --method qlora --seq-len 1024 --record " + quoted(file);
  REQUIRE(run(line + " -- " + kHold + " 50 0.3").status == 0);
  const auto record = nlohmann::json::parse(contents(file), nullptr, false);
  CHECK(record["schema"] == "qwenplan.measurement/1");
  CHECK(record["run"]["model"] == "7b");
  CHECK(record["run"]["seq-len"] == 1024);
  CHECK(record["status"] == "ok");
  CHECK(record["peaks"]["host_resident_bytes"].get<std::int64_t>() >= 50 * kMiB);
  CHECK(record["samples"].size() >= 2);

  const std::string before = contents(file);
  const Left kept = run(line + " -- touch " + quoted(folder.path("ran")));
  CHECK(kept.status == 2);
  CHECK(contents(file) == before);
  CHECK(!std::filesystem::exists(folder.path("ran")));
  CHECK(run(line + " --force -- sh -c 'exit 3'").status == 3);
  CHECK(nlohmann::json::parse(contents(file), nullptr, false)["status"] == "failed");

  // A file that comes to exist while the program runs is kept too.
  const std::string late = folder.path("late.json");
  CHECK(run("qwenplan monitor --record " + quoted(late) + " -- sh -c 'echo mine >" + quoted(late) + "'").status == 0);
  CHECK(contents(late) == "mine\n");
  CHECK(run("qwenplan monitor --record /no/such/folder/x.json -- true").status == 2);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++files;
  CHECK(files == 2);
}

TEST_CASE("A program's own callback reports through the watcher") {
  const std::string lines =
      R"({"pid": 1, "software": {"torch": "2.6.0"}}\n{"pid": 1, "step": 0, "phase": "load", "allocated_bytes": 100, "reserved_bytes": 200, "seconds": 1}\n)"
      R"({"pid": 1, "step": 1, "phase": "backward", "allocated_bytes": 300, "reserved_bytes": 400, "seconds": 1}\n)"
      R"({"pid": 1, "step": 7, "phase": "backward", "allocated_bytes": 500, "reserved_bytes": 600, "seconds": 1}\n)"
      R"({"pid": 1, "steps": 4, "seconds": 10.0}\n{"pid": 1, "step": 9, "pha)";
  const TempFolder folder;
  const std::string file = folder.path("record.json");
  const Left left = run("qwenplan monitor --json --record " + quoted(file) + " -- sh -c " +
                        quoted("printf '" + lines + "' >>\"$QWENPLAN_HOOK_FILE\""));
  REQUIRE(left.status == 0);
  const auto json = left.json();
  REQUIRE(json["hook"].size() == 3);
  CHECK(json["hook"][2]["step"] == 2);
  CHECK(json["hook"][2]["allocated_bytes"] == 500);
  CHECK(json["peaks"]["allocated_bytes"] == 500);
  CHECK(json["peaks"]["reserved_bytes"] == 600);
  const auto record = nlohmann::json::parse(contents(file), nullptr, false);
  CHECK(record["software"]["torch"] == "2.6.0");
  CHECK(record["seconds_per_step"] == 2.5);
}

TEST_CASE("Live readings end with an interrupt, or when nobody reads any more") {
  const FakeGpus machine(kTwoCards);
  const Left lines = machine.run(quoted(QWENPLAN_BINARY) +
                                 " monitor --interval 0.1 --json & sleep 0.6; kill -TERM $!; wait $!");
  CHECK(lines.status == 0);
  const std::string first = lines.out.substr(0, lines.out.find('\n'));
  const auto json = nlohmann::json::parse(first, nullptr, false);
  CHECK(json["gpus"].size() == 2);
  CHECK(std::count(lines.out.begin(), lines.out.end(), '\n') > 5);
  CHECK(machine.run("qwenplan monitor --interval 0.05 | head -n 1").status == 0);
}

TEST_CASE("Contradictions are named") {
  CHECK(run("qwenplan monitor --once -- true").status == 2);
  CHECK(run("qwenplan monitor --once --record x.json").status == 2);
  CHECK(run("qwenplan monitor --interval 0").status == 2);
}
