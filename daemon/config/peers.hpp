// The ids behind the names of access.peers. Looking one up may ask LDAP and block, which the front can afford neither by
// its duties nor by its rights; so the supervisor does it, at start and at reload, and hands on numbers.
#pragma once

#include <sys/types.h>

#include <boost/json/fwd.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/problem.hpp"
#include "config/config.hpp"

namespace hatchd::config {

struct PeerIds {
  std::map<std::string, uid_t> users;
  std::map<std::string, gid_t> groups;
  std::vector<FieldError> unknown;     // names that do not exist, each with its JSON Pointer
  std::vector<FieldError> unanswered;  // names of which nobody could be asked just now
};

PeerIds look_up_peers(const Access& access);

boost::json::object to_json(const PeerIds& ids);
PeerIds peer_ids_from(const boost::json::object& object);

}  // namespace hatchd::config
