#include "mail/environment.hpp"

#include <boost/json.hpp>
#include <charconv>
#include <set>

#include "mail/address.hpp"
#include "mail/text.hpp"

namespace mail {

namespace json = boost::json;

namespace {

constexpr std::size_t max_names = 8, max_json = 128 * 1024;

// How one framework or product names its settings. Of several names the first that is set counts.
struct Family {
  const char* name;
  const char* url[max_names];   // a whole URL; it counts before the rest
  const char* host[max_names];  // HOST or HOST:PORT
  const char* port[max_names];
  const char* user[max_names];
  const char* password[max_names];
  const char* starttls[max_names];  // truth: STARTTLS is required
  const char* implicit[max_names];  // truth: TLS at once
  const char* security[max_names];  // "tls", "ssl", "starttls", "smtps", …
  const char* from[max_names];
  const char* helo[max_names];
};

constexpr Family families[] = {
    {"Django",
     {"EMAIL_URL"},
     {"EMAIL_HOST"},
     {"EMAIL_PORT"},
     {"EMAIL_HOST_USER"},
     {"EMAIL_HOST_PASSWORD"},
     {"EMAIL_USE_TLS"},
     {"EMAIL_USE_SSL"},
     {},
     {"DEFAULT_FROM_EMAIL", "SERVER_EMAIL"},
     {}},
    {"Spring Boot",
     {},
     {"SPRING_MAIL_HOST"},
     {"SPRING_MAIL_PORT"},
     {"SPRING_MAIL_USERNAME"},
     {"SPRING_MAIL_PASSWORD"},
     {"SPRING_MAIL_PROPERTIES_MAIL_SMTP_STARTTLS_REQUIRED", "SPRING_MAIL_PROPERTIES_MAIL_SMTP_STARTTLS_ENABLE"},
     {"SPRING_MAIL_PROPERTIES_MAIL_SMTP_SSL_ENABLE"},
     {"SPRING_MAIL_PROTOCOL"},
     {"SPRING_MAIL_PROPERTIES_MAIL_SMTP_FROM"},
     {}},
    {"Symfony", {"MAILER_DSN", "MAILER_URL"}, {}, {}, {}, {}, {}, {}, {}, {}, {}},
    {"Laravel or Flask",
     {"MAIL_URL"},
     {"MAIL_HOST", "MAIL_SERVER"},
     {"MAIL_PORT"},
     {"MAIL_USERNAME", "MAIL_USER"},
     {"MAIL_PASSWORD", "MAIL_PASS"},
     {"MAIL_USE_TLS"},
     {"MAIL_USE_SSL"},
     {"MAIL_SCHEME", "MAIL_ENCRYPTION"},
     {"MAIL_FROM_ADDRESS", "MAIL_DEFAULT_SENDER", "MAIL_FROM"},
     {"MAIL_EHLO_DOMAIN"}},
    {"Grafana",
     {},
     {"GF_SMTP_HOST"},
     {},
     {"GF_SMTP_USER"},
     {"GF_SMTP_PASSWORD"},
     {},
     {},
     {},
     {"GF_SMTP_FROM_ADDRESS"},
     {"GF_SMTP_EHLO_IDENTITY"}},
    {"Gitea",
     {},
     {"GITEA__mailer__SMTP_ADDR"},
     {"GITEA__mailer__SMTP_PORT"},
     {"GITEA__mailer__USER"},
     {"GITEA__mailer__PASSWD"},
     {},
     {},
     {"GITEA__mailer__PROTOCOL"},
     {"GITEA__mailer__FROM"},
     {}},
    {"Discourse",
     {},
     {"DISCOURSE_SMTP_ADDRESS"},
     {"DISCOURSE_SMTP_PORT"},
     {"DISCOURSE_SMTP_USER_NAME"},
     {"DISCOURSE_SMTP_PASSWORD"},
     {"DISCOURSE_SMTP_ENABLE_START_TLS"},
     {"DISCOURSE_SMTP_FORCE_TLS"},
     {},
     {"DISCOURSE_NOTIFICATION_EMAIL"},
     {"DISCOURSE_SMTP_DOMAIN"}},
    {"Sentry",
     {},
     {"SENTRY_EMAIL_HOST"},
     {"SENTRY_EMAIL_PORT"},
     {"SENTRY_EMAIL_USER"},
     {"SENTRY_EMAIL_PASSWORD"},
     {"SENTRY_EMAIL_USE_TLS"},
     {"SENTRY_EMAIL_USE_SSL"},
     {},
     {"SENTRY_SERVER_EMAIL"},
     {}},
    {"ASP.NET",
     {},
     {"Smtp__Host", "SMTP__HOST", "EmailSettings__Host"},
     {"Smtp__Port", "SMTP__PORT", "EmailSettings__Port"},
     {"Smtp__Username", "Smtp__User", "SMTP__USERNAME", "EmailSettings__Username"},
     {"Smtp__Password", "SMTP__PASSWORD", "EmailSettings__Password"},
     {"Smtp__EnableSsl", "SMTP__ENABLESSL"},
     {},
     {},
     {"Smtp__From", "SMTP__FROM", "EmailSettings__From"},
     {}},
    {"SMTP",
     {"SMTP_URL", "SMTP_DSN"},
     {"SMTP_HOST", "SMTP_ADDRESS", "SMTP_SERVER", "SMTP_ADDR", "SMTP_HOSTNAME"},
     {"SMTP_PORT"},
     {"SMTP_USER", "SMTP_USERNAME", "SMTP_USER_NAME", "SMTP_LOGIN", "SMTP_NAME"},
     {"SMTP_PASSWORD", "SMTP_PASS", "SMTP_PASSWD"},
     {"SMTP_STARTTLS", "SMTP_USE_STARTTLS", "SMTP_ENABLE_STARTTLS", "SMTP_USE_TLS", "SMTP_REQUIRE_TLS"},
     {"SMTP_SSL", "SMTP_USE_SSL"},
     {"SMTP_SECURE", "SMTP_ENCRYPTION", "SMTP_SECURITY", "SMTP_TLS"},
     {"SMTP_FROM", "SMTP_FROM_ADDRESS", "SMTP_FROM_EMAIL", "SMTP_SENDER", "MAIL_FROM", "EMAIL_FROM"},
     {"SMTP_DOMAIN", "SMTP_HELO"}},
};

struct Found {
  std::string name, value;
};

// The first of the names that is set to something.
Found first(const Environment& environment, const char* const (&names)[max_names]) {
  for (const char* name : names)
    if (name)
      if (const auto at = environment.find(name); at != environment.end() && !trimmed(at->second).empty())
        return {name, std::string(trimmed(at->second))};
  return {};
}

bool is_true(std::string_view text) {
  const std::string word = lower(text);
  return word == "1" || word == "true" || word == "yes" || word == "on" || word == "y" || word == "t";
}

// What one word about encryption means to those who write it; nodemailer's `secure` is TLS at once.
std::optional<Security> security_of(std::string_view text, std::uint16_t port) {
  const std::string word = lower(text);
  if (word == "starttls" || word == "smtp+starttls") return Security::starttls;
  if (word == "ssl" || word == "smtps" || word == "implicit" || word == "ssl/tls") return Security::implicit;
  if (word == "tls") return port == 465 ? Security::implicit : Security::starttls;
  if (word == "none" || word == "off" || word == "false" || word == "0" || word == "null" || word == "no")
    return port == 465 ? Security::implicit : Security::automatic;
  if (is_true(word)) return port == 587 || port == 25 ? Security::starttls : Security::implicit;
  return std::nullopt;
}

bool names_a_server(const Family& family, const Environment& environment) {
  return !first(environment, family.url).name.empty() || !first(environment, family.host).name.empty();
}

// {"spring": {"mail": {"host": …}}} or {"spring.mail.host": …} as the variables of Spring Boot.
void flatten(const json::value& value, const std::string& path, Environment& out) {
  if (const json::object* object = value.if_object()) {
    for (const auto& member : *object)
      flatten(member.value(), (path.empty() ? "" : path + ".") + std::string(member.key()), out);
    return;
  }
  if (!lower(path).starts_with("spring.mail.")) return;
  std::string name;
  for (const char c : path)
    name += c == '.' ? '_' : c == '-' ? '\0' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  std::erase(name, '\0');
  out.try_emplace(name, value.is_string() ? std::string(value.get_string()) : json::serialize(value));
}

Environment with_spring_json(const Environment& environment, bool& used) {
  Environment all = environment;
  const auto at = environment.find("SPRING_APPLICATION_JSON");
  if (at == environment.end() || at->second.size() > max_json) return all;
  boost::system::error_code error;
  const json::value parsed = json::parse(at->second, error);
  if (error) return all;
  const std::size_t before = all.size();
  flatten(parsed, "", all);
  used = all.size() > before;
  return all;
}

// Reads "HOST:PORT" apart.
void set_host(Server& server, std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  if (bracketed || (colon != text.npos && text.find(':') == colon)) {
    Server parsed = server_of("smtp://" + std::string(text));
    server.host = parsed.host;
    if (colon != text.npos && colon + 1 < text.size()) server.port = parsed.port;
  } else {
    server.host = server_of("smtp://" + (colon == text.npos ? std::string(text) : "[" + std::string(text) + "]")).host;
  }
}

void read_family(Settings& settings, const Family& family, const Environment& environment) {
  Server& server = settings.server;
  const auto note = [&](const char* what, const std::string& variable) { settings.origins[what] = variable; };
  for (const char* name : {"host", "port", "tls", "user", "password", "auth"})
    settings.origins[name] = std::string("default of ") + family.name;

  const Found url = first(environment, family.url);
  bool port_known = false;
  if (!url.name.empty()) {
    server = server_of(url.value);
    port_known = true;
    for (const char* name : {"host", "port", "tls"}) note(name, url.name);
    if (!server.user.empty()) note("user", url.name);
    if (!server.password.empty()) note("password", url.name);
  } else {
    server = Server{};
    const Found host = first(environment, family.host);
    set_host(server, host.value);
    note("host", host.name);
    if (server.port != 0) note("port", host.name), port_known = true;
  }
  if (const Found port = first(environment, family.port); !port.name.empty() && url.name.empty()) {
    unsigned number = 0;
    const auto end = port.value.data() + port.value.size();
    const auto [read, error] = std::from_chars(port.value.data(), end, number);
    if (error != std::errc{} || read != end || number < 1 || number > 65535)
      throw Unusable("the target's " + port.name + " is no port", "correct it where the target is started");
    server.port = static_cast<std::uint16_t>(number);
    port_known = true;
    note("port", port.name);
  }
  const auto switched = [&](const char* const(&names)[max_names]) {
    const Found found = first(environment, names);
    return is_true(found.value) ? found.name : std::string{};
  };
  if (const std::string name = switched(family.implicit); !name.empty()) {
    server.security = Security::implicit;
    note("tls", name);
  } else if (const std::string other = switched(family.starttls); !other.empty()) {
    server.security = Security::starttls;
    note("tls", other);
  } else if (const Found word = first(environment, family.security); !word.name.empty()) {
    if (const auto security = security_of(word.value, server.port)) {
      server.security = *security;
      note("tls", word.name);
    }
  }
  if (!port_known)
    server.port = server.security == Security::implicit ? 465 : server.security == Security::starttls ? 587 : 25;
  if (server.port == 465 && server.security == Security::automatic) server.security = Security::implicit;
  if (const Found user = first(environment, family.user); !user.name.empty()) {
    server.user = user.value;
    note("user", user.name);
  }
  if (const Found password = first(environment, family.password); !password.name.empty()) {
    server.password = password.value;
    note("password", password.name);
  }
  if (const Found from = first(environment, family.from); !from.name.empty()) {
    settings.sender = from.value;
    note("from", from.name);
  }
  if (const Found helo = first(environment, family.helo); !helo.name.empty()) {
    // It becomes part of a command: a line break in it would begin another one, to any recipient.
    if (helo.value.size() > 253 || helo.value.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                                "0123456789.:_[]-") != std::string::npos)
      throw Unusable("the target's " + helo.name + " is no name to greet with",
                     "correct it where the target is started");
    settings.helo = helo.value;
    note("helo", helo.name);
  }
}

}  // namespace

