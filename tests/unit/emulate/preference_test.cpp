#include <algorithm>
#include <cstdint>

#include "qwenplan/emulate/step.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

// Laws of steps that compare sequences; their tensors are compared with recordings of LLaMA-Factory's
// and TRL's own functions in tests/trace.

using namespace qwenplan;

namespace {

std::int64_t peak(const Run& run, Phase phase, const Model& model = test::Tiny::model(2)) {
  const Trace trace = qwenplan::trace(model, run, kLatest, 80);
  std::int64_t alive = 0, most = 0;
  std::size_t mark = 0;
  bool counts = false;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    for (; mark < trace.marks.size() && trace.marks[mark].first <= i; ++mark)
      counts = trace.marks[mark].phase == phase;
    const Event& event = trace.events[i];
    if (event.kind == Event::Kind::allocate) alive += event.bytes;
    if (event.kind == Event::Kind::free) alive -= event.bytes;
    if (counts) most = std::max(most, alive);
  }
  return most;
}

Run run_of(Objective objective, Reference reference) {
  Run run;
  run.method = Method::lora;
  run.length = 64;
  run.objective = objective;
  run.reference = reference;
  return run;
}

TEST_CASE("a pair has two sequences, an example of KTO one") {
  Run run = run_of(Objective::dpo, Reference::without_adapters);
  run.micro_batch = 3;
  CHECK(run.sequences() == 6);
  run.objective = Objective::kto;
  CHECK(run.sequences() == 3);
  run.objective = Objective::sft;
  CHECK(run.sequences() == 3);
}

TEST_CASE("a reference adds its own logits to the policy's") {
  const Model model = test::Tiny::model(2);
  const std::int64_t alone = peak(run_of(Objective::orpo, Reference::none), Phase::loss);
  const std::int64_t compared =
      peak(run_of(Objective::dpo, Reference::without_adapters), Phase::loss);
  // fp32 logits, their log-softmax and the copy inside its kernel, of the reference beside the
  // policy's logits and log-softmax: 20 bytes against 12 for each token and word, but that the last
  // position of each sequence has no label.
  const std::int64_t logits = 2 * 64 * model.vocabulary * 4;
  const std::int64_t shifted = 2 * 63 * model.vocabulary * 4;
  CHECK(compared - alone >= logits + shifted - (1 << 16));
  CHECK(compared - alone <= logits + shifted + (1 << 20));
}

TEST_CASE("a second model is there in full, in its own format") {
  Run run = run_of(Objective::dpo, Reference::without_adapters);
  const std::int64_t without = peak(run, Phase::prepare);
  run.reference = Reference::second_model;
  run.reference_weights = DType::bf16;
  const std::int64_t half = peak(run, Phase::prepare) - without;
  run.reference_weights = DType::fp32;
  const std::int64_t whole = peak(run, Phase::prepare) - without;
  CHECK(half > 0);
  CHECK(whole > half * 19 / 10);
  CHECK(whole <= half * 2);
}

TEST_CASE("KTO forwards twice, and only one of them keeps a graph") {
  const std::int64_t kto = peak(run_of(Objective::kto, Reference::without_adapters), Phase::backward);
  Run sft = run_of(Objective::orpo, Reference::none);
  sft.micro_batch = 1;
  CHECK(kto < peak(sft, Phase::backward));  // which has two sequences in its graph
}

TEST_CASE("a reward model has no logits, nor a head that could make them") {
  Model model = test::Tiny::model(2);
  model.ties_embeddings = false;
  Run run = run_of(Objective::reward, Reference::none);
  run.preference_code = PreferenceCode::trl;
  Model larger = model;
  larger.vocabulary = 4 * model.vocabulary;
  // What a larger vocabulary costs are the words' own weights, in 16 bits.
  const std::int64_t words = 3 * model.vocabulary * model.hidden * 2;
  for (const Phase phase : {Phase::prepare, Phase::loss, Phase::backward, Phase::step})
    CHECK(peak(run, phase, larger) - peak(run, phase, model) == words);
}

TEST_CASE("LLaMA-Factory's reward model makes logits and a loss that nobody uses") {
  Model model = test::Tiny::model(2);
  model.ties_embeddings = false;
  Run run = run_of(Objective::reward, Reference::none);
  run.length = 256;
  Model larger = model;
  larger.vocabulary = 4 * model.vocabulary;
  // Logits in 16 bits, a log-softmax and a copy of the logits in fp32: ten bytes for each token and
  // word, and they are gone before backward.
  const std::int64_t more = 3 * model.vocabulary;
  const std::int64_t words = 2 * more * model.hidden * 2;  // the embedding and the head
  CHECK(peak(run, Phase::loss, larger) - peak(run, Phase::loss, model) == words + 2 * 256 * more * 10);
  CHECK(peak(run, Phase::backward, larger) - peak(run, Phase::backward, model) == words);
}

TEST_CASE("TRL's DPO peaks in backward at four times its fp32 logits") {
  Run run = run_of(Objective::dpo, Reference::without_adapters);
  run.preference_code = PreferenceCode::trl;
  run.length = 256;
  // The logits, the joined gradients of the rows' sums, zeros, and what is scattered into a
  // copy of them; beside adapters and two workspaces of cuBLAS.
  const std::int64_t logits = 2 * 255 * test::Tiny::model(2).vocabulary * 4;
  const std::int64_t dpo = peak(run, Phase::backward);
  CHECK(dpo >= 4 * logits);
  CHECK(dpo - peak(run, Phase::prepare) <= 4 * logits + (20 << 20));
}

TEST_CASE("a copy of the shifted logits costs as much as they do") {
  Run run = run_of(Objective::dpo, Reference::without_adapters);
  run.preference_code = PreferenceCode::trl;
  const std::int64_t without = peak(run, Phase::loss);
  run.copies_shifted_logits = true;
  const std::int64_t logits = 2 * 63 * test::Tiny::model(2).vocabulary * 4;
  // Of the policy's and of the reference's; the copy for the entropy is not made any more.
  CHECK(peak(run, Phase::loss) - without >= logits - 1024);
  CHECK(peak(run, Phase::loss) - without <= 2 * logits + 1024);
}

}  // namespace
