#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "catch.hpp"
#include "config/config.hpp"
#include "folder.hpp"

using namespace hatchd::config;
using namespace std::chrono_literals;
namespace json = boost::json;

namespace {

constexpr const char* hash_b = "1111111111111111111111111111111111111111111111111111111111111111";
constexpr const char* hash_a = "0000000000000000000000000000000000000000000000000000000000000000";

std::vector<hatchd::FieldError> refuse_web(const json::object& targets) {
  if (!targets.contains("web")) return {};
  return {{"/web", "is refused"}};
}

}  // namespace

TEST_CASE("an empty object is a configuration of defaults") {
  const Folder folder;
  const Loaded loaded = load(folder.write("{}"));
  REQUIRE(folder.told(loaded) == "");
  REQUIRE(loaded.config.listen.size() == 1);
  CHECK(loaded.config.listen[0].unix_path == "/run/hatchd/hatchd.sock");
  CHECK(loaded.config.listen[0].mode == 0660);
  CHECK(loaded.config.runs.directory == "/var/lib/hatchd");
  CHECK(loaded.config.runs.keep_bytes == 2ull << 30);
  CHECK(loaded.config.runs.keep_age == 720h);
  CHECK(loaded.config.users.front == "hatchd-front");
  CHECK(loaded.config.grace == 10s);
}

TEST_CASE("every key arrives in its struct") {
  const Folder folder;
  const Loaded loaded = load(folder.write(std::string(R"({
    // comments and trailing commas
    "$schema": "hatchd.schema.json",
    "listen": [
      { "unix": "/run/h.sock", "mode": "0600", "group": "ops", "anonymous": "viewer" },
      { "tcp": "[::1]:0" },
      { "tcp": "0.0.0.0:4283", "only": ["health", "metrics"], "anonymous": "metrics" }, /* open */
      { "tcp": "192.0.2.1:4284" }, { "tcp": "127.0.0.1:4285", "tls": true },
    ],
    "tls": { "certificate": "/etc/hatchd/tls.pem", "key": "/etc/hatchd/tls.key" },
    "targets": { "web": { "unit": "web.service" }, "db": { "name": "postgres", "user": "postgres" } },
    "access": {
      "peers": [{ "user": "root", "role": "admin" }, { "group": "ops", "role": "operator" }],
      "tokens": [{ "name": "oncall", "sha256": ")") +
                                          hash_a + R"(", "role": "viewer", "hatches": ["stack.*"],
                   "targets": ["web"], "expires": "2027-01-01" }],
      "anonymous": null, "read_only": true
    },
    "hosts": ["hatch.example.org"],
    "plugins": { "mine": { "path": "/opt/mine.so", "capabilities": ["sys_ptrace"], "profiles": { "a": { "x": 1 } }, "own": [2] },
                 "stack": { "enabled": false } },
    "hatches": { "stack.dump": { "enabled": true, "timeout": "2m", "cooldown": "2s", "concurrency": 3,
                                 "max_pause": "250us", "role": "admin", "effect": "act" } },
    "runs": { "directory": "/srv/runs", "keep": { "count": 5, "bytes": "64KiB", "age": "12h" } },
    "users": { "front": "nobody" },
    "plugin_directories": ["/opt/plugins"],
    "grace": "3s",
  })"));
  REQUIRE(folder.told(loaded) == "");
  const Config& c = loaded.config;
  REQUIRE(c.listen.size() == 5);
  const std::vector<bool> tls{false, false, false, true, true};
  for (std::size_t i = 0; i < tls.size(); ++i) CHECK(c.listen[i].tls == tls[i]);
  CHECK(c.tls.certificate == "/etc/hatchd/tls.pem");
  CHECK(c.tls.key == "/etc/hatchd/tls.key");
  CHECK(c.listen[0].mode == 0600);
  CHECK(c.listen[0].group == "ops");
  CHECK(c.listen[0].anonymous == "viewer");
  CHECK(c.listen[1].address == "[::1]:0");
  CHECK(c.listen[2].only == std::vector<std::string>{"health", "metrics"});
  CHECK(c.targets.at("db").at("user") == "postgres");
  REQUIRE(c.access.peers.size() == 2);
  CHECK(c.access.peers[0].user == "root");
  CHECK(c.access.peers[1].group == "ops");
  CHECK(c.access.peers[1].role == "operator");
  REQUIRE(c.access.tokens.size() == 1);
  CHECK(c.access.tokens[0].sha256 == hash_a);
  CHECK(c.access.tokens[0].hatches == std::vector<std::string>{"stack.*"});
  CHECK(c.access.tokens[0].expires == "2027-01-01");
  CHECK(c.access.anonymous == "");
  CHECK(c.access.read_only);
  CHECK(c.hosts == std::vector<std::string>{"hatch.example.org"});
  CHECK(c.plugins.at("mine").path == "/opt/mine.so");
  CHECK(c.plugins.at("mine").capabilities == std::vector<std::string>{"sys_ptrace"});
  CHECK(c.plugins.at("mine").profiles.at("a").at("x") == 1);
  CHECK(c.plugins.at("mine").own == json::object{{"own", json::array{2}}});
  CHECK_FALSE(c.plugins.at("stack").enabled);
  const Hatch& hatch = c.hatches.at("stack.dump");
  CHECK(hatch.enabled == true);
  CHECK(hatch.timeout == 2min);
  CHECK(hatch.cooldown == 2s);
  CHECK(hatch.concurrency == 3u);
  CHECK(hatch.max_pause == 250us);
  CHECK(hatch.role == "admin");
  CHECK(hatch.effect == "act");
  CHECK(c.runs.directory == "/srv/runs");
  CHECK(c.runs.keep_count == 5);
  CHECK(c.runs.keep_bytes == 65536);
  CHECK(c.runs.keep_age == 12h);
  CHECK(c.users.front == "nobody");
  CHECK(c.users.targets == "hatchd-targets");
  CHECK(c.plugin_directories == std::vector<std::string>{"/opt/plugins"});
  CHECK(c.grace == 3s);
}

