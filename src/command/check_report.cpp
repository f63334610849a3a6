#include "command/check_report.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "command/job_time.hpp"
#include "command/subject.hpp"
#include "command/verdict.hpp"
#include "qwenplan/base/version.hpp"
#include "render/quantity.hpp"
#include "render/render.hpp"

namespace qwenplan {
namespace {

namespace fs = std::filesystem;

std::string where(const CheckedFile& file, const Place& place) {
  std::string text = file.file;
  if (place.line > 0) text += ":" + std::to_string(place.line);
  if (place.line > 0 && place.column > 0) text += ":" + std::to_string(place.column);
  return text;
}

std::string in_words(const Finding& finding) {
  return finding.message + (finding.fix.empty() ? "" : "; " + finding.fix);
}

Value finding_json(const Finding& finding) {
  const auto number = [](std::uint32_t at) { return at > 0 ? Value(at) : Value(); };
  return Value::object({{"rule", finding.rule.id()},
                        {"severity", name(finding.rule.severity())},
                        {"message", finding.message},
                        {"line", number(finding.place.line)},
                        {"column", number(finding.place.column)},
                        {"fix", finding.fix.empty() ? Value() : Value(finding.fix)}});
}

Value findings_json(const std::vector<Finding>& findings) {
  Value list = Value::list();
  for (const Finding& each : findings) list.push(finding_json(each));
  return list;
}

/// A file's path for a URI: below this folder it is relative to it, as GitHub wants it.
std::string uri_of(const std::string& file) {
  std::error_code failed;
  fs::path path(file);
  if (path.is_absolute()) {
    const fs::path below = path.lexically_relative(fs::current_path(failed));
    if (!failed && !below.empty() && *below.begin() != "..") path = below;
  } else {
    path = path.lexically_normal();
  }
  std::string uri = path.is_absolute() ? "file://" : "";
  constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : path.generic_string()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') ||
                          std::string_view("-._~/").find(c) != std::string_view::npos;
    if (is_plain)
      uri += c;
    else
      ((uri += '%') += kHex[byte >> 4]) += kHex[byte & 15U];
  }
  return uri;
}

Value sarif_rule(const Rule& rule) {
  const auto text = [](std::string_view words) { return Value::object({{"text", words}}); };
  return Value::object(
      {{"id", rule.id},
       {"shortDescription", text(rule.meaning)},
       {"fullDescription", text(rule.explanation)},
       {"help", text(std::string(rule.explanation) + " " + std::string(rule.fix) +
                     " Source: " + std::string(rule.source) + ".")},
       {"defaultConfiguration", Value::object({{"level", name(rule.severity)}})}});
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : harmless(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

/// What was read of a file for which there is no estimate, by the names of the flags.
Value read_json(const RunDraft& d) {
  Value run = Value::object();
  const auto put = [&](const char* flag, const auto& given, auto as_value) {
    if (given)
      run.set(flag, Value::object({{"value", as_value(given->value)},
                                   {"from", qwenplan::name(given->from)}}));
  };
  const auto plain = [](const auto& value) { return Value(value); };
  const auto named = [](const auto& value) { return Value(qwenplan::name(value)); };
  const auto joined = [](const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& each : words) (text += text.empty() ? "" : ",") += each;
    return Value(std::move(text));
  };
  put("objective", d.objective, named);
  put("method", d.method, named);
  put("seq-len", d.length, plain);
  put("batch", d.micro_batch, plain);
  put("grad-accum", d.accumulation, plain);
  put("checkpointing", d.checkpoints, plain);
  put("reentrant", d.checkpoints_reentrant, plain);
  put("optimizer", d.optimizer, plain);
  put("precision", d.precision, named);
  put("weights", d.weights, named);
  put("quant", d.quantization, named);
  put("double-quant", d.double_quantizes, plain);
  put("attention", d.attention, plain);
  put("loss", d.loss, named);
  put("packing", d.packs, plain);
  put("lora-r", d.lora_rank, plain);
  put("lora-alpha", d.lora_alpha, plain);
  put("lora-dropout", d.lora_dropout, plain);
  put("lora-targets", d.lora_targets, joined);
  put("modules-to-save", d.modules_to_save, joined);
  put("adapter-dtype", d.adapter, named);
  put("dora", d.uses_dora, plain);
  put("gpus", d.gpus, plain);
  put("zero", d.zero, plain);
  put("fsdp", d.fsdp, plain);
  put("offload", d.offload, plain);
  return run.as_object()->empty() ? Value() : run;
}

Value time_of(const std::optional<CheckedTime>& time) {
  if (!time) return Value();
  return Value::object({{"tokens_per_second", time->rate},
                        {"seconds_per_step", time->seconds},
                        {"hours", time->hours},
                        {"bound_by", name(time->bound)}});
}

/// "1,240 tokens/s (870 to 1,420), 6.6 s a step; 12 h 4 min (9 h 10 min to 17 h 2 min) for 1,000 steps".
std::string words(const CheckedTime& time) {
  const auto whole = [](double rate) { return grouped(std::llround(rate)); };
  std::string text = whole(time.rate.likely) + " tokens/s (" + whole(time.rate.low) + " to " + whole(time.rate.high) + "), " +
                     fixed(time.seconds.likely, time.seconds.likely < 10 ? 2 : 0) + " s a step";
  if (time.hours) text += "; " + text_hours(*time.hours) + " for " + time.of;
  return text;
}

Tone tone_of(Severity severity) {
  return severity == Severity::error     ? Tone::bad
         : severity == Severity::warning ? Tone::warning
                                         : Tone::faint;
}

}  // namespace

Value checked_json(const CheckedFile& file) {
  Value settings = Value::object();
  for (const Input& each : file.settings)
    settings.set(each.name, Value::object({{"value", each.value}, {"from", each.from}}));
  Value run = file.plan ? Value() : read_json(file.draft);
  if (file.plan) {
    run = Value::object();
    const auto put = [&](const char* flag, Value value, From from) {
      run.set(flag, Value::object({{"value", std::move(value)}, {"from", qwenplan::name(from)}}));
    };
    for (const RunSetting& setting : file.plan->valid.settings) {
      if (setting.flag != "trainer") {
        put(std::string(setting.flag).c_str(), as_input(setting).value, setting.from);
        continue;
      }
      // The file tells whose it is, and not of which version.
      put("trainer", file.trainer, file.trainer_from);
      put("trainer-version", text(file.draft.trainer->value.version), file.version_from);
    }
  }
  Value error;
  if (file.error)
    error = Value::object({{"what", file.error->what},
                           {"where", file.error->where},
                           {"hint", file.error->hint}});
  return Value::object({{"file", file.file},
                        {"trainer", file.trainer.empty() ? Value() : Value(file.trainer)},
                        {"model", file.model.empty() ? Value() : Value(file.model)},
                        {"status", file.status},
                        {"settings", std::move(settings)},
                        {"run", std::move(run)},
                        {"verdict", file.plan ? verdict_json(*file.plan) : Value()},
                        {"time", time_of(file.time)},
                        {"one_gpu_verdict", file.one_gpu ? verdict_json(*file.one_gpu) : Value()},
                        {"advice", advice_json(file.advice)},
                        {"error", std::move(error)},
                        {"findings", findings_json(file.findings)},
                        {"ignored", findings_json(file.ignored)}});
}

Value checked_rows(const std::vector<CheckedFile>& files) {
  Value rows = Value::list();
  for (const CheckedFile& file : files) {
    const auto row = [&](Value finding) {
      Value out = Value::object({{"file", file.file},
                                 {"trainer", file.trainer},
                                 {"model", file.model},
                                 {"status", file.status}});
      for (const char* key : {"rule", "severity", "line", "column", "message", "fix"}) {
        const Value* value = finding.find(key);
        out.set(key, value ? *value : Value());
      }
      rows.push(std::move(out));
    };
    for (const Finding& finding : file.findings) row(finding_json(finding));
    if (file.findings.empty()) row(Value::object());
  }
  return rows;
}

namespace {

/// One row for each finding.
Table table_of(const CheckedFile& file) {
  Table table{{{"severity", Column::Align::left},
               {"rule", Column::Align::left},
               {"line", Column::Align::right},
               {"column", Column::Align::right},
               {"message", Column::Align::left},
               {"fix", Column::Align::left}},
              {}};
  const auto number = [](std::uint32_t at) { return at > 0 ? std::to_string(at) : std::string(); };
  for (const Finding& each : file.findings)
    table.rows.push_back({std::string(name(each.rule.severity())), std::string(each.rule.id()),
                          number(each.place.line), number(each.place.column), each.message, each.fix});
  return table;
}

/// One paragraph for each finding.
void add_lines(const CheckedFile& file, Answer& answer) {
  for (const Finding& finding : file.findings) {
    const Severity severity = finding.rule.severity();
    answer.add(Paragraph{where(file, finding.place) + ": " + std::string(name(severity)) + ": " +
                             in_words(finding) + " [" + std::string(finding.rule.id()) + "]",
                         tone_of(severity)});
  }
}

}  // namespace

void show_checked(const std::vector<CheckedFile>& files, bool has_tables, Answer& answer) {
  std::map<std::string, std::size_t> counts;
  for (const CheckedFile& file : files) {
    ++counts[file.status];
    const Tone tone = file.status == "fits" && file.exit == kYes ? Tone::good
                      : file.exit == kNo || file.exit == kWrong  ? Tone::bad
                                                                 : Tone::warning;
    std::string head = file.file + ": " + file.status;
    if (!file.trainer.empty()) head += ", a file of " + file.trainer;
    if (!file.model.empty()) head += " for " + file.model;
    answer.add(Headline{head, tone});
    const bool is_told = std::any_of(file.findings.begin(), file.findings.end(), [&](const auto& f) {
      return file.headline == f.message;
    });
    if (!file.headline.empty() && !is_told) answer.add(Paragraph{file.headline});
    if (file.time) answer.add(Paragraph{words(*file.time)});
    if (has_tables && !file.findings.empty()) answer.add(table_of(file));
    if (!has_tables) add_lines(file, answer);
    if (!file.ignored.empty())
      answer.add(Paragraph{std::to_string(file.ignored.size()) + " ignored", Tone::faint});
  }
  if (files.size() < 2) return;
  std::string summary = std::to_string(files.size()) + " files";
  const char* separator = ": ";
  for (const char* status : {"invalid", "exceeds", "unknown", "tight", "fits"})
    if (const auto found = counts.find(status); found != counts.end()) {
      summary += separator + std::to_string(found->second) + " " + status;
      separator = ", ";
    }
  answer.add(Paragraph{summary});
}

std::string sarif_report(const std::vector<CheckedFile>& files) {
  Value rules = Value::list();
  std::map<std::string_view, std::size_t> indices;
  Value results = Value::list();
  const auto add = [&](const CheckedFile& file, const Finding& finding, bool is_ignored) {
    const std::string_view id = finding.rule.id();
    const auto [index, is_new] = indices.emplace(id, indices.size());
    if (is_new) rules.push(sarif_rule(finding.rule.rule()));
    Value region = Value::object({{"startLine", std::max(finding.place.line, 1U)}});
    if (finding.place.column > 0) region.set("startColumn", finding.place.column);
    const Value location = Value::object(
        {{"physicalLocation",
          Value::object({{"artifactLocation", Value::object({{"uri", uri_of(file.file)}})},
                         {"region", std::move(region)}})}});
    Value& result = results.push(
        Value::object({{"ruleId", id},
                       {"ruleIndex", index->second},
                       {"level", name(finding.rule.severity())},
                       {"message", Value::object({{"text", harmless(in_words(finding))}})},
                       {"locations", Value::list({location})}}));
    if (is_ignored)
      result.set("suppressions", Value::list({Value::object({{"kind", "inSource"}})}));
  };
  for (const CheckedFile& file : files) {
    for (const Finding& finding : file.findings) add(file, finding, false);
    for (const Finding& finding : file.ignored) add(file, finding, true);
  }
  Value driver = Value::object({{"name", "qwenplan"}, {"semanticVersion", kVersion}});
  driver.set("rules", std::move(rules));
  Value run = Value::object({{"tool", Value::object({{"driver", std::move(driver)}})},
                             {"columnKind", "unicodeCodePoints"},
                             {"results", std::move(results)}});
  return to_json(Value::object({{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
                                {"version", "2.1.0"},
                                {"runs", Value::list({std::move(run)})}})) +
         "\n";
}

std::string junit_report(const std::vector<CheckedFile>& files) {
  std::map<ExitStatus, std::size_t> counts;
  std::string cases;
  for (const CheckedFile& file : files) {
    ++counts[file.exit];
    cases += "    <testcase name=\"" + xml(file.file) + "\" classname=\"" +
             xml(file.trainer.empty() ? "qwenplan" : file.trainer) + "\">\n";
    // The finding that decides is what a report shows first.
    const Finding* first = nullptr;
    std::string lines;
    for (const Finding& finding : file.findings) {
      if (!first || finding.rule.severity() > first->rule.severity()) first = &finding;
      lines += xml(where(file, finding.place)) + ": " +
               std::string(name(finding.rule.severity())) + ": " + xml(in_words(finding)) + " [" +
               std::string(finding.rule.id()) + "]\n";
    }
    const char* element = file.exit == kNo        ? "failure"
                          : file.exit == kWrong   ? "error"
                          : file.exit == kUnknown ? "skipped"
                                                  : nullptr;
    if (element && first) {
      cases += std::string("      <") + element + " message=\"" + xml(in_words(*first)) + "\"";
      if (file.exit != kUnknown)
        cases += " type=\"" + std::string(first->rule.id()) + "\">" + lines + "</" + element + ">\n";
      else
        cases += "/>\n";
    }
    const std::string said = file.headline.empty() ? file.status : file.headline;
    const bool is_shown = element && first && file.exit != kUnknown;
    cases += "      <system-out>" + xml(said) + "\n" + (is_shown ? "" : lines) +
             "</system-out>\n    </testcase>\n";
  }
  const std::string totals = " tests=\"" + std::to_string(files.size()) + "\" failures=\"" +
                             std::to_string(counts[kNo]) + "\" errors=\"" +
                             std::to_string(counts[kWrong]) + "\" skipped=\"" +
                             std::to_string(counts[kUnknown]) + "\"";
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"qwenplan check\"" +
         totals + ">\n  <testsuite name=\"qwenplan check\"" + totals + ">\n" + cases +
         "  </testsuite>\n</testsuites>\n";
}

std::string github_report(const std::vector<CheckedFile>& files) {
  // The runner's own signs: %, and in properties ':' and ','.
  const auto escaped = [](std::string_view text, bool is_property) {
    std::string out;
    for (const char c : harmless(text)) {
      if (c == '%') out += "%25";
      else if (is_property && c == ':') out += "%3A";
      else if (is_property && c == ',') out += "%2C";
      else out += c;
    }
    return out;
  };
  constexpr std::string_view kKinds[] = {"notice", "warning", "error"};
  std::string lines;
  for (const CheckedFile& file : files)
    for (const Finding& finding : file.findings) {
      lines += "::" + std::string(kKinds[static_cast<int>(finding.rule.severity())]) +
               (file.file == "standard input" ? " " : " file=" + escaped(file.file, true) + ",");
      if (finding.place.line > 0) lines += "line=" + std::to_string(finding.place.line) + ",";
      if (finding.place.column > 0) lines += "col=" + std::to_string(finding.place.column) + ",";
      lines += "title=" + escaped(finding.rule.id(), true) +
               "::" + escaped(in_words(finding), false) + "\n";
    }
  return lines;
}

}  // namespace qwenplan
