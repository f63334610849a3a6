#include <cmath>
#include <cstddef>
#include <set>
#include <string>

#include "support/catch.hpp"
#include "support/reference.hpp"
#include "support/work.hpp"

// FLOPs against PyTorch's own counter on the real modelling code (tests/reference/README.md).

namespace qwenplan::test {

TEST_CASE("FLOPs of a step equal PyTorch's own count") {
  const auto rows = read_csv(reference_path("oracle_flops.csv"));
  REQUIRE(rows.size() >= 10);
  std::set<Architecture> counted;
  for (const CsvRow& row : rows) {
    INFO(row.text("model") << " " << row.text("method") << " " << row.text("seq_len") << " "
                           << row.text("attn"));
    Model model = reference_models().find(row.text("model"))->second;
    if (row.integer("layers_measured") > 0) model.layers = row.integer("layers_measured");
    if (model.vision) model.vision->layers = row.integer("tower");
    counted.insert(model.architecture);
    const WorkKeeper keeper = work_of(model, run_of(row), stack_of_row(row));
    const double forward = keeper.flops(Phase::forward, Phase::loss);
    CHECK(std::abs(forward / row.real("flops_forward") - 1) < 1e-3);
    CHECK(std::abs(keeper.flops() / row.real("flops_step") - 1) < 1e-3);
  }
  CHECK(counted.size() == static_cast<std::size_t>(Architecture::other));  // every class has rows
}

}  // namespace qwenplan::test
