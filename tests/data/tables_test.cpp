#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/schema.hpp"
#include "read/embedded.hpp"
#include "read/tables.hpp"
#include "support/catch.hpp"
#include "support/data_file.hpp"

using nlohmann::json;
using namespace qwenplan;

namespace {

json rows_of(const std::string& table) { return test::data_file(table + ".json")[table]; }

std::string text(const json& row, const char* key) { return row[key].get<std::string>(); }

/// A figure such as "360 GB/s" without its unit; 0 if the row has none.
double figure(const json& row, const char* key) {
  return row.contains(key) ? std::stod(text(row, key)) : 0.0;
}

void report(const std::vector<std::string>& wrong) {
  std::string lines;
  for (std::size_t i = 0; i < wrong.size() && i < 30; ++i) lines += wrong[i] + "\n";
  INFO(lines);
  CHECK(wrong.empty());
}

std::string today() {
  const char* given = std::getenv("SOURCE_DATE_EPOCH");
  const std::time_t now = given ? std::strtoll(given, nullptr, 10) : std::time(nullptr);
  char day[11];
  std::strftime(day, sizeof day, "%Y-%m-%d", std::gmtime(&now));
  return day;
}

const std::set<std::string> kNotFigures = {"id",       "name",   "hub_id", "aliases", "vendor",
                                           "evidence", "source", "except", "note"};

}  // namespace

TEST_CASE("every table is as its schema says") {
  const std::string table = GENERATE("gpus", "models", "sources", "prices", "machines", "measurements", "calibration");
  CAPTURE(table);
  const json document = test::data_file(table + ".json");
  std::vector<std::string> wrong;
  test::check_schema(test::data_file("schema/" + table + ".schema.json"), document, "", wrong);
  report(wrong);
  // What an overlay may leave out, the table may not.
  for (const char* key : {"$schema", "as_of"}) CHECK(document.contains(key));
  for (const json& row : document[table])
    for (const char* key : {"aliases", table == "models"         ? "hub_id"
                                       : table == "gpus"         ? "vendor"
                                       : table == "prices"       ? "provider"
                                       : table == "machines"     ? "parts"
                                       : table == "measurements" ? "source"
                                       : table == "calibration"  ? "what"
                                                                 : "title"})
      if (!row.contains(key)) FAIL(row["id"] << " lacks " << key);
}

TEST_CASE("the schema refuses what is wrong") {
  json document = test::data_file("gpus.json");
  json& row = document["gpus"][0];
  const auto break_it = [&](const std::string& which) {
    if (which == "a size without a unit") row["memory"] = 12;
    if (which == "a size in another unit") row["memory"] = "12 GB";
    if (which == "a misspelt field") row["memroy"] = "12 GiB";
    if (which == "an unknown evidence") row["evidence"] = "guessed";
    if (which == "a row without an id") row.erase("id");
    if (which == "another schema") document["schema"] = "qwenplan.models/1";
  };
  const std::string which =
      GENERATE("a size without a unit", "a size in another unit", "a misspelt field",
               "an unknown evidence", "a row without an id", "another schema");
  CAPTURE(which);
  break_it(which);
  std::vector<std::string> wrong;
  test::check_schema(test::data_file("schema/gpus.schema.json"), document, "", wrong);
  CHECK_FALSE(wrong.empty());
}

TEST_CASE("the program holds the tables of the repository") {
  const auto check = [](const std::string& name, embedded::Table table, const char* name_key) {
    CAPTURE(name);
    json document = test::data_file(name + ".json");
    const json rows = document[name];
    REQUIRE(table.rows.size() == rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      CHECK(json::parse(table.rows[i].json) == rows[i]);
      CHECK(table.rows[i].id == text(rows[i], "id"));
      CHECK(table.rows[i].name == text(rows[i], name_key));
      CHECK(json::parse("[" + std::string(table.rows[i].aliases) + "]") == rows[i]["aliases"]);
    }
    document.erase(name);
    CHECK(json::parse(table.header) == document);
  };
  check("gpus", embedded::gpus(), "name");
  check("models", embedded::models(), "hub_id");
  check("sources", embedded::sources(), "title");
  check("prices", embedded::prices(), "instance");
  check("machines", embedded::machines(), "name");
  check("measurements", embedded::measurements(), "source");
}

