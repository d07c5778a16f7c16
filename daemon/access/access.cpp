#include "access/access.hpp"

#include <algorithm>
#include <cctype>

#include "access/attempts.hpp"
#include "access/names.hpp"
#include "access/policy.hpp"
#include "base/digest.hpp"

namespace hatchd::access {
namespace {

constexpr std::size_t max_token = 512;

// Looks at every entry whatever it finds, so that time tells nothing about which one fits.
const Resolved::Token* find_token(const Resolved& resolved, std::string_view digest) {
  const Resolved::Token* found = nullptr;
  for (const Resolved::Token& token : resolved.tokens)
    if (same_secret(token.sha256, digest)) found = &token;
  return found;
}

std::string identity_remedy(const Policy& policy, Role needed) {
  const std::string token =
      "present a token as \"Authorization: Bearer hatchd_...\" (make one: hatchd token new NAME --role " +
      std::string(to_string(needed)) + ")";
  if (!policy.resolved || policy.resolved->socket.empty()) return token;
  return "use the Unix socket (curl --unix-socket " + policy.resolved->socket + " ...) or " + token;
}

tl::unexpected<Problem> unauthenticated(const Policy& policy, std::string detail, Role needed = Role::viewer) {
  return refuse("unauthenticated", std::move(detail), identity_remedy(policy, needed));
}

// The token of "Bearer TOKEN"; "" for anything else.
std::string_view bearer(std::string_view header) {
  constexpr std::string_view scheme = "bearer ";
  if (header.size() < scheme.size() || header.size() > max_token) return {};
  for (std::size_t i = 0; i < scheme.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(header[i])) != scheme[i]) return {};
  header.remove_prefix(scheme.size());
  while (header.starts_with(' ')) header.remove_prefix(1);
  return header;
}

// What a token of the policy makes of whoever presents it.
Result<Caller> caller_of(const Resolved::Token& token, const http::Peer& peer, const Policy& policy) {
  if (token.broken || (token.expires && std::chrono::system_clock::now() >= *token.expires))
    return unauthenticated(policy, "the token \"" + token.name + "\" has expired", token.role);
  Caller caller;
  caller.name = token.name;
  caller.via = "token";
  caller.role = token.role;
  caller.hatches = token.hatches;
  caller.targets = token.targets;
  caller.credential = token.sha256;
  caller.login = peer.login;
  if (peer.local) caller.uid = peer.uid;
  return caller;
}

Result<Caller> from_token(const http::Request& request, std::string_view header, const Policy& policy) {
  const std::string_view text = bearer(header);
  const Resolved::Token* token = text.empty() ? nullptr : find_token(*policy.resolved, sha256(text));
  if (token) return caller_of(*token, request.peer, policy);
  if (policy.attempts && !policy.attempts->count(source_of(request.peer), FailedAttempts::Clock::now()))
    return refuse("rate", "too many wrong tokens from here", "wait a few seconds, then use the right token");
  return unauthenticated(policy, text.empty() ? "the Authorization header is not of the form \"Bearer TOKEN\""
                                              : "this token is not known here");
}

Role anonymous_role(const http::Peer& peer, const Policy& policy) {
  const std::size_t index = peer.listener;
  if (index < policy.listen.size() && !policy.listen[index].anonymous.empty())
    return parse_role(policy.listen[index].anonymous);
  return parse_role(policy.access.anonymous);
}

Role role_of_peer(const http::Peer& peer, const Resolved& resolved, Role anonymous) {
  if (resolved.admins.contains(peer.uid)) return Role::admin;
  if (resolved.barred.contains(peer.uid)) return Role::none;
  Role role = anonymous;
  if (const auto found = resolved.users.find(peer.uid); found != resolved.users.end())
    role = std::max(role, found->second);
  const auto by_group = [&](gid_t gid) {
    if (const auto found = resolved.groups.find(gid); found != resolved.groups.end())
      role = std::max(role, found->second);
  };
  by_group(peer.gid);
  for (const gid_t gid : peer.groups) by_group(gid);
  return role;
}

// By the socket alone.
Result<Caller> without_token(const http::Peer& peer, const Policy& policy) {
  const Role anonymous = anonymous_role(peer, policy);
  Caller caller;
  if (peer.local) {
    caller.name = user_name(peer.uid);
    caller.via = "unix";
    caller.uid = peer.uid;
    caller.login = peer.login;
    caller.role = role_of_peer(peer, *policy.resolved, anonymous);
    return caller;
  }
  if (anonymous == Role::none) return unauthenticated(policy, "this listener needs a token");
  caller.name = "anonymous";
  caller.via = "anonymous";
  caller.role = anonymous;
  return caller;
}

// "stack.*" against "stack.dump": a star stands for anything, nothing else is special.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t at = 0, in = 0, star = pattern.npos, resume = 0;
  while (in < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      resume = in;
    } else if (at < pattern.size() && pattern[at] == text[in]) {
      ++at, ++in;
    } else if (star != pattern.npos) {
      at = star + 1;
      in = ++resume;
    } else {
      return false;
    }
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

bool in_scope(const std::vector<std::string>& patterns, std::string_view name) {
  return patterns.empty() || name.empty() ||
         std::any_of(patterns.begin(), patterns.end(), [&](const std::string& p) { return matches(p, name); });
}

// What the caller would get for something that does not exist, so that a token's scope tells nothing.
tl::unexpected<Problem> hidden(const Caller& caller, const Ask& ask) {
  if (ask.action != Action::run) return refuse("run-unknown", "there is no such run");
  if (!in_scope(caller.hatches, ask.hatch)) return refuse("hatch-unknown", "there is no hatch \"" + ask.hatch + "\"");
  return refuse("target-unknown", "there is no target \"" + ask.target + "\"");
}

Role needed_role(const Ask& ask) {
  switch (ask.action) {
    case Action::health: return Role::none;
    case Action::metrics: return Role::metrics;
    case Action::index:
    case Action::list: return Role::viewer;
    case Action::audit: return Role::admin;
    case Action::run:
    case Action::read:
    case Action::cancel:
    case Action::remove: return std::max(role_for(ask.effect), ask.role);
  }
  return Role::admin;
}

std::string what_it_is(const Ask& ask) {
  const std::string of_hatch = ask.hatch.empty() ? "" : " of " + ask.hatch;
  switch (ask.action) {
    case Action::run: return ask.hatch.empty() ? "running a hatch" : ask.hatch;
    case Action::read: return "reading a run" + of_hatch;
    case Action::cancel: return "cancelling a run" + of_hatch;
    case Action::remove: return "removing an artifact" + of_hatch;
    case Action::metrics: return "reading the metrics";
    case Action::audit: return "reading the audit";
    case Action::health:
    case Action::index:
    case Action::list: break;
  }
  return "this";
}

std::string role_remedy(const Caller& caller, Role needed, const Policy& policy) {
  const std::string role(to_string(needed));
  if (caller.uid && policy.resolved && policy.resolved->barred.contains(*caller.uid) && caller.via == "unix")
    return "hatchd itself runs as this user, or the user is unknown in hatchd's user namespace: call as another user "
           "or with a token";
  if (caller.via == "unix")
    return "give " + caller.name + " or one of its groups the role " + role +
           " in access.peers, or use a token of that role (hatchd token new NAME --role " + role + ")";
  return "use a token with the role " + role + " (hatchd token new NAME --role " + role + ")";
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::metrics: return "metrics";
    case Role::viewer: return "viewer";
    case Role::operator_: return "operator";
    case Role::admin: return "admin";
    case Role::none: break;
  }
  return "none";
}

