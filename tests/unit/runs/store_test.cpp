#include "runs/store.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>

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

TEST_CASE("a link in place of artifacts/ is not followed either") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  folder.write("elsewhere/1", "secret");
  fs::create_directory_symlink(folder.path / "elsewhere", folder.path / run.id / "artifacts");
  CHECK_FALSE(disk.open_artifact(run.id, 1));
  CHECK_FALSE(disk.create_artifact(run.id, 2));
  disk.remove_artifact(run.id, 1);
  CHECK(fs::exists(folder.path / "elsewhere/1"));
  CHECK_FALSE(fs::exists(folder.path / "elsewhere/2"));
  REQUIRE(disk.remove(run.id));
  CHECK(fs::exists(folder.path / "elsewhere/1"));
}

TEST_CASE("a file that has a second name is not cut, and one beside its place is not written into") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  folder.write("elsewhere", "by somebody");
  fs::create_hard_link(folder.path / "elsewhere", folder.path / run.id / "events");
  fs::create_hard_link(folder.path / "elsewhere", folder.path / run.id / "result.json.tmp");
  disk.mend(run.id, "events");
  REQUIRE(disk.write(run.id, "result.json", "mine", false));
  CHECK(*read_file_at(folder.fd.get(), "elsewhere", 100) == "by somebody");
  CHECK(*disk.read(run.id, "result.json") == "mine");
}

TEST_CASE("a run's folder goes with whatever lies in it, and no further") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run run = run_of("a.b", "");
  REQUIRE(disk.create(run.id, false));
  REQUIRE(disk.write_record(run, false));
  folder.write("elsewhere/x", "");
  folder.write(run.id + "/by/somebody/deep", "");
  folder.write(run.id + "/line\nbreak", "");
  folder.write(run.id + "/artifacts/1/2/3", "");
  fs::create_directory_symlink(folder.path / "elsewhere", folder.path / run.id / "by/link");
  std::string deep = run.id;
  SECTION("though it is deep") { folder.write(deep + "/1/2/3/4/5/6/7/8/9/10/11/12", ""); }
  SECTION("unless that has no end") {
    for (int i = 0; i < 40; ++i) deep += "/d";
    folder.write(deep + "/x", "");
    const auto removed = disk.remove(run.id);
    REQUIRE_FALSE(removed);
    CHECK(removed.error().detail.find("ENOTEMPTY") != std::string::npos);
    CHECK_FALSE(disk.tidy(run.id));
    fs::remove_all(folder.path / run.id / "d");
  }
  REQUIRE(disk.remove(run.id));
  CHECK_FALSE(fs::exists(folder.path / run.id));
  CHECK(fs::exists(folder.path / "elsewhere/x"));
  CHECK(disk.remove(run.id));  // it is gone
}

