#include "render/quantity.hpp"

#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/parse.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

TEST_CASE("bytes are rounded once, in one unit") {
  CHECK(text(Bytes(0)) == "0 B");
  CHECK(text(1023_B) == "1023 B");
  CHECK(text(1_KiB) == "1 KiB");
  CHECK(text(800_MiB) == "800 MiB");
  CHECK(text(1_GiB) == "1.0 GiB");
  CHECK(text(12_GB) == "11.2 GiB");
  CHECK(text(Bytes(0) - 1536_MiB) == "-1.5 GiB");
  CHECK(text(1025_GiB) == "1.0 TiB");
}

TEST_CASE("a size just below the next unit is not written as 1024 of this one") {
  CHECK(text(1_MiB - 1_B) == "1 MiB");
  CHECK(text(1_GiB - 1_B) == "1.0 GiB");
  CHECK(text(1024_GiB - 1_B) == "1.0 TiB");
}

TEST_CASE("what is printed reads back to print precision") {
  for (const Bytes size : {17_B, 900_KiB, 613_MiB, 12_GB, 80_GiB, 3000_GiB}) {
    const auto again = parse_bytes(text(size), "here");
    REQUIRE(again.ok());
    const double ratio = static_cast<double>(again->count()) / static_cast<double>(size.count());
    CHECK(ratio > 0.95);
    CHECK(ratio < 1.05);
    CHECK(text(*again) == text(size));
  }
}

TEST_CASE("a range names its unit once where it can") {
  CHECK(text(Range<Bytes>{12_GiB, 13_GiB, 14_GiB}) == "13.0 GiB (12.0 to 14.0)");
  CHECK(text(Range<Bytes>{800_MiB, 1_GiB, 2_GiB}) == "1.0 GiB (800 MiB to 2.0 GiB)");
  CHECK(text(Range<Bytes>::exactly(13_GiB)) == "13.0 GiB");
  CHECK(text(Range<Bytes>{13_GiB, 13_GiB, 13_GiB + 1_KiB}) == "13.0 GiB");
}

TEST_CASE("counts, money and time") {
  CHECK(grouped(7615616512) == "7,615,616,512");
  CHECK(grouped(-1234) == "-1,234");
  CHECK(grouped(999) == "999");
  CHECK(short_count(7615616512) == "7.62 B");
  CHECK(short_count(999) == "999");
  CHECK(text_usd(4.1) == "$4.10");
  CHECK(text_usd(-1234.5) == "-$1,234.50");
  CHECK(text_usd(-0.001) == "$0.00");
  CHECK(text_usd(0) == "$0.00");
  CHECK(text_usd(0.0004) == "under $0.01");  // a small job is not free
  CHECK(text_usd(0.005) == "$0.01");
  CHECK(text_duration(45) == "45 s");
  CHECK(text_duration(12'000) == "3 h 20 min");
  CHECK(text_duration(59.6) == "1 min");
  CHECK(text_duration(90'000 * 2) == "2 d 2 h");
  CHECK(text_percent(0.1234) == "12.3 %");
  CHECK(fixed(-0.04, 1) == "0.0");
}
