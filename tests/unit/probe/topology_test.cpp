#include "probe/topology.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;
using qwenplan::test::TempFolder;

namespace {

/// A machine written into a folder as Linux shows it under /sys and /proc.
class Machine {
 public:
  const Machine& file(const std::string& path, const std::string& text) const {
    const std::filesystem::path whole = root() + path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text << "\n";
    return *this;
  }
  /// A logical CPU that shares its core with `siblings`.
  const Machine& cpu(int id, const std::string& siblings, int package = 0) const {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(id) + "/topology/";
    return file(folder + "thread_siblings_list", siblings)
        .file(folder + "physical_package_id", std::to_string(package));
  }
  const Machine& online(const std::string& list) const {
    return file("/sys/devices/system/cpu/online", list);
  }
  std::string root() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

std::vector<int> up_to(int count) {
  std::vector<int> cpus;
  for (int i = 0; i < count; ++i) cpus.push_back(i);
  return cpus;
}

}  // namespace

TEST_CASE("a list of CPUs is read as the kernel writes it") {
  CHECK(parse_cpu_list("0-3,8,10-11") == std::vector<int>{0, 1, 2, 3, 8, 10, 11});
  CHECK(parse_cpu_list("5") == std::vector<int>{5});
  CHECK(parse_cpu_list("").empty());
  CHECK(parse_cpu_list("x,2,3-,9-7,-1") == std::vector<int>{2});
  CHECK(parse_cpu_list("0-99999999999999999999").empty());
}

TEST_CASE("six cores with two threads each") {
  // As a Ryzen 5 5600X numbers them: CPU n and n + 6 are one core.
  const Machine machine;
  machine.online("0-11").file("/proc/cpuinfo",
                              "processor\t: 0\nmodel name\t: AMD Ryzen 5 5600X 6-Core Processor");
  for (int i = 0; i < 12; ++i)
    machine.cpu(i, std::to_string(i % 6) + "," + std::to_string(i % 6 + 6));
  const Cpu cpu = probe_cpu(machine.root(), up_to(12));
  CHECK(cpu.name == "AMD Ryzen 5 5600X 6-Core Processor");
  CHECK(cpu.performance == CoreCount{6, 12});
  CHECK(cpu.efficiency == CoreCount{});
  CHECK(cpu.has_topology);
  CHECK(!cpu.quota);

  SECTION("bound to both threads of two cores and one of a third") {
    const Cpu bound = probe_cpu(machine.root(), std::vector<int>{0, 1, 2, 6, 7});
    CHECK(bound.performance == CoreCount{3, 5});
    CHECK(bound.online == 12);
  }
  SECTION("two CPUs are switched off") {
    machine.online("0-4,6-10");
    CHECK(probe_cpu(machine.root(), up_to(12)).performance == CoreCount{5, 10});
  }
}

TEST_CASE("a hybrid processor has cores of two kinds") {
  // An i7-12700: eight fast cores with two threads, four slow ones with one.
  const Machine machine;
  machine.online("0-19")
      .file("/sys/devices/cpu_core/cpus", "0-15")
      .file("/sys/devices/cpu_atom/cpus", "16-19");
  for (int i = 0; i < 16; ++i)
    machine.cpu(i, std::to_string(i / 2 * 2) + "-" + std::to_string(i / 2 * 2 + 1));
  for (int i = 16; i < 20; ++i) machine.cpu(i, std::to_string(i));
  const Cpu cpu = probe_cpu(machine.root(), up_to(20));
  CHECK(cpu.performance == CoreCount{8, 16});
  CHECK(cpu.efficiency == CoreCount{4, 4});
  CHECK(cpu.physical() == 12);
  CHECK(cpu.is_hybrid());

  // Bound to slow cores alone, they are all that there is.
  const Cpu slow = probe_cpu(machine.root(), std::vector<int>{16, 17});
  CHECK(slow.performance == CoreCount{2, 2});
  CHECK(!slow.is_hybrid());
}

TEST_CASE("Arm tells fast and slow cores by their capacity") {
  const Machine machine;
  machine.online("0-3");
  for (int i = 0; i < 4; ++i)
    machine.cpu(i, std::to_string(i))
        .file("/sys/devices/system/cpu/cpu" + std::to_string(i) + "/cpu_capacity",
              i < 2 ? "446" : "1024");
  const Cpu cpu = probe_cpu(machine.root(), up_to(4));
  CHECK(cpu.performance == CoreCount{2, 2});
  CHECK(cpu.efficiency == CoreCount{2, 2});
}

TEST_CASE("cores of one number in two sockets are two cores") {
  const Machine machine;
  machine.online("0-3");
  for (int i = 0; i < 4; ++i) machine.cpu(i, std::to_string(i), i / 2);
  const Cpu cpu = probe_cpu(machine.root(), up_to(4));
  CHECK(cpu.performance == CoreCount{4, 4});
  CHECK(cpu.packages == 2);
}

TEST_CASE("without a topology two threads to a core are assumed") {
  const Machine machine;
  machine.online("0-7");
  const Cpu cpu = probe_cpu(machine.root(), up_to(8));
  CHECK(cpu.performance == CoreCount{4, 8});
  CHECK(!cpu.has_topology);
}

TEST_CASE("the narrowest control group counts") {
  const Machine machine;
  machine.online("0-7");
  for (int i = 0; i < 8; ++i) machine.cpu(i, std::to_string(i));

  SECTION("version 2, a limit on each level") {
    machine.file("/proc/self/cgroup", "0::/user.slice/job")
        .file("/sys/fs/cgroup/user.slice/cpu.max", "250000 100000")
        .file("/sys/fs/cgroup/user.slice/job/cpu.max", "600000 100000")
        .file("/sys/fs/cgroup/user.slice/memory.max", "max")
        .file("/sys/fs/cgroup/user.slice/job/memory.max", "17179869184");
    CHECK(probe_cpu(machine.root(), up_to(8)).quota == 2.5);
    CHECK(group_memory(machine.root()) == Bytes(17'179'869'184));
  }
  SECTION("version 2, in a container that does not see its own path") {
    machine.file("/proc/self/cgroup", "0::/docker/abc")
        .file("/sys/fs/cgroup/cpu.max", "150000 100000");
    CHECK(group_cpus(machine.root()) == 1.5);
  }
  SECTION("version 1") {
    machine.file("/proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job")
        .file("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "400000")
        .file("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000")
        .file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712");
    CHECK(group_cpus(machine.root()) == 4.0);
    CHECK(!group_memory(machine.root()));
  }
  SECTION("no limit") {
    machine.file("/proc/self/cgroup", "0::/").file("/sys/fs/cgroup/cpu.max", "max 100000");
    CHECK(!group_cpus(machine.root()));
  }
}

TEST_CASE("this machine has a processor") {
  const Cpu cpu = probe_cpu();
  CHECK(cpu.logical() >= 1);
  CHECK(cpu.physical() >= 1);
  CHECK(cpu.physical() <= cpu.logical());
}
