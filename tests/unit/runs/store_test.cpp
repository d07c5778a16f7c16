#include "runs/store.hpp"

#include <algorithm>

#include "catch.hpp"
#include "folder.hpp"
#include "runs/follow.hpp"
#include "runs/history.hpp"

using namespace hatchd;
using namespace hatchd::runs;
namespace fs = std::filesystem;

namespace {

struct Read : History::Counts {
  std::vector<Run> runs;
};
Read history_of(const Disk& disk) {
  Read read;
  for (const std::string& id : disk.ids())
    if (auto run = read_back(disk, id, read)) read.runs.push_back(std::move(*run));
  return read;
}

Run run_of(const std::string& hatch, const std::string& target, State state = State::succeeded,
           std::uint64_t bytes = 0) {
  Run run;
  run.id = new_ulid();
  run.hatch = hatch;
  run.target = target;
  run.state = state;
  run.bytes = bytes;
  return run;
}

// A ULID of a chosen time: ten characters of time, sixteen of counting.
std::string ulid_at(WallTime time, unsigned number) {
  constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  std::string id(26, '0');
  for (int i = 9; i >= 0; --i, ms /= 32) id[static_cast<std::size_t>(i)] = digits[static_cast<std::size_t>(ms % 32)];
  for (int i = 25; i >= 10; --i, number /= 32) id[static_cast<std::size_t>(i)] = digits[number % 32];
  return id;
}

}  // namespace

TEST_CASE("a run is on disk as it was written") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Run run = run_of("a.b", "web");
  run.verdict = "fine";
  REQUIRE(disk.create(run.id, false));
  REQUIRE(disk.write_record(run, true));
  REQUIRE(disk.write(run.id, "result.json", "{}", true));
  CHECK(disk.read_record(run.id)->verdict == "fine");
  CHECK(*disk.read(run.id, "result.json") == "{}");
  CHECK((fs::status(folder.path / run.id).permissions() & fs::perms::all) == fs::perms::owner_all);
  CHECK((fs::status(folder.path / run.id / "run.json").permissions() & fs::perms::all) ==
        (fs::perms::owner_read | fs::perms::owner_write));
  disk.remove(run.id);
  CHECK_FALSE(fs::exists(folder.path / run.id));
  CHECK(disk.read_record(run.id).error().code == "run-unknown");
}

TEST_CASE("an id that is no ULID never becomes a path") {
  const Folder folder;
  folder.write("elsewhere/run.json", "{}");
  const Disk disk = *Disk::open(folder.fd.get());
  for (const char* id : {"elsewhere", "..", ".", "", "../elsewhere"}) {
    CAPTURE(id);
    CHECK(disk.read(id, "run.json").error().code == "run-unknown");
    disk.remove(id);
  }
  CHECK(fs::exists(folder.path / "elsewhere/run.json"));
}

TEST_CASE("a link in place of a file of a run is not followed") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  folder.write("secret", "secret");
  fs::create_symlink(folder.path / "secret", folder.path / run.id / "result.json");
  CHECK_FALSE(disk.read(run.id, "result.json"));
  REQUIRE(disk.write(run.id, "result.json", "mine", false));  // replaces the link, not what it names
  std::string text;
  std::ifstream(folder.path / "secret") >> text;
  CHECK(text == "secret");
}

TEST_CASE("an artifact is hashed as it lies on disk") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  auto file = disk.create_artifact(run.id, 1);
  REQUIRE(file);
  REQUIRE(write_all(file->writer.get(), "abc"));
  Seal seal;
  REQUIRE(seal.seal(file->reader.get()));
  CHECK(seal.bytes() == 3);
  CHECK(seal.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-2, appendix B.1
  char byte;
  CHECK(::read(file->writer.get(), &byte, 1) == -1);  // the run may write only
  CHECK_FALSE(disk.create_artifact(run.id, 1));       // never over another
}

