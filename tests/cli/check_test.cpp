#include <algorithm>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/program.hpp"

using nlohmann::json;
using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;

namespace {

const std::string kFactory =
    "model_name_or_path: Qwen/Qwen2.5-7B-Instruct\n"
    "stage: sft\n"
    "do_train: true\n"
    "finetuning_type: lora\n"
    "quantization_bit: 4\n"
    "dataset: mine\n"
    "template: qwen\n"
    "bf16: true\n"
    "per_device_train_batch_size: 1\n"
    "output_dir: out\n";

Left checked(const std::string& text, const std::string& flags, const std::string& name = "run.yaml") {
  TempFolder folder;
  return run("qwenplan check " + quoted(folder.write(name, text)) + " " + flags);
}

json only_file(const Left& left) {
  const json answer = left.json();
  REQUIRE(answer.is_object());
  REQUIRE(answer["files"].size() == 1);
  return answer["files"][0];
}

bool says(const json& file, const std::string& rule) {
  return std::any_of(file["findings"].begin(), file["findings"].end(),
                     [&](const json& each) { return each["rule"] == rule; });
}

}  // namespace

TEST_CASE("a trainer's file takes what the same run takes in flags") {
  const Left left = checked(kFactory, "--gpu rtx3060 --json");
  CHECK(left.status == 0);
  const json file = only_file(left);
  CHECK(file["trainer"] == "llama-factory");
  CHECK(file["status"] == "fits");
  // What LLaMA-Factory does where its file is silent.
  const json flags =
      run("qwenplan vram --model 7b --gpu rtx3060 --method qlora --double-quant --no-kbit-upcast "
          "--reentrant --lora-r 8 --seq-len 2048 --precision bf16-mixed --json")
          .json();
  CHECK(file["verdict"]["device_bytes"] == flags["verdict"]["device_bytes"]);
  CHECK(file["run"]["seq-len"] == json({{"value", 2048}, {"from", "trainer"}}));
  CHECK(file["run"]["precision"]["from"] == "file");
  CHECK(says(file, "trainer-defaults"));
}

TEST_CASE("a run that is too long does not fit, and what it says would help does") {
  const Left left = checked(kFactory + "cutoff_len: 8192\n", "--gpu rtx3060 --json");
  CHECK(left.status == 1);
  const json file = only_file(left);
  CHECK(file["status"] == "exceeds");
  CHECK(says(file, "out-of-memory"));
  REQUIRE(file["advice"].size() == 1);
  CHECK(file["advice"][0]["change"] == "--loss fused");
  CHECK(file["advice"][0]["fit"] == "fits");
  CHECK(left.out.find("enable_liger_kernel: true saves") != std::string::npos);  // in the file's own words
  CHECK(checked(kFactory + "cutoff_len: 8192\nenable_liger_kernel: true\n", "--gpu rtx3060").status == 0);
}

TEST_CASE("TRL stops where PEFT finds no layer for the adapters") {
  const auto trl = [](const std::string& model, const std::string& more) {
    return only_file(checked("model_name_or_path: " + model + "\ndataset_name: d\noutput_dir: o\nuse_peft: true\n"
                             "dtype: bfloat16\nmax_length: 512\nper_device_train_batch_size: 1\n" + more,
                             "--gpu a100 --json"));
  };
  CHECK(says(trl("Qwen/Qwen3-30B-A3B", ""), "trl/no-targets"));
  CHECK(says(trl("Qwen/Qwen3.5-4B", ""), "trl/no-targets"));
  CHECK(trl("Qwen/Qwen3-30B-A3B", "")["status"] == "invalid");
  for (const char* named : {"lora_target_modules: all-linear\n", "lora_target_modules: [q_proj, v_proj]\n"})
    CHECK_FALSE(says(trl("Qwen/Qwen3-30B-A3B", named), "trl/no-targets"));
  CHECK(trl("Qwen/Qwen3-0.6B", "")["status"] == "fits");
  // A list of one becomes a pattern, which has to match whole names.
  const json one = trl("Qwen/Qwen3-0.6B", "lora_target_modules: [q_proj]\n");
  REQUIRE(says(one, "impossible-run"));
  CHECK(one["error"]["where"].get<std::string>().find("line 8") != std::string::npos);
  CHECK(trl("Qwen/Qwen3-0.6B", "lora_target_modules: ['.*q_proj']\n")["status"] == "fits");
}

