#include <fcntl.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>

#include "catch.hpp"
#include "settings/changes.hpp"
#include "settings/environment.hpp"
#include "settings/runtime.hpp"
#include "settings/sockets.hpp"

namespace {

using namespace std::string_literals;
using settings::Row;
using settings::Section;

struct Folder {
  Folder() {
    char name[] = "/tmp/settings-test-XXXXXX";
    REQUIRE(::mkdtemp(name));
    path = name;
    fd = ::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(fd >= 0);
  }
  ~Folder() {
    ::close(fd);
    std::filesystem::remove_all(path);
  }
  std::string path;
  int fd = -1;
};

Section section(const std::string& name, std::vector<Row> rows) {
  Section made{name};
  made.rows = std::move(rows);
  return made;
}

// An entry of HotSpot's performance data as share/runtime/perfMemory.hpp lays it out.
void append_entry(std::string& bytes, const std::string& name, char type, const std::string& data) {
  const auto put = [&](std::uint32_t value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  const std::uint32_t name_size = static_cast<std::uint32_t>(name.size() + 1);
  put(20 + name_size + static_cast<std::uint32_t>(data.size()));
  put(20);
  put(type == 'B' ? static_cast<std::uint32_t>(data.size()) : 0);
  bytes += type;
  bytes += "\0\0\0"s;
  put(20 + name_size);
  bytes += name + '\0' + data;
}

std::string perf_data(std::uint32_t entries) {
  std::string bytes = "\xca\xfe\xc0\xc0\x01\x02\x00\x01"s + std::string(16, '\0');
  const std::uint32_t first = 32;
  bytes.append(reinterpret_cast<const char*>(&first), 4).append(reinterpret_cast<const char*>(&entries), 4);
  return bytes;
}

}  // namespace

TEST_CASE("an environment is read by name, the first of two counts, what is no variable is left out") {
  const auto all = settings::parse_environment("B=2\0A=1=1\0B=3\0novalue\0=x\0EMPTY=\0cut"s);
  REQUIRE(all.size() == 3);
  CHECK((all[0].name == "A" && all[0].value == "1=1"));
  CHECK((all[1].name == "B" && all[1].value == "2"));
  CHECK((all[2].name == "EMPTY" && all[2].value.empty()));
}

TEST_CASE("tables of sockets are read by inode") {
  std::unordered_map<std::uint64_t, settings::Socket> known;
  settings::parse_inet_table(
      "tcp",
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 "
      "0\n"
      "   1: 0100007F:1F90 0200007F:D431 01 00000010:00000000 00:00000000 00000000  1000        0 4712 1 0 100 0 0 10 "
      "0\n"
      "   2: broken\n",
      known);
  settings::parse_inet_table(
      "udp6",
      "   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 4713 2\n",
      known);
  settings::parse_unix_table(
      "Num       RefCount Protocol Flags    Type St Inode Path\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 4714 /run/a socket\n"
      "0000000000000000: 00000003 00000000 00000000 0002 03 4715\n",
      known);
  REQUIRE(known.size() == 5);
  CHECK((known[4711].local == "127.0.0.1:8080" && known[4711].peer == "0.0.0.0:*" && known[4711].state == "LISTEN"));
  CHECK(known[4711].receive_queue == 3);
  CHECK((known[4712].peer == "127.0.0.2:54321" && known[4712].state == "ESTABLISHED" && known[4712].send_queue == 16));
  CHECK((known[4713].local == "[::1]:53" && known[4713].state == "UNCONNECTED"));
  CHECK((known[4714].local == "/run/a socket" && known[4714].state == "LISTEN"));
  CHECK((known[4715].protocol == "unix-datagram" && known[4715].local.empty()));
}

TEST_CASE("performance data: strings and numbers, and nothing of bytes that are none") {
  std::string bytes = perf_data(2);
  append_entry(bytes, "java.property.java.version", 'B', "17.0.1\0\0"s);
  append_entry(bytes, "java.threads.live", 'J', "\x0c\0\0\0\0\0\0\0"s);
  const auto all = settings::parse_perf_data(bytes);
  REQUIRE(all.size() == 2);
  CHECK((all[0].name == "java.property.java.version" && all[0].value == "17.0.1"));
  CHECK((all[1].name == "java.threads.live" && all[1].value == "12"));

  CHECK(settings::parse_perf_data("").empty());
  CHECK(settings::parse_perf_data(std::string(64, 'x')).empty());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK(settings::parse_perf_data(bytes.substr(0, size)).size() < 2);
  // Every byte may lie: whatever comes out, nothing is read beyond the end (the sanitizers watch).
  for (std::size_t at = 24; at < bytes.size(); ++at) {
    std::string lie = bytes;
    lie[at] = '\xff';
    CHECK(settings::parse_perf_data(lie).size() <= 2);
  }
}

TEST_CASE("changes: what came, what went, what is another, and of names alone only the first two") {
  const hatch::Mask mask;
  const auto before =
      settings::snapshot_of("shop", true,
                            {section("environment", {{"GONE", "1"}, {"MODE", "a"}}),
                             section("limits", {{"open_files", "1024"}}), section("time", {{"now", "then"}})},
                            mask);
  const auto after =
      settings::snapshot_of("shop", true,
                            {section("environment", {{"MODE", "b"}, {"NEW", "1"}}),
                             section("limits", {{"open_files", "2048"}}), section("time", {{"now", "now"}})},
                            mask);
  const auto found = settings::changes(before, after);
  REQUIRE(found.size() == 4);
  CHECK((found[0].name == "environment.GONE" && found[0].was == "1" && !found[0].now));
  CHECK((found[1].name == "environment.MODE" && found[1].was == "a" && found[1].now == "b"));
  CHECK((found[2].name == "environment.NEW" && !found[2].was && found[2].now == "1"));
  CHECK((found[3].name == "limits.open_files" && found[3].was == "1024" && found[3].now == "2048"));

  auto names = before;
  names.values = false;
  for (const auto& change : settings::changes(names, after)) CHECK(change.name != "environment.MODE");
}

TEST_CASE("a snapshot comes back as it was, whatever is in it, and half a one does not") {
  const Folder folder;
  settings::Snapshot kept{"shop", true, {{"a.b", "line\nbreak \"quoted\" \x1b[31m"}, {"c.d", ""}}, {"a", "c"}};
  REQUIRE(settings::save(folder.fd, "01J000000000000000000000A0", kept) == 0);
  const auto back = settings::load(folder.fd, "01J000000000000000000000A0");
  REQUIRE(back);
  CHECK((back->target == "shop" && back->values && back->rows.size() == 2 && back->sections == kept.sections));
  CHECK(back->rows[0].value == kept.rows[0].value);
  CHECK(!settings::load(folder.fd, "01J000000000000000000000A1"));
  CHECK(settings::save(-1, "x", kept) == ENOENT);

  const std::string file = folder.path + "/01J000000000000000000000A0.settings";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 3);
  CHECK(!settings::load(folder.fd, "01J000000000000000000000A0"));
}

