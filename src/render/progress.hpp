#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace qwenplan {

/// How far a long reading is: one line on stderr that is drawn over, on a terminal alone.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `all` bytes; of a pipe nobody knows how many there are.
  void show(std::int64_t done, std::optional<std::int64_t> all);

 private:
  std::string what_;
  bool draws_ = false;
  bool has_drawn_ = false;
  double began_ = 0, drawn_ = 0;
};

}  // namespace qwenplan
