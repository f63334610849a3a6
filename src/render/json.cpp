#include <charconv>
#include <cmath>
#include <string>

#include "qwenplan/base/version.hpp"
#include "render/render.hpp"

namespace qwenplan {
namespace {

constexpr std::size_t kWidth = 100;

void write_string(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const auto c = static_cast<unsigned char>(text[0]);
    if (length == 0)
      out += kUnreadable;
    else if (c == '"' || c == '\\')
      (out += '\\') += text[0];
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || c == 0x7F)
      (((out += "\\u00") += kHex[c >> 4]) += kHex[c & 15U]);
    else
      out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
}

/// The shortest text that reads back as the same double, always told from a whole number.
void write_number(double number, std::string& out) {
  if (!std::isfinite(number)) {
    out += "null";
    return;
  }
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  const std::string_view digits(text, static_cast<std::size_t>(end - text));
  out += digits;
  if (digits.find_first_of(".e") == std::string_view::npos) out += ".0";
}

struct Writer {
  std::string& out;

  /// On one line.
  void flat(const Value& value) {
    std::visit([this](const auto& data) { flat_data(data); }, value.data());
  }
  void flat_data(std::nullptr_t) { out += "null"; }
  void flat_data(bool is) { out += is ? "true" : "false"; }
  void flat_data(std::int64_t number) { out += std::to_string(number); }
  void flat_data(double number) { write_number(number, out); }
  void flat_data(const std::string& text) { write_string(text, out); }
  void flat_data(const Value::List& items) {
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ", ";
      flat(items[i]);
    }
    out += ']';
  }
  void flat_data(const Value::Object& members) {
    out += '{';
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += ", ";
      write_string(members[i].first, out);
      out += ": ";
      flat(members[i].second);
    }
    out += '}';
  }

  /// On one line if it is a leaf or holds leaves alone and the line is not too long.
  void indented(const Value& value, std::size_t depth) {
    const Value::List* items = value.as_list();
    const Value::Object* members = value.as_object();
    const std::size_t size = items ? items->size() : members ? members->size() : 0;
    const std::size_t start = out.size();
    if (size == 0 || (depth > 0 && holds_leaves(value))) {
      flat(value);
      if (size == 0 || out.size() - start + 2 * depth <= kWidth) return;
      out.resize(start);
    }
    out += items ? '[' : '{';
    for (std::size_t i = 0; i < size; ++i) {
      out += i > 0 ? ",\n" : "\n";
      out.append(2 * (depth + 1), ' ');
      if (members) {
        write_string((*members)[i].first, out);
        out += ": ";
      }
      indented(items ? (*items)[i] : (*members)[i].second, depth + 1);
    }
    out += '\n';
    out.append(2 * depth, ' ');
    out += items ? ']' : '}';
  }
  static bool holds_leaves(const Value& value) {
    if (const Value::List* items = value.as_list())
      for (const Value& item : *items)
        if (!item.is_leaf()) return false;
    if (const Value::Object* members = value.as_object())
      for (const Value::Member& member : *members)
        if (!member.second.is_leaf()) return false;
    return true;
  }
};

}  // namespace

std::string to_json(const Value& value) {
  std::string out;
  Writer{out}.indented(value, 0);
  return out;
}

std::string to_json_line(const Value& value) {
  std::string out;
  Writer{out}.flat(value);
  return out;
}

std::string to_json(const Answer& answer) {
  Value whole = Value::object();
  whole.set("schema", answer.schema);
  whole.set("version", kVersion);
  whole.set("data_as_of", answer.data_as_of.empty() ? Value() : Value(answer.data_as_of));
  Value& inputs = whole.set("inputs", Value::object());
  for (const Input& input : answer.inputs)
    inputs.set(input.name, Value::object({{"value", input.value}, {"from", input.from}}));
  for (const Value::Member& member : *answer.json.as_object())
    whole.set(member.first, member.second);
  if (answer.json.find("notes") == nullptr) {
    Value& notes = whole.set("notes", Value::list());
    for (const std::string& note : answer.notes) notes.push(note);
  }
  return to_json(whole) + "\n";
}

std::string render_error(const Error& error, Format format, const Style& style) {
  if (format == Format::json) {
    const Value object = Value::object(
        {{"error", Value::object({{"kind", error.kind == Error::Kind::wrong ? "wrong" : "unknown"},
                                  {"what", error.what},
                                  {"where", error.where},
                                  {"hint", error.hint}})}});
    std::string out;
    Writer{out}.flat(object);
    return out + "\n";
  }
  return paint("error:", Tone::bad, style) + " " + harmless(error.what) +
         "\n  in: " + harmless(error.where) + "\n  help: " + harmless(error.hint) + "\n";
}

}  // namespace qwenplan
