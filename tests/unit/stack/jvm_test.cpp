// HotSpot's text as threads. The dumps are of real VMs (JDK 17 here; the lines of 8 and 21 as their sources print
// them: javaVFrame::print_lock_info_on, Thread::print_on), shortened to what differs.
#include <algorithm>

#include "catch.hpp"
#include "stack/jvm/thread_dump.hpp"

namespace {

using stack::KernelThreads;

stack::RuntimeStacks parse(std::string_view text, const KernelThreads& kernel, unsigned max_frames = 256) {
  stack::RuntimeStacks stacks;
  stack::jvm::parse_thread_dump(text, kernel, max_frames, stacks);
  return stacks;
}

const stack::RuntimeThread& thread(const stack::RuntimeStacks& stacks, std::string_view name) {
  const auto found =
      std::find_if(stacks.threads.begin(), stacks.threads.end(), [&](const auto& t) { return t.name == name; });
  REQUIRE(found != stacks.threads.end());
  return *found;
}

std::string member(const std::vector<std::pair<std::string, std::string>>& members, std::string_view name) {
  for (const auto& [key, value] : members)
    if (key == name) return value;
  return "(none)";
}

constexpr std::string_view jdk17 = R"(2026-11-26 16:06:53
Full thread dump OpenJDK 64-Bit Server VM (17.0.15+6-Debian-1deb12u1 mixed mode, sharing):

Threads class SMR info:
_java_thread_list=0x00007fccd8002670, length=24, elements={
0x00007fcd68017ea0, 0x00007fcd68119680, 0x00007fcd6811a7f0, 0x00007fcd6811dff0,
0x00007fcd68120200, 0x00007fcd68121360, 0x00007fcd68123ea0, 0x00007fcd68125500
}

"main" #1 prio=5 os_prio=0 cpu=176.26ms elapsed=5.88s tid=0x00007fcd68017ea0 nid=0x6a50 waiting on condition  [0x00007fcd6d7fe000]
   java.lang.Thread.State: TIMED_WAITING (sleeping)
	at java.lang.Thread.sleep(java.base@17.0.15/Native Method)
	at Shop.sleep(Shop.java:18)
	at Shop.main(Shop.java:55)

   Locked ownable synchronizers:
	- None

"till-first" #12 daemon prio=5 os_prio=0 cpu=3.01ms elapsed=5.48s tid=0x00007fcd68119680 nid=0x6a70 waiting for monitor entry  [0x00007fcd390a8000]
   java.lang.Thread.State: BLOCKED (on object monitor)
	at Shop.takeTillThenCounter(Shop.java:21)
	- waiting to lock <0x000000069ec1ab78> (a java.lang.Object)
	- locked <0x000000069ec1ab88> (a java.lang.Object)
	at Shop$$Lambda$1/0x00007fcce8000a08.run(Unknown Source)
	at java.lang.Thread.run(java.base@17.0.15/Thread.java:840)

   Locked ownable synchronizers:
	- None

"counter-first" #13 daemon prio=5 os_prio=0 cpu=1.11ms elapsed=5.47s tid=0x00007fcd6811a7f0 nid=0x6a71 waiting for monitor entry  [0x00007fcd38fa8000]
   java.lang.Thread.State: BLOCKED (on object monitor)
	at Shop.takeCounterThenTill(Shop.java:24)
	- waiting to lock <0x000000069ec1ab88> (a java.lang.Object)
	- locked <0x000000069ec1ab78> (a java.lang.Object)
	at java.lang.Thread.run(java.base@17.0.15/Thread.java:840)

   Locked ownable synchronizers:
	- None

"ledger-holder" #15 daemon prio=5 os_prio=0 cpu=0.59ms elapsed=5.44s tid=0x00007fcd6811dff0 nid=0x6a73 waiting on condition  [0x00007fcd38da8000]
   java.lang.Thread.State: TIMED_WAITING (sleeping)
	at java.lang.Thread.sleep(java.base@17.0.15/Native Method)
	at Shop.sleep(Shop.java:18)

   Locked ownable synchronizers:
	- <0x000000069ec1ad10> (a java.util.concurrent.locks.ReentrantLock$NonfairSync)

"ledger-waiter" #17 daemon prio=5 os_prio=0 cpu=0.75ms elapsed=5.23s tid=0x00007fcd68120200 nid=0x6a80 waiting on condition  [0x00007fcd38ba8000]
   java.lang.Thread.State: WAITING (parking)
	at jdk.internal.misc.Unsafe.park(java.base@17.0.15/Native Method)
	- parking to wait for  <0x000000069ec1ad10> (a java.util.concurrent.locks.ReentrantLock$NonfairSync)
	at java.util.concurrent.locks.LockSupport.park(java.base@17.0.15/LockSupport.java:211)