TEST_CASE("axolotl's files for Qwen3.5 are estimated, packed and with fused adapters") {
  const auto file = [](const std::string& more) {
    return only_file(checked("base_model: Qwen/Qwen3.5-4B\ndatasets:\n  - path: some/data\n    type: alpaca\nadapter: qlora\n"
                             "load_in_4bit: true\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj, linear_attn.in_proj_qkv]\n"
                             "sequence_len: 2048\nmicro_batch_size: 1\ngradient_checkpointing: true\nbf16: auto\n" + more,
                             "--gpu a100 --json"));
  };
  CHECK(file("sample_packing: true\nattn_implementation: flash_attention_2\n")["status"] == "fits");
  CHECK(file("sample_packing: false\n")["status"] == "fits");
  CHECK(file("sample_packing: true\n")["status"] == "unknown");  // no attention that knows borders
}

TEST_CASE("an unknown key is shown with its line and the one that was meant") {
  const json file = only_file(checked(kFactory + "lerning_rate: 1.0e-4\n", "--gpu rtx3060 --json"));
  REQUIRE(says(file, "unknown-key-refused"));
  for (const json& each : file["findings"])
    if (each["rule"] == "unknown-key-refused") {
      CHECK(each["line"] == 11);
      CHECK(each["column"] == 1);
      CHECK(each["fix"].get<std::string>().find("learning_rate") != std::string::npos);
    }
}

TEST_CASE("of several files the worst status counts, and each is in the report") {
  TempFolder folder;
  const std::string good = quoted(folder.write("good.yaml", kFactory));
  const std::string no = quoted(folder.write("no.yaml", kFactory + "cutoff_len: 16384\n"));
  const std::string unknown = quoted(folder.write("unknown.yaml", kFactory + "torch_compile: true\n"));
  const std::string broken = quoted(folder.write("broken \xd9\x85.yaml", "a: [1, 2\n"));
  const auto status = [&](const std::string& files, std::size_t count) {
    const Left left = run("qwenplan check --gpu rtx3060 --json " + files);
    CHECK(left.json()["files"].size() == count);
    return left.status;
  };
  CHECK(status(good, 1) == 0);
  CHECK(status(good + " " + no, 2) == 1);
  CHECK(status(no + " " + unknown + " " + good, 3) == 3);
  CHECK(status(unknown + " " + broken + " " + no, 3) == 2);
}

TEST_CASE("standard input is a file too") {
  TempFolder folder;
  const std::string path = quoted(folder.write("run.yaml", kFactory));
  const json piped = only_file(run("cat " + path + " | qwenplan check - --gpu rtx3060 --json"));
  const json read = only_file(run("qwenplan check " + path + " --gpu rtx3060 --json"));
  CHECK(piped["verdict"] == read["verdict"]);
  CHECK(piped["file"] == "standard input");
}

TEST_CASE("a file that does not train is no run that fits") {
  const Left left = checked("model_name_or_path: Qwen/Qwen2.5-7B\nadapter_name_or_path: a\n"
                            "template: qwen\nfinetuning_type: lora\nexport_dir: out\n",
                            "--gpu rtx3060 --json");
  CHECK(left.status == 3);
  CHECK(only_file(left)["status"] == "unknown");
  CHECK(only_file(left)["verdict"].is_null());
}

TEST_CASE("a line for GitHub has its own signs escaped") {
  TempFolder folder;
  const std::string path = folder.write("a,b: 50%.yaml", kFactory + "lerning_rate: 1\n");
  const Left left = run("qwenplan check " + quoted(path) + " --gpu rtx3060 --format github");
  CHECK(left.out.find("a%2Cb%3A 50%25.yaml,line=11,col=1,title=unknown-key-refused::") != std::string::npos);
}

TEST_CASE("hostile files get an error, whatever they try") {
  std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int n = 0; n < 9; ++n) bomb += "," + before;
    bomb += "]\n";
  }
  const std::vector<std::string> texts = {
      bomb, std::string(100000, '['), "{" + std::string(100000, '{'), std::string(),
      std::string("\xff\xfe" "a\0:\0", 6), std::string("model_name_or_path: \x80\xff\n"),
      std::string("a: b\0c\n", 7), std::string(2 << 20, 'x'), std::string("- 1\n- 2\n"),
      std::string("just words\n"), std::string("a:\n\t- tab\n"), std::string("? [a, b]\n: c\n"),
      kFactory + "cutoff_len: 99999999999999999999999\n", kFactory + "cutoff_len: -5\n",
      kFactory + "per_device_train_batch_size: .inf\n"};
  for (const std::string& text : texts)
    for (const char* name : {"run.yaml", "run.json"}) {
      const Left left = checked(text, "--gpu rtx3060 --json", name);
      INFO(name << ": " << text.substr(0, 40) << " ... " << text.substr(text.size() - std::min<std::size_t>(text.size(), 40)));
      CHECK((left.status == 2 || left.status == 3));
      const json file = only_file(left);
      CHECK(file["verdict"].is_null());
      REQUIRE(file["error"].is_object());
      CHECK_FALSE(file["error"]["what"].get<std::string>().empty());
    }
}

