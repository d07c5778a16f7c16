#include "access/access.hpp"

#include <openssl/evp.h>

#include "access/attempts.hpp"
#include "access/names.hpp"
#include "access/policy.hpp"
#include "catch.hpp"

using namespace hatchd;
using access::Action;
using access::Role;
using schema::Effect;

namespace {

std::string sha256(std::string_view text) {
  unsigned char digest[32];
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (const unsigned char byte : digest) {
    char two[3];
    std::snprintf(two, sizeof two, "%02X", byte);  // in capitals: both cases must be taken
    hex += two;
  }
  return hex;
}

config::Token token(std::string name, std::string text, std::string role) {
  config::Token entry;
  entry.name = std::move(name);
  entry.sha256 = sha256(text);
  entry.role = std::move(role);
  return entry;
}

http::Request by_unix(uid_t uid, std::vector<gid_t> groups = {}) {
  http::Request request;
  request.peer.local = true;
  request.peer.uid = uid;
  request.peer.gid = 100000 + uid;
  request.peer.groups = std::move(groups);
  request.peer.login = "alice";
  return request;
}

http::Request by_tcp(std::string authorization = {}, std::string address = "192.0.2.7:5000") {
  http::Request request;
  request.peer.address = std::move(address);
  request.peer.listener = 1;
  if (!authorization.empty()) request.headers.emplace_back("authorization", std::move(authorization));
  return request;
}

std::vector<config::Listen> listeners() {
  config::Listen local, tcp, scrape;
  local.unix_path = "/run/hatchd/hatchd.sock";
  tcp.address = "127.0.0.1:4282";
  scrape.address = "0.0.0.0:4283";
  scrape.anonymous = "metrics";
  return {local, tcp, scrape};
}

access::Policy policy_of(config::Access rules, std::vector<uid_t> reserved = {}, std::vector<uid_t> admins = {}) {
  const config::PeerIds ids{{{"root", 0}, {"4711", 4711}}, {{"8100", 8100}, {"8200", 8200}}, {}, {}};
  return access::make_policy(std::move(rules), listeners(), ids, std::move(reserved), std::move(admins));
}

config::Access with_tokens() {
  config::Access rules;
  rules.tokens = {token("watch", "hatchd_view", "viewer"), token("oncall", "hatchd_operate", "operator"),
                  token("old", "hatchd_old", "admin"), token("broken", "hatchd_broken", "admin")};
  rules.tokens[1].hatches = {"stack.*", "mail.send"};
  rules.tokens[1].targets = {"web"};
  rules.tokens[2].expires = "2020-01-01";
  rules.tokens[3].expires = "next year";
  return rules;
}

}  // namespace

TEST_CASE("every action by every role and effect") {
  const access::Policy policy = policy_of({});
  const Role roles[] = {Role::none, Role::metrics, Role::viewer, Role::operator_, Role::admin};
  struct Row {
    Action action;
    Effect effect;
    Role needed;
  };
  const Row rows[] = {
      {Action::health, Effect::observe, Role::none},   {Action::metrics, Effect::observe, Role::metrics},
      {Action::index, Effect::observe, Role::viewer},  {Action::list, Effect::observe, Role::viewer},
      {Action::audit, Effect::observe, Role::admin},   {Action::run, Effect::observe, Role::viewer},
      {Action::run, Effect::act, Role::operator_},     {Action::run, Effect::disrupt, Role::admin},
      {Action::read, Effect::observe, Role::viewer},   {Action::read, Effect::act, Role::operator_},
      {Action::read, Effect::disrupt, Role::admin},    {Action::cancel, Effect::observe, Role::viewer},
      {Action::cancel, Effect::act, Role::operator_},  {Action::cancel, Effect::disrupt, Role::admin},
      {Action::remove, Effect::observe, Role::viewer}, {Action::remove, Effect::act, Role::operator_},
      {Action::remove, Effect::disrupt, Role::admin},
  };
  for (const Row& row : rows)
    for (const Role role : roles) {
      access::Caller caller;
      caller.name = "alice";
      caller.via = "unix";
      caller.role = role;
      access::Ask ask{row.action, "mail.send", row.effect, Role::none, "web"};
      CAPTURE(static_cast<int>(row.action), static_cast<int>(row.effect), access::to_string(role));
      const auto allowed = access::authorize(caller, ask, policy);
      CHECK(allowed.has_value() == (role >= row.needed));
      if (!allowed) CHECK(allowed.error().code == "role-missing");
    }
}

