#pragma once

#include <cmath>
#include <cstdint>
#include <optional>

#include "qwenplan/estimate/cost.hpp"

namespace qwenplan {

/// A machine that one buys. US dollars and watts.
struct Purchase {
  double price = 0;
  double resale = 0;  ///< what it brings at the end of its use
  double watts = 0;   ///< at the wall while it trains
};

/// How a machine is used, and what surrounds it.
struct Usage {
  double hours_per_month = 0;
  std::int64_t months = 24;
  double usd_per_kwh = 0;
  double discount = 0;  ///< interest of a year that the money would bear elsewhere: 0.05
};

/// Buying against renting. US dollars.
struct Payback {
  double electricity = 0;     ///< over all months
  double local = 0;           ///< price and electricity less resale
  double cloud = 0;           ///< rent over all months
  double saves_per_month = 0; ///< rent less electricity
  double savings = 0;         ///< cloud less local; negative: renting is cheaper
  double npv = 0;             ///< the same with each payment discounted to today
  /// Months until the rent saved has paid for the machine, however long that is; none: never. Resale
  /// does not count, since it comes only when the machine is given away.
  std::optional<double> breakeven_months;
};

/// Compares a purchase with renting the same GPU at a rate in US dollars an hour. Payments are made at
/// the end of each month, the purchase at the start and the resale at the end.
inline Payback payback(const Purchase& machine, double usd_per_hour, const Usage& usage) {
  const double months = static_cast<double>(usage.months);
  const double hours = usage.hours_per_month * months;
  Payback result;
  result.electricity = electricity_usd(machine.watts, hours, usage.usd_per_kwh);
  result.local = machine.price + result.electricity - machine.resale;
  result.cloud = usd_per_hour * hours;
  result.savings = result.cloud - result.local;
  result.saves_per_month =
      usage.hours_per_month * usd_per_hour -
      electricity_usd(machine.watts, usage.hours_per_month, usage.usd_per_kwh);
  if (result.saves_per_month > 0) result.breakeven_months = machine.price / result.saves_per_month;

  const double growth = std::pow(1 + usage.discount, 1.0 / 12);
  double factor = 1;
  result.npv = -machine.price;
  for (std::int64_t month = 1; month <= usage.months; ++month) {
    factor /= growth;
    result.npv += result.saves_per_month * factor;
  }
  result.npv += machine.resale * factor;
  return result;
}

/// What a job saves that runs on one's own machine instead of a rented one with the same card: both
/// take the same hours, of which one pays the rent and the other the electricity of some watts.
constexpr Range<double> saved_on_same_card(const Range<double>& hours, double usd_per_hour, const Range<double>& watts,
                                           double usd_per_kwh) {
  const double least = usd_per_hour - electricity_usd(watts.high, 1, usd_per_kwh);
  const double likely = usd_per_hour - electricity_usd(watts.likely, 1, usd_per_kwh);
  const double most = usd_per_hour - electricity_usd(watts.low, 1, usd_per_kwh);
  return {least * (least < 0 ? hours.high : hours.low), likely * hours.likely, most * (most < 0 ? hours.low : hours.high)};
}

/// The same against a machine with another card, whose hours err in ways of their own.
constexpr Range<double> saved(const Range<double>& rented_usd, const Range<double>& own_usd) {
  return {rented_usd.low - own_usd.high, rented_usd.likely - own_usd.likely, rented_usd.high - own_usd.low};
}

/// Jobs until what they save has paid for a machine; none: never.
struct BreakEven {
  std::optional<double> low, likely, high;
};

inline BreakEven breakeven_jobs(double price, const Range<double>& saved_per_job) {
  const auto jobs = [&](double usd) { return usd > 0 ? std::optional(price / usd) : std::nullopt; };
  return {jobs(saved_per_job.high), jobs(saved_per_job.likely), jobs(saved_per_job.low)};
}

}  // namespace qwenplan
