// What Go programs say of their goroutines: texts of real programs (1.19.8), the forms of other versions, and hostile
// ones. Real programs are met in tests/e2e.
#include "stack/go/goroutines.hpp"

#include "catch.hpp"
#include "stack/configuration.hpp"
#include "stack/go/pprof.hpp"

using stack::go::goroutines_of_index;
using stack::go::is_pprof_address;
using namespace std::string_literals;

namespace {

// ?debug=2 of a small server, as it came.
const std::string told = R"(goroutine 22 [running]:
runtime/pprof.writeGoroutineStacks({0x75bde0, 0xc000136000})
	/usr/lib/go-1.19/src/runtime/pprof/pprof.go:692 +0x70
net/http/pprof.handler.ServeHTTP({0xc0000ba221, 0x9}, {0x75dc60, 0xc000136000}, 0x2e302e302e373231?)
	/usr/lib/go-1.19/src/net/http/pprof/pprof.go:253 +0x4a5
net/http.(*conn).serve(0xc0000a9b80, {0x75e120, 0xc0000933e0})
	/usr/lib/go-1.19/src/net/http/server.go:1991 +0x607
created by net/http.(*Server).Serve
	/usr/lib/go-1.19/src/net/http/server.go:3102 +0x4db

goroutine 1 [IO wait, 5 minutes, locked to thread]:
internal/poll.runtime_pollWait(0x7f5a62d0a098, 0x72)
	/usr/lib/go-1.19/src/runtime/netpoll.go:305 +0x89
internal/poll.(*pollDesc).waitRead(...)
	/usr/lib/go-1.19/src/internal/poll/fd_poll_runtime.go:89
main.main()
	/tmp/with a blank: and colon/many.go:29 +0x18f

goroutine 19 [chan receive (nil chan)]:
main.wait(0x0?, 0x0?)
	/tmp/many.go:14 +0x25
main.wait(0x0?, 0x0?)
	/tmp/many.go:14 +0x25
created by main.main
	/tmp/many.go:26 +0xb3

goroutine 23 [runnable]:
net/http.(*connReader).startBackgroundRead.func2()
	/usr/lib/go-1.19/src/net/http/server.go:674
runtime.goexit()
	/usr/lib/go-1.19/src/runtime/asm_amd64.s:1594 +0x1
created by net/http.(*connReader).startBackgroundRead
	/usr/lib/go-1.19/src/net/http/server.go:674 +0xca
)";

const std::string counted =
    "goroutine profile: total 3002\n"
    "3000 @ 0x43b256 0x407e5b 0x407998 0x670979 0x670965 0x46b121\n"
    "#\t0x670978\tmain.wait+0x38\t/tmp/many.go:17\n"
    "#\t0x670964\tmain.wait+0x24\t/tmp/many.go:14\n"
    "\n"
    "1 @ 0x430856 0x4656a5 0x662cf5\n"
    "# labels: {\"request\":\"a \\n b\"}\n"
    "#\t0x4656a4\truntime/pprof.runtime_goroutineProfileWithLabels+0x24\t/usr/lib/go-1.19/src/runtime/mprof.go:846\n"
    "#\t0x662b0c\truntime/pprof.writeGoroutine+0x4c\t\t\t/usr/lib/go-1.19/src/runtime/pprof/pprof.go:683\n"
    "#\t0x61b626\tnet/http.(*conn).serve+0x606\t\t\t\t/usr/lib/go-1.19/src/net/http/server.go:1991\n"
    "\n"
    "1 @ 0x43b256 0x433d77\n"
    "#\t0x670b0e\tmain.main+0x16e\t\t\t\t\t/tmp/many.go:29\n"
    "#\t0x43ae91\truntime.main+0x211\t\t\t\t/usr/lib/go-1.19/src/runtime/proc.go:250\n"
    "\n";

stack::RuntimeStacks read(std::string_view text, unsigned max_frames = 256) {
  stack::RuntimeStacks stacks;
  stack::go::parse_goroutines(text, max_frames, stacks);
  return stacks;
}