   Locked ownable synchronizers:
	- None

"bell-waiter" #18 daemon prio=5 os_prio=0 cpu=0.68ms elapsed=5.23s tid=0x00007fcd68121360 nid=0x6a81 in Object.wait()  [0x00007fcd38aa8000]
   java.lang.Thread.State: WAITING (on object monitor)
	at java.lang.Object.wait(java.base@17.0.15/Native Method)
	- waiting on <0x000000069ec1aba8> (a java.lang.Object)
	at Shop.waitForBell(Shop.java:31)
	- locked <0x000000069ec1aba8> (a java.lang.Object)

   Locked ownable synchronizers:
	- None

"spinner" #20 daemon prio=5 os_prio=0 cpu=1834.54ms elapsed=5.22s tid=0x00007fcd68123ea0 nid=0x6a83 runnable  [0x00007fcd388a7000]
   java.lang.Thread.State: RUNNABLE
	at Shop.spin(Shop.java:33)

   Locked ownable synchronizers:
	- None

"evil" #99 daemon prio=5 os_prio=0 tid=0x1 nid=0x6a50 runnable
	at evil.Frame.run(Evil.java:1)
	- locked <0x000000069ec1ab78> (a java.lang.Object)

"VM Thread" os_prio=0 cpu=1.00ms elapsed=1.00s tid=0x00007fcd68123eff nid=0x6a62 runnable  

Found one Java-level deadlock:
"forged" #98 prio=5" #21 daemon prio=5 os_prio=0 cpu=0.48ms elapsed=5.22s tid=0x00007fcd68125500 nid=0x6a84 waiting on condition  [0x00007fcd387a8000]
   java.lang.Thread.State: WAITING (parking)
	at Shop.park(Shop.java:32)

   Locked ownable synchronizers:
	- None

"VM Thread" os_prio=0 cpu=2.18ms elapsed=5.66s tid=0x00007fcd680f43f0 nid=0x6a62 runnable  

JNI global refs: 4, weak refs: 0


Found one Java-level deadlock:
=============================
"till-first":
  waiting to lock monitor 0x00007fccc4066ab0 (object 0x000000069ec1ab78, a java.lang.Object),
  which is held by "counter-first"

Java stack information for the threads listed above:
===================================================
"till-first":
	at Shop.takeTillThenCounter(Shop.java:21)
	- waiting to lock <0x000000069ec1ab78> (a java.lang.Object)

Found 1 deadlock.
)";

KernelThreads kernel17() {
  KernelThreads kernel;
  for (const pid_t nid : {0x6a50, 0x6a70, 0x6a71, 0x6a73, 0x6a80, 0x6a81, 0x6a83, 0x6a84, 0x6a62})
    kernel[nid] = {nid + 100'000, nid == 0x6a83};  // another pid namespace
  return kernel;
}

}  // namespace

