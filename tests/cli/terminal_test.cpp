#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

// The program itself is run, on a terminal and beside one.

namespace {

/// The same where a machine has no pseudo-terminals, such as a container without devpts.
std::string as_on_terminal(const std::string& line, unsigned short columns) {
  return qwenplan::test::run("unset NO_COLOR COLUMNS; export TERM=xterm LC_ALL=C.UTF-8 TERMINAL_COLUMNS=" +
                             std::to_string(columns) + " LD_PRELOAD=" +
                             qwenplan::test::quoted(QWENPLAN_FAKE_TERMINAL) + "; " + line)
      .out;
}

/// What a line of the shell writes to a terminal of so many columns.
std::string on_terminal(const std::string& line, unsigned short columns) {
  winsize size{24, columns, 0, 0};
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
  if (child < 0) return as_on_terminal(line, columns);
  if (child == 0) {
    unsetenv("NO_COLOR");
    unsetenv("COLUMNS");
    setenv("TERM", "xterm", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    const std::string whole =
        "qwenplan() { " + qwenplan::test::quoted(QWENPLAN_BINARY) + " \"$@\"; }\n" + line;
    execl("/bin/sh", "sh", "-c", whole.c_str(), nullptr);
    _exit(127);
  }
  std::string out;
  char buffer[4096];
  for (ssize_t count = 0; (count = read(terminal, buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<std::size_t>(count));
  close(terminal);
  waitpid(child, nullptr, 0);
  return out;
}

bool is_colored(const std::string& text) { return text.find("\033[") != std::string::npos; }

std::size_t longest_line(const std::string& text) {
  std::size_t longest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  return longest;
}

const std::string kAsk = "qwenplan vram --model qwen2.5-0.5b --gpu a100 --method lora";

}  // namespace

TEST_CASE("a terminal has colour, unless it is told otherwise") {
  CHECK(is_colored(on_terminal(kAsk, 80)));
  CHECK_FALSE(is_colored(on_terminal("NO_COLOR=1 " + kAsk, 80)));
  CHECK_FALSE(is_colored(on_terminal("TERM=dumb " + kAsk, 80)));
  CHECK_FALSE(is_colored(on_terminal(kAsk + " --color never", 80)));
  CHECK_FALSE(is_colored(on_terminal(kAsk + " --json", 80)));
  CHECK(is_colored(on_terminal("NO_COLOR= " + kAsk, 80)));
}

TEST_CASE("a pipe has none, unless it is told otherwise") {
  CHECK_FALSE(is_colored(qwenplan::test::run("TERM=xterm " + kAsk).out));
  CHECK(is_colored(qwenplan::test::run(kAsk + " --color always").out));
}

TEST_CASE("text is as wide as the terminal, or as COLUMNS says") {
  const std::string ask = "qwenplan explain activations";
  CHECK(longest_line(on_terminal(ask, 60)) <= 61);  // a terminal ends lines with CR LF
  CHECK(longest_line(on_terminal(ask, 120)) > 80);
  CHECK(longest_line(on_terminal("COLUMNS=50 " + ask, 120)) <= 51);
}

TEST_CASE("bars fall back to ASCII where the terminal has no UTF-8") {
  CHECK(on_terminal("LC_ALL=C " + kAsk, 80).find('#') != std::string::npos);
  CHECK(on_terminal(kAsk, 80).find('#') == std::string::npos);
}
