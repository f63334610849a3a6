#include "qwenplan/describe/trainer_defaults.hpp"
#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

TEST_CASE("A recipe of TRL's, its switches and its old names", "[trl]") {
  const auto file = reading(
      "model_name_or_path: Qwen/Qwen3-8B\ntorch_dtype: bfloat16\nuse_peft: true\nload_in_4bit: "
      "true\n"
      "lora_r: 32\nlora_target_modules: [q_proj, k_proj]\nmax_length: 4096\n"
      "per_device_train_batch_size: 2\ngradient_accumulation_steps: 8\noptim: adamw_bnb_8bit\n"
      "attn_implementation: flash_attention_2\nbf16: true\nsave_steps: 0.5\n");
  CHECK(file.trainer == Trainer::trl);
  CHECK(file.model == "Qwen/Qwen3-8B");
  REQUIRE(file.draft.method);
  CHECK(file.draft.method->value == Method::qlora);
  CHECK(file.draft.quantization->value == Quantization::nf4);
  CHECK_FALSE(file.draft.double_quantizes->value);
  CHECK(file.draft.adapter->value == DType::bf16);
  CHECK(file.draft.weights->value == DType::bf16);
  CHECK(file.draft.lora_rank->value == 32);
  CHECK(file.draft.lora_rank->place.line == 5);
  CHECK(file.draft.length->value == 4096);
  CHECK(file.draft.micro_batch->value == 2);
  CHECK(file.draft.accumulation->value == 8);
  CHECK(file.draft.optimizer->value == "adamw-8bit");
  CHECK(file.draft.attention->value == "fa2");
  CHECK_FALSE(file.save_steps);  // half of all steps, not every half step
  CHECK(says(file, "renamed-key"));
}

TEST_CASE("TRL's length: an old name is ignored, and null is no limit", "[trl]") {
  const std::string text = "model_name_or_path: a/b\ndtype: bfloat16\n";
  const auto old = reading(text + "max_seq_length: 256\n");
  CHECK_FALSE(old.draft.length);
  CHECK(says(old, "trl/ignored-length"));
  CHECK(reading(text + "max_seq_length: 256\nmax_length: 512\n").draft.length->value == 512);
  for (const char* null : {"null", "~", ""}) {
    auto unlimited = reading(text + "max_length: " + null + "\n").draft;
    fill_defaults({Trainer::trl, latest_version(Trainer::trl)}, Model(), nullptr, unlimited);
    CHECK_FALSE(unlimited.length);
    CHECK(unlimited.is_unbounded->value);
  }
}

TEST_CASE("dtype: auto loads a model as it is stored", "[trl]") {
  Model model;
  for (const DType stored : {DType::bf16, DType::fp16}) {
    model.stored = stored;
    auto draft = reading("model_name_or_path: a/b\ndtype: auto\n").draft;
    fill_defaults({Trainer::trl, latest_version(Trainer::trl)}, model, nullptr, draft);
    CHECK(draft.weights->value == stored);
    CHECK(draft.weights->from == From::file);
    // And computes in that format where bf16 is off.
    auto alone = reading("model_name_or_path: a/b\ndtype: auto\nbf16: false\n").draft;
    fill_defaults({Trainer::trl, latest_version(Trainer::trl)}, model, nullptr, alone);
    CHECK(alone.precision->value == (stored == DType::bf16 ? Precision::bf16_true : Precision::fp16_true));
  }
}

TEST_CASE("A name tells the stage as a word of its own", "[trl]") {
  const std::string text = "model_name_or_path: a/b\n";
  const auto is_dpo = [&](const char* path) { return reading(text, path).draft.objective->value == Objective::dpo; };
  for (const char* path : {"Desktop/train.yaml", "corporate/train.yaml", "dpo-vs-sft/train.yaml", "dpo/sft/train.yaml",
                           "dpo/config_sft.yaml"})
    CHECK_FALSE(is_dpo(path));
  for (const char* path : {"recipes/zephyr-7b-beta/dpo/config_full.yaml", "a/dpo_llama.yaml", "sft/config_dpo.yaml"})
    CHECK(is_dpo(path));
}

TEST_CASE("Adapters without their switch are ignored, and the finding says so", "[trl]") {
  const auto file = reading("model_name_or_path: a/b\nlora_r: 16\nlearning_rate: 1e-4\n");
  CHECK(file.draft.method->value == Method::full);
  CHECK_FALSE(file.draft.lora_rank);
  CHECK(says(file, "trl/lora-without-use-peft"));
  CHECK_FALSE(says(reading("model_name_or_path: a/b\nuse_peft: true\nlora_r: 16\n"),
                   "trl/lora-without-use-peft"));
  CHECK(says(reading("model_name_or_path: a/b\nload_in_4bit: true\n"),
             "trl/quantized-without-use-peft"));
  CHECK(says(reading("model_name_or_path: a/b\nuse_peft: true\nload_in_4bit: true\n"),
             "trl/compute-dtype"));
  CHECK(says(reading("model_name_or_path: a/b\npacking: true\n"), "trl/packing-without-flash"));
  CHECK(says(reading("model_name_or_path: a/b\nbf16: true\nfp16: true\n"),
             "transformers/two-precisions"));
}

TEST_CASE("What a recipe trains for is in its keys or its folder", "[trl]") {
  const std::string text = "model_name_or_path: a/b\n";
  CHECK_FALSE(reading(text).unmodelled);
  CHECK(reading(text + "beta: 0.1\n").draft.objective->value == Objective::dpo);
  CHECK(reading(text + "beta: 0.1\n", "recipes/orpo/x.yaml").draft.objective->value ==
        Objective::orpo);
  CHECK(reading(text + "desirable_weight: 1.0\n").draft.objective->value == Objective::kto);
  CHECK(reading(text + "desirable_weight: 1.0\nloss_type: apo_zero_unpaired\n").unmodelled);
  const auto reward = reading(text + "center_rewards_coefficient: 0.01\n");
  CHECK(reward.draft.objective->value == Objective::reward);
  CHECK_FALSE(reward.unmodelled);
  CHECK(reading(text + "beta: 0.1\nloss_type: ipo\n").draft.objective->value == Objective::ipo);
  CHECK(reading(text + "beta: 0.1\nloss_type: [sigmoid, sft]\n").unmodelled);
  CHECK(reading(text + "beta: 0.1\nuse_weighting: true\n").unmodelled);
  const auto dpo = reading(text + "beta: 0.1\npadding_free: true\nprecompute_ref_log_probs: true\n");
  CHECK_FALSE(dpo.unmodelled);
  CHECK_FALSE(dpo.draft.is_padding_free);  // TRL warns and pads
  CHECK(dpo.draft.precomputes_reference->value);
  const auto grpo = reading(text + "num_generations: 8\n");
  CHECK(grpo.draft.objective->value == Objective::grpo);
  REQUIRE(grpo.unmodelled);
  CHECK(grpo.unmodelled->what.find("GRPO") != std::string::npos);
}
