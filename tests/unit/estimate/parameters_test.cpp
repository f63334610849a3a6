#include "qwenplan/estimate/parameters.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "read/tables.hpp"
#include "support/catch.hpp"

using namespace qwenplan;

namespace {

/// Two layers, small enough to count by hand.
Model small() {
  Model model;
  model.architecture = Architecture::qwen2;
  model.layers = 2;
  model.hidden = 8;
  model.ffn = 10;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 3;
  model.vocabulary = 100;
  return model;
}

}  // namespace

TEST_CASE("parameters by part, counted by hand") {
  Model model = small();
  ModelParameters parts = model_parameters(model);
  CHECK(parts.embedding == Params(800));
  CHECK(parts.head == Params(800));
  CHECK(parts.final_norm == Params(8));
  // q and o: 8 x 12, k and v: 8 x 6; gate, up, down: 8 x 10 each; two norms of 8. Two layers.
  CHECK(parts.layers.attention == Params(2 * (96 + 48 + 48 + 96)));
  CHECK(parts.layers.mlp == Params(2 * 240));
  CHECK(parts.layers.norms == Params(2 * 16));
  CHECK(parts.layers.qk_norms == Params(0));
  CHECK(parts.total() == Params(800 + 576 + 480 + 32 + 8 + 800));

  SECTION("a tied head is the embedding") {
    model.ties_embeddings = true;
    CHECK(model_parameters(model).total() == parts.total() - Params(800));
  }
  SECTION("biases are as long as what they are added to") {
    model.has_qkv_bias = true;
    CHECK(model_parameters(model).layers.attention == Params(576 + 2 * (12 + 6 + 6)));
    model.has_o_bias = true;
    CHECK(model_parameters(model).layers.attention == Params(576 + 2 * (12 + 6 + 6 + 8)));
    model.has_mlp_bias = true;
    CHECK(model_parameters(model).layers.mlp == Params(480 + 2 * (10 + 10 + 8)));
  }
  SECTION("norms over a head") {
    model.has_qk_norm = true;
    CHECK(model_parameters(model).layers.qk_norms == Params(2 * (3 + 3)));
  }
  SECTION("Gemma 2 has four norms in a layer") {
    model.architecture = Architecture::gemma2;
    CHECK(model_parameters(model).layers.norms == Params(2 * 32));
  }
  SECTION("the second layer attends to all, the first linearly: 2 key heads of 3, 4 value heads of 5, 4 taps") {
    model.linear_attention = LinearAttention{2, 4, 3, 5, 4, 2};
    parts = model_parameters(model);
    // Query, key and value are 6 + 6 + 20 = 32 channels; the gate 20; step and strength one for each value head.
    const std::int64_t projections = 8 * (32 + 20 + 4 + 4) + 20 * 8;
    CHECK(layer_parameters(model, 0).attention == Params(projections + 32 * 4 + 4 + 4 + 5));
    CHECK(layer_parameters(model, 1).attention == Params(288));
    model.architecture = Architecture::qwen3_5;  // whose query brings a gate as large
    CHECK(layer_parameters(model, 1).attention == Params(288 + 96));
    Run run;
    run.method = Method::lora;
    run.lora_rank = 2;
    run.lora_targets = in_proj_qkv | in_proj_b | out_proj | q_proj;
    CHECK(trained_parameters(model, run) == Params(2 * ((8 + 32) + (8 + 4) + (20 + 8) + (8 + 24))));
  }
  SECTION("every second layer has five experts of width 4, of which a token visits two") {
    model.experts = Experts{5, 2, 4, 2};
    parts = model_parameters(model);
    CHECK(layer_parameters(model, 0).mlp == Params(240));
    CHECK(layer_parameters(model, 0).experts == Params(0));
    CHECK(layer_parameters(model, 1).mlp == Params(0));
    CHECK(parts.layers.experts == Params(5 * 3 * 8 * 4));
    CHECK(parts.layers.router == Params(8 * 5));
    CHECK(active_parameters(model) == parts.total() - Params(3 * 3 * 8 * 4));
    // And one of width 6 that all visit, whose answer has a gate.
    model.experts->shared_ffn = 6;
    CHECK(layer_parameters(model, 0).mlp == Params(240));
    CHECK(layer_parameters(model, 1).mlp == Params(3 * 8 * 6));
    CHECK(model_parameters(model).layers.router == Params(8 * 5 + 8));
    Run run;
    run.method = Method::lora;
    run.lora_rank = 2;
    run.lora_targets = down_proj | shared_expert_gate;
    CHECK(trained_parameters(model, run) == Params(2 * ((10 + 8) + (6 + 8) + (8 + 1))));
  }
  SECTION("StarCoder has no gate, and a bias in each norm; Cohere one norm; OLMo norms all heads together") {
    model.architecture = Architecture::starcoder2;
    CHECK(model_parameters(model).layers.mlp == Params(2 * 160));
    CHECK(model_parameters(model).layers.norms == Params(2 * 32));
    CHECK(model_parameters(model).final_norm == Params(16));
    model.architecture = Architecture::cohere2;
    CHECK(model_parameters(model).layers.norms == Params(2 * 8));
    model.architecture = Architecture::olmo2;
    model.has_qk_norm = true;
    CHECK(model_parameters(model).layers.qk_norms == Params(2 * (12 + 6)));
  }
}

