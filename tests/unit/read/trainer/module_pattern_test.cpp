#include "read/trainer/module_pattern.hpp"

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

using namespace qwenplan;
using test::Tiny;

namespace {

using Names = std::vector<std::string>;

Error error_of(const std::string& pattern, const Model& model) {
  const auto names = modules_matching(pattern, model);
  INFO(pattern);
  REQUIRE_FALSE(names.ok());
  return names.error();
}

}  // namespace

TEST_CASE("a pattern of target modules has to match a layer's whole name, as with Python's re.fullmatch") {
  const Model model = Tiny::model(12);
  CHECK(*modules_matching("model.layers.[\\d]+.(mlp|cross_attn|self_attn).(up|down|gate|q|k|v|o)_proj", model) ==
        Names{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"});
  CHECK(*modules_matching(".*\\.(q|v)_proj", model) == Names{"q_proj", "v_proj"});
  CHECK(*modules_matching("^(?!.*mlp).*_proj$", model) == Names{"q_proj", "k_proj", "v_proj", "o_proj"});
  CHECK(*modules_matching("lm_head|.*k_proj", model) == Names{"k_proj", "lm_head"});
  CHECK(*modules_matching("model\\.embed_tokens", model) == Names{"embed_tokens"});
  Model within = model;
  within.vision = VisionTower{};
  CHECK(*modules_matching("model.language_model.layers.[\\d]+.self_attn.(q|v)_proj", within) == Names{"q_proj", "v_proj"});
  // A plain name is a pattern too, and no layer's whole name.
  CHECK(error_of("q_proj", model).kind == Error::Kind::wrong);
  CHECK(error_of("language_model.model.layers.[\\d]+.mlp.up_proj", model).kind == Error::Kind::wrong);
  CHECK(error_of("(q_proj", model).kind == Error::Kind::wrong);
  CHECK(error_of(".*", model).what.find("no adapter") != std::string::npos);
}

TEST_CASE("a pattern for some layers, or one that takes too long, is not worked out") {
  const Model model = Tiny::model(12);
  CHECK(error_of("model.layers.[0-9].self_attn.q_proj", model).kind == Error::Kind::unknown);
  CHECK(error_of("model.layers.1[01].self_attn.q_proj", model).kind == Error::Kind::unknown);
  CHECK(error_of("((([a-z0-9_.])+)+)+[A-Z]", model).kind == Error::Kind::unknown);
}
