#include "read/calibration.hpp"

#include <optional>
#include <string>
#include <string_view>

#include "read/json_text.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kCard = "gpu-", kHost = "host-";

}  // namespace

Result<Calibration> read_calibration(const Tables& tables) {
  Calibration calibration;
  Efficiency& e = calibration.efficiency;
  for (const std::string& id : tables.ids(Tables::Kind::calibration)) {
    const auto line = tables.row(Tables::Kind::calibration, id);
    if (!line) return line.error();
    const Json row = Json::parse(*line, nullptr, false);
    Fields fields(row, "calibration.json, " + id);
    const auto share = [&](const char* key) { return fields.measure(key, {{"%", 0.01}}, "85 %"); };
    const auto need = [&](const std::optional<double>& value, const char* key) {
      if (!value || !(*value > 0)) fields.expected(key, "more than nothing");
      return value.value_or(1);
    };
    const Range<double> spread{share("low").value_or(1), 1, share("high").value_or(1)};
    if (spread.low <= 0 || spread.low > 1 || spread.high < 1)
      fields.expected("low", "that 100 % lies between low and high");
    if (id == "matrix") e.matrix = need(share("value"), "value");
    if (id == "bandwidth") e.bandwidth = need(share("value"), "value");
    if (id == "attention") e.attention = need(share("value"), "value");
    if (id == "launch") e.launch_seconds = need(fields.measure("value", {{"us", 1e-6}}, "20 us"), "value");
    if (id == "spread") calibration.spread = spread;
    if (id.starts_with(kCard)) {
      Calibration::OnCard& card = calibration.cards[id.substr(kCard.size())];
      card.correction.card = need(share("value"), "value");
      card.steps = static_cast<int>(fields.whole("runs", 1, 1'000'000).value_or(1));
      card.spread = spread;
    }
    if (id.starts_with(kHost))
      calibration.cards[id.substr(kHost.size())].correction.launch = need(share("value"), "value");
    if (fields.error()) return *fields.error();
  }
  return calibration;
}

}  // namespace qwenplan
