#include "command/money.hpp"

#include <algorithm>
#include <cmath>

#include "render/quantity.hpp"

namespace qwenplan {

void PriceDays::add(const std::string& day, std::size_t count) {
  if (day.empty()) {
    undated_ += count;
    return;
  }
  dated_ += count;
  if (oldest_.empty() || day < oldest_) oldest_ = day;
  newest_ = std::max(newest_, day);
}

void PriceDays::add(const Rent& rent) {
  if (!rent.oldest.empty()) add(rent.oldest, rent.offers - rent.undated);
  if (rent.undated > 0) add("", rent.undated);
}

void PriceDays::tell(const std::string& today, Answer& answer) const {
  if (!oldest_.empty()) answer.data_as_of = oldest_;
  const auto age = days_between(oldest_, today);
  if (age && *age > kStaleAfterDays)
    answer.notes.push_back("prices are up to " + std::to_string(*age) + " days old (" +
                           (oldest_ == newest_ ? "of " + oldest_ : "from " + oldest_ + " to " + newest_) +
                           "), which is more than 90; ask the provider before you rely on them");
  if (undated_ > 0)
    answer.notes.push_back(std::to_string(undated_) + " of " + std::to_string(dated_ + undated_) +
                           " prices have no day: their source does not tell one");
}

std::string text_rate(double usd_per_hour) {
  return "$" + fixed(usd_per_hour, usd_per_hour < 0.995 ? 3 : 2) + "/h";
}

std::string text_months(const std::optional<double>& months) {
  if (!months) return "never";
  if (*months < 9.95) return fixed(*months, 1) + " months";
  if (*months < 1200) return fixed(*months, 0) + " months";
  return "more than 100 years";
}

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i)
    text += (i == 0 ? "" : i + 1 == items.size() ? " and " : ", ") + items[i];
  return text;
}

void tell_assumed(const std::vector<std::string>& assumed, Answer& answer) {
  Value& list = answer.json.set("assumed", Value::list());
  std::string words;
  for (const std::string& each : assumed) {
    list.push(each);
    words += (words.empty() ? "assumed: " : "; ") + each;
  }
  if (!words.empty()) answer.add(Paragraph{words, Tone::faint});
}

void tell_overlay(const Invocation& in, const Tables& tables, Answer& answer) {
  if (in.data_directory.empty()) return;
  answer.inputs.push_back({"data", Value(in.data_directory), in.data_from});
  if (!tables.overridden().empty())
    answer.notes.push_back("rows of " + in.data_directory + " are used: " + listed(tables.overridden()));
}

}  // namespace qwenplan
