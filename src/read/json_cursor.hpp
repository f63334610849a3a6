#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "read/utf8.hpp"

namespace qwenplan {

enum class JsonKind : std::uint8_t { none, null, boolean, number, string, object, array };

constexpr std::string_view name(JsonKind kind) {
  switch (kind) {
    case JsonKind::none: return "nothing";
    case JsonKind::null: return "null";
    case JsonKind::boolean: return "true or false";
    case JsonKind::number: return "a number";
    case JsonKind::string: return "a text";
    case JsonKind::object: return "an object";
    case JsonKind::array: return "a list";
  }
  return "nothing";
}

/// A value of JSON as it stands in its text; of a string what is between the quotes.
struct JsonSlice {
  JsonKind kind = JsonKind::none;
  std::string_view text;
  bool has_escapes = false;
};

/// Walks over one JSON text without building a tree: data sets are read at the speed of the disk.
/// It checks the structure of all it passes; after a failure `why()` says what was found.
class JsonCursor {
 public:
  static constexpr int kDeepest = 64;

  explicit JsonCursor(std::string_view text) : p_(text.data()), end_(text.data() + text.size()) {}

  const char* why() const { return why_; }
  bool at_end() { return skip_space(), p_ == end_; }
  JsonKind kind() {
    skip_space();
    if (p_ == end_) return JsonKind::none;
    switch (*p_) {
      case '{': return JsonKind::object;
      case '[': return JsonKind::array;
      case '"': return JsonKind::string;
      case 'n': return JsonKind::null;
      case 't':
      case 'f': return JsonKind::boolean;
      default: return JsonKind::number;
    }
  }

  /// Takes the next value whole.
  bool take(JsonSlice& slice, int depth = 0) {
    slice.kind = kind();
    slice.has_escapes = false;
    const char* const start = p_;
    switch (slice.kind) {
      case JsonKind::none: return fail("it ends too early");
      case JsonKind::string: return take_string(slice);
      case JsonKind::object:
        if (!members([&](std::string_view) { JsonSlice inner; return take(inner, depth + 1); }, depth)) return false;
        break;
      case JsonKind::array:
        if (!items([&] { JsonSlice inner; return take(inner, depth + 1); }, depth)) return false;
        break;
      case JsonKind::null:
        if (!word("null")) return fail("a value is expected");
        break;
      case JsonKind::boolean:
        if (!word("true") && !word("false")) return fail("a value is expected");
        break;
      case JsonKind::number:
        // NaN and Infinity are what Python's json writes.
        if (!word("NaN") && !word("Infinity") && !word("-Infinity") && !number()) return fail("a value is expected");
        break;
    }
    slice.text = {start, static_cast<std::size_t>(p_ - start)};
    return true;
  }

  /// Calls `use(key)` before each value of an object; it has to take the value.
  template <class Use>
  bool members(Use use, int depth = 0) {
    if (depth >= kDeepest) return fail("it is nested too deeply");
    skip_space();
    if (p_ == end_ || *p_ != '{') return fail("an object is expected");
    ++p_;
    skip_space();
    if (p_ != end_ && *p_ == '}') return ++p_, true;
    for (;;) {
      skip_space();
      JsonSlice key;
      if (p_ == end_) return fail("it ends too early");
      if (*p_ != '"') return fail("a key in quotes is expected");
      if (!take_string(key)) return false;
      skip_space();
      if (p_ == end_) return fail("it ends too early");
      if (*p_ != ':') return fail("a colon is expected after a key");
      ++p_;
      if (!use(key.text)) return false;
      skip_space();
      if (p_ == end_) return fail("it ends too early");
      if (*p_ == '}') return ++p_, true;
      if (*p_ != ',') return fail("a comma is expected between members");
      ++p_;
    }
  }

  /// Calls `use()` before each item of a list; it has to take the item.
  template <class Use>
  bool items(Use use, int depth = 0) {
    if (depth >= kDeepest) return fail("it is nested too deeply");
    skip_space();
    if (p_ == end_ || *p_ != '[') return fail("a list is expected");
    ++p_;
    skip_space();
    if (p_ != end_ && *p_ == ']') return ++p_, true;
    for (;;) {
      if (!use()) return false;
      skip_space();
      if (p_ == end_) return fail("it ends too early");
      if (*p_ == ']') return ++p_, true;
      if (*p_ != ',') return fail("a comma is expected between items");
      ++p_;
    }
  }

