#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

TEST_CASE("The flags of a script", "[ms-swift]") {
  const auto file = reading(
      "# 22GB\nnproc_per_node=2\n\nCUDA_VISIBLE_DEVICES=0,1 \\\nNPROC_PER_NODE=$nproc_per_node \\\n"
      "swift sft \\\n    --model Qwen/Qwen2.5-7B-Instruct \\\n    --train_type lora \\\n"
      "    --dataset 'a#500' 'b#500' \\\n    --torch_dtype bfloat16 \\\n    --max_length 2048 \\\n"
      "    --lora_rank 16 \\\n    --gradient_accumulation_steps $(expr 16 / $nproc_per_node)\n",
      "train.sh");
  CHECK(file.trainer == Trainer::ms_swift);
  CHECK(file.model == "Qwen/Qwen2.5-7B-Instruct");
  CHECK(file.model_place.line == 7);
  CHECK(file.draft.method->value == Method::lora);
  CHECK(file.draft.gpus->value == 2);
  CHECK(file.draft.accumulation->value == 8);
  CHECK(file.draft.length->value == 2048);
  CHECK(file.draft.lora_rank->value == 16);
  CHECK(file.datasets.size() == 2);
  CHECK(says(file, "renamed-key"));
  CHECK_FALSE(says(file, "ms-swift/no-nproc-per-node"));
}

TEST_CASE("A vision tower that is not frozen is trained", "[ms-swift]") {
  const auto of = [](const std::string& flags) { return reading("swift sft --model a/b --dataset c " + flags + "\n", "train.sh"); };
  CHECK_FALSE(of("").draft.trains_vision);
  CHECK_FALSE(of("--freeze_vit true").draft.trains_vision);
  CHECK(of("--freeze_vit false").draft.trains_vision->value);
  CHECK(of("--freeze_aligner false").draft.trains_vision->value);
}

TEST_CASE("Several visible GPUs without processes split one model", "[ms-swift]") {
  const auto file =
      reading("CUDA_VISIBLE_DEVICES=0,1 swift sft --model a/b --dataset c\n", "train.sh");
  CHECK(file.draft.gpus->value == 2);
  CHECK(says(file, "ms-swift/no-nproc-per-node"));
  // A name in small letters is the script's own.
  const auto small = reading("nproc_per_node=4\nswift sft --model a/b --dataset c\n", "train.sh");
  CHECK_FALSE(small.draft.gpus);
}

TEST_CASE("A flag that the script does not decide is named", "[ms-swift]") {
  const std::string start = "swift sft --model a/b --dataset c ";
  const auto of = [&](const std::string& flags) { return reading(start + flags, "train.sh"); };
  const auto length = of("--max_length $LENGTH\n");
  CHECK_FALSE(length.draft.length);
  REQUIRE(length.open.size() == 1);
  CHECK(length.open[0].flag == "seq-len");
  CHECK(length.open[0].error.kind == Error::Kind::unknown);
  CHECK(length.open[0].error.what.find("--max_length needs 'LENGTH'") != std::string::npos);
  CHECK(of("--per_device_train_batch_size $1\n").open.at(0).flag == "batch");
  CHECK(of("--lora_rank \"$R\"\n").open.at(0).flag.empty());
  CHECK(reading("if x; then B=1; else B=8; fi\n" + start + "--per_device_train_batch_size $B\n", "a.sh")
            .open.at(0).error.what.find("branches") != std::string::npos);
  CHECK(reading("NPROC_PER_NODE=$N " + start, "a.sh").open.at(0).flag == "gpus");
  CHECK(reading("CUDA_VISIBLE_DEVICES=$N " + start, "a.sh").open.at(0).flag == "gpus");
  CHECK(reading("NPROC_PER_NODE=1 CUDA_VISIBLE_DEVICES=$N " + start, "a.sh").open.empty());
  // What does not touch the step is only told.
  const auto beside = of("--output_dir $OUT --num_train_epochs $E --learning_rate $LR\n");
  CHECK(beside.open.empty());
  CHECK(says(beside, "ms-swift/unresolved"));
}

