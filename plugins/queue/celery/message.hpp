// What Celery's workers read: tasks (message protocol v2), questions on the control channel, and their answers.
//
// A malformed element in a Redis list ends the worker that takes it. So every envelope is built here, from one
// template; names and texts of a caller enter it as JSON strings and nowhere else.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace queue::celery {

std::string new_uuid();
std::string base64(std::string_view bytes);
// Throws Trouble where the text is no base64.
std::string from_base64(std::string_view text);
// "2026-11-26T13:00:00.123456+00:00"
std::string iso_time(std::chrono::system_clock::time_point time);

struct Task {
  std::string id, name, queue, reply_to;
  std::vector<std::string> arguments;
  std::chrono::milliseconds lifetime{5000};  // it expires then: a ping never piles up behind a dead worker
  std::string expires;                       // iso_time() of that

  std::string body() const;     // JSON: [args, kwargs, embed]
  std::string headers() const;  // JSON
};

// A method of the control channel: "stats", "active", "active_queues", as its body.
std::string question(std::string_view method, std::string_view ticket, std::string_view reply_exchange,
                     std::string_view reply_key);

// An element of a Redis list.
std::string task_envelope(const Task& task);
std::string question_envelope(std::string_view body, std::string_view control_exchange, long long expires);

// A JSON object, bounded in size and depth; Trouble with `what` when it is none.
boost::json::object parse_object(std::string_view text, const char* what);

}  // namespace queue::celery
