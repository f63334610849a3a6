#include <algorithm>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/method_plans.hpp"
#include "command/verdict.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "qwenplan/judge/search.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

enum class Event : unsigned char { none, out_of_memory, underutilized, both };

constexpr std::pair<std::string_view, Event> kEvents[] = {
    {"oom", Event::out_of_memory}, {"underutilized", Event::underutilized}, {"oom+underutilized", Event::both},
    {"ok", Event::none}};

std::string_view name(Event event) {
  for (const auto& [word, known] : kEvents)
    if (known == event) return word;
  return "";
}

Result<std::vector<Event>> read_events(const Invocation& in) {
  std::vector<Event> events;
  const std::string text = in.value("events").value_or("");
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string word = folded(text.substr(at, end - at));
    const auto* known = std::find_if(std::begin(kEvents), std::end(kEvents),
                                     [&](const auto& entry) { return entry.first == word; });
    if (known == std::end(kEvents))
      return Error{Error::Kind::wrong, "unknown event '" + word + "'", "--events",
                   "write oom, underutilized, oom+underutilized or ok, with commas between them"};
    events.push_back(known->second);
    at = end + 1;
  }
  return events;
}

// ---- the search

/// A setting whose largest value is looked for.
struct Solved {
  std::string_view flag;
  std::int64_t first = 1;
  std::int64_t step = 1;
  std::int64_t last = 1024;

  void give(RunDraft& draft, std::int64_t value) const {
    auto& setting = flag == "batch" ? draft.micro_batch : flag == "seq-len" ? draft.length : draft.lora_rank;
    setting = Given<std::int64_t>{value, From::by_default};
  }
};

Solved solved_by(const Invocation& in, const Model& model) {
  const std::string what = in.value("solve").value_or("batch");
  // Kernels are made for multiples of 64 tokens; beyond the positions that a model was made for,
  // longer sequences say nothing.
  if (what == "seq-len") return {"seq-len", 64, 64, std::max<std::int64_t>(64, model.max_positions)};
  if (what == "lora-r") return {"lora-r", 1, 1, std::min<std::int64_t>(4096, model.hidden)};
  return {"batch", 1, 1, 4096};
}

/// What a value of the setting needs.
struct Tried {
  std::int64_t value = 0;
  std::int64_t accumulation = 0;  ///< 0: that of the run
  Plan plan;
};

class Search {
 public:
  Search(const Setup& setup, RunDraft draft, Solved solved)
      : setup_(setup), draft_(std::move(draft)), solved_(solved) {}

  /// The largest value whose verdict is at least as good as `wanted`.
  Largest run(Fit wanted) {
    const auto holds = [&](std::int64_t value) {
      const auto* tried = at(value);
      return tried != nullptr && *tried->plan.fit <= wanted;
    };
    const auto need = [&](std::int64_t value) {
      const auto* tried = at(value);
      return tried ? std::optional(tried->plan.estimate.device.high) : std::nullopt;
    };
    const auto guess =
        guessed_limit(solved_.first, solved_.last, solved_.step, setup_.device.usable->value, need);
    return largest(solved_.first, solved_.last, solved_.step, holds, guess);
  }
  /// None where the value is impossible for this run.
  const Tried* at(std::int64_t value, std::int64_t accumulation = 0) {
    for (const Tried& tried : tried_)
      if (tried.value == value && tried.accumulation == accumulation) return &tried;
    RunDraft draft = draft_;
    solved_.give(draft, value);
    if (accumulation > 0) draft.accumulation = Given<std::int64_t>{accumulation, From::by_default};
    auto plan = planned(setup_, std::move(draft), setup_.subject.allocator);
    if (!plan) {
      if (!error_) error_ = plan.error();
      return nullptr;
    }
    tried_.push_back({value, accumulation, std::move(*plan)});
    return &tried_.back();
  }
  /// Why the first impossible value is.
  const std::optional<Error>& error() const { return error_; }

 private:
  const Setup& setup_;
  RunDraft draft_;
  Solved solved_;
  std::deque<Tried> tried_;  ///< which does not move what is in it
  std::optional<Error> error_;
};

// ---- the ladder

struct Rung {
  Event event = Event::none;
  std::int64_t batch = 1;
  std::int64_t accumulation = 1;
  std::string remark;
};

/// The largest number that divides `whole` and is at most `limit`.
std::int64_t divisor(std::int64_t whole, std::int64_t limit) {
  std::int64_t best = 1;
  for (std::int64_t small = 1; small * small <= whole; ++small) {
    if (whole % small != 0) continue;
    for (const std::int64_t each : {small, whole / small})
      if (each <= limit) best = std::max(best, each);
  }
  return best;
}

