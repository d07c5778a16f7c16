// The three things that the front's coroutines wait for besides sockets: another coroutine (Signal), work that blocks
// (Pool) and a message of another process (Receiver). All but the work itself happens on the one event loop.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <span>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "link/channel.hpp"

namespace hatchd::runs {

namespace asio = boost::asio;

// Wakes everybody who waits. A waiter looks at its condition in a loop: while (!done) co_await signal.wait(deadline).
class Signal {
 public:
  explicit Signal(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  Signal(const Signal&) = delete;

  void notify();
  asio::awaitable<void> wait(SteadyTime until = SteadyTime::max());

 private:
  asio::any_io_executor executor_;
  std::vector<asio::steady_timer*> waiters_;
};

// A few threads for what blocks: the disk, and JSON of many megabytes. They begin with the first work.
class Pool {
 public:
  explicit Pool(std::size_t threads) : count_(threads) {}
  ~Pool() {
    if (threads_) threads_->join();
  }

  // Runs `work` on a thread of the pool and resumes the caller on its own executor with what it returned.
  // Give the lambda a name before the co_await: g++ 12 copies closures and other aggregates that are temporaries of a
  // co_await expression byte by byte, which breaks their strings (GCC bug 99576 and its relatives). The same goes for
  // aggregates and for `a ? b : c` of class type among the arguments of every coroutine that is awaited.
  template <class Work>
  asio::awaitable<std::invoke_result_t<Work>> run(Work work) {
    using Value = std::invoke_result_t<Work>;
    const asio::any_io_executor home = co_await asio::this_coro::executor;
    std::conditional_t<std::is_void_v<Value>, std::monostate, std::optional<Value>> value;
    std::exception_ptr thrown;
    if (!threads_) threads_.emplace(count_);
    // One post there and one back. The frame, and so all that is referred to here, lives until the handler has run.
    auto begin = [&](auto handler) {
      asio::post(*threads_, [&, home, handler = std::move(handler), busy = asio::make_work_guard(home)]() mutable {
        try {
          if constexpr (std::is_void_v<Value>)
            work();
          else
            value.emplace(work());
        } catch (...) {
          thrown = std::current_exception();
        }
        asio::post(home, std::move(handler));
      });
    };
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(begin, asio::use_awaitable);
    if (thrown) std::rethrow_exception(thrown);
    if constexpr (!std::is_void_v<Value>) co_return std::move(*value);
  }

 private:
  const std::size_t count_;
  std::optional<asio::thread_pool> threads_;
};

// The receiving end of a Channel.
class Receiver {
 public:
  // `max_body`: of one message; a larger one ends the channel.
  Receiver(asio::any_io_executor executor, link::Channel channel, std::size_t max_body = link::Channel::max_body);
  ~Receiver();
  Receiver(const Receiver&) = delete;

  // The next message; nullopt when the other side ended, sent what is no message, or close() was called. One caller at
  // a time. Always goes through the event loop, so that a side that floods does not keep it.
  asio::awaitable<std::optional<link::Message>> next();

  // Never waits: false when the other side is gone or does not read.
  bool send(std::string_view type, boost::json::object body = {}, std::span<const int> fds = {});

  void close();  // ends a next() that waits
  bool open() const { return static_cast<bool>(channel_) && !closed_; }

 private:
  link::Channel channel_;
  asio::posix::stream_descriptor descriptor_;
  std::size_t max_body_;
  bool closed_ = false;
};

}  // namespace hatchd::runs