TEST_CASE("snapshots of some sections are compared by those that both have") {
  const settings::Snapshot all{"shop", true, {{"limits.core", "0"}, {"process.pid", "1"}, {"time.zone", "UTC"}}};
  const settings::Snapshot some{"web", true, {{"limits.core", "1"}}, {"limits"}};
  const auto found = settings::changes(some, all);
  REQUIRE(found.size() == 1);
  CHECK(found[0].name == "limits.core");
  CHECK(settings::changes(all, some).size() == 1);
}

TEST_CASE("a run's id says how old it is") {
  const auto at = [](std::int64_t seconds) {
    return std::chrono::system_clock::time_point{std::chrono::milliseconds{1469918176385} +
                                                 std::chrono::seconds{seconds}};
  };
  const char* run = "01ARYZ6S41TSV4RRFFQ69G5FAV";  // the example of the ULID's specification: 1469918176385
  CHECK(settings::age_of(run, at(0)) == "0 s");
  CHECK(settings::age_of(run, at(119)) == "119 s");
  CHECK(settings::age_of(run, at(3600)) == "60 min");
  CHECK(settings::age_of(run, at(7200)) == "2 h");
  CHECK(settings::age_of(run, at(200000)) == "2 d");
  CHECK(settings::age_of(run, at(-5)).empty());
  CHECK(settings::age_of("01ARYZ6S41", at(0)).empty());
}

TEST_CASE("only so many snapshots are kept, the newest") {
  const Folder folder;
  const settings::Snapshot kept{"shop", false, {}};
  const auto id = [](std::size_t i) { return "01J00000000000000000000" + std::to_string(100 + i); };
  for (std::size_t i = 0; i < settings::max_snapshots + 3; ++i) REQUIRE(settings::save(folder.fd, id(i), kept) == 0);
  CHECK(!settings::load(folder.fd, id(2)));
  CHECK(settings::load(folder.fd, id(3)));
  CHECK(settings::load(folder.fd, id(settings::max_snapshots + 2)));
}

TEST_CASE("properties as a JVM writes them") {
  const auto all = settings::parse_properties(
      "#Thu Nov "
      "26\n!x\njava.home=/usr/lib/jvm\nshop.mode=live\\=yes\nline.separator=\\n\nname\\:x=\\u00e9\\u5e97\\ud800\n"
      "empty=\nnothing\n=value\ncut=\\u12\nend=x\\");
  const auto value = [&](std::string_view name) -> std::string {
    for (const settings::Row& row : all)
      if (row.name == name) return row.value;
    return "(none)";
  };
  CHECK(value("java.home") == "/usr/lib/jvm");
  CHECK(value("shop.mode") == "live=yes");
  CHECK(value("line.separator") == "\n");
  CHECK(value("name:x") == "\u00e9\u5e97\ufffd");
  CHECK(value("empty").empty());
  CHECK(value("nothing") == "(none)");
  CHECK(value("cut") == "u12");
  CHECK(value("end") == "x\\");
  CHECK(all.size() == 7);
  CHECK(settings::parse_properties("").empty());
}
