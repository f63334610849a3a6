#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

const std::string kTokenizers = std::string(QWENPLAN_SOURCE_DIR) + "/tests/reference/tokenizers/";

constexpr const char* kTalk =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"ما عاصمة المغرب؟\"}, "
    "{\"role\": \"assistant\", \"content\": \"الرباط.\"}]}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"And of Egypt?\"}, "
    "{\"role\": \"assistant\", \"content\": \"Cairo.\"}]}\n";

/// A wrong question ends with status 2 and says what, where and what to do.
void check_refused(const Left& left, int status = 2) {
  CAPTURE(left.out, left.err);
  CHECK(left.status == status);
  CHECK(left.out.empty());
  CHECK(left.err.starts_with("error: "));
  CHECK(left.err.find("\n  in: ") != std::string::npos);
  CHECK(left.err.find("\n  help: ") != std::string::npos);
}

}  // namespace

TEST_CASE("A file, the same as gzip, and the same through a pipe have the same answer") {
  const TempFolder folder;
  const std::string file = folder.write("a.jsonl", kTalk);
  REQUIRE(run("gzip -k " + file).status == 0);
  json answers[3] = {run("qwenplan dataset --json " + file).json(), run("qwenplan dataset --json " + file + ".gz").json(),
                     run("cat " + file + " | qwenplan dataset --json -").json()};
  CHECK(answers[0]["examples"] == 2);
  CHECK(answers[1]["is_gzip"] == true);
  for (json& each : answers)
    for (const char* key : {"inputs", "is_gzip", "file_bytes"}) each.erase(key);
  CHECK(answers[0] == answers[1]);
  CHECK(answers[0] == answers[2]);
}

TEST_CASE("Lengths, cuts and rows are of the same tokens") {
  const TempFolder folder;
  std::string text;
  for (int i = 1; i <= 200; ++i) text += "{\"text\": \"" + std::string(static_cast<std::size_t>(i * 7), 'x') + " word\"}\n";
  const std::string file = folder.write("a.jsonl", text);
  const json answer = run("qwenplan dataset --json --seq-len 128 --batch 4 --grad-accum 2 " + file).json();
  for (const char* end : {"low", "likely", "high"}) {
    CAPTURE(end);
    const auto all = answer["tokens"]["total"][end].get<std::int64_t>();
    const auto rows = answer["batching"]["packed"]["rows"][end].get<std::int64_t>();
    const auto kept = answer["epoch"]["tokens"][end].get<std::int64_t>();
    CHECK(rows * 128 >= kept);
    CHECK(kept <= all);
    CHECK(answer["lengths"]["p50"][end] <= answer["lengths"]["p95"][end]);
    CHECK(answer["lengths"]["p95"][end] <= answer["lengths"]["max"][end]);
  }
  CHECK(answer["tokens"]["total"]["likely"].get<std::int64_t>() ==
        answer["epoch"]["tokens"]["likely"].get<std::int64_t>() + answer["cut"]["tokens"]["likely"].get<std::int64_t>());
  CHECK(answer["epoch"]["steps"] == 25);
  const auto suggested = answer["suggested_seq_len"].get<std::int64_t>(), p99 = answer["lengths"]["p99"]["likely"].get<std::int64_t>();
  CHECK(suggested % 64 == 0);
  CHECK(suggested >= p99);
  CHECK(suggested < p99 + 64);
  std::int64_t by_script = 0;
  for (const json& each : answer["tokens"]["scripts"]) by_script += each["tokens"]["likely"].get<std::int64_t>();
  const std::int64_t of_text = answer["tokens"]["total"]["likely"].get<std::int64_t>() - 200;  // an end each
  CHECK(by_script >= of_text - 200);
  CHECK(by_script <= of_text + 200);
}

TEST_CASE("A rate that nobody measured is shown as assumed") {
  const TempFolder folder;
  const std::string latin = folder.write("latin.jsonl", "{\"text\": \"some words of plain text and nothing else\"}\n");
  const std::string code = folder.write("code.jsonl", "{\"text\": \"for (;;) { x[i] = y(i) + 1; }\"}\n");
  CHECK(run("qwenplan dataset --json --model 7b " + latin).json()["tokens"]["evidence"] == "measured");
  const json answer = run("qwenplan dataset --json --model 7b " + code).json();
  CHECK(answer["tokens"]["evidence"] == "assumed");
  bool has_symbols = false;
  for (const json& each : answer["tokens"]["scripts"])
    if (each["script"] == "symbols") {
      has_symbols = true;
      CHECK(each["evidence"] == "assumed");
    }
  CHECK(has_symbols);
}

