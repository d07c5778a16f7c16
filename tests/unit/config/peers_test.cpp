#include "config/peers.hpp"

#include <boost/json/object.hpp>

#include "catch.hpp"

using namespace hatchd;

TEST_CASE("names of users and groups, and numbers, become ids") {
  config::Access access;
  access.peers = {{"root", "", "admin"},          {"", "root", "operator"}, {"4711", "", "viewer"},
                  {"no-such-user", "", "viewer"}, {"", "8100", "viewer"},   {"", "no-such-group", "viewer"}};
  const config::PeerIds ids = config::look_up_peers(access);
  CHECK(ids.users == std::map<std::string, uid_t>{{"root", 0}, {"4711", 4711}});
  CHECK(ids.groups == std::map<std::string, gid_t>{{"root", 0}, {"8100", 8100}});
  REQUIRE(ids.unknown.size() == 2);
  CHECK(ids.unknown[0].pointer == "/access/peers/3/user");
  CHECK(ids.unknown[0].detail == "does not exist: \"no-such-user\"");
  CHECK(ids.unknown[1].pointer == "/access/peers/5/group");
  CHECK(ids.unanswered.empty());

  const config::PeerIds again = config::peer_ids_from(config::to_json(ids));
  CHECK(again.users == ids.users);
  CHECK(again.groups == ids.groups);
}