/// What to do after an event, with the same number of sequences in each optimizer step. `fits` says
/// of a batch and an accumulation whether they are worth a try.
template <class Fits>
Rung after(const Rung& now, Event event, Fits&& fits) {
  const std::int64_t whole = now.batch * now.accumulation;
  Rung next{event, now.batch, now.accumulation, ""};
  if (event == Event::out_of_memory || event == Event::both) {
    if (now.batch == 1) {
      next.remark = "no smaller batch: shorten, quantize, or see the advice of vram";
      return next;
    }
    next.batch = divisor(whole, now.batch / 2);
  } else if (event == Event::underutilized) {
    next.batch = divisor(whole, now.batch * 2);
    if (next.batch == now.batch) {
      next.remark = "a larger one would change the effective batch";
    } else if (!fits(next.batch, whole / next.batch)) {
      next.remark = std::to_string(next.batch) + " would not fit";
      next.batch = now.batch;
    }
  }
  next.accumulation = whole / next.batch;
  return next;
}

std::vector<Rung> ladder(std::int64_t start, std::int64_t accumulation, const std::vector<Event>& events,
                         Search* search) {
  const auto fits = [&](std::int64_t batch, std::int64_t times) {
    const Tried* tried = search ? search->at(batch, times) : nullptr;
    return tried == nullptr || tried->plan.fit != Fit::exceeds;
  };
  std::vector<Rung> rungs{{Event::none, start, accumulation, ""}};
  for (const Event event : events) rungs.push_back(after(rungs.back(), event, fits));
  // Without events: what each further out-of-memory would lead to.
  while (events.empty() && rungs.back().batch > 1) rungs.push_back(after(rungs.back(), Event::out_of_memory, fits));
  return rungs;
}

Result<Answer> by_guide(const Invocation& in) {
  const auto start = in.whole("start", 0, std::int64_t{1} << 40);
  if (!start) return start.error();
  const auto events = read_events(in);
  if (!events) return events.error();
  std::vector<guide::BatchEvent> calls;
  for (const Event event : *events)
    calls.push_back({event == Event::out_of_memory || event == Event::both,
                     event == Event::underutilized || event == Event::both});
  return guide_answer("qwenplan.batch/1",
                      {{"batch_sizes", guide_value(guide::batch_sizes(start->value_or(4), calls))}},
                      {guide::GuideSystem::batch_sizes});
}

/// The draft of the method that is asked for, else of the best one by the defaults.
Result<RunDraft> draft_to_solve(const Setup& setup, const RunDraft& given, const Solved& solved, Answer& answer) {
  if (names_method(given)) return given;
  const std::span methods(kMethods);
  auto found = best_rungs(setup, given, solved.flag == "lora-r" ? methods.subspan(1) : methods);
  if (!found) return found.error();
  answer.notes.insert(answer.notes.end(), found->left_out.begin(), found->left_out.end());
  MethodPlan& best = found->plans[found->best];
  answer.notes.push_back("no --method is given: " + std::string(name(best.method)) +
                         (best.rung.empty() ? "" : " with " + best.rung) + " is taken, the best by the defaults");
  return std::move(best.plan.draft);
}

Value tried_json(const Tried& tried) {
  return Value::object({{"value", tried.value},
                        {"fit", qwenplan::name(*tried.plan.fit)},
                        {"device_bytes", tried.plan.estimate.device}});
}

void add_ladder(const std::vector<Rung>& rungs, Search* search, Answer& answer) {
  using enum Column::Align;
  Value list = Value::list();
  Table table{{{"after"}, {"--batch", right}, {"--grad-accum", right}, {"effective", right}, {"needs"}, {"verdict"}, {""}},
              {}};
  for (std::size_t i = 0; i < rungs.size(); ++i) {
    const Rung& rung = rungs[i];
    const Tried* tried = search ? search->at(rung.batch, rung.accumulation) : nullptr;
    const std::string_view event = i == 0 ? "start" : name(rung.event);
    list.push(Value::object({{"event", event},
                             {"batch", rung.batch},
                             {"grad_accum", rung.accumulation},
                             {"effective_batch", rung.batch * rung.accumulation},
                             {"fit", tried ? Value(qwenplan::name(*tried->plan.fit)) : Value()},
                             {"device_bytes", tried ? Value(tried->plan.estimate.device) : Value()},
                             {"remark", rung.remark.empty() ? Value() : Value(rung.remark)}}));
    table.rows.push_back({std::string(event), std::to_string(rung.batch), std::to_string(rung.accumulation),
                          std::to_string(rung.batch * rung.accumulation),
                          tried ? text(tried->plan.estimate.device) : "-",
                          tried ? std::string(qwenplan::name(*tried->plan.fit)) : "-", rung.remark});
  }
  answer.json.set("ladder", std::move(list));
  answer.add(std::move(table));
}

}  // namespace

