#include "read/hf_config.hpp"

#include <chrono>
#include <filesystem>
#include <string>

#if __has_include(<sys/stat.h>)
#include <sys/stat.h>
#endif

#include "qwenplan/estimate/parameters.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;

namespace {

Result<Model> parse(std::string_view text) { return parse_hf_config(text, "config.json"); }

Error error_of(std::string_view text) {
  const auto model = parse(text);
  INFO(text.substr(0, 200));
  REQUIRE_FALSE(model);
  CHECK_FALSE(model.error().what.empty());
  CHECK(model.error().where.find("config.json") != std::string::npos);
  CHECK_FALSE(model.error().hint.empty());
  return model.error();
}

}  // namespace

TEST_CASE("parameters are those of transformers' own classes") {
  // Counts of the parameters that transformers 5.23 creates for these files, on the meta device.
  struct Case {
    const char* config;
    std::int64_t parameters;
  };
  const Case one = GENERATE(
      Case{R"({"architectures":["Qwen2ForCausalLM"]})", 12049846272},
      Case{
          R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":896,"intermediate_size":4864,"num_hidden_layers":24,
               "num_attention_heads":14,"num_key_value_heads":2,"vocab_size":151936,"tie_word_embeddings":true})",
          494032768},
      Case{
          R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":100,"num_attention_heads":3,"num_key_value_heads":null,
               "num_hidden_layers":2,"vocab_size":11,"intermediate_size":7})",
          86694},
      Case{
          R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,
               "head_dim":32,"num_hidden_layers":2,"vocab_size":11,"intermediate_size":7})",
          54080},
      Case{R"({"architectures":["Qwen3ForCausalLM"]})", 12049461248},
      Case{
          R"({"architectures":["Qwen3ForCausalLM"],"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,
               "num_hidden_layers":3,"vocab_size":50,"intermediate_size":96,"attention_bias":true})",
          361088},
      Case{R"({"architectures":["Qwen3MoeForCausalLM"],"num_hidden_layers":2})", 1849698560},
      Case{
          R"({"architectures":["Qwen3MoeForCausalLM"],"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,
               "head_dim":24,"num_hidden_layers":5,"vocab_size":50,"intermediate_size":96,"moe_intermediate_size":40,
               "num_experts":6,"num_experts_per_tok":2,"decoder_sparse_step":2,"attention_bias":true,
               "tie_word_embeddings":true})",
          245808},
      Case{R"({"architectures":["LlamaForCausalLM"]})", 6738415616},
      Case{
          R"({"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_attention_heads":4,"num_hidden_layers":3,
               "vocab_size":50,"intermediate_size":96,"attention_bias":true,"mlp_bias":true,"head_dim":20})",
          125264},
      Case{R"({"architectures":["MistralForCausalLM"]})", 7241732096},
      Case{R"({"architectures":["GemmaForCausalLM"]})", 8537680896},
      Case{R"({"architectures":["Gemma3ForCausalLM"]})", 2628658432},
      Case{R"({"architectures":["Phi3ForCausalLM"]})", 3821079552},
      Case{R"({"architectures":["SmolLM3ForCausalLM"]})", 3075098624},
      Case{R"({"architectures":["SmolLM3ForCausalLM"],"attention_bias":true,"mlp_bias":true})", 3076149248},
      Case{R"({"architectures":["MixtralForCausalLM"]})", 46702792704},
      Case{R"({"architectures":["Qwen2MoeForCausalLM"]})", 14315784192},
      Case{R"({"architectures":["Qwen2MoeForCausalLM"],"qkv_bias":false})", 14315636736},
      Case{R"({"architectures":["CohereForCausalLM"]})", 34980831232},
      Case{R"({"architectures":["Cohere2ForCausalLM"]})", 34980831232},
      Case{R"({"architectures":["Olmo2ForCausalLM"]})", 6888624128},
      Case{R"({"architectures":["Olmo3ForCausalLM"]})", 6888624128},
      Case{R"({"architectures":["Starcoder2ForCausalLM"]})", 3030371328},
      Case{R"({"architectures":["SeedOssForCausalLM"]})", 28921040896},
      Case{R"({"architectures":["SeedOssForCausalLM"],"num_hidden_layers":4,"attention_out_bias":true,"mlp_bias":true})",
           2999267328},
      Case{R"({"architectures":["ArceeForCausalLM"]})", 4022766080},
      Case{R"({"architectures":["Gemma2ForCausalLM"]})", 2614341888},
      Case{
          R"({"architectures":["Gemma2ForCausalLM"],"hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,
               "num_hidden_layers":3,"vocab_size":50,"intermediate_size":96,"attention_bias":true,
               "tie_word_embeddings":false})",
          658688});
  CAPTURE(one.config);
  const auto model = parse(one.config);
  REQUIRE(model);
  CHECK(model_parameters(*model).total() == Params(one.parameters));
}

