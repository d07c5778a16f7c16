// What the two hatches say of themselves.
#pragma once

#include <string>
#include <vector>

#include "hatch/hatch.hpp"

namespace mail {

// The parameters that both have.
struct Common {
  std::string profile, from = "profile", network = "hatchd", sender;
  std::vector<std::string> to;

  void common_params(auto& p) {
    p.optional("profile", profile, "Which profile of the configuration: server, sender, allowed recipients");
    p.optional("to", to, "Recipients; each must fit the profile's list. Default: the first address of that list");
    p.optional("sender", sender,
               "Whom it is from, when not the profile's or the target's; must fit the profile's senders")
        .length(0, 320);
    p.optional(
         "from", from,
         "Whose settings: the profile's, or those that the target has in its environment (SMTP_*, MAIL_*, EMAIL_*, "
         "SPRING_MAIL_*, …), with the target's resolver files")
        .one_of({"profile", "target"});
    p.optional(
         "network", network,
         "From whose network: hatchd's, or the target's, which may be another one (then it takes the rights set full)")
        .one_of({"hatchd", "target"});
  }
};

struct Send : Common {
  static constexpr hatch::About about{
      .id = "mail.send",
      .title = "Send a test message, and show every step of it",
      .documentation =
          "Sends a short message that marks itself as automatic, and reports what was resolved, connected, offered, "
          "negotiated and answered, how long each took, and the server's final reply and queue id. With a mailbox in "
          "the "
          "profile it waits until the very message is there.\n\n"
          "Recipients and senders come from the profile's lists alone. A refused recipient among others is a partial "
          "success. Passwords are sent over encrypted connections only and are never shown.\n\n"
          "All addresses of the server are tried at once, to show which of them answer; one is used.",
      .effect = hatch::Effect::act,
      .target = hatch::Target::optional,
      .flags = HATCH_ENVIRONMENT | HATCH_TARGET_NETFILES,
      .timeout = std::chrono::seconds{90},
      .cooldown = std::chrono::seconds{10},
      .capabilities = {"sys_admin"},
      .requirements = {"network/1"},
  };

  std::string subject = "Test message", msg;

  void params(auto& p) {
    common_params(p);
    p.optional("subject", subject, "Follows the run's id in the subject").length(0, 200);
    p.optional("msg", msg, "Text of the message").length(0, 10000);
  }
  hatch::Result run(hatch::Run& run);
  hatch::Result preflight(hatch::Run& run);
};

struct Check : Common {
  static constexpr hatch::About about{
      .id = "mail.check",
      .title = "Try everything short of sending a message",
      .documentation =
          "Goes as far as mail.send without sending: resolves, connects, negotiates TLS, authenticates, names sender "
          "and "
          "recipients, and takes them back (RSET). No mail leaves. Some servers decide about recipients only when the "
          "message comes; mail.send is the full proof.",
      .effect = hatch::Effect::act,
      .target = hatch::Target::optional,
      .flags = HATCH_ENVIRONMENT | HATCH_TARGET_NETFILES,
      .timeout = std::chrono::seconds{90},
      .capabilities = {"sys_admin"},
      .requirements = {"network/1"},
  };

  void params(auto& p) { common_params(p); }
  hatch::Result run(hatch::Run& run);
  hatch::Result preflight(hatch::Run& run);
};

}  // namespace mail
