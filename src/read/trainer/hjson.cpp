#include "read/trainer/hjson.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "read/utf8.hpp"

namespace qwenplan {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_line_end(char c) { return c == '\n' || c == '\r' || c == '\0'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Whether a word is a number: no zero in front of other digits, no sign but a minus, digits around a dot.
bool is_number(std::string_view word) {
  const auto take_digits = [&] {
    const std::size_t count = std::min(word.find_first_not_of("0123456789"), word.size());
    word.remove_prefix(count);
    return count;
  };
  if (word.starts_with('-')) word.remove_prefix(1);
  const bool begins_with_zero = word.starts_with('0');
  const std::size_t whole = take_digits();
  if (whole == 0 || (begins_with_zero && whole > 1)) return false;
  if (word.starts_with('.')) {
    word.remove_prefix(1);
    if (take_digits() == 0) return false;
  }
  if (word.starts_with('e') || word.starts_with('E')) {
    word.remove_prefix(1);
    if (word.starts_with('+') || word.starts_with('-')) word.remove_prefix(1);
    if (take_digits() == 0) return false;
  }
  return word.empty();
}

class HjsonParser {
 public:
  HjsonParser(std::string_view text, DocumentBuilder& builder) : text_(text), builder_(builder) {}

  Document parse() {
    skip();
    const bool is_braced = peek() == '{' || peek() == '[';
    if (is_braced)
      value();
    else
      map(false);
    skip();
    if (at_ < text_.size()) refuse("more text behind the end");
    return builder_.take();
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool at_remark() const { return peek() == '#' || (peek() == '/' && (peek(1) == '/' || peek(1) == '*')); }
  [[noreturn]] void refuse(std::string what) {
    builder_.refuse("not Hjson: " + std::move(what), std::min(at_, text_.size()), "correct the file");
  }

  /// Passes over blanks and remarks.
  void skip() {
    for (;;) {
      while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
      if (!at_remark()) return;
      if (peek(1) == '*' && peek() == '/') {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) refuse("a remark that is not closed");
        at_ = end + 2;
      } else {
        while (!is_line_end(peek())) ++at_;
      }
    }
  }

  /// Passes over what is between two members; a comma may be left out, and one too many may stand at the end.
  void next() {
    skip();
    if (peek() != ',') return;
    ++at_;
    skip();
  }

  void map(bool is_braced) {
    builder_.start(Node::Kind::map, at_);
    if (is_braced) ++at_;
    skip();
    while (is_braced ? peek() != '}' : at_ < text_.size()) {
      key();
      skip();
      if (peek() != ':') refuse("a key without a colon");
      ++at_;
      skip();
      value();
      next();
    }
    if (is_braced) ++at_;
    builder_.end();
  }

  void list() {
    builder_.start(Node::Kind::list, at_++);
    skip();
    while (peek() != ']') {
      value();
      next();
    }
    ++at_;
    builder_.end();
  }

  void key() {
    const std::size_t first = at_;
    if (peek() == '"' || peek() == '\'') {
      builder_.scalar(quoted(), true, first);
      return;
    }
    constexpr std::string_view kEnd = "{}[],:";
    while (at_ < text_.size() && !is_blank(peek()) && kEnd.find(peek()) == kEnd.npos) ++at_;
    if (at_ == first) refuse(at_ < text_.size() ? "a key is missing" : "the end of the file where a key or a bracket should be");
    builder_.scalar(std::string(text_.substr(first, at_ - first)), false, first);
  }

  void value() {
    const std::size_t first = at_;
    if (peek() == '{') return map(true);
    if (peek() == '[') return list();
    if (text_.substr(at_, 3) == "'''") return builder_.scalar(several_lines(), true, first);
    if (peek() == '"' || peek() == '\'') return builder_.scalar(quoted(), true, first);
    bare();
  }

