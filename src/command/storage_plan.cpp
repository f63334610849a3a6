#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/dataset_job.hpp"
#include "command/guide_answer.hpp"
#include "command/method_plans.hpp"
#include "command/subject.hpp"
#include "probe/disk.hpp"
#include "qwenplan/base/nearest.hpp"
#include "qwenplan/estimate/storage.hpp"
#include "qwenplan/judge/fit.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// As large as the Arabic set InstAr-500k, whose 481,281 rows take 1,043 MB.
constexpr Bytes kUsualText = Bytes(1'000'000'000);
constexpr std::int64_t kUsualKept = 2;

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

/// A job with the disk space that it takes, and what was taken for granted.
struct DiskJob {
  std::string name;
  std::vector<DiskUse> uses;
};
struct DiskJobs {
  std::vector<DiskJob> jobs;
  std::size_t best = 0;  ///< of `jobs`: the one in detail
  std::vector<Input> inputs;
  std::vector<std::string> notes, assumed;
  std::string model, data_as_of;
};

Result<DiskJobs> read_jobs(const Invocation& in, KnownText known = nullptr) {
  DiskJobs result;
  DiskOptions o;
  const auto kept = in.whole("save-total-limit", 1, 1'000'000);
  if (!kept) return kept.error();

  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto subject = read_subject(in, *tables);
  if (!subject) return subject.error();
  auto draft = read_run(in);
  if (!draft) return draft.error();
  if (const auto error = not_emulated(*subject)) return *error;
  const Setup setup = setup_of(*subject);
  const auto jobs = method_plans(setup, *draft);
  if (!jobs) return jobs.error();

  auto data = read_text_job(in, setup.model(), known);
  if (!data) return data.error();
  if (*data) {
    o.tokens = (*data)->tokens;
    o.text = (*data)->text;
    result.inputs.insert(result.inputs.end(), (*data)->inputs.begin(), (*data)->inputs.end());
    result.assumed = (*data)->assumed;
    result.notes = (*data)->notes;
  } else {
    o.text = kUsualText;
    o.tokens = tokens_of_text(o.text);
    result.assumed.push_back("1 GB of text (--dataset, --dataset-size)");
  }
  if (in.has("tokens")) {
    result.inputs.push_back({"tokens", Value(o.tokens.likely), "flag"});
    result.assumed.push_back("4.6 bytes of text a token");
  } else {
    result.inputs.push_back({"dataset_bytes", Value(o.text), *data ? "flag" : "default"});
  }
  o.kept = kept->value_or(kUsualKept);
  o.merges = in.switched("merge").value_or(true);
  result.inputs.push_back({"save_total_limit", Value(o.kept), *kept ? "flag" : "default"});
  if (!*kept) {
    result.assumed.push_back("2 checkpoints kept (--save-total-limit)");
    result.notes.push_back("transformers keeps every checkpoint unless save_total_limit is set");
  }
  result.inputs.push_back({"merge", Value(o.merges), in.has("merge") ? "flag" : "default"});
  for (const RunSetting& setting : jobs->chosen().plan.valid.settings)
    result.inputs.push_back(as_input(setting));
  result.inputs.insert(result.inputs.begin(), subject->inputs.begin(), subject->inputs.end());
  result.notes.insert(result.notes.end(), subject->notes.begin(), subject->notes.end());
  result.model = subject->model.model.id;
  result.data_as_of = tables->as_of();
  result.notes.insert(result.notes.end(), jobs->left_out.begin(), jobs->left_out.end());
  result.best = jobs->best;
  for (const MethodPlan& job : jobs->plans)
    result.jobs.push_back({name_of(job), disk_space(setup.model(), job.plan.valid.run, o)});
  return result;
}

std::string words_of(DiskTerm term) {
  switch (term) {
    case DiskTerm::base_model:
      return "the checkpoint as the Hub has it";
    case DiskTerm::dataset:
      return "text as it came, and as Arrow";
    case DiskTerm::tokenized:
      return "token ids as Arrow";
    case DiskTerm::checkpoints:
      return "weights and optimizer: those kept, and the one being written";
    case DiskTerm::final_model:
      return "what was trained";
    case DiskTerm::merged_model:
      return "base and adapter in one (--no-merge leaves it out)";
    case DiskTerm::logs:
      return "event files";
    case DiskTerm::environment:
      return "PyTorch, CUDA libraries, transformers";
  }
  return "";
}

void begin(const DiskJobs& jobs, Answer& answer) {
  answer.data_as_of = jobs.data_as_of;
  answer.inputs = jobs.inputs;
  answer.notes = jobs.notes;
}

void add_assumed(const DiskJobs& jobs, Answer& answer) {
  Value& list = answer.json.set("assumed", Value::list());
  std::string words;
  for (const std::string& each : jobs.assumed) {
    list.push(each);
    words += (words.empty() ? "" : ", ") + each;
  }
  if (!words.empty()) answer.add(Paragraph{"assumed: " + words, Tone::faint});
}

Result<Answer> guide_layouts(const Invocation& in, std::string schema) {
  using guide::GuideSystem;
  if (!in.words.empty()) {
    const guide::Table* table = guide::layout(folded(in.words[0]));
    if (!table)
      return wrong("the guide has no layout '" + in.words[0] + "'", "storage layout",
                   "one of: budget, recommended, professional");
    return guide_table(std::move(schema), *table, {GuideSystem::storage_layout});
  }
  Answer answer;
  Value rows = Value::list();
  for (const auto& each : guide::kLayouts) {
    Answer one = guide_table(schema, *each.folders, {});
    answer.blocks.insert(answer.blocks.end(), one.blocks.begin(), one.blocks.end());
    for (const Value& row : *one.rows->as_list()) {
      Value& named = rows.push(Value::object({{"Layout", each.name}}));
      for (const Value::Member& member : *row.as_object()) named.set(member.first, member.second);
    }
  }
  const Answer differs = guide_answer(schema, {{"rows", rows}}, {GuideSystem::storage_layout});
  answer.schema = std::move(schema);
  answer.json = differs.json;
  answer.blocks.push_back(differs.blocks.back());
  answer.rows = std::move(rows);
  return answer;
}

/// Whether the needs of a job fit every folder of a layout, and what is outside of it the rest.
Fit fit_of(const Layout& layout, std::span<const DiskUse> uses) {
  Fit worst = Fit::fits;
  for (const Folder& folder : layout.folders)
    worst = std::max(worst, judge(needed_in(folder.path, uses), folder.size, false));
  Range<Bytes> outside{};
  for (const DiskUse& use : uses)
    if (folder_of(use.term).empty()) outside = outside + use.bytes;
  return std::max(worst, judge(outside, layout.disk - assigned(layout), false));
}

Tone tone_of(Fit fit) {
  return fit == Fit::fits ? Tone::good : fit == Fit::tight ? Tone::warning : Tone::bad;
}

/// Disks are sold in powers of ten: "180 GB".
std::string in_gb(Bytes bytes) {
  const double gb = static_cast<double>(bytes.count()) / 1e9;
  return fixed(gb, gb < 10 ? 1 : 0) + " GB";
}

/// A layout as rows of JSON and as a table, with what a job needs in each folder.
Value add_layout(const Layout& layout, const DiskJob* job, Answer& answer) {
  Value folders = Value::list();
  Table table{{{"folder"}, {"size", Column::Align::right}, {"holds"}}, {}};
  if (job) table.columns.push_back({"this job", Column::Align::right});
  const auto row = [&](std::string label, std::string_view path, Bytes size, std::string_view holds,
                       const std::optional<Range<Bytes>>& need) {
    Value object = Value::object(
        {{"layout", layout.name}, {"path", path}, {"size_bytes", size}, {"holds", holds}});
    std::vector<std::string> cells{std::move(label), in_gb(size), std::string(holds)};
    if (need) {
      const Fit fit = judge(*need, size, false);
      object.set("needs_bytes", *need);
      object.set("fit", name(fit));
      cells.push_back(need->high == Bytes()
                          ? ""
                          : in_gb(need->likely) +
                                (fit == Fit::fits ? "" : ", " + std::string(name(fit))));
    }
    folders.push(std::move(object));
    table.rows.push_back(std::move(cells));
  };
  for (const Folder& folder : layout.folders) {
    const std::string path(folder.path);
    row(path + "/", folder.path, folder.size, folder.holds,
        job ? std::optional(needed_in(folder.path, job->uses)) : std::nullopt);
  }
  std::optional<Range<Bytes>> outside;
  if (job) {
    outside = Range<Bytes>{};
    for (const DiskUse& use : job->uses)
      if (folder_of(use.term).empty()) *outside = *outside + use.bytes;
  }
  row("(outside)", "", layout.disk - assigned(layout), "file system, Python packages", outside);
  answer.add(std::move(table));
  return folders;
}

}  // namespace