stack::RuntimeStacks count(std::string_view text) {
  stack::RuntimeStacks stacks;
  stack::go::parse_goroutine_groups(text, 256, stacks);
  return stacks;
}

std::string shown(const stack::RuntimeStacks& stacks, const stack::RuntimeThread& thread) {
  std::string text;
  for (const std::uint32_t index : thread.frames) {
    const stack::Frame& frame = stacks.frames.at(index);
    text += (text.empty() ? "" : " < ") + frame.function + (frame.inlined ? "*" : "");
    if (!frame.file.empty()) text += "@" + frame.file + ":" + std::to_string(frame.line);
  }
  return text;
}

std::string member(const stack::RuntimeThread& thread, std::string_view name) {
  for (const auto& [key, json] : thread.members)
    if (key == name) return json;
  return {};
}

// Any text gives something that holds together.
void survive(const std::string& text) {
  for (const stack::RuntimeStacks& stacks : {read(text), count(text)})
    for (const stack::RuntimeThread& thread : stacks.threads)
      for (const std::uint32_t index : thread.frames) REQUIRE(index < stacks.frames.size());
}

}  // namespace

TEST_CASE("goroutines: state, start, creator and frames, without the one that wrote them") {
  const stack::RuntimeStacks stacks = read(told);
  REQUIRE(stacks.threads.size() == 3);
  const auto& main = stacks.threads[0];
  CHECK((main.id == "goroutine 1" && main.name == "main.main" && main.state == "IO wait" && !main.running));
  CHECK(main.remark == "for 5 minutes, locked to thread");
  CHECK((member(main, "waiting_minutes") == "5" && member(main, "locked_to_thread") == "true"));
  CHECK(member(main, "created_by").empty());
  CHECK(shown(stacks, main) ==
        "internal/poll.runtime_pollWait@/usr/lib/go-1.19/src/runtime/netpoll.go:305 < "
        "internal/poll.(*pollDesc).waitRead*@/usr/lib/go-1.19/src/internal/poll/fd_poll_runtime.go:89 < "
        "main.main@/tmp/with a blank: and colon/many.go:29");
  const auto& waiting = stacks.threads[1];
  CHECK((waiting.state == "chan receive (nil chan)" && waiting.name == "main.wait" && waiting.remark.empty()));
  CHECK(member(waiting, "created_by") == "\"main.main\"");
  CHECK((waiting.frames.size() == 2 && waiting.frames[0] == waiting.frames[1]));
  const auto& fresh = stacks.threads[2];  // runtime.goexit is not shown
  CHECK((fresh.state == "runnable" && fresh.frames.size() == 1));
}

