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
#include "qwenplan/base/parse.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "read/text_file.hpp"
#include "read/trainer/document.hpp"
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

/// A model as a file names it: the Hub's name, a folder with a config.json, or a folder that is
/// called like a model. ModelScope writes dots as "___"; a cache has models--OWNER--NAME.
Result<FoundModel> model_of(const Tables& tables, const std::string& written) {
  auto found = tables.model(written);
  if (found) return found;
  std::string path = written;
  if (const std::size_t at = path.rfind("/snapshots/"); at != std::string::npos) path.resize(at);
  while (!path.empty() && path.back() == '/') path.pop_back();
  std::string last = path.substr(path.find_last_of('/') + 1);
  if (last.starts_with("models--")) last = last.substr(last.rfind("--") + 2);
  for (std::size_t at; (at = last.find("___")) != std::string::npos;) last.replace(at, 3, ".");
  // What is behind these says how it is stored, not what it is.
  const std::string lower = lowered(last);
  for (const std::string_view ending :
       {"-unsloth-bnb-4bit", "-bnb-4bit", "-gptq-int4", "-gptq-int8", "-gptq", "-awq-int4", "-awq",
        "-fp8-dynamic", "-fp8", "-fp16", "-bf16"})
    if (lower.ends_with(ending)) {
      last.resize(last.size() - ending.size());
      break;
    }
  if (last.empty() || last == written) return found;
  auto again = tables.model(last);
  return again && !again->is_file ? again : found;
}

/// How a checkpoint is stored, as its name says.
struct Stored {
  std::string_view how;
  std::optional<Quantization> quantization;  ///< none: no such base is modelled
  bool is_float = false;                     ///< in a form that transformers can unpack to 16 bits
};
std::optional<Stored> stored_quantized(const std::string& model) {
  const std::string lower = lowered(model);
  const auto has = [&](std::string_view part) { return lower.find(part) != std::string::npos; };
  if (has("gptq") && has("int8")) return Stored{"GPTQ's 8 bits", std::nullopt};
  if (has("gptq")) return Stored{"GPTQ", Quantization::gptq_int4};
  if (has("-awq")) return Stored{"AWQ", Quantization::awq_int4};
  if (has("-unsloth-bnb-4bit")) return Stored{"bitsandbytes' 4 bits in part", std::nullopt};
  if (has("bnb-4bit")) return Stored{"bitsandbytes' 4 bits", Quantization::nf4};
  if (has("-fp8")) return Stored{"fp8", std::nullopt, !has("dynamic")};
  if (has("mxfp4") || has("gpt-oss")) return Stored{"mxfp4", std::nullopt, true};
  return std::nullopt;
}

