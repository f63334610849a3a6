#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "command/command.hpp"
#include "command/planning.hpp"
#include "command/verdict.hpp"
#include "qwenplan/describe/trainer_defaults.hpp"
#include "read/text_file.hpp"
#include "read/trainer/document.hpp"
#include "read/trainer/train_file.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view name(Severity severity) {
  constexpr std::string_view names[] = {"note", "warning", "error"};
  return names[static_cast<int>(severity)];
}

/// What a file came to.
struct Report {
  std::string file;
  std::string trainer;  ///< empty: nobody's
  std::string model;
  std::string status;  ///< fits, tight, exceeds, invalid, unknown
  ExitStatus exit = kYes;
  std::optional<Error> error;  ///< why there is no estimate
  std::optional<Plan> plan;
  std::vector<Advice> advice;
  std::vector<Finding> findings;
  std::string headline;
};

/// DeepSpeed and accelerate settings are looked for where trainers start, which is mostly the root
/// of a repository, and beside the file that names them, and above it.
class OnDisk final : public Neighbours {
 public:
  explicit OnDisk(const fs::path& file) {
    std::error_code failed;
    folders_.push_back(fs::current_path(failed));
    fs::path folder = fs::absolute(file, failed).parent_path();
    for (int up = 0; up < 8 && !folder.empty(); ++up) {
      folders_.push_back(folder);
      if (folder == folder.parent_path()) break;
      folder = folder.parent_path();
    }
  }

  std::optional<std::string> text_of(const std::string& path) const override {
    for (const fs::path& folder : folders_) {
      auto text = read_text_file((folder / path).string(), kMostText);
      if (text) return std::move(*text);
    }
    return std::nullopt;
  }

 private:
  std::vector<fs::path> folders_;
};

Result<std::string> text_of(const std::string& file) {
  if (file != "-") return read_text_file(file, kMostText);
  std::string text;
  char part[1 << 14];
  while (std::cin.read(part, sizeof part), std::cin.gcount() > 0) {
    text.append(part, static_cast<std::size_t>(std::cin.gcount()));
    if (text.size() > kMostText)
      return Error{Error::Kind::wrong, "larger than " + std::to_string(kMostText) + " bytes",
                   "standard input", "is this the right file?"};
  }
  return text;
}

/// The model by the name in the file: of the Hub, of a folder with a config.json, or of a folder
/// that is called like a model. ModelScope writes dots as "___".
Result<FoundModel> model_of(const Tables& tables, const std::string& written) {
  auto found = tables.model(written);
  if (found) return found;
  std::string last = fs::path(written).filename().string();
  for (std::size_t at; (at = last.find("___")) != std::string::npos;) last.replace(at, 3, ".");
  std::string lower = last;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view suffix : {"-unsloth-bnb-4bit", "-bnb-4bit"})
    if (lower.ends_with(suffix)) last.resize(last.size() - suffix.size());
  if (last.empty() || last == written) return found;
  auto again = tables.model(last);
  return again && !again->is_file ? again : found;
}

std::string where(const Report& report, const Place& place) {
  std::string text = report.file;
  if (place.line > 0) text += ":" + std::to_string(place.line);
  if (place.line > 0 && place.column > 0) text += ":" + std::to_string(place.column);
  return text;
}

void refuse(Report& report, Error error) {
  report.exit = status_of(error.kind);
  report.status = report.exit == kWrong ? "invalid" : "unknown";
  report.error = std::move(error);
}

/// The settings that decide memory and that neither the file nor its reader gave.
void note_defaults(Report& report, const std::string& version) {
  std::string words;
  for (const RunSetting& setting : report.plan->valid.settings)
    if (setting.from == From::trainer) words += " " + as_words(setting);
  if (words.empty()) return;
  report.findings.push_back({"trainer-defaults", Severity::note,
                             "what the file leaves to " + report.trainer +
                                 (version.empty() ? "" : " " + version) + ":" + words,
                             {}, {}});
}

void judge_memory(Report& report, const Setup& setup, bool is_strict) {
  const Plan& plan = *report.plan;
  report.status = std::string(qwenplan::name(*plan.fit));
  if (plan.fit == Fit::fits) return;
  report.advice = advised(setup, plan);
  std::string fix;
  for (const Advice& each : report.advice)
    if (each.fit < *plan.fit) {
      fix = each.change + " saves " + text(each.saves) + ", then it " +
            (each.fit == Fit::fits ? "fits" : "is tight");
      break;
    }
  const bool is_no = plan.fit == Fit::exceeds || is_strict;
  if (is_no) report.exit = kNo;
  report.findings.push_back({plan.fit == Fit::exceeds ? "out-of-memory" : "tight-memory",
                             is_no ? Severity::error : Severity::warning,
                             headline(setup, plan).text, {}, std::move(fix)});
}

