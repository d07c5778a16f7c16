#include "mail/settings.hpp"

#include <boost/json.hpp>
#include <charconv>

#include "mail/address.hpp"
#include "mail/text.hpp"

namespace mail {

namespace json = boost::json;

const char* const profile_schema = R"json({
  "type": "object",
  "properties": {
    "url": { "type": "string", "minLength": 8, "maxLength": 1000, "pattern": "^(smtps?|smtp[+](tls|ssl|starttls)|submissions?|mx)://[^\\s]+$", "format": "server-url",
      "description": "The mail server: smtp://HOST[:PORT] (STARTTLS where it is offered), smtps://HOST (TLS at once), or mx://DOMAIN for the mail exchangers of a domain.",
      "examples": ["smtp://127.0.0.1:25"] },
    "user": { "type": "string", "maxLength": 255 },
    "password": { "type": "string", "maxLength": 4096, "secret": true, "description": "{\"file\": PATH} keeps it out of the configuration." },
    "token": { "type": "string", "maxLength": 16384, "secret": true, "description": "OAuth 2.0 access token for XOAUTH2." },
    "auth": { "type": "string", "enum": ["auto", "none", "plain", "login", "scram-sha-256", "xoauth2"], "default": "auto" },
    "tls": { "type": "string", "enum": ["auto", "none", "starttls", "implicit"], "default": "auto",
      "description": "auto: as the url says; with smtp:// STARTTLS where it is offered." },
    "verify": { "type": "boolean",
      "description": "Must the certificate verify? When absent: where there are credentials, or where the profile asks for TLS." },
    "ca": { "type": "string", "format": "absolute-path", "description": "A file of certificates to trust besides the system's." },
    "server_name": { "type": "string", "minLength": 1, "maxLength": 253, "description": "The name that the certificate must be for, when it is not the url's host." },
    "cleartext_auth": { "type": "boolean", "default": false, "description": "Send the password although the connection is not encrypted." },
    "from": { "type": "string", "minLength": 3, "maxLength": 320, "description": "Whom the mail is from." },
    "senders": { "type": "array", "maxItems": 100, "items": { "type": "string", "minLength": 3, "maxLength": 254 }, "default": [],
      "description": "What else it may be from: addresses, or *@DOMAIN.", "examples": [["*@shop.example.org"]] },
    "to": { "type": "array", "minItems": 1, "maxItems": 100, "items": { "type": "string", "minLength": 3, "maxLength": 254 },
      "description": "Whom it may go to: addresses, or *@DOMAIN. The first that is an address is the default.",
      "examples": [["oncall@example.org", "*@test.example.org"]] },
    "helo": { "type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[A-Za-z0-9.:_\\[\\]-]+$", "description": "The name that hatchd greets with; its host name when absent." },
    "addresses": { "type": "string", "enum": ["any", "ipv4", "ipv6"], "default": "any" },
    "dns": { "type": "array", "minItems": 1, "maxItems": 8, "items": { "type": "string", "minLength": 3, "maxLength": 64, "pattern": "^[0-9A-Fa-f.:\\[\\]]+$" },
      "description": "Name servers to ask instead of those of resolv.conf.", "examples": [["10.0.0.53", "[2001:db8::53]:5353"]] },
    "connect_timeout": { "type": "string", "format": "duration", "default": "10s" },
    "step_timeout": { "type": "string", "format": "duration", "default": "30s", "description": "How long the server may take for any one answer." },
    "certificate_warning": { "type": "string", "format": "duration", "default": "14d", "description": "Warn when a certificate ends sooner." },
    "arrival": {
      "type": "object",
      "description": "Where the message must turn up, so that mail.send can wait for it.",
      "properties": {
        "maildir": { "type": "string", "format": "absolute-path" },
        "imap": { "type": "string", "minLength": 8, "maxLength": 1000, "pattern": "^imaps?://[^\\s]+$", "format": "server-url", "description": "imap://HOST (STARTTLS where it is offered) or imaps://HOST" },
        "user": { "type": "string", "maxLength": 255 },
        "password": { "type": "string", "maxLength": 4096, "secret": true },
        "tls": { "type": "string", "enum": ["auto", "none", "starttls", "implicit"], "default": "auto" },
        "verify": { "type": "boolean" },
        "ca": { "type": "string", "format": "absolute-path" },
        "server_name": { "type": "string", "minLength": 1, "maxLength": 253 },
        "cleartext_auth": { "type": "boolean", "default": false },
        "mailbox": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$", "default": "INBOX" },
        "remove": { "type": "boolean", "default": false, "description": "Take the message away once it was seen." },
        "timeout": { "type": "string", "format": "duration", "default": "30s", "description": "How long to wait." }
      },
      "additionalProperties": false,
      "oneOf": [{ "required": ["maildir"] }, { "required": ["imap"] }]
    }
  },
  "required": ["url", "from", "to"],
  "additionalProperties": false
})json";