Result<Answer> storage_plan(const Invocation& in) { return storage_plan(in, nullptr); }

Result<Answer> storage_plan(const Invocation& in, KnownText known) {
  constexpr const char* kSchema = "qwenplan.storage-plan/1";
  if (in.uses_guide)
    return guide_table(kSchema, guide::kStoragePlan, {guide::GuideSystem::storage_plan});
  const auto jobs = read_jobs(in, known);
  if (!jobs) return jobs.error();
  const DiskJob& job = jobs->jobs[jobs->best];
  const Range<Bytes> all = total(job.uses);

  Answer answer;
  answer.schema = kSchema;
  begin(*jobs, answer);
  answer.json.set("total_bytes", all);
  Value terms = Value::list();
  Table table{{{"for"}, {"space", Column::Align::right}, {"what it is"}, {"known"}}, {}};
  for (const DiskUse& use : job.uses) {
    terms.push(Value::object(
        {{"term", name(use.term)},
         {"bytes", use.bytes},
         {"folder", folder_of(use.term).empty() ? Value() : Value(folder_of(use.term))},
         {"evidence", name(use.evidence)}}));
    table.rows.push_back({std::string(name(use.term)), text(use.bytes), words_of(use.term),
                          std::string(name(use.evidence))});
  }
  answer.json.set("terms", terms);
  answer.rows = std::move(terms);

  Headline headline{job.name + " of " + jobs->model + " takes " + text(all) + " of disk"};
  Value disk;
  if (const auto folder = in.value("in")) {
    const auto space = disk_space_of(*folder);
    if (!space) return space.error();
    const Fit fit = judge(all, space->available, false);
    headline.text = (fit == Fit::exceeds ? "does not fit: " : std::string(name(fit)) + ": ") +
                    headline.text + ", " + text(space->available) + " is free";
    headline.tone = tone_of(fit);
    if (fit == Fit::exceeds || (fit == Fit::tight && in.is_strict)) answer.status = kNo;
    disk = Value::object({{"folder", *folder},
                          {"available_bytes", space->available},
                          {"total_bytes", space->total},
                          {"fit", name(fit)}});
    answer.inputs.push_back({"in", Value(*folder), "flag"});
  }
  answer.json.set("disk", std::move(disk));
  Value& methods = answer.json.set("methods", Value::list());
  Table method_table{{{"method"}, {"space"}}, {}};
  for (const DiskJob& each : jobs->jobs) {
    methods.push(Value::object({{"method", each.name}, {"total_bytes", total(each.uses)}}));
    method_table.rows.push_back({each.name, text(total(each.uses))});
  }
  Value& layouts = answer.json.set("layouts", Value::list());
  std::string fitting;
  for (const Layout& layout : kLayouts) {
    const Fit fit = fit_of(layout, job.uses);
    layouts.push(Value::object({{"layout", layout.name}, {"fit", name(fit)}}));
    fitting +=
        (fitting.empty() ? "" : ", ") + std::string(layout.name) + " " + std::string(name(fit));
  }
  answer.add(std::move(headline));
  answer.add(std::move(table));
  if (jobs->jobs.size() > 1) answer.add(std::move(method_table));
  answer.add(Paragraph{"layouts: " + fitting});
  add_assumed(*jobs, answer);
  return answer;
}

