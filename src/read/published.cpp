#include "read/published.hpp"

#include <cmath>
#include <utility>

#include "read/json_text.hpp"

namespace qwenplan {
namespace {

Result<PublishedRun> read_row(const Json& row, const std::string& id) {
  Fields fields(row, "measurements.json, " + id);
  const auto size = [&](const char* key) -> std::optional<Bytes> {
    constexpr double kMiB = 1024.0 * 1024;
    const auto bytes = fields.measure(key, {{"MiB", kMiB}, {"GiB", 1024 * kMiB}}, "12.5 GiB");
    if (!bytes) return std::nullopt;
    return Bytes(std::llround(*bytes));
  };
  PublishedRun run;
  run.id = id;
  run.source = fields.text("source").value_or("");
  run.repository = fields.text("repository").value_or("");
  run.path = fields.text("path").value_or("");
  run.sitting = fields.text("sitting").value_or(run.path.substr(0, run.path.find('#')));
  run.commit = fields.text("commit").value_or("");
  run.inferred = fields.text("inferred").value_or("");
  run.allocated = size("allocated");
  run.reserved = size("reserved");
  run.device = size("device");
  run.rate = fields.measure("rate", {{"tokens/s", 1}}, "760 tokens/s");
  const auto settings = row.find("run");
  if (settings == row.end() || !settings->is_object()) {
    fields.expected("run", "an object of settings");
  } else {
    for (const auto& [name, value] : settings->items()) {
      if (value.is_boolean()) run.run.emplace_back(name, value.get<bool>());
      else if (value.is_number_integer()) run.run.emplace_back(name, value.get<std::int64_t>());
      else if (value.is_number_float()) run.run.emplace_back(name, value.get<double>());
      else if (value.is_string()) run.run.emplace_back(name, value.get<std::string>());
      else fields.expected("run", "numbers, texts and truths");
    }
  }
  if (fields.error()) return *fields.error();
  return run;
}

}  // namespace

Result<std::vector<PublishedRun>> read_published_runs(const Tables& tables) {
  std::vector<PublishedRun> runs;
  for (const std::string& id : tables.ids(Tables::Kind::measurements)) {
    const auto line = tables.row(Tables::Kind::measurements, id);
    if (!line) return line.error();
    auto run = read_row(Json::parse(*line, nullptr, false), id);
    if (!run) return run.error();
    runs.push_back(std::move(*run));
  }
  return runs;
}

}  // namespace qwenplan
