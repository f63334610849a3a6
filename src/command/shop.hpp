#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "command/job.hpp"
#include "command/rental.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/price.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// A card on which a job fits, and what it was sold for.
struct Buy {
  Gpu gpu;
  CardFit fit;
};

/// The cards of the table on which a job fits and that have a price, cheapest first. No laptops: they
/// are not sold as parts. `needs_room` leaves out what is tight.
std::vector<Buy> cards_for(const Tables& tables, CardFits& fits, bool needs_room);

/// The cards of the table that go into a desktop or a server, in its order.
Result<std::vector<Gpu>> sold_cards(const Tables& tables);

/// A machine of the table's parts for a job on a card: of each kind the cheapest that suffices.
struct Assembly {
  const Part* cpu = nullptr;
  std::vector<const Part*> parts;    ///< without the card
  std::vector<std::string> missing;  ///< what no part of the table suffices for: "192 GiB of RAM"
  PartsPower power;
  double usd = 0;  ///< of the parts and the card; without what is missing
};
Assembly assembled(const std::vector<Machine>& machines, const Gpu& gpu, const HostNeed& need);

/// A machine that runs a job, and how fast it does it.
struct JobMachine {
  Buy buy;
  Assembly machine;
  HostNeed need;
  const JobTime* time = nullptr;       ///< asked for where the job's hours or a budget are told
  std::optional<Range<double>> hours;  ///< of the job
  Meets deadline = Meets::meets;
  Meets budget = Meets::meets;         ///< of its price

  Meets meets() const { return std::max(deadline, budget); }
  bool is_kept(bool is_strict) const { return is_yes(meets(), is_strict); }
};

/// A machine for each card with a price on which the job fits, or for `card` alone: first those that keep
/// the job's limits, then those of which no part is missing; then the cheapest, or with a budget the
/// one with the best method and the most tokens a second. An error where a mechanism has no time.
Result<std::vector<JobMachine>> machines_for(const Tables& tables, const std::vector<Machine>& machines, PricedJob& job,
                                             const std::optional<std::string>& card, bool is_strict);

/// The smallest disk that is sold and takes a job's files, in bytes; none up to 8 TB.
std::optional<Bytes> sufficient_disk(const HostNeed& need);

/// "500 GB", "2 TB": as disks are sold.
std::string text_disk(Bytes bytes);

/// Watts as JSON: `gpu_watts`, `cpu_watts`, `other_watts`, `load_watts`, `supply_watts`.
Value as_json(const PartsPower& power);

}  // namespace qwenplan