TEST_CASE("A vocabulary that nobody measured is not taken for another; its own tokenizer counts") {
  const TempFolder folder;
  const std::string file = folder.write("a.jsonl", "{\"text\": \"some text\"}\n");
  const Left without = run("qwenplan dataset --model fanar-1-9b " + file);
  check_refused(without, 3);
  CHECK(without.err.find("--tokenizer FILE") != std::string::npos);
  const Left with = run("qwenplan dataset --json --model fanar-1-9b --tokenizer " + kTokenizers + "gpt2-like.json " + file);
  CHECK(with.status == 0);
  CHECK(with.json()["tokens"]["evidence"] == "exact");
}

TEST_CASE("The template is one whose marks the tokenizer has") {
  const TempFolder folder;
  const std::string file = folder.write("a.jsonl", kTalk);
  const auto chosen = [&](const std::string& flags) {
    return run("qwenplan dataset --json " + flags + " " + file).json()["inputs"]["template"]["value"];
  };
  CHECK(chosen("") == "chatml");
  CHECK(chosen("--model qwen2.5-7b") == "qwen2.5");
  CHECK(chosen("--model qwen3-8b") == "qwen3");
  CHECK(chosen("--model llama3.1-8b") == "llama3");
  CHECK(chosen("--tokenizer " + kTokenizers + "qwen2.5-part.json") == "chatml");
  CHECK(chosen("--tokenizer " + kTokenizers + "gpt2-like.json") == "none");
  const Left given = run("qwenplan dataset --template llama3 --tokenizer " + kTokenizers + "qwen2.5-part.json " + file);
  CHECK(given.status == 0);
  CHECK(given.err.find("no token <|start_header_id|>") != std::string::npos);
}

TEST_CASE("Bad lines are shown with their numbers and do not end the reading") {
  const TempFolder folder;
  const std::string file = folder.write(
      "a.jsonl", "{\"text\": \"good\"}\nnot json\n5\n{\"text\": \"\xff\"}\n{\"text\": \"" + std::string((1 << 20) + 9, 'x') +
                     "\"}\n{\"text\": \"good\"}\n");
  const Left left = run("qwenplan dataset --json --tokenizer " + kTokenizers + "qwen-like.json " + file);
  REQUIRE(left.status == 0);
  const json answer = left.json();
  CHECK(answer["examples"] == 2);
  REQUIRE(answer["bad"]["count"] == 4);
  const json lines = answer["bad"]["lines"];
  CHECK(lines[0] == json({{"line", 2}, {"why", "it is no JSON"}}));
  CHECK(lines[1] == json({{"line", 3}, {"why", "it is a number, not an object"}}));
  CHECK(lines[2] == json({{"line", 4}, {"why", "it is not UTF-8"}}));
  CHECK(lines[3] == json({{"line", 5}, {"why", "a word of it is longer than 1 MiB"}}));
  CHECK(answer["notes"][0].get<std::string>().starts_with("4 bad lines were left out; line 2: it is no JSON"));
}

