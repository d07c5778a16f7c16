#include "mail/connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "common/tls.hpp"
#include "mail/certificate.hpp"
#include "mail/resolve.hpp"

namespace mail {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

namespace {

constexpr Millis moment{250};  // for the other addresses, once one has answered
constexpr std::size_t max_unread = 64 * 1024;

std::string plain_text(const Error& error) {
  if (error == asio::error::connection_refused) return "connection refused";
  if (error == asio::error::timed_out) return "timed out";
  return error.message();
}

bool is_end(const Error& error) {
  return error == asio::error::eof || error == asio::error::connection_reset || error == asio::error::broken_pipe ||
         error == asio::ssl::error::stream_truncated;
}

}  // namespace

// One thread, one operation at a time: it is started, and the loop turns until it has ended, its time is over or the
// run is cancelled.
struct Connection::Asio {
  explicit Asio(const Fences& given) : fences(given), socket(loop), timer(loop), cancel(loop) {
    if (fences.cancel_fd < 0) return;
    const int copy = ::dup(fences.cancel_fd);
    if (copy < 0) return;
    cancel.assign(copy);
    cancel.async_wait(asio::posix::stream_descriptor::wait_read, [this](const Error& error) {
      if (!error) cancelled = true;
    });
  }

  // Turns the loop until `done`. False: `end` came first.
  template <class Done>
  bool turn(Clock::time_point end, Done done) {
    bool late = false;
    timer.expires_at(end);
    timer.async_wait([&](const Error& error) { late = late || !error; });
    while (!done() && !late && !cancelled) loop.run_one();
    timer.cancel();
    loop.poll();
    if (loop.stopped()) loop.restart();
    if (cancelled) throw Cancelled{};
    return done();
  }

  // `start` begins one operation and calls what it is given at its end.
  template <class Start>
  Outcome perform(Clock::time_point end, Start start) {
    std::optional<Error> ended;
    start([&](const Error& error, std::size_t count = 0) {
      ended = error;
      moved = count;
    });
    bool in_time = false;
    try {
      in_time = turn(end, [&] { return ended.has_value(); });
    } catch (const Cancelled&) {
      drain(ended);
      throw;
    }
    if (!in_time) {
      drain(ended);
      return {Status::timeout, "no answer in time"};
    }
    if (!*ended) return {};
    if (is_end(*ended)) return {Status::closed, plain_text(*ended)};
    return {Status::failed, plain_text(*ended)};
  }

  // What was started refers to the stack of its caller: it must have ended before that does.
  void drain(const std::optional<Error>& ended) {
    Error ignored;
    socket.close(ignored);
    while (!ended) {
      if (loop.stopped()) loop.restart();
      loop.run_one();
    }
  }

  Outcome read_some(Clock::time_point end) {
    char buffer[8192];
    moved = 0;
    const Outcome outcome = perform(end, [&](auto done) {
      if (tls)
        tls->async_read_some(asio::buffer(buffer), done);
      else
        socket.async_read_some(asio::buffer(buffer), done);
    });
    unread.append(buffer, moved);
    received += moved;
    // A server that writes its answers one by one waits for our word between two of them (Nagle's algorithm).
    const int now = 1;
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now);
    return outcome;
  }

  Fences fences;
  asio::io_context loop{1};
  tcp::socket socket;
  asio::steady_timer timer;
  asio::posix::stream_descriptor cancel;
  std::optional<asio::ssl::stream<tcp::socket&>> tls;
  bool cancelled = false;
  std::size_t moved = 0;
  std::string unread;
  std::uint64_t sent = 0, received = 0;
};

Connection::Connection(const Fences& fences) : asio_(std::make_unique<Asio>(fences)) {}
Connection::~Connection() = default;

std::uint64_t Connection::sent() const { return asio_->sent; }
std::uint64_t Connection::received() const { return asio_->received; }
std::string_view Connection::unread() const { return asio_->unread; }
bool Connection::encrypted() const { return asio_->tls.has_value(); }

