// A TCP connection to a server in the target, and questions by HTTP/1.1 over it. Own code, since all that such a server
// says is small: a head, a body that has a length, comes in chunks or ends with the connection. No redirection is followed.
//
// The peer is the target, and hostile: every length is bounded, every wait ends.
#pragma once

#include <netinet/in.h>

#include "stack/model.hpp"

namespace stack {

struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
  std::string text;  // "127.0.0.1:9229", "[::1]:9229"
};

enum class Got {
  message,
  timeout,
  closed,     // by the peer
  broken,     // it does not speak the protocol, or too much of it
  cancelled,  // the run is
};

struct HttpAnswer {
  int status = 0;            // 0: there was none, and `end` says why
  std::string body;          // hostile
  Got end = Got::message;    // message: the body is whole
  bool cut = false;          // it is longer than was asked for
  Clock::time_point came{};  // when its first byte was there
  bool ok() const { return status == 200 && end == Got::message && !cut; }
};

class Connection {
 public:
  explicit Connection(Hold& hold) : hold_(hold) {}

  bool connect(const Endpoint& endpoint, Clock::time_point deadline);
  // At most `limit` bytes of the body. The connection may ask again, unless the answer was not whole.
  HttpAnswer get(const std::string& path, std::size_t limit, Clock::time_point deadline);
  void close() { fd_ = {}; }
  bool is_open() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }

 protected:
  Got read_more(Clock::time_point deadline);
  bool write_all(std::string_view bytes, Clock::time_point deadline);
  // Asks, and reads the head of the answer with the end of its last line.
  Got ask(const std::string& path, const std::string& more, std::string& head, Clock::time_point deadline);
  void drop_taken();

  std::string in_;         // read and not yet taken
  std::size_t taken_ = 0;  // of in_
  Clock::time_point came_{};

 private:
  Got wait(short events, Clock::time_point deadline);
  // Moves `size` bytes of the body from what is read to `answer`; more than `limit` cuts it.
  Got take_body(std::size_t size, std::size_t limit, HttpAnswer& answer, Clock::time_point deadline);
  Got take_line(std::string& line, Clock::time_point deadline);
  Got take_chunks(std::size_t limit, HttpAnswer& answer, Clock::time_point deadline);

  Hold& hold_;
  UniqueFd fd_;
  std::string host_;
};

}  // namespace stack
