// Node's inspector as a hostile peer, and what is made of its words. The real program is met in tests/e2e.
#include "stack/node/node.hpp"

#include <fcntl.h>

#include <cstring>
#include <thread>

#include "peer.hpp"
#include "stack/listeners.hpp"
#include "stack/node/exports.hpp"
#include "stack/node/inspector.hpp"
#include "stack/node/json.hpp"
#include "stack/node/options.hpp"
#include "stack/node/sigaction.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
namespace node = stack::node;

namespace {

const std::string upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

struct Received {
  stack::Got got;
  std::string text;
};

Received receive(const std::string& frames) {
  const stack_test::Peer peer{upgraded + frames};
  stack_test::TestHold hold;
  node::WebSocket socket{hold};
  const auto deadline = stack::Clock::now() + 10s;
  REQUIRE(socket.connect(peer.endpoint, deadline));
  REQUIRE(socket.upgrade("/id", deadline));
  Received received;
  stack::Clock::time_point came;
  received.got = socket.receive(received.text, came, deadline);
  return received;
}

}  // namespace

TEST_CASE("JSON is read where it lies, and what is none finds nothing") {
  constexpr std::string_view text = R"( {"a": {"b": [1, {"c": "}\"]"}, 3]}, "n": -7, "s": "x\ny"} )";
  std::vector<std::string> elements;
  node::each_element(node::member(node::member(text, "a"), "b"),
                     [&](std::string_view value) { return elements.emplace_back(value), true; });
  CHECK(elements == std::vector<std::string>{"1", R"({"c": "}\"]"})", "3"});
  CHECK(node::number_of(node::member(text, "n")) == -7);
  CHECK(node::text_of(node::member(text, "s")) == "x\ny");
  CHECK(node::member(text, "z").empty());
  // Each of its beginnings is no whole text, and is survived; so is depth.
  for (std::size_t size = 0; size + 2 < text.size(); ++size) CHECK(node::member(text.substr(0, size), "z").empty());
  for (const std::string_view bad :
       {"{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\":\"\\", "[1,", "{,}", "{\"a\":1 \"b\"", "]", ""})
    CHECK(node::member(bad, "b").empty());
  CHECK(node::member("{\"a\":" + std::string(1'000'000, '[') + "}", "b").empty());
}

TEST_CASE("options of the inspector, from the command line and NODE_OPTIONS") {
  using node::read_options;
  CHECK(read_options("node\0app.js\0"sv, "").expected() == 9229);
  CHECK(read_options("node\0--inspect=127.0.0.1:0\0app.js\0"sv, "").expected() == 0);
  CHECK(read_options("node\0--inspect=127.0.0.1:0\0app.js\0"sv, "").wanted);
  CHECK(read_options("node\0--inspect-port=[::1]:9300\0"sv, "").expected() == 9300);
  CHECK(read_options("node\0--inspect=localhost\0"sv, "--inspect-port=9231").expected() == 9231);
  CHECK(read_options("node\0--inspect-port=99999\0"sv, "").expected() == 9229);
  CHECK(read_options("", "--max-old-space-size=10 --disable-sigusr1").signal_disabled);
  CHECK(node::variable_of("A=1\0NODE_OPTIONS=--inspect\0B=2\0"sv, "NODE_OPTIONS") == "--inspect");
}

TEST_CASE("listening sockets, as the kernel lists them") {
  const auto all = stack::parse_listening(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:240D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 93311 1 0\n"
      "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 93312 1 0\n"
      "   2: 0100007F:240E 0100007F:1234 01 00000000:00000000 00:00000000 00000000  1000        0 93313 1 0\n");
  REQUIRE(all.size() == 2);
  CHECK((all[0].endpoint.text == "127.0.0.1:9229" && all[0].loopback && all[0].inode == 93311));
  CHECK((all[1].endpoint.text == "127.0.0.1:80" && !all[1].loopback && all[1].port == 80));
  const auto six = stack::parse_listening(
      "head\n   0: 00000000000000000000000001000000:240D 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1\n");
  REQUIRE(six.size() == 1);
  CHECK((six[0].endpoint.text == "[::1]:9229" && six[0].loopback));
  CHECK(stack::parse_listening("head\n 0: 01:24 x 0A\n garbage").empty());
  CHECK(stack::parse_listening("").empty());
}

