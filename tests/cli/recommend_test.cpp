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

const std::vector<std::string> kYamlTrainers = {"llama-factory", "axolotl", "trl", "torchtune",
                                                "ms-swift"};

json answer(const std::string& words) {
  const Left left = run("qwenplan recommend --json " + words);
  INFO(words << "\n" << left.err);
  REQUIRE(left.status == 0);
  return left.json();
}

}  // namespace

TEST_CASE("what is written for a trainer reads back to the same bytes, fits, and has no error") {
  const std::vector<std::pair<std::string, std::string>> questions = {
      {"7b", "rtx3060"},
      {"qwen2.5-3b", "rtx4090"},
      {"llama3.1-8b --method lora", "rtx4090"},
      {"qwen2.5-1.5b --method full", "a100"},
      {"qwen3-8b --seq-len 4096", "rtx4090"}};
  for (const std::string& trainer : kYamlTrainers)
    for (const auto& [model, gpu] : questions) {
      const std::string words = "--model " + model + " --gpu " + gpu + " --for " + trainer;
      INFO(words);
      const json recommended = answer(words);
      CHECK(recommended["verdict"]["fit"] == "fits");
      const Left checked = run("qwenplan recommend " + words + " 2>/dev/null | qwenplan check - --json --gpu " + gpu);
      CHECK(checked.status == 0);
      const json file = checked.json()["files"][0];
      CHECK(file["trainer"] == trainer);
      CHECK(file["status"] == "fits");
      CHECK(file["verdict"]["device_bytes"] == recommended["verdict"]["device_bytes"]);
      CHECK(file["verdict"]["allocated_bytes"] == recommended["verdict"]["allocated_bytes"]);
      for (const json& finding : file["findings"]) {
        INFO(finding.dump());
        CHECK(finding["severity"] == "note");
      }
    }
}

TEST_CASE("a model that has no fused loss, or no sdpa, gets a configuration without") {
  // Liger's layers are not modelled for Qwen3.5 and experts, which LLaMA-Factory and ms-swift switch on as one;
  // sdpa does not cap Gemma 2's scores.
  const std::vector<std::vector<std::string>> questions = {
      {"qwen3.5-4b", "llama-factory", "enable_liger_kernel: false"}, {"qwen3.5-4b", "ms-swift", "attn_impl: sdpa"},
      {"qwen3-30b-a3b", "llama-factory", "enable_liger_kernel: false"}, {"gemma2-2b", "trl", "attn_implementation: eager"},
      {"gemma2-2b", "llama-factory", "flash_attn: disabled"},          {"gemma2-2b", "transformers", "attn_implementation=\"eager\""}};
  for (const auto& asked : questions) {
    const std::string words = "--model " + asked[0] + " --gpu a100 --for " + asked[1];
    INFO(words);
    const Left left = run("qwenplan recommend " + words);
    REQUIRE(left.status == 0);
    CHECK(left.out.find(asked[2]) != std::string::npos);
    CHECK(left.out.find("use_liger_kernel: true") == std::string::npos);
    if (asked[1] == "transformers") continue;
    CHECK(run("qwenplan recommend " + words + " 2>/dev/null | qwenplan check - --gpu a100").status == 0);
  }
  CHECK(run("qwenplan recommend --model qwen3.5-4b --gpu a100 --for llama-factory --loss fused").status == 3);
}

TEST_CASE("LLaMA-Factory's template is the one that it has the model under") {
  const std::vector<std::pair<std::string, std::string>> templates = {
      {"qwen2.5-3b", "qwen"},      {"qwen3-4b", "qwen3"},      {"qwen3-4b-2507", "qwen3_nothink"}, {"qwen3.5-4b", "qwen3_5"},
      {"llama3.2-3b", "llama3"},   {"llama2-7b", "llama2"},    {"smollm2-1.7b", "smollm2"},        {"gemma2-2b", "gemma2"},
      {"gemma3-1b", "gemma2"},     {"phi4-mini", "phi4_mini"}, {"mistral-7b-v0.3", "mistral"},     {"yi-6b", "yi"},
      {"mistral-nemo-12b", "ministral"}};
  for (const auto& [model, name] : templates) {
    INFO(model);
    CHECK(run("qwenplan recommend --model " + model + " --gpu a100 --for llama-factory").out.find("\ntemplate: " + name + "\n") !=
          std::string::npos);
  }
}

TEST_CASE("with --for stdout has the configuration alone") {
  const Left left = run("qwenplan recommend --model 7b --gpu rtx3060 --for trl");
  CHECK(left.status == 0);
  CHECK(left.out.starts_with("# Written by qwenplan"));
  CHECK(left.out.find("model_name_or_path: Qwen/Qwen2.5-7B") != std::string::npos);
  CHECK(left.err.find("fits: needs") != std::string::npos);
  CHECK(answer("--model 7b --gpu rtx3060 --for trl")["configuration"] == left.out);
}

