// The way of a Celery ping:
//
//   connect, login      the broker
//   result back end     Redis: subscribed before the task is sent, so that no answer is missed
//   queue               how long it is, and who consumes it where the broker knows
//   publish             the task; the questions to all workers go out behind it, so that both are answered meanwhile
//   answer              the result, or nothing in time
//   workers             what they said of themselves
//
// With several workers the questions go first: that the count of this task has grown tells afterwards who ran it.
//
// ask=unanswered sends the task alone, and the questions only where no result came within `first_wait`: they cost a
// worker's main process as much as the task does.
#include "queue/celery/ping.hpp"

#include <boost/json.hpp>
#include <cmath>

#include "hatch/act.hpp"
#include "queue/celery/verdict.hpp"

namespace json = boost::json;

namespace queue::celery {
namespace {

constexpr const char* built_in = "celery.accumulate";  // returns its arguments; every worker has it
constexpr std::size_t max_answer = 4096;
constexpr std::chrono::milliseconds first_wait{300};  // of ask=unanswered: long for a worker that has nothing to do

class Ping {
 public:
  Ping(hatch::Run& run, const Settings& settings, const Request& request)
      : run_(run),
        settings_(settings),
        request_(request),
        report_(run, settings.network()),
        patience_(settings.duration("timeout", std::chrono::seconds{5})),
        control_patience_(settings.duration("control_wait", std::chrono::seconds{1})),
        watch_(run, Clock::now() +
                        std::max(run.remaining() - std::chrono::milliseconds{500}, std::chrono::milliseconds{100})) {}

  hatch::Result perform() {
    try {
      prepare();
      open_broker();
      open_results();
      look();
      if (request_.look_only) {
        tidy();
        report_.add("ready", true);
        return report_.result("ready: the broker is up and knows us, queue `" + found_.queue + "` has " +
                              counted(found_.depth.messages, "message"));
      }
      hatch::begin_to_act(run_);
      return conclude();
    } catch (const Trouble& trouble) {
      tidy();
      Trouble worded(explained(trouble.what()), trouble.hint);
      describe();
      report_.fail(worded);
    } catch (...) {
      tidy();
      throw;
    }
  }

 private:
  void prepare() {
    wiring_.broker = settings_.address("broker", {"CELERY_BROKER_URL", "BROKER_URL", "CELERY_BROKER", "REDIS_URL",
                                                  "AMQP_URL", "RABBITMQ_URL", "CLOUDAMQP_URL"});
    wiring_.key_prefix = settings_.text("key_prefix");
    wiring_.control_exchange = settings_.text("control_exchange", "celery");
    wiring_.sentinel_master = settings_.text("sentinel_master");
    wiring_.sentinel_password = settings_.text("sentinel_password");
    wiring_.tls = settings_.tls();
    wiring_.patience = patience_;
    result_ = settings_.address("result", {"CELERY_RESULT_BACKEND", "RESULT_BACKEND", "CELERY_RESULT_BACKEND_URL"});
    Setting queue{settings_.text("queue", "celery"), "profile"};
    if (settings_.from_target())
      if (Setting theirs = settings_.address("queue", {"CELERY_TASK_DEFAULT_QUEUE", "CELERY_DEFAULT_QUEUE"});
          !theirs.text.empty())
        queue = theirs;
    found_.queue = request_.queue.empty() ? queue.text : request_.queue;
    found_.task = request_.task.empty() ? built_in : request_.task;
    settings_.allow("queue", found_.queue, queue.text, "queues");
    settings_.allow("task", found_.task, built_in, "tasks");
    found_.target = target_processes(run_);
    report_.add("kind", "celery");
    report_.add("queue", found_.queue);
    if (!wiring_.broker.text.empty()) return;
    throw Trouble(
        settings_.from_target() ? "the target's environment names no broker" : "the profile has no \"broker\"",
        settings_.from_target()
            ? "hatchd looks for CELERY_BROKER_URL, BROKER_URL, REDIS_URL, AMQP_URL and RABBITMQ_URL; use a "
              "profile where the app reads its broker from elsewhere"
            : "add \"broker\": \"redis://…\" or \"amqp://…\" to it, or use from=target");
  }

  void open_broker() {
    const std::string scheme = parse_urls(wiring_.broker.text).front().scheme;
    const bool redis = scheme.starts_with("redis") || scheme == "sentinel";
    const Watch watch = watch_;
    broker_ =
        redis ? open_redis(wiring_, watch, report_, broker_shown_) : open_amqp(wiring_, watch, report_, broker_shown_);
    found_.broker = broker_->name();
  }

