#include "reader.hpp"

using namespace qwenplan;

namespace {

const std::string kFile =
    "model_name_or_path: Qwen/Qwen2.5-7B\nstage: sft\ndo_train: true\ndataset: mine\ntemplate: qwen\n"
    "output_dir: out\nbf16: true\n";

bool tells(const TrainFile& file, const std::string& rule, const std::string& words) {
  return std::any_of(file.findings.begin(), file.findings.end(), [&](const Finding& each) {
    return each.rule == rule && each.message.find(words) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("LLaMA-Factory: keys of earlier versions are told with the version that left them") {
  CHECK(tells(reading(kFile + "evaluation_strategy: steps\nval_size: 0.1\n"), "renamed-key", "'eval_strategy' since transformers 4.46"));
  CHECK(tells(reading(kFile + "use_cache: false\n"), "renamed-key", "'use_kv_cache' since 0.9.4"));
  CHECK(tells(reading(kFile + "sft_packing: true\n"), "renamed-key", "'packing' since 0.6"));
  CHECK(reading(kFile + "sft_packing: true\n").draft.packs->value);
  CHECK(tells(reading(kFile + "visual_inputs: true\n"), "removed-key", "since 0.9.0"));
  CHECK(tells(reading(kFile + "ray_run_name: a\n"), "removed-key", "since 0.9.5"));
  CHECK_FALSE(says(reading(kFile + "ray_num_workers: 1\n"), "removed-key"));
}

TEST_CASE("LLaMA-Factory: keys of its classes and of transformers are known") {
  for (const char* line : {"length_penalty: 1.0", "use_liger_kernel: false", "use_mca: false", "hyper_parallel_args: a.json"})
    CHECK_FALSE(says(reading(kFile + line + "\n"), "unknown-key-refused"));
  for (const std::string key : {"use_dft_loss", "use_asft_loss", "use_eaft_loss"})
    CHECK(reading(kFile + key + ": true\n").unmodelled->what.find(key) != std::string::npos);
  CHECK(reading(kFile + "label_smoothing_factor: 0.1\n").unmodelled->what.find("label smoothing") != std::string::npos);
  CHECK_FALSE(reading(kFile + "use_dft_loss: false\nlabel_smoothing_factor: 0\n").unmodelled);
  const TrainFile kernels = reading(kFile + "use_liger_kernel: true\n");
  CHECK(kernels.draft.loss->value == Loss::fused);
  CHECK(kernels.draft.liger_rms_norm->value);
}

TEST_CASE("LLaMA-Factory: with keys of Megatron it is another trainer or none") {
  const TrainFile file = reading(kFile + "tensor_model_parallel_size: 1\n");
  CHECK(says(file, "llama-factory/megatron-keys"));
  REQUIRE(file.unmodelled);
  CHECK(file.unmodelled->what.find("Megatron") != std::string::npos);
  CHECK(file.unmodelled->where == "run.yaml, line 8, column 1");
  CHECK_FALSE(file.draft.tensor_parallel);
}

TEST_CASE("LLaMA-Factory: what evaluates trains nothing") {
  const TrainFile file = reading("model_name_or_path: Qwen/Qwen2.5-7B\ntask: mmlu_test\ntemplate: fewshot\nlang: en\nn_shot: 5\n");
  CHECK(file.other_purpose == "evaluates");
  CHECK(file.findings.empty());
}

TEST_CASE("the place of tokenized data is no secret, and a value that is no truth value is told once") {
  CHECK_FALSE(says(reading(kFile + "tokenized_path: saves/tokenized/mine\n"), "secret-in-file"));
  const TrainFile file = reading("model_name_or_path: a\nstage: sft\ndo_train: perhaps\n");
  CHECK(std::count_if(file.findings.begin(), file.findings.end(),
                      [](const Finding& each) { return each.rule == "invalid-value"; }) == 1);
}

TEST_CASE("LLaMA-Factory: what is experts' alone is a reason only where there are experts") {
  const TrainFile file = reading(kFile + "moe_aux_loss_coef: 0.01\n");
  CHECK_FALSE(file.unmodelled);
  CHECK(file.unmodelled_experts->what.find("balances experts") != std::string::npos);
  CHECK(reading(kFile + "use_v1_kernels: true\n").unmodelled_experts);
  CHECK_FALSE(reading(kFile + "use_v1_kernels: false\nmoe_aux_loss_coef: 0\n").unmodelled_experts);
}

TEST_CASE("LLaMA-Factory: an adapter that is trained on has the rank that it was made with") {
  const std::string loaded = kFile + "adapter_name_or_path: a/b, saves/sft\n";
  CHECK(reading(loaded).unmodelled->what.find("rank") != std::string::npos);
  const TrainFile assumed = reading(loaded + "lora_rank: 8\n");
  CHECK_FALSE(assumed.unmodelled);
  CHECK(says(assumed, "saved-adapter"));
  CHECK_FALSE(says(reading(loaded + "create_new_adapter: true\nlora_rank: 8\n"), "saved-adapter"));
  CHECK(says(reading(loaded + "create_new_adapter: true\nquantization_bit: 4\n"), "llama-factory/adapters-quantized"));

  const std::string saved =
      R"({"peft_type": "LORA", "r": 64, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none", "rank_pattern": {},)"
      R"( "target_modules": ["v_proj", "q_proj"], "modules_to_save": null, "use_dora": false})";
  const auto beside = [](const std::string& text) { return Beside(Beside::Files{{"saves/sft/adapter_config.json", text}}); };
  const TrainFile file = reading(loaded + "lora_rank: 8\nlora_target: all\n", "run.yaml", beside(saved));
  CHECK(file.draft.lora_rank->value == 64);
  CHECK(file.draft.lora_dropout->value == 0.1);
  CHECK(file.draft.lora_targets->value == std::vector<std::string>{"v_proj", "q_proj"});
  CHECK(says(file, "saved-adapter"));
  CHECK_FALSE(says(reading(loaded, "run.yaml", beside(saved)), "saved-adapter"));
  const TrainFile in_folder = reading(kFile + "adapter_name_or_path: saves\nadapter_folder: sft\n", "run.yaml", beside(saved));
  CHECK(in_folder.draft.lora_rank->value == 64);
  // What PEFT makes of such a file is another adapter.
  for (const char* other : {R"({"r": 8, "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 4}})",
                            R"({"peft_type": "OFT", "r": 8, "target_modules": ["q_proj"]})",
                            R"({"r": 8, "target_modules": ["q_proj"], "bias": "all"})",
                            R"({"r": 8, "target_modules": ["q_proj"], "kasa_config": {"beta": 1e-4}})",
                            R"({"r": 8, "target_modules": ["q_proj"], "monteclora_config": {"num_samples": 4}})",
                            R"({"r": 8, "target_modules": ["q_proj"], "layers_to_transform": 0})", R"({"r": "x", "target_modules": ["q"]})",
                            R"({"r": 8})", "[", "{"})
    CHECK(reading(loaded, "run.yaml", beside(other)).unmodelled);
  const std::string unset = R"({"r": 8, "target_modules": ["q_proj"], "kasa_config": null, "use_qalora": false, "rank_pattern": {}})";
  CHECK_FALSE(reading(loaded, "run.yaml", beside(unset)).unmodelled);
  for (const char* rank : {"-4", "0", "1e30", "\"x\""}) {
    const auto odd = reading(loaded, "run.yaml", beside(R"({"r": )" + std::string(rank) + R"(, "target_modules": ["q_proj"]})"));
    const std::string plain = rank == std::string("\"x\"") ? "x" : rank;
    REQUIRE(odd.unmodelled);
    CHECK(odd.unmodelled->what.find("saves/sft/adapter_config.json: r: ") == 0);
    CHECK(odd.unmodelled->what.find("'" + plain + "'") != std::string::npos);
  }
  const TrainFile pattern =
      reading(loaded, "run.yaml", beside(R"({"r": 8, "target_modules": ".*\\.(q|v)_proj", "lora_alpha": 16})"));
  CHECK(pattern.target_pattern->value == R"(.*\.(q|v)_proj)");
}

