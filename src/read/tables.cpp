#include "read/tables.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <system_error>
#include <utility>

#include "qwenplan/base/nearest.hpp"
#include "qwenplan/base/parse.hpp"
#include "read/embedded.hpp"
#include "read/hf_config.hpp"
#include "read/json_text.hpp"
#include "read/model_bounds.hpp"
#include "read/model_fields.hpp"
#include "read/text_file.hpp"

namespace qwenplan {
namespace {

using embedded::Row;

constexpr std::uintmax_t kLargestOverlay = 16 * 1024 * 1024;
constexpr std::int64_t kMostGpus = 4096;
constexpr std::int64_t kMostMultiprocessors = 100'000;

/// What tells the tables apart; in the order of Tables::Kind.
struct TableKind {
  const char* name;      ///< of its file and of its list of rows
  const char* name_key;  ///< member that names a row for people
  embedded::Table (*table)();
};
constexpr TableKind kKinds[] = {{"gpus", "name", embedded::gpus},
                                {"models", "hub_id", embedded::models},
                                {"sources", "title", embedded::sources},
                                {"prices", "instance", embedded::prices},
                                {"machines", "name", embedded::machines},
                                {"measurements", "source", embedded::measurements},
                                {"calibration", "what", embedded::calibration}};

const TableKind& of(Tables::Kind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

/// What is our own parses: the tests have read every row.
Json parse_own(std::string_view text) { return Json::parse(text, nullptr, false); }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// Calls `visit` with each name in the text of a JSON list of strings without escapes.
template <class Visit>
void for_each_name(std::string_view list, Visit visit) {
  while (true) {
    const std::size_t open = list.find('"');
    if (open == std::string_view::npos) return;
    const std::size_t close = list.find('"', open + 1);
    visit(list.substr(open + 1, close - open - 1));
    list.remove_prefix(close + 1);
  }
}

/// Whether one of the row's aliases has this key.
bool has_alias(const Row& row, const std::string& key, std::string (*key_of)(std::string_view)) {
  bool found = false;
  for_each_name(row.aliases,
                [&](std::string_view alias) { found = found || key_of(alias) == key; });
  return found;
}

/// A GPU's name as people vary it: "NVIDIA GeForce RTX 3060 12GB", "RTX 3060 12gb" and
/// "rtx3060-12g" have one key. Makers' names in front, case and separators do not count.
std::string gpu_key(std::string_view name) {
  static constexpr std::string_view kMakers[] = {"nvidia", "geforce",  "tesla", "amd",
                                                 "radeon", "instinct", "intel", "apple"};
  std::string key;
  std::string word;
  const auto flush = [&] {
    const bool is_maker =
        key.empty() && std::find(std::begin(kMakers), std::end(kMakers), word) != std::end(kMakers);
    if (!is_maker) key += word;
    word.clear();
  };
  for (const char c : lowered(name)) {
    if (std::isalnum(static_cast<unsigned char>(c)))
      word += c;
    else
      flush();
  }
  flush();
  for (std::size_t at = key.find("gb"); at != std::string::npos; at = key.find("gb", at + 1))
    if (at > 0 && std::isdigit(static_cast<unsigned char>(key[at - 1]))) key.erase(at + 1, 1);
  return key;
}

/// The part of an id that its variants share: "rtx3060" of rtx3060-12g and rtx3060-laptop-6g.
std::string_view family(std::string_view id) { return id.substr(0, id.find('-')); }

/// A model's name as people vary it: "Qwen/Qwen2.5-7B-Instruct", "qwen2.5:7b" and "qwen2.5-7b" have
/// one key. The owner, the tuning and the quantization of a copy do not change the shape.
std::string model_key(std::string_view name) {
  static constexpr std::string_view kTunings[] = {
      "-instruct", "-base", "-chat", "-it",  "-pt",   "-hf",      "-awq",
      "-gptq",     "-int4", "-int8", "-bnb", "-4bit", "-unsloth", "-fp8"};
  std::string key = lowered(name.substr(name.rfind('/') + 1));
  std::replace(key.begin(), key.end(), ':', '-');
  for (const std::string_view tuning : kTunings) {
    const std::size_t at = key.find(tuning);
    const std::size_t end = at + tuning.size();
    if (at != std::string::npos && at > 0 && (end == key.size() || key[end] == '-'))
      key.erase(at, tuning.size());
  }
  return key;
}

bool is_size_alone(std::string_view key) {
  if (key.size() < 2 || (key.back() != 'b' && key.back() != 'm')) return false;
  key.remove_suffix(1);
  return std::isdigit(static_cast<unsigned char>(key.front())) &&
         key.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string joined(const std::vector<std::string>& words, std::string_view last) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0                  ? "'"
             : i + 1 == words.size() ? std::string(last) + "'"
                                     : ", '") +
            words[i] + "'";
  return text;
}

/// The error for a name that no row has, with the names that come near.
Error unknown_name(std::string_view what, std::string_view name, std::span<const Row> rows,
                   std::string_view flag, std::string_view list) {
  std::vector<std::string> names;
  for (const Row& row : rows) {
    names.emplace_back(row.id);
    for_each_name(row.aliases, [&](std::string_view alias) { names.push_back(lowered(alias)); });
  }
  const std::vector<std::string> near = nearest(lowered(name), names);
  std::string hint = near.empty() ? "" : "did you mean " + joined(near, " or ") + "? ";
  return {Error::Kind::wrong,
          "unknown " + std::string(what) + " '" + std::string(name.substr(0, 80)) + "'",
          std::string(flag), hint + "'qwenplan data list " + std::string(list) + "' shows all"};
}

Error ambiguous_name(std::string_view what, std::string_view name, std::vector<std::string> ids,
                     std::string_view flag) {
  const std::size_t count = ids.size();
  if (count > 6) ids.resize(6);
  std::string hint = "write one of " + joined(ids, ", ");
  if (count > 6) hint += ", and " + std::to_string(count - 6) + " more";
  return {Error::Kind::wrong,
          std::string(what) + " '" + std::string(name) + "' could be " + std::to_string(count) +
              " of the table",
          std::string(flag), hint};
}

std::optional<Evidence> evidence_named(std::string_view text) {
  for (int i = 0; i <= static_cast<int>(Evidence::assumed); ++i)
    if (name(static_cast<Evidence>(i)) == text) return static_cast<Evidence>(i);
  return std::nullopt;
}

/// How the figures of a row are known: its own evidence, the table's list of fields that are
/// assumed in every row, and the row's exceptions, the last of which decides.
class Origins {
 public:
  Origins(const Json& row, const Json& header) : row_(row), header_(header) {}