Report checked(const std::string& file, const Invocation& in, const Tables& tables) {
  Report report;
  report.file = file == "-" ? "standard input" : file;
  const auto text = text_of(file);
  if (!text) return refuse(report, text.error()), report;
  TrainerChoice choice;
  if (const auto wanted = in.value("trainer")) {
    const std::size_t at = wanted->find('@');
    choice.trainer = draft::by_name<Trainer>(wanted->substr(0, at), kTrainers);
    if (!choice.trainer)
      return refuse(report, {Error::Kind::wrong, "no trainer is called '" + *wanted + "'",
                             "--trainer", "such as llama-factory, axolotl, trl or torchtune"}),
             report;
    if (at != std::string::npos) choice.version = wanted->substr(at + 1);
  }
  auto read = read_train_file(*text, report.file, OnDisk(file == "-" ? "." : file), choice);
  if (!read) return refuse(report, read.error()), report;
  report.trainer = std::string(qwenplan::name(read->trainer));
  report.findings = std::move(read->findings);
  if (!read->other_purpose.empty())
    return refuse(report, {Error::Kind::unknown, "no training: the file " + read->other_purpose,
                           report.file, "give the file of a training run"}),
           report;

  // Where a value cannot be read, there is no telling what the trainer would take.
  for (const Finding& finding : report.findings)
    if (finding.rule == "invalid-value")
      return refuse(report, {Error::Kind::wrong, finding.message, where(report, finding.place),
                             finding.fix.empty() ? "correct the value" : finding.fix}),
             report;

  Invocation asked = in;
  std::string model = in.value("model").value_or(read->model);
  if (!model.empty()) {
    const auto found = model_of(tables, model);
    if (!found) {
      Error error = found.error();
      if (!in.has("model")) {
        error.kind = Error::Kind::unknown;
        error.where = where(report, read->model_place);
        error.hint = "name its shape with --model, such as a config.json or its kin";
      }
      return refuse(report, std::move(error)), report;
    }
    if (!found->is_file) model = found->model.id;
    asked.given["model"] = {model};
  }
  // Why there is no estimate counts more than that no model is named.
  if (read->unmodelled) return refuse(report, *read->unmodelled), report;
  const auto subject = read_subject(asked, tables);
  if (!subject) return refuse(report, subject.error()), report;
  report.model = subject->model.model.id;
  if (auto error = not_emulated(*subject)) return refuse(report, std::move(*error)), report;
  const Setup setup = setup_of(*subject);
  RunDraft draft = read->draft;
  fill_defaults(read->trainer, read->version, setup.model(), setup.gpu(), draft);
  if (subject->gpu && subject->gpu->count > 1 && !draft.gpus)
    draft.gpus = Given<std::int64_t>{subject->gpu->count, From::flag};
  auto plan = planned(setup, draft, subject->allocator);
  if (!plan) {
    Error error = plan.error();
    error.where = report.file + ", " + error.where;
    return refuse(report, std::move(error)), report;
  }
  report.plan = std::move(*plan);
  report.headline = headline(setup, *report.plan).text;
  note_defaults(report, read->version);
  judge_memory(report, setup, in.is_strict);
  for (const Finding& finding : report.findings)
    if (finding.severity == Severity::error && report.exit == kYes) report.exit = kNo;
  return report;
}

Value as_json(const Report& report) {
  Value findings = Value::list();
  for (const Finding& finding : report.findings)
    findings.push(Value::object(
        {{"rule", finding.rule},
         {"severity", name(finding.severity)},
         {"message", finding.message},
         {"line", finding.place.line > 0 ? Value(finding.place.line) : Value()},
         {"column", finding.place.column > 0 ? Value(finding.place.column) : Value()},
         {"fix", finding.fix.empty() ? Value() : Value(finding.fix)}}));
  Value run;
  if (report.plan) {
    run = Value::object();
    for (const RunSetting& setting : report.plan->valid.settings)
      run.set(std::string(setting.flag),
              Value::object({{"value", as_input(setting).value},
                             {"from", qwenplan::name(setting.from)}}));
  }
  Value error;
  if (report.error)
    error = Value::object({{"what", report.error->what},
                           {"where", report.error->where},
                           {"hint", report.error->hint}});
  return Value::object({{"file", report.file},
                        {"trainer", report.trainer.empty() ? Value() : Value(report.trainer)},
                        {"model", report.model.empty() ? Value() : Value(report.model)},
                        {"status", report.status},
                        {"run", std::move(run)},
                        {"verdict", report.plan ? verdict_json(*report.plan) : Value()},
                        {"advice", advice_json(report.advice)},
                        {"error", std::move(error)},
                        {"findings", std::move(findings)}});
}