namespace {

constexpr const char* in_profile = "correct plugins.mail.profiles in the configuration";

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned byte = 0;
    const char* hex = text.data() + at + 1;
    if (text[at] == '%' && at + 2 < text.size() && std::from_chars(hex, hex + 2, byte, 16).ptr == hex + 2) {
      out += static_cast<char>(byte);
      at += 2;
    } else {
      out += text[at];
    }
  }
  return out;
}

struct Scheme {
  std::string_view name;
  Security security;
  std::uint16_t port;
};
constexpr Scheme schemes[] = {
    {"smtp", Security::automatic, 25},          {"smtps", Security::implicit, 465},
    {"smtp+tls", Security::starttls, 587},      {"smtp+ssl", Security::implicit, 465},
    {"smtp+starttls", Security::starttls, 587}, {"submission", Security::starttls, 587},
    {"submissions", Security::implicit, 465},   {"mx", Security::automatic, 25},
    {"imap", Security::automatic, 143},         {"imaps", Security::implicit, 993},
};

std::string text_of(const json::object& object, std::string_view name, std::string_view fallback = {}) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string(fallback);
}

bool flag_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_bool() && value->get_bool();
}

std::vector<std::string> texts_of(const json::object& object, std::string_view name) {
  std::vector<std::string> all;
  const json::value* value = object.if_contains(name);
  if (value && value->is_array())
    for (const json::value& one : value->get_array())
      if (one.is_string()) all.emplace_back(one.get_string());
  return all;
}

// What servers of both kinds have in common.
void read_server(Server& server, const json::object& from) {
  if (const std::string user = text_of(from, "user"); !user.empty()) server.user = user;
  if (const std::string password = text_of(from, "password"); !password.empty()) server.password = password;
  server.token = text_of(from, "token");
  server.auth = text_of(from, "auth", "auto");
  server.ca = text_of(from, "ca");
  server.server_name = text_of(from, "server_name");
  server.cleartext_auth = flag_of(from, "cleartext_auth");
  if (from.contains("verify")) server.verify = flag_of(from, "verify");
  const std::string tls = text_of(from, "tls", "auto");
  if (tls == "none") server.security = Security::none;
  if (tls == "starttls") server.security = Security::starttls;
  if (tls == "implicit") server.security = Security::implicit;
}

ArrivalSettings arrival_of(const json::object& from) {
  ArrivalSettings arrival;
  arrival.maildir = text_of(from, "maildir");
  arrival.mailbox = text_of(from, "mailbox", "INBOX");
  arrival.remove = flag_of(from, "remove");
  arrival.timeout = duration_of(text_of(from, "timeout", "30s"));
  if (arrival.maildir.empty()) {
    arrival.imap = server_of(text_of(from, "imap"));
    read_server(arrival.imap, from);
    if (!arrival.imap.has_credentials())
      throw Unusable("the profile's arrival.imap has no user and password", in_profile);
  }
  return arrival;
}

// "*@example.org" or an address.
void check_pattern(const std::string& pattern, const char* where) {
  const std::string why = why_no_address(pattern);
  if (!why.empty())
    throw Unusable("the profile's " + std::string(where) + " holds \"" + bounded(pattern, 100) + "\", which " + why,
                   in_profile);
}

}  // namespace

const char* to_string(Security security) {
  switch (security) {
    case Security::automatic: return "auto";
    case Security::none: return "none";
    case Security::starttls: return "starttls";
    case Security::implicit: return "implicit";
  }
  return "?";
}