  template <class T>
  Sourced<T> sourced(const char* key, T value) const {
    const auto [evidence, source] = of(key);
    return {value, evidence, source};
  }

  Evidence evidence(const char* key) const { return of(key).first; }

 private:
  std::pair<Evidence, std::string> of(const char* key) const {
    const auto exceptions = row_.find("except");
    if (exceptions != row_.end())
      for (const Json& entry : *exceptions)
        for (const Json& field : entry["of"])
          if (field == key) return read(entry);
    const auto assumed = header_.find("assumed");
    if (assumed != header_.end() &&
        std::find(assumed->begin(), assumed->end(), Json(key)) != assumed->end())
      return {Evidence::assumed, ""};
    return read(row_);
  }

  static std::pair<Evidence, std::string> read(const Json& json) {
    return {evidence_named(json.value("evidence", "assumed")).value_or(Evidence::assumed),
            json.value("source", "")};
  }

  const Json& row_;
  const Json& header_;
};

/// A row of gpus.json. `where` and `pointer` are for errors, which only an overlay can have.
Result<Gpu> read_gpu(const Json& row, const Json& header, const std::string& where,
                     const std::string& pointer) {
  Fields fields(row, where, pointer);
  const Origins origins(row, header);
  const auto measured = [&](const char* key, Unit unit, const char* example) {
    std::optional<Sourced<double>> result;
    if (const auto value = fields.measure(key, {unit}, example))
      result = origins.sourced(key, *value);
    return result;
  };
  const auto size = [&](const char* key) {
    std::optional<Sourced<Bytes>> result;
    constexpr double kMiB = 1024.0 * 1024;
    if (const auto value = fields.measure(key, {{"MiB", kMiB}, {"GiB", 1024 * kMiB}}, "12 GiB"))
      result = origins.sourced(key, Bytes(static_cast<std::int64_t>(*value)));
    return result;
  };
  Gpu gpu;
  gpu.id = fields.text("id").value_or("");
  gpu.name = fields.text("name").value_or("");
  gpu.vendor = fields.text("vendor").value_or("");
  gpu.generation = fields.text("generation").value_or("");
  if (const auto text = fields.text("compute_capability")) {
    const std::size_t point = text->find('.');
    const std::string digits =
        text->substr(0, point) + (point == std::string::npos ? "" : text->substr(point + 1));
    if (point == std::string::npos || point + 2 != text->size() || digits.size() > 4 ||
        digits.find_first_not_of("0123456789") != std::string::npos)
      fields.expected("compute_capability", "a version such as \"8.6\"");
    else
      gpu.compute_capability = std::stoi(digits);
  }
  gpu.memory = size("memory").value_or(Sourced<Bytes>{});
  gpu.driver_total = size("driver_total");
  gpu.bandwidth = measured("bandwidth", {"GB/s", 1e9}, "360 GB/s").value_or(Sourced<double>{});
  gpu.bf16_rate = measured("bf16_tensor", {"TFLOPS", 1e12}, "25.5 TFLOPS");
  gpu.fp16_rate = measured("fp16_tensor", {"TFLOPS", 1e12}, "25.5 TFLOPS");
  gpu.fp32_rate = measured("fp32", {"TFLOPS", 1e12}, "12.7 TFLOPS");
  gpu.power = measured("power", {"W"}, "170 W");
  gpu.launch_price = measured("launch_price", {"USD"}, "329 USD");
  gpu.street_price = measured("street_price", {"USD"}, "2000 USD");
  gpu.launch_date = fields.text("launch_date").value_or("");
  gpu.multiprocessors = static_cast<int>(fields.whole("sm_count", 0, kMostMultiprocessors).value_or(0));
  gpu.has_bf16 = fields.boolean("has_bf16").value_or(false);
  gpu.has_flash_attention = fields.boolean("has_flash_attention").value_or(false);

  for (const char* key : {"id", "name", "vendor"})
    if (!fields.has(key)) fields.expected(key, "text");
  if (gpu.is_cuda()) {
    for (const char* key : {"memory", "bandwidth", "compute_capability"})
      if (!fields.has(key)) fields.expected(key, "a value, since the card is NVIDIA's");
    if (fields.has("memory") && gpu.memory.value <= Bytes(0))
      fields.expected("memory", "more than nothing");
    if (fields.has("bandwidth") && gpu.bandwidth.value <= 0)
      fields.expected("bandwidth", "more than nothing");
  }
  if (fields.error()) return *fields.error();
  return gpu;
}

/// The layers of linear attention, where all of their shape is known.
std::optional<Error> read_linear_attention(const Json& row, const std::string& where, const std::string& pointer,
                                           Model& model) {
  const auto linear = row.find("linear_attention");
  if (linear == row.end() || linear->is_null()) return std::nullopt;
  if (!linear->is_object())
    return Error{Error::Kind::wrong, pointer + ": expected an object", where, "see docs/data.md"};
  Fields fields(*linear, where, pointer);
  const LinearAttention a = read_linear_sizes(fields, {});
  if (a.key_heads > 0 && a.value_heads % a.key_heads != 0)
    fields.expected("linear_num_value_heads", "a multiple of linear_num_key_heads");
  if (fields.error()) return *fields.error();
  if (a.key_size() > 0 && a.value_size() > 0 && a.kernel > 0) model.linear_attention = a;
  return std::nullopt;
}

/// The vision tower, where all of its shape is known.
std::optional<Error> read_vision(const Json& row, const std::string& where, const std::string& pointer, Model& model) {
  const auto vision = row.find("vision");
  if (vision == row.end() || vision->is_null()) return std::nullopt;
  if (!vision->is_object())
    return Error{Error::Kind::wrong, pointer + ": expected an object", where, "see docs/data.md"};
  Fields fields(*vision, where, pointer);
  model.vision = read_vision_sizes(fields, {});
  for (const char* key : {"depth", "hidden_size", "intermediate_size", "num_heads", "num_position_embeddings"})
    if (!fields.has(key)) fields.expected(key, "a number");
  return fields.error();
}

/// Whether a row of a class has what the emulation of that class looks at.
bool has_parts(Architecture architecture, const Model& model) {
  const auto& experts = model.experts;
  const bool shares = architecture == Architecture::qwen2_moe || architecture == Architecture::qwen3_5_moe;
  const bool has_sizes = experts && experts->count > 0 && experts->per_token > 0 && experts->ffn > 0 &&
                         (!shares || experts->shared_ffn > 0);
  return (!has_experts(architecture) || has_sizes) &&
         (!is_qwen3_5(architecture) || model.linear_attention.has_value());
}

/// A row of models.json, like read_gpu. A shape that is not complete is one of a class that is not
/// emulated, whatever the class.
Result<FoundModel> read_model(const Json& row, const Json& header, const std::string& where,
                              const std::string& pointer) {
  Fields fields(row, where, pointer);
  const Origins origins(row, header);
  FoundModel found;
  Model& model = found.model;
  model.id = fields.text("id").value_or("");
  model.hub_id = fields.text("hub_id").value_or("");
  model.architecture_name = fields.text("architecture").value_or("unknown");
  if (const auto total = fields.whole("parameters", 1, INT64_MAX))
    found.parameters = Params(*total);

  struct Count {
    const char* key;
    std::int64_t Model::*member;
    std::int64_t most;
  };
  constexpr Count kShape[] = {{"layers", &Model::layers, kDeepest},
                              {"hidden", &Model::hidden, kWidest},
                              {"ffn", &Model::ffn, kWidestFfn},
                              {"heads", &Model::heads, kMostHeads},
                              {"kv_heads", &Model::kv_heads, kMostHeads},
                              {"head_dim", &Model::head_dim, kWidestHead},
                              {"vocabulary", &Model::vocabulary, kMostWords}};
  bool is_complete = true;
  found.evidence = origins.evidence("layers");
  for (const Count& count : kShape) {
    model.*count.member = fields.whole(count.key, 1, count.most).value_or(0);
    is_complete = is_complete && (fields.has(count.key) || count.member == &Model::ffn);
    if (fields.has(count.key)) found.evidence = weaker(found.evidence, origins.evidence(count.key));
  }
  model.max_positions = fields.whole("max_positions", 1, kLongest).value_or(0);
  found.instruct_positions = fields.whole("instruct_max_positions", 1, kLongest).value_or(0);
  model.sliding_window = fields.whole("sliding_window", 1, kLongest).value_or(0);
  model.rotary_dim = fields.whole("rotary_dim", 1, kWidestHead).value_or(0);
  model.ties_embeddings = fields.boolean("ties_embeddings").value_or(false);
  model.has_qkv_bias = fields.boolean("has_qkv_bias").value_or(false);
  model.has_o_bias = fields.boolean("has_o_bias").value_or(false);
  model.has_mlp_bias = fields.boolean("has_mlp_bias").value_or(false);
  model.has_qk_norm = fields.boolean("has_qk_norm").value_or(false);
  model.has_dropout = fields.boolean("has_dropout").value_or(false);
  if (const auto experts = row.find("experts"); experts != row.end() && !experts->is_null()) {
    if (!experts->is_object()) {
      fields.expected("experts", "an object");
    } else {
      Fields inner(*experts, where, pointer + "/experts");
      model.experts = Experts{inner.whole("count", 1, kMostExperts).value_or(0),
                              inner.whole("per_token", 1, kMostExperts).value_or(0),
                              inner.whole("ffn", 1, kWidestFfn).value_or(0),
                              inner.whole("sparse_step", 1, kDeepest).value_or(1),
                              inner.boolean("normalizes").value_or(false),
                              inner.whole("shared_ffn", 1, kWidestFfn).value_or(0)};
      if (model.experts->per_token > model.experts->count)
        inner.expected("per_token", "at most the count of experts");
      if (inner.error()) return *inner.error();
      found.evidence = weaker(found.evidence, origins.evidence("experts"));
    }
  }
  const bool has_dense_layers = !model.experts || model.experts->sparse_step > 1;
  is_complete = is_complete && (fields.has("ffn") || !has_dense_layers);
  if (const auto linear = read_linear_attention(row, where, pointer + "/linear_attention", model); linear)
    return *linear;
  if (model.linear_attention) found.evidence = weaker(found.evidence, origins.evidence("linear_attention"));
  if (const auto vision = read_vision(row, where, pointer + "/vision", model); vision) return *vision;
  if (const auto stored = fields.text("stored")) {
    if (*stored == "fp32")
      model.stored = DType::fp32;
    else if (*stored == "fp16")
      model.stored = DType::fp16;
    else if (*stored != "bf16")
      fields.expected("stored", "\"bf16\", \"fp16\" or \"fp32\"");
  }
  if (model.kv_heads > 0 && model.heads % model.kv_heads != 0)
    fields.expected("kv_heads", "a divisor of heads");
  if (!fields.has("id")) fields.expected("id", "text");
  if (fields.error()) return *fields.error();
  for (int i = 0; i < static_cast<int>(Architecture::other); ++i) {
    const auto known = static_cast<Architecture>(i);
    if (name(known) != model.architecture_name) continue;
    if (is_complete && has_parts(known, model))
      model.architecture = known;
    else
      model.architecture_name += " of unknown shape";
    break;
  }
  return found;
}

}  // namespace

/// The rows under an overlay. The texts live here, since rows are views.
struct Tables::Overlay {
  std::deque<std::string> texts;
  std::array<std::vector<Row>, std::size(kKinds)> rows;
  std::vector<std::string> overridden;
  std::string as_of;

