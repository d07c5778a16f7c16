#include "runs/async.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/json/object.hpp>

#include "base/log.hpp"
#include "link/receive.hpp"

namespace hatchd::runs {

void Signal::notify() {
  for (asio::steady_timer* timer : waiters_) timer->cancel();
}

asio::awaitable<void> Signal::wait(SteadyTime until) {
  asio::steady_timer timer(executor_, until);
  waiters_.push_back(&timer);
  const Defer leave{[&] { std::erase(waiters_, &timer); }};
  boost::system::error_code ignored;  // notified or time is up: the caller looks at its condition either way
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

Receiver::Receiver(asio::any_io_executor executor, link::Channel channel, std::size_t max_body)
    : channel_(std::move(channel)), descriptor_(std::move(executor)), max_body_(max_body) {
  if (channel_) descriptor_.assign(channel_.fd());
}

Receiver::~Receiver() {
  if (descriptor_.is_open()) descriptor_.release();  // the channel owns the descriptor
}

asio::awaitable<std::optional<link::Message>> Receiver::next() {
  while (open()) {
    boost::system::error_code error;
    co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                                    asio::redirect_error(asio::use_awaitable, error));
    if (error || closed_) break;
    link::Message message;
    switch (link::receive(channel_.fd(), message, max_body_)) {
      case link::Received::message: co_return message;
      case link::Received::nothing: continue;
      case link::Received::broken: log::warning("a process sent what is no message"); [[fallthrough]];
      case link::Received::ended: closed_ = true;
    }
  }
  co_return std::nullopt;
}

bool Receiver::send(std::string_view type, boost::json::object body, std::span<const int> fds) {
  return open() && channel_.send(type, std::move(body), fds, 0);
}

void Receiver::close() {
  closed_ = true;
  if (descriptor_.is_open()) descriptor_.cancel();
}

}  // namespace hatchd::runs
