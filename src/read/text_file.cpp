#include "read/text_file.hpp"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace qwenplan {

Result<std::string> read_text_file(const std::string& path, std::uintmax_t limit) {
  namespace fs = std::filesystem;
  const auto wrong = [&](std::string what, std::string hint) {
    return Error{Error::Kind::wrong, std::move(what), path, std::move(hint)};
  };
  std::error_code failed;
  const fs::file_status status = fs::status(path, failed);
  if (status.type() == fs::file_type::not_found) return wrong("no such file", "check the path");
  if (failed) return wrong("cannot be read: " + failed.message(), "check its permissions");
  if (!fs::is_regular_file(status)) return wrong("not a regular file", "give the path of a file");
  const std::uintmax_t size = fs::file_size(path, failed);
  if (failed) return wrong("cannot be read: " + failed.message(), "check its permissions");
  const std::string too_large = "larger than " + std::to_string(limit) + " bytes";
  if (size > limit) return wrong(too_large, "is this the right file?");

  std::ifstream file(path, std::ios::binary);
  if (!file) return wrong("cannot be opened", "check its permissions");
  // What was measured is not trusted: the file may have grown, and those of /proc have no size.
  std::string text;
  char part[1 << 14];
  while (file.read(part, sizeof part), file.gcount() > 0) {
    text.append(part, static_cast<std::size_t>(file.gcount()));
    if (text.size() > limit) return wrong(too_large, "is this the right file?");
  }
  if (file.bad()) return wrong("cannot be read", "check the disk");
  return text;
}

}  // namespace qwenplan
