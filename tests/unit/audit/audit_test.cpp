#include "audit/audit.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>

#include "audit/entry.hpp"
#include "audit/journal.hpp"
#include "audit/read.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "catch.hpp"
#include "folder.hpp"

using namespace hatchd;
using namespace hatchd::audit;
using namespace std::chrono_literals;

namespace {

json::object event_of_run(const char* name, const std::string& run) {
  json::object line = entry(name);
  line["run"] = run;
  line["hatch"] = "stack.dump";
  line["target"] = json::object{{"name", "web"}, {"pid", 42}};
  return line;
}

// An audit with somebody who waits for its progress.
struct Running {
  Audit audit;
  std::mutex mutex;
  std::condition_variable changed;
  unsigned batches = 0;

  explicit Running(const Folder& folder, Bounds bounds = {}, UniqueFd journal = {})
      : audit(folder.open(), "audit.jsonl", bounds, std::move(journal)) {
    audit.start([this] {
      const std::lock_guard lock(mutex);
      ++batches;
      changed.notify_all();
    });
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, condition);
  }
  bool written(std::uint64_t number) {
    return wait([&] { return audit.fate(number) == Audit::Fate::written; });
  }
};

}  // namespace

TEST_CASE("lines of many writers are written in order, with far fewer syncs than lines") {
  Folder folder;
  Audit audit(folder.open(), "audit.jsonl", {1 << 20, 4});
  std::vector<std::thread> writers;
  std::array<std::uint64_t, 8> last{};
  for (std::size_t i = 0; i < last.size(); ++i)
    writers.emplace_back([&, i] {
      for (int n = 0; n < 100; ++n) last[i] = audit.write(event_of_run("begin", new_ulid()), true);
    });
  for (std::thread& writer : writers) writer.join();
  // All of them wait by now, as they would behind a slow disk.
  std::atomic<unsigned> batches = 0;
  audit.start([&] { ++batches; });
  audit.finish(20s);
  for (const std::uint64_t number : last) CHECK(audit.fate(number) == Audit::Fate::written);
  CHECK(folder.entries("audit.jsonl").size() == 800);
  CHECK(batches == 1);
}

TEST_CASE("what cannot be written waits in memory, and says so; it goes on by itself") {
  Folder folder;
  std::filesystem::create_directory(folder.path / "audit.jsonl");
  Running running(folder);
  CHECK(running.audit.writable());
  const std::uint64_t first = running.audit.write(event_of_run("begin", new_ulid()), true);
  CHECK(running.wait([&] { return running.audit.fate(first) == Audit::Fate::failed; }));
  CHECK_FALSE(running.audit.writable());
  CHECK(running.audit.why().find("EISDIR") != std::string::npos);
  const std::uint64_t second = running.audit.write(event_of_run("end", new_ulid()), false);
  std::filesystem::remove(folder.path / "audit.jsonl");
  CHECK(running.written(second));
  CHECK(running.audit.writable());
  CHECK(running.audit.fate(first) == Audit::Fate::written);
  CHECK(folder.entries("audit.jsonl").size() == 2);
}

TEST_CASE("what waits has a bound, and how much was lost is told") {
  Folder folder;
  std::filesystem::create_directory(folder.path / "audit.jsonl");
  Running running(folder, {64 << 20, 1});
  const std::uint64_t first = running.audit.write(event_of_run("begin", new_ulid()), true);
  CHECK(running.wait([&] { return running.audit.fate(first) == Audit::Fate::failed; }));
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < Audit::max_waiting + 10; ++i)
    last = running.audit.write(event_of_run("begin", new_ulid()), true);
  CHECK(running.audit.fate(last) == Audit::Fate::failed);
  std::filesystem::remove(folder.path / "audit.jsonl");
  CHECK(running.wait([&] { return running.audit.writable(); }));
  running.audit.finish(20s);
  std::size_t begun = 0, lost = 0;
  for (const json::object& line : folder.entries("audit.jsonl")) {
    if (text_of(line, "event") == "begin") ++begun;
    if (text_of(line, "event") == "lost") lost += static_cast<std::size_t>(number_of(line, "lines"));
  }
  CHECK(begun == Audit::max_waiting);
  CHECK(lost == 11);
}

