// Waiting until a session's socket can be read or written, for one system call less than Asio's own async_wait(), which
// calls epoll_ctl(2) before each wait: a tenth of the CPU time of a small request. Here each socket is entered once,
// edge-triggered, into an epoll instance that all sessions share (epoll(7), "Level-triggered and edge-triggered"), and
// Asio waits for that one. What it tells, a whole batch of sockets at a time, is kept until the session finds its socket
// used up.
//
// One thread: nothing here is locked.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/fd.hpp"

namespace hatchd::http {

class Readiness : public std::enable_shared_from_this<Readiness> {
 public:
  enum class Way : std::uint32_t { read = EPOLLIN, write = EPOLLOUT };
  class Socket;

  // Throws boost::system::system_error where there is no epoll instance to be had.
  explicit Readiness(const boost::asio::any_io_executor& executor);

 private:
  void listen();
  void deliver();

  boost::asio::posix::stream_descriptor set_;
  bool listening_ = false;
  std::size_t suspended_ = 0;  // sockets that somebody waits for: without one, the event loop may end
  std::array<epoll_event, 64> batch_{};
  std::size_t told_ = 0;  // of the batch that is being told
};

// A socket that does not block. It stays where it is: the epoll instance knows its address.
class Readiness::Socket {
 public:
  Socket(std::shared_ptr<Readiness> readiness, UniqueFd fd) : readiness_(std::move(readiness)), fd_(std::move(fd)) {}
  Socket(const Socket&) = delete;
  ~Socket() { close(); }

  int get() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }
  boost::asio::any_io_executor executor() { return readiness_->set_.get_executor(); }

  // A try is worth it. At first it always is.
  bool ready(Way way) const { return (ready_ & bit(way)) != 0; }
  // A try came to EAGAIN: what comes after this is told as news.
  void used_up(Way way) { ready_ &= ~bit(way); }
  // A read came to less than it asked for, which means the same (epoll(7)), unless the news was of more than bytes: an
  // end that came with them is told once, and a read stops at urgent data.
  void read_short() {
    if (only_bytes_) used_up(Way::read);
  }

  // For who finds it not ready: until it is, or interrupt(), or it cannot be waited for; ready() tells. One caller at a
  // time.
  boost::asio::awaitable<void> wait(Way way);
  void interrupt();
  void close();

 private:
  friend class Readiness;
  using Resume = boost::asio::async_result<boost::asio::use_awaitable_t<>, void()>::handler_type;

  static std::uint32_t bit(Way way) { return static_cast<std::uint32_t>(way); }
  bool enter(Way way);
  std::optional<Resume> wake();
  void tell(std::uint32_t events);

  std::shared_ptr<Readiness> readiness_;
  UniqueFd fd_;
  std::uint32_t ready_ = EPOLLIN | EPOLLOUT, entered_ = 0, awaited_ = 0;
  bool only_bytes_ = true;  // came so far
  std::optional<Resume> resume_;
};

}  // namespace hatchd::http
