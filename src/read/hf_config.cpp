#include "read/hf_config.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "read/json_text.hpp"
#include "read/model_bounds.hpp"
#include "read/model_fields.hpp"
#include "read/text_file.hpp"

namespace qwenplan {
namespace {

constexpr std::uintmax_t kLargestFile = 4 * 1024 * 1024;

/// What a configuration class of transformers 5.23 takes for a key that is not in the file.
struct Defaults {
  Architecture architecture;
  std::string_view model_type;
  std::int64_t vocabulary, hidden, ffn, layers, heads;
  std::int64_t kv_heads;  ///< 0: as many as heads
  std::int64_t head_dim;  ///< 0: hidden size over heads
  std::int64_t max_positions;
  std::int64_t sliding_window;  ///< 0: none
  bool ties_embeddings;
};

constexpr Defaults kDefaults[] = {
    {Architecture::qwen2, "qwen2", 151936, 4096, 22016, 32, 32, 32, 0, 32768, 4096, false},
    {Architecture::qwen3, "qwen3", 151936, 4096, 22016, 32, 32, 32, 128, 32768, 4096, false},
    {Architecture::qwen3_moe, "qwen3_moe", 151936, 2048, 6144, 24, 32, 4, 0, 32768, 4096, false},
    {Architecture::llama, "llama", 32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, false},
    {Architecture::mistral, "mistral", 32000, 4096, 14336, 32, 32, 8, 0, 131072, 4096, false},
    {Architecture::gemma, "gemma", 256000, 3072, 24576, 28, 16, 16, 256, 8192, 0, true},
    {Architecture::gemma2, "gemma2", 256000, 2304, 9216, 26, 8, 4, 256, 8192, 4096, true},
    {Architecture::gemma3, "gemma3_text", 262208, 2304, 9216, 26, 8, 4, 256, 131072, 4096, true},
    {Architecture::phi3, "phi3", 32064, 3072, 8192, 32, 32, 0, 0, 4096, 0, false},
    {Architecture::smollm3, "smollm3", 128256, 2048, 11008, 36, 16, 4, 0, 32768, 0, true},
    {Architecture::qwen2_moe, "qwen2_moe", 151936, 2048, 5632, 24, 16, 16, 0, 32768, 4096, false},
    {Architecture::mixtral, "mixtral", 32000, 4096, 14336, 32, 32, 8, 0, 131072, 0, false},
    {Architecture::cohere, "cohere", 256000, 8192, 22528, 40, 64, 0, 0, 8192, 0, true},
    {Architecture::cohere2, "cohere2", 256000, 8192, 22528, 40, 64, 0, 0, 8192, 4096, true},
    {Architecture::olmo2, "olmo2", 50304, 4096, 11008, 32, 32, 0, 0, 2048, 0, false},
    {Architecture::olmo3, "olmo3", 50304, 4096, 11008, 32, 32, 0, 0, 2048, 4096, false},
    {Architecture::starcoder2, "starcoder2", 49152, 3072, 12288, 30, 24, 2, 0, 4096, 0, true},
    {Architecture::seed_oss, "seed_oss", 155136, 4096, 27648, 64, 80, 8, 128, 524288, 0, false},
    {Architecture::arcee, "arcee", 32000, 2560, 18432, 32, 32, 0, 0, 4096, 0, false},
    {Architecture::qwen3_5, "qwen3_5_text", 248320, 4096, 12288, 32, 16, 4, 256, 32768, 0, false},
    {Architecture::qwen3_5_moe, "qwen3_5_moe_text", 248320, 2048, 0, 40, 16, 2, 256, 32768, 0, false},
};

const Defaults* defaults_of(Architecture architecture) {
  return std::find_if(std::begin(kDefaults), std::end(kDefaults),
                      [&](const Defaults& defaults) { return defaults.architecture == architecture; });
}

bool is_qwen(Architecture architecture) {
  return architecture == Architecture::qwen2 || architecture == Architecture::qwen3 ||
         architecture == Architecture::qwen3_moe || architecture == Architecture::qwen2_moe;
}

/// Whether some layer attends within a window: Qwen's classes keep the window for the layers from
/// max_window_layers on, and only where use_sliding_window is set.
bool slides(const Json& config, Fields& fields, Architecture architecture, std::int64_t layers) {
  if (!is_qwen(architecture) && architecture != Architecture::smollm3)
    return architecture != Architecture::llama && architecture != Architecture::cohere && architecture != Architecture::olmo2 &&
           architecture != Architecture::seed_oss && architecture != Architecture::arcee;
  if (!fields.boolean("use_sliding_window").value_or(false)) return false;
  if (architecture == Architecture::qwen3_moe) return true;
  const auto types = config.find("layer_types");
  if (types != config.end() && types->is_array())
    return std::find(types->begin(), types->end(), Json("sliding_attention")) != types->end();
  return fields.whole("max_window_layers", 0, kDeepest).value_or(28) < layers;
}

/// Experts of a class of Qwen's or of Mixtral, whose defaults differ.
void read_experts(const Json& config, Fields& fields, Model& model) {
  const char* count_key = fields.has("num_experts") ? "num_experts" : "num_local_experts";
  Experts experts{128, 8, 768, 1, false, 0};
  if (model.architecture == Architecture::mixtral) experts = {8, 2, model.ffn, 1, true, 0};
  if (model.architecture == Architecture::qwen2_moe) experts = {60, 4, 1408, 1, false, 5632};
  if (model.architecture == Architecture::qwen3_5_moe) experts = {256, 8, 512, 1, true, 512};
  experts.count = fields.whole(count_key, 0, kMostExperts).value_or(experts.count);
  experts.per_token = fields.whole("num_experts_per_tok", 1, kMostExperts).value_or(experts.per_token);
  if (model.architecture != Architecture::mixtral)
    experts.ffn = fields.whole("moe_intermediate_size", 1, kWidestFfn).value_or(experts.ffn);
  if (model.architecture == Architecture::qwen3_moe || model.architecture == Architecture::qwen2_moe) {
    experts.sparse_step = fields.whole("decoder_sparse_step", 1, kDeepest).value_or(1);
    experts.normalizes = fields.boolean("norm_topk_prob").value_or(false);
  }
  if (experts.shared_ffn > 0)
    experts.shared_ffn = fields.whole("shared_expert_intermediate_size", 1, kWidestFfn).value_or(experts.shared_ffn);
  if (experts.count == 0) return;
  if (experts.per_token > experts.count)
    fields.fail(Error::Kind::wrong, "/num_experts_per_tok: a token visits " +
                                        std::to_string(experts.per_token) + " of " +
                                        std::to_string(experts.count) + " experts");
  model.experts = experts;
  const auto dense = config.find("mlp_only_layers");
  if (dense != config.end() && !dense->is_null() && !dense->empty())
    fields.fail(Error::Kind::unknown,
                "/mlp_only_layers: layers without experts among sparse ones are not modelled");
}

/// SmolLM3 turns query and key in three layers of four, and attends to all, unless it is told otherwise.
void read_positions(const Json& config, Fields& fields, Model& model) {
  bool is_usual = fields.whole("no_rope_layer_interval", 1, kDeepest).value_or(4) == 4 &&
                  !fields.boolean("use_sliding_window").value_or(false);
  const auto list = config.find("no_rope_layers");  // 1 where a layer turns
  if (list != config.end() && list->is_array() && !list->empty()) {
    is_usual = static_cast<std::int64_t>(list->size()) >= model.layers;
    for (std::int64_t i = 0; is_usual && i < model.layers; ++i) {
      const Json& turns = (*list)[static_cast<std::size_t>(i)];
      is_usual = turns.is_number_integer() && (turns.get<std::int64_t>() != 0) == model.turns(i);
    }
  }
  if (!is_usual)
    fields.fail(Error::Kind::unknown, "/no_rope_layers: other layers without positions than every fourth are not modelled");
}

/// Gemma 3 has a window in five layers of six, Cohere 2 and OLMo 3 in three of four.
void read_pattern(const Json& config, Fields& fields, Model& model) {
  const std::int64_t every = model.architecture == Architecture::gemma3 ? 6 : 4;
  bool is_usual = fields.whole("sliding_window_pattern", 1, kDeepest).value_or(every) == every;
  const auto types = config.find("layer_types");
  if (types != config.end() && types->is_array() && !types->empty()) {
    is_usual = static_cast<std::int64_t>(types->size()) == model.layers;
    for (std::int64_t i = 0; is_usual && i < model.layers; ++i)
      is_usual = ((*types)[static_cast<std::size_t>(i)] == Json("sliding_attention")) == model.slides(i);
  }
  if (!is_usual || model.sliding_window == 0)
    fields.fail(Error::Kind::unknown, "/layer_types: other layers without a window than every " +
                                          std::string(every == 6 ? "sixth" : "fourth") + " are not modelled");
}

/// The part of a head that the rotary embedding turns: all of it, or a quarter of Qwen3.5's, unless it is told.
void read_rotary_part(const Json& config, Fields& fields, Model& model) {
  if (is_qwen3_5(model.architecture)) model.rotary_dim = model.head_dim / 4;
  const auto parameters = config.find("rope_parameters");
  const bool is_nested = parameters != config.end() && parameters->is_object() && parameters->contains("partial_rotary_factor");
  const Json& holder = is_nested ? *parameters : config;
  const auto factor = holder.find("partial_rotary_factor");
  if (factor == holder.end() || factor->is_null()) return;
  const double part = factor->is_number() ? factor->get<double>() : 0;
  if (!(part > 0 && part <= 1)) {
    fields.fail(Error::Kind::wrong, "/partial_rotary_factor: a part of a head is more than 0 and at most 1");
    return;
  }
  model.rotary_dim = part < 1 ? static_cast<std::int64_t>(static_cast<double>(model.head_dim) * part) : 0;
}

/// Qwen3.5's layers of linear attention, and which layers attend to all tokens.
void read_linear_attention(const Json& config, Fields& fields, Model& model) {
  const LinearAttention a = read_linear_sizes(fields, {16, 32, 128, 128, 4, 4});
  if (a.value_heads % a.key_heads != 0)
    fields.fail(Error::Kind::wrong, "/linear_num_value_heads: " + std::to_string(a.value_heads) + " is no multiple of the " +
                                        std::to_string(a.key_heads) + " key heads");
  model.linear_attention = a;
  const auto types = config.find("layer_types");
  if (types == config.end() || !types->is_array() || types->empty()) return;
  bool is_usual = static_cast<std::int64_t>(types->size()) >= model.layers;
  for (std::int64_t i = 0; is_usual && i < model.layers; ++i)
    is_usual = ((*types)[static_cast<std::size_t>(i)] == Json("linear_attention")) == model.is_linear(i);
  if (!is_usual)
    fields.fail(Error::Kind::unknown, "/layer_types: other layers of full attention than every " +
                                          std::to_string(a.full_interval) + "th are not modelled");
}

/// Which linear layers have a bias, by each class' own keys and defaults.
void read_biases(Fields& fields, Model& model) {
  const auto is_on = [&](const char* key, bool otherwise) { return fields.boolean(key).value_or(otherwise); };
  switch (model.architecture) {
    case Architecture::mistral:
    case Architecture::mixtral:
    case Architecture::phi3: return;
    case Architecture::qwen2: model.has_qkv_bias = true; return;
    case Architecture::qwen2_moe: model.has_qkv_bias = is_on("qkv_bias", true); return;
    case Architecture::starcoder2:
      model.has_qkv_bias = model.has_o_bias = model.has_mlp_bias = is_on("use_bias", true);
      return;
    case Architecture::seed_oss:
      model.has_qkv_bias = is_on("attention_bias", true);
      model.has_o_bias = is_on("attention_out_bias", false);
      break;
    default: model.has_qkv_bias = model.has_o_bias = is_on("attention_bias", false);
  }
  if (model.architecture == Architecture::llama || model.architecture == Architecture::smollm3 ||
      model.architecture == Architecture::seed_oss || model.architecture == Architecture::arcee)
    model.has_mlp_bias = is_on("mlp_bias", false);
}

/// StarCoder 2 and Seed-OSS drop some of what they compute, everywhere that they may or nowhere.
void read_dropout(const Json& config, Fields& fields, Model& model) {
  const bool is_starcoder = model.architecture == Architecture::starcoder2;
  int on = 0, all = 0;
  for (const char* key : {"attention_dropout", "residual_dropout", "embedding_dropout"}) {
    if (!is_starcoder && key == std::string_view("embedding_dropout")) continue;
    const auto found = config.find(key);
    const bool is_given = found != config.end() && found->is_number();
    on += is_given ? found->get<double>() > 0 : !is_starcoder;
    ++all;
  }
  model.has_dropout = on > 0;
  if (on > 0 && on < all)
    fields.fail(Error::Kind::unknown, "/residual_dropout: dropout in some of its places only is not modelled");
}

/// Qwen3.5's vision_config (configuration_qwen3_5.py); what is not there is the class's own.
std::optional<Error> read_vision(const Json& config, const std::string& where, Model& model) {
  const auto given = config.find("vision_config");
  const Json none = Json::object();
  Fields fields(given != config.end() && given->is_object() ? *given : none, where, "/vision_config");
  model.vision = read_vision_sizes(fields, {27, 1152, 4304, 16, 16, 2, 2, 2304});
  return fields.error();
}

void read_stored(Fields& fields, Model& model) {
  const char* key = fields.has("dtype") ? "dtype" : "torch_dtype";
  std::string stored = fields.text(key).value_or("auto");
  if (stored.starts_with("torch.")) stored.erase(0, 6);
  if (stored == "float32")
    model.stored = DType::fp32;
  else if (stored == "float16")
    model.stored = DType::fp16;
  else if (stored != "bfloat16" && stored != "auto")
    fields.fail(Error::Kind::unknown, "/" + std::string(key) + ": weights stored as '" +
                                          stored.substr(0, 40) + "' are not modelled");
}

Result<Model> read_emulated(const Json& config, const Defaults& defaults, Model model,
                            const std::string& where) {
  Fields fields(config, where);
  const Architecture architecture = defaults.architecture;
  model.architecture = architecture;
  model.layers = fields.whole("num_hidden_layers", 1, kDeepest).value_or(defaults.layers);
  model.hidden = fields.whole("hidden_size", 1, kWidest).value_or(defaults.hidden);
  model.ffn = fields.whole("intermediate_size", 1, kWidestFfn).value_or(defaults.ffn);
  model.heads = fields.whole("num_attention_heads", 1, kMostHeads).value_or(defaults.heads);
  // The classes read null as "one for each head", and only a missing key as their own default.
  const bool null_kv_heads =
      config.contains("num_key_value_heads") && !fields.has("num_key_value_heads");
  model.kv_heads =
      fields.whole("num_key_value_heads", 1, kMostHeads)
          .value_or(null_kv_heads || defaults.kv_heads == 0 ? model.heads : defaults.kv_heads);
  const bool null_head_dim = config.contains("head_dim") && !fields.has("head_dim");
  model.head_dim =
      fields.whole("head_dim", 1, kWidestHead)
          .value_or(null_head_dim || defaults.head_dim == 0 ? model.hidden / model.heads
                                                            : defaults.head_dim);
  model.vocabulary = fields.whole("vocab_size", 1, kMostWords).value_or(defaults.vocabulary);
  model.max_positions =
      fields.whole("max_position_embeddings", 1, kLongest).value_or(defaults.max_positions);
  model.ties_embeddings = fields.boolean("tie_word_embeddings").value_or(defaults.ties_embeddings);

  const bool null_window = config.contains("sliding_window") && !fields.has("sliding_window");
  const std::int64_t window = fields.whole("sliding_window", 1, kLongest)
                                  .value_or(null_window ? 0 : defaults.sliding_window);
  if (slides(config, fields, architecture, model.layers)) model.sliding_window = window;
  if (architecture == Architecture::smollm3) read_positions(config, fields, model);
  if (model.alternates_windows() && architecture != Architecture::gemma2) read_pattern(config, fields, model);
  if (architecture == Architecture::phi3 || is_qwen3_5(architecture))
    read_rotary_part(config, fields, model);
  if (is_qwen3_5(architecture)) read_linear_attention(config, fields, model);

  read_biases(fields, model);
  model.has_qk_norm = norms_query_and_key(architecture);
  if (architecture == Architecture::cohere && fields.boolean("use_qk_norm").value_or(false))
    fields.fail(Error::Kind::unknown, "/use_qk_norm: Cohere's norms of query and key are not modelled");
  if (has_experts(architecture)) read_experts(config, fields, model);
  if (architecture == Architecture::starcoder2 || architecture == Architecture::seed_oss) read_dropout(config, fields, model);
  if (architecture == Architecture::arcee && fields.text("hidden_act").value_or("relu2") != "relu2")
    fields.fail(Error::Kind::unknown, "/hidden_act: another activation than relu2 is not modelled");
  read_stored(fields, model);

  if (model.heads % model.kv_heads != 0)
    fields.fail(Error::Kind::wrong, "/num_key_value_heads: " + std::to_string(model.kv_heads) +
                                        " does not divide the " + std::to_string(model.heads) +
                                        " attention heads");
  if (model.head_dim == 0)
    fields.fail(Error::Kind::wrong,
                "/num_attention_heads: more heads than the hidden size has elements");
  if ((architecture == Architecture::llama || architecture == Architecture::gemma2 || architecture == Architecture::arcee) &&
      model.hidden % model.heads != 0)
    fields.fail(Error::Kind::wrong, "/num_attention_heads: " + std::to_string(model.heads) +
                                        " does not divide the hidden size " +
                                        std::to_string(model.hidden));
  if (fields.error()) {
    Error error = *fields.error();
    error.hint = error.kind == Error::Kind::wrong
                     ? "is this the config.json of a " + std::string(name(architecture)) + "?"
                     : "choose a model of one of the classes that are emulated";
    return error;
  }
  return model;
}

/// A count under the first of its names that is there and makes sense; 0 if none.
std::int64_t fact(const Json& config, std::initializer_list<const char*> keys, std::int64_t most) {
  for (const char* key : keys)
    if (const auto found = Fields(config, {}).whole(key, 1, most)) return *found;
  return 0;
}

/// The facts of a class that is not emulated. Its keys may mean anything, so that only those that
/// look right are taken, and none is an error.
Model read_other(const Json& config, Model model) {
  model.layers = fact(config, {"num_hidden_layers", "n_layer", "num_layers"}, kDeepest);
  model.hidden = fact(config, {"hidden_size", "n_embd", "d_model"}, kWidest);
  model.ffn = fact(config, {"intermediate_size", "n_inner", "ffn_dim"}, kWidestFfn);
  model.heads = fact(config, {"num_attention_heads", "n_head"}, kMostHeads);
  model.kv_heads = fact(config, {"num_key_value_heads"}, kMostHeads);
  model.head_dim = fact(config, {"head_dim"}, kWidestHead);
  model.vocabulary = fact(config, {"vocab_size"}, kMostWords);
  model.max_positions = fact(config, {"max_position_embeddings", "n_positions"}, kLongest);
  model.ties_embeddings = Fields(config, {}).boolean("tie_word_embeddings").value_or(false);
  return model;
}

}  // namespace

Result<Model> parse_hf_config(std::string_view text, const std::string& where) {
  const auto parsed = parse_json(text, where);
  if (!parsed) return parsed.error();
  const Json& config = *parsed;
  const auto not_a_config = [&](std::string what) {
    return Error{Error::Kind::wrong, std::move(what), where,
                 "is this the config.json of a language model?"};
  };
  if (!config.is_object()) return not_a_config("expected an object");

  Model model;
  model.id = where;
  Fields fields(config, where);
  const std::string model_type = fields.text("model_type").value_or("");
  if (const auto list = config.find("architectures"); list != config.end() && !list->is_null()) {
    if (!list->is_array() || (!list->empty() && !list->front().is_string()))
      fields.expected("architectures", "a list of class names");
    else if (!list->empty())
      model.architecture_name = list->front().get<std::string>();
  }
  if (fields.error()) return *fields.error();
  if (model.architecture_name.empty() && model_type.empty())
    return not_a_config("neither \"architectures\" nor \"model_type\" is there");

  const auto known =
      std::find_if(std::begin(kDefaults), std::end(kDefaults), [&](const Defaults& defaults) {
        return model.architecture_name.empty()
                   ? defaults.model_type == model_type
                   : name(defaults.architecture) == model.architecture_name;
      });
  if (known != std::end(kDefaults)) {
    if (model.architecture_name.empty()) model.architecture_name = name(known->architecture);
    return read_emulated(config, *known, std::move(model), where);
  }
  const auto inner = config.find("text_config");
  const bool is_nested =
      inner != config.end() && inner->is_object() && !config.contains("hidden_size");
  const auto is_whole = [&](const char* architecture, const char* type) {
    return model.architecture_name == architecture || (model.architecture_name.empty() && model_type == type);
  };
  const bool is_sparse = is_whole("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe");
  if (is_nested && (is_sparse || is_whole("Qwen3_5ForConditionalGeneration", "qwen3_5"))) {
    // Of text and images: what AutoModelForCausalLM loads is its decoder.
    Json decoder = *inner;
    for (const char* key : {"tie_word_embeddings", "dtype", "torch_dtype"})
      if (!decoder.contains(key) && config.contains(key)) decoder[key] = config[key];
    const Architecture architecture = is_sparse ? Architecture::qwen3_5_moe : Architecture::qwen3_5;
    model.architecture_name = name(architecture);
    if (const auto error = read_vision(config, where, model)) return *error;
    return read_emulated(decoder, *defaults_of(architecture), std::move(model), where);
  }
  if (model.architecture_name.empty()) model.architecture_name = model_type;
  return read_other(is_nested ? *inner : config, std::move(model));
}

Result<Model> read_hf_config(const std::string& path) {
  std::error_code ignored;
  std::string file = path;
  if (std::filesystem::is_directory(path, ignored)) {
    file = (std::filesystem::path(path) / "config.json").string();
    if (!std::filesystem::exists(file, ignored))
      return Error{Error::Kind::wrong, "no config.json in this folder", path,
                   "give the folder of a Hugging Face model"};
  }
  const auto text = read_text_file(file, kLargestFile);
  if (!text) return text.error();
  return parse_hf_config(*text, file);
}

}  // namespace qwenplan
