#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

#include "qwenplan/emulate/trace.hpp"

namespace qwenplan {

/// Hands a run to a reader that works in a thread of its own, while the run goes on being emulated:
/// emulating and replaying take about as long as each other. The reader sees what it would have seen
/// without, in the same order, and is asked whether it has enough when it has read all that was told.
/// Where there is one core only, or no thread to be had, it works in the caller's.
class ReadingThread final : public TraceReader {
 public:
  /// Whether the reader may ever have enough: then each phase waits for its answer.
  enum class Until : unsigned char { end, enough };
  ReadingThread(TraceReader& reader, Until until);
  ReadingThread(const ReadingThread&) = delete;
  ReadingThread& operator=(const ReadingThread&) = delete;
  ~ReadingThread() { finish(); }

  void enter(const Mark& mark) override;
  void read(std::span<const Event> events) override;
  bool has_enough() const override;
  bool wants_every_pass() const override { return reader_.wants_every_pass(); }
  /// Waits until the reader has read all. It may be used again from here on.
  void finish();

 private:
  /// A phase that begins, or a stretch of events of it.
  struct Message {
    enum class Kind : unsigned char { mark, events, end };
    Kind kind = Kind::end;
    Mark mark;
    std::vector<Event> events;
  };
  static constexpr std::size_t kMostEvents = 256;
  static constexpr int kPlaces = 32;

  Message& next_place();
  void send();
  void read_all();

  TraceReader& reader_;
  Until until_;
  std::array<Message, kPlaces> places_;
  // Messages so far, modulo 2^31; the place of one is its number modulo `kPlaces`.
  alignas(64) std::atomic<int> sent_ = 0;
  alignas(64) std::atomic<int> taken_ = 0;
  std::thread thread_;
};

}  // namespace qwenplan
