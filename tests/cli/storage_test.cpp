#include <filesystem>
#include <optional>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

// Commands that write: what exists before has to exist after, whatever happens on the way.

using qwenplan::test::contents;
using qwenplan::test::Left;
using qwenplan::test::quoted;
using qwenplan::test::run;
using qwenplan::test::TempFolder;
namespace fs = std::filesystem;

namespace {

/// Runs a script that may mount file systems, in a name space of its own; nothing where the system
/// does not allow that.
std::optional<Left> run_with_mounts(const std::string& script) {
  if (std::system("unshare -rm true 2>/dev/null") != 0) return std::nullopt;
  return run("unshare -rm sh -c " +
             quoted("qwenplan() { " + quoted(QWENPLAN_BINARY) + " \"$@\"; }\n" + script));
}

const std::string kName = "مشروع قوين with spaces, 'quotes' and $HOME";

}  // namespace

TEST_CASE("storage: a folder from init to clean, with a difficult name") {
  const TempFolder around;
  const std::string folder = quoted(around.path(kName));
  CHECK(run("qwenplan storage init " + folder).status == 0);
  CHECK(fs::is_directory(around.path(kName) + "/training/checkpoints"));

  const Left env = run("eval \"$(qwenplan storage env " + folder +
                       " 2>/dev/null)\"; echo \"$HF_DATASETS_CACHE\"; "
                       "echo \"$TMPDIR\"");
  CHECK(env.out == around.path(kName) + "/datasets/cache\n" + around.path(kName) + "/temp\n");

  CHECK(run("cd " + folder + "/temp && echo old > 'ملف قديم' && touch -d '3 days ago' 'ملف قديم'")
            .status == 0);
  const Left shown = run("qwenplan storage clean " + folder);
  CHECK(shown.status == 0);
  CHECK(shown.out.find("ملف قديم") != std::string::npos);
  CHECK(fs::exists(around.path(kName) + "/temp/ملف قديم"));
  const Left young = run("qwenplan storage clean " + folder + " --older-than 7d --yes --json");
  CHECK(young.json()["files"].empty());
  const Left cleaned = run("qwenplan storage clean " + folder + " --older-than 24h --yes --json");
  CHECK(cleaned.json()["deleted"] == true);
  CHECK(cleaned.json()["files"].size() == 1);
  CHECK(!fs::exists(around.path(kName) + "/temp/ملف قديم"));
}

TEST_CASE("storage env: a relative folder becomes a whole path, and nothing is made") {
  const TempFolder around;
  const Left env =
      run("cd " + quoted(around.path()) + " && qwenplan storage env ./a/../new --json");
  CHECK(env.status == 0);
  CHECK(env.json()["variables"]["HF_HUB_CACHE"] == around.path("new") + "/models/base_models/hub");
  CHECK(env.json()["variables"].count("TMPDIR") ==
        0);  // a shell with a TMPDIR that is not there is broken
  CHECK(fs::is_empty(around.path()));
}

TEST_CASE("storage clean: an age needs its unit") {
  const TempFolder around;
  fs::create_directories(around.path("temp"));
  for (const char* age : {"24", "h", "-1h", "1.5h", "''", "24 parsecs"})
    CHECK(run("qwenplan storage clean " + quoted(around.path()) + " --older-than " + age).status ==
          2);
  for (const char* age : {"0s", "90min", "24h", "7d", "2w"})
    CHECK(run("qwenplan storage clean " + quoted(around.path()) + " --older-than " + age).status ==
          0);
}

TEST_CASE("storage bench: the answer on stdout, progress on stderr, no file") {
  const TempFolder around;
  const std::string line =
      "qwenplan storage bench " + quoted(around.path()) + " --size 16MiB --seconds 1";
  const Left measured = run(line + " --json");
  CHECK(measured.status == 0);
  CHECK(measured.json()["sequential_read_bytes_per_second"] > 0);
  CHECK(measured.json()["sequential_write_bytes_per_second"] > 0);
  CHECK(measured.json()["random_read_iops"] > 0);
  CHECK(measured.err.empty());  // an error would be one object there, and alone
  CHECK(run(line).err.find("reading") != std::string::npos);
  CHECK(run(line + " --quiet").err.empty());
  CHECK(fs::is_empty(around.path()));
}

