// The advice against a card and a step that are made up: what a run needs is a sum that the test
// can do in its head, so that what each change saves is known beforehand.

#include "qwenplan/judge/advice.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qwenplan/base/literals.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

namespace {

Model model() {
  Model model;
  model.architecture = Architecture::qwen2;
  model.layers = 2;
  return model;
}

/// A card of so many GiB, and what the made-up step needs on it.
struct World {
  Bytes usable;
  int asked = 0;

  /// GiB: the base 8 (4 in 4 bits, 16 in fp32), 1 for each 1,024 tokens of a micro-step, twice
  /// that without checkpointing, the states of the optimizer 2 (half in 8 bits, none when paged).
  static Bytes need(const Run& run, const AllocatorSettings& allocator) {
    const Bytes base = run.is_quantized() ? 4_GiB : run.weights == DType::fp32 ? 16_GiB : 8_GiB;
    const bool is_paged = run.optimizer == OptimizerKind::paged_adamw ||
                          run.optimizer == OptimizerKind::paged_adamw_8bit;
    const Bytes states = is_paged                                     ? 0_GiB
                         : run.optimizer == OptimizerKind::adamw_8bit ? 1_GiB
                                                                      : 2_GiB;
    const bool is_on_host = run.offloads_checkpoints || run.offloads_activations;
    const bool has_mask = run.borders == Borders::positions && run.attention != Attention::fa2;
    const Bytes activations =
        1_MiB * run.tokens() * ((is_on_host ? 0 : run.checkpoints ? 1 : 2) + (has_mask ? 4 : 0));
    const Bytes fragments = allocator.expandable_segments ? 0_MiB : 8_MiB;
    return base + states + activations + fragments;
  }

  MemoryEstimate estimate(const Run& run, const AllocatorSettings& allocator) const {
    MemoryEstimate result;
    result.device = Range<Bytes>::exactly(need(run, allocator));
    result.on.usable = Sourced<Bytes>{usable, Evidence::vendor, "test"};
    result.at_capacity = Reserved{};
    if (result.device.likely > usable) result.at_capacity->out_of_memory = OutOfMemory{};
    return result;
  }

  std::vector<Advice> advise(const RunDraft& asked_for, std::size_t most = 3) {
    asked = 0;
    const Question question{asked_for, {}};
    const auto run = validated(asked_for, model(), kLatest, nullptr);
    REQUIRE(run.ok());
    return qwenplan::advise(estimate(run->run, {}), run->run, question, most,
                            [&](const Question& q, Bytes) -> std::optional<MemoryEstimate> {
                              ++asked;
                              const auto again = validated(q.draft, model(), kLatest, nullptr);
                              if (!again) return std::nullopt;
                              return estimate(again->run, q.allocator);
                            });
  }
};

RunDraft asking(Method method, std::int64_t length, std::int64_t batch) {
  RunDraft result;
  result.method = Given<Method>{method, From::flag};
  result.length = Given<std::int64_t>{length, From::flag};
  result.micro_batch = Given<std::int64_t>{batch, From::flag};
  return result;
}

const Advice* find(const std::vector<Advice>& advice, const std::string& change) {
  for (const Advice& each : advice)
    if (each.change == change) return &each;
  return nullptr;
}

}  // namespace

TEST_CASE("a run that fits needs no advice, and costs no question") {
  World world{100_GiB};
  CHECK(world.advise(asking(Method::lora, 1024, 1)).empty());
  CHECK(world.asked == 0);
}

TEST_CASE("the mildest batch that fits is advised, at the same effective batch") {
  // 8 + 2 + 8 x 1 GiB; on 14 GiB a micro-batch of 4 needs 14 and 8 MiB, one of 2 fits.
  World world{14_GiB};
  RunDraft asked = asking(Method::lora, 1024, 8);
  asked.accumulation = Given<std::int64_t>{3, From::flag};
  const auto advice = world.advise(asked);
  REQUIRE(!advice.empty());
  CHECK(advice[0].change == "--batch 2 --grad-accum 12");
  CHECK(advice[0].saves == 6_GiB);
  CHECK(advice[0].fit == Fit::fits);
  CHECK(advice[0].sacrifice == Sacrifice::nothing);
}

