#include "read/trainer/command_flags.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <utility>

#include "read/trainer/interpolation.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// Settings that change neither memory nor time of a step, although they are read.
bool is_beside_the_step(std::string_view key) {
  constexpr std::string_view kBeside[] = {
      "model",         "model_name_or_path", "dataset",        "val_dataset",
      "eval_dataset",  "dataset_dir",        "cache_dir",      "output_dir",
      "logging_dir",   "run_name",           "report_to",      "overwrite_output_dir",
      "learning_rate", "lr_scheduler_type",  "warmup_ratio",   "warmup_steps",
      "weight_decay",  "seed",               "data_seed",      "resume_from_checkpoint",
      "max_steps",     "num_train_epochs",   "logging_steps",  "save_steps",
      "save_strategy", "save_total_limit",   "eval_steps",     "eval_strategy",
      "max_samples",   "evaluation_strategy", "ddp_timeout",   "per_device_eval_batch_size",
      "val_size",      "split_dataset_ratio", "plot_loss",     "load_best_model_at_end",
      "overwrite_cache", "preprocessing_num_workers", "dataloader_num_workers"};
  return std::find(std::begin(kBeside), std::end(kBeside), key) != std::end(kBeside);
}

/// Why a flag leaves the run open.
TrainFile::Open open_setting(const OpenFlag& flag) {
  constexpr std::pair<std::string_view, std::string_view> kOurs[] = {
      {"max_length", "seq-len"},
      {"cutoff_len", "seq-len"},
      {"per_device_train_batch_size", "batch"},
      {"NPROC_PER_NODE", "gpus"},
      {"NNODES", "gpus"},
      {"CUDA_VISIBLE_DEVICES", "gpus"}};
  const auto* const ours = std::find_if(std::begin(kOurs), std::end(kOurs),
                                        [&](const auto& each) { return each.first == flag.key; });
  const std::string given = ours == std::end(kOurs) ? "" : std::string(ours->second);
  const bool is_variable = given == "gpus";
  const bool is_argument = flag.variable.find_first_not_of("0123456789") == std::string::npos;
  const std::string subject =
      flag.key.empty() ? "the script adds flags" : "the value of " + std::string(is_variable ? "" : "--") + flag.key;
  const std::string what = subject + (flag.key.empty() ? " by '" : " needs '") + flag.variable.substr(0, 40) + "', which " +
                           (flag.is_either ? "its branches set differently"
                            : is_argument  ? "an argument of the script or of a function gives"
                                           : "the script does not set");
  return {given,
          unknown_at(flag.place, what, given.empty() ? "write the value out" : "give it with --" + given)};
}

/// Why a run cannot be read whose file of arguments is not here.
Error missing_arguments(const std::string& path, Place place) {
  return unknown_at(place, "the file of arguments '" + path.substr(0, 100) + "' is not here", "give that file itself");
}

/// The arguments of a file, all at the place that names it. `is_filled`: the trainer resolves references in it.
Result<Node> arguments_in(const std::string& path, Place place, bool is_filled, const Neighbours& neighbours) {
  const auto text = neighbours.text_of(path);
  if (!text) return missing_arguments(path, place);
  const auto unreadable = [&](const std::string& at, const std::string& why) {
    return unknown_at(place, "the file of arguments cannot be read: " + at + ": " + why, "correct that file");
  };
  auto document = parse_document(*text, path, syntax_of(*text, path));
  if (!document) return unreadable(document.error().where, document.error().what);
  Node root = std::move(document.value().root);
  if (root.is_null()) root.kind = Node::Kind::map;  // an empty file
  if (!root.is_map()) return unreadable(where(path, root.place), "no keys with values");
  if (is_filled)
    if (const auto deep = resolve_references(root))
      return unreadable(where(path, *deep), "references that go too deep, or make too much, to be followed");
  for (Entry& entry : root.entries) entry.place = entry.value.place = place;
  return root;
}

}  // namespace

Node scalar_of(const ShellWord& word) {
  Node node;
  node.kind = Node::Kind::scalar;
  node.scalar = word.text;
  node.place = word.place;
  return node;
}

CommandFlags::CommandFlags(const std::vector<ShellWord>& words, std::size_t first) : words_(words), at_(first) {
  root.kind = Node::Kind::map;
}

std::optional<Error> CommandFlags::take_file(const Neighbours& neighbours) {
  if (at_ >= words_.size()) return std::nullopt;
  const ShellWord& file = words_[at_];
  const bool is_file = file.text.ends_with(".yaml") || file.text.ends_with(".yml") || file.text.ends_with(".json");
  if (file.text.starts_with("--") || (!is_file && file.unresolved.empty())) return std::nullopt;
  if (!file.unresolved.empty()) return missing_arguments(file.text, file.place);
  auto arguments = arguments_in(file.text, file.place, false, neighbours);
  if (!arguments) return arguments.error();
  root = std::move(arguments).value();
  index();
  return std::nullopt;
}

