#pragma once

#include <optional>
#include <string>

#include "read/trainer/document.hpp"
#include "read/trainer/shell_text.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// What a reader is given. The dispatcher has found out whose file it is, has parsed it and reports
/// keys that stand twice.
struct Source {
  const Node& root;         ///< a map; null for a script
  const std::string& text;  ///< as it is, for comments and scripts
  const std::string& name;
  const Neighbours& neighbours;
  std::string version;  ///< of the trainer; empty: the latest
  const ShellScript* script = nullptr;  ///< what the shell would run, of a script
};

// One reader for each trainer. A reader always answers: what it cannot use is a finding, or the
// reason in `unmodelled`.
TrainFile read_llama_factory(const Source& source);
TrainFile read_llama_factory_script(const Source& source);
/// What a command of LLaMA-Factory's, or one that is called as its are, has in its file of arguments and flags; null
/// where the file cannot be read, and nothing where none is here.
std::optional<Node> llama_factory_arguments(const ShellScript& script, const Neighbours& neighbours);
TrainFile read_llama_factory_v1(const Source& source);
TrainFile read_axolotl(const Source& source);
TrainFile read_trl(const Source& source);
TrainFile read_transformers(const Source& source);
TrainFile read_torchtune(const Source& source);
TrainFile read_ms_swift(const Source& source);
TrainFile read_ms_swift_script(const Source& source);
TrainFile read_litgpt(const Source& source);
TrainFile read_unsloth(const Source& source);
TrainFile read_deepspeed(const Source& source);
TrainFile read_accelerate(const Source& source);
TrainFile read_fsdp(const Source& source);

}  // namespace qwenplan
