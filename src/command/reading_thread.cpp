#include "command/reading_thread.hpp"

#include <algorithm>
#include <system_error>

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

namespace qwenplan {
namespace {

/// Waits until a count is another than this; gives what it is. The other side is rarely far behind, and
/// to be woken takes longer than to look a few times.
int wait_for_other(const std::atomic<int>& count, int than) {
  constexpr int kLooks = 4000;
  for (int look = 0; look < kLooks; ++look) {
    if (const int now = count.load(std::memory_order_acquire); now != than) return now;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
  count.wait(than, std::memory_order_acquire);
  return count.load(std::memory_order_acquire);
}

/// Whether two threads of this process can run at once.
bool has_two_cores() {
#ifdef __linux__
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 1;
#else
  return std::thread::hardware_concurrency() > 1;
#endif
}

/// Sends a new thread to another core than this one. The system leaves it behind its maker for as long
/// as the whole run takes, until it comes to balance its cores.
void move_aside([[maybe_unused]] std::thread& thread) {
#ifdef __linux__
  cpu_set_t cores;
  const int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof cores, &cores) != 0) return;
  CPU_CLR(static_cast<std::size_t>(here), &cores);
  if (CPU_COUNT(&cores) > 0) pthread_setaffinity_np(thread.native_handle(), sizeof cores, &cores);
#endif
}

}  // namespace

ReadingThread::ReadingThread(TraceReader& reader, Until until) : reader_(reader), until_(until) {
  if (!has_two_cores()) return;
  try {
    thread_ = std::thread([this] { read_all(); });
    move_aside(thread_);
  } catch (const std::system_error&) {
    // A limit on threads: the caller's own will do.
  }
}

ReadingThread::Message& ReadingThread::next_place() {
  const int sent = sent_.load(std::memory_order_relaxed);
  for (int taken = taken_.load(std::memory_order_acquire); sent - taken == kPlaces;)
    taken = wait_for_other(taken_, taken);
  return places_[static_cast<std::size_t>(sent % kPlaces)];
}

void ReadingThread::send() {
  sent_.store(sent_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  sent_.notify_one();
}

void ReadingThread::enter(const Mark& mark) {
  if (!thread_.joinable()) return reader_.enter(mark);
  Message& message = next_place();
  message.kind = Message::Kind::mark;
  message.mark = mark;
  send();
}

void ReadingThread::read(std::span<const Event> events) {
  if (!thread_.joinable()) return reader_.read(events);
  while (!events.empty()) {
    Message& message = next_place();
    message.kind = Message::Kind::events;
    const std::span<const Event> part = events.first(std::min(events.size(), kMostEvents));
    message.events.assign(part.begin(), part.end());
    events = events.subspan(part.size());
    send();
  }
}

bool ReadingThread::has_enough() const {
  if (until_ == Until::end) return false;
  if (thread_.joinable()) {
    const int sent = sent_.load(std::memory_order_relaxed);
    for (int taken = taken_.load(std::memory_order_acquire); taken != sent;) taken = wait_for_other(taken_, taken);
  }
  return reader_.has_enough();
}

void ReadingThread::finish() {
  if (!thread_.joinable()) return;
  next_place().kind = Message::Kind::end;
  send();
  thread_.join();
}

void ReadingThread::read_all() {
  for (int taken = 0;;) {
    wait_for_other(sent_, taken);
    const Message& message = places_[static_cast<std::size_t>(taken % kPlaces)];
    if (message.kind == Message::Kind::end) return;
    if (message.kind == Message::Kind::mark) reader_.enter(message.mark);
    else reader_.read(message.events);
    taken_.store(++taken, std::memory_order_release);
    taken_.notify_one();
  }
}

}  // namespace qwenplan
