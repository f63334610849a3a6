#pragma once

#include <string>

#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// The file of PEFT's settings in an adapter's folder.
std::string adapter_config_in(const std::string& folder);

/// An adapter that is loaded and trained on. `folder` holds its adapter_config.json, which decides rank, layers, dropout
/// and what else PEFT makes of it, whatever the trainer's file says of new adapters. Where it is not here, the
/// file's own values stand in with a finding, and without a rank in the file there is no estimate. Call it when the
/// file's adapters are read; `place` is that of the key.
void take_saved_adapter(const std::string& folder, Place place, const Neighbours& neighbours, TrainFile& file);

}  // namespace qwenplan