TEST_CASE("goroutines: the forms of other versions") {
  const stack::RuntimeStacks stacks = read(
      "goroutine 7 [running]:\nruntime/pprof.writeGoroutineStacks({0x1, 0x2})\n\t/pprof.go:7 +0x1\n"
      "created by net/http.(*Server).Serve in goroutine 1\n\t/server.go:1 +0x1\n\n"
      "goroutine 8 [IO wait]:\nnet/http.(*connReader).backgroundRead(0x1)\n\t/server.go:2 +0x1\n"
      "created by net/http.(*connReader).startBackgroundRead in goroutine 7\n\t/server.go:3 +0x1\n\n"
      "goroutine 9 gp=0xc0000061c0 m=3 mp=0xc000080008 [sleep (scan), 1 minutes, synctest bubble 4]:\n"
      "main.F[...](0x1)\n\t/a.go:2 +0x1 fp=0xc00 sp=0xc00 pc=0x46\n"
      "created by main.main in goroutine 1\n\t/a.go:3 +0x1\n"
      "[originating from goroutine 1]:\nmain.main(...)\n\t/a.go:4 +0x1\n\n"
      "goroutine 10 [running]:\n\tgoroutine running on other thread; stack unavailable\ncreated by "
      "main.g\n\t/a.go:5\n\n"
      "goroutine 11 [select]:\r\nmain.deep(0x1)\r\n\t/a.go:6 +0x1\r\n...23 frames "
      "elided...\r\nmain.start()\r\n\t/a.go:7\r\n\r\n"
      "goroutine 12 [select]:\nmain.deep(0x1)\n\t/a.go:6 +0x1\n...additional frames elided...\ncreated by "
      "main.main\n\t/a.go:8\n");
  REQUIRE(stacks.threads.size() == 4);
  const auto& generic = stacks.threads[0];
  CHECK((generic.id == "goroutine 9" && generic.state == "sleep" && member(generic, "waiting_minutes") == "1"));
  CHECK(generic.remark == "for 1 minutes, synctest bubble 4");
  CHECK(shown(stacks, generic) == "main.F[...]@/a.go:2");
  CHECK((member(generic, "created_by") == "\"main.main\"" && member(generic, "creator") == "\"goroutine 1\""));
  CHECK((stacks.threads[1].running && stacks.threads[1].frames.empty() && !stacks.threads[1].error.empty()));
  const auto& elided = stacks.threads[2];
  CHECK((elided.truncated && elided.name == "main.start"));
  CHECK(shown(stacks, elided) == "main.deep@/a.go:6 < (23 frames elided) < main.start@/a.go:7");
  const auto& cut = stacks.threads[3];  // what it was started with is not known
  CHECK((cut.truncated && cut.name.empty() && member(cut, "created_by") == "\"main.main\""));
}

TEST_CASE("goroutines: who else writes such a text is shown, and a limit of frames holds") {
  const std::string block =
      "goroutine 5 [running]:\nruntime/pprof.writeGoroutineStacks()\n\t/p.go:1\nmain.save()\n\t/a.go:1\n\n";
  const stack::RuntimeStacks stacks = read(block + block, 1);
  REQUIRE(stacks.threads.size() == 1);
  CHECK((stacks.threads[0].frames.size() == 1 && stacks.threads[0].truncated && stacks.threads[0].name == "main.save"));
}

TEST_CASE("goroutines: counted ones stand for many") {
  const stack::RuntimeStacks stacks = count(counted);
  REQUIRE(stacks.threads.size() == 2);
  const auto& many = stacks.threads[0];
  CHECK((many.count == 3000 && many.name == "main.wait" && many.remark == "3000 goroutines stand here"));
  CHECK((many.id == "group 1" && member(many, "goroutines") == "3000"));
  CHECK(shown(stacks, many) == "main.wait@/tmp/many.go:17 < main.wait@/tmp/many.go:14");
  CHECK((stacks.threads[1].name == "main.main" && stacks.threads[1].count == 1));
  CHECK(shown(stacks, stacks.threads[1]) == "main.main@/tmp/many.go:29");
}

TEST_CASE("goroutines: another text is none") {
  stack::RuntimeStacks stacks;
  for (const std::string& text : {""s, "<html>"s, " goroutine 1 [running]:\n"s, counted.substr(1)}) {
    CHECK_FALSE(stack::go::parse_goroutines(text, 256, stacks));
    CHECK_FALSE(stack::go::parse_goroutine_groups(text, 256, stacks));
  }
  CHECK_FALSE(stack::go::parse_goroutine_groups(told, 256, stacks));
  CHECK(read("goroutine x [running]:\nmain.f()\n").threads.empty());
  CHECK(read("goroutine 1 []:\n").threads.size() == 1);
}

TEST_CASE("goroutines: any piece, and any byte changed, is survived") {
  for (const std::string& whole : {told, counted}) {
    for (std::size_t size = 0; size < whole.size(); size += 3) survive(whole.substr(0, size));
    for (std::size_t at = 0; at < whole.size(); at += 2)
      for (const char byte : {'\0', '\n', '\t', '(', ':', '[', '#', '9', '\xff'}) {
        std::string changed = whole;
        changed[at] = byte;
        survive(changed);
      }
  }
}

