#include "qwenplan/estimate/host.hpp"

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

constexpr std::int64_t kParameters = 494'032'768;  // of Qwen2.5-0.5B

Model small() {
  Model m;
  m.architecture = Architecture::qwen2;
  m.layers = 24;
  m.hidden = 896;
  m.ffn = 4864;
  m.heads = 14;
  m.kv_heads = 2;
  m.head_dim = 64;
  m.vocabulary = 151936;
  m.ties_embeddings = true;
  m.has_qkv_bias = true;
  return m;
}

Run lora() {
  Run run;
  run.method = Method::lora;
  return run;
}
Run full() {
  Run run;
  run.method = Method::full;
  run.weights = DType::fp32;
  return run;
}

enum Stage { load, train, save };

Range<Bytes> term(const HostEstimate& host, Stage stage, HostTerm wanted) {
  for (const HostUse& use : host.stages[stage].uses)
    if (use.term == wanted) return use.bytes;
  return {};
}

HostEstimate asked(const Run& run, const HostOptions& o = {}, const Stack& stack = kLatest) {
  return host_memory(small(), run, stack, o);
}

}  // namespace

TEST_CASE("mapped weights are not copied unless they change their format") {
  CHECK(term(asked(lora()), load, HostTerm::weights) == Range<Bytes>{});
  CHECK(term(asked(full()), load, HostTerm::weights) ==
        Range<Bytes>::exactly(Bytes(kParameters * 4)));
}

TEST_CASE("checkpoints on the host take a power of two for each layer") {
  Run run = lora();
  run.length = 1000;
  run.micro_batch = 3;
  CHECK(term(asked(run), train, HostTerm::checkpoints) == Range<Bytes>{});
  run.offloads_checkpoints = true;
  // 3,000 x 896 bf16 values are 5.4 MB: 8 MiB for each of 24 layers.
  CHECK(term(asked(run), train, HostTerm::checkpoints) ==
        Range<Bytes>::exactly(Bytes(24 * 8 * 1024 * 1024)));
  run.upcasts_for_kbit = true;  // hidden states in fp32
  CHECK(term(asked(run), train, HostTerm::checkpoints) ==
        Range<Bytes>::exactly(Bytes(24 * 16 * 1024 * 1024)));
}

TEST_CASE("states of paged optimizers, for each value that they keep") {
  Run run = full();
  run.optimizer = OptimizerKind::paged_lion;
  CHECK(paged_states(small(), run) == Bytes(kParameters * 4));
  run.optimizer = OptimizerKind::paged_ademamix;
  CHECK(paged_states(small(), run) == Bytes(kParameters * 12));
  run.optimizer = OptimizerKind::paged_lion_8bit;
  CHECK(paged_states(small(), run) == Bytes(kParameters + kParameters / 256 * 4));
  run.optimizer = OptimizerKind::ademamix_8bit;
  CHECK(paged_states(small(), run) == Bytes());
}

TEST_CASE("older transformers make the model first and copy into it") {
  CHECK(term(asked(lora(), {}, kEarly2025), load, HostTerm::weights) ==
        Range<Bytes>::exactly(Bytes(kParameters * 2)));
}

TEST_CASE(
    "weights that go to the GPU at once leave nothing on the host but what is cast on the way") {
  HostOptions o;
  o.load_to = LoadTo::gpu;
  CHECK(term(asked(lora(), o), load, HostTerm::weights) == Range<Bytes>{});
  // Four tensors of fp32 at once: the embedding, and three as large as a projection of the MLP.
  CHECK(term(asked(full(), o), load, HostTerm::weights).likely ==
        Bytes((151936 * 896 + 3 * 896 * 4864) * std::int64_t{4}));
}

TEST_CASE("a checkpoint that is not mapped is in memory, with one file of it twice") {
  HostOptions o;
  o.loading = Loading::copied;
  CHECK(term(asked(lora(), o), load, HostTerm::weights).likely == Bytes(kParameters * 2 * 2));
}

TEST_CASE("workers and their batches") {
  HostOptions o;
  o.workers = 4;
  o.prefetch = 3;
  Run run = lora();
  run.length = 1000;
  run.micro_batch = 8;
  CHECK(term(asked(run, o), train, HostTerm::prefetch).likely == Bytes(4 * 3 * 8000 * 24));
  CHECK(term(asked(run, o), train, HostTerm::workers).likely == host::kWorker.likely * 4);
  CHECK(term(asked(run, {}), train, HostTerm::workers) == Range<Bytes>{});
  CHECK(term(asked(run, o), load, HostTerm::workers) == Range<Bytes>{});
}