Result<Answer> batch(const Invocation& in) {
  if (in.uses_guide) return by_guide(in);
  const auto start = in.whole("start", 1, 1 << 16);
  if (!start) return start.error();
  const auto events = read_events(in);
  if (!events) return events.error();
  const auto given = read_run(in);
  if (!given) return given.error();
  const std::int64_t accumulation = given->accumulation ? given->accumulation->value : 1;
  if (accumulation > 1 << 20)
    return Error{Error::Kind::wrong, std::to_string(accumulation) + " is out of range", "--grad-accum",
                 "write a number from 1 to 1048576"};

  Answer answer;
  answer.schema = "qwenplan.batch/1";
  if (*start && !in.has("model")) {
    answer.inputs.push_back({"start", Value(**start), "flag"});
    answer.json.set("solved", Value());
    answer.json.set("largest", Value());
    answer.add(Headline{"the ladder alone: with --model and --gpu it is held against what fits"});
    add_ladder(ladder(**start, accumulation, *events, nullptr), nullptr, answer);
    return answer;
  }

  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  auto subject = read_subject(in, *tables);
  if (!subject) return subject.error();
  if (const auto error = not_emulated(*subject)) return *error;
  const Setup setup = setup_of(*subject);
  if (!setup.device.usable)
    return Error{Error::Kind::wrong, "without a GPU everything fits", "--gpu",
                 "name it with --gpu, or its memory with --vram 12GiB"};
  const Solved solved = solved_by(in, setup.model());
  if (in.has(solved.flag))
    return Error{Error::Kind::wrong, "--" + std::string(solved.flag) + " is what is looked for", "--" + std::string(solved.flag),
                 "leave it out, or --solve another setting"};
  if (solved.flag != "batch" && (*start || in.has("events")))
    return Error{Error::Kind::wrong, "the ladder is one of batches", "--solve", "leave out --start and --events, or --solve"};

  answer.data_as_of = tables->as_of();
  answer.inputs = subject->inputs;
  answer.notes = subject->notes;
  auto draft = draft_to_solve(setup, *given, solved, answer);
  if (!draft) return draft.error();
  Search search(setup, *draft, solved);
  const Tried* smallest = search.at(solved.first);
  if (smallest == nullptr) return *search.error();
  const Largest fits = search.run(Fit::fits);
  const Largest tight = search.run(Fit::tight);

  const auto setting = [&](std::int64_t value) { return "--" + std::string(solved.flag) + " " + std::to_string(value); };
  std::vector<Tried> shown;
  for (const auto& value : {fits.value, tight.value})
    for (const std::int64_t each : {value.value_or(solved.first), value ? *value + solved.step : solved.first})
      if (const Tried* tried = each <= solved.last ? search.at(each) : nullptr)
        if (std::none_of(shown.begin(), shown.end(), [&](const Tried& t) { return t.value == each; }))
          shown.push_back(*tried);
  std::sort(shown.begin(), shown.end(), [](const Tried& a, const Tried& b) { return a.value < b.value; });
  const Tried chosen = *search.at(fits.value ? *fits.value : tight.value.value_or(solved.first));

  for (const RunSetting& each : chosen.plan.valid.settings)
    if (each.flag != solved.flag) answer.inputs.push_back(as_input(each));
  answer.json.set("solved", solved.flag);
  answer.json.set("largest", fits.value);
  answer.json.set("largest_tight", tight.value);
  answer.json.set("is_bounded", fits.value && fits.is_bounded);
  answer.json.set("verdict", verdict_json(chosen.plan));
  Value& tried_rows = answer.json.set("tried", Value::list());
  Table table{{{"setting"}, {"needs"}, {"verdict"}}, {}};
  for (const Tried& tried : shown) {
    tried_rows.push(tried_json(tried));
    table.rows.push_back({setting(tried.value), text(tried.plan.estimate.device), std::string(qwenplan::name(*tried.plan.fit))});
  }

  if (fits.value) {
    answer.add(Headline{(fits.is_bounded ? "at least " : "largest: ") + setting(*fits.value), Tone::good});
    if (fits.is_bounded)
      answer.notes.push_back(solved.flag == "seq-len" ? "longer sequences are beyond the positions of the model"
                                                      : "no larger value was looked at");
  } else if (tight.value) {
    answer.add(Headline{"tight at best: " + setting(*tight.value), Tone::warning});
    if (in.is_strict) answer.status = kNo;
  } else {
    answer.add(Headline{"not even " + setting(solved.first) + " fits", Tone::bad});
    answer.status = kNo;
  }
  if (!fits.is_monotone)
    answer.notes.push_back("a value between fails although a larger one fits: the allocator's blocks are of few sizes");
  answer.add(headline(setup, chosen.plan));
  answer.add(std::move(table));

  if (solved.flag == "batch") {
    const std::int64_t from = start->value_or(chosen.value);
    add_ladder(ladder(from, accumulation, *events, &search), &search, answer);
  } else {
    answer.json.set("ladder", Value::list());
  }
  std::string run;
  for (const RunSetting& each : chosen.plan.valid.settings)
    if (each.flag != solved.flag) run += " " + as_words(each);
  answer.add(Paragraph{"with" + run, Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
