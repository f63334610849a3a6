#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "read/file_list.hpp"
#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using namespace qwenplan::test;

namespace {

const std::string kSmall =
    "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: sft\ndo_train: true\ndataset: mine\n"
    "template: qwen\noutput_dir: out\ncutoff_len: 512\nper_device_train_batch_size: 1\n"
    "finetuning_type: lora\nbf16: true\n";
const std::string kLarge =
    "model_name_or_path: Qwen/Qwen2.5-7B\nstage: sft\ndo_train: true\ndataset: mine\n"
    "template: qwen\noutput_dir: out\ncutoff_len: 8192\nper_device_train_batch_size: 4\n"
    "finetuning_type: lora\nbf16: true\n";

/// The findings of a file by rule.
std::set<std::string> rules(const json& file, const char* key = "findings") {
  std::set<std::string> all;
  for (const json& each : file[key]) all.insert(each["rule"].get<std::string>());
  return all;
}

struct Checked {
  int status;
  json file;
  bool says(const std::string& rule) const { return rules(file).count(rule) > 0; }
};

Checked checked(const std::string& text, const std::string& flags,
                const std::string& name = "run.yaml") {
  const TempFolder folder;
  const Left left = run("qwenplan check " + quoted(folder.write(name, text)) + " --json " + flags);
  const json answer = left.json();
  REQUIRE(answer.is_object());
  REQUIRE(answer["files"].size() == 1);
  return {left.status, answer["files"][0]};
}

}  // namespace

TEST_CASE("what a card makes of a run is a finding with its rule") {
  CHECK(checked(kLarge, "--gpu rtx3060").says("out-of-memory"));
  const Checked large = checked(kLarge, "--gpu rtx3060");
  CHECK(large.status == 1);
  CHECK(large.file["status"] == "exceeds");
  const Checked small = checked(kSmall, "--gpu a100");
  CHECK(small.status == 0);
  CHECK(small.file["status"] == "fits");
  CHECK(small.says("needless-checkpointing"));
  CHECK(small.says("wasted-card"));
  CHECK(small.says("trainer-defaults"));
  CHECK(checked(kSmall + "quantization_bit: 4\n", "--gpu a100").says("needless-quantization"));
  CHECK(checked(kSmall, "--gpu t4").says("impossible-run"));
  CHECK(checked(kSmall, "--gpu t4").status == 2);
  CHECK(checked(kSmall + "val_size: 0.1\n", "--gpu a100").says("eval-batch"));
  CHECK_FALSE(checked(kSmall + "val_size: 0.1\nper_device_eval_batch_size: 1\n", "--gpu a100")
                  .says("eval-batch"));
  const std::string base = "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: sft\ndo_train: true\n"
                           "dataset: mine\ntemplate: qwen\noutput_dir: out\n";
  CHECK(checked(base + "bf16: true\n", "--gpu a100").says("default-length"));
  CHECK(checked(base + "bf16: true\n", "--gpu a100").says("default-batch"));
  CHECK(checked(base + "bf16: true\nfinetuning_type: full\ncutoff_len: 64\n", "--gpu a100")
            .says("weights-format"));
  CHECK(checked(base + "bf16: true\ncutoff_len: 90000\nper_device_train_batch_size: 1\n",
                "--gpu a100")
            .says("beyond-positions"));
  CHECK(checked("model: Qwen/Qwen2.5-0.5B\ntuner_type: lora\ndataset: mine\n", "--gpu a100")
            .says("ms-swift/no-length"));
}

