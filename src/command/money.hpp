#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/invocation.hpp"
#include "qwenplan/describe/price.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "read/tables.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// US dollars for a kilowatt hour where nobody says. Assumed.
inline constexpr double kElectricity = 0.15;
inline constexpr double kHoursOfMonth = 744;  ///< of one with 31 days
inline constexpr double kWeeksOfMonth = 52.0 / 12;
/// How long a machine is used where nobody says, as the guide has it.
inline constexpr std::int64_t kUsualMonths = 24;

/// The days of the prices that went into an answer.
class PriceDays {
 public:
  void add(const std::string& day, std::size_t count = 1);
  void add(const Rent& rent);
  const std::string& oldest() const { return oldest_; }  ///< empty: none has a day

  /// Says in the notes how old the prices are where that is over 90 days, or that they have no day;
  /// and gives the answer the oldest day.
  void tell(const std::string& today, Answer& answer) const;

 private:
  std::string oldest_, newest_;
  std::size_t dated_ = 0;
  std::size_t undated_ = 0;
};

/// "$0.34/h", with as many digits as tell two rates apart.
std::string text_rate(double usd_per_hour);

/// "23 months", "never".
std::string text_months(const std::optional<double>& months);

/// The items as "a", "a and b", "a, b and c".
std::string listed(const std::vector<std::string>& items);

/// What an answer took for granted, as `assumed` in JSON and a last paragraph in text.
void tell_assumed(const std::vector<std::string>& assumed, Answer& answer);

/// Notes which rows an overlay replaced, where there is one.
void tell_overlay(const Invocation& in, const Tables& tables, Answer& answer);

}  // namespace qwenplan
