#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/place.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

struct Entry;

/// A value of a YAML or JSON file with its place. A scalar keeps its own spelling, because the
/// trainers' loaders disagree on what it means: to one of them 1e-4 is text, to another a number.
struct Node {
  enum class Kind : std::uint8_t { null, scalar, list, map };

  Kind kind = Kind::null;
  bool is_quoted = false;  ///< text, whatever it looks like
  std::string scalar;
  std::vector<Node> items;     ///< of a list
  std::vector<Entry> entries;  ///< of a map, in the file's order; a key occurs once
  Place place;

  bool is_null() const { return kind == Kind::null; }
  bool is_map() const { return kind == Kind::map; }
  bool is_list() const { return kind == Kind::list; }

  /// The value of a key, null or not; nullptr if the key is missing or this is no map.
  const Node* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  /// A whole number in any spelling that a loader or a trainer takes for one: 16, 500_000, 5e8,
  /// 0x10, "16". Octal with a leading zero, as YAML 1.1 has it.
  std::optional<std::int64_t> whole() const;
  /// A finite number: 1e-4, .5, 1_000.0, "0.1".
  std::optional<double> number() const;
  /// true, True, yes, on and their opposites, in quotes too, and 0 and 1. Never y and n: they are
  /// words to every loader that is used.
  std::optional<bool> truth() const;
  /// A scalar's text: of a plain `no`, the word "no".
  std::optional<std::string> text() const;
  /// A list of scalars, or one scalar that is split at its commas; blanks at the ends go.
  std::optional<std::vector<std::string>> words() const;
  /// At most forty characters, for a message.
  std::string shown() const;
};

struct Entry {
  std::string key;
  Place place;  ///< of the key
  Node value;
};

/// A key that occurs again in its map. The last one counts, as in PyYAML and json.
struct Repeat {
  std::string key;
  Place place;
  Place first;
};

struct Document {
  Node root;
  std::vector<Repeat> repeats;
};

/// Hjson is what DeepSpeed's own loader reads.
enum class Syntax : std::uint8_t { yaml, json, hjson };

inline constexpr std::size_t kMostText = 1 << 20;   ///< bytes of a file that is read
inline constexpr std::size_t kMostNodes = 100'000;  ///< of a document, aliases unfolded
inline constexpr std::size_t kDeepestNode = 64;     ///< levels of a document

/// JSON by the extension, and standard input ("-") by its first character; else YAML.
Syntax syntax_of(std::string_view text, std::string_view name);

/// "recipe.yaml, line 3, column 5"; "-" is called standard input.
std::string where(std::string_view name, Place place);

/// Refuses what no trainer could read as text: other encodings than UTF-8, control characters, and
/// more than kMostText bytes. Errors: `wrong`, with line and column.
std::optional<Error> refused_text(std::string_view text, const std::string& name);

/// Parses a document in time and memory that its size bounds: anchors that unfold to more than
/// kMostNodes values and nesting beyond kDeepestNode levels are errors. A mark of byte order is
/// skipped; merge keys are applied. Errors: `wrong`, with line and column in `where`.
Result<Document> parse_document(std::string_view text, const std::string& name, Syntax syntax);

}  // namespace qwenplan
