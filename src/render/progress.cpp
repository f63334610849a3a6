#include "render/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <utility>

#include "qwenplan/base/quantity.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

constexpr double kQuiet = 0.4;  ///< seconds: what is over sooner shows nothing
constexpr double kPause = 0.1;
constexpr std::int64_t kWidth = 24;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void write(const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string what) : what_(std::move(what)), draws_(isatty(STDERR_FILENO) == 1), began_(now()) {}

Progress::~Progress() {
  if (has_drawn_) write("\r\x1b[K");
}

void Progress::show(std::int64_t done, std::optional<std::int64_t> all) {
  const double time = now();
  if (!draws_ || time - began_ < kQuiet || time - drawn_ < kPause) return;
  drawn_ = time;
  has_drawn_ = true;
  std::string line = "\r" + what_ + " ";
  if (all && *all > 0) {
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(*all));
    const auto full = static_cast<std::size_t>(share * static_cast<double>(kWidth));
    line += "[" + std::string(full, '#') + std::string(static_cast<std::size_t>(kWidth) - full, '.') + "] " +
            text_percent(share) + "  ";
    if (share > 0) line += text_duration((time - began_) * (1 - share) / share) + " left, ";
  }
  const double rate = static_cast<double>(done) / (time - began_);
  write(line + text(Bytes(done)) + ", " + text(Bytes(static_cast<std::int64_t>(rate))) + "/s\x1b[K");
}

}  // namespace qwenplan