TEST_CASE("every figure has a source or is marked assumed") {
  std::set<std::string> sources;
  for (const json& source : rows_of("sources")) CHECK(sources.insert(text(source, "id")).second);
  std::vector<std::string> wrong;
  // Wherever a table says how something is known: an object with "evidence".
  const auto check_origins = [&](const json& value, const std::string& path,
                                 const auto& again) -> void {
    if (value.is_object() && value.contains("evidence")) {
      if ((value["evidence"] == "assumed") == value.contains("source"))
        wrong.push_back(path + ": a source, or assumed, and not both");
      if (value.contains("source") && !sources.count(text(value, "source")))
        wrong.push_back(path + ": unknown source " + text(value, "source"));
    }
    if (value.is_structured())
      for (const auto& [key, inner] : value.items()) again(inner, path + "/" + key, again);
  };
  for (const std::string table : {"gpus", "models", "prices", "machines", "measurements"})
    for (const json& row : rows_of(table)) check_origins(row, text(row, "id"), check_origins);
  for (const std::string table : {"gpus", "models"}) {
    const json document = test::data_file(table + ".json");
    for (const json& row : document[table]) {
      if (!row.contains("evidence")) wrong.push_back(text(row, "id") + ": no evidence");
      std::set<std::string> excepted;
      for (const json& entry : row.value("except", json::array()))
        for (const auto& of : entry["of"].get<std::vector<std::string>>()) {
          if (!row.contains(of) || kNotFigures.count(of))
            wrong.push_back(text(row, "id") + ": excepts " + of);
          if (!excepted.insert(of).second)
            wrong.push_back(text(row, "id") + ": excepts " + of + " twice");
        }
    }
  }
  report(wrong);
}

TEST_CASE("no day is in the future") {
  std::vector<std::string> wrong;
  for (const std::string table : {"gpus", "models", "sources", "measurements"}) {
    const json document = test::data_file(table + ".json");
    if (text(document, "as_of") > today()) wrong.push_back(table + "/as_of");
    for (const json& row : document[table])
      for (const char* key : {"read", "released", "launch_date"})
        if (row.contains(key) && text(row, key) > today())
          wrong.push_back(text(row, "id") + " " + key);
  }
  report(wrong);
}

TEST_CASE("every name leads to the row that has it") {
  const auto tables = Tables::open();
  REQUIRE(tables);
  std::vector<std::string> wrong;
  std::set<std::string> ids;
  const auto lower = [](std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
  };
  for (const json& row : rows_of("gpus")) {
    const std::string id = text(row, "id");
    if (!ids.insert(id).second) wrong.push_back(id + " twice");
    for (const auto& name : row["aliases"].get<std::vector<std::string>>()) {
      const auto found = tables->gpu(name);
      if (!found || found->gpu.id != id) wrong.push_back(name + " is not " + id);
    }
    const auto own = tables->gpu(id);
    if (!own || own->gpu.id != id || !own->reading.empty()) wrong.push_back(id + " is not itself");
    const auto by_name = tables->gpu(text(row, "name"));
    if (!by_name || by_name->gpu.name != text(row, "name"))
      wrong.push_back(text(row, "name") + " is not " + id);
  }
  for (const json& row : rows_of("models")) {
    const std::string id = text(row, "id");
    if (!ids.insert(id).second) wrong.push_back(id + " twice");
    std::vector<std::string> names = row["aliases"].get<std::vector<std::string>>();
    for (const char* key : {"id", "hub_id"}) {
      names.push_back(text(row, key));
      names.push_back(lower(text(row, key)));
      if (lower(text(row, key)).find("instruct") == std::string::npos)
        names.push_back(text(row, key) + "-Instruct");
    }
    for (const std::string& name : names) {
      const auto found = tables->model(name);
      if (!found || found->model.id != id) wrong.push_back(name + " is not " + id);
    }
  }
  report(wrong);
}

