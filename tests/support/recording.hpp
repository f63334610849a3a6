#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace qwenplan::test {

/// A recorded training step: what PyTorch allocated and freed, in order, with the operator and the
/// module that did it (tests/reference/README.md gives the format).
struct Recording {
  struct Allocation {
    std::int64_t bytes = 0;
    std::string what;  ///< operator, shape and module
  };
  struct Event {
    std::int64_t storage = 0;  ///< index of `allocations`
    bool is_allocation = true;
    std::size_t phase = 0;  ///< index of `phases`
  };
  std::vector<Allocation> allocations;
  std::vector<std::string> phases;  ///< in the order of the recording; names come again
  std::vector<Event> events;
};

inline Recording read_recording(const std::string& path) {
  Recording recording;
  std::vector<Recording::Allocation> kinds;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::string rest = line.substr(1);
    switch (line.front()) {
      case '@':
        recording.phases.push_back(rest);
        break;
      case '=':
        kinds.push_back({std::atoll(rest.c_str()), rest.substr(rest.find(' ') + 1)});
        break;
      case '+':
        recording.events.push_back({static_cast<std::int64_t>(recording.allocations.size()), true,
                                    recording.phases.size() - 1});
        recording.allocations.push_back(kinds[static_cast<std::size_t>(std::atoll(rest.c_str()))]);
        break;
      case '-':
        recording.events.push_back(
            {std::atoll(rest.c_str()) - 1, false, recording.phases.size() - 1});
        break;
      default:
        break;
    }
  }
  return recording;
}

}  // namespace qwenplan::test
