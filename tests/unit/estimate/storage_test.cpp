#include "qwenplan/estimate/storage.hpp"

#include <map>
#include <string>

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

/// The shape of Qwen2.5-0.5B: 494,032,768 parameters.
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

Run full() {
  Run run;
  run.method = Method::full;
  run.weights = DType::fp32;
  return run;
}

Bytes likely(const std::vector<DiskUse>& uses, DiskTerm term) {
  for (const DiskUse& use : uses)
    if (use.term == term) return use.bytes.likely;
  return Bytes();
}

}  // namespace

TEST_CASE("a checkpoint is weights and the optimizer's states") {
  constexpr std::int64_t n = 494'032'768;
  Run run = full();
  const Bytes rest = disk::kSmallFiles.likely;
  CHECK(checkpoint_size(small(), run).likely == Bytes(n * 12) + rest);  // 4 + two moments of 4
  run.optimizer = OptimizerKind::sgd;
  CHECK(checkpoint_size(small(), run).likely == Bytes(n * 4) + rest);
  run.optimizer = OptimizerKind::paged_adamw;
  CHECK(checkpoint_size(small(), run).likely == Bytes(n * 12) + rest);
  run.weights = DType::bf16;
  CHECK(checkpoint_size(small(), run).likely == Bytes(n * 10) + rest);  // its moments stay in fp32
  run.optimizer = OptimizerKind::adamw_fused;
  CHECK(checkpoint_size(small(), run).likely == Bytes(n * 6) + rest);
  run.optimizer = OptimizerKind::adamw_8bit;
  const std::int64_t blocks = (n + 255) / 256;
  CHECK(checkpoint_size(small(), run).likely == Bytes(n * 2 + 2 * (n + 4 * blocks)) + rest);
}

TEST_CASE("an adapter's checkpoint holds the adapter alone") {
  Run run;
  run.method = Method::lora;
  run.lora_targets = q_proj;
  run.lora_rank = 8;
  // 8 * (896 + 896) of each of 24 layers, in fp32, with two moments.
  CHECK(checkpoint_size(small(), run).low ==
        Bytes(8 * (896 + 896) * 24 * 12) + disk::kSmallFiles.low);
}

TEST_CASE("a run that trains a part of a model saves all of it") {
  Model model = small();
  constexpr std::int64_t n = 494'032'768;
  constexpr std::int64_t layer = 14'912'384;  // 896 x (1152 + 896 + 3 x 4864) + 1152 + 2 x 896
  Run run = full();
  run.weights = DType::bf16;
  run.method = Method::freeze;
  run.trained_layers = 2;
  run.first_trained_layer = 22;
  run.trained_weights = DType::fp32;
  CHECK(saved_weights(model, run) == Bytes(2 * (n - 2 * layer) + 4 * 2 * layer));
  // A tower that is loaded and frozen is saved as it is held.
  model.vision = VisionTower{3, 8, 12, 2, 4, 2, 2, 9};
  run = full();
  CHECK(saved_weights(model, run) == Bytes(4 * n));
  run.has_tower = true;
  run.tower_weights = DType::bf16;
  CHECK(saved_weights(model, run) == Bytes(4 * n + 2 * tower_parameters(model).count()));
  run.trains_tower = true;  // in the format of all
  CHECK(saved_weights(model, run) == Bytes(4 * (n + tower_parameters(model).count())));
}

TEST_CASE("one checkpoint more than is kept has to find room") {
  DiskOptions o;
  o.kept = 3;
  const Run run = full();
  CHECK(likely(disk_space(small(), run, o), DiskTerm::checkpoints) ==
        checkpoint_size(small(), run).likely * 4);
}

TEST_CASE("only adapters are merged") {
  DiskOptions o;
  CHECK(likely(disk_space(small(), full(), o), DiskTerm::merged_model) == Bytes());
  Run run;
  run.method = Method::lora;
  CHECK(likely(disk_space(small(), run, o), DiskTerm::merged_model) > Bytes(494'032'768 * 2));
  o.merges = false;
  CHECK(likely(disk_space(small(), run, o), DiskTerm::merged_model) == Bytes());
}

TEST_CASE("more text never takes less disk, and ranges are in order") {
  Bytes before;
  for (const std::int64_t text : {0, 1, 1000, 1'000'000'000}) {
    DiskOptions o;
    o.text = Bytes(text);
    o.tokens = tokens_of_text(o.text);
    const Range<Bytes> all = total(disk_space(small(), full(), o));
    CHECK(all.low <= all.likely);
    CHECK(all.likely <= all.high);
    CHECK(all.likely >= before);
    before = all.likely;
  }
}

TEST_CASE("tokens of text") {
  CHECK(tokens_of_text(Bytes(513)).low == Tokens(100));
  CHECK(tokens_of_text(Bytes(460)).likely == Tokens(100));
  CHECK(tokens_of_text(Bytes(251)).high == Tokens(100));
  CHECK(tokens_of_text(Bytes(0)) == Range<Tokens>{});
}

TEST_CASE("the sizes of a layout add up on every level") {
  for (const Layout& layout : kLayouts) {
    INFO(std::string(layout.name));
    std::map<std::string, Bytes> inside;
    bool has_temp = false;
    for (const Folder& folder : layout.folders) {
      const std::string path(folder.path);
      if (!is_top(folder)) inside[path.substr(0, path.find('/'))] += folder.size;
      has_temp = has_temp || path == "temp";
    }
    CHECK(has_temp);
    for (const Folder& folder : layout.folders)
      if (inside.find(std::string(folder.path)) != inside.end())
        CHECK(inside[std::string(folder.path)] == folder.size);
    CHECK(assigned(layout) * 10 ==
          layout.disk * 9);  // a tenth is left for what is outside of the tree
  }
}

TEST_CASE("parents come before their folders, and every term of a job has its place") {
  for (const Layout& layout : kLayouts) {
    std::map<std::string, bool> seen;
    for (const Folder& folder : layout.folders) {
      const std::string path(folder.path);
      if (!is_top(folder)) CHECK(seen[path.substr(0, path.find('/'))]);
      seen[path] = true;
    }
    for (int t = 0; t < static_cast<int>(DiskTerm::environment); ++t)
      CHECK(seen[std::string(folder_of(static_cast<DiskTerm>(t)))]);
  }
}

TEST_CASE("a parent folder needs what its folders need") {
  DiskOptions o;
  const auto uses = disk_space(small(), full(), o);
  CHECK(needed_in("training", uses) ==
        needed_in("training/checkpoints", uses) + needed_in("training/logs", uses));
  CHECK(needed_in("models", uses).likely > Bytes());
  CHECK(needed_in("mode", uses) == Range<Bytes>{});
}
