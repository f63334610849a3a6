#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/flags.hpp"
#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/measured.hpp"
#include "command/named_run.hpp"
#include "command/planning.hpp"
#include "qwenplan/describe/valid_run.hpp"
#include "command/scripts.hpp"
#include "read/measurement.hpp"
#include "render/quantity.hpp"
#include "render/render.hpp"

namespace qwenplan::command {
namespace {

Error not_written(const std::string& flag, std::string hint) {
  return {Error::Kind::unknown, "the benchmark cannot set it", flag, std::move(hint)};
}

/// A text as Python writes it; JSON's way of writing one is valid there.
std::string python(const Value& value) {
  if (const bool* is = std::get_if<bool>(&value.data())) return *is ? "True" : "False";
  return to_json_line(value);
}

/// What the script takes from the command line, by the names of its own options.
Result<NamedSettings> script_defaults(const Invocation& in) {
  constexpr std::string_view kTaken[] = {"model",      "method",       "precision", "seq-len",      "batch",         "lora-r",
                                         "lora-alpha", "lora-dropout", "quant",     "lora-targets", "double-quant", "checkpointing",
                                         "attention",  "optimizer",    "bf16",      "fp16",         "load-in-4bit", "load-in-8bit"};
  for (const std::span<const Flag> flags : {subject_flags(), run_flags()})
    for (const Flag& flag : flags)
      if (in.has(flag.name) && std::find(std::begin(kTaken), std::end(kTaken), flag.name) == std::end(kTaken))
        return not_written("--" + std::string(flag.name), "leave it out; the script runs on the machine where it is started");
  const auto draft = read_run(in);
  if (!draft) return draft.error();

  // What is impossible for any model is refused without one, too.
  const auto name_of_model = in.value("model");
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto model = tables->model(name_of_model.value_or("qwen2.5-7b"));
  if (!model) return model.error();
  RunDraft judged = *draft;
  const bool is_quantized = draft->quantization && draft->quantization->value != Quantization::none;
  if (!judged.method && !is_quantized) settle(judged.method, Method::lora);  // as the script does
  if (const auto valid = validated(judged, model->model, kLatest, nullptr); !valid) return valid.error();

  NamedSettings settings;
  if (name_of_model)
    settings.emplace_back("model", model->is_file || model->model.hub_id.empty() ? *name_of_model : model->model.hub_id);
  const auto give_name = [&](const char* flag, const auto& given) {
    if (given) settings.emplace_back(flag, std::string(name(given->value)));
  };
  const auto give = [&](const char* flag, const auto& given) {
    if (given) settings.emplace_back(flag, given->value);
  };
  if (draft->precision && draft->precision->value == Precision::fp16_true)
    return not_written("--precision fp16-true", "gradients in fp16 need a loss scale, and that needs fp32 weights: fp16-mixed");
  give_name("method", draft->method);
  give_name("precision", draft->precision);
  give("seq-len", draft->length);
  give("batch", draft->micro_batch);
  give("lora-r", draft->lora_rank);
  give("lora-alpha", draft->lora_alpha);
  give("lora-dropout", draft->lora_dropout);
  if (const auto text = in.value("lora-targets")) settings.emplace_back("lora-targets", *text);
  if (is_quantized) {
    if (!draft->method) settings.emplace_back("method", std::string("qlora"));
    give_name("quant", draft->quantization);
  }
  give("double-quant", draft->double_quantizes);
  give("checkpointing", draft->checkpoints);
  if (draft->attention) {
    const std::string& kernel = draft->attention->value;
    if (kernel != "sdpa" && kernel != "eager" && kernel != "fa2")
      return not_written("--attention " + kernel, "sdpa chooses its kernel by itself; sdpa, eager or fa2");
    settings.emplace_back("attention", kernel);
  }
  if (draft->optimizer && draft->optimizer->value != "adamw") {
    if (draft->optimizer->value == "sgd-momentum") return not_written("--optimizer sgd-momentum", "use sgd, or one of AdamW");
    settings.emplace_back("optimizer", draft->optimizer->value);
  }
  return settings;
}

Result<Answer> script(const Invocation& in) {
  const auto settings = script_defaults(in);
  if (!settings) return settings.error();
  std::string defaults = "{";
  for (const auto& [name, value] : *settings)
    defaults += (defaults.size() > 1 ? ", " : "") + python(Value(name)) + ": " + python(as_value(value));
  defaults += "}";
  std::string text(bench_script());
  constexpr std::string_view kMark = "@DEFAULTS@";
  text.replace(text.find(kMark), kMark.size(), defaults);
  Answer answer;
  answer.schema = "qwenplan.bench-script/1";
  answer.json.set("script", text);
  answer.raw = std::move(text);
  return answer;
}

/// A measured peak beside what is estimated for the same run.
struct Compared {
  const char* what;
  std::optional<Bytes> measured;
  Range<Bytes> estimated;
};

void compare(const Measurement& m, const Invocation& in, Answer& answer) {
  if (!m.allocated && !m.reserved && !m.device) {
    answer.notes.push_back("nothing was measured on a GPU, so that there is nothing to compare");
    return;
  }
  const auto tables = Tables::open(in.data_directory);
  NamedSettings run = m.run;
  const bool names_card = std::any_of(run.begin(), run.end(), [](const auto& setting) { return setting.first == "gpu"; });
  if (m.gpu && !names_card) run.emplace_back("gpu", *m.gpu);
  const auto plan = tables ? planned(run, *tables, in.environment) : Result<Plan>(tables.error());
  if (!plan) {
    answer.notes.push_back("not compared with an estimate: " + plan.error().what);
    return;
  }
  answer.data_as_of = tables->as_of();
  const MemoryEstimate& e = plan->estimate;
  using enum Column::Align;
  Table table{{{"peak"}, {"measured", right}, {"estimated"}, {"off", right}}, {}};
  Value list = Value::list();
  for (const Compared& each : {Compared{"allocated", m.allocated, e.allocated}, {"reserved", m.reserved, e.reserved},
                               {"device", m.device, e.device}}) {
    if (!each.measured || each.measured->count() == 0) continue;
    const double off = static_cast<double>(each.estimated.likely.count()) / static_cast<double>(each.measured->count()) - 1;
    list.push(Value::object({{"peak", each.what},
                             {"measured_bytes", *each.measured},
                             {"estimated_bytes", each.estimated},
                             {"off", off}}));
    table.rows.push_back({each.what, text(*each.measured), text(each.estimated), text_percent(off)});
  }
  answer.json.set("compared", std::move(list));
  answer.add(std::move(table));
}

Result<Answer> import(const Invocation& in, const std::string& path) {
  for (const std::span<const Flag> flags : {subject_flags(), run_flags()})
    for (const Flag& flag : flags)
      if (in.has(flag.name))
        return Error{Error::Kind::wrong, "a measurement says itself what was run", "--" + std::string(flag.name), "leave it out"};
  const auto m = read_measurement(path);
  if (!m) return m.error();
  Answer answer;
  answer.schema = "qwenplan.bench/1";
  answer.inputs.push_back({"import", Value(path), "flag"});
  answer.json.set("measurement", as_json(*m));
  if (m->status != "ok") answer.status = kNo;

  std::string line = m->status == "ok" ? "measured" : m->status == "oom" ? "ran out of memory" : "failed";
  for (const auto& [name, value] : m->run)
    if (name == "model" || name == "method")
      line += (name == "model" ? " " : ", ") + std::visit([](const auto& v) {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) return v;
        else return std::string();
      }, value);
  if (m->gpu) line += ", on " + *m->gpu;
  if (!m->day.empty()) line += ", " + m->day;
  answer.add(Headline{line, m->status == "ok" ? Tone::good : Tone::bad});
  using enum Column::Align;
  Table rates{{{""}, {"", right}}, {}};
  if (m->training_rate) rates.rows.push_back({"training", fixed(*m->training_rate, 1) + " tokens/s"});
  if (m->inference_rate) rates.rows.push_back({"inference", fixed(*m->inference_rate, 1) + " tokens/s"});
  if (m->seconds_per_step) rates.rows.push_back({"one step", text_duration(*m->seconds_per_step)});
  if (m->host_resident) rates.rows.push_back({"host memory", text(*m->host_resident)});
  if (!rates.rows.empty()) answer.add(std::move(rates));
  Table phases{{{"phase"}, {"step", right}, {"tensors", right}, {"PyTorch holds", right}, {"time", right}}, {}};
  for (const MeasuredPhase& phase : m->phases)
    phases.rows.push_back({phase.phase, phase.step ? std::to_string(*phase.step) : "",
                           phase.allocated ? text(*phase.allocated) : "-", phase.reserved ? text(*phase.reserved) : "-",
                           phase.seconds ? text_duration(*phase.seconds) : "-"});
  if (!phases.rows.empty()) answer.add(std::move(phases));
  compare(*m, in, answer);
  return answer;
}

}  // namespace

Result<Answer> bench(const Invocation& in) {
  const auto path = in.value("import");
  if (in.has("script") == path.has_value())
    return Error{Error::Kind::wrong, path ? "--script and --import are two questions" : "nothing is asked", "bench",
                 "write bench --script >bench.py, run it, then bench --import result.json"};
  return path ? import(in, *path) : script(in);
}

}  // namespace qwenplan::command
