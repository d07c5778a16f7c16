// queue.ping, kind rabbitmq: a message published, routed, confirmed and consumed from an exclusive queue.
#include <cmath>

#include "hatch/act.hpp"
#include "queue/amqp/client.hpp"
#include "queue/frame/ping.hpp"

namespace {

using queue::Report;
using queue::Trouble;
using queue::Watch;
using queue::amqp::Event;

constexpr const char* profile = R"(
  "url": {"type": "string", "secret": true, "pattern": "^(amqp|amqps|pyamqp)://.*$", "format": "server-url", "description": "amqp:// or amqps://."},
  "queue": {"type": "string", "maxLength": 200, "description": "A queue of the app's: how long it is, and who consumes it."},
  "queues": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "description": "Others that a caller may name by the parameter \"queue\"."})";

class LoopBack {
 public:
  LoopBack(hatch::Run& run, const queue::Settings& settings, std::string queue_name)
      : run_(run),
        settings_(settings),
        report_(run, settings.network()),
        watch_(run, queue::Clock::now() +
                        std::max(run.remaining() - std::chrono::milliseconds{500}, std::chrono::milliseconds{100})),
        patience_(settings.duration("timeout", std::chrono::seconds{5})),
        queue_(std::move(queue_name)) {}

  hatch::Result perform(bool look_only) {
    try {
      open();
      look();
      if (look_only) {
        client_->close();
        report_.add("ready", true);
        return report_.result("ready: " + report_.clean(client_->broker()) + " is up and knows us" + depth_);
      }
      hatch::begin_to_act(run_);
      loop();
      client_->close();
      return report_.result(report_.clean(client_->broker()) + " works: a message was routed, confirmed and came back" +
                            depth_);
    } catch (const Trouble& trouble) {
      report_.fail(Trouble((shown_.empty() ? "" : shown_ + ": ") + trouble.what(), trouble.hint));
    }
  }

 private:
  void open() {
    const queue::Setting url =
        queue::open_loop_back(report_, settings_, "rabbitmq", queue_,
                              {"AMQP_URL", "RABBITMQ_URL", "CLOUDAMQP_URL", "CELERY_BROKER_URL"}, "amqp://…");
    const queue::amqp::Access access = queue::amqp::access_of(queue::parse_url(url.text), settings_.tls());
    report_.secret(access.password);
    shown_ = access.shown;
    queue::add_address(report_, shown_, url);
    client_ = std::make_unique<queue::amqp::Client>(access, watch_, patience_, report_);
    report_.add("server", report_.clean(client_->broker()));
  }

  void look() {
    if (queue_.empty()) return;
    report_.begin("queue");
    const queue::amqp::Look look = client_->look(queue_);
    if (!look.there)
      throw Trouble("there is no queue `" + queue_ + "`", "who consumes it declares it: is its name right?");
    report_.add("depth", look.messages);
    report_.add("consumers", look.consumers);
    const std::string found = queue::counted(look.messages, "message") + " and " +
                              (look.consumers == 0 ? "no consumer" : queue::counted(look.consumers, "consumer"));
    report_.good(found);
    depth_ = "; queue `" + queue_ + "` has " + found + (look.consumers == 0 ? ": nobody listens to it" : "");
  }

  void loop() {
    report_.begin("queue of our own");
    queue::amqp::Message message;
    message.key = client_->open_inbox();
    client_->confirm();
    message.body = message.correlation_id = std::string(run_.id());
    message.expiration = std::to_string(patience_.count());
    report_.begin("publish");
    const queue::Time begin = queue::Clock::now();
    client_->publish(message, true);
    const Watch soon = watch_.within(patience_);
    bool confirmed = false, back = false;
    std::string body;
    while (!confirmed || !back) {
      auto event = client_->poll();
      if (!event) {
        if (soon.wait(client_->fd(), POLLIN)) continue;
        throw Trouble(confirmed ? "the message was confirmed and did not come back"
                                : "the broker took the message and does not confirm it",
                      "it may be short of disk or memory: rabbitmqctl status shows alarms");
      }
      switch (event->type) {
        case Event::Type::confirmed:
          confirmed = true;
          report_.good("confirmed");
          report_.begin("consume");
          break;
        case Event::Type::delivered:
          back = true;
          body = event->body;
          break;
        case Event::Type::blocked:
          throw Trouble("the broker takes no messages now: " + event->text,
                        "rabbitmqctl status shows its alarms: free disk or memory, or lower disk_free_limit");
        case Event::Type::returned: throw Trouble("the message was not routed: " + event->text);
        case Event::Type::rejected: throw Trouble("the broker refused the message");
        case Event::Type::cancelled: throw Trouble("the broker took our queue away");
        case Event::Type::closed: throw Trouble("the broker closed the connection: " + event->text);
        case Event::Type::unblocked:
        case Event::Type::aside_closed: break;
      }
    }
    if (body != run_.id()) throw Trouble("what came back is not what was sent");
    report_.good();
    const double ms = queue::ms_between(begin, queue::Clock::now());
    report_.add("round_trip_ms", std::round(ms * 1000) / 1000);
    report_.add("answer", "confirmed and consumed");
  }

  hatch::Run& run_;
  const queue::Settings& settings_;
  Report report_;
  Watch watch_;
  std::chrono::milliseconds patience_;
  std::string queue_, shown_, depth_;
  std::unique_ptr<queue::amqp::Client> client_;
};

struct RabbitPing {
  static constexpr hatch::About about = queue::about_ping(
      "rabbitmq", "Send a message through RabbitMQ and back",
      "Connects, logs in and opens the virtual host as the app does, publishes a message to an exclusive queue of its "
      "own, waits for the broker's confirm and consumes it. With a queue of the app's, how long it is and how many "
      "consume it.\n\nThe exclusive queue is gone with the connection; nothing else is made.");
  static constexpr const char* which_queue = "A queue of the app's to look at: the profile's own, or one that it lists";

  std::string queue_name;

  hatch::Result ping(hatch::Run& run, const queue::Settings& settings, bool look_only) const {
    return LoopBack(run, settings, queue_name).perform(look_only);
  }
};

const char* schema() {
  static const std::string text = queue::profile_schema("rabbitmq", profile);
  return text.c_str();
}

}  // namespace

HATCH_PLUGIN_CONFIGURED("queue-rabbitmq", "1.0.0", "RabbitMQ, there and back", nullptr, schema(),
                        queue::PingHatch<RabbitPing>)
