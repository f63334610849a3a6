#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"

namespace qwenplan {

/// A rented machine with GPUs, and what an hour of it costs. Rates are US dollars for an hour of the
/// whole machine.
struct Offer {
  std::string id;
  std::string provider;
  std::string instance;        ///< as the provider names it
  std::string gpu;             ///< id of the table of GPUs; it may be one that the table lacks
  std::optional<double> gpus;  ///< below 1 a share of one; none where it is not told
  Bytes gpu_memory{};          ///< of one whole GPU, as the provider states it
  std::optional<std::int64_t> vcpus;
  std::optional<Bytes> ram;
  std::optional<double> on_demand;
  std::optional<double> spot;
  std::optional<double> reserved;  ///< with a commitment of a year
  std::string region;
  std::string as_of;        ///< day of the rates, YYYY-MM-DD; empty where nobody has dated them
  bool is_available = true;  ///< false: still in a price list, but no longer offered
  Evidence evidence = Evidence::assumed;
  std::string source;  ///< key of data/sources.json; empty where assumed
  std::string note;

  /// Memory of one GPU, or of the share of one. Nothing where the number of GPUs is not told.
  std::optional<Bytes> vram() const {
    if (!gpus) return std::nullopt;
    const double share = std::min(1.0, *gpus);
    return Bytes(static_cast<std::int64_t>(static_cast<double>(gpu_memory.count()) * share));
  }
  /// The lower of the two rates that need no commitment.
  std::optional<double> lowest() const {
    if (on_demand && spot) return std::min(*on_demand, *spot);
    return on_demand ? on_demand : spot;
  }
};

/// A price in US dollars, and how it is known.
struct Price {
  double usd = 0;
  std::string as_of;  ///< YYYY-MM-DD; empty where nobody has dated it
  Evidence evidence = Evidence::assumed;
  std::string source;
};

/// What one buys for a machine.
struct Part {
  enum class Kind : std::uint8_t { gpu, cpu, ram, storage, motherboard, psu, enclosure };
  Kind kind = Kind::gpu;
  std::string name;
  std::string gpu;  ///< id of the table of GPUs; for a GPU alone
  Price price;
  std::optional<Price> launch_price;
  std::optional<double> tdp;     ///< watts; of a CPU
  std::optional<double> rating;  ///< watts; of a power supply
  std::optional<Bytes> size;     ///< of RAM or storage
  std::int64_t cores = 0;        ///< of a CPU
};

constexpr std::string_view name(Part::Kind kind) {
  constexpr std::string_view names[] = {"gpu", "cpu", "ram", "storage", "motherboard", "psu", "case"};
  return names[static_cast<int>(kind)];
}

/// A machine as its list of parts.
struct Machine {
  std::string id;
  std::string name;
  std::string budget;  ///< "800 to 1200 USD"
  std::vector<Part> parts;

  const Part* part(Part::Kind kind) const {
    for (const Part& each : parts)
      if (each.kind == kind) return &each;
    return nullptr;
  }
  double usd() const {
    double sum = 0;
    for (const Part& each : parts) sum += each.price.usd;
    return sum;
  }
};

/// A day written YYYY-MM-DD as days since 1970-01-01, or nothing if it is no day of the calendar.
inline std::optional<std::int64_t> day_number(std::string_view day) {
  if (day.size() != 10 || day[4] != '-' || day[7] != '-') return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) {
      if (day[i] < '0' || day[i] > '9') return -1;
      value = value * 10 + (day[i] - '0');
    }
    return value;
  };
  const int year = number(0, 4), month = number(5, 2), date = number(8, 2);
  if (year < 0 || month < 0 || date < 0) return std::nullopt;
  const std::chrono::year_month_day ymd{std::chrono::year(year),
                                        std::chrono::month(static_cast<unsigned>(month)),
                                        std::chrono::day(static_cast<unsigned>(date))};
  if (!ymd.ok()) return std::nullopt;
  return std::chrono::sys_days(ymd).time_since_epoch().count();
}

/// Days from one day to another; nothing if either is none.
inline std::optional<std::int64_t> days_between(std::string_view from, std::string_view to) {
  const auto first = day_number(from), last = day_number(to);
  if (!first || !last) return std::nullopt;
  return *last - *first;
}

/// A price older than this many days is said to be old, each time.
inline constexpr std::int64_t kStaleAfterDays = 90;

}  // namespace qwenplan
