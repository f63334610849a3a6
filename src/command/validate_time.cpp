#include "command/validate_time.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "command/step_time.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

/// Of the mean over the sources.
constexpr double kMostLeftOut = 0.30, kMostAfterOneStep = 0.10;

std::string percent(double share) { return fixed(share * 100, 1) + " %"; }
std::string signed_percent(double share) { return (share > 0 ? "+" : "") + percent(share); }

/// Of tokens per second, as a share of what was measured.
double error(double seconds, double predicted) { return seconds / predicted - 1; }

}  // namespace

Result<std::vector<MeasuredStep>> published_steps(const std::vector<PublishedRun>& rows, const Tables& tables,
                                                  const Environment& environment) {
  std::vector<MeasuredStep> steps;
  for (const PublishedRun& row : rows) {
    auto step = measured_step(row, tables, environment);
    if (!step) return step.error();
    if (*step) steps.push_back(std::move(**step));
  }
  return steps;
}

bool tell_time(const std::vector<MeasuredStep>& steps, const std::vector<PublishedRun>& rows, const Efficiency& all,
               const std::vector<std::string>& sources, Answer& answer) {
  const std::vector<LeftOut> left_out = leave_sources_out(steps);
  if (left_out.empty()) return true;
  const auto wanted = [&](const std::string& source) {
    return sources.empty() || std::find(sources.begin(), sources.end(), source) != sources.end();
  };
  double mean = 0, after_one_step = 0;
  for (const LeftOut& each : left_out) {
    mean += each.error / static_cast<double>(left_out.size());
    after_one_step += each.after_one_step / static_cast<double>(left_out.size());
  }
  const bool is_within = mean <= kMostLeftOut && after_one_step <= kMostAfterOneStep;

  using enum Column::Align;
  Table summary{{{"source"}, {"card"}, {"runs", right}, {"fitted with it", right}, {"left out", right},
                 {"worst", right}, {"and one step measured", right}}, {}};
  Value list = Value::list();
  for (const LeftOut& each : left_out) {
    if (!wanted(each.source)) continue;
    double inside = 0, worst = 0;
    std::string card;
    for (const MeasuredStep& step : steps) {
      if (step.source != each.source) continue;
      inside += std::abs(error(step.seconds, predicted_seconds(step, all))) / static_cast<double>(each.runs.size());
      card = step.gpu.id;
    }
    Value ids = Value::list();
    for (const LeftOut::Run& run : each.runs) {
      ids.push(run.id);
      if (std::abs(error(run.seconds, run.predicted)) > std::abs(worst)) worst = error(run.seconds, run.predicted);
    }
    list.push(Value::object({{"source", each.source},
                             {"gpu", card},
                             {"runs", each.runs.size()},
                             {"mean_error_percent", inside * 100},
                             {"left_out_error_percent", each.error * 100},
                             {"left_out_worst_percent", worst * 100},
                             {"after_one_step_error_percent", each.after_one_step * 100},
                             {"ids", std::move(ids)}}));
    summary.rows.push_back({each.source, card, std::to_string(each.runs.size()), percent(inside), percent(each.error),
                            signed_percent(worst), percent(each.after_one_step)});
  }
  if (sources.empty())
    summary.rows.push_back({"mean over the sources", "", "", "", percent(mean), "", percent(after_one_step)});
  answer.json.set("time", Value::object({{"within", is_within},
                                         {"left_out_error_percent", mean * 100},
                                         {"after_one_step_error_percent", after_one_step * 100},
                                         {"sources", std::move(list)}}));
  if (summary.rows.empty()) return is_within;

  answer.add(Headline{"tokens per second: errors by source", is_within ? Tone::good : Tone::bad});
  answer.add(Paragraph{"left out: the coefficients were fitted without the source and without its cards; held to a mean of " +
                       percent(kMostLeftOut) + " over the sources. One step measured: one run of a sitting (same machine, same "
                       "software) is known, each in turn, and its others are asked for; held to " + percent(kMostAfterOneStep)});
  answer.add(std::move(summary));
  for (const LeftOut& each : left_out) {
    if (!wanted(each.source)) continue;
    Table table{{{"id"}, {"measured tokens/s", right}, {"left out", right}, {"error", right}}, {}};
    std::vector<std::string> inferred;
    for (const LeftOut::Run& run : each.runs) {
      const auto step = std::find_if(steps.begin(), steps.end(), [&](const MeasuredStep& s) { return s.id == run.id; });
      const auto tokens = static_cast<double>(step->work.tokens);
      table.rows.push_back({run.id, fixed(tokens / run.seconds, 0), fixed(tokens / run.predicted, 0),
                            signed_percent(error(run.seconds, run.predicted))});
      for (const PublishedRun& row : rows)
        if (row.id == run.id && !row.inferred.empty() &&
            std::find(inferred.begin(), inferred.end(), row.inferred) == inferred.end())
          inferred.push_back(row.inferred);
    }
    answer.add(Headline{each.source + ": tokens per second, left out"});
    answer.add(std::move(table));
    for (const std::string& why : inferred) answer.add(Paragraph{"inferred: " + why});
  }
  return is_within;
}

}  // namespace qwenplan
