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