  /// A word without quotes ends where it is a number, a truth value or null; other text goes on to the end of
  /// the line, commas and remarks included.
  void bare() {
    constexpr std::string_view kPunctuation = "{}[],:";
    if (is_line_end(peek()) || kPunctuation.find(peek()) != kPunctuation.npos) refuse("a value is missing");
    const std::size_t first = at_;
    const auto word = [&] {
      std::string_view text = text_.substr(first, at_ - first);
      while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
      return text;
    };
    bool is_looked_at = false;
    for (; !is_line_end(peek()); ++at_) {
      if (is_looked_at || !(peek() == ',' || peek() == '}' || peek() == ']' || at_remark())) continue;
      is_looked_at = true;
      if (is_value(word())) break;
    }
    if (word() == "null")
      builder_.null(first);
    else
      builder_.scalar(std::string(word()), !is_value(word()), first);
  }
  static bool is_value(std::string_view word) {
    return word == "null" || word == "true" || word == "false" || is_number(word);
  }

  std::string quoted() {
    const char quote = text_[at_++];
    std::string out;
    for (;; ++at_) {
      if (at_ >= text_.size() || peek() == '\n' || peek() == '\r') refuse("a quote that is not closed");
      if (peek() == quote) break;
      if (peek() == '\\')
        escape(out);
      else
        out += peek();
    }
    ++at_;
    return out;
  }

  /// Leaves `at_` at the last character of the escape.
  void escape(std::string& out) {
    ++at_;
    constexpr std::string_view kNames = "\"'\\/bfnrt";
    constexpr std::string_view kMeant = "\"'\\/\b\f\n\r\t";
    if (const std::size_t known = kNames.find(peek()); peek() != '\0' && known != kNames.npos) {
      out += kMeant[known];
      return;
    }
    auto code = four_digits(at_);
    if (!code) refuse("an escape that does not exist");
    at_ += 4;
    if (*code >= 0xd800 && *code < 0xdc00 && peek(1) == '\\')
      if (const auto low = four_digits(at_ + 2); low && *low >= 0xdc00 && *low < 0xe000) {
        code = 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
        at_ += 6;
      }
    append_utf8(*code, out);
  }
  /// The number behind a 'u' at `at`.
  std::optional<char32_t> four_digits(std::size_t at) const {
    if (at + 5 > text_.size() || text_[at] != 'u') return std::nullopt;
    char32_t code = 0;
    for (std::size_t i = at + 1; i < at + 5; ++i) {
      const char c = text_[i];
      const char lower = static_cast<char>(c | 0x20);
      if (!is_digit(c) && !(lower >= 'a' && lower <= 'f')) return std::nullopt;
      code = code << 4 | static_cast<char32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return code;
  }

  /// Where the line of `at_` starts; looks at each character once, however often it is asked.
  std::size_t line_start() {
    for (; looked_at_ < at_; ++looked_at_)
      if (text_[looked_at_] == '\n') line_start_ = looked_at_ + 1;
    return line_start_;
  }

  /// Text between three quotes, without the indentation of the first.
  std::string several_lines() {
    const std::size_t indent = at_ - line_start();
    const auto skip_indent = [&](std::size_t most) {
      for (; most > 0 && (peek() == ' ' || peek() == '\t' || peek() == '\r'); --most) ++at_;
    };
    at_ += 3;
    skip_indent(text_.size());
    if (peek() == '\n') ++at_, skip_indent(indent);
    std::string out;
    while (text_.substr(at_, 3) != "'''") {
      if (at_ >= text_.size()) refuse("text of several lines that is not closed");
      const char c = text_[at_++];
      if (c != '\r') out += c;
      if (c == '\n') skip_indent(indent);
    }
    at_ += 3;
    if (out.ends_with('\n')) out.pop_back();
    return out;
  }

  std::string_view text_;
  DocumentBuilder& builder_;
  std::size_t at_ = 0;
  std::size_t looked_at_ = 0, line_start_ = 0;
};

}  // namespace

Document parse_hjson(std::string_view text, DocumentBuilder& builder) { return HjsonParser(text, builder).parse(); }

}  // namespace qwenplan