TEST_CASE("what is no file is refused, and a question without a card too") {
  TempFolder folder;
  CHECK(run("qwenplan check " + quoted(folder.path("none.yaml")) + " --gpu rtx3060").status == 2);
  CHECK(run("qwenplan check " + quoted(folder.path("")) + " --gpu rtx3060").status == 2);
  CHECK(run("mkfifo " + quoted(folder.path("fifo")) + "; qwenplan check " +
            quoted(folder.path("fifo")) + " --gpu rtx3060").status == 2);
  CHECK(checked(kFactory, "").status == 2);
  CHECK(checked(kFactory, "--gpu rtx3060 --trainer nobody").status == 2);
}

TEST_CASE("in a folder, what is no trainer's is passed over, and a trainer's file that is broken is not") {
  TempFolder folder;
  folder.write("run.yaml", kFactory);
  folder.write("tsconfig.json", "{ // a remark\n \"strict\": true }\n");
  folder.write("rows.json", "[{\"a\": 1}]\n");
  folder.write("site.yml", "{{ template }}: [\n");
  const std::string folder_line = "qwenplan check " + quoted(folder.path("")) + " --gpu a100 --json";
  const Left left = run(folder_line);
  CHECK(left.status == 0);
  CHECK(only_file(left)["file"].get<std::string>().ends_with("run.yaml"));
  CHECK(left.json()["notes"][0] == "3 files are no trainer's");
  folder.write("broken.yaml", "base_model: Qwen/Qwen2.5-7B\nadapter: [lora\n");
  CHECK(run(folder_line).status == 2);
  CHECK(run("qwenplan check " + quoted(folder.path("site.yml")) + " --gpu a100").status == 2);
}

TEST_CASE("check says once what an estimate asks its reader to know, and of which file") {
  TempFolder folder;
  const std::string text =
      "base_model: Qwen/Qwen2.5-0.5B\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"
      "datasets:\n  - path: mine\n    type: alpaca\nsequence_len: 40000\nmicro_batch_size: 1\n"
      "gradient_accumulation_steps: 1\noptimizer: adamw_torch\nbf16: true\noutput_dir: out\n";
  const std::string first = folder.write("a.yaml", text);
  const std::string second = folder.write("b.yaml", text + "seed: 3\n");
  const std::string note = "the model was made for 32768 positions; --seq-len asks for 40000";
  const auto notes = [](const std::string& files) {
    return run("qwenplan check " + files + " --gpu h100 --fail-on never --json").json()["notes"];
  };
  CHECK(notes(quoted(first)) == json::array({note}));
  CHECK(notes(quoted(first) + " " + quoted(second)) == json::array({first + " and 1 more: " + note}));
}

TEST_CASE("LLaMA-Factory unpacks what is stored in fp8 to 16 bits; other trainers do not") {
  std::string fp8 = kFactory;
  fp8.replace(fp8.find("Qwen2.5-7B-Instruct"), 19, "Qwen3-8B-FP8");
  const json file = only_file(checked(fp8, "--gpu a100 --seq-len 512 --json"));
  CHECK(file["status"] == "fits");
  CHECK(says(file, "quantized-checkpoint"));
  CHECK(file["run"]["method"]["value"] == "lora");  // its own quantization_bit is passed over
  CHECK(file["run"]["quant"]["value"] == "none");
  const json other = only_file(checked("base_model: Qwen/Qwen3-8B-FP8\nmicro_batch_size: 1\ndatasets:\n  - path: a\n"
                                       "adapter: lora\nlora_r: 8\nlora_target_linear: true\n",
                                       "--gpu a100 --json"));
  CHECK(other["status"] == "unknown");
}

TEST_CASE("what accelerate is launched with decides the precision that a file leaves open") {
  TempFolder folder;
  const std::string arguments = "model_name_or_path: Qwen/Qwen2.5-0.5B\nper_device_train_batch_size: 1\n"
                                "gradient_accumulation_steps: 1\nmax_seq_length: 512\n";
  const std::string launcher = quoted(folder.write("acc.yaml", "distributed_type: 'NO'\nmixed_precision: bf16\nnum_processes: 1\n"));
  const auto file = [&](const std::string& more, const std::string& flags) {
    return only_file(run("qwenplan check " + quoted(folder.write("run.yaml", arguments + more)) +
                         " --trainer transformers --gpu a100 --json " + flags));
  };
  const json by_launcher = file("", "--launcher " + launcher);
  const json by_file = file("bf16: true\n", "");
  CHECK(by_launcher["run"]["precision"]["value"] == "bf16-mixed");
  CHECK(by_launcher["verdict"]["device_bytes"] == by_file["verdict"]["device_bytes"]);
  CHECK(file("", "")["run"]["precision"]["value"] == "fp32");
  CHECK(says(file("fp16: true\n", "--launcher " + launcher), "accelerate/mixed-precision"));
  // What is not modelled stands in the launcher's file.
  const std::string unknown = folder.write("other.yaml", "distributed_type: 'NO'\nmixed_precision: fp4\nnum_processes: 1\n");
  const json stopped = file("", "--launcher " + quoted(unknown));
  CHECK(stopped["status"] == "unknown");
  CHECK(stopped["error"]["where"] == unknown);
}

