#include "read/dataset_file.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include "read/json_cursor.hpp"
#include "read/record_reader.hpp"

namespace qwenplan {
namespace {

constexpr std::size_t kShownBadLines = 5;
constexpr std::int64_t kTriedForShape = 100;

Error wrong(const std::string& file, std::string what, std::string hint) {
  return {Error::Kind::wrong, std::move(what), file, std::move(hint)};
}

// ---- what kind of file it is

struct Magic {
  std::string_view bytes;
  std::string_view name;
  std::string_view hint;
};
constexpr std::string_view kToJsonl =
    "write it as jsonl: python -c \"import datasets; datasets.load_dataset('NAME', data_files='FILE', "
    "split='train').to_json('train.jsonl')\"";
constexpr Magic kMagics[] = {
    {"PAR1", "a Parquet file", kToJsonl},
    {"ARROW1", "an Arrow file", kToJsonl},
    {std::string_view("\xff\xff\xff\xff", 4), "an Arrow stream", kToJsonl},
    {"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it into a pipe: zstd -dc FILE | qwenplan dataset -"},
    {std::string_view("\xfd" "7zXZ", 5), "compressed with xz", "decompress it into a pipe: xz -dc FILE | qwenplan dataset -"},
    {"BZh", "compressed with bzip2", "decompress it into a pipe: bzip2 -dc FILE | qwenplan dataset -"},
    {"PK\x03\x04", "a zip archive", "unpack it first"},
    {"SQLite format 3", "an SQLite database", "write its rows as jsonl"},
};

/// An error if the bytes are not those of a text.
std::optional<Error> not_text(const std::string& file, std::string_view head) {
  for (const Magic& magic : kMagics)
    if (head.starts_with(magic.bytes))
      return wrong(file, "the file is " + std::string(magic.name), std::string(magic.hint));
  if (head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff"))
    return wrong(file, "the file is UTF-16", "write it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE >FILE.utf8");
  const std::size_t nul = head.find('\0');
  if (nul != head.npos)
    return wrong(file, "the file is binary, not text: byte " + std::to_string(nul) + " is 0",
                 "give jsonl, json, csv or text, plain or as gzip");
  return std::nullopt;
}

bool has_ending(std::string name, std::initializer_list<std::string_view> endings) {
  if (name.ends_with(".gz")) name.resize(name.size() - 3);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view each) { return name.ends_with(each); });
}

/// How records are cut, and the bytes before the first of them.
struct Layout {
  DataFormat format = DataFormat::text;
  RecordReader::Cut cut = RecordReader::Cut::lines;
  std::size_t skipped = 0;
  std::string reason;
};

Result<Layout> layout_of(const DatasetQuestion& question, std::string_view head) {
  Layout layout;
  const std::size_t start = std::min(head.find_first_not_of(" \t\r\n"), head.size());
  const char first = start < head.size() ? head[start] : '\0';
  const bool is_named_json = has_ending(question.file, {".json", ".jsonl", ".ndjson"});
  if (question.format) {
    layout.format = *question.format;
    layout.reason = "as --file-format says";
  } else if (has_ending(question.file, {".csv", ".tsv"})) {
    layout.format = DataFormat::csv;
    layout.reason = "by its name";
  } else if (has_ending(question.file, {".txt", ".text", ".md"})) {
    layout.format = DataFormat::text;
    layout.reason = "by its name";
  } else if (first == '[') {
    layout.format = DataFormat::json;
    layout.reason = "a list begins it";
  } else if (first == '{') {
    layout.format = DataFormat::jsonl;
    layout.reason = "an object begins it";
  } else if (is_named_json) {
    layout.format = has_ending(question.file, {".json"}) ? DataFormat::json : DataFormat::jsonl;
    layout.reason = "by its name";
  } else {
    layout.format = DataFormat::text;
    layout.reason = "neither JSON nor named as a table";
  }
  switch (layout.format) {
    case DataFormat::csv: layout.cut = RecordReader::Cut::csv_rows; break;
    case DataFormat::text:
      layout.cut = question.by_paragraph ? RecordReader::Cut::paragraphs : RecordReader::Cut::lines;
      break;
    case DataFormat::json:
    case DataFormat::jsonl: {
      if (first == '[') {
        layout.cut = RecordReader::Cut::json_values;
        layout.skipped = start + 1;
        if (layout.format == DataFormat::jsonl) {
          layout.format = DataFormat::json;
          layout.reason = "a list begins it, whatever its name";
        }
        break;
      }
      const std::string_view rest = head.substr(start);
      // {"data": [{...}, ...]}: the list within.
      JsonCursor cursor(rest);
      bool is_wrapped = false;
      cursor.members([&](std::string_view key) {
        const auto at = static_cast<std::size_t>(key.data() + key.size() - rest.data());
        const std::size_t list = rest.find_first_not_of(" \t\r\n:", at + 1);
        if (list != rest.npos && rest[list] == '[' && key != "messages" && key != "conversations" &&
            key != "conversation" && key != "history" && key != "chosen" && key != "rejected") {
          const std::size_t item = rest.find_first_not_of(" \t\r\n", list + 1);
          if (item != rest.npos && rest[item] == '{') {
            is_wrapped = true;
            layout.skipped = start + list + 1;
            layout.reason = "the list '" + std::string(key.substr(0, 40)) + "' in an object";
          }
        }
        return false;
      });
      const std::size_t line_end = rest.find('\n');
      const std::string_view line = rest.substr(0, line_end);
      JsonCursor one(line);
      JsonSlice slice;
      const bool is_by_lines = line_end == rest.npos || (one.take(slice) && one.at_end());
      // A file of one line may be one example that begins with a list; its name decides.
      if (is_wrapped && (!is_by_lines || (line_end == rest.npos && has_ending(question.file, {".json"})))) {
        layout.format = DataFormat::json;
        layout.cut = RecordReader::Cut::json_values;
      } else {
        layout.skipped = 0;
        // An object over several lines is followed by the next one without a list around them.
        const std::size_t second = line_end == rest.npos ? rest.npos : rest.find_first_not_of(" \t\r", line_end + 1);
        const bool is_pretty = !is_by_lines && line.find_first_not_of(" \t\r", 1) == line.npos &&
                               second != rest.npos && rest[second] == '"';
        layout.cut = is_pretty ? RecordReader::Cut::json_values : RecordReader::Cut::lines;
        layout.format = is_pretty ? DataFormat::json : DataFormat::jsonl;
        if (!question.format) layout.reason = is_pretty ? "objects over several lines" : "an object on each line";
      }
      break;
    }
  }
  return layout;
}

// ---- what an example consists of

/// The fields of an example that are read, by their place in `columns`.
struct ExampleFields {
  DataShape shape = DataShape::text;
  std::vector<std::string> columns;
};

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The shape of an example with these fields; nothing if it is none that is known.
std::optional<ExampleFields> known_shape(const std::vector<std::string>& names) {
  const auto optional = [&](std::string_view name) { return has(names, name) ? std::string(name) : std::string(); };
  if (has(names, "messages")) return ExampleFields{DataShape::messages, {"messages", optional("system")}};
  for (const char* key : {"conversations", "conversation"})
    if (has(names, key)) return ExampleFields{DataShape::sharegpt, {key, optional("system")}};
  if (has(names, "chosen") && has(names, "rejected")) {
    for (const char* key : {"prompt", "instruction", "question", "input"})
      if (has(names, key)) return ExampleFields{DataShape::preference, {key, "chosen", "rejected"}};
    return ExampleFields{DataShape::preference, {"", "chosen", "rejected"}};
  }
  constexpr std::array<std::array<const char*, 3>, 6> kPairs = {{{"instruction", "input", "output"},
                                                                 {"instruction", "context", "response"},
                                                                 {"query", "", "response"},
                                                                 {"question", "", "answer"},
                                                                 {"instruction", "", "answer"},
                                                                 {"input", "", "output"}}};
  for (const auto& [instruction, input, output] : kPairs)
    if (has(names, instruction) && has(names, output))
      return ExampleFields{DataShape::alpaca, {instruction, optional(input), output, optional("system"), optional("history")}};
  if (has(names, "prompt"))
    for (const char* key : {"completion", "response"})
      if (has(names, key)) return ExampleFields{DataShape::prompt_completion, {"prompt", key}};
  for (const char* key : {"text", "content"})
    if (has(names, key)) return ExampleFields{DataShape::text, {key}};
  return std::nullopt;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < 12; ++i) out += (i ? ", " : "") + names[i].substr(0, 40);
  return out;
}