TEST_CASE("what cannot be told is named, and how much one card would need") {
  const Checked spread = checked(kSmall + "deepspeed: examples/deepspeed/ds_z3_config.json\n",
                                 "--gpu rtx3060 --gpus 4");
  CHECK(spread.status == 3);
  CHECK(spread.file["status"] == "unknown");
  CHECK(spread.says("several-gpus"));
  CHECK(spread.file["verdict"].is_null());
  CHECK(spread.file["one_gpu_verdict"]["device_bytes"] ==
        checked(kSmall, "--gpu rtx3060").file["verdict"]["device_bytes"]);
  // litgpt checkpoints layers with several cards only.
  const std::string litgpt = "checkpoint_dir: checkpoints/Qwen/Qwen2.5-0.5B\nout_dir: out\nprecision: bf16-true\n"
                             "train:\n  global_batch_size: 8\n  micro_batch_size: 1\n  max_seq_length: 64\n";
  CHECK(checked(litgpt + "devices: 2\n", "--gpu rtx3060").file["one_gpu_verdict"]["device_bytes"] ==
        checked(litgpt + "devices: 1\n", "--gpu rtx3060").file["verdict"]["device_bytes"]);
  CHECK(checked(kSmall + "deepspeed: ds_z3_config.json\n", "--gpu rtx3060").says("launcher-decides"));
  CHECK(checked(kSmall + "use_unsloth: true\n", "--gpu rtx3060").says("not-modelled"));
  const Checked nobody = checked("model_name_or_path: some/where-99b\nmax_length: 64\n"
                                 "per_device_train_batch_size: 1\n", "--gpu rtx3060");
  CHECK(nobody.status == 3);
  CHECK(nobody.says("unknown-model"));
  CHECK(nobody.file["error"]["what"].get<std::string>().find("some/where-99b") != std::string::npos);
  CHECK(checked("model_name_or_path: Qwen/Qwen2.5-7B\nexport_dir: o\ntemplate: qwen\n",
                "--gpu rtx3060")
            .says("not-a-training-file"));
  CHECK(checked("a: [1, 2\n", "--gpu rtx3060").says("unreadable-file"));
  // A checkpoint that is stored quantized is quantized without a key for it.
  const Checked stored = checked(
      "model_name_or_path: unsloth/Qwen2.5-0.5B-bnb-4bit\nstage: sft\ndo_train: true\ndataset: a\n"
      "template: qwen\noutput_dir: out\ncutoff_len: 512\nper_device_train_batch_size: 1\nbf16: true\n",
      "--gpu rtx3060");
  CHECK(stored.says("quantized-checkpoint"));
  CHECK(stored.file["run"]["quant"]["value"] == "nf4");
  CHECK(checked("model_name_or_path: Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4\nstage: sft\ndo_train: true\n"
                "dataset: a\ntemplate: qwen\noutput_dir: out\n", "--gpu rtx3060")
            .status == 3);
}

TEST_CASE("remarks ignore findings, and are findings where they ignore nothing") {
  const std::string text = kLarge + "# qwenplan: ignore-file trainer-defaults, no-such-rule\n"
                                    "seed: 1  # qwenplan: ignore tight-memory\n";
  const Checked found = checked(text, "--gpu rtx3060");
  CHECK_FALSE(found.says("trainer-defaults"));
  CHECK(found.says("unknown-rule"));
  CHECK(found.says("unused-ignore"));
  CHECK(checked(text, "--gpu rtx3060").status == 1);
  std::string ignoring = kLarge;
  ignoring.insert(ignoring.find("cutoff_len: 8192") + 16, " # qwenplan: ignore out-of-memory");
  const Checked ignored = checked(ignoring, "--gpu rtx3060");
  CHECK(ignored.status == 0);
  CHECK(ignored.file["status"] == "exceeds");
  CHECK(rules(ignored.file, "ignored") == std::set<std::string>{"out-of-memory"});
  CHECK(checked(kLarge, "--gpu rtx3060 --ignore out-of-memory").status == 0);
}

TEST_CASE("--fail-on decides from which severity on a finding is a no") {
  const std::string text = kSmall + "gradient_checkpointing: true\n";  // a warning and notes
  CHECK(checked(text, "--gpu a100").status == 0);
  CHECK(checked(text, "--gpu a100 --fail-on warning").status == 1);
  CHECK(checked(kSmall, "--gpu a100 --fail-on warning").status == 0);
  CHECK(checked(kSmall, "--gpu a100 --fail-on note").status == 1);
  CHECK(checked(kLarge, "--gpu rtx3060 --fail-on never").status == 0);
  CHECK(checked("a: [1, 2\n", "--gpu rtx3060 --fail-on never").status == 0);
}

