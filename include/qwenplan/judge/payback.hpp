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

}  // namespace qwenplan