/// Roles by ShareGPT's names and the usual ones.
std::string_view role_of(std::string_view name) {
  if (name == "human" || name == "user") return "user";
  if (name == "gpt" || name == "assistant" || name == "bot" || name == "model" || name == "function_call") return "assistant";
  if (name == "observation" || name == "function") return "tool";
  return name;
}

/// Makes counts of examples out of records.
class Counter {
 public:
  Counter(const DatasetQuestion& question, Dataset& data) : question_(question), data_(data), conversation_(ChatTemplate::none) {}

  void set_shape(ExampleFields fields) {
    const bool is_talk = fields.shape == DataShape::messages || fields.shape == DataShape::sharegpt ||
                         fields.shape == DataShape::alpaca;
    conversation_ = Conversation(question_.written_by.value_or(is_talk ? question_.usual : ChatTemplate::none));
    is_chat_ = question_.written_by ? *question_.written_by != ChatTemplate::none : is_talk;
    data_.shape = fields.shape;
    data_.columns.clear();
    for (const std::string& column : fields.columns)
      if (!column.empty()) data_.columns.push_back(column);
    columns_ = std::move(fields.columns);
  }
  const std::vector<std::string>& columns() const { return columns_; }

  /// Counts one example by its fields; why it is bad, or null.
  const char* add(const std::vector<JsonSlice>& fields) {
    why_ = nullptr;
    pending_.clear();
    has_text_ = false;
    text_ = {};
    bool is_good = false;
    switch (data_.shape) {
      case DataShape::messages:
      case DataShape::sharegpt:
        is_good = sequence([&] { return opening(fields, 1) && messages(fields[0]); });
        break;
      case DataShape::alpaca:
        is_good = sequence([&] { return alpaca(fields); });
        break;
      case DataShape::prompt_completion:
        is_good = sequence([&] { return part("user", fields[0], false) && part("assistant", fields[1], true); });
        break;
      case DataShape::preference:
        is_good = true;
        for (const std::size_t answer : {std::size_t{1}, std::size_t{2}})
          is_good = is_good && sequence([&] {
            return (columns_[0].empty() || part("user", fields[0], false)) && part("assistant", fields[answer], true);
          });
        break;
      case DataShape::text:
        is_good = sequence([&] {
          for (const JsonSlice& field : fields)
            if (!part("user", field, false)) return false;
          return true;
        });
        break;
    }
    if (!is_good) return why_ ? why_ : "it cannot be read";
    if (!has_text_) {
      ++data_.empty;
      return nullptr;
    }
    ++data_.examples;
    data_.text += text_;
    for (const Range<std::int64_t>& each : pending_) {
      ++data_.sequences;
      data_.lengths.low.add(each.low);
      data_.lengths.likely.add(each.likely);
      data_.lengths.high.add(each.high);
    }
    data_.template_tokens = data_.template_tokens + template_;
    return nullptr;
  }

