#include "read/measurement.hpp"

#include <cmath>
#include <cstdint>
#include <limits>

#include "read/json_text.hpp"
#include "read/text_file.hpp"

namespace qwenplan {
namespace {

constexpr std::uintmax_t kLargest = 16 << 20;
constexpr std::int64_t kAnySize = std::numeric_limits<std::int64_t>::max();

/// One object of the file; one that is missing or null has no members.
class Part {
 public:
  Part(const Json& object, const std::string& path, const std::string& pointer)
      : object_(object), fields_(object, path, pointer) {}

  std::optional<Bytes> size(const char* key) {
    const auto bytes = fields_.whole(key, 0, kAnySize);
    return bytes ? std::optional(Bytes(*bytes)) : std::nullopt;
  }
  /// A duration or a rate: finite and not negative.
  std::optional<double> number(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) return std::nullopt;
    if (found->is_number())
      if (const double number = found->get<double>(); std::isfinite(number) && number >= 0)
        return number;
    fields_.expected(key, "a number that is not negative");
    return std::nullopt;
  }
  Fields& fields() { return fields_; }

 private:
  const Json& object_;
  Fields fields_;
};

/// The object under a key; an empty one where it is missing or null, none where it is not one.
const Json* object_at(const Json& json, const char* key) {
  static const Json kNone = Json::object();
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return &kNone;
  return found->is_object() ? &*found : nullptr;
}

}  // namespace

Result<Measurement> read_measurement(const std::string& path) {
  const auto text = read_text_file(path, kLargest);
  if (!text) return text.error();
  const auto json = parse_json(*text, path);
  if (!json) return json.error();
  const auto wrong = [&](std::string what) {
    return Error{Error::Kind::wrong, std::move(what), path,
                 "a measurement is written by 'qwenplan monitor --record FILE -- CMD', or by the script of "
                 "'qwenplan bench --script'"};
  };
  if (!json->is_object()) return wrong("this is not a measurement");
  Part whole(*json, path, "");
  const auto schema = whole.fields().text("schema");
  if (schema != kMeasurementSchema)
    return wrong("this is not a measurement: its schema is " +
                 (schema ? "'" + *schema + "'" : std::string("not named")));

  Measurement m;
  m.source = whole.fields().text("source").value_or("");
  m.day = whole.fields().text("day").value_or("");
  m.status = whole.fields().text("status").value_or("ok");
  if (m.status != "ok" && m.status != "oom" && m.status != "failed")
    whole.fields().expected("status", "ok, oom or failed");
  m.seconds = whole.number("seconds");
  m.seconds_per_step = whole.number("seconds_per_step");
  if (whole.fields().error()) return *whole.fields().error();

  for (const char* key : {"run", "gpu", "software", "peaks", "tokens_per_second"})
    if (!object_at(*json, key)) return wrong(std::string("/") + key + " is no object");
  for (const auto& [name, value] : object_at(*json, "run")->items()) {
    if (value.is_boolean()) m.run.emplace_back(name, value.get<bool>());
    else if (value.is_number_integer()) m.run.emplace_back(name, value.get<std::int64_t>());
    else if (value.is_number_float()) m.run.emplace_back(name, value.get<double>());
    else if (value.is_string()) m.run.emplace_back(name, value.get<std::string>());
    else if (!value.is_null()) return wrong("/run/" + name + " is neither a number, a text nor a truth");
  }
  for (const auto& [name, value] : object_at(*json, "software")->items())
    if (value.is_string()) m.software.emplace_back(name, value.get<std::string>());
  Part gpu(*object_at(*json, "gpu"), path, "/gpu");
  m.gpu = gpu.fields().text("name");
  m.gpu_total = gpu.size("total_bytes");
  Part peaks(*object_at(*json, "peaks"), path, "/peaks");
  m.allocated = peaks.size("allocated_bytes");
  m.reserved = peaks.size("reserved_bytes");
  m.device = peaks.size("device_bytes");
  m.host_resident = peaks.size("host_resident_bytes");
  m.host_proportional = peaks.size("host_proportional_bytes");
  Part rates(*object_at(*json, "tokens_per_second"), path, "/tokens_per_second");
  m.training_rate = rates.number("training");
  m.inference_rate = rates.number("inference");
  for (Part* part : {&gpu, &peaks, &rates})
    if (part->fields().error()) return *part->fields().error();

  if (const auto phases = json->find("phases"); phases != json->end() && !phases->is_null()) {
    if (!phases->is_array()) return wrong("/phases is no list");
    for (std::size_t i = 0; i < phases->size(); ++i) {
      const std::string pointer = "/phases/" + std::to_string(i);
      if (!(*phases)[i].is_object()) return wrong(pointer + " is no object");
      Part part((*phases)[i], path, pointer);
      MeasuredPhase phase;
      if (const auto name = part.fields().text("phase")) phase.phase = *name;
      else part.fields().expected("phase", "the name of a phase");
      if (const auto step = part.fields().whole("step", 0, std::numeric_limits<int>::max()))
        phase.step = static_cast<int>(*step);
      phase.allocated = part.size("allocated_bytes");
      phase.reserved = part.size("reserved_bytes");
      phase.device = part.size("device_bytes");
      phase.seconds = part.number("seconds");
      if (part.fields().error()) return *part.fields().error();
      m.phases.push_back(std::move(phase));
    }
  }
  return m;
}

}  // namespace qwenplan
