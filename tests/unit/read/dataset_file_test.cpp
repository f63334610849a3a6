#include "read/dataset_file.hpp"

#include <sys/stat.h>
#include <zlib.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "read/token_rates.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;

namespace {

/// One token for each character, so that lengths can be counted by hand.
TokenRates one_each() {
  TokenRates rates;
  rates.name = "one each";
  rates.rates.fill({1, 1, 1});
  return rates;
}

struct Files {
  test::TempFolder folder;
  std::string write(const std::string& name, const std::string& bytes) const {
    const std::string path = folder.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
};

DatasetQuestion about(const std::string& path) {
  DatasetQuestion question;
  question.file = path;
  question.rates = one_each();
  question.written_by = ChatTemplate::none;
  return question;
}

Dataset good(const DatasetQuestion& question) {
  const auto data = read_dataset(question);
  if (!data) INFO(data.error().what << " | " << data.error().where);
  REQUIRE(data);
  return *data;
}

std::string zipped(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

TEST_CASE("The same two texts are read from every format") {
  const Files files;
  const auto [name, bytes] = GENERATE(table<std::string, std::string>(
      {{"a.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"defgh\"}\n"},
       {"b.jsonl", "\xef\xbb\xbf{\"text\": \"abc\"}\r\n\r\n{\"text\": \"defgh\"}"},
       {"c.json", "[{\"text\": \"abc\"},\n {\"text\": \"d\\u0065fgh\", \"other\": [1, {\"x\": null}]}]\n"},
       {"d.json", "{\n  \"text\": \"abc\"\n}\n{\n  \"text\": \"defgh\"\n}\n"},
       {"e.json", "{\"data\": [{\"text\": \"abc\"}, {\"text\": \"defgh\"}]}"},
       {"f.json", "{\"text\": \"abc\"}\n{\"text\": \"defgh\"}\n"},
       {"g.csv", "id,text\n1,abc\n2,\"defgh\"\n"},
       {"h.tsv", "text\tid\nabc\t1\ndefgh\t2\n"},
       {"i.txt", "abc\n\ndefgh\n"},
       {"j", "abc\ndefgh"}}));
  CAPTURE(name);
  for (const bool is_zipped : {false, true}) {
    const std::string path = files.write(name + (is_zipped ? ".gz" : ""), is_zipped ? zipped(bytes) : bytes);
    const Dataset data = good(about(path));
    CHECK(data.examples == 2);
    CHECK(data.bad == 0);
    CHECK(data.is_gzip == is_zipped);
    CHECK(data.lengths.likely.total() == Tokens(3 + 5 + 2));  // and an end for each
    CHECK(data.lengths.likely.longest() == 6);
  }
}

TEST_CASE("Fields of a table keep their commas, quotes and line breaks") {
  const Files files;
  const Dataset data = good(about(files.write("a.csv", "text,n\r\n\"a,\"\"b\"\"\nc\",1\r\nx \"y\" z,2\r\nshort\r\n\"end\",3")));
  CHECK(data.examples == 3);
  CHECK(data.bad == 1);
  CHECK(data.bad_lines.at(0).line == 5);
  CHECK(data.lengths.likely.longest() == 8);  // x "y" z and its end: the space after a sign is no token
}

TEST_CASE("Shapes are known by their fields") {
  const Files files;
  const auto [shape, line, tokens] = GENERATE(table<DataShape, std::string, std::int64_t>(
      {{DataShape::alpaca, R"({"instruction": "ab", "input": "", "output": "cde"})", 2 + 1 + 3 + 1},
       {DataShape::alpaca, R"({"instruction": "ab", "input": null, "output": "cde", "history": [["x", "y"]]})", 2 + 1 + 3 + 1 + 4},
       {DataShape::alpaca, R"({"question": "ab", "answer": "cde"})", 2 + 1 + 3 + 1},
       {DataShape::messages, R"({"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cde"}]})", 7},
       {DataShape::messages, R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "ab"}, {"type": "image"}]}]})", 3},
       {DataShape::sharegpt, R"({"conversations": [{"from": "human", "value": "ab"}, {"from": "gpt", "value": "cde"}]})", 7},
       {DataShape::prompt_completion, R"({"prompt": "ab", "completion": "cde"})", 6},
       {DataShape::preference, R"({"prompt": "ab", "chosen": "cde", "rejected": "f"})", 6 + 4},
       {DataShape::text, R"({"text": "ab", "text": "cdef"})", 5}}));
  CAPTURE(line);
  const Dataset data = good(about(files.write("a.jsonl", line + "\n")));
  CHECK(data.shape == shape);
  CHECK(data.sequences == (shape == DataShape::preference ? 2 : 1));
  CHECK(data.lengths.likely.total() == Tokens(tokens));
}

