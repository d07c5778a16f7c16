#include "http/wire.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

#include "catch.hpp"
#include "server.hpp"

using namespace hatchd;
using namespace hatchd::http;
using namespace hatchd::http::test;
namespace asio = boost::asio;

namespace {

asio::awaitable<void> pause_for(std::chrono::milliseconds time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(asio::use_awaitable);
}

// Says what it was asked.
asio::awaitable<Response> echo(const Request& request) {
  std::string body = request.method + " " + request.path;
  for (const auto& [name, value] : request.query) body += " " + name + "=" + value;
  if (!request.body.empty()) body += " body=" + std::to_string(request.body.size()) + ":" + request.body.substr(0, 40);
  co_return text_response(200, body);
}

std::string post(std::string_view headers, std::string_view body = {}) {
  return "POST /p HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) + "\r\n" + std::string(body);
}

}  // namespace

TEST_CASE("keep-alive, and the headers of every response") {
  Server server(echo);
  for (const bool local : {false, true}) {
    Client client = local ? server.local() : server.tcp();
    std::string first_id;
    for (int i = 0; i < 3; ++i) {
      const Reply reply = client.get("/a%20b?x=1&y=%26").read();
      CHECK(reply.status == 200);
      CHECK(reply.body == "GET /a b x=1 y=&\n");
      CHECK(reply.headers.at("x-robots-tag") == "noindex");
      CHECK(reply.headers.at("x-content-type-options") == "nosniff");
      CHECK(reply.headers.at("cache-control") == "no-store");
      CHECK(reply.headers.at("date").ends_with(" GMT"));
      CHECK(reply.headers.at("hatchd-request-id").size() == 26);
      CHECK_FALSE(reply.headers.contains("connection"));
      CHECK(reply.headers.at("hatchd-request-id") != first_id);
      first_id = reply.headers.at("hatchd-request-id");
    }
    const Reply last = client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").read();
    CHECK(last.headers.at("connection") == "close");
    CHECK(client.closes());
  }
}

TEST_CASE("a handler's own Cache-Control stands, and no value of its makes a header") {
  Server server([](const Request&) -> asio::awaitable<Response> {
    Response response = json_response(201, "{}");
    response.header("Cache-Control", "max-age=5").header("Location", "/a\r\nSet-Cookie: x=1");
    co_return std::move(response);
  });
  const Reply reply = server.tcp().get("/").read();
  CHECK(reply.status == 201);
  CHECK(reply.head.starts_with("HTTP/1.1 201 Created\r\n"));
  CHECK(reply.headers.at("cache-control") == "max-age=5");
  CHECK_FALSE(reply.headers.contains("set-cookie"));
  CHECK(reply.headers.at("location") == "/a  Set-Cookie: x=1");
}

TEST_CASE("pipelined requests are answered in order, many of them too") {
  Server server(echo);
  Client client = server.tcp();
  std::string all;
  for (int i = 0; i < 200; ++i) all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.send(all + post("Content-Length: 3\r\n", "abc") + "\r\nGET /end HTTP/1.1\r\nHost: h\r\n\r\n");
  for (int i = 0; i < 200; ++i) REQUIRE(client.read().body == "GET /" + std::to_string(i) + "\n");
  CHECK(client.read().body == "POST /p body=3:abc\n");
  CHECK(client.read().body == "GET /end\n");  // behind an empty line, which old clients send
}

TEST_CASE("a request may come byte by byte") {
  Server server(echo);
  Client client = server.tcp();
  for (const char c : post("Transfer-Encoding: chunked\r\n", "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")) {
    client.send(std::string_view(&c, 1));
    std::this_thread::sleep_for(200us);
  }
  CHECK(client.read().body == "POST /p body=5:abcde\n");
  CHECK(client.get("/next").read().body == "GET /next\n");
}

TEST_CASE("trailers do not become headers") {
  Server server([](const Request& request) -> asio::awaitable<Response> {
    co_return text_response(200, "[" + std::string(request.header("authorization")) + "]");
  });
  Client client = server.tcp();
  client.send(post("Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"));
  CHECK(client.read().body == "[]\n");
}

TEST_CASE("HTTP/1.0") {
  Server server(echo);
  Client once = server.tcp();
  const Reply reply = once.send("GET /old HTTP/1.0\r\n\r\n").read();
  CHECK(reply.head.starts_with("HTTP/1.0 200 OK\r\n"));
  CHECK(reply.body == "GET /old\n");
  CHECK(reply.headers.at("connection") == "close");
  CHECK(once.closes());

  Client kept = server.tcp();
  for (int i = 0; i < 2; ++i) {
    const Reply again = kept.send("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").read();
    CHECK(again.headers.at("connection") == "keep-alive");
  }
}

