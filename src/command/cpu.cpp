#include <cstdint>
#include <string>
#include <utility>

#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "probe/topology.hpp"
#include "qwenplan/estimate/threads.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr const char* kSchema = "qwenplan.cpu/1";
constexpr std::int64_t kMostCpus = 1 << 16;

Result<Answer> as_guide(const Invocation& in) {
  if (in.has("tiers"))
    return guide_table(kSchema, guide::kCpuTiers, {guide::GuideSystem::cpu_tiers});
  const auto logical = in.whole("logical-cpus", 1, kMostCpus);
  if (!logical) return logical.error();
  const auto batch = in.whole("batch", 1, std::int64_t{1} << 30);
  if (!batch) return batch.error();
  const std::int64_t count = *logical ? **logical : probe_cpu().online;
  std::vector<std::pair<std::string, Value>> results = {
      {"optimize_torch_settings", guide_value(guide::optimize_torch_settings(count))},
      {"set_environment_variables", guide_value(guide::set_environment_variables(count))}};
  if (*batch)
    results.emplace_back("optimize_dataloader_workers",
                         guide_value(guide::optimize_dataloader_workers(count, **batch)));
  Answer answer = guide_answer(kSchema, std::move(results), {guide::GuideSystem::cpu_settings});
  answer.inputs.push_back({"logical_cpus", Value(count), *logical ? "flag" : "default"});
  if (*batch) answer.inputs.push_back({"batch", Value(**batch), "flag"});
  return answer;
}

Answer tiers() {
  Answer answer;
  answer.schema = kSchema;
  Value rows = Value::list();
  Table table{{{"tier"}, {"cores", Column::Align::right}, {"such as"}, {"enough for"}}, {}};
  for (const CpuTier& tier : kCpuTiers) {
    rows.push(Value::object({{"tier", tier.name},
                             {"physical_cores_from", tier.cores},
                             {"examples", tier.examples},
                             {"use", tier.use}}));
    table.rows.push_back({std::string(tier.name), std::to_string(tier.cores) + "+",
                          std::string(tier.examples), std::string(tier.use)});
  }
  answer.json.set("tiers", rows);
  answer.rows = std::move(rows);
  answer.add(
      Headline{"processors by physical cores; a GPU's training step needs one, its data a few"});
  answer.add(std::move(table));
  return answer;
}

/// "8 cores (16 threads)", "8 + 4 cores (20 threads)".
std::string cores_in_words(const Cpu& cpu) {
  const std::string cores =
      cpu.is_hybrid() ? std::to_string(cpu.performance.physical) + " fast + " +
                            std::to_string(cpu.efficiency.physical) + " slow cores"
                      : std::to_string(cpu.physical()) + (cpu.physical() == 1 ? " core" : " cores");
  return cores + " (" + std::to_string(cpu.logical()) +
         (cpu.logical() == 1 ? " thread)" : " threads)");
}

}  // namespace

Result<Answer> cpu(const Invocation& in) {
  if (in.uses_guide) return as_guide(in);
  if (in.has("tiers")) return tiers();
  const auto logical = in.whole("logical-cpus", 1, kMostCpus);
  if (!logical) return logical.error();
  const auto given_processes = in.whole("processes", 1, 1024);
  if (!given_processes) return given_processes.error();
  const std::int64_t processes = given_processes->value_or(1);
  const Cpu machine = *logical ? cpu_of(**logical) : probe_cpu();
  if (machine.logical() < 1)
    return Error{Error::Kind::unknown, "this machine does not say what processors it has",
                 "/sys/devices/system/cpu", "give their number with --logical-cpus"};

  const ThreadPlan plan = plan_threads(machine, processes);
  const CpuTier* tier = tier_of(machine.physical());
  const std::string threads = std::to_string(plan.threads);
  // Tokenizing in a forked worker must not start threads of its own.
  const std::pair<const char*, std::string> environment[] = {
      {"OMP_NUM_THREADS", threads},
      {"MKL_NUM_THREADS", threads},
      {"NUMEXPR_NUM_THREADS", threads},
      {"TOKENIZERS_PARALLELISM", plan.workers > 0 ? "false" : "true"}};

  Answer answer;
  answer.schema = kSchema;
  answer.inputs.push_back(
      {"logical_cpus", Value(machine.logical()), *logical ? "flag" : "default"});
  answer.inputs.push_back({"processes", Value(processes), *given_processes ? "flag" : "default"});
  answer.json.set("cpu",
                  Value::object({{"name", machine.name.empty() ? Value() : Value(machine.name)},
                                 {"online_cpus", machine.online},
                                 {"allowed_cpus", machine.logical()},
                                 {"physical_cores", machine.physical()},
                                 {"performance_cores", machine.performance.physical},
                                 {"efficiency_cores", machine.efficiency.physical},
                                 {"packages", machine.packages},
                                 {"quota_cpus", machine.quota},
                                 {"evidence", machine.has_topology ? "exact" : "assumed"}}));
  answer.json.set("tier", tier ? Value(tier->name) : Value());
  answer.json.set("torch_threads", plan.threads);
  answer.json.set("interop_threads", plan.interop_threads);
  answer.json.set("dataloader_workers", plan.workers);
  Value& variables = answer.json.set("environment", Value::object());
  std::string lines;
  for (const auto& [name, value] : environment) {
    variables.set(name, value);
    lines += std::string("export ") + name + "=" + value + "\n";
  }
  answer.json.set("python", Value::list({"torch.set_num_threads(" + threads + ")",
                                         "torch.set_num_interop_threads(" +
                                             std::to_string(plan.interop_threads) + ")"}));

  if (!machine.has_topology)
    answer.notes.push_back(
        "two threads to a core are assumed; without simultaneous multithreading it is one");
  if (machine.quota && *machine.quota < static_cast<double>(machine.logical()))
    answer.notes.push_back("a control group grants " + plain(*machine.quota) + " CPUs of time");
  if (machine.logical() < machine.online)
    answer.notes.push_back("this process may run on " + std::to_string(machine.logical()) + " of " +
                           std::to_string(machine.online) + " logical CPUs");
  if (machine.packages > 1)
    answer.notes.push_back(
        "with " + std::to_string(machine.packages) +
        " sockets, bind each process to the one that its GPU is at: numactl --cpunodebind");
  if (in.has("batch"))
    answer.notes.push_back("the batch does not limit the workers: each makes whole batches");

  if (in.has("shell")) answer.raw = lines;
  answer.add(Headline{threads + (plan.threads == 1 ? " thread" : " threads") +
                      (processes > 1 ? " for each process, " : ", ") +
                      std::to_string(plan.workers) +
                      (plan.workers == 1 ? " data worker" : " data workers")});
  Table table{{{""}, {""}}, {}};
  table.rows.push_back(
      {"processor", (machine.name.empty() ? "" : machine.name + ", ") + cores_in_words(machine)});
  table.rows.push_back({"tier", tier ? std::string(tier->name) + ": " + std::string(tier->use)
                                     : "below 6 cores: tokenize ahead, not while training"});
  table.rows.push_back({"torch.set_num_threads", threads});
  table.rows.push_back({"torch.set_num_interop_threads", std::to_string(plan.interop_threads)});
  table.rows.push_back({"DataLoader(num_workers=)", std::to_string(plan.workers)});
  answer.add(std::move(table));
  answer.add(Verbatim{lines.substr(0, lines.size() - 1)});
  answer.add(Paragraph{"eval \"$(qwenplan cpu --shell)\" sets them in a shell", Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