TEST_CASE("the config.json of Qwen2.5-7B-Instruct") {
  const auto model = parse(R"({
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
    "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944,
    "max_position_embeddings": 32768, "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 28,
    "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "sliding_window": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "transformers_version": "4.43.1", "use_cache": true, "use_sliding_window": false, "vocab_size": 152064 })");
  REQUIRE(model);
  CHECK(model->architecture == Architecture::qwen2);
  CHECK(model->layers == 28);
  CHECK(model->hidden == 3584);
  CHECK(model->kv_heads == 4);
  CHECK(model->head_dim == 128);
  CHECK(model->sliding_window == 0);
  CHECK(model->has_qkv_bias);
  CHECK_FALSE(model->has_o_bias);
  CHECK(model->stored == DType::bf16);
  CHECK(model_parameters(*model).total() == Params(7615616512));
}

TEST_CASE("a window is kept only where a layer uses it") {
  const std::string qwen =
      R"({"model_type": "qwen2", "sliding_window": 4096, "num_hidden_layers": 28, )";
  const auto window = [](const std::string& text) {
    const auto model = parse(text);
    REQUIRE(model);
    return model->sliding_window;
  };
  CHECK(window(qwen + R"("use_sliding_window": false})") == 0);
  CHECK(window(qwen + R"("use_sliding_window": true, "max_window_layers": 28})") == 0);
  CHECK(window(qwen + R"("use_sliding_window": true, "max_window_layers": 20})") == 4096);
  CHECK(window(qwen + R"("use_sliding_window": true, "layer_types": ["full_attention"]})") == 0);
  CHECK(window(R"({"model_type": "mistral"})") == 4096);
  CHECK(window(R"({"model_type": "mistral", "sliding_window": null})") == 0);
  CHECK(window(R"({"model_type": "llama", "sliding_window": 4096})") == 0);
}

TEST_CASE("which layers turn and which have a window, and what of it is not modelled") {
  CHECK(parse(R"({"model_type": "phi3", "partial_rotary_factor": 0.75, "num_attention_heads": 24})")->rotary_dim == 96);
  CHECK(parse(R"({"model_type": "phi3"})")->rotary_size() == 96);
  const auto smol = parse(R"({"model_type": "smollm3"})");
  REQUIRE(smol);
  CHECK(smol->turns(2));
  CHECK_FALSE(smol->turns(3));
  CHECK(error_of(R"({"model_type": "smollm3", "no_rope_layer_interval": 2})").kind == Error::Kind::unknown);
  CHECK(error_of(R"({"model_type": "smollm3", "num_hidden_layers": 2, "no_rope_layers": [1, 0]})").kind ==
        Error::Kind::unknown);
  const auto gemma = parse(R"({"model_type": "gemma3_text", "sliding_window": 512})");
  REQUIRE(gemma);
  CHECK(gemma->slides(4));
  CHECK_FALSE(gemma->slides(5));
  CHECK(error_of(R"({"model_type": "gemma3_text", "sliding_window_pattern": 2})").kind == Error::Kind::unknown);
  CHECK(error_of(R"({"model_type": "phi3", "partial_rotary_factor": 2})").kind == Error::Kind::wrong);
}

TEST_CASE("experts, dropout and activations as each class' own keys and defaults say") {
  const auto mixtral = parse(R"({"model_type": "mixtral"})");
  REQUIRE(mixtral);
  CHECK(*mixtral->experts == Experts{8, 2, 14336, 1, true, 0});
  const auto qwen = parse(R"({"model_type": "qwen2_moe", "norm_topk_prob": true})");
  REQUIRE(qwen);
  CHECK(*qwen->experts == Experts{60, 4, 1408, 1, true, 5632});
  CHECK_FALSE(parse(R"({"model_type": "starcoder2"})")->has_dropout);
  CHECK(parse(R"({"model_type": "starcoder2", "attention_dropout": 0.1, "residual_dropout": 0.1, "embedding_dropout": 0.1})")
            ->has_dropout);
  CHECK(parse(R"({"model_type": "seed_oss"})")->has_dropout);
  CHECK_FALSE(parse(R"({"model_type": "seed_oss", "attention_dropout": 0.0, "residual_dropout": 0})")->has_dropout);
  CHECK(error_of(R"({"model_type": "seed_oss", "attention_dropout": 0.0})").kind == Error::Kind::unknown);
  CHECK(error_of(R"({"model_type": "arcee", "hidden_act": "silu"})").kind == Error::Kind::unknown);
  CHECK(error_of(R"({"model_type": "cohere", "use_qk_norm": true})").kind == Error::Kind::unknown);
  const auto cohere = parse(R"({"model_type": "cohere2"})");
  REQUIRE(cohere);
  CHECK(cohere->slides(2));
  CHECK_FALSE(cohere->slides(3));
  CHECK_FALSE(cohere->turns(3));
}

