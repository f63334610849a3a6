#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "command/command.hpp"
#include "command/measured.hpp"
#include "command/named_run.hpp"
#include "command/step_time.hpp"
#include "command/validate_time.hpp"
#include "qwenplan/base/nearest.hpp"
#include "qwenplan/judge/accuracy.hpp"
#include "read/calibration.hpp"
#include "read/measurement.hpp"
#include "read/published.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// What is compared, in this order everywhere.
constexpr std::array<std::string_view, 3> kFigures = {"allocated", "reserved", "device"};
template <class T>
using PerFigure = std::array<T, kFigures.size()>;

/// A measured run beside what the program says of it.
struct Comparison {
  std::string id;
  std::string source;
  std::string place;  ///< where the measurement can be read
  NamedSettings run;
  std::string inferred;
  PerFigure<std::optional<Bytes>> measured;
  PerFigure<Bytes> estimated{};
  bool is_eager = false;
  std::optional<Error> refused;  ///< why there is no estimate
  std::optional<double> seconds;  ///< of a step, measured
  std::optional<Range<double>> predicted_seconds;

  std::optional<double> error(std::size_t figure) const {
    if (refused || !measured[figure] || *measured[figure] <= Bytes()) return std::nullopt;
    return relative_error(estimated[figure], *measured[figure]);
  }
  /// Runs that are told in full are held to the tolerance. Eager attention leaves holes of a size
  /// that the order of a few allocations decides, and what is inferred may be wrong: they are
  /// shown apart.
  std::string_view part() const { return !inferred.empty() ? "inferred" : is_eager ? "eager" : "judged"; }
};

/// The runs of one source and part.
struct Group {
  std::string source;
  std::string_view part;
  std::vector<const Comparison*> runs;
  PerFigure<Accuracy> accuracy;

  bool is_judged() const { return part == "judged"; }
};

using Tolerances = PerFigure<Tolerance>;
constexpr double kAny = std::numeric_limits<double>::infinity();

/// The default, with what --tolerance replaces. nvidia-smi's figure depends on the driver, and has
/// no bar unless one is given.
Result<Tolerances> read_tolerances(const Invocation& in) {
  Tolerances result = {kAllocatedTolerance, kReservedTolerance, Tolerance{kAny, kAny}};
  const auto text = in.value("tolerance");
  if (!text) return result;
  for (std::size_t at = 0; at <= text->size();) {
    const std::size_t end = std::min(text->find(',', at), text->size());
    const std::string item = text->substr(at, end - at);
    at = end + 1;
    const std::size_t equals = std::min(item.find('='), item.size());
    const std::string name = item.substr(0, equals);
    double* bound = nullptr;
    for (std::size_t i = 0; i < kFigures.size(); ++i) {
      if (name == kFigures[i]) bound = &result[i].mean;
      if (name == "under-" + std::string(kFigures[i])) bound = &result[i].under;
    }
    if (!bound || equals == item.size())
      return Error{Error::Kind::wrong, "'" + item + "' is no tolerance", "--tolerance",
                   "write percents such as allocated=1,under-allocated=3,reserved=3,under-reserved=6"};
    const auto percent = parse_number(item.substr(equals + 1), "--tolerance", 0, 1000);
    if (!percent) return percent.error();
    *bound = *percent / 100;
  }
  return result;
}

void estimate(Comparison& run, const Tables& tables, const Calibration& calibration, const Environment& environment) {
  const auto plan = planned(run.run, tables, environment);
  if (!plan) {
    run.refused = plan.error();
    return;
  }
  const MemoryEstimate& e = plan->estimate;
  // A measurement was made on a card, which may be smaller than what the allocator would take.
  const bool ends_there = e.at_capacity && e.at_capacity->completes();
  const Bytes reserved = ends_there ? std::min(e.reserved.likely, e.at_capacity->peak_reserved) : e.reserved.likely;
  run.estimated = {e.allocated.likely, reserved, reserved + e.on.context.bytes.likely};
  run.is_eager = plan->valid.run.attention == Attention::eager;
  if (!run.seconds) return;
  const auto named = named_run(run.run, tables, environment);
  if (!named || !named->subject.gpu) return;
  run.predicted_seconds = timed(setup_of(named->subject), plan->valid.run, calibration).seconds;
}

Comparison read_file(const std::string& path) {
  Comparison run{path, "file", path, {}, {}, {}, {}, false, {}, {}, {}};
  const auto m = read_measurement(path);
  if (!m) {
    run.refused = m.error();
    return run;
  }
  if (!m->source.empty()) run.source = m->source;
  run.run = settings_of(*m);
  run.seconds = m->seconds_per_step;
  run.measured = {m->allocated, m->reserved, m->device};
  const auto refuse = [&](std::string what, std::string hint) {
    run.refused = Error{Error::Kind::unknown, std::move(what), path, std::move(hint)};
  };
  if (m->status != "ok")
    refuse("the run did not end well, so its peak is not known", "measure a run that completes");
  else if (m->run.empty())
    refuse("the measurement does not say which run it is of",
           "record with 'qwenplan monitor --plan PLAN --record FILE -- CMD'");
  return run;
}

