// Celery over RabbitMQ. Tasks go through the default exchange to the queue by its name, questions through the fanout
// exchange celery.pidbox; answers come to one exclusive queue, which is gone with the connection. They are asked to go
// through the default exchange too: so nothing needs to be declared or bound for them.
#include <boost/json.hpp>
#include <ctime>

#include "queue/amqp/client.hpp"
#include "queue/celery/transport.hpp"

namespace queue::celery {
namespace {

constexpr int question_lifetime_s = 60;

amqp::Header text(std::string name, std::string value) {
  return {std::move(name), amqp::Header::Type::text, std::move(value), 0};
}
amqp::Header number(std::string name, std::int64_t value) {
  return {std::move(name), amqp::Header::Type::number, {}, value};
}
amqp::Header none(std::string name) { return {std::move(name), amqp::Header::Type::none, {}, 0}; }

class OverAmqp final : public Transport {
 public:
  OverAmqp(const amqp::Access& access, const Wiring& wiring, const Watch& watch, Report& report)
      : control_(wiring.control_exchange + ".pidbox"),
        watch_(watch),
        patience_(wiring.patience),
        client_(access, watch, patience_, report) {}

  // Always now: its name is the broker's choice.
  std::string open_inbox(bool) override {
    inbox_ = client_.open_inbox();
    client_.confirm();
    return inbox_;
  }

  Depth look(const std::string& queue) override {
    const amqp::Look look = client_.look(queue);
    return {look.there, look.messages, look.consumers, {}};
  }

  std::optional<long long> ask(std::string_view method) override {
    amqp::Message message;
    message.exchange = control_;
    message.body = question(method, tickets_.issue(method), "", inbox_);
    message.headers = {number("clock", 1), number("expires", std::time(nullptr) + question_lifetime_s)};
    message.expiration = std::to_string(question_lifetime_s * 1000);  // a stopped worker's box does not fill up
    if (refused_.empty()) client_.publish_aside(message);
    if (refused_.empty()) return std::nullopt;
    return 0;
  }

  void publish(const Task& task) override {
    amqp::Message message;
    message.key = task.queue;
    message.body = task.body();
    message.correlation_id = task.id;
    message.reply_to = task.reply_to;
    message.expiration = std::to_string(task.lifetime.count());
    message.headers = {text("lang", "py"),
                       text("task", task.name),
                       text("id", task.id),
                       none("shadow"),
                       none("eta"),
                       text("expires", task.expires),
                       none("group"),
                       none("group_index"),
                       number("retries", 0),
                       {"timelimit", amqp::Header::Type::two_nones, {}, 0},
                       text("root_id", task.id),
                       none("parent_id"),
                       text("argsrepr", "('hatchd',)"),
                       text("kwargsrepr", "{}"),
                       text("origin", "hatchd")};
    client_.publish(message, true);
    // What arrives meanwhile is kept: a quick worker's answer may come before the confirm.
    const Watch soon = watch_.within(patience_);
    while (!confirmed_)
      if (!take() && !soon.wait(client_.fd(), POLLIN))
        throw Trouble("the broker took the connection and does not confirm the task",
                      "it may be short of disk or memory, or wait for a mirror: rabbitmqctl status shows alarms");
  }

  std::optional<Incoming> poll() override {
    while (kept_.empty())
      if (!take()) return std::nullopt;
    Incoming incoming = std::move(kept_.front());
    kept_.erase(kept_.begin());
    return incoming;
  }

  int fd() const override { return client_.fd(); }
  std::optional<bool> withdraw() override { return std::nullopt; }
  void tidy(bool) override { client_.close(); }
  const char* name() const override { return "amqp"; }

 private:
  // One event; false when there is none.
  bool take() {
    auto event = client_.poll();
    if (!event) return false;
    switch (event->type) {
      case amqp::Event::Type::delivered:
        if (kept_.size() < 4096)
          kept_.push_back({event->ticket.empty() ? "" : tickets_.method(event->ticket), std::move(event->body)});
        break;
      case amqp::Event::Type::confirmed: confirmed_ = true; break;
      case amqp::Event::Type::aside_closed: refused_ = event->text; break;
      case amqp::Event::Type::unblocked: break;
      case amqp::Event::Type::blocked:
        throw Trouble("the broker takes no messages now: " + event->text,
                      "rabbitmqctl status shows its alarms: free disk or memory, or lower disk_free_limit");
      case amqp::Event::Type::returned:
        throw Trouble("no queue takes the task: " + event->text,
                      "no worker has declared this queue: is its name right?");
      case amqp::Event::Type::rejected:
        throw Trouble("the broker refused to take the task", "the queue may be full (x-max-length): see its arguments");
      case amqp::Event::Type::cancelled: throw Trouble("the broker took our queue for answers away");
      case amqp::Event::Type::closed: throw Trouble("the broker closed the connection: " + event->text);
    }
    return true;
  }

  std::string control_, inbox_;
  Watch watch_;
  std::chrono::milliseconds patience_;
  amqp::Client client_;
  Tickets tickets_;
  bool confirmed_ = false;
  std::string refused_;  // why nothing can be asked: no worker has made the exchange, or the user may not write to it
  std::vector<Incoming> kept_;
};

}  // namespace

std::unique_ptr<Transport> open_amqp(const Wiring& wiring, const Watch& watch, Report& report, std::string& shown) {
  const std::vector<Url> urls = parse_urls(wiring.broker.text);
  for (std::size_t i = 0;; ++i) {
    const amqp::Access access = amqp::access_of(urls[i], wiring.tls);
    report.secret(access.password);
    shown = access.shown;
    try {
      return std::make_unique<OverAmqp>(access, wiring, watch, report);
    } catch (const Trouble& trouble) {
      if (i + 1 == urls.size()) throw;
      report.bad(trouble.what());
    }
  }
}

}  // namespace queue::celery
