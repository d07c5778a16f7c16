// A TCP connection that may become TLS, with an end to every wait. The only header that stands before Asio.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mail/fences.hpp"
#include "mail/report.hpp"
#include "mail/settings.hpp"

namespace mail {

class Connection {
 public:
  // What happened to a wait. The text is the system's or OpenSSL's.
  enum class Status { ok, timeout, closed, failed };
  struct Outcome {
    Status status = Status::ok;
    std::string text;
    bool wrong_version = false;  // TLS: what the other side says is no TLS
    bool unready = false;        // TLS: it was not even begun, for want of the trusted certificates
  };

  explicit Connection(const Fences& fences);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  // Tries all addresses at once. The first that answers is kept; the others have a moment to be known too. False: none.
  bool connect(std::vector<Attempt>& attempts, Millis limit);

  Outcome write(std::string_view bytes, Clock::time_point end);
  // One line without its end. A line longer than `max` is `failed`.
  Outcome read_line(std::string& line, std::size_t max, Clock::time_point end);
  // Exactly `size` bytes more (an IMAP literal).
  Outcome read_exactly(std::string& bytes, std::size_t size, Clock::time_point end);
  // What came but was not read yet.
  std::string_view unread() const;

  // The handshake goes through whatever the certificate is; `report` says what is wrong with it.
  Outcome start_tls(const Server& server, TlsReport& report, Clock::time_point end);
  bool encrypted() const;

  std::uint64_t sent() const, received() const;

 private:
  struct Asio;
  std::unique_ptr<Asio> asio_;
};

}  // namespace mail
