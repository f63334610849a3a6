#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/describe/run_draft.hpp"
#include "read/trainer/command_flags.hpp"
#include "read/trainer/shell_text.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// What the words in front of a trainer's program say: torchrun, accelerate launch and deepspeed
/// start the processes themselves, and the trainer's own variables for that do not count.
struct ProcessLaunch {
  bool is_launcher = false;
  RunDraft::Maybe<std::int64_t> processes;  ///< of all machines
  ShellWord settings;                       ///< accelerate's file; no text: none is named
  Node flags;  ///< accelerate's flags that spread the run, as its file has them
  std::optional<ShellWord> mixed_precision;  ///< accelerate's flag, which goes before its file
  std::optional<Error> unmodelled;          ///< what of them cannot be told
  /// Why the number of processes cannot be told, where it stands in words: "a hostfile".
  std::string left_to;
  Place place;
};

/// Reads the words before `program`, the index of the trainer's own program. `visible` is how many
/// cards the environment shows; 0 where it does not say.
ProcessLaunch process_launch(const std::vector<ShellWord>& words, std::size_t program,
                             std::int64_t visible);

/// What the variables around a command say about cards and processes.
struct LaunchEnvironment {
  RunDraft::Maybe<std::int64_t> processes;  ///< NPROC_PER_NODE
  RunDraft::Maybe<std::int64_t> nodes;      ///< NNODES
  bool forces_torchrun = false;             ///< FORCE_TORCHRUN, or USE_MCA, which sets it
  std::int64_t visible = 0;                 ///< of CUDA_VISIBLE_DEVICES; 0: not said
  Place visible_place;

  void take(std::string_view variable, const Node& value);
  std::int64_t machines() const { return nodes ? nodes->value : 1; }
};

/// A command's environment and launcher, and those of its variables that count and that only a run of the
/// script would tell.
struct CommandLaunch {
  LaunchEnvironment environment;
  ProcessLaunch launch;
  std::vector<OpenFlag> open;
};
CommandLaunch launch_of(const ShellCommand& command, std::size_t program);

/// Puts into a trainer's file how many cards a launcher starts, with the settings that it is given.
void put_process_launch(const ProcessLaunch& launch, const Neighbours& neighbours, TrainFile& file);

}  // namespace qwenplan