TEST_CASE("the script for transformers is Python") {
  TempFolder folder;
  for (const char* method : {"qlora", "lora", "full"}) {
    const Left left = run(std::string("qwenplan recommend --model qwen2.5-0.5b --gpu rtx4090 --for transformers --method ") + method);
    REQUIRE(left.status == 0);
    CHECK(left.out.find("Trainer(") != std::string::npos);
    const std::string file = folder.write("train.py", left.out);
    // 127: no Python here to ask.
    const int parsed = run("sh -c " + quoted("command -v python3 >/dev/null || exit 127; python3 -c 'import ast,sys; ast.parse(open(sys.argv[1]).read())' " + quoted(file))).status;
    CHECK((parsed == 0 || parsed == 127));
  }
}

TEST_CASE("nothing is recommended that PyTorch's gradient scaler stops") {
  // A T4 has no bf16: full fine-tuning in axolotl and ms-swift would train fp16 weights.
  for (const char* trainer : {"axolotl", "ms-swift"}) {
    INFO(trainer);
    const Left left = run(std::string("qwenplan recommend --model 0.5b --gpu t4 --for ") + trainer +
                          " 2>/dev/null | qwenplan check - --gpu t4 --json");
    CHECK(left.status == 0);
    CHECK(left.out.find("fp16-trained") == std::string::npos);
  }
}

TEST_CASE("a recommendation is what vram says of the same settings") {
  for (const std::string goal : {"best-quality", "fastest", "largest-batch", "longest"}) {
    const json recommended = answer("--model qwen2.5-3b --gpu rtx3060 --goal " + goal);
    std::string flags;
    for (const auto& [flag, setting] : recommended["run"].items()) {
      if (flag == "learning-rate" || flag == "loss-kernel") continue;
      const json& value = setting["value"];
      if (value.is_boolean()) flags += value.get<bool>() ? " --" + flag : " --no-" + flag;
      else if (value.is_string()) flags += " --" + flag + " " + value.get<std::string>();
      else flags += " --" + flag + " " + value.dump();
    }
    INFO(goal << flags);
    const Left vram = run("qwenplan vram --model qwen2.5-3b --gpu rtx3060 --json" + flags);
    REQUIRE(vram.status == 0);
    CHECK(vram.json()["verdict"]["device_bytes"] == recommended["verdict"]["device_bytes"]);
  }
}

TEST_CASE("each goal goes further in its own direction, and a larger card never does worse") {
  const auto value = [](const json& answered, const char* flag) {
    return answered["run"][flag]["value"].get<std::int64_t>();
  };
  const json usual = answer("--model qwen2.5-3b --gpu rtx3060");
  const json batch = answer("--model qwen2.5-3b --gpu rtx3060 --goal largest-batch");
  const json longest = answer("--model qwen2.5-3b --gpu rtx3060 --goal longest");
  CHECK(value(batch, "batch") >= value(usual, "batch"));
  CHECK(value(longest, "seq-len") > value(usual, "seq-len"));
  CHECK(value(answer("--model qwen2.5-3b --gpu rtx4090 --goal longest"), "seq-len") >= value(longest, "seq-len"));
  CHECK(value(answer("--model qwen2.5-3b --gpu rtx4090 --goal largest-batch"), "batch") >= value(batch, "batch"));
  const auto rank = [](const json& answered) {
    const auto method = answered["run"]["method"]["value"].get<std::string>();
    return method == "full" ? 2 : method == "lora" ? 1 : 0;
  };
  int before = 0;
  for (const char* gpu : {"rtx3060", "rtx4090", "a100", "h200"}) {
    const int now = rank(answer(std::string("--model qwen2.5-3b --gpu ") + gpu));
    CHECK(now >= before);
    before = now;
  }
  CHECK(before == 2);
}

TEST_CASE("the cheapest card runs it, and no cheaper one does") {
  const json cheapest = answer("--model 7b --goal cheapest");
  CHECK(cheapest["verdict"]["fit"] == "fits");
  CHECK(cheapest["card"]["price_usd"].get<double>() > 0);
}

TEST_CASE("where nothing fits the answer is no, with what would do") {
  const Left left = run("qwenplan recommend --model 72b --gpu rtx3060 --json");
  CHECK(left.status == 1);
  const json answered = left.json();
  CHECK(answered["verdict"]["fit"] == "exceeds");
  CHECK_FALSE(answered["alternatives"].empty());
  const Left file = run("qwenplan recommend --model 72b --gpu rtx3060 --for trl");
  CHECK(file.status == 1);
  CHECK(file.out.empty());
}

TEST_CASE("questions that make no recommendation are refused") {
  CHECK(run("qwenplan recommend --model 7b").status == 2);
  CHECK(run("qwenplan recommend --model 7b --gpu rtx3060 --goal nothing").status == 2);
  CHECK(run("qwenplan recommend --model 7b --gpu rtx3060 --for nobody").status == 2);
  CHECK(run("qwenplan recommend --model 7b --gpu rtx3060 --for unsloth").status == 3);
  CHECK(run("qwenplan recommend --model 7b --gpu rtx3060 --dora").status == 2);
  CHECK(run("qwenplan recommend --model 7b --gpu rtx3060 --goal cheapest").status == 2);
  CHECK(run("qwenplan recommend --gpu rtx3060").status == 2);
}
