// HTTP of a server in the target, which may say anything.
#include "stack/connection.hpp"

#include "peer.hpp"
#include "stack/listeners.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using stack::Got;

namespace {

stack::HttpAnswer ask(const std::string& said, std::size_t limit = 1000) {
  const stack_test::Peer peer{said};
  stack_test::TestHold hold;
  stack::Connection connection{hold};
  const auto deadline = stack::Clock::now() + 10s;
  REQUIRE(connection.connect(peer.endpoint, deadline));
  return connection.get("/", limit, deadline);
}

}  // namespace

TEST_CASE("an answer's body has a length, comes in chunks, or ends with the connection") {
  for (const std::string& rest : {"Content-Length: 5\r\n\r\nhello and more"s, "\r\nhello"s,
                                  "transfer-Encoding:  Chunked\r\n\r\n2;x=1\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n"s}) {
    const stack::HttpAnswer answer = ask("HTTP/1.1 200 OK\r\n" + rest);
    CHECK(answer.ok());
    CHECK(answer.body == "hello");
  }
  CHECK(ask("HTTP/1.0 404 Not Found\r\n\r\nno").status == 404);
}

TEST_CASE("an answer that breaks off, is too long or is none, is no whole one") {
  const std::string ok = "HTTP/1.1 200 OK\r\n", chunks = ok + "Transfer-Encoding: chunked\r\n\r\n";
  CHECK(ask(ok + "Content-Length: 9\r\n\r\nhello").end == Got::closed);
  CHECK(ask(ok + "Content-Length: -9\r\n\r\nhello").end == Got::broken);
  CHECK(ask(ok + "Content-Length: 99999999999999999999\r\n\r\n").end == Got::broken);
  CHECK(ask(ok + "Transfer-Encoding: gzip\r\n\r\nhello").end == Got::broken);
  CHECK(ask(chunks + "5\r\nhel").end == Got::closed);
  CHECK(ask(chunks + "5\r\nhello!\r\n0\r\n\r\n").end == Got::broken);
  CHECK(ask(chunks + "x\r\n").end == Got::broken);
  CHECK(ask(chunks + "ffffffffffffffffff\r\n").end == Got::broken);
  CHECK(ask(chunks + "0\r\n" + std::string(100'000, 'x')).end == Got::broken);
  std::string trailers = chunks + "0\r\n";
  for (int i = 0; i < 1000; ++i) trailers += "A: b\r\n";
  CHECK(ask(trailers + "\r\n").end == Got::broken);
  CHECK(ask("SSH-2.0-OpenSSH_9.2\r\n").end == Got::broken);
  CHECK(ask("HTTP/1.1 xyz\r\n\r\n").end == Got::broken);
  CHECK(ask(std::string(100'000, 'x')).end == Got::broken);
  CHECK(ask("").end == Got::closed);
  for (const std::string& rest :
       {"Content-Length: 5000\r\n\r\n"s, "\r\n"s, "Transfer-Encoding: chunked\r\n\r\n1388\r\n"s}) {
    const stack::HttpAnswer answer = ask(ok + rest + std::string(5000, 'x'));
    CHECK(answer.cut);
    CHECK_FALSE(answer.ok());
    CHECK(answer.body.size() == 1000);
  }
}

TEST_CASE("who does not answer is not waited for") {
  const stack::UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  stack::Endpoint endpoint;
  auto& in = reinterpret_cast<sockaddr_in&>(endpoint.address);
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  endpoint.length = sizeof in;
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&in), sizeof in) == 0);
  REQUIRE(::listen(listener.get(), 4) == 0);
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&in), &endpoint.length) == 0);
  stack_test::TestHold hold;
  stack::Connection connection{hold};
  const auto soon = stack::Clock::now() + 20ms;
  REQUIRE(connection.connect(endpoint, stack::Clock::now() + 10s));
  const stack::HttpAnswer answer = connection.get("/", 1000, soon);
  CHECK(answer.status == 0);
  CHECK(answer.end == Got::timeout);
  CHECK_FALSE(connection.is_open());
}

TEST_CASE("who answers on a connection is told by its socket") {
  const stack_test::Peer peer{""};
  stack_test::TestHold hold;
  stack::Connection connection{hold};
  REQUIRE(connection.connect(peer.endpoint, stack::Clock::now() + 10s));
  const stack_test::Handles self{::getpid()};
  REQUIRE(
      stack_test::eventually([&] { return stack::is_other_end(self.process(), self.process().pid, connection.fd()); }));
  const stack_test::Demo demo;
  const stack_test::Handles other{demo.pid()};
  CHECK_FALSE(stack::is_other_end(other.process(), demo.pid(), connection.fd()));
  CHECK_FALSE(stack::is_other_end(self.process(), self.process().pid, -1));
}
