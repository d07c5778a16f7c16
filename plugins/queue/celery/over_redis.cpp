// Celery over Redis: a queue is a list, a broadcast is PUBLISH, an answer is a list of our own (kombu/transport/redis.py).
#include <array>
#include <boost/json.hpp>
#include <ctime>
#include <thread>

#include "queue/celery/transport.hpp"
#include "queue/redis/client.hpp"

namespace json = boost::json;

namespace queue::celery {
namespace {

constexpr const char* separator = "\x06\x16";  // kombu's own
constexpr const char* reply_exchange_prefix = "reply.";
constexpr std::array<const char*, 4> priorities = {"",
                                                   "\x06\x16"
                                                   "3",
                                                   "\x06\x16"
                                                   "6",
                                                   "\x06\x16"
                                                   "9"};
constexpr int question_lifetime_s = 60;  // generous: clocks of workers differ

class OverRedis final : public Transport {
 public:
  OverRedis(redis::Access access, const Wiring& wiring, const Watch& watch, Report& report)
      : access_(std::move(access)),
        prefix_(wiring.key_prefix),
        control_(wiring.control_exchange + ".pidbox"),
        watch_(watch),
        patience_(wiring.patience),
        client_(access_, soon(), &report) {}

  std::string open_inbox(bool now) override {
    const std::string reply_exchange = reply_exchange_prefix + control_;
    oid_ = new_uuid();
    inbox_ = oid_ + "." + reply_exchange;
    binding_key_ = prefix_ + "_kombu.binding." + reply_exchange;
    binding_ = oid_ + separator + separator + inbox_;
    if (now) bind();
    return inbox_;
  }

  Depth look(const std::string& queue) override {
    std::array<std::string, priorities.size()> lists;
    std::vector<redis::Words> counts;
    for (std::size_t i = 0; i < priorities.size(); ++i)
      counts.push_back({"LLEN", lists[i] = prefix_ + queue + priorities[i]});
    // A worker leaves its name there when it starts, and not all take it away.
    const std::string workers = prefix_ + "_kombu.binding." + control_;
    counts.push_back({"SCARD", workers});
    client_.send_all(counts, soon());
    Depth depth;
    std::optional<Trouble> trouble;
    for (std::size_t i = 0; i < priorities.size(); ++i) {
      const redis::Reply reply = client_.next(soon());
      if (reply.is_error() && !trouble)
        trouble = reply.text.starts_with("WRONGTYPE")
                      ? Trouble("the key " + queue + " is no list, so it is no queue of Celery",
                                "name the queue by its name in Celery")
                      : redis::explain(reply, "LLEN");
      depth.messages += reply.integer;
    }
    const redis::Reply listeners = client_.next(soon());
    if (trouble) throw Trouble(*trouble);
    if (!listeners.is_error()) depth.listeners = listeners.integer;  // its user need not be allowed to ask
    return depth;
  }

  std::optional<long long> ask(std::string_view method) override {
    if (!listener_) bind();
    const std::string body = question(method, tickets_.issue(method), reply_exchange_prefix + control_, oid_);
    const std::string channel = prefix_ + "/" + std::to_string(access_.database) + "." + control_;
    const std::string envelope = question_envelope(body, control_, std::time(nullptr) + question_lifetime_s);
    // How many listen the first one tells; the others do not wait for their number.
    if (std::exchange(heard_, true)) {
      client_.send({"PUBLISH", channel, envelope}, soon());
      ++owed_;
      return std::nullopt;
    }
    return call({"PUBLISH", channel, envelope}, soon()).integer;
  }

  void publish(const Task& task) override {
    key_ = prefix_ + task.queue;
    sent_ = task_envelope(task);
    call({"LPUSH", key_, sent_}, soon());
  }

