#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwenplan {

// The scripts that `cloud script` prints, with places such as @MODEL@ to fill. Each contains the same
// training program at @TRAIN@.

std::string_view train_template();
std::string_view colab_template();
std::string_view sagemaker_template();
std::string_view skypilot_template();
std::string_view slurm_template();
std::string_view docker_template();

using Places = std::vector<std::pair<std::string_view, std::string>>;

/// A template with its places filled. A value that is put on a line of its own keeps the indent of the
/// place for all its lines.
std::string filled(std::string_view text, const Places& places);

}  // namespace qwenplan