  std::string_view keep(std::string text) { return texts.emplace_back(std::move(text)); }
  std::optional<Error> add_table(Kind kind, const std::string& file);
  std::optional<Error> add_row(Kind kind, const Json& row, const std::string& file,
                               const std::string& pointer);
};

namespace {

/// Lays one row over another, field by field; what the overlay sets is known as the overlay says,
/// and assumed if it says nothing.
Json laid_over(Json base, const Json& overlay, Tables::Kind kind) {
  static constexpr std::string_view kNotFigures[] = {"id",     "aliases", "evidence",
                                                     "source", "except",  "note"};
  const bool is_new = base.is_null();
  if (is_new) base = Json::object();
  Json changed = Json::array();
  for (const auto& [key, value] : overlay.items()) {
    if (key == "evidence" || key == "source" || key == "except") continue;
    base[key] = value;
    if (std::find(std::begin(kNotFigures), std::end(kNotFigures), key) == std::end(kNotFigures))
      changed.push_back(key);
  }
  if (kind == Tables::Kind::sources) return base;
  Json origin = {{"evidence", overlay.value("evidence", "assumed")}};
  if (overlay.contains("source")) origin["source"] = overlay["source"];
  Json exceptions = overlay.value("except", Json::array());
  if (is_new) {
    base.update(origin);
  } else {
    origin["of"] = std::move(changed);
    exceptions.push_back(std::move(origin));
    for (const Json& entry : base.value("except", Json::array())) exceptions.push_back(entry);
  }
  if (!exceptions.empty()) base["except"] = std::move(exceptions);
  return base;
}

/// Whether `json` says in a known word how figures are known, and names a source or none.
bool is_origin(const Json& json) {
  const auto evidence = json.find("evidence");
  const auto source = json.find("source");
  return (evidence == json.end() ||
          (evidence->is_string() && evidence_named(evidence->get<std::string>()))) &&
         (source == json.end() || source->is_string());
}

/// Whether a row's exceptions are as data/schema has them.
bool are_exceptions(const Json& list) {
  return list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& entry) {
           return entry.is_object() && is_origin(entry) && entry.contains("evidence") &&
                  entry.contains("of") && entry["of"].is_array();
         });
}

}  // namespace

