#include "cli/environment.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace qwenplan {
namespace {

std::string_view variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string_view{} : std::string_view{text};
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

std::string date_of(std::int64_t seconds) {
  constexpr std::int64_t kDay = 86'400;
  const std::chrono::sys_days day{std::chrono::days{seconds / kDay}};
  const std::chrono::year_month_day date{day};
  char text[16];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u", static_cast<int>(date.year()) % 10'000,
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return text;
}

std::int64_t seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool names_utf8(std::string_view locale) {
  return locale.find("UTF-8") != std::string_view::npos ||
         locale.find("utf8") != std::string_view::npos;
}

}  // namespace

Environment read_environment() {
  Environment environment;
  environment.data_directory = variable("QWENPLAN_DATA");
  environment.allocator_options = variable("PYTORCH_ALLOC_CONF");
  if (environment.allocator_options.empty())
    environment.allocator_options = variable("PYTORCH_CUDA_ALLOC_CONF");

  constexpr std::int64_t kLastSecondOf9999 = 253'402'300'799;
  std::int64_t seconds = 0;
  const bool is_given = read_number(variable("SOURCE_DATE_EPOCH"), seconds) && seconds >= 0 &&
                        seconds <= kLastSecondOf9999;
  environment.today = date_of(is_given ? seconds : seconds_now());

  environment.writes_to_terminal = isatty(STDOUT_FILENO) == 1;
  int columns = 0;
  if (read_number(variable("COLUMNS"), columns) && columns > 0)
    environment.width = columns < 40 ? 40 : columns;
  else if (environment.writes_to_terminal)
    environment.width = terminal_width();

  const std::string_view terminal = variable("TERM");
  environment.wants_color = environment.writes_to_terminal && variable("NO_COLOR").empty() &&
                            !terminal.empty() && terminal != "dumb";
  std::string_view locale = variable("LC_ALL");
  if (locale.empty()) locale = variable("LC_CTYPE");
  if (locale.empty()) locale = variable("LANG");
  environment.has_utf8 = !environment.writes_to_terminal || names_utf8(locale);
  return environment;
}

}  // namespace qwenplan
