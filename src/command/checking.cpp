#include "command/checking.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <system_error>
#include <utility>

#include "cli/run_flags.hpp"
#include "command/card_rules.hpp"
#include "command/job_time.hpp"
#include "command/subject.hpp"
#include "command/verdict.hpp"
#include "command/written_model.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "read/text_file.hpp"
#include "read/trainer/document.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/module_pattern.hpp"
#include "read/trainer/remarks.hpp"
#include "read/trainer/settings.hpp"
#include "render/render.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

namespace fs = std::filesystem;

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

RuleId rule_of(const Error& error) {
  return error.kind == Error::Kind::wrong ? RuleId("impossible-run") : RuleId("not-modelled");
}

/// What the file says of launching, from a launcher's own file beside it.
std::optional<Error> add_launcher(const std::string& path, TrainFile& file) {
  const auto text = read_text_file(path, kMostText);
  if (!text) return text.error();
  auto launcher = read_train_file(*text, path, OnDisk(path));
  if (!launcher) return launcher.error();
  if (launcher->trainer != Trainer::accelerate && launcher->trainer != Trainer::deepspeed)
    return Error{Error::Kind::wrong, "no file of accelerate or DeepSpeed", path,
                 "--launcher takes the file that the run is launched with"};
  const auto take = [](auto& own, auto& other) {
    if (!own && other) {
      own = std::move(other);
      own->place = {};  // of another file
    }
  };
  RunDraft& d = file.draft;
  RunDraft& other = launcher->draft;
  take(d.gpus, other.gpus), take(d.zero, other.zero), take(d.fsdp, other.fsdp);
  take(d.offload, other.offload), take(d.accumulation, other.accumulation);
  take(d.checkpoints, other.checkpoints);
  if (!file.mixed_precision && launcher->mixed_precision) {
    take(file.mixed_precision, launcher->mixed_precision);
    settle_mixed_precision(file);
    if (file.unmodelled && file.unmodelled->where.empty()) file.unmodelled->where = path;
  }
  if (!file.unmodelled) file.unmodelled = std::move(launcher->unmodelled);
  return std::nullopt;
}

Result<TrainerChoice> trainer_choice(const Invocation& in) {
  TrainerChoice choice;
  const auto wanted = in.value("trainer");
  if (!wanted) return choice;
  const auto release = read_trainer(in);
  if (!release) return release.error();
  choice.trainer = (*release)->trainer;
  if (const std::size_t at = wanted->find('@'); at != std::string::npos) choice.version = wanted->substr(at + 1);
  return choice;
}

/// The same run without what spreads it over several cards.
RunDraft on_one_gpu(RunDraft draft) {
  draft.gpus.reset(), draft.zero.reset(), draft.fsdp.reset(), draft.offload.reset();
  draft.tensor_parallel.reset(), draft.pipeline_parallel.reset();
  draft.context_parallel.reset(), draft.expert_parallel.reset();
  // litgpt checkpoints layers where it shards them, and not else.
  if (draft.trainer && draft.trainer->value.trainer == Trainer::litgpt) draft.checkpoints = Given<bool>{false, From::trainer, {}};
  return draft;
}
bool is_spread(const RunDraft& d) {
  const auto several = [](const RunDraft::Maybe<std::int64_t>& degree) {
    return degree && degree->value > 1;
  };
  return several(d.gpus) || (d.zero && d.zero->value != "0") || d.fsdp ||
         several(d.tensor_parallel) || several(d.pipeline_parallel) ||
         several(d.context_parallel) || several(d.expert_parallel);
}

bool has_several_gpus(const RunDraft& d) { return d.gpus && d.gpus->value > 1; }

/// "8 GPUs with ZeRO 3"
std::string spread_words(const RunDraft& d) {
  std::string words = has_several_gpus(d) ? std::to_string(d.gpus->value) + " GPUs" : "";
  const auto add = [&](const std::string& more) { words += (words.empty() ? "" : " with ") + more; };
  if (d.zero && d.zero->value != "0") add("ZeRO " + d.zero->value);
  if (d.fsdp) add("FSDP");
  return words.empty() ? "a model that is split over GPUs" : words;
}

Place place_of_spread(const RunDraft& d) {
  if (d.zero && d.zero->place.line > 0) return d.zero->place;
  if (d.fsdp && d.fsdp->place.line > 0) return d.fsdp->place;
  return d.gpus ? d.gpus->place : Place{};
}

