#include "read/train_log.hpp"

#include <cmath>

#include "read/json_text.hpp"
#include "read/text_file.hpp"

namespace qwenplan {

Result<std::optional<TrainLog>> read_train_log(const std::string& path) {
  constexpr std::uintmax_t kLargest = 64 << 20;
  const auto text = read_text_file(path, kLargest);
  if (!text) return text.error();
  const auto json = parse_json(*text, path);
  if (!json) return json.error();
  const auto history = json->is_object() ? json->find("log_history") : json->end();
  if (!json->is_object() || history == json->end()) return std::optional<TrainLog>();
  const auto wrong = [&](std::string what) {
    return Error{Error::Kind::wrong, std::move(what), path,
                 "the Trainer writes the run's time when it ends: take the file of a run that ended"};
  };
  if (!history->is_array()) return wrong("/log_history is no list");
  TrainLog log;
  for (const Json& entry : *history) {
    if (!entry.is_object() || !entry.contains("train_runtime")) continue;
    const auto number = [&entry](const char* key) {
      const auto found = entry.find(key);
      return found != entry.end() && found->is_number() ? found->get<double>() : 0.0;
    };
    const double rate = number("train_steps_per_second"), seconds = number("train_runtime"), step = number("step");
    if (!std::isfinite(seconds) || !(seconds > 0) || !std::isfinite(step) || step < 1 || step > 1e12)
      return wrong("the run's time or steps are no numbers above 0");
    // The printed rate is rounded to thousandths.
    log.seconds_per_step = rate > 1 && std::isfinite(rate) ? 1 / rate : seconds / step;
    log.steps = static_cast<std::int64_t>(step);
  }
  if (log.steps == 0) return wrong("the log does not say how long the run took");
  return std::optional(log);
}

}  // namespace qwenplan
