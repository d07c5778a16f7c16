// One connection: reads requests, has them answered, writes responses. wire.cpp is the only file that knows HTTP's
// bytes and Beast; listener.cpp owns the sessions and calls tick() on them.
//
// Waits have no timers of their own. Each session knows until when it may stay in its state, and the listener's one
// tick ends those that are late: ten thousand idle connections cost a comparison each, not a timer each.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.hpp"
#include "http/budget.hpp"
#include "http/message.hpp"
#include "http/readiness.hpp"
#include "http/tls.hpp"

namespace hatchd::http {

struct Limits {
  std::size_t header_bytes = 16 * 1024;
  std::size_t header_fields = 100;
  std::size_t body_bytes = 256 * 1024;
  // What is held in memory of all requests, and of all answers that their clients have yet to take; and of those of one
  // source (see source_key()).
  Budget::Limits requests{64 * 1024 * 1024, 16 * 1024 * 1024};
  Budget::Limits answers{256 * 1024 * 1024, 128 * 1024 * 1024};
  // Those that wait cost two kilobytes each (tests/bench/http_front.py): what would cost more has the bounds above.
  std::size_t connections = 20'480;
  std::size_t connections_per_address = 10'240;  // of one source_key(): an address, or a user of this machine
  // Whole messages, not pauses between bytes: who drips is ended like who is silent.
  std::chrono::milliseconds handshake_time{10'000};  // of TLS, as a whole
  std::chrono::milliseconds header_time{10'000}, body_time{30'000};
  std::chrono::milliseconds idle_time{75'000};
  std::chrono::milliseconds write_time{30'000};  // without a byte taken
  std::chrono::milliseconds linger_time{2'000};  // for the client to read a last answer
  std::chrono::milliseconds tick{500};
};

using Answer = std::function<boost::asio::awaitable<Response>(const Request&)>;
// After each response, for metrics.
using Observe = std::function<void(const Request&, const Response&, std::chrono::microseconds)>;

// Reads of a file into `into` from byte `at` as pread(2) does, away from the event loop: how much, 0 at its end, or a
// negative errno.
using ReadFile =
    std::function<boost::asio::awaitable<std::ptrdiff_t>(int file, std::span<char> into, std::uint64_t at)>;

// What all sessions of a listener share. One thread: nothing here is locked.
struct Exchange {
  std::shared_ptr<Readiness> readiness;
  Limits limits;
  Answer answer;
  Observe observe;
  ReadFile read_file;
  bool draining = false;
  Budget requests, answers;
};

class Session {
 public:
  virtual ~Session() = default;
  // Serves the connection; `ended` is called once, at the end.
  virtual void start(std::function<void()> ended) = 0;
  // Ends what is past its time, and streams whose client has left.
  virtual void tick(SteadyTime now) = 0;
  // What it waits for, if for its client: such a session is closed where there is no other room, in this order. Between
  // two requests nothing is lost by that; a header or a body that is not there yet has caused nothing.
  enum class Waiting { no, for_request, for_header, for_body };
  virtual Waiting waiting() const = 0;
  // When it began to wait.
  virtual SteadyTime since() const = 0;
  virtual void close_idle() = 0;
  // Rights have changed: ends the session when it sends what its caller may not have any more.
  virtual void recheck() = 0;
  // Ends the session at once, whatever it does.
  virtual void abort() = 0;
  virtual const Peer& peer() const = 0;
};

// `tls`: nullptr for plain HTTP. `refuse`: read one request and answer it with `overloaded`.
std::shared_ptr<Session> make_session(UniqueFd socket, Peer peer, std::shared_ptr<Exchange> exchange,
                                      std::shared_ptr<const TlsContext> tls, bool refuse);

}  // namespace hatchd::http