TEST_CASE("LLaMA-Factory: the flags of a script are read as its file is") {
  const std::string flags =
      " --stage sft --do_train --model_name_or_path Qwen/Qwen2.5-7B --dataset mine --template qwen --finetuning_type lora "
      "--lora_target q_proj,v_proj --cutoff_len 1024 --per_device_train_batch_size 2 --output_dir out --quantization_bit 4 --fp16\n";
  for (const char* program : {"llamafactory-cli train", "python ../../src/train_bash.py", "python src/train.py"}) {
    const TrainFile file = reading(std::string("#!/bin/bash\nCUDA_VISIBLE_DEVICES=0 ") + program + flags, "run.sh");
    CHECK(file.trainer == Trainer::llama_factory);
    CHECK(file.model == "Qwen/Qwen2.5-7B");
    CHECK(file.draft.method->value == Method::qlora);
    CHECK(file.draft.length->value == 1024);
    CHECK(file.draft.micro_batch->value == 2);
    CHECK(file.draft.precision->value == Precision::fp16_mixed);
    CHECK(file.draft.lora_targets->value == std::vector<std::string>{"q_proj", "v_proj"});
    CHECK_FALSE(file.draft.gpus);
    CHECK(file.findings.empty());
  }
  CHECK(reading("CUDA_VISIBLE_DEVICES=0,1 llamafactory-cli train" + flags, "run.sh").draft.gpus->value == 2);
  CHECK(reading("NPROC_PER_NODE=4 FORCE_TORCHRUN=1 llamafactory-cli train" + flags, "run.sh").draft.gpus->value == 4);
  CHECK(reading("deepspeed --num_gpus 4 src/train_bash.py" + flags, "run.sh").draft.gpus->value == 4);
  CHECK(reading("llamafactory-cli export --model_name_or_path a --export_dir b\n", "run.sh").other_purpose.find("export") !=
        std::string::npos);
  const TrainFile open = reading("llamafactory-cli train --model_name_or_path a --stage sft --do_train --cutoff_len $LENGTH "
                                 "--output_dir $OUT \"$@\"\n",
                                 "run.sh");
  REQUIRE(open.open.size() == 1);
  CHECK(open.open[0].flag == "seq-len");
  CHECK(says(open, "unresolved-value"));
  CHECK(reading("python src/train.py --model_name_or_path a --stage sft --do_train\n", "run.sh").trainer == Trainer::llama_factory);
  CHECK_FALSE(read_train_file("python src/train.py --model_name_or_path a\n", "run.sh", Beside()).ok());
}

