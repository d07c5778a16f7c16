#include "queue/celery/results.hpp"

#include <boost/json.hpp>
#include <utility>

#include "queue/celery/message.hpp"

namespace json = boost::json;

namespace queue::celery {

Results::Results(const redis::Access& access, const Watch& watch, const std::string& key)
    : access_(access), watch_(watch), key_(key), client_(access, watch) {
  client_.call({"SUBSCRIBE", key_}, watch_);
}

std::optional<std::string> Results::poll() {
  const auto reply = client_.poll();
  if (!reply) return std::nullopt;
  if (reply->is_error()) throw redis::explain(*reply, "SUBSCRIBE");
  if (reply->items.size() != 3 || reply->items[0].text != "message" || reply->items[1].text != key_)
    return std::nullopt;
  return reply->items[2].text;
}

void Results::ask_to_remove() {
  if (!std::exchange(removing_, true))
    client_.send_all({{"UNSUBSCRIBE", key_}, {"GET", key_}, {"DEL", key_}}, watch_.cleanup(std::chrono::seconds{1}));
}

std::optional<std::string> Results::remove() {
  ask_to_remove();
  const Watch brief = watch_.cleanup(std::chrono::seconds{1});
  // A message that was published before may stand in front of the three replies.
  redis::Reply reply;
  while (reply.items.empty() || reply.items[0].text != "unsubscribe") {
    reply = client_.next(brief);
    if (reply.is_error()) throw redis::explain(reply, "UNSUBSCRIBE");
  }
  const redis::Reply kept = client_.next(brief);
  client_.next(brief);
  return kept.type == redis::Reply::Type::text ? std::optional(kept.text) : std::nullopt;
}

void take_result(Outcome& outcome, const std::string& text, const std::string& id) {
  const json::object result = parse_object(text, "the result");
  const auto member = [&](std::string_view name) {
    const json::value* value = result.if_contains(name);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  if (member("task_id") != id) return;
  outcome.status = member("status");
  if (std::string worker = member("worker"); !worker.empty()) outcome.worker = std::move(worker);
  const json::value* value = result.if_contains("result");
  outcome.value = value ? *value : json::value();
  const json::object* object = value ? value->if_object() : nullptr;
  if (!object) return;
  const auto said = [&](std::string_view name) {
    const json::value* text_value = object->if_contains(name);
    return text_value && text_value->is_string() ? std::string(text_value->get_string()) : std::string();
  };
  if (outcome.status == "STARTED") outcome.worker = said("hostname");
  outcome.exception = said("exc_type");
  if (const json::value* message = object->if_contains("exc_message")) {
    // A list of the exception's arguments, of which a person wants the words.
    if (const json::array* list = message->if_array()) {
      for (const json::value& part : *list)
        outcome.message += (outcome.message.empty() ? "" : ", ") +
                           (part.is_string() ? std::string(part.get_string()) : json::serialize(part));
    } else if (message->is_string()) {
      outcome.message = std::string(message->get_string());
    }
  }
}

}  // namespace queue::celery
