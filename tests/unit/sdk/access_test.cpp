#include "hatch/access.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "catch.hpp"

using hatch::AccessFacts;
using hatch::Look;

namespace {

constexpr std::uint64_t sys_ptrace = 1u << 19, dac_read_search = 1u << 2, net_bind_service = 1u << 10;

// hatchd and the target are the same ordinary user, and nothing is in the way: each case adds what it is about.
AccessFacts same_user() {
  AccessFacts facts;
  facts.pid = 42;
  facts.own.uids = facts.target.uids = {33, 33, 33};
  facts.own.gids = facts.target.gids = {33, 33, 33};
  return facts;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("each rule that says no is named, and what would satisfy it") {
  struct Case {
    const char* what;
    void (*change)(AccessFacts&);
    Look look;
    const char* missing;
    const char* detail;
    const char* remedy;
  };
  const auto c = GENERATE_REF(values<Case>({
      {"another user",
       [](AccessFacts& f) {
         f.target.uids = {7, 7, 7};
       },
       Look::trace, "CAP_SYS_PTRACE, or the user id 7", "are 7/7/7, hatchd's are 33/33/33", "runAsUser: 7"},
      {"another user's file",
       [](AccessFacts& f) {
         f.target.uids = {7, 7, 7};
       },
       Look::private_file, "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or the user id 7", "user ids",
       "CAP_DAC_READ_SEARCH"},
      {"root",
       [](AccessFacts& f) {
         f.target.uids = f.target.gids = {0, 0, 0};
         f.target.capabilities = ~std::uint64_t{0} >> 23;
       },
       Look::trace, "CAP_SYS_PTRACE", "it has capabilities that hatchd lacks", "AmbientCapabilities=CAP_SYS_PTRACE"},
      {"another group",
       [](AccessFacts& f) {
         f.target.gids = {8, 8, 8};
       },
       Look::trace, "CAP_SYS_PTRACE, or the group id 8", "group ids (real/effective/saved) are 8/8/8",
       "CAP_SYS_PTRACE"},
      {"another user and group",
       [](AccessFacts& f) {
         f.target.uids = f.target.gids = {7, 7, 7};
       },
       Look::trace, "CAP_SYS_PTRACE, or the user id 7 with the group id 7", "user ids", "runAsUser: 7"},
      {"ids that changed",
       [](AccessFacts& f) {
         f.target.uids = {33, 0, 0};
       },
       Look::trace, "CAP_SYS_PTRACE", "are 33/0/0", "CAP_SYS_PTRACE"},
      {"undumpable", [](AccessFacts& f) { f.undumpable = true; }, Look::trace, "CAP_SYS_PTRACE", "not dumpable",
       "CAP_SYS_PTRACE"},
      {"undumpable, a file", [](AccessFacts& f) { f.undumpable = true; }, Look::private_file,
       "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", "not dumpable", "CAP_DAC_READ_SEARCH"},
      {"a capability", [](AccessFacts& f) { f.target.capabilities = net_bind_service; }, Look::trace, "CAP_SYS_PTRACE",
       "it has CAP_NET_BIND_SERVICE, which hatchd lacks", "CAP_SYS_PTRACE"},
      {"Yama 1", [](AccessFacts& f) { f.yama = 1; }, Look::trace, "CAP_SYS_PTRACE, or kernel.yama.ptrace_scope 0",
       "kernel.yama.ptrace_scope is 1", "PR_SET_PTRACER"},
      {"Yama 2", [](AccessFacts& f) { f.yama = 2; }, Look::trace, "CAP_SYS_PTRACE", "kernel.yama.ptrace_scope is 2",
       "CAP_SYS_PTRACE"},
      {"Yama 3", [](AccessFacts& f) { f.yama = 3, f.own.capabilities = sys_ptrace; }, Look::trace,
       "kernel.yama.ptrace_scope below 3", "until the next boot", "reboot"},
      {"Yama and another user: the user alone would not do",
       [](AccessFacts& f) {
         f.yama = 1, f.target.uids = {7, 7, 7};
       },
       Look::trace, "CAP_SYS_PTRACE", "; kernel.yama", "CAP_SYS_PTRACE"},
      {"ptrace, but no way to the file",
       [](AccessFacts& f) {
         f.own.capabilities = sys_ptrace, f.target.uids = {7, 7, 7};
       },
       Look::private_file, "CAP_DAC_READ_SEARCH", "hatchd has CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"},
      {"a namespace above", [](AccessFacts& f) { f.own.capabilities = sys_ptrace, f.other_user_namespace = true; },
       Look::trace, "the target's user namespace", "not below it", "PrivateUsers="},
      {"a namespace below, without rights",
       [](AccessFacts& f) { f.other_user_namespace = true, f.target.capabilities = ~std::uint64_t{0} >> 23; },
       Look::trace, "CAP_SYS_PTRACE", "it is in another user namespace", "CAP_SYS_PTRACE"},
      {"all rights", [](AccessFacts& f) { f.own.capabilities = sys_ptrace | dac_read_search; }, Look::trace,
       "leave of the security module", "AppArmor", "denial"},
  }));
  CAPTURE(c.what);
  AccessFacts facts = same_user();
  c.change(facts);
  const hatch::Refusal refusal = hatch::explain_access(facts, c.look);
  REQUIRE(refusal.missing.size() == 1);
  CHECK(refusal.missing[0] == c.missing);
  CAPTURE(refusal.detail, refusal.remedy);
  CHECK(holds(refusal.detail, "process 42: "));
  CHECK(holds(refusal.detail, c.detail));
  CHECK(holds(refusal.remedy, c.remedy));
}

TEST_CASE("the kernel is asked about processes that are there") {
  CHECK(hatch::try_access(::getpid()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  CHECK(hatch::try_access(child) == 0);
  const int proc = ::open(("/proc/" + std::to_string(child)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const AccessFacts facts = hatch::access_facts(child, proc);
  CHECK(facts.pid == child);
  CHECK(facts.target.uids == std::array<unsigned, 3>{::getuid(), ::geteuid(), ::geteuid()});
  CHECK(facts.target.gids == facts.own.gids);
  CHECK(facts.target.capabilities == facts.own.capabilities);
  CHECK(!facts.undumpable);
  CHECK(!facts.other_user_namespace);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(hatch::try_access(child) == ESRCH);
  // Nothing can be read of it any more, and nothing is made up.
  CHECK(hatch::access_facts(child, proc).target.capabilities == 0);
  ::close(proc);
}