TEST_CASE("Words that may be more flags are no flag's value", "[ms-swift]") {
  for (const char* more : {"\"$@\"", "$@", "$EXTRA", "\"${ARGS[@]}\"", "$EXTRA \"$@\""}) {
    CAPTURE(more);
    const auto file = reading("swift sft --model a/b --dataset c --max_length 1024 " + std::string(more), "a.sh");
    REQUIRE(file.draft.length);
    CHECK(file.draft.length->value == 1024);
    CHECK(file.open.empty());
    CHECK(says(file, "ms-swift/unresolved"));
  }
  // Flags that one branch of the script adds are another run.
  CHECK(reading("if a; then E='--packing true'; fi\nswift sft --model a/b --dataset c --max_length 8 $E", "a.sh")
            .open.size() == 1);
}

TEST_CASE("Flags with hyphens are the same flags", "[ms-swift]") {
  const auto file = reading("swift sft --model a/b --dataset c --per-device-train-batch-size 4\n", "a.sh");
  CHECK(file.draft.micro_batch->value == 4);
  CHECK_FALSE(says(file, "unknown-key-refused"));
  CHECK(says(reading("swift sft --model a/b --dataset c --per-device_train_batch_size 4\n", "a.sh"),
             "unknown-key-refused"));
}

TEST_CASE("The environment in a file counts as in a script", "[ms-swift]") {
  const std::string text = "model: a/b\ndataset: c\nENV:\n  CUDA_VISIBLE_DEVICES: \"0,1\"\n";
  CHECK(reading(text).draft.gpus->value == 2);
  CHECK(says(reading(text), "ms-swift/no-nproc-per-node"));
  CHECK(reading(text + "  NPROC_PER_NODE: 2\n  NNODES: 2\n").draft.gpus->value == 4);
}

TEST_CASE("ms-swift fills up to sixteen samples, and leaves the length to the model",
          "[ms-swift]") {
  const auto file =
      reading("model: a/b\ntuner_type: full\ndataset: c\nper_device_train_batch_size: 3\n");
  CHECK(file.draft.accumulation->value == 6);
  CHECK(file.draft.accumulation->from == From::trainer);
  CHECK_FALSE(file.draft.length);
  CHECK(file.draft.method->value == Method::full);
  CHECK(file.draft.checkpoints->value);
}

TEST_CASE("What ms-swift refuses", "[ms-swift]") {
  const std::string text = "model: a/b\ntuner_type: lora\ndataset: c\n";
  CHECK(says(reading(text + "packing: true\n"), "ms-swift/packing-without-flash"));
  CHECK_FALSE(says(reading(text + "packing: true\nattn_impl: flash_attn\n"),
                   "ms-swift/packing-without-flash"));
  CHECK(reading(text + "deepspeed: zero3_offload\n").draft.zero->value == "3");
  CHECK(reading(text + "deepspeed: zero3_offload\n").draft.offload->value == "optimizer,params");
  CHECK(reading("swift rlhf --rlhf_type grpo --model a/b --dataset c", "a.sh").draft.objective->value ==
        Objective::grpo);
  CHECK(reading("megatron sft --model a/b --dataset c", "a.sh").unmodelled);
}

TEST_CASE("What swift rlhf teaches is in rlhf_type, and DPO where nobody says", "[ms-swift]") {
  const std::string text = "model: Qwen/Qwen2.5-7B-Instruct\ndataset: a\nmax_length: 2048\n";
  const TrainFile dpo = reading(text + "rlhf_type: dpo\n");
  CHECK(dpo.draft.objective->value == Objective::dpo);
  CHECK_FALSE(dpo.unmodelled);
  CHECK(reading(text + "rlhf_type: dpo\nloss_type: ipo\n").draft.objective->value == Objective::ipo);
  const TrainFile simpo = reading(text + "rlhf_type: simpo\ncpo_alpha: 0\n");
  CHECK(simpo.draft.objective->value == Objective::simpo);
  CHECK_FALSE(simpo.draft.adds_likelihood->value);
  CHECK(reading(text + "rlhf_type: rm\n").draft.objective->value == Objective::reward);
  CHECK_FALSE(reading(text + "rlhf_type: kto\n").unmodelled);
  CHECK(reading(text + "rlhf_type: kto\nloss_type: apo_zero_unpaired\n").unmodelled);
  CHECK(reading(text + "rlhf_type: gkd\n").unmodelled);
}