TEST_CASE("a report as SARIF has what the standard and code scanning require") {
  const TempFolder folder;
  folder.write("a b\"<&>.yaml", kLarge + "lerning_rate: 1.0\n");
  folder.write("small.yaml", kSmall + "# qwenplan: ignore-file trainer-defaults\n");
  const Left left = run("cd " + quoted(folder.path()) + " && qwenplan check *.yaml --gpu rtx3060 --format sarif");
  CHECK(left.status == 2);
  const json log = left.json();
  REQUIRE(log.is_object());
  CHECK(log["version"] == "2.1.0");
  CHECK(log["$schema"].get<std::string>().find("sarif-2.1.0") != std::string::npos);
  REQUIRE(log["runs"].size() == 1);
  const json& driver = log["runs"][0]["tool"]["driver"];
  CHECK(driver["name"] == "qwenplan");
  std::vector<std::string> ids;
  for (const json& rule : driver["rules"]) {
    ids.push_back(rule["id"].get<std::string>());
    CHECK_FALSE(rule["shortDescription"]["text"].get<std::string>().empty());
    CHECK_FALSE(rule["help"]["text"].get<std::string>().empty());
    const auto level = rule["defaultConfiguration"]["level"].get<std::string>();
    CHECK((level == "note" || level == "warning" || level == "error"));
  }
  CHECK(std::set<std::string>(ids.begin(), ids.end()).size() == ids.size());
  bool has_suppressed = false;
  const json& results = log["runs"][0]["results"];
  CHECK(results.size() > 3);
  for (const json& result : results) {
    CHECK(result["ruleId"].get<std::string>() == ids.at(result["ruleIndex"].get<std::size_t>()));
    CHECK_FALSE(result["message"]["text"].get<std::string>().empty());
    REQUIRE(result["locations"].size() == 1);
    const json& place = result["locations"][0]["physicalLocation"];
    const auto uri = place["artifactLocation"]["uri"].get<std::string>();
    CHECK((uri == "a%20b%22%3C%26%3E.yaml" || uri == "small.yaml"));
    CHECK(place["region"]["startLine"].get<int>() >= 1);
    has_suppressed = has_suppressed || result.contains("suppressions");
  }
  CHECK(has_suppressed);
}

TEST_CASE("a report as JUnit counts its cases, and other people's text is escaped") {
  const TempFolder folder;
  folder.write("a<b>&\"\x01.yaml", kLarge);
  folder.write("bad.yaml", "model_name_or_path: \"\x1b[31m\"\n");
  folder.write("other.yaml", kSmall + "use_unsloth: true\n");
  folder.write("small.yaml", kSmall);
  const std::string there = "cd " + quoted(folder.path()) + " && ";
  const Left left = run(there + "qwenplan check . --gpu rtx3060 --format junit");
  CHECK(left.out.find("<testsuites name=\"qwenplan check\" tests=\"4\" failures=\"1\" errors=\"1\" "
                      "skipped=\"1\">") != std::string::npos);
  CHECK(left.out.find("<testcase name=\"a&lt;b&gt;&amp;&quot; .yaml\"") != std::string::npos);
  for (const char* format : {"text", "junit", "github", "markdown", "csv", "sarif", "json"}) {
    const Left report = run(there + "qwenplan check . --gpu rtx3060 --format " + format);
    INFO(format);
    CHECK(report.out.find('\x1b') == std::string::npos);
    CHECK(report.out.find('\x01') == std::string::npos);
    CHECK_FALSE(report.out.empty());
  }
  // A parser of somebody else's agrees, where there is one.
  if (run("command -v python3").status == 0)
    CHECK(run(there + "qwenplan check . --gpu rtx3060 --format junit | python3 -c "
                      "'import sys, xml.dom.minidom as m; m.parseString(sys.stdin.buffer.read())'")
              .status == 0);
}

