#include "mail/settings.hpp"

#include "catch.hpp"
#include "mail/environment.hpp"
#include "mail/resolve.hpp"

using namespace mail;

namespace {
constexpr const char* minimal =
    R"({"url": "smtp://mail.example.org", "from": "a@example.org", "to": ["b@example.org"]})";

Settings from(const Environment& environment) {
  Settings settings =
      settings_of(R"({"url": "smtp://relay:2525", "user": "profile-user", "password": "profile-password",
    "from": "a@example.org", "to": ["b@example.org"], "ca": "/etc/ca.pem"})");
  use_environment(settings, environment);
  return settings;
}

std::string refusal(const char* url) {
  try {
    server_of(url);
    return "";
  } catch (const Unusable& unusable) {
    return unusable.what();
  }
}
}  // namespace

TEST_CASE("servers by url") {
  Server server = server_of("smtp://mail.example.org");
  CHECK((server.host == "mail.example.org" && server.port == 25 && server.security == Security::automatic));
  server = server_of("smtps://u%40x:p%3Aw%2F@mail.example.org:4650/path?x=y");
  CHECK(
      (server.user == "u@x" && server.password == "p:w/" && server.host == "mail.example.org" && server.port == 4650));
  CHECK(server.security == Security::implicit);
  server = server_of("smtp+tls://[2001:db8::1]:26");
  CHECK((server.host == "2001:db8::1" && server.port == 26 && server.security == Security::starttls));
  CHECK(server_of("smtp://[::1]").host == "::1");
  CHECK(server_of("mx://example.org").mx);
  CHECK(server_of("imaps://mail").port == 993);
  // A password with a slash that nobody encoded.
  CHECK(server_of("smtp://u:a/b@mail:25").password == "a/b");
  for (const char* bad : {"", "mail", "http://mail", "smtp://", "smtp://mail:0", "smtp://mail:70000", "smtp://mail:x",
                          "smtp://[::1", "smtp://ma il", "smtp://mail\r\n"})
    CHECK(refusal(bad) != "");
  CHECK(refusal("smtp://user:hunter2@mail:x").find("hunter2") == std::string::npos);
}

