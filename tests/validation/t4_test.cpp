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
/// the model's output held during backward, foreach AdamW.
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
  run.attention = row.text("attention") == "eager" ? Attention::eager : Attention::sdpa;
  run.optimizer = OptimizerKind::adamw_foreach;
  run.lora_rank = row.integer("lora_r");
  run.lora_targets = kAttentionModules;
  return run;
}

Version version_of(const std::string& text) {
  Version v;
  std::sscanf(text.c_str(), "%d.%d.%d", &v.major, &v.minor, &v.patch);
  return v;
}

struct Comparison {
  std::string text;
  double allocated = 0;  ///< relative error
  double reserved = 0;
  bool has_reserved = false;
};

std::vector<Comparison> compare(const std::string& attention) {
  std::vector<Comparison> out;
  for (const CsvRow& row : read_csv(reference_path("t4.csv"))) {
    if (row.text("attention") != attention || row.real("peak_allocated_mib") == 0) continue;
    Stack stack = kLatest;
    stack.torch = version_of(row.text("torch"));
    stack.transformers = version_of(row.text("transformers"));
    stack.peft = version_of(row.text("peft"));
    const Trace emulated = trace(reference_models().at(row.text("model")), run_of_t4(row), stack, 75);
    const MemoryEstimate memory = estimate(emulated, Device{});
    Comparison c;
    const double allocated = static_cast<double>(memory.allocated.likely.count()) / kMib;
    const double reserved = static_cast<double>(memory.reserved.likely.count()) / kMib;
    c.allocated = allocated / row.real("peak_allocated_mib") - 1;
    c.has_reserved = row.real("max_reserved_mib") > 0;
    if (c.has_reserved) c.reserved = reserved / row.real("max_reserved_mib") - 1;
    char text[300];
    std::snprintf(text, sizeof text, "%s %-25s %-5s b%s s%-5s ckpt%s allocated %9.2f measured %9.2f %+6.2f %%  reserved %7.0f measured %7.0f %+6.2f %%",
                  row.text("id").c_str(), row.text("model").c_str(), row.text("method").c_str(),
                  row.text("micro_batch").c_str(), row.text("seq_len").c_str(), row.text("grad_checkpointing").c_str(),
                  allocated, row.real("peak_allocated_mib"), c.allocated * 100, reserved, row.real("max_reserved_mib"),
                  c.reserved * 100);
    c.text = text;
    out.push_back(c);
  }
  return out;
}

std::string listed(const std::vector<Comparison>& rows) {
  std::string text;
  for (const Comparison& c : rows) text += c.text + '\n';
  return text;
}

TEST_CASE("estimates of the T4 runs with sdpa are within the tolerance") {
  const std::vector<Comparison> rows = compare("sdpa");
  double allocated = 0, reserved = 0, lowest_allocated = 0, lowest_reserved = 0;
  int with_reserved = 0;
  for (const Comparison& c : rows) {
    allocated += std::abs(c.allocated);
    lowest_allocated = std::min(lowest_allocated, c.allocated);
    if (!c.has_reserved) continue;
    ++with_reserved;
    reserved += std::abs(c.reserved);
    lowest_reserved = std::min(lowest_reserved, c.reserved);
  }
  INFO(listed(rows));
  REQUIRE(rows.size() >= 25);
  REQUIRE(with_reserved >= 20);
  CHECK(allocated / static_cast<double>(rows.size()) <= 0.01);
  CHECK(reserved / with_reserved <= 0.03);
  CHECK(lowest_allocated >= -0.03);
  CHECK(lowest_reserved >= -0.06);
}

}  // namespace
}  // namespace qwenplan::test