std::optional<Error> Tables::Overlay::add_row(Kind kind, const Json& row, const std::string& file,
                                              const std::string& pointer) {
  const auto wrong = [&](std::string what) {
    return Error{Error::Kind::wrong, pointer + std::move(what), file, "correct the file"};
  };
  if (!row.is_object()) return wrong(": expected an object");
  Fields fields(row, file, pointer);
  const std::string id = fields.text("id").value_or("");
  if (fields.error()) return fields.error();
  if (id.empty() ||
      id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != std::string::npos)
    return wrong("/id: expected an id of small letters, digits, points and hyphens");
  if (!is_origin(row)) return wrong(": expected evidence such as \"vendor\", and a source in text");
  if (row.contains("except") && !are_exceptions(row["except"]))
    return wrong("/except: expected a list of {\"of\": [...], \"evidence\": ..., \"source\": ...}");
  if (const auto aliases = row.find("aliases"); aliases != row.end()) {
    const bool is_list =
        aliases->is_array() && std::all_of(aliases->begin(), aliases->end(), [](const Json& alias) {
          return alias.is_string() &&
                 alias.get_ref<const std::string&>().find_first_of("\"\\") == std::string::npos;
        });
    if (!is_list) return wrong("/aliases: expected a list of names");
  }

  // A field that no row of the table has is a misspelt one, which would otherwise do nothing.
  for (const auto& [key, value] : row.items()) {
    const std::string quoted = '"' + key + "\": ";
    const auto known = of(kind).table().rows;
    if (key != "evidence" && key != "source" && key != "except" && key != "note" &&
        std::none_of(known.begin(), known.end(), [&](const Row& other) {
          return other.json.find(quoted) != std::string_view::npos;
        }))
      return wrong(": no row of the table has a field '" + key.substr(0, 40) + "'");
  }

  std::vector<Row>& table = rows[static_cast<std::size_t>(kind)];
  auto base =
      std::find_if(table.begin(), table.end(), [&](const Row& other) { return other.id == id; });
  const Json merged = laid_over(base == table.end() ? Json() : parse_own(base->json), row, kind);
  const Json header = parse_own(of(kind).table().header);
  if (kind == Kind::gpus)
    if (const auto gpu = read_gpu(merged, header, file, pointer); !gpu) return gpu.error();
  if (kind == Kind::models)
    if (const auto model = read_model(merged, header, file, pointer); !model) return model.error();
  Fields merged_fields(merged, file, pointer);
  const std::string name = merged_fields.text(of(kind).name_key).value_or("");
  if (merged_fields.error()) return merged_fields.error();

  const std::string aliases = merged.value("aliases", Json::array()).dump();
  std::string (*const key_of)(std::string_view) = kind == Kind::gpus ? gpu_key : model_key;
  std::optional<Error> taken;
  for_each_name(aliases, [&](std::string_view alias) {
    const std::string key = key_of(alias);
    for (const Row& other : table)
      if (other.id != id && !taken && (key_of(other.id) == key || has_alias(other, key, key_of)))
        taken = wrong("/aliases: '" + std::string(alias) + "' means " + std::string(other.id) +
                      " already");
  });
  if (taken) return taken;
  const Row made{keep(id), keep(name), keep(aliases.substr(1, aliases.size() - 2)),
                 keep(merged.dump())};
  if (base == table.end())
    table.push_back(made);
  else
    *base = made;
  overridden.push_back(std::string(of(kind).name) + "/" + id);
  return std::nullopt;
}

