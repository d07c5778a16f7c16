// A server on loopback that says what a test likes.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>

#include <string>
#include <thread>

#include "catch.hpp"
#include "stack/connection.hpp"

namespace stack_test {

// A server that answers one connection with what it is given and closes it.
class Peer {
 public:
  explicit Peer(std::string answer)
      : answer_(std::move(answer)), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    auto& in = reinterpret_cast<sockaddr_in&>(endpoint.address);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    endpoint.length = sizeof in;
    REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&in), sizeof in) == 0);
    REQUIRE(::listen(fd_.get(), 4) == 0);
    REQUIRE(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&in), &endpoint.length) == 0);
    endpoint.text = "127.0.0.1:" + std::to_string(ntohs(in.sin_port));
    server_ = std::thread([this] {
      const stack::UniqueFd client{::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      std::string_view rest = answer_;
      while (!rest.empty()) {
        const ssize_t n = ::send(client.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (n <= 0) break;
        rest.remove_prefix(static_cast<std::size_t>(n));
      }
      // A close before all was read would take back what was sent.
      ::shutdown(client.get(), SHUT_WR);
      char ignored[4096];
      while (::recv(client.get(), ignored, sizeof ignored, 0) > 0) {
      }
    });
  }
  Peer(const Peer&) = delete;
  ~Peer() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    server_.join();
  }
  stack::Endpoint endpoint;

 private:
  std::string answer_;
  stack::UniqueFd fd_;
  std::thread server_;
};

}  // namespace stack_test
