#include <functional>

#include "qwenplan/describe/valid_run.hpp"
#include "support/catch.hpp"

using namespace qwenplan;

namespace {

Model qwen2() {
  Model m;
  m.architecture = Architecture::qwen2;
  m.stored = DType::bf16;
  m.max_positions = 4096;
  return m;
}

Result<ValidRun> by(Trainer trainer, const std::function<void(RunDraft&)>& change = [](RunDraft&) {},
                    const Model& model = qwen2()) {
  RunDraft draft;
  draft.trainer = Given<TrainerRelease>{{trainer, latest_version(trainer)}, From::flag};
  draft.length = Given<std::int64_t>{512, From::flag};
  change(draft);
  return validated(draft, model, kLatest, nullptr);
}

template <class T>
void give(std::optional<Given<T>>& setting, T value) {
  setting = Given<T>{std::move(value), From::flag};
}

void quantize(RunDraft& d) { give(d.quantization, Quantization::nf4); }

}  // namespace

TEST_CASE("torchtune and litgpt run modelling code of their own, others transformers'") {
  const auto torchtune = by(Trainer::torchtune);
  REQUIRE(torchtune.ok());
  CHECK(torchtune->run.code == ModelCode::torchtune);
  CHECK(torchtune->run.weights == DType::bf16);
  const auto litgpt = by(Trainer::litgpt);
  REQUIRE(litgpt.ok());
  CHECK(litgpt->run.code == ModelCode::litgpt);
  CHECK(litgpt->run.optimizer == OptimizerKind::adamw_foreach);
  const auto trl = by(Trainer::trl);
  REQUIRE(trl.ok());
  CHECK(trl->run.code == ModelCode::transformers);
}

TEST_CASE("a quantized base is as torchtune and litgpt have it") {
  const auto torchtune = by(Trainer::torchtune, quantize);
  REQUIRE(torchtune.ok());
  CHECK(torchtune->run.double_quantizes);
  CHECK(torchtune->run.adapter == DType::bf16);
  const auto litgpt = by(Trainer::litgpt, quantize);
  REQUIRE(litgpt.ok());
  CHECK(litgpt->run.optimizer == OptimizerKind::paged_adamw);
  CHECK_FALSE(litgpt->run.double_quantizes);
  CHECK_FALSE(by(Trainer::litgpt, [](RunDraft& d) {
                quantize(d);
                give(d.precision, Precision::bf16_mixed);
              }).ok());
}

TEST_CASE("what these trainers' code does otherwise is named, not estimated") {
  const auto is_unknown = [](const Result<ValidRun>& run) {
    return !run.ok() && run.error().kind == Error::Kind::unknown;
  };
  Model gemma = qwen2();
  gemma.architecture = Architecture::gemma2;
  for (const Trainer trainer : {Trainer::torchtune, Trainer::litgpt}) {
    CHECK(is_unknown(by(trainer, [](RunDraft& d) { give(d.packs, true); })));
    CHECK(is_unknown(by(trainer, [](RunDraft& d) { give(d.attention, std::string("eager")); })));
    CHECK_FALSE(by(trainer, [](RunDraft& d) { give(d.is_padded, true); }).ok());
  }
  CHECK(is_unknown(by(Trainer::litgpt, [](RunDraft&) {}, gemma)));
  const auto capped = by(Trainer::torchtune, [](RunDraft&) {}, gemma);  // with scores of its own
  REQUIRE(capped.ok());
  CHECK(capped->run.attention == Attention::eager);
  CHECK(is_unknown(by(Trainer::torchtune, [](RunDraft& d) { give(d.objective, Objective::dpo); }, gemma)));
  const auto in_backward = [](RunDraft& d) {
    give(d.method, Method::full);
    give(d.accumulation, std::int64_t{1});
    give(d.optimizer_in_backward, true);
  };
  CHECK(by(Trainer::torchtune, in_backward).ok());
  CHECK(is_unknown(by(Trainer::litgpt, in_backward)));
  CHECK_FALSE(by(Trainer::litgpt, [](RunDraft& d) { give(d.checkpoints, true); }).ok());
}

TEST_CASE("Unsloth runs code of its own, for adapters") {
  const auto run = by(Trainer::unsloth);
  REQUIRE(run.ok());
  CHECK(run->run.code == ModelCode::unsloth);
  CHECK(run->run.quantization == Quantization::nf4);
  CHECK(run->run.offloads_checkpoints);
  CHECK(run->run.fused_loss == FusedLoss::unsloth);
  CHECK(run->run.optimizer == OptimizerKind::adamw_8bit);
  // Training, it takes no padding mask.
  const auto padded = by(Trainer::unsloth, [](RunDraft& d) { give(d.is_padded, true); });
  REQUIRE(padded.ok());
  CHECK_FALSE(padded->run.is_padded);
  Gpu turing;
  turing.has_bf16 = false;
  turing.compute_capability = 75;
  RunDraft draft;
  draft.trainer = Given<TrainerRelease>{{Trainer::unsloth, latest_version(Trainer::unsloth)}, From::flag};
  const auto old = validated(draft, qwen2(), kLatest, &turing);
  REQUIRE(old.ok());
  CHECK(old->run.weights == DType::fp16);
  CHECK(old->run.half == DType::fp16);
}

TEST_CASE("torchtune's activations wait in host memory, litgpt's do not") {
  const auto offloading = [](RunDraft& d) {
    give(d.length, std::int64_t{1024});
    give(d.checkpoints, true);
    give(d.offloads_activations, true);
  };
  const auto tune = by(Trainer::torchtune, offloading);
  REQUIRE(tune.ok());
  CHECK(tune->run.offloads_activations);
  const auto lit = by(Trainer::litgpt, [](RunDraft& d) {
    give(d.length, std::int64_t{1024});
    give(d.checkpoints, true);
    give(d.checkpoints_reentrant, false);
    give(d.offloads_activations, true);
  });
  REQUIRE_FALSE(lit.ok());
  CHECK(lit.error().kind == Error::Kind::unknown);
}

TEST_CASE("what Unsloth does otherwise is named") {
  const std::pair<const char*, std::function<void(RunDraft&)>> cases[] = {
      {"full fine-tuning", [](RunDraft& d) { give(d.method, Method::full); }},
      {"int8", [](RunDraft& d) { give(d.quantization, Quantization::int8); }},
      {"whole modules", [](RunDraft& d) { give(d.modules_to_save, std::vector<std::string>{"lm_head"}); }},
      {"eager", [](RunDraft& d) { give(d.attention, std::string("eager")); }},
      {"several samples", [](RunDraft& d) { give(d.packs, true); }},
      {"another loss", [](RunDraft& d) { give(d.loss, Loss::standard); }},
      {"unsloth 2025.9.0",
       [](RunDraft& d) { give(d.trainer, TrainerRelease{Trainer::unsloth, {2025, 9, 0}}); }},
      {"dpo as unsloth", [](RunDraft& d) { give(d.objective, Objective::dpo); }},
  };
  for (const auto& [named, change] : cases) {
    INFO(named);
    const auto run = by(Trainer::unsloth, change);
    REQUIRE_FALSE(run.ok());
    CHECK(run.error().kind == Error::Kind::unknown);
    CHECK(run.error().what.find(named) != std::string::npos);
  }
}