TEST_CASE("all faults come at once, each with its line") {
  const Folder folder;
  const Loaded loaded = load(folder.write(R"({
  "targets": {
    "web": { "unitt": "web.service" },  // a comment
    /* one
       more */
    "a/b": { "pid": 1 },
    "two": { "pid": 1,
             "name": "x" }
  },
  "access": { "peers": [ { "user": "u", "role": "boss" },
                         { "role": "admin" } ] },
  "hatches": { "stack.dump": { "timeout": "soon" } },
  "listn": []
})"));
  CHECK(folder.told(loaded) ==
        "hatchd.json:3: /targets/web/unitt: unknown; did you mean \"unit\"? There are: \"pid\", \"pidfile\", \"exe\", "
        "\"cmdline\", \"name\", \"port\", \"unit\", \"container\", \"user\", \"log\"\n"
        "hatchd.json:3: /targets/web: needs one of \"pid\", \"pidfile\", \"exe\", \"cmdline\", \"name\", \"port\", "
        "\"unit\", "
        "\"container\"\n"
        "hatchd.json:6: /targets/a~1b: unknown; there are: \"*\"; names that match "
        "\"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$\"\n"
        "hatchd.json:7: /targets/two: may have only one of \"pid\", \"name\"\n"
        "hatchd.json:10: /access/peers/0/role: must be one of \"metrics\", \"viewer\", \"operator\", \"admin\"\n"
        "hatchd.json:11: /access/peers/1: needs one of \"user\", \"group\"\n"
        "hatchd.json:12: /hatches/stack.dump/timeout: must be a duration such as \"30s\", \"250ms\" or \"2h\"\n"
        "hatchd.json:13: /listn: unknown; did you mean \"listen\"? There are: \"$schema\", \"listen\", \"targets\", "
        "\"access\", \"hosts\", \"tls\", \"mask\", \"audit\", \"plugins\", \"hatches\", \"runs\", \"users\", "
        "\"plugin_directories\", \"grace\"\n");
}

