#include "read/trainer/module_pattern.hpp"

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

using namespace qwenplan;
using test::Tiny;

namespace {

using Names = std::vector<std::string>;

Error error_of(const std::string& pattern, const Model& model, bool has_tower = false) {
  const auto names = modules_matching(pattern, model, has_tower);
  INFO(pattern);
  REQUIRE_FALSE(names.ok());
  return names.error();
}

}  // namespace

TEST_CASE("a pattern of target modules has to match a layer's whole name, as with Python's re.fullmatch") {
  const Model model = Tiny::model(12);
  CHECK(*modules_matching("model.layers.[\\d]+.(mlp|cross_attn|self_attn).(up|down|gate|q|k|v|o)_proj", model, false) ==
        Names{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"});
  CHECK(*modules_matching(".*\\.(q|v)_proj", model, false) == Names{"q_proj", "v_proj"});
  CHECK(*modules_matching("^(?!.*mlp).*_proj$", model, false) == Names{"q_proj", "k_proj", "v_proj", "o_proj"});
  CHECK(*modules_matching("lm_head|.*k_proj", model, false) == Names{"k_proj", "lm_head"});
  CHECK(*modules_matching("model\\.embed_tokens", model, false) == Names{"embed_tokens"});
  // A plain name is a pattern too, and no layer's whole name.
  CHECK(error_of("q_proj", model).kind == Error::Kind::wrong);
  CHECK(error_of("language_model.model.layers.[\\d]+.mlp.up_proj", model).kind == Error::Kind::wrong);
  CHECK(error_of("(q_proj", model).kind == Error::Kind::wrong);
  CHECK(error_of("q_proj", model).hint == "write '.*\\.q_proj', or name two layers or more");
  for (const char* wide : {".*", ".*mlp\\..*", "model.layers", ".*(q_proj|layernorm)", ".*(q_proj|rotary_emb)"})
    CHECK(error_of(wide, model).what.find("no adapter") != std::string::npos);
  // Classes with norms of query and key have modules in their attention that are no linear layers.
  CHECK(modules_matching(".*self_attn\\..*", model, false)->size() == 4);
  Model normed = model;
  normed.has_qk_norm = true;
  CHECK(error_of(".*self_attn\\..*", normed).what.find("q_norm") != std::string::npos);
}

TEST_CASE("a pattern on a model that is loaded with its vision tower") {
  Model model = Tiny::model(12);
  model.vision = VisionTower{};
  CHECK(*modules_matching("model.language_model.layers.[\\d]+.self_attn.(q|v)_proj", model, true) == Names{"q_proj", "v_proj"});
  CHECK(*modules_matching(".*\\.(q|v)_proj", model, true) == Names{"q_proj", "v_proj"});
  CHECK(error_of("model.layers.[\\d]+.self_attn.(q|v)_proj", model, true).kind == Error::Kind::wrong);
  for (const char* both : {".*\\.(q_proj|qkv)", ".*(v_proj|attn.proj)", ".*(down_proj|linear_fc[12])", ".*visual.*fc1"}) {
    CHECK(error_of(both, model, true).what.find("vision tower by a pattern") != std::string::npos);
    CHECK(error_of(both, model, true).kind == Error::Kind::unknown);
  }
  CHECK(*modules_matching(".*\\.(q_proj|qkv)", model, false) == Names{"q_proj"});
}

TEST_CASE("a pattern for some layers, or one that takes too long, is not worked out") {
  const Model model = Tiny::model(12);
  CHECK(error_of("model.layers.[0-9].self_attn.q_proj", model).kind == Error::Kind::unknown);
  CHECK(error_of("model.layers.1[01].self_attn.q_proj", model).kind == Error::Kind::unknown);
  CHECK(error_of("((([a-z0-9_.])+)+)+[A-Z]", model).kind == Error::Kind::unknown);
}
