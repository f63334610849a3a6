// The guide's arithmetic against the guide itself: its Python functions were run on chosen and
// random inputs, and its tables were read from its text (tests/reference/guide). Keys, their order
// and every bit of every number must agree.

#include "qwenplan/estimate/guide.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace qwenplan;
using Json = nlohmann::ordered_json;

namespace {

Json fixture(const std::string& path) {
  std::ifstream file(std::string(QWENPLAN_SOURCE_DIR) + "/" + path);
  REQUIRE(file);
  return Json::parse(file);
}

Json to_json(bool value) { return value; }
Json to_json(std::int64_t value) { return value; }
Json to_json(double value) { return value; }
Json to_json(const std::string& value) { return value; }
template <class T>
Json to_json(const std::vector<T>& values);
template <class T>
Json to_json(const guide::Dict<T>& values);

template <class T>
requires std::is_class_v<T> Json to_json(const T& result) {
  Json object = Json::object();
  for_each_field(result, [&](const char* key, const auto& value) { object[key] = to_json(value); });
  return object;
}
template <class T>
Json to_json(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(to_json(value));
  return list;
}
template <class T>
Json to_json(const guide::Dict<T>& values) {
  Json object = Json::object();
  for (const auto& [key, value] : values) object[key] = to_json(value);
  return object;
}

/// Where two values differ first, or nothing: numbers by their bits, objects in their order.
std::optional<std::string> difference(const Json& ours, const Json& guides, std::string at = "") {
  if (ours.is_number() && guides.is_number()) {
    if (std::bit_cast<std::uint64_t>(ours.get<double>()) ==
        std::bit_cast<std::uint64_t>(guides.get<double>()))
      return std::nullopt;
  } else if (ours.is_structured() && ours.type() == guides.type() && ours.size() == guides.size()) {
    auto left = ours.items().begin();
    for (const auto& right : guides.items()) {
      if (left.key() != right.key()) return at + "/" + right.key() + " is " + left.key();
      if (auto found = difference(left.value(), right.value(), at + "/" + right.key()))
        return found;
      ++left;
    }
    return std::nullopt;
  } else if (ours == guides) {
    return std::nullopt;
  }
  return at + ": " + ours.dump() + " where the guide has " + guides.dump();
}

template <class T>
void compare(const Json& found, const Result<T>& ours) {
  CAPTURE(found.dump());
  REQUIRE(ours.ok() == found.contains("result"));
  if (ours) {
    CHECK(difference(to_json(*ours), found["result"]).value_or("same") == "same");
  } else {
    CHECK(ours.error().kind == Error::Kind::wrong);
    CHECK(!ours.error().hint.empty());
  }
}

/// Runs every recorded call of one function; `ours` takes the recorded arguments.
template <class Ours>
void check_calls(const std::string& function, Ours ours) {
  static const Json calculators = fixture("tests/reference/guide/calculators.json");
  REQUIRE(!calculators[function].empty());
  for (const Json& found : calculators[function]) {
    const auto result = ours(found["arguments"]);
    compare(found, Result<std::decay_t<decltype(result)>>(result));
  }
}
template <class Ours>
void check_fallible_calls(const std::string& function, Ours ours) {
  static const Json calculators = fixture("tests/reference/guide/calculators.json");
  REQUIRE(!calculators[function].empty());
  for (const Json& found : calculators[function]) compare(found, ours(found["arguments"]));
}

double number(const Json& arguments, const char* name) { return arguments[name].get<double>(); }
std::int64_t integer(const Json& arguments, const char* name) {
  return arguments[name].get<std::int64_t>();
}
std::string text(const Json& arguments, const char* name) {
  return arguments[name].get<std::string>();
}

}  // namespace

TEST_CASE("the guide's GPU memory") {
  check_fallible_calls("calculate_model_memory", [](const Json& arguments) {
    return guide::calculate_model_memory(number(arguments, "model_params_b"),
                                         text(arguments, "precision"));
  });
  check_calls("recommend_optimization", [](const Json& arguments) {
    return guide::recommend_optimization(number(arguments, "model_params_b"));
  });
}

TEST_CASE("the guide's host memory") {
  check_fallible_calls("calculate_training_memory", [](const Json& arguments) {
    return guide::calculate_training_memory(number(arguments, "dataset_size_gb"),
                                            number(arguments, "model_size_gb"));
  });
  check_calls("recommend_ram_config", [](const Json& arguments) {
    return guide::recommend_ram_config(text(arguments, "use_case"));
  });
  CHECK(guide::recommend_ram_config("advanced_7b").note.empty());
  CHECK(guide::recommend_ram_config("advanced-7b").note.find("basic_3b") != std::string::npos);
}

