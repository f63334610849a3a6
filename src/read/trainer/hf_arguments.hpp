#pragma once

#include <cstdint>

#include "read/trainer/settings.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// Reads the keys of transformers' TrainingArguments that matter to memory, storage and time, and
/// knows all others of versions 4.49 to 5.23: TRL's, ms-swift's and LLaMA-Factory's arguments are
/// built on them. Sets no default but those that all of them share: see `hf_defaults`.
void read_hf_arguments(Settings& settings, TrainFile& file, const Neighbours& neighbours);

/// Label smoothing, which takes whole logits in place of the model's own loss, is not modelled.
void refuse_label_smoothing(Settings& settings, TrainFile& file);

/// Says which keys transformers 5 has no more, to a trainer that takes its arguments as they are.
void say_old_hf_names(Settings& settings);

/// With accelerate's split_batches the batch is that of all GPUs together: each takes its share of it.
/// Call it where the number of GPUs is known, if it is.
void split_batch(Settings& settings, TrainFile& file);

/// The defaults of TrainingArguments: a micro-batch of 8, no accumulation, 3 epochs, a checkpoint
/// each 500 steps, all of them kept.
void hf_defaults(TrainFile& file);

/// `attn_implementation` in the words of --attention; hub kernels keep their name.
RunDraft::Maybe<std::string> attention_named(RunDraft::Maybe<std::string> given);

/// `gradient_checkpointing_kwargs`, a map or JSON in a string: use_reentrant.
RunDraft::Maybe<bool> reentrant_of(Settings& settings);

/// KTO with `loss_type: apo_zero_unpaired` leaves the divergence out, and its forward.
void refuse_without_divergence(Settings& settings, TrainFile& file);

}  // namespace qwenplan
