// The result back end: where the worker writes what became of the task. rpc sends it to the inbox of the broker's own
// connection, Redis keeps it as a key and tells whoever subscribed to a channel of the same name.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "queue/redis/client.hpp"

namespace queue::celery {

class Results {
 public:
  // In step "result back end". `key`: what the back end puts in front of the task's id.
  Results(const redis::Access& access, const Watch& watch, const std::string& key);
  int fd() const { return client_.fd(); }
  // The result as JSON if it has come, without waiting.
  std::optional<std::string> poll();
  // Removes the key; what it still held. Who has something else to do meanwhile asks before.
  void ask_to_remove();
  std::optional<std::string> remove();

 private:
  redis::Access access_;
  Watch watch_;
  std::string key_;
  redis::Client client_;
  bool removing_ = false;
};

// What became of the task.
struct Outcome {
  std::string status;              // "SUCCESS", "FAILURE", "REVOKED", …; empty: nothing came
  std::string exception, message;  // of a failure
  std::string worker;              // where the back end says (result_extended, track_started)
  boost::json::value value;

  bool over() const { return !status.empty() && status != "STARTED" && status != "RETRY" && status != "PENDING"; }
};
// Takes over what `text` says of the task `id`; another task's result is left alone.
void take_result(Outcome& outcome, const std::string& text, const std::string& id);

}  // namespace queue::celery
