#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "qwenplan/base/nearest.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

using Json = nlohmann::ordered_json;
using Kind = Tables::Kind;

constexpr std::pair<std::string_view, Kind> kKinds[] = {
    {"gpus", Kind::gpus},
    {"models", Kind::models},
    {"sources", Kind::sources},
    {"prices", Kind::prices},
    {"machines", Kind::machines},
    {"measurements", Kind::measurements},
    {"calibration", Kind::calibration}};

Value as_value(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return Value(json.get<std::int64_t>());
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(json.get<std::string>());
    case Json::value_t::array: {
      Value list = Value::list();
      for (const Json& item : json) list.push(as_value(item));
      return list;
    }
    case Json::value_t::object: {
      Value object = Value::object();
      for (const auto& [key, item] : json.items()) object.set(key, as_value(item));
      return object;
    }
    default:
      return Value();
  }
}

/// A row of a table, or the error of a row that cannot be read.
Result<Json> read_row(const Tables& tables, Kind kind, std::string_view id) {
  const auto line = tables.row(kind, id);
  if (!line) return line.error();
  return Json::parse(*line, nullptr, false);
}

std::string shown(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return "-";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number_integer()) return grouped(found->get<std::int64_t>());
  return found->dump();
}

/// A row's leaves as two columns.
void add_leaves(const Json& json, const std::string& path, Table& table) {
  if (json.is_object()) {
    for (const auto& [key, item] : json.items())
      add_leaves(item, path.empty() ? key : path + "." + key, table);
  } else if (json.is_array() && !json.empty() && json[0].is_object()) {
    for (std::size_t i = 0; i < json.size(); ++i)
      add_leaves(json[i], path + "." + std::to_string(i), table);
  } else if (json.is_array()) {
    std::string items;
    for (const Json& item : json)
      (items += items.empty() ? "" : ", ") +=
          item.is_string() ? item.get<std::string>() : item.dump();
    table.rows.push_back({path, items});
  } else {
    table.rows.push_back({path, json.is_string() ? json.get<std::string>() : json.dump()});
  }
}

/// Every source that a row names.
void add_sources(const Json& json, std::vector<std::string>& keys) {
  if (json.is_array())
    for (const Json& item : json) add_sources(item, keys);
  if (!json.is_object()) return;
  for (const auto& [key, item] : json.items()) {
    if (key == "source" && item.is_string()) {
      const std::string name = item.get<std::string>();
      if (std::find(keys.begin(), keys.end(), name) == keys.end()) keys.push_back(name);
    } else {
      add_sources(item, keys);
    }
  }
}

Answer begin(const Invocation& in, const Tables& tables, std::string schema) {
  Answer answer;
  answer.schema = std::move(schema);
  answer.data_as_of = tables.as_of();
  if (!in.data_directory.empty()) {
    answer.inputs.push_back({"data", Value(in.data_directory), in.data_from});
    Value changed = Value::list();
    for (const std::string& row : tables.overridden()) changed.push(row);
    answer.json.set("overridden", std::move(changed));
  }
  return answer;
}

Result<Kind> kind_named(const std::string& word) {
  std::vector<std::string> names;
  for (const auto& [name, kind] : kKinds) {
    if (folded(word) == name) return kind;
    names.emplace_back(name);
  }
  const auto near = nearest(folded(word), names);
  return Error{Error::Kind::wrong, "unknown table '" + word + "'", "data list",
               near.empty() ? "one of: gpus, models, sources, prices, machines, measurements, calibration" : "did you mean '" + near[0] + "'?"};
}

}  // namespace

Result<Answer> data_list(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Answer answer = begin(in, *tables, "qwenplan.data-list/1");
  Value rows = Value::list();
  Table table;
  if (in.words.empty()) {
    table.columns = {{"table"}, {"rows", Column::Align::right}};
    for (const auto& [name, kind] : kKinds) {
      const auto count = static_cast<std::int64_t>(tables->ids(kind).size());
      rows.push(Value::object({{"table", name}, {"rows", count}}));
      table.rows.push_back({std::string(name), std::to_string(count)});
    }
    answer.add(Headline{"tables of " + tables->as_of() + "; 'qwenplan data list gpus' shows one"});
    answer.json.set("tables", rows);
  } else {
    const auto kind = kind_named(in.words[0]);
    if (!kind) return kind.error();
    std::vector<std::pair<std::string, const char*>> columns;
    using enum Column::Align;
    if (*kind == Kind::gpus) {
      table.columns = {
          {"id"}, {"name"}, {"memory", right}, {"bandwidth", right}, {"compute", right}};
      columns = {{"id", "id"},
                 {"name", "name"},
                 {"memory", "memory"},
                 {"bandwidth", "bandwidth"},
                 {"compute_capability", "compute_capability"}};
    } else if (*kind == Kind::models) {
      table.columns = {{"id"}, {"Hub"}, {"parameters", right}, {"class"}};
      columns = {{"id", "id"},
                 {"hub_id", "hub_id"},
                 {"parameters", "parameters"},
                 {"architecture", "architecture"}};
    } else if (*kind == Kind::prices) {
      table.columns = {
          {"id"}, {"GPU"}, {"GPUs", right}, {"on demand", right}, {"spot", right}, {"of"}};
      columns = {{"id", "id"},     {"gpu", "gpu"},   {"gpus", "gpus"}, {"on_demand", "on_demand"},
                 {"spot", "spot"}, {"as_of", "as_of"}};
    } else if (*kind == Kind::machines) {
      table.columns = {{"id"}, {"name"}, {"budget"}};
      columns = {{"id", "id"}, {"name", "name"}, {"budget", "budget"}};
    } else if (*kind == Kind::measurements) {
      table.columns = {
          {"id"}, {"source"}, {"allocated", right}, {"reserved", right}, {"device", right}, {"rate", right}};
      columns = {{"id", "id"},
                 {"source", "source"},
                 {"allocated", "allocated"},
                 {"reserved", "reserved"},
                 {"device", "device"},
                 {"rate", "rate"}};
    } else if (*kind == Kind::calibration) {
      table.columns = {{"id"}, {"what"}, {"value", right}, {"low", right}, {"high", right}};
      columns = {{"id", "id"}, {"what", "what"}, {"value", "value"}, {"low", "low"}, {"high", "high"}};
    } else {
      table.columns = {{"id"}, {"title"}, {"read"}};
      columns = {{"id", "id"}, {"title", "title"}, {"read", "read"}};
    }
    for (const std::string& id : tables->ids(*kind)) {
      const auto row = read_row(*tables, *kind, id);
      if (!row) return row.error();
      Value object = Value::object();
      std::vector<std::string> cells;
      for (const auto& [key, member] : columns) {
        object.set(key, row->contains(member) ? as_value((*row)[member]) : Value());
        cells.push_back(shown(*row, member));
      }
      rows.push(std::move(object));
      table.rows.push_back(std::move(cells));
    }
    answer.inputs.push_back({"table", Value(folded(in.words[0])), "flag"});
    answer.add(Headline{std::to_string(table.rows.size()) + " " + folded(in.words[0]) +
                        ", tables of " + tables->as_of()});
    answer.json.set("rows", rows);
  }
  answer.rows = std::move(rows);
  answer.add(std::move(table));
  return answer;
}

