#include <string>
#include <vector>

#include "cli/app.hpp"
#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "support/catch.hpp"

using namespace qwenplan;

namespace {

using Line = std::vector<std::string>;

Result<Invocation> parsed(Line words) {
  const auto line = taught(words);
  if (!line) return line.error();
  return parse(*line, Environment{});
}

/// Behind `vram --model 7b`.
Result<RunDraft> asked(Line words) {
  words.insert(words.begin(), {"vram", "--model", "7b"});
  const auto invocation = parsed(std::move(words));
  if (!invocation) return invocation.error();
  return read_run(*invocation);
}

std::string wrong(Line words) {
  const auto invocation = parsed(std::move(words));
  REQUIRE_FALSE(invocation.ok());
  CHECK(invocation.error().kind == Error::Kind::wrong);
  return invocation.error().what + " / " + invocation.error().hint;
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a flag is known by every trainer's spelling") {
  for (const Line& words :
       {Line{"--seq-len", "512"}, Line{"--seq-len=512"}, Line{"-s", "512"}, Line{"-s512"},
        Line{"--max_seq_length", "512"}, Line{"--cutoff-len=512"}, Line{"--MAX_LENGTH", "512"}}) {
    CAPTURE(words[0]);
    const auto run = asked(words);
    REQUIRE(run.ok());
    REQUIRE(run->length);
    CHECK(run->length->value == 512);
  }
  CHECK(asked({"--per_device_train_batch_size", "4"})->micro_batch->value == 4);
  CHECK(asked({"--gradient_accumulation_steps", "8"})->accumulation->value == 8);
  CHECK(asked({"--finetuning_type", "lora"})->method->value == Method::lora);
  CHECK(asked({"--optim", "paged_adamw_8bit"})->optimizer->value == "paged-adamw-8bit");
  CHECK(asked({"--optim", "adamw_torch"})->optimizer->value == "adamw-foreach");
  CHECK(asked({"--attn_implementation", "flash_attention_2"})->attention->value == "fa2");
  CHECK(asked({"--torch_dtype", "bfloat16"})->weights->value == DType::bf16);
  CHECK(asked({"--lora_target", "q_proj,v_proj"})->lora_targets->value == Line{"q_proj", "v_proj"});
}

TEST_CASE("trainers' switches mean what they mean there") {
  CHECK(asked({"--bf16"})->precision->value == Precision::bf16_mixed);
  CHECK(asked({"--bf16", "True"})->precision->value == Precision::bf16_mixed);
  CHECK(asked({"--fp16=true"})->precision->value == Precision::fp16_mixed);
  CHECK(asked({"--pure_bf16"})->precision->value == Precision::bf16_true);
  CHECK(asked({"--bf16", "False"})->precision->value == Precision::fp32);
  CHECK_FALSE(asked({"--fp16", "False"})->precision.has_value());
  CHECK(asked({"--load_in_4bit"})->quantization->value == Quantization::nf4);
  CHECK(asked({"--quantization_bit", "8"})->quantization->value == Quantization::int8);
  CHECK(asked({"--use_liger_kernel", "true"})->loss->value == Loss::fused);
  CHECK(asked({"--gradient_checkpointing", "False"})->checkpoints->value == false);
  CHECK(asked({"--no-gradient-checkpointing"})->checkpoints->value == false);
}

TEST_CASE("the last of one flag counts; two flags that contradict each other are refused") {
  CHECK(asked({"--batch", "2", "--batch", "4"})->micro_batch->value == 4);
  CHECK(asked({"--checkpointing", "--no-checkpointing"})->checkpoints->value == false);
  CHECK(asked({"--bf16", "--precision", "bf16-mixed"})->precision->value == Precision::bf16_mixed);
  for (const Line& words :
       {Line{"--bf16", "--fp16"}, Line{"--bf16", "--precision", "fp16-true"},
        Line{"--load-in-4bit", "--load-in-8bit"}, Line{"--quant", "none", "--load-in-4bit"},
        Line{"--loss", "standard", "--use-liger-kernel"}}) {
    const auto run = asked(words);
    REQUIRE_FALSE(run.ok());
    CHECK(run.error().kind == Error::Kind::wrong);
    CHECK(says(run.error().what, "contradict"));
  }
}

TEST_CASE("numbers are whole, and in bounds") {
  for (const char* text :
       {"0", "-1", "1.5", "x", "", "99999999999999999999", "1e3", " 4", "4 ", "0x10", "16777217"}) {
    CAPTURE(text);
    const auto run = asked({"--seq-len", text});
    REQUIRE_FALSE(run.ok());
    CHECK(run.error().kind == Error::Kind::wrong);
  }
  for (const char* text : {"nan", "inf", "-0.1", "1.1", "x"})
    CHECK_FALSE(asked({"--lora-dropout", text}).ok());
}

TEST_CASE("a misspelt word is named with its nearest") {
  CHECK(says(wrong({"vram", "--modle", "7b"}), "'--modle' / did you mean '--model'?"));
  CHECK(says(wrong({"vrma"}), "did you mean 'vram'?"));
  CHECK(says(wrong({"data", "lits"}), "did you mean 'data list'?"));
  CHECK(says(wrong({"data"}), "list, show, check"));
  CHECK(says(wrong({"vram", "--optim", "adamw_tors"}), "adamw-torch"));
  CHECK(says(wrong({"vram", "--no-chekpointing"}), "--no-checkpointing"));
  CHECK(says(wrong({}), "no command"));
  CHECK(says(wrong({"vram", "7b"}), "unexpected word '7b'"));
}

TEST_CASE("what costs no memory, and what another command takes, is said") {
  CHECK(says(wrong({"vram", "--learning_rate", "1e-4"}), "leave it out"));
  CHECK(says(wrong({"explain", "--seq-len", "3"}), "qwenplan vram"));
}

TEST_CASE("a value is not taken from the next flag") {
  CHECK(says(wrong({"vram", "--model", "--gpu", "t4"}), "--model needs a value"));
  CHECK(says(wrong({"vram", "--model"}), "--model needs a value"));
  CHECK(says(wrong({"vram", "--model="}), "--model needs a value"));
  CHECK(says(wrong({"vram", "--json=yes"}), "takes no value"));
  CHECK(says(wrong({"vram", "--no-padded=1"}), "takes no value"));
  CHECK(says(wrong({"vram", "--padded=perhaps"}), "neither yes nor no"));
}

TEST_CASE("several cards may be written with or without quotes") {
  CHECK(parsed({"vram", "--gpu", "2x rtx4090"})->value("gpu") == "2x rtx4090");
  CHECK(parsed({"vram", "--gpu", "2x", "rtx4090"})->value("gpu") == "2x rtx4090");
}

TEST_CASE("general flags may stand before the command") {
  const auto invocation = parsed({"--format", "json", "-q", "data", "list", "gpus"});
  REQUIRE(invocation.ok());
  CHECK(invocation->command->name == "data list");
  CHECK(invocation->format == Format::json);
  CHECK(invocation->is_quiet);
  CHECK(invocation->words == Line{"gpus"});
}

TEST_CASE("colour is a matter of the flag, else of the terminal, and never of JSON") {
  const auto line = [](Line words) { return *taught(words); };
  Environment terminal;
  terminal.wants_color = true;
  CHECK(parse(line({"doctor"}), terminal)->uses_color);
  CHECK_FALSE(parse(line({"doctor", "--color", "never"}), terminal)->uses_color);
  CHECK_FALSE(parse(line({"doctor", "--json"}), terminal)->uses_color);
  CHECK_FALSE(parse(line({"doctor"}), Environment{})->uses_color);
  CHECK(parse(line({"doctor", "--color=always"}), Environment{})->uses_color);
}

TEST_CASE("stacks are days, or versions over the latest") {
  CHECK(parse_stack("latest")->transformers == kLatest.transformers);
  CHECK(parse_stack("2025-02")->torch == Version{2, 6, 0});
  const auto mixed = parse_stack("torch=2.6.0+cu124,transformers=4.49");
  REQUIRE(mixed.ok());
  CHECK(mixed->torch == Version{2, 6, 0});
  CHECK(mixed->transformers == Version{4, 49, 0});
  CHECK(mixed->peft == kLatest.peft);
  CHECK(parse_stack("2025-09")->transformers == Version{4, 56, 2});
  CHECK(parse_stack("2024-06")->torch == Version{2, 3, 1});
  CHECK(parse_stack("2023").error().kind == Error::Kind::wrong);
  CHECK(parse_stack("torch=x").error().kind == Error::Kind::wrong);
  CHECK(parse_stack("torhc=2.6").error().hint == "did you mean 'torch'?");
  CHECK(parse_stack("transformers=4.30").error().kind == Error::Kind::unknown);
}

TEST_CASE("the allocator's options are read as PyTorch has them") {
  const auto settings =
      parse_allocator("expandable_segments:True,max_split_size_mb:128", "--alloc-conf");
  REQUIRE(settings.ok());
  CHECK(settings->expandable_segments);
  CHECK(settings->max_split_size == Bytes(128 * 1024 * 1024));
  CHECK(parse_allocator("expandable:True", "here").error().kind == Error::Kind::wrong);
  CHECK(parse_allocator("max_split_size_mb:x", "here").error().kind == Error::Kind::wrong);
  CHECK(parse_allocator("backend:cudaMallocAsync", "here").error().kind == Error::Kind::unknown);
}

TEST_CASE("every command has help within 100 columns, and its flags are in it") {
  for (const Command& command : commands()) {
    CAPTURE(command.name);
    const std::string text = help(&command, HelpLength::full);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at);
      CHECK(end - at <= 100);
      at = end + 1;
    }
    for (const auto& flags : command.flags)
      for (const Flag& flag : flags)
        if (!flag.group.empty()) CHECK(says(text, std::string(flag.name)));
  }
}

TEST_CASE("a command that is not built yet ends with status 3 and says so") {
  for (const Command& command : commands()) {
    if (command.run) continue;
    CAPTURE(command.name);
    Line words;
    each_word(command.name, [&](std::string_view word) { words.emplace_back(word); });
    for (int i = 0; i < command.words.at_least; ++i) words.push_back("x");
    const Outcome outcome = execute(words, Environment{});
    CHECK(outcome.status == 3);
    CHECK(says(outcome.err, "not built yet"));
    CHECK(says(outcome.err, std::string(command.name)));
    CHECK(outcome.out.empty());
  }
}
