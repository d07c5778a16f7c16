// Targets found among real processes. The Registry is told that nobody is hatchd's own, since all of them are the
// test's.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/json.hpp>
#include <chrono>
#include <fstream>

#include "base/json.hpp"
#include "catch.hpp"
#include "processes.hpp"
#include "targets/registry.hpp"
#include "targets/targets.hpp"

using namespace hatchd;
using namespace hatchd::targets;
using namespace test;
namespace json = boost::json;

namespace {

constexpr Own nobody{1 << 30, 1 << 30};
constexpr uid_t other_user = 54321;

json::object one(json::object match) { return {{"it", std::move(match)}}; }

struct Found {
  Target::State state;
  std::vector<pid_t> pids;
  Problem problem;
};
Found found(Target& target) {
  Found out;
  for (const Held* held : target.living()) out.pids.push_back(held->process.pid());
  out.state = target.state();
  if (out.state != Target::State::up) out.problem = target.problem();
  return out;
}
Found find(json::object match, bool privileged = false) {
  Registry registry(one(std::move(match)), privileged, nobody);
  return found(*registry.get("it"));
}
bool is_up(json::object match) { return find(std::move(match)).state == Target::State::up; }

// Between two looks of one target.
void pass_time() { std::this_thread::sleep_for(std::chrono::milliseconds(210)); }

bool says(const Problem& problem, std::string_view text) { return problem.detail.find(text) != std::string::npos; }

// A cgroup of its own with a child's processes in it, as systemd makes one for a service; only root can.
class Service {
 public:
  explicit Service(const std::string& unit) {
    for (const std::string root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
      if (!std::filesystem::exists(root + "/cgroup.procs")) continue;
      slice_ = root + "/hatchdtest" + std::to_string(::getpid()) + ".slice";
      path_ = slice_ + "/" + unit;
      std::error_code error;
      made_ = std::filesystem::create_directories(path_, error);
      return;
    }
  }
  Service(const Service&) = delete;
  ~Service() {
    // A cgroup may be removed once the last of its processes was reaped.
    if (made_) eventually([&] { return ::rmdir(path_.c_str()) == 0; });
    ::rmdir(slice_.c_str());
  }
  bool take(const Child& child) const {
    return made_ && (std::ofstream(path_ + "/cgroup.procs") << child.pid() << std::flush).good();
  }

 private:
  std::string slice_, path_;
  bool made_ = false;
};

struct Listener {
  int fd;
  std::uint16_t port;
};
Listener listen_on(int family) {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_storage address{};
  address.ss_family = static_cast<sa_family_t>(family);
  socklen_t size = sizeof address;
  if (family == AF_INET) reinterpret_cast<sockaddr_in&>(address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (family == AF_INET6) reinterpret_cast<sockaddr_in6&>(address).sin6_addr = in6addr_loopback;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address),
             family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)) != 0 ||
      ::listen(fd, 5) != 0) {
    ::close(fd);
    return {-1, 0};
  }
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return {fd, ntohs(family == AF_INET ? reinterpret_cast<sockaddr_in&>(address).sin_port
                                      : reinterpret_cast<sockaddr_in6&>(address).sin6_port)};
}

void stay() {
  for (;;) ::pause();
}

}  // namespace

TEST_CASE("by pid: the first look fixes which process is meant") {
  Child child = exec({"/bin/sleep", "1000"});
  Registry registry(one({{"pid", child.pid()}}), true, nobody);
  CHECK(found(*registry.get("it")).pids == std::vector<pid_t>{child.pid()});
  child.end();
  const Found after = found(*registry.get("it"));
  CHECK(after.state == Target::State::gone);
  CHECK(after.problem.code == "target-gone");
  CHECK(says(after.problem, "gone since 2"));
  CHECK_FALSE(after.problem.remedy.empty());
  CHECK(registry.get("that") == nullptr);
}

