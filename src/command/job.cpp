#include "command/job.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "cli/flags.hpp"
#include "cli/run_flags.hpp"
#include "command/method_plans.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "qwenplan/estimate/host.hpp"
#include "qwenplan/estimate/storage.hpp"

namespace qwenplan {
namespace {

/// The flags without those that name a card: here they choose among the cards instead.
Invocation without_card(const Invocation& in) {
  Invocation job = in;
  for (const char* flag : {"gpu", "gpus", "vram", "vram-in-use"}) job.given.erase(flag);
  return job;
}

Result<CardFit> fit_of(const Job& job, const Gpu& gpu, std::optional<Bytes> memory) {
  Subject subject = job.subject.on(gpu);
  subject.vram = memory;
  if (const auto error = not_emulated(subject)) return *error;
  const Setup setup = setup_of(subject);
  auto methods = method_plans(setup, job.draft);
  if (!methods) return methods.error();
  return CardFit{methods->chosen().plan.fit.value_or(Fit::exceeds), std::move(methods->plans[methods->best])};
}

}  // namespace

std::string Job::words() const {
  std::string text = subject.model.model.id;
  if (draft.method) text += ", " + std::string(name(draft.method->value));
  if (draft.length) text += ", length " + std::to_string(draft.length->value);
  if (draft.micro_batch) text += ", batch " + std::to_string(draft.micro_batch->value);
  return text;
}

std::string CardFit::words() const {
  return name_of(best());
}

bool names_job(const Invocation& in) {
  const auto has = [&](std::span<const Flag> flags) {
    return std::any_of(flags.begin(), flags.end(), [&](const Flag& flag) { return in.has(flag.name); });
  };
  return in.has("model") || has(run_flags()) || has(data_flags()) || has(loop_flags());
}

std::optional<Error> refused(const Invocation& in, std::initializer_list<const char*> flags,
                             const std::string& why) {
  for (const char* flag : flags)
    if (in.has(flag)) return Error{Error::Kind::wrong, why, "--" + std::string(flag), "leave it out"};
  return std::nullopt;
}

Result<Job> read_job(const Invocation& in, const Tables& tables, std::vector<std::string>& assumed) {
  if (auto error = refused(in, {"vram"}, "the cards here have sizes of their own")) return *error;
  Invocation flags = without_card(in);
  if (!in.has("model")) {
    flags.given["model"] = {"qwen2.5-7b"};
    assumed.push_back("the job is Qwen2.5-7B; --model names another");
  }
  Job job;
  auto subject = read_subject(flags, tables);
  if (!subject) return subject.error();
  job.subject = std::move(*subject);
  if (!in.has("model")) job.subject.inputs.front().from = "default";
  if (const auto error = not_emulated(job.subject)) return *error;
  const auto in_use = read_size(in, "vram-in-use", Zero::allowed);
  if (!in_use) return in_use.error();
  if (*in_use) {
    job.subject.in_use = **in_use;
    job.subject.inputs.push_back({"vram_in_use_bytes", Value(**in_use), "flag"});
  }
  auto draft = read_run(flags);
  if (!draft) return draft.error();
  job.draft = std::move(*draft);
  // What is impossible or not modelled on every card is told before any card is asked.
  const auto valid = validated(job.draft, job.subject.model.model, job.subject.stack, nullptr);
  if (!valid) return valid.error();
  return job;
}

const Result<CardFit>& CardFits::on(const Gpu& gpu, std::optional<Bytes> memory) {
  const std::string key = gpu.id + (memory ? "/" + std::to_string(memory->count()) : "");
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  return known_.emplace(key, fit_of(job_, gpu, memory)).first->second;
}

double checkpoint_hours(const Model& model, const Run& run) {
  return static_cast<double>(checkpoint_size(model, run).likely.count()) / kDiskBytesPerSecond / 3600;
}

HostNeed host_need(const Model& model, const Run& run, const Stack& stack) {
  HostOptions options;
  // Whether a paged optimizer's states leave the card depends on the card: at most they all do.
  options.paged = {Bytes(), Bytes(), paged_states(model, run)};
  const HostEstimate host = host_memory(model, run, stack, options);
  HostNeed need;
  need.ram = host.total();
  need.ram_gib = sufficient_ram_gib(need.ram);
  for (const HostStage& stage : host.stages) {
    const Range<Bytes> job = stage.job();
    need.job_ram = {std::max(need.job_ram.low, job.low), std::max(need.job_ram.likely, job.likely),
                    std::max(need.job_ram.high, job.high)};
  }
  need.disk = total(disk_space(model, run, {}));
  return need;
}

Value as_json(const CardFit& fit) {
  return Value::object({{"fit", name(fit.fit)},
                        {"method", name(fit.best().method)},
                        {"rung", fit.best().rung.empty() ? "defaults" : fit.best().rung},
                        {"device_bytes", fit.estimate().device},
                        {"usable_bytes", fit.estimate().on.usable->value}});
}

}  // namespace qwenplan
