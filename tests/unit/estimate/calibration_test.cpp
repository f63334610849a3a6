#include "qwenplan/estimate/calibration.hpp"

#include <cmath>

#include "qwenplan/emulate/step.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

namespace qwenplan::test {
namespace {

const Efficiency kTruth{0.7, 0.6, 0.5, 5e-6};

/// A step of a machine whose card is `slower`, and whose host is `busier`, than the truth.
MeasuredStep step(const std::string& source, const std::string& gpu, std::int64_t length, double slower = 1,
                  double busier = 1) {
  Run run = Recipe::lora_bf16();
  run.length = length;
  Model model = Tiny::model(2);
  model.hidden = 1024, model.ffn = 4096, model.heads = 16, model.kv_heads = 4, model.head_dim = 64;
  MeasuredStep s;
  s.id = source + std::to_string(length);
  s.source = source;
  s.gpu.id = gpu;
  s.gpu.compute_capability = 80;
  const double scale = gpu == "small" ? 1 : 3;
  s.gpu.bandwidth.value = scale * 400e9;
  s.gpu.bf16_rate = s.gpu.fp16_rate = Sourced<double>{scale * 50e12, Evidence::vendor, {}};
  s.gpu.fp32_rate = Sourced<double>{scale * 10e12, Evidence::vendor, {}};
  WorkCounter counter(run);
  trace(model, run, kLatest, 80, counter);
  s.work = counter.finish();
  s.seconds = predicted_seconds(s, Correction{slower, busier}.applied_to(kTruth));
  return s;
}

}  // namespace

TEST_CASE("A fit finds runs again that were made with other efficiencies") {
  std::vector<MeasuredStep> steps;
  for (const std::int64_t length : {128, 512, 2048, 4096})
    for (const char* gpu : {"small", "large"}) steps.push_back(step(gpu, gpu, length));
  std::vector<const MeasuredStep*> all;
  for (const MeasuredStep& each : steps) all.push_back(&each);
  const Efficiency e = fitted(all);
  for (const MeasuredStep& each : steps) {
    INFO(each.id);
    CHECK(std::abs(predicted_seconds(each, e) / each.seconds - 1) < 0.15);
  }
}

TEST_CASE("A source is left out with every run of its cards") {
  const std::vector<MeasuredStep> steps = {step("one", "small", 512), step("two", "large", 512),
                                           step("three", "small", 1024)};
  const auto left = leave_sources_out(steps);
  REQUIRE(left.size() == 3);
  // "one" and "three" share a card: both are fitted to "two" alone.
  CHECK(left[0].efficiency == left[2].efficiency);
  CHECK(left[0].runs.size() == 1);
}

TEST_CASE("One measured step corrects the others of its sitting, and no others") {
  std::vector<MeasuredStep> steps = {step("own", "small", 4096, 1.5), step("own", "small", 8192, 1.5),
                                     step("other", "large", 512)};
  CHECK(leave_sources_out(steps)[0].error > 0.2);
  CHECK(leave_sources_out(steps)[0].after_one_step < 0.05);
  steps[1].sitting = "another";
  CHECK_FALSE(leave_sources_out(steps)[0].runs[0].after_one_step);
}

TEST_CASE("A step tells of what it waits for: of the card if that is busy, of the host if not") {
  const auto corrected_by = [](const MeasuredStep& measured) {
    return calibrated(std::span(&measured, 1), kTruth).correction;
  };
  // 8192 tokens keep the card busy; 16 tokens leave it waiting for launches.
  const Correction busy = corrected_by(step("own", "small", 8192, 1.3));
  CHECK(std::abs(busy.card - 1.3) < 0.03);
  CHECK(std::abs(busy.launch - 1) < 0.05);
  const Correction idle = corrected_by(step("own", "large", 16, 1, 2.5));
  CHECK(std::abs(idle.launch - 2.5) < 0.1);
  CHECK(std::abs(idle.card - 1) < 0.05);
  // So a slow host that a small step betrays does not make a large one slow.
  const MeasuredStep large = step("own", "large", 8192, 1, 2.5);
  CHECK(std::abs(predicted_seconds(large, idle.applied_to(kTruth)) / large.seconds - 1) < 0.02);
  CHECK(2.5 * predicted_seconds(large, kTruth) / large.seconds > 2);
}

TEST_CASE("Steps of one machine that wait for either tell of both") {
  const std::vector<MeasuredStep> steps = {step("own", "large", 16, 1.2, 2), step("own", "large", 8192, 1.2, 2)};
  const Calibration::OnCard card = calibrated(steps, kTruth);
  CHECK(card.steps == 2);
  CHECK(std::abs(card.correction.card - 1.2) < 0.03);
  CHECK(std::abs(card.correction.launch - 2) < 0.1);
  CHECK(card.spread.low < 1);
  CHECK(card.spread.high > 1);
  Calibration calibration;
  calibration.efficiency = kTruth;
  calibration.cards["large"] = card;
  CHECK(calibration.efficiency_on("small") == kTruth);
  CHECK(calibration.efficiency_on("large").slowdown == card.correction.card);
}

}  // namespace qwenplan::test
