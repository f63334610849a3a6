#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cli/exit_status.hpp"
#include "qwenplan/base/result.hpp"
#include "render/value.hpp"

namespace qwenplan {

/// What a line says, so that colour can repeat it.
enum class Tone : unsigned char { plain, good, warning, bad, faint };

/// The first line: the answer in words, with the numbers that decide it.
struct Headline {
  std::string text;
  Tone tone = Tone::plain;
};
/// Running text; wrapped to the width.
struct Paragraph {
  std::string text;
  Tone tone = Tone::plain;
};
/// Text that is kept as it is, such as a script or a formula.
struct Verbatim {
  std::string text;
};
struct Column {
  enum class Align : unsigned char { left, right };
  std::string title;  ///< all titles empty: a table without a head
  Align align = Align::left;
};
struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;
};
/// A picture of amounts, one line for each; `value` and `limit` have one unit.
struct Bars {
  struct Bar {
    std::string label;
    double value = 0;
    std::string amount;  ///< the value as text
    std::string remark;
    Tone tone = Tone::plain;
  };
  std::vector<Bar> bars;
  std::optional<double> limit;  ///< what there is: the bars show where it ends
};
using Block = std::variant<Headline, Paragraph, Verbatim, Table, Bars>;

/// A value that went into the answer, and where it came from:
/// "flag", "env", "file", "trainer", "table" or "default".
struct Input {
  std::string name;
  Value value;
  std::string_view from;
};

/// What a command answers, in every format at once.
struct Answer {
  ExitStatus status = kYes;
  std::string schema;      ///< "qwenplan.vram/1"
  std::string data_as_of;  ///< day of the tables used, YYYY-MM-DD; empty: none were used
  std::vector<Input> inputs;
  Value json = Value::object();  ///< the fields behind `inputs`
  std::optional<Value> rows;     ///< a list of flat objects for CSV; else the leaves of `json`
  std::vector<Block> blocks;     ///< for text and Markdown
  std::optional<std::string>
      raw;  ///< printed alone and as it is, such as a trainer's configuration
  std::vector<std::string> notes;  ///< on stderr, and `notes` in JSON
  std::optional<Error> error;  ///< why the answer is not whole; on stderr, and it sets the status

  template <class Piece>
  void add(Piece piece) {
    blocks.emplace_back(std::move(piece));
  }
};

}  // namespace qwenplan