 private:
  struct Message {
    std::string_view role;
    JsonSlice content, calls;
  };

  bool bad(const char* why) {
    why_ = why;
    return false;
  }

  /// Runs `write` on an empty conversation and counts what it wrote.
  template <class Write>
  bool sequence(Write write) {
    conversation_.clear();
    counts_ = {};
    if (!write()) return false;
    conversation_.end_of_text();
    text_ += counts_;
    const std::int64_t marks = conversation_.marks();
    template_ = Range<Tokens>::exactly(Tokens(marks));
    if (question_.tokenizer) {
      const auto count = question_.tokenizer->encode(conversation_.text());
      if (!count) {
        reason_ = count.error().what;
        return bad(reason_.c_str());
      }
      if (!conversation_.words().empty())
        if (const auto spoken = question_.tokenizer->encode(conversation_.words()))
          template_ = Range<Tokens>::exactly(Tokens(marks + *spoken));
      const bool has_end = conversation_.adds_end();
      pending_.push_back(Range<std::int64_t>::exactly(*count + (has_end ? 1 : 0)));
      return true;
    }
    Range<double> tokens = tokens_of(counts_, question_.rates);
    if (!conversation_.words().empty()) {
      TextCounts words;
      count_text(conversation_.words(), words);
      const Range<double> spoken = tokens_of(words, question_.rates);
      tokens = tokens + spoken;
      template_ = template_ + Range<Tokens>{Tokens(std::llround(spoken.low)), Tokens(std::llround(spoken.likely)),
                                            Tokens(std::llround(spoken.high))};
    }
    const std::int64_t least = counts_.bytes > 0 ? 1 : 0;
    pending_.push_back({std::max(least, static_cast<std::int64_t>(tokens.low)) + marks,
                        std::max(least, static_cast<std::int64_t>(std::llround(tokens.likely))) + marks,
                        std::max(least, static_cast<std::int64_t>(std::ceil(tokens.high))) + marks});
    return true;
  }

