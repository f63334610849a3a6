#include "read/trainer/command_flags.hpp"

#include <algorithm>
#include <utility>

namespace qwenplan {

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

std::optional<ShellWord> CommandFlags::take_file(const Neighbours& neighbours) {
  ShellWord file;
  for (std::size_t i = at_; i < words_.size() && file.text.empty(); ++i)
    if ((words_[i].text == "--config" || (i == at_ && !words_[i].text.starts_with("--"))))
      file = words_[i].text != "--config" ? words_[i] : i + 1 < words_.size() ? words_[i + 1] : ShellWord();
  if (file.text.empty()) return std::nullopt;
  const auto text = file.unresolved.empty() ? neighbours.text_of(file.text) : std::nullopt;
  if (!text) return file;
  auto document = parse_document(*text, file.text, syntax_of(*text, file.text));
  if (document) root = std::move(document.value().root);
  if (!root.is_map()) root = Node{Node::Kind::map, false, {}, {}, {}, file.place};
  for (Entry& entry : root.entries) entry.place = entry.value.place = file.place;
  return std::nullopt;
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
  if (entry.key == "config") return;
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
  const auto before = std::find_if(root.entries.begin(), root.entries.end(),
                                   [&](const Entry& each) { return each.key == entry.key; });
  if (before != root.entries.end())
    *before = std::move(entry);
  else
    root.entries.push_back(std::move(entry));
}

}  // namespace qwenplan