TEST_CASE("CSV and Markdown have a row for each finding") {
  const TempFolder folder;
  const std::string path = quoted(folder.write("large.yaml", kLarge));
  const Left csv = run("qwenplan check " + path + " --gpu rtx3060 --format csv");
  CHECK(csv.out.rfind("file,trainer,model,status,rule,severity,line,column,message,fix\n", 0) == 0);
  CHECK(csv.out.find(",exceeds,out-of-memory,error,7,") != std::string::npos);
  CHECK(run("qwenplan check " + path + " --gpu rtx3060 --format markdown").out.find("out-of-memory") !=
        std::string::npos);
}

TEST_CASE("a repository's qwenplan.yaml stands in for flags, and flags go before it") {
  const TempFolder folder;
  std::filesystem::create_directories(folder.path("repo/.git"));
  std::filesystem::create_directories(folder.path("repo/configs/big"));
  const std::string there = "cd " + quoted(folder.path("repo")) + " && ";
  folder.write("repo/qwenplan.yaml",
               "gpu: rtx3060\nignore: [trainer-defaults]\nexclude: ['configs/old/**']\n"
               "overrides:\n  - paths: ['configs/big/*']\n    gpu: a100\n");
  folder.write("repo/configs/small.yaml", kSmall);
  folder.write("repo/configs/big/large.yaml", kLarge);
  std::filesystem::create_directories(folder.path("repo/configs/old"));
  folder.write("repo/configs/old/broken.yaml", "a: [1\n");
  const Left left = run(there + "qwenplan check configs --json");
  CHECK(left.status == 0);
  const json files = left.json()["files"];
  REQUIRE(files.size() == 2);
  CHECK(files[0]["file"] == "configs/big/large.yaml");
  CHECK(files[0]["settings"]["gpu"] == json({{"value", "a100"}, {"from", "file"}}));
  CHECK(files[1]["settings"]["gpu"]["value"] == "rtx3060");
  CHECK(rules(files[1], "ignored").count("trainer-defaults") == 1);
  const json flagged = run(there + "qwenplan check configs/small.yaml --gpu t4 --json").json();
  CHECK(flagged["files"][0]["settings"]["gpu"] == json({{"value", "t4"}, {"from", "flag"}}));
  // From below, and from elsewhere by name.
  CHECK(run("cd " + quoted(folder.path("repo/configs")) + " && qwenplan check small.yaml").status == 0);
  const std::string other = quoted(folder.write("elsewhere.yaml", kSmall));
  CHECK(run("qwenplan check " + other).status == 2);
  CHECK(run("qwenplan check " + other + " --config " + quoted(folder.path("repo/qwenplan.yaml"))).status == 0);
}

TEST_CASE("what is wrong with a qwenplan.yaml is said with its line") {
  const TempFolder folder;
  std::filesystem::create_directories(folder.path(".git"));
  const std::string path = quoted(folder.write("small.yaml", kSmall));
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"gpu: rtx3060\nvramm: 24GiB\n", "line 2"},
           {"gpu: [a, b]\n", "line 1"},
           {"fail-on: sometimes\n", "error, warning, note or never"},
           {"ignore: [no-such-rule]\n", "no-such-rule"},
           {"strict: maybe\n", "true or false"},
           {"gpu: rtx3060\ngpu: t4\n", "twice"},
           {"overrides: {}\n", "a list"},
           {"overrides:\n  - gpu: a100\n", "no paths"},
           {"- 1\n", "keys with values"},
           {"gpu: rtx3060\n\tvram: 1\n", "line 2"}}) {
    folder.write("qwenplan.yaml", text);
    const Left left = run("qwenplan check " + path);
    INFO(text << left.err);
    CHECK(left.status == 2);
    CHECK(left.err.find(part) != std::string::npos);
    CHECK(left.err.find("qwenplan.yaml") != std::string::npos);
  }
  folder.write("qwenplan.yaml", "gpu: rtx9999\n");
  const Left unknown = run("qwenplan check " + path + " --json");
  CHECK(unknown.status == 2);
  CHECK(unknown.json()["files"][0]["error"]["where"].get<std::string>().find("qwenplan.yaml, line 1") !=
        std::string::npos);
}

