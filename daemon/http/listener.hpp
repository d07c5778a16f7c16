// Accepts connections on descriptors that somebody else bound (the supervisor, or a test), and keeps their number
// within bounds: when the house is full the connection that has been idle longest makes room, else the one that has waited
// longest for a header; when all are at work the newcomer is told so with a 503. Root on a Unix socket always gets in:
// somebody must be able to look at a house that others filled.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "base/fd.hpp"
#include "http/wire.hpp"

namespace hatchd::http {

// A listening socket, non-blocking or not.
struct Listening {
  UniqueFd socket;
  bool local = false;     // a Unix socket
  std::size_t index = 0;  // into the configuration's `listen`
  bool tls = false;       // with the certificate of use()
};

class Listener {
 public:
  // `context` must outlive the listener and be run by one thread.
  Listener(boost::asio::io_context& context, Answer answer, Limits limits = {}, Observe observe = {});
  Listener(const Listener&) = delete;
  ~Listener();

  void add(Listening listening);

  // How files are read that are not in memory; without it, on the event loop.
  void read_files_by(ReadFile read);

  // The certificate for connections from now on; those that are there keep theirs.
  void use(std::shared_ptr<const TlsContext> tls);

  // Accepts no more, closes idle connections at once, lets requests finish for `grace` and answers new ones on kept
  // connections with `shutting-down`. `done` is called once, when all are gone or the grace is over and they were cut
  // off.
  void stop(std::chrono::milliseconds grace, std::function<void()> done);

  // Rights have changed: ends what is under way for callers who may not have it any more (Response::still_allowed).
  void recheck();

  std::size_t connections() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace hatchd::http
