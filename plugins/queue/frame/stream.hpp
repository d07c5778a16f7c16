// A connection to a broker, plain or TLS, every wait of which has an end and watches for cancellation.
#pragma once

#include <poll.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "queue/frame/report.hpp"

namespace queue {

// Until when, and on whose behalf: what every wait of a ping is given.
class Watch {
 public:
  Watch(const hatch::Run& run, Time end) : run_(&run), end_(end) {}
  // For cleaning up, which a cancelled run does too: heeds the time alone.
  Watch cleanup(std::chrono::milliseconds limit) const;
  // The same run, but no longer than `limit` from now.
  Watch within(std::chrono::milliseconds limit) const;
  Time end() const { return end_; }
  bool over() const { return Clock::now() >= end_; }
  int cancel_fd() const { return run_->cancel_fd(); }
  // False: the time is over. Throws hatch::Cancelled.
  bool wait(int fd, short events) const;
  // Until any of the descriptors may be read; -1 among them is left out.
  bool wait_any(std::initializer_list<int> fds) const;
  void check() const {
    if (heeds_) run_->check();
  }

 private:
  bool wait_for(std::span<pollfd> wanted) const;

  const hatch::Run* run_;
  Time end_;
  bool heeds_ = true;  // a cancellation
};

struct Tls {
  bool on = false, verify = true;
  std::string ca, certificate, key;  // files; ca empty: the system's authorities
};

struct Place {
  std::string host;
  std::uint16_t port = 0;
  std::string socket;  // a Unix socket's path instead of host and port
  Tls tls;

  std::string name() const;  // "127.0.0.1:6379", "[::1]:6379" or the path
};

// A connected socket, tried at every address of the name; non-blocking. Throws Trouble that says what each answered.
// `address`: which one it was.
int connect_socket(const Place& place, const Watch& watch, std::string& address);

// "connection refused": an errno in lower case, without what a shell would add.
std::string reason(int error);

class Stream {
 public:
  Stream(const Place& place, const Watch& watch);
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  int fd() const;
  const std::string& address() const;  // "127.0.0.1:6379"
  const std::string& tls() const;      // "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty: plain

  // Throws Trouble when the peer does not take it in time or has closed.
  void write(std::string_view bytes, const Watch& watch);
  // Appends what has arrived to `out`; with `watch` waits for the first byte. False: nothing came in time. Throws
  // Trouble when the peer has closed.
  bool read(std::string& out, const Watch* watch);

 private:
  struct Wire;
  std::unique_ptr<Wire> wire_;
};

}  // namespace queue
