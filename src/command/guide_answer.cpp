#include "command/guide_answer.hpp"

#include <cstdint>
#include <variant>

#include "render/quantity.hpp"

namespace qwenplan {
namespace {

struct Shown {
  std::string operator()(std::nullptr_t) const { return "none"; }
  std::string operator()(bool is) const { return is ? "true" : "false"; }
  std::string operator()(std::int64_t number) const { return std::to_string(number); }
  std::string operator()(double number) const { return plain(number); }
  std::string operator()(const std::string& text) const { return text; }
  std::string operator()(const Value::List&) const { return ""; }
  std::string operator()(const Value::Object&) const { return ""; }
};

/// The leaves of a result as lines of two columns; lists of leaves on one line.
void add_leaves(const Value& value, const std::string& path, Table& table) {
  const auto inside = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
  if (const Value::Object* members = value.as_object()) {
    for (const Value::Member& member : *members)
      add_leaves(member.second, inside(member.first), table);
  } else if (const Value::List* items = value.as_list()) {
    for (std::size_t i = 0; i < items->size(); ++i)
      add_leaves((*items)[i], inside(std::to_string(i)), table);
  } else {
    table.rows.push_back({path, std::visit(Shown{}, value.data())});
  }
}

void add_differences(std::initializer_list<guide::GuideSystem> systems, Answer& answer) {
  Value& list = answer.json.set("differs", Value::list());
  Table table{{{"where the guide differs"}, {"guide"}, {"qwenplan"}}, {}};
  for (const guide::GuideSystem system : systems)
    for (const guide::Difference& each : guide::differences(system)) {
      list.push(Value::object({{"what", each.what},
                               {"guide", each.guide},
                               {"ours", each.ours},
                               {"why", each.why},
                               {"source", each.source}}));
      table.rows.push_back(
          {std::string(each.what), std::string(each.guide), std::string(each.ours)});
    }
  if (!table.rows.empty()) answer.add(std::move(table));
}

}  // namespace

Answer guide_answer(std::string schema, std::vector<std::pair<std::string, Value>> results,
                    std::initializer_list<guide::GuideSystem> systems) {
  Answer answer;
  answer.schema = std::move(schema);
  answer.add(Headline{"the published guide's own arithmetic, for comparison"});
  Value& members = answer.json.set("guide", Value::object());
  for (auto& [name, result] : results) {
    Table table{{{name}, {""}}, {}};
    add_leaves(result, "", table);
    answer.add(std::move(table));
    members.set(name, std::move(result));
  }
  add_differences(systems, answer);
  return answer;
}

Value guide_rows(const guide::Table& table) {
  Value rows = Value::list();
  for (std::size_t i = 0; i < table.rows(); ++i) {
    Value& row = rows.push(Value::object());
    for (std::size_t j = 0; j < table.width; ++j)
      row.set(std::string(table.columns()[j]), table.row(i)[j]);
  }
  return rows;
}

Answer guide_table(std::string schema, const guide::Table& table,
                   std::initializer_list<guide::GuideSystem> systems) {
  Answer answer;
  answer.schema = std::move(schema);
  answer.add(Headline{"as the published guide prints it: " + std::string(table.title)});
  Table shown;
  for (const std::string_view column : table.columns())
    shown.columns.push_back({std::string(column)});
  for (std::size_t i = 0; i < table.rows(); ++i)
    shown.rows.emplace_back(table.row(i).begin(), table.row(i).end());
  answer.add(std::move(shown));
  Value rows = guide_rows(table);
  answer.json.set("guide", Value::object({{"rows", rows}}));
  answer.rows = std::move(rows);
  add_differences(systems, answer);
  return answer;
}

}  // namespace qwenplan