TEST_CASE("history after a crash: what ran is crashed, leftovers are gone, the rest stays") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run good = run_of("a.b", "web"), running = run_of("a.b", "web", State::running),
            queued = run_of("a.b", "", State::queued);
  for (const Run* run : {&good, &running, &queued}) {
    REQUIRE(disk.create(run->id, false));
    REQUIRE(disk.write_record(*run, true));
  }
  folder.write(good.id + "/result.json.tmp", "half a res");
  const std::string never_recorded = new_ulid(), torn = new_ulid();
  folder.write(never_recorded + "/run.json.tmp", "{\"id\": ");
  folder.write(torn + "/run.json", "{\"id\": \"" + torn);
  folder.write("lost+found/x", "");
  folder.write("notes.txt", "by the operator");

  const Read history = history_of(disk);
  CHECK(history.interrupted == 2);
  CHECK(history.unreadable == 1);
  REQUIRE(history.runs.size() == 4);
  CHECK(history.runs[0].state == State::succeeded);
  for (const std::size_t i : {1u, 2u}) {
    CHECK(history.runs[i].state == State::crashed);
    CHECK(history.runs[i].error->code == "run-crashed");
    CHECK(disk.read_record(history.runs[i].id)->state == State::crashed);  // and so on disk
  }
  CHECK_FALSE(fs::exists(folder.path / good.id / "result.json.tmp"));
  CHECK_FALSE(fs::exists(folder.path / never_recorded));
  CHECK(fs::exists(folder.path / torn / "run.json"));
  CHECK(fs::exists(folder.path / "lost+found/x"));
  CHECK(fs::exists(folder.path / "notes.txt"));
  CHECK(history_of(disk).interrupted == 0);

  // What cannot be read is not shown, but retention reaches it.
  CHECK(history.runs[3].id == torn);
  Keep keep;
  keep.total = 3;
  keep.age = std::chrono::hours(24);
  Store store(keep);
  for (const Run& run : history.runs) store.put(run);
  CHECK(store.list({}).ids.size() == 3);
  const std::vector<std::string> gone = store.prune(std::chrono::system_clock::now() + std::chrono::hours(25));
  CHECK(std::find(gone.begin(), gone.end(), torn) != gone.end());
}

TEST_CASE("a digest that follows a file as it grows is that of the whole") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  auto file = disk.create_artifact(run.id, 1);
  REQUIRE(file);
  Seal seal;
  REQUIRE(write_all(file->writer.get(), "a"));
  REQUIRE(seal.follow(file->reader.get()));
  CHECK(seal.bytes() == 1);
  REQUIRE(write_all(file->writer.get(), "bc"));
  REQUIRE(seal.follow(file->reader.get(), 1));
  CHECK(seal.bytes() == 2);
  SECTION("to its end") {
    REQUIRE(seal.seal(file->reader.get()));
    CHECK(seal.hex() == sha256("abc"));
  }
  SECTION("unless it was cut meanwhile, which begins anew") {
    REQUIRE(::ftruncate(file->writer.get(), 1) == 0);
    REQUIRE(seal.seal(file->reader.get()));
    CHECK(seal.bytes() == 1);
    CHECK(seal.hex() == sha256("a"));
  }
}

TEST_CASE("artifacts that the record does not name are gone after a start, the others stay") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Run run = run_of("a.b", "");
  run.artifacts.push_back({"kept.txt", "text/plain", 1, std::string(64, 'a'), 2});
  REQUIRE(disk.create(run.id, false));
  for (const unsigned number : {1u, 2u, 3u}) REQUIRE(disk.create_artifact(run.id, number));
  REQUIRE(disk.sync_artifacts(run.id));
  REQUIRE(disk.write_record(run, true));
  CHECK(history_of(disk).runs.size() == 1);
  CHECK_FALSE(disk.open_artifact(run.id, 1));
  CHECK(disk.open_artifact(run.id, 2));
  CHECK_FALSE(disk.open_artifact(run.id, 3));
}

