#include <string>

#include "unit/read/trainer/reader.hpp"

// Files of Unsloth Studio and its command line.

using namespace qwenplan;

namespace {

TEST_CASE("Unsloth's checkpointing is its own unless the file says otherwise") {
  const std::string text = "model: unsloth/Qwen3-8B\nlora:\n  lora_r: 16\ntraining:\n  load_in_4bit: true\n";
  const TrainFile plain = reading(text);
  CHECK_FALSE(plain.unmodelled);
  CHECK(plain.draft.checkpoints->value);
  CHECK_FALSE(plain.draft.offloads_checkpoints);  // which the trainer's defaults turn on
  const TrainFile own = reading(text + "  gradient_checkpointing: unsloth\n");
  CHECK_FALSE(own.draft.offloads_checkpoints);
  const TrainFile transformers = reading(text + "  gradient_checkpointing: 'true'\n");
  CHECK(transformers.draft.checkpoints->value);
  CHECK_FALSE(transformers.draft.offloads_checkpoints->value);
  const TrainFile none = reading(text + "  gradient_checkpointing: none\n");
  CHECK_FALSE(none.draft.checkpoints->value);
  CHECK_FALSE(none.draft.offloads_checkpoints->value);
}

TEST_CASE("A full training of Unsloth may have the section of adapters, which it does not use") {
  const TrainFile file = reading(
      "model: unsloth/Qwen2.5-0.5B\ntraining:\n  training_type: Full\n  load_in_4bit: false\n"
      "lora:\n  lora_r: 64\n  lora_alpha: 16\n  lora_dropout: 0.0\n  target_modules: \"\"\n  use_dora: false\n");
  CHECK(file.findings.empty());
  CHECK(file.draft.method->value == Method::full);
  CHECK_FALSE(file.draft.lora_rank);
}

TEST_CASE("Unsloth's precision is the card's, and its packing is told") {
  const std::string text = "model: unsloth/Qwen3-8B\nlora:\n  lora_r: 16\ntraining:\n  load_in_4bit: true\n";
  const TrainFile file = reading(text + "  packing: true\n");
  CHECK_FALSE(file.draft.precision);
  CHECK_FALSE(file.draft.weights);
  CHECK(file.draft.packs->value);
}

}  // namespace