std::optional<Error> Tables::Overlay::add_table(Kind kind, const std::string& file) {
  const auto text = read_text_file(file, kLargestOverlay);
  if (!text) return text.error();
  const auto parsed = parse_json(*text, file);
  if (!parsed) return parsed.error();
  const auto wrong = [&](std::string what, std::string hint) {
    return Error{Error::Kind::wrong, std::move(what), file, std::move(hint)};
  };
  const std::string name = of(kind).name;
  const std::string schema = "qwenplan." + name + "/1";
  if (!parsed->is_object() || parsed->value("schema", Json()) != schema)
    return wrong("not a table of " + name,
                 "it has to begin with {\"schema\": \"" + schema + "\", \"" + name + "\": [");
  const auto list = parsed->find(name);
  if (list == parsed->end() || !list->is_array())
    return wrong("/" + name + ": expected a list of rows",
                 "see data/schema/" + name + ".schema.json");
  if (const auto day = parsed->find("as_of"); day != parsed->end() && day->is_string())
    as_of = std::min(as_of, day->get<std::string>());
  for (std::size_t i = 0; i < list->size(); ++i)
    if (auto error = add_row(kind, (*list)[i], file, "/" + name + "/" + std::to_string(i)))
      return error;
  return std::nullopt;
}

std::span<const Row> Tables::rows(Kind kind) const {
  return overlay_ ? std::span<const Row>(overlay_->rows[static_cast<std::size_t>(kind)])
                  : of(kind).table().rows;
}