TEST_CASE("a mapped dataset takes page cache, another one memory") {
  HostOptions o;
  o.tokens = Tokens(1'000'000);
  CHECK(term(asked(lora(), o), train, HostTerm::dataset) == Range<Bytes>{});
  CHECK(asked(lora(), o).dataset == Bytes(13'000'000));
  o.dataset_in = DatasetIn::memory;
  CHECK(term(asked(lora(), o), train, HostTerm::dataset).likely == Bytes(13'000'000));
  CHECK(asked(lora(), o).dataset == Bytes());
  o.dataset_in = DatasetIn::lists;
  CHECK(term(asked(lora(), o), train, HostTerm::dataset).likely == Bytes(88'000'000));
}

TEST_CASE(
    "an offloaded optimizer takes 16 bytes a trained parameter, offloaded parameters 2 more") {
  HostOptions o;
  o.offload = Offload::optimizer;
  CHECK(term(asked(full(), o), train, HostTerm::offload).likely == Bytes(kParameters * 16));
  CHECK(term(asked(full(), o), train, HostTerm::offload).high == Bytes(kParameters * 24));
  o.offload = Offload::parameters;
  CHECK(term(asked(full(), o), train, HostTerm::offload).likely == Bytes(kParameters * 18));
  // An adapter's states are small, the base is not.
  Run run = lora();
  run.lora_targets = q_proj;
  run.lora_rank = 1;
  CHECK(term(asked(run, o), train, HostTerm::offload).likely ==
        Bytes(24 * (896 + 896) * 16 + kParameters * 2));
}

TEST_CASE("saving brings what is trained to the host, a file at a time") {
  CHECK(term(asked(full()), save, HostTerm::saving).likely == Bytes(kParameters * 4));
  Model large = small();
  large.layers = 1000;  // beyond one file
  const HostEstimate now = host_memory(large, full(), kLatest, {});
  const HostEstimate then = host_memory(large, full(), kLate2025, {});
  CHECK(term(now, save, HostTerm::saving).likely == Bytes(50'000'000'000));
  CHECK(term(then, save, HostTerm::saving).likely == Bytes(5'000'000'000));
}

TEST_CASE("states of a paged optimizer") {
  Run run = full();
  CHECK(paged_states(small(), run) == Bytes());
  run.optimizer = OptimizerKind::paged_adamw;
  CHECK(paged_states(small(), run) == Bytes(kParameters * 8));
}

TEST_CASE("the total is that of the fullest stage, and its terms add up to it") {
  HostOptions o;
  o.workers = 8;
  for (const Run& run : {lora(), full()}) {
    const HostEstimate host = asked(run, o);
    Range<Bytes> sum{};
    for (const HostUse& use : host.at_peak().uses) sum = sum + use.bytes;
    CHECK(sum.likely == host.total().likely);
    CHECK(sum.low == host.total().low);
    for (const HostStage& stage : host.stages) {
      CHECK(stage.total().likely <= host.total().likely);
      CHECK(stage.total().high <= host.total().high);
      CHECK(stage.job().likely < stage.total().likely);
    }
    CHECK(host.total().low <= host.total().likely);
    CHECK(host.total().likely <= host.total().high);
  }
}

TEST_CASE("what other programs hold replaces what is assumed of them") {
  HostOptions o;
  o.other_programs = Bytes(7);
  CHECK(term(asked(lora(), o), train, HostTerm::other_programs) == Range<Bytes>::exactly(Bytes(7)));
}

TEST_CASE("the size that suffices holds the upper bound after what firmware and kernel keep") {
  const Bytes gib = host::mib(1024);
  const auto need = [&](Bytes high) { return Range<Bytes>{Bytes(), Bytes(), high}; };
  CHECK(sufficient_ram_gib(need(gib)) == 8);
  CHECK(sufficient_ram_gib(need(reported_ram(gib * 16))) == 16);
  CHECK(sufficient_ram_gib(need(reported_ram(gib * 16) + Bytes(1))) == 24);
  CHECK(sufficient_ram_gib(need(gib * 16)) == 24);
  CHECK(sufficient_ram_gib(need(gib * 2048)) == std::nullopt);
  CHECK(sufficient_ram_gib(need(Bytes(Saturating::kMax))) == std::nullopt);
}
