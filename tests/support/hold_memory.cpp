// Touches so many MiB, holds them for so many seconds, and ends with a status:
//   hold_memory MIB SECONDS [STATUS [CHILDREN]]
// With CHILDREN, each of so many children holds the same amount as well, and is waited for.

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::size_t bytes = std::strtoull(argv[1], nullptr, 10) << 20;
  const double seconds = std::strtod(argv[2], nullptr);
  const int status = argc > 3 ? std::atoi(argv[3]) : 0;
  const int children = argc > 4 ? std::atoi(argv[4]) : 0;
  bool is_child = false;
  for (int i = 0; i < children && !is_child; ++i) is_child = fork() == 0;
  std::vector<char> memory(bytes, 'x');
  // Read through a volatile pointer, so that no compiler takes it away.
  volatile char* kept = memory.data();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  if (bytes > 0 && kept[bytes - 1] != 'x') return 99;
  while (!is_child && wait(nullptr) > 0) {
  }
  return status;
}
