#include "render/trainer/change.hpp"

#include <string>

#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

namespace {

/// A file of a trainer that takes top-level keys.
struct Base {
  Trainer trainer;
  std::string text;
};
const Base kBases[] = {
    {Trainer::llama_factory, "model_name_or_path: Qwen/Qwen2.5-7B\nstage: sft\ndo_train: true\ndataset: d\ntemplate: qwen\noutput_dir: o\n"},
    {Trainer::axolotl, "base_model: Qwen/Qwen2.5-7B\ndatasets:\n  - path: d\n    type: alpaca\noutput_dir: o\n"},
    {Trainer::trl, "model_name_or_path: Qwen/Qwen2.5-7B\ndataset_name: d\noutput_dir: o\n"},
    {Trainer::ms_swift, "model: Qwen/Qwen2.5-7B\ndataset: d\noutput_dir: o\n"},
};

/// The changed file as its reader takes it; no key of the change may be unknown to it.
RunDraft changed(const Base& base, const std::string& change) {
  std::string lines = change_in_file(base.trainer, change);
  for (std::size_t at; (at = lines.find(", with ")) != std::string::npos;)
    lines.replace(at, std::string::npos, "\nplugins:\n  - axolotl.integrations.liger.LigerPlugin");
  for (std::size_t at; (at = lines.find(", ")) != std::string::npos;) lines.replace(at, 2, "\n");
  const TrainFile file = reading(base.text + lines + "\n");
  CHECK(file.trainer == base.trainer);
  for (const char* rule : {"unknown-key", "unknown-key-refused", "invalid-value"}) CHECK_FALSE(says(file, rule));
  return file.draft;
}

}  // namespace

TEST_CASE("a change is told in the words of the trainer's file") {
  CHECK(change_in_file(Trainer::llama_factory, "--seq-len 2048") == "cutoff_len: 2048");
  CHECK(change_in_file(Trainer::axolotl, "--batch 1 --grad-accum 8") == "micro_batch_size: 1, gradient_accumulation_steps: 8");
  CHECK(change_in_file(Trainer::torchtune, "--seq-len 1024") == "tokenizer.max_seq_len: 1024");
  CHECK(change_in_file(Trainer::litgpt, "--batch 1 --grad-accum 8") == "train.micro_batch_size: 1");
  CHECK(change_in_file(Trainer::trl, "--optimizer paged-adamw-8bit --seq-len 512") == "optim: paged_adamw_8bit, max_length: 512");
}

TEST_CASE("what a trainer has no key for stays a flag or a variable") {
  const std::string variable = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
  CHECK(change_in_file(Trainer::axolotl, variable) == variable);
  CHECK(change_in_file(Trainer::axolotl, "--checkpointing " + variable) == "gradient_checkpointing: true, " + variable);
  CHECK(change_in_file(Trainer::trl, "--no-kbit-upcast") == "--no-kbit-upcast");
  CHECK(change_in_file(Trainer::verl, "--seq-len 512") == "--seq-len 512");
}

TEST_CASE("the trainer's reader takes such a line for the change that it stands for") {
  for (const Base& base : kBases) {
    CAPTURE(std::string(name(base.trainer)));
    CHECK(changed(base, "--seq-len 768").length->value == 768);
    const RunDraft parts = changed(base, "--batch 3 --grad-accum 5");
    CHECK(parts.micro_batch->value == 3);
    CHECK(parts.accumulation->value == 5);
    CHECK(changed(base, "--checkpointing").checkpoints->value);
    CHECK(changed(base, "--loss fused").loss->value == Loss::fused);
    CHECK(changed(base, "--optimizer paged-adamw-8bit").optimizer->value == "paged-adamw-8bit");
    CHECK(changed(base, "--optimizer adamw-8bit").optimizer->value == "adamw-8bit");
    CHECK(changed(base, "--optimizer paged-adamw").optimizer->value == "paged-adamw");
    CHECK(changed(base, "--attention fa2").attention->value == "fa2");
    CHECK(changed(base, "--attention sdpa").attention->value == "sdpa");
    CHECK(changed(base, "--method lora").method->value == Method::lora);
    CHECK(changed(base, "--method lora --lora-r 4").lora_rank->value == 4);
    const RunDraft quantized = changed(base, "--method qlora");
    CHECK(quantized.method->value == Method::qlora);
    CHECK(quantized.quantization->value == Quantization::nf4);
  }
  CHECK(changed(kBases[0], "--offload-checkpoints").offloads_checkpoints->value);
  CHECK(changed(kBases[0], "--precision bf16-true").precision->value == Precision::bf16_true);
  CHECK(changed(kBases[2], "--offload-activations").offloads_activations->value);
}
