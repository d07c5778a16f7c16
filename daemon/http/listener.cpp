#include "http/listener.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <map>

#include "base/log.hpp"
#include "http/peer.hpp"

namespace hatchd::http {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

namespace {

// Beyond the limit, so many more are let in only to be told that it is reached; what comes after those is closed
// unread.
constexpr std::size_t max_refusals = 64;
constexpr int accepts_in_turn = 64;
// So many connections every source may have, whoever else is there.
constexpr std::size_t small_share = 8;
constexpr auto accept_pause = std::chrono::milliseconds(100);
constexpr auto complaint_interval = std::chrono::seconds(10);

void set_option(int fd, int level, int name) {
  const int on = 1;
  ::setsockopt(fd, level, name, &on, sizeof on);  // what cannot be set is a lost nicety
}

bool lacks_resources(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

}  // namespace

struct Listener::State : std::enable_shared_from_this<Listener::State> {
  struct Entry {
    std::shared_ptr<Session> session;
    std::string source;  // source_key()
    bool refused = false;
  };
  using Entries = std::list<Entry>;
  struct Door {  // a listening socket
    bool local, tls;
    std::size_t index;
  };

  asio::io_context& context;
  std::shared_ptr<Exchange> exchange = std::make_shared<Exchange>();
  std::list<asio::posix::stream_descriptor> sockets;
  Entries entries;
  std::map<std::string, std::size_t> by_source;
  std::size_t refusals = 0;
  asio::steady_timer ticker, grace_timer;
  std::shared_ptr<const TlsContext> tls;
  bool ticking = false, stopping = false;
  std::function<void()> done;
  Clock::time_point complained{};

  explicit State(asio::io_context& context) : context(context), ticker(context), grace_timer(context) {
    exchange->readiness = std::make_shared<Readiness>(context.get_executor());
  }

  // -- accepting --

  asio::awaitable<void> accept(asio::posix::stream_descriptor& socket, Door door) {
    asio::steady_timer pause(context);
    while (!stopping) {
      error_code error;
      co_await socket.async_wait(asio::posix::descriptor_base::wait_read,
                                 asio::redirect_error(asio::use_awaitable, error));
      if (error || stopping) co_return;
      if (accept_some(socket.native_handle(), door)) continue;
      // Out of descriptors or memory: the pending connection keeps the socket readable, so a loop without a pause would
      // spin. A connection that waits may give what is missing.
      make_room("");
      pause.expires_after(accept_pause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }

  // False when accepting makes no sense for now.
  bool accept_some(int listening, Door door) {
    for (int i = 0; i < accepts_in_turn; ++i) {
      UniqueFd fd(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) {
        welcome(std::move(fd), door);
        continue;
      }
      const int error = errno;
      if (error == EAGAIN) return true;
      // Others concern this one connection (accept(2): ECONNABORTED and errors of the network); the next may be well.
      if (!lacks_resources(error) && error != EBADF && error != EINVAL && error != ENOTSOCK) continue;
      complain("connections cannot be accepted", errno_text(error));
      return false;
    }
    return true;
  }

  void complain(std::string_view message, std::string_view why) {
    const auto now = Clock::now();
    if (complained != Clock::time_point{} && now - complained < complaint_interval) return;
    complained = now;
    log::warning(message, {{"why", why}, {"connections", entries.size()}});
  }

  void welcome(UniqueFd fd, Door door) {
    if (door.tls && !tls) return;  // nothing to prove who we are with
    if (!door.local) {
      set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);
      set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE);
    }
    Peer peer = peer_of(fd.get(), door.local, door.index);
    peer.tls = door.tls;
    const std::string source = source_key(peer);
    const bool root = peer.local && peer.uid == 0;
    // The own share first: who has used it up makes room with a connection of its own, not with somebody else's.
    bool refused = has_share(source) && !make_room(source);
    if (!refused && entries.size() - refusals >= exchange->limits.connections) refused = !make_room("");
    refused = refused && !root;
    if (refused) complain("the limit of connections is reached", peer.address);
    if (refused && refusals >= max_refusals) return;

    const auto entry = entries.insert(entries.end(), Entry{nullptr, source, refused});
    if (refused)
      ++refusals;
    else
      ++by_source[source];
    entry->session = make_session(std::move(fd), std::move(peer), exchange, door.tls ? tls : nullptr, refused);
    entry->session->start([self = shared_from_this(), entry] { self->leave(entry); });
    start_ticking();
  }

