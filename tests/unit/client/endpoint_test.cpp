#include "client/endpoint.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/fd.hpp"
#include "catch.hpp"

using namespace hatchd::client;
namespace fs = std::filesystem;

namespace {

// A world with a runtime directory of its own and no system socket.
struct World {
  World() {
    char pattern[] = "/tmp/hatchctl-test-XXXXXX";
    REQUIRE(::mkdtemp(pattern));
    root = pattern;
    places.system_socket = root + "/run/hatchd/hatchd.sock";
    places.runtime_directories = {root + "/user"};
    fs::create_directories(root + "/user");
  }
  ~World() { fs::remove_all(root); }

  hatchd::UniqueFd socket(const std::string& path, bool listening = true) const {
    fs::create_directories(fs::path(path).parent_path());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    hatchd::UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    if (listening) REQUIRE(::listen(fd.get(), 4) == 0);
    return fd;
  }
  std::string token_file(const std::string& text, mode_t mode) const {
    const std::string path = root + "/token";
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }

  std::string root;
  Places places;
};

}  // namespace

TEST_CASE("nothing found says what was tried and what to do") {
  const World world;
  const auto endpoint = find_endpoint(world.places);
  REQUIRE_FALSE(endpoint);
  CHECK(endpoint.error().code == "cannot-connect");
  CHECK(endpoint.error().candidates.size() == 3);
  CHECK_FALSE(endpoint.error().remedy.empty());
}

TEST_CASE("the order: option, environment, system socket, own socket, zero configuration") {
  World world;
  const auto zero = world.socket(world.root + "/user/hatchd-17/hatchd.sock");
  CHECK(find_endpoint(world.places)->socket == world.root + "/user/hatchd-17/hatchd.sock");
  const auto own = world.socket(world.root + "/user/hatchd/hatchd.sock");
  CHECK(find_endpoint(world.places)->socket == world.root + "/user/hatchd/hatchd.sock");
  const auto system = world.socket(world.places.system_socket);
  CHECK(find_endpoint(world.places)->socket == world.places.system_socket);
  world.places.env_url = "http://127.0.0.1:4282/";
  CHECK(find_endpoint(world.places)->url == "http://127.0.0.1:4282");
  world.places.socket = "/else/where.sock";
  CHECK(find_endpoint(world.places)->socket == "/else/where.sock");
}

TEST_CASE("several daemons without configuration are listed, dead ones are not") {
  World world;
  const auto one = world.socket(world.root + "/user/hatchd-1/hatchd.sock");
  const auto dead = world.socket(world.root + "/user/hatchd-2/hatchd.sock", false);
  CHECK(find_endpoint(world.places)->socket == world.root + "/user/hatchd-1/hatchd.sock");
  world.places.runtime_directories.push_back(world.root + "/user");  // XDG_RUNTIME_DIR and TMPDIR may be the same
  CHECK(find_endpoint(world.places)->socket == world.root + "/user/hatchd-1/hatchd.sock");
  const auto two = world.socket(world.root + "/user/hatchd-3/hatchd.sock");
  const auto endpoint = find_endpoint(world.places);
  REQUIRE_FALSE(endpoint);
  CHECK(endpoint.error().code == "usage");
  CHECK(endpoint.error().candidates.size() == 2);
}

TEST_CASE("a file that is no socket is not taken for one") {
  World world;
  fs::create_directories(world.root + "/user/hatchd");
  std::ofstream(world.root + "/user/hatchd/hatchd.sock") << "x";
  CHECK_FALSE(find_endpoint(world.places));
}

TEST_CASE("addresses that are none") {
  World world;
  for (const char* wrong : {"127.0.0.1:4282", "ftp://x", "http://a/b", "http://user@host", "http://a b"}) {
    CAPTURE(wrong);
    world.places.url = wrong;
    const auto endpoint = find_endpoint(world.places);
    REQUIRE_FALSE(endpoint);
    CHECK(endpoint.error().code == "usage");
  }
}

TEST_CASE("token files") {
  const World world;
  SECTION("the line that curl takes") {
    CHECK(*read_token_file(world.token_file("X-Other: 1\nauthorization: Bearer hatchd_abc\r\n", 0600)) == "hatchd_abc");
    CHECK(*read_token_file(world.token_file("Authorization: Bearer hatchd_abc", 0640)) == "hatchd_abc");
  }
  SECTION("one that others can read or change is refused") {
    for (const mode_t mode : {0644u, 0604u, 0602u, 0660u}) {
      CAPTURE(mode);
      const auto token = read_token_file(world.token_file("Authorization: Bearer hatchd_abc\n", mode));
      REQUIRE_FALSE(token);
      CHECK(token.error().remedy.find("chmod 600") != std::string::npos);
    }
  }
  SECTION("without a token") {
    CHECK_FALSE(read_token_file(world.token_file("hatchd_abc\n", 0600)));
    CHECK_FALSE(read_token_file(world.token_file("Authorization: Bearer a\x01z\n", 0600)));
    CHECK_FALSE(read_token_file(world.root));
    CHECK_FALSE(read_token_file(world.root + "/none"));
  }
}

TEST_CASE("a token does not leave the machine in clear text") {
  World world;
  world.places.token_file = world.token_file("Authorization: Bearer hatchd_abc\n", 0600);
  for (const char* fine :
       {"http://127.0.0.1:4282", "http://localhost:1", "http://[::1]:1", "https://far.example.org"}) {
    CAPTURE(fine);
    world.places.url = fine;
    CHECK(find_endpoint(world.places)->token == "hatchd_abc");
  }
  world.places.url = "http://far.example.org:4282";
  CHECK_FALSE(find_endpoint(world.places));
  world.places.url = "http://127.evil.example.org:4282";
  CHECK_FALSE(find_endpoint(world.places));
}
