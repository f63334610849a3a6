#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/flags.hpp"
#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/named_run.hpp"
#include "command/step_time.hpp"
#include "command/validate_time.hpp"
#include "probe/new_file.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "read/calibration.hpp"
#include "read/measurement.hpp"
#include "read/published.hpp"
#include "read/train_log.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

std::string percent(double share) { return fixed(share * 100, 2) + " %"; }

/// Text within a row of JSON that needs no escapes.
std::string quoted(const std::string& text) { return "\"" + text + "\""; }

/// The rows of a card and of its host.
std::vector<std::string> rows_of(const std::string& id, const Calibration::OnCard& card) {
  const auto row = [](const std::string& name, const char* what, double value, const std::string& more) {
    return "{\"id\": " + quoted(name) + ", \"what\": " + quoted(what) + ", \"aliases\": [], \"value\": " +
           quoted(percent(value)) + more + ", \"evidence\": \"measured\"}";
  };
  return {row("gpu-" + id, "measured over predicted time of this card at work, by own steps", card.correction.card,
              ", \"low\": " + quoted(percent(card.spread.low)) + ", \"high\": " + quoted(percent(card.spread.high)) +
                  ", \"runs\": " + std::to_string(card.steps)),
          row("host-" + id, "measured over predicted time of its host for each kernel, by own steps",
              card.correction.launch, "")};
}

std::string table_of(const std::vector<std::string>& rows, const std::string& day, bool is_own) {
  std::string text = std::string("{") + (is_own ? "\"$schema\": \"schema/calibration.schema.json\", " : "") +
                     "\"schema\": \"qwenplan.calibration/1\", \"as_of\": " + quoted(day) + ", \"calibration\": [\n";
  for (std::size_t i = 0; i < rows.size(); ++i) text += rows[i] + (i + 1 < rows.size() ? ",\n" : "\n");
  return text + "]}\n";
}

/// The table of the program itself, from the published runs.
Result<Answer> fit_published(const Invocation& in, const Tables& tables) {
  const auto published = read_published_runs(tables);
  if (!published) return published.error();
  const auto steps = published_steps(*published, tables, in.environment);
  if (!steps) return steps.error();
  std::vector<const MeasuredStep*> all;
  for (const MeasuredStep& step : *steps) all.push_back(&step);
  const Efficiency e = fitted(all);
  const std::vector<LeftOut> left_out = leave_sources_out(*steps);
  // Each source's runs count alike: a source with many does not decide the width.
  std::vector<double> lows, highs;
  for (const LeftOut& each : left_out) {
    std::vector<double> ratios;
    for (const LeftOut::Run& run : each.runs) ratios.push_back(run.seconds / run.predicted);
    const Range<double> around = spread(ratios);
    lows.push_back(around.low);
    highs.push_back(around.high);
  }
  const double low = std::min(1.0, *std::min_element(lows.begin(), lows.end()));
  const double high = std::max(1.0, *std::max_element(highs.begin(), highs.end()));

  const auto value_row = [](const char* id, const char* what, const std::string& value) {
    return "{\"id\": " + quoted(id) + ", \"what\": " + quoted(what) + ", \"aliases\": [], \"value\": " + quoted(value) +
           ", \"evidence\": \"fitted\"}";
  };
  std::vector<std::string> rows = {
      value_row("matrix", "share of the tensor rate that large matrix products reach", percent(e.matrix)),
      value_row("bandwidth", "share of the memory's rate that streaming kernels reach", percent(e.bandwidth)),
      value_row("attention", "share of the products' rate that fused attention reaches", percent(e.attention)),
      value_row("launch", "time of the host for each kernel", fixed(e.launch_seconds * 1e6, 2) + " us"),
      "{\"id\": \"spread\", \"what\": \"measured over predicted time on cards that were left out: the middle eight tenths of "
      "each source's runs\", \"aliases\": [], \"low\": " + quoted(percent(low)) + ", \"high\": " + quoted(percent(high)) +
          ", \"evidence\": \"fitted\"}"};
  Answer answer;
  answer.schema = "qwenplan.calibrate/1";
  answer.data_as_of = tables.as_of();
  answer.json.set("efficiency", Value::object({{"matrix", e.matrix},
                                               {"bandwidth", e.bandwidth},
                                               {"attention", e.attention},
                                               {"launch_seconds", e.launch_seconds}}));
  Value& residuals = answer.json.set("left_out", Value::list());
  for (const LeftOut& each : left_out) {
    rows.push_back("{\"id\": " + quoted("left-out-" + each.source) +
                   ", \"what\": \"mean error of tokens per second of this source's runs, fitted without it\", \"aliases\": [], "
                   "\"runs\": " + std::to_string(each.runs.size()) + ", \"error\": " + quoted(percent(each.error)) +
                   ", \"after_one_step\": " + quoted(percent(each.after_one_step)) + ", \"evidence\": \"fitted\"}");
    residuals.push(Value::object({{"source", each.source},
                                  {"runs", each.runs.size()},
                                  {"error", each.error},
                                  {"after_one_step", each.after_one_step}}));
  }
  answer.raw = table_of(rows, in.environment.today, true);
  return answer;
}

