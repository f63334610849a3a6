#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "command/named_run.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "read/published.hpp"
#include "read/tables.hpp"
#include "support/catch.hpp"
#include "support/csv.hpp"
#include "support/reference.hpp"

using namespace qwenplan;
using namespace qwenplan::test;

namespace {

std::vector<PublishedRun> published() {
  const auto tables = Tables::open();
  REQUIRE(tables);
  auto runs = read_published_runs(*tables);
  if (!runs) FAIL(runs.error().where << ": " << runs.error().what);
  return *std::move(runs);
}

std::string text(const PublishedRun& run, const std::string& name) {
  for (const auto& [known, value] : run.run)
    if (known == name) {
      if (const auto* word = std::get_if<std::string>(&value)) return *word;
      if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
      return std::get<bool>(value) ? "1" : "0";
    }
  return "";
}

double mebibytes(const std::optional<Bytes>& bytes) {
  return bytes ? static_cast<double>(bytes->count()) / (1024 * 1024) : 0;
}

Params total(const Model& model) { return model_parameters(model).total(); }

}  // namespace

TEST_CASE("every published run is one that the program understands, with figures that can be") {
  const auto tables = Tables::open();
  REQUIRE(tables);
  for (const PublishedRun& run : published()) {
    CAPTURE(run.id);
    const auto plan = planned(run.run, *tables, {});
    if (!plan) FAIL(plan.error().where << ": " << plan.error().what);
    const auto card = tables->gpu(text(run, "gpu"));
    REQUIRE(card);
    if (run.rate) {
      // Nobody trains a model of 100 M parameters and more at a million tokens a second on one card.
      CHECK(*run.rate > 10);
      CHECK(*run.rate < 1e6);
    }
    if (!run.allocated) {  // of some runs the speed alone is compared
      CHECK(run.rate);
      CHECK_FALSE(run.inferred.empty());
      continue;
    }
    if (run.reserved) CHECK(*run.allocated <= *run.reserved);
    if (run.device) CHECK(*run.allocated < *run.device);
    for (const auto& figure : {run.allocated, run.reserved, run.device})
      if (figure) CHECK(*figure < card->gpu.memory.value);
  }
}

TEST_CASE("the T4's runs are those of the reference, and the same runs") {
  std::map<std::string, PublishedRun> runs;
  for (PublishedRun& run : published())
    if (run.source == "fitcheck") runs.emplace(run.id, run);
  const auto tables = Tables::open();
  const auto rows = read_csv(reference_path("t4.csv"));
  CHECK(runs.size() == rows.size());
  for (const CsvRow& row : rows) {
    const std::string id = row.text("id").substr(0, 14);
    CAPTURE(id);
    REQUIRE(runs.count(id) == 1);
    const PublishedRun& run = runs.at(id);
    CHECK(run.repository == row.text("source_repo"));
    CHECK(run.path == row.text("source_path"));
    CHECK(run.commit == row.text("source_commit"));
    CHECK(mebibytes(run.allocated) == row.real("peak_allocated_mib"));
    CHECK(mebibytes(run.reserved) == row.real("max_reserved_mib"));
    CHECK(text(run, "method") == row.text("method"));
    CHECK(text(run, "batch") == row.text("micro_batch"));
    CHECK(text(run, "seq-len") == row.text("seq_len"));
    CHECK(text(run, "checkpointing") == row.text("grad_checkpointing"));
    CHECK(text(run, "attention") == (row.text("attention") == "eager" ? "eager" : "efficient"));
    if (row.has("torch") && !row.text("torch").empty())
      CHECK(text(run, "stack") == "torch=" + row.text("torch") + ",transformers=" + row.text("transformers") +
                                      ",peft=" + row.text("peft"));
    else
      CHECK_FALSE(run.inferred.empty());
    // The table's shape is the one that the reference has under the model's other name.
    const auto model = tables->model(text(run, "model"));
    REQUIRE(model);
    const Model& shape = reference_models().at(row.text("model"));
    CHECK(model->model.layers == shape.layers);
    CHECK(model->model.ffn == shape.ffn);
    CHECK(model->model.kv_heads == shape.kv_heads);
    CHECK(model->model.ties_embeddings == shape.ties_embeddings);
    CHECK(total(model->model) == total(shape));
    CHECK(model->parameters == total(shape));
  }
}

TEST_CASE("a rate that was computed is the printed step's tokens over its seconds") {
  std::ifstream in(std::string(QWENPLAN_SOURCE_DIR) + "/data/measurements.json");
  const nlohmann::json document = nlohmann::json::parse(in);
  int printed = 0;
  for (const auto& row : document["measurements"]) {
    if (!row.contains("printed")) continue;
    ++printed;
    CAPTURE(row["id"].get<std::string>());
    const double tokens = row["run"]["seq-len"].get<double>() * row["run"]["batch"].get<double>();
    const double rate = std::stod(row["rate"].get<std::string>());
    CHECK(std::abs(rate * std::stod(row["printed"].get<std::string>()) / tokens - 1) < 1e-3);
  }
  CHECK(printed > 40);
}