/// What a finding alone makes of the exit status.
ExitStatus exit_of(const Finding& finding, bool is_strict, FailOn fail_on) {
  if (fail_on == FailOn::never) return kYes;
  const RuleId rule = finding.rule;
  if (rule == "out-of-memory") return kNo;
  if (rule == "tight-memory" && is_strict) return kNo;
  for (const char* unknown :
       {"not-modelled", "unknown-model", "several-gpus", "not-a-training-file"})
    if (rule == unknown) return kUnknown;
  if (rule.severity() == Severity::error) return kWrong;
  const bool is_no = rule.severity() == Severity::warning
                         ? fail_on == FailOn::warning || fail_on == FailOn::note
                         : fail_on == FailOn::note;
  return is_no ? kNo : kYes;
}

int rank(ExitStatus status) { return status == kWrong ? 3 : status == kUnknown ? 2 : status; }

/// Sets aside what is ignored, says which remarks ignored nothing, and decides status and exit.
void conclude(CheckedFile& out, std::vector<Ignore> ignores,
              const std::vector<std::string>& ignored_rules, bool is_strict, FailOn fail_on) {
  std::vector<Finding> kept;
  for (Finding& finding : out.findings) {
    const bool is_general = std::any_of(ignored_rules.begin(), ignored_rules.end(),
                                        [&](const std::string& id) { return finding.rule == id; });
    const bool is_own = is_ignored(finding, ignores);
    (is_general || is_own ? out.ignored : kept).push_back(std::move(finding));
  }
  for (const Ignore& each : ignores)
    if (!each.is_used)
      kept.push_back({"unused-ignore", "'" + each.rule + "' is ignored here and not found",
                      each.place, "remove it"});
  std::stable_sort(kept.begin(), kept.end(), [](const Finding& a, const Finding& b) {
    return a.place.line < b.place.line;
  });
  out.findings = std::move(kept);

  bool is_invalid = false;
  for (const Finding& finding : out.findings) {
    const ExitStatus exit = exit_of(finding, is_strict, fail_on);
    if (rank(exit) > rank(out.exit)) out.exit = exit;
    is_invalid = is_invalid || (finding.rule.severity() == Severity::error &&
                                !(finding.rule == "out-of-memory"));
  }
  if (is_invalid)
    out.status = "invalid";
  else if (out.plan && out.plan->fit)
    out.status = std::string(qwenplan::name(*out.plan->fit));
  else
    out.status = "unknown";
}

/// The data of the flags, once through; how often is the file's to say.
Result<Workload> one_epoch(const Invocation& in, const Model& model) {
  Invocation once = in;
  once.given.erase("epochs");
  return read_workload(once, model);
}

/// A run's time, with the hours of the steps or the epochs that the file or a flag tells.
CheckedTime checked_time(const JobTime& epoch, const TrainFile& file, const std::optional<double>& given_epochs) {
  CheckedTime time{epoch.timing.rate, epoch.timing.seconds, bound_of(epoch.timing.step), {}, {}};
  const std::optional<double> epochs = given_epochs ? given_epochs : file.epochs;
  if (file.max_steps && *file.max_steps > 0) {
    // torchtune counts them in each epoch.
    const double steps = static_cast<double>(*file.max_steps) * (file.trainer == Trainer::torchtune ? epochs.value_or(1) : 1);
    time.hours = times(steps / 3600, time.seconds);
    time.of = grouped(std::llround(steps)) + " steps";
  } else if (epochs && epoch.duration) {
    time.hours = times(*epochs, *epoch.hours());
    time.of = plain(*epochs) + (*epochs == 1 ? " epoch" : " epochs");
  }
  return time;
}

Invocation without_words(Invocation in) {
  in.words.clear();
  return in;
}

}  // namespace

/// Estimates by the run that they are of.
struct Checker::Estimates {
  struct Entry {
    Run run;
    Plan plan;
    std::vector<Advice> advice;
    std::vector<CardRule> rules;
    std::optional<JobTime> time;  ///< of one epoch, where the data are told
  };
  std::multimap<std::string, Entry> entries;
  std::map<std::string, Result<Workload>> workloads;  ///< by the model, whose tokenizer counts

  const Entry* find(const std::string& subject, const Run& run) const {
    const auto [first, last] = entries.equal_range(subject);
    for (auto each = first; each != last; ++each)
      if (each->second.run == run) return &each->second;
    return nullptr;
  }
};