  void open_results() {
    const bool rpc = result_.text.empty() ? found_.broker == "amqp" : result_.text.starts_with("rpc");
    if (result_.text.empty()) result_ = {rpc ? "rpc://" : wiring_.broker.text, "as the broker"};
    task_.id = new_uuid();
    workers_.leave_out(task_.id);
    if (rpc) {
      found_.result_address = "rpc";
      return;
    }
    report_.begin("result back end");
    const std::vector<Url> urls = parse_urls(result_.text);
    if (!urls.front().is({"redis", "rediss", "redis+socket", "sentinel"}))
      throw Trouble("hatchd cannot read results of the back end " + urls.front().scheme,
                    "it reads redis://, rediss://, sentinel:// and rpc://");
    const redis::Access access =
        redis::access_of(urls, wiring_.tls, wiring_.sentinel_master, wiring_.sentinel_password);
    report_.secret(access.password);
    found_.result_address = access.shown;
    results_.emplace(access, watch_.within(patience_),
                     settings_.text("result_key_prefix") + "celery-task-meta-" + task_.id);
    report_.good(access.shown);
  }

  void look() {
    report_.begin("queue");
    found_.depth = broker_->look(found_.queue);
    std::string detail = found_.queue + ": " + counted(found_.depth.messages, "message");
    if (found_.depth.consumers) detail += ", " + counted(*found_.depth.consumers, "consumer");
    if (!found_.depth.there)
      report_.bad("there is no queue " + found_.queue);
    else
      report_.good(detail);
  }

  hatch::Result conclude() {
    // Where nobody consumes, a task would only lie there.
    const bool nobody = !found_.depth.there || found_.depth.consumers == 0;
    const bool later = request_.ask_later && !nobody;
    const bool one = !nobody && found_.depth.listeners.value_or(found_.depth.consumers.value_or(2)) <= 1;
    task_.reply_to = broker_->open_inbox(!later || found_.result_address == "rpc");
    if (later || one)
      send_then_ask(later);
    else
      ask_then_send(nobody);
    if (sent_ != Time{} && !found_.outcome.over() && workers_.complete() > 0)
      ask_again("active");  // what they do now, and whether that is the ping
    const Time told = Clock::now();
    if (sent_ == Time{}) found_.waited_s = std::chrono::duration<double>(told - asked_).count();
    if (!found_.outcome.over()) take_back();
    if (results_) results_->ask_to_remove();
    if (asked_ != Time{})
      report_.step("workers", ms_between(asked_, told), !workers_.all().empty(),
                   workers_.all().empty()
                       ? "none answers on the control channel"
                       : counted(static_cast<long long>(workers_.all().size()), "worker") + " answered");
    tidy_broker();
    // Redis tells subscribers of every database; what counts is that the result lies where it is looked for.
    const bool elsewhere = results_ && !results_->remove();
    results_.reset();
    describe();
    const Verdict verdict = judge(found_, workers_);
    if (!verdict.good) report_.fail(verdict.sentence, verdict.hint);
    if (elsewhere)
      report_.fail("worker and task work, but the result is not in " + found_.result_address +
                       ": the workers write to another database or with another prefix",
                   "compare \"result\" and \"result_key_prefix\" of the profile with result_backend of the app");
    if (!is_our_answer())
      report_.fail("a result came back for the ping, but it is not what was sent",
                   "what else writes to this result back end?");
    return report_.result(verdict.sentence);
  }

  void ask_then_send(bool nobody) {
    ask_first();
    const bool several = several_listen();
    if (nobody || several) {
      ask_the_rest();
      gather(watch_.within(control_patience_), [&] { return !nobody && workers_done(); });
    }
    if (nobody) return;
    send();
    if (!several) ask_the_rest();
    report_.begin("answer");
    answer();
    if (!several) hear_the_rest();
    if (found_.outcome.over()) found_.worker = who(several);
  }

  void send_then_ask(bool later) {
    send();
    if (!later) ask_all();
    report_.begin("answer");
    if (later) wait_for_result(std::min(first_wait, patience_ / 2));
    if (!found_.outcome.over()) {
      if (later) ask_all();
      answer();
    }
    if (asked_ != Time{}) hear_the_rest();
    // Counts tell nothing here: that of this task may have grown before anybody was asked. And of several workers the
    // one that answers is rather not the one that was busy with the task.
    if (found_.outcome.over()) found_.worker = several_listen() ? found_.outcome.worker : who(false);
  }

