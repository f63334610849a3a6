#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdlib>

// Loaded before a program, its standard streams are a terminal of TERMINAL_COLUMNS, whatever they are.

extern "C" int isatty(int stream) { return stream <= STDERR_FILENO ? 1 : 0; }

extern "C" int ioctl(int file, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void* const argument = va_arg(more, void*);
  va_end(more);
  const char* const columns = std::getenv("TERMINAL_COLUMNS");
  if (request != TIOCGWINSZ || file > STDERR_FILENO || columns == nullptr)
    return static_cast<int>(syscall(SYS_ioctl, file, request, argument));
  *static_cast<winsize*>(argument) = {24, static_cast<unsigned short>(std::atoi(columns)), 0, 0};
  return 0;
}