TEST_CASE("a vision tower's parameters and adapters, counted by hand") {
  Model model = small();
  model.vision = VisionTower{3, 8, 12, 2, 4, 2, 2, 9};
  // Patches of 3 x 2 x 4 x 4 = 96 numbers; nine positions; blocks of two norms, 8 to 24, 8 to 8, 8 to 12 and back; a
  // norm, and 32 to 32 to the decoder's 8.
  const std::int64_t block = 32 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 12 + 12) + (12 * 8 + 8);
  const std::int64_t tower = (96 * 8 + 8) + 9 * 8 + 3 * block + 16 + (32 * 32 + 32) + (32 * 8 + 8);
  CHECK(tower_parameters(model) == Params(tower));
  Run run;
  run.method = Method::full;
  const Params language = model_parameters(model).total();
  CHECK(loaded_parameters(model, run) == language);
  run.has_tower = true;
  CHECK(loaded_parameters(model, run) == language + Params(tower));
  CHECK(trained_parameters(model, run) == language);
  run.trains_tower = true;  // as TRL has it: trained, but text gives it no gradient
  CHECK(trained_parameters(model, run) == language + Params(tower));
  CHECK(updated_parameters(model, run) == language);
  run.method = Method::lora;
  run.lora_rank = 2;
  run.lora_targets = q_proj;
  run.trains_tower = false;
  const Params decoder = trained_parameters(model, run);
  run.adapts_tower = true;
  const std::int64_t adapters = 3 * ((8 + 24) + (8 + 8) + (8 + 12) + (12 + 8)) + (32 + 32) + (32 + 8);
  CHECK(trained_parameters(model, run) == decoder + Params(2 * adapters));
  CHECK(updated_parameters(model, run) == decoder);
  run.adapts_patches = true;  // the convolution's are of 96 numbers and of 8
  CHECK(trained_parameters(model, run) == decoder + Params(2 * (adapters + 96 + 8)));
  const Bytes saved = saved_weights(model, run);
  run.freezes_tower = true;  // what is frozen is saved all the same
  CHECK(trained_parameters(model, run) == decoder);
  CHECK(saved_weights(model, run) == saved);
}

TEST_CASE("a model too large to count has the most parameters, not few") {
  Model model = small();
  model.layers = 1024;
  model.hidden = 1 << 20;
  model.ffn = 1 << 22;
  model.experts = Experts{4096, 1, 1 << 22, 1};
  CHECK(model_parameters(model).total() == Params(Saturating::kMax));
}

TEST_CASE("adapters on the embedding and on the output layer have a row or a column for each word") {
  const Model model = small();
  Run run;
  run.method = Method::lora;
  run.lora_rank = 8;
  run.lora_targets = lm_head;
  const Params one = Params(8) * (model.hidden + model.vocabulary);
  CHECK(trained_parameters(model, run) == one);
  run.lora_targets = lm_head | embed_tokens;
  CHECK(trained_parameters(model, run) == one + one);
  // What is trained in full has no adapter beside it.
  run.modules_to_save = embed_tokens;
  CHECK(trained_parameters(model, run) == one + Params(model.vocabulary) * model.hidden);
}

TEST_CASE("totals are those of the published checkpoints") {
  // Elements of the safetensors files on the Hub, by the name of the model.
  const std::map<std::string, std::int64_t> published = {
      {"qwen2.5-0.5b", 494032768},     {"qwen2.5-7b", 7615616512},     {"qwen2.5-32b", 32763876352},
      {"qwen3-4b", 4022468096},        {"qwen3-30b-a3b", 30532122624}, {"llama3.1-8b", 8030261248},
      {"mistral-7b-v0.1", 7241732096}, {"gemma2-2b", 2614341888},      {"gemma2-9b", 9241705984}};
  const auto tables = Tables::open();
  REQUIRE(tables);
  for (const auto& [id, count] : published) {
    CAPTURE(id);
    const auto found = tables->model(id);
    REQUIRE(found);
    CHECK(model_parameters(found->model).total() == Params(count));
  }
}

TEST_CASE("every row of an emulated class has the total that the table states") {
  const auto tables = Tables::open();
  REQUIRE(tables);
  int emulated = 0;
  for (const std::string& id : tables->ids(Tables::Kind::models)) {
    CAPTURE(id);
    const auto found = tables->model(id);
    REQUIRE(found);
    if (found->model.architecture == Architecture::other) continue;
    ++emulated;
    REQUIRE(found->parameters);
    CHECK(model_parameters(found->model).total() == *found->parameters);
    const auto row = nlohmann::json::parse(*tables->row(Tables::Kind::models, id));
    if (found->model.vision) CHECK(tower_parameters(found->model).count() == row["vision_parameters"]);
    if (found->model.experts)
      CHECK(active_parameters(found->model).count() == row["active_parameters"]);
  }
  CHECK(emulated >= 77);
}
