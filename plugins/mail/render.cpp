#include "mail/render.hpp"

#include <cstdio>

#include "mail/address.hpp"
#include "mail/hints.hpp"

namespace mail {
namespace {

std::string at_text(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, "%9.1f ms", ms);
  return text;
}

hatch::Array array_of(const std::vector<std::string>& texts) {
  hatch::Array array;
  for (const std::string& text : texts) array.add(text);
  return array;
}

// A list and not an object: what is called "password" there would be masked whole, the origin too.
hatch::Array settings_json(const Settings& settings) {
  const Server& server = settings.server;
  hatch::Array all;
  const auto add = [&](const char* name, const std::string& value) {
    if (value.empty()) return;
    const auto origin = settings.origins.find(name);
    hatch::Object one;
    one.add("name", name)
        .add("value", value)
        .add("origin", origin == settings.origins.end() ? "profile" : origin->second);
    all.add(one);
  };
  add("host", hatch::printable(server.host));
  add("port", std::to_string(server.port));
  add("tls", to_string(server.security));
  add("user", hatch::printable(server.user));
  add("password", server.password.empty() && server.token.empty() ? "" : "******");
  add("auth", server.has_credentials() ? server.auth : "");
  add("from", hatch::printable(settings.sender));
  add("helo", hatch::printable(settings.helo));
  return all;
}

hatch::Object capabilities_json(const Report& report, const Capabilities& from) {
  hatch::Object one;
  std::vector<std::string> lines;
  for (const std::string& line : from.lines) lines.push_back(report.mask(line, 200));
  one.add("greeting", report.mask(from.greeting, 200)).add("offered", array_of(lines));
  if (from.max_size) one.add("max_size", from.max_size);
  return one;
}

hatch::Object tls_json(const TlsReport& tls) {
  hatch::Object one;
  one.add("mode", tls.mode).add("version", tls.version).add("cipher", tls.cipher);
  if (!tls.group.empty()) one.add("group", tls.group);
  if (!tls.server_name.empty()) one.add("server_name", tls.server_name);
  one.add("verified", tls.verified).add("name_matches", tls.name_ok);
  if (!tls.matched_name.empty()) one.add("matched_name", tls.matched_name);
  if (!tls.error.empty()) one.add("error", tls.error).add("error_depth", tls.error_depth);
  if (!tls.trusted_root.empty()) one.add("trusted_root", tls.trusted_root);
  one.add("incomplete", tls.incomplete).add("ocsp_staple", tls.stapled);
  hatch::Array chain;
  for (const Certificate& certificate : tls.chain) {
    hatch::Object entry;
    entry.add("subject", certificate.subject)
        .add("issuer", certificate.issuer)
        .add("names", array_of(certificate.names));
    entry.add("not_before", certificate.not_before).add("not_after", certificate.not_after);
    entry.add("days_left", certificate.days_left).add("key", certificate.key).add("signed_with", certificate.signature);
    entry.add("serial", certificate.serial).add("sha256", certificate.sha256);
    chain.add(entry);
  }
  return one.add("chain", chain);
}

const char* by_text(Line::By by) {
  return by == Line::By::server ? "server" : by == Line::By::client ? "client" : "note";
}

std::string text_of(const Report& report, const Settings& settings, const Vantage& vantage, bool sent) {
  std::string out = verdict_of(report, settings, sent) + "\n";
  if (const std::string hint = hint_of(report, settings); !hint.empty()) out += "hint: " + hint + "\n";
  for (const std::string& warning : report.warnings) out += "warning: " + warning + "\n";
  out += "\n";
  const auto origin = [&](const char* name) {
    const auto at = settings.origins.find(name);
    return at == settings.origins.end() ? std::string("profile") : at->second;
  };
  const Server& server = settings.server;
  out += "server   " + hatch::printable(server.host) + " (" + origin("host") + ") port " + std::to_string(server.port) +
         " (" + origin("port") + "), tls " + to_string(server.security) + " (" + origin("tls") + ")\n";
  if (!server.user.empty())
    out += "login    " + hatch::printable(server.user) + " (" + origin("user") + "), password " +
           (server.has_credentials() ? "****** (" + origin("password") + ")" : "none") +
           (report.mechanism.empty() ? "" : ", " + report.mechanism) + "\n";
  out += "from     " + hatch::printable(settings.sender) + " (" + origin("from") + ")\n";
  out += "seen     from " + vantage.network + "'s network, names by " + vantage.resolver + "'s resolver files\n\n";
  for (const Line& line : report.transcript) {
    const char* mark = line.by == Line::By::server ? "<" : line.by == Line::By::client ? ">" : "*";
    out += at_text(line.at_ms) + "  " + mark + " " + line.text + "\n";
  }
  if (report.tls && !report.tls->chain.empty()) {
    out += "\ncertificates\n";
    for (const Certificate& certificate : report.tls->chain) {
      out += "  " + certificate.subject + "\n    by " + certificate.issuer + ", until " + certificate.not_after + " (" +
             std::to_string(certificate.days_left) + " days), " + certificate.key + "\n";
      std::string names;
      for (const std::string& name : certificate.names) (names += names.empty() ? "" : ", ") += name;
      if (!names.empty()) out += "    for " + names + "\n";
    }
    out += report.tls->verified
               ? "  verified for " + report.tls->matched_name + ", trusted by " + report.tls->trusted_root + "\n"
               : "  not verified: " + report.tls->error + "\n";
  }
  if (report.arrival && report.arrival->seen) {
    out += "\nreceived\n";
    for (const std::string& hop : report.arrival->received) out += "  " + hop + "\n";
  }
  out += "\nsteps\n";
  for (const Step& step : report.steps)
    out += at_text(step.ms) + "  " + step.name + (step.ok ? "" : " FAILED") +
           (step.detail.empty() ? "" : ": " + step.detail) + "\n";
  return hatch::printable(out, true);
}

}  // namespace