TEST_CASE("the end of a run is written whole or not at all") {
  const bool durable = GENERATE(false, true);
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Run run = run_of("a.b", "");
  run.state = State::running;
  REQUIRE(disk.begin(run, durable));
  REQUIRE(disk.append(run.id, events_file, "not yet synced", false));
  run.state = State::succeeded;

  SECTION("whole") {
    const auto size = disk.end(run, {{"result.json", "{}\n"}, {"result.txt", "done\n"}}, durable);
    REQUIRE(size);
    CHECK(*size == disk.read(run.id, "run.json")->size());
    CHECK(disk.read_record(run.id)->state == State::succeeded);
    CHECK(disk.read(run.id, "result.json") == "{}\n");
    CHECK(disk.read(run.id, "result.txt") == "done\n");
    CHECK(disk.read(run.id, events_file) == "not yet synced");
  }
  SECTION("not at all, and nothing is left of the attempt") {
    run.reason = std::string(Disk::max_record, 'x');
    CHECK_FALSE(disk.end(run, {{"result.json", "{}\n"}}, durable));
    CHECK(disk.read_record(run.id)->state == State::running);
    CHECK_FALSE(disk.read(run.id, "result.json"));
    for (const auto& entry : std::filesystem::directory_iterator(folder.path / run.id))
      CHECK((entry.path().filename() == "events" || entry.path().filename() == "run.json"));
  }
}

TEST_CASE("a result that a power cut left empty is out of its record after a start") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Run run = run_of("a.b", "");
  run.state = State::succeeded;
  run.has_result = true;
  run.renderings = {"text", "folded"};
  REQUIRE(disk.create(run.id, true));
  REQUIRE(disk.write(run.id, {{"result.json", ""}, {"result.txt", "done\n"}}, false));
  REQUIRE(disk.write_record(run, false));
  REQUIRE(disk.settle(run.id));
  REQUIRE(history_of(disk).runs.size() == 1);
  const Run read = *disk.read_record(run.id);
  CHECK(read.state == State::succeeded);
  CHECK_FALSE(read.has_result);
  CHECK(read.renderings == std::vector<std::string>{"text"});
}

TEST_CASE("a record that a power cut left empty was never written") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const std::string id = new_ulid();
  folder.write(id + "/run.json", "");
  CHECK(history_of(disk).runs.empty());
  CHECK_FALSE(fs::exists(folder.path / id));
}

TEST_CASE("free space is compared with a share, with bytes, and with nothing") {
  const Folder folder;
  CHECK_FALSE(Disk::open(folder.fd.get())->low());
  CHECK(Disk::open(folder.fd.get(), min_free_of("100%", {}))->low());
  CHECK(Disk::open(folder.fd.get(), min_free_of("1024TiB", 1ull << 50))->low());
  CHECK_FALSE(Disk::open(folder.fd.get(), min_free_of("1B", 1))->low());
}

TEST_CASE("a record that could not be read back is not written") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  REQUIRE(disk.write_record(run, false));
  run.reason = std::string(Disk::max_record, 'x');
  CHECK_FALSE(disk.write_record(run, false));
  CHECK(disk.read_record(run.id)->reason.empty());
}

TEST_CASE("lists are newest first, filtered, and continue behind a cursor") {
  Store store(Keep{});
  std::vector<std::string> web;
  for (int i = 0; i < 10'000; ++i) {
    const Run run = run_of(i % 2 ? "a.b" : "c.d", i % 5 ? "db" : "web", i % 3 ? State::succeeded : State::failed);
    store.put(run);
    if (i % 2 && i % 5 == 0) web.insert(web.begin(), run.id);
  }
  Store::Query query;
  query.hatch = "a.b";
  query.target = "web";
  query.limit = 7;
  std::vector<std::string> seen;
  const auto start = std::chrono::steady_clock::now();
  for (int pages = 0; pages < 1000; ++pages) {
    const Store::Page page = store.list(query);
    seen.insert(seen.end(), page.ids.begin(), page.ids.end());
    if (page.next.empty()) break;
    CHECK(page.ids.size() == 7);
    query.after = page.next;
  }
  CHECK(seen == web);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  query = {};
  query.state = State::failed;
  query.visible = [](const Entry& entry) { return entry.target == "web"; };
  for (const std::string& id : store.list(query).ids) {
    CHECK(store.find(id)->state == State::failed);
    CHECK(store.find(id)->target == "web");
  }
  query.after = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";  // later than all
  CHECK(store.list(query).ids.size() == 50);
  query.after = "00000000000000000000000000";
  CHECK(store.list(query).ids.empty());
}

