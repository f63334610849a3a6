#include "qwenplan/estimate/host.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "support/catch.hpp"

// Host memory against what tools/measure_ram.py measured of real processes
// (data/measurements/host).

namespace qwenplan::test {
namespace {

constexpr double kTolerance = 0.15;

/// Qwen2.5-0.5B, which the script measures, with as many layers as it takes.
Model measured_model(std::int64_t layers) {
  Model m;
  m.architecture = Architecture::qwen2;
  m.layers = layers;
  m.hidden = 896;
  m.ffn = 4864;
  m.heads = 14;
  m.kv_heads = 2;
  m.head_dim = 64;
  m.vocabulary = 151936;
  m.ties_embeddings = true;
  m.has_qkv_bias = true;
  return m;
}

Bytes sum_of(const HostStage& stage, std::initializer_list<HostTerm> terms) {
  Bytes sum;
  for (const HostUse& use : stage.uses)
    if (std::find(terms.begin(), terms.end(), use.term) != terms.end()) sum += use.bytes.likely;
  return sum;
}

/// What the estimate says of a process that does what the scenario does, on a machine without a
/// GPU.
Bytes estimated(const std::string& scenario, const nlohmann::json& inputs) {
  Run run;
  run.method = Method::lora;
  run.length = inputs["length"].get<std::int64_t>();
  run.micro_batch = inputs["batch"].get<std::int64_t>();
  HostOptions o;
  o.prefetch = inputs["prefetch"].get<std::int64_t>();
  o.tokens = Tokens(inputs["tokens"].get<std::int64_t>());
  const auto asked = [&](std::int64_t layers = 24) {
    return host_memory(measured_model(layers), run, kLatest, o);
  };
  const auto begins = [&](const char* start) { return scenario.rfind(start, 0) == 0; };

  if (begins("load_")) {
    if (scenario == "load_cast") run.weights = DType::fp32;
    if (scenario == "load_copied") {
      o.loading = Loading::copied;
      o.load_to = LoadTo::gpu;
    }
    const HostEstimate host = asked();
    const Bytes copies = sum_of(host.stages[0], {HostTerm::python, HostTerm::weights});
    return o.loading == Loading::mapped ? copies + host.checkpoint : copies;
  }
  if (scenario == "offload_optimizer") {
    run.method = Method::full;
    o.offload = Offload::optimizer;
    return sum_of(asked(8).stages[1], {HostTerm::python, HostTerm::offload});
  }
  if (begins("workers_")) o.workers = std::stoll(scenario.substr(scenario.find('_') + 1));
  if (scenario == "dataset_arrow") o.dataset_in = DatasetIn::memory;
  if (scenario == "dataset_lists") o.dataset_in = DatasetIn::lists;
  const HostEstimate host = asked();
  const Bytes held = sum_of(
      host.stages[1], {HostTerm::python, HostTerm::workers, HostTerm::prefetch, HostTerm::dataset});
  return held + host.dataset;  // lists are made from the mapped files
}

TEST_CASE("host memory is within 15 % of measured processes") {
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(QWENPLAN_SOURCE_DIR) +
                                                               "/data/measurements/host")) {
    std::ifstream file(entry.path());
    const nlohmann::json measurement = nlohmann::json::parse(file);
    for (const nlohmann::json& run : measurement["runs"]) {
      const auto scenario = run["scenario"].get<std::string>();
      std::int64_t peak = 0;
      for (const nlohmann::json& stage : run["stages"])
        peak = std::max(peak, stage["peak"]["pss"].get<std::int64_t>());
      const Bytes expected = estimated(scenario, measurement["inputs"]);
      const double error = static_cast<double>(expected.count()) / static_cast<double>(peak) - 1;
      std::printf("%-18s measured %7.1f MiB, estimated %7.1f MiB, %+5.1f %%\n", scenario.c_str(),
                  static_cast<double>(peak) / (1 << 20),
                  static_cast<double>(expected.count()) / (1 << 20), 100 * error);
      INFO(scenario);
      CHECK(error < kTolerance);
      CHECK(error > -kTolerance);
      seen.insert(scenario);
    }
  }
  for (const char* scenario :
       {"load_mapped", "load_cast", "load_copied", "offload_optimizer", "workers_0", "workers_2",
        "workers_4", "dataset_mapped", "dataset_arrow", "dataset_lists"}) {
    INFO(scenario);
    CHECK(seen.count(scenario) == 1);
  }
}

TEST_CASE(
    "a worker adds little to a trainer, and the parts of a measurement agree with their causes") {
  // Differences between two scenarios leave out what both have, the libraries above all.
  for (const auto& entry : std::filesystem::directory_iterator(std::string(QWENPLAN_SOURCE_DIR) +
                                                               "/data/measurements/host")) {
    std::ifstream file(entry.path());
    const nlohmann::json measurement = nlohmann::json::parse(file);
    const auto anonymous = [&](const std::string& scenario, bool at_end) -> double {
      for (const nlohmann::json& run : measurement["runs"])
        if (run["scenario"].get<std::string>() == scenario) {
          const nlohmann::json& stage = at_end ? run["stages"].back() : run["stages"].front();
          return stage["end"]["anon"].get<double>();
        }
      return 0;
    };
    const auto added = [&](const std::string& scenario) {
      return anonymous(scenario, true) - anonymous(scenario, false);
    };
    const auto is_near = [](double value, double wanted) {
      return value > 0.9 * wanted && value < 1.1 * wanted;
    };
    const nlohmann::json& inputs = measurement["inputs"];
    const double parameters = inputs["parameters"].get<double>();
    const double tokens = inputs["tokens"].get<double>();
    CHECK(added("load_mapped") < 0.05 * parameters * 2);
    CHECK(is_near(added("load_cast"), parameters * 4));
    CHECK(is_near(added("dataset_arrow"), tokens * static_cast<double>(host::kArrowPerToken)));
    CHECK(is_near(added("dataset_lists"), tokens * static_cast<double>(host::kListPerToken)));
    const double worker = (added("workers_4") - added("workers_0")) / 4;
    CHECK(worker > static_cast<double>(host::kWorker.low.count()) / 2);
    CHECK(worker < static_cast<double>(host::kWorker.high.count()));
    for (const nlohmann::json& run : measurement["runs"])
      if (run["scenario"].get<std::string>() == "offload_optimizer")
        CHECK(is_near(added("offload_optimizer"),
                      run["parameters"].get<double>() * host::kOffloadedState));
  }
}

}  // namespace
}  // namespace qwenplan::test