TEST_CASE("memory that no whole number can hold is refused, as Python fails on it") {
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(!guide::calculate_training_memory(1, infinity));
  CHECK(!guide::calculate_training_memory(std::numeric_limits<double>::quiet_NaN(), 1));
  CHECK(!guide::calculate_training_memory(1, 1e20));
  CHECK(guide::calculate_training_memory(infinity, 1)->dataset_cache_mb == 8192);
}

TEST_CASE("the guide's batch sizes") {
  check_calls("batch_sizes", [](const Json& arguments) {
    std::vector<guide::BatchEvent> events;
    for (const Json& flags : arguments["events"]) {
      guide::BatchEvent& event = events.emplace_back();
      for (const Json& flag : flags)
        (flag == "memory_error" ? event.memory_error : event.underutilized) = true;
    }
    return guide::batch_sizes(integer(arguments, "start"), events);
  });
}

TEST_CASE("the guide's settings of a machine") {
  check_calls("optimize_torch_settings", [](const Json& arguments) {
    return guide::optimize_torch_settings(integer(arguments, "logical_cpus"));
  });
  check_calls("set_environment_variables", [](const Json& arguments) {
    return guide::set_environment_variables(integer(arguments, "logical_cpus"));
  });
  check_calls("optimize_dataloader_workers", [](const Json& arguments) {
    return guide::optimize_dataloader_workers(integer(arguments, "logical_cpus"),
                                              integer(arguments, "batch_size"));
  });
  check_calls("optimize_cache_settings", [](const Json& arguments) {
    return guide::optimize_cache_settings(text(arguments, "base_path"));
  });
}

TEST_CASE("the guide's money") {
  check_fallible_calls("calculate_local_setup_roi", [](const Json& arguments) {
    return guide::calculate_local_setup_roi(number(arguments, "hardware_cost"),
                                            number(arguments, "monthly_training_hours"),
                                            integer(arguments, "months_of_use"));
  });
  check_fallible_calls("compare_setups", [](const Json& arguments) {
    guide::Dict<double> setups;
    for (const auto& setup : arguments["setups"].items())
      setups.emplace_back(setup.key(), setup.value().get<double>());
    return guide::compare_setups(setups, number(arguments, "monthly_hours"));
  });
  check_calls("calculate_optimal_cloud_strategy", [](const Json& arguments) {
    return guide::calculate_optimal_cloud_strategy(number(arguments, "training_time_hours"),
                                                   text(arguments, "urgency"));
  });
  check_fallible_calls("estimate_monthly_cloud_budget", [](const Json& arguments) {
    return guide::estimate_monthly_cloud_budget(integer(arguments, "experiments_per_month"),
                                                number(arguments, "avg_experiment_hours"));
  });
}

TEST_CASE("a setup named twice keeps its place and its last cost") {
  const auto setups = guide::compare_setups({{"a", 1}, {"b", 2}, {"a", 3}}, 50);
  REQUIRE(setups);
  REQUIRE(setups->size() == 2);
  CHECK((*setups)[0].first == "a");
  CHECK((*setups)[0].second.hardware_cost == 3);
}

TEST_CASE("division by zero names the flag") {
  CHECK(guide::calculate_local_setup_roi(0, 50).error().where == "--hardware-cost");
  CHECK(guide::calculate_local_setup_roi(860, 0).error().where == "--hours-per-month");
  CHECK(guide::estimate_monthly_cloud_budget(0, 4).error().where == "--experiments");
  // The smallest number of hours is not zero: Python divides, and says never.
  const double least = std::numeric_limits<double>::denorm_min();
  CHECK(guide::calculate_local_setup_roi(860, least)->breakeven_months ==
        std::numeric_limits<double>::infinity());
}

TEST_CASE("the guide's training configurations") {
  check_fallible_calls("training_configs", [](const Json& arguments) {
    return guide::training_config(text(arguments, "name"));
  });
  CHECK(difference(to_json(*guide::training_config("rtx3060-7b")),
                   to_json(*guide::training_config("qwen2.5-7b"))) == std::nullopt);
  CHECK(guide::training_config("rtx3060-14b").error().kind == Error::Kind::wrong);
}

