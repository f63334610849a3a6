#include "read/trainer/document_builder.hpp"

#include <algorithm>
#include <utility>

namespace qwenplan {

Place TextLines::at(std::size_t offset) {
  offset = std::min(offset, text_.size());
  if (offset < offset_) {
    offset_ = 0;
    place_ = {1, 1};
  }
  for (; offset_ < offset; ++offset_) {
    const auto c = static_cast<unsigned char>(text_[offset_]);
    if (c == '\n')
      place_ = {place_.line + 1, 1};
    else if ((c & 0xC0) != 0x80)  // the first byte of a character
      ++place_.column;
  }
  return place_;
}

void DocumentBuilder::refuse(std::string what, std::size_t offset, std::string hint) {
  const Place place = lines_.at(offset);
  throw RefusedDocument{{Error::Kind::wrong, std::move(what), where(name_, place), std::move(hint), place}};
}

void DocumentBuilder::scalar(std::string text, bool is_quoted, std::size_t offset, std::size_t anchor) {
  Node node;
  node.kind = Node::Kind::scalar;
  node.is_quoted = is_quoted;
  node.scalar = std::move(text);
  node.place = lines_.at(offset);
  add(std::move(node), 1, offset, anchor);
}

void DocumentBuilder::null(std::size_t offset, std::size_t anchor) {
  Node node;
  node.place = lines_.at(offset);
  add(std::move(node), 1, offset, anchor);
}

void DocumentBuilder::start(Node::Kind kind, std::size_t offset, std::size_t anchor) {
  if (open_.size() >= kDeepestNode)
    refuse("nested more than " + std::to_string(kDeepestNode) + " levels deep", offset,
           "is this the right file?");
  if (!open_.empty() && open_.back().wants_key()) refuse_key(offset);
  Open open;
  open.node.kind = kind;
  open.node.place = lines_.at(offset);
  open.offset = offset;
  open.anchor = anchor;
  open.nodes_before = nodes_;
  open_.push_back(std::move(open));
}

void DocumentBuilder::end() {
  Open closed = std::move(open_.back());
  open_.pop_back();
  if (closed.node.is_map() && !merge(closed))
    refuse("not YAML: '<<' takes a map or a list of maps", closed.merge_offset,
           "write the keys out, or name an anchor of a map");
  add(std::move(closed.node), nodes_ - closed.nodes_before + 1, closed.offset, closed.anchor);
}

void DocumentBuilder::alias(std::size_t anchor, std::size_t offset) {
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end())
    refuse("an anchor is used inside itself", offset, "write the value out");
  count(found->second.nodes, offset);
  Node node = found->second.node;
  node.place = lines_.at(offset);
  put(std::move(node), offset);
}

void DocumentBuilder::refuse_missing_colon(std::size_t offset) {
  if (open_.empty() || !open_.back().node.is_map() || !open_.back().waiting ||
      open_.back().key_offset != offset)
    return;
  const std::string_view line = text_.substr(offset, text_.find('\n', offset) - offset);
  if (line.starts_with('?')) return;
  refuse("not YAML: a line without a colon and a blank between key and value", offset,
         "such as cutoff_len: 8192");
}

void DocumentBuilder::refuse_open_quote(std::size_t offset) {
  const char quote = offset < text_.size() ? text_[offset] : '\0';
  if (quote != '"' && quote != '\'') return;
  for (std::size_t i = offset + 1; i < text_.size(); ++i) {
    if (quote == '"' && text_[i] == '\\')
      ++i;
    else if (text_[i] == quote && quote == '\'' && i + 1 < text_.size() && text_[i + 1] == quote)
      ++i;
    else if (text_[i] == quote)
      return;
  }
  refuse("not YAML: a quote that is not closed", offset, "close it");
}

void DocumentBuilder::refuse_key(std::size_t offset) {
  refuse("a key that is no word", offset, "write a name, or put it in quotes");
}

void DocumentBuilder::count(std::size_t more, std::size_t offset) {
  nodes_ += more;
  if (nodes_ > kMostNodes)
    refuse("more than " + std::to_string(kMostNodes) + " values, anchors unfolded", offset,
           "is this the right file?");
}

void DocumentBuilder::add(Node node, std::size_t nodes, std::size_t offset, std::size_t anchor) {
  count(anchor == 0 ? 1 : nodes + 1, offset);
  if (anchor != 0) anchors_[anchor] = {node, nodes};
  put(std::move(node), offset);
}

void DocumentBuilder::put(Node node, std::size_t offset) {
  if (open_.empty()) {
    root_ = std::move(node);
    return;
  }
  Open& open = open_.back();
  if (open.node.is_list()) {
    open.node.items.push_back(std::move(node));
  } else if (open.waiting) {
    Entry& entry = open.node.entries[*open.waiting];
    if (node.is_null()) node.place = entry.place;
    entry.value = std::move(node);
    open.waiting.reset();
  } else {
    if (node.kind != Node::Kind::scalar) refuse_key(offset);
    open.key_offset = offset;
    if (node.scalar == "<<") open.merge_offset = offset;
    key(open, std::move(node));
  }
}

void DocumentBuilder::key(Open& open, Node node) {
  const auto [at, is_new] = open.known.emplace(node.scalar, open.node.entries.size());
  open.waiting = at->second;
  if (is_new) {
    open.node.entries.push_back({std::move(node.scalar), node.place, {}});
    return;
  }
  // The last one counts; it is also where an editor should jump to.
  Entry& entry = open.node.entries[at->second];
  repeats_.push_back({entry.key, node.place, entry.place});
  entry.place = node.place;
}

bool DocumentBuilder::merge(Open& open) {
  const auto key = open.known.find("<<");
  if (key == open.known.end()) return true;
  std::vector<Entry>& entries = open.node.entries;
  const auto at = entries.begin() + static_cast<std::ptrdiff_t>(key->second);
  const Node merged = std::move(at->value);
  const auto is_map = [](const Node& node) { return node.is_map(); };
  if (!merged.is_map() &&
      !(merged.is_list() && std::all_of(merged.items.begin(), merged.items.end(), is_map)))
    return false;
  entries.erase(at);
  const auto take_from = [&](const Node& other) {
    for (const Entry& each : other.entries)
      if (open.known.emplace(each.key, 0).second) entries.push_back(each);
  };
  take_from(merged);
  for (const Node& each : merged.items) take_from(each);
  return true;
}

}  // namespace qwenplan
