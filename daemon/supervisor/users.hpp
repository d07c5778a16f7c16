// Whom hatchd's processes become.
//
// Started as root, front, targets and plugins get users of their own: the configured ones (hatchd-front, …), which the
// package creates. Where they do not exist (a first try, a container), three ids without a name are taken from the
// range that systemd uses for DynamicUser= (61184 to 65519), free in the user database and used by no process; so that
// also then no process that parses input owns anything. Started as anybody else, all stay who they are.
#pragma once

#include <sys/types.h>

#include <optional>

#include "base/problem.hpp"
#include "config/config.hpp"

namespace hatchd::supervisor {

struct Identity {
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
};

struct Identities {
  Identity front, targets, plugins;
  bool transient = false;  // ids without a name
};

// `runs`: the folder that was the front's the last time.
Result<Identities> choose_identities(const config::Users& users, const std::string& runs = {});

// Changes the owner of `path` and of the folders and files in it that are not `identity`'s already; a folder in it that is
// counts for all that it holds. Follows no link, and leaves alone what has a second name.
Result<void> give_to(const std::string& path, const Identity& identity);

}  // namespace hatchd::supervisor
