#include "qwenplan/emulate/weights.hpp"

#include <cstdint>

#include "support/catch.hpp"
#include "support/tape.hpp"
#include "support/tiny_model.hpp"

// What a model takes on the device once it is loaded and prepared: sums over its tensors, each
// rounded up to 512 bytes.

namespace qwenplan::test {
namespace {

constexpr std::int64_t h = Tiny::h, I = Tiny::I, D = Tiny::D, q = Tiny::q, k = Tiny::k, r = Tiny::r,
                       V = Tiny::V;

/// A sum over the seven linear layers of a decoder layer of a function of inputs and outputs.
template <class F>
std::int64_t over_linears(F&& f) {
  return f(h, q) + 2 * f(h, k) + f(q, h) + 2 * f(h, I) + f(I, h);
}

std::int64_t norms(std::int64_t bytes) { return 3 * rounded(bytes * h); }  // of one layer; the last
std::int64_t biases(std::int64_t bytes) { return rounded(bytes * q) + 2 * rounded(bytes * k); }

Trace traced(const Run& run, const Stack& stack = kLatest, bool ties = false) {
  Model model = Tiny::model(1);
  model.ties_embeddings = ties;
  return trace(model, run, stack, 80);
}

int caches_emptied(const Trace& trace) {
  int count = 0;
  for (const Event& event : trace.events) count += event.kind == Event::Kind::empty_cache;
  return count;
}

}  // namespace

TEST_CASE("weights in the format that they are stored in") {
  const auto loaded = [](const Run& run, bool ties) {
    return of(alive_after(traced(run, kLatest, ties), Phase::load), Term::weights);
  };
  const std::int64_t matrices = over_linears([](std::int64_t in, std::int64_t out) { return in * out; });
  CHECK(loaded(Recipe::full_bf16(), false) ==
        2 * (matrices + 2 * V * h) + norms(2) + biases(2));
  CHECK(loaded(Recipe::full_bf16(), true) == 2 * (matrices + V * h) + norms(2) + biases(2));
  CHECK(loaded(Recipe::full_amp(), false) == 4 * (matrices + 2 * V * h) + norms(4) + biases(4));
}

TEST_CASE("4 bits: half a byte, a float for each 64 weights and a table of 16") {
  const auto alive = alive_after(traced(Recipe::qlora_noprep()), Phase::load);
  CHECK(of(alive, Term::weights) ==
        over_linears([](std::int64_t in, std::int64_t out) { return rounded(in * out / 2); }) +
            2 * 2 * V * h + norms(2) + biases(2));
  CHECK(of(alive, Term::quantization) ==
        over_linears([](std::int64_t in, std::int64_t out) {
          return rounded(4 * (in * out / 64)) + rounded(64);
        }));
}

TEST_CASE("double quantization: a byte for each 64 weights, and a second set of statistics") {
  Run run = Recipe::qlora_dq();
  run.upcasts_for_kbit = false;
  // Bytes of the statistics of 64 weights each; of 256 of those a float; a table of 256 floats; an
  // offset; the 4-bit table. Once the map that makes them.
  const auto statistics = [](std::int64_t table) {
    return over_linears([table](std::int64_t in, std::int64_t out) {
             const std::int64_t blocks = in * out / 64;
             return rounded(blocks) + rounded(4 * ((blocks + 255) / 256)) + table + rounded(4) +
                    rounded(64);
           }) +
           1024;
  };
  CHECK(of(alive_after(traced(run), Phase::load), Term::quantization) == statistics(1024));
  // Up to bitsandbytes 0.45 all layers shared one table.
  CHECK(of(alive_after(traced(run, kEarly2025), Phase::load), Term::quantization) == statistics(0));
}

TEST_CASE("8 bits: a byte for each weight and a float for each output") {
  Run run = Recipe::qlora_noprep();
  run.quantization = Quantization::int8;
  const auto alive = alive_after(traced(run), Phase::load);
  CHECK(of(alive, Term::weights) ==
        over_linears([](std::int64_t in, std::int64_t out) { return rounded(in * out); }) +
            2 * 2 * V * h + norms(2) + biases(2));
  CHECK(of(alive, Term::quantization) ==
        over_linears([](std::int64_t, std::int64_t out) { return rounded(4 * out); }));
}

TEST_CASE("preparation for training in few bits casts all else to fp32") {
  for (const bool ties : {false, true}) {
    CAPTURE(ties);
    const auto alive = alive_after(traced(Recipe::qlora(), kLatest, ties), Phase::prepare);
    CHECK(of(alive, Term::weights) ==
          over_linears([](std::int64_t in, std::int64_t out) { return rounded(in * out / 2); }) +
              (ties ? 1 : 2) * 4 * V * h + norms(4) + biases(4));
  }
}

TEST_CASE("preparation ends with an emptied cache since PEFT 0.20") {
  CHECK(caches_emptied(traced(Recipe::qlora(), kLatest)) == 1);
  CHECK(caches_emptied(traced(Recipe::qlora(), kLate2025)) == 0);
  CHECK(caches_emptied(traced(Recipe::qlora_noprep(), kLatest)) == 0);
  CHECK(caches_emptied(traced(Recipe::full_bf16(), kLatest)) == 0);
}

TEST_CASE("adapters: rank times inputs and outputs, in their own format") {
  const auto adapters = [](const Run& run) {
    return of(alive_after(traced(run), Phase::prepare), Term::adapters);
  };
  const std::int64_t elements =
      over_linears([](std::int64_t in, std::int64_t out) { return r * (in + out); });
  CHECK(adapters(Recipe::lora_amp()) == 4 * elements);
  CHECK(adapters(Recipe::lora_bf16()) == 2 * elements);
  CHECK(adapters(Recipe::qlora()) == 4 * elements);
  CHECK(adapters(Recipe::full_bf16()) == 0);
  Run run = Recipe::lora_amp();
  run.lora_targets = q_proj | v_proj;
  CHECK(adapters(run) == 4 * r * (h + q + h + k));
}

TEST_CASE("modules to save are trained as copies beside the originals") {
  Run run = Recipe::lora_amp();
  const auto without = alive_after(traced(run), Phase::prepare);
  run.modules_to_save = embed_tokens | lm_head;
  const Trace saved = traced(run);
  const auto with = alive_after(saved, Phase::prepare);
  CHECK(of(with, Term::weights) == of(without, Term::weights));
  CHECK(of(with, Term::adapters) - of(without, Term::adapters) == 2 * 2 * V * h);
  // They are bf16, and so are their gradients and both states of Adam.
  const auto step = [](const Trace& trace) {
    return alive_after(trace, Phase::backward, 1);
  };
  CHECK(of(step(saved), Term::gradients) - of(step(traced(Recipe::lora_amp())), Term::gradients) ==
        2 * 2 * V * h);
}

TEST_CASE("a device map warms the allocator up with one block of the model's size") {
  Run run = Recipe::qlora_noprep();
  // transformers reckons half a byte for each quantized weight, no statistics.
  const std::int64_t size =
      over_linears([](std::int64_t in, std::int64_t out) { return in * out; }) / 2 +
      2 * (2 * V * h + (q + 2 * k) + 3 * h);
  const Sizes newest = sizes(traced(run));
  CHECK(newest[0] == size);
  CHECK(newest[1] == -size);
  // Before 4.51 the embedding comes first; without a device map it does today.
  CHECK(sizes(traced(run, kEarly2025))[0] == 2 * V * h);
  CHECK(sizes(traced(Recipe::full_bf16()))[0] == 2 * V * h);
}

TEST_CASE("quantizing has each layer on the device in 16 bits for a moment") {
  const Trace loading = traced(Recipe::qlora_noprep(), kEarly2025);
  const Sizes all = sizes(loading);
  // The embedding, then the query: weight, bias, packed, statistics, table; the 16 bits go.
  CHECK(Sizes(all.begin(), all.begin() + 7) ==
        Sizes{2 * V * h, 2 * h * q, 2 * q, h * q / 2, 4 * (h * q / 64), 64, -2 * h * q});
}

TEST_CASE("rotary tables: for all positions in each layer up to transformers 4.44") {
  const auto buffers = [](const Stack& stack, std::int64_t layers) {
    return of(alive_after(trace(Tiny::model(layers), Recipe::full_bf16(), stack, 80), Phase::load),
              Term::buffers);
  };
  const std::int64_t frequencies = rounded(4 * D / 2);
  CHECK(buffers(kMid2024, 3) == 3 * (frequencies + 2 * 1024 * D * 2));  // of 1,024 positions
  CHECK(buffers(kEarly2025, 3) == frequencies);
  CHECK(buffers(kLate2025, 3) == frequencies);
  CHECK(buffers(kLatest, 3) == 2 * frequencies);  // and the original ones, since 5.0
}

}  // namespace qwenplan::test
