#include "read/trainer/saved_adapter.hpp"

#include <utility>

#include "read/trainer/document.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// Members of LoraConfig that make other adapters than those of one rank on whole layers.
constexpr std::string_view kOther[] = {
    "rank_pattern", "layers_to_transform", "layer_replication", "exclude_modules", "trainable_token_indices",
    "target_parameters", "lora_bias", "use_qalora", "alora_invocation_tokens", "megatron_config", "use_bdlora",
    "arrow_config", "velora_config", "kasa_config", "monteclora_config"};

/// Whether a member says something: layer 0 of layers_to_transform does.
bool is_given(Settings& saved, std::string_view key) {
  const Node* value = saved.node(key);
  return value && (saved.is_set(key) || (!value->is_quoted && value->whole() == 0));
}

void take_members(Settings& saved, const std::string& name, Place place, TrainFile& file) {
  RunDraft& draft = file.draft;
  const auto moved = [&](auto setting) {
    if (setting) setting->place = place;
    return setting;
  };
  const auto refuse = [&](std::string what) {
    set_unmodelled(file, std::move(what) + " of the adapter that is trained on is not modelled", place, "train a new one");
  };
  if (const auto type = saved.text("peft_type"); type && type->value != "LORA") refuse("the kind '" + type->value.substr(0, 40) + "'");
  for (const std::string_view key : kOther)
    if (is_given(saved, key)) refuse("'" + std::string(key) + "'");
  if (const auto bias = saved.text("bias"); bias && bias->value != "none") refuse("the trained bias");
  draft.lora_rank = moved(saved.whole("r"));
  if (draft.lora_rank && (draft.lora_rank->value < 1 || draft.lora_rank->value > kMostRank)) {
    saved.say("invalid-value", "r", name + ": r: " + saved.node("r")->shown() + " is no rank");
    draft.lora_rank.reset();
  }
  draft.lora_alpha = moved(saved.number("lora_alpha"));
  draft.lora_dropout = moved(saved.number("lora_dropout"));
  draft.uses_dora = moved(saved.truth("use_dora"));
  draft.modules_to_save = moved(saved.words("modules_to_save"));
  draft.lora_target_parameters.reset();
  file.target_pattern.reset();
  draft.lora_targets = moved(saved.words("target_modules"));
  const Node* targets = saved.node("target_modules");
  if (targets && !targets->is_list() && targets->scalar != "all-linear")
    file.target_pattern = from_file(targets->scalar, place);
  if (!saved.has("r") || !saved.has("target_modules")) refuse("the missing rank or list of layers");
}

}  // namespace

std::string adapter_config_in(const std::string& folder) {
  return folder + (folder.ends_with('/') ? "" : "/") + "adapter_config.json";
}

void take_saved_adapter(const std::string& folder, Place place, const Neighbours& neighbours, TrainFile& file) {
  const std::string name = adapter_config_in(folder);
  const std::string shown = "the adapter '" + folder.substr(0, 100) + "'";
  const auto text = neighbours.text_of(name);
  if (!text) {
    if (!file.draft.lora_rank || file.draft.lora_rank->from != From::file)
      set_unmodelled(file, "the rank of " + shown + ", which is trained on, is not in the file", place,
                     "give it beside this file, or write the rank that it has");
    else
      file.findings.push_back({"saved-adapter",
                               shown + " is trained on as it was made, and is not here: its rank and layers are taken to be the file's",
                               place, "give it beside this file"});
    return;
  }
  const auto document = parse_document(*text, name, Syntax::json);
  if (!document || !document->root.is_map()) {
    set_unmodelled(file, "the adapter_config.json of " + shown + " cannot be read", place, "correct it");
    return;
  }
  const auto given = file.draft.lora_rank;
  std::vector<Finding> inside;
  const std::string named = adapter_config_in(folder.substr(0, 100));
  Settings saved(&document->root, named + ": ", inside);
  take_members(saved, named, place, file);
  for (Finding& each : inside) set_unmodelled(file, std::move(each.message), place, "correct it");
  const auto& rank = file.draft.lora_rank;
  if (given && given->from == From::file && rank && rank->value != given->value)
    file.findings.push_back({"saved-adapter",
                             shown + " has rank " + std::to_string(rank->value) + ", whatever the file says of new ones",
                             given->place, "write " + std::to_string(rank->value)});
}

}  // namespace qwenplan
