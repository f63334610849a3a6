#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/dataset_job.hpp"
#include "command/guide_answer.hpp"
#include "command/method_plans.hpp"
#include "command/subject.hpp"
#include "probe/host.hpp"
#include "probe/topology.hpp"
#include "qwenplan/estimate/host.hpp"
#include "qwenplan/judge/fit.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr const char* kSchema = "qwenplan.ram/1";

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

// ---- the guide's arithmetic

/// A size in GB as the guide counts: "5GB" is 5, and so is "5 GiB", since its GB are of 1024 MB.
Result<double> guide_gb(const std::string& text, std::string_view flag) {
  const std::string where = "--" + std::string(flag);
  for (const std::string_view unit : {"gb", "gib"}) {
    const std::string word = folded(text);
    if (!word.ends_with(unit)) continue;
    std::string number = text.substr(0, text.size() - unit.size());
    while (!number.empty() && number.back() == ' ') number.pop_back();
    return parse_number(number, where, 0, 1e12);
  }
  return wrong("'" + text + "' is not a size in GB", where,
               "the guide counts in GB: " + where + " 5GB");
}

Result<Answer> as_guide(const Invocation& in) {
  std::vector<std::pair<std::string, Value>> results;
  std::vector<Input> inputs;
  std::vector<std::string> notes;
  const auto data = in.value("dataset-size");
  const auto model = in.value("model-size");
  if (data && model) {
    const auto data_gb = guide_gb(*data, "dataset-size");
    if (!data_gb) return data_gb.error();
    const auto model_gb = guide_gb(*model, "model-size");
    if (!model_gb) return model_gb.error();
    const auto memory = guide::calculate_training_memory(*data_gb, *model_gb);
    if (!memory) return memory.error();
    results.emplace_back("calculate_training_memory", guide_value(*memory));
    inputs.push_back({"dataset_size_gb", Value(*data_gb), "flag"});
    inputs.push_back({"model_size_gb", Value(*model_gb), "flag"});
  } else if (data || model) {
    return wrong("the guide needs the sizes of data and model",
                 data ? "--model-size" : "--dataset-size",
                 "give both: --dataset-size 5GB --model-size 14GB");
  }
  if (const auto use_case = in.value("use-case")) {
    const guide::RamAdvice advice = guide::recommend_ram_config(*use_case);
    if (!advice.note.empty()) notes.push_back(advice.note);
    results.emplace_back("recommend_ram_config", guide_value(advice));
    inputs.push_back({"use_case", Value(*use_case), "flag"});
  }
  if (results.empty())
    return wrong("the guide is asked nothing", "--estimator guide",
                 "give --dataset-size 5GB --model-size 14GB, or --use-case advanced_7b");
  Answer answer = guide_answer(kSchema, std::move(results), {guide::GuideSystem::host_memory});
  answer.inputs = std::move(inputs);
  answer.notes = std::move(notes);
  return answer;
}

// ---- our own

/// What the engine keeps on the host; takes the flags out of the draft, since a run on the GPU
/// alone is what remains.
Result<Offload> take_offload(RunDraft& draft) {
  if (!draft.offload) return Offload::none;
  const std::string word = folded(draft.offload->value);
  const auto is_one_of = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (is_one_of({"nvme", "disk"}))
    return Error{Error::Kind::unknown, "offloading to a disk is not modelled", "--offload",
                 "modelled: optimizer, parameters"};
  std::optional<Offload> offload;
  if (is_one_of({"none", "no", "false", "0"})) offload = Offload::none;
  if (is_one_of({"optimizer", "cpu", "true", "1"})) offload = Offload::optimizer;
  if (is_one_of({"param", "params", "parameter", "parameters", "all", "both"}))
    offload = Offload::parameters;
  if (!offload)
    return wrong("'" + draft.offload->value + "' cannot be offloaded", "--offload",
                 "optimizer or parameters");
  draft.offload.reset();
  if (*offload != Offload::none)
    draft.zero.reset();  // on one GPU its stages change nothing on the host
  return *offload;
}

template <class Enum>
Enum choice(const Invocation& in, std::string_view flag,
            std::initializer_list<std::string_view> names, Enum otherwise) {
  const auto given = in.value(flag);
  if (!given) return otherwise;
  const auto found = std::find(names.begin(), names.end(), *given);
  return static_cast<Enum>(found - names.begin());
}

struct Asked {
  HostOptions options;
  std::optional<LoadTo> load_to;
  std::optional<Bytes> ram;  ///< what Linux reports, or modules less what it keeps
  std::string ram_name;      ///< "32 GiB", "this machine"
  std::vector<Input> inputs;
  std::vector<std::string> assumed;
  std::vector<std::string> notes;
};

