#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/app.hpp"
#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "command/subject.hpp"
#include "qwenplan/base/parse.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "qwenplan/judge/advice.hpp"
#include "qwenplan/judge/fit.hpp"
#include "read/model_bounds.hpp"
#include "render/quantity.hpp"
#include "support/catch.hpp"
#include "support/small_runs.hpp"
#include "support/tiny_model.hpp"

// What holds of every run, whatever its numbers: each law on many random small runs. A failure names
// its seed. (Sharding over several GPUs is not modelled yet, and so has no law.)

namespace qwenplan::test {
namespace {

constexpr int kRuns = 100;

/// A run of its own for each law and turn.
SmallRun run_of_seed(int law, int turn) {
  return small_run(static_cast<std::uint64_t>(law) << 32 | static_cast<std::uint64_t>(turn));
}

/// Leaves out what trainers decide and no flag says.
void keep_flags(RunDraft& d) {
  d.chunked_loss.reset(), d.fused_loss.reset(), d.loss_chunk_tokens.reset(), d.loss_chunks.reset();
  d.metrics.reset(), d.liger_rope.reset(), d.liger_rms_norm.reset(), d.liger_glu.reset();
  d.norm_weights.reset(), d.embedding_weights.reset(), d.quant_compute.reset();
  d.upcasts_head_output.reset();
}

/// 8-bit and paged optimizers keep small tensors in fp32 and on the card: a larger tensor can need less.
bool has_size_thresholds(const Run& run) {
  const BitsandbytesStates states = bitsandbytes_states(run.optimizer);
  return states.is_8bit || states.is_paged;
}

Bytes sum(const Terms& terms) { return std::accumulate(terms.begin(), terms.end(), Bytes()); }

}  // namespace

TEST_CASE("law 1: more of anything never needs less") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(1, turn);
  INFO("seed 1:" << turn << ": " << small.text());
  const Bytes needed = small.allocated();
  const auto grows = [&](const char* what, auto&& change) {
    SmallRun large = small;
    change(large);
    INFO(what);
    REQUIRE(large.settle());
    CHECK(large.allocated() >= needed);
  };
  grows("length", [](SmallRun& r) { r.draft.length->value *= 2; });
  grows("batch", [](SmallRun& r) {
    r.draft.micro_batch = Given<std::int64_t>{2 * r.run.micro_batch, From::flag};
  });
  grows("layers", [](SmallRun& r) { r.model.layers += 1; });
  if (has_size_thresholds(small.run)) return;
  grows("hidden", [](SmallRun& r) { r.model.hidden *= 2; });
  grows("ffn", [](SmallRun& r) { r.model.ffn *= 2; });
  grows("vocabulary", [](SmallRun& r) { r.model.vocabulary *= 2; });
  grows("key/value heads", [](SmallRun& r) { r.model.heads *= 2, r.model.kv_heads *= 2; });
  if (small.run.has_adapters())
    grows("rank", [](SmallRun& r) {
      r.draft.lora_rank = Given<std::int64_t>{2 * r.run.lora_rank, From::flag};
    });
}

TEST_CASE("law 2: fewer bits a weight never need more for the quantized layers") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(2, turn);
  // Layers of some size: below, rounding up to 512 bytes outweighs the statistics.
  small.model.experts.reset();
  small.model.architecture = Architecture::llama;
  small.model.has_qkv_bias = small.model.has_qk_norm = false;
  small.model.hidden = 512 + 64 * (turn % 8);
  small.model.ffn = 1024;
  small.model.head_dim = 128, small.model.heads = 4, small.model.kv_heads = 4;
  small.stack = kLatest;
  const auto loaded = [&](Quantization quantization, bool twice) {
    Run run = Recipe::qlora_noprep();
    run.method = quantization == Quantization::none ? Method::lora : Method::qlora;
    run.quantization = quantization;
    run.double_quantizes = twice;
    return use_of(footprint(trace(small.model, run, small.stack, 80)), Phase::load, 0).left;
  };
  INFO("seed 2:" << turn << ": " << small.text());
  const Bytes sixteen = loaded(Quantization::none, false);
  const Bytes eight = loaded(Quantization::int8, false);
  const Bytes four = loaded(Quantization::nf4, false);
  const Bytes four_twice = loaded(Quantization::nf4, true);
  CHECK(eight < sixteen);
  CHECK(four < eight);
  CHECK(four_twice < four);
  CHECK(loaded(Quantization::fp4, false) == four);
}