Result<Tables> Tables::open(const std::string& overlay) {
  Tables tables;
  if (overlay.empty()) return tables;
  std::error_code ignored;
  if (!std::filesystem::is_directory(overlay, ignored))
    return Error{Error::Kind::wrong, "no such folder '" + overlay + "'", "--data",
                 "it is a folder that holds gpus.json or models.json"};
  auto laid = std::make_shared<Overlay>();
  laid->as_of = tables.as_of();
  for (const Kind kind : {Kind::gpus, Kind::models, Kind::sources, Kind::prices, Kind::machines,
                          Kind::measurements, Kind::calibration}) {
    const embedded::Table table = of(kind).table();
    laid->rows[static_cast<std::size_t>(kind)].assign(table.rows.begin(), table.rows.end());
    const std::string file =
        (std::filesystem::path(overlay) / (std::string(of(kind).name) + ".json")).string();
    if (!std::filesystem::exists(file, ignored)) continue;
    if (auto error = laid->add_table(kind, file)) return *std::move(error);
  }
  tables.overlay_ = std::move(laid);
  return tables;
}

struct Tables::Known {
  std::map<std::string, FoundModel, std::less<>> models;
  std::map<std::string, FoundGpu, std::less<>> gpus;
};

Tables::Tables() : known_(std::make_shared<Known>()) {}

