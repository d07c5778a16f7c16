#include "http/readiness.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>

namespace hatchd::http {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

int make_set() {
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) throw boost::system::system_error(errno, boost::system::system_category(), "epoll_create1");
  return set;
}

}  // namespace

Readiness::Readiness(const asio::any_io_executor& executor) : set_(executor, make_set()) {}

void Readiness::listen() {
  if (std::exchange(listening_, true)) return;
  set_.async_wait(asio::posix::descriptor_base::wait_read, [self = shared_from_this()](error_code error) {
    self->listening_ = false;
    if (!error) self->deliver();
    if (self->suspended_ > 0) self->listen();
  });
}

// One batch: whatever else is ready has its turn before the next.
void Readiness::deliver() {
  const int count = ::epoll_wait(set_.native_handle(), batch_.data(), static_cast<int>(batch_.size()), 0);
  told_ = static_cast<std::size_t>(std::max(count, 0));
  for (std::size_t i = 0; i < told_; ++i)
    if (auto* socket = static_cast<Socket*>(batch_[i].data.ptr)) socket->tell(batch_[i].events);
  told_ = 0;
}

asio::awaitable<void> Readiness::Socket::wait(Way way) {
  auto begin = [this, way](auto handler) {
    if (!enter(way)) return asio::post(executor(), std::move(handler));
    awaited_ = bit(way);
    resume_.emplace(std::move(handler));
    ++readiness_->suspended_;
    readiness_->listen();
  };
  return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(begin, asio::use_awaitable);
}

// Writing is added when it is first waited for: the kernel tells of every byte that a client of a Unix socket takes.
bool Readiness::Socket::enter(Way way) {
  if ((entered_ & bit(way)) != 0) return true;
  epoll_event event{};
  event.events = entered_ | EPOLLIN | EPOLLRDHUP | EPOLLPRI | bit(way) | EPOLLET;
  event.data.ptr = this;
  const int set = readiness_->set_.native_handle();
  if (::epoll_ctl(set, entered_ == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, get(), &event) != 0) return false;
  entered_ = event.events;
  return true;
}

std::optional<Readiness::Socket::Resume> Readiness::Socket::wake() {
  if (!resume_) return std::nullopt;
  awaited_ = 0;
  std::optional<Resume> resume = std::move(resume_);
  resume_.reset();
  --readiness_->suspended_;
  return resume;
}

void Readiness::Socket::tell(std::uint32_t events) {
  if ((events & ~static_cast<std::uint32_t>(EPOLLIN | EPOLLOUT)) != 0) only_bytes_ = false;
  // The end of a connection shows in whatever is tried next.
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) events |= EPOLLIN | EPOLLOUT;
  ready_ |= events & (EPOLLIN | EPOLLOUT);
  if ((ready_ & awaited_) == 0) return;
  if (auto resume = wake()) std::move (*resume)();
}

// Not from within: who interrupts may be anybody's call.
void Readiness::Socket::interrupt() {
  auto resume = wake();
  if (!resume) return;
  asio::post(executor(), std::move(*resume));
  error_code ignored;
  if (readiness_->suspended_ == 0) readiness_->set_.cancel(ignored);
}

void Readiness::Socket::close() {
  for (std::size_t i = 0; i < readiness_->told_; ++i)
    if (readiness_->batch_[i].data.ptr == this) readiness_->batch_[i].data.ptr = nullptr;
  fd_.reset();  // which takes it out of the epoll instance: nobody else has this open file
}

}  // namespace hatchd::http
