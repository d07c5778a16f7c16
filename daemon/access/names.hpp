// User names for uids, without ever blocking the event loop. getpwuid(3) may ask LDAP or a daemon, for which the front
// has neither the time nor the right to open a socket; so names come from /etc/passwd, read again when it changes, and
// from what make_policy() looked up at start. Unknown uids are "uid 1234".
#pragma once

#include <sys/types.h>

#include <string>

namespace hatchd::access {

std::string user_name(uid_t uid);
void remember_user(uid_t uid, const std::string& name);

}  // namespace hatchd::access
