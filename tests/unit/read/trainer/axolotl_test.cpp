#include "read/trainer/settings.hpp"
#include "reader.hpp"

using namespace qwenplan;

namespace {

const std::string kFile =
    "base_model: Qwen/Qwen3-30B-A3B\ndatasets:\n  - path: some/data\n    type: alpaca\nmicro_batch_size: 1\n"
    "adapter: qlora\nload_in_4bit: true\n";

}  // namespace

TEST_CASE("axolotl: what its keys ask for and is not modelled is named with what it does") {
  const auto reason = [](const std::string& line) {
    const TrainFile file = reading(kFile + line + "\n");
    INFO(line);
    REQUIRE(file.unmodelled);
    return file.unmodelled->what;
  };
  CHECK(reason("quantize_moe_experts: true").find("unpacked in each forward") != std::string::npos);
  CHECK(reason("unfrozen_parameters: [lm_head.weight]").find("that a pattern names") != std::string::npos);
  CHECK(reason("experts_implementation: eager").find("other products") != std::string::npos);
  CHECK(reason("model_config:\n  output_router_logits: true").find("balances experts") != std::string::npos);
}

TEST_CASE("axolotl: weights made anew and transformers' own products of experts are as large as others") {
  for (const char* line : {"", "reinit_weights: true", "experts_implementation: grouped_mm", "unfrozen_parameters:"})
    CHECK_FALSE(reading(kFile + line + "\n").unmodelled);
  // Embedding and head end in the model's format with it and without it, in 4 bits too.
  const TrainFile skips = reading(kFile + "embeddings_skip_upcast: true\n");
  CHECK_FALSE(skips.unmodelled);
  CHECK_FALSE(skips.draft.embedding_weights);
}

TEST_CASE("axolotl: what a file says of a vision tower and of linear attention") {
  const auto draft = [](const std::string& lines) { return reading(kFile + lines).draft; };
  // A tower is trained or not as the rest is, unless it is frozen.
  CHECK_FALSE(draft("").trains_vision);
  CHECK_FALSE(draft("freeze_mm_modules: false\n").trains_vision);
  CHECK_FALSE(draft("freeze_mm_modules: true\n").trains_vision->value);
  CHECK(draft("processor_type: AutoProcessor\n").trains_on_images->value);
  CHECK_FALSE(draft("processor_type: AutoProcessor\nsample_packing: true\n").trains_on_images);
  CHECK(draft("lora_target_linear: true\n").lists_every_linear->value);
  CHECK_FALSE(draft("lora_target_modules: all-linear\n").lists_every_linear);
  CHECK(reading(kFile + "lora_exclude_modules: [visual]\n").unmodelled);
  const std::string liger = "plugins:\n  - axolotl.integrations.liger.LigerPlugin\nliger_rms_norm_gated: true\n";
  CHECK(draft(liger).fuses_gated_norm->value);
  CHECK_FALSE(says(reading(kFile + liger), "axolotl/plugin-without-setting"));
}

TEST_CASE("axolotl: the first of its old switches of attention counts, or attn_implementation where it is known") {
  const auto attention = [](const std::string& lines, const std::string& version = "") {
    const TrainFile file = reading(kFile + lines, "run.yaml", {}, version);
    return file.draft.attention ? file.draft.attention->value : "";
  };
  CHECK(attention("flash_attention: true\nsdp_attention: true\n") == "fa2");
  CHECK(attention("flash_attention: true\neager_attention: true\n") == "fa2");
  CHECK(attention("flash_attention: false\nsdp_attention: true\n") == "sdpa");
  CHECK(attention("attn_implementation: flash_attention_2\n") == "fa2");
  CHECK(attention("attn_implementation: sdpa\n", "0.12") == "sdpa");
  CHECK(attention("attn_implementation: sdpa\n", "0.11").empty());
  // Both together: before 0.17 the name goes before the switch, since then they are refused.
  const std::string both = "attn_implementation: sdpa\nflash_attention: true\n";
  CHECK(attention(both, "0.16") == "sdpa");
  CHECK_FALSE(says(reading(kFile + both, "run.yaml", {}, "0.16"), "axolotl/two-attentions"));
  CHECK(says(reading(kFile + both, "run.yaml", {}, "0.17"), "axolotl/two-attentions"));
  for (const char* name : {"flash", "flex", "sdp", "fa2"})
    CHECK(says(reading(kFile + "attn_implementation: " + name + "\n"), "invalid-value"));
  CHECK_FALSE(says(reading(kFile + "attn_implementation: kernels-community/flash-attn3\n"), "invalid-value"));
}