bool Connection::connect(std::vector<Attempt>& attempts, Millis limit) {
  struct Try {
    tcp::socket socket;
    bool ended = false;
  };
  std::vector<std::unique_ptr<Try>> tries;
  std::optional<std::size_t> first;
  std::size_t open = 0;
  const Clock::time_point begin = Clock::now();
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    Attempt& attempt = attempts[i];
    tries.push_back(std::make_unique<Try>(Try{tcp::socket(asio_->loop)}));
    Error error;
    const tcp::endpoint endpoint(asio::ip::make_address(attempt.address, error), attempt.port);
    if (error) {
      attempt.error = "is no address";
      tries.back()->ended = true;
      continue;
    }
    ++open;
    tries.back()->socket.async_connect(endpoint, [&, i](const Error& failed) {
      Try& mine = *tries[i];
      mine.ended = true;
      --open;
      attempts[i].ms = ms_since(begin);
      attempts[i].ok = !failed;
      if (failed) {
        attempts[i].error = failed == asio::error::operation_aborted ? attempts[i].error : plain_text(failed);
        return;
      }
      if (!first) first = i;
    });
  }
  const auto close_all = [&](const char* why) {
    for (std::size_t i = 0; i < tries.size(); ++i)
      if (!tries[i]->ended) {
        attempts[i].error = why;
        Error ignored;
        tries[i]->socket.close(ignored);
      }
    while (open > 0) {
      if (asio_->loop.stopped()) asio_->loop.restart();
      asio_->loop.run_one();
    }
  };
  try {
    asio_->turn(asio_->fences.until(limit), [&] { return first.has_value() || open == 0; });
    if (first && open > 0) asio_->turn(asio_->fences.until(moment), [&] { return open == 0; });
  } catch (const Cancelled&) {
    close_all("cancelled");
    throw;
  }
  close_all(first ? "had not answered a moment after another one did" : "no answer in time");
  if (!first) return false;
  asio_->socket = std::move(tries[*first]->socket);
  attempts[*first].used = true;
  Error ignored;
  asio_->socket.set_option(tcp::no_delay(true), ignored);
  const tcp::endpoint local = asio_->socket.local_endpoint(ignored);
  attempts[*first].local = local.address().to_string();
  return true;
}

Connection::Outcome Connection::write(std::string_view bytes, Clock::time_point end) {
  const Outcome outcome = asio_->perform(end, [&](auto done) {
    if (asio_->tls)
      asio::async_write(*asio_->tls, asio::buffer(bytes.data(), bytes.size()), done);
    else
      asio::async_write(asio_->socket, asio::buffer(bytes.data(), bytes.size()), done);
  });
  asio_->sent += asio_->moved;
  return outcome;
}

Connection::Outcome Connection::read_line(std::string& line, std::size_t max, Clock::time_point end) {
  for (;;) {
    const std::size_t feed = asio_->unread.find('\n');
    if (feed > max && (feed != std::string::npos || asio_->unread.size() > max))
      return {Status::failed, "a line of more than " + std::to_string(max) + " bytes"};
    if (feed != std::string::npos) {
      line = asio_->unread.substr(0, feed);
      asio_->unread.erase(0, feed + 1);
      if (line.ends_with('\r')) line.pop_back();
      return {};
    }
    if (Outcome outcome = asio_->read_some(end); outcome.status != Status::ok) return outcome;
    if (asio_->unread.size() > max_unread) return {Status::failed, "more than it was asked for"};
  }
}

Connection::Outcome Connection::read_exactly(std::string& bytes, std::size_t size, Clock::time_point end) {
  while (asio_->unread.size() < size)
    if (Outcome outcome = asio_->read_some(end); outcome.status != Status::ok) return outcome;
  bytes = asio_->unread.substr(0, size);
  asio_->unread.erase(0, size);
  return {};
}

Connection::Outcome Connection::start_tls(const Server& server, TlsReport& report, Clock::time_point end) {
  SSL_CTX* context = common::tls_client();
  SSL* ssl = context ? SSL_new(context) : nullptr;
  if (!ssl) return {Status::failed, "TLS cannot be set up", false, true};
  asio_->tls.emplace(asio_->socket, ssl);  // which owns it
  std::string trouble;
  if (!set_up(ssl, server, trouble)) return {Status::failed, trouble, false, true};
  Verification seen;
  watch(ssl, seen);
  if (!is_ip(server.name())) {
    SSL_set_tlsext_host_name(ssl, server.name().c_str());
    report.server_name = server.name();
  }
  SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp);
  std::optional<Error> failure;
  Outcome outcome = asio_->perform(end, [&](auto done) {
    asio_->tls->async_handshake(asio::ssl::stream_base::client, [&failure, done](const Error& error) {
      failure = error;
      done(error);
    });
  });
  describe(ssl, server.name(), seen, report);
  if (outcome.status == Status::failed && failure && failure->category() == asio::error::get_ssl_category()) {
    const auto code = static_cast<unsigned long>(failure->value());
    outcome.wrong_version = ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER ||
                            ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST ||
                            ERR_GET_REASON(code) == SSL_R_PACKET_LENGTH_TOO_LONG;
  }
  return outcome;
}

}  // namespace mail
