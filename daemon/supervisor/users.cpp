#include "supervisor/users.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "base/fd.hpp"
#include "base/rights.hpp"

namespace hatchd::supervisor {

namespace {

constexpr uid_t first_transient = 61184, last_transient = 65519;  // systemd: UIDS-GIDS.md, "dynamic service users"

// Ids that this user namespace can name (user_namespaces(7), uid_map): a rootless container has few.
bool mapped(uid_t id) {
  std::ifstream map("/proc/self/uid_map");
  for (unsigned long inside, outside, count; map >> inside >> outside >> count;)
    if (id >= inside && id - inside < count) return true;
  return false;
}

std::set<uid_t> ids_in_use() {
  std::set<uid_t> used;
  DIR* proc = ::opendir("/proc");
  if (!proc) return used;
  Defer close([&] { ::closedir(proc); });
  while (const dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    // Not the folder's owner: an undumpable process's is root, and its status still names its ids.
    std::ifstream status("/proc/" + std::string(entry->d_name) + "/status");
    for (std::string word; status >> word;)
      if (word == "Uid:") {
        for (uid_t id; status >> id;) used.insert(id);
        break;
      }
  }
  return used;
}

}  // namespace

Result<Identities> choose_identities(const config::Users& users, const std::string& runs) {
  Identities chosen;
  const auto held = rights::capabilities();
  if (!std::binary_search(held.begin(), held.end(), std::string("setuid")) ||
      !std::binary_search(held.begin(), held.end(), std::string("setgid")) || ::geteuid() != 0)
    return chosen;

  const std::array<std::pair<const std::string*, Identity*>, 3> all{
      {{&users.front, &chosen.front}, {&users.targets, &chosen.targets}, {&users.plugins, &chosen.plugins}}};
  std::set<uid_t> used;
  // The front is whom it was the last time, as with DynamicUser=: the runs are its own already.
  struct stat before {};
  const bool known = ::lstat(runs.c_str(), &before) == 0 && before.st_uid >= first_transient &&
                     before.st_uid <= last_transient && before.st_gid == before.st_uid;
  uid_t candidate =
      known ? before.st_uid : first_transient + std::random_device{}() % (last_transient - first_transient + 1);
  for (const auto& [name, identity] : all) {
    if (const passwd* entry = ::getpwnam(name->c_str())) {
      if (entry->pw_uid == 0)
        return refuse("internal", "the user " + *name + " is root",
                      "give it a user id of its own, see \"users\" in the configuration");
      identity->uid = entry->pw_uid;
      identity->gid = entry->pw_gid;
      continue;
    }
    if (used.empty()) used = ids_in_use();
    uid_t tried = 0;
    while (tried <= last_transient - first_transient &&
           (used.count(candidate) || !mapped(candidate) || ::getpwuid(candidate) || ::getgrgid(candidate))) {
      candidate = candidate == last_transient ? first_transient : candidate + 1;
      ++tried;
    }
    // A user namespace without such ids: all stay who they are, and the fence is that of one shared user.
    if (tried > last_transient - first_transient) return Identities{};
    used.insert(candidate);
    identity->uid = candidate;
    identity->gid = candidate;
    chosen.transient = true;
  }
  return chosen;
}

namespace {

constexpr int max_depth = 16;

// By descriptors all the way: the folder is another user's, who may swap any name in it while we look. A file with a
// second name is left alone; it may be somebody's from elsewhere. A folder comes after what is in it: so one that is theirs
// needs no look inside, which counts where there are a hundred thousand. Of `path` itself the folders in it are looked at.
Result<void> give_entry(int parent, const char* name, const Identity& identity, int depth) {
  struct stat info {};
  const auto theirs = [&] { return info.st_uid == *identity.uid && info.st_gid == *identity.gid; };
  if (depth < max_depth && ::fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && theirs()) return {};
  const UniqueFd entry{::openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
  if (!entry || ::fstat(entry.get(), &info) != 0) return {};  // a link, a socket, or gone: nothing of ours
  const bool folder = S_ISDIR(info.st_mode);
  if (!folder && (!S_ISREG(info.st_mode) || info.st_nlink != 1)) return {};
  const std::unique_ptr<DIR, int (*)(DIR*)> listing{
      folder && depth > 0 ? ::fdopendir(::fcntl(entry.get(), F_DUPFD_CLOEXEC, 0)) : nullptr, &::closedir};
  while (const dirent* child = listing ? ::readdir(listing.get()) : nullptr) {
    if (std::strcmp(child->d_name, ".") == 0 || std::strcmp(child->d_name, "..") == 0) continue;
    if (auto done = give_entry(entry.get(), child->d_name, identity, depth - 1); !done) return done;
  }
  if (!theirs() && ::fchown(entry.get(), *identity.uid, *identity.gid) != 0)
    return refuse("internal", std::string(name) + ": chown: " + errno_text(errno));
  return {};
}

}  // namespace

Result<void> give_to(const std::string& path, const Identity& identity) {
  if (!identity.uid) return {};
  return give_entry(AT_FDCWD, path.c_str(), identity, max_depth);
}

}  // namespace hatchd::supervisor
