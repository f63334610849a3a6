#include "qwenplan/judge/fit.hpp"

#include "qwenplan/base/literals.hpp"
#include "support/catch.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

TEST_CASE("a range is judged by its ends, and by what happens at the capacity") {
  const Range<Bytes> need{8_GiB, 10_GiB, 11_GiB};
  CHECK(judge(need, 11_GiB, true) == Fit::fits);
  CHECK(judge(need, 11_GiB - 1_B, true) == Fit::tight);
  CHECK(judge(need, 10_GiB, false) == Fit::tight);
  CHECK(judge(need, 10_GiB - 1_B, true) == Fit::tight);  // completes by flushing
  CHECK(judge(need, 10_GiB - 1_B, false) == Fit::exceeds);
  CHECK(judge(need, 8_GiB, false) == Fit::exceeds);  // the best case is no promise
}

TEST_CASE("a larger card never turns a fit into less") {
  const Range<Bytes> need{8_GiB, 10_GiB, 11_GiB};
  for (const bool completes : {false, true}) {
    Fit before = Fit::exceeds;
    for (std::int64_t gibibytes = 1; gibibytes <= 16; ++gibibytes) {
      const Fit fit = judge(need, 1_GiB * gibibytes, completes);
      CHECK(fit <= before);
      before = fit;
    }
  }
}

TEST_CASE("without a card there is no verdict") {
  MemoryEstimate estimate;
  CHECK(!judge(estimate));
  CHECK(!headroom(estimate));
}

TEST_CASE("headroom is what the likely need leaves, or what it lacks") {
  MemoryEstimate estimate;
  estimate.device = {8_GiB, 10_GiB, 11_GiB};
  estimate.at_capacity = Reserved{};
  estimate.on.usable = Sourced<Bytes>{12_GiB, Evidence::vendor, "x"};
  CHECK(judge(estimate) == Fit::fits);
  CHECK(headroom(estimate) == 2_GiB);
  estimate.on.usable->value = 9_GiB;
  estimate.at_capacity->out_of_memory = OutOfMemory{};
  CHECK(judge(estimate) == Fit::exceeds);
  CHECK(headroom(estimate) == Bytes() - 1_GiB);
}