TEST_CASE("LLaMA-Factory: a flag that the script does not decide is open, unless the step does not depend on it") {
  const std::string start = "llamafactory-cli train --model_name_or_path a --stage sft --do_train ";
  for (const char* key : {"packing", "pure_bf16", "bf16", "use_dora", "gradient_accumulation_steps", "enable_liger_kernel",
                          "lora_target", "disable_gradient_checkpointing", "lora_dropout", "template", "adapter_name_or_path"}) {
    CAPTURE(key);
    const TrainFile file = reading(start + "--" + key + " $X\n", "run.sh");
    REQUIRE(file.open.size() == 1);
    CHECK(file.open[0].flag.empty());
    CHECK(file.open[0].error.what.find(key) != std::string::npos);
  }
  const TrainFile beside = reading(start + "--output_dir $A --learning_rate $B --save_steps $C --seed $D\n", "run.sh");
  CHECK(beside.open.empty());
  CHECK(says(beside, "unresolved-value"));
  CHECK(reading("f() {\n  " + start + "--cutoff_len $1\n}\nf 8\n", "run.sh").open.at(0).error.what.find("argument") !=
        std::string::npos);
}

TEST_CASE("LLaMA-Factory: cards that the script does not decide are open") {
  const std::string train = "llamafactory-cli train --model_name_or_path a --stage sft --do_train\n";
  for (const char* variable : {"NPROC_PER_NODE", "NNODES", "CUDA_VISIBLE_DEVICES"}) {
    CAPTURE(variable);
    const TrainFile file = reading(variable + std::string("=$N FORCE_TORCHRUN=1 ") + train, "run.sh");
    REQUIRE(file.open.size() == 1);
    CHECK(file.open[0].flag == "gpus");
    CHECK(file.open[0].error.what.find(variable) != std::string::npos);
  }
  CHECK(reading("NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=$N " + train, "run.sh").open.empty());
  CHECK(reading("NPROC_PER_NODE=$N torchrun --nproc_per_node 2 src/train.py --model_name_or_path a --stage sft\n", "run.sh")
            .open.empty());
}