TEST_CASE("another configuration: what is unchanged stays who it was, the rest comes and goes") {
  Child first = exec({"/bin/sleep", "1000"});
  const Child second = exec({"/bin/sleep", "1000"});
  const json::object it{{"pid", first.pid()}}, more{{"pid", second.pid()}};
  Registry registry({{"it", it}, {"old", more}, {"unusable", {{"pid", first.pid()}, {"user", "no-such-user"}}}}, true,
                    nobody);
  const std::uint64_t started = registry.get("it")->living().at(0)->process.started_ticks();
  registry.reconfigure({{"it", it}, {"more", more}});
  CHECK(registry.get("it")->living().at(0)->process.started_ticks() == started);
  CHECK(found(*registry.get("more")).pids == std::vector<pid_t>{second.pid()});
  CHECK(registry.get("old") == nullptr);
  CHECK(registry.get("unusable") == nullptr);

  // It ended, and a reload does not make a successor of that number the target: the target knows since when it is gone.
  first.end();
  const Found gone = found(*registry.get("it"));
  CHECK(gone.state == Target::State::gone);
  registry.reconfigure({{"it", it}});
  CHECK(found(*registry.get("it")).problem.detail == gone.problem.detail);
  // A changed entry is looked for afresh.
  registry.reconfigure({{"it", more}});
  CHECK(found(*registry.get("it")).pids == std::vector<pid_t>{second.pid()});
}

TEST_CASE("by pid: hatchd itself is no target") {
  Registry registry(one({{"pid", ::getpid()}}), false, {::getpid(), ::getppid()});
  CHECK(registry.get("it")->state() == Target::State::gone);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const Child plugin = start([&] {
    ::prctl(PR_SET_NAME, "hatchd: plugin x");
    const Child run = exec({"/bin/sleep", "1000"});
    const pid_t pid = run.pid();
    if (::write(ends[1], &pid, sizeof pid) == sizeof pid) stay();
  });
  pid_t run = 0;
  REQUIRE(::read(ends[0], &run, sizeof run) == sizeof run);
  ::close(ends[0]);
  ::close(ends[1]);
  const Child beside = exec({"/bin/sleep", "1000"});
  const Own own{1 << 30, ::getpid()};
  CHECK(Registry(one({{"pid", plugin.pid()}}), false, own).get("it")->state() == Target::State::gone);
  CHECK(Registry(one({{"pid", run}}), false, own).get("it")->state() == Target::State::gone);
  CHECK(Registry(one({{"pid", beside.pid()}}), false, own).get("it")->state() == Target::State::up);
}

TEST_CASE("by pidfile") {
  const Folder folder;
  Child child = exec({"/bin/sleep", "1000"});
  const std::string number = std::to_string(child.pid());
  const auto problem = [&](const std::string& path) { return find({{"pidfile", path}}).problem; };

  SECTION("read and verified") {
    for (const std::string& content : {number, number + "\n", "  " + number + "\nmore\n"}) {
      CAPTURE(content);
      CHECK(find({{"pidfile", folder.write("it.pid", content)}}).pids == std::vector<pid_t>{child.pid()});
    }
  }
  SECTION("a new process in the file is found without a restart of hatchd") {
    Registry registry(one({{"pidfile", folder.write("it.pid", number)}}), true, nobody);
    CHECK(found(*registry.get("it")).pids == std::vector<pid_t>{child.pid()});
    child.end();
    CHECK(found(*registry.get("it")).state == Target::State::gone);
    pass_time();
    CHECK(says(found(*registry.get("it")).problem, "which does not exist"));
    const Child next = exec({"/bin/sleep", "1000"});
    folder.write("it.pid", std::to_string(next.pid()));
    pass_time();
    CHECK(found(*registry.get("it")).pids == std::vector<pid_t>{next.pid()});
  }
  SECTION("what may be planted is refused") {
    const std::string real = folder.write("real.pid", number);
    std::filesystem::create_symlink(real, folder / "link.pid");
    CHECK(says(problem(folder / "link.pid"), "symbolic link"));
    CHECK(says(problem(folder.write("open.pid", number, 0666)), "written by others"));
    REQUIRE(::mkfifo((folder / "fifo.pid").c_str(), 0600) == 0);
    CHECK(says(problem(folder / "fifo.pid"), "not a regular file"));
    if (::getuid() == 0) {
      REQUIRE(::chown(real.c_str(), other_user, other_user) == 0);
      CHECK(says(problem(real), "belongs to neither root nor"));
    }
  }
  SECTION("a file older than the process it names means another") {
    const std::string stale = folder.write("stale.pid", number);
    const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
    REQUIRE(::utimensat(AT_FDCWD, stale.c_str(), times, 0) == 0);
    CHECK(says(problem(stale), "started after the file was written"));
  }
  SECTION("nonsense") {
    CHECK(says(problem(folder / "none.pid"), "ENOENT"));
    for (const std::string content : {"", "x", "-1", "0", "12x", "99999999999999999999"}) {
      CAPTURE(content);
      CHECK(says(problem(folder.write("bad.pid", content)), "holds no process number"));
    }
  }
}

