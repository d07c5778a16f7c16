#include "http/wire.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdio>

#include "base/log.hpp"
#include "hatch/json.hpp"
#include "http/head.hpp"
#include "http/peer.hpp"
#include "http/strict.hpp"
#include "http/text.hpp"

namespace hatchd::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast::http;

using boost::system::error_code;
using Parser = beast::request_parser<beast::string_body>;
using Clock = std::chrono::steady_clock;
using Way = Readiness::Way;

constexpr std::size_t read_piece = 16 * 1024;
constexpr std::size_t file_piece = 64 * 1024;
constexpr std::size_t counted_from = 4 * 1024;  // less belongs to the connection, and is not counted in a budget
// How much one session may move before others get their turn.
constexpr std::size_t turn_bytes = 512 * 1024;
constexpr unsigned turn_requests = 16;

void log_request(const Request& request, const Response& response, std::chrono::microseconds took) {
  // Effects and refusals are for the record; probes and lists would only fill it.
  const bool quiet = response.status < 400 && (request.method == "GET" || request.method == "HEAD");
  if (quiet) return;
  // Without the query, which may hold what the schema calls secret.
  log::write(log::Level::info, "request",
             {{"method", hatch::printable(std::string_view(request.method).substr(0, 32))},
              {"path", hatch::printable(std::string_view(request.path).substr(0, 200))},
              {"status", response.status},
              {"ms", took.count() / 1000},
              {"caller", hatch::printable(std::string_view(response.caller).substr(0, 100))},
              {"peer", request.peer.address},
              {"request", request.id}});
}

class Connection : public Session, public std::enable_shared_from_this<Connection> {
 public:
  Connection(UniqueFd socket, Peer peer, std::shared_ptr<Exchange> exchange, std::shared_ptr<const TlsContext> tls,
             bool refuse)
      : socket_(exchange->readiness, std::move(socket)),
        peer_(std::move(peer)),
        source_(source_key(peer_)),
        exchange_(std::move(exchange)),
        refuse_(refuse) {
    if (tls) tls_ = tls->session(socket_.get());
  }

  void start(std::function<void()> ended) override {
    asio::co_spawn(
        socket_.executor(), [self = shared_from_this()] { return self->converse(); },
        asio::bind_cancellation_slot(signal_.slot(),
                                     [self = shared_from_this(), ended = std::move(ended)](std::exception_ptr thrown) {
                                       self->log_thrown(thrown);
                                       self->socket_.close();
                                       ended();
                                     }));
  }

  void tick(SteadyTime now) override {
    if (state_ == State::answering) return;  // a run has deadlines of its own
    if (state_ == State::waiting_for_stream) {
      if (hung_up()) abort();
    } else if (now >= deadline_) {
      interrupt(expired_);
    }
  }

  Waiting waiting() const override {
    if (closing_) return Waiting::no;
    switch (state_) {
      case State::idle: return Waiting::for_request;
      case State::fresh:
      case State::reading: return Waiting::for_header;
      case State::reading_body: return Waiting::for_body;
      default: return Waiting::no;
    }
  }
  SteadyTime since() const override { return since_; }
  void close_idle() override {
    if (state_ == State::idle && !closing_) interrupt(closing_);
  }

  void recheck() override {
    if (sending_ != nullptr && sending_->still_allowed && !sending_->still_allowed()) abort();
  }

  void abort() override {
    interrupt(closing_);
    signal_.emit(asio::cancellation_type::terminal);
  }

  const Peer& peer() const override { return peer_; }

 private:
  enum class State { fresh, idle, reading, reading_body, answering, writing, waiting_for_stream, lingering };

  // A request as far as it came.
  struct Incoming {
    Request request;
    std::optional<Problem> refusal;  // answered in place of the request, and the connection ends
    bool lost = false;               // the client left
    bool http11 = true;
    bool keep_alive = false;
    Share request_share, answer_share;  // of Exchange's budgets
    SteadyTime began;
  };

