#include "read/prices.hpp"

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "read/json_text.hpp"

namespace qwenplan {
namespace {

using Kind = Tables::Kind;

constexpr double kKiB = 1024;
constexpr double kGiB = kKiB * kKiB * kKiB;

/// Whether a row says how one of its members is known, apart from the others.
bool is_of(const Json& exception, std::string_view key) {
  const auto list = exception.find("of");
  if (list == exception.end()) return false;
  return std::any_of(list->begin(), list->end(), [&](const Json& name) { return name == key; });
}

void read_origin(const Json& from, Evidence& evidence, std::string& source) {
  const std::string known = from.value("evidence", "assumed");
  evidence = Evidence::assumed;
  for (int i = 0; i <= static_cast<int>(Evidence::assumed); ++i)
    if (name(static_cast<Evidence>(i)) == known) evidence = static_cast<Evidence>(i);
  source = from.value("source", "");
}

/// A day, or none where it is null.
std::string read_day(Fields& fields) {
  const std::string day = fields.text("as_of").value_or("");
  if (!day.empty() && !day_number(day)) fields.expected("as_of", "a day such as \"2026-07-20\"");
  return day;
}

std::optional<Bytes> read_bytes(Fields& fields, const char* key) {
  const auto size = fields.measure(key, {{"GiB", kGiB}, {"GB", 1e9}, {"TB", 1e12}}, "24 GiB");
  if (!size) return std::nullopt;
  return Bytes(static_cast<std::int64_t>(*size));
}

Result<Offer> read_offer(const Json& row, const std::string& where) {
  Fields fields(row, where);
  const auto rate = [&](const char* key) { return fields.measure(key, {{"USD/h", 1}}, "1.29 USD/h"); };
  Offer offer;
  offer.id = fields.text("id").value_or("");
  offer.provider = fields.text("provider").value_or("");
  offer.instance = fields.text("instance").value_or("");
  offer.gpu = fields.text("gpu").value_or("");
  if (fields.has("gpus")) {
    if (row["gpus"].is_number() && row["gpus"] > 0 && row["gpus"] <= 4096) offer.gpus = row["gpus"].get<double>();
    else fields.expected("gpus", "a number above 0");
  }
  offer.gpu_memory = read_bytes(fields, "gpu_memory").value_or(Bytes());
  offer.vcpus = fields.whole("vcpus", 1, 1 << 20);
  offer.ram = read_bytes(fields, "ram");
  offer.on_demand = rate("on_demand");
  offer.spot = rate("spot");
  offer.reserved = rate("reserved");
  offer.region = fields.text("region").value_or("");
  offer.as_of = read_day(fields);
  offer.is_available = fields.boolean("available").value_or(true);
  offer.note = fields.text("note").value_or("");
  read_origin(row, offer.evidence, offer.source);
  if (const auto exceptions = row.find("except"); exceptions != row.end())
    for (const Json& exception : *exceptions)
      if (is_of(exception, "on_demand") || is_of(exception, "spot")) {
        read_origin(exception, offer.evidence, offer.source);
        break;
      }
  for (const char* key : {"id", "provider", "instance", "gpu", "gpu_memory"})
    if (!fields.has(key)) fields.expected(key, "a value");
  if (fields.error()) return *fields.error();
  return offer;
}

Price read_price(const Json& json, const std::string& where, const std::string& pointer, std::optional<Error>& error) {
  Price price;
  if (!json.is_object()) {
    if (!error) error = Error{Error::Kind::wrong, pointer + ": expected {\"value\": \"350 USD\", ...}", where, "correct the file"};
    return price;
  }
  Fields fields(json, where, pointer);
  price.usd = fields.measure("value", {{"USD", 1}}, "350 USD").value_or(0);
  if (!fields.has("value")) fields.expected("value", "a price such as \"350 USD\"");
  price.as_of = read_day(fields);
  read_origin(json, price.evidence, price.source);
  if (!error) error = fields.error();
  return price;
}

Result<Part> read_part(const Json& json, const std::string& where, const std::string& pointer) {
  if (!json.is_object())
    return Error{Error::Kind::wrong, pointer + ": expected an object", where, "see data/schema/machines.schema.json"};
  Fields fields(json, where, pointer);
  Part part;
  const std::string kind = fields.text("part").value_or("");
  bool is_known = false;
  for (int i = 0; i <= static_cast<int>(Part::Kind::enclosure); ++i)
    if (name(static_cast<Part::Kind>(i)) == kind) part.kind = static_cast<Part::Kind>(i), is_known = true;
  if (!is_known) fields.expected("part", "gpu, cpu, ram, storage, motherboard, psu or case");
  part.name = fields.text("name").value_or("");
  part.gpu = fields.text("gpu").value_or("");
  if (part.kind == Part::Kind::gpu && part.gpu.empty()) fields.expected("gpu", "an id of the table of GPUs");
  part.cores = fields.whole("cores", 1, 4096).value_or(0);
  part.size = read_bytes(fields, "size");
  part.rating = fields.measure("rating", {{"W", 1}}, "650 W");
  std::optional<Error> error = fields.error();
  part.price = read_price(json.value("price", Json()), where, pointer + "/price", error);
  if (const auto launch = json.find("launch_price"); launch != json.end())
    part.launch_price = read_price(*launch, where, pointer + "/launch_price", error);
  if (const auto tdp = json.find("tdp"); tdp != json.end() && tdp->is_object()) {
    Fields inner(*tdp, where, pointer + "/tdp");
    part.tdp = inner.measure("value", {{"W", 1}}, "65 W");
    if (!error) error = inner.error();
  }
  if (error) return *error;
  return part;
}

Result<Machine> read_machine(const Json& row, const std::string& where) {
  Fields fields(row, where);
  Machine machine;
  machine.id = fields.text("id").value_or("");
  machine.name = fields.text("name").value_or("");
  machine.budget = fields.text("budget").value_or("");
  const auto parts = row.find("parts");
  if (parts == row.end() || !parts->is_array()) fields.expected("parts", "a list");
  if (fields.error()) return *fields.error();
  for (std::size_t i = 0; i < parts->size(); ++i) {
    auto part = read_part((*parts)[i], where, "/parts/" + std::to_string(i));
    if (!part) return part.error();
    machine.parts.push_back(std::move(*part));
  }
  return machine;
}

template <class Item>
Result<std::vector<Item>> read_all(const Tables& tables, Kind kind, const char* file,
                                   Result<Item> (*read)(const Json&, const std::string&)) {
  std::vector<Item> items;
  for (const std::string& id : tables.ids(kind)) {
    const auto line = tables.row(kind, id);
    if (!line) return line.error();
    auto item = read(Json::parse(*line, nullptr, false), std::string(file) + ", " + id);
    if (!item) return item.error();
    items.push_back(std::move(*item));
  }
  return items;
}

/// A name as people vary it: "High-End" and "high end" have one key.
std::string key_of(std::string_view name) {
  std::string key;
  for (const char c : name)
    if (c != '-' && c != '_' && c != ' ') key += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return key;
}

}  // namespace

Result<std::vector<Offer>> read_offers(const Tables& tables) {
  return read_all<Offer>(tables, Kind::prices, "prices.json", read_offer);
}

Result<std::vector<Machine>> read_machines(const Tables& tables) {
  return read_all<Machine>(tables, Kind::machines, "machines.json", read_machine);
}

Result<const Machine*> machine_named(const Tables& tables, const std::vector<Machine>& machines, std::string_view name) {
  const std::string wanted = key_of(name);
  for (const Machine& machine : machines) {
    if (key_of(machine.id) == wanted || key_of(machine.name) == wanted) return &machine;
    const auto line = tables.row(Kind::machines, machine.id);
    if (!line) return line.error();
    for (const Json& alias : Json::parse(*line, nullptr, false).value("aliases", Json::array()))
      if (alias.is_string() && key_of(alias.get<std::string>()) == wanted) return &machine;
  }
  return static_cast<const Machine*>(nullptr);
}

}  // namespace qwenplan
