// TLS of one connection, over a descriptor that never blocks. OpenSSL itself and not asio::ssl::stream: a session
// (wire.cpp) waits on its socket and moves its bytes by itself, so all it wants of TLS is "go as far as you can now".
//
// OpenSSL is in an object of its own, hatchd-tls.so (openssl.cpp), which is opened where TLS is spoken: to be linked with
// OpenSSL costs a process that has no use for it more time at its start than all its other libraries together.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/problem.hpp"

namespace hatchd::http {

class Tls {
 public:
  enum class Did { moved, wants_read, wants_write, ended, failed };
  struct Outcome {
    Did did;
    std::size_t bytes = 0;  // moved
  };

  virtual ~Tls() = default;
  virtual Outcome shake_hands() = 0;  // `moved`: it is done
  virtual Outcome read(char* piece, std::size_t size) = 0;
  // After wants_…, the same text again.
  virtual Outcome write(std::string_view text) = 0;
  virtual void say_goodbye() = 0;  // no answer is waited for
  // Why it failed, for the log.
  virtual const std::string& why() const = 0;
};

// A certificate with its chain and its key. A connection keeps the one that it began with.
class TlsContext {
 public:
  // Both as PEM. A refusal says which of them is wrong, as "certificate" or "key" in candidates.
  static Result<std::shared_ptr<const TlsContext>> make(const std::string& certificate, const std::string& key);

  virtual ~TlsContext() = default;
  virtual bool expired() const = 0;
  virtual std::string valid_until() const = 0;  // "Jan  1 00:00:00 2027 GMT"
  // `socket` stays the caller's.
  virtual std::unique_ptr<Tls> session(int socket) const = 0;
};

// Opens hatchd-tls.so: for a process that will not reach it any more when make() is called.
Result<void> open_tls();

// What that object exports, as tls_symbol.
using MakeTls = Result<std::shared_ptr<const TlsContext>>(const std::string& certificate, const std::string& key);
constexpr const char* tls_symbol = "hatchd_make_tls";

}  // namespace hatchd::http
