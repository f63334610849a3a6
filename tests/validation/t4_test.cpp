#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "support/catch.hpp"
#include "support/reference.hpp"

// Estimates against a Tesla T4 (tests/reference/README.md, t4.csv). No constant is fitted to them.

namespace qwenplan::test {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

/// The harness of those runs: fp16 weights, fp32 adapters, no autocast, kbit preparation for QLoRA,
/// the model's output held during backward, foreach AdamW. Its sdpa runs pin the efficient kernel
/// and expand K and V to all heads by hand, since that kernel knew no grouped heads.
Run run_of_t4(const CsvRow& row) {
  Run run;
  const std::string method = row.text("method");
  run.method = method == "full" ? Method::full : method == "qlora" ? Method::qlora : Method::lora;
  run.precision = Precision::fp16_true;
  run.half = DType::fp16;
  run.weights = run.method == Method::full ? DType::fp32 : DType::fp16;
  run.adapter = DType::fp32;
  run.autocasts = false;
  run.quantization = run.method == Method::qlora ? Quantization::nf4 : Quantization::none;
  run.upcasts_for_kbit = run.method == Method::qlora;
  run.keeps_outputs = true;
  run.length = row.integer("seq_len");
  run.micro_batch = row.integer("micro_batch");
  run.checkpoints = row.integer("grad_checkpointing") != 0;
  run.attention = row.text("attention") == "eager" ? Attention::eager : Attention::efficient;
  run.optimizer = OptimizerKind::adamw_foreach;
  run.lora_rank = row.integer("lora_r");
  run.lora_targets = kAttentionModules;
  return run;
}

/// Rows that do not name their versions have those of the runs of the same week.
Version version_of(const std::string& text, Version otherwise) {
  std::sscanf(text.c_str(), "%d.%d.%d", &otherwise.major, &otherwise.minor, &otherwise.patch);
  return otherwise;
}

struct Comparison {
  std::string text;
  double allocated = 0;  ///< relative error
  double reserved = 0;
  bool has_reserved = false;
};

/// The rows of an attention implementation whose id starts with `series`.
std::vector<Comparison> compare(const std::string& series, const std::string& attention) {
  std::vector<Comparison> out;
  for (const CsvRow& row : read_csv(reference_path("t4.csv"))) {
    if (!row.text("id").starts_with(series) || row.text("attention") != attention) continue;
    Stack stack = kLatest;
    stack.torch = version_of(row.text("torch"), {2, 10, 0});
    stack.transformers = version_of(row.text("transformers"), {5, 0, 0});
    stack.peft = version_of(row.text("peft"), {0, 19, 1});
    const Trace emulated =
        trace(reference_models().at(row.text("model")), run_of_t4(row), stack, 75);
    const MemoryEstimate memory = estimate(emulated, Device{});
    Comparison c;
    const double allocated = static_cast<double>(memory.allocated.likely.count()) / kMib;
    const double reserved = static_cast<double>(memory.reserved.likely.count()) / kMib;
    c.allocated = allocated / row.real("peak_allocated_mib") - 1;
    c.has_reserved = row.real("max_reserved_mib") > 0;
    if (c.has_reserved) c.reserved = reserved / row.real("max_reserved_mib") - 1;
    char text[300];
    std::snprintf(text, sizeof text,
                  "%s %-25s %-5s b%s s%-5s ckpt%s allocated %9.2f measured %9.2f %+6.2f %%  "
                  "reserved %7.0f measured %7.0f %+6.2f %%",
                  row.text("id").c_str(), row.text("model").c_str(), row.text("method").c_str(),
                  row.text("micro_batch").c_str(), row.text("seq_len").c_str(),
                  row.text("grad_checkpointing").c_str(), allocated, row.real("peak_allocated_mib"),
                  c.allocated * 100, reserved, row.real("max_reserved_mib"), c.reserved * 100);
    c.text = text;
    out.push_back(c);
  }
  return out;
}

struct Errors {
  double mean_allocated = 0;
  double mean_reserved = 0;
  double lowest_allocated = 0;
  double lowest_reserved = 0;
  std::string report;
};

Errors errors_of(const std::vector<Comparison>& rows) {
  Errors e;
  int with_reserved = 0;
  for (const Comparison& c : rows) {
    e.report += c.text + '\n';
    e.mean_allocated += std::abs(c.allocated) / static_cast<double>(rows.size());
    e.lowest_allocated = std::min(e.lowest_allocated, c.allocated);
    if (!c.has_reserved) continue;
    ++with_reserved;
    e.mean_reserved += std::abs(c.reserved);
    e.lowest_reserved = std::min(e.lowest_reserved, c.reserved);
  }
  if (with_reserved > 0) e.mean_reserved /= with_reserved;
  return e;
}

TEST_CASE("estimates of the T4 runs with sdpa are within the tolerance") {
  const std::vector<Comparison> rows = compare("fitcheck", "sdpa");
  REQUIRE(rows.size() == 31);
  const Errors e = errors_of(rows);
  INFO(e.report);
  INFO("mean allocated " << e.mean_allocated * 100 << " %, reserved " << e.mean_reserved * 100
                         << " %");
  CHECK(e.mean_allocated <= 0.01);
  CHECK(e.mean_reserved <= 0.03);
  CHECK(e.lowest_allocated >= -0.03);
  CHECK(e.lowest_reserved >= -0.06);
}

// Eager rows apart: their tensors are known as well, but the fp32 scores leave holes of a size
// that the order of a few allocations decides, so that reserved bytes scatter more.
TEST_CASE("estimates of the T4 runs with eager attention") {
  const std::vector<Comparison> rows = compare("fitcheck", "eager");
  REQUIRE(rows.size() == 28);
  const Errors e = errors_of(rows);
  INFO(e.report);
  INFO("mean allocated " << e.mean_allocated * 100 << " %, reserved " << e.mean_reserved * 100
                         << " %");
  CHECK(e.mean_allocated <= 0.01);
  CHECK(e.mean_reserved <= 0.06);
}

// These came to light after the emulation was written. One model's reserve is 10 to 13 % too low:
// one more block of the size of its fp32 logits is taken from the driver than the replay takes.
TEST_CASE("estimates of later T4 runs, of other models") {
  for (const char* attention : {"sdpa", "eager"}) {
    const std::vector<Comparison> rows = compare("final", attention);
    REQUIRE(rows.size() == 6);
    const Errors e = errors_of(rows);
    INFO(e.report);
    INFO("mean allocated " << e.mean_allocated * 100 << " %, reserved " << e.mean_reserved * 100
                           << " %");
    CHECK(e.mean_allocated <= 0.01);
    CHECK(e.lowest_allocated >= -0.03);
    CHECK(e.mean_reserved <= 0.05);
    CHECK(e.lowest_reserved >= -0.13);
  }
}

}  // namespace
}  // namespace qwenplan::test
