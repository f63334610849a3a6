#include "read/trainer/document.hpp"

#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

namespace {

Error refused(const std::string& text, const std::string& name = "run.yaml") {
  const auto file = read_train_file(text, name, Beside{});
  INFO(text.substr(0, 200));
  REQUIRE_FALSE(file.ok());
  return file.error();
}

}  // namespace

TEST_CASE("A last line that is no key with a value is not YAML", "[document]") {
  const std::string text = "base_model: a/b\nsequence_len: 8\n";
  for (const char* line : {"cutoff_len:8192", "key value", "stage\xEF\xBC\x9Asft", "a: \"open", "a: 'it''s",
                           "<<: 3", "<<:", "<<: [1]"}) {
    for (const char* end : {"", "\n"}) {
      CAPTURE(line);
      const Error error = refused(text + line + end);
      CHECK(error.kind == Error::Kind::wrong);
      CHECK(error.what.starts_with("not YAML"));
      CHECK(error.place.line >= 3);
    }
  }
  for (const char* line : {"a:", "a: # none", "a: {b, c: 1}", "a: 'it''s'", "a: \"b\\\"\"", "? a", "a: b:8",
                           "a:\n  - b:8", "x: &x {c: 1}\n<<: *x", "<<: [{a: 1}]", "a: \"b\n  c\""}) {
    CAPTURE(line);
    CHECK(parse_document(text + line, "run.yaml", Syntax::yaml).ok());
    CHECK(parse_document(text + line + "\n", "run.yaml", Syntax::yaml).ok());
  }
}