TEST_CASE("HEAD has the length and not the body") {
  Server server(echo);
  Client client = server.tcp();
  const Reply reply = client.send("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n").read(true);
  CHECK(reply.status == 200);
  CHECK(reply.headers.at("content-length") == "8");
  CHECK(client.get("/y").read().body == "GET /y\n");  // and nothing of it stands before the next answer
}

TEST_CASE("a header too large is 431, at once and without its end") {
  Server server(echo);
  Client client = server.tcp();
  client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(17 * 1024, 'a'));
  const Reply reply = client.read();
  CHECK(reply.status == 431);
  CHECK(client.closes());

  std::string fields = "GET / HTTP/1.1\r\nHost: localhost\r\n";
  for (int i = 0; i < 101; ++i) fields += "a: b\r\n";
  CHECK(server.tcp().send(fields + "\r\n").read().status == 431);
  Client large = server.tcp();
  CHECK(
      large.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(15 * 1024, 'a') + "\r\n\r\n").read().status ==
      200);
}

TEST_CASE("bodies up to the limit, and 413 beyond") {
  Limits limits;
  limits.body_bytes = 100'000;
  Server server(echo, limits);
  const std::string fits(100'000, 'a');
  CHECK(server.tcp().send(post("Content-Length: 100000\r\n", fits)).read().body.starts_with("POST /p body=100000:"));
  CHECK(server.tcp().send(post("Transfer-Encoding: chunked\r\n", "186a0\r\n" + fits + "\r\n0\r\n\r\n")).read().status ==
        200);

  Client announced = server.tcp();  // answered before a byte of the body came
  const Reply reply = announced.send(post("Content-Length: 100001\r\n")).read();
  CHECK(reply.status == 413);
  CHECK(reply.headers.at("connection") == "close");

  Client chunked = server.tcp();
  CHECK(chunked.send(post("Transfer-Encoding: chunked\r\n", "186a0\r\n" + fits + "\r\n1\r\na\r\n0\r\n\r\n"))
            .read()
            .status == 413);
  Client huge = server.tcp();
  CHECK(huge.send(post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n")).read().status == 413);
  Client overflow = server.tcp();
  CHECK(overflow.send(post("Transfer-Encoding: chunked\r\n", "1ffffffffffffffff\r\n")).read().status == 400);
}

TEST_CASE("a client that goes on sending still reads why it was refused") {
  Server server(echo);
  Client client = server.tcp();
  client.send(post("Content-Length: 8000000\r\n"));
  client.send(std::string(4'000'000, 'a'));
  CHECK(client.read().status == 413);
}

TEST_CASE("bodies under way together have a bound") {
  Limits limits;
  limits.requests = {1000, 1000};
  Server server(echo, limits);
  Client first = server.tcp(), second = server.tcp();
  first.send(post("Content-Length: 800\r\n", std::string(799, 'a')));
  CHECK(server.has_caught_up());
  const Reply refused = second.send(post("Content-Length: 800\r\n", std::string(800, 'b'))).read();
  CHECK(refused.status == 503);
  CHECK(refused.headers.contains("retry-after"));
  first.send("a");
  CHECK(first.read().status == 200);
  CHECK(server.tcp().send(post("Content-Length: 800\r\n", std::string(800, 'b'))).read().status == 200);
}

TEST_CASE("bodies that are only announced hold nothing, and one source holds its share at most") {
  Limits limits;
  limits.requests = {4000, 1000};
  Server server(echo, limits);
  std::vector<Client> silent;
  for (int i = 0; i < 16; ++i) {
    silent.push_back(server.tcp());
    silent.back().send(post(i % 2 ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 900\r\n"));
  }
  CHECK(server.has_caught_up());
  const std::string nine_hundred = post("Content-Length: 900\r\n", std::string(900, 'b'));
  CHECK(server.tcp().send(nine_hundred).read().status == 200);

  silent[0].send(std::string(899, 'a'));
  CHECK(server.has_caught_up());
  CHECK(server.tcp().send(nine_hundred).read().status == 503);
  CHECK(server.local().send(nine_hundred).read().status == 200);
  CHECK(silent[0].send("a").read().status == 200);
  silent[0].close();
  CHECK(server.becomes(15));
  CHECK(server.tcp().send(nine_hundred).read().status == 200);
}

TEST_CASE("answers that nobody takes have a bound, and the first of a source is always let through") {
  Limits limits;
  limits.answers = {24'000'000, 8'000'000};
  limits.write_time = 10s;
  Server server(
      [](const Request& request) -> asio::awaitable<Response> {
        co_return text_response(200, std::string(request.path == "/small" ? 100 : 20'000'000, 'a'));
      },
      limits);
  Client stuck = server.tcp(), greedy = server.tcp(), other = server.local();
  stuck.get("/");
  char byte;
  REQUIRE(::recv(stuck.fd(), &byte, 1, MSG_PEEK) == 1);  // it is being written
  const Reply refused = greedy.get("/v1/x").read();
  CHECK(refused.status == 503);
  CHECK(refused.headers.contains("retry-after"));
  CHECK(refused.body.find("\"overloaded\"") != std::string::npos);
  CHECK(greedy.get("/small").read().status == 200);
  CHECK(other.get("/").read().status == 503);  // all together hold too much
  CHECK(stuck.read().body.size() == 20'000'001);
  CHECK(other.get("/").read().body.size() == 20'000'001);
}

TEST_CASE("Expect: 100-continue") {
  Server server(echo);
  Client client = server.tcp();
  client.send(post("Content-Length: 3\r\nExpect: 100-continue\r\n"));
  CHECK(client.read().head == "HTTP/1.1 100 Continue\r\n");
  client.send("abc");
  CHECK(client.read().body == "POST /p body=3:abc\n");
  client.send(post("Content-Length: 3\r\nExpect: 100-continue\r\n", "abc"));  // who does not wait is not told
  CHECK(client.read().status == 200);
  CHECK(server.tcp().send(post("Content-Length: 9000000\r\nExpect: 100-continue\r\n")).read().status == 413);
}

TEST_CASE("slow clients are ended by the whole message's time, however they drip") {
  Limits limits;
  limits.header_time = 200ms;
  limits.body_time = 200ms;
  limits.idle_time = 300ms;
  limits.linger_time = 100ms;
  Server server(echo, limits);

  Client silent = server.tcp();
  CHECK(silent.closes());

  Client dripping = server.tcp();
  const auto began = Clock::now();
  std::thread drip([fd = dripping.fd()] {
    for (int i = 0; i < 1000; ++i) {  // ten seconds, or until it is ended
      if (::send(fd, "G", 1, MSG_NOSIGNAL) != 1) break;
      std::this_thread::sleep_for(10ms);
    }
  });
  const Reply late = dripping.read();
  CHECK(late.status == 400);
  CHECK(Clock::now() - began < 5s);
  drip.join();

  Client body = server.tcp();
  CHECK(body.send(post("Content-Length: 10\r\n", "abc")).read().status == 400);

  Client kept = server.tcp();
  CHECK(kept.get("/").read().status == 200);
  CHECK(kept.closes());
  CHECK(server.becomes(0));
}

TEST_CASE("a client that does not read is ended, one that reads slowly is not") {
  Limits limits;
  limits.write_time = 1s;
  Server server(
      [](const Request&) -> asio::awaitable<Response> { co_return text_response(200, std::string(20'000'000, 'a')); },
      limits);
  Client stuck = server.tcp();
  stuck.get("/");
  CHECK(server.becomes(1));
  CHECK(server.becomes(0));

  Client slow = server.local();
  slow.get("/");
  std::size_t got = 0;
  std::string piece(1 << 20, '\0');
  while (true) {
    const ssize_t n = ::recv(slow.fd(), piece.data(), piece.size(), 0);
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
    std::this_thread::sleep_for(10ms);
    if (got >= 20'000'000) break;
  }
  CHECK(got >= 20'000'000);
}

namespace {

// `count` pieces, then the end; or with count < 0 a wait for ever.
struct Pieces : BodyStream {
  explicit Pieces(int count, std::atomic<int>* destroyed = nullptr) : count(count), destroyed(destroyed) {}
  ~Pieces() override {
    if (destroyed) ++*destroyed;
  }
  asio::awaitable<std::optional<std::string>> next() override {
    co_await pause_for(count < 0 && sent > 0 ? 1h : 1ms);
    if (count >= 0 && sent == count) co_return std::nullopt;
    if (sent == 1) {
      ++sent;
      co_return std::string();  // a pause: must not end the body
    }
    co_return "data: " + std::to_string(sent++) + "\n\n";
  }
  int count, sent = 0;
  std::atomic<int>* destroyed;
};

Answer streaming(int count, std::atomic<int>* destroyed = nullptr) {
  return [=](const Request&) -> asio::awaitable<Response> {
    Response response;
    response.header("Content-Type", "text/event-stream");
    response.stream = std::make_shared<Pieces>(count, destroyed);
    co_return std::move(response);
  };
}

}  // namespace

TEST_CASE("streams come in chunks, and the connection serves on") {
  Server server(streaming(3));
  Client client = server.tcp();
  for (int i = 0; i < 2; ++i) {
    const Reply reply = client.get("/").read();
    CHECK(reply.headers.at("transfer-encoding") == "chunked");
    CHECK_FALSE(reply.headers.contains("content-length"));
    CHECK(reply.body == "data: 0\n\ndata: 2\n\n");
    CHECK_FALSE(reply.closed);
  }
  const Reply head = client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").read(true);
  CHECK(head.headers.at("content-type") == "text/event-stream");
  CHECK(client.get("/").read().status == 200);

  const Reply old = server.tcp().send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").read();
  CHECK_FALSE(old.headers.contains("transfer-encoding"));
  CHECK(old.headers.at("connection") == "close");
  CHECK(old.body == "data: 0\n\ndata: 2\n\n");
}

TEST_CASE("a stream whose client leaves is ended though nothing is sent") {
  std::atomic<int> destroyed{0};
  Server server(streaming(-1, &destroyed));
  for (const bool local : {false, true}) {
    Client client = local ? server.local() : server.tcp();
    client.get("/");
    CHECK(client.read(true).status == 200);
    CHECK(client.read_chunk() == "data: 0\n\n");
    CHECK(server.connections() >= 1);
    client.close();
    CHECK(server.becomes(0));
  }
  CHECK(destroyed == 2);
}

TEST_CASE("a stream that breaks leaves its body without an end") {
  struct Broken : BodyStream {
    bool first = true;
    asio::awaitable<std::optional<std::string>> next() override {
      if (!std::exchange(first, false)) throw std::runtime_error("broken on purpose");
      co_return "one";
    }
  };
  Server server([](const Request&) -> asio::awaitable<Response> {
    Response response;
    response.stream = std::make_shared<Broken>();
    co_return std::move(response);
  });
  Client client = server.tcp();
  client.get("/");
  CHECK(client.read(true).status == 200);
  CHECK(client.read_chunk() == "one");
  CHECK_FALSE(client.read_chunk());
  CHECK(server.tcp().get("/").read(true).status == 200);  // the others are served on
}

TEST_CASE("files and parts of files, larger than any buffer") {
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  char path[] = "/tmp/hatchd-http-file-XXXXXX";
  {
    const UniqueFd fd(::mkstemp(path));
    REQUIRE(write_all(fd.get(), content));
  }
  Server server([&](const Request& request) -> asio::awaitable<Response> {
    Response response;
    response.file = UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
    const bool part = request.path == "/part", beyond = request.path == "/beyond";
    response.status = part ? 206 : 200;
    response.file_offset = part ? 1'234'567 : 0;
    response.file_bytes = part ? 100'003 : content.size() + (beyond ? 10 : 0);
    co_return std::move(response);
  });
  Client client = server.tcp();
  CHECK(client.get("/whole").read().body == content);
  CHECK(client.get("/part").read().body == content.substr(1'234'567, 100'003));
  CHECK(client.send("HEAD /whole HTTP/1.1\r\nHost: h\r\n\r\n").read(true).headers.at("content-length") == "3000000");
  CHECK(client.get("/beyond").read().closed);  // a file that is shorter than promised breaks the connection
  ::unlink(path);
}

TEST_CASE("a file that is not in memory is read by who was named for that") {
  Server server([&](const Request&) -> asio::awaitable<Response> {
    Response response;
    response.file = UniqueFd(::open("/proc/version", O_RDONLY | O_CLOEXEC));  // proc(5) cannot say what is in memory
    response.file_bytes = 14;
    co_return std::move(response);
  });
  std::atomic<int> asked = 0;
  std::atomic<bool> fails = false;
  server.read_files_by([&](int file, std::span<char> into, std::uint64_t at) -> asio::awaitable<std::ptrdiff_t> {
    ++asked;
    if (fails) co_return -EIO;
    co_return ::pread(file, into.data(), into.size(), static_cast<off_t>(at));
  });
  Client client = server.tcp();
  CHECK(client.get("/").read().body == "Linux version ");
  CHECK(asked == 1);
  fails = true;
  CHECK(client.get("/").read().closed);
  CHECK(server.tcp().get("/").read().closed);
}

TEST_CASE("a handler can ask whether its client is still there, and pipelined bytes are kept") {
  std::atomic<bool> asked{false}, gone{false};
  Server server([&](const Request& request) -> asio::awaitable<Response> {
    if (request.path != "/wait") co_return text_response(200, "next");
    asked = true;
    for (int i = 0; i < 1000 && !gone; ++i) {
      co_await pause_for(10ms);
      gone = request.gone();
      if (request.query_value("once")) break;
    }
    co_return text_response(200, gone ? "gone" : "there");
  });
  for (int i = 0; i < 2; ++i) {
    gone = false;
    Client patient = i ? server.tcp() : server.local();
    patient.get("/wait?once").get("/next");
    CHECK(patient.read().body == "there\n");
    CHECK(patient.read().body == "next\n");

    asked = false;
    Client leaving = i ? server.tcp() : server.local();
    leaving.get("/wait").get("/next");  // bytes that are never read must not hide that the client left
    while (!asked) std::this_thread::sleep_for(1ms);
    leaving.close();
    const auto end = Clock::now() + 20s;
    while (!gone && Clock::now() < end) std::this_thread::sleep_for(5ms);
    CHECK(gone);
  }
}

TEST_CASE("a client that has ended its sending side gets its answer") {
  Server server([](const Request&) -> asio::awaitable<Response> {
    co_await pause_for(60ms);
    co_return text_response(200, "late");
  });
  Client client = server.tcp();
  client.get("/");
  client.end_sending();
  CHECK(client.read().body == "late\n");
}

// Bytes and what comes right behind them are news of one moment, and a read that takes less than it could is no sign that
// this was all.
TEST_CASE("an end or urgent data that come with a request are not missed") {
  std::atomic<bool> asked{false}, sent{false};
  Server server([&](const Request& request) -> asio::awaitable<Response> {
    if (request.path == "/block") {
      asked = true;
      while (!sent) std::this_thread::sleep_for(1ms);  // the event loop sees nothing meanwhile
    }
    co_return text_response(200, request.path);
  });
  for (const bool urgent : {false, true}) {
    asked = sent = false;
    Client client = server.tcp(), blocking = server.tcp();
    REQUIRE(client.get("/first").read().body == "/first\n");
    blocking.get("/block");
    while (!asked) std::this_thread::sleep_for(1ms);
    client.get("/second");
    if (urgent) {
      REQUIRE(::send(client.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL) == 1);
      client.get("/third");
    } else {
      client.end_sending();
    }
    sent = true;
    CHECK(client.read().body == "/second\n");
    if (urgent)
      CHECK(client.read().body == "/third\n");
    else
      CHECK(client.closes(10s));
    CHECK(blocking.read().body == "/block\n");
  }
}

// A read of a Unix socket ends behind a descriptor, so that a short one is not all there is.
TEST_CASE("descriptors that come with a request do not hide the next") {
  std::atomic<bool> asked{false}, sent{false};
  Server server([&](const Request& request) -> asio::awaitable<Response> {
    asked = true;
    while (!sent) co_await pause_for(1ms);
    co_return text_response(200, request.path);
  });
  Client client = server.local();
  client.get("/first");
  while (!asked) std::this_thread::sleep_for(1ms);
  std::string second = "GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n";
  iovec bytes{second.data(), second.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int descriptor = client.fd();
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  REQUIRE(::sendmsg(client.fd(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(second.size()));
  client.get("/third");
  sent = true;
  CHECK(client.read().body == "/first\n");
  CHECK(client.read().body == "/second\n");
  CHECK(client.read().body == "/third\n");
}

TEST_CASE("an exception that reaches the session ends that connection alone") {
  Server server([](const Request& request) -> asio::awaitable<Response> {
    if (request.path == "/bug") throw std::runtime_error("broken on purpose");
    co_return text_response(200, "well");
  });
  Client other = server.tcp();
  CHECK(other.get("/").read().status == 200);
  CHECK(server.tcp().get("/bug").read().status == 0);
  CHECK(other.get("/").read().status == 200);
}
