// What a dump does to a target, and what it must not do.
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#include <atomic>

#include "stack/unwind.hpp"
#include "support.hpp"

using namespace stack_test;

namespace {

[[gnu::noinline]] void sit_in_a_known_place() {
  for (;;) ::usleep(10'000'000);
}

// Its frame ends where its frame pointer says, which the system call's own function does not save.
[[gnu::noinline]] void sleep_in_a_frame_of_unknown_size(std::size_t size, bool in_epoll_wait) {
  auto* const room = static_cast<volatile char*>(__builtin_alloca(size));
  room[0] = 1;
  const int poller = in_epoll_wait ? ::epoll_create1(EPOLL_CLOEXEC) : -1;
  epoll_event event{};
  for (;;) {
    if (in_epoll_wait)
      ::syscall(SYS_epoll_wait, poller, &event, 1, -1);
    else
      ::syscall(SYS_pause);
    room[0] = room[size - 1];
  }
}

template <class T>
T& shared() {
  void* const memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  return *new (memory) T{};
}

std::atomic<int>* counter = nullptr;

}  // namespace

TEST_CASE("a target that SIGSTOP has stopped stays stopped, and goes on by SIGCONT") {
  Demo demo;
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  ::kill(demo.pid(), SIGSTOP);
  REQUIRE(eventually([&] { return status(demo.pid(), demo.pid(), "State").starts_with("T"); }));
  const Dump result = dump(demo.pid(), options);
  CHECK(result.has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
  CHECK(result.process().threads[0].state == 'T');
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
  // A thread that is let go runs for as long as it takes to stop again.
  CHECK(eventually([&] { return status(demo.pid(), demo.pid(), "State").starts_with("T"); }));
  ::kill(demo.pid(), SIGCONT);
  CHECK(demo.report().find("eintr") != std::string::npos);
}

TEST_CASE("signals that arrive during dumps are all delivered") {
  auto& received = shared<std::atomic<int>>();
  counter = &received;
  const Child child = fork_child([](const auto& ready) {
    struct sigaction action {};
    action.sa_handler = [](int) { ++*counter; };
    ::sigaction(SIGRTMIN, &action, nullptr);
    std::thread([] { sit_in_a_known_place(); }).detach();
    ready();
    for (;;) ::pause();
  });
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  std::atomic<bool> sending = true;
  int sent = 0;
  std::thread sender([&] {
    for (; sent < 2000 && sending; ++sent) {  // real-time signals queue, so none may be missing
      if (::sigqueue(child.pid(), SIGRTMIN, {}) != 0) break;
      std::this_thread::sleep_for(20us);
    }
  });
  for (int i = 0; i < 20; ++i) dump(child.pid(), options);
  sending = false;
  sender.join();
  CHECK(sent > 0);
  CHECK(eventually([&] { return received == sent; }));
  CHECK(received == sent);
}

TEST_CASE("when the dumping process is killed in the middle, the target goes on untraced") {
  Demo demo{{"--threads", "50"}};
  const Child tracer = fork_child([&](const auto& ready) {
    TestHold hold;
    hold.on_check = [&](int) {  // all threads have been told to stop
      ready();
      for (;;) ::pause();
      return false;
    };
    stack::Options options;
    options.pause = stack::Pause::all;
    stack::gather({Handles{demo.pid()}.process()}, options, hold);
  });
  CHECK(status(demo.pid(), demo.pid(), "TracerPid") != "0");
  CHECK(eventually([&] { return status(demo.pid(), demo.pid(), "State").starts_with("t"); }));
  ::kill(tracer.pid(), SIGKILL);
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
  CHECK(demo.report().find("eintr") != std::string::npos);
}

TEST_CASE("a target that is traced already is refused where it is to be stopped, and the tracer named") {
  const Demo demo;
  const Child tracer = fork_child([&](const auto& ready) {
    for (const pid_t tid : stack::list_threads(Handles{demo.pid()}.proc_fd.get())) ::ptrace(PTRACE_SEIZE, tid, 0, 0);
    ready();
    for (;;) ::pause();
  });
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  const Dump result = dump(demo.pid(), options);
  if (options.pause == stack::Pause::least) {  // what sleeps needs no tracer
    CHECK(!result.process().trouble);
    CHECK(result.has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
    return;
  }
  REQUIRE(result.process().trouble);
  CHECK(result.process().trouble->kind == stack::Trouble::Kind::rights);
  CHECK(result.process().trouble->detail.find("process " + std::to_string(tracer.pid()) + " (") != std::string::npos);
  CHECK(result.process().trouble->missing.size() == 1);
  CHECK(!result.process().trouble->remedy.empty());
}

TEST_CASE("another run that holds the target is waited for, and named where it stays") {
  const bool stays = GENERATE(false, true);
  const Demo demo;
  const Child tracer = fork_child([&](const auto& ready) {
    ::prctl(PR_SET_NAME, "hatchd: run 01TEST");
    const auto threads = stack::list_threads(Handles{demo.pid()}.proc_fd.get());
    for (const pid_t tid : threads) ::ptrace(PTRACE_SEIZE, tid, 0, 0);
    ready();
    if (stays)
      for (;;) ::pause();
    std::this_thread::sleep_for(50ms);
  });
  stack::Options options;
  options.pause = stack::Pause::all;
  const Dump result = dump(demo.pid(), options);
  if (!stays) {
    CHECK(!result.process().trouble);
    CHECK(result.has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
    return;
  }
  REQUIRE(result.process().trouble);
  CHECK(result.process().trouble->detail.find("another run of hatchd") != std::string::npos);
  CHECK(result.process().trouble->remedy.find("when that run has ended") != std::string::npos);
}

TEST_CASE("dumps of one target at the same time do not take each other's threads") {
  const Child child = fork_child([](const auto& ready) {
    for (int i = 0; i < 6; ++i) std::thread([] { sleep_in_a_frame_of_unknown_size(64, false); }).detach();
    ready();
    for (;;) ::pause();
  });
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  std::vector<Child> dumpers;
  struct Seen {
    std::atomic<int> dumps, refused;
    char why[512];
  };
  auto& seen = shared<Seen>();
  for (int i = 0; i < 3; ++i)
    dumpers.push_back(fork_child([&](const auto& ready) {
      ::prctl(PR_SET_NAME, "hatchd: run 01TEST");
      ready();
      for (int n = 0; n < 20; ++n) {
        TestHold hold;
        const stack::Gathered gathered = stack::gather({Handles{child.pid()}.process()}, options, hold);
        const stack::ProcessCopy& process = gathered.processes.at(0);
        std::string why = process.trouble ? process.trouble->detail : "";
        for (const stack::ThreadCopy& thread : process.threads)
          if (thread.error.find("traced") != std::string::npos) why += thread.error;
        if (!why.empty() && ++seen.refused == 1) std::snprintf(seen.why, sizeof seen.why, "%s", why.c_str());
        ++seen.dumps;
      }
    }));
  CHECK(eventually([&] { return seen.dumps == 60; }));
  CAPTURE(std::string{seen.why});
  CHECK(seen.refused == 0);
}

TEST_CASE("a sleeping thread whose stack takes more registers is stopped, but not where that would disturb it") {
  const bool waits = GENERATE(false, true);
  const Child child = fork_child([&](const auto& ready) {
    ready();
    sleep_in_a_frame_of_unknown_size(64, waits);
  });
  REQUIRE(eventually([&] { return status(child.pid(), child.pid(), "State").starts_with("S"); }));
  stack::Options options;
  const Dump result = dump(child.pid(), options);
  const stack::ThreadCopy& thread = result.process().threads[0];
  CHECK((thread.held.count() == 0) == waits);
  CHECK(thread.spared == waits);
  CHECK(thread.registers->complete != waits);
  if (!waits) CHECK(result.has(thread.name, "sleep_in_a_frame_of_unknown_size"));
  CHECK(result.digest.processes[0].threads[0].truncated == waits);
  if (!waits) return;
  CHECK(stack::why_cut(thread).find("end its epoll_wait with EINTR; interrupt=true") != std::string::npos);
  options.interrupt = true;
  const Dump whole = dump(child.pid(), options);
  CHECK(whole.process().threads[0].held.count() > 0);
  CHECK(!whole.digest.processes[0].threads[0].truncated);
}

TEST_CASE("a main thread that has ended does not hide the others") {
  const Child child = fork_child([](const auto& ready) {
    static const auto tell = ready;
    std::thread([] {
      ::pthread_setname_np(::pthread_self(), "survivor");
      tell();
      sit_in_a_known_place();
    }).detach();
    ::syscall(SYS_exit, 0);  // this thread alone
  });
  REQUIRE(eventually([&] { return status(child.pid(), child.pid(), "State").starts_with("Z"); }));
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  SECTION("nobody") { options.pause = stack::Pause::none; }
  const Dump result = dump(child.pid(), options);
  REQUIRE(!result.process().trouble);
  REQUIRE(result.process().threads.size() == 2);
  CHECK(result.process().threads[0].error.find("zombie") != std::string::npos);
  if (options.pause != stack::Pause::none) CHECK(result.has("survivor", "sit_in_a_known_place"));
  CHECK(result.process().threads[1].registers);
}

TEST_CASE("a target that has ended is said to have ended") {
  pid_t pid = 0;
  std::unique_ptr<Handles> handles;
  {
    const Demo demo;
    pid = demo.pid();
    handles = std::make_unique<Handles>(pid);
  }
  TestHold hold;
  const Dump result = dump(*handles, {}, hold);
  REQUIRE(result.process().trouble);
  CHECK(result.process().trouble->kind == stack::Trouble::Kind::gone);
}

TEST_CASE("a target that is killed in the middle gives what was read, or says that it ended") {
  stack::Options options;
  const int when = GENERATE(1, 2, 5);
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  SECTION("nobody") { options.pause = stack::Pause::none; }
  const Demo demo{{"--threads", "50"}};
  TestHold hold;
  hold.on_check = [&](int check) {
    if (check == when) {
      ::kill(demo.pid(), SIGKILL);
      std::this_thread::sleep_for(20ms);
    }
    return false;
  };
  const Handles handles{demo.pid()};
  const stack::Gathered gathered = stack::gather({handles.process()}, options, hold);
  if (hold.checks < when) return;  // it was read in fewer steps
  const stack::ProcessCopy& process = gathered.processes.at(0);
  const auto read = std::count_if(process.threads.begin(), process.threads.end(),
                                  [](const auto& t) { return t.registers.has_value(); });
  CAPTURE(when, hold.checks, read, process.threads.size());
  stack::digest(gathered, options, hold);
  // On a busy machine the end may take longer than the rest of the dump: then everything was read.
  CHECK((process.trouble || !process.note.empty() || static_cast<std::size_t>(read) == process.threads.size()));
  if (process.trouble) CHECK(process.trouble->kind == stack::Trouble::Kind::gone);
  CHECK(hold.begun == hold.ended);
}

TEST_CASE("a parent in vfork cannot be stopped: its thread says why, and shows what is to be had without") {
  const Child child = fork_child([](const auto& ready) {
    std::thread([&] {
      ::pthread_setname_np(::pthread_self(), "bystander");
      ready();
      sit_in_a_known_place();
    }).detach();
    std::this_thread::sleep_for(20ms);
    const pid_t inner = ::vfork();
    if (inner == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::sleep(5);
      ::_exit(0);
    }
    for (;;) ::pause();
  });
  REQUIRE(eventually([&] { return status(child.pid(), child.pid(), "State").starts_with("D"); }));
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  const Dump result = dump(child.pid(), options);
  CHECK(result.has("bystander", "sit_in_a_known_place"));
  const stack::ThreadCopy& parent = result.process().threads[0];
  CHECK(parent.error.find("state D") != std::string::npos);
  CHECK(parent.error.find("vfork") != std::string::npos);
  // vfork() itself keeps its return address in a register, which only a stop would show.
  CHECK(parent.registers.has_value() == (options.pause == stack::Pause::least));
  if (parent.registers) CHECK(result.frames(0).at(0).function == "vfork");
  CHECK(eventually([&] { return is_left_alone(child.pid()); }));
  // Let go of while it could not stop, it must not stop later.
  CHECK(eventually([&] { return status(child.pid(), child.pid(), "State").starts_with("S"); }));
}

TEST_CASE("threads that come and go in a storm are neither lost in it nor left standing") {
  auto& made = shared<std::atomic<int>>();
  counter = &made;
  const Child child = fork_child([](const auto& ready) {
    std::vector<std::thread> makers;
    for (int i = 0; i < 4; ++i)
      makers.emplace_back([] {
        for (;;) std::thread([] { ++*counter; }).join();
      });
    ready();
    for (;;) ::pause();
  });
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  for (int i = 0; i < 10; ++i) {
    const Dump result = dump(child.pid(), options);
    CHECK(!result.process().trouble);
    CHECK(std::count_if(result.process().threads.begin(), result.process().threads.end(),
                        [](const auto& t) { return t.registers.has_value(); }) >= 4);
  }
  CHECK(eventually([&] { return is_left_alone(child.pid()); }));
  const int before = made;
  CHECK(eventually([&] { return made > before + 100; }));
}

TEST_CASE("a pause budget that is used up lets everybody go, and the answer says so") {
  Demo demo{{"--threads", "100", "--watch"}};
  TestHold hold;
  hold.budget = stack::Micros{0};
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  const Dump result = dump(Handles{demo.pid()}, options, hold);
  CHECK(hold.begun == hold.ended);
  CHECK(!result.process().trouble);
  CHECK(result.process().note.find("pause budget") != std::string::npos);
  const stack::Answer answer = result.answer(options);
  CHECK(answer.partial);
  CHECK(answer.verdict.find("pause budget") != std::string::npos);
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
  const std::string report = demo.report();
  CHECK(report.find("eintr") != std::string::npos);
  // Nobody is told to stop once the budget is used up.
  if (options.pause == stack::Pause::all) CHECK(report.find("\"eintr\": 0") != std::string::npos);
}

TEST_CASE("a cancelled dump lets everybody go") {
  Demo demo{{"--threads", "20"}};
  TestHold hold;
  hold.on_check = [](int check) { return check >= 3; };
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") {
    options.pause = stack::Pause::all;
    hold.on_check = [](int) { return true; };
  }
  const Dump result = dump(Handles{demo.pid()}, options, hold);
  CHECK(result.gathered.cancelled);
  CHECK(hold.begun == hold.ended);
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
  CHECK(demo.report().find("eintr") != std::string::npos);
}

TEST_CASE("an unprivileged user reads his own process, and is told what another's takes") {
  if (::geteuid() != 0) return;  // takes root to become two others
  constexpr uid_t nobody = 65534;
  const Folder folder;
  const std::string program = folder.file("demo-of-nobody");
  std::filesystem::copy_file(HATCHD_DEMO, program);
  const Demo own{{}, program, nobody}, roots;
  struct Seen {
    bool own_read = false, named = false, refused = false, says_capability = false, has_remedy = false;
  };
  auto& seen = shared<Seen>();
  const Child reader = fork_child([&](const auto& ready) {
    if (::setresuid(nobody, nobody, nobody) != 0) return;
    TestHold hold;
    const Dump mine = dump(Handles{own.pid()}, {}, hold);
    seen.own_read = !mine.process().trouble;
    seen.named = mine.has("cache-sweeper", "demo::Shop::sweep_expired_entries()");
    const Dump theirs = dump(Handles{roots.pid()}, {}, hold);
    if (theirs.process().trouble) {
      seen.refused = theirs.process().trouble->kind == stack::Trouble::Kind::rights;
      seen.says_capability = theirs.process().trouble->missing == std::vector<std::string>{"CAP_SYS_PTRACE"};
      seen.has_remedy = theirs.process().trouble->remedy.find("AmbientCapabilities") != std::string::npos;
    }
    ready();
  });
  const auto scope = stack::read_below(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 8);
  if (!scope || scope->starts_with("0")) {
    CHECK(seen.own_read);
    CHECK(seen.named);
  }
  CHECK(seen.refused);
  CHECK(seen.says_capability);
  CHECK(seen.has_remedy);
}
