#include "qwenplan/base/parse.hpp"

#include <string>

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

TEST_CASE("sizes are read with their unit") {
  struct Case {
    const char* text;
    Bytes bytes;
  };
  const Case cases[] = {{"24 GiB", 24_GiB},
                        {"24GiB", 24_GiB},
                        {"24gib", 24_GiB},
                        {"24 GB", 24_GB},
                        {"800MiB", 800_MiB},
                        {"1.5 GiB", 1536_MiB},
                        {"0.5 KiB", 512_B},
                        {"512 B", 512_B},
                        {"0 B", 0_B},
                        {".5 MiB", 512_KiB},
                        {"11.76 GB", 11760_MB},
                        {"1 TB", 1000_GB},
                        {"8388607 TiB", Bytes(8388607) * (std::int64_t{1} << 40)}};
  for (const Case& each : cases) {
    INFO(each.text);
    const auto size = parse_bytes(each.text, "--vram");
    REQUIRE(size.ok());
    CHECK(*size == each.bytes);
  }
}

TEST_CASE("sizes without a unit, and what is no size, are refused") {
  for (const char* text :
       {"", "24", "24G", "24 M", "GiB", "-4 GiB", "4 GiBs", "4 XB", "1e3 GB", "nan", "4,5 GB",
        "99999999999999999999 GiB", "9223372036854775807 KiB", "8388608 TiB", "0x10 GB", ". GB"}) {
    INFO(text);
    const auto size = parse_bytes(text, "--vram");
    REQUIRE_FALSE(size.ok());
    CHECK(size.error().kind == Error::Kind::wrong);
    CHECK(size.error().where == "--vram");
  }
}

TEST_CASE("a bare number is asked back in both units") {
  const auto size = parse_bytes("24", "--vram");
  REQUIRE_FALSE(size.ok());
  CHECK(size.error().hint == "24 GiB or 24 GB?");
  CHECK(parse_bytes("800 m", "--vram").error().hint == "800 MiB or 800 MB?");
}
