#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/describe/run_draft.hpp"
#include "read/trainer/document.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// The keys of one map of a trainer's file. Asking for a key makes it known, so that a reader
/// cannot forget to declare one; what nobody asked for is reported at the end, with the nearest key
/// that is known. A value of the wrong kind is a finding, and counts as missing.
class Settings {
 public:
  /// `path` stands before the keys in messages: "fsdp_config." for a map inside another one. `map`
  /// must outlive the settings; nullptr and nodes that are no map have no keys.
  Settings(const Node* map, std::string path, std::vector<Finding>& findings)
      : map_(map), path_(std::move(path)), findings_(findings) {}

  /// The trainer fills in references: one that is left is unresolved, not a wrong value.
  void expect_references() { expects_references_ = true; }
  /// The trainer's own parser takes y, n, t and f for true and false, as argparse's types of
  /// transformers do.
  void take_letters() { takes_letters_ = true; }
  /// Says which of the keys hold something else than true or false; blanks are between them. What they
  /// decide is nobody's question here.
  void expect_truth(std::string_view keys);
  /// The value of a key that is there and not null.
  const Node* node(std::string_view key);
  bool has(std::string_view key) { return node(key) != nullptr; }
  /// True if the reader has asked for the key's value, so that it decides something.
  bool was_asked(std::string_view key) const { return asked_.find(key) != asked_.end(); }
  /// True if the value of a key that was renamed stands under its old name.
  bool has_old(std::string_view old_key) const;
  /// Where the key stands; no place if it is missing.
  Place place(std::string_view key) const;

  // Values with where they stand, as a RunDraft takes them.
  RunDraft::Maybe<std::int64_t> whole(std::string_view key);
  RunDraft::Maybe<double> number(std::string_view key);
  RunDraft::Maybe<bool> truth(std::string_view key);
  RunDraft::Maybe<std::string> text(std::string_view key);
  RunDraft::Maybe<std::vector<std::string>> words(std::string_view key);

  /// True if the key is there and says so.
  bool is_on(std::string_view key);
  /// A map inside this one; one without keys if there is none.
  Settings inside(std::string_view key);

  /// `old_key` was renamed to `key`: where only the old one stands, it is read as the new one, and
  /// a finding says since which version the trainer does not know it.
  void renamed(std::string_view old_key, std::string_view key, std::string_view since,
               RuleId rule = "renamed-key");
  /// `key` is gone since a version; a finding says what stands in its place.
  void removed(std::string_view key, std::string_view since, std::string_view instead);
  /// Two settings that the trainer refuses together, where both are on: the finding is at the first.
  void conflict(RuleId rule, std::string_view key, std::string_view other, std::string message,
                std::string fix);
  /// True if the key is there and neither null, false, zero, nor empty: what Python takes for true.
  bool is_set(std::string_view key);
  /// The keys that the trainer knows and that change nothing here, with blanks between them.
  void know(std::string_view keys);

  /// A finding at a key of this map.
  void say(RuleId rule, std::string_view key, std::string message, std::string fix = {});
  /// Reports the keys that nobody knows under `rule`, which says what the trainer does about them;
  /// so does `consequence`: "axolotl ignores it".
  void report_unknown(RuleId rule, std::string_view consequence);

 private:
  const Entry* entry(std::string_view key) const;
  void expected(const Entry& found, std::string_view what);
  std::optional<bool> truth_of(const Node& value) const;

  const Node* map_;
  bool expects_references_ = false;
  bool takes_letters_ = false;
  std::string path_;
  std::vector<Finding>& findings_;
  std::set<std::string, std::less<>> known_;
  std::set<std::string, std::less<>> asked_;
  std::set<std::string, std::less<>> old_;
  std::vector<std::pair<std::string, std::string>> aliases_;  ///< new key, old key
};

/// True for keys whose values are nobody's business: tokens, passwords, keys of services.
bool is_secret(std::string_view key);
/// True for a key whose value opens a door, and which is no variable or empty word.
bool is_credential(std::string_view key, std::string_view value);

/// Whether a model's name is one of those that have a vision or audio tower beside the decoder.
bool has_tower(std::string_view model);
/// Whether a data set's name says that it has pictures.
bool has_images(std::string_view data);

/// The name of --optimizer for an `optim` of Hugging Face's or an `optimizer` of axolotl's:
/// "adamw_torch_fused" is adamw-fused. What is unknown keeps its name, with dashes.
std::string optimizer_name(std::string_view name);

/// A format by PyTorch's name or a trainer's: bfloat16, torch.float16, fp32.
std::optional<DType> dtype_named(std::string_view name);

/// What cannot be told, or is not modelled, at a place of the trainer's file, whose name
/// `read_train_file` puts to it.
Error unknown_at(Place place, std::string what, std::string hint);

/// Notes why there can be no estimate; the first reason stays.
void set_unmodelled(TrainFile& file, std::string what, Place place, std::string hint);

/// What is read of a trainer's file for which there can be no estimate.
TrainFile unmodelled_file(Trainer trainer, Error why);

/// A value that stands in the file at a place.
template <class T>
Given<T> from_file(T value, Place place) {
  return {std::move(value), From::file, place};
}

/// A value that the file does not have and the trainer puts in.
template <class T>
Given<T> by_trainer(T value) {
  return {std::move(value), From::trainer, {}};
}

/// Sets what is not set yet.
template <class T>
void otherwise(RunDraft::Maybe<T>& setting, T value) {
  if (!setting) setting = by_trainer(std::move(value));
}

/// The value alone, without where it is from.
template <class T>
std::optional<T> value_of(const RunDraft::Maybe<T>& setting) {
  return setting ? std::optional<T>(setting->value) : std::nullopt;
}

}  // namespace qwenplan