/// The rows of which memory was measured.
std::vector<Comparison> with_memory(const std::vector<PublishedRun>& rows) {
  std::vector<Comparison> runs;
  for (const PublishedRun& row : rows)
    if (row.allocated || row.reserved || row.device)
      runs.push_back({row.id, row.source, row.repository + " " + row.path + " " + row.commit, row.run, row.inferred,
                      {row.allocated, row.reserved, row.device}, {}, false, {}, {}, {}});
  return runs;
}

/// Leaves the runs of the sources that --source names.
std::optional<Error> choose_sources(const Invocation& in, const std::vector<PublishedRun>& rows,
                                    std::vector<Comparison>& runs) {
  const std::vector<std::string> wanted = in.values("source");
  if (wanted.empty()) return std::nullopt;
  std::vector<std::string> known;
  for (const Comparison& run : runs)
    if (std::find(known.begin(), known.end(), run.source) == known.end()) known.push_back(run.source);
  for (const PublishedRun& row : rows)
    if (std::find(known.begin(), known.end(), row.source) == known.end()) known.push_back(row.source);
  for (const std::string& name : wanted)
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const auto near = nearest(name, known);
      std::string list;
      for (const std::string& each : known) (list += list.empty() ? "" : ", ") += each;
      return Error{Error::Kind::wrong, "no measurement is of a source '" + name + "'", "--source",
                   near.empty() ? "one of: " + list : "did you mean '" + near[0] + "'?"};
    }
  std::erase_if(runs, [&](const Comparison& run) {
    return std::find(wanted.begin(), wanted.end(), run.source) == wanted.end();
  });
  return std::nullopt;
}

/// Runs of which there is an estimate, by source and part, in the order of their first one.
std::vector<Group> grouped_runs(const std::vector<Comparison>& runs) {
  std::vector<Group> groups;
  for (const Comparison& run : runs) {
    if (run.refused) continue;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& each) {
      return each.source == run.source && each.part == run.part();
    });
    if (group == groups.end()) group = groups.insert(groups.end(), Group{run.source, run.part(), {}, {}});
    group->runs.push_back(&run);
  }
  for (Group& group : groups)
    for (std::size_t i = 0; i < kFigures.size(); ++i) {
      std::vector<double> errors;
      for (const Comparison* run : group.runs)
        if (const auto error = run->error(i)) errors.push_back(*error);
      group.accuracy[i] = accuracy(errors);
    }
  return groups;
}

std::string percent(double share) { return fixed(share * 100, 2) + " %"; }
std::string signed_percent(double share) {
  const std::string text = percent(share);
  return (share > 0 && text != percent(0) ? "+" : "") + text;
}
std::string mebibytes(Bytes bytes) { return grouped((bytes.count() + (1 << 19)) >> 20); }

Value as_json(const Accuracy& a) {
  if (a.count == 0) return {};
  return Value::object({{"runs", a.count},
                        {"mean_error_percent", a.mean * 100},
                        {"worst_under_percent", a.lowest * 100},
                        {"worst_over_percent", a.highest * 100}});
}

Value as_json(const Tolerance& t) {
  if (t.mean == kAny && t.under == kAny) return {};
  const auto bound = [](double share) { return share == kAny ? Value() : Value(share * 100); };
  return Value::object({{"mean_error_percent", bound(t.mean)}, {"worst_under_percent", bound(t.under)}});
}

Value as_json(const Comparison& run) {
  Value json = Value::object({{"id", run.id}, {"source", run.source}, {"part", run.part()}, {"place", run.place}});
  Value& settings = json.set("run", Value::object());
  for (const auto& [name, value] : run.run) settings.set(name, as_value(value));
  for (std::size_t i = 0; i < kFigures.size(); ++i) {
    const auto error = run.error(i);
    json.set(std::string(kFigures[i]),
             run.measured[i] ? Value::object({{"estimated_bytes", run.refused ? Value() : Value(run.estimated[i])},
                                              {"measured_bytes", *run.measured[i]},
                                              {"error_percent", error ? Value(*error * 100) : Value()}})
                             : Value());
  }
  json.set("seconds_per_step",
           run.seconds && run.predicted_seconds
               ? Value::object({{"estimated", *run.predicted_seconds},
                                {"measured", *run.seconds},
                                {"error_percent", (run.predicted_seconds->likely / *run.seconds - 1) * 100}})
               : Value());
  json.set("inferred", run.inferred.empty() ? Value() : Value(run.inferred));
  json.set("refused", run.refused ? Value::object({{"what", run.refused->what}, {"where", run.refused->where}})
                                  : Value());
  return json;
}