Checker::Checker(const Invocation& in, const Tables& tables, const Calibration& calibration, std::optional<double> epochs)
    : in_(without_words(in)), tables_(tables), calibration_(calibration), epochs_(epochs), estimates_(std::make_unique<Estimates>()) {}
Checker::~Checker() = default;

Result<const ProjectFile*> Checker::project_at(const std::string& path) {
  auto known = projects_.find(path);
  if (known == projects_.end()) known = projects_.emplace(path, read_project_file(path)).first;
  if (!known->second) return known->second.error();
  return &*known->second;
}

Result<const ProjectFile*> Checker::project_for(const std::string& file) {
  if (const auto named = in_.value("config")) return project_at(*named);
  const std::string folder = file == "-" ? "." : fs::path(file).parent_path().string();
  auto known = found_.find(folder);
  if (known == found_.end())
    known = found_.emplace(folder, project_file_for(folder).value_or("")).first;
  if (known->second.empty()) return nullptr;
  return project_at(known->second);
}

/// One file on its way from its text to a verdict. Each step says whether there is more to say: false
/// where the file's answer is complete, mostly by a refusal.
class Checker::OneFile {
 public:
  OneFile(Checker& checker, const std::string& file)
      : checker_(checker), file_(file), asked_(checker.in_), ignored_rules_(checker.in_.values("ignore")) {
    out_.file = file == "-" ? "standard input" : file;
  }

  CheckedFile answer() {
    if (take_settings() && read() && is_training() && find_model() && find_subject() && take_flags() &&
        take_stored_form()) {
      fill();
      if (is_for_one_gpu() && validate() && estimate() && is_of_known_length()) add_verdict();
    }
    conclude(out_, std::move(ignores_), ignored_rules_, asked_.is_strict, fail_on_);
    return std::move(out_);
  }

 private:
  /// A finding that comes from an error, and the error for the report.
  bool refuse(RuleId rule, Error error, Place place = {}) {
    out_.findings.push_back({rule, error.what, place.line > 0 ? place : error.place, error.hint});
    out_.error = std::move(error);
    return false;
  }

  /// What is wrong in another file has its place in the message.
  bool refuse_outside(RuleId rule, Error error) {
    const std::string place = error.place.line > 0 ? error.where + ": " : "";
    out_.findings.push_back({rule, place + error.what, {}, error.hint});
    out_.error = std::move(error);
    return false;
  }

  /// What is wrong with a flag stands in the project's file, where that gave it.
  bool refuse_flag(RuleId rule, Error error) {
    if (project_)
      for (const auto& [flag, setting] : project_->settings_for(file_).flags)
        if (error.where.starts_with("--" + flag) && !checker_.in_.has(flag)) {
          error.where = where(project_->path, setting.place);
          error.place = setting.place;
        }
    return refuse_outside(rule, std::move(error));
  }

  bool refuse_unmodelled() {
    return is_launchers_ ? refuse_outside("not-modelled", *read_.unmodelled) : refuse("not-modelled", *read_.unmodelled);
  }

  std::string at_model() const { return where(out_.file, read_.model_place); }

  /// Flags go before the project's file.
  bool take_settings() {
    const auto project = checker_.project_for(file_);
    if (!project) return refuse_outside("unreadable-file", project.error());
    project_ = *project;
    const Invocation& in = checker_.in_;
    for (const char* flag : {"gpu", "vram", "vram-in-use", "stack", "alloc-conf", "trainer", "model",
                             "launcher", "seq-len", "batch", "gpus"})
      if (const auto value = in.value(flag)) out_.settings.push_back({flag, Value(*value), "flag"});
    if (project_) {
      ProjectSettings settings = project_->settings_for(file_);
      for (const auto& [flag, setting] : settings.flags) {
        if (in.has(flag)) continue;
        asked_.given[flag] = {setting.value};
        out_.settings.push_back({flag, Value(setting.value), "file"});
      }
      ignored_rules_.insert(ignored_rules_.end(), settings.ignored_rules.begin(), settings.ignored_rules.end());
      asked_.is_strict = in.is_strict || asked_.switched("strict") == true;
    }
    const std::string wanted = asked_.value("fail-on").value_or("error");
    constexpr std::pair<std::string_view, FailOn> kFailOn[] = {
        {"note", FailOn::note}, {"warning", FailOn::warning}, {"never", FailOn::never}};
    for (const auto& [word, each] : kFailOn)
      if (wanted == word) fail_on_ = each;
    return true;
  }