TEST_CASE("what cannot be the record of a run stays where it is, is counted, and is of no hatch") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  const Run good = run_of("a.b", "web");
  REQUIRE(disk.create(good.id, false));
  REQUIRE(disk.write_record(good, false));
  const Run bad = run_of("a.b", "web");
  const fs::path place = folder.path / bad.id, record = place / "run.json";
  const auto record_with = [&](const std::string& member, boost::json::value value) {
    REQUIRE(disk.create(bad.id, false));
    boost::json::object object = to_record(bad);
    object[member] = std::move(value);
    REQUIRE(disk.write(bad.id, "run.json", boost::json::serialize(object), false));
  };
  folder.write("elsewhere/run.json", "{}");
  const auto artifact = [](const char* name, const char* type, const std::string& sha256) {
    return boost::json::array{
        boost::json::object{{"name", name}, {"type", type}, {"bytes", 1}, {"sha256", sha256}, {"number", 1}}};
  };
  const std::string digest(64, 'a');
  bool gone = false;
  SECTION("a link to a folder") { fs::create_directory_symlink(folder.path / "elsewhere", place); }
  SECTION("a link to nothing") { fs::create_symlink("nothing", place); }
  SECTION("a file in place of the folder") { folder.write(bad.id, "by somebody"); }
  SECTION("a FIFO in place of the folder") { REQUIRE(::mkfifo(place.c_str(), 0600) == 0); }
  SECTION("a folder in place of the record") { folder.write(bad.id + "/run.json/x", ""); }
  SECTION("a link in place of the record") {
    fs::create_directory(place);
    fs::create_symlink(folder.path / good.id / "run.json", record);
  }
  SECTION("a FIFO in place of the record") {
    fs::create_directory(place);
    REQUIRE(::mkfifo(record.c_str(), 0600) == 0);
  }
  SECTION("a record with a huge hole") {
    folder.write(bad.id + "/run.json", "{");
    fs::resize_file(record, 1ull << 40);
  }
  SECTION("the record of another run") {
    fs::create_directory(place);
    fs::copy_file(folder.path / good.id / "run.json", record);
  }
  SECTION("no JSON") { folder.write(bad.id + "/run.json", std::string("\0\xff", 2)); }
  SECTION("no object") { folder.write(bad.id + "/run.json", "[1]"); }
  SECTION("without an end to its depth") { folder.write(bad.id + "/run.json", std::string(100'000, '[')); }
  SECTION("a state that there is not") { record_with("state", "resting"); }
  SECTION("a rendering outside") { record_with("renderings", boost::json::array{"/../../../etc/x"}); }
  SECTION("an artifact outside") { record_with("artifacts", artifact("../../x", "text/plain", digest)); }
  SECTION("an artifact with a line break") { record_with("artifacts", artifact("a\nb", "text/plain", digest)); }
  SECTION("a header in its type") { record_with("artifacts", artifact("a", "text/plain\r\nX: y", digest)); }
  SECTION("no digest") { record_with("artifacts", artifact("a", "text/plain", "\r\n")); }
  SECTION("removed while we look") { gone = true; }

  const Read history = history_of(disk);
  REQUIRE(history.runs.size() == (gone ? 1 : 2));
  CHECK(history.runs[0].hatch == "a.b");
  CHECK(history.unreadable == (gone ? 0 : 1));
  if (!gone) {
    CHECK(history.runs[1].hatch.empty());
    CHECK(history.runs[1].state == State::crashed);
    CHECK(history.which == bad.id);
    CHECK_FALSE(history.why.empty());
    CHECK(fs::symlink_status(place).type() != fs::file_type::not_found);
    // Until retention reaches it.
    REQUIRE(disk.remove(bad.id));
    CHECK(fs::symlink_status(place).type() == fs::file_type::not_found);
  }
  CHECK(fs::exists(folder.path / "elsewhere/run.json"));
  CHECK(disk.read_record(good.id));
}

TEST_CASE("a record that claims what is not there does not push out the others") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Store store(Keep{});
  std::int64_t claimed = 0;
  SECTION("much") { claimed = INT64_MAX; }
  SECTION("less than nothing") { claimed = -1; }
  for (int i = 0; i < 3; ++i) {
    const Run run = run_of("a.b", "web");
    boost::json::object record = to_record(run);
    record["bytes"] = i == 2 ? claimed : 1;
    REQUIRE(disk.create(run.id, false));
    REQUIRE(disk.write(run.id, "run.json", boost::json::serialize(record), false));
  }
  for (const Run& run : history_of(disk).runs) store.put(run);
  CHECK(store.size() == 3);
  CHECK(store.prune(std::chrono::system_clock::now()).empty());
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
  keep.count = 1;
  keep.age = std::chrono::hours(24);
  Store store(keep);
  for (const Run& run : history.runs) store.put(run);
  CHECK(store.list({}).ids.size() == 3);
  const std::vector<std::string> gone = store.prune(std::chrono::system_clock::now() + std::chrono::hours(25));
  CHECK(std::find(gone.begin(), gone.end(), torn) != gone.end());
  // Never by count: many that only their owner keeps from being read are as many places.
  Store others(Keep{1});
  for (Run run : history.runs) {
    if (run.hatch.empty()) others.put(run), run.id = new_ulid(), others.put(run);
  }
  CHECK(others.prune(std::chrono::system_clock::now()).empty());
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

TEST_CASE("a clock that ran ahead and was set back decides neither what is pruned nor what comes first in a list") {
  using namespace std::chrono_literals;
  const WallTime now = std::chrono::system_clock::now();
  Keep keep;
  keep.count = 3;
  keep.age = 24h;
  Store store(keep);
  unsigned number = 0;
  // Ids go on in the order of making, from the time that the clock had reached.
  const auto put = [&](WallTime id, WallTime clock, const std::string& target) {
    Run run = run_of("a.b", target);
    run.id = ulid_at(id, ++number);
    run.clock = clock;
    store.put(run);
    return run.id;
  };
  const WallTime ahead = now + 24h * 365;
  const std::string old = put(now - 25h, now - 25h, "web"), first = put(ahead, ahead, "web"),
                    second = put(ahead, ahead, "web"), third = put(ahead, ahead, "web"),
                    stale = put(ahead, now - 30h, "db"), fourth = put(ahead, now, "web"), last = put(ahead, now, "db");
  CHECK(store.list({}).ids == std::vector<std::string>{last, fourth, stale, third, second, first, old});
  CHECK(store.prune(now) == std::vector<std::string>{old, first, stale});
  CHECK(store.prune(now + 23h).empty());
  CHECK(store.prune(now + 25h) == std::vector<std::string>{fourth, last});
  CHECK(store.prune(ahead + 25h) == std::vector<std::string>{second, third});
}

TEST_CASE("the run that ended last is not the first to go") {
  Keep keep;
  keep.count = 2;
  keep.bytes = 100;
  Store store(keep);
  Run longest = run_of("a.b", "web", State::running);
  store.put(longest);
  std::vector<std::string> quick;
  for (int i = 0; i < 3; ++i) {
    Run run = run_of("a.b", "web", State::running);
    store.put(run);
    run.state = State::succeeded;
    store.put(run);
    quick.push_back(run.id);
  }
  longest.state = State::succeeded;
  const WallTime now = std::chrono::system_clock::now();
  SECTION("by their number") {
    store.put(longest);
    CHECK(store.prune(now) == std::vector<std::string>{quick[0], quick[1]});
    CHECK(store.find(longest.id));
  }
  SECTION("though it is larger than all may be") {
    longest.bytes = 101;
    store.put(longest);
    CHECK(store.prune(now) == quick);
    CHECK(store.find(longest.id));
    Run next = run_of("a.b", "web", State::running);
    store.put(next);
    next.state = State::failed;
    store.put(next);
    CHECK(store.prune(now) == std::vector<std::string>{longest.id});
  }
}

TEST_CASE("the index has a bound") {
  Keep keep;
  keep.total = 100;
  Store store(keep);
  for (int i = 0; i < 250; ++i) store.put(run_of("a.b", std::to_string(i)));
  CHECK(store.prune(std::chrono::system_clock::now()).size() == 150);
  CHECK(store.size() == 100);
}
