// Waiting until the very message is in the mailbox: a Maildir that hatchd can read, or one behind IMAP.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "mail/fences.hpp"
#include "mail/report.hpp"
#include "mail/resolve.hpp"
#include "mail/settings.hpp"

namespace mail {

// A look into the mailbox.
class Mailbox {
 public:
  virtual ~Mailbox() = default;
  // The head of the run's message once it is there; false: not yet. Throws Stop where the mailbox cannot be looked into.
  virtual bool find(const std::string& run_id, std::string& head) = 0;
  // Takes the found message away.
  virtual void remove() = 0;
};

// What is in it now is not ours.
std::unique_ptr<Mailbox> open_maildir(const std::string& folder);
std::unique_ptr<Mailbox> open_imap(const ArrivalSettings& settings, const ResolverFiles& files, Millis step_timeout,
                                   const Fences& fences, const Masker& mask);

// Looks again and again until the message is there or the time is up, and says so in `arrival`. Throws Cancelled.
void await_arrival(Mailbox& mailbox, const ArrivalSettings& settings, const std::string& run_id, const Fences& fences,
                   const Masker& mask, Arrival& arrival);

}  // namespace mail
