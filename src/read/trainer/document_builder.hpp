#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/place.hpp"
#include "read/trainer/document.hpp"

namespace qwenplan {

/// Turns offsets of a text into lines and columns. Parsers ask in the order of the text, so it goes
/// on from the last answer: one long line must not cost its square.
class TextLines {
 public:
  explicit TextLines(std::string_view text) : text_(text) {}

  Place at(std::size_t offset);

 private:
  std::string_view text_;
  std::size_t offset_ = 0;
  Place place_{1, 1};
};

/// Why a document is not read; thrown inside the parsers only.
struct RefusedDocument {
  Error error;
};

/// Makes the tree from the events of a parser, within the bounds of `parse_document`.
class DocumentBuilder {
 public:
  DocumentBuilder(std::string_view text, std::string_view name) : text_(text), lines_(text), name_(name) {}

  [[noreturn]] void refuse(std::string what, std::size_t offset, std::string hint);

  void scalar(std::string text, bool is_quoted, std::size_t offset, std::size_t anchor = 0);
  void null(std::size_t offset, std::size_t anchor = 0);
  void start(Node::Kind kind, std::size_t offset, std::size_t anchor = 0);
  void end();
  void alias(std::size_t anchor, std::size_t offset);

  // What yaml-cpp lets pass at the end of a file, and every other loader stops at.

  /// A line of a map that is a word and no more.
  void refuse_missing_colon(std::size_t offset);
  void refuse_open_quote(std::size_t offset);

  Document take() { return {std::move(root_), std::move(repeats_)}; }

 private:
  struct Open {
    Node node;
    std::size_t offset = 0;
    std::size_t anchor = 0;
    std::size_t nodes_before = 0;
    std::map<std::string, std::size_t> known;  ///< keys of a map and where their entries are
    std::optional<std::size_t> waiting;        ///< the entry that has a key and no value yet
    std::size_t key_offset = 0;                ///< of the last key
    std::size_t merge_offset = 0;              ///< of the key '<<'
    bool wants_key() const { return node.is_map() && !waiting; }
  };
  struct Anchored {
    Node node;
    std::size_t nodes = 0;
  };

  [[noreturn]] void refuse_key(std::size_t offset);
  void count(std::size_t more, std::size_t offset);
  /// `nodes` is how many the node and what is in it are. A copy that an anchor keeps counts too.
  void add(Node node, std::size_t nodes, std::size_t offset, std::size_t anchor);
  void put(Node node, std::size_t offset);
  void key(Open& open, Node node);
  /// YAML's merge key: what a map lacks it takes from another one. False if it is given no map.
  static bool merge(Open& open);

  std::string_view text_;
  TextLines lines_;
  std::string name_;
  Node root_;
  std::vector<Open> open_;
  std::map<std::size_t, Anchored> anchors_;
  std::vector<Repeat> repeats_;
  std::size_t nodes_ = 0;
};

}  // namespace qwenplan
