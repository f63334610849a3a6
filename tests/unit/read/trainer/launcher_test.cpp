#include "qwenplan/describe/trainer_defaults.hpp"
#include "support/tiny_model.hpp"
#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

TEST_CASE("DeepSpeed's stage and what it offloads", "[deepspeed]") {
  const auto file = reading(
      R"({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"},
          "offload_optimizer": {"device": "none"}}, "bf16": {"enabled": true},
          "train_micro_batch_size_per_gpu": "auto", "_comment": "x"})",
      "ds.json");
  CHECK(file.trainer == Trainer::deepspeed);
  CHECK(file.draft.zero->value == "3");
  CHECK(file.draft.offload->value == "params");
  CHECK_FALSE(file.other_purpose.empty());
  CHECK(file.findings.empty());
  CHECK(says(
      reading(R"({"zero_optimization": {"stage": 2, "cpu_offload": true, "stag": 3}})", "ds.json"),
      "deepspeed/removed-key"));
  CHECK(says(reading(R"({"zero_optimization": {"stage": 2, "stag": 3}})", "ds.json"),
             "unknown-key-refused"));
  CHECK(says(reading(R"({"zero_optimization": {"stage": 4}})", "ds.json"), "deepspeed/stage"));
  // A word without quotes takes the comma behind it.
  CHECK(says(reading("{\n\"train_batch_size\": SIZE,\n\"zero_optimization\": {\"stage\": 2}}", "ds.json"), "invalid-value"));
  CHECK_FALSE(says(reading("mixed_precision: fp16\nnum_processes: 2\n"), "accelerate/mixed-precision"));
}

TEST_CASE("A trainer's file and the DeepSpeed file that it points to", "[deepspeed]") {
  const std::map<std::string, std::string> files = {
      {"ds.json", R"({"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 4})"}};
  const Beside beside(files);
  const std::string text = "model_name_or_path: a/b\nper_device_train_batch_size: 2\n";
  const auto file = reading(text + "deepspeed: ds.json\n", "run.yaml", beside);
  CHECK(file.draft.zero->value == "2");
  CHECK(file.draft.zero->place.line == 3);
  CHECK(file.draft.micro_batch->value == 2);
  CHECK(says(file, "deepspeed/batch-mismatch"));

  const auto missing = reading(text + "deepspeed: mine.json\n");
  CHECK(says(missing, "deepspeed/file-not-found"));
  CHECK(missing.unmodelled);
  // The value is only a remark: there is no DeepSpeed.
  const auto off = reading(text + "deepspeed: # zero2.json\n");
  CHECK_FALSE(off.draft.zero);
  CHECK(
      reading(text + "deepspeed: '{\"zero_optimization\": {\"stage\": 1}}'\n").draft.zero->value ==
      "1");
}

TEST_CASE("accelerate's processes, stage and FSDP", "[accelerate]") {
  const auto file = reading(
      "distributed_type: DEEPSPEED\nnum_processes: 8\nmixed_precision: no\n"
      "deepspeed_config:\n  offload_optimizer_device: cpu\n");
  CHECK(file.trainer == Trainer::accelerate);
  CHECK(file.draft.gpus->value == 8);
  CHECK(file.draft.zero->value == "2");
  CHECK(file.draft.offload->value == "optimizer");
  const auto fsdp = reading(
      "distributed_type: FSDP\nnum_processes: 2\nfsdp_config:\n  fsdp_version: 2\n"
      "  fsdp_sharding_strategy: FULL_SHARD\n  fsdp_offload_params: true\nnum_proceses: 2\n");
  CHECK(fsdp.draft.fsdp->value == "2");
  CHECK(fsdp.draft.offload->value == "params");
  CHECK(says(fsdp, "accelerate/fsdp2-old-key"));
  CHECK(says(fsdp, "accelerate/fsdp-no-wrap"));
  CHECK(says(fsdp, "unknown-key-refused"));
}