Millis duration_of(std::string_view text) {
  long long number = 0;
  const auto [unit, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view rest(unit, static_cast<std::size_t>(text.data() + text.size() - unit));
  if (error != std::errc{}) return Millis{0};
  number = std::min(number, 1'000'000'000LL);
  if (rest == "us") return Millis{number / 1000};
  if (rest == "ms") return Millis{number};
  if (rest == "m" || rest == "min") return std::chrono::minutes{number};
  if (rest == "h") return std::chrono::hours{number};
  if (rest == "d") return std::chrono::hours{24 * number};
  return std::chrono::seconds{number};
}

Server server_of(std::string_view url) {
  const std::size_t colon = url.find("://");
  const std::string scheme = lower(url.substr(0, std::min(colon, url.size())));
  const Scheme* known = nullptr;
  for (const Scheme& one : schemes)
    if (one.name == scheme) known = &one;
  if (colon == url.npos || !known)
    throw Unusable("the mail server's url has a scheme that hatchd does not know: \"" + bounded(scheme, 40) + "\"",
                   "use smtp://, smtps:// or mx:// (imap:// or imaps:// for a mailbox)");
  Server server;
  server.security = known->security;
  server.port = known->port;
  server.mx = scheme == "mx";
  std::string_view rest = url.substr(colon + 3);
  rest = rest.substr(0, std::min(rest.find_first_of("/?#", std::min(rest.rfind('@'), rest.size())), rest.size()));
  if (const std::size_t at = rest.rfind('@'); at != rest.npos) {
    const std::string_view who = rest.substr(0, at);
    const std::size_t split = std::min(who.find(':'), who.size());
    server.user = percent_decoded(who.substr(0, split));
    if (split < who.size()) server.password = percent_decoded(who.substr(split + 1));
    rest.remove_prefix(at + 1);
  } else {
    rest = rest.substr(0, std::min(rest.find_first_of("/?#"), rest.size()));
  }
  std::size_t port = rest.rfind(':');
  if (rest.starts_with('[')) {
    const std::size_t close = rest.find(']');
    if (close == rest.npos) throw Unusable("the mail server's url has a [ without a ]", in_profile);
    server.host = rest.substr(1, close - 1);
    port = close + 1 < rest.size() && rest[close + 1] == ':' ? close + 1 : rest.npos;
  } else {
    server.host = rest.substr(0, std::min(port, rest.size()));
  }
  if (port != rest.npos && port + 1 < rest.size()) {
    const std::string_view digits = rest.substr(port + 1);
    unsigned number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number < 1 || number > 65535)
      throw Unusable("the mail server's url has no valid port", in_profile);
    server.port = static_cast<std::uint16_t>(number);
  }
  const bool plain = server.host.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_%") == std::string::npos;
  if (server.host.empty() || server.host.size() > 253 || !plain)
    throw Unusable("the mail server's url names no valid host", in_profile);
  return server;
}

Settings settings_of(std::string_view profile) {
  boost::system::error_code error;
  const json::value parsed = json::parse(profile, error);
  if (error || !parsed.is_object() || parsed.get_object().empty())
    throw Unusable(
        "there is no profile to work with",
        "add \"plugins\": {\"mail\": {\"profiles\": {\"default\": {\"url\": …, \"from\": …, \"to\": […]}}}}");
  const json::object& from = parsed.get_object();
  Settings settings;
  settings.server = server_of(text_of(from, "url"));
  if (settings.server.security == Security::automatic && settings.server.port == 465 && !settings.server.mx &&
      text_of(from, "tls", "auto") == "auto")
    settings.server.security = Security::implicit;
  read_server(settings.server, from);
  settings.sender = text_of(from, "from");
  settings.helo = text_of(from, "helo");
  settings.to = texts_of(from, "to");
  settings.senders = texts_of(from, "senders");
  settings.addresses = text_of(from, "addresses", "any");
  settings.dns = texts_of(from, "dns");
  settings.connect_timeout = duration_of(text_of(from, "connect_timeout", "10s"));
  settings.step_timeout = duration_of(text_of(from, "step_timeout", "30s"));
  settings.warn_before =
      std::chrono::duration_cast<std::chrono::hours>(duration_of(text_of(from, "certificate_warning", "14d")));
  if (const json::value* arrival = from.if_contains("arrival"); arrival && arrival->is_object())
    settings.arrival = arrival_of(arrival->get_object());

  const std::string sender = bare_address(settings.sender);
  if (const std::string why = why_no_address(sender); !why.empty())
    throw Unusable("the profile's from " + why, in_profile);
  for (const std::string& pattern : settings.to) check_pattern(pattern, "to");
  for (const std::string& pattern : settings.senders) check_pattern(pattern, "senders");
  settings.senders.push_back(sender);

  for (const char* name : {"host", "port", "tls", "user", "password", "auth", "from", "helo"})
    settings.origins[name] = "profile";
  return settings;
}

}  // namespace mail