/// A step that the user measured.
Result<MeasuredStep> own_step(const Invocation& in, const Tables& tables, const std::string& path) {
  const auto log = read_train_log(path);
  if (!log) return log.error();
  NamedSettings settings;
  MeasuredStep step;
  step.id = path;
  step.source = "own";
  std::optional<double> rate;
  if (*log) {
    step.seconds = (*log)->seconds_per_step;
  } else {
    const auto measurement = read_measurement(path);
    if (!measurement) return measurement.error();
    settings = settings_of(*measurement);
    step.seconds = measurement->seconds_per_step.value_or(0);
    rate = measurement->training_rate;
    if (step.seconds <= 0 && !rate)
      return Error{Error::Kind::unknown, "the measurement does not say how long a step took", path,
                   "the script of 'qwenplan bench --script' measures it"};
  }
  // What the file does not say of its run, the flags of this command do.
  const auto has = [&](std::string_view name) {
    return std::any_of(settings.begin(), settings.end(), [&](const auto& setting) { return setting.first == name; });
  };
  for (const std::span<const Flag> flags : {subject_flags(), run_flags()})
    for (const Flag& flag : flags) {
      const std::string name(flag.name);
      if (has(name) || !in.has(name)) continue;
      if (flag.kind == Flag::Kind::on_off) settings.emplace_back(name, *in.switched(name));
      else settings.emplace_back(name, *in.value(name));
    }
  if (!has("model") || !has("gpu"))
    return Error{Error::Kind::wrong, "the file does not say of which run it is", path,
                 "add its flags, such as --model 7b --gpu rtx3060 --method qlora --batch 2 --seq-len 1024"};
  auto named = named_run(settings, tables, in.environment);
  if (!named) return named.error();
  const Setup setup = setup_of(named->subject);
  auto valid = validated(named->draft, setup.model(), named->subject.stack, setup.gpu());
  if (!valid) return valid.error();
  step.work = work_of(setup, valid->run);
  step.gpu = *setup.gpu();
  if (step.seconds <= 0) step.seconds = static_cast<double>(step.work.tokens) / *rate;
  return step;
}

}  // namespace

Result<Answer> calibrate(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  if (in.has("published")) return fit_published(in, *tables);
  if (in.words.empty())
    return Error{Error::Kind::wrong, "no measurement is named", "calibrate",
                 "qwenplan calibrate run.json, a file of 'monitor --record', 'bench --script' or a trainer_state.json"};
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();

  std::map<std::string, std::vector<MeasuredStep>> by_card;
  for (const std::string& path : in.words) {
    auto step = own_step(in, *tables, path);
    if (!step) return step.error();
    by_card[step->gpu.id].push_back(std::move(*step));
  }

  Answer answer;
  answer.schema = "qwenplan.calibrate/1";
  answer.data_as_of = tables->as_of();
  for (const std::string& path : in.words) answer.inputs.push_back({"file", Value(path), "flag"});
  auto cards = calibration->cards;  // of an earlier calibration
  using enum Column::Align;
  Table table{{{"file"}, {"GPU"}, {"measured", right}, {"predicted", right}, {"ratio", right}}, {}};
  std::vector<std::string> said;
  Value& list = answer.json.set("cards", Value::list());
  for (const auto& [id, steps] : by_card) {
    const Calibration::OnCard card = calibrated(steps, calibration->efficiency);
    cards[id] = card;
    Value& json = list.push(Value::object({{"gpu", id},
                                           {"card_factor", card.correction.card},
                                           {"launch_factor", card.correction.launch},
                                           {"steps", card.steps}}));
    constexpr double kFar = 3;  // hosts of published runs took up to 2.7 times
    for (const double factor : {card.correction.card, card.correction.launch})
      if (factor > kFar || factor < 1 / kFar) {
        answer.notes.push_back(id + ": the measured time is far from what was predicted; are the settings those of the run?");
        break;
      }
    said.push_back(id + ": the card takes " + fixed(card.correction.card, 2) + " times what was predicted, the host " +
                   fixed(card.correction.launch, 2) + " times for each kernel");
    Value& rows = json.set("files", Value::list());
    for (const MeasuredStep& step : steps) {
      const double predicted = predicted_seconds(step, calibration->efficiency);
      rows.push(Value::object({{"file", step.id}, {"measured_seconds", step.seconds}, {"predicted_seconds", predicted}}));
      table.rows.push_back({step.id, id, fixed(step.seconds, 3) + " s", fixed(predicted, 3) + " s",
                            fixed(step.seconds / predicted, 2)});
    }
  }
  std::vector<std::string> rows;
  for (const auto& [id, card] : cards)
    for (std::string& row : rows_of(id, card)) rows.push_back(std::move(row));
  const std::string text = table_of(rows, in.environment.today, false);

  const std::string folder = in.value("out").value_or(in.data_directory);
  if (folder.empty()) {
    answer.json.set("written", Value());
    answer.add(Headline{"what your steps say; --out DIR keeps it"});
    answer.add(std::move(table));
    for (const std::string& sentence : said) answer.add(Paragraph{sentence});
    answer.add(Verbatim{text});
    return answer;
  }
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  auto file = NewFile::create((std::filesystem::path(folder) / "calibration.json").string(), NewFile::Existing::replaced);
  if (!file) return file.error();
  const auto written = file->write(text);
  if (!written) return written.error();
  answer.json.set("written", *written);
  answer.add(Headline{"written to " + *written, Tone::good});
  answer.add(std::move(table));
  for (const std::string& sentence : said) answer.add(Paragraph{sentence});
  answer.add(Paragraph{"give --data " + folder + " to time, gpus and the others, or set QWENPLAN_DATA", Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
