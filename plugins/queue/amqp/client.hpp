// RabbitMQ, spoken through librabbitmq: one connection; channel 1 for the ping and what comes back, channel 2 for passive
// looks and channel 3 for what is asked beside it, because the broker closes the channel of whatever it refuses.
//
// librabbitmq blocks in places that know no time-out, so a guard thread shuts the socket down when the time is over or
// the run is cancelled; every call then ends with an error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "queue/frame/stream.hpp"
#include "queue/frame/url.hpp"

namespace queue::amqp {

struct Access {
  Place place;
  std::string user, password, vhost;
  std::string shown;  // without secrets
};
// From amqp:// or amqps://; also pyamqp:// and librabbitmq://, as kombu has them. Throws Trouble.
Access access_of(const Url& url, const Tls& tls);

struct Look {
  bool there = false;
  std::uint32_t messages = 0, consumers = 0;
};

// A header of a message: text, a number, or nothing.
struct Header {
  enum class Type { text, number, none, two_nones };
  std::string name;
  Type type = Type::none;
  std::string text;
  std::int64_t number = 0;
};

struct Message {
  std::string exchange, key, body;
  std::string correlation_id, reply_to;
  std::string expiration;  // milliseconds, as text: the broker drops it then
  std::vector<Header> headers;
  bool persistent = false;
};

struct Event {
  enum class Type { delivered, confirmed, rejected, returned, blocked, unblocked, cancelled, closed, aside_closed };
  Type type{};
  std::string text;                  // why, for what is no delivery
  std::string body, correlation_id;  // of a delivery
  std::string ticket;                // its header of that name
};

class Client {
 public:
  static constexpr std::size_t max_body = 8 * 1024 * 1024;

  // Connects, logs in and opens the virtual host, in steps "connect" and "login". `watch`: of the whole connection;
  // `patience`: for each single answer.
  Client(const Access& access, const Watch& watch, std::chrono::milliseconds patience, Report& report);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  int fd() const;
  const std::string& broker() const { return broker_; }  // "RabbitMQ 3.10.8"

  // Messages that are ready, and consumers; nothing is changed.
  Look look(const std::string& queue);
  // An exclusive queue with a name of the broker's choice, gone with this connection; what arrives comes by poll().
  std::string open_inbox();
  // Confirmed by the broker, returned where no queue takes it: both come by poll(). `mandatory`: ask for the return.
  void confirm();
  void publish(const Message& message, bool mandatory);
  // On a channel of its own: neither confirmed nor returned, and a refusal is an event of its own.
  void publish_aside(const Message& message);
  // What has arrived, without waiting.
  std::optional<Event> poll();
  // Ends the connection in order, briefly.
  void close();

 private:
  class Guard;
  struct State;
  [[noreturn]] void lost(const std::string& what) const;
  void send(const Message& message, int channel, bool mandatory);
  void expect(const char* what);

  const Watch watch_;
  std::string name_, broker_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Guard> guard_;
};

}  // namespace queue::amqp
