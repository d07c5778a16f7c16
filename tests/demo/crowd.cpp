#include "crowd.hpp"

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "shop.hpp"

namespace demo {
namespace {

std::atomic<std::uint64_t> interrupted = 0;
std::atomic<unsigned> arrived = 0;
int never_fd = -1;             // an eventfd that nobody writes to
std::uint32_t never_word = 0;  // a futex that nobody wakes

[[gnu::noinline]] void blocked_in_futex() {
  for (;;) ::syscall(SYS_futex, &never_word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
}
[[gnu::noinline]] void blocked_in_read() {
  std::uint64_t value;
  for (;;)
    if (::read(never_fd, &value, sizeof value) < 0 && errno != EINTR) return;
}
[[gnu::noinline]] void blocked_in_poll() {
  pollfd never{never_fd, POLLIN, 0};
  for (;;) ::poll(&never, 1, -1);
}
[[gnu::noinline]] void blocked_in_epoll_wait() {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{EPOLLIN, {}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, never_fd, &event);
  for (;;)
    if (::epoll_wait(epoll, &event, 1, -1) < 0 && errno == EINTR) ++interrupted;
}

// Sixteen distinct functions that call each other in turn, so that a stack has many frames and some names.
template <unsigned Level>
void step(unsigned left, unsigned kind);

using Step = void (*)(unsigned, unsigned);
template <std::size_t... I>
constexpr std::array<Step, sizeof...(I)> steps(std::index_sequence<I...>) {
  return {&step<I>...};
}

template <unsigned Level>
[[gnu::noinline]] void step(unsigned left, unsigned kind) {
  volatile unsigned local[4] = {left, kind, Level, 0};
  static constexpr auto all = steps(std::make_index_sequence<16>{});
  if (left > 0) {
    all[(Level + 1) % 16](left - 1, kind);
  } else {
    ++arrived;
    switch (kind) {
      case 0: blocked_in_futex(); break;
      case 1: blocked_in_read(); break;
      case 2: blocked_in_poll(); break;
      default: blocked_in_epoll_wait();
    }
  }
  local[3] = local[0];
}

struct Guest {
  unsigned number, depth;
};

void* guest(void* argument) {
  const Guest guest = *static_cast<Guest*>(argument);
  delete static_cast<Guest*>(argument);
  name_thread("crowd-" + std::to_string(guest.number));
  // The rest of `depth` is the way into the thread and into the system call.
  step<0>(guest.depth > 6 ? guest.depth - 6 : 0, guest.number % 4);
  return nullptr;
}

}  // namespace

void gather_crowd(unsigned threads, unsigned depth) {
  never_fd = ::eventfd(0, EFD_CLOEXEC);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024 + std::size_t{depth} * 256);
  for (unsigned i = 0; i < threads; ++i) {
    pthread_t id;
    if (pthread_create(&id, &small, &guest, new Guest{i, depth}) != 0)
      throw std::runtime_error("cannot start so many threads");
    pthread_detach(id);
  }
  pthread_attr_destroy(&small);
  while (arrived < threads) std::this_thread::yield();
}

std::uint64_t interrupted_waits(bool reset) { return reset ? interrupted.exchange(0) : interrupted.load(); }

}  // namespace demo