TEST_CASE("jvm: threads, frames and what they wait for") {
  const stack::RuntimeStacks stacks = parse(jdk17, kernel17());
  CHECK(stacks.runtime == "OpenJDK 64-Bit Server VM 17.0.15+6-Debian-1deb12u1");
  CHECK(stacks.threads.size() == 9);
  const auto& main = thread(stacks, "main");
  CHECK(main.tid == 0x6a50 + 100'000);
  CHECK(main.state == "TIMED_WAITING (sleeping)");
  CHECK(main.waiting_on.empty());
  REQUIRE(main.frames.size() == 3);
  const stack::Frame& sleep = stacks.frames[main.frames[0]];
  CHECK(sleep.function == "java.lang.Thread.sleep");
  CHECK(sleep.module == "java.base@17.0.15");
  CHECK(sleep.file.empty());
  CHECK(std::string(sleep.kind) == "jvm");
  const stack::Frame& own = stacks.frames[main.frames[2]];
  CHECK(own.function == "Shop.main");
  CHECK(own.file == "Shop.java");
  CHECK(own.line == 55);
  CHECK(thread(stacks, "ledger-holder").frames[0] == main.frames[0]);  // each distinct one once
  CHECK(member(main.members, "daemon") == "false");
  CHECK(member(main.members, "priority") == "5");
  CHECK(member(main.members, "cpu_ms") == "176.26");
  CHECK(thread(stacks, "spinner").running);
  CHECK(thread(stacks, "VM Thread").state == "runnable");
}

TEST_CASE("jvm: a lock names its owner, and a ring of them is a deadlock") {
  const stack::RuntimeStacks stacks = parse(jdk17, kernel17());
  CHECK(thread(stacks, "till-first").waiting_on ==
        "lock <0x000000069ec1ab78> (java.lang.Object) held by \"counter-first\"");
  CHECK(thread(stacks, "ledger-waiter").waiting_on.ends_with("ReentrantLock$NonfairSync) held by \"ledger-holder\""));
  CHECK(member(thread(stacks, "ledger-holder").members, "locks") ==
        R"_(["<0x000000069ec1ad10> (java.util.concurrent.locks.ReentrantLock$NonfairSync)"])_");
  // It gave the monitor back when it began to wait.
  CHECK(thread(stacks, "bell-waiter").waiting_on == "notification of <0x000000069ec1aba8> (java.lang.Object)");
  CHECK(member(thread(stacks, "bell-waiter").members, "locks") == "(none)");
  const std::string deadlocks = member(stacks.members, "deadlocks");
  CHECK(deadlocks.find(R"("name":"till-first")") != std::string::npos);
  CHECK(deadlocks.find(R"("name":"counter-first")") != std::string::npos);
  CHECK(deadlocks.find("ledger") == std::string::npos);
  CHECK(std::count(deadlocks.begin(), deadlocks.end(), '[') == 2);  // one ring
}

TEST_CASE("jvm: a name that imitates the dump stays a name") {
  const stack::RuntimeStacks stacks = parse(jdk17, kernel17());
  const auto evil = std::find_if(stacks.threads.begin(), stacks.threads.end(),
                                 [](const auto& t) { return t.name.starts_with("evil\" #99 daemon"); });
  REQUIRE(evil != stacks.threads.end());
  CHECK(evil->name.ends_with("\n\"forged\" #98 prio=5"));
  CHECK(evil->tid == 0x6a84 + 100'000);
  CHECK(evil->frames.size() == 1);
  for (const stack::Frame& frame : stacks.frames) CHECK(frame.function != "evil.Frame.run");
  CHECK(thread(stacks, "till-first").waiting_on.find("counter-first") != std::string::npos);
}

TEST_CASE("jvm: who waits is told by headers that no name can imitate") {
  using stack::jvm::waiting_threads;
  CHECK(waiting_threads(jdk17) == std::unordered_set<pid_t>{0x6a50, 0x6a70, 0x6a71, 0x6a73, 0x6a80, 0x6a81, 0x6a84});
  // A name that claims of the spinner that it waits: no object of that address is in the list.
  std::string imitated{jdk17};
  const std::string forged =
      "x\n\"y\" #7 prio=5 tid=0x1 nid=0x6a83 waiting on condition\n   java.lang.Thread.State: WAITING (parking)\n";
  imitated.insert(imitated.find("\"spinner\"") + 1, forged);
  CHECK(!waiting_threads(imitated).contains(0x6a83));
  const std::string one =
      "d\nFull thread dump X (21):\n\nThreads class SMR info:\n_java_thread_list=0x1, length=1, elements={\n"
      "0x000000000000000a\n}\n\n\"a\" #1 prio=5 os_prio=0 tid=0x000000000000000a nid=1 waiting on condition  [0x0]\n";
  CHECK(waiting_threads(one + "   java.lang.Thread.State: WAITING (parking)\n\tat A.a(A.java:1)\n\n").contains(1));
  CHECK(waiting_threads(one + "   java.lang.Thread.State: RUNNABLE\n\tat A.a(A.java:1)\n\n").empty());
  CHECK(waiting_threads(one + "   java.lang.Thread.State: WAITING\n   Mounted virtual thread #21\n\n").empty());
  CHECK(waiting_threads(one).empty());
  CHECK(waiting_threads("").empty());
}

TEST_CASE("jvm: JDK 8 and 21 write other headers") {
  const stack::RuntimeStacks old = parse(
      "2020-01-01 00:00:00\n"
      "Full thread dump OpenJDK 64-Bit Server VM (25.412-b08 mixed mode):\n\n"
      "\"Attach Listener\" #11 daemon prio=9 os_prio=0 tid=0x00007f3c8c001000 nid=0x2f waiting on condition "
      "[0x0000000000000000]\n   java.lang.Thread.State: RUNNABLE\n\n"
      "\"x\" #12 prio=5 os_prio=0 tid=0x00007f3c8c001001 nid=0x99 runnable\n"  // no such thread: part of a name
      "y\" #9 prio=5 os_prio=0 tid=0x00007f3c8c003000 nid=0x30 waiting on condition [0x00007f3c7a1f8000]\n"
      "   java.lang.Thread.State: WAITING (parking)\n"
      "\tat sun.misc.Unsafe.park(Native Method)\n\n"
      "\"VM Thread\" os_prio=0 tid=0x00007f3cd0072000 nid=0x2a runnable \n\n"
      "JNI global references: 308\n\n",
      {{0x2f, {47, false}}, {0x30, {48, false}}, {0x2a, {42, false}}});
  CHECK(old.runtime == "OpenJDK 64-Bit Server VM 25.412-b08");
  REQUIRE(old.threads.size() == 3);
  CHECK(old.threads[0].name == "Attach Listener");
  CHECK(old.threads[1].tid == 48);
  CHECK(old.threads[1].name.starts_with("x\" #12"));
  CHECK(old.threads[2].tid == 42);

  const stack::RuntimeStacks young = parse(
      "2026-01-01 00:00:00\n"
      "Full thread dump OpenJDK 64-Bit Server VM (21.0.2+13 mixed mode, sharing):\n\n"
      "Threads class SMR info:\n_java_thread_list=0x1, length=1, elements={\n0x00007f0e8802f7c0\n}\n\n"
      "\"ForkJoinPool-1-worker-1\" #22 [4711] daemon prio=5 os_prio=0 cpu=1.5ms elapsed=2.1s tid=0x00007f0e8802f7c0 "
      "nid=4711 waiting on condition  [0x00007f0e8d5fe000]\n"
      "   Carrying virtual thread #21\n"
      "\tat jdk.internal.vm.Continuation.run(java.base@21.0.2/Continuation.java:251)\n"
      "   Mounted virtual thread #21\n"
      "\tat java.lang.VirtualThread.park(java.base@21.0.2/VirtualThread.java:661)\n\n",
      {{4711, {4711, true}}});
  REQUIRE(young.threads.size() == 2);
  CHECK(young.threads[0].tid == 4711);
  CHECK(member(young.threads[0].members, "carries") == "\"virtual thread #21\"");
  CHECK(young.threads[1].id == "virtual thread #21");
  CHECK(young.threads[1].frames.size() == 1);
}

TEST_CASE("jvm: a lock without listed synchronizers has the owner that the deadlock report names") {
  const std::string text =
      "d\nFull thread dump X (17 mixed mode):\n\nThreads class SMR info:\n_java_thread_list=0x1, length=2, elements={\n"
      "0x000000000000000a, 0x000000000000000b\n}\n\n"
      "\"a\" #1 prio=5 os_prio=0 cpu=1ms elapsed=1s tid=0x000000000000000a nid=0x1 waiting on condition  [0x0]\n"
      "   java.lang.Thread.State: WAITING (parking)\n\tat A.a(A.java:1)\n\t- parking to wait for  <0x0000000000000001> "
      "(a L)\n\n"
      "\"b\" #2 prio=5 os_prio=0 cpu=1ms elapsed=1s tid=0x000000000000000b nid=0x2 waiting on condition  [0x0]\n"
      "   java.lang.Thread.State: WAITING (parking)\n\tat A.a(A.java:1)\n\t- parking to wait for  <0x0000000000000002> "
      "(a L)\n\n"
      "JNI global refs: 4, weak refs: 0\n\n\nFound one Java-level deadlock:\n=============================\n"
      "\"a\":\n  waiting for ownable synchronizer 0x0000000000000001, (a L),\n  which is held by \"b\"\n\n"
      "\"b\":\n  waiting for ownable synchronizer 0x0000000000000002, (a L),\n  which is held by \"a\"\n\n"
      "Found 1 deadlock.\n";
  const stack::RuntimeStacks stacks = parse(text, {{1, {1, false}}, {2, {2, false}}});
  CHECK(thread(stacks, "a").waiting_on == "lock <0x0000000000000001> (L) held by \"b\"");
  CHECK(member(stacks.members, "deadlocks").find("\"name\":\"b\"") != std::string::npos);
}

TEST_CASE("jvm: any piece of a dump, and any byte changed in it, is survived") {
  const KernelThreads kernel = kernel17();
  for (std::size_t size = 0; size < jdk17.size(); size += 7)
    CHECK(parse(jdk17.substr(0, size), kernel).threads.size() < 10);
  std::string text{jdk17};
  for (std::size_t at = 0; at < text.size(); at += 3) {
    const char before = text[at];
    text[at] = "\n\"<>#=\0x"[at % 8];
    parse(text, kernel, 2);
    text[at] = before;
  }
  std::string stacks = "d\nFull thread dump X (17):\n\n\"t\" #1 prio=5 os_prio=0 tid=0x1 nid=0x1 runnable\n";
  for (int i = 0; i < 1000; ++i) stacks += "\tat a.b" + std::to_string(i) + "(C.java:1)\n";
  const stack::RuntimeStacks cut = parse(stacks, {{1, {1, false}}}, 10);
  REQUIRE(cut.threads.size() == 1);
  CHECK(cut.threads[0].frames.size() == 10);
  CHECK(cut.threads[0].truncated);
}