std::optional<Error> CommandFlags::take_named_file(std::string_view flag, const Neighbours& neighbours) {
  const auto position = positions_.find(flag);
  if (position == positions_.end()) return std::nullopt;
  const auto at = root.entries.begin() + static_cast<std::ptrdiff_t>(position->second);
  const Entry named = std::move(*at);
  root.entries.erase(at);
  index();
  const std::string said = "--" + std::string(flag);
  for (const OpenFlag& each : open)
    if (each.key == flag) return missing_arguments("$" + each.variable, named.place);
  if (named.value.is_list()) return unknown_at(named.place, said + " takes one file of arguments", "name one");
  // A flag alone is true; only one with its value behind a sign stands where its value does.
  if (named.value.scalar.empty() || (named.value.scalar == "true" && named.value.place == named.place))
    return unknown_at(named.place, said + " lacks its value", "name a file of arguments behind it");
  auto arguments = arguments_in(named.value.scalar, named.place, true, neighbours);
  if (!arguments) return arguments.error();
  for (Entry& entry : arguments.value().entries) put(std::move(entry));
  return std::nullopt;
}

void CommandFlags::index() {
  positions_.clear();
  for (std::size_t i = 0; i < root.entries.size(); ++i) positions_.emplace(root.entries[i].key, i);
}

void CommandFlags::put(Entry entry) {
  const auto [position, is_new] = positions_.emplace(entry.key, root.entries.size());
  if (is_new)
    root.entries.push_back(std::move(entry));
  else
    root.entries[position->second] = std::move(entry);
}

void CommandFlags::read() {
  while (at_ < words_.size()) {
    if (words_[at_].text.starts_with("--")) {
      flag();
      continue;
    }
    if (words_[at_].is_open) further.push_back(&words_[at_]);
    ++at_;
  }
}

void CommandFlags::take_further(RuleId rule, std::vector<Finding>& findings) {
  for (const ShellWord* word : further)
    for (const std::string& variable : word->unresolved) {
      if (word->is_either)
        open.push_back({"", variable, true, true, word->place});
      else
        findings.push_back({rule, "'" + variable.substr(0, 40) + "' may bring more flags, which are not known here",
                            word->place, {}});
    }
}

void CommandFlags::flag() {
  Entry entry{words_[at_].text.substr(2), words_[at_].place, {}};
  std::vector<const ShellWord*> values;
  ShellWord behind_sign;
  if (const std::size_t sign = entry.key.find('='); sign != std::string::npos) {
    behind_sign = words_[at_];
    behind_sign.text = entry.key.substr(sign + 1);
    entry.key.resize(sign);
    values.push_back(&behind_sign);
  }
  // HfArgumentParser knows each flag with hyphens too.
  if (entry.key.find('_') == std::string::npos)
    std::replace(entry.key.begin(), entry.key.end(), '-', '_');
  for (++at_; at_ < words_.size() && !words_[at_].text.starts_with("--"); ++at_) {
    // Behind a value, what may be no word or more flags is not this flag's.
    if (words_[at_].is_open && !values.empty())
      further.push_back(&words_[at_]);
    else
      values.push_back(&words_[at_]);
  }
  bool is_resolved = true;
  for (const ShellWord* value : values) {
    is_resolved = is_resolved && value->unresolved.empty();
    for (const std::string& variable : value->unresolved)
      open.push_back({entry.key, variable, value->is_either, false, value->place});
  }
  if (values.empty()) {
    entry.value = scalar_of({"true", entry.place, {}});
  } else if (values.size() == 1) {
    entry.value = scalar_of(*values.front());
  } else {
    entry.value.kind = Node::Kind::list;
    entry.value.place = values.front()->place;
    for (const ShellWord* value : values) entry.value.items.push_back(scalar_of(*value));
  }
  // A model may keep its variable in its name; a number may not.
  if (!is_resolved && entry.key != "model" && entry.key != "model_name_or_path" && entry.key != "dataset") {
    entry.value = Node{};
    entry.value.place = entry.place;
  }
  put(std::move(entry));
}

void put_open_flag(const OpenFlag& flag, bool is_read, RuleId rule, TrainFile& file) {
  TrainFile::Open setting = open_setting(flag);
  if (flag.decides_run || (is_read && !is_beside_the_step(flag.key)))
    file.open.push_back(std::move(setting));
  else
    file.findings.push_back({rule, std::move(setting.error.what), flag.place, {}});
}

}  // namespace qwenplan
