#include "read/plan_file.hpp"

#include <cstdint>
#include <limits>

#include "read/json_text.hpp"
#include "read/text_file.hpp"

namespace qwenplan {
namespace {

constexpr std::uintmax_t kLargest = 16 << 20;
constexpr std::int64_t kAnySize = std::numeric_limits<std::int64_t>::max();

/// A member that is an object, or an empty one.
const Json& object_at(const Json& json, const char* key) {
  static const Json kNone = Json::object();
  const auto found = json.find(key);
  return found != json.end() && found->is_object() ? *found : kNone;
}

std::optional<RunSetting::Value> setting(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  return std::nullopt;
}

}  // namespace

Result<PlanFile> read_plan(const std::string& path) {
  const auto text = read_text_file(path, kLargest);
  if (!text) return text.error();
  const auto json = parse_json(*text, path);
  if (!json) return json.error();
  const Error no_plan{Error::Kind::wrong, "this is not the answer of 'qwenplan vram --json'", path,
                      "make it with: qwenplan vram --model 7b --gpu rtx3060 --method qlora --json"};
  if (!json->is_object()) return no_plan;
  Fields whole(*json, path);
  if (whole.text("schema") != "qwenplan.vram/1") return no_plan;

  PlanFile plan;
  std::optional<Error> error;
  const Json& verdict = object_at(*json, "verdict");
  const auto range = [&](const char* key) {
    Fields fields(object_at(verdict, key), path, std::string("/verdict/") + key);
    Range<Bytes> read;
    for (const auto& [end, bytes] :
         {std::pair{"low", &read.low}, {"likely", &read.likely}, {"high", &read.high}}) {
      const auto size = fields.whole(end, 0, kAnySize);
      if (size) *bytes = Bytes(*size);
      else fields.expected(end, "a size in bytes");
    }
    if (!error) error = fields.error();
    return read;
  };
  plan.allocated = range("allocated_bytes");
  plan.reserved = range("reserved_bytes");
  plan.device = range("device_bytes");
  if (error) return *error;

  const auto timeline = json->find("timeline");
  if (timeline == json->end() || !timeline->is_array() || timeline->empty()) return no_plan;
  for (std::size_t i = 0; i < timeline->size(); ++i) {
    if (!(*timeline)[i].is_object()) return no_plan;
    Fields fields((*timeline)[i], path, "/timeline/" + std::to_string(i));
    const auto phase = fields.text("phase");
    const auto step = fields.whole("step", 0, 2);
    const auto size = fields.whole("allocated_bytes", 0, kAnySize);
    if (!phase) fields.expected("phase", "the name of a phase");
    if (!size) fields.expected("allocated_bytes", "a size in bytes");
    if (fields.error()) return *fields.error();
    plan.timeline.push_back({*phase, static_cast<int>(step.value_or(0)), Bytes(*size)});
  }
  for (const auto& [name, input] : object_at(*json, "inputs").items())
    if (input.is_object() && input.contains("value"))
      if (auto value = setting(input["value"])) plan.inputs.emplace_back(name, std::move(*value));
  return plan;
}

}  // namespace qwenplan
