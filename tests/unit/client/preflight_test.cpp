#include "client/preflight.hpp"

#include "catch.hpp"

using namespace hatchd::client;
using Is = Finding::Is;

namespace {

Finding missing(std::string entry, std::vector<std::string> capabilities = {}) {
  Finding finding;
  finding.is = Is::not_ready;
  finding.hatch = "stack.dump";
  finding.target = "web";
  finding.code = "rights-missing";
  finding.missing = {std::move(entry)};
  finding.capabilities = std::move(capabilities);
  return finding;
}

Finding of(Is is, std::string code = {}) {
  Finding finding;
  finding.is = is;
  finding.code = std::move(code);
  return finding;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("a capability: for a unit and for a pod, each named once, with what the hatch declares") {
  const Advice advice =
      advice_on({missing("CAP_SYS_PTRACE", {"CAP_SYS_PTRACE", "CAP_CHECKPOINT_RESTORE", "CAP_SETUID"}),
                 missing("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")});
  CHECK(holds(advice.systemd,
              "[Service]\nAmbientCapabilities=CAP_CHECKPOINT_RESTORE CAP_DAC_READ_SEARCH CAP_SYS_PTRACE\n"));
  CHECK(holds(advice.kubernetes, "shareProcessNamespace: true\n"));
  CHECK(holds(advice.kubernetes, "runAsUser: 0"));
  CHECK(holds(advice.kubernetes, "add: [CHECKPOINT_RESTORE, DAC_READ_SEARCH, SYS_PTRACE]\n"));
  CHECK(advice.prompt.empty());
  CHECK(advice.kernel.empty());
}

TEST_CASE("being who the target is comes as an alternative only when it would do for all") {
  const std::string seven = "CAP_SYS_PTRACE, or the user id 4242 with the group id 4243";
  const Advice one = advice_on({missing(seven), missing(seven)});
  CHECK(holds(one.systemd, "# User=4242\n# Group=4243\n"));
  CHECK(holds(one.kubernetes, "# runAsUser: 4242\n"));
  CHECK(holds(one.kubernetes, "# runAsGroup: 4243\n"));
  for (const char* other : {"CAP_SYS_PTRACE", "CAP_SYS_PTRACE, or the user id 4244"}) {
    const Advice two = advice_on({missing(seven), missing(other)});
    CHECK(!holds(two.systemd, "User="));
    CHECK(!holds(two.kubernetes, "4242"));
  }
}

TEST_CASE("a sudo away, where the daemon says that it was started at a prompt") {
  Finding finding = missing("CAP_SYS_PTRACE");
  finding.remedy = "sudo hatchd --pid 42; as a service: systemd: AmbientCapabilities=CAP_SYS_PTRACE";
  CHECK(advice_on({finding}).prompt == "sudo hatchd --pid 42\n");
  finding.remedy = "systemd: AmbientCapabilities=CAP_SYS_PTRACE";
  CHECK(advice_on({finding}).prompt.empty());
}

TEST_CASE("Yama and namespaces have remedies of their own") {
  const Advice one = advice_on({missing("CAP_SYS_PTRACE, or kernel.yama.ptrace_scope 0")});
  CHECK(holds(one.kernel, "sudo sysctl -w kernel.yama.ptrace_scope=0"));
  const Advice three = advice_on({missing("kernel.yama.ptrace_scope below 3")});
  CHECK(holds(three.kernel, "reboot"));
  CHECK(three.systemd.empty());
  const Advice fenced = advice_on({missing("the target's user namespace")});
  CHECK(fenced.systemd == "[Service]\nPrivateUsers=no\n");
  CHECK(holds(fenced.kubernetes, "hostUsers"));
}

TEST_CASE("what is not ours to remedy keeps the hatch's own words") {
  const Finding queue = missing("the rights set full");
  CHECK(!is_advised(queue));
  CHECK(is_advised(missing("CAP_SYS_PTRACE")));
  CHECK(is_advised(missing("the target's user namespace")));
  CHECK(!is_advised(of(Is::not_ready)));
  CHECK(advice_on({queue}).systemd.empty());
  // Ids as long as a hostile plugin likes.
  CHECK(advice_on({missing("CAP_SYS_PTRACE, or the user id 99999999999999999999999")}).systemd ==
        advice_on({missing("CAP_SYS_PTRACE")}).systemd);
}

TEST_CASE("exit codes") {
  CHECK(exit_of(std::vector<Finding>{}) == succeeded);
  CHECK(exit_of({of(Is::ready), of(Is::off), of(Is::untried)}) == succeeded);
  CHECK(exit_of({of(Is::ready), of(Is::not_ready, "rights-missing")}) == not_allowed);
  CHECK(exit_of({of(Is::not_allowed, "role-missing")}) == not_allowed);
  CHECK(exit_of({of(Is::not_ready, "rights-missing"), of(Is::not_ready, "target-gone")}) == failed);
}
