#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/estimate/guide/host.hpp"

namespace qwenplan::guide {

namespace detail {

/// A product that Python rounds before it adds. The store keeps a compiler from fusing both into
/// one instruction of another last bit, whatever -ffp-contract says: headers cannot set that.
inline double rounded(double product) {
  const volatile double kept = product;
  return kept;
}

inline Error divides_by_zero(std::string what, std::string where) {
  return Error{Error::Kind::wrong, std::move(what), std::move(where),
               "write a number above zero; the guide's arithmetic divides by it"};
}

}  // namespace detail

/// A name of the guide's and its number.
using Figure = std::pair<std::string_view, double>;

/// The guide's cloud prices, in USD an hour.
inline constexpr std::array<Figure, 4> kCloudCosts = {{{"aws_p3.2xlarge", 3.06},
                                                       {"aws_p4d.xlarge", 3.25},
                                                       {"gcp_v100", 2.48},
                                                       {"azure_nc6s_v3", 3.06}}};
/// The machines that the guide compares, in USD.
inline constexpr std::array<Figure, 3> kSetups = {
    {{"Entry Level", 860}, {"Mainstream", 1360}, {"High-End", 2270}}};
/// The ways of use for which it compares them, in hours a month.
inline constexpr std::array<Figure, 4> kUsagePatterns = {
    {{"Light Use", 20}, {"Regular Use", 50}, {"Heavy Use", 100}, {"Professional", 200}}};

inline constexpr std::int64_t kAnalysisMonths = 24;

/// The answer of the guide's `calculate_local_setup_roi`; money in USD.
struct SetupRoi {
  double hardware_cost = 0;
  double total_cloud_cost = 0;
  double total_local_cost = 0;
  double total_savings = 0;
  double roi_percentage = 0;
  double breakeven_months = 0;
  double monthly_training_hours = 0;
  std::int64_t analysis_period_months = 0;
};

template <class Visit>
void for_each_field(const SetupRoi& roi, Visit&& visit) {
  visit("hardware_cost", roi.hardware_cost);
  visit("total_cloud_cost", roi.total_cloud_cost);
  visit("total_local_cost", roi.total_local_cost);
  visit("total_savings", roi.total_savings);
  visit("roi_percentage", roi.roi_percentage);
  visit("breakeven_months", roi.breakeven_months);
  visit("monthly_training_hours", roi.monthly_training_hours);
  visit("analysis_period_months", roi.analysis_period_months);
}

/// Buying against renting as the guide has it. A free machine and no hours at all are refused: the
/// guide divides by both.
inline Result<SetupRoi> calculate_local_setup_roi(double hardware_cost, double hours_per_month,
                                                  std::int64_t months = kAnalysisMonths) {
  double sum = 0;  // Left to right and without compensation, as sum() up to CPython 3.11.
  for (const Figure& price : kCloudCosts) sum += price.second;
  const double cloud = sum / static_cast<double>(kCloudCosts.size());
  constexpr double kElectricity = 0.15;
  const auto period = static_cast<double>(months);
  const double cloud_per_month = cloud * hours_per_month;

  if (hardware_cost == 0)
    return detail::divides_by_zero("a return on hardware that costs nothing", "--hardware-cost");
  if (cloud_per_month == 0)
    return detail::divides_by_zero("a break-even at zero hours a month", "--hours-per-month");
  SetupRoi roi;
  roi.hardware_cost = hardware_cost;
  roi.total_cloud_cost = detail::rounded(cloud_per_month * period);
  roi.total_local_cost = hardware_cost + detail::rounded(kElectricity * hours_per_month * period);
  roi.total_savings = roi.total_cloud_cost - roi.total_local_cost;
  roi.roi_percentage = roi.total_savings / hardware_cost * 100;
  roi.breakeven_months = hardware_cost / cloud_per_month;
  roi.monthly_training_hours = hours_per_month;
  roi.analysis_period_months = months;
  return roi;
}

/// The guide's `compare_setups`: costs in USD by name, each over 24 months. A name that comes twice
/// keeps its first place and its last cost, as in a Python dict.
inline Result<Dict<SetupRoi>> compare_setups(const Dict<double>& setups, double hours_per_month) {
  Dict<SetupRoi> result;
  for (const auto& setup : setups) {
    const Result<SetupRoi> roi = calculate_local_setup_roi(setup.second, hours_per_month);
    if (!roi) return roi.error();
    const auto same = std::find_if(result.begin(), result.end(),
                                   [&](const auto& entry) { return entry.first == setup.first; });
    if (same == result.end())
      result.emplace_back(setup.first, *roi);
    else
      same->second = *roi;
  }
  return result;
}

/// One way to rent, in USD, as the guide prices it.
struct CloudOption {
  std::string strategy;
  double total_cost = 0;
  double cost_per_hour = 0;
  double reliability = 0;
  std::string description;
  std::string suitable_for_urgency;
};

template <class Visit>
void for_each_field(const CloudOption& option, Visit&& visit) {
  visit("strategy", option.strategy);
  visit("total_cost", option.total_cost);
  visit("cost_per_hour", option.cost_per_hour);
  visit("reliability", option.reliability);
  visit("description", option.description);
  visit("suitable_for_urgency", option.suitable_for_urgency);
}

/// The answer of the guide's `calculate_optimal_cloud_strategy`.
struct CloudStrategy {
  double training_hours = 0;
  std::string urgency;
  std::vector<CloudOption> recommendations;  ///< cheapest first
  CloudOption best_option;
};

template <class Visit>
void for_each_field(const CloudStrategy& strategy, Visit&& visit) {
  visit("training_hours", strategy.training_hours);
  visit("urgency", strategy.urgency);
  visit("recommendations", strategy.recommendations);
  visit("best_option", strategy.best_option);
}

/// The guide's ways to rent for that many hours. Urgency "urgent" drops what can be interrupted;
/// any other word counts as not urgent.
inline CloudStrategy calculate_optimal_cloud_strategy(double hours,
                                                      std::string_view urgency = "normal") {
  struct Way {
    const char* name;
    double multiplier;
    double reliability;
    const char* description;
  };
  constexpr std::array<Way, 4> kWays = {{
      {"on_demand", 1.0, 0.99, "Standard on-demand instances"},
      {"spot_instances", 1 - 0.7, 0.85, "AWS Spot instances (can be interrupted)"},
      {"preemptible", 1 - 0.8, 0.80, "GCP Preemptible instances"},
      {"reserved", 0.6, 0.99, "1-year reserved instances"},
  }};
  constexpr double kBaseCost = 3.0;
  CloudStrategy strategy;
  strategy.training_hours = hours;
  strategy.urgency = urgency;
  for (const Way& way : kWays) {
    if (urgency == "urgent" && way.reliability < 0.95) continue;
    CloudOption option{way.name,
                       hours * kBaseCost * way.multiplier,
                       kBaseCost * way.multiplier,
                       way.reliability,
                       way.description,
                       strategy.urgency};
    // Behind its equals, as Python's sort keeps them.
    const auto place = std::upper_bound(
        strategy.recommendations.begin(), strategy.recommendations.end(), option,
        [](const CloudOption& a, const CloudOption& b) { return a.total_cost < b.total_cost; });
    strategy.recommendations.insert(place, std::move(option));
  }
  strategy.best_option = strategy.recommendations.front();
  return strategy;
}

/// One price level of the guide's monthly budget, in USD.
struct BudgetTier {
  double monthly_cost = 0;
  double annual_cost = 0;
  double cost_per_experiment = 0;
  std::string description;
};

template <class Visit>
void for_each_field(const BudgetTier& tier, Visit&& visit) {
  visit("monthly_cost", tier.monthly_cost);
  visit("annual_cost", tier.annual_cost);
  visit("cost_per_experiment", tier.cost_per_experiment);
  visit("description", tier.description);
}

/// The answer of the guide's `estimate_monthly_cloud_budget`.
struct CloudBudget {
  std::int64_t experiments_per_month = 0;
  double hours_per_experiment = 0;
  double total_monthly_hours = 0;
  Dict<BudgetTier> budget_estimates;
};

template <class Visit>
void for_each_field(const CloudBudget& budget, Visit&& visit) {
  visit("experiments_per_month", budget.experiments_per_month);
  visit("hours_per_experiment", budget.hours_per_experiment);
  visit("total_monthly_hours", budget.total_monthly_hours);
  visit("budget_estimates", budget.budget_estimates);
}

/// Rent for a month of experiments at the guide's three price levels. No experiments are refused:
/// the guide divides by them.
inline Result<CloudBudget> estimate_monthly_cloud_budget(std::int64_t experiments,
                                                         double hours_each) {
  if (experiments == 0)
    return detail::divides_by_zero("a cost per experiment without experiments", "--experiments");
  struct Tier {
    const char* name;
    double usd_per_hour;
    const char* description;
  };
  constexpr std::array<Tier, 3> kTiers = {{{"budget", 0.50, "Budget cloud providers"},
                                           {"mainstream", 1.50, "Mainstream cloud providers"},
                                           {"premium", 3.00, "Premium cloud providers"}}};
  const auto count = static_cast<double>(experiments);
  CloudBudget budget;
  budget.experiments_per_month = experiments;
  budget.hours_per_experiment = hours_each;
  budget.total_monthly_hours = count * hours_each;
  for (const Tier& tier : kTiers) {
    const double month = budget.total_monthly_hours * tier.usd_per_hour;
    budget.budget_estimates.emplace_back(
        tier.name, BudgetTier{month, month * 12, month / count, tier.description});
  }
  return budget;
}

}  // namespace qwenplan::guide