TEST_CASE("law 4: checkpointing lowers activations and leaves logits alone") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(4, turn);
  small.model.layers = std::max<std::int64_t>(2, small.model.layers);
  small.draft.checkpoints_reentrant.reset();
  INFO("seed 4:" << turn << ": " << small.text());
  const auto after_forward = [&](bool checkpoints) {
    small.draft.checkpoints = Given<bool>{checkpoints, From::flag};
    REQUIRE(small.settle());
    return alive_after(small.traced(), Phase::loss, 1);
  };
  const auto with = after_forward(true);
  const auto without = after_forward(false);
  CHECK(of(with, Term::activations) < of(without, Term::activations));
  CHECK(of(with, Term::logits) == of(without, Term::logits));
  CHECK(of(with, Term::weights) == of(without, Term::weights));
}

TEST_CASE("law 5: a phase's peak is the sum of its terms, and the run's peak the largest phase's") {
  const int turn = GENERATE(range(0, kRuns));
  const SmallRun small = run_of_seed(5, turn);
  INFO("seed 5:" << turn << ": " << small.text());
  const MemoryEstimate e = small.estimated();
  Bytes most;
  for (const PhaseUse& use : e.footprint.timeline) {
    CHECK(sum(use.terms) == use.allocated);
    CHECK(use.left <= use.allocated);
    CHECK(use.allocated_without_workspace <= use.allocated);
    for (const Bytes term : use.terms) CHECK(term >= Bytes());
    most = std::max(most, use.allocated);
  }
  CHECK(e.footprint.allocated == most);
  CHECK(e.footprint.timeline[e.footprint.peak].allocated == most);
  for (const auto pick : {&Range<Bytes>::low, &Range<Bytes>::likely, &Range<Bytes>::high}) {
    CHECK(e.allocated.*pick <= e.reserved.*pick);
    CHECK(e.reserved.*pick <= e.device.*pick);
  }
  CHECK(e.footprint.allocated <= e.unlimited.peak_allocated);
  CHECK(e.unlimited.peak_allocated <= e.unlimited.peak_reserved);
  REQUIRE(e.at_capacity);
  CHECK(e.at_capacity->peak_reserved + e.on.context.bytes.likely <= e.on.usable->value);
}

TEST_CASE("law 6: accumulation needs at least as much as none, and no more from two on") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(6, turn);
  INFO("seed 6:" << turn << ": " << small.text());
  const auto with = [&](std::int64_t times) {
    small.draft.accumulation = Given<std::int64_t>{times, From::flag};
    REQUIRE(small.settle());
    return small.estimated();
  };
  const MemoryEstimate once = with(1), twice = with(2), often = with(1000);
  CHECK(twice.footprint.allocated >= once.footprint.allocated);
  CHECK(often.footprint.allocated == twice.footprint.allocated);
  CHECK(often.device == twice.device);
}

TEST_CASE("law 7: electricity costs price times time") {
  const int turn = GENERATE(range(0, kRuns));
  Random random(static_cast<std::uint64_t>(turn));
  const auto watts = static_cast<double>(random.between(50, 700));
  const auto hours = static_cast<double>(random.between(1, 1000));
  const double price = static_cast<double>(random.between(5, 60)) / 100;
  const auto gpus = random.between(1, 8);
  const double one = electricity_usd(watts, hours, price);
  const auto near = [](double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(b); };
  CAPTURE(turn, watts, hours, price, gpus);
  CHECK(near(electricity_usd(watts, 2 * hours, price), 2 * one));
  CHECK(near(electricity_usd(watts * static_cast<double>(gpus), hours, price),
             one * static_cast<double>(gpus)));
  // Each further GPU adds its own share at the wall, and nothing else.
  CHECK(near(training_watts(watts, gpus + 1) - training_watts(watts, gpus),
             training_watts(watts, 2) - training_watts(watts, 1)));
}