Result<Asked> read_options(const Invocation& in, const Model& model, KnownText known) {
  Asked asked;
  HostOptions& o = asked.options;
  const auto shown = [&](const char* flag, const char* key, Value value) {
    asked.inputs.push_back({key, std::move(value), in.has(flag) ? "flag" : "default"});
  };

  const auto workers = in.whole("workers", 0, 4096);
  if (!workers) return workers.error();
  o.workers = workers->value_or(o.workers);
  if (!*workers) asked.assumed.push_back("no data workers, as transformers has it (--workers 4)");
  shown("workers", "workers", o.workers);
  const auto prefetch = in.whole("prefetch", 1, 1 << 20);
  if (!prefetch) return prefetch.error();
  if (*prefetch && o.workers == 0)
    return wrong("there is no worker to prefetch", "--prefetch",
                 "give --workers too, or leave it out");
  o.prefetch = prefetch->value_or(o.prefetch);
  shown("prefetch", "prefetch", o.prefetch);
  o.pins = in.switched("pin-memory").value_or(o.pins);
  shown("pin-memory", "pin_memory", o.pins);
  o.dataset_in = choice(in, "dataset-in", {"disk", "memory", "lists"}, DatasetIn::disk);
  shown("dataset-in", "dataset_in", in.value("dataset-in").value_or("disk"));
  o.loading = choice(in, "loading", {"mapped", "copied"}, Loading::mapped);
  shown("loading", "loading", in.value("loading").value_or("mapped"));
  if (in.has("load-to")) asked.load_to = choice(in, "load-to", {"cpu", "gpu"}, LoadTo::cpu);

  auto data = read_text_job(in, model, known);
  if (!data) return data.error();
  if (!*data && o.dataset_in != DatasetIn::disk)
    return wrong("how much data is held in memory is not given", "--dataset-in",
                 "give --dataset FILE, --tokens, or --dataset-size 2GB");
  if (*data) {
    o.tokens = (*data)->tokens.likely;
    asked.assumed.insert(asked.assumed.end(), (*data)->assumed.begin(), (*data)->assumed.end());
    asked.notes.insert(asked.notes.end(), (*data)->notes.begin(), (*data)->notes.end());
    asked.inputs.insert(asked.inputs.end(), (*data)->inputs.begin(), (*data)->inputs.end());
  }
  asked.inputs.push_back({"tokens", *data ? Value(o.tokens) : Value(), *data ? "flag" : "default"});

  const auto others = read_size(in, "other-programs", Zero::allowed);
  if (!others) return others.error();
  o.other_programs = *others;
  if (!*others) asked.assumed.push_back("1 GiB of other programs (--other-programs)");
  shown("other-programs", "other_programs_bytes", o.other_programs);

  if (const auto ram = in.value("ram"); ram && folded(*ram) == "this") {
    asked.ram = probe_host().total;
    if (!asked.ram)
      return Error{Error::Kind::unknown, "this machine does not say how much memory it has",
                   "--ram this", "give its size: --ram 32GiB"};
    if (const auto limit = group_memory(); limit && *limit < *asked.ram) {
      asked.notes.push_back("a control group limits the memory to " + text(*limit));
      asked.ram = limit;
    }
    asked.ram_name = "this machine";
  } else if (ram) {
    const auto size = read_size(in, "ram", Zero::refused);
    if (!size) return size.error();
    asked.ram = reported_ram(**size);
    asked.ram_name = *ram;
  }
  if (asked.ram) asked.inputs.push_back({"ram_bytes", Value(*asked.ram), "flag"});
  return asked;
}

/// States of a paged optimizer that leave the GPU: what is needed beyond its room.
Range<Bytes> spilled(const Plan& plan, const Model& model) {
  const Bytes states = paged_states(model, plan.valid.run);
  if (states == Bytes() || !plan.estimate.on.usable) return {Bytes(), Bytes(), states};
  const Bytes usable = plan.estimate.on.usable->value;
  const auto beyond = [&](Bytes device) {
    return std::clamp(device + states - usable, Bytes(), states);
  };
  const Range<Bytes>& device = plan.estimate.device;
  return {beyond(device.low), beyond(device.likely), beyond(device.high)};
}

struct Candidate {
  std::string name;
  const Plan* plan;
  HostOptions options;
  HostEstimate host;
};

Candidate candidate(const MethodPlan& job, const Asked& asked, const Subject& subject) {
  HostOptions o = asked.options;
  const Run& run = job.plan.valid.run;
  // A quantized base is made on the GPU; everything else comes to the host first unless a device
  // map is given.
  o.load_to = asked.load_to.value_or(run.is_quantized() ? LoadTo::gpu : LoadTo::cpu);
  o.paged = spilled(job.plan, subject.model.model);
  HostEstimate host = host_memory(subject.model.model, run, subject.stack, o);
  return {name_of(job), &job.plan, o, std::move(host)};
}

