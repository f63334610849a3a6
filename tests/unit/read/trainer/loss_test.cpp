#include "qwenplan/describe/trainer_defaults.hpp"
#include "unit/read/trainer/reader.hpp"

// Which loss a file asks for, and which its trainer takes where it asks for none.

using namespace qwenplan;

namespace {

Model some_model() {
  Model m;
  m.architecture = Architecture::qwen2;
  m.heads = 28;
  m.kv_heads = 4;
  m.head_dim = 128;
  return m;
}

/// A file with the defaults of its trainer's version, or of another one.
RunDraft filled(const std::string& text, const std::string& version = "") {
  TrainFile file = reading(text);
  const Version release = version_of(version).value_or(latest_version(file.trainer));
  fill_defaults({file.trainer, release}, some_model(), nullptr, file.draft);
  return file.draft;
}

}  // namespace

TEST_CASE("TRL's supervised loss is a fused head from 1.15 on, whatever the file says") {
  const std::string text = "model_name_or_path: a/b\nmax_length: 1024\n";
  for (const char* more : {"", "loss_type: nll\n", "loss_type: chunked_nll\n", "loss_type: dft\n", "use_liger_kernel: true\n"}) {
    const RunDraft draft = filled(text + more);
    REQUIRE(draft.loss);
    CHECK(draft.loss->value == Loss::fused);
    CHECK(draft.fused_loss->value == FusedLoss::trl);
    CHECK_FALSE(draft.metrics);
  }
  CHECK(filled(text + "use_liger_kernel: true\n").liger_rope->value);
}

TEST_CASE("TRL's supervised loss is chunked from 1.7 to 1.14, unless Liger's kernels or the file say otherwise") {
  const std::string text = "model_name_or_path: a/b\nmax_length: 1024\n";
  const RunDraft then = filled(text, "1.14.0");
  REQUIRE(then.loss);
  CHECK(then.loss->value == Loss::chunked);
  CHECK(then.chunked_loss->value == ChunkedLoss::trl);
  CHECK(then.loss_chunk_tokens->value == 256);
  const RunDraft before = filled(text, "1.6.0");
  CHECK_FALSE(before.loss);
  CHECK(before.metrics->value == LogitMetrics::entropy);
  CHECK(filled(text, "1.5.1").metrics->value == LogitMetrics::accuracy);
  CHECK(filled(text + "loss_type: nll\n", "1.14.0").loss->value == Loss::standard);
  CHECK(filled(text + "loss_type: chunked_nll\n", "1.6.0").loss->value == Loss::chunked);
  for (const char* liger : {"use_liger_kernel: true\n", "use_liger: true\n"}) {
    const RunDraft fused = filled(text + liger + "loss_type: nll\n", "1.14.0");
    CHECK(fused.loss->value == Loss::fused);
    CHECK(fused.fused_loss->value == FusedLoss::liger);
    CHECK(fused.liger_rope->value);
  }
  CHECK(reading(text + "gradient_checkpointing_kwargs: {selective: true}\n").unmodelled);
}

TEST_CASE("transformers turns single kernels of Liger's off") {
  const auto file = reading(
      "model_name_or_path: a/b\nuse_liger_kernel: true\n"
      "liger_kernel_config: {rope: false, fused_linear_cross_entropy: false}\n");
  CHECK_FALSE(file.draft.liger_rope->value);
  CHECK(file.draft.liger_rms_norm->value);
  CHECK(file.draft.liger_glu->value);
  CHECK_FALSE(file.draft.loss);
}

TEST_CASE("axolotl's losses: its own in pieces, and that of each plugin") {
  const std::string text =
      "base_model: a/b\ndatasets: []\nsequence_len: 4096\nmicro_batch_size: 2\n"
      "gradient_accumulation_steps: 1\n";
  const RunDraft chunked =
      filled(text + "chunked_cross_entropy: true\nchunked_cross_entropy_num_chunks: 4\n");
  CHECK(chunked.loss->value == Loss::chunked);
  CHECK(chunked.chunked_loss->value == ChunkedLoss::axolotl);
  CHECK(chunked.loss_chunks->value == 4);
  const RunDraft cut =
      filled(text + "plugins:\n- axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin\n");
  CHECK(cut.fused_loss->value == FusedLoss::cut_cross_entropy);
  CHECK_FALSE(cut.norm_weights);  // it needs 16 bits, and the loader casts norms back for it
  CHECK(filled(text).norm_weights->value == DType::fp32);
}

TEST_CASE("torchtune's losses are three") {
  const auto loss = [](const std::string& type) {
    return reading("model:\n  _component_: torchtune.models.qwen2_5.qwen2_5_7b\nloss:\n  _component_: "
                   "torchtune.modules.loss." +
                   type + "\nbatch_size: 2\noptimizer:\n  _component_: torch.optim.AdamW\n")
        .draft;
  };
  CHECK(loss("LinearCrossEntropyLoss").chunked_loss->value == ChunkedLoss::torchtune);
  CHECK(loss("CEWithChunkedOutputLoss").chunked_loss->value == ChunkedLoss::torchtune_logits);
  CHECK(loss("LigerFusedCrossEntropyLoss").fused_loss->value == FusedLoss::liger);
}