  // Has the source all that it may have? Besides the limit that is said, nobody holds more than what is left for others:
  // the first may have half of the places, the next a quarter, so that no two or three fill the house with streams.
  bool has_share(const std::string& source) const {
    const auto found = by_source.find(source);
    const std::size_t held = found == by_source.end() ? 0 : found->second;
    if (held >= exchange->limits.connections_per_address) return true;
    const std::size_t used = std::min(entries.size() - refusals, exchange->limits.connections);
    return held >= small_share && held >= exchange->limits.connections - used;
  }

  // Closes the connection that has been idle longest, else the one that has waited longest for a header, else for a body,
  // of that source or ("") of all. It is counted out at once.
  bool make_room(const std::string& source) {
    auto oldest = entries.end();
    const auto before = [](const Session& one, const Session& other) {
      return one.waiting() != other.waiting() ? one.waiting() < other.waiting() : one.since() < other.since();
    };
    for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
      if (entry->refused || entry->session->waiting() == Session::Waiting::no ||
          (!source.empty() && entry->source != source))
        continue;
      if (oldest == entries.end() || before(*entry->session, *oldest->session)) oldest = entry;
    }
    if (oldest == entries.end()) return false;
    forget_source(*oldest);
    // It leaves the table when its coroutine has ended; until then it counts as one of the refused, which have their
    // own bound.
    oldest->refused = true;
    ++refusals;
    oldest->session->abort();
    return true;
  }

  void forget_source(const Entry& entry) {
    if (entry.refused) return;
    const auto found = by_source.find(entry.source);
    if (found != by_source.end() && --found->second == 0) by_source.erase(found);
  }

  void leave(Entries::iterator entry) {
    forget_source(*entry);
    if (entry->refused) --refusals;
    entries.erase(entry);
    if (stopping && entries.empty()) finish();
  }

  // -- time --

  void start_ticking() {
    if (ticking || entries.empty()) return;
    ticking = true;
    ticker.expires_after(exchange->limits.tick);
    ticker.async_wait([self = shared_from_this()](error_code error) {
      self->ticking = false;
      if (error) return;
      const auto now = Clock::now();
      for (const Entry& entry : self->entries) entry.session->tick(now);
      self->start_ticking();
    });
  }

  // -- the end --

  void stop(std::chrono::milliseconds grace, std::function<void()> when_done) {
    if (stopping) return;
    stopping = exchange->draining = true;
    done = std::move(when_done);
    error_code ignored;
    for (auto& socket : sockets) socket.close(ignored);
    for (const Entry& entry : entries) entry.session->close_idle();
    if (entries.empty()) return asio::post(context, [self = shared_from_this()] { self->finish(); });
    grace_timer.expires_after(grace);
    grace_timer.async_wait([self = shared_from_this()](error_code error) {
      if (error) return;
      log::warning("connections are cut off at the end of the grace", {{"connections", self->entries.size()}});
      for (const Entry& entry : self->entries) entry.session->abort();
      self->finish();
    });
  }

  void finish() {
    grace_timer.cancel();
    ticker.cancel();
    if (auto call = std::exchange(done, nullptr)) call();
  }
};

Listener::Listener(asio::io_context& context, Answer answer, Limits limits, Observe observe)
    : state_(std::make_shared<State>(context)) {
  state_->exchange->limits = limits;
  state_->exchange->answer = std::move(answer);
  state_->exchange->observe = std::move(observe);
}

void Listener::read_files_by(ReadFile read) { state_->exchange->read_file = std::move(read); }

Listener::~Listener() {
  state_->stopping = true;
  error_code ignored;
  for (auto& socket : state_->sockets) socket.close(ignored);
  for (const auto& entry : state_->entries) entry.session->abort();
  state_->ticker.cancel();
  state_->grace_timer.cancel();
}

void Listener::add(Listening listening) {
  const int fd = listening.socket.get();
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  auto& socket = state_->sockets.emplace_back(state_->context, listening.socket.release());
  asio::co_spawn(
      state_->context,
      [state = state_, &socket, door = State::Door{listening.local, listening.tls, listening.index}] {
        return state->accept(socket, door);
      },
      asio::detached);
}

void Listener::use(std::shared_ptr<const TlsContext> tls) { state_->tls = std::move(tls); }

void Listener::stop(std::chrono::milliseconds grace, std::function<void()> done) {
  state_->stop(grace, std::move(done));
}

void Listener::recheck() {
  for (const auto& entry : state_->entries) entry.session->recheck();
}

std::size_t Listener::connections() const { return state_->entries.size(); }

}  // namespace hatchd::http
