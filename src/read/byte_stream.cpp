#include "read/byte_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace qwenplan {
namespace {

constexpr std::size_t kPart = 1 << 18;

Error wrong(const std::string& path, std::string what, std::string hint) {
  return {Error::Kind::wrong, std::move(what), path, std::move(hint)};
}

}  // namespace

struct ByteStream::State {
  std::string path;
  int file = -1;
  std::optional<std::int64_t> size;
  std::int64_t taken = 0;
  bool is_gzip = false;
  bool in_member = false;  ///< of the gzip file, which may hold several
  bool has_inflater = false;
  bool has_member = false;
  z_stream inflater{};
  std::vector<char> part = std::vector<char>(kPart);  ///< raw bytes that are not used yet
  std::size_t begin = 0, end = 0;
  bool at_end = false;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (has_inflater) inflateEnd(&inflater);
    if (file > 0) ::close(file);
  }

  Result<std::size_t> read_raw(char* into, std::size_t room) {
    for (;;) {
      const ssize_t got = ::read(file, into, room);
      if (got >= 0) {
        taken += got;
        return static_cast<std::size_t>(got);
      }
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd wait{file, POLLIN, 0};
        ::poll(&wait, 1, -1);
        continue;
      }
      return wrong(path, "it cannot be read: " + std::string(std::strerror(errno)), "check the disk");
    }
  }

  /// Brings raw bytes into `part` where it is used up.
  std::optional<Error> fill() {
    if (begin < end || at_end) return std::nullopt;
    const auto got = read_raw(part.data(), part.size());
    if (!got) return got.error();
    begin = 0;
    end = *got;
    at_end = end == 0;
    return std::nullopt;
  }

  Result<std::size_t> inflate_into(char* into, std::size_t room) {
    const auto corrupt = [&](const std::string& why) {
      return wrong(path, why + " after " + std::to_string(taken - static_cast<std::int64_t>(end - begin)) +
                             " bytes of the gzip file",
                   "the file is damaged or was not copied whole: gzip -t tells the same");
    };
    for (;;) {
      if (auto error = fill()) return *error;
      if (begin == end) {
        if (in_member) return corrupt("the data end too early");
        return std::size_t{0};
      }
      if (!in_member) {
        // What follows a member is another one, or padding.
        if (has_member && part[begin] != '\x1f') {
          begin = end;
          continue;
        }
        inflateReset2(&inflater, 15 + 16);
        in_member = true;
      }
      inflater.next_in = reinterpret_cast<Bytef*>(part.data() + begin);
      inflater.avail_in = static_cast<uInt>(end - begin);
      inflater.next_out = reinterpret_cast<Bytef*>(into);
      inflater.avail_out = static_cast<uInt>(std::min<std::size_t>(room, 1u << 30));
      const uInt asked = inflater.avail_out;
      const int result = inflate(&inflater, Z_NO_FLUSH);
      begin = end - inflater.avail_in;
      if (result == Z_STREAM_END) {
        in_member = false;
        has_member = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return corrupt(result == Z_DATA_ERROR && inflater.msg ? inflater.msg : "the data are corrupt");
      }
      if (const std::size_t made = asked - inflater.avail_out; made > 0) return made;
    }
  }
};

ByteStream::ByteStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
ByteStream::ByteStream(ByteStream&&) noexcept = default;
ByteStream& ByteStream::operator=(ByteStream&&) noexcept = default;
ByteStream::~ByteStream() = default;

Result<ByteStream> ByteStream::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path == "-" ? "standard input" : path;
  // Without waiting, so that a pipe that nobody writes to does not hang.
  state->file = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (state->file < 0)
    return errno == ENOENT || errno == ENOTDIR
               ? wrong(path, "no such file", "check the path")
               : wrong(path, "it cannot be read: " + std::string(std::strerror(errno)), "check its permissions");
  struct stat about {};
  if (::fstat(state->file, &about) != 0) return wrong(path, "it cannot be read", "check its permissions");
  if (S_ISDIR(about.st_mode)) return wrong(path, "it is a folder", "give one file of examples");
  if (!S_ISREG(about.st_mode) && !S_ISFIFO(about.st_mode) && path != "-")
    return wrong(path, "it is neither a file nor a pipe", "give a file of examples");
  if (S_ISREG(about.st_mode)) state->size = about.st_size;
  // A pipe may give its first bytes one at a time.
  while (state->end < 2) {
    const auto got = state->read_raw(state->part.data() + state->end, kPart - state->end);
    if (!got) return got.error();
    if (*got == 0) break;
    state->end += *got;
  }
  if (state->end >= 2 && state->part[0] == '\x1f' && state->part[1] == '\x8b') {
    state->is_gzip = true;
    if (inflateInit2(&state->inflater, 15 + 16) != Z_OK)
      return Error{Error::Kind::unknown, "there is no memory to decompress it", path, "decompress it before: gunzip"};
    state->has_inflater = true;
  }
  return ByteStream(std::move(state));
}

Result<std::size_t> ByteStream::read(char* into, std::size_t room) {
  if (state_->is_gzip) return state_->inflate_into(into, room);
  if (state_->begin < state_->end) {
    const std::size_t some = std::min(room, state_->end - state_->begin);
    std::memcpy(into, state_->part.data() + state_->begin, some);
    state_->begin += some;
    return some;
  }
  return state_->read_raw(into, room);
}

std::optional<std::int64_t> ByteStream::size() const { return state_->size; }
std::int64_t ByteStream::taken() const { return state_->taken; }
bool ByteStream::is_gzip() const { return state_->is_gzip; }

}  // namespace qwenplan
