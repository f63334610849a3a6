#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "qwenplan/base/result.hpp"
#include "read/byte_stream.hpp"

namespace qwenplan {

/// One piece of a file that holds an example.
struct Record {
  std::string_view text;   ///< until the next call
  std::int64_t line = 1;   ///< where it begins
  bool is_too_long = false;  ///< then there is no text
};

/// Cuts a stream into records in bounded memory.
class RecordReader {
 public:
  static constexpr std::size_t kLongest = std::size_t{64} << 20;

  enum class Cut : std::uint8_t { lines, paragraphs, csv_rows, json_values };

  explicit RecordReader(ByteStream stream) : stream_(std::move(stream)) {}

  /// The first bytes of the file, without a byte order mark: to tell its format by.
  Result<std::string_view> head();
  /// Goes past the first `bytes`, such as the bracket of a list.
  void skip(std::size_t bytes);
  /// The next record, or nothing at the end of the file.
  Result<std::optional<Record>> next(Cut cut);

  const ByteStream& stream() const { return stream_; }
  std::int64_t read_bytes() const { return read_bytes_; }

 private:
  std::optional<Error> more();

  ByteStream stream_;
  std::string buffer_;
  std::size_t begin_ = 0;  ///< of what is not given out yet
  bool at_end_ = false;
  std::int64_t line_ = 1;
  std::int64_t read_bytes_ = 0;
};

}  // namespace qwenplan
