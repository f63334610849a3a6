#pragma once

#include <span>
#include <string_view>

namespace qwenplan::embedded {

/// One row of a table of data/, cut out when the program was built.
struct Row {
  std::string_view id;
  std::string_view name;  ///< of a GPU as its driver reports it, of a model on the Hub, a title
  std::string_view
      aliases;            ///< the row's other names as JSON writes them: "\"7b\", \"qwen2.5:7b\""
  std::string_view json;  ///< the whole row
};

struct Table {
  std::string_view header;  ///< the table without its rows, as JSON: schema, as_of, assumed
  std::span<const Row> rows;
};

Table gpus();
Table models();
Table sources();
Table prices();
Table machines();
Table measurements();
Table calibration();
Table tokens();

}  // namespace qwenplan::embedded