TEST_CASE("law 8: a size that is printed reads back to print precision") {
  const int turn = GENERATE(range(0, kRuns));
  Random random(static_cast<std::uint64_t>(turn));
  const Bytes bytes(random.between(1, std::int64_t{1} << random.between(1, 52)));
  const std::string printed = text(bytes);
  CAPTURE(turn, bytes.count(), printed);
  const auto back = parse_bytes(printed, "test");
  REQUIRE(back.ok());
  // Half of the last digit that is shown.
  std::size_t digits = 0;
  const auto number = printed.substr(0, printed.find(' '));
  if (const auto point = number.find('.'); point != std::string::npos)
    digits = number.size() - point - 1;
  const auto unit = parse_bytes("1" + printed.substr(number.size()), "test");
  REQUIRE(unit.ok());
  const double half =
      static_cast<double>(unit->count()) * std::pow(10.0, -static_cast<double>(digits)) / 2;
  CHECK(std::abs(static_cast<double>((*back - bytes).count())) <= half + 1);
}

TEST_CASE("law 9: what fits a card fits a larger one") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(9, turn);
  INFO("seed 9:" << turn << ": " << small.text());
  const Trace steps = small.traced();
  const auto fit = [&](Bytes memory) {
    small.gpu.memory.value = memory;
    return *judge(estimate(steps, device(small.gpu)));
  };
  const Bytes needed = estimate(steps, device(small.gpu)).device.likely;
  Fit before = Fit::exceeds;
  for (const std::int64_t percent : {50, 80, 95, 100, 103, 106, 120, 160, 400}) {
    const Fit now = fit(Bytes(needed.count() / 100 * percent));
    CAPTURE(percent);
    CHECK(now <= before);
    before = now;
  }
  CHECK(before == Fit::fits);
  CHECK(fit(Bytes(needed.count() / 2)) != Fit::fits);
}

TEST_CASE("law 10: low <= likely <= high") {
  const int turn = GENERATE(range(0, kRuns));
  const SmallRun small = run_of_seed(10, turn);
  INFO("seed 10:" << turn << ": " << small.text());
  const MemoryEstimate e = small.estimated();
  for (const Range<Bytes>& range : {e.allocated, e.reserved, e.device, e.on.context.bytes}) {
    CHECK(range.low <= range.likely);
    CHECK(range.likely <= range.high);
  }
}

TEST_CASE("law 10: what is too large to count does not fit") {
  const int turn = GENERATE(range(0, 40));
  SmallRun small = run_of_seed(110, turn);
  // The largest shapes and runs that are let in.
  switch (turn % 4) {
    case 0:
      small.model.vocabulary = kMostWords, small.model.hidden = kWidest;
      break;
    case 1:
      small.model.hidden = kWidest, small.model.ffn = kWidestFfn;
      break;
    case 2:
      small.model.heads = kMostHeads, small.model.head_dim = kWidestHead;
      small.model.hidden = kWidest;
      [[fallthrough]];
    default:
      small.draft.length->value = small.model.linear_attention ? kMostChunkedLength : kMostLength;
      small.draft.micro_batch = Given<std::int64_t>{kMostTokens / small.draft.length->value, From::flag};
      if (turn % 8 < 4 && small.run.attention == Attention::sdpa)
        small.draft.attention = Given<std::string>{"eager", From::flag};
  }
  if (small.model.experts)
    small.model.experts = Experts{kMostExperts, kMostExperts, kWidestFfn, 1};
  INFO("seed 110:" << turn << ": " << small.text());
  REQUIRE(small.settle());
  small.gpu.memory.value = Bytes(std::int64_t{192} << 30);
  const MemoryEstimate e = small.estimated();
  CHECK(judge(e) == Fit::exceeds);
  CHECK(e.device.low > e.on.usable->value);
  for (const PhaseUse& use : e.footprint.timeline) CHECK(use.left >= Bytes());
}

