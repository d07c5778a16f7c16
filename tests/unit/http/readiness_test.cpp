#include "http/readiness.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "catch.hpp"

namespace hatchd::http::test {
namespace {

namespace asio = boost::asio;
using Way = Readiness::Way;

// Pairs of sockets; somebody waits at each.
struct Waiters {
  struct Waiter {
    UniqueFd other;
    std::unique_ptr<Readiness::Socket> socket;
    int resumed = 0;
    bool was_ready = false;
  };
  asio::io_context context{1};
  std::shared_ptr<Readiness> readiness = std::make_shared<Readiness>(context.get_executor());
  std::vector<Waiter> all;
  std::function<void(Waiter&)> then = [](Waiter&) {};

  explicit Waiters(std::size_t count) : all(count) {
    for (Waiter& waiter : all) {
      int ends[2];
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
      waiter.other = UniqueFd(ends[0]);
      waiter.socket = std::make_unique<Readiness::Socket>(readiness, UniqueFd(ends[1]));
    }
  }
  ~Waiters() {
    for (Waiter& waiter : all)
      if (waiter.socket) waiter.socket->interrupt();
    context.restart();
    context.poll();
  }

  void wait(Waiter& waiter, Way way = Way::read) {
    waiter.socket->used_up(way);
    asio::co_spawn(context, wait_once(waiter, way), asio::detached);
    context.restart();
    context.poll();
  }
  asio::awaitable<void> wait_once(Waiter& waiter, Way way) {
    co_await waiter.socket->wait(way);
    ++waiter.resumed;
    waiter.was_ready = waiter.socket && waiter.socket->ready(way);
    then(waiter);
  }
  void write_to(Waiter& waiter) { REQUIRE(::send(waiter.other.get(), "x", 1, MSG_NOSIGNAL) == 1); }
  std::size_t poll() {
    context.restart();
    return context.poll();
  }
};

}  // namespace

TEST_CASE("readiness: more sockets than a batch holds are all told, each once") {
  Waiters waiters(200);
  for (auto& waiter : waiters.all) waiters.wait(waiter);
  for (auto& waiter : waiters.all) CHECK(waiter.resumed == 0);
  for (auto& waiter : waiters.all) waiters.write_to(waiter);
  waiters.poll();
  for (auto& waiter : waiters.all) {
    CHECK(waiter.resumed == 1);
    CHECK(waiter.was_ready);
  }
}

TEST_CASE("readiness: news that comes while nobody waits is kept") {
  Waiters waiters(2);
  auto& one = waiters.all[0];
  auto& other = waiters.all[1];
  waiters.wait(one);
  waiters.wait(other);
  waiters.write_to(one);
  waiters.poll();
  REQUIRE(one.resumed == 1);
  one.socket->used_up(Way::read);
  waiters.write_to(one);  // heard while the other is waited for
  waiters.poll();
  CHECK(one.socket->ready(Way::read));
  CHECK(other.resumed == 0);
  one.socket->used_up(Way::read);
  waiters.write_to(other);
  waiters.poll();
  CHECK(other.resumed == 1);
  waiters.write_to(one);  // heard by nobody: told to the next who waits
  waiters.wait(one);
  waiters.poll();
  CHECK(one.resumed == 2);
  CHECK(one.was_ready);
}

TEST_CASE("readiness: a socket that is closed by another of its batch is told nothing") {
  Waiters waiters(3);
  for (auto& waiter : waiters.all) waiters.wait(waiter);
  bool closed = false;
  waiters.then = [&](Waiters::Waiter& first) {
    if (std::exchange(closed, true)) return;
    for (auto& waiter : waiters.all)
      if (&waiter != &first) {
        waiter.socket->interrupt();
        waiter.socket->close();
      }
  };
  for (auto& waiter : waiters.all) waiters.write_to(waiter);
  waiters.poll();
  int ready = 0;
  for (auto& waiter : waiters.all) {
    CHECK(waiter.resumed == 1);
    ready += waiter.was_ready;
  }
  CHECK(ready == 1);
}

TEST_CASE("readiness: who is interrupted goes on, later, and finds nothing ready") {
  Waiters waiters(1);
  auto& waiter = waiters.all[0];
  waiters.wait(waiter);
  waiter.socket->interrupt();
  CHECK(waiter.resumed == 0);
  waiters.poll();
  CHECK(waiter.resumed == 1);
  CHECK_FALSE(waiter.was_ready);
  waiters.poll();
  CHECK(waiters.context.stopped());  // nobody waits: the event loop may end
}

TEST_CASE("readiness: room to write, and the end of a connection, are told") {
  Waiters waiters(1);
  auto& waiter = waiters.all[0];
  std::vector<char> much(1 << 20);
  while (::send(waiter.socket->get(), much.data(), much.size(), MSG_NOSIGNAL) > 0) {
  }
  waiters.wait(waiter, Way::write);
  CHECK(waiter.resumed == 0);
  while (::recv(waiter.other.get(), much.data(), much.size(), 0) > 0) {
  }
  waiters.poll();
  CHECK(waiter.resumed == 1);
  CHECK(waiter.was_ready);
  waiters.wait(waiter);
  CHECK(waiter.resumed == 1);
  waiter.other.reset();
  waiters.poll();
  CHECK(waiter.resumed == 2);
  CHECK(waiter.was_ready);
}

TEST_CASE("readiness: what cannot be waited for is said at once") {
  Waiters waiters(1);
  auto& waiter = waiters.all[0];
  waiter.socket = std::make_unique<Readiness::Socket>(waiters.readiness, UniqueFd(::open("/etc/passwd", O_RDONLY)));
  waiters.wait(waiter);
  CHECK(waiter.resumed == 1);
  CHECK_FALSE(waiter.was_ready);
}

}  // namespace hatchd::http::test