  asio::awaitable<void> converse() {
    bool keep = true;
    if (tls_) keep = co_await shake_hands();
    while (keep && !closing_) {
      // Variables: g++ 12 miscompiles a co_await in the condition of an `if` within some loops.
      const bool asked = co_await next_request();
      if (!asked) co_return;
      const Served served = co_await serve_one();
      if (served == Served::lost) co_return;
      keep = served == Served::kept;
    }
    co_await linger();
  }

  // Waits for the first byte of a request. What a request takes is made behind this, so that ten thousand idle
  // connections have nothing of it.
  asio::awaitable<bool> next_request() {
    if (++requests_in_turn_ >= turn_requests) co_await yield();
    if (first_)
      enter(State::fresh, exchange_->limits.header_time);
    else
      enter(State::idle, exchange_->limits.idle_time);
    first_ = false;
    if (!in_.empty()) co_return true;
    in_.shrink_to_fit();
    // With TLS a request may have come that the socket does not show any more.
    bool there = true;
    if (!tls_) there = co_await wait(Way::read);
    if (there) there = co_await fill();
    co_return there;
  }

  enum class Served { kept, last, lost };

  asio::awaitable<Served> serve_one() {
    Incoming incoming;
    co_await receive(incoming);
    if (incoming.lost) co_return Served::lost;
    Response response;
    if (incoming.refusal) {
      response = problem_response(*incoming.refusal, incoming.request,
                                  format_of(incoming.request, default_format(incoming.request.path)));
    } else {
      enter(State::answering, {});
      response = co_await exchange_->answer(incoming.request);
      hold(incoming, response);
    }
    const bool keep = incoming.keep_alive && !incoming.refusal && !exchange_->draining;
    const bool sent = co_await send(incoming, response, keep);
    co_return sent ? Served::kept : Served::last;
  }

  // -- TLS --

