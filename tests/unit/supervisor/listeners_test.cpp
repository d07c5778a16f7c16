#include "supervisor/listeners.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace hatchd;
using supervisor::bind_tcp;
using supervisor::bind_unix;

namespace {
struct Folder {
  std::string path = "/tmp/hatchd-test-XXXXXX";
  Folder() { REQUIRE(::mkdtemp(path.data())); }
  ~Folder() { std::filesystem::remove_all(path); }
};
}  // namespace

TEST_CASE("a Unix socket gets its mode before anybody can connect, and its folder is made") {
  const Folder folder;
  const std::string path = folder.path + "/deep/hatchd.sock";
  const auto listener = bind_unix(path, 0600, "");
  REQUIRE(listener);
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK(S_ISSOCK(info.st_mode));
  CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("a socket that answers is not taken over, a stale one is") {
  const Folder folder;
  const std::string path = folder.path + "/hatchd.sock";
  {
    const auto first = bind_unix(path, 0600, "");
    REQUIRE(first);
    const auto second = bind_unix(path, 0600, "");
    REQUIRE_FALSE(second);
    CHECK(second.error().detail.find("another process serves there") != std::string::npos);
  }
  CHECK(bind_unix(path, 0600, ""));
}

TEST_CASE("what is not a socket is left alone") {
  const Folder folder;
  const std::string path = folder.path + "/precious";
  std::ofstream(path) << "data";
  CHECK_FALSE(bind_unix(path, 0600, ""));
  CHECK(std::filesystem::file_size(path) == 4);
  CHECK_FALSE(bind_unix(folder.path + "/" + std::string(120, 'x'), 0600, ""));
  CHECK_FALSE(bind_unix(folder.path + "/s", 0600, "no-such-group-here"));
}

TEST_CASE("TCP listeners say their real port, and a taken one is refused") {
  const auto listener = bind_tcp("127.0.0.1:0");
  REQUIRE(listener);
  CHECK(listener->tcp.rfind("127.0.0.1:", 0) == 0);
  CHECK(listener->tcp != "127.0.0.1:0");
  const auto again = bind_tcp(listener->tcp);
  REQUIRE_FALSE(again);
  CHECK(again.error().detail.find("EADDRINUSE") != std::string::npos);
  CHECK_FALSE(bind_tcp("nonsense"));
  CHECK_FALSE(bind_tcp("example.org:80"));
}