TEST_CASE("a role that the hatch or the configuration asks for counts beside the effect") {
  const access::Policy policy = policy_of({});
  access::Caller caller;
  caller.name = "alice";
  caller.via = "unix";
  caller.role = Role::viewer;
  access::Ask ask{Action::run, "settings.dump", Effect::observe, Role::operator_, ""};
  const auto refused = access::authorize(caller, ask, policy);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().detail == "you are alice (viewer, via unix); settings.dump takes operator");
  CHECK(refused.error().remedy.find("access.peers") != std::string::npos);
  ask.role = Role::metrics;  // lower than the effect asks for: does not lower it
  CHECK(access::authorize(caller, ask, policy));
}

TEST_CASE("read_only refuses what changes something and nothing else") {
  config::Access rules;
  rules.read_only = true;
  const access::Policy policy = policy_of(rules);
  access::Caller caller;
  caller.role = Role::admin;
  const auto code = [&](Action action, Effect effect) {
    const auto allowed = access::authorize(caller, {action, "a.b", effect, Role::none, ""}, policy);
    return allowed ? std::string() : allowed.error().code;
  };
  CHECK(code(Action::run, Effect::observe).empty());
  CHECK(code(Action::run, Effect::act) == "read-only");
  CHECK(code(Action::run, Effect::disrupt) == "read-only");
  CHECK(code(Action::read, Effect::disrupt).empty());
  CHECK(code(Action::cancel, Effect::disrupt).empty());
  CHECK(code(Action::remove, Effect::observe) == "read-only");
  CHECK(code(Action::audit, Effect::observe).empty());
}

TEST_CASE("a token's scope hides with 404, before its role says anything") {
  const access::Policy policy = policy_of(with_tokens());
  const auto caller = access::identify(by_tcp("Bearer hatchd_operate"), policy);
  REQUIRE(caller);
  const auto code = [&](Action action, std::string hatch, std::string target, Effect effect = Effect::observe) {
    const auto allowed =
        access::authorize(*caller, {action, std::move(hatch), effect, Role::none, std::move(target)}, policy);
    return allowed ? std::string() : allowed.error().code;
  };
  CHECK(code(Action::run, "stack.dump", "web").empty());
  CHECK(code(Action::run, "mail.send", "").empty());
  CHECK(code(Action::run, "mail.check", "web") == "hatch-unknown");
  CHECK(code(Action::run, "memory.core", "web", Effect::disrupt) == "hatch-unknown");
  CHECK(code(Action::run, "stack.dump", "worker") == "target-unknown");
  CHECK(code(Action::read, "mail.check", "web") == "run-unknown");
  CHECK(code(Action::cancel, "stack.dump", "worker") == "run-unknown");
  CHECK(access::sees(*caller, "stack.signal", "web"));
  CHECK_FALSE(access::sees(*caller, "stack.signal", "worker"));
  CHECK_FALSE(access::sees(*caller, "stackXsignal", "web"));
}

TEST_CASE("scope patterns") {
  struct Row {
    const char* pattern;
    const char* text;
    bool fits;
  };
  const Row rows[] = {
      {"stack.*", "stack.dump", true},  {"stack.*", "stack.", true},     {"stack.*", "stacks.dump", false},
      {"*", "anything.at-all", true},   {"*.send", "mail.send", true},   {"*.send", "mail.sendx", false},
      {"m*.s*d", "mail.send", true},    {"m*.s*d", "mail.senda", false}, {"mail.send", "mail.send", true},
      {"mail.send", "mail.sen", false}, {"[a-z]*", "mail.send", false},  {"a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaa", false}};
  for (const Row& row : rows) {
    access::Caller caller;
    caller.hatches = {row.pattern};
    CAPTURE(row.pattern, row.text);
    CHECK(access::sees(caller, row.text, "") == row.fits);
  }
}