  bool fail(const char* why) {
    if (!why_) why_ = why;
    return false;
  }

  /// Appends the characters of a string's slice; false for an escape that is none.
  static bool decode(const JsonSlice& slice, std::string& out) {
    if (!slice.has_escapes) {
      out.append(slice.text);
      return true;
    }
    const char* p = slice.text.data();
    const char* const end = p + slice.text.size();
    while (p < end) {
      if (*p != '\\') {
        const auto* const next = static_cast<const char*>(std::memchr(p, '\\', static_cast<std::size_t>(end - p)));
        const char* const stop = next ? next : end;
        out.append(p, static_cast<std::size_t>(stop - p));
        p = stop;
        continue;
      }
      if (++p == end) return false;
      switch (*p++) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case '/': out += '/'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'n': out += '\n'; break;
        case 'r': out += '\r'; break;
        case 't': out += '\t'; break;
        case 'u': {
          std::uint32_t code = 0;
          if (!hex(p, end, code)) return false;
          if (code >= 0xd800 && code <= 0xdbff) {
            std::uint32_t low = 0;
            if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return false;
            p += 2;
            if (!hex(p, end, low) || low < 0xdc00 || low > 0xdfff) return false;
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          } else if (code >= 0xdc00 && code <= 0xdfff) {
            return false;
          }
          append_utf8(code, out);
          break;
        }
        default: return false;
      }
    }
    return true;
  }

 private:
  static bool hex(const char*& p, const char* end, std::uint32_t& code) {
    if (end - p < 4) return false;
    for (int i = 0; i < 4; ++i) {
      const char c = *p++;
      std::uint32_t digit = 0;
      if (c >= '0' && c <= '9') digit = static_cast<std::uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f') digit = static_cast<std::uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') digit = static_cast<std::uint32_t>(c - 'A' + 10);
      else return false;
      code = code << 4 | digit;
    }
    return true;
  }

  void skip_space() {
    while (p_ < end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\r' || *p_ == '\t')) ++p_;
  }

  bool take_string(JsonSlice& slice) {
    const char* const start = ++p_;
    const char* from = start;
    for (;;) {
      const auto* const quote =
          static_cast<const char*>(std::memchr(from, '"', static_cast<std::size_t>(end_ - from)));
      if (!quote) return fail("a text has no end");
      // An odd number of backslashes before it makes the quote a part of the text.
      const char* back = quote;
      while (back > start && back[-1] == '\\') --back;
      if ((quote - back) % 2 == 0) {
        slice.kind = JsonKind::string;
        slice.text = {start, static_cast<std::size_t>(quote - start)};
        slice.has_escapes = std::memchr(start, '\\', slice.text.size()) != nullptr;
        p_ = quote + 1;
        return true;
      }
      slice.has_escapes = true;
      from = quote + 1;
    }
  }

  bool word(std::string_view expected) {
    if (std::string_view(p_, static_cast<std::size_t>(end_ - p_)).substr(0, expected.size()) != expected) return false;
    p_ += expected.size();
    return true;
  }

  bool number() {
    const auto digits = [&] {
      const char* const start = p_;
      while (p_ < end_ && *p_ >= '0' && *p_ <= '9') ++p_;
      return p_ > start;
    };
    if (p_ < end_ && *p_ == '-') ++p_;
    if (!digits()) return false;
    if (p_ < end_ && *p_ == '.') {
      ++p_;
      if (!digits()) return false;
    }
    if (p_ < end_ && (*p_ == 'e' || *p_ == 'E')) {
      ++p_;
      if (p_ < end_ && (*p_ == '+' || *p_ == '-')) ++p_;
      if (!digits()) return false;
    }
    return true;
  }

  const char* p_;
  const char* end_;
  const char* why_ = nullptr;
};

}  // namespace qwenplan