Result<FoundModel> Tables::model(std::string_view name) const {
  if (const auto known = known_->models.find(name); known != known_->models.end()) return known->second;
  auto found = find_model(name);
  if (found && !found->is_file) known_->models.emplace(name, *found);
  return found;
}

Result<FoundGpu> Tables::gpu(std::string_view name, std::optional<Bytes> reported) const {
  if (reported) return find_gpu(name, reported);
  if (const auto known = known_->gpus.find(name); known != known_->gpus.end()) return known->second;
  auto found = find_gpu(name, reported);
  if (found) known_->gpus.emplace(name, *found);
  return found;
}

Result<FoundModel> Tables::find_model(std::string_view asked) const {
  const std::string name(trimmed(asked));
  const std::string folded = lowered(name);
  const std::string key = model_key(name);
  const std::string_view owner = std::string_view(folded).substr(0, folded.find('/') + 1);
  const auto table = rows(Kind::models);
  const auto take = [&](const Row& row, std::vector<std::string> also,
                        bool is_guess) -> Result<FoundModel> {
    auto found = read_model(parse_own(row.json), parse_own(of(Kind::models).table().header),
                            "models.json", {});
    if (!found) return found;
    found->asked = name;
    if (folded.find("-instruct") != std::string::npos && found->instruct_positions > 0)
      found->model.max_positions = found->instruct_positions;
    if (is_guess) found->reading = "'" + name + "' is taken as " + std::string(row.id);
    found->also = std::move(also);
    return found;
  };

  for (const Row& row : table)
    if (row.id == folded) return take(row, {}, false);
  for (const Row& row : table)
    if (lowered(row.name) == folded) return take(row, {}, false);

  const auto with_id = [&](const std::string& id) {
    return std::find_if(table.begin(), table.end(), [&](const Row& row) { return row.id == id; });
  };
  const auto with_alias = [&] {
    return std::find_if(table.begin(), table.end(),
                        [&](const Row& row) { return has_alias(row, key, model_key); });
  };
  if (is_size_alone(folded)) {
    auto row = with_id("qwen2.5-" + folded);
    if (row == table.end()) row = with_id("qwen3-" + folded);
    if (row == table.end()) row = with_alias();
    std::vector<std::string> others;
    for (const Row& other : table)
      if (other.id.ends_with("-" + folded) && (row == table.end() || other.id != row->id))
        others.emplace_back(other.id);
    if (row != table.end()) return take(*row, std::move(others), true);
    if (others.size() == 1) return take(*with_id(others[0]), {}, true);
    if (!others.empty()) return ambiguous_name("model", name, std::move(others), "--model");
  }

  // A name in the table goes before a path; a path before the copy of a model under another owner.
  const bool looks_like_path = folded.ends_with(".json") || folded.starts_with('.') ||
                               folded.starts_with('/') || folded.starts_with('~') ||
                               std::count(folded.begin(), folded.end(), '/') > 1;
  auto row = table.end();
  bool is_alias = false;
  if (!looks_like_path && !key.empty()) {
    row = std::find_if(table.begin(), table.end(), [&](const Row& other) {
      return model_key(other.id) == key || model_key(other.name) == key;
    });
    if (row == table.end()) is_alias = (row = with_alias()) != table.end();
  }
  const bool is_copy = row != table.end() && !owner.empty() && !lowered(row->name).starts_with(owner);
  if (row == table.end() || is_copy) {
    std::error_code ignored;
    if (std::filesystem::exists(name, ignored)) {
      auto model = read_hf_config(name);
      if (!model) return model.error();
      return FoundModel{*std::move(model), std::nullopt, Evidence::exact, true, {}, {}};
    }
    if (looks_like_path)
      return Error{Error::Kind::wrong, "no such file '" + name.substr(0, 200) + "'", "--model",
                   "give the path of a config.json, or of the folder that holds it"};
  }
  if (row == table.end()) return unknown_name("model", name, table, "--model", "models");
  std::vector<std::string> others;
  for (const Row& other : table)
    if (is_alias && other.id != row->id && other.id.starts_with(key + "-"))
      others.emplace_back(other.id);
  const bool is_guess = is_copy || !others.empty();
  return take(*row, std::move(others), is_guess);
}

