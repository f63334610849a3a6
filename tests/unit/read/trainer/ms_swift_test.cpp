#include "qwenplan/describe/trainer_defaults.hpp"
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
  // NNODES alone starts torchrun with one process on each machine.
  CHECK(reading("NNODES=2 swift sft --model a/b --dataset c\n", "train.sh").draft.gpus->value == 2);
  CHECK(reading("NNODES=2 CUDA_VISIBLE_DEVICES=0,1 swift sft --model a/b --dataset c\n", "train.sh").draft.gpus->value == 4);
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
  CHECK(reading("NNODES=$N " + start, "a.sh").open.at(0).flag == "gpus");
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
  const auto steps = [](RunDraft draft) {
    fill_defaults({Trainer::ms_swift, latest_version(Trainer::ms_swift)}, Model(), nullptr, draft);
    CHECK(draft.accumulation->from == From::trainer);
    return draft.accumulation->value;
  };
  CHECK(steps(file.draft) == 6);
  // Whoever gives another batch gets the steps of that one.
  RunDraft given = file.draft;
  given.micro_batch = Given<std::int64_t>{8, From::flag, {}};
  CHECK(steps(given) == 2);
  // Two processes count twice; one model on two cards counts once.
  CHECK(steps(reading("NPROC_PER_NODE=2 swift sft --model a/b --dataset c\n", "a.sh").draft) == 8);
  CHECK(steps(reading("CUDA_VISIBLE_DEVICES=0,1 swift sft --model a/b --dataset c\n", "a.sh").draft) == 16);
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

TEST_CASE("Whoever starts the processes says how many there are", "[ms-swift]") {
  const auto of = [](const std::string& start, const Beside& beside = {}) {
    return reading(start + " swift/cli/sft.py --model a/b --dataset c --max_length 8\n", "train.sh", beside);
  };
  const std::string visible = "CUDA_VISIBLE_DEVICES=0,1,2,3 ";
  CHECK(of(visible + "torchrun --nproc_per_node=4 --nnodes 2").draft.gpus->value == 8);
  CHECK(of("python -m torch.distributed.run --nproc-per-node 2").draft.gpus->value == 2);
  CHECK(of("deepspeed --include localhost:0,1,2").draft.gpus->value == 3);
  CHECK(of(visible + "deepspeed").draft.gpus->value == 4);
  CHECK(of("accelerate launch --num_processes 2").draft.gpus->value == 2);
  // The visible cards are no parts of one model then.
  CHECK_FALSE(says(of(visible + "torchrun --nproc_per_node=4"), "ms-swift/no-nproc-per-node"));
  // torchrun starts one process where nobody says more.
  CHECK(of(visible + "torchrun").draft.gpus->value == 1);

  const Beside beside(std::map<std::string, std::string>{{"fsdp.yaml", "distributed_type: FSDP\nnum_processes: 2\nfsdp_config:\n  fsdp_version: 2\n"
                                     "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"}});
  const auto spread = of("accelerate launch --config_file fsdp.yaml", beside);
  CHECK(spread.draft.gpus->value == 2);
  CHECK(spread.draft.fsdp->value == "2");
  CHECK(spread.draft.fsdp->place.line == 1);
  CHECK(of("deepspeed --include worker-0:1@worker-1:0,2").draft.gpus->value == 3);
  // A file that is not here may spread the model, whatever the number of processes.
  for (const char* gone : {"accelerate launch --config_file gone.yaml", "accelerate launch --config_file $F",
                           "accelerate launch --num_processes 1 --config_file gone.yaml"}) {
    CAPTURE(gone);
    const auto file = of(gone);
    REQUIRE(file.open.size() == 1);
    CHECK(file.open[0].flag == "launcher");
  }
  for (const char* open : {"accelerate launch", "deepspeed --hostfile h", "torchrun --nproc_per_node $N",
                           "deepspeed --include worker-0@worker-1:0,2", "deepspeed --include localhost:"}) {
    CAPTURE(open);
    const auto file = of(open);
    CHECK_FALSE(file.draft.gpus);
    REQUIRE(file.open.size() == 1);
    CHECK(file.open[0].flag == "gpus");
  }
}

