// What make_policy() looked up once, so that identify() only compares numbers and digests.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "access/access.hpp"
#include "base/clock.hpp"

namespace hatchd::access {

struct Resolved {
  struct Token {
    std::string name;
    std::string sha256;  // 64 hex digits in lower case
    Role role = Role::none;
    std::vector<std::string> hatches, targets;
    std::optional<WallTime> expires;
    bool broken = false;  // an expiry that cannot be read: counts as expired
  };
  std::map<uid_t, Role> users;
  std::map<gid_t, Role> groups;
  std::set<uid_t> barred;  // hatchd's own users and the overflow uid
  std::set<uid_t> admins;
  std::vector<Token> tokens;
  std::string socket;  // the Unix listener that remedies name, "" for none
};

// "2027-01-01" (from that day on it is expired) or an RFC 3339 time.
std::optional<WallTime> parse_expiry(std::string_view text);

}  // namespace hatchd::access