TEST_CASE("a line that is too long keeps who and what, without its parameters") {
  Folder folder;
  Running running(folder);
  json::object line = event_of_run("begin", new_ulid());
  line["params"] = json::object{{"text", std::string(100'000, 'x')}};
  CHECK(running.written(running.audit.write(line, true)));
  const json::object kept = folder.entries("audit.jsonl").at(0);
  CHECK(text_of(kept, "hatch") == "stack.dump");
  CHECK(kept.at("params").as_object().contains("parameters_left_out"));
}

TEST_CASE("refused calls have a file of their own") {
  Folder folder;
  Running running(folder, {300, 2});
  const std::uint64_t number = running.audit.write(event_of_run("begin", new_ulid()), true);
  for (int i = 0; i < 100; ++i) running.audit.write_refused(entry("refused"));
  CHECK(running.written(number));
  running.audit.finish(20s);
  CHECK(folder.entries("audit.jsonl").size() == 1);
  std::size_t bytes = 0;
  for (const char* name : {"audit-refused.jsonl", "audit-refused.jsonl.1", "audit-refused.jsonl.2"})
    bytes += folder.read(name).size();
  CHECK(bytes > 0);
  CHECK_FALSE(std::filesystem::exists(folder.path / "audit-refused.jsonl.3"));
  CHECK(refused_name("log") == "log-refused");
}

TEST_CASE("after a crash: the torn line is cut, and what began gets its end") {
  Folder folder;
  const std::string ended = new_ulid(), open = new_ulid(), rotated = new_ulid();
  folder.write("audit.jsonl.1", json::serialize(event_of_run("begin", rotated)) + "\n" +
                                    json::serialize(event_of_run("begin", ended)) + "\n");
  folder.write("audit.jsonl", json::serialize(event_of_run("end", ended)) + "\n" +
                                  json::serialize(event_of_run("begin", open)) + "\n{\"id\":\"01J");
  Audit audit(folder.open(), "audit.jsonl", {});
  const auto recovered = audit.recover();
  REQUIRE(recovered);
  CHECK(recovered->cut == 10);
  CHECK(recovered->completed == 2);
  const auto entries = folder.entries("audit.jsonl");
  REQUIRE(entries.size() == 5);
  CHECK(text_of(entries[2], "event") == "torn");
  std::set<std::string> crashed;
  for (const std::size_t i : {3, 4}) {
    CHECK(text_of(entries[i], "event") == "end");
    CHECK(text_of(entries[i], "outcome") == "crashed");
    CHECK(text_of(entries[i], "hatch") == "stack.dump");
    CHECK(text_of(*object_of(entries[i], "target"), "name") == "web");
    crashed.insert(text_of(entries[i], "run"));
  }
  CHECK(crashed == std::set<std::string>{open, rotated});
  Audit again(folder.open(), "audit.jsonl", {});
  CHECK(again.recover()->completed == 0);
}

TEST_CASE("journald gets each line, with fields to search by") {
  Folder folder;
  const std::string path = (folder.path / "journal").string();
  CHECK_FALSE(connect_journal(path.c_str()));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const UniqueFd journald{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  REQUIRE(::bind(journald.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  UniqueFd socket = connect_journal(path.c_str());
  REQUIRE(socket);
  Running running(folder, {}, std::move(socket));
  const std::string run = new_ulid();
  json::object line = event_of_run("begin", run);
  line["reason"] = "a\nb";
  CHECK(running.written(running.audit.write(line, true)));
  std::string datagram(100'000, '\0');
  const ssize_t n = ::recv(journald.get(), datagram.data(), datagram.size(), 0);
  REQUIRE(n > 0);
  datagram.resize(static_cast<std::size_t>(n));
  CHECK(datagram.find("MESSAGE={\"id\":") == 0);
  CHECK(datagram.find("\nSYSLOG_IDENTIFIER=hatchd-audit\n") != std::string::npos);
  CHECK(datagram.find("\nHATCHD_RUN=" + run + "\n") != std::string::npos);
  CHECK(datagram.find("\nHATCHD_HATCH=stack.dump\n") != std::string::npos);
}

TEST_CASE("reading back: newest first, filters, pages across files") {
  Folder folder;
  std::vector<std::string> runs;
  Running running(folder, {2000, 50});
  std::uint64_t last = 0;
  for (int i = 0; i < 60; ++i) {
    runs.push_back(new_ulid());
    json::object line = event_of_run(i % 2 ? "end" : "begin", runs.back());
    line["caller"] = json::object{{"name", i % 3 ? "alice" : "bob"}};
    last = running.audit.write(line, false);
    if (i % 7 == 0) CHECK(running.written(last));
  }
  CHECK(running.written(last));
  CHECK(std::filesystem::exists(folder.path / "audit.jsonl.3"));
  Query query;
  query.limit = 7;
  std::vector<std::string> seen;
  unsigned pages = 0;
  for (;; ++pages) {
    REQUIRE(pages < 20);
    const Page page = read_page(folder.fd.get(), "audit.jsonl", query);
    for (const json::object& line : page.entries) seen.push_back(text_of(line, "run"));
    if (page.next.empty()) break;
    query.after = page.next;
  }
  std::reverse(runs.begin(), runs.end());
  CHECK(seen == runs);
  CHECK(pages == 8);

  const auto count = [&](auto set) {
    Query filtered;
    filtered.limit = 200;
    set(filtered);
    return read_page(folder.fd.get(), "audit.jsonl", filtered).entries.size();
  };
  CHECK(count([](Query& q) { q.event = "end"; }) == 30);
  CHECK(count([](Query& q) { q.caller = "bob"; }) == 20);
  CHECK(count([](Query& q) { q.target = "web"; }) == 60);
  CHECK(count([](Query& q) { q.target = "db"; }) == 0);
  CHECK(count([&](Query& q) { q.run = runs[5]; }) == 1);
  CHECK(count([](Query& q) { q.since = "2000-01-01"; }) == 60);
  CHECK(count([](Query& q) { q.until = "2000-01-01"; }) == 0);
  CHECK(count([](Query& q) { q.since = "2999-01-01"; }) == 0);
  CHECK(read_page(folder.fd.get(), "none.jsonl", Query{}).entries.empty());
}

TEST_CASE("reading has a bound, and goes on where it ended") {
  Folder folder;
  std::string text;
  std::size_t lines = 0;
  for (; text.size() < max_read + (1 << 20); ++lines) {
    json::object line = event_of_run("begin", new_ulid());
    line["params"] = json::object{{"text", std::string(50'000, 'x')}};
    text += json::serialize(line) + "\n";
  }
  json::object wanted = event_of_run("end", new_ulid());
  folder.write("audit.jsonl.1", json::serialize(wanted) + "\n");
  folder.write("audit.jsonl", "half a line that is skipped}\n" + text + "{\"id\":");
  Query query;
  query.event = "end";
  const Page first = read_page(folder.fd.get(), "audit.jsonl", query);
  CHECK(first.entries.empty());
  REQUIRE_FALSE(first.next.empty());
  query.after = first.next;
  const Page second = read_page(folder.fd.get(), "audit.jsonl", query);
  // The rotated file's only line is the newest by its id, so it is not older than where the first page ended.
  CHECK(second.next.empty());
  query.after.clear();
  query.run = text_of(wanted, "run");
  std::size_t seen = 0;
  for_each_line(folder.fd.get(), "audit.jsonl", [&](std::string_view) { ++seen; });
  CHECK(seen == lines + 2);
}
