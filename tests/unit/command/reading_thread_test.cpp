#include "command/reading_thread.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace qwenplan::test {
namespace {

/// Keeps what it reads, as slowly as it is told to.
class Notes final : public TraceReader {
 public:
  explicit Notes(int pause_us = 0) : pause_us_(pause_us) {}
  void enter(const Mark& mark) override { marks.push_back({mark, storages.size()}); }
  void read(std::span<const Event> events) override {
    if (pause_us_ > 0) std::this_thread::sleep_for(std::chrono::microseconds(pause_us_));
    for (const Event& event : events) storages.push_back(event.storage);
  }
  bool has_enough() const override { return storages.size() >= enough; }

  struct Entry {
    Mark mark;
    std::size_t after;  ///< so many events
  };
  std::vector<Entry> marks;
  std::vector<std::uint32_t> storages;
  std::size_t enough = SIZE_MAX;

 private:
  int pause_us_;
};

std::vector<Event> numbered(std::uint32_t first, std::uint32_t count) {
  std::vector<Event> events(count);
  for (std::uint32_t i = 0; i < count; ++i) events[i].storage = first + i;
  return events;
}

TEST_CASE("a reading thread passes on every phase and event, in order, to slow and quick readers") {
  for (const int pause_us : {0, 200}) {
    Notes notes(pause_us);
    const std::uint32_t sizes[] = {1, 255, 256, 257, 5000, 1, 20000};
    std::uint32_t told = 0;
    {
      ReadingThread reading(notes, ReadingThread::Until::end);
      for (const std::uint32_t size : sizes) {
        reading.enter({told, Phase::forward, static_cast<std::int16_t>(size % 100), 0});
        reading.read(numbered(told, size));
        told += size;
        CHECK_FALSE(reading.has_enough());
      }
      reading.finish();
      REQUIRE(notes.storages.size() == told);
    }
    for (std::uint32_t i = 0; i < told; ++i) REQUIRE(notes.storages[i] == i);
    REQUIRE(notes.marks.size() == std::size(sizes));
    for (std::size_t i = 0; i < notes.marks.size(); ++i) {
      CHECK(notes.marks[i].mark.first == notes.marks[i].after);
      CHECK(notes.marks[i].mark.step == static_cast<int>(sizes[i] % 100));
    }
  }
}

TEST_CASE("a reader in a thread is asked whether it has enough only when it has read what was told") {
  Notes notes(2000);
  notes.enough = 3000;
  ReadingThread reading(notes, ReadingThread::Until::enough);
  reading.read(numbered(0, 2999));
  CHECK_FALSE(reading.has_enough());
  reading.read(numbered(2999, 1));
  CHECK(reading.has_enough());
}

TEST_CASE("a reading thread that is given nothing, or left early, ends") {
  Notes notes;
  { const ReadingThread reading(notes, ReadingThread::Until::end); }
  {
    ReadingThread reading(notes, ReadingThread::Until::end);
    reading.read(numbered(0, 700));
  }
  CHECK(notes.storages.size() == 700);
}

}  // namespace
}  // namespace qwenplan::test
