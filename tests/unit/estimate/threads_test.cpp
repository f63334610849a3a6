#include "qwenplan/estimate/threads.hpp"

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

Cpu cores(CoreCount fast, CoreCount slow = {}) {
  Cpu cpu;
  cpu.performance = fast;
  cpu.efficiency = slow;
  cpu.online = cpu.logical();
  return cpu;
}

}  // namespace

TEST_CASE("one thread for a physical core, and a core for the trainer beside the workers") {
  const ThreadPlan plan = plan_threads(cores({6, 12}));
  CHECK(plan.threads == 6);
  CHECK(plan.interop_threads == 2);
  CHECK(plan.workers == 4);
}

TEST_CASE("a small machine still gets a thread, and no worker that it has no core for") {
  CHECK(plan_threads(cores({1, 1})).threads == 1);
  CHECK(plan_threads(cores({1, 1})).interop_threads == 1);
  CHECK(plan_threads(cores({1, 2})).workers == 0);
  CHECK(plan_threads(cores({2, 2})).workers == 1);
}

TEST_CASE("slow cores make data, and do not hold up arithmetic") {
  const ThreadPlan plan = plan_threads(cores({2, 4}, {8, 8}));
  CHECK(plan.threads == 2);
  CHECK(plan.workers == 4);
}

TEST_CASE("a quota counts like as many cores") {
  Cpu cpu = cores({16, 32});
  cpu.quota = 2.5;
  CHECK(plan_threads(cpu).threads == 2);
  CHECK(plan_threads(cpu).workers == 1);
  cpu.quota = 0.5;
  CHECK(plan_threads(cpu).threads == 1);
  CHECK(plan_threads(cpu).workers == 0);
  cpu.quota = 64;
  CHECK(plan_threads(cpu).threads == 16);
}

TEST_CASE("processes share the cores") {
  CHECK(plan_threads(cores({16, 32}), 4).threads == 4);
  CHECK(plan_threads(cores({16, 32}), 4).workers == 3);
  CHECK(plan_threads(cores({2, 4}), 8).threads == 1);
}

TEST_CASE("logical CPUs alone are taken for pairs") {
  CHECK(cpu_of(16).physical() == 8);
  CHECK(cpu_of(1).physical() == 1);
  CHECK(cpu_of(7).physical() == 7);
  CHECK(!cpu_of(16).has_topology);
}

TEST_CASE("tiers go by physical cores") {
  CHECK(tier_of(5) == nullptr);
  CHECK(tier_of(6)->name == "budget");
  CHECK(tier_of(12)->name == "high-end");
  CHECK(tier_of(64)->name == "workstation");
}
