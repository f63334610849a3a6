#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/cpu.hpp"

namespace qwenplan {

/// The numbers of a kernel list: "0-3,8" is 0, 1, 2, 3, 8. What cannot be read is left out.
std::vector<int> parse_cpu_list(std::string_view text);

/// The processor that this program may use. `root` stands before every path of /sys and /proc, and
/// `allowed` for the affinity of this process, so that a test can show another machine.
Cpu probe_cpu(const std::string& root = {}, std::optional<std::vector<int>> allowed = {});

/// What the control groups of this process allow, at every level of them; none: no limit. Version 2
/// and version 1.
std::optional<double> group_cpus(const std::string& root = {});
std::optional<Bytes> group_memory(const std::string& root = {});

}  // namespace qwenplan
