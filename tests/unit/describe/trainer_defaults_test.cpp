#include <string>

#include "qwenplan/describe/valid_run.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

// Which defaults a trainer has in which version, as its own source says (named at each function of
// trainer_defaults.hpp), and which libraries it ran with.

using namespace qwenplan;

namespace {

TrainerRelease release(const char* written) {
  const auto found = trainer_release(written);
  REQUIRE_FALSE(!found);
  return *found;
}

RunDraft draft_of(const char* written, std::optional<Method> method) {
  RunDraft d;
  d.trainer = Given<TrainerRelease>{release(written), From::flag, {}};
  if (method) d.method = Given<Method>{*method, From::flag, {}};
  return d;
}

/// The draft with its trainer's defaults, for a bf16 checkpoint on a card with bf16.
RunDraft filled(const char* written, std::optional<Method> method = {}, std::int64_t gpus = 1) {
  RunDraft d = draft_of(written, method);
  if (gpus > 1) d.gpus = Given<std::int64_t>{gpus, From::flag, {}};
  fill_defaults(d.trainer->value, test::Tiny::model(2), nullptr, d);
  return d;
}

TEST_CASE("a trainer is found by its name and version") {
  CHECK(release("trl").version == latest_version(Trainer::trl));
  CHECK(release("llama-factory@v0.9.3.dev0").version == Version{0, 9, 3});
  CHECK(release("swift").trainer == Trainer::ms_swift);
  for (const char* wrong : {"axolotll", "", "trl@", "trl@new", "trl@99.0", "torchtune@0.8"}) {
    CAPTURE(wrong);
    const auto found = trainer_release(wrong);
    REQUIRE(!found);
    CHECK(found.error().kind == Error::Kind::wrong);
    CHECK(!found.error().hint.empty());
  }
  const auto old = trainer_release("trl@0.4");
  REQUIRE(!old);
  CHECK(old.error().kind == Error::Kind::unknown);
}

TEST_CASE("a trainer's version brings the libraries of its day") {
  CHECK(stack_of(release("trl")).name == "latest");
  CHECK(stack_of(release("trl@0.16")).name == "2025-02");
  CHECK(stack_of(release("trl@0.22.2")).name == "2025-09");
  // What the packages' own requirements allow.
  const Stack factory = stack_of(release("llama-factory@0.9.2"));
  CHECK(factory.transformers == Version{4, 49, 0});
  CHECK(factory.peft == Version{0, 12, 0});
  CHECK(stack_of(release("llama-factory")).transformers == Version{5, 6, 0});
  CHECK(stack_of(release("axolotl")).transformers == Version{5, 16, 1});
  CHECK(stack_of(release("unsloth")).torch == Version{2, 14, 0});
  // torchtune ended before the newest PyTorch.
  CHECK(stack_of(release("torchtune")).torch < kLatest.torch);
  CHECK(stack_of(release("transformers@4.51.3")).transformers == Version{4, 51, 3});
}

TEST_CASE("flags go before a trainer's defaults, and these before the libraries'") {
  RunDraft d = draft_of("trl", Method::lora);
  d.micro_batch = Given<std::int64_t>{2, From::flag, {}};
  const auto valid = validated(d, test::Tiny::model(2), kLatest, nullptr);
  REQUIRE_FALSE(!valid);
  CHECK(valid->run.micro_batch == 2);
  CHECK(valid->run.length == 1024);
  CHECK(valid->run.lora_targets == (q_proj | v_proj));
  for (const RunSetting& setting : valid->settings) {
    if (setting.flag == "batch") CHECK(setting.from == From::flag);
    if (setting.flag == "seq-len") CHECK(setting.from == From::trainer);
    if (setting.flag == "attention") CHECK(setting.from == From::by_default);
  }
}

TEST_CASE("TRL prepared a quantized base itself up to 0.25, and casts adapters to bf16 since") {
  const RunDraft now = filled("trl", Method::qlora);
  CHECK(now.adapter->value == DType::bf16);
  CHECK(now.upcasts_for_kbit->value == false);
  CHECK(now.weights->value == DType::fp32);
  CHECK(now.quant_compute->value == DType::fp32);
  CHECK(now.double_quantizes->value == false);
  const RunDraft before = filled("trl@0.24.0", Method::qlora);
  CHECK(!before.adapter);
  CHECK(before.upcasts_for_kbit->value == true);
  CHECK(before.embedding_weights->value == DType::bf16);
}

TEST_CASE("what trainers do to a quantized base and how they checkpoint") {
  for (const char* trainer : {"llama-factory", "axolotl", "ms-swift", "unsloth"}) {
    CAPTURE(trainer);
    const RunDraft d = filled(trainer, Method::qlora);
    CHECK(d.upcasts_for_kbit->value == false);
    CHECK(d.double_quantizes->value == true);
  }
  CHECK(filled("peft", Method::qlora).checkpoints->value == true);
  CHECK(filled("peft", Method::lora).checkpoints->value == false);
  CHECK(filled("litgpt", Method::qlora).precision->value == Precision::bf16_true);
  CHECK(filled("litgpt", Method::lora).precision->value == Precision::bf16_mixed);
}

TEST_CASE("axolotl casts back what it knows by name after kbit preparation: experts stay in fp32, and so do routers") {
  Model sparse = test::Tiny::model(2);
  sparse.experts = Experts{8, 2, 64, 1, true, 0};
  const auto of = [&](Method method) {
    RunDraft d = draft_of("axolotl", method);
    if (method == Method::qlora) d.quantization = Given<Quantization>{Quantization::nf4, From::flag, {}};
    fill_defaults(d.trainer->value, sparse, nullptr, d);
    return d;
  };
  const RunDraft quantized = of(Method::qlora);
  CHECK(quantized.upcasts_for_kbit->value);
  CHECK(quantized.norm_weights->value == DType::bf16);
  CHECK(quantized.embedding_weights->value == DType::bf16);
  CHECK(quantized.router_weights->value == DType::fp32);
  CHECK_FALSE(of(Method::lora).upcasts_for_kbit->value);
  CHECK(of(Method::lora).router_weights->value == DType::fp32);
}

TEST_CASE("ms-swift accumulates to sixteen over all GPUs and is reentrant on one") {
  CHECK(filled("ms-swift").accumulation->value == 16);
  CHECK(filled("ms-swift").checkpoints_reentrant->value == true);
  CHECK(filled("ms-swift", {}, 3).accumulation->value == 6);
  CHECK(filled("ms-swift", {}, 3).checkpoints_reentrant->value == false);
}

TEST_CASE("full fine-tuning has the format of its trainer") {
  CHECK(filled("llama-factory", Method::full).weights->value == DType::fp32);
  CHECK(filled("trl", Method::full).weights->value == DType::fp32);
  CHECK(filled("ms-swift", Method::full).weights->value == DType::bf16);
  const RunDraft axolotl = filled("axolotl", Method::full);
  CHECK(axolotl.weights->value == DType::bf16);
  CHECK(axolotl.norm_weights->value == DType::fp32);
  CHECK(axolotl.embedding_weights->value == DType::fp32);
  // Before version 5 transformers loaded in fp32.
  CHECK(filled("transformers@4.51", Method::full).weights->value == DType::fp32);
  CHECK(filled("transformers", Method::full).weights->value == DType::bf16);
}

TEST_CASE("TRL's answers are padded, and its trainers differ in what they do to a quantized base") {
  const auto comparing = [](const char* written, Objective objective) {
    RunDraft d = draft_of(written, Method::qlora);
    d.objective = Given<Objective>{objective, From::flag, {}};
    fill_defaults(d.trainer->value, test::Tiny::model(2), nullptr, d);
    return d;
  };
  const RunDraft dpo = comparing("trl", Objective::dpo);
  CHECK(dpo.is_padded->value);
  CHECK(!dpo.upcasts_for_kbit->value);
  CHECK(dpo.adapter->value == DType::bf16);
  // ORPO, experimental by now, prepares the base as before 0.26; embeddings and head go back to bf16.
  const RunDraft orpo = comparing("trl", Objective::orpo);
  CHECK(orpo.upcasts_for_kbit->value);
  CHECK(orpo.embedding_weights->value == DType::bf16);
  CHECK(!orpo.adapter);
  // axolotl hands its adapters' settings to TRL where there is a reference, which makes them bf16.
  CHECK(comparing("axolotl", Objective::dpo).adapter->value == DType::bf16);
  CHECK(!comparing("axolotl", Objective::orpo).adapter);
  CHECK(comparing("axolotl", Objective::orpo).is_padded->value);
}

}  // namespace
