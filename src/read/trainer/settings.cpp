#include "read/trainer/settings.hpp"

#include <algorithm>
#include <functional>

#include "qwenplan/base/nearest.hpp"
#include "qwenplan/base/parse.hpp"
#include "read/trainer/interpolation.hpp"

namespace qwenplan {

const Entry* Settings::entry(std::string_view key) const {
  if (!map_) return nullptr;
  for (const Entry& each : map_->entries)
    if (each.key == key) return &each;
  for (const auto& [current, old] : aliases_)
    if (current == key) return entry(old);
  return nullptr;
}

const Node* Settings::node(std::string_view key) {
  known_.emplace(key);
  asked_.emplace(key);
  const Entry* found = entry(key);
  return found && !found->value.is_null() ? &found->value : nullptr;
}

bool Settings::has_old(std::string_view old_key) const {
  return std::any_of(aliases_.begin(), aliases_.end(),
                     [&](const auto& alias) { return alias.second == old_key; });
}

Place Settings::place(std::string_view key) const {
  const Entry* found = entry(key);
  return found ? found->place : Place{};
}

void Settings::expected(const Entry& found, std::string_view what) {
  if (expects_references_ && is_unresolved(found.value)) {
    findings_.push_back({"unresolved-value", "'" + path_ + found.key + "' needs " + found.value.shown() + ", which the file does not decide",
                         found.value.place,
                         "write the value out"});
    return;
  }
  const bool is_hidden = is_secret(found.key) || is_credential(found.key, found.value.scalar);
  const std::string shown = is_hidden ? "something else" : found.value.shown();
  Finding finding{"invalid-value", path_ + found.key + ": expected " + std::string(what) + ", found " + shown,
                  found.value.place,
                  {}};
  // A reader may ask for a value twice.
  for (const Finding& each : findings_)
    if (each.message == finding.message) return;
  findings_.push_back(std::move(finding));
}

RunDraft::Maybe<std::int64_t> Settings::whole(std::string_view key) {
  const Node* value = node(key);
  if (!value) return std::nullopt;
  if (const auto whole = value->whole()) return from_file(*whole, value->place);
  expected(*entry(key), "a whole number");
  return std::nullopt;
}

RunDraft::Maybe<double> Settings::number(std::string_view key) {
  const Node* value = node(key);
  if (!value) return std::nullopt;
  if (const auto number = value->number()) return from_file(*number, value->place);
  expected(*entry(key), "a number");
  return std::nullopt;
}

RunDraft::Maybe<bool> Settings::truth(std::string_view key) {
  const Node* value = node(key);
  if (!value) return std::nullopt;
  if (const auto truth = truth_of(*value)) return from_file(*truth, value->place);
  expected(*entry(key), "true or false");
  return std::nullopt;
}

std::optional<bool> Settings::truth_of(const Node& value) const {
  if (takes_letters_ && value.scalar.size() == 1) {
    if (std::string_view("yYtT").find(value.scalar) != std::string_view::npos) return true;
    if (std::string_view("nNfF").find(value.scalar) != std::string_view::npos) return false;
  }
  return value.truth();
}

void Settings::expect_truth(std::string_view keys) {
  while (!keys.empty()) {
    const std::string_view key = keys.substr(0, keys.find(' '));
    keys.remove_prefix(std::min(key.size() + 1, keys.size()));
    const Entry* found = entry(key);
    if (found && found->value.kind == Node::Kind::scalar && !truth_of(found->value)) expected(*found, "true or false");
  }
}

RunDraft::Maybe<std::string> Settings::text(std::string_view key) {
  const Node* value = node(key);
  if (!value) return std::nullopt;
  if (auto text = value->text()) return from_file(*std::move(text), value->place);
  expected(*entry(key), "a word");
  return std::nullopt;
}

RunDraft::Maybe<std::vector<std::string>> Settings::words(std::string_view key) {
  const Node* value = node(key);
  if (!value) return std::nullopt;
  if (auto words = value->words()) return from_file(*std::move(words), value->place);
  expected(*entry(key), "words");
  return std::nullopt;
}

bool Settings::is_on(std::string_view key) {
  const auto said = truth(key);
  return said && said->value;
}

Settings Settings::inside(std::string_view key) {
  const Node* value = node(key);
  Settings inner(value && value->is_map() ? value : nullptr, path_ + std::string(key) + ".", findings_);
  inner.expects_references_ = expects_references_;
  return inner;
}

void Settings::renamed(std::string_view old_key, std::string_view key, std::string_view since,
                       RuleId rule) {
  known_.emplace(key);
  old_.emplace(old_key);
  const Entry* old = entry(old_key);
  if (!old) return;
  if (entry(key)) {
    say(rule, old_key,
        "'" + path_ + std::string(old_key) + "' is the old name of '" + std::string(key) +
            "', which stands here too",
        "remove it");
    return;
  }
  say(rule, old_key,
      "'" + path_ + std::string(old_key) + "' is called '" + std::string(key) + "' since " +
          std::string(since),
      "write " + std::string(key));
  aliases_.emplace_back(key, old_key);
}

void Settings::removed(std::string_view key, std::string_view since, std::string_view instead) {
  old_.emplace(key);
  const Entry* found = entry(key);
  if (!found || found->value.is_null()) return;
  say("removed-key", key,
      "'" + path_ + std::string(key) + "' does not exist since " + std::string(since),
      instead.empty() ? "remove it" : "write " + std::string(instead));
}

bool Settings::is_set(std::string_view key) {
  const Node* value = node(key);
  if (!value) return false;
  if (value->is_map()) return !value->entries.empty();
  if (value->is_list()) return !value->items.empty();
  if (const auto number = value->number(); number && !value->is_quoted) return *number != 0;
  if (const auto truth = value->truth(); truth && !value->is_quoted) return *truth;
  return !value->scalar.empty();
}

void Settings::conflict(RuleId rule, std::string_view key, std::string_view other,
                        std::string message, std::string fix) {
  if (is_set(key) && is_set(other)) say(rule, key, std::move(message), std::move(fix));
}

void Settings::know(std::string_view keys) {
  while (!keys.empty()) {
    const std::size_t end = keys.find_first_of(" \n");
    if (end != 0) known_.emplace(keys.substr(0, end));
    if (end == std::string_view::npos) break;
    keys.remove_prefix(end + 1);
  }
}

void Settings::say(RuleId rule, std::string_view key, std::string message, std::string fix) {
  findings_.push_back({rule, std::move(message), place(key), std::move(fix)});
}

void Settings::report_unknown(RuleId rule, std::string_view consequence) {
  if (!map_) return;
  const std::vector<std::string> known(known_.begin(), known_.end());
  // Of so many unknown keys none is a slip, and looking for the nearest of each costs time.
  constexpr std::size_t kMostSlips = 64;
  std::size_t unknown = 0;
  for (const Entry& each : map_->entries) {
    // A key without a value changes nothing, known or not.
    if (known_.contains(each.key) || old_.contains(each.key) || each.value.is_null()) continue;
    const auto near =
        ++unknown > kMostSlips ? std::vector<std::string>() : nearest_keys(each.key, known);
    findings_.push_back({rule,
                         "unknown key '" + path_ + each.key + "'; " + std::string(consequence),
                         each.place,
                         near.empty() ? std::string() : "did you mean '" + near.front() + "'?"});
  }
}

bool has_tower(std::string_view model) {
  std::string plain = lowered(model);
  std::replace_if(plain.begin(), plain.end(), [](char c) { return c == '_' || c == '.' || c == '/'; }, '-');
  plain = "-" + plain + "-";
  for (const std::string_view part :
       {"-vl-", "vl2", "internvl", "-vision", "-omni", "-audio", "voxtral", "pixtral", "llava", "-ovis", "paligemma",
        "multimodal", "smolvlm", "idefics", "-4v-", "4-5v", "4-1v", "-vlm-", "gemma-3n", "gemma3n", "gemma-4", "gemma4",
        "llama-4", "llama4", "minicpm-v", "minicpm-o", "mistral-small-3-1", "mistral-small-3-2", "-ministral-3-",
        "qwen-vl", "deepseek-ocr"})
    if (plain.find(part) != std::string::npos) return true;
  return false;
}

bool has_images(std::string_view data) {
  const std::string plain = lowered(data);
  for (const std::string_view part :
       {"mllm", "image", "vision", "video", "vqa", "llava", "ocr", "coco", "vsft", "multimodal"})
    if (plain.find(part) != std::string::npos) return true;
  return false;
}

bool is_secret(std::string_view key) {
  const std::string word = lowered(key);
  for (const std::string_view part : {"token", "api_key", "apikey", "secret", "password", "passwd"})
    if (word.find(part) != std::string::npos && word.find("tokens") == std::string::npos &&
        word.find("tokenize") == std::string::npos)
      return true;
  return false;
}

bool is_credential(std::string_view key, std::string_view value) {
  // Tokens of a text are no secrets, nor are words that stand for one.
  const std::string word = lowered(key);
  const bool is_door = is_secret(key) || word == "use_wandb";
  for (const std::string_view text :
       {"pad_token", "eos_token", "bos_token", "unk_token", "mask_token", "sep_token", "cls_token",
        "image_token", "video_token", "audio_token", "stop_token", "eot_token", "token_id",
        "per_token", "token_level", "by_token", "token_dispatcher", "token_drop", "token_budget"})
    if (word.find(text) != std::string::npos) return false;
  const bool is_known_form = value.size() >= 20 && (value.starts_with("hf_") ||
                                                    value.starts_with("sk-") ||
                                                    value.starts_with("ghp_"));
  const std::string said = lowered(value);
  // What stands for a secret is none.
  if (said.starts_with("your") || said.find("xxx") != std::string::npos) return false;
  if (is_known_form) return value.find_first_of(" /") == std::string_view::npos;
  if (!is_door || value.size() < 8) return false;
  return value.find_first_of("$<{ ") == std::string_view::npos;
}

std::string optimizer_name(std::string_view name) {
  std::string word = lowered(name);
  std::replace(word.begin(), word.end(), '_', '-');
  constexpr std::pair<std::string_view, std::string_view> kSame[] = {
      {"adamw-torch-fused", "adamw-fused"},
      {"adamw-apex-fused", "adamw-fused"},
      {"adamw-torch", "adamw-foreach"},
      {"adamw-hf", "adamw-foreach"},
      {"adamw-bnb-8bit", "adamw-8bit"},
      {"paged-adamw-32bit", "paged-adamw"},
      {"lion-32bit", "lion"},
      {"paged-ademamix-32bit", "paged-ademamix"},
      {"rmsprop-bnb-32bit", "rmsprop-bnb"},
      {"rmsprop-bnb-8bit", "rmsprop-8bit"},
      {"paged-lion-32bit", "paged-lion"},
      {"adamw-torch-4bit", "adamw-torchao-4bit"},
      {"adamw-torch-8bit", "adamw-torchao-8bit"}};
  for (const auto& [theirs, ours] : kSame)
    if (word == theirs) return std::string(ours);
  return word;
}

std::optional<DType> dtype_named(std::string_view name) {
  std::string word = lowered(name);
  if (word.starts_with("torch.")) word.erase(0, 6);
  if (word == "bfloat16" || word == "bf16") return DType::bf16;
  if (word == "float16" || word == "fp16" || word == "half") return DType::fp16;
  if (word == "float32" || word == "fp32" || word == "float") return DType::fp32;
  return std::nullopt;
}

Error unknown_at(Place place, std::string what, std::string hint) {
  return {Error::Kind::unknown, std::move(what), {}, std::move(hint), place};
}

void set_unmodelled(TrainFile& file, std::string what, Place place, std::string hint) {
  if (!file.unmodelled) file.unmodelled = unknown_at(place, std::move(what), std::move(hint));
}

TrainFile unmodelled_file(Trainer trainer, Error why) {
  TrainFile file;
  file.trainer = trainer;
  file.unmodelled = std::move(why);
  return file;
}

}  // namespace qwenplan