TEST_CASE("a listener belongs to the process that has its descriptor") {
  const stack_test::Peer peer{""};
  const stack_test::Handles self{::getpid()};
  const auto has = [&](const stack::Process& process) {
    const auto own = stack::find_listeners(process, process.pid).own;
    return std::any_of(own.begin(), own.end(), [&](const auto& l) { return l.endpoint.text == peer.endpoint.text; });
  };
  CHECK(has(self.process()));
  const stack_test::Demo demo;
  CHECK_FALSE(has(stack_test::Handles{demo.pid()}.process()));
}

TEST_CASE("sock_diag and the table of /proc tell the same of a listener") {
  const stack_test::Peer peer{""};
  const stack_test::Handles self{::getpid()};
  const auto table = stack::read_below(self.proc_fd.get(), "net/tcp", 1 << 20);
  REQUIRE(table);
  const auto is_peer = [&](const stack::Listener& one) { return one.endpoint.text == peer.endpoint.text; };
  const auto asked = stack::find_listeners(self.process(), ::getpid()).own, listed = stack::parse_listening(*table);
  const auto a = std::find_if(asked.begin(), asked.end(), is_peer),
             l = std::find_if(listed.begin(), listed.end(), is_peer);
  REQUIRE((a != asked.end() && l != listed.end()));
  CHECK((a->port == l->port && a->inode == l->inode && a->loopback == l->loopback && a->any == l->any));
  CHECK(std::memcmp(&a->endpoint.address, &l->endpoint.address, sizeof(sockaddr_in)) == 0);
}

TEST_CASE("frames of a WebSocket: whole, in pieces, with pings between") {
  CHECK(receive("\x81\x05hello").text == "hello");
  CHECK(receive("\x81\x7e\x00\x03"s + "abc").text == "abc");
  CHECK(receive("\x01\x02"s + "ab" + "\x89\x01p" + "\x80\x01" + "c").text == "abc");
}

TEST_CASE("a peer that does not keep to RFC 6455 is left") {
  CHECK(receive("\x81\x85\x01\x02\x03\x04hello").got == stack::Got::broken);             // masked
  CHECK(receive("\xc1\x05hello").got == stack::Got::broken);                             // compressed
  CHECK(receive("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff").got == stack::Got::broken);  // 2^64 bytes
  CHECK(receive("\x80\x01"s + "c").got == stack::Got::broken);                           // the rest of nothing
  CHECK(receive("\x89\x7e\x00\x01p"s).got == stack::Got::broken);                        // a long ping
  CHECK(receive("\x88\x00"s).got == stack::Got::closed);
  CHECK(receive("\x81").got == stack::Got::closed);
  std::string pieces;
  for (int i = 0; i < 20; ++i) {  // each allowed, together too much
    pieces += i == 0 ? "\x01\x7f\x00\x00\x00\x00\x00\x10\x00\x00"s : "\x00\x7f\x00\x00\x00\x00\x00\x10\x00\x00"s;
    pieces += std::string(std::size_t{1} << 20, 'x');
  }
  CHECK(receive(pieces).got == stack::Got::broken);
}

