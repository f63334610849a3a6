#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

TEST_CASE("A litgpt recipe; adapters go on queries and values", "[litgpt]") {
  const auto file = reading(
      "checkpoint_dir: checkpoints/Qwen/Qwen3-8B\nprecision: bf16-true\nquantize: bnb.nf4-dq\n"
      "devices: 1\nlora_r: 32\nlora_key: true\ntrain:\n  global_batch_size: 8\n"
      "  micro_batch_size: 2\n  max_seq_length: 512\n");
  CHECK(file.model == "Qwen/Qwen3-8B");
  CHECK(file.draft.method->value == Method::qlora);
  CHECK(file.draft.double_quantizes->value);
  CHECK(file.draft.accumulation->value == 4);
  CHECK(file.draft.lora_targets->value == std::vector<std::string>{"q_proj", "k_proj", "v_proj"});
  CHECK_FALSE(file.draft.checkpoints->value);
  CHECK(file.findings.empty());
}

TEST_CASE("What litgpt refuses", "[litgpt]") {
  const std::string text = "checkpoint_dir: checkpoints/a/b\nout_dir: o\nlora_r: 8\n";
  const std::string train = "train:\n  micro_batch_size: 1\n  max_seq_length: 512\n";
  CHECK(says(reading(text + "quantize: bnb.nf4\n" + train), "litgpt/quantized-mixed"));
  const auto two = reading(text + "devices: 2\nprecision: bf16-true\nquantize: bnb.nf4\n" + train);
  CHECK(says(two, "litgpt/quantized-several-gpus"));
  CHECK(two.draft.checkpoints->value);
  CHECK(says(reading(text + "devices: 32\n" + train), "litgpt/batch"));
}

TEST_CASE("litgpt's precisions are Lightning's words", "[litgpt]") {
  const auto file = [](const std::string& precision) {
    return reading("checkpoint_dir: checkpoints/a/b\nout_dir: o\nprecision: " + precision +
                   "\ntrain:\n  micro_batch_size: 1\n  max_seq_length: 512\n");
  };
  CHECK(file("32").draft.precision->value == Precision::fp32);
  CHECK(file("\"16\"").draft.precision->value == Precision::fp16_mixed);
  CHECK(file("bf16").draft.precision->value == Precision::bf16_mixed);
  CHECK(file("transformer-engine").unmodelled);
}

TEST_CASE("litgpt: devices: auto leaves their number to the machine", "[litgpt]") {
  const std::string file = "checkpoint_dir: checkpoints/Qwen/Qwen3-8B\nout_dir: o\ntrain:\n  global_batch_size: 8\n  micro_batch_size: 2\n";
  const TrainFile all = reading(file + "devices: auto\n");
  CHECK(says(all, "launcher-decides"));
  CHECK_FALSE(all.draft.gpus);
  CHECK(all.draft.accumulation->value == 4);
  CHECK(reading(file + "devices: 2\n").draft.gpus->value == 2);
  CHECK(says(reading(file + "devices: some\n"), "invalid-value"));
  CHECK(says(reading(file + "devices: 0\n"), "invalid-value"));
  // Pre-training takes them all where nothing is said.
  CHECK(says(reading("model_name: pythia-14m\nout_dir: o\ntrain:\n  micro_batch_size: 2\n"), "launcher-decides"));
  CHECK_FALSE(says(reading(file), "launcher-decides"));
}
