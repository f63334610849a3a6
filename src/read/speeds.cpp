#include "read/speeds.hpp"

#include <utility>

#include "qwenplan/describe/run_draft.hpp"
#include "read/embedded.hpp"
#include "read/json_text.hpp"

namespace qwenplan {
namespace {

Result<PublishedSpeed> read_speed(std::string_view line) {
  const std::string where = "speeds.json";
  const auto row = parse_json(line, where);
  if (!row) return row.error();
  Fields fields(*row, where);
  const Json run = row->value("run", Json::object());
  Fields of_run(run, where, "/run");
  PublishedSpeed speed;
  speed.id = fields.text("id").value_or("");
  speed.source = fields.text("source").value_or("");
  speed.rate = fields.measure("rate", {{"tokens/s", 1}}, "760 tokens/s").value_or(0);
  speed.model = of_run.text("model").value_or("");
  speed.gpu = of_run.text("gpu").value_or("");
  const auto method = draft::by_name<Method>(of_run.text("method").value_or(""), 4);
  if (method) speed.method = *method;
  else of_run.expected("method", "full, lora or qlora");
  speed.length = of_run.whole("seq-len", 1, 1 << 24).value_or(0);
  speed.micro_batch = of_run.whole("batch", 1, 1 << 16).value_or(0);
  speed.checkpoints = of_run.boolean("checkpointing").value_or(false);
  for (const Fields* part : {&fields, &of_run})
    if (part->error()) return *part->error();
  return speed;
}

}  // namespace

Result<std::vector<PublishedSpeed>> read_speeds() {
  std::vector<PublishedSpeed> speeds;
  for (const embedded::Row& row : embedded::speeds().rows) {
    auto speed = read_speed(row.json);
    if (!speed) return speed.error();
    speeds.push_back(std::move(*speed));
  }
  return speeds;
}

}  // namespace qwenplan
