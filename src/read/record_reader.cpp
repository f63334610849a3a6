#include "read/record_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace qwenplan {
namespace {

constexpr std::size_t kPart = std::size_t{256} << 10;

/// Looks for the end of a record through as many pieces of the file as it takes.
class EndFinder {
 public:
  explicit EndFinder(RecordReader::Cut cut) : cut_(cut) {}

  /// Where the record ends in `text`, seen from `from` on; npos if it goes on. `from` moves past
  /// what need not be seen again.
  std::size_t find(std::string_view text, std::size_t& from) {
    switch (cut_) {
      case RecordReader::Cut::lines: return line(text, from);
      case RecordReader::Cut::paragraphs: return paragraph(text, from);
      case RecordReader::Cut::csv_rows: return row(text, from);
      case RecordReader::Cut::json_values: return value(text, from);
    }
    return text.npos;
  }

 private:
  static std::size_t line(std::string_view text, std::size_t& from) {
    const std::size_t end = text.find('\n', from);
    from = text.size();
    return end == text.npos ? end : end + 1;
  }

  std::size_t paragraph(std::string_view text, std::size_t& from) {
    while (from < text.size()) {
      const char c = text[from++];
      if (c == '\n') {
        if (is_blank_) return from;
        is_blank_ = true;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        is_blank_ = false;
        const std::size_t end = text.find('\n', from);
        from = end == text.npos ? text.size() : end;
      }
    }
    return text.npos;
  }

  /// Only quotes at the beginning of a field keep a line break in it.
  std::size_t row(std::string_view text, std::size_t& from) {
    while (from < text.size()) {
      if (state_ == State::quoted) {
        const std::size_t quote = text.find('"', from);
        if (quote == text.npos) return from = text.size(), text.npos;
        from = quote + 1;
        state_ = State::quote;
        continue;
      }
      const char c = text[from++];
      if (c == '\n') return from;
      if (c == '"' && (state_ == State::start || state_ == State::quote)) state_ = State::quoted;
      else if (c == ',' || c == ';' || c == '\t') state_ = State::start;
      else state_ = State::plain;
    }
    return text.npos;
  }

  std::size_t value(std::string_view text, std::size_t& from) {
    while (from < text.size()) {
      const char c = text[from];
      if (in_string_) {
        ++from;
        if (is_escaped_) is_escaped_ = false;
        else if (c == '\\') is_escaped_ = true;
        else if (c == '"') in_string_ = false;
        continue;
      }
      if (depth_ == 0 && has_begun_ && (c == ',' || c == ']' || c == '\n')) return from;
      ++from;
      switch (c) {
        case '"': in_string_ = has_begun_ = true; break;
        case '{':
        case '[':
          ++depth_;
          has_begun_ = true;
          break;
        case '}':
        case ']':
          if (depth_ > 0) --depth_;
          if (depth_ == 0) return from;
          break;
        case ' ':
        case '\n':
        case '\r':
        case '\t':
          break;
        default: has_begun_ = true;
      }
    }
    return text.npos;
  }

  RecordReader::Cut cut_;
  enum class State : std::uint8_t { start, plain, quoted, quote } state_ = State::start;
  bool is_blank_ = false;
  bool in_string_ = false, is_escaped_ = false, has_begun_ = false;
  std::int64_t depth_ = 0;
};

}  // namespace

std::optional<Error> RecordReader::more() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  const std::size_t had = buffer_.size();
  buffer_.resize(had + kPart);
  const auto got = stream_.read(buffer_.data() + had, kPart);
  buffer_.resize(had + (got ? *got : 0));
  if (!got) return got.error();
  at_end_ = *got == 0;
  read_bytes_ += static_cast<std::int64_t>(*got);
  return std::nullopt;
}

Result<std::string_view> RecordReader::head() {
  while (!at_end_ && buffer_.size() - begin_ < kPart)
    if (auto error = more()) return *std::move(error);
  if (line_ == 1 && begin_ == 0 && buffer_.starts_with("\xef\xbb\xbf")) begin_ = 3;
  return std::string_view(buffer_).substr(begin_);
}

void RecordReader::skip(std::size_t bytes) {
  line_ += std::count(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                      buffer_.begin() + static_cast<std::ptrdiff_t>(begin_ + bytes), '\n');
  begin_ += bytes;
}

Result<std::optional<Record>> RecordReader::next(Cut cut) {
  if (cut == Cut::json_values)  // what stands between two values
    for (;;) {
      const std::string_view rest = std::string_view(buffer_).substr(begin_);
      const std::size_t start = std::min(rest.find_first_not_of(" \r\n\t,"), rest.size());
      skip(start);
      if (start < rest.size() || at_end_) break;
      if (auto error = more()) return *std::move(error);
    }
  EndFinder finder(cut);
  Record record;
  record.line = line_;
  std::size_t looked = 0;
  for (;;) {
    const std::string_view rest = std::string_view(buffer_).substr(begin_);
    std::size_t end = finder.find(rest, looked);
    if (end == rest.npos && at_end_) {
      if (rest.empty() && !record.is_too_long) return std::optional<Record>();
      end = rest.size();
    }
    if (end != rest.npos) {
      if (end > kLongest) record.is_too_long = true;
      if (!record.is_too_long) {
        record.text = rest.substr(0, end);
        while (record.text.ends_with('\n') || record.text.ends_with('\r')) record.text.remove_suffix(1);
      }
      skip(end);
      return std::optional<Record>(record);
    }
    if (rest.size() > kLongest) {
      record.is_too_long = true;
      skip(looked);
      looked = 0;
    }
    if (auto error = more()) return *std::move(error);
  }
}

}  // namespace qwenplan
