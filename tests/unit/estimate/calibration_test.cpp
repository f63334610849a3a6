#include "qwenplan/estimate/calibration.hpp"

#include <cmath>

#include "qwenplan/emulate/step.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

namespace qwenplan::test {
namespace {

MeasuredStep step(const std::string& source, const std::string& gpu, std::int64_t length, double slower = 1) {
  static const Efficiency truth{0.7, 0.6, 0.5, 5e-6};
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
  s.seconds = slower * predicted_seconds(s, truth);
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

TEST_CASE("One measured step corrects all of its card") {
  const std::vector<MeasuredStep> steps = {step("own", "small", 512, 1.5), step("own", "small", 1024, 1.5),
                                           step("other", "large", 512)};
  const auto left = leave_sources_out(steps);
  CHECK(left[0].error > 0.2);
  CHECK(left[0].after_one_step < 0.1);
  const Calibration::OnCard card = calibrated(std::span(steps).first(1), Efficiency{0.7, 0.6, 0.5, 5e-6});
  CHECK(std::abs(card.factor - 1.5) < 1e-9);
  CHECK(card.steps == 1);
  CHECK(card.spread.low < 1);
  CHECK(card.spread.high > 1);
}

}  // namespace qwenplan::test