  void send() {
    task_.name = found_.task;
    task_.queue = found_.queue;
    if (found_.task == built_in) task_.arguments = {"hatchd", std::string(run_.id())};
    if (!request_.message.empty()) task_.arguments.push_back(request_.message);
    task_.lifetime = patience_;
    task_.expires = iso_time(std::chrono::system_clock::now() + patience_);
    report_.begin("publish");
    sent_ = Clock::now();
    broker_->publish(task_);
    report_.good(found_.task + " as " + task_.id);
  }

  // The result, if it comes within so long after the task was sent.
  void wait_for_result(std::chrono::milliseconds patience) {
    gather(until(sent_ + patience), [&] { return found_.outcome.over(); });
    found_.waited_s = std::chrono::duration<double>(Clock::now() - sent_).count();
    if (!found_.outcome.over()) return;
    found_.round_trip_ms = ms_between(sent_, Clock::now());
    report_.good(found_.outcome.status);
  }

  void answer() {
    wait_for_result(patience_);
    if (!found_.outcome.over()) report_.bad("nothing came within " + counted(patience_.count(), "ms"));
  }

  void ask_again(const char* method) {
    const long long complete = workers_.complete();
    workers_.forget(method);
    broker_->ask(method);
    gather(watch_.within(control_patience_), [&] { return workers_.complete() >= complete; });
  }

  void ask_first() {
    asked_ = Clock::now();
    found_.listeners = broker_->ask(questions[0]);
  }

  void ask_all() {
    ask_first();
    ask_the_rest();
  }

  void ask_the_rest() {
    for (const char* method : questions)
      if (method != questions[0]) broker_->ask(method);
  }

  void hear_the_rest() {
    if (!workers_done()) gather(until(asked_ + control_patience_), [&] { return workers_done(); });
  }

  // Takes what comes until `done` or the time is over.
  template <class Done>
  void gather(const Watch& watch, Done done) {
    for (;;) {
      while (auto incoming = broker_->poll()) {
        if (incoming->method.empty())
          take_result(found_.outcome, incoming->body, task_.id);
        else
          workers_.take(incoming->method, parse_object(incoming->body, "an answer of a worker"));
      }
      if (results_)
        while (auto text = results_->poll()) take_result(found_.outcome, *text, task_.id);
      if (done() || !watch.wait_any({broker_->fd(), results_ ? results_->fd() : -1})) return;
    }
  }

  Watch until(Time end) const { return {run_, std::min(end, watch_.end())}; }

  bool workers_done() const {
    if (found_.listeners) return workers_.complete() >= *found_.listeners;
    const long long expected = found_.depth.consumers.value_or(1);
    return workers_.consumers(found_.queue) >= std::max<long long>(expected, 1);
  }

  bool several_listen() const { return found_.listeners.value_or(found_.depth.consumers.value_or(1)) > 1; }

  // Who ran the task: the back end says it, or only one can have, or only one's count has grown.
  std::string who(bool several) {
    if (!found_.outcome.worker.empty()) return found_.outcome.worker;
    std::vector<std::string> candidates;
    std::map<std::string, long long> before;
    for (const auto& [name, worker] : workers_.all())
      if (worker.consumes(found_.queue)) {
        candidates.push_back(name);
        const auto count = worker.totals.find(found_.task);
        before[name] = count == worker.totals.end() ? 0 : count->second;
      }
    if (candidates.size() == 1) return candidates.front();
    if (!several || candidates.empty()) return {};
    ask_again("stats");
    candidates.clear();
    for (const auto& [name, count] : before) {
      const auto& totals = workers_.all().at(name).totals;
      if (const auto now = totals.find(found_.task); now != totals.end() && now->second > count)
        candidates.push_back(name);
    }
    return candidates.size() == 1 ? candidates.front() : "";
  }

  void take_back() {
    if (sent_ == Time{}) return;
    found_.was_still_there = broker_->withdraw();
    if (results_)
      if (const auto text = results_->remove()) take_result(found_.outcome, *text, task_.id);
    results_.reset();
  }

  bool is_our_answer() const {
    if (found_.task != built_in) return true;
    const json::array* list = found_.outcome.value.if_array();
    if (!list || list->size() != task_.arguments.size()) return false;
    for (std::size_t i = 0; i < list->size(); ++i)
      if (!(*list)[i].is_string() || (*list)[i].get_string() != task_.arguments[i]) return false;
    return true;
  }