TEST_CASE("by executable") {
  const Folder folder;
  const std::string path = folder.program("shop");
  CHECK(find({{"exe", path}}).state == Target::State::gone);
  const Child child = exec({"something else", "1000"}, static_cast<uid_t>(-1), path);
  CHECK(find({{"exe", path}}).pids == std::vector<pid_t>{child.pid()});
  std::filesystem::create_symlink(path, folder / "by-link");
  CHECK(is_up({{"exe", folder / "by-link"}}));
  // Replaced by an upgrade while it runs.
  std::filesystem::remove(path);
  folder.program("shop");
  CHECK(find({{"exe", path}}).pids == std::vector<pid_t>{child.pid()});
}

TEST_CASE("by name and by command line") {
  const Folder folder;
  const std::string unique = "hatchd-test-of-names-" + std::to_string(::getpid());  // longer than comm
  const Child child = exec({"/opt/" + unique, "1000"}, static_cast<uid_t>(-1), "/bin/sleep");
  CHECK(find({{"name", unique}}).pids == std::vector<pid_t>{child.pid()});
  CHECK(find({{"cmdline", "/opt/" + unique + " 1.*"}}).pids == std::vector<pid_t>{child.pid()});
  CHECK_FALSE(is_up({{"cmdline", unique}}));  // not the whole of it
  const Child renamed = start([] {
    ::prctl(PR_SET_NAME, "a) R 1 (b");
    stay();
  });
  CHECK(eventually([&] { return find({{"name", "a) R 1 (b"}}).pids == std::vector<pid_t>{renamed.pid()}; }));
}

