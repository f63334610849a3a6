#include "read/trainer/process_launch.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "qwenplan/describe/valid_run.hpp"
#include "read/trainer/launcher.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// The flags of a launcher: --name value and --name=value, with hyphens or underscores.
class LauncherFlags {
 public:
  LauncherFlags(const std::vector<ShellWord>& words, std::size_t end) : words_(words), end_(end) {}

  std::optional<ShellWord> value(std::initializer_list<std::string_view> names) const {
    for (std::size_t i = 0; i < end_; ++i) {
      std::string flag = words_[i].text;
      const std::size_t sign = std::min(flag.find('='), flag.size());
      std::replace(flag.begin(), flag.begin() + static_cast<std::ptrdiff_t>(sign), '-', '_');
      for (const std::string_view name : names) {
        if (std::string_view(flag).substr(0, sign) != name) continue;
        if (sign == flag.size()) {
          if (i + 1 >= end_) return std::nullopt;
          return words_[i + 1];
        }
        ShellWord behind = words_[i];
        behind.text.erase(0, sign + 1);
        return behind;
      }
    }
    return std::nullopt;
  }

 private:
  const std::vector<ShellWord>& words_;
  std::size_t end_;
};

std::optional<std::int64_t> count_of(const ShellWord& word) {
  if (!word.unresolved.empty()) return std::nullopt;
  Node node;
  node.kind = Node::Kind::scalar;
  node.scalar = word.text;
  const auto count = node.whole();
  return count && *count >= 1 ? std::optional(std::min<std::int64_t>(*count, kMostBatch)) : std::nullopt;
}

/// A number per machine times the machines; one machine where nobody says.
void per_machine(ProcessLaunch& out, const std::optional<ShellWord>& each, const std::optional<ShellWord>& machines,
                 std::optional<std::int64_t> otherwise) {
  const auto own = each ? count_of(*each) : otherwise;
  const auto many = machines ? count_of(*machines) : std::optional<std::int64_t>(1);
  if (!own || !many) {
    const std::optional<ShellWord>& open = own ? machines : each;
    out.left_to = open ? "'" + open->text.substr(0, 40) + "'" : "the launcher";
    if (open) out.place = open->place;
    return;
  }
  out.processes = from_file(*own * *many, each ? each->place : out.place);
}

/// "localhost:0,1@worker-1:2": as many as there are numbers.
std::optional<std::int64_t> included(const ShellWord& word) {
  if (!word.unresolved.empty() || word.text.find(':') == std::string::npos) return std::nullopt;
  const auto commas = std::count(word.text.begin(), word.text.end(), ',');
  return 1 + commas + std::count(word.text.begin(), word.text.end(), '@');
}

}  // namespace

ProcessLaunch process_launch(const std::vector<ShellWord>& words, std::size_t program,
                             std::int64_t visible) {
  ProcessLaunch out;
  const LauncherFlags flags(words, program);
  const std::optional<std::int64_t> shown = visible > 0 ? std::optional(visible) : std::nullopt;
  const auto is_word = [&](std::size_t i, std::string_view text) {
    const std::string& word = words[i].text;
    return i < program && (word == text || (word.ends_with(text) && word.ends_with("/" + std::string(text))));
  };
  for (std::size_t i = 0; i < program && !out.is_launcher; ++i) {
    out.place = words[i].place;
    if (is_word(i, "torchrun") || is_word(i, "torch.distributed.run") || is_word(i, "torch.distributed.launch")) {
      out.is_launcher = true;
      per_machine(out, flags.value({"__nproc_per_node"}), flags.value({"__nnodes"}), 1);
    } else if (is_word(i, "deepspeed")) {
      out.is_launcher = true;
      const auto include = flags.value({"__include", "_i"});
      if (include && included(*include))
        out.processes = from_file(*included(*include), include->place);
      else if (flags.value({"__hostfile", "_H"}) && !flags.value({"__num_nodes"}))
        out.left_to = "a hostfile";
      else
        per_machine(out, flags.value({"__num_gpus"}), flags.value({"__num_nodes"}), shown);
    } else if (is_word(i, "accelerate") && i + 1 < program && words[i + 1].text == "launch") {
      out.is_launcher = true;
      if (const auto file = flags.value({"__config_file"})) out.settings = *file;
      const auto all = flags.value({"__num_processes"});
      if (all || out.settings.text.empty()) per_machine(out, all, std::nullopt, shown);
    }
  }
  return out;
}

void LaunchEnvironment::take(std::string_view variable, const Node& value) {
  const auto text = value.text();
  if (variable == "NPROC_PER_NODE") {
    if (const auto count = value.whole())
      processes = from_file(std::clamp<std::int64_t>(*count, 1, kMostBatch), value.place);
  } else if (variable == "NNODES") {
    nodes = std::clamp<std::int64_t>(value.whole().value_or(1), 1, kMostBatch);
  } else if (variable == "CUDA_VISIBLE_DEVICES" && text && !text->empty()) {
    visible = 1 + std::count(text->begin(), text->end(), ',');
    visible_place = value.place;
  }
}

CommandLaunch launch_of(const ShellCommand& command, std::size_t program) {
  CommandLaunch out;
  std::vector<OpenFlag> untold;
  for (const auto& [variable, value] : command.environment) {
    if (value.unresolved.empty())
      out.environment.take(variable, scalar_of(value));
    else if (variable == "NPROC_PER_NODE" || variable == "CUDA_VISIBLE_DEVICES" || variable == "NNODES")
      for (const std::string& each : value.unresolved)
        untold.push_back({variable, each, value.is_either, true, value.place});
  }
  out.launch = process_launch(command.words, program, out.environment.visible);
  for (OpenFlag& each : untold) {
    // With processes the visible cards do not count, and a launcher has its own words for both.
    const bool is_visible = each.key == "CUDA_VISIBLE_DEVICES";
    if (is_visible ? out.environment.processes || out.launch.processes : out.launch.is_launcher) continue;
    out.open.push_back(std::move(each));
  }
  return out;
}

void put_process_launch(const ProcessLaunch& launch, const std::string& name, const Neighbours& neighbours, TrainFile& file) {
  RunDraft& draft = file.draft;
  std::string left_to = launch.left_to;
  if (!launch.settings.text.empty()) {
    const std::string& path = launch.settings.text;
    auto settings = launch.settings.unresolved.empty() ? accelerate_setting(path, launch.settings.place, neighbours)
                                                       : std::nullopt;
    if (settings)
      put_launch(*std::move(settings), file);
    else if (left_to.empty())
      left_to = "'" + path.substr(0, 100) + "', which is not here";
  }
  if (launch.processes) draft.gpus = launch.processes;
  if (!draft.gpus && !left_to.empty())
    file.open.push_back({"gpus",
                         {Error::Kind::unknown, "how many processes run is left to " + left_to,
                          where(name, launch.place), "give it with --gpus, or the file with --launcher"},
                         launch.place});
}

}  // namespace qwenplan
