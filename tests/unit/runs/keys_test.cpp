#include "runs/keys.hpp"

#include <sys/stat.h>

#include <boost/json.hpp>

#include "catch.hpp"
#include "folder.hpp"

using namespace hatchd;
using namespace hatchd::runs;

namespace fs = std::filesystem;

namespace {

const WallTime wall = std::chrono::system_clock::now();
const SteadyTime now = std::chrono::steady_clock::now();

struct Table {
  Folder folder;
  Disk disk = *Disk::open(folder.fd.get());
  Keys keys{disk};

  Keys::Key key(const std::string& text, boost::json::object params = {}, const std::string& caller = "unix alice",
                const std::string& hatch = "mail.send", const std::string& target = "web") {
    return Keys::make(caller, hatch, target, text, params);
  }
  std::string claim(const Keys::Key& key, WallTime at = wall) {
    const std::string run = new_ulid();
    keys.claim(key, run, now);
    REQUIRE(keys.write(key, run, at));
    return run;
  }
};

}  // namespace

TEST_CASE("a key stands for its first run, in its scope alone") {
  Table table;
  const auto key = table.key("k", {{"to", "a"}, {"n", 1}});
  CHECK_FALSE(*table.keys.first(key, now));
  const std::string run = table.claim(key);
  CHECK(**table.keys.first(key, now) == run);
  CHECK(**table.keys.first(table.key("k", {{"n", 1}, {"to", "a"}}), now) == run);  // in whatever order
  const auto other = table.keys.first(table.key("k", {{"to", "b"}, {"n", 1}}), now);
  REQUIRE_FALSE(other);
  CHECK(other.error().code == "idempotency-mismatch");
  CHECK(other.error().detail.find(run) != std::string::npos);
  CHECK_FALSE(*table.keys.first(table.key("k", {}, "unix bob"), now));
  CHECK_FALSE(*table.keys.first(table.key("k", {}, "unix alice", "mail.check"), now));
  CHECK_FALSE(*table.keys.first(table.key("k", {}, "unix alice", "mail.send", "db"), now));
  CHECK_FALSE(*table.keys.first(table.key("k2"), now));
}

TEST_CASE("keys are there after a start, and neither they nor parameters stand on disk in clear") {
  Table table;
  const auto key = table.key("tell-nobody", {{"password", "hunter2"}});
  const std::string run = table.claim(key);
  const auto whole = read_file_at(table.folder.fd.get(), "keys", 1 << 20);
  REQUIRE(whole);
  CHECK(whole->find("tell-nobody") == std::string::npos);
  CHECK(whole->find("hunter2") == std::string::npos);

  SECTION("whole") {}
  SECTION("with a torn end") { REQUIRE(append_file(table.folder.fd.get(), "keys", "00000040 1234", false)); }
  Keys again(table.disk);
  again.load(wall, now);
  CHECK(**again.first(key, now) == run);
  CHECK_FALSE(again.first(table.key("tell-nobody"), now));
  CHECK(*read_file_at(table.folder.fd.get(), "keys", 1 << 20) == *whole);
}

TEST_CASE("keys live for a day") {
  Table table;
  const auto key = table.key("k");
  const std::string run = table.claim(key);
  CHECK(*table.keys.first(key, now + std::chrono::hours(23)));
  CHECK_FALSE(*table.keys.first(key, now + std::chrono::hours(25)));
  CHECK(table.keys.size() == 0);
  Keys again(table.disk);
  again.load(wall + std::chrono::hours(25), now);
  CHECK(again.size() == 0);
}