  // False: there is nobody to talk to. Who speaks plain HTTP is heard out, in order to be told off (receive()).
  asio::awaitable<bool> shake_hands() {
    enter(State::fresh, exchange_->limits.handshake_time);
    char first = 0;
    while (true) {
      const ssize_t got = ::recv(socket_.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
      if (got == 1) break;
      if (got == 0 || (errno != EAGAIN && errno != EINTR)) co_return false;
      if (errno == EAGAIN) socket_.used_up(Way::read);
      if (!co_await wait(Way::read)) co_return false;
    }
    constexpr char handshake_record = 22;  // RFC 8446, section 5.1
    if (first != handshake_record) {
      tls_.reset();
      plain_ = first >= 'A' && first <= 'Z';
      co_return plain_;
    }
    while (true) {
      const Tls::Outcome outcome = tls_->shake_hands();
      if (outcome.did == Tls::Did::moved) co_return true;
      if (note(outcome) == 0) {
        log::debug("no TLS with a client", {{"peer", peer_.address}, {"why", tls_->why()}});
        co_return false;
      }
      if (!co_await wait(wants_)) co_return false;
    }
  }

  // What came of it as recv(2) and sendmsg(2) would say it; `wants_` is what to wait for at EAGAIN.
  ssize_t note(const Tls::Outcome& outcome) {
    switch (outcome.did) {
      case Tls::Did::moved: return static_cast<ssize_t>(outcome.bytes);
      case Tls::Did::wants_read: return would_block(Way::read);
      case Tls::Did::wants_write: return would_block(Way::write);
      case Tls::Did::ended:
      case Tls::Did::failed: break;
    }
    return 0;
  }

  // -- reading --

  asio::awaitable<void> receive(Incoming& incoming) {
    Request& request = incoming.request;
    request.peer = peer_;
    request.path = "/";
    request.gone = [weak = weak_from_this()] {
      const auto self = weak.lock();
      return !self || self->closing_ || self->hung_up();
    };
    enter(State::reading, exchange_->limits.header_time);
    incoming.began = Clock::now();
    request.id = new_ulid();

    std::optional<Parser> parser;
    co_await receive_head(incoming, parser);
    if (incoming.lost || incoming.refusal) co_return;
    incoming.http11 = parser->get().version() >= 11;
    incoming.keep_alive = parser->keep_alive();

    // Said before the body is read: the client need not send it.
    if (plain_)
      refuse_with(incoming, "malformed", "this port speaks TLS", "call it with https:// instead of http://");
    else if (refuse_)
      refuse_with(incoming, "overloaded", "there are too many connections", "try again in a moment");
    else if (exchange_->draining)
      refuse_with(incoming, "shutting-down", "hatchd is about to end", "try again when it is back");
    else if (!parser->is_done())
      co_await receive_body(incoming, *parser);
  }

  asio::awaitable<void> receive_head(Incoming& incoming, std::optional<Parser>& parser) {
    const Limits& limits = exchange_->limits;
    std::size_t end = 0, searched = 0;
    while (true) {
      // An empty line before a request is left over from clients that end a body with one too many (RFC 9112,
      // section 2.2).
      for (int i = 0; i < 2 && in_.starts_with("\r\n"); ++i) in_.erase(0, 2);
      if (const char* fault = fault_of_start(in_, searched)) co_return refuse_with(incoming, "malformed", fault);
      end = in_.find("\r\n\r\n", searched);
      if (std::min(end, in_.size()) > limits.header_bytes)
        co_return refuse_with(incoming, "header-too-large",
                              "the header is larger than " + std::to_string(limits.header_bytes) + " bytes",
                              "send long values in the body");
      if (end != in_.npos) break;
      if (in_.size() > counted_from && !held(incoming, in_.size())) co_return;
      searched = in_.size() < 3 ? 0 : in_.size() - 3;
      if (!co_await fill()) co_return ended_early(incoming, "the header did not arrive in time");
    }

    const std::size_t size = end + 4;
    const std::string_view head = std::string_view(in_).substr(0, size);
    if (const char* fault = fault_of_lines(head)) co_return refuse_with(incoming, "malformed", fault);
    parser.emplace();
    parser->header_limit(static_cast<std::uint32_t>(size + 1));
    parser->body_limit(boost::none);  // receive_body() judges it, when the request is known
    error_code error;
    parser->put(asio::buffer(head), error);
    const auto& message = parser->get();
    Request& request = incoming.request;
    request.method.assign(message.method_string().data(), message.method_string().size());
    request.target.assign(message.target().data(), message.target().size());
    for (const auto& field : message)
      request.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                   std::string(field.value().data(), field.value().size()));
    in_.erase(0, size);
    if (error || !parser->is_header_done())
      co_return refuse_with(incoming, "malformed",
                            "the header cannot be read: " + (error ? error.message() : "it is incomplete"));
    if (request.headers.size() > limits.header_fields)
      co_return refuse_with(incoming, "header-too-large",
                            "there are more than " + std::to_string(limits.header_fields) + " header fields");
    if (const char* fault = fault_of_fields(request.headers, message.version() >= 11))
      co_return refuse_with(incoming, "malformed", fault);
    if (const char* fault = fault_of_target(request)) co_return refuse_with(incoming, "malformed", fault);
  }

  asio::awaitable<void> receive_body(Incoming& incoming, Parser& parser) {
    const Limits& limits = exchange_->limits;
    enter(State::reading_body, limits.body_time);

    const auto length = parser.content_length();
    const std::string too_large = "the body is larger than " + std::to_string(limits.body_bytes) + " bytes";
    if (length && *length > limits.body_bytes) co_return refuse_with(incoming, "too-large", too_large);
    parser.body_limit(limits.body_bytes);
    parser.eager(true);

    if (incoming.http11 && in_.empty() && same(incoming.request.header("expect"), "100-continue")) {
      if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) {
        incoming.lost = true;
        co_return;
      }
      enter(State::reading_body, limits.body_time);
    }