TEST_CASE("accelerate's flags spread a run as its file does", "[ms-swift]") {
  const auto of = [](const std::string& flags, const Beside& beside = {}) {
    return reading("accelerate launch --num_processes 2 " + flags + " swift/cli/sft.py --model a/b --dataset c --max_length 8\n",
                   "train.sh", beside);
  };
  CHECK(of("--use_deepspeed").draft.zero->value == "2");  // accelerate's own
  const auto third = of("--use-deepspeed --zero_stage 3 --offload_optimizer_device=cpu --offload_param_device none");
  CHECK(third.draft.zero->value == "3");
  CHECK(third.draft.offload->value == "optimizer");
  CHECK(third.draft.gpus->value == 2);
  CHECK_FALSE(third.unmodelled);
  const std::string own = R"({"zero_optimization": {"stage": 1}})";
  CHECK(of("--use_deepspeed --deepspeed_config_file d.json", Beside({{"d.json", own}})).draft.zero->value == "1");
  CHECK(of("--use_deepspeed --deepspeed_config_file gone.json").unmodelled);
  const auto sharded = of("--use_fsdp --fsdp_version 2 --fsdp_offload_params true --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP");
  CHECK(sharded.draft.fsdp->value == "2");
  CHECK(sharded.draft.offload->value == "params");
  CHECK(of("--use_fsdp").draft.fsdp->value == "1");
  // What cannot be told is named by its flag.
  const std::string settings = "distributed_type: MULTI_GPU\nnum_processes: 2\n";
  for (const auto& [flags, named] : {std::pair("--use_deepspeed --zero_stage $Z", "--zero_stage"), std::pair("--zero_stage 3", "--zero_stage"),
                                     std::pair("--use_megatron_lm", "--use_megatron_lm"),
                                     std::pair("--config_file f.yaml --use_fsdp", "--use_fsdp")}) {
    CAPTURE(flags);
    const auto file = of(flags, Beside({{"f.yaml", settings}}));
    REQUIRE(file.unmodelled);
    CHECK(file.unmodelled->what.find(named) != std::string::npos);
    CHECK(file.unmodelled->where.find("line 1") != std::string::npos);
  }
}

TEST_CASE("FSDP of ms-swift is a preset, a file or JSON", "[ms-swift]") {
  const std::string text = "model: a/b\ndataset: c\n";
  CHECK(reading(text + "fsdp: fsdp2\n").draft.fsdp->value == "2");
  CHECK(reading(text + "fsdp: ./own.json\n").draft.fsdp->value == "2");
  const auto whole = reading(text + "fsdp: '{\"fsdp\": \"full_shard offload\", \"fsdp_config\": {\"fsdp_version\": 2, "
                                    "\"activation_checkpointing\": true}}'\n");
  CHECK(whole.draft.fsdp->value == "2");
  CHECK(whole.draft.fsdp->place.line == 3);
  CHECK(whole.draft.offload->value == "params");
  CHECK(whole.draft.checkpoints->value);
  const auto torn = reading(text + "fsdp: '{\"fsdp\": '\n");
  REQUIRE(torn.unmodelled);
  CHECK(torn.unmodelled->what.find("FSDP") != std::string::npos);
}

TEST_CASE("A script may name a file of arguments", "[ms-swift]") {
  const Beside beside(std::map<std::string, std::string>{{"pt.yaml", "model: a/b\ndataset: c\nmax_length: 512\nENV:\n  NPROC_PER_NODE: 2\n"}});
  for (const char* start : {"swift sft pt.yaml", "NNODES=1 swift pt pt.yaml"}) {
    CAPTURE(start);
    const auto file = reading(std::string(start) + " --lora_rank 4\n", "a.sh", beside);
    CHECK(file.model == "a/b");
    CHECK(file.draft.length->value == 512);
    CHECK(file.draft.lora_rank->value == 4);
    CHECK(file.draft.gpus->value == 2);
    CHECK_FALSE(says(file, "unknown-key-refused"));
  }
  // The environment goes before what the file sets for it.
  CHECK(reading("NPROC_PER_NODE=4 swift sft pt.yaml\n", "a.sh", beside).draft.gpus->value == 4);
  const auto open = reading("NPROC_PER_NODE=$N swift sft pt.yaml\n", "a.sh", beside);
  CHECK_FALSE(open.draft.gpus);
  CHECK(open.open.at(0).flag == "gpus");
  // A file is the first word; there is no such flag.
  for (const char* flag : {"--config pt.yaml", "--config=pt.yaml"}) {
    const auto none = reading("swift sft " + std::string(flag) + "\n", "a.sh", beside);
    CHECK(none.model.empty());
    CHECK(says(none, "unknown-key-refused"));
  }
  const auto missing = reading("swift sft other.yaml\n", "a.sh", beside);
  REQUIRE(missing.unmodelled);
  CHECK(missing.unmodelled->what.find("other.yaml") != std::string::npos);
}

