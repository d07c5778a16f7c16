// queue.ping, kind celery: a task through broker, worker and result back end, and back.
#include "queue/celery/ping.hpp"
#include "queue/frame/ping.hpp"

namespace {

constexpr const char* profile = R"(
  "broker": {"type": "string", "secret": true, "pattern": "^(redis|rediss|redis\\+socket|sentinel|amqp|amqps|pyamqp)://.*$", "format": "server-url", "description": "redis://, rediss://, redis+socket://, sentinel://, amqp:// or amqps://, as in Celery's broker_url."},
  "result": {"type": "string", "secret": true, "pattern": "^(redis|rediss|redis\\+socket|sentinel|rpc)://.*$", "format": "server-url", "description": "redis://… or rpc://, as in Celery's result_backend. Without it: rpc:// for RabbitMQ, the broker itself for Redis."},
  "queue": {"type": "string", "default": "celery", "minLength": 1, "maxLength": 200, "description": "The queue to ping."},
  "queues": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "description": "Others that a caller may name by the parameter \"queue\"."},
  "tasks": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "description": "Tasks of the app that a caller may name by the parameter \"task\"."},
  "key_prefix": {"type": "string", "description": "global_keyprefix of the broker's transport options."},
  "result_key_prefix": {"type": "string", "description": "What stands in front of \"celery-task-meta-\" in the keys of results."},
  "control_exchange": {"type": "string", "default": "celery", "description": "Celery's control_exchange."},
  "sentinel_master": {"type": "string", "description": "The name of the master that Redis' sentinels watch."},
  "sentinel_password": {"type": "string", "secret": true, "description": "The sentinels' own password."},
  "control_wait": {"type": "string", "format": "duration", "default": "1s", "description": "How long workers have to say what they do."})";

struct CeleryPing {
  static constexpr hatch::About about = queue::about_ping(
      "celery", "Send a task through broker, worker and result back end, and back",
      "Sends celery.accumulate, which every worker of Celery has and which returns its arguments, through the real "
      "queue, and waits for its result; beside it every worker is asked what it does. The answer says which part "
      "does not work: broker, login, queue, consumers, workers, the task, the result back end.\n\n"
      "Leaves nothing behind: the task expires when the wait is over and is taken back where it still lies, keys "
      "and queues of its own are removed. It costs a worker a few milliseconds and shows in its log.\n\n"
      "task=NAME sends a task of the app's own, msg as its argument; the profile lists which.\n\n"
      "ask=unanswered is gentle on the workers and fit for a probe every minute: their answers to the questions cost "
      "them as much as the task does, so they are asked only where no result came within 0.3 s. What does not work is "
      "told all the same. A good answer then tells nothing of the workers, and who ran the task only where the app "
      "sets result_extended.");
  static constexpr const char* which_queue = "Which queue: the profile's own, or one that it lists";

  std::string queue_name, task, message, ask = "always";

  void params(auto& p) {
    p.optional("task", task, "A task of the app that the profile lists; celery.accumulate without it").length(0, 200);
    p.optional("msg", message, "A text that the task is given as its last argument").length(0, 1000);
    p.optional("ask", ask,
               "When workers are asked what they do: in any case, or only where the task stays unanswered at first, "
               "which is gentle on them and fit for a probe every minute; who ran it is then known only where the app "
               "sets result_extended")
        .one_of({"always", "unanswered"});
  }
  hatch::Result ping(hatch::Run& run, const queue::Settings& settings, bool look_only) const {
    return queue::celery::ping(run, settings, {queue_name, task, message, look_only, ask == "unanswered"});
  }
};

const char* schema() {
  static const std::string text = queue::profile_schema("celery", profile);
  return text.c_str();
}

}  // namespace

HATCH_PLUGIN_CONFIGURED("queue-celery", "1.0.0", "A task through Celery and back", nullptr, schema(),
                        queue::PingHatch<CeleryPing>)