TEST_CASE("activations move to RAM where the trainer has a switch for it") {
  // 8 + 2 + 4 GiB on 11: without activations it fits.
  World world{11_GiB};
  RunDraft asked = asking(Method::lora, 4096, 1);
  const auto advised = [&](Trainer trainer) {
    asked.trainer = Given<TrainerRelease>{{trainer, trainer == Trainer::trl ? Version{1, 16, 0} : Version{9, 0, 0}}, From::flag};
    return world.advise(asked);
  };
  const auto factory = advised(Trainer::llama_factory);
  REQUIRE(find(factory, "--offload-checkpoints"));
  CHECK(find(factory, "--offload-checkpoints")->fit == Fit::fits);
  CHECK(find(factory, "--offload-checkpoints")->saves == 4_GiB);
  CHECK(find(advised(Trainer::trl), "--offload-activations"));
  CHECK_FALSE(find(advised(Trainer::trl), "--offload-checkpoints"));
  CHECK_FALSE(find(advised(Trainer::transformers), "--offload-checkpoints"));
  CHECK_FALSE(find(advised(Trainer::transformers), "--offload-activations"));
}

TEST_CASE("a mask between packed samples is advised away") {
  // 8 + 2 + 1 + 4 GiB, of which flash-attn needs no mask.
  World world{12_GiB};
  RunDraft asked = asking(Method::lora, 512, 2);
  asked.is_padding_free = Given<bool>{true, From::flag};
  const auto advice = world.advise(asked);
  REQUIRE(!advice.empty());
  CHECK(advice[0].change == "--attention fa2");
  CHECK(advice[0].saves == 4_GiB);
}

TEST_CASE("what costs nothing comes before what costs quality") {
  // 8 + 2 + 2 x 4 = 18 GiB without checkpointing, on 15. Checkpointing saves 4, half the batch 4,
  // the base in 4 bits 4; paged states would save 2 only.
  World world{15_GiB};
  RunDraft asked = asking(Method::lora, 1024, 4);
  asked.checkpoints = Given<bool>{false, From::flag};
  const auto advice = world.advise(asked);
  REQUIRE(advice.size() == 3);
  for (const Advice& each : advice) {
    CHECK(each.fit == Fit::fits);
    CHECK(each.saves == 4_GiB);
  }
  CHECK(advice[0].sacrifice == Sacrifice::nothing);
  CHECK(advice[1].sacrifice == Sacrifice::nothing);
  CHECK(find(advice, "--checkpointing"));
  CHECK(find(advice, "--batch 2 --grad-accum 2"));
  CHECK(advice[2].change == "--method qlora");
  CHECK(advice[2].sacrifice == Sacrifice::capacity);
}

TEST_CASE("a milder step that is not enough is passed over") {
  // 8 + 2 + 2 x 8 = 26 GiB, on 17: half the batch and checkpointing save 8, which is too little by
  // the fragments; a quarter of the batch saves 12.
  World world{17_GiB};
  RunDraft asked = asking(Method::lora, 1024, 8);
  asked.checkpoints = Given<bool>{false, From::flag};
  const auto advice = world.advise(asked);
  REQUIRE(!advice.empty());
  CHECK(advice[0].change == "--batch 2 --grad-accum 4");
  CHECK(advice[0].saves == 12_GiB);
}

TEST_CASE("several changes that take nothing together come before one that takes data") {
  // 8 + 2 + 8 = 18 GiB, on 13: half the batch saves 4, states in RAM 2; an eighth of the length 7.
  World world{13_GiB};
  const auto advice = world.advise(asking(Method::lora, 4096, 2));
  REQUIRE(advice.size() >= 2);
  CHECK(advice[0].change == "--batch 1 --grad-accum 2 --optimizer paged-adamw");
  CHECK(advice[0].sacrifice == Sacrifice::nothing);
  CHECK(advice[0].saves == 6_GiB);
  CHECK(advice[0].fit == Fit::fits);
  CHECK(find(advice, "--seq-len 1536") == nullptr);  // 13 GiB, and the fragments
  REQUIRE(find(advice, "--seq-len 1024"));
  CHECK(find(advice, "--seq-len 1024")->sacrifice == Sacrifice::data);
}

