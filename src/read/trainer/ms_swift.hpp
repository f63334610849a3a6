#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "read/trainer/command_flags.hpp"
#include "read/trainer/document.hpp"
#include "read/trainer/process_launch.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// What stands around ms-swift's arguments: the command's name, its launcher and the environment.
struct SwiftCommand {
  std::string verb;  ///< sft, pt, rlhf; empty for a file
  std::string method;  ///< of version 2's own commands: dpo, orpo, simpo
  bool is_megatron = false;
  LaunchEnvironment environment;
  ProcessLaunch launch;
};

/// Whether a script runs a command of ms-swift's, of any version; words of a comment are none.
bool runs_ms_swift(std::string_view script);

/// Reads ms-swift's arguments as a map, from a file or from a command's flags.
TrainFile read_swift_arguments(const Node& root, const SwiftCommand& command,
                               const Neighbours& neighbours, const std::vector<OpenFlag>& open = {});

}  // namespace qwenplan