void show(const Report& report, Answer& answer) {
  const Tone tone = report.exit == kYes  ? report.status == "tight" ? Tone::warning : Tone::good
                    : report.exit == kNo ? Tone::bad
                                         : Tone::warning;
  std::string head = report.file + ": " + report.status;
  if (!report.trainer.empty()) head += ", a file of " + report.trainer;
  if (!report.model.empty()) head += " for " + report.model;
  answer.add(Headline{head, tone});
  if (report.error)
    answer.add(Paragraph{report.error->what + " (" + report.error->where + "); " +
                         report.error->hint});
  if (!report.headline.empty() && report.status == "fits") answer.add(Paragraph{report.headline});
  for (const Finding& finding : report.findings) {
    const Tone how = finding.severity == Severity::error     ? Tone::bad
                     : finding.severity == Severity::warning ? Tone::warning
                                                             : Tone::faint;
    answer.add(Paragraph{where(report, finding.place) + ": " + std::string(name(finding.severity)) +
                             ": " + finding.message +
                             (finding.fix.empty() ? "" : "; " + finding.fix) + " [" +
                             finding.rule + "]",
                         how});
  }
}

/// A GitHub workflow command; its own signs are escaped as the runner wants it.
std::string github_line(const Report& report, const Finding& finding) {
  const auto escaped = [](std::string_view text, bool is_property) {
    std::string out;
    for (const char c : text) {
      if (c == '%') out += "%25";
      else if (c == '\r') out += "%0D";
      else if (c == '\n') out += "%0A";
      else if (is_property && c == ':') out += "%3A";
      else if (is_property && c == ',') out += "%2C";
      else out += c;
    }
    return out;
  };
  constexpr std::string_view kinds[] = {"notice", "warning", "error"};
  std::string line = "::" + std::string(kinds[static_cast<int>(finding.severity)]) +
                     " file=" + escaped(report.file, true);
  if (finding.place.line > 0) line += ",line=" + std::to_string(finding.place.line);
  if (finding.place.column > 0) line += ",col=" + std::to_string(finding.place.column);
  line += ",title=" + escaped(finding.rule, true) + "::" + escaped(finding.message, false);
  return line + (finding.fix.empty() ? "" : "; " + escaped(finding.fix, false)) + "\n";
}

}  // namespace

Result<Answer> check(const Invocation& in) {
  const std::string format = in.value("format").value_or("text");
  if (format == "sarif" || format == "junit")
    return Error{Error::Kind::unknown, "reports as " + format + " are not built yet", "--format",
                 "this version writes text, json, csv, markdown and github"};
  if (!in.has("gpu") && !in.has("vram"))
    return Error{Error::Kind::wrong, "no card is given to check against", "--gpu",
                 "such as --gpu rtx3060, or --vram 24GiB"};
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();

  Answer answer;
  answer.schema = "qwenplan.check/1";
  answer.data_as_of = tables->as_of();
  for (const char* flag : {"gpu", "vram", "model", "trainer", "stack"})
    if (const auto value = in.value(flag)) answer.inputs.push_back({flag, Value(*value), "flag"});
  Value& files = answer.json.set("files", Value::list());
  std::string lines;
  // The worst of all files: wrong, then unknown, then no.
  const auto rank = [](ExitStatus status) { return status == kWrong ? 3 : status == kUnknown ? 2 : status; };
  for (const std::string& file : in.words) {
    Report report = checked(file, in, *tables);
    if (rank(report.exit) > rank(answer.status)) answer.status = report.exit;
    files.push(as_json(report));
    show(report, answer);
    if (report.error)
      report.findings.push_back({report.status, Severity::error, report.error->what, {},
                                 report.error->hint});
    for (const Finding& finding : report.findings) lines += github_line(report, finding);
  }
  if (format == "github") answer.raw = lines;
  return answer;
}

}  // namespace qwenplan::command