Result<FoundGpu> Tables::find_gpu(std::string_view asked, std::optional<Bytes> reported) const {
  std::string_view name = trimmed(asked);
  std::int64_t count = 1;
  const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  const std::string_view rest = trimmed(name.substr(digits));
  // Four digits and an x with more behind it are a name: 7900xtx.
  const bool is_counted = digits > 0 && rest.size() > 1 && (rest[0] == 'x' || rest[0] == 'X') &&
                          (digits < 4 || rest[1] == ' ');
  if (is_counted) {
    count = digits > 4 ? kMostGpus + 1 : std::stoi(std::string(name.substr(0, digits)));
    if (count < 1 || count > kMostGpus)
      return Error{
          Error::Kind::wrong,
          "'" + std::string(name.substr(0, 40)) + "' is not a number of GPUs that is modelled",
          "--gpu",
          "write a number from 1 to " + std::to_string(kMostGpus) + ", such as '2x rtx4090'"};
    name = trimmed(rest.substr(1));
  }
  const std::string folded = lowered(name);
  const std::string key = gpu_key(name);
  const auto table = rows(Kind::gpus);
  const auto read = [&](const Row& row) {
    return read_gpu(parse_own(row.json), parse_own(of(Kind::gpus).table().header), "gpus.json", {});
  };
  const auto take = [&](const Row& row, bool is_exact) -> Result<FoundGpu> {
    auto gpu = read(row);
    if (!gpu) return gpu.error();
    FoundGpu found{*std::move(gpu), count, {}, {}};
    if (is_exact) return found;
    for (const Row& other : table)
      if (other.id != row.id && family(other.id) == family(row.id))
        found.also.emplace_back(other.id);
    if (!found.also.empty())
      found.reading = "'" + std::string(name) + "' is taken as " + std::string(row.id);
    return found;
  };

  if (reported && !key.empty()) {
    const Row* best = nullptr;
    std::int64_t least =
        reported->count() / 7;  // a driver keeps up to 7 % for itself, a variant differs by a fifth
    for (const Row& row : table) {
      if (gpu_key(row.name) != key) continue;
      const auto gpu = read(row);
      if (!gpu) return gpu.error();
      const std::int64_t apart = std::abs(gpu->memory.value.count() - reported->count());
      if (apart < least) best = &row, least = apart;
    }
    if (best) return take(*best, true);
    return unknown_name("gpu", name, table, "--gpu", "gpus");
  }

  for (const Row& row : table)
    if (row.id == folded) return take(row, true);
  const auto has_name = [&](const Row& row) { return lowered(row.name) == folded; };
  if (std::count_if(table.begin(), table.end(), has_name) == 1)
    return take(*std::find_if(table.begin(), table.end(), has_name), true);
  for (const Row& row : table)
    if (row.aliases.find('"' + folded + '"') != std::string_view::npos) return take(row, false);
  if (key.empty()) return unknown_name("gpu", name, table, "--gpu", "gpus");
  for (const Row& row : table)
    if (gpu_key(row.id) == key) return take(row, true);
  for (const Row& row : table)
    if (has_alias(row, key, gpu_key)) return take(row, false);
  for (const Row& row : table)
    if (gpu_key(row.name) == key) return take(row, false);

  std::vector<std::string> ids;
  const Row* last = nullptr;
  for (const Row& row : table)
    if (gpu_key(row.id).starts_with(key)) ids.emplace_back(row.id), last = &row;
  if (ids.size() == 1) return take(*last, false);
  if (!ids.empty()) return ambiguous_name("gpu", name, std::move(ids), "--gpu");
  return unknown_name("gpu", name, table, "--gpu", "gpus");
}

std::vector<std::string> Tables::ids(Kind kind) const {
  std::vector<std::string> ids;
  for (const Row& row : rows(kind)) ids.emplace_back(row.id);
  return ids;
}

Result<std::string> Tables::row(Kind kind, std::string_view id) const {
  const auto table = rows(kind);
  for (const Row& row : table)
    if (row.id == id) return std::string(row.json);
  return unknown_name("row", id, table, of(kind).name, of(kind).name);
}

std::string Tables::as_of() const {
  if (overlay_) return overlay_->as_of;
  std::string oldest = "9999-12-31";
  for (const TableKind& kind : kKinds)
    oldest = std::min(oldest, parse_own(kind.table().header).value("as_of", oldest));
  return oldest;
}

const std::vector<std::string>& Tables::overridden() const {
  static const std::vector<std::string> kNone;
  return overlay_ ? overlay_->overridden : kNone;
}

}  // namespace qwenplan
