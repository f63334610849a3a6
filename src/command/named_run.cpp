#include "command/named_run.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cli/app.hpp"
#include "cli/flags.hpp"
#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "read/measurement.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

bool is_setting(const std::string& name) {
  for (const auto flags : {subject_flags(), run_flags(), parallel_flags()})
    for (const Flag& flag : flags)
      if (flag.name == name) return true;
  return false;
}

/// A setting as one argument: "--seq-len=2048", "--no-padded".
struct Argument {
  const std::string& name;
  std::string operator()(bool is) const { return (is ? "--" : "--no-") + name; }
  std::string operator()(std::int64_t number) const { return "--" + name + "=" + std::to_string(number); }
  std::string operator()(double number) const { return "--" + name + "=" + plain(number); }
  std::string operator()(const std::string& text) const { return "--" + name + "=" + text; }
};

}  // namespace

NamedSettings settings_of(const Measurement& measurement) {
  NamedSettings run = measurement.run;
  const auto place = [&run](std::string_view name) {
    return std::find_if(run.begin(), run.end(), [&](const auto& setting) { return setting.first == name; });
  };
  std::string stack;
  for (const auto& [name, version] : measurement.software)
    for (const std::string_view known : {"torch", "transformers", "peft", "accelerate", "bitsandbytes"})
      if (name == known) (stack += stack.empty() ? "" : ",") += name + "=" + version;
  if (!stack.empty()) {
    if (const auto known = place("stack"); known != run.end()) known->second = stack;
    else run.emplace_back("stack", stack);
  }
  if (place("gpu") == run.end() && measurement.gpu) run.emplace_back("gpu", *measurement.gpu);
  return run;
}

Result<NamedRun> named_run(const NamedSettings& run, const Tables& tables, Environment environment) {
  // Through the parser of the command line, so that a name means here what it means there.
  std::vector<std::string> arguments{"vram"};
  bool has_method = false;
  for (const auto& [name, value] : run) {
    if (name.ends_with("_bytes")) continue;
    if (!is_setting(name))
      return Error{Error::Kind::wrong, "'" + name.substr(0, 40) + "' is no setting of a run", "run",
                   "settings have the names of the flags of 'qwenplan vram'"};
    has_method = has_method || name == "method";
    arguments.push_back(std::visit(Argument{name}, value));
  }
  if (!has_method)
    return Error{Error::Kind::wrong, "the run does not say what was trained", "run",
                 "give it a method: full, lora or qlora"};
  // The allocator's options of this shell are not those of a run elsewhere.
  environment.allocator_options.clear();
  const auto line = taught(arguments);
  if (!line) return line.error();
  const auto invocation = parse(*line, environment);
  if (!invocation) return invocation.error();
  auto subject = read_subject(*invocation, tables);
  if (!subject) return subject.error();
  if (auto error = not_emulated(*subject)) return *std::move(error);
  auto draft = read_run(*invocation);
  if (!draft) return draft.error();
  if (subject->gpu && subject->gpu->count > 1 && !draft->gpus)
    draft->gpus = Given<std::int64_t>{subject->gpu->count, From::flag};
  return NamedRun{std::move(*subject), std::move(*draft)};
}

Result<Plan> planned(const NamedSettings& run, const Tables& tables, const Environment& environment) {
  auto named = named_run(run, tables, environment);
  if (!named) return named.error();
  return planned(setup_of(named->subject), std::move(named->draft), named->subject.allocator);
}

}  // namespace qwenplan
