#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run.hpp"

namespace qwenplan {

/// How fast a fine-tuning run was for somebody who published it, on one GPU.
struct PublishedSpeed {
  std::string id;      ///< "fitcheck-023"
  std::string source;  ///< row of sources.json
  std::string model;   ///< row of models.json
  std::string gpu;     ///< row of gpus.json
  Method method = Method::lora;
  std::int64_t length = 0;
  std::int64_t micro_batch = 0;
  bool checkpoints = false;
  double rate = 0;  ///< tokens a second
};

/// Every row of speeds.json.
Result<std::vector<PublishedSpeed>> read_speeds();

}  // namespace qwenplan
