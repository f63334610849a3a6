#include "read/unicode_nfc.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "read/unicode_nfc_table.hpp"
#include "read/utf8.hpp"

namespace qwenplan {
namespace {

constexpr char32_t kHangulFirst = 0xac00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11a7;
constexpr char32_t kVowels = 21, kTrails = 28, kSyllables = 19 * kVowels * kTrails;

/// The database by character; made when it is first asked for.
struct Database {
  static constexpr std::size_t kKnown = 0x1f000;  // beyond are characters that have neither
  std::vector<std::uint8_t> combining = std::vector<std::uint8_t>(kKnown);
  std::vector<bool> may_change = std::vector<bool>(kKnown);  ///< no quick yes
  std::unordered_map<char32_t, std::pair<char32_t, char32_t>> parts;
  std::unordered_map<std::uint64_t, char32_t> whole;

  Database() {
    for (const auto& range : unicode::kClasses)
      for (char32_t c = range.first; c <= range.last; ++c) combining[c] = range.combining;
    for (const auto& each : unicode::kDecompositions) {
      parts[each.whole] = {each.first, each.second};
      const bool is_excluded =
          each.second == 0 || std::binary_search(std::begin(unicode::kExcluded), std::end(unicode::kExcluded), each.whole);
      if (is_excluded) {
        if (each.whole < kKnown) may_change[each.whole] = true;
      } else {
        whole[key(each.first, each.second)] = each.whole;
        may_change[each.second] = true;
      }
    }
    for (char32_t c = kVowel; c < kVowel + kVowels; ++c) may_change[c] = true;
    for (char32_t c = kTrail + 1; c < kTrail + kTrails; ++c) may_change[c] = true;
  }

  static std::uint64_t key(char32_t a, char32_t b) { return static_cast<std::uint64_t>(a) << 32 | b; }
  std::uint8_t class_of(char32_t c) const { return c < kKnown ? combining[c] : 0; }

  void decompose(char32_t c, std::u32string& out) const {
    if (c >= kHangulFirst && c < kHangulFirst + kSyllables) {
      const char32_t at = c - kHangulFirst;
      out += kLead + at / (kVowels * kTrails);
      out += kVowel + at % (kVowels * kTrails) / kTrails;
      if (at % kTrails != 0) out += kTrail + at % kTrails;
      return;
    }
    const auto found = parts.find(c);
    if (found == parts.end()) {
      out += c;
      return;
    }
    decompose(found->second.first, out);
    if (found->second.second != 0) decompose(found->second.second, out);
  }

  char32_t composed(char32_t a, char32_t b) const {
    if (a >= kLead && a < kLead + 19 && b >= kVowel && b < kVowel + kVowels)
      return kHangulFirst + ((a - kLead) * kVowels + (b - kVowel)) * kTrails;
    if (a >= kHangulFirst && a < kHangulFirst + kSyllables && (a - kHangulFirst) % kTrails == 0 && b > kTrail &&
        b < kTrail + kTrails)
      return a + (b - kTrail);
    const auto found = whole.find(key(a, b));
    return found == whole.end() ? 0 : found->second;
  }
};

const Database& database() {
  static const Database made;
  return made;
}

char32_t next(const unsigned char*& p) {
  const unsigned char c = *p++;
  if (c < 0x80) return c;
  const auto more = [&] { return static_cast<char32_t>(*p++ & 0x3f); };
  if (c < 0xe0) {
    return static_cast<char32_t>(c & 0x1f) << 6 | more();
  }
  if (c < 0xf0) {
    char32_t code = static_cast<char32_t>(c & 0x0f) << 12;
    code |= more() << 6;
    return code | more();
  }
  char32_t code = static_cast<char32_t>(c & 0x07) << 18;
  code |= more() << 12;
  code |= more() << 6;
  return code | more();
}

}  // namespace

bool is_surely_nfc(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  const Database& data = database();
  std::uint8_t last = 0;
  while (p < end) {
    if (*p < 0xcc) {  // below U+0300 nothing combines and nothing changes
      p += *p < 0x80 ? 1 : 2;
      last = 0;
      continue;
    }
    const char32_t c = next(p);
    const std::uint8_t combining = data.class_of(c);
    if ((combining != 0 && last > combining) || (c < Database::kKnown && data.may_change[c]) || c >= 0x2f800)
      return false;
    last = combining;
  }
  return true;
}

std::string to_nfc(std::string_view text) {
  const Database& data = database();
  std::u32string all;
  all.reserve(text.size());
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) data.decompose(next(p), all);

  // Marks of a character in the order of their classes.
  for (std::size_t i = 0; i < all.size();) {
    if (data.class_of(all[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t stop = i;
    while (stop < all.size() && data.class_of(all[stop]) != 0) ++stop;
    std::stable_sort(all.begin() + static_cast<std::ptrdiff_t>(i), all.begin() + static_cast<std::ptrdiff_t>(stop),
                     [&](char32_t a, char32_t b) { return data.class_of(a) < data.class_of(b); });
    i = stop;
  }

  // Each mark joins the last starter unless one of its class or a higher stands between them.
  std::u32string out;
  out.reserve(all.size());
  std::size_t starter = std::u32string::npos;
  int last = -1;  // class of what was kept behind the starter
  for (const char32_t c : all) {
    const int combining = data.class_of(c);
    if (starter != std::u32string::npos && last < combining) {
      if (const char32_t one = data.composed(out[starter], c); one != 0) {
        out[starter] = one;
        continue;
      }
    }
    if (combining == 0) {
      starter = out.size();
      last = -1;
    } else {
      last = combining;
    }
    out += c;
  }
  std::string result;
  result.reserve(text.size());
  for (const char32_t c : out) append_utf8(c, result);
  return result;
}

}  // namespace qwenplan
