#include "http/listener.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "access/names.hpp"
#include "catch.hpp"
#include "http/peer.hpp"
#include "server.hpp"

using namespace hatchd;
using namespace hatchd::http;
using namespace hatchd::http::test;
namespace asio = boost::asio;

namespace {

std::atomic<int> at_work{0};  // requests that took a while and that nobody has waited for yet

// "/slow" takes a second, "/never" never ends by itself.
asio::awaitable<Response> answer(const Request& request) {
  if (request.path != "/") {
    ++at_work;
    asio::steady_timer timer(co_await asio::this_coro::executor, request.path == "/never" ? 1h : 1s);
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return text_response(200, request.path);
}

// Waits until so many more requests have been read and are at work.
bool are_at_work(int requests) {
  for (const auto end = Clock::now() + 20s; at_work < requests; std::this_thread::sleep_for(1ms))
    if (Clock::now() > end) return false;
  at_work -= requests;
  return true;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

TEST_CASE("a full house closes the connection that has been idle longest") {
  Limits limits;
  limits.connections = 3;
  Server server(answer, limits);
  Client oldest = server.local(), middle = server.local(), youngest = server.local();
  for (Client* client : {&oldest, &middle, &youngest}) {
    CHECK(client->get("/").read().status == 200);
    std::this_thread::sleep_for(5ms);
  }
  CHECK(oldest.get("/").read().status == 200);  // now middle is the one
  Client newcomer = server.local();
  CHECK(newcomer.get("/").read().status == 200);
  CHECK(middle.closes());
  CHECK(oldest.get("/").read().status == 200);
  CHECK(youngest.get("/").read().status == 200);
  CHECK(server.becomes(3));
}

TEST_CASE("where nobody is idle, a newcomer gets a 503 and its reason") {
  Limits limits;
  limits.connections = 2;
  Server server(answer, limits);
  Client one = server.tcp(), two = server.tcp();
  one.get("/never");
  two.get("/never");
  CHECK(are_at_work(2));
  Client three = server.tcp();
  const Reply reply = three.get("/v1/x").read();
  CHECK(reply.status == 503);
  CHECK(reply.headers.contains("retry-after"));
  CHECK(reply.body.find("\"overloaded\"") != std::string::npos);
  CHECK(three.closes());
  three.close();
  two.close();  // a handler that does not ask whether its client is gone keeps its place
  CHECK(server.tcp().get("/").read().status == 503);
}

TEST_CASE("so many refusals are bounded too") {
  Limits limits;
  limits.connections = 1;
  limits.header_time = 10s;
  Server server(answer, limits);
  Client busy = server.tcp();
  busy.get("/never");
  CHECK(are_at_work(1));
  std::vector<Client> crowd;
  for (int i = 0; i < 200; ++i) crowd.push_back(server.tcp());
  CHECK(server.becomes(1 + 64));
  std::this_thread::sleep_for(50ms);
  CHECK(server.connections() == 1 + 64);
}

TEST_CASE("one address cannot take every place") {
  Limits limits;
  limits.connections_per_address = 2;
  Server server(answer, limits);
  Client one = server.tcp(), two = server.tcp();
  one.get("/never");
  two.get("/never");
  CHECK(are_at_work(2));
  CHECK(server.tcp().get("/").read().status == 503);
  CHECK(server.local().get("/").read().status == 200);  // its source is a user
}

TEST_CASE("connections that say nothing, or half a header, make room for one that speaks") {
  Limits limits;
  limits.connections = 4;
  Server server(answer, limits);
  Client busy = server.tcp();
  busy.get("/slow");
  CHECK(are_at_work(1));
  Client silent = server.local(), half = server.tcp();
  half.send("GET / HT");
  Client idle = server.tcp();
  CHECK(idle.get("/").read().status == 200);
  CHECK(server.becomes(4));

  Client one = server.tcp();
  CHECK(one.get("/slow").read().status == 200);
  CHECK(are_at_work(1));
  CHECK(idle.closes());  // although it is the youngest
  CHECK(busy.read().status == 200);
  one.get("/never");
  busy.get("/never");
  CHECK(are_at_work(2));
  Client two = server.tcp(), three = server.tcp();
  two.get("/never");
  three.get("/never");
  CHECK(silent.closes());
  CHECK(half.closes());
  CHECK(are_at_work(2));
  CHECK(server.tcp().get("/").read().status == 503);
  // Only root gets into a house where all are at work.
  CHECK(server.local().get("/").read().status == (::geteuid() == 0 ? 200 : 503));
}

TEST_CASE("a body that does not come makes room, after those who have not even asked") {
  Limits limits;
  limits.connections = 3;
  Server server(answer, limits);
  Client body = server.tcp();
  body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
  std::this_thread::sleep_for(20ms);
  Client half = server.tcp(), idle = server.tcp();
  half.send("GET / HT");
  CHECK(idle.get("/").read().status == 200);
  CHECK(server.becomes(3));

  std::vector<Client> busy;
  for (Client* evicted : {&idle, &half, &body}) {
    busy.push_back(server.tcp());
    busy.back().get("/never");
    CHECK(evicted->closes());
    CHECK(are_at_work(1));
  }
  CHECK(server.tcp().get("/").read().status == 503);
}

TEST_CASE("no source holds more than what is left for the others, and a few places are everybody's") {
  Limits limits;
  limits.connections = 40;
  Server server(answer, limits);
  std::vector<Client> streams;
  for (int i = 0; i < 20; ++i) {
    streams.push_back(server.tcp());
    streams.back().get("/never");
  }
  CHECK(are_at_work(20));
  CHECK(server.tcp().get("/").read().status == 503);
  std::vector<Client> others;
  for (int i = 0; i < 8; ++i) {
    others.push_back(server.local());
    CHECK(others.back().get("/").read().status == 200);
  }
}

TEST_CASE("who counts as one source") {
  const auto tcp = [](std::string address) {
    Peer peer;
    peer.address = std::move(address);
    return source_key(peer);
  };
  CHECK(tcp("127.0.0.1:1") == tcp("127.200.3.4:5"));
  CHECK(tcp("127.0.0.1:1") == tcp("[::1]:1"));
  CHECK(tcp("127.0.0.1:1") == tcp("[::ffff:127.0.0.2]:1"));
  CHECK(tcp("192.0.2.1:1") == tcp("192.0.2.1:2"));
  CHECK(tcp("192.0.2.1:1") == tcp("[::ffff:192.0.2.1]:2"));
  CHECK(tcp("192.0.2.1:1") != tcp("192.0.2.2:1"));
  CHECK(tcp("[2001:db8::1]:1") != tcp("[2001:db8:0:1::1]:1"));
  Peer alice, bob;
  alice.local = bob.local = true;
  alice.address = bob.address = "unix";
  alice.uid = 1000;
  bob.uid = 1001;
  CHECK(source_key(alice) != source_key(bob));
}

TEST_CASE("without descriptors the listener waits instead of spinning, and goes on afterwards") {
  Server server(answer);
  std::vector<Client> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(server.local());
  CHECK(server.becomes(3));

  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const UniqueFd next_client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  server.socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
  std::this_thread::sleep_for(50ms);  // some ticks: UBSan's check of virtual calls needs a descriptor the first time

  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(next_client.get()) + 1;
  const bool tightened = ::setrlimit(RLIMIT_NOFILE, &tight) == 0;
  const bool connected = ::connect(next_client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  const double cpu = cpu_seconds();
  std::this_thread::sleep_for(400ms);
  const double used = cpu_seconds() - cpu;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(tightened);
  CHECK(connected);
  CHECK(used < 0.2);
  Client client(::dup(next_client.get()));
  CHECK(client.get("/").read().status == 200);
}

TEST_CASE("an orderly stop: idle ones at once, running ones finish, new requests are refused") {
  Server server(answer);
  Client idle = server.tcp(), running = server.tcp(), fresh = server.tcp(), pipelining = server.local();
  CHECK(idle.get("/").read().status == 200);
  running.get("/slow");
  pipelining.get("/slow").get("/");
  CHECK(server.becomes(4));
  CHECK(are_at_work(2));

  auto done = server.stop(30s);
  CHECK(idle.closes(10s));
  CHECK_THROWS_AS(server.tcp(), std::runtime_error);
  const Reply refused = fresh.get("/").read();  // was accepted before the stop
  CHECK(refused.status == 503);
  CHECK(refused.headers.at("connection") == "close");
  CHECK(refused.body.find("shutting-down") != std::string::npos);
  const Reply last = running.read();
  CHECK(last.status == 200);
  CHECK(last.headers.at("connection") == "close");
  CHECK(pipelining.read().status == 200);
  CHECK(pipelining.closes());
  for (Client* client : {&fresh, &running, &pipelining}) client->close();
  CHECK(done.wait_for(10s) == std::future_status::ready);
  CHECK(server.connections() == 0);
}

TEST_CASE("what does not end within the grace is cut off") {
  Server server(answer);
  Client stubborn = server.tcp();
  stubborn.get("/never");
  CHECK(are_at_work(1));
  auto done = server.stop(1s);
  CHECK(done.wait_for(50ms) == std::future_status::timeout);
  CHECK(done.wait_for(20s) == std::future_status::ready);
  CHECK(stubborn.closes());
  CHECK(server.becomes(0));
}

TEST_CASE("a stop with nobody there is done at once") {
  Server server(answer);
  CHECK(server.stop(1h).wait_for(20s) == std::future_status::ready);
}

TEST_CASE("the kernel says who is at the other end of a Unix socket") {
  std::promise<Peer> promise;
  Server server([&](const Request& request) -> asio::awaitable<Response> {
    promise.set_value(request.peer);
    co_return text_response(200, "");
  });
  server.local().get("/").read();
  const Peer peer = promise.get_future().get();
  CHECK(peer.local);
  CHECK(peer.uid == ::geteuid());
  CHECK(peer.gid == ::getegid());
  CHECK(peer.pid == ::getpid());
  CHECK(peer.listener == 0);
  CHECK(peer.address == "unix");
  std::vector<gid_t> groups(static_cast<std::size_t>(::getgroups(0, nullptr)));
  REQUIRE(::getgroups(static_cast<int>(groups.size()), groups.data()) >= 0);
  CHECK(peer.groups == groups);

  const auto text = read_file_at(AT_FDCWD, "/proc/self/loginuid", 64);
  const unsigned long login = text ? std::strtoul(text->c_str(), nullptr, 10) : 4294967295;
  CHECK(peer.login == (login == 4294967295 ? "" : access::user_name(static_cast<uid_t>(login))));
}

TEST_CASE("nothing is read by the number of a peer that has ended") {
  char path[] = "/tmp/hatchd-http-peer-XXXXXX";
  REQUIRE(::mkdtemp(path));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (std::string(path) + "/s").copy(address.sun_path, sizeof address.sun_path - 1);
  const UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listening.get(), 1) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ::_exit(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? 0 : 1);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  REQUIRE(status == 0);
  const UniqueFd accepted(::accept(listening.get(), nullptr, nullptr));
  const Peer peer = peer_of(accepted.get(), true, 7);
  CHECK(peer.pid == child);
  CHECK(peer.uid == ::geteuid());
  CHECK(peer.login.empty());
  CHECK(peer.listener == 7);
  std::filesystem::remove_all(path);
}

TEST_CASE("addresses of TCP peers") {
  std::promise<Peer> promise;
  Server server([&](const Request& request) -> asio::awaitable<Response> {
    promise.set_value(request.peer);
    co_return text_response(200, "");
  });
  server.tcp().get("/").read();
  const Peer peer = promise.get_future().get();
  CHECK_FALSE(peer.local);
  CHECK(peer.address.starts_with("127.0.0.1:"));
  CHECK(peer.listener == 1);
  CHECK(host_of_address("[::1]:80") == "[::1]");
  CHECK(host_of_address("127.0.0.1:80") == "127.0.0.1");
}