TEST_CASE("law 11: advice saves what it says, when its words are followed") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(11, turn);
  // Of the size of the card, so that something can be done about it.
  small.draft.length->value = 500;
  keep_flags(small.draft);
  REQUIRE(small.settle());
  Random random(static_cast<std::uint64_t>(turn));
  const Bytes needed = estimate(small.traced(), Device{}).device.likely;
  small.gpu.memory.value = Bytes(needed.count() / 100 * random.between(75, 104));
  INFO("seed 11:" << turn << ": " << small.text());
  const Device on = device(small.gpu);
  const auto answer = [&](const RunDraft& draft, const AllocatorSettings& allocator)
      -> std::optional<MemoryEstimate> {
    const auto valid = validated(draft, small.model, small.stack, &small.gpu);
    if (!valid) return std::nullopt;
    return estimate(trace(small.model, valid->run, small.stack, small.gpu.compute_capability), on,
                    allocator);
  };
  const MemoryEstimate now = *answer(small.draft, {});
  const std::vector<Advice> advice =
      advise(now, small.run, Question{small.draft, {}}, 3,
             [&](const Question& q, Bytes) { return answer(q.draft, q.allocator); });
  CHECK(advice.size() <= 3);
  if (judge(now) == Fit::fits) CHECK(advice.empty());

  std::string given = "vram";
  for (const RunSetting& setting : small.settings)
    if (setting.from != From::by_default) given += " " + as_words(setting);
  for (const Advice& each : advice) {
    INFO(each.change);
    CHECK(each.fit <= *judge(now));
    std::vector<std::string> words;
    AllocatorSettings allocator;
    std::istringstream line(given + " " + each.change);
    for (std::string word; line >> word;) {
      const std::string variable = "PYTORCH_CUDA_ALLOC_CONF=";
      if (word.starts_with(variable))
        allocator = *parse_allocator(word.substr(variable.size()), "test");
      else
        words.push_back(word);
    }
    const auto understood = taught(words);
    REQUIRE(understood.ok());
    const auto invocation = parse(*understood, Environment{});
    REQUIRE(invocation.ok());
    const auto draft = read_run(*invocation);
    REQUIRE(draft.ok());
    const auto then = answer(*draft, allocator);
    REQUIRE(then);
    CHECK(now.device.likely - then->device.likely == each.saves);
    CHECK(judge(*then) == each.fit);
  }
}

TEST_CASE("law 12: an answer does not depend on order, terminal or day") {
  const int turn = GENERATE(range(0, 12));
  Random random(static_cast<std::uint64_t>(turn));
  std::vector<std::vector<std::string>> flags = {
      {"--model", "0.5b"}, {"--gpu", "rtx4090"}, {"--method", "lora"}, {"--seq-len", "512"},
      {"--batch", "3"},    {"--no-checkpointing"}, {"--json"},         {"--lora-r", "8"}};
  const auto answered = [&](const Environment& environment) {
    std::vector<std::string> arguments = {"vram"};
    for (const auto& flag : flags) arguments.insert(arguments.end(), flag.begin(), flag.end());
    return execute(arguments, environment);
  };
  const Outcome once = answered({});
  CHECK(once.status == 0);
  for (std::size_t i = flags.size(); i > 1; --i)
    std::swap(flags[i - 1], flags[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(i) - 1))]);
  Environment other;
  other.width = static_cast<int>(random.between(40, 200));
  other.writes_to_terminal = other.wants_color = random.chance(50);
  other.has_utf8 = random.chance(50);
  other.today = "2031-01-01";
  CAPTURE(turn);
  CHECK(answered(other).out == once.out);
}

TEST_CASE("law 13: a second step told again is the one emulated anew") {
  const int turn = GENERATE(range(0, kRuns));
  const SmallRun small = run_of_seed(13, turn);
  INFO("seed 13:" << turn << ": " << small.text());
  const auto traced = [&](SecondStep second) {
    return trace(small.model, small.run, small.stack, small.gpu.compute_capability, second);
  };
  const Trace repeated = traced(SecondStep::repeated);
  const Trace emulated = traced(SecondStep::emulated);
  REQUIRE(repeated.marks.size() == emulated.marks.size());
  REQUIRE(repeated.events.size() == emulated.events.size());
  // Names may differ, the storages that they stand for may not.
  std::vector<std::int64_t> born_repeated, born_emulated;
  const auto born = [](std::vector<std::int64_t>& when, const Event& event, std::size_t i) {
    if (event.kind == Event::Kind::empty_cache) return std::int64_t{-1};
    if (event.storage >= when.size()) when.resize(event.storage + std::size_t{1});
    if (event.kind == Event::Kind::allocate) when[event.storage] = static_cast<std::int64_t>(i);
    return when[event.storage];
  };
  bool is_same = true;
  for (std::size_t i = 0; i < repeated.events.size() && is_same; ++i) {
    const Event &a = repeated.events[i], &b = emulated.events[i];
    is_same = a.kind == b.kind && a.bytes == b.bytes && a.term == b.term &&
              born(born_repeated, a, i) == born(born_emulated, b, i);
    CAPTURE(i, a.bytes, b.bytes);
    CHECK(is_same);
  }
  for (std::size_t m = 0; m < repeated.marks.size(); ++m) {
    CHECK(repeated.marks[m].first == emulated.marks[m].first);
    CHECK(repeated.marks[m].phase == emulated.marks[m].phase);
    CHECK(repeated.marks[m].step == emulated.marks[m].step);
    CHECK(repeated.marks[m].micro_step == emulated.marks[m].micro_step);
  }
}

