// The broker as Celery uses it: what a ping needs of it, over Redis or over RabbitMQ.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "queue/celery/message.hpp"
#include "queue/frame/settings.hpp"

namespace queue::celery {

struct Depth {
  bool there = true;  // a list of Redis is there as soon as something is in it; a queue of RabbitMQ is declared
  long long messages = 0;
  std::optional<long long> consumers;  // where the broker knows
  std::optional<long long> listeners;  // of questions, at most; where it can be known before
};

// Something for us: an answer on the control channel, or the result of the task where the back end is rpc.
struct Incoming {
  std::string method;  // the question that it answers; empty: a result
  std::string body;    // JSON
};

// Questions under way: their tickets come back in the header of each answer.
class Tickets {
 public:
  const std::string& issue(std::string_view method) { return issued_.emplace_back(new_uuid(), method).first; }
  // "?" for a ticket that is not ours.
  std::string method(std::string_view ticket) const {
    for (const auto& [known, method] : issued_)
      if (known == ticket) return method;
    return "?";
  }

 private:
  std::vector<std::pair<std::string, std::string>> issued_;
};

class Transport {
 public:
  virtual ~Transport() = default;

  // A place for answers; its name is what a task's reply_to says. Without `now` it may wait for the first question.
  virtual std::string open_inbox(bool now) = 0;
  virtual Depth look(const std::string& queue) = 0;
  // Sends one question to all workers. How many listen, where the broker says.
  virtual std::optional<long long> ask(std::string_view method) = 0;
  // Hands the task to the broker and waits until it has taken it. Throws Trouble when it refuses.
  virtual void publish(const Task& task) = 0;
  // What has arrived, without waiting. Throws Trouble when the broker ends or refuses.
  virtual std::optional<Incoming> poll() = 0;
  virtual int fd() const = 0;
  // Takes the task back if no worker has taken it. True: it was still there; nullopt: this broker cannot say.
  virtual std::optional<bool> withdraw() = 0;
  // Leaves nothing behind. `answers_due`: workers may still be about to answer.
  virtual void tidy(bool answers_due) = 0;
  virtual const char* name() const = 0;  // "redis", "amqp"
};

struct Wiring {
  Setting broker;
  std::string key_prefix, control_exchange, sentinel_master, sentinel_password;
  Tls tls;
  std::chrono::milliseconds patience{5000};  // for each single step
};

// Connects and logs in, in steps "connect" and "login"; adds the password to the report's secrets. Shows its address as
// `shown`.
std::unique_ptr<Transport> open_redis(const Wiring& wiring, const Watch& watch, Report& report, std::string& shown);
std::unique_ptr<Transport> open_amqp(const Wiring& wiring, const Watch& watch, Report& report, std::string& shown);

}  // namespace queue::celery
