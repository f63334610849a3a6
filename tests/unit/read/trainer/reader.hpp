#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "read/trainer/train_file.hpp"
#include "support/catch.hpp"

namespace qwenplan {

/// Files that a text may point to.
class Beside final : public Neighbours {
 public:
  using Files = std::map<std::string, std::string>;
  Beside() = default;
  explicit Beside(Files files) : files_(std::move(files)) {}
  std::optional<std::string> text_of(const std::string& path) const override {
    const auto found = files_.find(path);
    return found == files_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  Files files_;
};

inline TrainFile reading(const std::string& text, const std::string& name = "run.yaml",
                         const Beside& beside = {}, const std::string& version = {}) {
  const auto file = read_train_file(text, name, beside, {std::nullopt, version});
  INFO(text);
  if (!file) INFO(file.error().what);
  REQUIRE(file.ok());
  return *file;
}

inline bool says(const TrainFile& file, const std::string& rule) {
  return std::any_of(file.findings.begin(), file.findings.end(),
                     [&](const Finding& each) { return each.rule == rule; });
}

}  // namespace qwenplan
