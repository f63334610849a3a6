#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/schema.hpp"
#include "read/token_rates.hpp"
#include "support/catch.hpp"
#include "support/data_file.hpp"

using nlohmann::json;
using namespace qwenplan;

TEST_CASE("The table of tokens is as its schema says, with known sources, and its ranges are in order") {
  const json document = test::data_file("tokens.json");
  std::vector<std::string> wrong;
  test::check_schema(test::data_file("schema/tokens.schema.json"), document, "", wrong);
  std::string lines;
  for (const std::string& line : wrong) lines += line + "\n";
  INFO(lines);
  CHECK(wrong.empty());

  std::set<std::string> sources;
  const json known = test::data_file("sources.json");
  for (const json& source : known["sources"]) sources.insert(source["id"].get<std::string>());
  for (const json& row : document["tokens"]) {
    CAPTURE(row["id"].get<std::string>());
    for (const json& source : row["sources"]) CHECK(sources.count(source.get<std::string>()) == 1);
    for (const json& vocabulary : row["vocabularies"]) {
      Model model;
      model.id = row["id"].get<std::string>() + "-1b";
      model.vocabulary = vocabulary.get<std::int64_t>();
      const auto rates = token_rates(model);
      REQUIRE(rates);
      CHECK(rates->id == row["id"].get<std::string>());
      for (const auto& rate : rates->rates) {
        CHECK(rate.low > 0);
        CHECK(rate.low <= rate.likely);
        CHECK(rate.likely <= rate.high);
      }
    }
  }
}

TEST_CASE("A vocabulary of the same size is not the same tokenizer") {
  const auto rates = [](const char* id, const char* architecture, std::int64_t vocabulary) {
    Model model;
    model.id = id;
    model.architecture_name = architecture;
    model.vocabulary = vocabulary;
    return token_rates(model);
  };
  const auto id = [&](const Result<TokenRates>& found) { return found ? found->id : "none"; };
  CHECK(id(rates("qwen2.5-7b", "Qwen2ForCausalLM", 152064)) == "qwen2.5");
  CHECK(id(rates("/models/mine/config.json", "Qwen3ForCausalLM", 151936)) == "qwen2.5");
  CHECK(id(rates("qwen3.5-4b", "", 248320)) == "qwen3.5");
  CHECK(id(rates("llama3.1-8b", "LlamaForCausalLM", 128256)) == "llama3");
  // Fanar and Hala have Llama 3's number of tokens, and others' tokens.
  CHECK(id(rates("fanar-1-9b", "Gemma2ForCausalLM", 128256)) == "none");
  CHECK(id(rates("/models/llama3/config.json", "LlamaForCausalLM", 128256)) == "none");
  const auto other = rates("allam-7b", "LlamaForCausalLM", 64000);
  REQUIRE_FALSE(other);
  CHECK(other.error().kind == Error::Kind::unknown);
  CHECK(other.error().hint.find("--tokenizer FILE") != std::string::npos);
}
