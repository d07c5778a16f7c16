#include "mail/hints.hpp"

#include <cstdio>

namespace mail {
namespace {

std::string server_text(const Report& report, const Settings& settings) {
  (void)report;
  return settings.server.host + " port " + std::to_string(settings.server.port);
}

std::string ms_text(double ms) {
  char text[32];
  if (ms < 1000)
    std::snprintf(text, sizeof text, "%.0f ms", ms);
  else
    std::snprintf(text, sizeof text, "%.1f s", ms / 1000);
  return text;
}

bool says(const Reply& reply, std::string_view word) { return lower(reply.text()).find(word) != std::string::npos; }

std::string refusal_hint(const Report& report, const Settings& settings) {
  const Reply& reply = *report.last;
  const std::string& status = reply.status;
  const std::string wait = wait_of(reply.text());
  const auto again = [&](const std::string& sentence) {
    return sentence + ", try again " + (wait.empty() ? "in some minutes" : "in " + wait);
  };
  switch (report.stage) {
    case Stage::auth:
      if (status == "5.7.9" || reply.code == 534)
        return "the server finds the mechanism too weak, or wants a password for applications; set auth to another one";
      if (reply.code == 454 || reply.temporary()) return again("the server cannot check passwords just now");
      return "user or password is wrong, or this user may not send mail; try the same pair in another mail program";
    default: break;
  }
  if (reply.code == 421) {
    if (status == "4.7.0" || says(reply, "rate") || says(reply, "too many"))
      return again("the server limits how much this client may send");
    return again("the server does not serve this client just now");
  }
  if (report.stage == Stage::banner)
    return reply.code == 554 ? "the server takes no mail from this address: it may be on a block list, or the server "
                               "is not for sending"
                             : "the server is not ready to take mail";
  if (reply.code == 530 || status == "5.7.0" || says(reply, "authentication required") || says(reply, "starttls first"))
    return says(reply, "starttls") ? "the server wants TLS first; set tls to starttls"
                                   : "the server wants a user and a password; set them in the profile";
  if (says(reply, "relay"))
    return "relay access denied: the server does not send mail to others for this client; give it a user and a "
           "password, or let this address relay in the server's settings (Postfix: mynetworks)";
  if (says(reply, "greylist") || says(reply, "graylist") || (reply.temporary() && status == "4.7.1"))
    return again("greylisted: the server turns away whom it does not know at the first attempt");
  if (report.stage == Stage::mail && (reply.code == 553 || status == "5.7.1"))
    return "this user may not send as " + settings.sender + "; set from to an address that it owns";
  if (status == "5.3.4" || reply.code == 552 || status == "5.2.2")
    return status == "5.2.2" || says(reply, "quota") ? "the recipient's mailbox is full"
                                                     : "the message is too large for the server";
  if (report.stage == Stage::rcpt) {
    if (status == "5.1.1" || says(reply, "unknown") || says(reply, "no such user"))
      return "the server does not know the recipient; is the address right?";
    if (reply.temporary()) return again("the server could not take this recipient just now");
    return "the server refuses this recipient for good; its own words say why, and its log says more";
  }
  if (report.stage == Stage::data)
    return reply.temporary() ? again("the server could not take the message just now")
                             : "the server refused the message itself: a filter for spam or policy, or SPF, DKIM or "
                               "DMARC of the sender's domain";
  if (reply.temporary()) return again("the server cannot do it just now");
  return {};
}

std::string tls_hint(const Report& report, const Settings& settings) {
  const TlsReport& tls = *report.tls;
  if (!tls.chain.empty() && tls.chain.front().days_left < 0)
    return "the certificate ended on " + tls.chain.front().not_after.substr(0, 10) +
           "; it has to be renewed on the server";
  if (tls.incomplete)
    return "either the server does not send the intermediate certificate of " + tls.chain.back().issuer +
           ", then configure the whole chain there; or that is an authority of your own, then trust it with the "
           "profile's "
           "ca";
  if (!tls.chain.empty() && tls.chain.front().self_signed && tls.chain.size() == 1 &&
      tls.error.find("self") != std::string::npos)
    return "the certificate is signed by itself; trust it with the "
           "profile's ca, or give the server one that is signed "
           "by an authority";
  if (!tls.name_ok && !tls.chain.empty() && tls.error.starts_with("the certificate is for"))
    return "use a name of the certificate in the profile's url, or set server_name";
  (void)settings;
  return "trust its authority with the profile's ca; \"verify\": false goes on without, and sends the password to "
         "whoever answers";
}

}  // namespace

std::string verdict_of(const Report& report, const Settings& settings, bool sent) {
  const std::string server = server_text(report, settings);
  if (report.cause != Cause::none)
    return "Mail does not leave: it failed at stage " + std::string(to_string(report.stage)) + " with " + server +
           ": " + report.trouble + ".";
  std::string text;
  if (!sent) {
    text = server + " would take the mail";
  } else {
    text = server + " accepted the mail" + (report.queue_id.empty() ? "" : " as " + report.queue_id);
  }
  if (report.arrival) {
    if (report.arrival->seen)
      text += ", and it arrived " + ms_text(report.arrival->after_ms) + " later";
    else
      text += ", but whether it arrived is not known: " + report.arrival->trouble;
  }
  if (!report.refused.empty())
    text += "; it refused " + std::to_string(report.refused.size()) + " of " +
            std::to_string(report.refused.size() + report.accepted.size()) + " recipients (" +
            report.refused.front().address + ": " + std::to_string(report.refused.front().code) + " " +
            report.refused.front().text + ")";
  return text + ".";
}

std::string hint_of(const Report& report, const Settings& settings) {
  const std::string port = std::to_string(settings.server.port);
  const char* tls = to_string(settings.server.security);
  switch (report.cause) {
    case Cause::none:
      if (report.arrival && !report.arrival->seen)
        return "it may still be on its way: look for queue id " +
               (report.queue_id.empty() ? "(none)" : report.queue_id) + " in the server's log";
      if (!report.refused.empty()) return "the refused recipients are listed with the server's words";
      return {};
    case Cause::no_such_name:
      return "DNS: no such name; is the server's name in the settings right, and does this resolver know it?";
    case Cause::dns_failed:
      return "DNS: no name server answers; look at resolv.conf and whether port 53 is reachable from here";
    case Cause::null_mx: return "DNS: this domain takes no mail at all; is the recipient right?";
    case Cause::no_address: return "DNS: the name exists but has no address of the family that is asked for";
    case Cause::connect_refused:
      return "nothing listens on port " + port + " there, or a firewall rejects it; is the port right?";
    case Cause::connect_timeout:
    case Cause::unreachable:
      return settings.server.port == 25
                 ? "a firewall drops it: many networks and clouds block port 25 outward; use port 587 or 465 of a relay"
                 : "a firewall or a route is in the way to port " + port;
    case Cause::timeout:
      if (report.stage == Stage::banner)
        return "the server accepts connections but says nothing: it is overloaded, waits for reverse DNS, or is no "
               "mail server";
      if (report.stage == Stage::data)
        return "the server took the message but did not say what became of it, so it may be delivered all the same; "
               "look into its "
               "log before sending again";
      return "the server stopped answering in the middle; look into its log, or raise step_timeout";
    case Cause::closed:
      if (report.stage == Stage::data)
        return "the connection ended before the server said what became of the message; it may be delivered all the "
               "same";
      if (report.stage == Stage::banner)
        return "the server hung up at once: it may not take this client, or port " + port + " speaks another protocol";
      return "the server or something between (a proxy, a filter) hung up; look into the server's log";
    case Cause::reply: return refusal_hint(report, settings);
    case Cause::not_smtp: return "port " + port + " does not speak SMTP as it should; is it a mail server?";
    case Cause::endless: return "this is no mail server, or a hostile one; nothing more was read";
    case Cause::no_starttls:
      return settings.server.port == 465 ? "port 465 speaks TLS at once; set tls to implicit"
                                         : "STARTTLS is missing: the server has no TLS here, or something between "
                                           "strips it; try port 465 or tls none";
    case Cause::injected:
      return "do not use this connection: a machine between here and the server meddles, or the server has "
             "CVE-2011-0411";
    case Cause::tls_failed:
      return "client and server have no version or cipher in common, or the server wants a client certificate";
    case Cause::no_ca:
      return "correct the profile's ca; the user that hatchd's plugins run as must be able to read the file";
    case Cause::speaks_tls:
      return "port " + port + " speaks TLS at once; the settings say tls " + tls + ": set tls to implicit";
    case Cause::speaks_plain:
      return "port " + port + " begins in clear text; the settings say tls " + tls + ": set tls to starttls";
    case Cause::unverified: return tls_hint(report, settings);
    case Cause::no_mechanism:
      return report.tls || !report.capabilities || !report.capabilities->starttls
                 ? "set auth to a mechanism that the server offers, and user with password or token"
                 : "the server may offer AUTH only after STARTTLS; set tls to starttls";
    case Cause::clear_text:
      return "use STARTTLS or port 465; \"cleartext_auth\": true sends the password so that everybody between can read "
             "it";
    case Cause::too_large: return "send less, or raise the server's limit";
    case Cause::needs_utf8: return "use ASCII addresses with this server";
    case Cause::out_of_time: return "raise the hatch's timeout, or lower step_timeout so that a slow step ends sooner";
  }
  return {};
}

}  // namespace mail