TEST_CASE("Expert parallelism of DeepSpeed is known and not modelled", "[deepspeed]") {
  const std::map<std::string, std::string> files = {
      {"ep.json", R"({"zero_optimization": {"stage": 1}, "expert_parallel": {"enabled": true, "autoep_size": 8}, "log_level": "info"})"}};
  const auto file = reading("model_name_or_path: a/b\ndeepspeed: ep.json\n", "run.yaml", Beside(files));
  REQUIRE(file.unmodelled);
  CHECK(file.unmodelled->what.find("expert") != std::string::npos);
  CHECK_FALSE(says(file, "unknown-key"));
}

TEST_CASE("A DeepSpeed file with remarks stops a run, and its stage is read all the same", "[deepspeed]") {
  const std::string text = "model_name_or_path: a/b\nper_device_train_batch_size: 2\ndeepspeed: ds.json\n";
  const auto file = reading(text, "run.yaml", Beside(Beside::Files{{"ds.json", "{\n  \"zero_optimization\": {\"stage\": 3}, # all\n}"}}));
  CHECK(file.draft.zero->value == "3");
  REQUIRE(says(file, "deepspeed/unreadable"));
  CHECK(file.findings[0].message.starts_with("ds.json, line 2"));
  CHECK(file.findings[0].place.line == 3);
  const auto broken = reading(text, "run.yaml", Beside(Beside::Files{{"ds.json", "{ stage"}}));
  REQUIRE(broken.unmodelled);
  CHECK(broken.unmodelled->where == "run.yaml, line 3, column 12");
}

TEST_CASE("accelerate's mixed precision decides where the trainer's file leaves it", "[accelerate]") {
  // transformers' TrainingArguments take ACCELERATE_MIXED_PRECISION where neither bf16 nor fp16 is on.
  const std::string trl = "model_name_or_path: a/b\nmax_length: 8\ndtype: bfloat16\n";
  const auto decided = reading(trl + "bf16: false\nmixed_precision: fp16\n");
  CHECK(decided.draft.precision->value == Precision::fp16_mixed);
  CHECK(decided.draft.precision->place.line == 5);
  CHECK_FALSE(says(decided, "accelerate/mixed-precision"));
  CHECK(reading(trl + "bf16: false\nmixed_precision: 'no'\n").draft.precision->value == Precision::bf16_true);
  // bf16 is TRL's default since 0.19.
  const auto ignored = reading(trl + "mixed_precision: fp16\n");
  CHECK_FALSE(ignored.draft.precision);
  CHECK(says(ignored, "accelerate/mixed-precision"));
  CHECK_FALSE(says(reading(trl + "bf16: true\nmixed_precision: bf16\n"), "accelerate/mixed-precision"));
  CHECK(reading(trl + "bf16: false\nmixed_precision: fp8\n").draft.uses_fp8->value);
  CHECK(reading(trl + "bf16: false\nmixed_precision: fp32\n").unmodelled);

  const Beside beside(Beside::Files{{"acc.yaml", "distributed_type: 'NO'\nmixed_precision: bf16\nnum_processes: 1\n"}});
  const auto by_file = reading(trl + "bf16: false\naccelerate_config: acc.yaml\n", "run.yaml", beside);
  CHECK(by_file.draft.precision->value == Precision::bf16_mixed);
  CHECK(by_file.draft.gpus->value == 1);
  CHECK(reading(trl + "accelerate_config: mine.yaml\n").open.size() == 1);
  CHECK(reading(trl + "accelerate_config: zero2\n").draft.gpus->value == 8);
}

