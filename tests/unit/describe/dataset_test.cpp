#include "qwenplan/describe/dataset.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace qwenplan;

TEST_CASE("Characters are counted by script, a single space with the script before it") {
  const auto count = [](const std::string& text) {
    TextCounts counts;
    CHECK(count_text(text, counts));
    return counts;
  };
  const TextCounts english = count("one two 12, x");
  CHECK(english[Script::latin] == 9);  // "one " "two " "x"
  CHECK(english[Script::digits] == 2);
  CHECK(english[Script::symbols] == 1);
  // قَرَأَ كتب: three letters with their signs, a space, three letters.
  const TextCounts arabic = count("\u0642\u064e\u0631\u064e\u0623\u064e \u0643\u062a\u0628");
  CHECK(arabic[Script::arabic] == 7);
  CHECK(arabic[Script::marks] == 3);
  CHECK(count("\u0661\u0662\u0663")[Script::arabic_digits] == 3);
  CHECK(count("\u060c\u061f")[Script::symbols] == 2);
  CHECK(count("a\n\n    b")[Script::blanks] == 1);
  CHECK(count("\U0001f600")[Script::emoji] == 1);
  CHECK(count("\u4e2d\u6587\ud55c")[Script::han] == 3);
}

TEST_CASE("What is no UTF-8 is told from what is") {
  TextCounts counts;
  for (const std::string bad : {"\x80", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82"})
    CHECK_FALSE(count_text(bad, counts));
  CHECK(count_text("\xf4\x8f\xbf\xbf", counts));
}

TEST_CASE("Percentiles are nearest ranks, exact up to 32,767 tokens and within 1/128 beyond") {
  Lengths lengths;
  for (std::int64_t l = 1; l <= 100; ++l) lengths.add(l);
  CHECK(lengths.percentile(50) == 50);
  CHECK(lengths.percentile(99) == 99);
  CHECK(lengths.percentile(100) == 100);
  CHECK(lengths.total() == Tokens(5050));
  const std::int64_t l = GENERATE(std::int64_t{32767}, std::int64_t{32768}, std::int64_t{100'003}, std::int64_t{1} << 40);
  Lengths one;
  one.add(l);
  one.add(l + l / 200);
  const auto half = one.percentile(50);
  CHECK(half >= l);
  CHECK(half <= l + l / 128);
  CHECK(one.longest() == l + l / 200);
  CHECK(one.total() == Tokens(2 * l + l / 200));
}