Role parse_role(std::string_view text) {
  for (const Role role : {Role::metrics, Role::viewer, Role::operator_, Role::admin})
    if (text == to_string(role)) return role;
  return Role::none;
}

Role role_for(schema::Effect effect) {
  switch (effect) {
    case schema::Effect::observe: return Role::viewer;
    case schema::Effect::act: return Role::operator_;
    case schema::Effect::disrupt: break;
  }
  return Role::admin;
}

Result<Caller> identify(const http::Request& request, const Policy& policy) {
  if (!policy.resolved) return unauthenticated(policy, "nobody may do anything: no policy is loaded");

  std::size_t authorizations = 0;
  for (const auto& [name, value] : request.headers) authorizations += name == "authorization";
  if (authorizations > 1) return unauthenticated(policy, "there is more than one Authorization header");
  if (authorizations == 1) return from_token(request, request.header("authorization"), policy);

  return without_token(request.peer, policy);
}

Result<Caller> renew(const Caller& caller, const http::Peer& peer, const Policy& policy) {
  if (!policy.resolved) return unauthenticated(policy, "nobody may do anything: no policy is loaded");
  if (caller.credential.empty()) return without_token(peer, policy);
  if (const Resolved::Token* token = find_token(*policy.resolved, caller.credential))
    return caller_of(*token, peer, policy);
  return unauthenticated(policy, "the token \"" + caller.name + "\" is not valid any more", caller.role);
}

bool keeps_rights(const Caller& before, const Caller& now) {
  return now.role >= before.role && now.hatches == before.hatches && now.targets == before.targets;
}

Result<void> authorize(const Caller& caller, const Ask& ask, const Policy& policy) {
  if (ask.action == Action::health) return {};

  // First what hides, so that a role tells nothing about what the scope excludes.
  if (!sees(caller, ask.hatch, ask.target)) return hidden(caller, ask);

  const Role needed = needed_role(ask);
  if (caller.role < needed) {
    if (caller.via == "anonymous")
      return unauthenticated(policy, what_it_is(ask) + " takes the role " + std::string(to_string(needed)), needed);
    const std::string has = caller.role == Role::none ? "no role" : std::string(to_string(caller.role));
    return refuse("role-missing",
                  "you are " + caller.name + " (" + has + ", via " + caller.via + "); " + what_it_is(ask) + " takes " +
                      std::string(to_string(needed)),
                  role_remedy(caller, needed, policy));
  }

  // Cancelling stays possible: it ends an effect. Removing does not: it destroys what was found.
  const bool changes =
      (ask.action == Action::run && ask.effect != schema::Effect::observe) || ask.action == Action::remove;
  if (policy.access.read_only && changes)
    return refuse("read-only", what_it_is(ask) + " changes something, and this hatchd is read-only",
                  "unset access.read_only and reload");
  return {};
}

bool sees(const Caller& caller, std::string_view hatch, std::string_view target) {
  return in_scope(caller.hatches, hatch) && in_scope(caller.targets, target);
}

}  // namespace hatchd::access
