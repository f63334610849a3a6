#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

namespace qwenplan {

/// Holds back the signals that end or steer a program, so that a loop can take them one by one.
/// Undone when it goes out of scope.
class SignalQueue {
 public:
  SignalQueue();
  ~SignalQueue();
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  struct Signal {
    int number = 0;
    bool is_from_terminal = false;  ///< Ctrl-C reaches the whole group, so it need not be passed on
  };
  /// The next signal, or nothing after so many seconds.
  std::optional<Signal> wait(double seconds) const;
};

/// How a program ended.
struct Ending {
  int status = 0;    ///< as a shell has it: 128 and the number of the signal that ended it
  int signal = 0;    ///< 0: it ended by itself
  Bytes resident{};  ///< the most that any one program of the family touched, from the kernel
};

/// A program that was started, with the signals and streams of this one.
class Child {
 public:
  /// Starts it with more variables in its environment, "NAME=value". Errors are of kind wrong: no
  /// such program, or not one that may be run.
  static Result<Child> start(const std::vector<std::string>& words,
                             const std::vector<std::string>& variables);

  pid_t id() const { return id_; }
  void send(int signal) const;
  /// How it ended, or nothing while it runs. Orphans of its family are laid to rest as well.
  std::optional<Ending> ended() const;

 private:
  explicit Child(pid_t id) : id_(id) {}
  pid_t id_;
};

}  // namespace qwenplan