TEST_CASE("axolotl: of its precisions bf16 goes before fp16, and float16 alone has no autocast") {
  const auto precision = [](const std::string& lines) {
    const TrainFile file = reading(kFile + lines);
    INFO(lines);
    REQUIRE(file.draft.precision);
    return file.draft.precision->value;
  };
  CHECK(precision("bfloat16: true\n") == Precision::bf16_mixed);
  CHECK(precision("bf16: true\nfp16: true\n") == Precision::bf16_mixed);
  CHECK(precision("bf16: true\nfloat16: true\n") == Precision::bf16_mixed);
  CHECK(precision("bf16: auto\nfp16: true\n") == Precision::fp16_mixed);
  CHECK(precision("float16: true\n") == Precision::fp16_true);
  CHECK(precision("bf16: false\n") == Precision::fp32);
  const TrainFile by_card = reading(kFile + "bf16: auto\nfp16:\ngradient_checkpointing: offload\n");
  CHECK_FALSE(by_card.draft.precision);
  CHECK_FALSE(says(by_card, "invalid-value"));
  CHECK(says(reading(kFile + "bf16: full\n"), "invalid-value"));
  CHECK(says(reading(kFile + "gradient_checkpointing: unsloth\n"), "invalid-value"));
  CHECK(says(reading(kFile + "fp16: true\nbfloat16: true\n"), "transformers/two-precisions"));
}

TEST_CASE("a vision or audio tower is seen in a model's name, or in the keys of a file") {
  for (const char* name : {"Qwen/Qwen2-VL-7B-Instruct", "HuggingFaceTB/SmolVLM2-2.2B-Instruct", "LiquidAI/LFM2-VL-450M",
                           "PaddlePaddle/PaddleOCR-VL-1.6", "mistralai/Voxtral-Mini-3B-2507", "google/gemma-3n-E2B-it",
                           "mistralai/Ministral-3-3B-Reasoning-2512", "meta-llama/Llama-3.2-11B-Vision", "qwen3_vl_nothink"})
    CHECK(has_tower(name));
  for (const char* name : {"Qwen/Qwen2.5-7B", "mistralai/Ministral-8B-Instruct-2410", "google/gemma-3-1b-it", "vlad/llama-3"})
    CHECK_FALSE(has_tower(name));
  CHECK(reading(kFile + "processor_type: AutoProcessor\n").has_tower);
  CHECK(reading(kFile + "chat_template: qwen2_vl\n").has_tower);
  CHECK_FALSE(reading(kFile + "chat_template: qwen3\n").has_tower);
  const std::string factory = "model_name_or_path: some/model\nstage: sft\ndo_train: true\nfinetuning_type: lora\ndataset: data\n";
  CHECK(reading(factory + "template: qwen2_vl\n").has_tower);
  CHECK(reading(factory + "template: qwen\nfreeze_vision_tower: true\n").has_tower);
  CHECK_FALSE(reading(factory + "template: qwen\n").has_tower);
  // Only a template that knows pictures puts one into a batch of text.
  CHECK(reading(factory + "template: qwen3_5_nothink\n").draft.shows_picture->value);
  CHECK_FALSE(reading(factory + "template: qwen3\n").draft.shows_picture->value);
  CHECK_FALSE(reading(factory).draft.shows_picture->value);
  for (const char* name : {"mllm_demo", "lmms-lab/LLaVA-OneVision-Data", "AI-ModelScope/LaTeX_OCR"}) CHECK(has_images(name));
  for (const char* name : {"alpaca_en_demo", "trl-lib/Capybara", "tatsu-lab/alpaca"}) CHECK_FALSE(has_images(name));
}

