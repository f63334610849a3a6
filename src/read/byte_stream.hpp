#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// The bytes of a file or a pipe, decompressed where they are gzip, read once from front to back.
class ByteStream {
 public:
  /// "-" is the standard input. Folders and devices are refused; a pipe that nobody writes to is
  /// empty.
  static Result<ByteStream> open(const std::string& path);
  ByteStream(ByteStream&&) noexcept;
  ByteStream& operator=(ByteStream&&) noexcept;
  ~ByteStream();

  /// Puts at most `room` bytes at `into`; 0 at the end.
  Result<std::size_t> read(char* into, std::size_t room);

  std::optional<std::int64_t> size() const;  ///< of the file as it lies there; none for a pipe
  std::int64_t taken() const;                ///< bytes of the file that were read, compressed ones
  bool is_gzip() const;

 private:
  struct State;
  explicit ByteStream(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

}  // namespace qwenplan