TEST_CASE("by command line: a hostile one costs little") {
  const std::string unique = "hatchd-test-" + std::to_string(::getpid());
  const Child child = exec({unique + std::string(100'000, 'a'), "1000"}, static_cast<uid_t>(-1), "/bin/sleep");
  const auto began = std::chrono::steady_clock::now();
  CHECK_FALSE(is_up({{"cmdline", unique + "((a*)*)*b"}}));
  CHECK(is_up({{"cmdline", unique + "a*"}}));
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(20));
}

TEST_CASE("several matches are listed, unless they are one tree") {
  const Folder folder;
  const std::string path = folder.program("many");
  Child first = exec({path, "1000"});
  const Child second = exec({path, "2000"});
  Registry registry(one({{"exe", path}}), false, nobody);
  const Found both = found(*registry.get("it"));
  CHECK(both.state == Target::State::ambiguous);
  CHECK(both.problem.code == "target-ambiguous");
  REQUIRE(both.problem.candidates.size() == 2);
  CHECK(both.problem.candidates[0].starts_with(std::to_string(first.pid()) + " many 2"));
  first.end();
  pass_time();
  CHECK(found(*registry.get("it")).pids == std::vector<pid_t>{second.pid()});
}

TEST_CASE("a server that forks workers is one target") {
  const std::string name = "hatch-" + std::to_string(::getpid());
  const Listener listener = listen_on(AF_INET);
  REQUIRE(listener.port != 0);
  const Child server = start([&] {
    ::prctl(PR_SET_NAME, name.c_str());
    for (int i = 0; i < 3; ++i)
      if (::fork() == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        stay();
      }
    stay();
  });
  ::close(listener.fd);
  const json::object match = GENERATE_COPY(json::object{{"port", listener.port}}, json::object{{"name", name}});
  CAPTURE(json::serialize(match));
  REQUIRE(eventually([&] { return find(match).pids.size() == 4; }));
  CHECK(find(match).pids.front() == server.pid());
}

TEST_CASE("by port") {
  const int family = GENERATE(AF_INET, AF_INET6);
  const Listener listener = listen_on(family);
  if (listener.port == 0) return;  // no IPv6 here
  Child server = start(stay);
  ::close(listener.fd);
  CHECK(find({{"port", listener.port}}).pids == std::vector<pid_t>{server.pid()});
  server.end();
  CHECK(says(find({{"port", listener.port}}).problem, "nothing listens on TCP port"));
}

TEST_CASE("by unit: all processes of its cgroup") {
  const Service a("shop-a.service"), b("shop-b.service");
  Child first = exec({"/bin/sleep", "1000"});
  const Child second = exec({"/bin/sleep", "1000"});
  const Child other = exec({"/bin/sleep", "1000"});
  if (!a.take(first)) return;  // not root, or no cgroup v2
  REQUIRE(a.take(second));
  REQUIRE(b.take(other));

  Registry registry({{"one", {{"unit", "shop-a"}}},
                     {"*", {{"unit", "shop-*.service"}}},
                     {"nobody's", {{"unit", "shop-a"}, {"user", other_user}}}},
                    true, nobody);
  CHECK(found(*registry.get("one")).pids == std::vector<pid_t>{first.pid(), second.pid()});
  CHECK(found(*registry.get("nobody's")).state == Target::State::gone);
  // One target for each match of the pattern.
  CHECK(registry.all().size() == 4);
  REQUIRE(registry.get("shop-b"));
  CHECK(registry.from_pattern("shop-b"));
  CHECK_FALSE(registry.from_pattern("one"));
  CHECK(found(*registry.get("shop-b")).pids == std::vector<pid_t>{other.pid()});
  CHECK(registry.get("shop-c") == nullptr);
  CHECK(registry.get("*") == nullptr);

  // The main process ends; the unit goes on with the other.
  first.end();
  pass_time();
  CHECK(found(*registry.get("one")).pids == std::vector<pid_t>{second.pid()});
}

TEST_CASE("user: whose process it must be") {
  const Folder folder;
  const std::string path = folder.program("owned");
  const Child child = exec({path, "1000"});
  const uid_t mine = ::getuid();
  CHECK(is_up({{"exe", path}, {"user", mine}}));
  const Found others = find({{"exe", path}, {"user", other_user}});
  CHECK(others.state == Target::State::gone);
  CHECK(says(others.problem, "1 of other users fit"));
  CHECK(says(find({{"exe", path}, {"user", "no such user"}}).problem, "no such user"));

  // With capabilities it is required where anybody could start what fits.
  const Found refused = find({{"exe", path}}, true);
  CHECK(refused.state == Target::State::gone);
  CHECK(refused.problem.code == "target-gone");
  CHECK(says(refused.problem, "lacks the key \"user\""));
  CHECK(find({{"exe", path}, {"user", mine}}, true).state == Target::State::up);
}

TEST_CASE("the main process of a group is the oldest with a parent outside") {
  // Numbers above every pid, so that nobody real is asked about.
  const pid_t base = 1 << 29;
  std::vector<Seen> group{{base + 5, 50, base + 2, "worker"},
                          {base + 2, 20, base, "main"},
                          {base + 9, 10, base + 2, "adopted"},
                          {base + 7, 70, base, "late"}};
  order_group(group);
  CHECK(group[0].pid == base + 2);
  CHECK(group[1].pid == base + 9);
  CHECK(group[2].pid == base + 5);
  CHECK(group[3].pid == base + 7);

  CHECK(root_of({{base + 2, 1, base, ""}, {base + 1, 1, base + 2, ""}, {base + 3, 1, base + 1, ""}}) ==
        std::optional<std::size_t>(0));
  CHECK_FALSE(root_of({{base + 2, 1, base, ""}, {base + 1, 1, base, ""}}));
  // A circle, which only torn reads could show, ends.
  CHECK_FALSE(root_of({{base + 1, 1, base + 2, ""}, {base + 2, 1, base + 1, ""}, {base + 3, 1, base, ""}}));
}

TEST_CASE("what was found is kept without another walk through /proc") {
  const Child child = exec({"/bin/sleep", "1000"});
  Registry registry(one({{"pid", child.pid()}}), false, nobody);
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 5000; ++i) REQUIRE(found(*registry.get("it")).state == Target::State::up);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));  // a walk takes a millisecond or more
}

