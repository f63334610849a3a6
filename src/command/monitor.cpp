#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <utility>

#include "cli/flags.hpp"
#include "command/command.hpp"
#include "command/expectation.hpp"
#include "command/measured.hpp"
#include "command/scripts.hpp"
#include "command/watch.hpp"
#include "probe/child.hpp"
#include "probe/new_file.hpp"
#include "read/hook_file.hpp"
#include "render/quantity.hpp"
#include "render/render.hpp"

namespace qwenplan::command {
namespace {

constexpr std::size_t kProcessesShown = 8;
/// A card that is fuller than this will not take one more large tensor.
constexpr double kNearlyFull = 0.97;

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

/// A watcher speaks while it watches; all other commands leave that to main. False: nobody listens.
bool say(int stream, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(stream, text.data(), text.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// ---- one reading

Bytes used(const Host& host) {
  return host.total && host.available ? *host.total - *host.available : Bytes();
}

Value host_json(const Host& host) {
  const bool is_known = host.total && host.available;
  return Value::object({{"used_bytes", is_known ? Value(used(host)) : Value()},
                        {"available_bytes", host.available},
                        {"total_bytes", host.total}});
}

const HostProcess* by_id(const std::vector<HostProcess>& processes, unsigned id) {
  for (const HostProcess& process : processes)
    if (process.id == static_cast<pid_t>(id)) return &process;
  return nullptr;
}

Value gpus_json(const GpuWatch& gpus, const std::vector<HostProcess>& programs) {
  Value list = Value::list();
  for (const SeenGpu& seen : gpus.seen()) {
    const LiveGpu& gpu = seen.gpu;
    Value processes = Value::list();
    for (const GpuProcess& process : gpu.processes) {
      const HostProcess* program = by_id(programs, process.id);
      processes.push(
          Value::object({{"pid", process.id},
                         {"name", program ? Value(program->name) : Value()},
                         {"used_bytes", process.used > Bytes() ? Value(process.used) : Value()},
                         {"host_resident_bytes", program ? Value(program->resident) : Value()}}));
    }
    const bool is_known = gpu.total > Bytes();
    list.push(Value::object({{"index", gpu.index},
                             {"name", gpu.name.empty() ? Value() : Value(gpu.name)},
                             {"used_bytes", is_known ? Value(gpu.used) : Value()},
                             {"total_bytes", is_known ? Value(gpu.total) : Value()},
                             {"problem", seen.problem.empty() ? Value() : Value(seen.problem)},
                             {"processes", std::move(processes)}}));
  }
  return list;
}

std::vector<HostProcess> largest(std::vector<HostProcess> programs) {
  std::sort(programs.begin(), programs.end(), [](const HostProcess& a, const HostProcess& b) {
    return a.resident != b.resident ? a.resident > b.resident : a.id < b.id;
  });
  if (programs.size() > kProcessesShown) programs.resize(kProcessesShown);
  return programs;
}

Value programs_json(const std::vector<HostProcess>& programs) {
  Value list = Value::list();
  for (const HostProcess& program : programs)
    list.push(Value::object(
        {{"pid", program.id}, {"name", program.name}, {"resident_bytes", program.resident}}));
  return list;
}

Table gpu_table(const GpuWatch& gpus) {
  using enum Column::Align;
  Table table{{{"GPU"}, {"name"}, {"in use", right}, {"of", right}, {"free", right}, {"programs", right}}, {}};
  for (const SeenGpu& seen : gpus.seen()) {
    const LiveGpu& gpu = seen.gpu;
    if (seen.problem.empty())
      table.rows.push_back({std::to_string(gpu.index), gpu.name, text(gpu.used), text(gpu.total),
                            text(gpu.total - gpu.used), std::to_string(gpu.processes.size())});
    else
      table.rows.push_back({std::to_string(gpu.index), gpu.name, "-", "-", "-", "-"});
  }
  return table;
}

/// GPU and host as they are now: what `--once` answers.
void add_now(GpuWatch& gpus, Answer& answer) {
  const Host host = probe_host();
  const std::vector<HostProcess> programs = all_processes();
  answer.json.set("gpus", gpus_json(gpus, programs));
  answer.json.set("host", host_json(host));
  answer.json.set("programs", programs_json(largest(programs)));
  if (gpus.problem()) {
    const Error& problem = *gpus.problem();
    answer.json.set("gpu_problem", problem.what);
    answer.notes.push_back("no GPU is shown: " + problem.what);
  }
  for (const SeenGpu& gpu : gpus.seen())
    if (!gpu.problem.empty()) answer.notes.push_back(gpu.problem);

  if (host.total && host.available)
    answer.add(Headline{"host: " + text(used(host)) + " of " + text(*host.total) + " in use, " +
                        text(*host.available) + " available"});
  if (!gpus.problem()) answer.add(gpu_table(gpus));
  using enum Column::Align;
  Table on_gpu{{{"GPU"}, {"process", right}, {"name"}, {"on the GPU", right}, {"on the host", right}}, {}};
  for (const SeenGpu& seen : gpus.seen())
    for (const GpuProcess& process : seen.gpu.processes) {
      const HostProcess* program = by_id(programs, process.id);
      on_gpu.rows.push_back({std::to_string(seen.gpu.index), std::to_string(process.id),
                             program ? program->name : "not seen from here",
                             process.used > Bytes() ? text(process.used) : "not told",
                             program ? text(program->resident) : "-"});
    }
  if (!on_gpu.rows.empty()) answer.add(std::move(on_gpu));
  Table on_host{{{"process", right}, {"name"}, {"on the host", right}}, {}};
  for (const HostProcess& program : largest(programs))
    on_host.rows.push_back({std::to_string(program.id), program.name, text(program.resident)});
  if (!on_host.rows.empty()) answer.add(std::move(on_host));
}

/// What a plan needs beside what is free now.
void add_plan_now(const PlanFile& plan, const GpuWatch& gpus, Answer& answer, bool is_strict) {
  Bytes free{};
  for (const SeenGpu& seen : gpus.seen())
    if (seen.problem.empty()) free = std::max(free, seen.gpu.total - seen.gpu.used);
  const bool fits = plan.device.high <= free;
  const bool is_tight = !fits && plan.device.likely <= free;
  answer.json.set("plan", Value::object({{"device_bytes", plan.device},
                                         {"free_bytes", free},
                                         {"fit", fits ? "fits" : is_tight ? "tight" : "exceeds"}}));
  answer.add(Headline{"the plan needs " + text(plan.device) + ", " + text(free) + " is free",
                      fits ? Tone::good : is_tight ? Tone::warning : Tone::bad});
  if (!fits && (!is_tight || is_strict)) answer.status = kNo;
}

// ---- a whole run

/// Says once what goes wrong while the run still lives.
class Warnings {
 public:
  Warnings(const std::optional<PlanFile>& plan, bool is_quiet) : plan_(plan), is_quiet_(is_quiet) {
    if (plan_) stages_ = planned_stages(*plan_);
  }

  void look(const FamilyWatch& watch, const std::vector<SeenGpu>& gpus) {
    for (const SeenGpu& seen : gpus) {
      const LiveGpu& gpu = seen.gpu;
      const std::string name = "GPU " + std::to_string(gpu.index);
      if (!seen.problem.empty()) {
        warn(name + " lost", seen.problem + "; the host is watched further");
      } else if (static_cast<double>(gpu.used.count()) >
                 kNearlyFull * static_cast<double>(gpu.total.count())) {
        warn(name + " full", name + " is nearly full: " + text(gpu.used) + " of " + text(gpu.total));
      }
    }
    if (plan_) foresee(watch, gpus);
  }
  const std::vector<std::string>& all() const { return said_; }
  std::optional<Bytes> foreseen() const { return foreseen_; }

 private:
  /// The load tells how far this run is off its plan; the peak will be off by as much.
  void foresee(const FamilyWatch& watch, const std::vector<SeenGpu>& gpus) {
    const auto gpu = watch.main_gpu();
    if (foreseen_ || !gpu || watch.samples().empty()) return;
    const std::vector<Plateau> plateaus = watch.plateaus(*gpu);
    if (plateaus.empty()) return;
    const Bytes planned = stages_[0].planned.likely;
    const Bytes seen = plateaus.back().level;
    if (seen < Bytes(planned.count() / 2)) return;
    foreseen_ = plan_->device.likely + (seen - planned);
    const LiveGpu& card = gpus[*gpu].gpu;
    const Bytes room = card.total - (card.used - watch.on_gpu(watch.samples().back(), *gpu));
    if (*foreseen_ > room)
      warn("plan", "loaded with " + text(seen) + " (planned: " + text(planned) + "); the run will need about " +
                       text(*foreseen_) + ", and GPU " + std::to_string(card.index) + " has " + text(room) +
                       " for it");
  }
  void warn(const std::string& about, const std::string& what) {
    if (!about_.insert(about).second) return;
    said_.push_back(what);
    if (!is_quiet_) say(STDERR_FILENO, "warning: " + harmless(what) + "\n");
  }

  const std::optional<PlanFile>& plan_;
  bool is_quiet_;
  std::vector<Stage> stages_;
  std::set<std::string> about_;
  std::vector<std::string> said_;
  std::optional<Bytes> foreseen_;
};

/// An empty file that the callback in the watched program writes to; taken away in the end.
class HookChannel {
 public:
  HookChannel() {
    if (std::getenv("QWENPLAN_HOOK_FILE") != nullptr) return;
    std::error_code failed;
    std::string path = (std::filesystem::temp_directory_path(failed) / "qwenplan-hook-XXXXXX").string();
    const int stream = failed ? -1 : mkstemp(path.data());
    if (stream < 0) return;
    close(stream);
    path_ = std::move(path);
  }
  ~HookChannel() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  HookChannel(const HookChannel&) = delete;
  HookChannel& operator=(const HookChannel&) = delete;

  std::vector<std::string> variables() const {
    return path_.empty() ? std::vector<std::string>{} : std::vector{"QWENPLAN_HOOK_FILE=" + path_};
  }
  HookFile read() const {
    if (path_.empty()) return {};
    const auto hook = read_hook(path_);
    return hook ? *hook : HookFile{};
  }

 private:
  std::string path_;
};

/// Settings of the run as flags gave them, for the record.
NamedSettings settings_given(const Invocation& in) {
  NamedSettings settings;
  for (const std::span<const Flag> flags : {subject_flags(), run_flags()})
    for (const Flag& flag : flags) {
      const auto value = in.value(flag.name);
      if (!value) continue;
      const std::string name(flag.name);
      if (flag.kind == Flag::Kind::on_off) settings.emplace_back(name, *value == "on");
      else if (const auto whole = parse_whole(*value, name, 0, INT64_MAX)) settings.emplace_back(name, *whole);
      else settings.emplace_back(name, *value);
    }
  return settings;
}

Value samples_json(const FamilyWatch& watch) {
  Value list = Value::list();
  for (const Sample& sample : watch.samples()) {
    Value::List on_gpus, used_by_all;
    for (std::size_t i = 0; i < sample.used.size(); ++i) {
      on_gpus.emplace_back(watch.on_gpu(sample, i));
      used_by_all.emplace_back(sample.used[i]);
    }
    list.push(Value::object({{"seconds", sample.seconds},
                             {"host_used_bytes", sample.host_used},
                             {"host_resident_bytes", sample.resident},
                             {"host_proportional_bytes", sample.proportional},
                             {"gpu_bytes", Value::list(std::move(on_gpus))},
                             {"gpu_used_bytes", Value::list(std::move(used_by_all))}}));
  }
  return list;
}

template <class T>
std::optional<T> larger(const std::optional<T>& a, const std::optional<T>& b) {
  if (!a || (b && *a < *b)) return b;
  return a;
}

/// What was seen of a run, in the form that can be kept.
Measurement measured(const FamilyWatch& watch, const GpuWatch& gpus, const HookFile& hook, NamedSettings run,
                     std::string day) {
  Measurement m;
  m.source = "monitor";
  m.day = std::move(day);
  m.run = std::move(run);
  m.software = hook.software;
  if (!gpus.driver().empty()) m.software.emplace_back("driver", gpus.driver());
  if (const auto main = watch.main_gpu()) {
    const LiveGpu& gpu = gpus.seen()[*main].gpu;
    m.gpu = gpu.name;
    m.gpu_total = gpu.total;
    m.device = watch.peaks().family[*main] ? *watch.peaks().family[*main]
                                           : watch.peaks().used[*main] - watch.at_start()[*main];
  }
  if (watch.peaks().resident > Bytes()) m.host_resident = watch.peaks().resident;
  m.host_proportional = watch.peaks().proportional;
  m.phases = hook.phases;
  for (const MeasuredPhase& phase : hook.phases) {
    m.allocated = larger(m.allocated, phase.allocated);
    m.reserved = larger(m.reserved, phase.reserved);
  }
  m.seconds = watch.seconds();
  m.seconds_per_step = hook.seconds_per_step;
  return m;
}

/// What became of the GPUs, and of the family's share of them.
void add_gpus(const FamilyWatch& watch, const GpuWatch& gpus, Answer& answer) {
  using enum Column::Align;
  Value& list = answer.json.set("gpus", Value::list());
  Table table{{{"GPU"}, {"name"}, {"the run's peak", right}, {"all programs' peak", right}, {"of", right}}, {}};
  for (std::size_t i = 0; i < gpus.seen().size(); ++i) {
    const SeenGpu& seen = gpus.seen()[i];
    const LiveGpu& gpu = seen.gpu;
    const std::optional<Bytes>& family = watch.peaks().family[i];
    const Bytes growth = watch.peaks().used[i] - watch.at_start()[i];
    list.push(Value::object({{"index", gpu.index},
                             {"name", gpu.name},
                             {"used_bytes", gpu.used},
                             {"total_bytes", gpu.total},
                             {"peak_used_bytes", watch.peaks().used[i]},
                             {"at_start_bytes", watch.at_start()[i]},
                             {"peak_family_bytes", family ? Value(*family) : growth > Bytes() ? Value() : Value(0)},
                             {"problem", seen.problem.empty() ? Value() : Value(seen.problem)}}));
    table.rows.push_back({std::to_string(gpu.index), gpu.name,
                          family ? text(*family) : growth > Bytes() ? "not told; grew " + text(growth) : "none",
                          text(watch.peaks().used[i]), text(gpu.total)});
    if (!family && growth > Bytes())
      answer.notes.push_back("the driver does not list the run's processes on GPU " + std::to_string(gpu.index) +
                             " (a container, WSL, or another program's memory): what it grew by is taken");
    if (!seen.problem.empty()) answer.notes.push_back(seen.problem);
  }
  if (!table.rows.empty()) answer.add(std::move(table));
  if (gpus.problem()) {
    answer.json.set("gpu_problem", gpus.problem()->what);
    answer.notes.push_back("no GPU was watched: " + gpus.problem()->what);
  }
}

void add_comparison(const PlanFile& plan, const FamilyWatch& watch, const HookFile& hook, Answer& answer) {
  using enum Column::Align;
  const auto gpu = watch.main_gpu();
  const std::vector<Stage> stages = gpu ? seen_stages(plan, watch, *gpu) : planned_stages(plan);
  Value list = Value::list();
  Table table{{{"stage"}, {"planned"}, {"seen", right}, {""}}, {}};
  for (const Stage& stage : stages) {
    std::string verdict;
    if (stage.seen)
      verdict = *stage.seen > stage.planned.high ? "more than planned"
                : *stage.seen < stage.planned.low ? "less than planned"
                                                  : "as planned";
    list.push(Value::object({{"stage", stage.name},
                             {"planned_bytes", stage.planned},
                             {"seen_bytes", stage.seen},
                             {"verdict", verdict.empty() ? Value() : Value(verdict)}}));
    table.rows.push_back({std::string(stage.name), text(stage.planned),
                          stage.seen ? text(*stage.seen) : "not seen", verdict});
  }
  Value& json = answer.json.set("plan", Value::object({{"stages", std::move(list)}}));
  answer.add(std::move(table));
  if (!gpu) answer.notes.push_back("the plan cannot be compared: the run held no GPU memory that could be seen");

  Value pairs = Value::list();
  Table phases{{{"phase"}, {"step", right}, {"tensors planned", right}, {"seen", right}}, {}};
  if (!hook.phases.empty())
    for (const PhasePair& pair : compared(plan, hook.phases)) {
      pairs.push(Value::object({{"phase", pair.phase},
                                {"step", pair.step > 0 ? Value(pair.step) : Value()},
                                {"planned_allocated_bytes", pair.planned},
                                {"seen_allocated_bytes", pair.seen}}));
      phases.rows.push_back({pair.phase, pair.step > 0 ? std::to_string(pair.step) : "", text(pair.planned),
                             pair.seen ? text(*pair.seen) : "not seen"});
    }
  json.set("phases", std::move(pairs));
  if (!phases.rows.empty()) answer.add(std::move(phases));
}

/// Everything that was asked for with a run to watch.
struct Watching {
  std::optional<PlanFile> plan;
  std::optional<NewFile> record;
  NamedSettings run;
  double interval = 1;
};

/// The report of a run that is over; writes the record.
Answer report(const Invocation& in, Watching& asked, const FamilyWatch& watch, const GpuWatch& gpus,
              const HookFile& hook, const std::optional<Ending>& ending, const Warnings& warnings) {
  Answer answer;
  answer.schema = "qwenplan.monitor/1";
  Measurement m = measured(watch, gpus, hook, asked.run, in.environment.today);
  if (ending) {
    if (ending->resident > Bytes()) m.host_resident = larger(m.host_resident, std::optional(ending->resident));
    if (ending->status != 0) m.status = "failed";
    Value words = Value::list();
    for (const std::string& word : in.rest) words.push(word);
    answer.json.set("command", std::move(words));
    answer.json.set("exit_status", ending->status);
    answer.json.set("signal", ending->signal > 0 ? Value(ending->signal) : Value());
  }
  const Host host = probe_host();
  answer.json.set("seconds", m.seconds);
  answer.json.set("readings", static_cast<std::int64_t>(watch.taken()));
  answer.json.set("peaks", Value::object({{"host_used_bytes", watch.peaks().host_used},
                                          {"host_resident_bytes", m.host_resident},
                                          {"host_proportional_bytes", m.host_proportional},
                                          {"gpu_bytes", m.device},
                                          {"allocated_bytes", m.allocated},
                                          {"reserved_bytes", m.reserved}}));
  answer.json.set("host", host_json(host));
  std::string words = ending ? (ending->signal > 0 ? "ended by signal " + std::to_string(ending->signal)
                                                   : "ended with status " + std::to_string(ending->status)) +
                                   " after " + text_duration(*m.seconds) + "; "
                             : "";
  words += "host memory peaked at " +
           (m.host_resident ? text(*m.host_resident) + " (RSS)" : text(watch.peaks().host_used) + " of all programs");
  if (m.host_proportional) words += ", " + text(*m.host_proportional) + " (PSS)";
  if (m.device) words += ", GPU memory at " + text(*m.device);
  answer.add(Headline{words});
  add_gpus(watch, gpus, answer);

  std::vector<HostProcess> programs;
  for (const auto& [id, program] : watch.peaks().programs) programs.push_back(program);
  programs = largest(std::move(programs));
  answer.json.set("programs", programs_json(programs));
  if (programs.size() > 1) {
    Table table{{{"process", Column::Align::right}, {"name"}, {"peak on the host", Column::Align::right}}, {}};
    for (const HostProcess& program : programs)
      table.rows.push_back({std::to_string(program.id), program.name, text(program.resident)});
    answer.add(std::move(table));
  }
  answer.json.set("hook", hook.phases.empty() ? Value() : phases_json(hook.phases));
  if (asked.plan) add_comparison(*asked.plan, watch, hook, answer);
  Value& said = answer.json.set("warnings", Value::list());
  for (const std::string& warning : warnings.all()) said.push(warning);

  if (asked.record) {
    Value json = as_json(m);
    json.set("samples", samples_json(watch));
    const auto written = asked.record->write(to_json(json) + "\n");
    answer.json.set("record", written ? Value(*written) : Value());
    if (written) answer.notes.push_back("recorded in " + *written);
    else answer.notes.push_back("not recorded: " + written.error().what + ": " + asked.record->path());
    if (!written && !ending) answer.error = written.error();
  }
  return answer;
}

Result<Answer> wrapped(const Invocation& in, Watching asked, GpuWatch& gpus) {
  const HookChannel channel;
  const SignalQueue signals;
  FamilyWatch watch(gpus);
  Warnings warnings(asked.plan, in.is_quiet);
  const auto child = Child::start(in.rest, channel.variables());
  if (!child) return child.error();
  std::optional<Ending> ending;
  while (!ending) {
    watch.take(child->id());
    warnings.look(watch, gpus.seen());
    double left = asked.interval;
    for (const double until = watch.seconds() + left; left > 0 && !ending; left = until - watch.seconds()) {
      if (const auto signal = signals.wait(left); signal && signal->number != SIGCHLD && !signal->is_from_terminal)
        child->send(signal->number);
      ending = child->ended();
    }
  }
  Answer answer = report(in, asked, watch, gpus, channel.read(), ending, warnings);
  answer.status = static_cast<ExitStatus>(ending->status);
  return answer;
}

std::string line_of(const Host& host, const GpuWatch& gpus, double seconds) {
  std::string line = fixed(seconds, 1) + " s  host " + text(used(host)) + " of " + text(host.total.value_or(Bytes()));
  for (const SeenGpu& seen : gpus.seen())
    line += "  GPU " + std::to_string(seen.gpu.index) + " " +
            (seen.problem.empty() ? text(seen.gpu.used) + " of " + text(seen.gpu.total) : "does not answer");
  return line + "\n";
}

/// Until it is interrupted, or nobody reads any more.
Result<Answer> live(const Invocation& in, Watching asked, GpuWatch& gpus) {
  const SignalQueue signals;
  std::signal(SIGPIPE, SIG_IGN);
  FamilyWatch watch(gpus);
  Warnings warnings(asked.plan, in.is_quiet);
  for (;;) {
    watch.take(std::nullopt);
    const Host host = probe_host();
    std::string line = line_of(host, gpus, watch.seconds());
    if (in.format == Format::json)
      line = to_json_line(Value::object({{"schema", "qwenplan.monitor/1"},
                                         {"seconds", watch.seconds()},
                                         {"gpus", gpus_json(gpus, all_processes())},
                                         {"host", host_json(host)}})) + "\n";
    if (!in.is_quiet && !say(STDOUT_FILENO, line)) break;
    warnings.look(watch, gpus.seen());
    if (const auto signal = signals.wait(asked.interval); signal && signal->number != SIGCHLD) break;
  }
  return report(in, asked, watch, gpus, {}, std::nullopt, warnings);
}

}  // namespace

Result<Answer> monitor(const Invocation& in) {
  if (in.has("hook")) {
    Answer answer;
    answer.schema = "qwenplan.monitor-hook/1";
    answer.json.set("script", hook_script());
    answer.raw = std::string(hook_script());
    return answer;
  }
  const bool runs = !in.rest.empty();
  if (in.has("once") && runs)
    return wrong("--once takes one reading, and a command is watched until it ends", "--once",
                 "leave out --once, or the command");
  if (in.has("once") && in.has("record"))
    return wrong("there is no run to record in one reading", "--record", "leave out --once");
  const auto interval = in.number("interval", 0.01, 3600);
  if (!interval) return interval.error();
  Watching asked;
  asked.interval = interval->value_or(runs ? 0.1 : 1.0);
  if (const auto path = in.value("plan")) {
    auto plan = read_plan(*path);
    if (!plan) return plan.error();
    asked.plan = std::move(*plan);
  }
  asked.run = settings_given(in);
  if (asked.run.empty() && asked.plan) asked.run = asked.plan->inputs;

  std::optional<unsigned> only;
  const std::string gpu = in.value("gpu").value_or("");
  if (const auto index = parse_whole(gpu, "--gpu", 0, 255)) only = static_cast<unsigned>(*index);
  GpuWatch gpus(only);
  // What was asked for is not passed over; a plan needs a GPU to be compared with.
  if (gpus.problem() && (in.has("gpu") || (asked.plan && !runs))) return *gpus.problem();

  if (const auto path = in.value("record")) {
    auto record = NewFile::create(*path, in.has("force") ? NewFile::Existing::replaced : NewFile::Existing::kept);
    if (!record) return record.error();
    asked.record.emplace(std::move(*record));
  }
  if (runs) return wrapped(in, std::move(asked), gpus);
  if (!in.has("once")) return live(in, std::move(asked), gpus);

  Answer answer;
  answer.schema = "qwenplan.monitor/1";
  add_now(gpus, answer);
  if (asked.plan) add_plan_now(*asked.plan, gpus, answer, in.is_strict);
  return answer;
}

}  // namespace qwenplan::command
