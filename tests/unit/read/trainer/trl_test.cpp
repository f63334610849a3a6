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

TEST_CASE("Keys that TRL has no more are named with what stands in their place", "[trl]") {
  const auto told = [](const std::string& key, const std::string& text) {
    const auto file = reading("model_name_or_path: a/b\ndtype: bfloat16\n" + text + "\n");
    for (const Finding& each : file.findings)
      if (each.rule == "removed-key" && each.message.find("'" + key + "'") != std::string::npos) return each.message + "; " + each.fix;
    return std::string();
  };
  CHECK(told("max_prompt_length", "beta: 0.1\nmax_prompt_length: 512").find("TRL 0.29") != std::string::npos);
  CHECK(told("max_prompt_length", "num_generations: 8\nmax_prompt_length: 512").find("TRL 0.28") != std::string::npos);
  CHECK(told("dataset_mixer", "dataset_mixer: {a/b: 1.0}").find("dataset_mixture") != std::string::npos);
  CHECK(told("warmup_ratio", "warmup_ratio: 0.1").find("warmup_steps") != std::string::npos);
  CHECK(told("overwrite_output_dir", "overwrite_output_dir: true").find("transformers 5") != std::string::npos);
  CHECK(told("use_flash_attention_2", "use_flash_attention_2: true").find("attn_implementation") != std::string::npos);
  // A version that knows the key says nothing.
  const auto old = read_train_file("model_name_or_path: a/b\nbeta: 0.1\nmax_prompt_length: 512\nwarmup_ratio: 0.1\n", "run.yaml",
                                   Beside(), {std::nullopt, "0.20"});
  REQUIRE(old.ok());
  CHECK_FALSE(says(*old, "removed-key"));
}

TEST_CASE("Files beside the recipes that train nothing themselves", "[trl]") {
  CHECK_FALSE(reading("model_name_or_path: a/b\nruns:\n  - nodes: 2\n").other_purpose.empty());
  CHECK_FALSE(reading("model_name_or_path: a/b\nnum_generations: 4\nlow_reward_threshold: 0.2\n").other_purpose.empty());
  CHECK(reading("num_generations: 4\nper_device_train_batch_size: 4\n").trainer == Trainer::trl);
}

TEST_CASE("Switches of argparse take letters, and nonsense is told wherever it stands", "[trl]") {
  const std::string text = "model_name_or_path: a/b\ndtype: bfloat16\n";
  CHECK_FALSE(reading(text + "gradient_checkpointing: n\n").draft.checkpoints->value);
  CHECK(reading(text + "gradient_checkpointing: y\n").draft.checkpoints->value);
  CHECK(says(reading(text + "gradient_checkpointing: perhaps\n"), "invalid-value"));
  CHECK(says(reading(text + "push_to_hub: perhaps\n"), "invalid-value"));
  CHECK_FALSE(says(reading(text + "push_to_hub: y\ntf32: null\ndo_eval: no\n"), "invalid-value"));
}

TEST_CASE("A split batch is that of all GPUs", "[trl]") {
  const std::string text = "model_name_or_path: a/b\ndtype: bfloat16\nper_device_train_batch_size: 16\n";
  const auto file = reading(text + "num_processes: 4\naccelerator_config:\n  split_batches: true\n");
  CHECK(says(file, "split-batches"));
  CHECK(file.draft.micro_batch->value == 4);
  const auto alone = reading(text + "accelerator_config: '{\"split_batches\": true}'\n");
  CHECK(says(alone, "split-batches"));
  CHECK(alone.draft.micro_batch->value == 16);
  CHECK_FALSE(says(reading(text + "accelerator_config: {split_batches: false}\n"), "split-batches"));
}

TEST_CASE("TRL's way to pack has an old name, and others are refused", "[trl]") {
  const std::string text = "model_name_or_path: a/b\ndtype: bfloat16\npacking: true\npacking_strategy: ";
  const auto old = reading(text + "ffd\n");
  CHECK(says(old, "renamed-key"));
  REQUIRE(old.draft.packs);
  CHECK(old.draft.packs->value);
  CHECK_FALSE(reading(text + "wrapped\n").draft.packs);
  CHECK_FALSE(says(reading(text + "bfd_split\n"), "invalid-value"));
  CHECK(says(reading(text + "tight\n"), "invalid-value"));
}
