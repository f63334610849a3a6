#include "read/trainer/process_launch.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "qwenplan/base/parse.hpp"
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
    const std::size_t at = index(names);
    if (at == end_) return std::nullopt;
    const std::size_t sign = words_[at].text.find('=');
    if (sign == std::string::npos) return at + 1 < end_ ? std::optional(words_[at + 1]) : std::nullopt;
    ShellWord behind = words_[at];
    behind.text.erase(0, sign + 1);
    return behind;
  }

  /// The flag itself, with or without a value; nullptr where it does not stand.
  const ShellWord* find(std::string_view name) const {
    const std::size_t at = index({name});
    return at == end_ ? nullptr : &words_[at];
  }

 private:
  std::size_t index(std::initializer_list<std::string_view> names) const {
    for (std::size_t i = 0; i < end_; ++i) {
      std::string flag = words_[i].text.substr(0, words_[i].text.find('='));
      std::replace(flag.begin(), flag.end(), '-', '_');
      if (std::find(names.begin(), names.end(), flag) != names.end()) return i;
    }
    return end_;
  }

  const std::vector<ShellWord>& words_;
  std::size_t end_;
};

std::optional<std::int64_t> count_of(const ShellWord& word) {
  if (!word.unresolved.empty()) return std::nullopt;
  const auto count = scalar_of(word).whole();
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

/// "localhost:0,1@worker-1:2": as many as there are numbers. A machine without them runs on all its cards.
std::optional<std::int64_t> included(const ShellWord& word) {
  if (!word.unresolved.empty()) return std::nullopt;
  std::int64_t count = 0;
  for (std::string_view rest = word.text; !rest.empty();) {
    const std::string_view machine = rest.substr(0, rest.find('@'));
    rest.remove_prefix(std::min(machine.size() + 1, rest.size()));
    const std::size_t colon = machine.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    for (std::size_t at = colon; at != std::string_view::npos; ++count) {
      const std::size_t comma = machine.find(',', at + 1);
      const std::string_view card = machine.substr(at + 1, comma == std::string_view::npos ? comma : comma - at - 1);
      if (card.empty() || card.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
      at = comma;
    }
  }
  return count > 0 ? std::optional(count) : std::nullopt;
}

/// A map with one entry more.
void add_entry(Node& map, std::string key, Node value, Place place) {
  map.kind = Node::Kind::map;
  if (map.place.line == 0) map.place = place;
  map.entries.push_back({std::move(key), place, std::move(value)});
}

/// The flags of accelerate that spread a run, as the keys of its file. Its file and these together, and values
/// that only a run of the script would tell, are a reason to stop.
void spread_by_flags(const LauncherFlags& flags, ProcessLaunch& out) {
  const auto stop = [&](std::string what, const ShellWord& flag, std::string hint) {
    if (!out.unmodelled) out.unmodelled = unknown_at(flag.place, std::move(what), std::move(hint));
  };
  for (const std::string_view other : {"__use_megatron_lm", "__use_parallelism_config"})
    if (const ShellWord* flag = flags.find(other))
      stop("'" + flag->text.substr(0, 40) + "' of accelerate is not modelled", *flag, "modelled: --use_deepspeed, --use_fsdp");
  const auto part = [&](std::string_view use, std::string_view type, std::string_view key,
                        std::initializer_list<std::string_view> members) {
    const ShellWord* const is_used = flags.find(use);
    Node map{Node::Kind::map, false, {}, {}, {}, is_used ? is_used->place : Place{}};
    const ShellWord* first = is_used;
    for (const std::string_view member : members) {
      const std::string name = "__" + std::string(member);
      const auto value = flags.value({name});
      if (!value) continue;
      if (!first) first = flags.find(name);
      if (!value->unresolved.empty())
        stop("the value of --" + std::string(member) + " needs '" + value->unresolved.front().substr(0, 40) +
                 "', which the script does not decide",
             *value, "write the value out");
      add_entry(map, std::string(member), scalar_of(*value), value->place);
    }
    if (!first) return;
    if (!out.settings.text.empty())
      stop("'" + first->text.substr(0, 40) + "' beside a file of accelerate is not modelled", *first, "write it in that file");
    if (!is_used)
      stop("'" + first->text.substr(0, 40) + "' does nothing without --" + std::string(use.substr(2)) +
               ", and whether a file of accelerate says so cannot be told",
           *first, "add --" + std::string(use.substr(2)) + ", or leave it out");
    if (type == "FSDP" && !map.has("fsdp_version"))  // accelerate's own
      add_entry(map, "fsdp_version", scalar_of({"1", first->place, {}}), first->place);
    add_entry(out.flags, "distributed_type", scalar_of({std::string(type), first->place, {}}), first->place);
    add_entry(out.flags, std::string(key), std::move(map), first->place);
  };
  part("__use_deepspeed", "DEEPSPEED", "deepspeed_config",
       {"deepspeed_config_file", "zero_stage", "offload_optimizer_device", "offload_param_device"});
  part("__use_fsdp", "FSDP", "fsdp_config",
       {"fsdp_version", "fsdp_offload_params", "fsdp_sharding_strategy", "fsdp_auto_wrap_policy",
        "fsdp_reshard_after_forward", "fsdp_activation_checkpointing"});
}

}  // namespace

ProcessLaunch process_launch(const std::vector<ShellWord>& words, std::size_t program,
                             std::int64_t visible) {
  ProcessLaunch out;
  const LauncherFlags flags(words, program);
  const std::optional<std::int64_t> shown = visible > 0 ? std::optional(visible) : std::nullopt;
  const auto is_word = [&](std::size_t i, std::string_view text) {
    const std::string& word = words[i].text;
    return i < program && (word == text || word.ends_with("/" + std::string(text)));
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
      out.mixed_precision = flags.value({"__mixed_precision"});
      const auto all = flags.value({"__num_processes"});
      if (all || out.settings.text.empty()) per_machine(out, all, std::nullopt, shown);
      spread_by_flags(flags, out);
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
    nodes = from_file(std::clamp<std::int64_t>(value.whole().value_or(1), 1, kMostBatch), value.place);
  } else if ((variable == "FORCE_TORCHRUN" || variable == "USE_MCA") && text) {
    const std::string word = lowered(*text);
    forces_torchrun = forces_torchrun || word == "true" || word == "y" || word == "1";
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

void put_process_launch(const ProcessLaunch& launch, const Neighbours& neighbours, TrainFile& file) {
  RunDraft& draft = file.draft;
  if (!file.unmodelled) file.unmodelled = launch.unmodelled;
  if (!launch.flags.is_null()) put_launch(accelerate_settings(launch.flags, neighbours), file);
  if (const ShellWord& path = launch.settings; !path.text.empty()) {
    auto settings = path.unresolved.empty() ? accelerate_setting(path.text, path.place, neighbours) : std::nullopt;
    if (settings)
      put_launch(*std::move(settings), file);
    else
      open_launcher(path.text, path.place, file);
  }
  if (const auto& mixed = launch.mixed_precision) file.mixed_precision = from_file(mixed->text, mixed->place);
  if (launch.processes) draft.gpus = launch.processes;
  if (!draft.gpus && !launch.left_to.empty())
    file.open.push_back({"gpus", unknown_at(launch.place, "how many processes run is left to " + launch.left_to,
                                            "give it with --gpus, or the file with --launcher")});
}

}  // namespace qwenplan
