// A listener of its own for each test, on loopback and on a Unix socket, served by one thread; and a client that sends
// bytes as they are, right or wrong.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "http/listener.hpp"

namespace hatchd::http::test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Reply {
  int status = 0;
  std::string head, body;
  std::map<std::string, std::string> headers;  // lower case
  bool closed = false;                         // the server closed behind it
};

class Client {
 public:
  explicit Client(int fd) : fd_(fd) {
    const timeval patience{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }

  Client& send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;  // the server may close in the middle: its answer is what counts
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return *this;
  }
  Client& get(std::string_view path) {
    return send("GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }

  // The next response; status 0 when the connection ended without one.
  Reply read(bool head_only = false) {
    Reply reply;
    std::size_t end;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos)
      if (!more()) return reply.closed = true, reply;
    reply.head = in_.substr(0, end + 2);
    in_.erase(0, end + 4);
    reply.status = std::atoi(reply.head.c_str() + 9);
    for (std::size_t at = reply.head.find("\r\n") + 2; at < reply.head.size();) {
      const std::size_t stop = reply.head.find("\r\n", at), colon = reply.head.find(": ", at);
      std::string name = reply.head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      reply.headers[name] = reply.head.substr(colon + 2, stop - colon - 2);
      at = stop + 2;
    }
    if (head_only || reply.status < 200) return reply;
    if (reply.headers.contains("content-length")) {
      const auto length = static_cast<std::size_t>(std::atoll(reply.headers["content-length"].c_str()));
      while (in_.size() < length)
        if (!more()) return reply.closed = true, reply;
      reply.body = in_.substr(0, length);
      in_.erase(0, length);
    } else if (reply.headers.contains("transfer-encoding")) {
      while (std::optional<std::string> chunk = read_chunk()) {
        if (chunk->empty()) return reply;
        reply.body += *chunk;
      }
      reply.closed = true;
    } else {
      reply.body = read_rest();
      reply.closed = true;
    }
    return reply;
  }

  // One chunk, "" for the last; nullopt when the connection ended in the middle.
  std::optional<std::string> read_chunk() {
    std::size_t end;
    while ((end = in_.find("\r\n")) == std::string::npos)
      if (!more()) return {};
    const std::size_t size = std::strtoul(in_.c_str(), nullptr, 16);
    while (in_.size() < end + 2 + size + 2)
      if (!more()) return {};
    std::string chunk = in_.substr(end + 2, size);
    in_.erase(0, end + 2 + size + 2);
    return chunk;
  }

  std::string read_rest() {
    while (more()) continue;
    return std::exchange(in_, {});
  }

  // Does the server close, without another byte, within its time?
  bool closes(std::chrono::milliseconds within = 20s) {
    pollfd wait{fd_.get(), POLLIN, 0};
    char byte;
    return in_.empty() && ::poll(&wait, 1, static_cast<int>(within.count())) == 1 &&
           ::recv(fd_.get(), &byte, 1, MSG_DONTWAIT) <= 0;
  }
  void close() { fd_.reset(); }
  void end_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  int fd() const { return fd_.get(); }

 private:
  bool more() {
    char bytes[65536];
    const ssize_t got = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    in_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  UniqueFd fd_;
  std::string in_;
};

class Server {
 public:
  // Runs on the server's thread and returns what it returns.
  template <class F>
  std::invoke_result_t<F> on_loop(F f) {
    std::packaged_task<std::invoke_result_t<F>()> task(std::move(f));
    auto result = task.get_future();
    boost::asio::post(context_, [&task] { task(); });
    return result.get();
  }

  explicit Server(Answer answer, Limits limits = {}) {
    limits.tick = 20ms;
    char pattern[] = "/tmp/hatchd-http-XXXXXX";
    if (!::mkdtemp(pattern)) throw std::runtime_error("mkdtemp");
    directory_ = pattern;
    listener_.emplace(context_, std::move(answer), limits);
    port_ = bind_tcp(false);
    bind_unix();
    tls_port_ = bind_tcp(true);
    thread_ = std::thread([this] { context_.run(); });
  }
  ~Server() {
    on_loop([this] { listener_.reset(); });
    context_.stop();
    thread_.join();
    std::filesystem::remove_all(directory_);
  }

  Client tcp() { return Client(connect_tcp(port_)); }
  // The descriptor of a connection to the listener that speaks TLS, from now on with that certificate.
  int connect_tls(std::shared_ptr<const TlsContext> context) {
    on_loop([&] { listener_->use(std::move(context)); });
    return connect_tcp(tls_port_);
  }
  Client local() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    return Client(connect(AF_UNIX, reinterpret_cast<sockaddr*>(&address), sizeof address));
  }

  std::size_t connections() {
    return on_loop([this] { return listener_->connections(); });
  }
  void read_files_by(ReadFile read) {
    on_loop([&] { listener_->read_files_by(std::move(read)); });
  }
  bool becomes(std::size_t connections, std::chrono::milliseconds within = 20s) {
    const auto end = Clock::now() + within;
    while (this->connections() != connections) {
      if (Clock::now() > end) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }
  // What came before is read: one thread serves all in turn.
  bool has_caught_up() { return local().get("/").read().status == 200; }
  std::future<void> stop(std::chrono::milliseconds grace) {
    auto done = std::make_shared<std::promise<void>>();
    auto result = done->get_future();
    on_loop([&] { listener_->stop(grace, [done] { done->set_value(); }); });
    return result;
  }
  std::string socket_path() const { return directory_ + "/s"; }

 private:
  static int connect_tcp(in_port_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = port;
    return connect(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  static int connect(int family, const sockaddr* address, socklen_t size) {
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, address, size) != 0) throw std::runtime_error("connect: " + errno_text(errno));
    return fd;
  }
  in_port_t bind_tcp(bool tls) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd.get(), 512) != 0 ||
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("bind");
    listener_->add({std::move(fd), false, 1, tls});
    return address.sin_port;
  }
  void bind_unix() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd.get(), 512) != 0)
      throw std::runtime_error("bind");
    listener_->add({std::move(fd), true, 0});
  }

  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  std::optional<Listener> listener_;
  std::string directory_;
  in_port_t port_ = 0, tls_port_ = 0;
  std::thread thread_;
};

}  // namespace hatchd::http::test