TEST_CASE("What is no file of examples has a clear answer") {
  const TempFolder folder;
  const auto answer = [&](const std::string& path) {
    const Left left = run("qwenplan dataset " + path);
    check_refused(left);
    return left.err;
  };
  CHECK(answer(folder.write("empty.jsonl", "")).find("is empty") != std::string::npos);
  CHECK(answer(folder.write("bytes.jsonl", std::string("\x7f" "ELF\0\0\1", 7))).find("is binary") != std::string::npos);
  CHECK(answer(folder.write("a.parquet", "PAR1\1\2\3")).find("is a Parquet file") != std::string::npos);
  CHECK(answer(folder.write("a.zst", "\x28\xb5\x2f\xfd\1\2")).find("zstd -dc FILE | qwenplan dataset -") !=
        std::string::npos);
  CHECK(answer(folder.path()).find("is a folder") != std::string::npos);
  CHECK(answer(folder.path("none")).find("no such file") != std::string::npos);
  CHECK(answer("/dev/zero").find("neither a file nor a pipe") != std::string::npos);
  CHECK(answer(folder.write("a.jsonl", "{\"x\": \"y\"}\n")).find("--column") != std::string::npos);
  const std::string file = folder.write("whole.jsonl", kTalk);
  REQUIRE(run("gzip -c " + file + " | head -c 60 >" + folder.path("cut.gz")).status == 0);
  CHECK(answer(folder.path("cut.gz")).find("too early") != std::string::npos);
  const std::string pipe = folder.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(answer(pipe).find("is empty") != std::string::npos);
  CHECK(answer("- </dev/null").find("is empty") != std::string::npos);
}

TEST_CASE("A hostile tokenizer.json is refused by its name") {
  const TempFolder folder;
  const std::string file = folder.write("a.jsonl", "{\"text\": \"some text\"}\n");
  const auto with = [&](const std::string& tokenizer) { return run("qwenplan dataset --tokenizer " + tokenizer + " " + file); };
  check_refused(with(folder.write("t1.json", "")));
  check_refused(with(folder.write("t2.json", "{\"model\": 5}")));
  check_refused(with(folder.write("t3.json", std::string(100000, '['))));
  check_refused(with(folder.write("t4.json", R"({"model": {"type": "Unigram", "vocab": []}})")), 3);
  check_refused(with(folder.path()));
  check_refused(with("/dev/zero"));
  json good = json::parse(std::ifstream(kTokenizers + "qwen-like.json"));
  // A pattern that takes time without end on any text is given up, not waited for.
  good["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a+)+$|((\\p{L}+)*)*b";
  const Left slow = run("qwenplan dataset --tokenizer " + folder.write("t5.json", good.dump()) + " " +
                        folder.write("b.jsonl", "{\"text\": \"" + std::string(5000, 'a') + "c\"}\n"));
  CHECK(slow.status != 0);
  check_refused(slow);
}

TEST_CASE("Host memory and disk take their data from the file, or from a number, not from both") {
  const TempFolder folder;
  const std::string file = folder.write("a.jsonl", kTalk);
  const auto tokens = run("qwenplan dataset --json --model 7b " + file).json()["tokens"]["total"]["likely"];
  const std::string job = " --json --model 7b --method qlora ";
  CHECK(run("qwenplan ram" + job + "--dataset-in lists --dataset " + file).json()["terms"] ==
        run("qwenplan ram" + job + "--dataset-in lists --tokens " + tokens.dump()).json()["terms"]);
  const auto term = [&](const std::string& data, const std::string& name) {
    for (const json& each : run("qwenplan storage plan" + job + data).json()["terms"])
      if (each["term"] == name) return each["bytes"]["likely"].get<std::int64_t>();
    return std::int64_t{-1};
  };
  CHECK(term("--dataset " + file, "tokenized") == term("--tokens " + tokens.dump(), "tokenized"));
  check_refused(run("qwenplan storage plan --model 7b --tokens 5 --dataset " + file));
  check_refused(run("qwenplan ram --model 7b --tokenizer t.json"));
}

TEST_CASE("A file of any size is read in the same memory") {
  const TempFolder folder;
  const std::string path = folder.path("large.jsonl");
  {
    std::ofstream out(path, std::ios::binary);
    std::string part;
    for (int i = 0; i < 5000; ++i)
      part += "{\"instruction\": \"سؤال\", \"output\": \"" + std::string(static_cast<std::size_t>(i % 900), 'x') + "\"}\n";
    for (int i = 0; i < 60; ++i) out << part;
  }
  REQUIRE(std::filesystem::file_size(path) > 140'000'000);
  rusage before{};
  getrusage(RUSAGE_CHILDREN, &before);
  const json answer = run("qwenplan dataset --json " + path).json();
  rusage after{};
  getrusage(RUSAGE_CHILDREN, &after);
  CHECK(answer["examples"] == 300'000);
  CHECK(after.ru_maxrss < std::max<long>(before.ru_maxrss + 1, 100 * 1024));
}
