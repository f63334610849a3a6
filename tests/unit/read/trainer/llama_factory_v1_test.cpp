#include <string>

#include "qwenplan/describe/trainer_defaults.hpp"
#include "support/reference.hpp"
#include "unit/read/trainer/reader.hpp"

// The second form of LLaMA-Factory's files.

using namespace qwenplan;

namespace {

const std::string kPlain = "model: Qwen/Qwen3-0.6B\nmodel_class: llm\ntrain_dataset: data/sft.yaml\n";

/// The run that a file asks for, with the trainer's defaults.
ValidRun run_of(const TrainFile& file) {
  const Model& model = test::reference_models().at("qwen3-0.6b");
  RunDraft draft = file.draft;
  const TrainerRelease release{Trainer::llama_factory, {0, 9, 5}};
  fill_defaults(release, model, nullptr, draft);
  const auto run = decided(draft, model, stack_of(release), nullptr);
  if (!run) INFO(run.error().what);
  REQUIRE(run.ok());
  return *run;
}

TEST_CASE("the second form trains in fp32 on one card, whatever bf16 says") {
  const TrainFile file = reading(kPlain + "dist_config:\n  name: fsdp2\nbf16: true\n");
  CHECK_FALSE(file.unmodelled);
  CHECK(file.trainer == Trainer::llama_factory);
  CHECK(says(file, "llama-factory/one-card-fp32"));
  const Run run = run_of(file).run;
  CHECK(run.method == Method::full);
  CHECK(run.weights == DType::fp32);
  CHECK_FALSE(run.autocasts);
  CHECK(run.weighs_tokens);
  CHECK(run.optimizer == OptimizerKind::adamw_foreach);
  CHECK(run.checkpoints);
  CHECK_FALSE(run.checkpoints_reentrant);
  CHECK(run.length == 2048);
  CHECK(run.micro_batch == 1);
}

TEST_CASE("adapters of the second form are in fp32 beside a base as it is stored") {
  const TrainFile file =
      reading(kPlain + "peft_config:\n  name: lora\n  r: 16\nmicro_batch_size: 2\nglobal_batch_size: 8\n");
  CHECK_FALSE(file.unmodelled);
  const Run run = run_of(file).run;
  CHECK(run.method == Method::lora);
  CHECK(run.lora_rank == 16);
  CHECK(run.lora_dropout == 0.05);
  CHECK(run.weights == DType::bf16);
  CHECK(run.adapter == DType::fp32);
  CHECK_FALSE(run.autocasts);
  CHECK(run.micro_batch == 2);
  CHECK(run.accumulation == 4);
  const Run quantized =
      run_of(reading(kPlain + "peft_config:\n  name: lora\nquant_config:\n  name: bnb\n  quantization_bit: 4\n")).run;
  CHECK(quantized.quantization == Quantization::nf4);
  CHECK(quantized.double_quantizes);
  CHECK_FALSE(quantized.upcasts_for_kbit);
}

TEST_CASE("what the second form has no place for on one card is named") {
  CHECK(reading(kPlain + "init_config:\n  name: init_on_rank0\n").unmodelled);
  CHECK(reading(kPlain + "optim_config:\n  name: muon\n").unmodelled);
  CHECK(reading(kPlain + "peft_config:\n  name: freeze\n").unmodelled);
  CHECK(reading(kPlain + "mtp_config:\n  name: mtp\n").unmodelled->what.find("further tokens") != std::string::npos);
  CHECK(reading(kPlain + "dist_config:\n  name: fsdpturbo\n").unmodelled);
  CHECK(reading(kPlain + "kernel_config:\n  name: liger_kernel\n  include_kernels: auto\n").unmodelled);
  CHECK(reading("model: m\nmodel_class: llm\ntrain_dataset: data/v1_dpo_demo.yaml\n").unmodelled);
  CHECK(reading(kPlain + "cp_size: 2\n").draft.context_parallel->value == 2);
  const TrainFile liger = reading(kPlain + "kernel_config:\n  name: liger_kernel\n");
  CHECK_FALSE(liger.unmodelled);
  CHECK(says(liger, "llama-factory/no-kernel-included"));
  CHECK(says(reading(kPlain + "batching_strategy: padding_free\n"), "llama-factory/padding-free-attention"));
  CHECK(says(reading(kPlain + "batching_strategy: dynamic_batching\n"), "llama-factory/dynamic-batching"));
  CHECK(says(reading(kPlain + "per_device_train_batch_size: 1\n"), "unknown-key-refused"));
}

}  // namespace