hatch::Result result_of(const Report& report, const Settings& settings, const Vantage& vantage, bool sent) {
  hatch::Result result(verdict_of(report, settings, sent));
  if (const std::string hint = hint_of(report, settings); !hint.empty()) result.hint(hint);
  if (report.cause == Cause::none && (!report.refused.empty() || (report.arrival && !report.arrival->seen)))
    result.partial();
  for (const Step& step : report.steps) result.step(step.name, step.ms, step.ok, step.detail);

  result.add("stage", to_string(report.stage)).add("accepted", array_of(report.accepted));
  hatch::Array refused;
  for (const Refusal& one : report.refused) {
    hatch::Object entry;
    entry.add("address", one.address).add("code", one.code).add("status", one.status).add("text", one.text);
    refused.add(entry);
  }
  result.add("refused", refused);
  if (report.queue_id.empty())
    result.add("queue_id", nullptr);
  else
    result.add("queue_id", report.queue_id);
  result.add("reply", report.reply);
  if (report.tls)
    result.add("tls", tls_json(*report.tls));
  else
    result.add("tls", nullptr);
  if (!report.warnings.empty()) result.add("warnings", array_of(report.warnings));
  result.add("settings", settings_json(settings));
  hatch::Object vantage_json;
  vantage_json.add("settings", vantage.from).add("network", vantage.network).add("resolver", vantage.resolver);
  result.add("vantage", vantage_json);
  if (!report.resolution.empty()) result.add("resolution", array_of(report.resolution));
  hatch::Array addresses;
  for (const Attempt& one : report.addresses) {
    hatch::Object entry;
    entry.add("address", one.address).add("port", one.port).add("connected", one.ok).add("used", one.used);
    entry.add("ms", hatch::rounded_ms(one.ms));
    if (!one.error.empty()) entry.add("error", one.error);
    if (!one.local.empty()) entry.add("local", one.local);
    addresses.add(entry);
  }
  result.add("addresses", addresses);
  if (!report.banner.empty()) result.add("banner", report.banner);
  if (!report.ehlo_name.empty()) result.add("helo", report.ehlo_name);
  if (report.before_tls) result.add("capabilities_before_tls", capabilities_json(report, *report.before_tls));
  if (report.capabilities) result.add("capabilities", capabilities_json(report, *report.capabilities));
  if (!report.mechanism.empty()) result.add("mechanism", report.mechanism);
  if (report.arrival) {
    hatch::Object arrival;
    arrival.add("where", report.arrival->where).add("seen", report.arrival->seen);
    if (report.arrival->seen) arrival.add("after_ms", hatch::rounded_ms(report.arrival->after_ms));
    if (report.arrival->seen) arrival.add("received", array_of(report.arrival->received));
    if (!report.arrival->trouble.empty()) arrival.add("trouble", report.arrival->trouble);
    result.add("arrival", arrival);
  }
  result.add("bytes_sent", report.bytes_sent).add("bytes_received", report.bytes_received);
  hatch::Array transcript;
  for (const Line& line : report.transcript) {
    hatch::Object entry;
    entry.add("at_ms", hatch::rounded_ms(line.at_ms)).add("by", by_text(line.by)).add("text", line.text);
    transcript.add(entry);
  }
  result.add("transcript", transcript);
  result.text(text_of(report, settings, vantage, sent));
  return result;
}

}  // namespace mail
