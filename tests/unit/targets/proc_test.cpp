#include "targets/proc.hpp"

#include "catch.hpp"
#include "targets/find/cgroup.hpp"

using namespace hatchd::targets;

namespace {
const std::string tail = " S 7 1 1 0 -1 4194304 1 2 3 4 50 25 0 0 20 0 12 0 777 4096 5 18446744073709551615 1 1\n";
}

TEST_CASE("stat is read from the last parenthesis, whatever the name holds") {
  const auto plain = parse_stat("42 (cat)" + tail);
  REQUIRE(plain);
  CHECK(plain->pid == 42);
  CHECK(plain->name == "cat");
  CHECK(plain->state == 'S');
  CHECK(plain->parent == 7);
  CHECK(plain->cpu_ticks == 75);
  CHECK(plain->threads == 12);
  CHECK(plain->started_ticks == 777);
  CHECK_FALSE(plain->kernel_thread);

  const auto hostile = parse_stat("42 (x) R 1\n2 (\x1b[)" + tail);
  REQUIRE(hostile);
  CHECK(hostile->name == "x) R 1\n2 (\x1b[");
  CHECK(hostile->parent == 7);

  CHECK(parse_stat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0")->kernel_thread);
}

TEST_CASE("stat that is cut or wrong is refused") {
  const auto text = GENERATE(as<std::string>{}, "", "42", "42 (cat", "42 )(", "42 (cat)", "42 (cat) S",
                             "42 (cat) S 7 1 1", "x (cat) S 7 1 1 0 -1 0 1 2 3 4 5 2 0 0 20 0 1 0 777",
                             "42 (cat) SS 7 1 1 0 -1 0 1 2 3 4 5 2 0 0 20 0 1 0 777");
  CAPTURE(text);
  CHECK_FALSE(parse_stat(text));
}

TEST_CASE("status") {
  const auto status = parse_status(
      "Name:\tUid:\\n\nPPid:\t1\nTracerPid:\t9\nUid:\t1000\t0\t1001\t0\nGid:\t5\t6\t7\t8\nNSpid:\t3405\t1\nVmRSS:\t    "
      "12 kB\n");
  REQUIRE(status);
  CHECK(status->real_uid == 1000);
  CHECK(status->uid == 0);
  CHECK(status->saved_uid == 1001);
  CHECK(status->gid == 6);
  CHECK(status->tracer == 9);
  CHECK(status->resident_bytes == 12 * 1024);
  CHECK(status->pid_namespaces == 2);
  CHECK_FALSE(belongs_to(*status, 0));  // a setuid program that somebody else started
  CHECK_FALSE(parse_status("Name:\tx\n"));
}

TEST_CASE("units and containers are read from cgroups") {
  const auto unit = [](const std::string& text) {
    const auto cgroups = parse_cgroups(text);
    return cgroups.empty() ? "none" : unit_of(cgroups.front());
  };
  CHECK(unit("0::/system.slice/web.service\n") == "web.service");
  CHECK(unit("0::/system.slice/web.service/worker\n") == "web.service");
  CHECK(unit("12:cpu:/x\n1:name=systemd:/system.slice/system-shop.slice/shop@a.service\n0::/\n") == "shop@a.service");
  CHECK(unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n") == "web.service");
  CHECK(unit("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n").empty());
  CHECK(unit("0::/user.slice/user-1000.slice/session-3.scope\n").empty());
  // A container's own systemd is not the host's.
  CHECK(unit("0::/docker/0123456789abcdef/system.slice/web.service\n").empty());
  CHECK(unit("0::/\n").empty());
  CHECK(unit("nonsense\n:\n5:memory:/system.slice/web.service\n") == "none");

  CHECK(parse_cgroups("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n").front().manager ==
        1000u);
  CHECK_FALSE(parse_cgroups("0::/system.slice/web.service\n").front().manager);
  CHECK_FALSE(parse_cgroups("0::/user@1000x.service\n").front().manager);

  const std::string id = "4f5c0ffee0c0ffee0c0ffee0c0ffee0c0ffee0c0ffee0c0ffee0c0ffee0c0ffe";
  for (const std::string& path :
       {"/system.slice/docker-" + id + ".scope", "/docker/" + id, "/kubepods/burstable/pod1/" + id,
        "/kubepods.slice/cri-containerd-" + id + ".scope/inner"}) {
    CAPTURE(path);
    const auto cgroups = parse_cgroups("0::" + path + "\n");
    CHECK(in_container(cgroups.front(), id));
    CHECK(in_container(cgroups.front(), id.substr(0, 12)));
    CHECK_FALSE(in_container(cgroups.front(), "f5c0ffee0c0f"));
  }
}

TEST_CASE("a name below a user's service manager counts for that user alone") {
  const Cgroup system = parse_cgroups("0::/system.slice/web.service").front();
  const Cgroup users = parse_cgroups("0::/user.slice/user-4242.slice/user@4242.service/app.slice/web.service").front();
  CHECK(admitted(system, -1, {{}, true}));
  CHECK(admitted(system, -1, {{}, false}));
  CHECK_FALSE(admitted(users, -1, {{}, true}));
  CHECK_FALSE(admitted(users, -1, {{}, false}));
  CHECK(admitted(users, -1, {4242u, true}));
  CHECK_FALSE(admitted(users, -1, {4243u, true}));
}