TEST_CASE("accelerate's flag for the precision goes before its file", "[accelerate]") {
  const Beside beside(Beside::Files{{"acc.yaml", "distributed_type: 'NO'\nmixed_precision: fp16\nnum_processes: 1\n"}});
  const auto precision = [&](const std::string& flags, const std::string& more) {
    return reading("accelerate launch " + flags +
                       " src/train.py --stage sft --do_train --model_name_or_path a/b --dataset d --cutoff_len 8 " + more,
                   "train.sh", beside);
  };
  CHECK(precision("--mixed_precision bf16", "--finetuning_type lora").draft.precision->value == Precision::bf16_mixed);
  CHECK(precision("--mixed_precision bf16 --config_file acc.yaml", "--finetuning_type lora").draft.precision->value ==
        Precision::bf16_mixed);
  CHECK(precision("--config_file acc.yaml", "--finetuning_type full").draft.precision->value == Precision::fp16_mixed);
  CHECK(says(precision("--config_file acc.yaml", "--bf16"), "accelerate/mixed-precision"));
  // A base in its own format below autocast in another.
  CHECK(precision("--config_file acc.yaml", "--finetuning_type lora").unmodelled);
  const auto pure = precision("--mixed_precision=bf16", "--pure_bf16");
  CHECK(pure.draft.precision->value == Precision::bf16_true);
  CHECK(pure.draft.autocasts->value);
}

TEST_CASE("ms-swift without bf16 runs in the format of its weights", "[ms-swift]") {
  const std::string text = "model: a/b\ntuner_type: full\nmax_length: 8\n";
  CHECK(reading(text + "torch_dtype: bfloat16\nbf16: false\n").draft.precision->value == Precision::bf16_true);
  CHECK(reading(text + "torch_dtype: bfloat16\n").draft.precision->value == Precision::bf16_mixed);
  // fp16 is on for other formats where it is left out.
  CHECK(reading(text + "torch_dtype: float16\nbf16: false\n").draft.precision->value == Precision::fp16_mixed);
  CHECK(reading(text + "torch_dtype: float16\nbf16: false\nfp16: false\n").draft.precision->value ==
        Precision::fp16_true);
  CHECK(reading(text + "torch_dtype: float16\nfp16: false\n").draft.precision->value == Precision::fp16_true);
  CHECK(reading(text + "torch_dtype: bfloat16\nfp16: false\n").draft.precision->value == Precision::bf16_mixed);
  // Without torch_dtype the model's stored format decides.
  const auto stored_in = [&](DType stored, const std::string& more, const std::string& launcher = {}) {
    const std::string script = "accelerate launch " + launcher + " swift/cli/sft.py --model a/b --tuner_type full --max_length 8 " + more;
    RunDraft d = (launcher.empty() ? reading(text + more) : reading(script, "train.sh")).draft;
    Model model = test::Tiny::model(2);
    model.stored = stored;
    fill_defaults(*trainer_release("ms-swift"), model, nullptr, d);
    return d.precision->value;
  };
  CHECK(stored_in(DType::bf16, "bf16: false\n") == Precision::bf16_true);
  CHECK(stored_in(DType::fp16, "bf16: false\n") == Precision::fp16_mixed);
  CHECK(stored_in(DType::fp32, "bf16: false\n") == Precision::fp16_mixed);
  CHECK(stored_in(DType::fp16, "bf16: false\nfp16: false\n") == Precision::fp16_true);
  CHECK(stored_in(DType::fp32, "bf16: false\nfp16: false\n") == Precision::fp32);
  CHECK(stored_in(DType::bf16, "fp16: false\n") == Precision::bf16_mixed);
  // accelerate's precision is for what the trainer leaves.
  const std::string launched = "--num_processes 1 --mixed_precision bf16";
  CHECK(stored_in(DType::bf16, "--bf16 false\n", launched) == Precision::bf16_mixed);
  CHECK(stored_in(DType::fp16, "--bf16 false\n", launched) == Precision::fp16_mixed);
}

TEST_CASE("Only a slip of the pen gets a hint", "[settings]") {
  const auto hint = [](const std::string& key) {
    const auto file = reading("model: a/b\ndataset: c\n" + key + ": 1\n");
    for (const Finding& each : file.findings)
      if (each.rule == "unknown-key-refused") return each.fix;
    return std::string("known");
  };
  CHECK(hint("lora_rnak").find("lora_rank") != std::string::npos);
  CHECK(hint("loraRank").find("lora_rank") != std::string::npos);
  CHECK(hint("gradient_checkpoint").find("gradient_checkpointing") != std::string::npos);
  CHECK(hint("wandb_token").empty());
  CHECK(hint("use_cce").empty());
  CHECK(hint("eaft_alpha").empty());
}