Value as_flat(const Comparison& run) {
  Value row = Value::object({{"id", run.id}, {"source", run.source}, {"part", run.part()}});
  for (std::size_t i = 0; i < kFigures.size(); ++i) {
    const std::string name(kFigures[i]);
    const auto error = run.error(i);
    row.set(name + "_estimated_bytes", error ? Value(run.estimated[i]) : Value());
    row.set(name + "_measured_bytes", run.measured[i]);
    row.set(name + "_error_percent", error ? Value(*error * 100) : Value());
  }
  row.set("refused", run.refused ? Value(run.refused->what) : Value());
  return row;
}

/// A run in a few words: "qwen2.5-1.5b qlora 2 x 1024".
std::string words(const NamedSettings& run) {
  std::string model, method, batch = "1", length = "2048", rest;
  for (const auto& [name, value] : run) {
    std::string* const word = name == "model"     ? &model
                              : name == "method"  ? &method
                              : name == "batch"   ? &batch
                              : name == "seq-len" ? &length
                                                  : nullptr;
    if (word && std::holds_alternative<std::string>(value)) *word = std::get<std::string>(value);
    if (word && std::holds_alternative<std::int64_t>(value)) *word = std::to_string(std::get<std::int64_t>(value));
    if (name == "checkpointing" && value == RunSetting::Value(false)) rest = ", not checkpointed";
  }
  return model + " " + method + " " + batch + " x " + length + rest;
}

Table summary(const std::vector<Group>& groups) {
  using enum Column::Align;
  Table table{{{"source"}, {"runs"}, {"figure"}, {"of", right}, {"mean error", right}, {"worst under", right},
               {"worst over", right}}, {}};
  for (const Group& group : groups)
    for (std::size_t i = 0; i < kFigures.size(); ++i) {
      const Accuracy& a = group.accuracy[i];
      if (a.count == 0) continue;
      table.rows.push_back({group.source, std::string(group.part), std::string(kFigures[i]), std::to_string(a.count),
                            percent(a.mean), a.lowest < 0 ? signed_percent(a.lowest) : "none",
                            a.highest > 0 ? signed_percent(a.highest) : "none"});
    }
  return table;
}