TEST_CASE("A file of --config that cannot be taken is named with why", "[ms-swift]") {
  const auto why = [](const std::string& flag, const std::string& text) {
    const auto file = reading("swift sft --model a/b " + flag + " --max_length 8\n", "a.sh", Beside(Beside::Files{{"a.yaml", text}}), "3.10");
    REQUIRE(file.unmodelled);
    CHECK(file.unmodelled->place.line == 1);
    return file.unmodelled->what;
  };
  CHECK(why("--config a.yaml", "dataset: c\n\tlora_rank: 4\n").find("a.yaml, line 2") != std::string::npos);
  CHECK(why("--config a.yaml", "- lora_rank: 4\n").find("a.yaml, line 1") != std::string::npos);
  std::string deep = "a0: 1\n";
  for (int i = 1; i < 2000; ++i) deep += "a" + std::to_string(i) + ": ${a" + std::to_string(i - 1) + "}\n";
  std::string back = "b: ${a1999}\n" + deep;
  CHECK(why("--config a.yaml", back).find("references") != std::string::npos);
  CHECK(why("--config", "").find("--config lacks its value") == 0);
  CHECK(why("--config=", "").find("--config lacks its value") == 0);
  CHECK(why("--config $FILE", "").find("'$FILE' is not here") != std::string::npos);
  CHECK(why("--config a.yaml b.yaml", "max_length: 4\n").find("one file") != std::string::npos);
}

TEST_CASE("ms-swift 3.10 to 4.0 read the file of --config, which goes before the flags", "[ms-swift]") {
  const std::string script = "swift sft --config a.yaml --max_length 8 --tuner_type full\n";
  const Beside beside(Beside::Files{{"a.yaml", "model: a/b\nmax_length: 16\nlora_rank: ${max_length}\n"}});
  for (const char* version : {"3.10", "3.12.6", "4.0.4"}) {
    CAPTURE(version);
    const TrainFile file = reading(script, "a.sh", beside, version);
    CHECK(file.model == "a/b");
    CHECK(file.draft.length->value == 16);
    CHECK(file.draft.method->value == Method::full);
    CHECK(file.version == version);
    CHECK_FALSE(says(file, "unknown-key-refused"));
    REQUIRE(reading(script, "a.sh", Beside(), version).unmodelled);
  }
  for (const char* version : {"3.9.3", "4.1", ""}) {
    CAPTURE(version);
    CHECK(says(reading(script, "a.sh", beside, version), "unknown-key-refused"));
  }
}

TEST_CASE("A script is ms-swift's by a command, and not by a comment's words", "[ms-swift]") {
  for (const char* verb : {"sft", "rlhf", "eval", "cpo", "kto"}) {
    CAPTURE(verb);
    CHECK(reading("swift " + std::string(verb) + " --model a/b\n", "a.sh").trainer == Trainer::ms_swift);
    CHECK_FALSE(read_train_file("# a swift " + std::string(verb) + "\ntorchrun train.py\n", "a.sh", Beside()).ok());
  }
  for (const char* program : {"$(which swift)", "\"$(command -v swift)\"", "`which swift`", "python -u $(which swift)"})
    CHECK(reading(std::string(program) + " sft --model a/b --max_length 8\n", "a.sh").draft.length->value == 8);
  CHECK_FALSE(read_train_file("echo swift application\ntorchrun train.py\n", "a.sh", Beside()).ok());
}

TEST_CASE("Commands of ms-swift that do not train are told from those that do", "[ms-swift]") {
  for (const char* command : {"swift infer --model a/b", "swift export --model a/b --merge_lora true", "swift deploy",
                              "python swift/cli/infer.py", "python llm_infer.py --ckpt_dir x", "megatron export"}) {
    CAPTURE(command);
    const auto file = reading(std::string(command) + "\n", "a.sh");
    CHECK(file.trainer == Trainer::ms_swift);
    CHECK(file.other_purpose.find("does not train") != std::string::npos);
  }
  CHECK(reading("python -m swift.cli._megatron.sft --model a/b --dataset c\n", "a.sh").unmodelled);
  CHECK(reading("python swift/cli/main.py sft --model a/b --dataset c\n", "a.sh").model == "a/b");
  // The command that trains is read, whatever else the script does.
  const auto mixed = reading("swift export --model x/y\nswift pt --model a/b --dataset c\nswift infer\n", "a.sh");
  CHECK(mixed.other_purpose.empty());
  CHECK(mixed.model == "a/b");
  CHECK_FALSE(reading("model: a/b\nmax_length: 8\nsampler_engine: vllm\n").other_purpose.empty());
  CHECK_FALSE(says(reading("model: a/b\nmax_length: 8\nsampler_engine: vllm\nray_exp_name: a\n"), "unknown-key-refused"));
  CHECK(reading("stream: true\nmax_new_tokens: 64\n").trainer == Trainer::ms_swift);
}

