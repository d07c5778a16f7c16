#include "link/channel.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <boost/json.hpp>

#include "base/json.hpp"
#include "catch.hpp"

using namespace hatchd;
using link::Channel;
using link::Message;
using link::Received;

namespace {
struct Ends {
  Channel left, right;
  Ends() {
    auto [a, b] = Channel::pair();
    left = Channel{std::move(a)};
    right = Channel{std::move(b)};
  }
};
int open_fds() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) != -1;
  return count;
}
}  // namespace

TEST_CASE("a message arrives whole, with its descriptors") {
  Ends ends;
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const UniqueFd reader{pipe_ends[0]}, writer{pipe_ends[1]};
  const int fds[] = {writer.get()};
  REQUIRE(ends.left.send("start", {{"run", "01J"}}, fds));
  Message message;
  REQUIRE(ends.right.receive(message) == Received::message);
  CHECK(message.type == "start");
  CHECK(text_of(message.body, "run") == "01J");
  REQUIRE(message.fds.size() == 1);
  CHECK(::write(message.fds[0].get(), "x", 1) == 1);
  char byte;
  CHECK(::read(reader.get(), &byte, 1) == 1);
  CHECK(ends.right.receive(message) == Received::nothing);
}

TEST_CASE("a large body and its descriptors arrive the same way") {
  Ends ends;
  const int fds[] = {0, 1};
  REQUIRE(ends.left.send("setup", {{"text", std::string(3'000'000, 'x')}}, fds));
  Message message;
  REQUIRE(ends.right.receive(message) == Received::message);
  CHECK(text_of(message.body, "text").size() == 3'000'000);
  CHECK(message.fds.size() == 2);
  CHECK_FALSE(ends.left.send("setup", {{"text", std::string(Channel::max_body, 'x')}}));
}

TEST_CASE("the end of the other side is told from silence") {
  Ends ends;
  Message message;
  CHECK(ends.right.receive(message) == Received::nothing);
  REQUIRE(ends.left.send("last"));
  ends.left.close();
  CHECK(ends.right.receive(message) == Received::message);
  CHECK(ends.right.receive(message) == Received::ended);
  CHECK_FALSE(ends.right.send("anyone"));
}

TEST_CASE("what the other side said is not lost when it ends without having read all") {
  Ends ends;
  REQUIRE(ends.right.send("first"));
  REQUIRE(ends.right.send("last"));
  REQUIRE(ends.left.send("unread"));
  ends.right.close();
  Message message;
  REQUIRE(ends.left.receive(message) == Received::message);
  CHECK(message.type == "first");
  REQUIRE(ends.left.receive(message) == Received::message);
  CHECK(message.type == "last");
  CHECK(ends.left.receive(message) == Received::ended);
}

TEST_CASE("what is not a message is broken and leaks no descriptor") {
  Ends ends;
  Message message;
  const int before = open_fds();
  for (const char* packet : {"@", "[]", "{}", "{\"type\":3}", "nonsense", "{\"type\":\"\"}"}) {
    CAPTURE(packet);
    REQUIRE(::send(ends.left.fd(), packet, std::strlen(packet), 0) > 0);
    CHECK(ends.right.receive(message) == Received::broken);
  }
  // More than a packet may hold.
  const std::string long_packet(Channel::max_inline + 1, ' ');
  REQUIRE(::send(ends.left.fd(), long_packet.data(), long_packet.size(), 0) > 0);
  CHECK(ends.right.receive(message) == Received::broken);
  message = {};
  CHECK(open_fds() == before);
}

TEST_CASE("a reader that no longer reads is given up after the patience") {
  Ends ends;
  bool sent = true;
  for (int i = 0; i < 10000 && sent; ++i) sent = ends.left.send("flood", {{"text", std::string(1000, 'x')}}, {}, 10);
  CHECK_FALSE(sent);
  CHECK(errno == EAGAIN);
}