TEST_CASE("what only pretends to be an inspector is none") {
  const auto found = [](const std::string& answer) {
    const stack_test::Peer peer{answer};
    stack_test::TestHold hold;
    node::Inspector inspector{hold};
    return inspector.find(peer.endpoint);
  };
  const auto with = [](const std::string& body) {
    return "HTTP/1.0 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  CHECK(found(with(R"([{"type":"node","id":"0e5b2c1a-1"}])")));
  CHECK_FALSE(found(with(R"([{"type":"node","id":"../x y"}])")));
  CHECK_FALSE(found(with("<html>")));
  CHECK_FALSE(found("HTTP/1.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"));
  CHECK_FALSE(found("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
  CHECK_FALSE(found(std::string(100'000, 'x')));
}

TEST_CASE("call frames: places counted from one, the probe's own left out, those that await it below") {
  node::Agent agent;
  agent.scripts["7"] = "file:///srv/app.js";
  agent.paused = R"({"callFrames":[
    {"functionName":"","url":"hatchd:stack.dump","location":{"scriptId":"9","lineNumber":0}},
    {"functionName":"work","url":"","location":{"scriptId":"7","lineNumber":41}},
    {"functionName":"","url":"node:internal/timers","location":{"scriptId":"1","lineNumber":-5}}],
    "asyncStackTrace":{"description":"await","callFrames":[{"functionName":"load","scriptId":"7","url":"","lineNumber":9}]}})";
  stack::FrameTable table;
  const stack::RuntimeThread thread = node::show_agent(agent, 42, 256, table);
  REQUIRE(thread.frames.size() == 4);
  const auto frame = [&](std::size_t i) { return table.frames[thread.frames[i]]; };
  CHECK((frame(0).function == "work" && frame(0).file == "/srv/app.js" && frame(0).line == 42));
  CHECK((frame(1).function == "(anonymous)" && frame(1).line == 0));
  CHECK(frame(2).function == "(async: await)");
  CHECK((frame(3).function == "load" && frame(3).line == 10));
  CHECK((thread.tid == 42 && thread.running));
  CHECK(node::show_agent(agent, 42, 2, table).truncated);
  CHECK(table.frames.size() == 4);  // each once
}

TEST_CASE("what a process does on a signal is asked of a thread that sleeps, and it sleeps on") {
  const stack_test::Child child = stack_test::fork_child([](const std::function<void()>& ready) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR1, &action, nullptr);
    std::thread([] {
      ::syscall(SYS_futex, new int{0}, 128 /* FUTEX_WAIT_PRIVATE */, 0, nullptr);
      ::_exit(1);
    }).detach();
    ready();
    for (;;) ::pause();
  });
  const stack_test::Handles handles{child.pid()};
  stack_test::TestHold hold;
  std::string why;
  std::optional<node::SignalAction> action;
#if defined(__x86_64__)
  REQUIRE(stack_test::eventually([&] {
    action = node::ask_signal_action(handles.process(), SIGUSR1, hold, why);
    return action.has_value();
  }));
  CHECK((action->handler > 1 && action->flags & SA_RESTART));
  REQUIRE(stack_test::eventually([&] {
    action = node::ask_signal_action(handles.process(), SIGUSR2, hold, why);
    return action.has_value();
  }));
  CHECK(action->handler == 0);
  CHECK(hold.begun == hold.ended);
#endif
  CHECK(stack_test::eventually([&] { return stack_test::is_left_alone(child.pid()); }));
  CHECK(::kill(child.pid(), 0) == 0);
}

TEST_CASE("exported symbols, by the hash table of the file") {
  const auto exports = [](const char* path, std::string_view name) {
    const stack::UniqueFd file{::open(path, O_RDONLY | O_CLOEXEC)};
    return file && node::exports_symbol(file.get(), name);
  };
  CHECK(exports(HATCHD_STACK_PLUGIN, "hatch_plugin_entry"));
  CHECK_FALSE(exports(HATCHD_STACK_PLUGIN, "hatch_plugin_entry2"));
  CHECK_FALSE(exports(HATCHD_DEMO, "_ZN4node15FreeIsolateDataEPNS_11IsolateDataE"));
  CHECK_FALSE(exports("/proc/self/maps", "x"));
}
