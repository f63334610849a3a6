#include "probe/disk.hpp"

#include <filesystem>
#include <map>
#include <string>

#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;
using qwenplan::test::TempFolder;

TEST_CASE("a disk is measured within its bounds, and nothing stays behind") {
  const TempFolder folder;
  const std::string path = folder.path("قرص بطيء");
  std::filesystem::create_directories(path);
  std::map<std::string, double> phases;
  DiskBench bench;
  bench.folder = path;
  bench.most = Bytes(32 * 1024 * 1024);
  bench.seconds = 30;  // of which a busy disk may need more than one
  bool is_empty = true;
  const auto speed = bench_disk(bench, [&](std::string_view phase, double done) {
    phases[std::string(phase)] = done;
    CHECK(done >= 0);
    CHECK(done <= 1);
    is_empty = is_empty && std::filesystem::is_empty(path);
  });
  REQUIRE(speed);
  CHECK(is_empty);  // while it ran, too: whatever ends the program, no file is left
  CHECK(std::filesystem::is_empty(path));
  CHECK(phases.size() == 4);
  CHECK(speed->size == bench.most);
  CHECK(speed->sequential_read > 0);
  CHECK(speed->sequential_write > 0);
  CHECK(speed->random_read > 0);
  CHECK(speed->random_write > 0);
  // A write and its sync of so little cannot take longer than the whole, nor be free.
  CHECK(static_cast<double>(speed->size.count()) / speed->sequential_write <= speed->seconds);
}

TEST_CASE("a folder that cannot be written to is an error of the question") {
  for (const char* folder : {"/proc/self", "/nowhere/at/all"}) {
    DiskBench bench;
    bench.folder = folder;
    const auto speed = bench_disk(bench, [](std::string_view, double) {});
    REQUIRE(!speed);
    CHECK(speed.error().where == folder);
  }
}

TEST_CASE("free space is less than all of it") {
  const TempFolder folder;
  const auto space = disk_space_of(folder.path());
  REQUIRE(space);
  CHECK(space->available <= space->total);
  CHECK(space->total > Bytes());
  CHECK(!disk_space_of(folder.path("absent")));
}