/// Each run of a group, with the figures that some run of it has.
Table rows_of(const Group& group) {
  using enum Column::Align;
  Table table{{{"id"}, {"run"}}, {}};
  const auto has = [&](std::size_t figure) { return group.accuracy[figure].count > 0; };
  for (std::size_t i = 0; i < kFigures.size(); ++i)
    if (has(i)) {
      table.columns.push_back({std::string(kFigures[i]) + " MiB", right});
      table.columns.push_back({"error", right});
    }
  for (const Comparison* run : group.runs) {
    std::vector<std::string> cells{run->id, words(run->run)};
    for (std::size_t i = 0; i < kFigures.size(); ++i) {
      if (!has(i)) continue;
      const auto error = run->error(i);
      cells.push_back(error ? mebibytes(run->estimated[i]) + " / " + mebibytes(*run->measured[i]) : "");
      cells.push_back(error ? signed_percent(*error) : "");
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string_view meaning(std::string_view part) {
  if (part == "judged") return "runs that are told in full";
  if (part == "eager") return "eager attention, shown apart";
  return "runs of which something is inferred, shown apart";
}

std::string tolerance_words(const Tolerances& tolerances) {
  std::string text;
  for (std::size_t i = 0; i < kFigures.size(); ++i) {
    const auto& [mean, under] = tolerances[i];
    if (mean == kAny && under == kAny) continue;
    text += (text.empty() ? "" : "; ") + std::string(kFigures[i]) + ": ";
    if (mean != kAny) text += "mean error at most " + plain(mean * 100) + " %";
    if (under != kAny)
      text += (mean != kAny ? ", " : "") + std::string("no under-estimate beyond ") + plain(under * 100) + " %";
  }
  return text;
}

/// "fitcheck reserved" for each figure of each judged group that is outside.
std::vector<std::string> outside(const std::vector<Group>& groups, const Tolerances& tolerances) {
  std::vector<std::string> names;
  for (const Group& group : groups)
    for (std::size_t i = 0; group.is_judged() && i < kFigures.size(); ++i)
      if (group.accuracy[i].count > 0 && !is_within(group.accuracy[i], tolerances[i]))
        names.push_back(group.source + " " + std::string(kFigures[i]));
  return names;
}

}  // namespace

Result<Answer> validate(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto tolerances = read_tolerances(in);
  if (!tolerances) return tolerances.error();
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();
  std::vector<Comparison> runs;
  std::vector<PublishedRun> published;
  if (in.words.empty()) {
    auto rows = read_published_runs(*tables);
    if (!rows) return rows.error();
    published = std::move(*rows);
    runs = with_memory(published);
  }
  for (const std::string& path : in.words) runs.push_back(read_file(path));
  if (auto error = choose_sources(in, published, runs)) return *std::move(error);
  for (Comparison& run : runs)
    if (!run.refused) estimate(run, *tables, *calibration, in.environment);

  const std::vector<Group> groups = grouped_runs(runs);
  const std::vector<std::string> misses = outside(groups, *tolerances);
  int judged = 0;
  for (const Group& group : groups)
    if (group.is_judged()) judged += static_cast<int>(group.runs.size());

  Answer answer;
  answer.schema = "qwenplan.validate/1";
  answer.data_as_of = tables->as_of();
  for (const std::string& path : in.words) answer.inputs.push_back({"file", Value(path), "flag"});
  for (const std::string& name : in.values("source")) answer.inputs.push_back({"source", Value(name), "flag"});

  Value& bars = answer.json.set("tolerance", Value::object());
  for (std::size_t i = 0; i < kFigures.size(); ++i) bars.set(std::string(kFigures[i]), as_json((*tolerances)[i]));
  answer.json.set("within", judged > 0 ? Value(misses.empty()) : Value());
  Value& sources = answer.json.set("sources", Value::list());
  for (const Group& group : groups) {
    Value& json = sources.push(Value::object({{"source", group.source}, {"part", group.part}, {"runs", group.runs.size()}}));
    for (std::size_t i = 0; i < kFigures.size(); ++i) json.set(std::string(kFigures[i]), as_json(group.accuracy[i]));
  }
  Value& rows = answer.json.set("rows", Value::list());
  answer.rows = Value::list();
  for (const Comparison& run : runs) {
    rows.push(as_json(run));
    answer.rows->push(as_flat(run));
  }

  const auto count = [](int n) { return std::to_string(n) + (n == 1 ? " run" : " runs"); };
  if (judged == 0 && !published.empty()) {
    answer.add(Headline{"no memory was measured there", Tone::plain});
  } else if (judged == 0) {
    answer.add(Headline{"no run is held to the tolerance", Tone::warning});
    answer.error = Error{Error::Kind::unknown, "none of these runs is told in full, or none has an estimate", "validate",
                         "'qwenplan validate --source fitcheck' has some that are"};
  } else if (misses.empty()) {
    answer.add(Headline{count(judged) + " within the tolerance", Tone::good});
  } else {
    std::string list;
    for (const std::string& name : misses) (list += list.empty() ? "" : ", ") += name;
    answer.add(Headline{"outside the tolerance: " + list, Tone::bad});
    answer.status = kNo;
  }
  answer.add(Paragraph{"held to, for runs that are told in full: " + tolerance_words(*tolerances)});
  if (!groups.empty()) answer.add(summary(groups));
  for (const Group& group : groups) {
    answer.add(Headline{group.source + ": " + std::string(meaning(group.part)) + " (estimate / measurement)"});
    answer.add(rows_of(group));
    std::vector<std::string> inferred;
    for (const Comparison* run : group.runs)
      if (std::find(inferred.begin(), inferred.end(), run->inferred) == inferred.end()) inferred.push_back(run->inferred);
    for (const std::string& why : inferred)
      if (!why.empty()) answer.add(Paragraph{"inferred: " + why});
  }
  if (!published.empty()) {
    const auto steps = published_steps(published, *tables, in.environment);
    if (!steps) return steps.error();
    if (!tell_time(*steps, published, calibration->efficiency, in.values("source"), answer)) answer.status = kNo;
  }
  for (const Comparison& run : runs)
    if (run.seconds && run.predicted_seconds)
      answer.add(Paragraph{run.id + ": " + fixed(run.predicted_seconds->likely, 3) + " s a step (" +
                           fixed(run.predicted_seconds->low, 3) + " to " + fixed(run.predicted_seconds->high, 3) + "), measured " +
                           fixed(*run.seconds, 3) + " s"});
  Table refused{{{"id"}, {"why there is no estimate"}}, {}};
  for (const Comparison& run : runs) {
    if (!run.refused) continue;
    refused.rows.push_back({run.id, run.refused->what});
    // A file is a question of its own, and the worst of the answers counts.
    const bool is_file = !in.words.empty();
    if (is_file && (refused.rows.size() == 1 || run.refused->kind == Error::Kind::wrong)) answer.error = run.refused;
  }
  if (!refused.rows.empty()) answer.add(std::move(refused));
  return answer;
}

}  // namespace qwenplan::command