  bool opening(const std::vector<JsonSlice>& fields, std::size_t system) {
    if (system >= fields.size() || fields[system].kind != JsonKind::string || fields[system].text.empty()) return true;
    return message("system", fields[system], false);
  }

  bool alpaca(const std::vector<JsonSlice>& fields) {
    if (!opening(fields, 3)) return false;
    if (fields[4].kind == JsonKind::array) {
      JsonCursor cursor(fields[4].text);
      const bool is_whole = cursor.items([&] {
        bool is_answer = false;
        return cursor.items([&] {
          JsonSlice turn;
          if (!cursor.take(turn)) return false;
          const bool is_good = message(is_answer ? "assistant" : "user", turn, false);
          is_answer = true;
          return is_good;
        });
      });
      if (!is_whole) return bad(why_ ? why_ : "its history is no list of pairs");
    }
    conversation_.begin("user");
    if (!content(fields[0])) return false;
    if (fields[1].kind == JsonKind::string && !fields[1].text.empty()) {
      const std::size_t from = conversation_.text().size();
      conversation_.text() += '\n';
      if (!counted(from) || !content(fields[1])) return false;
    }
    conversation_.finish();
    return message("assistant", fields[2], true);
  }

  bool messages(const JsonSlice& list) {
    if (list.kind == JsonKind::null || list.kind == JsonKind::none) return true;
    if (list.kind == JsonKind::string) return bad("its messages are a text, not a list");
    if (list.kind != JsonKind::array) return bad("its messages are no list");
    messages_.clear();
    JsonCursor cursor(list.text);
    const bool is_whole = cursor.items([&] {
      if (cursor.kind() != JsonKind::object) return bad("a message is no object");
      Message one;
      const bool is_good = cursor.members([&](std::string_view key) {
        JsonSlice value;
        if (!cursor.take(value)) return false;
        if ((key == "role" || key == "from") && value.kind == JsonKind::string) one.role = role_of(value.text);
        if (key == "content" || key == "value") one.content = value;
        if (key == "tool_calls" && value.kind == JsonKind::array) one.calls = value;
        return true;
      });
      if (!is_good) return false;
      if (one.role.empty()) return bad("a message has no role");
      messages_.push_back(one);
      return true;
    });
    if (!is_whole) return bad(why_ ? why_ : "its messages are damaged");
    for (const Message& one : messages_) {
      conversation_.begin(one.role, &one == &messages_.back());
      if (!content(one.content)) return false;
      if (one.calls.kind == JsonKind::array) {
        const std::size_t from = conversation_.text().size();
        conversation_.text() += one.calls.text;
        if (!counted(from)) return false;
      }
      conversation_.finish();
    }
    return true;
  }

  /// A field that is a text, or a list of messages; joined to what is there if it is no conversation.
  bool part(std::string_view role, const JsonSlice& field, bool is_last) {
    if (field.kind == JsonKind::array) return messages(field);
    if (is_chat_) return message(role, field, is_last);
    return content(field);
  }

  bool message(std::string_view role, const JsonSlice& text, bool is_last) {
    conversation_.begin(role, is_last);
    if (!content(text)) return false;
    conversation_.finish();
    return true;
  }

  bool content(const JsonSlice& value) {
    switch (value.kind) {
      case JsonKind::none:
      case JsonKind::null: return true;
      case JsonKind::string: {
        const std::size_t from = conversation_.text().size();
        if (!JsonCursor::decode(value, conversation_.text())) return bad("a text has an escape that is none");
        return counted(from);
      }
      case JsonKind::array: return parts(value);
      case JsonKind::number: return bad("a number stands where text is expected");
      case JsonKind::boolean: return bad("true or false stands where text is expected");
      case JsonKind::object: return bad("an object stands where text is expected");
    }
    return false;
  }

  /// [{"type": "text", "text": "..."}, {"type": "image", ...}]
  bool parts(const JsonSlice& list) {
    JsonCursor cursor(list.text);
    const bool is_whole = cursor.items([&] {
      JsonSlice text;
      if (cursor.kind() == JsonKind::object) {
        const bool is_good = cursor.members([&](std::string_view key) {
          JsonSlice value;
          if (!cursor.take(value)) return false;
          if (key == "text") text = value;
          return true;
        });
        if (!is_good) return false;
      } else if (!cursor.take(text)) {
        return false;
      }
      if (text.kind == JsonKind::string) return content(text);
      ++data_.other_parts;
      return true;
    });
    return is_whole || bad(why_ ? why_ : "the parts of a message are damaged");
  }