TEST_CASE("syntax errors have line and column") {
  struct Row {
    const char* text;
    const char* told;
  };
  const Row rows[] = {
      {"{\n  \"a\" 3\n}", "hatchd.json:2: syntax error (column 7)\n"},
      {"{\n", "hatchd.json:2: ends too early: a bracket, brace, string or comment is still open (column 1)\n"},
      {"{} /* to do", "hatchd.json:1: ends too early: a bracket, brace, string or comment is still open (column 12)\n"},
      {"{\"listen\": /",
       "hatchd.json:1: ends too early: a bracket, brace, string or comment is still open (column 13)\n"},
      {"", "hatchd.json:1: is empty (column 1)\n"},
      {"{}\n{}", "hatchd.json:2: there is text after the end (column 1)\n"},
      {"[]", "hatchd.json:1: must be an object: { … }\n"},
      {"{\"hosts\": [], \n \"grace\": \"3s\", \"hosts\": []}",
       "hatchd.json:2: /hosts: is given twice, first in line 1\n"},
  };
  const Folder folder;
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(folder.told(load(folder.write(row.text))) == row.told);
  }
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  CHECK(folder.told(load(folder.write("{\"x\": " + deep + "}"))) == "hatchd.json:1: too deep (column 38)\n");
}

TEST_CASE("relations between keys are checked") {
  struct Row {
    std::string text;
    const char* told;
  };
  const std::string token = std::string(R"({"name": "t", "role": "viewer", "sha256": ")") + hash_a + "\"";
  const Row rows[] = {
      {R"({"listen": [{"tcp": "0.0.0.0:80"}]})",
       "/listen/0/tcp: beyond loopback TLS is required, or \"only\": [\"health\", \"metrics\"]\n"},
      {R"({"listen": [{"tcp": "[::]:80"}]})",
       "/listen/0/tcp: beyond loopback TLS is required, or \"only\": [\"health\", \"metrics\"]\n"},
      {R"({"listen": [{"tcp": "127.9.9.9:80"}, {"tcp": "[::1]:80"}, {"tcp": "127.0.0.1:0"}, {"tcp": "127.0.0.1:0"}]})",
       ""},
      {R"({"listen": [{"tcp": "localhost:80"}]})",
       "/listen/0/tcp: must be ADDRESS:PORT, such as \"127.0.0.1:4282\" or \"[::1]:4282\"\n"},
      {R"({"listen": [{"tcp": "127.0.0.1:65536"}]})",
       "/listen/0/tcp: must be ADDRESS:PORT, such as \"127.0.0.1:4282\" or \"[::1]:4282\"\n"},
      {R"({"listen": [{"tcp": ""}]})",
       "/listen/0/tcp: must be ADDRESS:PORT, such as \"127.0.0.1:4282\" or \"[::1]:4282\"\n"},
      {R"({"listen": [{"tcp": "127.0.0.1:80", "mode": "0600"}]})", "/listen/0/mode: belongs to a Unix socket\n"},
      {R"({"listen": [{"tcp": "127.0.0.1:80", "unix": "/a"}]})", "/listen/0: may have only one of \"unix\", \"tcp\"\n"},
      {R"({"listen": [{"tcp": "0.0.0.0:80"}], "tls": {"certificate": "/c", "key": "/k"}})", ""},
      {R"({"listen": [{"tcp": "0.0.0.0:80", "tls": false}], "tls": {"certificate": "/c", "key": "/k"}})",
       "/listen/0/tcp: beyond loopback TLS is required, or \"only\": [\"health\", \"metrics\"]\n"},
      {R"({"listen": [{"tcp": "127.0.0.1:80", "tls": true}]})",
       "/listen/0/tls: needs certificate and key: \"tls\": {\"certificate\": …, \"key\": …} beside \"listen\"\n"},
      {R"({"listen": [{"unix": "/s", "tls": true}]})", "/listen/0/tls: belongs to TCP\n"},
      {R"({"plugins": {"mine": {"path": "/m.so", "capabilities": ["sys_ptrace", "sys_ptrase", "no_such_thing_at_all"]}}})",
       "/plugins/mine/capabilities/1: is no capability of this kernel (capabilities(7)); without \"CAP_\", in lower "
       "case: "
       "did you mean \"sys_ptrace\"?\n"
       "/plugins/mine/capabilities/2: is no capability of this kernel (capabilities(7)); without \"CAP_\", in lower "
       "case\n"},
      {R"({"listen": [{}]})", "/listen/0: needs one of \"unix\", \"tcp\"\n"},
      {R"({"listen": []})", "/listen: must have at least 1 entry\n"},
      {R"({"listen": [{"unix": "/)" + std::string(107, 'x') + "\"}]}",
       "/listen/0/unix: must have at most 107 bytes, the kernel's limit for a socket\n"},
      {R"({"listen": [{"unix": "/)" + std::string(106, 'x') + "\"}]}", ""},
      {R"({"listen": [{"unix": "/a"}, {"unix": "/a"}]})", "/listen/1/unix: is the same as /listen/0/unix\n"},
      {R"({"listen": [{"unix": "/a", "mode": "660"}]})", "/listen/0/mode: must match \"^0[0-7]{3}$\"\n"},
      {R"({"access": {"tokens": [)" + token + "}]}}", ""},
      {R"({"access": {"tokens": [)" + token + "}, " + token + "}]}}",
       "/access/tokens/1/sha256: is the same as /access/tokens/0/sha256\n"},
      // The old and the new token of one name, while clients change over.
      {R"({"access": {"tokens": [)" + token + R"(}, {"name": "t", "role": "viewer", "sha256": ")" + hash_b + "\"}]}}",
       ""},
      {R"({"access": {"tokens": [)" + token + ", \"expires\": \"2027-02-30\"}]}}",
       "/access/tokens/0/expires: must be a date such as \"2027-01-01\", or a time such as \"2027-01-01T12:00:00Z\"\n"},
      {R"({"access": {"tokens": [)" + token + ", \"expires\": \"2027-02-28T23:59:59.5+01:00\"}]}}", ""},
      {R"({"access": {"tokens": [)" + token + ", \"hatches\": []}]}}",
       "/access/tokens/0/hatches: must have at least 1 entry\n"},
      {R"({"access": {"tokens": [{"name": "a b", "sha256": "12"}]}})",
       "/access/tokens/0/role: is required\n"
       "/access/tokens/0/name: must be a name: letters, digits, \".\", \"_\" and \"-\", at most 64, a letter or digit "
       "first\n"
       "/access/tokens/0/sha256: must match \"^[0-9a-f]{64}$\"\n"},
      {R"({"targets": {"a": {"cmdline": "("}}})",
       "/targets/a/cmdline: is not a regular expression that hatchd understands (ECMAScript without "
       "back-references)\n"},
      {R"({"targets": {"a": {"pid": 0}}})", "/targets/a/pid: must be at least 1\n"},
      {R"({"targets": {"*": {"unit": "shop-*.service", "log": {"journal": true}}}})", ""},
      {R"({"targets": {"a": {"pid": 1, "log": {"file": "/l", "journal": true}}}})",
       "/targets/a/log: may have only one of \"file\", \"journal\"\n"},
      {R"({"hatches": {"stack.dump": {"timeout": "0s", "max_pause": "2m"}}})",
       "/hatches/stack.dump/timeout: must be more than nothing\n/hatches/stack.dump/max_pause: must be at most 1m\n"},
      {R"({"hatches": {"stack.*": {"enabled": true}}})",
       "/hatches/stack.*: unknown; there are names that match \"^[a-z][a-z0-9_-]*[.][a-z][a-z0-9_-]*$\"\n"},
      {R"({"runs": {"keep": {"bytes": "99999999999TiB"}}})",
       "/runs/keep/bytes: must be a size such as \"512MiB\" or \"2GiB\"\n"},
      {R"({"grace": "1h"})", "/grace: must be at most 10m\n"},
      {R"({"grace": 10})", "/grace: must be a string\n"},
  };
  const Folder folder;
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(folder.told(from_json(json::parse(row.text).as_object())) == row.told);
  }
}

