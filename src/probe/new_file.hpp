#pragma once

#include <string>
#include <string_view>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// A file to be written in the end. It is tried at once, so that hours of work are not lost to a
/// folder that cannot be written, and appears whole or not at all.
class NewFile {
 public:
  enum class Existing : unsigned char { kept, replaced };

  /// Refuses a file that exists, unless it may be replaced; errors are of kind wrong.
  static Result<NewFile> create(const std::string& path, Existing existing);
  ~NewFile();
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;

  const std::string& path() const { return path_; }
  /// Puts the file in its place, once; an error if the disk is full, or if the file has come to
  /// exist in the meantime and is to be kept.
  Result<std::string> write(std::string_view text);

 private:
  NewFile(std::string path, std::string part, int stream, Existing existing);
  std::string path_;
  std::string part_;  ///< beside it, under another name; empty: nothing to take away
  int stream_;
  Existing existing_;
};

}  // namespace qwenplan