TEST_CASE("the stored format, under its old and its new name") {
  CHECK(parse(R"({"model_type": "llama", "torch_dtype": "float16"})")->stored == DType::fp16);
  CHECK(parse(R"({"model_type": "llama", "dtype": "torch.float32"})")->stored == DType::fp32);
  CHECK(error_of(R"({"model_type": "llama", "dtype": "float8_e4m3fn"})").kind ==
        Error::Kind::unknown);
}

TEST_CASE("a class that is not emulated shows its facts") {
  const auto nested = parse(R"({"architectures": ["Gemma3ForConditionalGeneration"],
    "text_config": {"hidden_size": 2560, "num_hidden_layers": 34, "vocab_size": 262208}})");
  REQUIRE(nested);
  CHECK(nested->architecture == Architecture::other);
  CHECK(nested->architecture_name == "Gemma3ForConditionalGeneration");
  CHECK(nested->hidden == 2560);
  CHECK(nested->layers == 34);

  const auto gpt2 = parse(
      R"({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": [12], "vocab_size": -1})");
  REQUIRE(gpt2);
  CHECK(gpt2->hidden == 768);
  CHECK(gpt2->layers == 12);
  CHECK(gpt2->heads == 0);
  CHECK(gpt2->vocabulary == 0);
}

TEST_CASE("what a mechanism is missing for is said, not guessed") {
  const Error error =
      error_of(R"({"architectures": ["Qwen3MoeForCausalLM"], "mlp_only_layers": [0, 1]})");
  CHECK(error.kind == Error::Kind::unknown);
  CHECK(error.what.find("mlp_only_layers") != std::string::npos);
}

TEST_CASE("counts that cannot be are refused by name") {
  const auto refused = [](const std::string& key, const std::string& value) {
    CAPTURE(key, value);
    const Error error =
        error_of(R"({"architectures": ["Qwen3MoeForCausalLM"], ")" + key + "\": " + value + "}");
    CHECK(error.kind == Error::Kind::wrong);
    CHECK(error.what.find(key) != std::string::npos);
  };
  const std::string key =
      GENERATE("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
               "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings",
               "num_experts_per_tok", "moe_intermediate_size", "decoder_sparse_step");
  for (const char* value : {"0", "-1", "1.5", "\"64\"", "true", "[64]", "{}", "4294967296",
                            "18446744073709551615", "1e30", "-9223372036854775808"})
    refused(key, value);
}

TEST_CASE("Qwen3.5: the decoder of a model of text and images") {
  const std::string text = R"("text_config": {"model_type": "qwen3_5_text", "hidden_size": 2560, "num_hidden_layers": 8,
    "linear_num_value_heads": 32, "rope_parameters": {"partial_rotary_factor": 0.5})";
  const auto whole = parse_hf_config(R"({"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5",
    "tie_word_embeddings": true, )" + text + "}}", "config.json");
  REQUIRE(whole);
  CHECK(whole->architecture == Architecture::qwen3_5);
  REQUIRE(whole->vision);
  CHECK(whole->vision->hidden == 1152);
  CHECK(whole->ties_embeddings);
  CHECK(whole->hidden == 2560);
  CHECK(whole->rotary_dim == 128);
  REQUIRE(whole->linear_attention);
  CHECK(*whole->linear_attention == LinearAttention{16, 32, 128, 128, 4, 4});
  CHECK(whole->is_linear(0));
  CHECK_FALSE(whole->is_linear(3));

  const auto sparse = parse_hf_config(
      R"({"architectures": ["Qwen3_5MoeForConditionalGeneration"], "text_config": {"num_experts": 16}})", "config.json");
  REQUIRE(sparse.ok());
  CHECK(sparse->architecture == Architecture::qwen3_5_moe);
  CHECK(*sparse->experts == Experts{16, 8, 512, 1, true, 512});
  CHECK(sparse->linear_attention->value_heads == 32);
  CHECK(sparse->rotary_dim == 64);
  CHECK(sparse->vision);
  const auto alone = parse_hf_config(R"({"model_type": "qwen3_5_text"})", "config.json");
  REQUIRE(alone);
  CHECK_FALSE(alone->vision);
  CHECK(alone->rotary_dim == 64);
  CHECK(error_of(R"({"model_type": "qwen3_5_text", "linear_num_value_heads": 20})").kind == Error::Kind::wrong);
  CHECK(error_of(R"({"model_type": "qwen3_5_text", "num_hidden_layers": 2,
                     "layer_types": ["full_attention", "linear_attention"]})").kind == Error::Kind::unknown);
}