TEST_CASE("the audit, queues and limits as they are written, and as they are without a word") {
  const Config none = from_json({}).config;
  CHECK(none.audit.file.empty());
  CHECK(none.audit.max_bytes == 8u << 20);
  CHECK(none.audit.keep == 8);
  CHECK(none.audit.journal);
  CHECK(none.runs.concurrency == 32);
  const Folder folder;
  const Loaded loaded = load(folder.write(R"({
    "audit": { "file": "/var/log/hatchd/audit.jsonl", "max_bytes": "1MiB", "keep": 3, "journal": false },
    "access": { "require_reason": ["act", "disrupt"] },
    "hatches": { "stack.dump": { "queue": 5 } },
    "runs": { "concurrency": 100 }
  })"));
  REQUIRE(folder.told(loaded) == "");
  CHECK(loaded.config.audit.file == "/var/log/hatchd/audit.jsonl");
  CHECK(loaded.config.audit.max_bytes == 1u << 20);
  CHECK(loaded.config.audit.keep == 3);
  CHECK_FALSE(loaded.config.audit.journal);
  CHECK(loaded.config.access.require_reason == std::vector<std::string>{"act", "disrupt"});
  CHECK(loaded.config.hatches.at("stack.dump").queue == 5u);
  CHECK(loaded.config.runs.concurrency == 100);
  CHECK(folder.told(from_json(json::parse(R"({"audit": {"file": "/var/log/", "max_bytes": "1KiB"}})").as_object())) ==
        "/audit/file: must be the name of a file, such as /var/log/hatchd/audit.jsonl\n"
        "/audit/max_bytes: must be a size of at least 64KiB, such as \"8MiB\"\n");
}

