#include "read/measurement.hpp"

#include <string>
#include <variant>

#include "read/hook_file.hpp"
#include "read/plan_file.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;
using qwenplan::test::TempFolder;

namespace {

Result<Measurement> measurement(const std::string& text) {
  const TempFolder folder;
  return read_measurement(folder.write("m.json", text));
}

Result<PlanFile> plan(const std::string& text) {
  const TempFolder folder;
  return read_plan(folder.write("p.json", text));
}

}  // namespace

TEST_CASE("A measurement with nothing in it is empty, not zero") {
  const auto m = measurement(R"({"schema": "qwenplan.measurement/1"})");
  REQUIRE(m);
  CHECK(!m->allocated);
  CHECK(!m->training_rate);
  CHECK(m->run.empty());
  CHECK(m->phases.empty());
  CHECK(m->status == "ok");
}

TEST_CASE("A measurement keeps settings with their types") {
  const auto m = measurement(R"({"schema": "qwenplan.measurement/1", "run": {"batch": 2, "dora": false, "lora-dropout": 0.1,
    "model": "7b", "unknown": null}, "peaks": {"reserved_bytes": 9007199254740993}, "phases": [{"phase": "step", "step": 2}]})");
  REQUIRE(m);
  REQUIRE(m->run.size() == 4);
  CHECK(std::get<std::int64_t>(m->run[0].second) == 2);
  CHECK(std::get<bool>(m->run[1].second) == false);
  CHECK(std::get<double>(m->run[2].second) == 0.1);
  CHECK(m->reserved == Bytes(9007199254740993));  // beyond what a double can count
  CHECK(m->phases[0].step == 2);
  CHECK(!m->phases[0].seconds);
}

TEST_CASE("What is no measurement is refused, with the place") {
  for (const char* text :
       {"", "[]", "{}", "3", R"({"schema": "qwenplan.vram/1"})", R"({"schema": "qwenplan.measurement/1", "run": []})",
        R"({"schema": "qwenplan.measurement/1", "run": {"batch": [1]}})",
        R"({"schema": "qwenplan.measurement/1", "peaks": {"allocated_bytes": "1 GiB"}})",
        R"({"schema": "qwenplan.measurement/1", "peaks": {"allocated_bytes": 1e300}})",
        R"({"schema": "qwenplan.measurement/1", "phases": [{"step": 1}]})",
        R"({"schema": "qwenplan.measurement/1", "phases": {}})",
        R"({"schema": "qwenplan.measurement/1", "seconds": -1})",
        R"({"schema": "qwenplan.measurement/1", "status": "fine"})"}) {
    CAPTURE(text);
    const auto m = measurement(text);
    REQUIRE(!m);
    CHECK(m.error().kind == Error::Kind::wrong);
    CHECK(!m.error().where.empty());
  }
}

TEST_CASE("A plan is read from what vram answers, and from nothing less") {
  const std::string range = R"({"low": 1, "likely": 2, "high": 3})";
  const std::string verdict = R"("verdict": {"allocated_bytes": )" + range + R"(, "reserved_bytes": )" + range +
                              R"(, "device_bytes": )" + range + "}";
  const std::string head = R"({"schema": "qwenplan.vram/1", )";
  const auto good = plan(head + verdict + R"(, "inputs": {"batch": {"value": 4, "from": "flag"}, "x": 3},
    "timeline": [{"phase": "load", "step": null, "allocated_bytes": 7}]})");
  REQUIRE(good);
  CHECK(good->device.high == Bytes(3));
  REQUIRE(good->timeline.size() == 1);
  CHECK(good->timeline[0].step == 0);
  CHECK(good->timeline[0].allocated == Bytes(7));
  REQUIRE(good->inputs.size() == 1);
  for (const std::string& text :
       {std::string("{}"), head + R"("verdict": null, "timeline": []})", head + verdict + R"(, "timeline": []})",
        head + verdict + R"(, "timeline": [3]})", head + verdict + R"(, "timeline": [{"phase": "load"}]})",
        head + R"("verdict": {}, "timeline": [{"phase": "load", "allocated_bytes": 7}]})"}) {
    CAPTURE(text);
    CHECK(!plan(text));
  }
}

TEST_CASE("Lines of the callback are summed up by phase; a broken one is passed over") {
  const TempFolder folder;
  const auto hook = read_hook(folder.write("h.jsonl", R"({"pid": 1, "software": {"torch": "2.6"}}
{"pid": 1, "step": 0, "phase": "load", "allocated_bytes": 5, "reserved_bytes": 6, "seconds": 2}
{"pid": 1, "step": 1, "phase": "forward", "allocated_bytes": 7, "reserved_bytes": 9, "seconds": 1}
not json
{"pid": 1, "step": 2, "phase": "forward", "allocated_bytes": 8, "reserved_bytes": 9, "seconds": 1}
{"pid": 2, "step": 30, "phase": "forward", "allocated_bytes": 3, "reserved_bytes": 11, "seconds": 4}
{"pid": 1, "step": 31, "phase": "forward", "allocated_bytes": null, "reserved_bytes": null}
{"pid": 1, "steps": 5, "seconds": 10}
{"pid": 1, "step": 32, "pha)"));
  REQUIRE(hook);
  REQUIRE(hook->phases.size() == 3);
  CHECK(!hook->phases[0].step);
  CHECK(hook->phases[1].allocated == Bytes(7));
  CHECK(hook->phases[2].step == 2);
  CHECK(hook->phases[2].allocated == Bytes(8));
  CHECK(hook->phases[2].reserved == Bytes(11));
  CHECK(hook->seconds_per_step == 2.0);
  REQUIRE(hook->software.size() == 1);
}
