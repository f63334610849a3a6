#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "read/trainer/document.hpp"
#include "support/catch.hpp"
#include "support/program.hpp"

using namespace qwenplan;
using namespace qwenplan::test;

namespace {

const std::string kGood =
    "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: sft\ndo_train: true\ndataset: mine\n"
    "template: qwen\noutput_dir: out\ncutoff_len: 512\nper_device_train_batch_size: 1\n"
    "finetuning_type: lora\nbf16: true\n";

Node parsed(const std::string& path) {
  const auto document = parse_document(contents(path), path, Syntax::yaml);
  REQUIRE(document.ok());
  return document->root;
}

/// What the runner hands to a step: its `env`, with inputs in place of their references.
std::string with_inputs(std::string text, const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [name, value] : values) {
    const std::string reference = "${{ " + name + " }}";
    for (std::size_t at; (at = text.find(reference)) != std::string::npos;)
      text.replace(at, reference.size(), value);
  }
  CHECK(text.find("${{") == std::string::npos);
  return text;
}

/// Runs the steps of the action as the runner does, one shell for each, and gives the last status.
int run_action(const TempFolder& folder, std::vector<std::pair<std::string, std::string>> values) {
  const Node action = parsed(QWENPLAN_SOURCE_DIR "/action.yml");
  for (const Entry& input : action.find("inputs")->entries) {
    bool is_given = false;
    for (const auto& [name, value] : values) is_given = is_given || name == "inputs." + input.key;
    const Node* otherwise = input.value.find("default");
    if (!is_given && otherwise) values.emplace_back("inputs." + input.key, otherwise->scalar);
  }
  values.emplace_back("github.action_path", QWENPLAN_SOURCE_DIR);
  values.emplace_back("runner.temp", folder.path());
  int status = 0;
  for (const Node& step : action.find("runs")->find("steps")->items) {
    REQUIRE(step.find("shell")->scalar == "bash");
    const std::string script = folder.write("step.sh", step.find("run")->scalar);
    std::string line = "cd " + quoted(folder.path()) + " && env GITHUB_OUTPUT=output GITHUB_PATH=path "
                       "GITHUB_STEP_SUMMARY=summary.md ";
    for (const Entry& variable : step.find("env")->entries)
      line += variable.key + "=" + quoted(with_inputs(variable.value.scalar, values)) + " ";
    status = test::run(line + "bash --noprofile --norc -eo pipefail " + quoted(script) + " >log").status;
    if (status != 0) break;
  }
  return status;
}

}  // namespace

TEST_CASE("the action's steps check files, annotate them, and pass the status on") {
  const TempFolder folder;
  std::filesystem::create_directories(folder.path("configs"));
  folder.write("configs/good one.yaml", kGood);
  const std::vector<std::pair<std::string, std::string>> inputs = {
      {"inputs.program", QWENPLAN_BINARY}, {"inputs.gpu", "rtx3060"},
      {"inputs.files", "configs/**/*.yaml"}, {"inputs.sarif", "out.sarif"}};
  CHECK(run_action(folder, inputs) == 0);
  CHECK(contents(folder.path("output")) == "status=0\n");
  CHECK(contents(folder.path("log")).find("::notice file=configs/good one.yaml") != std::string::npos);
  CHECK(contents(folder.path("summary.md")).find("fits") != std::string::npos);
  const auto sarif = nlohmann::json::parse(contents(folder.path("out.sarif")), nullptr, false);
  CHECK(sarif["version"] == "2.1.0");

  folder.write("configs/bad.yaml", kGood + "cutoff_len: 512\n");
  CHECK(run_action(folder, inputs) == 2);
  CHECK(contents(folder.path("log")).find("::error file=configs/bad.yaml,line=11") !=
        std::string::npos);
  auto never = inputs;
  never.emplace_back("inputs.fail-on", "never");
  CHECK(run_action(folder, never) == 0);
}

TEST_CASE("the hook's command checks the files that its pattern takes") {
  const Node hooks = parsed(QWENPLAN_SOURCE_DIR "/.pre-commit-hooks.yaml");
  REQUIRE(hooks.items.size() == 1);
  const Node& hook = hooks.items[0];
  for (const char* key : {"id", "name", "entry", "language", "files"}) CHECK(hook.has(key));
  CHECK(hook.find("language")->scalar == "system");
  const TempFolder folder;
  std::filesystem::create_directories(folder.path("configs"));
  folder.write("configs/good.yaml", kGood);
  folder.write("qwenplan.yaml", "gpu: rtx3060\n");
  std::filesystem::create_directories(folder.path(".git"));
  const std::string taken = test::run("cd " + quoted(folder.path()) +
                                      " && find . -type f | sed 's,^\\./,,' | grep -E " +
                                      quoted(hook.find("files")->scalar)).out;
  CHECK(taken == "configs/good.yaml\n");
  // "qwenplan" is the program under test in this shell.
  const Left left = test::run("cd " + quoted(folder.path()) + " && " + hook.find("entry")->scalar +
                              " configs/good.yaml --json");
  CHECK(left.status == 0);
  CHECK(left.json()["inputs"]["gpu"]["from"] == "file");
}
