#include "runs/journal.hpp"

#include <vector>

#include "catch.hpp"
#include "folder.hpp"
#include "runs/follow.hpp"
#include "runs/history.hpp"

using namespace hatchd;
using namespace hatchd::runs;

namespace {

std::vector<std::string> read_back(const Folder& folder, std::uint64_t* good = nullptr) {
  Journal journal(UniqueFd{::openat(folder.fd.get(), "j", O_RDONLY | O_CLOEXEC)});
  std::vector<std::string> texts;
  while (auto text = journal.next()) texts.push_back(std::move(*text));
  CHECK_FALSE(journal.next());
  if (good) *good = journal.good();
  return texts;
}

}  // namespace

TEST_CASE("entries of a journal come back as they were written") {
  const Folder folder;
  const std::vector<std::string> texts{"one", "", std::string(Journal::max_entry, 'x'), "käse \xff", "last"};
  std::string all;
  for (const std::string& text : texts) all += Journal::entry(text);
  folder.write("j", all);
  std::uint64_t good = 0;
  CHECK(read_back(folder, &good) == texts);
  CHECK(good == all.size());
}

TEST_CASE("wherever a journal is torn, what was whole before is read, and nothing of the rest") {
  const Folder folder;
  const std::string first = Journal::entry("state {}"), second = Journal::entry("result {\"a\":1}");
  const std::string all = first + second;
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    folder.write("j", all.substr(0, cut));
    std::uint64_t good = 0;
    const std::size_t expected = cut == all.size() ? 2 : cut >= first.size() ? 1 : 0;
    CHECK(read_back(folder, &good).size() == expected);
    CHECK(good == (expected == 2 ? all.size() : expected == 1 ? first.size() : 0));
  }
  for (std::size_t flip = first.size(); flip < all.size(); ++flip) {  // any byte that is not as it was written
    std::string damaged = all;
    damaged[flip] = static_cast<char>(damaged[flip] ^ 1);
    folder.write("j", damaged + first);
    CHECK(read_back(folder).size() == 1);
  }
  folder.write("j", first + std::string(4096, '\0'));  // blocks that a power cut left unwritten
  CHECK(read_back(folder) == std::vector<std::string>{"state {}"});
}

TEST_CASE("an announced length beyond the bound ends the reading") {
  const Folder folder;
  folder.write("j", "7fffffff 00000000 x\n");
  CHECK(read_back(folder).empty());
}

TEST_CASE("the torn end of a run's events is cut at start, when the run is recorded as crashed") {
  const Folder folder;
  const Disk disk = *Disk::open(folder.fd.get());
  Run run;
  run.id = new_ulid();
  run.hatch = "a.b";
  run.state = State::running;
  REQUIRE(disk.create(run.id, false));
  REQUIRE(disk.write_record(run, true));
  const std::string whole = Journal::entry(to_line({1, "state", R"({"state":"running"})"}));
  REQUIRE(disk.append(run.id, events_file, whole, true));
  REQUIRE(disk.append(run.id, events_file, whole.substr(0, whole.size() - 3), false));
  State state{};
  History::Counts counts;
  state = read_back(disk, run.id, counts)->state;
  CHECK(state == State::crashed);
  CHECK(std::filesystem::file_size(folder.path / run.id / events_file) == whole.size());
}

TEST_CASE("an event is the same after a line of a journal") {
  const Event event{42, "output", R"({"text":"a b\nc"})"};
  const auto back = event_of(to_line(event));
  REQUIRE(back);
  CHECK(back->number == 42);
  CHECK(back->type == "output");
  CHECK(back->data == event.data);
  for (const char* wrong : {"", "x", "1", "1 state", "-1 state {}", "state {}"}) CHECK_FALSE(event_of(wrong));
}

TEST_CASE("what goes to disk is bounded, but states and the result always do") {
  Events events;
  const boost::json::object data{{"text", std::string(60'000, 'x')}};
  std::size_t bytes = 0;
  std::string last;
  for (int i = 0; i < 200; ++i) {
    events.add("output", data);
    std::string entries = events.take_unwritten();
    bytes += entries.size();
    if (!entries.empty()) last = std::move(entries);
  }
  CHECK(last.find(" log {") != std::string::npos);
  CHECK(last.find("was not kept: more than 4 MiB of events") != std::string::npos);
  CHECK(bytes >= Events::max_stored);
  CHECK(bytes < Events::max_stored + 61'000);
  events.add("result", {{"state", "succeeded"}});
  CHECK(events.take_unwritten().find("201 result ") != std::string::npos);
  CHECK(events.whole_behind(199));
  CHECK_FALSE(events.whole_behind(0));
  events.stay_in_memory();
  events.add("result", {});
  CHECK_FALSE(events.has_unwritten());
}
