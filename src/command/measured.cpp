#include "command/measured.hpp"

#include <variant>

namespace qwenplan {

Value as_value(const RunSetting::Value& setting) {
  return std::visit([](const auto& value) { return Value(value); }, setting);
}

Value phases_json(const std::vector<MeasuredPhase>& phases) {
  Value list = Value::list();
  for (const MeasuredPhase& phase : phases)
    list.push(Value::object({{"phase", phase.phase},
                             {"step", phase.step},
                             {"allocated_bytes", phase.allocated},
                             {"reserved_bytes", phase.reserved},
                             {"device_bytes", phase.device},
                             {"seconds", phase.seconds}}));
  return list;
}

Value as_json(const Measurement& m) {
  Value json = Value::object({{"schema", kMeasurementSchema}, {"source", m.source}, {"day", m.day}});
  Value& run = json.set("run", Value::object());
  for (const auto& [name, value] : m.run) run.set(name, as_value(value));
  json.set("gpu", m.gpu ? Value::object({{"name", *m.gpu}, {"total_bytes", m.gpu_total}}) : Value());
  Value& software = json.set("software", Value::object());
  for (const auto& [name, version] : m.software) software.set(name, version);
  json.set("status", m.status);
  json.set("peaks", Value::object({{"allocated_bytes", m.allocated},
                                   {"reserved_bytes", m.reserved},
                                   {"device_bytes", m.device},
                                   {"host_resident_bytes", m.host_resident},
                                   {"host_proportional_bytes", m.host_proportional}}));
  json.set("phases", phases_json(m.phases));
  json.set("seconds", m.seconds);
  json.set("seconds_per_step", m.seconds_per_step);
  json.set("tokens_per_second",
           Value::object({{"training", m.training_rate}, {"inference", m.inference_rate}}));
  return json;
}

}  // namespace qwenplan
