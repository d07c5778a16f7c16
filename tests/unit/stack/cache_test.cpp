// Tables that outlive a run: what they say is what the library says, and what is wrong with their files does no harm.
#include <elf.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "stack/cache/learn.hpp"
#include "stack/modules.hpp"
#include "support.hpp"

using namespace stack_test;
namespace cache = stack::cache;

namespace {

// A folder for tables.
class Cache {
 public:
  Cache() : fd_(::open(folder_.file("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  std::vector<std::string> files() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.file(""))) all.push_back(entry.path());
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  Folder folder_;
  stack::UniqueFd fd_;
};

stack::Options with(const Cache& cache, stack::Pause pause = stack::Pause::all) {
  stack::Options options;
  options.pause = pause;
  options.cache = cache.fd();
  return options;
}

std::string content(const std::string& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
void write(const std::string& file, const std::string& bytes) { std::ofstream{file, std::ios::binary} << bytes; }

// By thread: the names and places of its frames. Without those that move between two dumps.
std::map<std::string, std::vector<std::string>> stacks_of(const Dump& dump) {
  std::map<std::string, std::vector<std::string>> all;
  for (std::size_t i = 0; i < dump.process().threads.size(); ++i) {
    const std::string& name = dump.process().threads[i].name;
    if (!name.starts_with("crowd-") && name != "logger" && name != "acceptor" && name != "hatchd-demo") continue;
    for (const stack::Frame& frame : dump.frames(i))
      all[name].push_back(frame.function + " " + frame.module + "+" + std::to_string(frame.offset));
  }
  return all;
}

// How many threads walk to the end by tables alone.
std::size_t walks(const stack::ProcessCopy& process, int folder) {
  cache::Tables tables{process.modules, folder};
  std::size_t whole = 0;
  for (const stack::ThreadCopy& thread : process.threads)
    whole += thread.registers && cache::walk(tables, thread, 256).end == cache::Walked::whole;
  return whole;
}

cache::Identity identity_of(const std::string& file, uid_t user) {
  const stack::UniqueFd open{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  const auto identity = cache::identify(open.get(), user, 0);
  REQUIRE(identity);
  return *identity;
}

// Aligned as a mapping is.
std::optional<cache::Table> parse(const std::string& bytes, const cache::Identity& identity,
                                  std::vector<std::uint64_t>& memory) {
  memory.assign(bytes.size() / 8 + 1, 0);
  std::memcpy(memory.data(), bytes.data(), bytes.size());
  return cache::Table::parse(std::as_bytes(std::span{memory}).first(bytes.size()), identity);
}

}  // namespace

TEST_CASE("walking by rules shows what the library shows") {
  const Demo demo{{"--threads", "16", "--depth", "30"}};
  stack::Options options;
  options.pause = stack::Pause::all;
  TestHold hold;
  const stack::Gathered gathered = stack::gather({Handles{demo.pid()}.process()}, options, hold);
  const stack::ProcessCopy& process = gathered.processes.at(0);
  stack::Unwinder unwinder{process};
  cache::Learner learner{unwinder, *process.tables};
  std::size_t walked = 0;
  for (const stack::ThreadCopy& thread : process.threads) {
    if (!thread.registers) continue;
    const cache::Walk by_rules = cache::walk_learning(*process.tables, learner, thread, 256);
    const stack::RawStack by_library = unwinder.unwind(thread, 256);
    CAPTURE(thread.name);
    if (by_rules.end != cache::Walked::whole) continue;
    ++walked;
    REQUIRE(by_rules.stack.frames.size() == by_library.frames.size());
    for (std::size_t i = 0; i < by_library.frames.size(); ++i) {
      CHECK(by_rules.stack.frames[i].pc == by_library.frames[i].pc);
      CHECK(by_rules.stack.frames[i].lookup == by_library.frames[i].lookup);
    }
  }
  CHECK(walked + 2 > process.threads.size());
}

TEST_CASE("the second dump of a program is served by the tables of the first, and equals it") {
  const Demo demo{{"--threads", "8", "--depth", "20"}};
  const Cache kept;
  const Dump first = dump(demo.pid(), with(kept));
  const std::vector<std::string> files = kept.files();
  REQUIRE(files.size() >= 3);                                                      // the program, libc, libstdc++
  CHECK(walks(first.process(), kept.fd()) + 1 >= first.process().threads.size());  // one works
  CHECK(walks(first.process(), -1) == 0);
  CHECK(eventually([&] { return stacks_of(dump(demo.pid(), with(kept))) == stacks_of(first); }));
  CHECK(stacks_of(first).at("crowd-3").size() == 20);
  CHECK(kept.files() == files);

  // Another process of the same program is at other addresses.
  const Demo other{{"--threads", "8", "--depth", "20"}};
  CHECK(eventually([&] { return stacks_of(dump(other.pid(), with(kept, stack::Pause::least))) == stacks_of(first); }));
  for (const std::string& file : kept.files()) {
    struct stat info {};
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);
  }
}

TEST_CASE("a table that comes instead of another has its witnesses alone") {
  const Demo demo;
  const Cache kept;
  const Dump first = dump(demo.pid(), with(kept));
  const cache::Store store{kept.fd()};
  cache::Tables tables{first.process().modules, kept.fd()};
  std::size_t witnesses = 0;
  for (cache::ModuleTable& table : tables.all()) {
    if (!table.module().identity || !table.bias()) continue;  // asking loads it
    const cache::Identity& identity = *table.module().identity;
    cache::Bytes again = store.load(identity);
    const std::size_t before = cache::Table::parse(again.view(), identity).value().witnesses().size();
    REQUIRE(table.take(std::move(again), true));
    std::vector<std::uint64_t> memory;
    CHECK(parse(table.written(), identity, memory).value().witnesses().size() == before);
    witnesses += before;
  }
  CHECK(witnesses > 0);
}

TEST_CASE("the child that learns has only the descriptors that it works with") {
  const Demo demo;
  const Handles handles{demo.pid()};
  void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  struct Seen {
    int asked, open;
  };
  auto& seen = *static_cast<Seen*>(memory);
  const stack::UniqueFd secret{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  TestHold hold;
  hold.on_drop = [&] {
    ++seen.asked;
    for (const int fd : {handles.pidfd.get(), handles.proc_fd.get(), secret.get()})
      seen.open += ::fcntl(fd, F_GETFD) >= 0;
    return true;
  };
  const Dump result = dump(handles, {}, hold);
  CHECK(seen.asked == 1);
  CHECK(seen.open == 0);
  // What it learned with the rest is what the stacks were read by, without a stop.
  CHECK(result.has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
  const auto sweeper = static_cast<std::size_t>(result.index("cache-sweeper"));
  CHECK(result.process().threads.at(sweeper).walked.has_value());
  ::munmap(memory, 4096);
}

TEST_CASE("a file of the cache that is damaged, foreign or no file is not used, and replaced") {
  const Demo demo{{"--threads", "4", "--depth", "20"}};
  const Cache kept;
  const Dump first = dump(demo.pid(), with(kept));
  const auto reference = stacks_of(first);
  const std::size_t almost_all = first.process().threads.size() - 1;  // but for one that works
  const std::vector<std::string> files = kept.files();
  REQUIRE(!files.empty());
  REQUIRE(walks(first.process(), kept.fd()) >= almost_all);
  const std::string elsewhere = files.front() + ".elsewhere";
  bool replaced = true, used = false;
  std::string kind;
  const auto spoil = [&](const std::string& file) {
    const std::string good = content(file);
    if (kind == "empty") {
      write(file, "");
    } else if (kind == "cut short") {
      write(file, good.substr(0, good.size() / 2));
    } else if (kind == "header alone") {
      write(file, good.substr(0, 100));
    } else if (kind == "longer") {
      write(file, good + std::string(8, '\0'));
    } else if (kind == "one byte differs") {
      std::string bad = good;
      bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 1);
      write(file, bad);
    } else if (kind == "checksum differs") {
      std::string bad = good;
      bad[8] = static_cast<char>(bad[8] ^ 1);
      write(file, bad);
    } else if (kind == "another version") {
      std::string bad = good;
      bad[7] = '9';
      write(file, bad);
    } else if (kind == "a foreign owner") {
      if (::chown(file.c_str(), 12345, 12345) != 0) used = true;  // not as root: nothing to see
    } else if (kind == "open to others") {
      std::filesystem::permissions(file, std::filesystem::perms{0666});
    } else if (kind == "a second name") {
      std::filesystem::create_hard_link(file, elsewhere + std::to_string(std::hash<std::string>{}(file)));
    } else if (kind == "a symbolic link") {
      const std::string target = elsewhere + std::to_string(std::hash<std::string>{}(file));
      std::filesystem::rename(file, target);
      std::filesystem::create_symlink(target, file);
    } else if (kind == "a pipe") {
      std::filesystem::remove(file);
      REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
    } else if (kind == "a folder") {
      std::filesystem::remove(file);
      std::filesystem::create_directory(file);
      replaced = false;
    }
  };
  kind = GENERATE("empty", "cut short", "header alone", "longer", "one byte differs", "checksum differs",
                  "another version", "a foreign owner", "open to others", "a second name", "a symbolic link", "a pipe",
                  "a folder");
  CAPTURE(kind);
  for (const std::string& file : files) spoil(file);
  CHECK((used || walks(first.process(), kept.fd()) == 0));
  // The names are there all the same, and what was in the way is a table again.
  CHECK(eventually([&] { return stacks_of(dump(demo.pid(), with(kept))) == reference; }));
  if (replaced)
    CHECK(walks(first.process(), kept.fd()) >= almost_all);
  else
    CHECK(walks(first.process(), kept.fd()) == 0);
}

TEST_CASE("a table with a right checksum and wrong numbers leads nowhere") {
  const Demo demo{{"--threads", "4", "--depth", "20"}};
  const Cache kept;
  const Dump first = dump(demo.pid(), with(kept));
  std::mt19937 random{7};
  const auto any = [&](std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>{0, below - 1}(random);
  };
  for (int round = 0; round < 50; ++round) {
    const cache::Store store{kept.fd()};
    for (const stack::Module& module : first.process().modules) {
      if (!module.identity) continue;
      cache::Content evil;
      evil.first_page = any(4) ? 0 : any(~0ULL);
      evil.has_symbols = any(2);
      evil.is_go = any(2);
      if (any(2)) evil.file_names = {any(2) ? any(module.high - module.low) : any(~0ULL), any(2) ? 4096 : any(~0ULL)};
      // Sorted or not, within one another, over the end of the address space.
      for (std::uint64_t i = any(400); i > 0; --i) {
        cache::Rule& rule = evil.rules.emplace_back();
        rule.start = any(2) ? any(module.high - module.low) : any(~0ULL);
        rule.size = static_cast<std::uint32_t>(any(2) ? any(1 << 20) : any(1ULL << 32));
        rule.cfa_register = static_cast<std::uint8_t>(any(256));
        if (any(2)) rule.cfa_register = static_cast<std::uint8_t>(stack::Registers::sp_number);
        rule.cfa_offset = static_cast<std::int32_t>(any(1ULL << 32));
        if (any(2)) rule.cfa_offset = static_cast<std::int32_t>(any(64));
        rule.flags = static_cast<std::uint8_t>(any(8) ? 0 : any(256));
        rule.return_address = static_cast<std::int16_t>(any(1 << 16));
        if (any(2)) rule.return_address = -8;
        for (std::int16_t& offset : rule.kept) offset = static_cast<std::int16_t>(any(1 << 16));
      }
      if (any(2))
        std::sort(evil.rules.begin(), evil.rules.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
      for (std::uint64_t i = any(400); i > 0; --i)
        evil.symbols.push_back({any(2) ? any(module.high - module.low) : any(~0ULL),
                                static_cast<std::uint32_t>(any(1ULL << 32)),
                                static_cast<std::uint32_t>(any(1ULL << 32))});
      evil.names = std::string(any(64), static_cast<char>('a' + any(26)));  // without an end
      if (any(4) == 0) evil.witnesses.push_back({1, 2, 3, 4, static_cast<std::uint32_t>(any(1ULL << 32)), 0});
      store.save(*module.identity, cache::write_table(*module.identity, evil));
    }
    const Dump result = dump(demo.pid(), with(kept, round % 2 ? stack::Pause::least : stack::Pause::all));
    CHECK(result.process().threads.size() == first.process().threads.size());
    for (std::size_t i = 0; i < result.process().threads.size(); ++i) CHECK(result.frames(i).size() <= 256);
    result.text();
  }
}

TEST_CASE("a table is refused that says of itself what cannot be") {
  cache::Identity identity;
  identity.size = 1;
  cache::Content content;
  content.rules.resize(3);
  content.symbols.resize(5);
  content.names = std::string("one\0two\0", 8);
  const std::string good = cache::write_table(identity, content);
  std::vector<std::uint64_t> memory;
  REQUIRE(parse(good, identity, memory));
  CHECK(parse(good, identity, memory)->rules().size() == 3);
  cache::Identity other = identity;
  other.serves = 1000;
  CHECK(!parse(good, other, memory));
  for (std::size_t size = 0; size < good.size(); ++size) CHECK(!parse(good.substr(0, size), identity, memory));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    CHECK(!parse(bad, identity, memory));
  }
  CHECK(cache::name_at(content.names, 4) == "two");
  CHECK(cache::name_at(content.names, 8).empty());
  CHECK(cache::name_at("endless", 3) == "less");
}

TEST_CASE("a program that is replaced is not served the old one's table") {
  const Folder folder;
  const std::string program = folder.file("shop");
  std::filesystem::copy_file(HATCHD_DEMO, program);
  const Cache kept;
  const cache::Identity before = identity_of(program, 0);
  CHECK(before == identity_of(program, 0));
  CHECK(before.build_id != cache::Identity{}.build_id);
  {
    const Demo demo{{}, program};
    CHECK(dump(demo.pid(), with(kept)).has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
  }
  SECTION("the same bytes, without symbols, in its place and with its time") {
    struct stat info {};
    REQUIRE(::stat(program.c_str(), &info) == 0);
    REQUIRE(std::system(("strip " + program).c_str()) == 0);
    const timespec times[2] = {info.st_atim, info.st_mtim};
    REQUIRE(::utimensat(AT_FDCWD, program.c_str(), times, 0) == 0);
    CHECK(identity_of(program, 0).build_id == before.build_id);
    CHECK(identity_of(program, 0) != before);
    const Demo demo{{}, program};
    const Dump result = dump(demo.pid(), with(kept));
    const auto frames = result.frames(static_cast<std::size_t>(result.index("cache-sweeper")));
    CHECK(std::all_of(frames.begin(), frames.end(),
                      [](const stack::Frame& f) { return f.module != "shop" || f.function.empty(); }));
    CHECK(frames.size() > 4);
  }
  SECTION("written to in place, with its time") {
    struct stat info {};
    REQUIRE(::stat(program.c_str(), &info) == 0);
    std::this_thread::sleep_for(20ms);  // the clock of the file system ticks
    { std::fstream{program, std::ios::in | std::ios::out | std::ios::binary}.put('\x7f'); }
    const timespec times[2] = {info.st_atim, info.st_mtim};
    REQUIRE(::utimensat(AT_FDCWD, program.c_str(), times, 0) == 0);
    CHECK(identity_of(program, 0).size == before.size);
    CHECK(identity_of(program, 0).modified_ns == before.modified_ns);
    CHECK(identity_of(program, 0) != before);
  }
}

TEST_CASE("what one user's program brought serves no other's, but for files of root") {
  if (::geteuid() != 0) return;  // takes root to give files away
  const Folder folder;
  const std::string program = folder.file("shop");
  std::filesystem::copy_file(HATCHD_DEMO, program);
  std::filesystem::permissions(program, std::filesystem::perms{0755});
  CHECK(identity_of(program, 1000) == identity_of(program, 1001));
  CHECK(identity_of(program, 1000).serves == cache::Identity::everybody);
  std::filesystem::permissions(program, std::filesystem::perms{0775});
  CHECK(identity_of(program, 1000).serves == 1000);
  std::filesystem::permissions(program, std::filesystem::perms{0755});
  REQUIRE(::chown(program.c_str(), 65534, 65534) == 0);
  CHECK(identity_of(program, 1000) != identity_of(program, 1001));

  // The same file, run by two users: each has a table of it, and both share root's.
  const Cache kept;
  std::size_t tables = 0;
  {
    const Demo demo{{}, program, 65534};
    CHECK(dump(demo.pid(), with(kept)).has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
    tables = kept.files().size();
  }
  const Demo demo{{}, program, 65533};
  const Dump result = dump(demo.pid(), with(kept));
  CHECK(result.has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
  CHECK(kept.files().size() == tables + 1);
}

TEST_CASE("a debug file that comes, goes or changes makes a table void") {
  const Folder folder;
  const std::string debug = folder.file("shop.debug");
  stack::Module module;
  module.low = 0x10000;
  module.high = 0x20000;
  module.identity.emplace().size = 1;
  const Cache kept;
  const auto learn = [&] {
    const cache::Store store{kept.fd()};
    cache::ModuleTable table{module, store};
    table.set_bias(0);
    table.set_symbols({{0x10, 4, 0}}, std::string("f\0", 2), {}, false);
    table.add_witness(debug);
    store.save(*module.identity, table.written());
  };
  const auto holds = [&] {
    const cache::Store store{kept.fd()};
    cache::ModuleTable table{module, store};
    return table.has_symbols() && table.name(table.symbols()[0]) == "f";
  };
  learn();
  CHECK(holds());
  write(debug, "symbols");
  CHECK(!holds());
  learn();
  CHECK(holds());
  write(debug, "other symbols");
  CHECK(!holds());
  learn();
  std::filesystem::remove(debug);
  CHECK(!holds());
}

TEST_CASE("the folder's size has a bound, the oldest go first, and what was left unfinished goes") {
  const Cache kept;
  constexpr cache::Store::Limits limits{4096, 16'384, 20};
  const cache::Store store{kept.fd(), limits};
  cache::Identity identity;
  for (identity.inode = 0; identity.inode < 40; ++identity.inode) store.save(identity, "table");
  CHECK(kept.files().size() == limits.files);
  identity.inode = 39;
  CHECK(!store.load(identity).view().empty());
  // By bytes.
  for (identity.inode = 100; identity.inode < 110; ++identity.inode)
    store.save(identity, std::string(limits.file_bytes, 'x'));
  std::uintmax_t bytes = 0;
  for (const std::string& file : kept.files()) bytes += std::filesystem::file_size(file);
  CHECK(bytes <= limits.bytes);
  identity.inode = 109;
  CHECK(!store.load(identity).view().empty());
  store.save(identity, std::string(limits.file_bytes + 1, 'y'));
  CHECK(store.load(identity).view().front() == std::byte{'x'});
  // A crash leaves such a file.
  const std::string left = std::filesystem::path{kept.files().front()}.parent_path() / ".0-0.table.1.new";
  write(left, "half");
  const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, left.c_str(), long_ago, 0) == 0);
  identity.inode = 20'000;
  store.save(identity, "new");
  CHECK(!std::filesystem::exists(left));
}

TEST_CASE("a folder that cannot be written to costs nothing but time") {
  const Demo demo;
  stack::Options options;
  options.cache = ::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const stack::UniqueFd owner{options.cache};
  CHECK(dump(demo.pid(), options).has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
}
