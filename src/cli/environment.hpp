#pragma once

#include <string>

namespace qwenplan {

/// What the process was started with, read once; no other file asks for it.
struct Environment {
  std::string data_directory;     ///< QWENPLAN_DATA; empty if unset
  std::string allocator_options;  ///< PYTORCH_ALLOC_CONF or PYTORCH_CUDA_ALLOC_CONF; empty if unset
  std::string today;              ///< YYYY-MM-DD of SOURCE_DATE_EPOCH, else of the clock, in UTC
  int width = 80;                 ///< columns of COLUMNS, else of the terminal
  bool writes_to_terminal = false;  ///< stdout
  bool wants_color = false;         ///< a terminal that can, and no NO_COLOR
  bool has_utf8 = true;             ///< a pipe has; a terminal if its locale says so
};

Environment read_environment();

}  // namespace qwenplan