TEST_CASE("patterns are the program's, as the shell's would be") {
  using qwenplan::matches;
  CHECK(matches("a/**/*.yaml", "a/b/c/d.yaml"));
  CHECK(matches("a/**/*.yaml", "a/d.yaml"));
  CHECK_FALSE(matches("a/*.yaml", "a/b/d.yaml"));
  CHECK(matches("**/x?.[jy]*", "q/x1.json"));
  CHECK_FALSE(matches("[!a]*", "abc"));
  CHECK(matches("[a-c]*", "bcd"));
  CHECK(matches("*a*a*a*a*b", std::string(40, 'a') + "b"));
  CHECK_FALSE(matches("*a*a*a*a*a*a*a*a*a*a*c", std::string(4000, 'a')));
  const TempFolder folder;
  std::filesystem::create_directories(folder.path("x/.hidden"));
  folder.write("x/a.yaml", kSmall);
  folder.write("x/notes.yaml", "just: notes\n");
  folder.write("x/.hidden/b.yaml", kSmall);
  const std::string there = "cd " + quoted(folder.path()) + " && ";
  const Left left = run(there + "qwenplan check '**/*.yaml' --gpu rtx3060 --json");
  CHECK(left.status == 0);
  REQUIRE(left.json()["files"].size() == 1);
  CHECK(left.json()["files"][0]["file"] == "x/a.yaml");
  CHECK(left.json()["notes"][0].get<std::string>().find("1 file is") != std::string::npos);
  CHECK(run(there + "qwenplan check 'none/*.yaml' --gpu rtx3060").status == 2);
  CHECK(run(there + "qwenplan check x/notes.yaml --gpu rtx3060").status == 2);
}

TEST_CASE("rules are explained, and their page says what the program says") {
  const Left one = run("qwenplan explain trl/compute-dtype --json");
  CHECK(one.status == 0);
  CHECK(one.json()["severity"] == "warning");
  CHECK(run("qwenplan explain trl/compute-dtypes").err.find("trl/compute-dtype") != std::string::npos);
  CHECK(run("qwenplan explain rules --format markdown").out ==
        contents(QWENPLAN_SOURCE_DIR "/docs/rules.md"));
}

TEST_CASE("files that are no files and files without an end take no time") {
  const TempFolder folder;
  const std::string there = "cd " + quoted(folder.path()) + " && ulimit -v 1000000 && ";
  run("cd " + quoted(folder.path()) +
      " && mkfifo pipe.yaml && mkdir folder.yaml && ln -s loop loop && truncate -s 100M big.yaml && "
      "touch closed.yaml && chmod 0 closed.yaml && printf '\\357\\273\\277' >bom.yaml");
  TempFolder sample;
  run("cat " + quoted(sample.write("a.yaml", kSmall)) + " >>" + quoted(folder.path("bom.yaml")));
  for (const char* file : {"pipe.yaml", "folder.yaml", "loop", "big.yaml", "/dev/zero", "/dev/null"}) {
    const Left left = run(there + "timeout 10 '" QWENPLAN_BINARY "' check " + file +
                          " --gpu rtx3060 --json");
    INFO(file << left.err);
    CHECK(left.status == 2);
    CHECK(left.json()["files"][0]["findings"][0]["rule"] == "unreadable-file");
  }
  CHECK(run(there + "timeout 10 '" QWENPLAN_BINARY "' check - --gpu rtx3060 </dev/zero").status == 2);
  CHECK(run(there + "'" QWENPLAN_BINARY "' check bom.yaml --gpu rtx3060").status == 0);
}

TEST_CASE("an error of the parser has its line in every format") {
  TempFolder folder;
  const std::string file = quoted(folder.write("run.yaml", "base_model: a/b\nsequence_len: 8\nmicro:1\n"));
  const Left left = run("qwenplan check " + file + " --gpu rtx4090 --json");
  CHECK(left.status == 2);
  CHECK(left.json()["files"][0]["findings"][0]["line"] == 3);
  CHECK(left.json()["files"][0]["findings"][0]["column"] == 1);
  CHECK(run("qwenplan check " + file + " --gpu rtx4090 --format github").out.find("line=3,") !=
        std::string::npos);
}