TEST_CASE("what is wrong with configured targets is listed with its place") {
  const auto wrong = [](std::string_view text) {
    std::string out;
    for (const FieldError& error : check(json::parse(text).as_object()))
      out += error.pointer + ": " + error.detail + "\n";
    return out;
  };
  CHECK(
      wrong(
          R"({"a": {"pid": 1}, "b": {"unit": "web.service", "log": {"file": "/var/log/x"}}, "c": {"name": "x", "user": "root"},
                  "*": {"unit": "shop-*.service", "log": {"journal": true}}, "d": {"container": "0123456789ab"}, "e": {"port": 80},
                  "f": {"exe": "/bin/x"}, "g": {"pidfile": "/run/x.pid"}, "h": {"cmdline": "python .*"}})")
          .empty());
  CHECK(wrong(R"({"a": {}})").find("/a: must have exactly one of pid, pidfile") == 0);
  CHECK(wrong(R"({"a": {"pid": 1, "port": 2}})").find("/a: must have exactly one") == 0);
  CHECK(wrong(R"({"a": {"pid": 1, "unitt": "x"}})").find("/a/unitt: unknown") == 0);
  CHECK(wrong(R"({"a": 1})") == "/a: must be an object\n");
  CHECK(wrong(R"({"a/b": {"pid": 1}})").find("/a~1b: a target's name") == 0);
  CHECK(wrong(R"({"a": {"unit": "x-*"}})").find("/a/unit: a wildcard") == 0);
  CHECK(wrong(R"({"*": {"pid": 1}})").find("/*: \"*\" makes") == 0);
  CHECK(wrong(R"({"a": {"pid": 1, "log": {"file": "x"}}})") == "/a/log: \"file\" must be an absolute path\n");
  CHECK(wrong(R"({"a": {"name": "x", "user": "no such user"}})") == "/a/user: there is no such user\n");
  for (const std::string_view match :
       {R"("pid": 0)", R"("pid": "1")", R"("port": 65536)", R"("exe": "relative")", R"("exe": "/a/../b")",
        R"("pidfile": 1)", R"("name": "")", R"("name": "/bin/x")", R"("cmdline": "(")", R"("cmdline": "(a)\\1")",
        R"("cmdline": "a{1000}{1000}")", R"("unit": "x.slice")", R"("unit": "a/b")", R"("container": "web")"}) {
    CAPTURE(match);
    CHECK(wrong("{\"a\": {" + std::string(match) + "}}").find("/a/") == 0);
  }
}