  bool counted(std::size_t from) {
    const std::string_view text = std::string_view(conversation_.text()).substr(from);
    if (text.empty()) return true;
    has_text_ = true;
    return count_text(text, counts_) || bad("it is not UTF-8");
  }

  const DatasetQuestion& question_;
  Dataset& data_;
  Conversation conversation_;
  bool is_chat_ = false;
  std::vector<std::string> columns_;
  std::vector<Message> messages_;
  std::vector<Range<std::int64_t>> pending_;  ///< lengths of the sequences of one example
  TextCounts counts_, text_;                  ///< of one sequence, of one example
  Range<Tokens> template_{};
  bool has_text_ = false;
  const char* why_ = nullptr;
  std::string reason_;
};

/// The fields of a row of CSV, without their quotes.
void fields_of_row(std::string_view row, char comma, std::vector<std::string>& fields) {
  std::size_t n = 0;
  const auto next = [&]() -> std::string& {
    if (n == fields.size()) fields.emplace_back();
    fields[n].clear();
    return fields[n++];
  };
  std::size_t i = 0;
  for (;;) {
    std::string& field = next();
    if (i < row.size() && row[i] == '"') {
      ++i;
      for (;;) {
        const std::size_t quote = row.find('"', i);
        if (quote == row.npos) {
          field.append(row.substr(i));
          i = row.size();
          break;
        }
        field.append(row.substr(i, quote - i));
        i = quote + 1;
        if (i >= row.size() || row[i] != '"') break;
        field += '"';
        ++i;
      }
    }
    const std::size_t end = std::min(row.find(comma, i), row.size());
    field.append(row.substr(i, end - i));
    i = end;
    if (i == row.size()) break;
    ++i;
  }
  fields.resize(n);
}

char comma_of(std::string_view header) {
  char best = ',';
  std::ptrdiff_t most = 0;
  for (const char c : {',', '\t', ';'})
    if (const auto n = std::count(header.begin(), header.end(), c); n > most) {
      most = n;
      best = c;
    }
  return best;
}

}  // namespace

