#if __has_include(<malloc.h>)
#include <malloc.h>
#endif
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cli/app.hpp"
#include "cli/exit_status.hpp"

namespace {

/// Writes everything; false if it could not, with errno.
bool write_all(int stream, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(stream, text.data(), text.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef M_MMAP_THRESHOLD
  // Each emulated step takes some megabytes. Kept for the next one, they need not be mapped anew.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 1 << 22);
  mallopt(M_ARENA_MAX, 1);  // two threads at most, of which one hardly asks
#endif
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  const qwenplan::Outcome outcome = qwenplan::execute(arguments, qwenplan::read_environment());

  // A reader that has seen enough closes the pipe; that is no error of ours.
  std::signal(SIGPIPE, SIG_IGN);
  write_all(STDERR_FILENO, outcome.err);
  if (!write_all(STDOUT_FILENO, outcome.out)) {
    if (errno == EPIPE) return qwenplan::kYes;
    write_all(STDERR_FILENO,
              "error: the answer cannot be written\n  in: standard output\n"
              "  help: is the disk full, or the output closed?\n");
    return qwenplan::kUnknown;
  }
  return outcome.status;
}