TEST_CASE("files of the .d folder are added in the order of their names") {
  const Folder folder;
  folder.write(R"({"hosts": ["c"], "grace": "3s"})", "hatchd.json.d/20-b.json");
  folder.write(R"({"hosts": ["b"], "grace": "2s",
                   "targets": {"web": {"user": "u"}, "more": {"pid": 2}}})",
               "hatchd.json.d/10-a.json");
  folder.write("nonsense", "hatchd.json.d/ignored.txt");
  folder.write("nonsense", "hatchd.json.d/.hidden.json");
  const Loaded loaded = load(folder.write(R"({"hosts": ["a"], "grace": "1s", "targets": {"web": {"pid": 1}}})"));
  REQUIRE(folder.told(loaded) == "");
  CHECK(loaded.config.hosts == std::vector<std::string>{"a", "b", "c"});
  CHECK(loaded.config.grace == 3s);
  CHECK(loaded.config.targets == json::parse(R"({"web": {"pid": 1, "user": "u"}, "more": {"pid": 2}})").as_object());
  CHECK(loaded.places.at("/hosts/2").file == folder.file("hatchd.json.d/20-b.json"));
  CHECK(loaded.places.at("/grace").file == folder.file("hatchd.json.d/20-b.json"));
  CHECK(loaded.places.at("/targets/web/user").line == 2);
  CHECK(loaded.places.at("/targets/web/pid").file == folder.file());
}

TEST_CASE("a fault in an added file names that file, and a value of another kind replaces whole") {
  const Folder folder;
  folder.write("{\n\"hosts\": [\"b\",\n \"-\"], \"access\": []}", "hatchd.json.d/10-a.json");
  const Loaded loaded = load(folder.write(R"({"hosts": ["a"], "access": {"peers": []}})"));
  CHECK(folder.told(loaded) ==
        "hatchd.json.d/10-a.json:3: /hosts/2: must match \"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$\"\n"
        "hatchd.json.d/10-a.json:3: /access: must be an object\n");
  CHECK(loaded.places.count("/access/peers") == 0);
}

TEST_CASE("an added file with a syntax error is the only fault told, because what it holds is not known") {
  const Folder folder;
  folder.write("{", "hatchd.json.d/10-a.json");
  const Loaded loaded = load(folder.write(R"({"nonsense": 1})"));
  CHECK(folder.told(loaded) ==
        "hatchd.json.d/10-a.json:1: ends too early: a bracket, brace, string or comment is still open (column 2)\n");
}