TEST_CASE("A template adds what its marks are") {
  const Files files;
  DatasetQuestion question = about(files.write(
      "a.jsonl", R"({"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cde"}]})"));
  question.written_by = ChatTemplate::chatml;  // <|im_start|> role \n ... <|im_end|> \n, twice
  CHECK(good(question).lengths.likely.total() == Tokens(2 + 3 + 2 * 5));
  question.written_by = ChatTemplate::qwen3;  // <think> \n\n </think> \n\n before the answer
  CHECK(good(question).lengths.likely.total() == Tokens(2 + 3 + 2 * 5 + 4));
  question.written_by = ChatTemplate::llama3;
  CHECK(good(question).lengths.likely.total() == Tokens(2 + 3 + 1 + 2 * 5));
  CHECK(good(question).template_tokens.likely == Tokens(11));
}

TEST_CASE("A tokenizer counts the conversation as it is written, marks as one token each") {
  const Files files;
  auto tokenizer = Tokenizer::open(std::string(QWENPLAN_SOURCE_DIR) + "/tests/reference/tokenizers/qwen-like.json");
  REQUIRE(tokenizer);
  DatasetQuestion question = about(files.write(
      "a.jsonl", R"({"messages": [{"role": "user", "content": "\u0645\u0631\u062d\u0628\u0627"}, {"role": "assistant", "content": "Hello"}]})"));
  question.written_by = ChatTemplate::chatml;
  question.tokenizer = &*tokenizer;
  const auto count = tokenizer->encode("<|im_start|>user\nمرحبا<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n");
  REQUIRE(count);
  const Dataset data = good(question);
  CHECK(data.lengths.likely.total() == Tokens(*count));
  CHECK(data.evidence == Evidence::exact);
}

TEST_CASE("Bad lines are counted and named, and the others are read") {
  const Files files;
  std::string deep(100, '[');
  const std::string bytes = "{\"text\": \"good\"}\n"
                            "{\"text\": \"cut off\n"
                            "not json\n"
                            "{\"text\": 5}\n"
                            "{\"other\": \"x\"}\n"
                            "{\"text\": \"\\ud800\"}\n"
                            "{\"text\": \"\xff\"}\n"
                            "[1, 2]\n"
                            "{\"text\": \"x\"} {\"text\": \"y\"}\n"
                            "{\"text\": \"x\", \"deep\": " + deep + "\n"
                            "{\"text\": null}\n"
                            "{\"text\": \"\"}\n"
                            "{\"text\": \"last\"}\n";
  const Dataset data = good(about(files.write("a.jsonl", bytes)));
  CHECK(data.examples == 2);
  CHECK(data.bad == 9);
  CHECK(data.empty == 2);
  REQUIRE(data.bad_lines.size() == 5);
  CHECK(data.bad_lines[0].line == 2);
  CHECK(data.bad_lines[0].why == "a text has no end");
  CHECK(data.bad_lines[2].why == "a number stands where text is expected");
  CHECK(data.bad_lines[3].why == "it has no 'text'");
}