TEST_CASE("axolotl: a plugin that does not come with it is the reason, and its keys are its own") {
  const TrainFile file = reading(kFile + "plugins:\n  - a.b.TeacherPlugin\nteacher_name: x\n");
  REQUIRE(file.unmodelled);
  CHECK(file.unmodelled->what.find("TeacherPlugin") != std::string::npos);
  CHECK(file.unmodelled->where == "run.yaml, line 9, column 5");
  CHECK_FALSE(says(file, "unknown-key"));
  const TrainFile own = reading(kFile + "plugins: [axolotl.integrations.swanlab.SwanLabPlugin]\nteacher_name: x\n");
  CHECK_FALSE(own.unmodelled);
  CHECK(says(own, "unknown-key"));
}

TEST_CASE("axolotl: NeMo Gym's plugin has data of its own") {
  const std::string file = "base_model: Qwen/Qwen3-0.6B\nmicro_batch_size: 1\nsequence_len: 64\n";
  CHECK(says(reading(file), "axolotl/no-data"));
  CHECK_FALSE(says(reading(file + "nemo_gym_enabled: true\n"), "axolotl/no-data"));
}

TEST_CASE("axolotl: what is listed beside lora_target_linear joins all linear layers") {
  const auto targets = [](const std::string& lines) { return reading(kFile + lines).draft.lora_targets->value; };
  CHECK(targets("lora_target_linear: true\n") == std::vector<std::string>{"all-linear"});
  CHECK(targets("lora_target_linear: true\nlora_target_modules: [q_proj, lm_head]\n") ==
        std::vector<std::string>{"all-linear", "lm_head"});
}

TEST_CASE("axolotl: one word of target modules is a pattern, a list is names") {
  CHECK(reading(kFile + "lora_target_modules: '.*q_proj'\n").target_pattern->value == ".*q_proj");
  CHECK(reading(kFile + "lora_target_modules: q_proj\n").target_pattern);
  CHECK_FALSE(reading(kFile + "lora_target_modules: all-linear\n").target_pattern);
  CHECK_FALSE(reading(kFile + "lora_target_modules: [q_proj]\n").target_pattern);
  CHECK_FALSE(reading(kFile + "lora_target_modules: '.*q_proj'\nlora_target_linear: true\n").target_pattern);
}

TEST_CASE("axolotl: fused functions of adapters are off with a model's own code, or where one of them is given") {
  const auto kernel = [](const std::string& lines) { return reading(kFile + "lora_target_linear: true\n" + lines).draft.lora_qkv_kernel; };
  CHECK_FALSE(kernel(""));  // the trainer's default decides
  CHECK_FALSE(kernel("trust_remote_code: true\n")->value);
  CHECK_FALSE(kernel("lora_mlp_kernel: true\n")->value);
  CHECK_FALSE(kernel("lora_embedding_kernel: false\n")->value);
  CHECK(kernel("trust_remote_code: true\nlora_qkv_kernel: true\n")->value);
  const std::string embedding = kFile + "lora_target_modules: [q_proj, embed_tokens]\n";
  CHECK(reading(embedding).unmodelled);
  CHECK_FALSE(reading(embedding + "lora_embedding_kernel: false\n").unmodelled);
}

TEST_CASE("axolotl: another adapter than LoRA, or another quantizer than bitsandbytes, is named and nothing else") {
  const std::string file = "base_model: a\nmicro_batch_size: 1\ndatasets:\n  - path: b\n";
  const TrainFile scales = reading(file + "adapter: ia3\nload_in_8bit: true\n");
  CHECK(scales.unmodelled->what.find("'ia3'") != std::string::npos);
  CHECK_FALSE(says(scales, "axolotl/no-rank"));
  const std::string lora = file + "adapter: lora\nlora_r: 8\nlora_target_linear: true\npeft:\n  ";
  CHECK(reading(lora + "weight_dtype: int4\n").unmodelled->what.find("torchao") != std::string::npos);
  CHECK_FALSE(reading(lora + "loftq_config:\n    loftq_bits: 4\n").unmodelled);
}

TEST_CASE("axolotl: Ray's workers are cards, where Ray is used; the Hub's kernels are another step") {
  CHECK(reading(kFile + "use_ray: true\nray_num_workers: 4\n").draft.gpus->value == 4);
  CHECK_FALSE(reading(kFile + "ray_num_workers: 4\n").draft.gpus);
  CHECK(reading(kFile + "use_kernels: true\n").unmodelled);
  CHECK_FALSE(reading(kFile + "use_kernels: false\n").unmodelled);
}