TEST_CASE("durations") {
  CHECK(duration_of("250ms") == Millis{250});
  CHECK(duration_of("30s") == Millis{30'000});
  CHECK(duration_of("2m") == Millis{120'000});
  CHECK(duration_of("14d") == Millis{14LL * 24 * 3600 * 1000});
}

TEST_CASE("a profile: what stands in it and what follows from it") {
  Settings settings = settings_of(minimal);
  CHECK(settings.server.security == Security::automatic);
  CHECK_FALSE(settings.server.must_verify());
  CHECK(settings.senders == std::vector<std::string>{"a@example.org"});
  settings = settings_of(R"({"url": "smtp://m:465", "user": "u", "password": "p", "from": "a@b", "to": ["b@c"]})");
  CHECK(settings.server.security == Security::implicit);
  CHECK(settings.server.must_verify());
  settings = settings_of(R"({"url": "smtp://m", "tls": "starttls", "verify": false, "from": "a@b", "to": ["b@c"],
    "arrival": {"maildir": "/m", "timeout": "5s"}})");
  CHECK(settings.server.security == Security::starttls);
  CHECK_FALSE(settings.server.must_verify());
  REQUIRE(settings.arrival);
  CHECK((settings.arrival->maildir == "/m" && settings.arrival->timeout == Millis{5000}));
  CHECK_THROWS_AS(settings_of("{}"), Unusable);
  CHECK_THROWS_AS(settings_of(R"({"url": "smtp://m", "from": "nobody", "to": ["b@c"]})"), Unusable);
  CHECK_THROWS_AS(settings_of(R"({"url": "smtp://m", "from": "a@b", "to": ["everybody"]})"), Unusable);
  CHECK_THROWS_AS(settings_of(R"({"url": "smtp://m", "from": "a@b", "to": ["b@c"], "arrival": {"imap": "imap://m"}})"),
                  Unusable);
}

TEST_CASE("an application's environment names its server; each value says where it came from") {
  Settings django = from({{"EMAIL_HOST", "smtp.example.org"},
                          {"EMAIL_PORT", "587"},
                          {"EMAIL_USE_TLS", "True"},
                          {"EMAIL_HOST_USER", "shop"},
                          {"EMAIL_HOST_PASSWORD", "pw"},
                          {"DEFAULT_FROM_EMAIL", "Shop <shop@example.org>"}});
  CHECK((django.server.host == "smtp.example.org" && django.server.port == 587));
  CHECK(django.server.security == Security::starttls);
  CHECK((django.server.user == "shop" && django.server.password == "pw"));
  CHECK(django.sender == "Shop <shop@example.org>");
  CHECK(django.origins["host"] == "EMAIL_HOST");
  CHECK(django.origins["tls"] == "EMAIL_USE_TLS");
  CHECK(django.origins["password"] == "EMAIL_HOST_PASSWORD");
  CHECK(django.server.ca == "/etc/ca.pem");

  const Settings spring = from({{"SPRING_MAIL_HOST", "relay"},
                                {"SPRING_MAIL_PORT", "465"},
                                {"SPRING_MAIL_PROPERTIES_MAIL_SMTP_SSL_ENABLE", "true"}});
  CHECK((spring.server.host == "relay" && spring.server.security == Security::implicit));

  Settings json =
      from({{"SPRING_APPLICATION_JSON", R"({"spring": {"mail": {"host": "relay", "port": 2525, "password": "p"}}})"}});
  CHECK((json.server.host == "relay" && json.server.port == 2525 && json.server.password == "p"));
  CHECK(json.origins["host"] == "SPRING_APPLICATION_JSON");

  CHECK(from({{"MAILER_DSN", "smtp://u:p@mail:2525"}}).server.port == 2525);
  CHECK(from({{"MAIL_SERVER", "mail"}, {"MAIL_ENCRYPTION", "ssl"}}).server.port == 465);
  CHECK(from({{"MAIL_HOST", "mail"}, {"MAIL_ENCRYPTION", "tls"}, {"MAIL_PORT", "587"}}).server.security ==
        Security::starttls);
  CHECK(from({{"GF_SMTP_HOST", "mail:2587"}}).server.port == 2587);
  CHECK(from({{"SMTP_HOST", "mail"}, {"SMTP_PORT", "465"}}).server.security == Security::implicit);
  CHECK(from({{"SMTP_ADDR", "[::1]:2525"}}).server.host == "::1");
  CHECK(from({{"SMTP_ADDR", "[::1]:2525"}}).server.port == 2525);
  CHECK(from({{"SMTP_HOST", "mail"}}).server.port == 25);
  CHECK(from({{"Smtp__Host", "mail"}, {"Smtp__EnableSsl", "true"}}).server.security == Security::starttls);
}

TEST_CASE("the profile's password never goes to a server that the target names") {
  const Settings settings = from({{"SMTP_HOST", "evil.example.org"}, {"SMTP_USER", "profile-user"}});
  CHECK(settings.server.user == "profile-user");
  CHECK(settings.server.password.empty());
  CHECK_FALSE(settings.server.has_credentials());
}

TEST_CASE("an environment without a mail server, or with nonsense in it") {
  CHECK_THROWS_AS(from({{"PATH", "/bin"}}), Unusable);
  CHECK_THROWS_AS(from({{"SMTP_HOST", "mail"}, {"SMTP_PORT", "often"}}), Unusable);
  CHECK_THROWS_AS(from({{"SMTP_HOST", "mail\r\nQUIT"}}), Unusable);
  CHECK_THROWS_AS(from({{"SPRING_APPLICATION_JSON", "{{{"}}), Unusable);
  const Environment parsed = parse_environment(std::string_view("A=1\0B\0=x\0A=2\0C=a=b", 19));
  CHECK(parsed == Environment{{"A", "1"}, {"C", "a=b"}});
}

TEST_CASE("hosts files") {
  constexpr const char* hosts =
      "127.0.0.1 localhost  # 10.0.0.9 mail\n10.0.0.1\tmail mail.example.org\n2001:db8::1 MAIL\nbad mail\n";
  CHECK(in_hosts(hosts, "mail") == std::vector<std::string>{"10.0.0.1", "2001:db8::1"});
  CHECK(in_hosts(hosts, "mail.example.org") == std::vector<std::string>{"10.0.0.1"});
  CHECK(in_hosts(hosts, "other").empty());
}

TEST_CASE("a line break in the target's own words begins no command") {
  for (const char* name : {"x\r\nMAIL FROM:<a@b>", "x\ny", "a b", "\x01"})
    CHECK_THROWS_AS(from({{"MAIL_HOST", "mail"}, {"MAIL_EHLO_DOMAIN", name}}), Unusable);
  CHECK(from({{"MAIL_HOST", "mail"}, {"MAIL_EHLO_DOMAIN", "[192.0.2.1]"}}).helo == "[192.0.2.1]");
}

TEST_CASE(
    "the app's own settings: they count before the environment, and a masked password is had honestly or not at all") {
  const auto ask = [](const app::Variables& shown, const Environment& started, const std::string& profile_url) {
    Settings settings = settings_of(R"({"url": ")" + profile_url + R"(", "user": "shop", "password": "of-the-profile",
      "from": "a@example.org", "to": ["b@example.org"]})");
    app::AppSettings app;
    app.pid = 7;
    app.values = shown;
    const bool named = use_app_settings(settings, app, started);
    return std::pair(named, settings);
  };
  const app::Variables shown{{"EMAIL_HOST", "mx.shop"},
                             {"EMAIL_PORT", "587"},
                             {"EMAIL_USE_TLS", "true"},
                             {"EMAIL_HOST_USER", "shop"},
                             {"EMAIL_HOST_PASSWORD", "******"}};
  auto [named, settings] =
      ask(shown, {{"EMAIL_HOST", "old"}, {"EMAIL_HOST_PASSWORD", "started-with"}}, "smtp://relay:25");
  CHECK((named && settings.server.host == "mx.shop" && settings.server.security == Security::starttls));
  CHECK(settings.server.password == "started-with");
  CHECK(settings.origins["host"] == "EMAIL_HOST of the app's settings (process 7)");
  CHECK(settings.origins["password"] == "EMAIL_HOST_PASSWORD");
  // The operator has written down this very server and user.
  auto [again, same] = ask(shown, {}, "smtp://mx.shop:587");
  CHECK((again && same.server.password == "of-the-profile"));
  CHECK(same.origins["password"] == "profile, for the same server and user");
  // Another server never gets the profile's password.
  CHECK_THROWS_AS(ask(shown, {}, "smtp://mx.shop:25"), Unusable);
  CHECK_THROWS_AS(ask(shown, {}, "smtp://relay:587"), Unusable);
  // Nothing about mail in it.
  auto [none, kept] = ask({{"DEBUG", "true"}}, {}, "smtp://relay:25");
  CHECK((!none && kept.server.host == "relay"));
}
