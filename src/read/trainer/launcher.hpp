#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "read/trainer/document.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// What DeepSpeed or accelerate is told about a run: how many GPUs, and how the run is spread over
/// them. It may stand in a file of its own, in one that a trainer's file points to, or in the
/// trainer's file itself.
struct Launch {
  RunDraft::Maybe<std::int64_t> gpus;    ///< of all machines
  RunDraft::Maybe<std::string> zero;     ///< the stage, "0" to "3"
  RunDraft::Maybe<std::string> fsdp;     ///< "1" or "2", the version
  RunDraft::Maybe<std::string> offload;  ///< optimizer, params, or both with a comma
  RunDraft::Maybe<std::string> mixed;    ///< accelerate's precision: no, bf16, fp16, fp8
  RunDraft::Maybe<std::int64_t> micro_batch;
  RunDraft::Maybe<std::int64_t> accumulation;
  RunDraft::Maybe<bool> checkpoints;       ///< FSDP's own activation checkpointing
  RunDraft::Maybe<std::string> optimizer;  ///< DeepSpeed's, instead of the trainer's
  std::optional<Error> unmodelled;         ///< other ways to use several GPUs
  std::vector<Finding> findings;
};

/// A DeepSpeed configuration.
Launch deepspeed_settings(const Node& root);

/// An accelerate configuration, with the DeepSpeed file that it may point to.
Launch accelerate_settings(const Node& root, const Neighbours& neighbours);

/// What the file that `accelerate launch` is given holds; nothing if there is no such file. Places are
/// that of the word which names it.
std::optional<Launch> accelerate_setting(const std::string& path, Place place, const Neighbours& neighbours);

/// Leaves a run open whose launcher's file is not here.
void open_launcher(const std::string& path, Place place, TrainFile& file);

/// The `fsdp` and `fsdp_config` keys as transformers' TrainingArguments and the trainers on top of
/// it have them: words or true, and a map with or without the prefix `fsdp_`.
Launch fsdp_settings(const Node* fsdp, const Node* config);

/// What a trainer's `deepspeed` key holds: a map, JSON in a string, the path of a neighbour, or the
/// name of a configuration that comes with a trainer, such as zero3 or ds_z2_config.json. Places
/// are those of the key where the settings stand in another file.
Launch deepspeed_setting(const Entry& key, const Neighbours& neighbours);

/// Puts the settings into the draft of a trainer's file and says where the two contradict. What the
/// draft has from its own file stays.
void put_launch(Launch launch, TrainFile& file);

/// Lets accelerate's `mixed_precision` decide where a trainer's file leaves the precision to it, and says where it
/// does nothing. For a file that is read in full.
void settle_mixed_precision(TrainFile& file);

}  // namespace qwenplan