Result<Dataset> read_dataset(const DatasetQuestion& question) {
  auto stream = ByteStream::open(question.file);
  if (!stream) return stream.error();
  RecordReader reader(std::move(*stream));
  const auto head = reader.head();
  if (!head) return head.error();
  if (head->empty()) return wrong(question.file, "the file is empty", "give a file with examples");
  if (auto error = not_text(question.file, *head)) return *std::move(error);
  const auto layout = layout_of(question, *head);
  if (!layout) return layout.error();

  Dataset data;
  data.file = question.file;
  data.format = layout->format;
  data.format_reason = layout->reason;
  data.is_gzip = reader.stream().is_gzip();
  data.tokenizer = question.rates.name;
  reader.skip(layout->skipped);

  Counter counter(question, data);
  std::optional<ExampleFields> fields;
  if (layout->format == DataFormat::text) fields = ExampleFields{DataShape::text, {"line"}};
  if (fields) counter.set_shape(*fields);
  std::vector<std::string> first_names, row_names, row;
  std::vector<JsonSlice> slices;
  std::int64_t tried = 0;
  char comma = ',';
  const auto bad = [&](std::int64_t line, std::string why) {
    ++data.bad;
    if (data.bad_lines.size() < kShownBadLines) data.bad_lines.push_back({line, std::move(why)});
  };
  /// Decides the shape by the names of the fields; false if they say nothing.
  const auto decide = [&](const std::vector<std::string>& names, JsonKind kind_of_first) {
    if (first_names.empty()) first_names = names;
    if (question.columns.empty()) {
      fields = known_shape(names);
    } else if (std::all_of(question.columns.begin(), question.columns.end(),
                           [&](const std::string& each) { return has(names, each); })) {
      const bool is_list = kind_of_first == JsonKind::array;
      fields = ExampleFields{is_list ? DataShape::messages : DataShape::text, question.columns};
      if (is_list) fields->columns = {question.columns[0], ""};
    }
    if (fields) counter.set_shape(*fields);
    return fields.has_value();
  };

  if (layout->format == DataFormat::csv) {
    const auto header = reader.next(layout->cut);
    if (!header) return header.error();
    if (*header && !(*header)->is_too_long) {
      comma = comma_of((*header)->text);
      fields_of_row((*header)->text, comma, row_names);
    }
    if (!decide(row_names, JsonKind::string))
      return wrong(question.file, "no column of text is known in it: " + joined(row_names),
                   "name one: --column " + (row_names.empty() ? "text" : row_names[0].substr(0, 40)));
  }

  std::int64_t shown_at = 0;
  for (;;) {
    const auto next = reader.next(layout->cut);
    if (!next) return next.error();
    if (!*next) break;
    const Record& record = **next;
    if (question.progress && reader.read_bytes() - shown_at > (8 << 20)) {
      shown_at = reader.read_bytes();
      question.progress(reader.stream().taken(), reader.stream().size());
    }
    if (record.is_too_long) {
      bad(record.line, "it is longer than " + std::to_string(RecordReader::kLongest >> 20) + " MiB");
      continue;
    }
    const char* why = nullptr;
    if (layout->format == DataFormat::text) {
      if (record.text.find_first_not_of(" \t\r\n") == record.text.npos) continue;
      slices.assign(1, {JsonKind::string, record.text, false});
      why = counter.add(slices);
    } else if (layout->format == DataFormat::csv) {
      if (record.text.empty()) continue;
      fields_of_row(record.text, comma, row);
      if (row.size() != row_names.size()) {
        bad(record.line, "it has " + std::to_string(row.size()) + (row.size() == 1 ? " field" : " fields") +
                             ", the first line has " + std::to_string(row_names.size()));
        continue;
      }
      slices.assign(counter.columns().size(), {});
      for (std::size_t c = 0; c < counter.columns().size(); ++c)
        for (std::size_t i = 0; i < row.size(); ++i)
          if (row_names[i] == counter.columns()[c]) slices[c] = {JsonKind::string, row[i], false};
      why = counter.add(slices);
    } else {
      if (record.text.find_first_not_of(" \t\r\n") == record.text.npos) continue;
      JsonCursor cursor(record.text);
      if (layout->cut == RecordReader::Cut::json_values && record.text == "]") break;
      if (cursor.kind() != JsonKind::object) {
        JsonSlice value;
        const bool is_json = cursor.take(value) && cursor.at_end();
        bad(record.line, is_json ? "it is " + std::string(name(value.kind)) + ", not an object" : "it is no JSON");
        continue;
      }
      if (!fields) {
        std::vector<std::string> names;
        JsonKind kind_of_first = JsonKind::none;
        JsonCursor look(record.text);
        const bool is_whole = look.members([&](std::string_view key) {
          JsonSlice value;
          if (!look.take(value)) return false;
          names.emplace_back(key);
          if (!question.columns.empty() && key == question.columns[0]) kind_of_first = value.kind;
          return true;
        });
        if (!is_whole || !look.at_end()) {
          bad(record.line, look.why() ? look.why() : "something follows the object");
          continue;
        }
        if (!decide(names, kind_of_first)) {
          bad(record.line, "it has no field of text that is known");
          if (++tried == kTriedForShape) break;
          continue;
        }
      }
      const auto& columns = counter.columns();
      slices.assign(columns.size(), {});
      const bool is_whole = cursor.members([&](std::string_view key) {
        JsonSlice value;
        if (!cursor.take(value)) return false;
        for (std::size_t c = 0; c < columns.size(); ++c)
          if (key == columns[c]) slices[c] = value;  // of two of a name the last counts
        return true;
      });
      if (!is_whole || !cursor.at_end()) {
        why = cursor.why() ? cursor.why() : "something follows the object";
      } else if (slices[0].kind == JsonKind::none && !columns[0].empty()) {
        bad(record.line, "it has no '" + columns[0] + "'");
        continue;
      } else {
        why = counter.add(slices);
      }
    }
    if (why) bad(record.line, why);
  }
  data.evidence = question.tokenizer ? Evidence::exact : evidence_of(data.text, question.rates);
  data.file_bytes = Bytes(reader.stream().taken());
  data.read_bytes = Bytes(reader.read_bytes());
  if (question.progress) question.progress(reader.stream().taken(), reader.stream().size());

  if (!fields && !first_names.empty())
    return wrong(question.file, "no field of text is known in it: " + joined(first_names),
                 "name one: --column " + first_names[0].substr(0, 40));
  if (data.examples == 0) {
    std::string what = "the file has no example";
    if (data.bad > 0)
      what += ": line " + std::to_string(data.bad_lines[0].line) + ": " + data.bad_lines[0].why;
    return wrong(question.file, std::move(what),
                 data.bad > 0 ? std::to_string(data.bad) + " bad lines; is it " + std::string(name(data.format)) + "?"
                              : "its examples have no text");
  }
  return data;
}

}  // namespace qwenplan