TEST_CASE("a shape that does not hold together is refused") {
  CHECK(error_of(R"({"model_type": "qwen2", "num_attention_heads": 28, "num_key_value_heads": 3})")
            .what.find("does not divide") != std::string::npos);
  CHECK(error_of(R"({"model_type": "qwen2", "hidden_size": 8, "num_attention_heads": 32})").kind ==
        Error::Kind::wrong);
  CHECK(error_of(R"({"model_type": "llama", "hidden_size": 100, "num_attention_heads": 3})").kind ==
        Error::Kind::wrong);
  CHECK(error_of(R"({"model_type": "qwen3_moe", "num_experts": 4})")
            .what.find("num_experts_per_tok") != std::string::npos);
  CHECK(error_of(R"({"model_type": "qwen3_moe", "num_experts": 5000})").kind == Error::Kind::wrong);
}

TEST_CASE("what is no config.json is refused") {
  CHECK(error_of("").kind == Error::Kind::wrong);
  CHECK(error_of("[]").kind == Error::Kind::wrong);
  CHECK(error_of("42").kind == Error::Kind::wrong);
  CHECK(error_of("{}").what.find("architectures") != std::string::npos);
  CHECK(error_of(R"({"architectures": "Qwen2ForCausalLM"})").kind == Error::Kind::wrong);
  CHECK(error_of(R"({"architectures": [1]})").kind == Error::Kind::wrong);
  CHECK(error_of(R"({"model_type": "qwen2", "hidden_size": NaN})").kind == Error::Kind::wrong);
  CHECK(error_of(R"({"model_type": "qwen2", "rope_theta": 1e999})").kind == Error::Kind::wrong);
  CHECK(error_of("{\"model_type\": \"qwen2\",\n\"hidden_size\": 64,\n}").where ==
        "config.json, line 3");
  CHECK(error_of(R"({"model_type": "qwen2", "hidden_size": 64, "hidden_size": 128})")
            .what.find("twice") != std::string::npos);
  CHECK(error_of("{\"model_type\": \"qwen2\xff\"}").kind == Error::Kind::wrong);
  CHECK(error_of(R"({"model_type": "qwen2")" + std::string(1, '\0') + "}").kind ==
        Error::Kind::wrong);
  // Depth that a recursive parser would pay for with its stack.
  CHECK(error_of("{\"model_type\": \"qwen2\", \"x\": " + std::string(1'000'000, '['))
            .what.find("deep") != std::string::npos);
}

TEST_CASE("files and folders") {
  const test::TempFolder folder;
  const std::string config = R"({"architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 7})";
  const std::string file = folder.write("config.json", config);
  CHECK(read_hf_config(file)->layers == 7);
  CHECK(read_hf_config(folder.path())->layers == 7);
  CHECK(read_hf_config(file)->id == file);

  CHECK(read_hf_config(folder.path("nothing.json")).error().what.find("no such file") !=
        std::string::npos);
  std::filesystem::create_directory(folder.path("empty"));
  CHECK(read_hf_config(folder.path("empty")).error().kind == Error::Kind::wrong);
  std::filesystem::create_directories(folder.path("odd/config.json"));
  CHECK(read_hf_config(folder.path("odd")).error().what.find("not a regular file") !=
        std::string::npos);

  const std::string large = folder.write("large.json", config + std::string(5 << 20, ' '));
  CHECK(read_hf_config(large).error().what.find("larger") != std::string::npos);
#if __has_include(<sys/stat.h>)
  // Opening a pipe that nobody writes to would wait for ever.
  REQUIRE(mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  CHECK(read_hf_config(folder.path("pipe")).error().what.find("not a regular file") !=
        std::string::npos);
#endif
}
