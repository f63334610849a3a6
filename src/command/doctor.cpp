#include <string>
#include <utility>

#include "command/command.hpp"
#include "probe/host.hpp"
#include "probe/nvml.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {

Result<Answer> doctor(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const Host host = probe_host();
  const auto driver = probe_driver();

  Answer answer;
  answer.schema = "qwenplan.doctor/1";
  answer.data_as_of = tables->as_of();
  Table table{{{""}, {""}}, {}};
  const auto row = [&](std::string what, std::string value) {
    table.rows.push_back({std::move(what), std::move(value)});
  };

  Value gpus = Value::list();
  if (driver) {
    row("driver", driver->version.empty() ? "there, of unknown version" : driver->version);
    for (const LiveGpu& gpu : driver->gpus) {
      const auto found = tables->gpu(gpu.name, gpu.total);
      const std::string known = found ? found->gpu.id : "not in the table";
      row("GPU " + std::to_string(gpu.index),
          gpu.name + ", " + text(gpu.total) + ", " + text(gpu.used) + " in use (" + known + ")");
      gpus.push(Value::object({{"index", gpu.index},
                               {"name", gpu.name},
                               {"id", found ? Value(found->gpu.id) : Value()},
                               {"total_bytes", gpu.total},
                               {"used_bytes", gpu.used}}));
      if (!found)
        answer.notes.push_back("the table does not know '" + gpu.name +
                               "': give its nearest kin with --gpu and --vram");
    }
  } else {
    row("GPU", driver.error().what);
  }
  row("CPU",
      (host.cpu.empty() ? "unknown" : host.cpu) +
          (host.logical_cpus > 0 ? ", " + std::to_string(host.logical_cpus) + " logical" : ""));
  row("memory", host.total ? text(*host.total) +
                                 (host.available ? ", " + text(*host.available) + " available" : "")
                           : "unknown");
  row("tables",
      "of " + tables->as_of() +
          (in.data_directory.empty() ? "" : ", with " + in.data_directory + " over them"));

  answer.json.set("driver", driver ? Value(driver->version) : Value());
  answer.json.set("gpus", std::move(gpus));
  answer.json.set(
      "host",
      Value::object({{"cpu", host.cpu.empty() ? Value() : Value(host.cpu)},
                     {"logical_cpus", host.logical_cpus > 0 ? Value(host.logical_cpus) : Value()},
                     {"total_bytes", host.total},
                     {"available_bytes", host.available}}));
  answer.add(driver ? Headline{"this machine can be asked: use --gpu this", Tone::good}
                    : Headline{"this machine shows no NVIDIA GPU; estimates for named GPUs work",
                               Tone::warning});
  answer.add(std::move(table));
  if (!driver) answer.error = driver.error();
  return answer;
}

}  // namespace qwenplan::command
