// What the two hatches say of themselves.
#pragma once

#include "hatch/hatch.hpp"
#include "mail/errand.hpp"

namespace mail {

constexpr hatch::About about_mail(const char* id, const char* title, const char* documentation,
                                  std::chrono::seconds cooldown) {
  return {
      .id = id,
      .title = title,
      .documentation = documentation,
      .effect = hatch::Effect::act,
      .target = hatch::Target::optional,
      .flags = HATCH_ENVIRONMENT | HATCH_TARGET_NETFILES,
      .timeout = std::chrono::seconds{90},
      .cooldown = cooldown,
      .capabilities = {"sys_admin"},
      .requirements = {"network/1", "act/1"},
  };
}

// The parameters that both have.
struct Common {
  std::string profile;
  Wish wish;

  void params(auto& p) {
    p.optional("profile", profile, "Which profile of the configuration: server, sender, allowed recipients");
    p.optional("to", wish.to, "Recipients; each must fit the profile's list. Default: the first address of that list");
    p.optional("sender", wish.sender,
               "Whom it is from, when not the profile's or the target's; must fit the profile's senders")
        .length(0, 320);
    p.optional(
         "from", wish.from,
         "Whose settings: the profile's, or those that the target has in its environment (SMTP_*, MAIL_*, EMAIL_*, "
         "SPRING_MAIL_*, …), with the target's resolver files")
        .one_of({"profile", "target"});
    p.optional(
         "network", wish.network,
         "From whose network: hatchd's, or the target's, which may be another one (then it takes the rights set full)")
        .one_of({"hatchd", "target"});
  }
};

struct Send : Common {
  static constexpr hatch::About about = about_mail(
      "mail.send", "Send a test message, and show every step of it",
      "Sends a short message that marks itself as automatic, and reports what was resolved, connected, offered, "
      "negotiated and answered, how long each took, and the server's final reply and queue id. With a mailbox in the "
      "profile it waits until the very message is there.\n\n"
      "Recipients and senders come from the profile's lists alone. A refused recipient among others is a partial "
      "success. Passwords are sent over encrypted connections only and are never shown.\n\n"
      "All addresses of the server are tried at once, to show which of them answer; one is used.",
      std::chrono::seconds{10});

  void params(auto& p) {
    Common::params(p);
    p.optional("subject", wish.subject, "Follows the run's id in the subject").length(0, 200);
    p.optional("msg", wish.text, "Text of the message").length(0, 10000);
  }
  hatch::Result run(hatch::Run& run);
  hatch::Result preflight(hatch::Run& run);
};

struct Check : Common {
  static constexpr hatch::About about = about_mail(
      "mail.check", "Try everything short of sending a message",
      "Goes as far as mail.send without sending: resolves, connects, negotiates TLS, authenticates, names sender and "
      "recipients, and takes them back (RSET). No mail leaves. Some servers decide about recipients only when the "
      "message comes; mail.send is the full proof.",
      std::chrono::seconds{0});

  Check() { wish.send = false; }
  hatch::Result run(hatch::Run& run);
  hatch::Result preflight(hatch::Run& run);
};

}  // namespace mail