TEST_CASE("storage bench: an interruption leaves nothing") {
  for (const char* signal : {"INT", "TERM", "KILL"}) {
    const TempFolder around;
    const Left ended = run("timeout --preserve-status -s " + std::string(signal) + " 1 " +
                           quoted(QWENPLAN_BINARY) + " storage bench " + quoted(around.path()) +
                           " --size 4GiB --seconds 600");
    INFO(signal);
    CHECK(ended.status > 128);
    CHECK(fs::is_empty(around.path()));
  }
}

TEST_CASE("storage bench: a limit of the shell is an answer, not a crash") {
  const TempFolder around;
  const Left limited = run("ulimit -f 2048; qwenplan storage bench " + quoted(around.path()) +
                           " --size 64MiB --seconds 1");
  CHECK(limited.status == 3);
  CHECK(limited.err.find("there is no room") != std::string::npos);
  CHECK(fs::is_empty(around.path()));
}

TEST_CASE("storage: small, full and read-only disks") {
  const TempFolder around;
  const std::string folder = quoted(around.path());
  const auto small = run_with_mounts("mount -t tmpfs -o size=20m none " + folder +
                                     "; qwenplan storage bench " + folder);
  if (!small) return;
  CHECK(small->status == 3);

  const auto half =
      run_with_mounts("mount -t tmpfs -o size=100m none " + folder + "; qwenplan storage bench " +
                      folder + " --size 1GiB --seconds 1 --json; ls -A " + folder + " >&2");
  CHECK(half->status == 0);
  CHECK(half->json()["file_bytes"] <= 50 << 20);
  CHECK(half->json()["is_memory"] == true);

  const auto no_room = run_with_mounts("mount -t tmpfs -o size=4k,nr_inodes=3 none " + folder +
                                       "; qwenplan storage init " + folder + "; status=$?; ls -A " +
                                       folder + "; exit $status");
  CHECK(no_room->status == 2);
  CHECK(no_room->out.empty());  // what could not be finished is taken back

  const auto read_only =
      run_with_mounts("mount -t tmpfs none " + folder + "; cd " + folder +
                      "; mkdir temp; echo x > temp/old; touch -d '3 days ago' temp/old; "
                      "cd /; mount -o remount,ro " +
                      folder + "; for c in 'bench' 'init' 'clean --yes'; do qwenplan storage $c " +
                      folder + " >/dev/null; echo $?; done; cat " + folder + "/temp/old");
  CHECK(read_only->out == "2\n2\n2\nx\n");
}

TEST_CASE("storage clean: no other file system, no other mount") {
  const TempFolder around;
  const std::string folder = quoted(around.path());
  const std::string old_file = "; echo x > $D/file; touch -d '3 days ago' $D/file; ";
  const auto inside = run_with_mounts(
      "cd " + folder + "; mkdir -p temp/other; mount -t tmpfs none temp/other; D=temp/other" +
      old_file + "qwenplan storage clean . --yes; cat temp/other/file");
  if (!inside) return;
  CHECK(inside->out.find("nothing in temp/") == 0);
  CHECK(inside->out.find("x\n") != std::string::npos);

  const auto bound = run_with_mounts(
      "cd " + folder +
      "; mkdir -p temp/bound precious; mount --bind precious temp/bound; D=precious" + old_file +
      "qwenplan storage clean . --yes; cat precious/file");
  CHECK(bound->out.find("nothing in temp/") == 0);
  CHECK(bound->out.find("x\n") != std::string::npos);

  const auto whole =
      run_with_mounts("cd " + folder + "; mkdir -p temp; mount -t tmpfs none temp; D=temp" +
                      old_file + "qwenplan storage clean . --yes; echo $?; cat temp/file");
  CHECK(whole->out == "2\nx\n");
}
