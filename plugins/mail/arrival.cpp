#include "mail/arrival.hpp"

#include <poll.h>

#include "mail/header.hpp"

namespace mail {

void await_arrival(Mailbox& mailbox, const ArrivalSettings& settings, const std::string& run_id, const Fences& fences,
                   const Masker& mask, Arrival& arrival) {
  const Clock::time_point begin = Clock::now(), end = fences.until(settings.timeout);
  try {
    for (Millis rest{20};; rest = std::min(rest * 3 / 2, Millis{1000})) {
      std::string head;
      if (mailbox.find(run_id, head)) {
        arrival.seen = true;
        arrival.after_ms = ms_since(begin);
        arrival.received = hops_of(head, mask);
        if (settings.remove) mailbox.remove();
        return;
      }
      const auto left = std::chrono::duration_cast<Millis>(end - Clock::now());
      if (left <= Millis{0}) break;
      pollfd cancel{fences.cancel_fd, POLLIN, 0};
      if (::poll(&cancel, 1, static_cast<int>(std::min(rest, left).count())) > 0) throw Cancelled{};
    }
    arrival.trouble = "it was not there after " + std::to_string(static_cast<long>(ms_since(begin) / 1000)) + " s";
  } catch (const Stop& stop) {
    arrival.trouble = mask(stop.detail);
  }
}

}  // namespace mail
