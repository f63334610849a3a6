#include "qwenplan/describe/trainer_defaults.hpp"
#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;

namespace {

Model seven_b() {
  Model m;
  m.architecture = Architecture::qwen2;
  m.heads = 28;
  m.kv_heads = 4;
  m.head_dim = 128;
  return m;
}

/// A file with its trainer's defaults.
RunDraft filled(const std::string& text) {
  TrainFile file = reading(text);
  const TrainerRelease release{file.trainer, latest_version(file.trainer)};
  fill_defaults(release, seven_b(), nullptr, file.draft);
  return file.draft;
}

bool is(const RunDraft::Maybe<bool>& given) { return given && given->value; }

}  // namespace

TEST_CASE("LLaMA-Factory fills rows up to the cutoff, and keeps samples apart if asked") {
  const std::string text =
      "model_name_or_path: a/b\nstage: sft\ndo_train: true\nfinetuning_type: lora\n"
      "cutoff_len: 4096\n";
  const RunDraft packed = filled(text + "packing: true\n");
  CHECK(packed.length->value == 4096);
  CHECK(is(packed.packs));
  CHECK_FALSE(packed.borders);
  const RunDraft neat = filled(text + "neat_packing: true\n");
  CHECK(is(neat.packs));
  CHECK(neat.borders->value == Borders::mask);
  CHECK(filled(text + "neat_packing: true\nflash_attn: fa2\n").borders->value ==
        Borders::positions);
}

TEST_CASE("rows of pre-training in LLaMA-Factory lose a token where packing is spelt out") {
  const std::string text =
      "model_name_or_path: a/b\nstage: pt\ndo_train: true\nfinetuning_type: full\n"
      "cutoff_len: 4096\n";
  CHECK(filled(text).length->value == 4096);
  CHECK(filled(text + "packing: true\n").length->value == 4095);
}

TEST_CASE("axolotl makes one row of all samples only for kernels that know borders") {
  const std::string text =
      "base_model: a/b\ndatasets: []\nsequence_len: 4096\nmicro_batch_size: 2\n"
      "gradient_accumulation_steps: 1\nsample_packing: true\n";
  const RunDraft flash = filled(text + "attn_implementation: flash_attention_2\n");
  CHECK(is(flash.packs));
  CHECK(is(flash.is_padding_free));
  const RunDraft sdpa = filled(text + "attn_implementation: sdpa\n");
  CHECK_FALSE(is(sdpa.is_padding_free));
  CHECK(sdpa.borders->value == Borders::varlen);
  CHECK(filled(text + "attn_implementation: eager\n").borders->value == Borders::positions);
  const RunDraft unnamed = filled(text);
  CHECK_FALSE(is(unnamed.is_padding_free));
  CHECK_FALSE(unnamed.borders);
}

TEST_CASE("TRL's best-fit packing is padding-free, its wrapped packing a plain batch") {
  const std::string text = "model_name_or_path: a/b\npacking: true\n";
  CHECK(is(filled(text).is_padding_free));
  CHECK(is(filled(text).packs));
  const RunDraft wrapped = filled(text + "packing_strategy: wrapped\n");
  CHECK_FALSE(is(wrapped.packs));
  CHECK_FALSE(is(wrapped.is_padding_free));
}

TEST_CASE("ms-swift joins packed rows") {
  const RunDraft packed =
      filled("model: a/b\ntrain_type: lora\nattn_impl: flash_attn\npacking: true\n");
  CHECK(is(packed.packs));
  CHECK(is(packed.is_padding_free));
}
