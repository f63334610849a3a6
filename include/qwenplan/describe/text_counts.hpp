#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace qwenplan {

/// Kinds of characters that tokenizers cut differently. A single space counts with the script before
/// it, as the published characters per token do.
enum class Script : std::uint8_t { latin, arabic, marks, digits, arabic_digits, symbols, blanks, han, other, emoji };
inline constexpr std::size_t kScripts = 10;

constexpr std::string_view name(Script script) {
  switch (script) {
    case Script::latin: return "latin";
    case Script::arabic: return "arabic";
    case Script::marks: return "arabic_marks";
    case Script::digits: return "digits";
    case Script::arabic_digits: return "arabic_digits";
    case Script::symbols: return "symbols";
    case Script::blanks: return "blanks";
    case Script::han: return "han";
    case Script::other: return "other";
    case Script::emoji: return "emoji";
  }
  return "other";
}

/// Characters of a text by script. `blanks` are line breaks and runs of spaces, one for each run.
struct TextCounts {
  std::array<std::int64_t, kScripts> characters{};
  std::int64_t bytes = 0;

  std::int64_t operator[](Script script) const { return characters[static_cast<std::size_t>(script)]; }
  TextCounts& operator+=(const TextCounts& other) {
    for (std::size_t i = 0; i < kScripts; ++i) characters[i] += other.characters[i];
    bytes += other.bytes;
    return *this;
  }
  std::int64_t total() const {
    std::int64_t sum = 0;
    for (const std::int64_t each : characters) sum += each;
    return sum;
  }
};

namespace detail {

/// What an ASCII byte is; a space is decided by what stands around it.
enum : std::uint8_t { kAsciiLetter, kAsciiDigit, kAsciiSymbol, kAsciiSpace, kAsciiBreak };

constexpr std::array<std::uint8_t, 128> ascii_kinds() {
  std::array<std::uint8_t, 128> kinds{};
  for (int c = 0; c < 128; ++c) {
    const auto at = static_cast<std::size_t>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) kinds[at] = kAsciiLetter;
    else if (c >= '0' && c <= '9') kinds[at] = kAsciiDigit;
    else if (c == ' ' || c == '\t') kinds[at] = kAsciiSpace;
    else if (c == '\n' || c == '\r') kinds[at] = kAsciiBreak;
    else kinds[at] = kAsciiSymbol;
  }
  return kinds;
}
inline constexpr auto kAsciiKinds = ascii_kinds();

constexpr Script script_of(char32_t c) {
  if (c >= 0x0600 && c <= 0x06ff) {
    if ((c >= 0x064b && c <= 0x065f) || c == 0x0670 || (c >= 0x0610 && c <= 0x061a) ||
        (c >= 0x06d6 && c <= 0x06ed && c != 0x06dd && c != 0x06de && c != 0x06e5 && c != 0x06e6))
      return Script::marks;
    if ((c >= 0x0660 && c <= 0x0669) || (c >= 0x06f0 && c <= 0x06f9)) return Script::arabic_digits;
    if (c <= 0x061f || c == 0x066a || c == 0x066b || c == 0x066c || c == 0x06d4) return Script::symbols;
    return Script::arabic;
  }
  if (c < 0x00c0) return Script::symbols;
  if (c < 0x0250 || (c >= 0x1e00 && c <= 0x1eff)) return Script::latin;
  if ((c >= 0x0750 && c <= 0x077f) || (c >= 0x08a0 && c <= 0x08c9) || (c >= 0xfb50 && c <= 0xfdff) ||
      (c >= 0xfe70 && c <= 0xfefc))
    return Script::arabic;
  if (c >= 0x08ca && c <= 0x08ff) return Script::marks;
  if (c >= 0x2000 && c <= 0x2bff) return c >= 0x2600 && c <= 0x27bf ? Script::emoji : Script::symbols;
  if ((c >= 0x2e80 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
      (c >= 0xff00 && c <= 0xffef) || (c >= 0x20000 && c <= 0x3ffff))
    return Script::han;
  if (c >= 0x1f000 && c <= 0x1faff) return Script::emoji;
  return Script::other;
}

}  // namespace detail

/// Adds the characters of UTF-8 text to `counts`. False if the bytes are no UTF-8; the counts are
/// then those of the part before.
inline bool count_text(std::string_view text, TextCounts& counts) {
  using detail::kAsciiKinds;
  auto& n = counts.characters;
  const auto at = [](Script script) { return static_cast<std::size_t>(script); };
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  counts.bytes += static_cast<std::int64_t>(text.size());
  std::size_t before = at(Script::blanks);  // what stands before a space
  while (p < end) {
    const unsigned char c = *p;
    if (c < 0x80) {
      switch (kAsciiKinds[c]) {
        case detail::kAsciiLetter: {
          before = at(Script::latin);
          const auto* const start = p;
          do ++p;
          while (p < end && *p < 0x80 && kAsciiKinds[*p] == detail::kAsciiLetter);
          n[before] += p - start;
          continue;
        }
        case detail::kAsciiDigit:
          ++n[before = at(Script::digits)];
          ++p;
          continue;
        case detail::kAsciiSymbol:
          ++n[before = at(Script::symbols)];
          ++p;
          continue;
        default: {
          const auto* const start = p;
          bool breaks = false;
          do breaks = breaks || kAsciiKinds[*p] == detail::kAsciiBreak, ++p;
          while (p < end && *p < 0x80 && kAsciiKinds[*p] >= detail::kAsciiSpace);
          if (breaks || p - start > 1) ++n[before = at(Script::blanks)];
          else if (before == at(Script::latin) || before == at(Script::arabic)) ++n[before];
          // The space after a digit, a sign or another script goes into the next token.
          continue;
        }
      }
    }
    char32_t code = 0;
    if (c < 0xe0) {
      if (c < 0xc2 || end - p < 2 || (p[1] & 0xc0) != 0x80) return false;
      code = (static_cast<char32_t>(c & 0x1f) << 6) | (p[1] & 0x3fu);
      p += 2;
    } else if (c < 0xf0) {
      if (end - p < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80) return false;
      code = (static_cast<char32_t>(c & 0x0f) << 12) | ((p[1] & 0x3fu) << 6) | (p[2] & 0x3fu);
      if (code < 0x800 || (code >= 0xd800 && code <= 0xdfff)) return false;
      p += 3;
    } else {
      if (c > 0xf4 || end - p < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80)
        return false;
      code = (static_cast<char32_t>(c & 0x07) << 18) | ((p[1] & 0x3fu) << 12) | ((p[2] & 0x3fu) << 6) | (p[3] & 0x3fu);
      if (code < 0x10000 || code > 0x10ffff) return false;
      p += 4;
    }
    const std::size_t script = at(detail::script_of(code));
    ++n[script];
    before = script == at(Script::marks) ? at(Script::arabic) : script;
  }
  return true;
}

}  // namespace qwenplan