  std::optional<Incoming> poll() override {
    // The broker's end shows on the connection that is idle too.
    while (const auto reply = client_.poll()) {
      if (owed_ == 0) throw Trouble(client_.address() + " answered what was not asked");
      pay(*reply);
    }
    if (!listener_) return std::nullopt;
    const auto reply = listener_->poll();
    if (!reply) return std::nullopt;
    listening_ = false;
    if (reply->is_error()) throw redis::explain(*reply, "BRPOP");
    if (reply->items.size() != 2)
      throw Trouble(listener_->address() + " answered BRPOP with something else than a pair");
    Incoming incoming;
    const json::object envelope = parse_object(reply->items[1].text, "an answer in the list of answers");
    const json::value* body = envelope.if_contains("body");
    if (!body || !body->is_string()) throw Trouble("an answer has no body");
    incoming.body = std::string(body->get_string());
    if (const json::value* properties = envelope.if_contains("properties"); properties && properties->is_object()) {
      const json::value* encoding = properties->get_object().if_contains("body_encoding");
      if (encoding && encoding->is_string() && encoding->get_string() == "base64")
        incoming.body = from_base64(incoming.body);
    }
    if (const json::value* headers = envelope.if_contains("headers"); headers && headers->is_object())
      if (const json::value* ticket = headers->get_object().if_contains("ticket"); ticket && ticket->is_string())
        incoming.method = tickets_.method(ticket->get_string());
    listen();
    return incoming;
  }

  int fd() const override { return listener_ ? listener_->fd() : client_.fd(); }

  // LREM looks from the left, where the youngest are: the place of ours.
  std::optional<bool> withdraw() override {
    if (sent_.empty()) return std::nullopt;
    return call({"LREM", key_, "1", std::exchange(sent_, {})}, briefly()).integer > 0;
  }

  void tidy(bool answers_due) override {
    listener_.reset();
    // Also where it never was bound: a worker whose back end is rpc all the same sends its result there.
    const std::string inbox = std::exchange(inbox_, {});
    if (inbox.empty()) return;
    client_.send_all({{"SREM", binding_key_, binding_}, {"DEL", prefix_ + inbox}}, briefly());
    for (owed_ += 2; owed_ > 0; --owed_) client_.next(briefly());
    if (!answers_due) return;
    // A worker that had read the binding before it was removed may be just about to push.
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    client_.call({"DEL", prefix_ + inbox}, briefly());
  }

  const char* name() const override { return "redis"; }

 private:
  void pay(const redis::Reply& reply) {
    --owed_;
    if (reply.is_error()) throw redis::explain(reply, "PUBLISH");
  }
  // Behind what is still to be answered.
  redis::Reply call(const redis::Words& words, const Watch& watch) {
    while (owed_ > 0) pay(client_.next(watch));
    return client_.call(words, watch);
  }
  Watch soon() const { return watch_.within(patience_); }
  Watch briefly() const { return watch_.cleanup(std::chrono::seconds{1}); }
  void bind() {
    listener_.emplace(access_, soon());
    call({"SADD", binding_key_, binding_}, soon());
    listen();
  }
  void listen() {
    if (!std::exchange(listening_, true)) listener_->send({"BRPOP", prefix_ + inbox_, "0"}, soon());
  }

  redis::Access access_;
  std::string prefix_, control_;
  Watch watch_;
  std::chrono::milliseconds patience_;
  redis::Client client_;
  std::optional<redis::Client> listener_;
  Tickets tickets_;
  bool listening_ = false;
  bool heard_ = false;  // the first question was asked
  int owed_ = 0;        // answers to questions that nobody waits for
  std::string oid_, inbox_, binding_key_, binding_, key_, sent_;
};

}  // namespace

std::unique_ptr<Transport> open_redis(const Wiring& wiring, const Watch& watch, Report& report, std::string& shown) {
  redis::Access access =
      redis::access_of(parse_urls(wiring.broker.text), wiring.tls, wiring.sentinel_master, wiring.sentinel_password);
  report.secret(access.password);
  report.secret(access.sentinel_password);
  shown = access.shown;
  return std::make_unique<OverRedis>(std::move(access), wiring, watch, report);
}

}  // namespace queue::celery
