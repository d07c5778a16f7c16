#include "shop.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>

namespace demo {
namespace {

using namespace std::chrono_literals;

int checked(int result) {
  if (result < 0) throw std::system_error(errno, std::generic_category());
  return result;
}

}  // namespace

void name_thread(const std::string& name) { pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()); }

Shop::Shop() {
  checked(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders_fd_));
  checked(::pipe2(log_fd_, O_CLOEXEC));
  closing_fd_ = checked(::eventfd(0, EFD_CLOEXEC));
  epoll_fd_ = checked(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{EPOLLIN, {}};
  event.data.fd = orders_fd_[1];
  checked(::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, orders_fd_[1], &event));
}

Shop::~Shop() {
  close();
  for (const int fd : {orders_fd_[0], orders_fd_[1], log_fd_[0], log_fd_[1], closing_fd_, epoll_fd_})
    if (fd >= 0) ::close(fd);
}

void Shop::open() {
  open_ = true;
  threads_.emplace_back([this] { accept_orders(); });
  for (int i = 1; i <= 4; ++i) threads_.emplace_back([this, i] { work(i); });
  threads_.emplace_back([this] { schedule_deliveries(); });
  threads_.emplace_back([this] { sweep_cache(); });
  threads_.emplace_back([this] { write_log(); });
  threads_.emplace_back([this] { compute_prices(); });
}

void Shop::close() {
  if (!open_.exchange(false)) return;
  ::shutdown(orders_fd_[0], SHUT_WR);
  {
    const std::lock_guard lock{mutex_};
    order_ready_.notify_all();
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t woken = ::write(closing_fd_, &one, sizeof one);
  [[maybe_unused]] const ssize_t ended = ::write(log_fd_[1], "\n", 1);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

// ---- acceptor: epoll_wait on the socket that orders come from -------------------------------------------------------

[[gnu::noinline]] void Shop::wait_for_order() {
  epoll_event event;
  while (open_) {
    const int n = ::epoll_wait(epoll_fd_, &event, 1, -1);
    if (n > 0 || errno != EINTR) return;
  }
}

[[gnu::noinline]] void Shop::accept_orders() {
  name_thread("acceptor");
  while (open_) {
    wait_for_order();
    Order order;
    if (::recv(orders_fd_[1], &order, sizeof order, 0) != sizeof order) return;
    const std::lock_guard lock{mutex_};
    if (queue_.size() < 1000) queue_.push_back(order);
    order_ready_.notify_one();
  }
}

// ---- workers: a condition variable
// -----------------------------------------------------------------------------------

[[gnu::noinline]] Order Shop::take_order_from_queue() {
  std::unique_lock lock{mutex_};
  order_ready_.wait(lock, [this] { return !queue_.empty() || !open_; });
  if (queue_.empty()) return {};
  const Order order = queue_.front();
  queue_.pop_front();
  return order;
}

[[gnu::noinline]] void Shop::work(int number) {
  name_thread("worker-" + std::to_string(number));
  while (open_) {
    const Order order = take_order_from_queue();
    if (order.items == 0) continue;
    sold_ += order.items;
    const std::string line = "order " + std::to_string(order.number) + " sold\n";
    [[maybe_unused]] const ssize_t written = ::write(log_fd_[1], line.data(), line.size());
  }
}

// ---- scheduler: sleeps, then sends the order of a customer who comes every day
// ---------------------------------------

[[gnu::noinline]] void Shop::sleep_until_next_delivery() {
  timespec left{0, 250'000'000};
  while (open_ && ::clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

[[gnu::noinline]] void Shop::schedule_deliveries() {
  name_thread("scheduler");
  for (std::uint64_t number = 1; open_; ++number) {
    sleep_until_next_delivery();
    const Order order{number, static_cast<std::uint32_t>(number % 3 + 1)};
    [[maybe_unused]] const ssize_t sent = ::send(orders_fd_[0], &order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

// ---- cache sweeper: poll with a timeout
// ------------------------------------------------------------------------------

[[gnu::noinline]] void Shop::sweep_expired_entries() {
  pollfd closing{closing_fd_, POLLIN, 0};
  ::poll(&closing, 1, 1000);
}

[[gnu::noinline]] void Shop::sweep_cache() {
  name_thread("cache-sweeper");
  while (open_) sweep_expired_entries();
}

// ---- logger: read on a pipe
// ------------------------------------------------------------------------------------------

[[gnu::noinline]] std::string Shop::wait_for_log_line() {
  char text[256];
  const ssize_t n = ::read(log_fd_[0], text, sizeof text);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string{};
}

[[gnu::noinline]] void Shop::write_log() {
  name_thread("logger");
  while (open_) logged_ += wait_for_log_line().size();
}

// ---- pricer: the one that is often on a CPU
// --------------------------------------------------------------------------

[[gnu::noinline]] std::uint64_t recompute_prices(std::uint64_t seed) {
  const auto end = std::chrono::steady_clock::now() + 2ms;
  while (std::chrono::steady_clock::now() < end)
    for (int i = 0; i < 1000; ++i) seed = seed * 6364136223846793005U + 1442695040888963407U;
  return seed;
}

[[gnu::noinline]] void rest_between_prices() {
  const timespec pause{0, 18'000'000};
  ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
}

[[gnu::noinline]] void Shop::compute_prices() {
  name_thread("pricer");
  while (open_) {
    price_checksum_ = recompute_prices(price_checksum_);
    rest_between_prices();
  }
}

}  // namespace demo