TEST_CASE("GPUs are plausible for their generation") {
  // Gbit/s of a pin, by kind of memory: what the makers of memory sell.
  const std::map<std::string, std::pair<double, double>> pin_rates = {
      {"GDDR6", {10, 20.5}}, {"GDDR6X", {19, 23.5}}, {"GDDR7", {28, 32}},  {"HBM2", {1.4, 2.5}},
      {"HBM2e", {2.4, 3.6}}, {"HBM3", {4, 6.4}},     {"HBM3e", {5.8, 9.6}}};
  const std::map<std::string, std::set<std::string>> capabilities = {
      {"Pascal", {"6.0"}},
      {"Volta", {"7.0"}},
      {"Turing", {"7.5"}},
      {"Ampere", {"8.0", "8.6"}},
      {"Ada Lovelace", {"8.9"}},
      {"Hopper", {"9.0"}},
      {"Blackwell", {"10.0", "12.0"}},
      {"Blackwell Ultra", {"10.3"}}};
  std::vector<std::string> wrong;
  for (const json& row : rows_of("gpus")) {
    const auto must = [&](bool is_so, const std::string& what) {
      if (!is_so) wrong.push_back(text(row, "id") + ": " + what);
    };
    const double memory = figure(row, "memory");
    if (row.contains("memory")) must(memory >= 6 && memory <= 288, "memory");
    if (row.contains("driver_total")) {
      // Correction codes take a sixteenth of the memory of some cards, the driver a little of all;
      // data-centre cards of 2024 and later round their nominal size down.
      const double total = figure(row, "driver_total") / 1024;
      must(total > memory * 0.92 && total <= memory * 1.02,
           "driver_total " + std::to_string(total / memory));
    }
    if (const auto rates = pin_rates.find(text(row, "memory_type"));
        rates != pin_rates.end() && row.contains("bus")) {
      const double pin = figure(row, "bandwidth") * 8 / figure(row, "bus");
      must(pin >= rates->second.first && pin <= rates->second.second,
           "Gbit/s of a pin: " + std::to_string(pin));
    }
    if (row["vendor"] == "nvidia") {
      const std::string capability = row.value("compute_capability", "");
      const auto known = capabilities.find(text(row, "generation"));
      must(known != capabilities.end() && known->second.count(capability), "compute capability");
      const bool is_ampere_or_later = std::stod(capability) >= 8.0;
      must(row["has_bf16"] == is_ampere_or_later, "bf16");
      must(row["has_flash_attention"] == is_ampere_or_later, "flash attention");
      must(row.contains("bf16_tensor") == is_ampere_or_later, "bf16 rate");
      for (const char* key : {"memory", "bandwidth", "fp32", "power"}) must(row.contains(key), key);
    }
    if (row.contains("cuda_cores") && row.contains("boost")) {
      // Two operations for each core and clock; data sheets round and some use another clock.
      const double fp32 = figure(row, "boost") * row["cuda_cores"].get<double>() * 2 / 1e6;
      must(std::abs(figure(row, "fp32") / fp32 - 1) < 0.12,
           "fp32 against cores: " + std::to_string(figure(row, "fp32") / fp32));
    }
    const double fp16 = figure(row, "fp16_tensor");
    if (fp16 > 0) {
      must(figure(row, "fp16_tensor_fp16_accumulate") >= fp16, "fp16 accumulate is slower");
      must(fp16 > figure(row, "fp32"), "tensor cores are slower than others");
      if (row.contains("bf16_tensor"))
        must(figure(row, "bf16_tensor") == fp16, "bf16 differs from fp16");
      if (row.contains("bf16_reached"))
        must(figure(row, "bf16_reached") < figure(row, "bf16_tensor"), "reached more than it can");
    }
    must(figure(row, "power") >= 70 && figure(row, "power") <= 1400, "power");
  }
  report(wrong);
}

TEST_CASE("models are of shapes that can be") {
  std::vector<std::string> wrong;
  for (const json& row : rows_of("models")) {
    const auto must = [&](bool is_so, const std::string& what) {
      if (!is_so) wrong.push_back(text(row, "id") + ": " + what);
    };
    if (row.contains("kv_heads"))
      must(row["heads"].get<int>() % row["kv_heads"].get<int>() == 0, "kv_heads");
    if (row.contains("active_parameters") && row.contains("parameters"))
      must(row["active_parameters"] < row["parameters"], "active_parameters");
    if (row.contains("checkpoint_parameters"))
      must(row["checkpoint_parameters"] >= row["parameters"], "checkpoint_parameters");
    if (row.contains("experts"))
      must(row["experts"]["per_token"] <= row["experts"]["count"], "experts");
    if (row.contains("hidden") && row.contains("layers")) {
      must(row["hidden"] >= 512 && row["hidden"] <= 16384 && row["hidden"].get<int>() % 64 == 0,
           "hidden");
      must(row["layers"] >= 8 && row["layers"] <= 128, "layers");
    }
  }
  report(wrong);
}
