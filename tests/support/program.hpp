#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "support/temp_folder.hpp"

namespace qwenplan::test {

/// What a process leaves.
struct Left {
  int status = 0;  ///< as a shell has it
  std::string out;
  std::string err;

  nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A word for the shell, whatever is in it.
inline std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// Runs a line of the shell, in which "qwenplan" is the program under test.
inline Left run(const std::string& line) {
  const TempFolder folder;
  const std::string out = folder.path("out"), err = folder.path("err");
  const std::string whole = "qwenplan() { " + quoted(QWENPLAN_BINARY) + " \"$@\"; }\n{ " + line + "\n} >" +
                            quoted(out) + " 2>" + quoted(err) + " </dev/null";
  const int status = std::system(whole.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(out), contents(err)};
}

}  // namespace qwenplan::test
