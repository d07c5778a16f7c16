#include "supervisor/spawn.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/fd.hpp"
#include "catch.hpp"
#include "supervisor/supervisor.hpp"
#include "supervisor/users.hpp"

using namespace hatchd;

TEST_CASE("a program that cannot be run is a refusal with the reason") {
  const auto child = supervisor::spawn("/no/such/program", "hatchd: test");
  REQUIRE_FALSE(child);
  CHECK(child.error().detail.find("ENOENT") != std::string::npos);
}

TEST_CASE("a child shows its title, and its channel ends when it does") {
  // cat reads /dev/null and ends at once; only its name and its end matter here.
  auto child = supervisor::spawn("/bin/cat", "hatchd: test child");
  REQUIRE(child);
  link::Message message;
  CHECK(child->channel.wait(message, 20'000) == link::Received::ended);
  pollfd ended{child->pidfd.get(), POLLIN, 0};
  CHECK(::poll(&ended, 1, 20'000) == 1);
  int status = -1;
  CHECK(::waitpid(child->pid, &status, 0) == child->pid);
  CHECK(status == 0);
}

TEST_CASE("restarts wait longer each time, and never for ever") {
  using namespace std::chrono_literals;
  CHECK(supervisor::back_off(0) == 100ms);
  CHECK(supervisor::back_off(1) == 200ms);
  CHECK(supervisor::back_off(5) == 3200ms);
  CHECK(supervisor::back_off(9) == 30s);
  CHECK(supervisor::back_off(4'000'000'000u) == 30s);
}

TEST_CASE("as root every process gets an id of its own, as anybody else none") {
  const auto chosen = supervisor::choose_identities({"no-such-user-a", "no-such-user-b", "no-such-user-c"});
  REQUIRE(chosen);
  if (::geteuid() != 0) {
    CHECK_FALSE(chosen->front.uid);
    return;
  }
  REQUIRE(chosen->front.uid);
  CHECK(chosen->transient);
  const std::set<uid_t> ids{*chosen->front.uid, *chosen->targets.uid, *chosen->plugins.uid};
  CHECK(ids.size() == 3);
  for (const uid_t id : ids) CHECK((id >= 61184 && id <= 65519));
  CHECK_FALSE(supervisor::choose_identities({"root", "root", "root"}));
}

TEST_CASE("what a folder holds is given before the folder, and a front without a name is whom it was before") {
  if (::geteuid() != 0) return;  // nobody else can give anything away
  std::string made = "/tmp/hatchd-give-XXXXXX";
  REQUIRE(::mkdtemp(made.data()));
  const std::filesystem::path folder = made;
  const Defer clean([&] { std::filesystem::remove_all(folder); });
  const auto owner = [](const std::filesystem::path& path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 ? info.st_uid : 0;
  };
  std::filesystem::create_directories(folder / "run/artifacts");
  std::ofstream(folder / "run/run.json") << "{}";
  const auto chosen = supervisor::choose_identities({"no-such-user-a", "no-such-user-b", "no-such-user-c"});
  REQUIRE(chosen);
  if (!chosen->front.uid) return;  // a user namespace without such ids
  REQUIRE(supervisor::give_to(made, chosen->front));
  for (const char* name : {"", "run", "run/artifacts", "run/run.json"}) {
    CAPTURE(name);
    CHECK(owner(folder / name) == *chosen->front.uid);
  }
  const auto again = supervisor::choose_identities({"no-such-user-a", "no-such-user-b", "no-such-user-c"}, made);
  REQUIRE(again);
  CHECK(*again->front.uid == *chosen->front.uid);
  // What came from elsewhere meanwhile.
  std::filesystem::create_directories(folder / "restored");
  std::ofstream(folder / "restored/run.json") << "{}";
  REQUIRE(supervisor::give_to(made, again->front));
  CHECK(owner(folder / "restored/run.json") == *chosen->front.uid);
}