TEST_CASE("Files that hold no examples say what they are") {
  const Files files;
  const auto what = [&](const std::string& name, const std::string& bytes) {
    const auto data = read_dataset(about(files.write(name, bytes)));
    REQUIRE_FALSE(data);
    CHECK(data.error().kind == Error::Kind::wrong);
    return data.error().what;
  };
  CHECK(what("a.jsonl", "") == "the file is empty");
  CHECK(what("a.jsonl", std::string("{\"te\0xt\": 1}", 12)) == "the file is binary, not text: byte 4 is 0");
  CHECK(what("a.parquet", "PAR1....") == "the file is a Parquet file");
  CHECK(what("a.jsonl", "\xff\xfe{") == "the file is UTF-16");
  CHECK(what("a.jsonl", "{\"id\": 1, \"body\": \"x\"}\n") == "no field of text is known in it: id, body");
  CHECK(what("a.csv", "id,body\n1,x\n") == "no column of text is known in it: id, body");
  CHECK(what("a.jsonl", "{\"text\": \"\"}\n") == "the file has no example");
  CHECK(what("a.jsonl", "{broken\n") == "the file has no example: line 1: a key in quotes is expected");
  const std::string whole = zipped(std::string(10000, 'x') + "\n{\"text\": \"a\"}\n");
  CHECK(what("cut.gz", whole.substr(0, whole.size() - 9)).find("the data end too early") == 0);
  std::string damaged = whole;
  for (std::size_t i = 12; i < damaged.size() - 9; ++i) damaged[i] = static_cast<char>(damaged[i] ^ 0x5a);
  CHECK(what("bad.gz", damaged).find("of the gzip file") != std::string::npos);
  CHECK(read_dataset(about(files.folder.path())).error().what == "it is a folder");
  CHECK(read_dataset(about(files.folder.path() + "/none")).error().what == "no such file");
  CHECK(read_dataset(about("/dev/zero")).error().what == "it is neither a file nor a pipe");
  const std::string pipe = files.folder.path() + "/pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(read_dataset(about(pipe)).error().what == "the file is empty");
}

TEST_CASE("A record longer than the limit is passed over, not kept in memory") {
  const Files files;
  const std::string path = files.folder.path() + "/long.jsonl";
  {
    std::ofstream out(path, std::ios::binary);
    out << "{\"text\": \"a\"}\n{\"text\": \"";
    const std::string part(1 << 20, 'x');
    for (int i = 0; i < 70; ++i) out << part;
    out << "\"}\n{\"text\": \"b\"}\n";
  }
  const Dataset data = good(about(path));
  CHECK(data.examples == 2);
  CHECK(data.bad == 1);
  CHECK(data.bad_lines.at(0).line == 2);
}

TEST_CASE("A column by its name, a list of messages or text; paragraphs") {
  const Files files;
  DatasetQuestion question = about(files.write("a.jsonl", R"({"body": "abc", "title": "de"})"));
  question.columns = {"title", "body"};
  CHECK(good(question).lengths.likely.total() == Tokens(6));
  question = about(files.write("b.jsonl", R"({"chat": [{"role": "user", "content": "abc"}]})"));
  question.columns = {"chat"};
  CHECK(good(question).shape == DataShape::messages);
  question = about(files.write("c.txt", "a\nb\n \nc\n\n\n\nd"));
  question.by_paragraph = true;
  CHECK(good(question).examples == 3);
}

TEST_CASE("The rates hold the tokens of texts that Qwen's own tokenizer has counted") {
  // Articles 1 to 7 of the Universal Declaration of Human Rights: 738 characters of standard Arabic
  // in 261 tokens, 877 of English in 173; 115 characters of a sentence with all its signs, of which
  // 49 are signs, in 87; 139 of Egyptian dialect in 60.
  const auto rates = usual_token_rates();
  REQUIRE(rates);
  const auto tokens = [&](std::int64_t latin, std::int64_t arabic, std::int64_t marks) {
    TextCounts counts;
    counts.characters[static_cast<std::size_t>(Script::latin)] = latin;
    counts.characters[static_cast<std::size_t>(Script::arabic)] = arabic;
    counts.characters[static_cast<std::size_t>(Script::marks)] = marks;
    return tokens_of(counts, *rates);
  };
  const auto holds = [](const Range<double>& range, double counted) {
    return range.low <= counted && counted <= range.high;
  };
  CHECK(holds(tokens(0, 738, 0), 261));
  CHECK(holds(tokens(877, 0, 0), 173));
  CHECK(holds(tokens(0, 66, 49), 87));
  CHECK(holds(tokens(0, 139, 0), 60));
}
