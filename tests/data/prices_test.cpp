#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "qwenplan/describe/price.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "support/catch.hpp"

using namespace qwenplan;

namespace {

const Tables& tables() {
  static const Tables opened = *Tables::open();
  return opened;
}

std::vector<Offer> offers() {
  const auto read = read_offers(tables());
  REQUIRE(read);
  return *read;
}

void report(const std::vector<std::string>& wrong) {
  std::string lines;
  for (std::size_t i = 0; i < wrong.size() && i < 30; ++i) lines += wrong[i] + "\n";
  INFO(lines);
  CHECK(wrong.empty());
}

}  // namespace

TEST_CASE("each offer has a day or an undated source, and no day is later than its reading") {
  std::vector<std::string> wrong;
  for (const Offer& offer : offers()) {
    if (offer.evidence != Evidence::assumed && offer.source.empty()) wrong.push_back(offer.id + ": no source");
    if (!offer.as_of.empty() && (!day_number(offer.as_of) || offer.as_of > "2026-11-24"))
      wrong.push_back(offer.id + ": of " + offer.as_of);
  }
  report(wrong);
}

TEST_CASE("an offer's card is in the table, or the table of prices says that it is not") {
  std::set<std::string> known;
  for (const std::string& id : tables().ids(Tables::Kind::gpus)) known.insert(id);
  std::set<std::string> missing;
  for (const Offer& offer : offers())
    if (!known.count(offer.gpu)) missing.insert(offer.gpu);
  const std::string header(embedded::prices().header);
  for (const std::string& id : missing) {
    CAPTURE(id);
    CHECK(header.find("\"" + id + "\"") != std::string::npos);
  }
  CHECK(missing.size() < 30);
}

TEST_CASE("an offer's memory is its card's") {
  std::vector<std::string> wrong;
  for (const Offer& offer : offers()) {
    const auto found = tables().gpu(offer.gpu);
    if (!found || found->gpu.id != offer.gpu) continue;
    const double ratio = static_cast<double>(offer.gpu_memory.count()) / static_cast<double>(found->gpu.memory.value.count());
    // Drivers and hypervisors keep up to a tenth (a B300 of 288 GB is offered with 262); a B200 has chips of
    // 192 GiB, of which 180 can be used.
    if (ratio < 0.62 || ratio > 1.07) wrong.push_back(offer.id + ": " + std::to_string(ratio));
  }
  report(wrong);
}

TEST_CASE("a GPU hour costs what one can believe") {
  std::vector<std::string> wrong;
  for (const Offer& offer : offers())
    for (const auto& rate : {offer.on_demand, offer.spot}) {
      if (!rate || !offer.gpus) continue;
      const double each = *rate / *offer.gpus;
      if (each < 0.01 || each > 30) wrong.push_back(offer.id + ": " + std::to_string(each));
    }
  report(wrong);
}

TEST_CASE("the rows behind the corrections of the guide are there") {
  std::map<std::string, Offer> by_id;
  for (const Offer& offer : offers()) by_id[offer.id] = offer;
  // The guide has one p4d.xlarge at 3.25 for one A100; there is one size, with eight.
  CHECK_FALSE(by_id.count("aws-p4d.xlarge"));
  REQUIRE(by_id.count("aws-p4d.24xlarge"));
  CHECK(by_id["aws-p4d.24xlarge"].gpus == 8.0);
  // SageMaker asks a quarter more than EC2's 3.06.
  REQUIRE(by_id.count("aws-sagemaker-ml.p3.2xlarge"));
  CHECK(by_id["aws-sagemaker-ml.p3.2xlarge"].on_demand == 3.825);
  // The V100 alone is 2.48; with the machine that it needs 2.67.
  REQUIRE(by_id.count("gcp-n1-standard-4-1x-v100"));
  CHECK(by_id["gcp-n1-standard-4-1x-v100"].on_demand == 2.67);
  REQUIRE(by_id.count("lambda-1x-nvidia-a100-sxm-40gb"));
  CHECK(by_id["lambda-1x-nvidia-a100-sxm-40gb"].on_demand == 1.99);
}
