#include "render/render.hpp"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

Answer answer() {
  Answer a;
  a.schema = "qwenplan.test/1";
  a.inputs.push_back({"model", Value("qwen2.5-7b"), "flag"});
  a.json.set("size_bytes", Range<Bytes>{1_GiB, 2_GiB, 3_GiB});
  a.json.set("nothing", Value());
  a.notes.push_back("a note");
  a.add(Headline{"fits", Tone::good});
  a.add(Table{{{"name"}, {"size", Column::Align::right}}, {{"a|b", "1"}, {"c", "200"}}});
  return a;
}

}  // namespace

TEST_CASE("JSON keeps the order of fields and their kinds") {
  const std::string text = to_json(answer());
  const auto json = nlohmann::ordered_json::parse(text);
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  CHECK(keys == std::vector<std::string>{"schema", "version", "data_as_of", "inputs", "size_bytes",
                                         "nothing", "notes"});
  CHECK(json["inputs"]["model"]["from"] == "flag");
  CHECK(json["size_bytes"]["likely"].is_number_integer());
  CHECK(json["size_bytes"]["high"] == 3'221'225'472);
  CHECK(json["nothing"].is_null());
  CHECK(json["data_as_of"].is_null());
  CHECK(text.back() == '\n');
}

TEST_CASE("doubles read back as they were, and are told from whole numbers") {
  for (const double number : {0.1, 1.0 / 3.0, 11.850000000000001, 1e300, 5e-324, 2.0, -0.0}) {
    const std::string text = to_json(Value(number));
    CHECK(nlohmann::json::parse(text).get<double>() == number);
    CHECK(nlohmann::json::parse(text).is_number_float());
  }
  CHECK(to_json(Value(2)) == "2");
  CHECK(to_json(Value(std::numeric_limits<double>::quiet_NaN())) == "null");
  CHECK(to_json(Value(std::numeric_limits<double>::infinity())) == "null");
}

TEST_CASE("any bytes become JSON that can be read") {
  for (const std::string& text :
       {std::string("a\"b\\c\n\t"), std::string("\x01\x1f\x7f"), std::string("\xff\xfe"),
        std::string("caf\xc3\xa9"), std::string("\xed\xa0\x80"), std::string("\xf0\x9f\x98\x80"),
        std::string("\xc3"), std::string("\0nul", 4)}) {
    const auto json = nlohmann::json::parse(to_json(Value(text)), nullptr, false);
    CHECK(json.is_string());
  }
  CHECK(nlohmann::json::parse(to_json(Value("caf\xc3\xa9"))).get<std::string>() == "caf\xc3\xa9");
  CHECK(nlohmann::json::parse(to_json(Value("\xff"))).get<std::string>() == "\xef\xbf\xbd");
}

TEST_CASE("CSV quotes what needs it, and an unknown value is an empty cell") {
  Answer a;
  a.json.set("name", "a,\"b\"");
  a.json.set("unknown", Value());
  a.json.set("size", Value::object({{"low", 1}}));
  CHECK(to_csv(a) == "key,value\nname,\"a,\"\"b\"\"\"\nunknown,\nsize.low,1\n");
  a.rows = Value::list({Value::object({{"x", 1}}), Value::object({{"x", 2}, {"y", "z"}})});
  CHECK(to_csv(a) == "x,y\n1,\n2,z\n");
}

TEST_CASE("Markdown escapes what would break its tables") {
  CHECK(to_markdown(answer()) ==
        "**fits**\n\n| name | size |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 200 |\n");
}

TEST_CASE("tables line up by the width that a terminal shows") {
  const Table table{{{"name"}, {"n", Column::Align::right}},
                    {{"\xe6\x97\xa5\xe6\x9c\xac", "1"}, {"abcde", "22"}}};
  CHECK(layout(table, {80, false, true}) ==
        "  name    n\n  \xe6\x97\xa5\xe6\x9c\xac    1\n  abcde  22\n");
  CHECK(display_width("e\xcc\x81") == 1);
}

TEST_CASE("a table wider than the terminal wraps within its widest column") {
  const Table table{{{"a"}, {"b"}}, {{"x", "one two three four five six seven eight nine ten"}}};
  const std::string text = layout(table, {40, false, true});
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    CHECK(end - at <= 40);
    at = end + 1;
  }
  CHECK(text.find("ten") != std::string::npos);
}

TEST_CASE("bars are as long as their values, and the limit stands where it is") {
  Bars bars;
  bars.bars = {{"a", 50, "50", "", Tone::plain}, {"b", 100, "100", "<- peak", Tone::plain}};
  bars.limit = 75;
  const std::string text = layout(bars, {60, false, false});
  const std::string a = text.substr(0, text.find('\n'));
  const std::string b = text.substr(text.find('\n') + 1);
  CHECK(std::count(b.begin(), b.end(), '#') == 2 * std::count(a.begin(), a.end(), '#'));
  CHECK(a.find('|') == b.find('|'));
  CHECK(a.find('|') > a.rfind('#'));
  CHECK(b.find('|') < b.rfind('#'));
}

TEST_CASE("colour repeats words, and only where it is wanted") {
  CHECK(paint("fits", Tone::good, {80, false, true}) == "fits");
  CHECK(paint("fits", Tone::good, {80, true, true}) == "\033[1;32mfits\033[0m");
}

TEST_CASE("an error has three lines, or is one object") {
  const Error error{Error::Kind::wrong, "unknown gpu 'x\033[31m'", "--gpu", "say \"y\""};
  CHECK(render_error(error, Format::text, {80, false, true}) ==
        "error: unknown gpu 'x [31m'\n  in: --gpu\n  help: say \"y\"\n");
  const auto json = nlohmann::json::parse(render_error(error, Format::json, {80, false, true}));
  CHECK(json["error"]["kind"] == "wrong");
  CHECK(json["error"]["what"] == error.what);
  CHECK(json["error"]["where"] == "--gpu");
  CHECK(json["error"]["hint"] == error.hint);
}
