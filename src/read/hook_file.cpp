#include "read/hook_file.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "read/json_text.hpp"
#include "read/text_file.hpp"

namespace qwenplan {
namespace {

constexpr std::uintmax_t kLargest = 256 << 20;

template <class T>
void take_larger(std::optional<T>& known, const std::optional<T>& now) {
  if (now && (!known || *known < *now)) known = now;
}

}  // namespace

Result<HookFile> read_hook(const std::string& path) {
  const auto text = read_text_file(path, kLargest);
  if (!text) return text.error();
  HookFile hook;
  std::vector<MeasuredPhase>& phases = hook.phases;
  for (std::string_view rest = *text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const auto json = parse_json(rest.substr(0, end), path);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!json || !json->is_object()) continue;
    Fields fields(*json, path);
    constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
    const auto size = [&](const char* key) {
      const auto bytes = fields.whole(key, 0, kAny);
      return bytes ? std::optional(Bytes(*bytes)) : std::nullopt;
    };
    if (const auto software = json->find("software"); software != json->end() && software->is_object()) {
      hook.software.clear();
      for (const auto& [name, version] : software->items())
        if (version.is_string()) hook.software.emplace_back(name, version.get<std::string>());
      continue;
    }
    const auto seconds = json->find("seconds");
    const bool has_seconds = seconds != json->end() && seconds->is_number();
    if (const auto steps = fields.whole("steps", 1, kAny); steps && has_seconds) {
      hook.seconds_per_step = seconds->get<double>() / static_cast<double>(*steps);
      continue;
    }
    MeasuredPhase line;
    const auto step = fields.whole("step", 0, kAny);
    line.phase = fields.text("phase").value_or("");
    line.allocated = size("allocated_bytes");
    line.reserved = size("reserved_bytes");
    if (has_seconds) line.seconds = seconds->get<double>();
    if (line.phase.empty() || !step || fields.error()) continue;
    if (*step > 0) line.step = static_cast<int>(std::min<std::int64_t>(*step, 2));

    const auto same = std::find_if(phases.begin(), phases.end(), [&](const MeasuredPhase& phase) {
      return phase.phase == line.phase && phase.step == line.step;
    });
    if (same == phases.end()) {
      phases.push_back(std::move(line));
      continue;
    }
    take_larger(same->allocated, line.allocated);
    take_larger(same->reserved, line.reserved);
    take_larger(same->seconds, line.seconds);
  }
  return hook;
}

}  // namespace qwenplan
