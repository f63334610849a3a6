#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "support/catch.hpp"

namespace qwenplan::test {

/// A file of data/, parsed.
inline nlohmann::json data_file(const std::string& name) {
  std::ifstream in(std::string(QWENPLAN_SOURCE_DIR) + "/data/" + name);
  REQUIRE(in);
  return nlohmann::json::parse(in);
}

}  // namespace qwenplan::test