TEST_CASE("LLaMA-Factory: machines count where its command line starts torchrun") {
  // launcher.py: FORCE_TORCHRUN, or several cards; then NNODES machines with NPROC_PER_NODE or all cards each.
  const auto run = [](const std::string& environment) {
    return reading(environment + " $(which llamafactory-cli) train --model_name_or_path a --stage sft --do_train\n", "run.sh");
  };
  CHECK(run("NNODES=2 NPROC_PER_NODE=4").draft.gpus->value == 8);
  CHECK(run("NNODES=2 CUDA_VISIBLE_DEVICES=0,1").draft.gpus->value == 4);
  CHECK(run("FORCE_TORCHRUN=1 NNODES=2 CUDA_VISIBLE_DEVICES=0").draft.gpus->value == 2);
  CHECK(run("FORCE_TORCHRUN=1 NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0").draft.gpus->value == 2);
  // One card is no reason to start torchrun.
  CHECK_FALSE(run("NNODES=2 CUDA_VISIBLE_DEVICES=0").draft.gpus);
  CHECK_FALSE(run("FORCE_TORCHRUN=0 NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0").draft.gpus);
  CHECK_FALSE(run("FORCE_TORCHRUN=1").draft.gpus);
  const TrainFile several = run("FORCE_TORCHRUN=1 NNODES=2");
  REQUIRE(several.open.size() == 1);
  CHECK(several.open[0].flag == "gpus");
  CHECK(several.open[0].error.place.line == 1);
}

TEST_CASE("LLaMA-Factory: a script that trains with a file and exports by flags is read with the file") {
  const std::string script =
      "llamafactory-cli train run.yaml lora_rank=4\nllamafactory-cli export --model_name_or_path a --export_dir b\n";
  const TrainFile file = reading(script, "run.sh", Beside({{"run.yaml", kFile + "cutoff_len: 512\nlora_rank: 8\n"}}));
  CHECK(file.model == "Qwen/Qwen2.5-7B");
  CHECK(file.draft.length->value == 512);
  CHECK(file.draft.lora_rank->value == 4);
  CHECK(file.other_purpose.empty());
  const std::string plain = "FORCE_TORCHRUN=1 NPROC_PER_NODE=2 llamafactory-cli train run.yaml\n";
  CHECK(reading(plain, "run.sh", Beside(Beside::Files{{"run.yaml", kFile}})).draft.gpus->value == 2);
  CHECK_FALSE(read_train_file(plain, "run.sh", Beside()).ok());
  const TrainFile missing = reading(script, "run.sh");
  REQUIRE(missing.unmodelled);
  CHECK(missing.unmodelled->what.find("run.yaml") != std::string::npos);
  CHECK(missing.unmodelled->hint == "give that file itself");
}

TEST_CASE("LLaMA-Factory: a file of arguments that cannot be read is not passed over") {
  const std::string script = "llamafactory-cli train run.yaml model_name_or_path=Qwen/Qwen2.5-7B stage=sft do_train=true\n";
  for (const auto& [text, line] : {std::pair("stage: sft\n\tcutoff_len: 8\n", "run.yaml, line 2"),
                                   std::pair("- cutoff_len: 8\n", "run.yaml, line 1")}) {
    CAPTURE(text);
    const TrainFile file = reading(script, "run.sh", Beside(Beside::Files{{"run.yaml", text}}));
    REQUIRE(file.unmodelled);
    CHECK(file.unmodelled->what.find(line) != std::string::npos);
    CHECK(file.unmodelled->place.line == 1);
  }
  CHECK_FALSE(reading(script, "run.sh", Beside(Beside::Files{{"run.yaml", "# nothing\n"}})).unmodelled);
}

TEST_CASE("LLaMA-Factory: a src/train.py is its own by what it is given", "[llama-factory]") {
  const std::string script = "python src/train.py run.yaml cutoff_len=64\n";
  const TrainFile own = reading(script, "run.sh", Beside(Beside::Files{{"run.yaml", kFile + "cutoff_len: 512\n"}}));
  CHECK(own.trainer == Trainer::llama_factory);
  CHECK(own.draft.length->value == 64);
  for (const char* other : {"seed: 1\nmodel_name: resnet\nlr: 0.1\n", "defaults:\n  - model: a\n", "- a\n", "a: b: c\n"}) {
    CAPTURE(other);
    const auto file = read_train_file(script, "run.sh", Beside(Beside::Files{{"run.yaml", other}}));
    REQUIRE_FALSE(file.ok());
    CHECK(file.error().what.find("no trainer's file") != std::string::npos);
  }
}

TEST_CASE("LLaMA-Factory: a command with very many flags is read, and the last of a key counts") {
  std::string script = "llamafactory-cli train --model_name_or_path a --stage sft --do_train --cutoff_len 8";
  for (int i = 0; i < 20'000; ++i) script += " --a" + std::to_string(i) + " 1";
  const TrainFile file = reading(script + " --cutoff_len 16\n", "run.sh");
  CHECK(file.model == "a");
  CHECK(file.draft.length->value == 16);
}
