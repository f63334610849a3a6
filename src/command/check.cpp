#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/check_report.hpp"
#include "command/checking.hpp"
#include "command/command.hpp"
#include "read/calibration.hpp"
#include "read/file_list.hpp"

namespace qwenplan::command {
namespace {

/// The worst of all files: wrong, then unknown, then no.
int rank(ExitStatus status) {
  return status == kWrong ? 3 : status == kUnknown ? 2 : static_cast<int>(status);
}

CheckedFile nothing_to_read(const std::string& word, const Error& error) {
  CheckedFile file;
  file.file = word;
  file.status = "invalid";
  file.exit = kWrong;
  file.findings.push_back({"unreadable-file", error.what, {}, error.hint});
  file.error = error;
  return file;
}

/// What the estimates ask the reader to know: each note once, with the first file that it concerns.
std::vector<std::string> notes_of(const std::vector<CheckedFile>& files) {
  struct Note {
    std::string text;
    const CheckedFile* first;
    const CheckedFile* last;
    int files;
  };
  std::vector<Note> notes;
  for (const CheckedFile& file : files)
    for (const std::optional<Plan>* plan : {&file.plan, &file.one_gpu}) {
      if (!*plan) continue;
      for (const std::string& text : (*plan)->valid.notes) {
        const auto found = std::find_if(notes.begin(), notes.end(), [&](const Note& n) { return n.text == text; });
        if (found == notes.end())
          notes.push_back({text, &file, &file, 1});
        else if (std::exchange(found->last, &file) != &file)
          ++found->files;
      }
    }
  std::vector<std::string> lines;
  for (const Note& note : notes) {
    std::string line = files.size() > 1 ? note.first->file : "";
    if (note.files > 1) line += " and " + std::to_string(note.files - 1) + " more";
    lines.push_back(line + (line.empty() ? "" : ": ") + note.text);
  }
  return lines;
}

}  // namespace

Result<Answer> check(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto calibration = read_calibration(*tables);
  if (!calibration) return calibration.error();
  const auto epochs = in.number("epochs", 0.001, 1e6);
  if (!epochs) return epochs.error();
  Checker checker(in, *tables, *calibration, *epochs);
  const auto project = checker.project_for(in.words.front());
  if (!project) return project.error();
  if (!in.has("gpu") && !in.has("vram") && !*project)
    return Error{Error::Kind::wrong, "no card is given to check against", "--gpu",
                 "such as --gpu rtx3060, --vram 24GiB, or gpu: in a " + std::string(kProjectFile)};

  Answer answer;
  answer.schema = "qwenplan.check/1";
  answer.data_as_of = tables->as_of();
  for (const char* flag : {"gpu", "vram", "vram-in-use", "model", "trainer", "stack", "alloc-conf",
                           "launcher", "seq-len", "batch", "gpus", "fail-on", "config", "dataset", "dataset-size", "tokens",
                           "epochs"})
    if (const auto value = in.value(flag)) answer.inputs.push_back({flag, Value(*value), "flag"});
  if (*project) {
    answer.inputs.push_back({"project", Value((*project)->path), in.has("config") ? "flag" : "file"});
    for (const auto& [flag, setting] : (*project)->base.flags)
      if (!in.has(flag)) answer.inputs.push_back({flag, Value(setting.value), "file"});
  }

  std::vector<CheckedFile> files;
  std::size_t passed_over = 0;
  for (const std::string& word : in.words) {
    const auto listed = listed_files(word);
    if (!listed) {
      files.push_back(nothing_to_read(word, listed.error()));
      continue;
    }
    for (const ListedFile& each : *listed) {
      if (!each.is_named) {
        const auto own = checker.project_for(each.path);
        if (own && *own && (*own)->excludes(each.path)) continue;
        if (each.path.ends_with(kProjectFile)) continue;
      }
      CheckedFile file = checker.check(each.path);
      // In a folder many files are nobody's; a file that is named should be somebody's.
      if (file.is_nobodys && !each.is_named)
        ++passed_over;
      else
        files.push_back(std::move(file));
    }
  }
  if (passed_over > 0)
    answer.notes.push_back(std::to_string(passed_over) + (passed_over == 1 ? " file is" : " files are") + " no trainer's");
  if (files.empty())
    return Error{Error::Kind::wrong, "no trainer's file is there", in.words.front(),
                 "give the files of training runs"};

  Value& list = answer.json.set("files", Value::list());
  for (const CheckedFile& file : files) {
    if (rank(file.exit) > rank(answer.status)) answer.status = file.exit;
    list.push(checked_json(file));
  }
  answer.rows = checked_rows(files);
  for (std::string& note : notes_of(files)) answer.notes.push_back(std::move(note));
  const std::string format = in.value("format").value_or("text");
  show_checked(files, format == "markdown", answer);
  if (format == "github") answer.raw = github_report(files);
  if (format == "sarif") answer.raw = sarif_report(files);
  if (format == "junit") answer.raw = junit_report(files);
  return answer;
}

}  // namespace qwenplan::command
