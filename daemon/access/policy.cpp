#include "access/policy.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "access/attempts.hpp"
#include "access/names.hpp"
#include "base/log.hpp"

namespace hatchd::access {
namespace {

// Two digits and more: "01" of a date. Moves `text` behind them.
bool take_number(std::string_view& text, std::size_t digits, int& value) {
  if (text.size() < digits) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc() || end != text.data() + digits || value < 0) return false;
  text.remove_prefix(digits);
  return true;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == any_of.npos) return false;
  text.remove_prefix(1);
  return true;
}

// What a uid from another user namespace looks like (proc_sys_kernel(5)).
uid_t overflow_uid() {
  uid_t uid = 65534;
  std::ifstream("/proc/sys/kernel/overflowuid") >> uid;
  return uid;
}

// A name without an id gives nobody a role; the supervisor has said so.
void add_peers(const config::Access& access, const config::PeerIds& ids, Resolved& resolved) {
  for (const config::Peer& peer : access.peers) {
    const Role role = parse_role(peer.role);
    if (const auto user = ids.users.find(peer.user); user != ids.users.end()) {
      Role& entry = resolved.users[user->second];
      entry = std::max(entry, role);
      remember_user(user->second, peer.user);
    }
    if (const auto group = ids.groups.find(peer.group); group != ids.groups.end()) {
      Role& entry = resolved.groups[group->second];
      entry = std::max(entry, role);
    }
  }
  if (access.peers.empty()) resolved.users[0] = Role::admin;
}

}  // namespace

std::optional<WallTime> parse_expiry(std::string_view text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!take_number(text, 4, year) || !take(text, "-") || !take_number(text, 2, month) || !take(text, "-") ||
      !take_number(text, 2, day))
    return {};
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return {};
  WallTime time = std::chrono::sys_days(date);
  if (text.empty()) return time;

  if (!take(text, "Tt ") || !take_number(text, 2, hour) || !take(text, ":") || !take_number(text, 2, minute) ||
      !take(text, ":") || !take_number(text, 2, second) || hour > 23 || minute > 59 || second > 60)
    return {};
  time += std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second);
  if (take(text, "."))  // fractions do not matter for an expiry
    while (take(text, "0123456789")) continue;
  if (take(text, "Zz")) return text.empty() ? std::optional(time) : std::nullopt;
  const int sign = text.starts_with('-') ? -1 : 1;
  int offset_hours = 0, offset_minutes = 0;
  if (!take(text, "+-") || !take_number(text, 2, offset_hours) || !take(text, ":") ||
      !take_number(text, 2, offset_minutes) || !text.empty())
    return {};
  return time - sign * (std::chrono::hours(offset_hours) + std::chrono::minutes(offset_minutes));
}

Policy make_policy(config::Access access, std::vector<config::Listen> listen, const config::PeerIds& peers,
                   std::vector<uid_t> reserved_uids, std::vector<uid_t> admin_uids) {
  auto resolved = std::make_shared<Resolved>();
  add_peers(access, peers, *resolved);

  for (const uid_t uid : reserved_uids)
    if (uid != 0) resolved->barred.insert(uid);
  resolved->barred.insert(overflow_uid());
  resolved->admins.insert(admin_uids.begin(), admin_uids.end());

  for (const config::Token& token : access.tokens) {
    Resolved::Token entry{token.name, token.sha256, parse_role(token.role), token.hatches, token.targets, {}, false};
    std::transform(entry.sha256.begin(), entry.sha256.end(), entry.sha256.begin(),
                   [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (!token.expires.empty()) {
      entry.expires = parse_expiry(token.expires);
      entry.broken = !entry.expires;
      if (entry.broken) log::warning("a token has an expiry that cannot be read", {{"token", token.name}});
    }
    resolved->tokens.push_back(std::move(entry));
  }
  for (const config::Listen& entry : listen)
    if (resolved->socket.empty()) resolved->socket = entry.unix_path;

  Policy policy;
  policy.access = std::move(access);
  policy.listen = std::move(listen);
  policy.reserved_uids = std::move(reserved_uids);
  policy.admin_uids = std::move(admin_uids);
  policy.resolved = std::move(resolved);
  policy.attempts = std::make_shared<FailedAttempts>();
  return policy;
}

}  // namespace hatchd::access
