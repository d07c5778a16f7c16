// The way of a message, in order: resolve, connect, banner, EHLO, TLS, AUTH, MAIL, RCPT, DATA. Each step says in the
// report how long it took and what the server answered; the first that fails ends it.
#pragma once

#include <string>
#include <vector>

#include "mail/fences.hpp"
#include "mail/report.hpp"
#include "mail/resolve.hpp"
#include "mail/settings.hpp"

namespace mail {

struct Errand {
  std::string sender;
  std::vector<std::string> to;
  std::string message;  // composed; what is checked knows its size
  bool send = true;     // false: as far as RCPT, then RSET
};

// False: it did not come to its end, and the report's cause and trouble say why. Throws Cancelled. `on_stage` is called
// at the beginning of every stage.
bool converse(const Settings& settings, const ResolverFiles& files, const Errand& errand, const Fences& fences,
              Report& report, void (*on_stage)(void*, Stage), void* context);

}  // namespace mail