Result<Answer> storage_layout(const Invocation& in) {
  constexpr const char* kSchema = "qwenplan.storage-layout/1";
  if (in.uses_guide) return guide_layouts(in, kSchema);
  const Layout* only = nullptr;
  if (!in.words.empty()) {
    only = layout_named(folded(in.words[0]));
    if (!only) {
      const auto near = nearest(folded(in.words[0]), {"budget", "recommended", "professional"});
      return wrong("unknown layout '" + in.words[0] + "'", "storage layout",
                   near.empty() ? "one of: budget, recommended, professional"
                                : "did you mean '" + near[0] + "'?");
    }
  }
  std::optional<DiskJobs> jobs;
  if (in.has("model")) {
    auto read = read_jobs(in);
    if (!read) return read.error();
    jobs = std::move(*read);
  }
  const DiskJob* job = jobs ? &jobs->jobs[jobs->best] : nullptr;

  Answer answer;
  answer.schema = kSchema;
  if (jobs) begin(*jobs, answer);
  Value& layouts = answer.json.set("layouts", Value::list());
  Value rows = Value::list();
  for (const Layout& layout : kLayouts) {
    if (only && only != &layout) continue;
    std::string line = std::string(layout.name) + ", for a disk of " + in_gb(layout.disk);
    Tone tone = Tone::plain;
    std::optional<Fit> fit;
    if (job) {
      fit = fit_of(layout, job->uses);
      line = std::string(*fit == Fit::exceeds ? "does not fit" : name(*fit)) + ": " + job->name +
             " of " + jobs->model + " in " + line;
      tone = tone_of(*fit);
      if (only && (*fit == Fit::exceeds || (*fit == Fit::tight && in.is_strict)))
        answer.status = kNo;
    }
    answer.add(Headline{std::move(line), tone});
    Value folders = add_layout(layout, job, answer);
    for (const Value& row : *folders.as_list()) rows.push(row);
    layouts.push(Value::object({{"layout", layout.name},
                                {"disk_bytes", layout.disk},
                                {"assigned_bytes", assigned(layout)},
                                {"fit", fit ? Value(name(*fit)) : Value()},
                                {"folders", std::move(folders)}}));
  }
  answer.rows = std::move(rows);
  if (jobs) add_assumed(*jobs, answer);
  answer.add(Paragraph{"qwenplan storage init DIR --layout NAME makes the folders", Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