namespace {

// What the operator says about certificates and forcing stays; what names the server is the target's alone. The
// profile's password never goes to a server that the target names.
void adopt(Settings& settings, const Family& family, const Environment& environment) {
  const Server before = settings.server;
  read_family(settings, family, environment);
  settings.server.verify = before.verify;
  settings.server.ca = before.ca;
  settings.server.cleartext_auth = before.cleartext_auth;
}

}  // namespace

Environment parse_environment(std::string_view environ) {
  Environment all;
  while (!environ.empty()) {
    const std::size_t end = std::min(environ.find('\0'), environ.size());
    const std::string_view entry = environ.substr(0, end);
    environ.remove_prefix(std::min(end + 1, environ.size()));
    if (const std::size_t equals = entry.find('='); equals != entry.npos && equals > 0)
      all.try_emplace(std::string(entry.substr(0, equals)), entry.substr(equals + 1));
  }
  return all;
}

void use_environment(Settings& settings, const Environment& environment) {
  bool from_json = false;
  const Environment all = with_spring_json(environment, from_json);
  for (const Family& family : families) {
    if (!names_a_server(family, all)) continue;
    adopt(settings, family, all);
    if (from_json)
      for (auto& [name, origin] : settings.origins)
        if (origin.starts_with("SPRING_MAIL_") && environment.find(origin) == environment.end())
          origin = "SPRING_APPLICATION_JSON";
    return;
  }
  throw Unusable(
      "the target's environment names no mail server; hatchd knows EMAIL_HOST, SPRING_MAIL_HOST, MAILER_DSN, "
      "MAIL_HOST, "
      "MAIL_SERVER, GF_SMTP_HOST, SMTP_HOST, SMTP_URL and their like",
      "use the profile's settings (from=profile), or set such a variable where the target is started");
}