TEST_CASE("Scripts and files of ms-swift 2 mean the same by other names", "[ms-swift]") {
  const auto file = reading(
      "torchrun --nproc_per_node=2 llm_sft.py --model_id_or_path a/b --sft_type lora --dtype bf16 --batch_size 4 "
      "--lora_dropout_p 0.1 --lora_target_modules ALL --quantization_bit 0 --train_dataset_sample -1\n",
      "sft.sh");
  CHECK(file.model == "a/b");
  CHECK(file.draft.micro_batch->value == 4);
  CHECK(file.draft.lora_dropout->value == 0.1);
  CHECK(file.draft.weights->value == DType::bf16);
  CHECK(file.draft.lora_targets->value == std::vector<std::string>{"all-linear"});
  CHECK(says(file, "removed-key"));
  CHECK_FALSE(says(file, "unknown-key-refused"));
  // One old name is one fault.
  const auto named = std::count_if(file.findings.begin(), file.findings.end(), [](const Finding& each) {
    return each.message.find("sft_type") != std::string::npos || each.message.find("train_type") != std::string::npos;
  });
  CHECK(named == 1);
  CHECK(reading("swift dpo --model_type a --dataset b --sft_type lora\n", "dpo.sh").draft.objective->value == Objective::dpo);
  CHECK(reading(R"({"model_id_or_path": "a/b", "sft_type": "lora", "dataset": "c"})", "sft.json").trainer == Trainer::ms_swift);
  CHECK(reading("model: a/b\ndataset: c\nuse_liger: y\n").draft.loss->value == Loss::fused);
}

TEST_CASE("What ms-swift can do and is not modelled has its own name", "[ms-swift]") {
  const std::string text = "model: a/b\ndataset: c\nmax_length: 8\n";
  for (const char* more :
       {"tuner_backend: unsloth", "init_weights: lora-ga", "use_swift_lora: true", "lora_bias: all",
        "trainable_parameters: [lm_head]", "tuner_type: full\nfreeze_parameters_ratio: 0.9", "quant_method: fp8",
        "quant_method: quanto\nquant_bits: float8", "loss_scale: react", "loss_scale: default+hermes", "loss_type: mine",
        "enable_dft_loss: true", "device_map: '{\"model\": 0}'", "label_smoothing_factor: 0.1",
        "rlhf_type: dpo\nloss_type: [sigmoid, bco_pair, sft]", "rlhf_type: dpo\nrpo_alpha: 0.1", "rlhf_type: ppo"}) {
    CAPTURE(more);
    const auto file = reading(text + more + "\n");
    REQUIRE(file.unmodelled);
    CHECK(file.unmodelled->where.find("line") != std::string::npos);
    CHECK_FALSE(says(file, "invalid-value"));
  }
  for (const char* plain : {"tuner_backend: peft", "init_weights: pissa", "loss_scale: last_round+ignore_empty_think",
                            "device_map: auto", "tuner_type: full\nfreeze_parameters_ratio: 0"}) {
    CAPTURE(plain);
    CHECK_FALSE(reading(text + plain + "\n").unmodelled);
  }
  CHECK(reading(text + "packing: true\nattn_impl: flash_attn\npacking_length: 64\n").draft.length->value == 64);
  CHECK(reading(text + "neftune_noise_alpha: 15\n").draft.neftune_alpha->value == 15);
}

TEST_CASE("A reason of a script has its line, by the key's old name too", "[ms-swift]") {
  const auto file = reading("swift sft \\\n  --model a/b \\\n  --dataset c \\\n  --train_type longlora\n", "a.sh");
  REQUIRE(file.unmodelled);
  CHECK(file.unmodelled->where.find("line 4") != std::string::npos);
}

TEST_CASE("What a script takes from elsewhere is said", "[ms-swift]") {
  const auto file = reading("source env.sh\nswift sft --model a/b --dataset c\n", "a.sh");
  REQUIRE(says(file, "ms-swift/unresolved"));
  CHECK(file.findings.front().message.find("env.sh") != std::string::npos);
  const auto function = reading("train() {\n  swift sft --model a/b --dataset c --max_length $1\n}\ntrain 512\n", "a.sh");
  REQUIRE(function.open.size() == 1);
  CHECK(function.open[0].error.what.find("argument") != std::string::npos);
}
