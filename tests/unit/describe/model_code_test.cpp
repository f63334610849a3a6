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
    CHECK(is_unknown(by(trainer, [](RunDraft&) {}, gemma)));
    CHECK(is_unknown(by(trainer, [](RunDraft& d) { give(d.packs, true); })));
    CHECK(is_unknown(by(trainer, [](RunDraft& d) { give(d.attention, std::string("eager")); })));
    CHECK_FALSE(by(trainer, [](RunDraft& d) { give(d.is_padded, true); }).ok());
  }
  const auto in_backward = [](RunDraft& d) {
    give(d.method, Method::full);
    give(d.accumulation, std::int64_t{1});
    give(d.optimizer_in_backward, true);
  };
  CHECK(by(Trainer::torchtune, in_backward).ok());
  CHECK(is_unknown(by(Trainer::litgpt, in_backward)));
  CHECK_FALSE(by(Trainer::litgpt, [](RunDraft& d) { give(d.checkpoints, true); }).ok());
}
