#include "watch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>

#include "crowd.hpp"
#include "shop.hpp"

namespace demo {
namespace {

std::atomic<std::uint64_t> longest_ns = 0;  // without the time in which the thread could run but had no CPU
std::atomic<std::uint64_t> gross_ns = 0;    // with it
constexpr std::uint64_t worth_a_look_ns = 20'000;

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

// Second field of schedstat: nanoseconds that the thread waited for a CPU (Documentation/scheduler/sched-stats.rst). A
// busy machine makes gaps of its own, which are not the stopper's.
std::uint64_t run_delay_ns(int schedstat) {
  char text[128];
  const ssize_t n = ::pread(schedstat, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  unsigned long long run = 0, delay = 0;
  return std::sscanf(text, "%llu %llu", &run, &delay) == 2 ? delay : 0;
}

void raise_to(std::atomic<std::uint64_t>& highest, std::uint64_t value) {
  std::uint64_t seen = highest;
  while (value > seen && !highest.compare_exchange_weak(seen, value)) {
  }
}

[[gnu::noinline]] void watch_the_clock(int schedstat) {
  std::uint64_t delay = run_delay_ns(schedstat);
  std::uint64_t last = now_ns();
  for (;;) {
    const std::uint64_t now = now_ns();
    const std::uint64_t gap = now - last;
    last = now;
    if (gap < worth_a_look_ns) continue;
    const std::uint64_t delay_now = run_delay_ns(schedstat);
    const std::uint64_t waited = delay_now - delay;
    delay = delay_now;
    raise_to(gross_ns, gap);
    raise_to(longest_ns, gap > waited ? gap - waited : 0);
    last = now_ns();
  }
}

}  // namespace

void start_watch() {
  std::thread([] {
    name_thread("watcher");
    watch_the_clock(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  }).detach();
}

std::string take_watch_report() {
  char line[160];
  std::snprintf(line, sizeof line, "{\"longest_gap_us\": %.1f, \"gross_gap_us\": %.1f, \"eintr\": %llu}",
                static_cast<double>(longest_ns.exchange(0)) / 1000.0,
                static_cast<double>(gross_ns.exchange(0)) / 1000.0,
                static_cast<unsigned long long>(interrupted_waits(true)));
  return line;
}

}  // namespace demo
