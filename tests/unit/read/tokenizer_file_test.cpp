#include "read/tokenizer_file.hpp"

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "read/unicode_nfc.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;
using nlohmann::json;

namespace {

const std::string kFolder = std::string(QWENPLAN_SOURCE_DIR) + "/tests/reference/tokenizers/";

json read(const std::string& name) {
  std::ifstream in(kFolder + name);
  REQUIRE(in);
  return json::parse(in);
}

Error refused(const json& tokenizer) {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/tokenizer.json";
  std::ofstream(path) << tokenizer.dump();
  const auto opened = Tokenizer::open(path);
  REQUIRE_FALSE(opened);
  return opened.error();
}

}  // namespace

TEST_CASE("Ids equal those of Hugging Face's tokenizers: Arabic with and without signs, dialect, code, emoji") {
  const std::string name = GENERATE("qwen2.5-part", "qwen-like", "gpt2-like");
  auto tokenizer = Tokenizer::open(kFolder + name + ".json");
  REQUIRE(tokenizer);
  const json texts = read(name + ".ids.json");
  REQUIRE(texts.size() > 20);
  for (const json& each : texts) {
    const auto text = each["text"].get<std::string>();
    CAPTURE(name, text);
    std::vector<std::int32_t> ids;
    const auto count = tokenizer->encode(text, &ids);
    REQUIRE(count);
    CHECK(ids == each["ids"].get<std::vector<std::int32_t>>());
    CHECK(*count == static_cast<std::int64_t>(ids.size()));
  }
}

TEST_CASE("What a tokenizer has that is not read exactly is refused by its name") {
  const json good = read("qwen-like.json");
  const auto with = [&](const char* pointer, json value) {
    json changed = good;
    changed[json::json_pointer(pointer)] = std::move(value);
    return refused(changed);
  };
  CHECK(with("/normalizer", {{"type", "NFKC"}}).what == "its normalizer is NFKC");
  CHECK(with("/model/type", "Unigram").what == "its model is Unigram");
  CHECK(with("/model/byte_fallback", true).kind == Error::Kind::unknown);
  CHECK(with("/pre_tokenizer", {{"type", "Metaspace"}}).what == "its pre-tokenizer is Metaspace");
  CHECK(with("/pre_tokenizer", nullptr).what == "it has no pre-tokenizer");
  CHECK(with("/pre_tokenizer/pretokenizers/0/behavior", "Removed").kind == Error::Kind::unknown);
  CHECK(with("/added_tokens/0/lstrip", true).kind == Error::Kind::unknown);
  CHECK(with("/model/merges/0", "x").kind == Error::Kind::wrong);
  CHECK(with("/model/vocab", json::object()).what == "its vocabulary lacks a token for byte 0");
}

TEST_CASE("A word of more than a mebibyte is an error of the text, not of the tokenizer") {
  auto tokenizer = Tokenizer::open(kFolder + "qwen-like.json");
  REQUIRE(tokenizer);
  const auto count = tokenizer->encode(std::string((1 << 20) + 1, 'x'));
  REQUIRE_FALSE(count);
  CHECK(count.error().what == "a word of it is longer than 1 MiB");
  CHECK(tokenizer->encode("after it"));
}

TEST_CASE("A file that is no tokenizer has a clear answer") {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/tokenizer.json";
  for (const std::string text : {"", "{}", "[1]", "{\"model\": {\"type\": \"BPE\"", "\x01\x02"}) {
    std::ofstream(path) << text;
    CAPTURE(text);
    CHECK_FALSE(Tokenizer::open(path));
  }
  CHECK_FALSE(Tokenizer::open(folder.path()));
  CHECK_FALSE(Tokenizer::open(folder.path() + "/none"));
}

TEST_CASE("Normalization form C: order of signs, composition, what is not composed, Hangul") {
  CHECK(to_nfc("\u0628\u0651\u064e") == "\u0628\u064e\u0651");  // shadda and fatha change places
  CHECK(to_nfc("\u0627\u0653") == "\u0622");
  CHECK(to_nfc("e\u0301") == "\u00e9");
  CHECK(to_nfc("\u212b") == "\u00c5");
  CHECK(to_nfc("\u0958") == "\u0915\u093c");  // excluded from composition
  CHECK(to_nfc("\u1112\u1161\u11ab") == "\ud55c");
  CHECK(to_nfc("a\u0315\u0300") == "\u00e0\u0315");
  CHECK(is_surely_nfc("\u0642\u064e\u0631\u064e\u0623"));
  CHECK_FALSE(is_surely_nfc("\u0628\u0651\u064e"));
  CHECK_FALSE(is_surely_nfc("e\u0301"));
}