TEST_CASE("law 14: a loss in pieces never needs more than all logits at once, and more pieces not more") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(14, turn);
  // A vocabulary and a length at which logits are what matters.
  small.model.vocabulary = 150'000;
  small.draft.length = Given<std::int64_t>{1024, From::flag};
  small.draft.checkpoints = Given<bool>{true, From::flag};
  // Autocast casts a frozen head anew for each piece, and keeps every cast: more pieces, more of them.
  small.draft.autocasts = Given<bool>{false, From::flag};
  const auto needs = [&](Loss loss, auto&& change) -> std::optional<Bytes> {
    SmallRun other = small;
    other.draft.loss = Given<Loss>{loss, From::flag};
    change(other.draft);
    if (!other.settle()) return std::nullopt;
    return other.allocated();
  };
  const auto none = [](RunDraft&) {};
  const std::optional<Bytes> standard = needs(Loss::standard, none);
  REQUIRE(standard);
  const bool has_frozen_head = small.run.has_adapters() && (small.run.modules_to_save & lm_head) == 0 &&
                               !(small.model.ties_embeddings && (small.run.modules_to_save & embed_tokens) != 0);
  // Every piece has a few numbers of its own, in blocks of 512 bytes.
  const Bytes numbers(1024 * 16 * 512);
  for (int code = 0; code < 5; ++code) {
    const auto pieces = [&](std::int64_t tokens, std::int64_t count) {
      return needs(Loss::chunked, [&](RunDraft& d) {
        d.chunked_loss = Given<ChunkedLoss>{static_cast<ChunkedLoss>(code), From::flag};
        d.loss_chunk_tokens = Given<std::int64_t>{tokens, From::flag};
        d.loss_chunks = Given<std::int64_t>{count, From::flag};
      });
    };
    INFO("seed 14:" << turn << ": " << name(static_cast<ChunkedLoss>(code)) << " " << small.text());
    const auto few = pieces(256, 8), many = pieces(64, 32);
    REQUIRE(few);
    REQUIRE(many);
    CHECK(*few <= *standard + numbers);
    // With a head that is trained, two of its gradients meet after the first piece: the smaller that is,
    // the less of what was kept is gone by then.
    if (has_frozen_head) CHECK(*many <= *few + numbers);
  }
  for (int kernel = 0; kernel < 5; ++kernel) {
    const auto fused = needs(Loss::fused, [&](RunDraft& d) {
      d.fused_loss = Given<FusedLoss>{static_cast<FusedLoss>(kernel), From::flag};
    });
    INFO("seed 14:" << turn << ": " << name(static_cast<FusedLoss>(kernel)) << " " << small.text());
    if (fused) CHECK(*fused <= *standard);
  }
}

TEST_CASE("law 15: Liger's kernels in the layers never need more than the model's own code") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(15, turn);
  small.draft.length = Given<std::int64_t>{1024, From::flag};
  // One format for norms and embeddings: where they differ, Liger's norm answers in another than the model's.
  small.draft.norm_weights.reset();
  small.draft.embedding_weights.reset();
  const auto needs = [&](bool on) -> std::optional<Bytes> {
    for (auto* kernel : {&small.draft.liger_rope, &small.draft.liger_rms_norm, &small.draft.liger_glu})
      *kernel = Given<bool>{on, From::flag};
    if (!small.settle()) return std::nullopt;
    return small.allocated();
  };
  const auto with = needs(true);
  if (!with) return;  // experts have a kernel of their own, which is not modelled
  INFO("seed 15:" << turn << ": " << small.text());
  CHECK(*with <= *needs(false));
}

TEST_CASE("law 16: twice the micro-batch needs at most twice the memory, so that half a card is enough for it") {
  const int turn = GENERATE(range(0, kRuns));
  SmallRun small = run_of_seed(16, turn);
  INFO("seed 16:" << turn << ": " << small.text());
  const Bytes once = small.estimated().device.high;
  small.draft.micro_batch = Given<std::int64_t>{2 * small.run.micro_batch, From::flag};
  REQUIRE(small.settle());
  CHECK(small.estimated().device.high <= once + once);
}

}  // namespace qwenplan::test