  bool read() {
    const auto text = text_of(file_);
    if (!text) return refuse("unreadable-file", text.error());
    const auto choice = trainer_choice(asked_);
    if (!choice) return refuse_flag("unreadable-file", choice.error());
    auto read = read_train_file(*text, out_.file, OnDisk(file_ == "-" ? "." : file_), *choice);
    if (!read) {
      out_.is_nobodys = read.error().what.starts_with("no trainer's file") || !names_training(*text);
      return refuse("unreadable-file", read.error());
    }
    read_ = *std::move(read);
    out_.trainer = std::string(qwenplan::name(read_.trainer));
    const From said = checker_.in_.has("trainer") ? From::flag : From::file;  // the project's
    if (choice->trainer) out_.trainer_from = said;
    if (!choice->version.empty()) out_.version_from = said;
    out_.findings = std::exchange(read_.findings, {});
    ignores_ = ignores_of(*text, out_.findings);
    out_.draft = read_.draft;
    return true;
  }

  bool is_training() {
    if (!read_.other_purpose.empty())
      return refuse("not-a-training-file",
                    {Error::Kind::unknown, "no training: the file " + read_.other_purpose, out_.file,
                     "give the file of a training run"});
    // Where a value cannot be read, there is no telling what the trainer would take.
    for (const Finding& finding : out_.findings)
      if (finding.rule == "invalid-value" || finding.rule == "torchtune/missing-key") {
        out_.error = Error{Error::Kind::wrong, finding.message, where(out_.file, finding.place),
                           finding.fix.empty() ? "correct the value" : finding.fix};
        return false;
      }
    if (const auto launcher = asked_.value("launcher")) {
      is_launchers_ = !read_.unmodelled;
      if (auto error = add_launcher(*launcher, read_)) return refuse_outside("unreadable-file", *std::move(error));
      for (Finding& each : read_.findings) {
        each.message.insert(0, *launcher + ": ");
        out_.findings.push_back(std::move(each));
      }
    }
    return true;
  }

  /// Why there is no estimate at all counts more than that no model is known.
  bool find_model() {
    std::string model = asked_.value("model").value_or(read_.model);
    if (!asked_.has("model")) stored_ = stored_form(read_.model);
    is_named_ = !model.empty();
    if (is_named_) {
      const auto found = written_model(checker_.tables_, model);
      if (!found) return read_.unmodelled ? refuse_unmodelled() : refuse_model(model, found.error());
      if (!found->is_file) model = found->asked;
      asked_.given["model"] = {model};
    }
    if (stored_) tell_stored_form();
    return read_.unmodelled ? refuse_unmodelled() : true;
  }

  bool refuse_model(const std::string& model, Error error) {
    if (asked_.has("model")) return refuse_flag("impossible-run", std::move(error));
    error.kind = Error::Kind::unknown;
    error.where = at_model();
    const std::string shown = "'" + model.substr(0, 200) + "'";
    if (read_.has_tower || has_tower(model)) {
      error.what = shown + " is a model with a vision or audio tower, which is not modelled";
      error.hint = "modelled: causal language models";
      return refuse("not-modelled", std::move(error), read_.model_place);
    }
    error.what = "unknown model " + shown;
    error.hint = "name its shape with --model, such as a config.json or its kin";
    return refuse("unknown-model", std::move(error), read_.model_place);
  }

  bool is_unpacked() const { return stored_ && stored_->is_float && read_.unpacks_stored; }

  void tell_stored_form() {
    const auto& own = read_.draft.quantization;
    std::string words = "'" + read_.model.substr(0, 100) + "' is stored in " + std::string(stored_->how);
    if (is_unpacked()) words += ", which " + out_.trainer + " unpacks to 16 bits";
    if (own) words += ", and the file's own quantization is ignored";
    else if (!is_unpacked()) words += ", although the file asks for none";
    out_.findings.push_back(
        {"quantized-checkpoint", std::move(words), own ? own->place : read_.model_place, "name the plain checkpoint"});
  }

  bool find_subject() {
    release_ = {read_.trainer, version_of(read_.version).value_or(latest_version(read_.trainer))};
    asked_.given["trainer"] = {std::string(qwenplan::name(release_.trainer)) + "@" + qwenplan::text(release_.version)};
    auto subject = read_subject(asked_, checker_.tables_);
    if (!subject)
      return refuse_flag(is_named_ ? rule_of(subject.error()) : RuleId("unknown-model"), subject.error());
    out_.model = subject->model.model.id;
    if (auto error = not_emulated(*subject)) return refuse(rule_of(*error), std::move(*error), read_.model_place);
    subject_ = *std::move(subject);
    setup_.emplace(setup_of(*subject_));
    return true;
  }

