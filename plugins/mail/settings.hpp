// What a run works with: a profile of the configuration, and how each value came to be what it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mail {

using Millis = std::chrono::milliseconds;

// Something about the settings stops the run before it begins.
struct Unusable : std::runtime_error {
  Unusable(const std::string& detail, std::string remedy) : std::runtime_error(detail), remedy(std::move(remedy)) {}
  std::string remedy;
};

enum class Security {
  automatic,  // STARTTLS where it is offered
  none,
  starttls,  // STARTTLS, or no mail
  implicit   // TLS from the first byte
};
const char* to_string(Security security);

// One server to talk to: the mail server, or the mailbox's.
struct Server {
  std::string host;
  std::uint16_t port = 0;
  Security security = Security::automatic;
  bool mx = false;  // host is a domain, whose mail exchangers are asked for
  std::string user, password;
  std::string token;           // for XOAUTH2
  std::string auth = "auto";   // mechanism
  std::optional<bool> verify;  // must the certificate verify? Absent: where credentials or the settings ask for TLS
  std::string ca;              // a file of certificates that are trusted besides the system's
  std::string server_name;     // for SNI and the certificate; empty: host
  bool cleartext_auth = false;

  bool has_credentials() const { return !user.empty() && (!password.empty() || !token.empty()); }
  bool must_verify() const {
    return verify.value_or(has_credentials() || security == Security::starttls || security == Security::implicit);
  }
  const std::string& name() const { return server_name.empty() ? host : server_name; }
};

struct ArrivalSettings {
  std::string maildir;  // either this …
  Server imap;          // … or this
  std::string mailbox = "INBOX";
  bool remove = false;  // the message, once it was seen
  Millis timeout{30'000};
};

struct Settings {
  Server server;
  std::string sender, helo;
  std::vector<std::string> to, senders;  // allow-lists
  std::string addresses = "any";         // "ipv4", "ipv6"
  std::vector<std::string> dns;          // instead of the resolver file's
  Millis connect_timeout{10'000}, step_timeout{30'000};
  std::chrono::hours warn_before{14 * 24};  // of a certificate's end
  std::optional<ArrivalSettings> arrival;
  std::map<std::string, std::string> origins;  // "host" → "profile", "SMTP_HOST"
};

// JSON Schema of one profile: what the configuration is checked against.
extern const char* const profile_schema;

// Reads a profile that fits the schema. Throws Unusable for what a schema cannot say.
Settings settings_of(std::string_view profile);

// "smtp://user:password@host:port", also smtps, smtp+tls, smtp+ssl, smtp+starttls, submission(s), mx; imap and imaps for
// mailboxes. Percent encoding is undone in user and password. Throws Unusable, which names no password.
Server server_of(std::string_view url);

// "30s", "250ms", "2m", "14d"; the schema has checked the form.
Millis duration_of(std::string_view text);

}  // namespace mail