TEST_CASE("where no change is enough, one combination comes first, with nothing in it to spare") {
  // Full in fp32: 16 + 2 + 8 = 26 GiB, on 8. The least that the base needs is 4, as qlora; beside
  // it 2 of states and 2 of tokens are too much by the fragments alone.
  World world{8_GiB};
  const RunDraft asked = asking(Method::full, 4096, 2);
  const auto advice = world.advise(asked);
  REQUIRE(!advice.empty());
  CHECK(advice[0].fit == Fit::fits);
  CHECK(advice[0].change.find("--method qlora") != std::string::npos);
  CHECK(advice[0].change.find("bf16-true") == std::string::npos);   // of no use to qlora
  CHECK(advice[0].change.find("expandable") == std::string::npos);  // 8 MiB
  CHECK(advice[0].sacrifice == Sacrifice::data);
  for (std::size_t i = 1; i < advice.size(); ++i) CHECK(advice[i].fit != Fit::fits);
  // Each saving is the difference of two estimates.
  const Bytes now = World::need(validated(asked, model(), kLatest, nullptr)->run, {});
  for (const Advice& each : advice) {
    CHECK(each.saves > 0_B);
    CHECK((each.fit == Fit::fits) == (now - each.saves <= world.usable));
  }
}

TEST_CASE("where nothing helps enough, it is said how little each change saves") {
  World world{1_GiB};
  const auto advice = world.advise(asking(Method::qlora, 1024, 1));
  CHECK(!advice.empty());
  CHECK(advice.size() <= 3);
  for (const Advice& each : advice) CHECK(each.fit == Fit::exceeds);
}

TEST_CASE("impossible changes are left out, trifles too") {
  World world{5_GiB};
  const auto advice = world.advise(asking(Method::qlora, 1024, 1));
  for (const Advice& each : advice) {
    CHECK(each.change != "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True");  // 8 MiB of 7 GiB
    CHECK(each.change.find("--method") == std::string::npos);
    CHECK(each.change.find("--batch") == std::string::npos);
  }
}

TEST_CASE("the number of questions stays small even where nothing helps") {
  World world{1_MiB};
  for (const Method method : {Method::full, Method::lora, Method::qlora}) {
    world.advise(asking(method, 8192, 64));
    CHECK(world.asked <= 14);
  }
}

TEST_CASE("one answer alone is the first of three, and costs less") {
  int saved = 0;
  for (const Bytes usable : {15_GiB, 8_GiB, 1_GiB}) {
    World world{usable};
    RunDraft asked = asking(Method::lora, 1024, 4);
    asked.checkpoints = Given<bool>{false, From::flag};
    const auto three = world.advise(asked);
    const int questions_of_three = world.asked;
    const auto one = world.advise(asked, 1);
    REQUIRE(one.size() == 1);
    REQUIRE(!three.empty());
    CHECK(one[0].change == three[0].change);
    CHECK(one[0].saves == three[0].saves);
    CHECK(world.asked <= questions_of_three);
    saved += questions_of_three - world.asked;
  }
  CHECK(saved > 0);
}

TEST_CASE("the mildest of many steps is found by halves") {
  // 8 + 2 + 64 GiB of 256 sequences, on 11.5: a micro-batch of 4 needs 1 GiB, one of 8 is too much.
  World world{Bytes(11_GiB + 512_MiB)};
  RunDraft asked = asking(Method::lora, 256, 256);
  const auto advice = world.advise(asked, 1);
  REQUIRE(advice.size() == 1);
  CHECK(advice[0].change == "--batch 4 --grad-accum 64");
  CHECK(world.asked <= 8);
}
