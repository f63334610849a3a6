#include "probe/folders.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;
using qwenplan::test::TempFolder;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kTree[] = {"models", "models/base", "temp"};
constexpr std::int64_t kNow = 2'000'000'000;
constexpr std::int64_t kDay = 86'400;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder with temp/ in it.
class Base {
 public:
  explicit Base(const std::string& name = "base") : path_(folder_.path(name)) {
    fs::create_directories(path_ + "/temp");
  }
  const std::string& path() const { return path_; }
  const TempFolder& around() const { return folder_; }

  /// A file in temp/ that was last written so many seconds before `kNow`.
  void file(const std::string& name, std::int64_t age) const {
    const std::string path = path_ + "/temp/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << "text of " << name;
    const timespec time{static_cast<time_t>(kNow - age), 0};
    const timespec both[] = {time, time};
    REQUIRE(utimensat(AT_FDCWD, path.c_str(), both, 0) == 0);
  }
  bool has(const std::string& name) const {
    return fs::exists(fs::symlink_status(path_ + "/temp/" + name));
  }

 private:
  TempFolder folder_;
  std::string path_;
};

std::vector<std::string> names(const std::vector<OldFile>& files) {
  std::vector<std::string> found;
  for (const OldFile& file : files) found.push_back(file.path);
  return found;
}

std::string why(const Cleaning& cleaning, const std::string& path) {
  for (const LeftAlone& each : cleaning.left)
    if (each.path == path) return each.why;
  return "";
}

}  // namespace

TEST_CASE("a tree is made once, and nothing that exists is touched") {
  const TempFolder around;
  const std::string base = around.path("new/أوزان النموذج with spaces");
  const auto first = make_tree(base, kTree);
  REQUIRE(first);
  CHECK(first->made == std::vector<std::string>{"models", "models/base", "temp"});
  CHECK(fs::is_directory(base + "/models/base"));

  std::ofstream(base + "/models/base/weights") << "precious";
  fs::permissions(base + "/models", fs::perms::owner_all);
  const auto again = make_tree(base + "/", kTree);
  REQUIRE(again);
  CHECK(again->made.empty());
  CHECK(again->kept.size() == 3);
  CHECK(text_of(base + "/models/base/weights") == "precious");
  CHECK(fs::status(base + "/models").permissions() == fs::perms::owner_all);
}

TEST_CASE("a file in the way stops everything before anything is made") {
  const TempFolder around;
  const std::string base = around.path();
  std::ofstream(base + "/temp") << "not a folder";
  const auto tree = make_tree(base, kTree);
  REQUIRE(!tree);
  CHECK(tree.error().kind == Error::Kind::wrong);
  CHECK(text_of(base + "/temp") == "not a folder");
  CHECK(!fs::exists(base + "/models"));

  CHECK(!make_tree(base + "/temp", kTree));
  CHECK(!make_tree("", kTree));
}

TEST_CASE("nothing is made through a symbolic link") {
  const TempFolder around;
  const std::string base = around.path("base"), other = around.path("other");
  fs::create_directories(base);
  fs::create_directories(other);
  fs::create_directory_symlink(other, base + "/models");
  const auto tree = make_tree(base, kTree);
  REQUIRE(tree);
  CHECK(tree->made == std::vector<std::string>{"temp"});
  CHECK(tree->left.size() == 2);  // models and models/base
  CHECK(fs::is_empty(other));

  fs::create_symlink(around.path("nowhere"), around.path("dangling"));
  CHECK(!make_tree(around.path("dangling"), kTree));
  CHECK(!fs::exists(around.path("nowhere")));
}

TEST_CASE("where nothing can be made, nothing is left half made") {
  // Even root cannot make folders in /proc.
  const auto tree = make_tree("/proc/self/qwenplan", kTree);
  REQUIRE(!tree);
  CHECK(tree.error().kind == Error::Kind::wrong);

  if (geteuid() == 0) return;  // permissions do not bind root
  const TempFolder around;
  const std::string base = around.path("read-only");
  fs::create_directories(base);
  fs::permissions(base, fs::perms::owner_read | fs::perms::owner_exec);
  CHECK(!make_tree(base, kTree));
  fs::permissions(base, fs::perms::owner_all);
  CHECK(fs::is_empty(base));
}

