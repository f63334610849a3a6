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
    "arrow_config", "velora_config"};

void take_members(Settings& saved, Place place, TrainFile& file) {
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
    if (saved.is_set(key)) refuse("'" + std::string(key) + "'");
  if (const auto bias = saved.text("bias"); bias && bias->value != "none") refuse("the trained bias");
  draft.lora_rank = moved(saved.whole("r"));
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
  if (!draft.lora_rank || !draft.lora_targets) refuse("the missing rank or list of layers");
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
  Settings saved(&document->root, "adapter_config.json: ", inside);
  take_members(saved, place, file);
  for (Finding& each : inside) set_unmodelled(file, std::move(each.message), place, "correct it");
  const auto& rank = file.draft.lora_rank;
  if (given && given->from == From::file && rank && rank->value != given->value)
    file.findings.push_back({"saved-adapter",
                             shown + " has rank " + std::to_string(rank->value) + ", whatever the file says of new ones",
                             given->place, "write " + std::to_string(rank->value)});
}

}  // namespace qwenplan
