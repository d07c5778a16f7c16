// The ends of runs that act: where they are synced first, and what a start makes of them.
#include "runs/ends.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.hpp"
#include "catch.hpp"
#include "folder.hpp"
#include "runs/disk.hpp"
#include "runs/history.hpp"

using namespace hatchd;
using namespace hatchd::runs;

namespace {

// A run that acted, as it begins and as it ended.
struct Acted {
  Run begun, ended;
  explicit Acted(const Disk& disk) {
    begun.id = new_ulid();
    begun.hatch = "mail.send";
    begun.effect = schema::Effect::act;
    begun.state = State::running;
    begun.started = rfc3339(std::chrono::system_clock::now());
    REQUIRE(disk.begin(begun, true));
    ended = begun;
    ended.state = State::succeeded;
    ended.finished = begun.started;
    ended.has_result = true;
    ended.verdict = "sent and queued";
    ended.texts = {{"result.json", R"({"verdict":"sent"})"}};
  }
};

Disk open(const Folder& folder) { return std::move(*Disk::open(folder.fd.get())); }

// The id of a run whose end is in the file and in its folder; hatchd is gone.
std::string leave_an_end(const Folder& folder) {
  const Disk disk = open(folder);
  disk.ends().prepare();
  const Acted run(disk);
  std::shared_ptr<Ends::Place> place;
  REQUIRE(disk.end(run.ended, place));
  REQUIRE(place);
  return run.ended.id;
}

Run read(const Disk& disk, const std::string& id) {
  History::Counts counts;
  const auto run = read_back(disk, id, counts);
  REQUIRE(run);
  return *run;
}

}  // namespace

TEST_CASE("without a file there are no places, and the end is synced in its folder") {
  Folder folder;
  const Disk disk = open(folder);
  const Acted run(disk);
  std::shared_ptr<Ends::Place> place;
  REQUIRE(disk.end(run.ended, place));
  CHECK_FALSE(place);
  CHECK(disk.read_record(run.ended.id)->state == State::succeeded);
  CHECK_FALSE(std::filesystem::exists(folder.path / "ends"));
}

TEST_CASE("an end that a power cut left in the file alone is in its folder after the next start") {
  Folder folder;
  std::string id, other;
  {
    const Disk disk = open(folder);
    disk.ends().prepare();
    const Acted run(disk);
    const Acted interrupted(disk);
    std::shared_ptr<Ends::Place> place;
    REQUIRE(disk.end(run.ended, place));
    REQUIRE(place);
    CHECK(disk.read_record(run.ended.id)->texts == run.ended.texts);
    id = run.ended.id;
    other = interrupted.begun.id;
    // What was not synced: the old record is there, or the new one is empty.
    if (GENERATE(true, false)) {
      REQUIRE(disk.write_record(run.begun, true));
    } else {
      std::ofstream(folder.path / id / "run.json", std::ios::trunc);
      REQUIRE(std::filesystem::file_size(folder.path / id / "run.json") == 0);
    }
  }
  const Disk disk = open(folder);
  const Run run = read(disk, id);
  CHECK(run.state == State::succeeded);
  CHECK(run.verdict == "sent and queued");
  CHECK(disk.read(id, "result.json").value() == R"({"verdict":"sent"})");
  CHECK(disk.read_record(id)->state == State::succeeded);
  CHECK(read(disk, other).state == State::crashed);
}

TEST_CASE("an end that cannot be brought to its folder is known all the same, and is there after the next start, too") {
  Folder folder;
  const std::string id = leave_an_end(folder);
  std::ofstream(folder.path / id / "run.json", std::ios::trunc);
  folder.write(id + "/run.json.tmp/in-the-way", "");
  {
    const Disk disk = open(folder);
    CHECK(read(disk, id).state == State::succeeded);
    disk.ends().forget();
    std::vector<std::shared_ptr<Ends::Place>> all;
    while (auto place = disk.ends().claim(id, "{}")) all.push_back(std::move(place));
    CHECK(all.size() == Ends::places - 1);
  }
  std::filesystem::remove_all(folder.path / id / "run.json.tmp");
  const Disk disk = open(folder);
  CHECK(read(disk, id).state == State::succeeded);
  CHECK(disk.read_record(id)->state == State::succeeded);
}