TEST_CASE("a key lives for a day whatever becomes of the wall clock") {
  using namespace std::chrono_literals;
  Table table;
  const auto ahead = table.key("ahead"), behind = table.key("behind"), again = table.key("again");
  const std::string first = table.claim(ahead, wall + 24h * 365), second = table.claim(behind, wall - 24h * 365),
                    third = table.claim(again, wall + 24h * 365), last = table.claim(again, wall);
  for (const auto* key : {&ahead, &behind}) CHECK(*table.keys.first(*key, now + 23h));
  for (const auto* key : {&ahead, &behind}) CHECK_FALSE(*table.keys.first(*key, now + 25h));
  Keys next(table.disk);
  next.load(wall, now);
  CHECK(next.size() == 2);
  CHECK(**next.first(ahead, now + 23h) == first);
  CHECK(**next.first(again, now + 23h) == last);  // in the order of the file, and not of the clock
  CHECK_FALSE(*next.first(ahead, now + 25h));
  // What was ahead is of the time of that start for the next one.
  Keys later(table.disk);
  later.load(wall + 25h, now);
  CHECK(later.size() == 0);
}

TEST_CASE("a file of keys that is no file, or cannot be read, is left as it is") {
  Table table;
  const auto key = table.key("k");
  SECTION("a folder") { fs::create_directory(table.folder.path / "keys"); }
  SECTION("a link") {
    table.folder.write("elsewhere", "by somebody");
    fs::create_symlink(table.folder.path / "elsewhere", table.folder.path / "keys");
  }
  SECTION("a FIFO") { REQUIRE(::mkfifo((table.folder.path / "keys").c_str(), 0600) == 0); }
  Keys again(table.disk);
  again.load(wall, now);
  CHECK(again.size() == 0);
  CHECK_FALSE(again.write(key, new_ulid(), wall));  // so that what acts is not begun
  if (fs::exists(table.folder.path / "elsewhere"))
    CHECK(*read_file_at(table.folder.fd.get(), "elsewhere", 100) == "by somebody");
}

TEST_CASE("what lies beside the keys where they are written anew is not written into") {
  Table table;
  const auto key = table.key("k");
  const std::string run = table.claim(key);
  table.folder.write("elsewhere", "by somebody");
  SECTION("a FIFO") { REQUIRE(::mkfifo((table.folder.path / "keys.tmp").c_str(), 0600) == 0); }
  SECTION("a link") { fs::create_symlink(table.folder.path / "elsewhere", table.folder.path / "keys.tmp"); }
  SECTION("a second name") { fs::create_hard_link(table.folder.path / "elsewhere", table.folder.path / "keys.tmp"); }
  Keys again(table.disk);
  again.load(wall, now);
  CHECK(**again.first(key, now) == run);
  CHECK_FALSE(fs::exists(table.folder.path / "keys.tmp"));
  CHECK(*read_file_at(table.folder.fd.get(), "elsewhere", 100) == "by somebody");
}

TEST_CASE("a key whose run did not start is free again") {
  Table table;
  const auto key = table.key("k");
  table.keys.claim(key, "01AAAAAAAAAAAAAAAAAAAAAAAA", now);
  table.keys.release(key, "01BBBBBBBBBBBBBBBBBBBBBBBB");  // another's
  CHECK(*table.keys.first(key, now));
  table.keys.release(key, "01AAAAAAAAAAAAAAAAAAAAAAAA");
  CHECK(table.keys.size() == 0);
}

TEST_CASE("there is a bound for a caller and for all, and a time when there is room again") {
  Table table;
  const auto claim = [&](std::size_t i, const std::string& caller) {
    const auto key = table.key(std::to_string(i), {}, caller);
    if (table.keys.full(key, now)) return false;
    table.keys.claim(key, new_ulid(), now);
    return true;
  };
  for (std::size_t i = 0; i < Keys::max_of_caller; ++i) REQUIRE(claim(i, "unix alice"));
  CHECK_FALSE(claim(Keys::max_of_caller, "unix alice"));
  const auto seconds = table.keys.full(table.key("x"), now);
  REQUIRE(seconds);
  CHECK(*seconds > 23 * 3600);
  CHECK(*seconds <= 24 * 3600 + 60);
  CHECK_FALSE(table.keys.full(table.key("x"), now + std::chrono::hours(25)));
  CHECK(table.keys.size() == 0);
  for (std::size_t i = 0; i < Keys::max_count; ++i) REQUIRE(claim(i, "unix " + std::to_string(i % 100)));
  CHECK_FALSE(claim(0, "unix zoe"));
}
