#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "support/catch.hpp"
#include "support/reference.hpp"

// Estimates against the peaks that litgpt publishes for its own configurations on an A10G
// (tests/reference/README.md, litgpt.csv). No constant is fitted to them.

namespace qwenplan::test {
namespace {

/// The libraries of that spring: bitsandbytes 0.42 holds the inputs of quantized layers, and litgpt
/// does not yet replace the embedding.
Stack stack_of_2024() {
  Stack stack = kMid2024;
  stack.bitsandbytes = {0, 42, 0};
  return stack;
}

Run run_of_config(const CsvRow& row) {
  const std::string method = row.text("method");
  Run run;
  run.code = ModelCode::litgpt;
  run.stable_embedding = false;
  run.method = method == "full" ? Method::full : method == "qlora" ? Method::qlora : Method::lora;
  run.quantization = method == "qlora" ? Quantization::nf4 : Quantization::none;
  run.precision = Precision::bf16_true;
  run.weights = run.adapter = DType::bf16;
  run.autocasts = false;
  run.checkpoints = false;
  run.length = row.integer("seq_len");
  run.micro_batch = row.integer("micro_batch");
  run.accumulation = row.integer("grad_accum");
  run.optimizer = method == "qlora" ? OptimizerKind::paged_adamw : OptimizerKind::adamw_foreach;
  set_loss(run, "litgpt");
  run.lora_rank = row.integer("lora_r");
  run.lora_dropout = 0.05;
  run.lora_targets = targets_of(row.text("lora_targets"));
  if (row.text("lora_targets") == "all+head") run.lora_targets = kAllLinear | lm_head;
  return run;
}

TEST_CASE("litgpt's published peaks") {
  constexpr int kA10g = 86;
  constexpr double kGigabyte = 1e9, kCard = 24.0;
  int runs = 0;
  for (const CsvRow& row : read_csv(reference_path("litgpt.csv"))) {
    const Run run = run_of_config(row);
    const Trace emulated =
        trace(reference_models().at(row.text("model")), run, stack_of_2024(), kA10g);
    const double ours =
        static_cast<double>(estimate(emulated, Device{}).allocated.likely.count()) / kGigabyte;
    char text[200];
    std::snprintf(text, sizeof text, "%-26s estimate %6.2f GB, published %s GB", row.text("config").c_str(),
                  ours, row.text("peak_gb").empty() ? "out of memory" : row.text("peak_gb").c_str());
    INFO(text);
    ++runs;
    if (row.text("peak_gb").empty()) {
      CHECK(ours > kCard);
      continue;
    }
    const double error = ours / row.real("peak_gb") - 1;
    // With full fine-tuning the longest batch need not meet the gradients of an earlier one.
    CHECK(std::abs(error) < (run.method == Method::full ? 0.03 : 0.01));
  }
  CHECK(runs == 10);
}

}  // namespace
}  // namespace qwenplan::test
