// queue.ping for Celery, from the first connection to the verdict.
#pragma once

#include "queue/frame/settings.hpp"

namespace queue::celery {

struct Request {
  std::string queue, task, message;  // empty: the profile's queue; celery.accumulate; nothing
  bool look_only = false;            // a dry run: as far as it goes without sending anything
  bool ask_later = false;            // workers are asked only where no result came soon
};

// Throws hatch::Failure with all that was found out.
hatch::Result ping(hatch::Run& run, const Settings& settings, const Request& request);

}  // namespace queue::celery