TEST_CASE("a run whose removal was interrupted is not brought back by its end") {
  Folder folder;
  const std::string id = leave_an_end(folder);
  std::filesystem::remove(folder.path / id / "run.json");
  const Disk disk = open(folder);
  History::Counts counts;
  CHECK_FALSE(read_back(disk, id, counts));
  CHECK_FALSE(std::filesystem::exists(folder.path / id));
}

TEST_CASE("what is synced in its folder is not found in the file any more") {
  Folder folder;
  const std::string id = new_ulid();
  {
    Ends ends(folder.fd.get());
    ends.prepare();
    const auto place = ends.claim(id, "{}");
    REQUIRE(place->write(id, "{}"));
    place->clear();
  }
  Ends ends(folder.fd.get());
  CHECK_FALSE(ends.take(id));
}

TEST_CASE("an old end changes nothing of a run that ended, and brings none back") {
  Folder folder;
  std::string id, removed;
  {
    const Disk disk = open(folder);
    disk.ends().prepare();
    Acted run(disk), gone(disk);
    std::shared_ptr<Ends::Place> place, its;
    REQUIRE(disk.end(run.ended, place));
    REQUIRE(disk.end(gone.ended, its));
    run.ended.verdict = "changed since";
    REQUIRE(disk.write_record(run.ended, true));
    REQUIRE(disk.remove(gone.ended.id));
    id = run.ended.id;
    removed = gone.ended.id;
  }
  const Disk disk = open(folder);
  CHECK(read(disk, id).verdict == "changed since");
  History::Counts counts;
  CHECK_FALSE(read_back(disk, removed, counts));
  CHECK_FALSE(std::filesystem::exists(folder.path / removed));
}

TEST_CASE("places are few, are given back, and hold what was left behind until all is read") {
  Folder folder;
  const std::string id = new_ulid(), record = "{}";
  {
    Ends ends(folder.fd.get());
    CHECK_FALSE(ends.claim(id, record));
    ends.prepare();
    CHECK_FALSE(ends.claim(id, std::string(Ends::place_size, 'x')));
    std::vector<std::shared_ptr<Ends::Place>> all;
    while (auto place = ends.claim(id, record)) all.push_back(std::move(place));
    CHECK(all.size() == Ends::places);
    REQUIRE(all.front()->write(id, record));
    REQUIRE(all.front()->sync());
    all.pop_back();
    CHECK(ends.claim(id, record));
  }
  Ends ends(folder.fd.get());
  std::vector<std::shared_ptr<Ends::Place>> all;
  while (auto place = ends.claim(id, record)) all.push_back(std::move(place));
  CHECK(all.size() == Ends::places - 1);
  CHECK(ends.take(id)->record == record);
  CHECK_FALSE(ends.take(id));
  CHECK_FALSE(ends.claim(id, record));
  ends.forget();
  CHECK(ends.claim(id, record));
}

TEST_CASE("what is torn, or no file of ours, is no end") {
  Folder folder;
  const std::string id = new_ulid();
  {
    Ends ends(folder.fd.get());
    ends.prepare();
    auto place = ends.claim(id, "{}");
    REQUIRE(place->write(id, std::string(8000, 'x')));
  }
  const auto path = folder.path / "ends";
  SECTION("half of it was written") {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(512, '\0');
    file.close();
    Ends ends(folder.fd.get());
    CHECK_FALSE(ends.take(id));
  }
  SECTION("its making was interrupted") {
    std::filesystem::resize_file(path, 4096);
    Ends ends(folder.fd.get());
    CHECK_FALSE(ends.claim(id, "{}"));
    ends.prepare();
    CHECK(ends.claim(id, "{}"));
    CHECK(std::filesystem::file_size(path) == Ends::place_size * Ends::places);
  }
  SECTION("somebody takes it away") {
    Ends ends(folder.fd.get());
    CHECK(ends.claim(id, "{}"));
    std::filesystem::remove(path);
    CHECK_FALSE(ends.claim(id, "{}"));
    ends.prepare();
    CHECK(ends.claim(id, "{}"));
  }
  SECTION("it is a link") {
    std::filesystem::rename(path, folder.path / "elsewhere");
    std::filesystem::create_symlink(folder.path / "elsewhere", path);
    Ends ends(folder.fd.get());
    CHECK_FALSE(ends.take(id));
    ends.prepare();
    CHECK_FALSE(std::filesystem::is_symlink(path));
    CHECK(std::filesystem::exists(folder.path / "elsewhere"));
  }
}