  /// A flag goes before the file; what a qwenplan.yaml says is for files that leave it open.
  std::optional<Error> take_flag(const char* flag, RunDraft::Maybe<std::int64_t>& setting, std::int64_t most) {
    const auto number = asked_.whole(flag, 1, most);
    if (!number) return number.error();
    const bool is_typed = checker_.in_.has(flag);
    if (*number && (is_typed || !setting))
      setting = Given<std::int64_t>{**number, is_typed ? From::flag : From::file, {}};
    return std::nullopt;
  }

  bool take_flags() {
    draft_ = read_.draft;
    if (std::any_of(read_.datasets.begin(), read_.datasets.end(), [](const std::string& data) { return has_images(data); }))
      draft_.trains_on_images = Given<bool>{true, From::file, read_.model_place};
    for (auto& error : {take_flag("seq-len", draft_.length, kMostLength), take_flag("batch", draft_.micro_batch, kMostBatch),
                        take_flag("gpus", draft_.gpus, 1 << 20)})
      if (error) return refuse_flag("impossible-run", *error);
    const bool is_launched = asked_.has("launcher") && draft_.gpus;
    for (const TrainFile::Open& each : read_.open)
      if (each.flag.empty() || !(asked_.has(each.flag) || (each.flag == "gpus" && is_launched)))
        return refuse("not-modelled", each.error);
    if (read_.unmodelled_experts && setup_->model().experts) return refuse("not-modelled", *read_.unmodelled_experts);
    if (const auto& pattern = read_.target_pattern) {
      const Model& model = setup_->model();
      auto names = modules_matching(pattern->value, model, model.vision && draft::loads_tower(read_.trainer));
      if (!names) {
        Error error = names.error();
        error.where = where(out_.file, pattern->place);
        return refuse(rule_of(error), std::move(error), pattern->place);
      }
      draft_.lora_targets = Given<std::vector<std::string>>{*std::move(names), From::file, pattern->place};
    }
    if (draft_.length) draft_.is_unbounded.reset();
    const auto& gpu = subject_->gpu;
    if (gpu && gpu->count > 1 && !draft_.gpus) draft_.gpus = Given<std::int64_t>{gpu->count, From::flag};
    return true;
  }

  /// How the checkpoint is stored goes before what the file asks for.
  bool take_stored_form() {
    if (!stored_) return true;
    if (is_unpacked()) {
      if (draft_.quantization) draft_.method = Given<Method>{Method::lora, From::file, read_.model_place};
      draft_.quantization.reset(), draft_.double_quantizes.reset();
      return true;
    }
    if (!stored_->quantization)
      return refuse("not-modelled",
                    {Error::Kind::unknown, "a base stored in " + std::string(stored_->how) + " is not modelled", at_model(),
                     "name the plain checkpoint"},
                    read_.model_place);
    draft_.quantization = Given<Quantization>{*stored_->quantization, From::file, read_.model_place};
    if (!draft_.method || draft_.method->value == Method::lora)
      draft_.method = Given<Method>{Method::qlora, From::file, read_.model_place};
    return true;
  }

  void fill() {
    draft_.trainer = Given<TrainerRelease>{release_, From::file, {}};
    fill_defaults(release_, setup_->model(), setup_->gpu(), draft_);
    add_default_rules(read_, draft_, setup_->model(), out_.findings);
    out_.draft = draft_;
  }

  bool is_for_one_gpu() {
    if (!is_spread(draft_)) return true;
    std::string words = spread_words(draft_) + (has_several_gpus(draft_) ? " are" : " is") + " not modelled";
    if (const auto alone = planned(*setup_, on_one_gpu(draft_), subject_->allocator)) {
      words += "; on one card alone the same micro-batch " +
               std::string(*alone->fit == Fit::exceeds ? "does not fit: it needs " : "needs ") + text_of_need(*alone) +
               " of " + qwenplan::text(setup_->device.usable->value);
      out_.one_gpu = *alone;
    }
    const Place place = place_of_spread(draft_);
    return refuse("several-gpus", {Error::Kind::unknown, words, where(out_.file, place), "check the run for one GPU"}, place);
  }