  // The members of the result, as far as they are known.
  void describe() {
    const bool looked = !found_.broker.empty() && found_.depth.there;
    if (looked) report_.add("depth", found_.depth.messages);
    if (const auto consumers = known_consumers()) report_.add("consumers", *consumers);
    report_.add("worker", found_.worker.empty() ? hatch::Raw{"null"} : quoted(report_.clean(found_.worker, 256)));
    if (found_.round_trip_ms > 0) report_.add("round_trip_ms", std::round(found_.round_trip_ms * 1000) / 1000);
    if (!found_.outcome.status.empty()) {
      report_.add("status", report_.clean(found_.outcome.status, 32));
      report_.add("answer", hatch::Raw{cleaned(found_.outcome.value)});
    }
    // With ask=unanswered an empty list would say that nobody answered, where nobody was asked.
    if (asked_ != Time{} || !request_.ask_later)
      report_.add("workers", workers_.json(report_, found_.target, found_.queue));
    hatch::Object origins;
    const auto origin = [&](const char* name, const std::string& value, const std::string& from) {
      origins.add(name, hatch::Object{}.add("value", report_.clean(value)).add("origin", report_.clean(from)));
    };
    if (!broker_shown_.empty()) origin("broker", broker_shown_, wiring_.broker.origin);
    if (!found_.result_address.empty()) origin("result", found_.result_address, result_.origin);
    report_.add("settings", origins);
  }

  std::optional<long long> known_consumers() const {
    if (found_.depth.consumers) return found_.depth.consumers;
    if (workers_.knows_queues()) {
      long long count = 0;
      for (const auto& [name, worker] : workers_.all()) count += worker.consumes(found_.queue);
      return count;
    }
    return found_.listeners == 0 ? std::optional<long long>(0) : std::nullopt;
  }

  hatch::Raw quoted(const std::string& text) {
    quoted_.clear();
    hatch::append_quoted(quoted_, text);
    return {quoted_};
  }

  // A worker's value with every text cleaned; a large one as the begin of its text.
  std::string cleaned(const json::value& value) const {
    json::value copy = value;
    clean_below(copy);
    std::string text = json::serialize(copy);
    if (text.size() <= max_answer) return text;
    std::string out;
    hatch::append_quoted(out, report_.clean(text, max_answer));
    return out;
  }
  void clean_below(json::value& value) const {
    if (json::string* text = value.if_string()) {
      *text = report_.clean(*text, max_answer);
    } else if (json::array* list = value.if_array()) {
      for (json::value& entry : *list) clean_below(entry);
    } else if (json::object* object = value.if_object()) {
      json::object clean;
      for (auto& member : *object) {
        clean_below(member.value());
        clean[report_.clean(member.key(), 256)] = std::move(member.value());
      }
      *object = std::move(clean);
    }
  }

  // Whose trouble it is, for the verdict.
  std::string explained(const std::string& what) const {
    const std::string& step = report_.open();
    if (step == "result back end")
      return "broker up, but the result back end " + found_.result_address + " is not: " + what;
    if (step == "publish" || step == "answer")
      return "broker " + broker_shown_ + " failed in the middle of the ping: " + what;
    return (broker_shown_.empty() ? "" : "broker " + broker_shown_ + ": ") + what;
  }

  // Leaves nothing behind, whatever happened before. What fails here has failed before or is gone with the broker.
  void tidy() {
    try {
      if (broker_ && sent_ != Time{} && !found_.outcome.over() && !found_.was_still_there) broker_->withdraw();
    } catch (const std::exception&) {
    }
    try {
      if (results_) results_->remove();
    } catch (const std::exception&) {
    }
    results_.reset();
    tidy_broker();
  }
  void tidy_broker() {
    try {
      if (broker_) broker_->tidy(asked_ != Time{} && !workers_done());
    } catch (const std::exception&) {
    }
  }

  hatch::Run& run_;
  const Settings& settings_;
  const Request& request_;
  Report report_;
  std::chrono::milliseconds patience_, control_patience_;
  Watch watch_;
  Wiring wiring_;
  Setting result_;
  std::string broker_shown_, quoted_;
  Task task_;
  Findings found_;
  Workers workers_;
  std::unique_ptr<Transport> broker_;
  std::optional<Results> results_;
  Time asked_{}, sent_{};
};

}  // namespace

hatch::Result ping(hatch::Run& run, const Settings& settings, const Request& request) {
  return Ping(run, settings, request).perform();
}

}  // namespace queue::celery