TEST_CASE("what is wrong in a qwenplan.yaml is said of it") {
  TempFolder folder;
  const std::string file = quoted(folder.write("run.yaml", "base_model: Qwen/Qwen2.5-7B\nsequence_len: 8\n"
                                                           "micro_batch_size: 1\ndatasets: [{path: a}]\n"));
  for (const char* wrong : {"gpu: nope\n", "vram: 24\n"}) {
    folder.write("qwenplan.yaml", wrong);
    const Left left = run("qwenplan check " + file);
    CHECK(left.status == 2);
    CHECK(left.out.find("qwenplan.yaml, line 1") != std::string::npos);
    CHECK(left.out.find("run.yaml:1") == std::string::npos);
  }
}

TEST_CASE("markdown has a row for each finding") {
  TempFolder folder;
  const std::string file = quoted(folder.write("run.yaml", "base_model: Qwen/Qwen2.5-7B\nsequence_len: 8\n"
                                                           "micro_batch_size: 1\ndatasets: [{path: a}]\nnope: 1\n"));
  const Left left = run("qwenplan check " + file + " --gpu rtx4090 --format markdown");
  const std::size_t found = run("qwenplan check " + file + " --gpu rtx4090 --json").json()["files"][0]["findings"].size();
  CHECK(left.out.find("| severity | rule | line | column | message | fix |") != std::string::npos);
  std::size_t rows = 0;
  for (std::size_t at = 0; (at = left.out.find("\n| ", at)) != std::string::npos; ++at) ++rows;
  CHECK(rows == found + 2);  // the titles and the line below them
}

TEST_CASE("a script whose value is open ends with status 3, unless a flag gives it") {
  TempFolder folder;
  const std::string file = quoted(folder.write(
      "run.sh", "swift sft --model Qwen/Qwen2.5-0.5B --dataset a --tuner_type full --max_length $LEN \"$@\"\n"));
  const Left open = run("qwenplan check " + file + " --gpu rtx4090");
  CHECK(open.status == 3);
  CHECK(open.out.find("--max_length") != std::string::npos);
  CHECK(open.out.find("'LEN'") != std::string::npos);
  CHECK(run("qwenplan check " + file + " --gpu rtx4090 --seq-len 1024").status == 0);
}

TEST_CASE("where no length is written, ms-swift's whole context is a bound") {
  const auto of = [](const std::string& model) { return "model: Qwen/" + model + "\ntuner_type: lora\ndataset: mine\n"; };
  const Checked bound = checked(of("Qwen2.5-0.5B-Instruct"), "--gpu rtx3060");
  CHECK(bound.status == 3);
  CHECK(bound.file["verdict"].is_null());
  CHECK(bound.file["run"]["seq-len"] == json({{"value", 32768}, {"from", "trainer"}}));
  CHECK(bound.file["error"]["hint"].get<std::string>().find("--seq-len") != std::string::npos);
  // The instruct checkpoints of 7B are made for fewer positions than their base.
  CHECK(checked(of("Qwen2.5-7B-Instruct"), "--gpu rtx3060").file["run"]["seq-len"]["value"] == 32768);
  CHECK(checked(of("Qwen2.5-7B"), "--gpu rtx3060").file["run"]["seq-len"]["value"] == 131072);
  const Checked given = checked(of("Qwen2.5-0.5B-Instruct"), "--gpu rtx3060 --seq-len 512 --batch 4");
  CHECK(given.status == 0);
  CHECK(given.file["run"]["grad-accum"]["value"] == 4);
  // Whose file it is stands in it, and of which version does not.
  CHECK(given.file["run"]["trainer"] == json({{"value", "ms-swift"}, {"from", "file"}}));
  CHECK(given.file["run"]["trainer-version"]["from"] == "default");
}
