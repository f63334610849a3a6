#include <cstdint>
#include <cstdio>
#include <string>

#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "support/catch.hpp"
#include "support/reference.hpp"

// Estimates against the longest sequences that Unsloth publishes for cards of several sizes
// (tests/reference/README.md, unsloth.csv). No constant is fitted to them.

namespace qwenplan::test {
namespace {

/// Unsloth's run of that time: its layers on xformers, Apple's loss, and layers that are not compiled.
Run run_of_row(const CsvRow& row) {
  Run run;
  run.code = ModelCode::unsloth;
  run.method = Method::qlora;
  run.quantization = Quantization::nf4;
  run.double_quantizes = true;
  run.length = row.integer("longest_tokens");
  run.micro_batch = row.integer("micro_batch");
  run.checkpoints_reentrant = run.offloads_checkpoints = true;
  run.fuses_mlp = run.fuses_qkv = run.fuses_o = true;
  run.loss = Loss::fused;
  run.fused_loss = FusedLoss::cut_cross_entropy;
  run.optimizer = OptimizerKind::adamw_8bit;
  run.lora_rank = row.integer("lora_r");
  run.lora_targets = targets_of(row.text("lora_targets"));
  return run;
}

TEST_CASE("Unsloth's published longest sequences fill the cards that they are published for") {
  constexpr double kGiB = 1 << 30;
  int rows = 0;
  for (const CsvRow& row : read_csv(reference_path("unsloth.csv"))) {
    const Trace emulated =
        trace(reference_models().at(row.text("model")), run_of_row(row), kLatest, 80);
    const MemoryEstimate found = estimate(emulated, Device{});
    const double device = static_cast<double>(found.device.likely.count()) / kGiB;
    const double card = row.real("card_gb");
    char text[200];
    std::snprintf(text, sizeof text, "%6.0f tokens need %6.2f GiB, published for %2.0f GB",
                  row.real("longest_tokens"), device, card);
    INFO(text);
    // Seen: 0.91 to 1.02. The allocator's reserve would give way on a full card.
    CHECK(device / card > 0.90);
    CHECK(device / card < 1.03);
    CHECK(static_cast<double>(found.allocated.likely.count()) / kGiB < card);
    ++rows;
  }
  CHECK(rows == 7);
}

}  // namespace
}  // namespace qwenplan::test