/// A finding that comes from an error, and the error for the report. What is wrong in another file,
/// such as a qwenplan.yaml, has its place in the message.
void refuse(CheckedFile& out, RuleId rule, Error error, Place place = {}) {
  const Place told = place_in(error.where);
  const bool is_elsewhere = told.line > 0 && !error.where.starts_with(out.file + ",");
  if (place.line == 0 && !is_elsewhere) place = told;
  out.findings.push_back(
      {rule, is_elsewhere ? error.where + ": " + error.what : error.what, place, error.hint});
  out.error = std::move(error);
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

/// "8 GPUs with ZeRO 3"
bool has_several_gpus(const RunDraft& d) { return d.gpus && d.gpus->value > 1; }

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
    : in_(in), tables_(tables), calibration_(calibration), epochs_(epochs), estimates_(std::make_unique<Estimates>()) {}
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

CheckedFile Checker::check(const std::string& file) {
  CheckedFile out;
  out.file = file == "-" ? "standard input" : file;

  // Flags go before the project's file.
  Invocation asked = in_;
  std::vector<std::string> ignored_rules = in_.values("ignore");
  const auto project = project_for(file);
  const auto place_in_project = [&](Error error) {
    if (!project || !*project) return error;
    for (const auto& [flag, setting] : (*project)->settings_for(file).flags)
      if (error.where.starts_with("--" + flag) && !in_.has(flag))
        error.where = where((*project)->path, setting.place);
    return error;
  };
  FailOn fail_on = FailOn::error;
  std::vector<Ignore> ignores;
  const auto concluded = [&]() -> CheckedFile&& {
    conclude(out, std::move(ignores), ignored_rules, asked.is_strict, fail_on);
    return std::move(out);
  };
  if (!project) return refuse(out, "unreadable-file", project.error()), concluded();
  for (const char* flag : {"gpu", "vram", "vram-in-use", "stack", "alloc-conf", "trainer", "model",
                           "launcher", "seq-len", "batch", "gpus"})
    if (const auto value = in_.value(flag)) out.settings.push_back({flag, Value(*value), "flag"});
  if (*project) {
    ProjectSettings settings = (*project)->settings_for(file);
    for (const auto& [flag, setting] : settings.flags) {
      if (in_.has(flag)) continue;
      asked.given[flag] = {setting.value};
      out.settings.push_back({flag, Value(setting.value), "file"});
    }
    ignored_rules.insert(ignored_rules.end(), settings.ignored_rules.begin(),
                         settings.ignored_rules.end());
    asked.is_strict = in_.is_strict || asked.switched("strict") == true;
  }
  const std::string wanted = asked.value("fail-on").value_or("error");
  constexpr std::pair<std::string_view, FailOn> kFailOn[] = {
      {"note", FailOn::note}, {"warning", FailOn::warning}, {"never", FailOn::never}};
  for (const auto& [word, each] : kFailOn)
    if (wanted == word) fail_on = each;

  const auto text = text_of(file);
  if (!text) return refuse(out, "unreadable-file", text.error()), concluded();
  const auto choice = trainer_choice(asked);
  if (!choice)
    return refuse(out, "unreadable-file", place_in_project(choice.error())), concluded();
  auto read = read_train_file(*text, out.file, OnDisk(file == "-" ? "." : file), *choice);
  if (!read) {
    out.is_nobodys = read.error().what.starts_with("no trainer's file") || !names_training(*text);
    return refuse(out, "unreadable-file", read.error()), concluded();
  }
  out.trainer = std::string(qwenplan::name(read->trainer));
  if (choice->trainer) out.trainer_from = From::flag;
  if (!choice->version.empty()) out.version_from = From::flag;
  out.findings = std::move(read->findings);
  ignores = ignores_of(*text, out.findings);
  out.draft = read->draft;
  if (!read->other_purpose.empty())
    return refuse(out, "not-a-training-file",
                  {Error::Kind::unknown, "no training: the file " + read->other_purpose, out.file,
                   "give the file of a training run"}),
           concluded();

  // Where a value cannot be read, there is no telling what the trainer would take.
  for (const Finding& finding : out.findings)
    if (finding.rule == "invalid-value" || finding.rule == "torchtune/missing-key") {
      out.error = Error{Error::Kind::wrong, finding.message, where(out.file, finding.place),
                        finding.fix.empty() ? "correct the value" : finding.fix};
      return concluded();
    }
  if (const auto launcher = asked.value("launcher"))
    if (auto error = add_launcher(*launcher, *read))
      return refuse(out, "unreadable-file", *std::move(error)), concluded();

  std::string model = asked.value("model").value_or(read->model);
  const auto stored = asked.has("model") ? std::nullopt : stored_quantized(read->model);
  if (!model.empty()) {
    auto found = model_of(tables_, model);
    if (!found) {
      // Why there is no estimate at all counts more than that no model is known.
      if (read->unmodelled)
        return refuse(out, "not-modelled", *read->unmodelled), concluded();
      Error error = found.error();
      if (asked.has("model"))
        return refuse(out, "impossible-run", place_in_project(std::move(error))), concluded();
      error.kind = Error::Kind::unknown;
      if (read->has_tower || has_tower(model)) {
        error.what = "'" + model.substr(0, 200) + "' is a model with a vision or audio tower, which is not modelled";
        error.where = where(out.file, read->model_place);
        error.hint = "modelled: causal language models";
        return refuse(out, "not-modelled", std::move(error), read->model_place), concluded();
      }
      error.what = "unknown model '" + model.substr(0, 200) + "'";
      error.where = where(out.file, read->model_place);
      error.hint = "name its shape with --model, such as a config.json or its kin";
      return refuse(out, "unknown-model", std::move(error), read->model_place), concluded();
    }
    if (!found->is_file) model = found->asked;
    asked.given["model"] = {model};
  }
  const bool is_unpacked = stored && stored->is_float && read->unpacks_stored;
  if (stored)
    out.findings.push_back({"quantized-checkpoint",
                            "'" + read->model.substr(0, 100) + "' is stored in " +
                                std::string(stored->how) +
                                (is_unpacked ? ", which " + out.trainer + " unpacks to 16 bits" : "") +
                                (read->draft.quantization ? ", and the file's own quantization is ignored"
                                 : is_unpacked            ? ""
                                                          : ", although the file asks for none"),
                            read->draft.quantization ? read->draft.quantization->place : read->model_place,
                            "name the plain checkpoint"});
  if (read->unmodelled) return refuse(out, "not-modelled", *read->unmodelled), concluded();
  const TrainerRelease release{
      read->trainer, version_of(read->version).value_or(latest_version(read->trainer))};
  asked.given["trainer"] = {std::string(qwenplan::name(release.trainer)) + "@" +
                            qwenplan::text(release.version)};
  const auto subject = read_subject(asked, tables_);
  if (!subject)
    return refuse(out, model.empty() ? RuleId("unknown-model") : rule_of(subject.error()),
                  place_in_project(subject.error())),
           concluded();
  out.model = subject->model.model.id;
  if (auto error = not_emulated(*subject))
    return refuse(out, rule_of(*error), std::move(*error), read->model_place), concluded();
  const Setup setup = setup_of(*subject);

  RunDraft draft = read->draft;
  if (std::any_of(read->datasets.begin(), read->datasets.end(), [](const std::string& data) { return has_images(data); }))
    draft.trains_on_images = Given<bool>{true, From::file, read->model_place};
  // A flag goes before the file; what a qwenplan.yaml says is for files that leave it open.
  const auto take_flag = [&](const char* flag, RunDraft::Maybe<std::int64_t>& setting,
                             std::int64_t most) -> std::optional<Error> {
    const auto number = asked.whole(flag, 1, most);
    if (!number) return place_in_project(number.error());
    if (*number && (in_.has(flag) || !setting))
      setting = Given<std::int64_t>{**number, in_.has(flag) ? From::flag : From::file, {}};
    return std::nullopt;
  };
  for (auto& error : {take_flag("seq-len", draft.length, kMostLength),
                      take_flag("batch", draft.micro_batch, kMostBatch),
                      take_flag("gpus", draft.gpus, 1 << 20)})
    if (error) return refuse(out, "impossible-run", *error), concluded();
  const bool is_launched = asked.has("launcher") && draft.gpus;
  for (const TrainFile::Open& each : read->open)
    if (each.flag.empty() || !(asked.has(each.flag) || (each.flag == "gpus" && is_launched)))
      return refuse(out, "not-modelled", each.error, each.place), concluded();
  if (read->unmodelled_experts && setup.model().experts)
    return refuse(out, "not-modelled", *read->unmodelled_experts), concluded();
  if (read->target_pattern) {
    auto names = modules_matching(read->target_pattern->value, setup.model());
    if (!names) return refuse(out, rule_of(names.error()), names.error(), read->target_pattern->place), concluded();
    draft.lora_targets = Given<std::vector<std::string>>{*std::move(names), From::file, read->target_pattern->place};
  }
  if (draft.length) draft.is_unbounded.reset();
  if (subject->gpu && subject->gpu->count > 1 && !draft.gpus)
    draft.gpus = Given<std::int64_t>{subject->gpu->count, From::flag};
  if (stored) {
    if (!stored->quantization && !is_unpacked)
      return refuse(out, "not-modelled",
                    {Error::Kind::unknown,
                     "a base stored in " + std::string(stored->how) + " is not modelled",
                     where(out.file, read->model_place), "name the plain checkpoint"},
                    read->model_place),
             concluded();
    if (is_unpacked) {
      if (draft.quantization) draft.method = Given<Method>{Method::lora, From::file, read->model_place};
      draft.quantization.reset(), draft.double_quantizes.reset();
    } else {
      draft.quantization = Given<Quantization>{*stored->quantization, From::file, read->model_place};
      if (!draft.method || draft.method->value == Method::lora)
        draft.method = Given<Method>{Method::qlora, From::file, read->model_place};
    }
  }
  draft.trainer = Given<TrainerRelease>{release, From::file, {}};
  fill_defaults(release, setup.model(), setup.gpu(), draft);
  add_default_rules(*read, draft, setup.model(), out.findings);
  out.draft = draft;

  if (is_spread(draft)) {
    const auto alone = planned(setup, on_one_gpu(draft), subject->allocator);
    const std::string spread = spread_words(draft);
    std::string words = spread + (has_several_gpus(draft) ? " are" : " is") + " not modelled";
    if (alone) {
      words += "; on one card alone the same micro-batch " +
               std::string(*alone->fit == Fit::exceeds ? "does not fit: it needs " : "needs ") +
               text_of_need(*alone) + " of " + qwenplan::text(setup.device.usable->value);
      out.one_gpu = *alone;
    }
    Error error{Error::Kind::unknown, words, where(out.file, place_of_spread(draft)),
                "check the run for one GPU"};
    return refuse(out, "several-gpus", std::move(error), place_of_spread(draft)), concluded();
  }

  const auto valid = validated(draft, setup.model(), subject->stack, setup.gpu());
  if (!valid) {
    Error error = valid.error();
    const Place place = place_of_flag(error.where, draft);
    error.where = where(out.file, place) + ", " + error.where;
    // A rule of the trainer may have told of that line already.
    const bool is_told = place.line > 0 && std::any_of(out.findings.begin(), out.findings.end(), [&](const Finding& each) {
      return each.place.line == place.line && each.rule.severity() == Severity::error;
    });
    if (is_told && error.kind == Error::Kind::wrong) {
      out.error = std::move(error);
      return concluded();
    }
    return refuse(out, rule_of(error), std::move(error), place), concluded();
  }
  std::string key = out.model;
  for (const Input& input : subject->inputs) key += '\n' + input.name + ' ' + to_json(input.value);
  const Estimates::Entry* known = estimates_->find(key, valid->run);
  if (!known) {
    const bool has_time = subject->gpu && !not_timed(valid->run);
    StepWork work;
    auto plan = planned(setup, draft, subject->allocator, Bytes(Saturating::kMax), has_time ? &work : nullptr);
    if (!plan) return refuse(out, rule_of(plan.error()), plan.error()), concluded();
    Estimates::Entry entry{plan->valid.run, *plan, {}, {}, {}};
    if (has_time) {
      auto workload = estimates_->workloads.find(out.model);
      if (workload == estimates_->workloads.end())
        workload = estimates_->workloads.emplace(out.model, one_epoch(asked, setup.model())).first;
      if (!workload->second) return refuse(out, "unreadable-file", workload->second.error()), concluded();
      if (auto time = job_time(setup, valid->run, *workload->second, calibration_, &work)) {
        entry.time = std::move(*time);
        entry.time->timing.work = {};
      }
    }
    entry.advice = advised(setup, *plan, 1);  // a finding has one fix
    entry.rules = card_rules(setup, *plan, subject->allocator);
    known = &estimates_->entries.emplace(key, std::move(entry))->second;
  }
  // Where the model's context stands for a length that nobody gave, the need is only a bound.
  const bool is_bound = read->trainer == Trainer::ms_swift && draft.length && draft.length->from == From::trainer;
  if (is_bound && *known->plan.fit != Fit::fits)
    return refuse(out, "not-modelled",
                  {Error::Kind::unknown,
                   "no length is written: the whole context needs " + text_of_need(known->plan) + " of " +
                       qwenplan::text(setup.device.usable->value) + ", and shorter samples need less",
                   where(out.file, read->model_place), "give the length with --seq-len"},
                  read->model_place),
           concluded();
  out.plan = known->plan;
  out.plan->draft = draft;
  out.plan->valid = *valid;
  out.advice = known->advice;
  if (known->time) out.time = checked_time(*known->time, *read, epochs_);
  out.headline = headline(setup, *out.plan).text;
  for (const CardRule& each : known->rules)
    out.findings.push_back(each.finding_in(draft));
  add_memory_rule(out.headline, out.advice, *out.plan, out.findings);
  add_run_rules(out.trainer, read->version, *out.plan, setup.model(), out.findings);
  return concluded();
}

}  // namespace qwenplan