Value terms_json(const HostStage& stage) {
  Value list = Value::list();
  for (const HostUse& use : stage.uses)
    list.push(
        Value::object({{"term", name(use.term)},
                       {"bytes", use.bytes},
                       {"evidence", name(use.evidence)},
                       {"source", source(use.term).empty() ? Value() : Value(source(use.term))}}));
  return list;
}

/// "in doubt" is between: the likely need fits, the upper bound does not.
Fit judged(const Range<Bytes>& total, Bytes usable) { return judge(total, usable, false); }

/// What a size of memory is good for, beside this run.
std::string allowance(const HostEstimate& host, Bytes usable, Fit fit) {
  if (fit == Fit::exceeds) return "missing " + text(host.total().likely - usable);
  const Bytes left = usable - host.total().likely;
  if (fit == Fit::tight) return "close other programs";
  if (left >= host.checkpoint + host.dataset)
    return "this run, and its files stay in the page cache";
  return left >= host.checkpoint ? "this run, and the checkpoint stays in the page cache"
                                 : "this run";
}

}  // namespace

Result<Answer> ram(const Invocation& in) { return ram(in, nullptr); }

Result<Answer> ram(const Invocation& in, KnownText known) {
  if (in.uses_guide) return as_guide(in);
  for (const char* flag : {"model-size", "use-case"})
    if (in.has(flag))
      return wrong("only the guide's arithmetic takes --" + std::string(flag),
                   "--" + std::string(flag), "use --estimator guide, or --model");
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto subject = read_subject(in, *tables);
  if (!subject) return subject.error();
  auto draft = read_run(in);
  if (!draft) return draft.error();
  if (subject->gpu && subject->gpu->count > 1 && !draft->gpus)
    draft->gpus = Given<std::int64_t>{subject->gpu->count, From::flag};
  if (const auto error = not_emulated(*subject)) return *error;
  auto asked = read_options(in, subject->model.model, known);
  if (!asked) return asked.error();
  const auto offload = take_offload(*draft);
  if (!offload) return offload.error();
  asked->options.offload = *offload;

  const Setup setup = setup_of(*subject);
  const auto jobs = method_plans(setup, *draft);
  if (!jobs) return jobs.error();
  std::vector<Candidate> found;
  for (const MethodPlan& job : jobs->plans) found.push_back(candidate(job, *asked, *subject));
  const Candidate& best = found[jobs->best];
  const HostEstimate& host = best.host;
  const Range<Bytes> total = host.total();
  const auto sufficient = sufficient_ram_gib(total);

  Answer answer;
  answer.schema = kSchema;
  answer.data_as_of = tables->as_of();
  answer.inputs = subject->inputs;
  answer.inputs.insert(answer.inputs.end(), asked->inputs.begin(), asked->inputs.end());
  answer.inputs.push_back({"load_to", Value(best.options.load_to == LoadTo::cpu ? "cpu" : "gpu"),
                           asked->load_to ? "flag" : "default"});
  if (*offload != Offload::none)
    answer.inputs.push_back(
        {"offload", Value(*offload == Offload::optimizer ? "optimizer" : "parameters"), "flag"});
  for (const RunSetting& setting : best.plan->valid.settings)
    answer.inputs.push_back(as_input(setting));
  answer.notes = subject->notes;
  answer.notes.insert(answer.notes.end(), jobs->left_out.begin(), jobs->left_out.end());
  answer.notes.insert(answer.notes.end(), asked->notes.begin(), asked->notes.end());
  answer.notes.insert(answer.notes.end(), best.plan->valid.notes.begin(),
                      best.plan->valid.notes.end());

  std::optional<Fit> fit;
  if (asked->ram) fit = judged(total, *asked->ram);
  if (fit == Fit::exceeds || (fit == Fit::tight && in.is_strict)) answer.status = kNo;

  answer.json.set("total_bytes", total);
  answer.json.set("peak_phase", name(host.at_peak().phase));
  answer.json.set("terms", terms_json(host.at_peak()));
  answer.json.set("sufficient_ram_gib", sufficient);
  answer.json.set("fit", fit ? Value(name(*fit)) : Value());
  Value& phases = answer.json.set("phases", Value::list());
  for (const HostStage& stage : host.stages)
    phases.push(Value::object({{"phase", name(stage.phase)},
                               {"bytes", stage.total()},
                               {"job_bytes", stage.job()},
                               {"terms", terms_json(stage)}}));
  answer.json.set("page_cache", Value::object({{"checkpoint_bytes", host.checkpoint},
                                               {"dataset_bytes", host.dataset}}));
  Value& sizes = answer.json.set("sizes", Value::list());
  Table size_table{{{"memory", Column::Align::right}, {"verdict"}, {"allows"}}, {}};
  const std::int64_t enough = sufficient.value_or(kRamSizes.back());
  for (const std::int64_t gib : kRamSizes) {
    const Bytes usable = reported_ram(host::mib(1024) * gib);
    const Fit each = judged(total, usable);
    sizes.push(Value::object({{"ram_gib", gib},
                              {"usable_bytes", usable},
                              {"fit", name(each)},
                              {"caches_checkpoint", usable - total.likely >= host.checkpoint},
                              {"allows", allowance(host, usable, each)}}));
    if (gib >= enough / 4 && gib <= enough * 2)
      size_table.rows.push_back(
          {std::to_string(gib) + " GiB", std::string(name(each)), allowance(host, usable, each)});
  }
  Value& methods = answer.json.set("methods", Value::list());
  Table method_table{{{"method"}, {"needs"}, {"sufficient", Column::Align::right}}, {}};
  for (const Candidate& each : found) {
    const Range<Bytes> need = each.host.total();
    const auto size = sufficient_ram_gib(need);
    methods.push(Value::object(
        {{"method", each.name}, {"total_bytes", need}, {"sufficient_ram_gib", size}}));
    method_table.rows.push_back(
        {each.name, text(need), size ? std::to_string(*size) + " GiB" : "none"});
  }
  Value& assumed = answer.json.set("assumed", Value::list());
  std::string assumed_words;
  for (const std::string& words : asked->assumed) {
    assumed.push(words);
    assumed_words += (assumed_words.empty() ? "" : ", ") + words;
  }

  Value rows = Value::list();
  Table terms{{{"term"},
               {"load", Column::Align::right},
               {"train", Column::Align::right},
               {"save", Column::Align::right},
               {"known"}},
              {}};
  for (int t = 0; t <= static_cast<int>(HostTerm::saving); ++t) {
    const auto term = static_cast<HostTerm>(t);
    std::vector<std::string> cells{std::string(name(term))};
    Value row = Value::object({{"term", name(term)}});
    std::string_view evidence;
    for (const HostStage& stage : host.stages) {
      const auto use = std::find_if(stage.uses.begin(), stage.uses.end(),
                                    [&](const HostUse& each) { return each.term == term; });
      const bool is_there = use != stage.uses.end();
      cells.push_back(is_there ? text(use->bytes.likely) : "");
      row.set(std::string(name(stage.phase)) + "_bytes", is_there ? use->bytes : Range<Bytes>{});
      if (is_there) evidence = name(use->evidence);
    }
    if (evidence.empty()) continue;
    cells.emplace_back(evidence);
    row.set("evidence", evidence);
    terms.rows.push_back(std::move(cells));
    rows.push(std::move(row));
  }
  for (const auto& [words, part] : {std::pair{"total", &Range<Bytes>::likely},
                                    {"at least", &Range<Bytes>::low},
                                    {"at most", &Range<Bytes>::high}}) {
    std::vector<std::string> cells{words};
    for (const HostStage& stage : host.stages) cells.push_back(text(stage.total().*part));
    terms.rows.push_back(std::move(cells));
  }
  answer.rows = std::move(rows);

  const std::string need = "needs " + text(total) + " of host memory, most while it " +
                           (host.peak == 0   ? "loads"
                            : host.peak == 1 ? "trains"
                                             : "saves a checkpoint");
  const std::string module =
      sufficient ? std::to_string(*sufficient) + " GiB suffice" : "more than 2 TiB is needed";
  if (!fit)
    answer.add(Headline{module + ": " + best.name + " of " + subject->model.model.id + " " + need});
  else if (*fit == Fit::exceeds)
    answer.add(
        Headline{"does not fit " + asked->ram_name + ": " + need + "; " + module, Tone::bad});
  else if (*fit == Fit::tight)
    answer.add(
        Headline{"tight on " + asked->ram_name + ": " + need + "; " + module, Tone::warning});
  else
    answer.add(Headline{"fits " + asked->ram_name + ": " + need, Tone::good});
  answer.add(std::move(terms));
  answer.add(std::move(size_table));
  if (found.size() > 1) answer.add(std::move(method_table));
  answer.add(Paragraph{
      "mapped files are not counted, since the kernel drops their pages when memory is short: " +
      text(host.checkpoint) + " of checkpoint" +
      (host.dataset > Bytes() ? ", " + text(host.dataset) + " of data" : "") +
      " load faster where they stay"});
  if (!assumed_words.empty()) answer.add(Paragraph{"assumed: " + assumed_words, Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