TEST_CASE("bearer tokens") {
  const access::Policy policy = policy_of(with_tokens());
  const auto code = [&](std::string header) {
    const auto caller = access::identify(by_tcp(std::move(header), "192.0.2.9:1"), policy);
    return caller ? caller->name : caller.error().code;
  };
  CHECK(code("Bearer hatchd_view") == "watch");
  CHECK(code("bearer   hatchd_view") == "watch");
  CHECK(code("Bearer hatchd_vie") == "unauthenticated");
  CHECK(code("Bearer hatchd_view2") == "unauthenticated");
  CHECK(code("Bearer ") == "unauthenticated");
  CHECK(code("Basic aGF0Y2hkX3ZpZXc=") == "unauthenticated");
  CHECK(code("hatchd_view") == "unauthenticated");
  CHECK(code("Bearer " + sha256("hatchd_view")) == "unauthenticated");

  const auto expired = access::identify(by_tcp("Bearer hatchd_old"), policy);
  REQUIRE_FALSE(expired);
  CHECK(expired.error().code == "unauthenticated");
  CHECK(expired.error().detail == "the token \"old\" has expired");
  CHECK(code("Bearer hatchd_broken") == "unauthenticated");

  http::Request twice = by_tcp("Bearer hatchd_view");
  twice.headers.emplace_back("authorization", "Bearer hatchd_view");
  CHECK_FALSE(access::identify(twice, policy));
}

TEST_CASE("a wrong token is never a fall-back to the socket's identity") {
  const access::Policy policy = policy_of(with_tokens());
  http::Request request = by_unix(0);
  CHECK(access::identify(request, policy)->role == Role::admin);
  request.headers.emplace_back("authorization", "Bearer wrong");
  CHECK_FALSE(access::identify(request, policy));
  request.headers[0].second = "Bearer hatchd_view";
  const auto caller = access::identify(request, policy);
  REQUIRE(caller);
  CHECK(caller->role == Role::viewer);
  CHECK(caller->via == "token");
  CHECK(caller->login == "alice");
}

TEST_CASE("without identity: 401 that names the socket and the command") {
  const access::Policy policy = policy_of(with_tokens());
  const auto caller = access::identify(by_tcp(), policy);
  REQUIRE_FALSE(caller);
  CHECK(caller.error().code == "unauthenticated");
  CHECK(caller.error().remedy.find("/run/hatchd/hatchd.sock") != std::string::npos);
  CHECK(caller.error().remedy.find("hatchd token new") != std::string::npos);
}

TEST_CASE("anonymous callers exist only where configured") {
  config::Access rules;
  access::Policy policy = policy_of(rules);
  http::Request scrape = by_tcp();
  scrape.peer.listener = 2;
  auto caller = access::identify(scrape, policy);
  REQUIRE(caller);
  CHECK(caller->via == "anonymous");
  CHECK(caller->role == Role::metrics);
  CHECK(access::authorize(*caller, {Action::metrics, "", Effect::observe, Role::none, ""}, policy));
  const auto refused = access::authorize(*caller, {Action::list, "", Effect::observe, Role::none, ""}, policy);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == "unauthenticated");  // a credential would help, so it is not 403

  rules.anonymous = "viewer";
  policy = policy_of(rules);
  caller = access::identify(by_tcp(), policy);
  REQUIRE(caller);
  CHECK(caller->role == Role::viewer);
  CHECK(access::identify(scrape, policy)->role == Role::metrics);  // the listener's own word counts
  CHECK(access::identify(by_unix(4711), policy)->role == Role::viewer);
}

