#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/price.hpp"

namespace qwenplan {

/// US dollars for electricity: watts at the wall x hours x price of a kilowatt hour.
constexpr double electricity_usd(double watts, double hours, double usd_per_kwh) {
  return watts / 1000 * hours * usd_per_kwh;
}

/// Board, RAM, disks and fans of a machine, in watts. Assumed.
inline constexpr double kOtherPartsWatts = 75;
/// What a host takes beside its GPU while it trains, its CPU mostly waiting, in watts. Assumed.
inline constexpr double kHostWatts = 100;
/// Share of the power at the wall that a power supply passes on: 80 PLUS Gold at half load.
inline constexpr double kSupplyEfficiency = 0.9;
/// The socket of a Zen processor may take 1.35 times the TDP (source amd-socket-power).
inline constexpr double kSocketLimit = 1.35;
/// Room above the load: graphics cards exceed their limit for milliseconds, and a supply is most
/// efficient at half to two thirds of its rating. Assumed.
inline constexpr double kSupplyRoom = 1.5;
/// Ratings that are sold, in watts.
inline constexpr double kSupplyRatings[] = {450, 550, 650, 750, 850, 1000, 1200, 1600, 2000};

/// Power of a machine's parts at full load, in watts.
struct PartsPower {
  double gpus = 0;
  double cpu = 0;
  double others = kOtherPartsWatts;

  double load() const { return gpus + cpu + others; }
  /// The smallest rating that is sold and leaves room above the load; none where none does.
  std::optional<double> supply() const {
    for (const double rating : kSupplyRatings)
      if (rating >= load() * kSupplyRoom) return rating;
    return std::nullopt;
  }
};

inline PartsPower parts_power(double gpu_watts, std::int64_t gpus, double cpu_tdp) {
  return {gpu_watts * static_cast<double>(gpus), cpu_tdp * kSocketLimit, kOtherPartsWatts};
}

/// Watts at the wall while a machine trains: its GPUs at their limit, the host beside them.
constexpr double training_watts(double gpu_watts, std::int64_t gpus) {
  return (gpu_watts * static_cast<double>(gpus) + kHostWatts) / kSupplyEfficiency;
}

/// A machine that is taken away now and then, and the means against it. All in hours.
struct Interruptions {
  double mean_between = 24;  ///< from one interruption to the next, on average
  double checkpoint = 0;     ///< to write a checkpoint
  double restart = 0;        ///< to get a machine again, load and go on
};

/// Hours of work between two checkpoints that cost least: Young's square root of twice the product of
/// writing time and mean time between interruptions, with Daly's two further terms (source
/// daly-2006, equation 37). Writing that takes twice the mean time or longer gets the mean time.
inline double checkpoint_interval(const Interruptions& i) {
  if (i.checkpoint >= 2 * i.mean_between) return i.mean_between;
  const double ratio = i.checkpoint / (2 * i.mean_between);
  return std::sqrt(2 * i.checkpoint * i.mean_between) * (1 + std::sqrt(ratio) / 3 + ratio / 9) -
         i.checkpoint;
}

/// Hours that an amount of work takes on such a machine: writing checkpoints, doing lost work again
/// and restarting included (source daly-2006, equation 20). Interruptions come at random.
inline double expected_hours(double work, const Interruptions& i) {
  if (work <= 0) return 0;
  // Writing that takes no time is done as often as the formula can bear.
  const double interval = std::min(work, std::max(checkpoint_interval(i), i.mean_between * 1e-6));
  return i.mean_between * std::exp(i.restart / i.mean_between) *
         std::expm1((interval + i.checkpoint) / i.mean_between) * work / interval;
}

/// Hours of a job on such a machine; none where it would never end. The range is that of the work:
/// interruptions are counted at their average.
inline std::optional<Range<double>> expected_hours(const Range<double>& work, const Interruptions& i) {
  const Range<double> hours = {expected_hours(work.low, i), expected_hours(work.likely, i), expected_hours(work.high, i)};
  if (!std::isfinite(hours.high)) return std::nullopt;
  return hours;
}

/// What hours of a machine cost at a rate of US dollars an hour.
constexpr Range<double> hours_usd(const Range<double>& hours, double usd_per_hour) {
  return {hours.low * usd_per_hour, hours.likely * usd_per_hour, hours.high * usd_per_hour};
}

/// Watts at the wall while a machine trains, of what its one card draws.
constexpr Range<double> wall_watts(const Range<double>& card_watts) {
  return {training_watts(card_watts.low, 1), training_watts(card_watts.likely, 1), training_watts(card_watts.high, 1)};
}

/// What one GPU of a kind is rented for, in US dollars an hour: the cheapest offer, the middle one and
/// the dearest.
struct Rent {
  Range<double> per_hour;
  std::size_t offers = 0;
  std::size_t undated = 0;  ///< of the offers
  std::string oldest;       ///< day of the oldest dated offer; empty if none has a day
  bool is_spot = false;     ///< nobody offers it on demand: rates that can be interrupted
};

/// The rent of one whole GPU, over all offers that are still made; nothing if there are none.
inline std::optional<Rent> rent_of(std::string_view gpu, const std::vector<Offer>& offers) {
  for (const bool is_spot : {false, true}) {
    std::vector<double> rates;
    Rent rent;
    for (const Offer& offer : offers) {
      const std::optional<double>& rate = is_spot ? offer.spot : offer.on_demand;
      if (offer.gpu != gpu || !offer.is_available || !rate || !offer.gpus || *offer.gpus < 1) continue;
      rates.push_back(*rate / *offer.gpus);
      if (offer.as_of.empty()) ++rent.undated;
      else if (rent.oldest.empty() || offer.as_of < rent.oldest) rent.oldest = offer.as_of;
    }
    if (rates.empty()) continue;
    std::sort(rates.begin(), rates.end());
    const std::size_t middle = rates.size() / 2;
    const double median =
        rates.size() % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2;
    rent.per_hour = {rates.front(), median, rates.back()};
    rent.offers = rates.size();
    rent.is_spot = is_spot;
    return rent;
  }
  return std::nullopt;
}

}  // namespace qwenplan