namespace {

bool is_text(std::string_view ours, const Json& guides) { return guides.get<std::string>() == ours; }

void check_table(const guide::Table& ours, const Json& guides) {
  CAPTURE(std::string(ours.title));
  CHECK(ours.title == guides["title"].get<std::string>());
  if (guides.contains("columns"))
    CHECK(std::equal(ours.columns().begin(), ours.columns().end(), guides["columns"].begin(),
                     guides["columns"].end(), is_text));
  REQUIRE(ours.rows() == guides["rows"].size());
  for (std::size_t index = 0; index < ours.rows(); ++index) {
    CAPTURE(index);
    const Json& row = guides["rows"][index];
    CHECK(std::equal(ours.row(index).begin(), ours.row(index).end(), row.begin(), row.end(), is_text));
  }
}

}  // namespace

TEST_CASE("the guide's tables, folders and parts, as printed") {
  const Json printed = fixture("tests/reference/guide/tables.json");
  const std::vector<const guide::Table*> tables = {
      &guide::kSpecs,    &guide::kMatrix, &guide::kGpus,        &guide::kStoragePlan,
      &guide::kCpuTiers, &guide::kSpeed,  &guide::kComparative, &guide::kCloud};
  REQUIRE(tables.size() == printed["tables"].size());
  for (std::size_t index = 0; index < tables.size(); ++index)
    check_table(*tables[index], printed["tables"][index]);

  REQUIRE(guide::kLayouts.size() == printed["layouts"].size());
  for (std::size_t index = 0; index < guide::kLayouts.size(); ++index)
    check_table(*guide::kLayouts[index].folders, printed["layouts"][index]);

  REQUIRE(guide::kBuilds.size() == printed["builds"].size());
  for (std::size_t index = 0; index < guide::kBuilds.size(); ++index) {
    const guide::Build& build = guide::kBuilds[index];
    const Json& found = printed["builds"][index];
    check_table(*build.parts, found);
    CHECK(build.heading == found["heading"].get<std::string>());
    CHECK(std::equal(build.capabilities.begin(), build.capabilities.end(),
                     found["capabilities"].begin(), found["capabilities"].end(), is_text));
  }
}

TEST_CASE("layouts and builds are found by name") {
  CHECK(guide::layout("professional") == &guide::kProfessionalLayout);
  CHECK(guide::layout("huge") == nullptr);
  REQUIRE(guide::build("high-end") != nullptr);
  CHECK(guide::build("high-end")->parts == &guide::kHighEndParts);
  CHECK(guide::build("") == nullptr);
}

TEST_CASE("cells of the matrix as methods") {
  // The 7B row of the guide: QLoRA only, QLoRA or LoRA, and full three times.
  const auto row = guide::kMatrix.row(2);
  CHECK(guide::best_method(row[1]) == Method::qlora);
  CHECK(guide::best_method(row[2]) == Method::lora);
  CHECK(guide::best_method(row[5]) == Method::full);
  CHECK(guide::best_method(guide::kMatrix.row(4)[1]) == std::nullopt);
  CHECK(guide::kMatrix.rows() == guide::kMatrixModels.size());
  CHECK(guide::kMatrix.width == guide::kMatrixGpus.size() + 1);
}

TEST_CASE("each part of the guide has its differences, whole and with a source") {
  const Json sources = fixture("data/sources.json");
  std::set<std::string> ids;
  for (const Json& source : sources["sources"]) ids.insert(source["id"].get<std::string>());

  std::size_t listed = 0;
  std::set<std::pair<guide::GuideSystem, std::string_view>> seen;
  for (int number = 0; number <= static_cast<int>(guide::GuideSystem::cloud_budget); ++number) {
    const auto system = static_cast<guide::GuideSystem>(number);
    CAPTURE(number);
    CHECK(!guide::differences(system).empty());
    listed += guide::differences(system).size();
    for (const guide::Difference& entry : guide::differences(system)) {
      CAPTURE(std::string(entry.what));
      CHECK(seen.emplace(system, entry.what).second);
      for (const std::string_view field : {entry.what, entry.guide, entry.ours, entry.why})
        CHECK(!field.empty());
      CHECK(entry.guide != entry.ours);
      const std::string source(entry.source);
      CHECK((ids.contains(source) || source.find(' ') != std::string::npos));
    }
  }
  CHECK(listed == guide::kDifferences.size());  // None stands apart from its part.
}
