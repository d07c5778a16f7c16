#include "config/peers.hpp"

#include <grp.h>
#include <pwd.h>

#include <cerrno>
#include <charconv>
#include <optional>

#include <boost/json/value.hpp>

#include "base/fd.hpp"
#include "base/json.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

constexpr std::size_t max_room = 4 << 20;  // a group of many thousands

template <class Id>
std::optional<Id> number(const std::string& text) {
  Id id{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return id;
}

// getpwnam_r(3), getgrnam_r(3): these errors say that there is no such name, others that nobody could be asked.
bool means_unknown(int error) {
  return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

// One name by either function into `ids`, or why not.
template <class Entry, class Id, class Ask>
void look_up(const std::string& name, const std::string& at, std::map<std::string, Id>& ids, Id Entry::*id, Ask ask,
             PeerIds& all) {
  if (name.empty()) return;
  std::vector<char> room(16 << 10);
  Entry entry{};
  Entry* found = nullptr;
  int error = 0;
  while ((error = ask(name.c_str(), &entry, room.data(), room.size(), &found)) == ERANGE && room.size() < max_room)
    room.resize(room.size() * 4);
  if (found != nullptr)
    ids[name] = entry.*id;
  else if (const auto given = number<Id>(name))
    ids[name] = *given;
  else if (means_unknown(error))
    all.unknown.push_back({at, "does not exist: \"" + name + "\""});
  else
    all.unanswered.push_back({at, "cannot be looked up: " + errno_text(error)});
}

template <class Id>
std::map<std::string, Id> ids_from(const json::object& object, std::string_view name) {
  std::map<std::string, Id> ids;
  if (const json::object* entries = object_of(object, name))
    for (const auto& entry : *entries)
      if (entry.value().is_number()) ids[entry.key()] = entry.value().to_number<Id>();
  return ids;
}

}  // namespace

PeerIds look_up_peers(const Access& access) {
  PeerIds ids;
  for (std::size_t i = 0; i < access.peers.size(); ++i) {
    const std::string at = "/access/peers/" + std::to_string(i);
    look_up(access.peers[i].user, at + "/user", ids.users, &passwd::pw_uid, ::getpwnam_r, ids);
    look_up(access.peers[i].group, at + "/group", ids.groups, &group::gr_gid, ::getgrnam_r, ids);
  }
  return ids;
}

json::object to_json(const PeerIds& ids) {
  json::object users, groups;
  for (const auto& [name, uid] : ids.users) users[name] = uid;
  for (const auto& [name, gid] : ids.groups) groups[name] = gid;
  return {{"users", std::move(users)}, {"groups", std::move(groups)}};
}

PeerIds peer_ids_from(const json::object& object) {
  PeerIds ids;
  ids.users = ids_from<uid_t>(object, "users");
  ids.groups = ids_from<gid_t>(object, "groups");
  return ids;
}

}  // namespace hatchd::config