TEST_CASE("goroutines: what has no end has bounds") {
  const std::string head = "goroutine 1 [running]:\n";
  const std::string name(1'000'000, 'x');
  const stack::RuntimeStacks long_name =
      read(head + name + "()\n\t/" + name + ":1\n\ngoroutine 2 [" + name + ", " + name + "]:\n");
  REQUIRE(long_name.threads.size() == 2);
  CHECK((long_name.frames.at(0).function.size() == 4096 && long_name.frames.at(0).file.size() == 4096));
  CHECK((long_name.threads[0].name.size() == 4096 && long_name.threads[1].state.size() <= 256));
  std::string deep = head;
  for (int i = 0; i < 100'000; ++i) deep += "main.f" + std::to_string(i % 1000) + "()\n\t/a.go:1\n";
  const stack::RuntimeStacks bounded = read(deep);
  CHECK((bounded.threads.at(0).frames.size() == 256 && bounded.threads.at(0).truncated));
  CHECK(bounded.frames.size() == 1000);
  std::string many;
  for (std::size_t i = 0; i < stack::go::max_goroutines + 100; ++i) many += "goroutine 1 [idle]:\n";
  CHECK(read(many).threads.size() == stack::go::max_goroutines);
  CHECK(count("goroutine profile: total 1\n99999999999999999 @ 0x1\n#\t0x1\tf+0x1\t/a:99999999999999\n")
            .threads.at(0)
            .count == 1'000'000'000);
  CHECK(count("goroutine profile: total 1\n999999999999999999999999 @ 0x1\n#\t0x1\tf+0x1\t/a:1\n").threads.empty());
}

TEST_CASE("pprof: the index says how many goroutines there are") {
  CHECK(goroutines_of_index("<tr><td>3</td><td><a href='allocs?debug=1'>allocs</a></td></tr>\n"
                            "<tr><td>6</td><td><a href='goroutine?debug=1'>goroutine</a></td></tr>") == 6);
  CHECK(goroutines_of_index("<td>12<td><a href=\"goroutine?debug=1\">goroutine</a>") == 12);
  for (const char* page : {"", "goroutine?debug=1", "<td>goroutine?debug=1", "<td>x</td><td>goroutine?debug=1",
                           "<td>6</td><td>goroutine", "<td>99999999999999999999999</td><td>goroutine?debug=1"})
    CHECK(goroutines_of_index(page) == std::nullopt);
}

TEST_CASE("pprof: addresses of the configuration") {
  for (const char* good : {"http://127.0.0.1:6060", "http://localhost:6060/", "http://[::1]:1/debug/pprof",
                           "http://10.1.2.3:65535/a/b_c-d.e~f%20/"})
    CHECK(is_pprof_address(good));
  for (const char* bad : {"", "127.0.0.1:6060", "https://127.0.0.1:6060", "http://127.0.0.1", "http://127.0.0.1:0",
                          "http://127.0.0.1:65536", "http://host:6060", "http://127.0.0.1:6060/?x",
                          "http://127.0.0.1:6060/a b", "http://127.0.0.1:6060/\r\nX: y", "http://u:p@127.0.0.1:6060",
                          "http://[::g]:1", "http://127.0.0.1:6060/#x", "http://127.0.0.1:6060x"})
    CHECK_FALSE(is_pprof_address(bad));
  const std::string_view configuration = R"({"pprof": {"web": "http://127.0.0.1:1", "w\"": "http://[::1]:2"}, "x": 1})";
  CHECK(stack::pprof_of(configuration, "web") == "http://127.0.0.1:1");
  CHECK(stack::pprof_of(configuration, "w\"") == "http://[::1]:2");
  CHECK(stack::pprof_of(configuration, "we").empty());
  CHECK(stack::pprof_of("{}", "web").empty());
  CHECK(stack::pprof_of("", "web").empty());
}
