#include "command/step_time.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "command/named_run.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "qwenplan/emulate/step.hpp"
#include "read/published.hpp"
#include "render/quantity.hpp"

namespace qwenplan {

std::optional<Error> not_timed(const Run& run) {
  if (run.offloads_checkpoints || run.offloads_activations)
    return Error{Error::Kind::unknown, "the time of copies to host memory and back is not modelled", "time",
                 "leave activations and checkpoints on the card, or measure a step"};
  return std::nullopt;
}

std::string not_compared(const Run& run, const Model& model) {
  if (run.code != ModelCode::transformers) return "another modelling code than transformers'";
  if (run.fuses_mlp || run.fuses_qkv || run.fuses_o) return "adapters fused with their layers";
  if (run.loss != Loss::standard) return "a loss in pieces or fused with the head";
  if (run.liger_rope || run.liger_rms_norm || run.liger_glu) return "Liger's kernels";
  if (run.compares()) return "a comparison of answers";
  if (model.experts) return "experts";
  if (model.linear_attention) return "linear attention";
  if (run.quantization == Quantization::int8) return "int8 products";
  if (bitsandbytes_states(run.optimizer).copies > 0) return "an optimizer of bitsandbytes";
  return "";
}

StepWork work_of(const Setup& setup, const Run& run) {
  WorkCounter counter(run);
  trace(setup.model(), run, setup.subject.stack, setup.subject.compute_capability(), counter);
  return counter.finish();
}

Timing timed(const StepWork& work, const Gpu& gpu, const Calibration& calibration, double waits) {
  Timing t;
  t.work = work;
  t.step = Roofline(gpu, calibration.efficiency_on(gpu.id)).step(work);
  Range<double> spread = calibration.spread;
  double least = 0;  // no card does better than its limits
  if (const Calibration::OnCard* card = calibration.card(gpu.id)) {
    spread = card->spread;
    t.is_calibrated = true;
  } else {
    least = std::min(t.step.seconds, Roofline(gpu, {1, 1, 1, 0}).step(work).seconds);
  }
  t.forward_share = t.step.seconds > 0 ? t.step.forward / t.step.seconds : 0;
  t.seconds = {std::max(least, t.step.seconds * spread.low) + waits, t.step.seconds + waits, t.step.seconds * spread.high + waits};
  t.step.terms[static_cast<std::size_t>(TimeTerm::input)] = waits;
  t.step.seconds += waits;
  const auto tokens = static_cast<double>(work.tokens);
  t.rate = {tokens / t.seconds.high, tokens / t.seconds.likely, tokens / t.seconds.low};
  return t;
}

Timing timed(const Setup& setup, const Run& run, const Calibration& calibration) {
  return timed(work_of(setup, run), *setup.gpu(), calibration);
}

Value time_json(const Timing& timing) {
  return Value::object({{"tokens_per_second", timing.rate},
                        {"seconds_per_step", timing.seconds},
                        {"bound_by", name(bound_of(timing.step))}});
}

std::string text_rate_of(const Timing& timing) {
  const auto whole = [](double rate) { return grouped(std::llround(rate)); };
  return whole(timing.rate.likely) + " tokens/s (" + whole(timing.rate.low) + " to " + whole(timing.rate.high) + ")";
}

Result<std::optional<MeasuredStep>> measured_step(const PublishedRun& run, const Tables& tables,
                                                  const Environment& environment) {
  if (!run.rate) return std::optional<MeasuredStep>();
  auto named = named_run(run.run, tables, environment);
  if (!named) return named.error();
  const Setup setup = setup_of(named->subject);
  if (!setup.gpu())
    return Error{Error::Kind::wrong, "the run does not name its card", run.id, "give it a gpu"};
  auto valid = validated(named->draft, setup.model(), named->subject.stack, setup.gpu());
  if (!valid) return valid.error();
  MeasuredStep step;
  step.id = run.id;
  step.source = run.source;
  step.sitting = run.sitting;
  step.work = work_of(setup, valid->run);
  step.gpu = *setup.gpu();
  step.seconds = static_cast<double>(step.work.tokens) / *run.rate;
  return std::optional(std::move(step));
}

}  // namespace qwenplan
