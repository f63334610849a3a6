#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/range.hpp"

#include <type_traits>

using namespace qwenplan;
using namespace qwenplan::literals;

// Two literals, two sizes: a GB is not a GiB.
static_assert(1_KiB == 1024_B);
static_assert(1_MiB == 1'048'576_B);
static_assert(80_GiB == 85'899'345'920_B);
static_assert(80_GB == 80'000'000'000_B);
static_assert(80_GiB > 80_GB);

// Counts saturate: a plan too large to count must not wrap round to one that fits.
constexpr Bytes kMost{Saturating::kMax};
static_assert(kMost + 1_B == kMost);
static_assert(kMost * 2 == kMost);
static_assert(Bytes(Saturating::kMin) - 1_B == Bytes(Saturating::kMin));
static_assert(kMost * -2 == Bytes(Saturating::kMin));
static_assert(24_GiB - 80_GiB < Bytes());  // headroom can be negative

// A quantity is made from a number only where that is said.
static_assert(!std::is_convertible_v<std::int64_t, Bytes>);
static_assert(!std::is_convertible_v<Bytes, std::int64_t>);
static_assert(!std::is_same_v<Bytes, Params>);

static_assert(weaker(Evidence::exact, Evidence::fitted) == Evidence::fitted);
static_assert(weaker(Evidence::assumed, Evidence::vendor) == Evidence::assumed);
static_assert(Range<Bytes>::exactly(5_B) == Range<Bytes>{5_B, 5_B, 5_B});
