// What a target may say or do to whoever looks at it.
#include <sys/mman.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "hatch/json.hpp"
#include "stack/demangle.hpp"
#include "stack/modules.hpp"
#include "stack/perf_map.hpp"
#include "support.hpp"

using namespace stack_test;

namespace {

[[gnu::noinline]] void overwrite_own_stack(const std::function<void()>& ready) {
  ready();
  // From here up: return addresses and saved registers of all callers.
  auto* const here = static_cast<volatile unsigned char*>(__builtin_frame_address(0));
  for (int i = 0; i < 2048; ++i) here[i] = 0x41;
  for (;;) ::syscall(SYS_pause);
}

bool is_clean(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const char32_t point = hatch::next_code_point(text, at);
    if ((point < 0x20 && point != '\n') || (point >= 0x7F && point < 0xA0)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("thread names cannot move a cursor or break a line") {
  const Child child = fork_child([](const auto& ready) {
    ::prctl(PR_SET_NAME, "a\x1b[2J\") R \n\xff\x07;");
    ready();
    for (;;) ::pause();
  });
  const Dump result = dump(child.pid());
  const stack::Answer answer = result.answer();
  const std::string text = result.text();
  CHECK(is_clean(text));
  CHECK(text.find("[2J") != std::string::npos);  // shown, without what made it work
  CHECK(is_clean(answer.threads));
  CHECK(answer.threads.find("\\u001b[2J\\\") R \\n\xEF\xBF\xBD\\u0007;") != std::string::npos);
  const std::string folded = result.folded();
  CHECK(is_clean(folded));
  CHECK(std::count(folded.begin(), folded.end(), '\n') == 1);
}

TEST_CASE("names of functions, files and modules are hostile too") {
  stack::Gathered gathered;
  stack::ProcessCopy& process = gathered.processes.emplace_back();
  process.pid = 1;
  process.name = "\x1b]0;x\x07";
  process.native = true;
  process.threads.emplace_back().name = "t";
  process.threads.back().registers.emplace();
  stack::Digest digest;
  stack::ProcessStacks& stacks = digest.processes.emplace_back();
  stack::Frame frame;
  frame.function = "f\r\n#9 fake";
  frame.file = "\x1b[31m/evil\x9b.c";
  frame.module = "m;\x01";
  frame.in_module = true;
  stacks.frames = {frame};
  stacks.threads.push_back({{0}, false, "\x1b"});
  const std::deque<stack::ShownProcess> shown = stack::merge(gathered, digest);
  const stack::Answer answer = stack::render_answer(shown, {});
  const std::string text = stack::render_text(shown, answer, {});
  CHECK(is_clean(text));
  CHECK(text.find("\n#9 fake") == std::string::npos);
  CHECK(is_clean(answer.threads));
  CHECK(is_clean(answer.processes));
}

TEST_CASE("a thread that has overwritten its stack is read as far as it makes sense") {
  const Child child = fork_child([](const auto& ready) { overwrite_own_stack(ready); });
  REQUIRE(eventually([&] { return dump(child.pid()).digest.processes[0].threads[0].truncated; }));
  const Dump result = dump(child.pid());
  REQUIRE(result.process().threads.size() == 1);
  CHECK(result.process().threads[0].registers);
  CHECK(result.digest.processes[0].threads[0].truncated);
  CHECK(!result.digest.processes[0].threads[0].error.empty());
  CHECK(result.frames(0).size() >= 1);
  CHECK(result.frames(0).size() <= 256);
}

#if defined(__x86_64__)
TEST_CASE("a chain of frame pointers that leads back to itself ends") {
  struct Loop {
    Loop* previous;
    void* return_address;
  };
  const Child child = fork_child([](const auto& ready) {
    // Code without unwind tables, as a JIT compiler makes it: mov %rdi,%rbp; 1: jmp 1b
    const unsigned char code[] = {0x48, 0x89, 0xfd, 0xeb, 0xfe};
    void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    std::memcpy(page, code, sizeof code);
    Loop second{nullptr, page}, first{&second, page};
    second.previous = &first;
    ready();
    reinterpret_cast<void (*)(Loop*)>(page)(&first);
  });
  REQUIRE(eventually([&] { return dump(child.pid()).digest.processes[0].threads[0].truncated; }));
  const Dump result = dump(child.pid());
  CHECK(result.frames(0).size() <= 8);
  CHECK(result.frames(0).at(0).function.empty());
  CHECK(result.digest.processes[0].threads[0].truncated);
}
#endif

TEST_CASE("whatever lies on a stack, unwinding ends and stays within its bounds") {
  const Demo demo{{"--threads", "8", "--depth", "40"}};
  TestHold hold;
  stack::Options all;
  all.pause = stack::Pause::all;
  stack::Gathered gathered = stack::gather({Handles{demo.pid()}.process()}, all, hold);
  stack::ProcessCopy& process = gathered.processes.at(0);
  std::mt19937 random{42};
  std::vector<std::vector<std::byte>> copies;
  for (const stack::ThreadCopy& thread : process.threads) copies.emplace_back(thread.stack.begin(), thread.stack.end());
  for (int round = 0; round < 40; ++round) {  // each round damages what the last one left
    for (std::size_t t = 0; t < copies.size(); ++t) {
      stack::ThreadCopy& thread = process.threads[t];
      std::vector<std::byte>& copy = copies[t];
      thread.stack = copy;
      for (std::size_t i = 0; i + 8 <= copy.size(); i += 8) {
        if (random() % 16) continue;
        // Values that look right are the worst: addresses within the stack and within code.
        std::uint64_t value = random() % 2
                                  ? thread.stack_start + random() % (thread.stack.size() + 64)
                                  : process.modules[random() % process.modules.size()].low + random() % 100'000;
        std::memcpy(copy.data() + i, &value, sizeof value);
      }
    }
    const stack::Digest digest = stack::digest(gathered, {}, hold);
    for (const stack::ThreadStack& thread : digest.processes.at(0).threads) CHECK(thread.frames.size() <= 256);
  }
}

TEST_CASE("names are demangled") {
  const std::pair<const char*, const char*> table[] = {
      {"main", "main"},
      {"_ZN4demo4Shop14wait_for_orderEv", "demo::Shop::wait_for_order()"},
      {"_ZN4demo4Shop14wait_for_orderEv.cold", "demo::Shop::wait_for_order().cold"},
      {"_ZN4demo4Shop4workEi.isra.0", "demo::Shop::work(int).isra.0"},
      {"_ZN4demo4Shop4workEi.llvm.123456", "demo::Shop::work(int).llvm.123456"},
      {"_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)"},
      {"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"},
      {"_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE",
       "<Test + 'static as foo::Bar<Test>>::bar"},
      {"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE.llvm.77", "core::fmt::Formatter::pad.llvm.77"},
      {"_RNvC6_123foo3bar", "123foo::bar"},
      {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
      {"_RNvNtCs1234_7mycrate3foo3bar.llvm.5", "mycrate::foo::bar.llvm.5"},
      {"_Znot_mangled", "_Znot_mangled"},
      {"_R", "_R"},
      {"_Z", "_Z"},
      {"", ""},
  };
  for (const auto& [symbol, name] : table) {
    CAPTURE(symbol);
    CHECK(stack::demangle(symbol) == name);
  }
}

TEST_CASE("a short name that stands for an endless one is shown as it is") {
  // A<int,int>, then again and again A<last,last>: every step doubles what is printed.
  std::string symbol = "_Z1f1AIiiE";
  const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (int i = 0; i < 30; ++i) {
    const std::string last = std::string("S") + digits[i] + "_";
    symbol += "S_I" + last + last + "E";
  }
  const auto begin = std::chrono::steady_clock::now();
  CHECK(stack::demangle(symbol).size() <= stack::demangled_limit + 64);
  CHECK(stack::demangle("_Z" + std::string(1'000'000, 'P')).size() <= stack::demangled_limit);
  CHECK(stack::demangle("_R" + std::string(4000, 'B')).size() <= stack::demangled_limit + 64);
  CHECK(std::chrono::steady_clock::now() - begin < 20s);  // and not for ever
}

TEST_CASE("maps are parsed, broken lines skipped") {
  const auto maps = stack::parse_maps(
      "55d0c0000000-55d0c0001000 r--p 00000000 fe:01 1234                       /opt/a b (deleted)\n"
      "55d0c0001000-55d0c0002000 r-xp 00001000 fe:01 1234                       /opt/a b (deleted)\n"
      "nonsense\n"
      "55d0c0003000-55d0c0002000 r-xp 00001000 fe:01 1234   /backwards\n"
      "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
      "7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]");
  REQUIRE(maps.size() == 4);
  CHECK(maps[0].start == 0x55d0c0000000);
  CHECK(maps[1].executable);
  CHECK(maps[1].offset == 0x1000);
  CHECK(maps[0].inode == 1234);
  CHECK(maps[2].path.empty());
  const auto modules = stack::group_modules(maps);
  REQUIRE(modules.size() == 2);
  CHECK(modules[0].path == "/opt/a b");
  CHECK(modules[0].deleted);
  CHECK(modules[0].high == 0x55d0c0002000);
  CHECK(modules[1].path == "[vdso]");
}

TEST_CASE("a stat file ends its name at the last parenthesis") {
  const auto stat = stack::parse_stat("12 (x) R 1\n2 (\x1b[) S 1 12");
  REQUIRE(stat);
  CHECK(stat->name == "x) R 1\n2 (\x1b[");
  CHECK(stat->state == 'S');
  CHECK(!stack::parse_stat("12 x S"));
  CHECK(!stack::parse_stat("12 (x)"));
}

TEST_CASE("a perf map: what was written last is true, and what is no line is none") {
  const std::string text =
      "1000 20 old name\n1000 10 LazyCompile:*work /srv/app.js:7\n\nzz 1 x\n2000\n2000 10\nffffffffffffffff 2 beyond\n"
      "3000 0 nothing\n4000 10 last";
  const stack::PerfMap map{text};
  CHECK(map.find(0x1008) == "LazyCompile:*work /srv/app.js:7");
  CHECK(map.find(0x1018) == "old name");
  CHECK(map.find(0x400f) == "last");
  for (const std::uint64_t address : {0xfffUL, 0x1020UL, 0x2000UL, 0x3000UL, 0x4010UL, ~0UL})
    CHECK(map.find(address).empty());
}

TEST_CASE("a perf map that is not the process's own is not read") {
  const auto child = stack_test::fork_child([](const std::function<void()>& ready) {
    ready();
    for (;;) ::pause();
  });
  const stack_test::Handles handles{child.pid()};
  const std::string path = "/tmp/perf-" + std::to_string(child.pid()) + ".map";
  std::ofstream{path} << "1000 10 mine\n";
  CHECK(stack::read_perf_map(handles.process()) == "1000 10 mine\n");
  std::filesystem::create_hard_link(path, path + ".2");
  CHECK(stack::read_perf_map(handles.process()).empty());
  std::filesystem::remove(path + ".2");
  if (::geteuid() == 0) {
    REQUIRE(::chown(path.c_str(), 12345, 0) == 0);
    CHECK(stack::read_perf_map(handles.process()).empty());
  }
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/etc/passwd", path);
  CHECK(stack::read_perf_map(handles.process()).empty());
  std::filesystem::remove(path);
}
