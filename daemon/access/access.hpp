// Who is asking, and may they. Two functions: identify() turns what the kernel and the headers say into a Caller;
// authorize() is the one place that decides, for every route: run, status, events, list, cancel, artifact, session.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"
#include "config/config.hpp"
#include "config/peers.hpp"
#include "http/message.hpp"
#include "schema/schema.hpp"

namespace hatchd::access {

enum class Role { none, metrics, viewer, operator_, admin };
std::string_view to_string(Role role);
Role parse_role(std::string_view text);  // none for anything unknown
Role role_for(schema::Effect effect);    // observe: viewer, act: operator, disrupt: admin

struct Caller {
  std::string name;          // user or token name, "anonymous"
  std::string via;           // "unix", "token", "anonymous"
  std::optional<uid_t> uid;  // unix only
  std::string login;         // the person behind sudo, "" when unknown
  Role role = Role::none;
  std::vector<std::string> hatches, targets;  // a token's scope; empty: all
  std::string credential;                     // the SHA-256 of its token, by which renew() finds it again
};

class FailedAttempts;  // attempts.hpp
struct Resolved;       // access.cpp: names of users and groups, tokens, and times, looked up once

// What identify() and authorize() need to know; made once from the configuration, by make_policy().
struct Policy {
  config::Access access;
  std::vector<config::Listen> listen;
  std::vector<uid_t> reserved_uids;          // hatchd's own users: no role (unless root), nor has the overflow uid
  std::vector<uid_t> admin_uids;             // the human of `hatchd --pid`
  std::shared_ptr<const Resolved> resolved;  // without it nobody has a role: make_policy() was forgotten
  std::shared_ptr<FailedAttempts> attempts;  // wrong tokens by source; hand it over at a reload
};

// `peers`: the ids behind the names of access.peers (config/peers.hpp).
Policy make_policy(config::Access access, std::vector<config::Listen> listen, const config::PeerIds& peers,
                   std::vector<uid_t> reserved_uids = {}, std::vector<uid_t> admin_uids = {});

// A bearer token wins over the socket's identity; a wrong one is `unauthenticated`, never a fall-back.
// SHA-256 of the token is compared in constant time with every entry.
Result<Caller> identify(const http::Request& request, const Policy& policy);

// The same caller under a policy that has changed since: as identify() would see it now. Refused when it is nobody any
// more (revoked, expired).
Result<Caller> renew(const Caller& caller, const http::Peer& peer, const Policy& policy);
// May it still do all that it could? What is under way for it goes on then.
bool keeps_rights(const Caller& before, const Caller& now);

enum class Action {
  health,   // open
  index,    // GET /, robots.txt, openapi.json
  metrics,  // role metrics
  list,     // catalogue, targets, runs: role viewer; entries are filtered by sees()
  run,      // by effect
  read,     // a run, its events, its artifacts: needs the right to run that hatch with those parameters
  cancel,   // the same
  remove,   // an artifact: the same
  audit,    // admin
};

struct Ask {
  Action action;
  std::string hatch;                                // run, read, cancel, remove
  schema::Effect effect = schema::Effect::observe;  // the highest of hatch, parameters, configuration
  Role role = Role::none;                           // raised by the configuration or x-role
  std::string target;                               // "" for none
};

// The problem: role-missing (who you are, which role it takes), read-only, or hatch-unknown/target-unknown/run-unknown
// where a token's own scope hides it.
Result<void> authorize(const Caller& caller, const Ask& ask, const Policy& policy);

// Does the caller's scope show this hatch and target at all? For filtering lists.
bool sees(const Caller& caller, std::string_view hatch, std::string_view target);

}  // namespace hatchd::access