Result<Answer> data_show(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Answer answer = begin(in, *tables, "qwenplan.data-show/1");
  const std::string& wanted = in.words[0];

  std::optional<std::pair<Kind, std::string>> row_of;
  for (const auto& [name, kind] : kKinds) {
    const auto ids = tables->ids(kind);
    if (!row_of && std::find(ids.begin(), ids.end(), wanted) != ids.end()) row_of = {kind, wanted};
  }
  if (!row_of)
    if (const auto gpu = tables->gpu(wanted)) row_of = {Kind::gpus, gpu->gpu.id};
  if (!row_of)
    if (const auto model = tables->model(wanted); model && !model->is_file)
      row_of = {Kind::models, model->model.id};
  if (!row_of) {
    std::vector<std::string> names;
    for (const auto& [name, kind] : kKinds)
      for (std::string& id : tables->ids(kind)) names.push_back(std::move(id));
    const auto near = nearest(folded(wanted), names);
    return Error{Error::Kind::wrong, "no row is called '" + wanted + "'", "data show",
                 near.empty() ? "qwenplan data list gpus, or models, lists them"
                              : "did you mean '" + near[0] + "'?"};
  }

  const auto row = read_row(*tables, row_of->first, row_of->second);
  if (!row) return row.error();
  answer.inputs.push_back({"id", Value(row_of->second), "flag"});
  answer.json.set("row", as_value(*row));
  Table table{{{""}, {""}}, {}};
  add_leaves(*row, "", table);
  answer.add(Headline{row_of->second});
  answer.add(std::move(table));

  std::vector<std::string> keys;
  add_sources(*row, keys);
  Value sources = Value::list();
  std::vector<Paragraph> cited;
  for (const std::string& key : keys) {
    const auto source = read_row(*tables, Kind::sources, key);
    if (!source) return source.error();
    sources.push(as_value(*source));
    cited.push_back({key + ": " + shown(*source, "title") + ", " + shown(*source, "address") +
                     ", read " + shown(*source, "read")});
  }
  answer.json.set("sources", std::move(sources));
  for (Paragraph& each : cited) answer.add(std::move(each));
  return answer;
}

Result<Answer> data_check(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Answer answer = begin(in, *tables, "qwenplan.data-check/1");
  Value findings = Value::list();
  std::vector<std::string> lines;
  const auto find = [&](const std::string& where, const std::string& what) {
    findings.push(Value::object({{"where", where}, {"what", what}}));
    lines.push_back(where + ": " + what);
  };

  const auto source_ids = tables->ids(Kind::sources);
  std::int64_t rows = 0;
  for (const auto& [table, kind] : kKinds)
    for (const std::string& id : tables->ids(kind)) {
      ++rows;
      const std::string where = std::string(table) + "/" + id;
      const auto row = read_row(*tables, kind, id);
      if (!row) {
        find(where, row.error().what);
        continue;
      }
      if (kind == Kind::gpus)
        if (const auto gpu = tables->gpu(id); !gpu) find(where, gpu.error().what);
      if (kind == Kind::models)
        if (const auto model = tables->model(id); !model) find(where, model.error().what);
      std::vector<std::string> keys;
      add_sources(*row, keys);
      for (const std::string& key : keys)
        if (std::find(source_ids.begin(), source_ids.end(), key) == source_ids.end())
          find(where, "source '" + key + "' is not in the table of sources");
    }
  if (const auto offers = read_offers(*tables); !offers) find("prices", offers.error().what);
  if (const auto machines = read_machines(*tables); !machines)
    find("machines", machines.error().what);
  if (tables->as_of() > in.environment.today)
    find("tables",
         "they are of " + tables->as_of() + ", later than today, " + in.environment.today);

  answer.json.set("rows", rows);
  answer.json.set("findings", findings);
  answer.rows = std::move(findings);
  if (lines.empty()) {
    answer.add(Headline{std::to_string(rows) + " rows are in order", Tone::good});
    return answer;
  }
  answer.status = kWrong;
  answer.add(Headline{
      std::to_string(lines.size()) + " findings in " + std::to_string(rows) + " rows", Tone::bad});
  for (const std::string& line : lines) answer.add(Paragraph{line});
  return answer;
}

}  // namespace qwenplan::command
