#include <string>
#include <utility>
#include <vector>

#include "render/render.hpp"

namespace qwenplan {
namespace {

using Cells = std::vector<std::pair<std::string, std::string>>;

std::string quoted(std::string cell) {
  for (char& c : cell)
    if (const auto byte = static_cast<unsigned char>(c); (byte < 0x20 && c != '\n') || byte == 0x7F)
      c = ' ';
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string out = "\"";
  for (const char c : cell) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

/// The leaves of a tree with their paths: {"a": {"b": 1}} is a.b = 1. An empty cell is not known.
void flatten(const Value& value, const std::string& path, Cells& cells) {
  const auto inside = [&](std::string_view key) {
    return path.empty() ? std::string(key) : path + "." + std::string(key);
  };
  if (const Value::Object* members = value.as_object()) {
    for (const Value::Member& member : *members)
      flatten(member.second, inside(member.first), cells);
  } else if (const Value::List* items = value.as_list()) {
    for (std::size_t i = 0; i < items->size(); ++i)
      flatten((*items)[i], inside(std::to_string(i)), cells);
  } else if (const std::string* text = std::get_if<std::string>(&value.data())) {
    cells.emplace_back(path, *text);
  } else if (std::holds_alternative<std::nullptr_t>(value.data())) {
    cells.emplace_back(path, "");
  } else {
    cells.emplace_back(path, to_json(value));
  }
}

void add_line(const std::vector<std::string>& cells, std::string& out) {
  for (std::size_t i = 0; i < cells.size(); ++i) (out += i > 0 ? "," : "") += quoted(cells[i]);
  out += "\n";
}

}  // namespace

std::string to_csv(const Answer& answer) {
  std::string out;
  if (!answer.rows) {
    Cells cells;
    flatten(answer.json, "", cells);
    add_line({"key", "value"}, out);
    for (const auto& [path, text] : cells) add_line({path, text}, out);
    return out;
  }

  std::vector<Cells> rows;
  std::vector<std::string> columns;
  for (const Value& row : *answer.rows->as_list()) {
    flatten(row, "", rows.emplace_back());
    for (const auto& [path, text] : rows.back()) {
      bool is_new = true;
      for (const std::string& column : columns) is_new = is_new && column != path;
      if (is_new) columns.push_back(path);
    }
  }
  add_line(columns, out);
  for (const Cells& row : rows) {
    std::vector<std::string> line(columns.size());
    for (const auto& [path, text] : row)
      for (std::size_t i = 0; i < columns.size(); ++i)
        if (columns[i] == path) line[i] = text;
    add_line(line, out);
  }
  return out;
}

}  // namespace qwenplan