TEST_CASE("filters and the cursor work at a hundred thousand runs") {
  Keep keep;
  keep.count = 1'000'000;
  Store store(keep);
  const WallTime now = std::chrono::system_clock::now();
  Run run = run_of("", "");
  std::vector<std::string> rare;
  for (unsigned i = 0; i < 100'000; ++i) {
    run.id = ulid_at(now - std::chrono::seconds(200'000 - i), i);
    run.hatch = i % 10'000 == 7 ? "rare.hatch" : "ping." + std::to_string(i % 7);
    run.target = "t" + std::to_string(i % 11);
    run.state = i % 33'333 == 5 ? State::crashed : State::succeeded;
    store.put(run);
    if (run.hatch == "rare.hatch") rare.insert(rare.begin(), run.id);
  }
  CHECK(store.size() == 100'000);
  const auto all = [&](Store::Query query) {
    std::vector<std::string> ids;
    for (;;) {
      const Store::Page page = store.list(query);
      ids.insert(ids.end(), page.ids.begin(), page.ids.end());
      if (page.next.empty()) return ids;
      query.after = page.next;
    }
  };
  Store::Query query;
  query.limit = 3;
  query.hatch = "rare.hatch";
  CHECK(all(query) == rare);
  query = {};
  query.limit = 2;
  query.state = State::crashed;
  CHECK(all(query).size() == 3);
  query = {};
  query.limit = 1000;
  query.hatch = "ping.3";
  query.target = "t4";
  const std::vector<std::string> some = all(query);
  CHECK(some.size() > 1000);
  CHECK(std::is_sorted(some.rbegin(), some.rend()));
  query = {};
  query.limit = 200;
  query.visible = [](const Entry& entry) { return entry.hatch == "rare.hatch"; };
  CHECK(all(query) == rare);
  CHECK(store.prune(now).empty());
}

TEST_CASE("retention counts for each hatch and target, and spares what is under way") {
  Store store(Keep{3});
  const Run incident = run_of("a.b", "web"), under_way = run_of("ping.x", "web", State::running);
  store.put(incident);
  store.put(under_way);
  std::vector<std::string> pings;
  for (int i = 0; i < 10; ++i) {
    const Run ping = run_of("ping.x", "web");
    pings.push_back(ping.id);
    store.put(ping);
  }
  CHECK(store.prune(std::chrono::system_clock::now()) == std::vector<std::string>(pings.begin(), pings.begin() + 7));
  CHECK(store.find(incident.id));
  CHECK(store.find(under_way.id));
  CHECK(store.size() == 5);
  CHECK(store.prune(std::chrono::system_clock::now()).empty());
}

TEST_CASE("retention by age and by bytes drops the oldest first") {
  const WallTime now = std::chrono::system_clock::now();
  Keep keep;
  keep.age = std::chrono::hours(24);
  keep.bytes = 100;
  Store store(keep);
  Run run = run_of("a.b", "");
  const auto put = [&](int hours, unsigned number, std::uint64_t bytes, State state = State::succeeded) {
    run.id = ulid_at(now - std::chrono::hours(hours), number);
    run.bytes = bytes;
    run.state = state;
    store.put(run);
    return run.id;
  };
  const std::string old_running = put(50, 0, 1, State::running), old = put(49, 1, 1), second = put(3, 2, 60),
                    third = put(2, 3, 60), last = put(1, 4, 30);
  CHECK(store.prune(now) == std::vector<std::string>{old, second});
  CHECK(store.find(old_running));
  CHECK(store.find(third));
  CHECK(store.find(last));
}

TEST_CASE("the index has a bound") {
  Keep keep;
  keep.total = 100;
  Store store(keep);
  for (int i = 0; i < 250; ++i) store.put(run_of("a.b", std::to_string(i)));
  CHECK(store.prune(std::chrono::system_clock::now()).size() == 150);
  CHECK(store.size() == 100);
}