bool use_app_settings(Settings& settings, const app::AppSettings& app, const Environment& environment) {
  Environment known;
  std::set<std::string, std::less<>> own, masked;  // names: as the app shows them; not to be had
  for (const auto& [name, value] : app.values) {
    const auto started = environment.find(name);
    if (!app::is_masked(value)) {
      known.emplace(name, value);
      own.insert(name);
    } else if (started != environment.end() && app::fits_masked(started->second, value)) {
      known.emplace(name, started->second);
    } else {
      masked.insert(name);
    }
  }
  for (const Family& family : families) {
    if (!names_a_server(family, known)) continue;
    const Server before = settings.server;
    adopt(settings, family, known);
    Server& server = settings.server;
    for (auto& [what, origin] : settings.origins)
      if (own.contains(origin)) origin = app.origin(origin);
    for (const char* name : family.password) {
      if (name == nullptr || !masked.contains(name) || server.user.empty() || !server.password.empty()) continue;
      if (before.password.empty() || before.host != server.host || before.port != server.port ||
          before.user != server.user)
        throw Unusable("the app logs in with its setting " + std::string(name) + ", which it shows masked",
                       "start the target with the environment variable " + std::string(name) +
                           ", or give a profile the app's server, port and user, with the password");
      server.password = before.password;
      settings.origins["password"] = "profile, for the same server and user";
    }
    return true;
  }
  return false;
}

}  // namespace mail
