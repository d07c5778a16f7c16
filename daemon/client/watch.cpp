#include "client/watch.hpp"

#include <time.h>

#include "base/json.hpp"
#include "client/show.hpp"

namespace hatchd::client {

namespace {

bool is_over(const Client& client, const std::string& run) {
  const auto record = record_of(client, run);
  const std::string state = record ? text_of(*record, "state") : "";
  return state != "queued" && state != "running";
}

}  // namespace

int watch(const Client& client, const std::function<int(const Client&)>& command, const std::string& run) {
  for (bool first = true;; first = false) {
    // Asked before it is shown, so that what is shown last is the end.
    const bool last = !run.empty() && is_over(client, run);
    if (client.screen.terminal && client.screen.able)
      print("\033[H\033[2J");  // to the top, and nothing below
    else if (!first)
      print("\n");
    const int code = command(client);
    if (code != succeeded || last) return code;
    const timespec time{static_cast<time_t>(client.options.every), 0};
    ::nanosleep(&time, nullptr);
  }
}

}  // namespace hatchd::client