TEST_CASE("files that are not there, or are no files") {
  const Folder folder;
  CHECK(folder.told(load(folder.file())) == "hatchd.json: cannot be read: ENOENT (No such file or directory)\n");
  const Loaded loaded = load(folder.path());
  REQUIRE(loaded.faults.size() == 1);
  CHECK(loaded.faults[0].detail == "is not a regular file");
}

TEST_CASE("a file or folder that others can write is refused, with the repair") {
  const Folder folder;
  for (const mode_t mode : {mode_t{0664}, mode_t{0646}}) {
    const Loaded loaded = load(folder.write("{}", "hatchd.json", mode));
    REQUIRE(loaded.faults.size() == 1);
    const std::string& detail = loaded.faults[0].detail;
    INFO(detail);
    CHECK(detail.find(mode == 0664 ? "has mode 0664" : "has mode 0646") != detail.npos);
    CHECK(detail.find(mode == 0664 ? "(g+w)" : "(o+w)") != detail.npos);
    CHECK(detail.find("chmod go-w " + folder.file()) != detail.npos);
    CHECK(detail.find("chown") == detail.npos);
  }
  folder.write("{}");
  folder.write("{}", "hatchd.json.d/a.json");
  REQUIRE(::chmod(folder.file("hatchd.json.d").c_str(), 0777) == 0);
  const Loaded loaded = load(folder.file());
  REQUIRE(loaded.faults.size() == 1);
  CHECK(loaded.faults[0].place.file == folder.file("hatchd.json.d"));
}

TEST_CASE("a folder in which others could swap the file is refused, unless it is sticky") {
  const Folder folder;
  const std::string file = folder.write("{}");
  REQUIRE(::chmod(folder.path().c_str(), 0777) == 0);
  const Loaded open = load(file);
  REQUIRE_FALSE(open.faults.empty());
  CHECK(open.faults[0].detail.find(folder.path() + " belongs to") != std::string::npos);
  CHECK(open.faults[0].detail.find("0777 (g+w, o+w)") != std::string::npos);
  REQUIRE(::chmod(folder.path().c_str(), 01777) == 0);
  CHECK(folder.told(load(file)) == "");
  // Through a link it is the folder of the file itself that counts, too.
  const Folder elsewhere;
  const std::string link = elsewhere.file("link.json");
  REQUIRE(::symlink(file.c_str(), link.c_str()) == 0);
  CHECK(elsewhere.told(load(link)) == "");
  REQUIRE(::chmod(folder.path().c_str(), 0770) == 0);
  CHECK_FALSE(load(link).faults.empty());
}

TEST_CASE("a file of another user is refused") {
  if (::geteuid() != 0) return;  // only root can give a file away
  const Folder folder;
  const std::string file = folder.write("{}");
  REQUIRE(::chown(file.c_str(), 65534, 65534) == 0);
  const Loaded loaded = load(file);
  REQUIRE(loaded.faults.size() == 1);
  CHECK(loaded.faults[0].detail.find("chown root " + file) != std::string::npos);
}

TEST_CASE("faults of targets/ come with their lines") {
  const Folder folder;
  const Loaded loaded = load(folder.write("{\"targets\": {\n\"web\": {\"pid\": 1}}}"), refuse_web);
  CHECK(folder.told(loaded) == "hatchd.json:2: /targets/web: is refused\n");
}

TEST_CASE("what comes from JSON has no line, and loading the effective again changes nothing") {
  const Loaded bad = from_json({{"grace", 3}});
  REQUIRE(bad.faults.size() == 1);
  CHECK(to_string(bad.faults[0]) == "/grace: must be a string");
  const Loaded first = from_json(json::object{{"targets", json::object{{"a", json::object{{"pid", 1}}}}}});
  REQUIRE(first.faults.empty());
  const Loaded second = from_json(first.effective);
  REQUIRE(second.faults.empty());
  CHECK(first.effective == second.effective);
}

TEST_CASE("a fault never carries control characters") {
  const Loaded loaded = from_json(json::object{{"\x1b[31mred", 1}});
  REQUIRE(loaded.faults.size() == 1);
  CHECK(to_string(loaded.faults[0]).find('\x1b') == std::string::npos);
}
