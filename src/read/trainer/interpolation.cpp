#include "read/trainer/interpolation.hpp"

#include <charconv>
#include <string>
#include <unordered_map>
#include <utility>

namespace qwenplan {
namespace {

constexpr int kLongestChain = 64;           ///< references to references
constexpr std::size_t kMostText = 1 << 16;  ///< of one value, references filled in

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// The maps around a value, from the outermost to its own.
using Parents = std::vector<const Node*>;

class Resolver {
 public:
  explicit Resolver(const Node& root) : root_(root) {}

  /// Fills in the references of a value; leaves it as it is where that cannot be done.
  void fill(Node& node, const Parents& parents, int chain = 0) {
    if (chain > kLongestChain) exceeded_ = exceeded_ ? exceeded_ : node.place;
    for (std::size_t from = 0; node.kind == Node::Kind::scalar && !exceeded_;) {
      const std::string& text = node.scalar;
      const std::size_t open = text.find("${", from);
      if (open == std::string::npos) return;
      const auto end = closing(text, open);
      if (!end) return;
      const auto found = target(text.substr(open + 2, *end - open - 2), parents, chain);
      if (found && open == 0 && *end + 1 == text.size()) {
        const Place place = node.place;
        node = *found;
        node.place = place;
        return;
      }
      from = *end + 1;
      if (!found || found->kind != Node::Kind::scalar || is_unresolved(*found)) continue;
      if (text.size() + found->scalar.size() > kMostText) {
        exceeded_ = node.place;
        return;
      }
      from = open + found->scalar.size();
      node.scalar = text.substr(0, open) + found->scalar + text.substr(*end + 1);
    }
  }

  /// Where references go too deep, or make too much.
  const std::optional<Place>& exceeded() const { return exceeded_; }

 private:
  static std::optional<std::size_t> closing(const std::string& text, std::size_t open) {
    int depth = 0;
    for (std::size_t i = open; i < text.size(); ++i) {
      if (text[i] == '{') ++depth;
      if (text[i] == '}' && --depth == 0) return i;
    }
    return std::nullopt;
  }

  std::optional<Node> target(std::string_view inner, const Parents& parents, int chain) {
    inner = trimmed(inner);
    constexpr std::string_view kSelect = "oc.select:";
    constexpr std::string_view kEnvironment = "oc.env:";
    const bool is_select = inner.starts_with(kSelect);
    const bool is_environment = inner.starts_with(kEnvironment);
    if (!is_select && !is_environment) {
      if (inner.find(':') != std::string_view::npos) return std::nullopt;
      return value_at(inner, parents, chain);
    }
    inner.remove_prefix(is_select ? kSelect.size() : kEnvironment.size());
    const std::size_t comma = inner.find(',');
    if (is_select) {
      if (auto found = value_at(trimmed(inner.substr(0, comma)), {&root_}, chain)) return found;
    } else if (comma == std::string_view::npos) {
      return std::nullopt;
    }
    Node otherwise;
    if (comma == std::string_view::npos) return otherwise;
    const std::string_view word = trimmed(inner.substr(comma + 1));
    if (word == "null" || word.empty()) return otherwise;
    if (word == "[]" || word == "{}") {
      otherwise.kind = word == "[]" ? Node::Kind::list : Node::Kind::map;
      return otherwise;
    }
    otherwise.kind = Node::Kind::scalar;
    otherwise.scalar = word;
    fill(otherwise, {&root_}, chain + 1);
    return otherwise;
  }

  /// A value by its path: keys with dots between them and numbers in brackets. Dots in front are
  /// steps outwards: one is the map that the reference stands in.
  std::optional<Node> value_at(std::string_view path, const Parents& parents, int chain) {
    Parents way{&root_};
    if (path.starts_with('.')) {
      way = parents;
      for (path.remove_prefix(1); path.starts_with('.'); path.remove_prefix(1)) {
        if (way.size() <= 1) return std::nullopt;
        way.pop_back();
      }
    }
    if (way.empty() || path.empty()) return std::nullopt;
    const Node* at = way.back();
    while (!path.empty()) {
      const std::size_t end = path.find_first_of(".[]");
      if (end != 0) {
        const std::string_view key = path.substr(0, end);
        std::size_t index = 0;
        const auto [last, failed] = std::from_chars(key.data(), key.data() + key.size(), index);
        if (const Node* found = member(*at, key))
          at = found;
        else if (at->is_list() && failed == std::errc() && last == key.data() + key.size() &&
                 index < at->items.size())
          at = &at->items[index];
        else
          return std::nullopt;
        way.push_back(at);
      }
      if (end == std::string_view::npos) break;
      path.remove_prefix(end + 1);
    }
    way.pop_back();
    // Each value is filled in once, whoever refers to it; one that is being filled in is a circle.
    const auto [known, is_new] = filled_.try_emplace(at);
    if (!is_new) {
      if (!known->second || !may_copy(*known->second)) return std::nullopt;
      return known->second;
    }
    if (!may_copy(*at)) return std::nullopt;
    Node copy = *at;
    fill(copy, way, chain + 1);
    return filled_[at] = std::move(copy);
  }

  /// A member of a map; maps are searched often, so each gets an index.
  const Node* member(const Node& map, std::string_view key) {
    if (!map.is_map()) return nullptr;
    const auto [index, is_new] = members_.try_emplace(&map);
    if (is_new)
      for (const Entry& each : map.entries) index->second.emplace(each.key, &each.value);
    const auto found = index->second.find(key);
    return found == index->second.end() ? nullptr : found->second;
  }

  /// References that multiply must not cost more than a document may.
  bool may_copy(const Node& node) {
    copied_ += cost(node);
    if (copied_ > kMostNodes && !exceeded_) exceeded_ = node.place;
    return !exceeded_;
  }
  static std::size_t cost(const Node& node) {
    std::size_t sum = 1 + node.scalar.size() / 64;
    for (const Node& each : node.items) sum += cost(each);
    for (const Entry& each : node.entries) sum += cost(each.value);
    return sum;
  }

  const Node& root_;
  std::size_t copied_ = 0;
  std::optional<Place> exceeded_;
  std::unordered_map<const Node*, std::optional<Node>> filled_;
  std::unordered_map<const Node*, std::unordered_map<std::string_view, const Node*>> members_;
};

void fill_all(Node& node, const Node& original, Parents& parents, Resolver& resolver) {
  resolver.fill(node, parents);
  if (original.kind == Node::Kind::scalar) return;
  parents.push_back(&original);
  for (std::size_t i = 0; i < node.items.size(); ++i)
    fill_all(node.items[i], original.items[i], parents, resolver);
  for (std::size_t i = 0; i < node.entries.size(); ++i)
    fill_all(node.entries[i].value, original.entries[i].value, parents, resolver);
  parents.pop_back();
}

}  // namespace

std::optional<Place> resolve_references(Node& root) {
  const Node original = root;
  Parents parents;
  Resolver resolver(original);
  fill_all(root, original, parents, resolver);
  return resolver.exceeded();
}

bool is_unresolved(const Node& node) {
  return node.kind == Node::Kind::scalar &&
         (node.scalar.find("${") != std::string::npos || node.scalar == "???");
}

}  // namespace qwenplan
