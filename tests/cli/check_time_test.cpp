// What `check` says of a run's time is what `time` says of the same run.
#include <cmath>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

const std::string kRun =
    "model_name_or_path: Qwen/Qwen2.5-1.5B\nstage: sft\ndo_train: true\nfinetuning_type: lora\ndataset: mine\n"
    "template: qwen\nbf16: true\ncutoff_len: 1024\nper_device_train_batch_size: 2\noutput_dir: out\n";

json time_of(const std::string& text, const std::string& flags) {
  TempFolder folder;
  const Left left = run("qwenplan check " + quoted(folder.write("run.yaml", text)) + " --json " + flags);
  CAPTURE(left.err);
  const json answer = left.json();
  REQUIRE(answer["files"].size() == 1);
  return answer["files"][0]["time"];
}

bool near(const json& a, double b) { return std::abs(a.get<double>() - b) <= 1e-9 * std::max(1.0, std::abs(b)); }

}  // namespace

TEST_CASE("a file's run has the time of the same run in flags") {
  const json time = time_of(kRun, "--gpu rtx3060");
  const json flags = run("qwenplan time --json --model 1.5b --gpu rtx3060 --trainer llama-factory --method lora --seq-len 1024 --batch 2 "
                         "--precision bf16-mixed").json();
  CHECK(near(time["tokens_per_second"]["likely"], flags["tokens_per_second"]["likely"].get<double>()));
  CHECK(near(time["seconds_per_step"]["high"], flags["seconds_per_step"]["high"].get<double>()));
  CHECK(time["bound_by"] == flags["bound_by"]);
  CHECK(time["hours"].is_null());
}

TEST_CASE("hours are those of the file's steps, or of its epochs over the data that are told") {
  const json steps = time_of(kRun + "max_steps: 500\n", "--gpu rtx3060 --tokens 1000000");
  for (const char* end : {"low", "likely", "high"})
    CHECK(near(steps["hours"][end], 500 * steps["seconds_per_step"][end].get<double>() / 3600));
  const json once = time_of(kRun + "num_train_epochs: 1\n", "--gpu rtx3060 --tokens 1000000");
  const json thrice = time_of(kRun + "num_train_epochs: 3.0\n", "--gpu rtx3060 --tokens 1000000");
  CHECK(near(thrice["hours"]["likely"], 3 * once["hours"]["likely"].get<double>()));
  CHECK(time_of(kRun + "num_train_epochs: 3.0\n", "--gpu rtx3060 --tokens 1000000 --epochs 1") == once);
  CHECK(once["hours"]["likely"].get<double>() > 1e6 / 2048 * once["seconds_per_step"]["likely"].get<double>() / 3600);
}

TEST_CASE("without a card of the table there is no time, and text tells it where there is one") {
  CHECK(time_of(kRun, "--vram 24GiB").is_null());
  TempFolder folder;
  const Left left = run("qwenplan check " + quoted(folder.write("run.yaml", kRun + "max_steps: 500\n")) + " --gpu rtx3060");
  CHECK(left.out.find("tokens/s") != std::string::npos);
  CHECK(left.out.find(" 500") != std::string::npos);  // steps; the line may break behind it
  CHECK(run("qwenplan check " + quoted(folder.write("run.yaml", kRun)) + " --gpu rtx3060 --dataset none.jsonl").status == 2);
}