TEST_CASE("Hjson is read as DeepSpeed's loader reads it", "[document]") {
  const auto parsed = [](const std::string& text) {
    const auto document = parse_document(text, "ds.json", Syntax::hjson);
    INFO(text);
    REQUIRE(document.ok());
    return document->root;
  };
  // The values are those that the package hjson 3.1.0 gives for this text.
  const Node root = parsed(
      "# a remark\n{ // another\n  \"zero_optimization\": { stage: 2, /* of\nthree */ overlap_comm: true, },\n"
      "  train_batch_size: 16 # in all\n  bucket: 5e8,\n  'note': quoted\n  device: cpu, // goes on\n"
      "  tail: 12 pieces\n  none: null\n  zero: 007\n  list: [1, 2,\n  three\n  ]\n"
      "  long:\n    '''\n    a\n      b\n    '''\n  sign: \"\\u00e9\\ud83d\\ude00\\n'\"\n}\n// the end\n");
  CHECK(root.find("zero_optimization")->find("stage")->whole() == 2);
  CHECK(root.find("zero_optimization")->find("overlap_comm")->truth() == true);
  CHECK(root.find("train_batch_size")->whole() == 16);
  CHECK((root.find("train_batch_size")->place == Place{5, 21}));
  CHECK(root.find("bucket")->whole() == 500'000'000);
  CHECK(root.find("note")->scalar == "quoted");
  CHECK(root.find("device")->scalar == "cpu, // goes on");
  CHECK(root.find("tail")->scalar == "12 pieces");
  CHECK(root.find("none")->is_null());
  CHECK(root.find("zero")->is_quoted);
  CHECK(root.find("list")->items.size() == 3);
  CHECK(root.find("long")->scalar == "a\n  b");
  CHECK(root.find("sign")->scalar == "\xC3\xA9\xF0\x9F\x98\x80\n'");
  CHECK(parsed("stage: 2\n").find("stage")->whole() == 2);
  for (const char* text : {"{", "{a}", "{a: 1", "{a: [1, 2}", "{a: }", "{,}", "{a b: 1}", "{\"a: 1}", "{a: 1} b", "/* {}",
                           "{a: '''x}", "{a: \"\\x\"}"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_document(text, "ds.json", Syntax::hjson).ok());
  }
  CHECK_FALSE(parse_document(std::string(100'000, '['), "ds.json", Syntax::hjson).ok());
  CHECK_FALSE(parse_document(std::string("{a: [\0]}", 9), "ds.json", Syntax::hjson).ok());
  std::string long_line = "{a: [";  // of which each text asks for its line
  for (int i = 0; i < 50'000; ++i) long_line += "'''''',";
  CHECK(parsed(long_line + "]}").find("a")->items.size() == 50'000);
}

TEST_CASE("Only a DeepSpeed file may be Hjson", "[document]") {
  const auto file = reading("{\n  \"zero_optimization\": {\"stage\": 3,},\n}\n", "ds.json");
  CHECK(file.draft.zero->value == "3");
  REQUIRE(file.findings.size() == 1);
  CHECK((file.findings[0].place == Place{2, 36}));
  CHECK((refused("{\n  \"base_model\": \"a/b\",\n  \"sequence_len\": 8,\n}\n", "run.json").place == Place{4, 1}));
}

TEST_CASE("A broken YAML file is told as such, whatever keys it has", "[document]") {
  const std::string torn = "zero_optimization:\n\tstage: 3\nbase_model: a/b\n";
  for (const char* name : {"run.yaml", "-"}) {
    const Error error = refused(torn, name);
    CHECK(error.what.find("YAML") != std::string::npos);
    CHECK(error.place.line == 2);
  }
  const std::string remark = "{\n  // sharded\n  zero_optimization: {stage: 3}\n}\n";
  CHECK(reading(remark, "ds.hjson").draft.zero->value == "3");
  CHECK(reading(remark, "-").draft.zero->value == "3");
}

TEST_CASE("What is packed is not called another encoding", "[document]") {
  CHECK(refused(std::string("\x1F\x8B\x08\x00\x01", 5)).what.find("gzip") != std::string::npos);
  CHECK(refused(std::string("m\0o\0", 4)).what.find("UTF-16") != std::string::npos);
}

TEST_CASE("Scripts that start another trainer say which file to give", "[document]") {
  const Error script = refused("#!/bin/bash\nllamafactory-cli train conf/x.yaml bf16=true\n", "train.sh");
  CHECK(script.what.find("LLaMA-Factory") != std::string::npos);
  CHECK(script.hint.find("conf/x.yaml") != std::string::npos);
  CHECK(refused("from trl import SFTTrainer\n", "train.py").what.find("Python") != std::string::npos);
  CHECK(refused("echo hello\n", "train.sh").what.find("none that qwenplan knows") != std::string::npos);
}

TEST_CASE("References are followed in time, and refused where they go too deep", "[document]") {
  const std::string start =
      "model:\n  _component_: torchtune.models.qwen2_5.qwen2_5_7b\noptimizer:\n  _component_: x\n";
  const auto chain = [&](int links) {
    std::string text = start;
    for (int i = 0; i < links; ++i)
      text += "r" + std::to_string(i) + ": ${r" + std::to_string(i + 1) + "}\n";
    return text + "r" + std::to_string(links) + ": 1\n";
  };
  CHECK_FALSE(says(reading(chain(40)), "unresolved-value"));
  CHECK(refused(chain(30000)).what.find("too deep") != std::string::npos);
  std::string many = start + "a: 1\n";
  for (int i = 0; i < 30000; ++i) many += "r" + std::to_string(i) + ": ${a}\n";
  CHECK_FALSE(says(reading(many), "unresolved-value"));
  // A circle is what the file lacks.
  CHECK(says(reading(start + "a: ${b}\nb: ${a}\n"), "unresolved-value"));
}

TEST_CASE("References are the trainer's to fill in", "[document]") {
  const std::string tune =
      "model:\n  _component_: torchtune.models.qwen2_5.qwen2_5_7b\noptimizer:\n  _component_: x\n"
      "tokenizer:\n  max_seq_len: ";
  CHECK(reading(tune + "${oc.env:LEN,1024}\n").draft.length->value == 1024);
  const TrainFile open = reading(tune + "${oc.env:LEN}\n");
  CHECK_FALSE(says(open, "invalid-value"));
  CHECK(says(open, "unresolved-value"));
  REQUIRE(open.open.size() == 1);
  CHECK(open.open[0].error.kind == Error::Kind::unknown);
  // LLaMA-Factory hands the text itself to its arguments.
  const std::string factory =
      "model_name_or_path: a/b\nstage: sft\ndo_train: true\nwarmup_steps: 8\ncutoff_len: ${warmup_steps}\n";
  CHECK(says(reading(factory), "invalid-value"));
}