TEST_CASE("old files are shown, and deleted only if that is asked for") {
  const Base base("مجلد العمل 1");
  base.file("old", 2 * kDay);
  base.file("deep/er/قديم جدا", 3 * kDay);
  base.file("young", kDay / 2);
  base.file("exactly", kDay);
  std::ofstream(base.path() + "/precious") << "outside of temp";
  const auto shown = clean_temp(base.path(), kNow, kDay, CleanMode::shows);
  REQUIRE(shown);
  CHECK(names(shown->files) == std::vector<std::string>{"deep/er/قديم جدا", "old"});
  CHECK(base.has("old"));

  const auto cleaned = clean_temp(base.path() + "/", kNow, kDay, CleanMode::deletes);
  REQUIRE(cleaned);
  CHECK(names(cleaned->files) == names(shown->files));
  CHECK(!base.has("old"));
  CHECK(!base.has("deep/er/قديم جدا"));
  CHECK(base.has("deep/er"));  // folders stay
  CHECK(base.has("young"));
  CHECK(base.has("exactly"));
  CHECK(text_of(base.path() + "/precious") == "outside of temp");
}

TEST_CASE("no symbolic link is followed or deleted") {
  const Base base;
  const Base other("other");
  other.file("victim", 9 * kDay);
  fs::create_symlink(other.path() + "/temp/victim", base.path() + "/temp/file_link");
  fs::create_directory_symlink(other.path() + "/temp", base.path() + "/temp/folder_link");
  fs::create_symlink("/nowhere", base.path() + "/temp/dangling");
  const auto cleaned = clean_temp(base.path(), kNow, 0, CleanMode::deletes);
  REQUIRE(cleaned);
  CHECK(cleaned->files.empty());
  CHECK(why(*cleaned, "file_link") == "symbolic link");
  CHECK(why(*cleaned, "folder_link") == "symbolic link");
  CHECK(base.has("dangling"));
  CHECK(other.has("victim"));

  SECTION("not the folder itself either, however it is spelt") {
    fs::create_directory_symlink(other.path(), base.around().path("link"));
    for (const char* ending : {"", "/", "//", "/."}) {
      const auto refused =
          clean_temp(base.around().path("link") + ending, kNow, 0, CleanMode::deletes);
      REQUIRE(!refused);
      CHECK(refused.error().kind == Error::Kind::wrong);
    }
    CHECK(other.has("victim"));
  }
  SECTION("nor temp") {
    const std::string third = base.around().path("third");
    fs::create_directories(third);
    fs::create_directory_symlink(other.path() + "/temp", third + "/temp");
    CHECK(!clean_temp(third, kNow, 0, CleanMode::deletes));
    CHECK(other.has("victim"));
  }
}

TEST_CASE("what is no regular file, or in use, stays") {
  const Base base;
  REQUIRE(mkfifo((base.path() + "/temp/pipe").c_str(), 0600) == 0);
  base.file("held", 9 * kDay);
  const int held = open((base.path() + "/temp/held").c_str(), O_RDONLY);
  REQUIRE(held >= 0);
  auto cleaned = clean_temp(base.path(), kNow, kDay, CleanMode::deletes);
  REQUIRE(cleaned);
  CHECK(why(*cleaned, "pipe") == "no regular file");
  CHECK(why(*cleaned, "held") == "a program has it open");
  CHECK(base.has("held"));
  close(held);
  cleaned = clean_temp(base.path(), kNow, kDay, CleanMode::deletes);
  REQUIRE(cleaned);
  CHECK(!base.has("held"));
}

TEST_CASE("a file with a second name frees nothing") {
  const Base base;
  base.file("one", 9 * kDay);
  fs::create_hard_link(base.path() + "/temp/one", base.path() + "/elsewhere");
  const auto cleaned = clean_temp(base.path(), kNow, kDay, CleanMode::deletes);
  REQUIRE(cleaned);
  CHECK(cleaned->bytes == Bytes());
  CHECK(text_of(base.path() + "/elsewhere") == "text of one");
}

TEST_CASE("a folder without temp is no folder to clean") {
  const TempFolder folder;
  for (const std::string& path : {folder.path(), folder.path("absent"), std::string()}) {
    const auto cleaned = clean_temp(path, kNow, 0, CleanMode::deletes);
    REQUIRE(!cleaned);
    CHECK(cleaned.error().kind == Error::Kind::wrong);
  }
  std::ofstream(folder.path("temp")) << "a file";
  CHECK(!clean_temp(folder.path(), kNow, 0, CleanMode::deletes));
  CHECK(text_of(folder.path("temp")) == "a file");
}