    std::size_t raw = 0;  // with chunk headers, which may be longer than what they carry
    while (true) {
      error_code error;
      if (!in_.empty()) {
        const std::size_t taken = parser.put(asio::buffer(in_), error);
        in_.erase(0, taken);
        raw += taken;
      }
      if (!held(incoming, parser.get().body().size() + in_.size())) co_return;
      if (parser.is_done()) break;
      if (error == beast::error::body_limit || raw > limits.body_bytes * 8 + limits.header_bytes)
        co_return refuse_with(incoming, "too-large", too_large);
      if ((error && error != beast::error::need_more) || in_.size() > limits.header_bytes)
        co_return refuse_with(incoming, "malformed", "the body's chunks cannot be read");
      if (!co_await fill()) co_return ended_early(incoming, "the body did not arrive in time");
    }
    incoming.request.body = std::move(parser.get().body());
  }

  // Counts what has come of a request, not what was announced: announcing costs a client nothing.
  bool held(Incoming& incoming, std::size_t bytes) {
    if (incoming.request_share.grow({exchange_, &exchange_->requests}, exchange_->limits.requests, source_, bytes))
      return true;
    refuse_with(incoming, "overloaded", "too many requests are under way", "try again in a moment");
    return false;
  }

  void refuse_with(Incoming& incoming, std::string code, std::string detail, std::string remedy = {}) {
    incoming.refusal = Problem{std::move(code), std::move(detail)};
    incoming.refusal->remedy = std::move(remedy);
  }

  // No more bytes: late, or gone.
  void ended_early(Incoming& incoming, std::string late) {
    incoming.lost = !expired_ || closing_;
    if (incoming.lost) return;
    expired_ = false;
    refuse_with(incoming, "malformed", std::move(late));
  }

  // -- writing --

  // An answer stays in memory until its client has taken it, and clients may be slow.
  void hold(Incoming& incoming, Response& response) {
    if (response.body.size() <= counted_from) return;
    const Limits& limits = exchange_->limits;
    // The first is let through whatever its size: somebody must be able to read it.
    Budget::Limits room = limits.answers;
    room.all = std::max(room.all, response.body.size());
    room.source = std::max(room.source, response.body.size());
    if (incoming.answer_share.grow({exchange_, &exchange_->answers}, room, source_, response.body.size())) return;
    Problem problem{"overloaded", "too many answers wait for their clients to take them"};
    problem.remedy = "read the answers that were asked for, or try again in a moment";
    Response refusal =
        problem_response(problem, incoming.request, format_of(incoming.request, default_format(incoming.request.path)));
    refusal.caller = std::move(response.caller);
    refusal.route = std::move(response.route);
    response = std::move(refusal);
  }

  // False: the connection is of no further use.
  asio::awaitable<bool> send(Incoming& incoming, Response& response, bool keep) {
    sending_ = &response;
    const Defer sent_all{[this] { sending_ = nullptr; }};
    Framing framing;
    framing.http11 = incoming.http11;
    framing.body = incoming.request.method != "HEAD" && response.status != 204 && response.status != 304;
    framing.chunked = response.stream && incoming.http11;
    // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
    framing.keep_alive = keep && !(response.stream && !incoming.http11);
    const auto reason = beast::obsolete_reason(static_cast<beast::status>(response.status));
    const std::string head = head_of(incoming.request, response, framing, {reason.data(), reason.size()});

    const bool whole = framing.body && !response.stream && !response.file;
    bool sent = co_await write(head, whole ? std::string_view(response.body) : std::string_view());
    if (sent && framing.body && response.stream)
      sent = co_await send_stream(*response.stream, framing.chunked);
    else if (sent && framing.body && response.file)
      sent = co_await send_file(response);

    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - incoming.began);
    log_request(incoming.request, response, took);
    if (exchange_->observe) exchange_->observe(incoming.request, response, took);
    if (!sent) closing_ = true;
    co_return sent&& framing.keep_alive;
  }

  asio::awaitable<bool> send_stream(BodyStream& stream, bool chunked) {
    while (true) {
      enter(State::waiting_for_stream, {});
      std::optional<std::string> piece = co_await stream.next();
      if (closing_) co_return false;
      if (!piece) break;
      if (piece->empty()) continue;  // a chunk of no bytes would end the body
      if (chunked) {
        char size[24];
        std::snprintf(size, sizeof size, "%zx\r\n", piece->size());
        *piece += "\r\n";
        if (!co_await write(size, *piece)) co_return false;
      } else if (!co_await write(*piece)) {
        co_return false;
      }
    }
    if (!chunked) co_return true;
    co_return co_await write("0\r\n\r\n");
  }

  asio::awaitable<bool> send_file(const Response& response) {
    std::string piece;
    std::uint64_t left = response.file_bytes;
    std::uint64_t at = response.file_offset;
    while (left > 0) {
      piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, file_piece)));
      const std::span<char> into(piece);
      std::ptrdiff_t got = read_cached(response.file.get(), into, at);
      if (got == -EAGAIN) got = co_await exchange_->read_file(response.file.get(), into, at);
      if (closing_) co_return false;
      if (got <= 0) {  // shorter than was said: only a broken connection tells the client
        log::error("a file ended before its time",
                   {{"error", got < 0 ? errno_text(static_cast<int>(-got)) : "end of file"}});
        co_return false;
      }
      if (!co_await write(std::string_view(piece).substr(0, static_cast<std::size_t>(got)))) co_return false;
      at += static_cast<std::uint64_t>(got);
      left -= static_cast<std::uint64_t>(got);
    }
    co_return true;
  }

  // What the kernel has in memory costs no thread; -EAGAIN: the disk has to be asked, which may take long.
  std::ptrdiff_t read_cached(int file, std::span<char> into, std::uint64_t at) const {
    const int now = exchange_->read_file ? RWF_NOWAIT : 0;
    const iovec part{into.data(), into.size()};
    while (true) {
      const ssize_t got = ::preadv2(file, &part, 1, static_cast<off_t>(at), now);
      if (got >= 0) return got;
      if (errno == EOPNOTSUPP) return -EAGAIN;  // some file systems cannot say
      if (errno != EINTR) return -errno;
    }
  }

  // After the last answer: a close with unread bytes in it would reset the connection, and the client might lose the
  // answer that tells why. So its bytes are read and dropped until it closes too.
  asio::awaitable<void> linger() {
    if (tls_ && !closing_) tls_->say_goodbye();
    tls_.reset();  // what still comes is dropped as it is
    if (closing_ || ::shutdown(socket_.get(), SHUT_WR) != 0) co_return;
    enter(State::lingering, exchange_->limits.linger_time);
    bool more = true;
    while (more) {  // a do-while around co_await is miscompiled by g++ 12
      in_.clear();
      more = co_await fill();
    }
  }

  // -- bytes --

  ssize_t would_block(Way way) {
    socket_.used_up(way);
    wants_ = way;
    errno = EAGAIN;
    return -1;
  }
  ssize_t noted(ssize_t result, Way way) { return result < 0 && errno == EAGAIN ? would_block(way) : result; }

  asio::awaitable<bool> fill() {
    while (!closing_ && !expired_) {
      if (moved_ > turn_bytes) co_await yield();
      const ssize_t got = receive_piece();
      if (got > 0) co_return true;
      if (got == 0) co_return false;
      if (errno == EINTR) continue;
      if (errno != EAGAIN || !co_await wait(wants_)) co_return false;
    }
    co_return false;
  }

  // Not a coroutine: the piece lives on the stack and costs a waiting session nothing.
  ssize_t receive_piece() {
    char piece[read_piece];
    const ssize_t got = tls_ ? note(tls_->read(piece, sizeof piece))
                             : noted(::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT), Way::read);
    if (got > 0) {
      // On a Unix socket a read ends behind descriptors, too.
      if (!tls_ && !peer_.local && static_cast<std::size_t>(got) < sizeof piece) socket_.read_short();
      in_.append(piece, static_cast<std::size_t>(got));
      moved_ += static_cast<std::size_t>(got);
    }
    return got;
  }

  // Both texts in one go where the kernel takes them. The time starts again with every byte taken.
  asio::awaitable<bool> write(std::string_view first, std::string_view second = {}) {
    enter(State::writing, exchange_->limits.write_time);
    while (!first.empty() || !second.empty()) {
      if (closing_ || expired_) co_return false;
      if (moved_ > turn_bytes) co_await yield();
      const ssize_t sent = tls_ ? send_sealed(first, second) : send_plain(first, second);
      if (sent >= 0) {
        const auto bytes = static_cast<std::size_t>(sent);
        moved_ += bytes;
        const std::size_t of_first = std::min(bytes, first.size());
        first.remove_prefix(of_first);
        second.remove_prefix(bytes - of_first);
        if (!first.empty() || !second.empty()) enter(State::writing, exchange_->limits.write_time);
      } else if (errno != EINTR) {
        if (errno != EAGAIN || !co_await wait(wants_)) co_return false;
      }
    }
    co_return true;
  }

  ssize_t send_plain(std::string_view first, std::string_view second) {
    std::array<iovec, 2> parts{iovec{const_cast<char*>(first.data()), first.size()},
                               iovec{const_cast<char*>(second.data()), second.size()}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    return noted(::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL), Way::write);
  }

  // As much as a record of TLS holds. Made of the same texts it is the same again, which OpenSSL asks of a second try.
  ssize_t send_sealed(std::string_view first, std::string_view second) {
    std::array<char, 16 * 1024> record;
    const std::size_t of_first = first.copy(record.data(), record.size());
    const std::size_t of_second = second.copy(record.data() + of_first, record.size() - of_first);
    const ssize_t sent = note(tls_->write({record.data(), of_first + of_second}));
    if (sent == 0) errno = EPIPE;
    return sent == 0 ? -1 : sent;
  }

  asio::awaitable<bool> wait(Way way) {
    if (closing_ || expired_) co_return false;
    if (!socket_.ready(way)) {
      moved_ = 0;
      requests_in_turn_ = 0;
      co_await socket_.wait(way);
    }
    co_return socket_.ready(way) && !closing_ && !expired_;
  }

  // Lets everybody else have a turn.
  asio::awaitable<void> yield() {
    moved_ = 0;
    requests_in_turn_ = 0;
    co_await asio::post(socket_.executor(), asio::use_awaitable);
  }

  // -- state --

  void enter(State state, std::chrono::milliseconds time) {
    state_ = state;
    since_ = Clock::now();
    deadline_ = since_ + time;
  }

  void interrupt(bool& why) {
    why = true;
    socket_.interrupt();
  }

  // Closed both ways, even while unread bytes are queued. A client of TCP that only ended its sending side looks the
  // same as one that left; on a Unix socket the kernel tells them apart.
  bool hung_up() const {
    if (!socket_) return true;
    const auto left = static_cast<short>(peer_.local ? POLLHUP | POLLERR : POLLRDHUP | POLLHUP | POLLERR);
    pollfd poll{socket_.get(), POLLRDHUP, 0};
    return ::poll(&poll, 1, 0) > 0 && (poll.revents & left) != 0;
  }

  void log_thrown(const std::exception_ptr& thrown) const {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const boost::system::system_error& error) {
      if (error.code() != asio::error::operation_aborted) log::error("a session threw", {{"error", error.what()}});
    } catch (const std::exception& error) {
      log::error("a session threw", {{"error", error.what()}});
    } catch (...) {
      log::error("a session threw", {});
    }
  }

  Readiness::Socket socket_;
  asio::cancellation_signal signal_;
  const Peer peer_;
  const std::string source_;
  const std::shared_ptr<Exchange> exchange_;
  const bool refuse_;
  bool first_ = true;
  bool expired_ = false;  // the deadline of the state has passed
  bool closing_ = false;  // no further byte
  const Response* sending_ = nullptr;
  std::unique_ptr<Tls> tls_;
  bool plain_ = false;  // HTTP without TLS where TLS is spoken
  Way wants_ = Way::read;
  State state_ = State::fresh;
  SteadyTime since_ = Clock::now(), deadline_ = since_ + std::chrono::hours(1);
  std::string in_;  // read and not yet used: pipelined requests wait here
  std::size_t moved_ = 0;
  unsigned requests_in_turn_ = 0;
};

}  // namespace

std::shared_ptr<Session> make_session(UniqueFd socket, Peer peer, std::shared_ptr<Exchange> exchange,
                                      std::shared_ptr<const TlsContext> tls, bool refuse) {
  return std::make_shared<Connection>(std::move(socket), std::move(peer), std::move(exchange), std::move(tls), refuse);
}

}  // namespace hatchd::http