  bool validate() {
    auto valid = validated(draft_, setup_->model(), subject_->stack, setup_->gpu());
    if (valid) {
      valid_ = *std::move(valid);
      return true;
    }
    Error error = valid.error();
    const Place place = place_of_flag(error.where, draft_);
    error.where = where(out_.file, place) + ", " + error.where;
    // A rule of the trainer may have told of that line already.
    const bool is_told = place.line > 0 && std::any_of(out_.findings.begin(), out_.findings.end(), [&](const Finding& each) {
      return each.place.line == place.line && each.rule.severity() == Severity::error;
    });
    if (!is_told || error.kind != Error::Kind::wrong) return refuse(rule_of(error), std::move(error), place);
    out_.error = std::move(error);
    return false;
  }

  /// Files whose runs are equal share one estimate.
  bool estimate() {
    Estimates& estimates = *checker_.estimates_;
    std::string key = out_.model;
    for (const Input& input : subject_->inputs) key += '\n' + input.name + ' ' + to_json(input.value);
    known_ = estimates.find(key, valid_->run);
    if (known_) return true;
    const bool has_time = subject_->gpu && !not_timed(valid_->run);
    StepWork work;
    const auto plan =
        planned(*setup_, draft_, subject_->allocator, Bytes(Saturating::kMax), has_time ? &work : nullptr);
    if (!plan) return refuse(rule_of(plan.error()), plan.error());
    Estimates::Entry entry{plan->valid.run, *plan, {}, {}, {}};
    if (has_time) {
      auto workload = estimates.workloads.find(out_.model);
      if (workload == estimates.workloads.end())
        workload = estimates.workloads.emplace(out_.model, one_epoch(asked_, setup_->model())).first;
      if (!workload->second) return refuse("unreadable-file", workload->second.error());
      if (auto time = job_time(*setup_, valid_->run, *workload->second, checker_.calibration_, &work)) {
        entry.time = std::move(*time);
        entry.time->timing.work = {};
      }
    }
    entry.advice = advised(*setup_, *plan, 1);  // a finding has one fix
    entry.rules = card_rules(*setup_, *plan, subject_->allocator);
    known_ = &estimates.entries.emplace(key, std::move(entry))->second;
    return true;
  }

  /// Where the model's context stands for a length that nobody gave, the need is only a bound.
  bool is_of_known_length() {
    const bool is_bound = read_.trainer == Trainer::ms_swift && draft_.length && draft_.length->from == From::trainer;
    if (!is_bound || *known_->plan.fit == Fit::fits) return true;
    return refuse("not-modelled",
                  {Error::Kind::unknown,
                   "no length is written: the whole context needs " + text_of_need(known_->plan) + " of " +
                       qwenplan::text(setup_->device.usable->value) + ", and shorter samples need less",
                   at_model(), "give the length with --seq-len"},
                  read_.model_place);
  }

  void add_verdict() {
    out_.plan = known_->plan;
    out_.plan->draft = draft_;
    out_.plan->valid = *valid_;
    out_.advice = known_->advice;
    if (known_->time) out_.time = checked_time(*known_->time, read_, checker_.epochs_);
    out_.headline = headline(*setup_, *out_.plan).text;
    for (const CardRule& each : known_->rules) out_.findings.push_back(each.finding_in(draft_));
    add_memory_rule(read_.trainer, out_.headline, out_.advice, *out_.plan, out_.findings);
    add_run_rules(out_.trainer, qwenplan::text(release_.version), *out_.plan, setup_->model(), out_.findings);
  }

  Checker& checker_;
  const std::string& file_;
  CheckedFile out_;
  const ProjectFile* project_ = nullptr;
  Invocation asked_;  ///< the flags, and what the project's file says beside them
  std::vector<std::string> ignored_rules_;
  std::vector<Ignore> ignores_;
  FailOn fail_on_ = FailOn::error;
  TrainFile read_;
  bool is_launchers_ = false;  ///< what is not modelled, if anything, stands in the launcher's file
  bool is_named_ = false;  ///< the model, by the file or by a flag
  std::optional<StoredForm> stored_;
  TrainerRelease release_;
  std::optional<Subject> subject_;
  std::optional<Setup> setup_;  ///< of the subject
  RunDraft draft_;
  std::optional<ValidRun> valid_;
  const Estimates::Entry* known_ = nullptr;
};

CheckedFile Checker::check(const std::string& file) { return OneFile(*this, file).answer(); }

}  // namespace qwenplan
