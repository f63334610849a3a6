#include "probe/child.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <ctime>
#include <system_error>

namespace qwenplan {
namespace {

constexpr int kTaken[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

/// Without those that are to be ignored, as nohup wants it.
sigset_t taken() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kTaken) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN || signal == SIGCHLD) sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

SignalQueue::SignalQueue() {
  const sigset_t set = taken();
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

SignalQueue::~SignalQueue() {
  const sigset_t set = taken();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

std::optional<SignalQueue::Signal> SignalQueue::wait(double seconds) const {
  const sigset_t set = taken();
  timespec time{};
  time.tv_sec = static_cast<time_t>(seconds);
  time.tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
  siginfo_t info{};
  const int number = sigtimedwait(&set, &info, &time);
  if (number < 0) return std::nullopt;
  return Signal{number, info.si_code == SI_KERNEL};
}

Result<Child> Child::start(const std::vector<std::string>& words,
                           const std::vector<std::string>& variables) {
  // Grandchildren whose parent dies stay in the family, and in its memory.
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

  const auto pointers = [](const std::vector<std::string>& texts, std::vector<char*>& out) {
    for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  };
  std::vector<char*> arguments, environment;
  pointers(words, arguments);
  arguments.push_back(nullptr);
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  pointers(variables, environment);
  environment.push_back(nullptr);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t id = 0;
  const int failed = posix_spawnp(&id, arguments[0], nullptr, &attributes, arguments.data(),
                                  environment.data());
  posix_spawnattr_destroy(&attributes);
  if (failed != 0)
    return Error{Error::Kind::wrong, "'" + words[0] + "' cannot be run: " +
                                         std::error_code(failed, std::generic_category()).message(),
                 "-- " + words[0], "give a program and its arguments behind --"};
  return Child(id);
}

void Child::send(int signal) const { kill(id_, signal); }

std::optional<Ending> Child::ended() const {
  std::optional<Ending> ending;
  for (;;) {
    int status = 0;
    rusage use{};
    const pid_t id = wait4(-1, &status, WNOHANG, &use);
    if (id <= 0) return ending;
    if (id != id_ || (!WIFEXITED(status) && !WIFSIGNALED(status))) continue;
    ending = Ending{};
    ending->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    ending->status = WIFSIGNALED(status) ? 128 + ending->signal : WEXITSTATUS(status);
    // Its children's peaks, once they are waited for, stand in ours.
    rusage family{};
    getrusage(RUSAGE_CHILDREN, &family);
    const long kibibytes = std::max(use.ru_maxrss, family.ru_maxrss);
    // The kernel counts what stood in the process before it became the program: our own pages.
    rusage own{};
    getrusage(RUSAGE_SELF, &own);
    if (kibibytes > own.ru_maxrss) ending->resident = Bytes(1024) * kibibytes;
  }
}

}  // namespace qwenplan