TEST_CASE("peers by user and group; the highest role counts") {
  config::Access rules;
  rules.peers = {{"root", "", "viewer"}, {"4711", "", "viewer"}, {"", "8100", "operator"}, {"", "8200", "admin"}};
  const access::Policy policy = policy_of(rules, {4712, 0}, {4713});
  const auto role = [&](const http::Request& request) { return access::identify(request, policy)->role; };
  CHECK(role(by_unix(0)) ==
        Role::viewer);  // peers are configured: nothing is given besides; reserved does not bind root
  CHECK(role(by_unix(4711)) == Role::viewer);
  CHECK(role(by_unix(4711, {8100})) == Role::operator_);
  CHECK(role(by_unix(4711, {8200, 8100})) == Role::admin);
  CHECK(role(by_unix(4999)) == Role::none);
  CHECK(role(by_unix(4712, {8200})) == Role::none);   // hatchd's own user
  CHECK(role(by_unix(65534, {8200})) == Role::none);  // the overflow uid
  CHECK(role(by_unix(4713)) == Role::admin);          // the human of --pid

  http::Request primary = by_unix(4999);
  primary.peer.gid = 8100;
  CHECK(role(primary) == Role::operator_);

  const auto nobody = access::identify(by_unix(4999), policy);
  const auto refused = access::authorize(*nobody, {Action::run, "mail.send", Effect::act, Role::none, ""}, policy);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().detail == "you are uid 4999 (no role, via unix); mail.send takes operator");
}

TEST_CASE("root is admin while no peers are configured, others are nobody") {
  const access::Policy policy = policy_of({});
  CHECK(access::identify(by_unix(0), policy)->role == Role::admin);
  CHECK(access::identify(by_unix(0), policy)->name == "root");
  CHECK(access::identify(by_unix(4711), policy)->role == Role::none);
}

TEST_CASE("a policy that was not made has no doors") {
  access::Policy policy;
  policy.access.anonymous = "admin";
  CHECK_FALSE(access::identify(by_unix(0), policy));
  CHECK_FALSE(access::identify(by_tcp(), policy));
}

TEST_CASE("wrong tokens are limited for each source, right ones are not") {
  const access::Policy policy = policy_of(with_tokens());
  const auto code = [&](const char* token, const char* address) {
    const auto caller = access::identify(by_tcp(token, address), policy);
    return caller ? std::string("in") : caller.error().code;
  };
  for (int i = 0; i < 10; ++i) CHECK(code("Bearer wrong", "192.0.2.7:5000") == "unauthenticated");
  CHECK(code("Bearer wrong", "192.0.2.7:6000") == "rate");  // the port does not make another source
  CHECK(code("Bearer hatchd_view", "192.0.2.7:5000") == "in");
  CHECK(code("Bearer wrong", "192.0.2.8:5000") == "unauthenticated");
}

TEST_CASE("the table of failed attempts refills and has a bound") {
  access::FailedAttempts attempts;
  const auto start = access::FailedAttempts::Clock::now();
  for (int i = 0; i < 10; ++i) CHECK(attempts.count("a", start));
  CHECK_FALSE(attempts.count("a", start));
  CHECK_FALSE(attempts.count("a", start + std::chrono::seconds(5)));
  CHECK(attempts.wait("a", start + std::chrono::seconds(5)) == std::chrono::seconds(1));
  CHECK(attempts.count("a", start + std::chrono::seconds(7)));
  for (int i = 0; i < 5000; ++i) attempts.count("source " + std::to_string(i), start);
  CHECK(attempts.sources() == access::FailedAttempts::max_sources);
  CHECK_FALSE(attempts.count("one more", start));  // the crowd's bucket is empty, and nobody is let off
  CHECK(attempts.count("one more", start + std::chrono::hours(1)));
  CHECK(attempts.sources() < 10);
}

