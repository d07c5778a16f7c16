// TLS of one connection, over a descriptor that never blocks. OpenSSL itself and not asio::ssl::stream: a session
// (wire.cpp) waits on its socket and moves its bytes by itself, so all it wants of TLS is "go as far as you can now".
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/problem.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace hatchd::http {

// A certificate with its chain and its key. A connection keeps the one that it began with.
class TlsContext {
 public:
  // Both as PEM. A refusal says which of them is wrong, as "certificate" or "key" in candidates.
  static Result<std::shared_ptr<const TlsContext>> make(const std::string& certificate, const std::string& key);

  bool expired() const;
  std::string valid_until() const;  // "Jan  1 00:00:00 2027 GMT"

  ssl_ctx_st* get() const { return context_.get(); }

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  std::unique_ptr<ssl_ctx_st, Free> context_;
};

class Tls {
 public:
  enum class Did { moved, wants_read, wants_write, ended, failed };
  struct Outcome {
    Did did;
    std::size_t bytes = 0;  // moved
  };

  // `socket` stays the caller's.
  Tls(std::shared_ptr<const TlsContext> context, int socket);

  Outcome shake_hands();  // `moved`: it is done
  Outcome read(char* piece, std::size_t size);
  // After wants_…, the same text again.
  Outcome write(std::string_view text);
  void say_goodbye();  // no answer is waited for
  // Why it failed, for the log.
  const std::string& why() const { return why_; }

 private:
  Outcome judge(int result);

  struct Free {
    void operator()(ssl_st* session) const;
  };
  std::shared_ptr<const TlsContext> context_;
  std::unique_ptr<ssl_st, Free> session_;
  std::string why_;
  bool broken_ = false;
};

}  // namespace hatchd::http
