#include "command/verdict.hpp"

#include <string_view>
#include <utility>

#include "qwenplan/judge/advice.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

std::string card_name(const Setup& setup) {
  return setup.card->name + " has " + text(setup.device.usable->value);
}

}  // namespace

Headline headline(const Setup& setup, const Plan& plan) {
  const MemoryEstimate& e = plan.estimate;
  const std::string_view peak = name(e.footprint.timeline[e.footprint.peak].phase);
  const std::string need = "needs " + text(e.device) + " at " + std::string(peak);
  if (!plan.fit) return {need, Tone::plain};
  const std::string line = need + ", " + card_name(setup);
  switch (*plan.fit) {
    case Fit::fits: return {"fits: " + line, Tone::good};
    case Fit::tight: return {"tight: " + line, Tone::warning};
    case Fit::exceeds: break;
  }
  return {"does not fit: " + line, Tone::bad};
}

std::string fit_words(const std::optional<Fit>& fit) { return fit ? std::string(name(*fit)) : "-"; }

Value verdict_json(const Plan& plan) {
  const MemoryEstimate& e = plan.estimate;
  Value capacity;
  if (e.at_capacity) {
    capacity = Value::object({{"completes", e.at_capacity->completes()},
                              {"flushes_per_step", e.at_capacity->flushes_per_step},
                              {"reserved_bytes", e.at_capacity->peak_reserved}});
    if (const auto& out = e.at_capacity->out_of_memory)
      capacity.set("out_of_memory", Value::object({{"phase", name(out->phase)},
                                                   {"step", out->step},
                                                   {"request_bytes", out->request}}));
  }
  return Value::object(
      {{"fit", plan.fit ? Value(name(*plan.fit)) : Value()},
       {"peak_phase", name(e.footprint.timeline[e.footprint.peak].phase)},
       {"allocated_bytes", e.allocated},
       {"reserved_bytes", e.reserved},
       {"context_bytes", e.on.context.bytes},
       {"device_bytes", e.device},
       {"at_capacity", std::move(capacity)},
       {"usable_bytes", e.on.usable ? Value(e.on.usable->value) : Value()},
       {"usable_evidence", e.on.usable ? Value(name(e.on.usable->evidence)) : Value()},
       {"headroom_bytes", headroom(e)}});
}

Value advice_json(const std::vector<Advice>& advice) {
  Value rows = Value::list();
  for (const Advice& each : advice)
    rows.push(Value::object({{"change", each.change},
                             {"saves_bytes", each.saves},
                             {"fit", name(each.fit)},
                             {"cost", each.cost}}));
  return rows;
}

Table advice_table(const std::vector<Advice>& advice) {
  Table table{{{"change"}, {"saves", Column::Align::right}, {"then"}, {"cost"}}, {}};
  for (const Advice& each : advice)
    table.rows.push_back({each.change, text(each.saves), std::string(name(each.fit)), std::string(each.cost)});
  return table;
}

}  // namespace qwenplan