TEST_CASE("an adapter that is trained on is read beside the file") {
  TempFolder folder;
  folder.write("adapter_config.json", R"({"peft_type": "LORA", "r": 64, "target_modules": ["q_proj", "v_proj"], "lora_alpha": 16})");
  const auto file = [&](const std::string& more) {
    return only_file(run("qwenplan check " + quoted(folder.write("run.yaml", kFactory + more)) + " --gpu a100 --json"));
  };
  const json continued = file("adapter_name_or_path: .\n");
  const json written = file("lora_rank: 64\nlora_target: q_proj,v_proj\n");
  CHECK(continued["verdict"]["device_bytes"] == written["verdict"]["device_bytes"]);
  CHECK(file("adapter_name_or_path: elsewhere\n")["status"] == "unknown");
}

TEST_CASE("the version of a trainer that is named counts for all of them") {
  TempFolder folder;
  const std::string path = quoted(folder.write("run.yaml", "model: Qwen/Qwen2.5-7B\ntuner_type: lora\nmax_length: 512\ndataset: d\n"));
  const json file = only_file(run("qwenplan check " + path + " --gpu a100 --trainer ms-swift@3.12 --json"));
  CHECK(file["run"]["trainer-version"]["value"] == "3.12.0");
  CHECK(only_file(run("qwenplan check " + path + " --gpu a100 --json"))["run"]["trainer-version"]["value"] == "4.6.0");
}

TEST_CASE("one fault is told once") {
  const std::string galore =
      "model_name_or_path: Qwen/Qwen2.5-7B\nstage: sft\ndo_train: true\nfinetuning_type: lora\nuse_galore: true\n"
      "dataset: mine\ntemplate: qwen\noutput_dir: out\nbf16: true\n";
  const json file = only_file(checked(galore, "--gpu a100 --json"));
  CHECK(file["status"] == "invalid");
  CHECK(says(file, "llama-factory/low-rank-optimizer-with-lora"));
  CHECK_FALSE(says(file, "impossible-run"));
}

TEST_CASE("a recipe of torchtune without a key that it reads has no run") {
  const Left left = checked("model:\n  _component_: torchtune.models.qwen2_5.qwen2_5_0_5b\ntokenizer:\n  max_seq_len: 64\n"
                            "optimizer:\n  _component_: torch.optim.AdamW\n",
                            "--gpu a100 --json");
  CHECK(left.status == 2);
  const json file = only_file(left);
  CHECK(says(file, "torchtune/missing-key"));
  CHECK_FALSE(file["run"].contains("batch"));
}

TEST_CASE("axolotl's pattern of target modules is what the list of the same layers is") {
  const std::string file =
      "base_model: Qwen/Qwen2.5-0.5B\nmicro_batch_size: 1\nsequence_len: 256\ndatasets:\n  - path: a\nadapter: lora\nlora_r: 8\n"
      "lora_target_modules: ";
  const json pattern = only_file(checked(file + "'model.layers.\\d+.self_attn.(q|v)_proj'\n", "--gpu a100 --json"));
  const json list = only_file(checked(file + "[q_proj, v_proj]\n", "--gpu a100 --json"));
  CHECK(pattern["status"] == "fits");
  CHECK(pattern["verdict"] == list["verdict"]);
  CHECK(only_file(checked(file + "q_proj\n", "--gpu a100 --json"))["status"] == "invalid");
}

TEST_CASE("LLaMA-Factory's own kernels are for experts, and nothing else on CUDA") {
  const auto file = [](const std::string& model) {
    return only_file(checked("model_name_or_path: " + model + "\nstage: sft\ndo_train: true\nfinetuning_type: lora\ndataset: mine\n"
                             "template: qwen3\noutput_dir: out\nbf16: true\ncutoff_len: 512\nper_device_train_batch_size: 1\n"
                             "use_v1_kernels: true\n",
                             "--gpu a100 --json"));
  };
  CHECK(file("Qwen/Qwen3-8B")["status"] == "fits");
  const json sparse = file("Qwen/Qwen3-30B-A3B");
  CHECK(sparse["status"] == "unknown");
  CHECK(says(sparse, "not-modelled"));
}
