// How a caller wants to be answered: the header Prefer (RFC 7240).
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "http/message.hpp"

namespace hatchd::api {

struct Preferences {
  std::optional<std::chrono::milliseconds> wait;  // nullopt: as long as the run takes
  bool cancel_on_disconnect = false;              // ours: nobody else wants the answer
  std::string applied;                            // for Preference-Applied
};

// `wait`: the parameter of that name, in seconds, which is stronger than the header.
Preferences preferences_of(const http::Request& request, std::optional<double> wait);

}  // namespace hatchd::api