TEST_CASE("sources") {
  http::Peer peer;
  peer.address = "[2001:db8:1:2:3:4:5:6]:443";
  CHECK(access::source_of(peer) == "2001:db8:1:2::/64");
  peer.address = "127.0.0.1:80";
  CHECK(access::source_of(peer) == "127.0.0.1");
  peer.local = true;
  peer.uid = 12;
  CHECK(access::source_of(peer) == "uid 12");
}

TEST_CASE("expiries") {
  using namespace std::chrono;
  CHECK(access::parse_expiry("1970-01-02") == WallTime(hours(24)));
  CHECK(access::parse_expiry("1970-01-01T01:00:00Z") == WallTime(hours(1)));
  CHECK(access::parse_expiry("1970-01-01T01:00:00.250+01:00") == WallTime());
  CHECK(access::parse_expiry("1970-01-01T00:00:00-01:30") == WallTime(minutes(90)));
  for (const char* wrong :
       {"", "2027", "2027-02-30", "2027-13-01", "2027-01-01T", "2027-01-01T25:00:00Z", "2027-01-01T00:00:00",
        "2027-01-01x", "2027-01-01T00:00:00Zx", "+027-01-01", "01-01-2027"}) {
    CAPTURE(wrong);
    CHECK_FALSE(access::parse_expiry(wrong));
  }
}

TEST_CASE("names of roles and users") {
  for (const Role role : {Role::metrics, Role::viewer, Role::operator_, Role::admin})
    CHECK(access::parse_role(access::to_string(role)) == role);
  CHECK(access::parse_role("root") == Role::none);
  CHECK(access::parse_role("none") == Role::none);
  CHECK(access::user_name(0) == "root");
  CHECK(access::user_name(3999999999) == "uid 3999999999");
}

TEST_CASE("a caller is seen again under a policy that has changed") {
  config::Access rules = with_tokens();
  rules.peers = {{"4711", "", "operator"}};
  const access::Policy before = policy_of(rules);
  const http::Request by_token = by_tcp("Bearer hatchd_operate"), by_peer = by_unix(4711);
  const access::Caller holder = *access::identify(by_token, before), peer = *access::identify(by_peer, before);
  const auto now = [&](const config::Access& changed, const access::Caller& caller, const http::Request& request) {
    const auto renewed = access::renew(caller, request.peer, policy_of(changed));
    return !renewed ? renewed.error().code : access::keeps_rights(caller, *renewed) ? "keeps" : "less";
  };
  CHECK(now(rules, holder, by_token) == "keeps");
  CHECK(now(rules, peer, by_peer) == "keeps");

  config::Access changed = rules;
  changed.tokens[1].role = "admin";
  CHECK(now(changed, holder, by_token) == "keeps");  // more is no less
  changed.tokens[1].role = "viewer";
  CHECK(now(changed, holder, by_token) == "less");
  changed = rules;
  changed.tokens[1].targets = {"other"};
  CHECK(now(changed, holder, by_token) == "less");
  changed.tokens[1].expires = "2020-01-01";
  CHECK(now(changed, holder, by_token) == "unauthenticated");
  // Revoked is the token and not the name: the second one of that name does not stand in for the first.
  changed = rules;
  changed.tokens[1] = token("oncall", "hatchd_another", "admin");
  CHECK(now(changed, holder, by_token) == "unauthenticated");

  changed = rules;
  changed.peers = {{"root", "", "admin"}};
  CHECK(now(changed, peer, by_peer) == "less");
  changed.anonymous = "admin";
  CHECK(now(changed, peer, by_peer) == "keeps");
}

TEST_CASE("two tokens of one name are both good") {
  config::Access rules;
  rules.tokens = {token("oncall", "hatchd_old", "viewer"), token("oncall", "hatchd_new", "operator")};
  const access::Policy policy = policy_of(rules);
  CHECK(access::identify(by_tcp("Bearer hatchd_old"), policy)->role == Role::viewer);
  CHECK(access::identify(by_tcp("Bearer hatchd_new"), policy)->role == Role::operator_);
}
