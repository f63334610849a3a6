// Runs a case and compares: golden_runner [--update] PROGRAM CASE...
//
// A case is
//   $ qwenplan vram --model 7b          one line for the shell; qwenplan is the program under test
//   status 0
//   --- stdout
//   ...
//   --- stderr
//   ...
// Lines before the one with '$' are comments and are kept. The environment is fixed: no terminal,
// no colour, 80 columns, a day in 2026, so that an answer is the same on every machine. The line
// runs in an empty folder, which it may fill.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

namespace {

namespace fs = std::filesystem;

struct Case {
  std::string comment, command, status, out, err;

  std::string text() const {
    return comment + "$ " + command + "\nstatus " + status + "\n--- stdout\n" + out +
           "--- stderr\n" + err;
  }
};

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Case read_case(const fs::path& path) {
  Case read;
  std::istringstream lines(contents(path));
  std::string* part = &read.comment;
  for (std::string line; std::getline(lines, line);) {
    const bool is_head = part == &read.comment;
    if (is_head && line.starts_with("$ "))
      read.command = line.substr(2);
    else if (is_head && line.starts_with("status "))
      read.status = line.substr(7);
    else if (line == "--- stdout")
      part = &read.out;
    else if (line == "--- stderr")
      part = &read.err;
    else
      *part += line + "\n";
  }
  return read;
}

Case run(const Case& expected, const fs::path& folder) {
  const fs::path out = folder / "out", err = folder / "err", here = folder / "here";
  fs::create_directory(here);
  const std::string line = "cd '" + here.string() + "' && { " + expected.command + "\n} >'" +
                           out.string() + "' 2>'" + err.string() + "' </dev/null";
  const int status = std::system(line.c_str());
  fs::remove_all(here);
  Case actual = expected;
  actual.status = std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  actual.out = contents(out);
  actual.err = contents(err);
  for (std::string* text : {&actual.out, &actual.err})
    if (!text->empty() && text->back() != '\n') *text += "\n<no line end>\n";
  return actual;
}

}  // namespace

int main(int argc, char** argv) {
  int at = 1;
  const bool updates = argc > at && std::string(argv[at]) == "--update";
  if (updates) ++at;
  if (argc < at + 2) {
    std::cerr << "usage: golden_runner [--update] PROGRAM CASE...\n";
    return 2;
  }
  const fs::path program = fs::absolute(argv[at++]);
  const std::string path = program.parent_path().string() + ":" + std::getenv("PATH");
  setenv("PATH", path.c_str(), 1);
  setenv("SOURCE_DATE_EPOCH", "1798761600", 1);
  setenv("LC_ALL", "C.UTF-8", 1);
  for (const char* name : {"QWENPLAN_DATA", "NO_COLOR", "COLUMNS", "TERM", "PYTORCH_ALLOC_CONF",
                           "PYTORCH_CUDA_ALLOC_CONF"})
    unsetenv(name);

  std::string name = (fs::temp_directory_path() / "qwenplan-golden-XXXXXX").string();
  if (!mkdtemp(name.data())) return 2;
  const fs::path folder = name;
  int failures = 0;
  for (; at < argc; ++at) {
    const Case expected = read_case(argv[at]);
    const Case actual = run(expected, folder);
    if (actual.text() == expected.text()) continue;
    if (updates) {
      std::ofstream(argv[at], std::ios::binary) << actual.text();
      std::cout << "updated " << argv[at] << "\n";
      continue;
    }
    ++failures;
    std::cout << argv[at] << " answers otherwise; expected:\n"
              << expected.text() << "\nactual:\n"
              << actual.text() << "\n";
  }
  fs::remove_all(folder);
  return failures == 0 ? 0 : 1;
}
