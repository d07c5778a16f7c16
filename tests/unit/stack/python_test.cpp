// What reads CPython's memory, against memory that a hostile target might have.
#include <map>

#include "stack/python/lines.hpp"
#include "stack/python/walk.hpp"
#include "support.hpp"

using namespace stack::python;

namespace {

// Bytes at made-up addresses; everything else cannot be read.
class Fake final : public Memory {
 public:
  template <class T>
  void put(Address at, T value) {
    const auto bytes = std::as_bytes(std::span{&value, 1});
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes_[at + i] = bytes[i];
  }
  void put_text(Address at, std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) put(at + i, text[i]);
  }
  void blank(Address at, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) bytes_.try_emplace(at + i);
  }
  std::size_t reads = 0;

 private:
  bool copy(Address from, std::span<std::byte> into) override {
    ++reads;
    for (std::size_t i = 0; i < into.size(); ++i) {
      const auto found = bytes_.find(from + i);
      if (found == bytes_.end()) return false;
      into[i] = found->second;
    }
    return true;
  }
  std::map<Address, std::byte> bytes_;
};

// A process of 3.11 with one thread whose frames are at `frame`, `frame` + 0x100, ….
struct World {
  static constexpr Address runtime = 0x10000, interp = 0x20000, thread = 0x30000, cframe = 0x31000, frame = 0x40000,
                           code = 0x50000, code_type = 0x60000, file = 0x70000, name = 0x71000, table = 0x72000;
  Fake memory;
  const Layout layout = *known_layout(version_of(3, 11));

  World() {
    memory.put(runtime + layout.interpreters_head, interp);
    memory.blank(runtime, 1024);
    memory.put(interp + layout.interp_threads, thread);
    memory.blank(interp, 1024);
    memory.put(thread + layout.thread_interp, interp);
    memory.put(thread + layout.thread_frame, cframe);
    memory.put(thread + layout.thread_native_id, std::uint64_t{77});
    memory.blank(thread, 512);
    memory.put(cframe + layout.cframe_current, frame);
    memory.put(code_type + layout.type_name, code_type + 512);
    memory.blank(code_type, 512);
    memory.put_text(code_type + 512, std::string_view{"code\0", 5});
    memory.blank(code_type + 512, 256);
    memory.put(code + layout.object_type, code_type);
    memory.put(code + layout.code_filename, file);
    memory.put(code + layout.code_name, name);
    memory.put(code + layout.code_lines, table);
    memory.put(code + layout.code_first_line, 10);
    memory.blank(code, 512);
    text(file, "/srv/a.py");
    text(name, "f");
    memory.put(table + layout.bytes_size, std::int64_t{0});
    link(frame, 0);
  }
  void text(Address at, std::string_view content) {
    memory.put(at + layout.text_length, static_cast<std::int64_t>(content.size()));
    memory.put(at + layout.text_state, std::uint32_t{1 << 2 | 1 << 5 | 1 << 6});
    memory.put_text(at + layout.text_ascii, content);
    memory.blank(at, 128);
  }
  void link(Address at, Address previous) {
    memory.put(at + layout.frame_code, code);
    memory.put(at + layout.frame_previous, previous);
    memory.put(at + layout.frame_instruction, code + layout.code_bytecode);
    memory.blank(at, 128);
  }
  Walk walk(unsigned max_frames = 256) {
    Objects objects{memory, layout};
    Codes codes{objects};
    Walk walk{objects, codes, max_frames};
    CHECK(walk.run(runtime, [] { return false; }));
    return walk;
  }
};

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

}  // namespace

TEST_CASE("lines up to 3.9: increments of bytecode and line, both ways") {
  const std::string table = bytes({0, 1, 6, 2, 255, 0, 10, -3});
  CHECK(line_of(Lines::lnotab, table, 10, 0) == 11);
  CHECK(line_of(Lines::lnotab, table, 10, 5) == 11);
  CHECK(line_of(Lines::lnotab, table, 10, 6) == 13);
  CHECK(line_of(Lines::lnotab, table, 10, 270) == 13);
  CHECK(line_of(Lines::lnotab, table, 10, 271) == 10);
  CHECK(line_of(Lines::lnotab, table, 10, -1) == 10);
  CHECK(line_of(Lines::lnotab, "\x01", 10, 5) == 10);
}

TEST_CASE("lines of 3.10: ranges, of which some have no line") {
  const std::string table = bytes({4, 1, 6, -128, 2, -5, 8, 0});
  CHECK(line_of(Lines::linetable, table, 10, 2) == 11);
  CHECK(line_of(Lines::linetable, table, 10, 4) == 0);
  CHECK(line_of(Lines::linetable, table, 10, 10) == 6);
  CHECK(line_of(Lines::linetable, table, 10, 19) == 6);
  CHECK(line_of(Lines::linetable, table, 10, 20) == 10);  // behind the end
}

TEST_CASE("lines since 3.11: entries of every form") {
  // RESUME of one unit without columns, a short form of two units, one line further, a long form back 70 lines, none.
  const std::string table = bytes({0x80 | 13 << 3 | 0, 0,                                              //
                                   0x80 | 2 << 3 | 1, 0x11,                                            //
                                   0x80 | 11 << 3 | 0, 4, 9,                                           //
                                   0x80 | 14 << 3 | 0, 0x40 | (70 << 1 & 0x3F) | 1, 70 >> 5, 0, 1, 1,  //
                                   0x80 | 15 << 3 | 0});
  CHECK(line_of(Lines::locations, table, 100, 0) == 100);
  CHECK(line_of(Lines::locations, table, 100, 2) == 100);
  CHECK(line_of(Lines::locations, table, 100, 4) == 100);
  CHECK(line_of(Lines::locations, table, 100, 6) == 101);
  CHECK(line_of(Lines::locations, table, 100, 8) == 31);
  CHECK(line_of(Lines::locations, table, 100, 10) == 0);
  CHECK(line_of(Lines::locations, table, 100, 12) == 100);
}

TEST_CASE("a table of lines may say anything") {
  unsigned seed = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string table;
    for (int i = 0; i < 40; ++i) table += static_cast<char>((seed = seed * 1103515245 + 12345) >> 16);
    for (const Lines format : {Lines::lnotab, Lines::linetable, Lines::locations})
      CHECK(line_of(format, table, 1 << 30, round) >= 0);
  }
  CHECK(line_of(Lines::locations, std::string(1 << 16, '\x7f'), 1, 1 << 20) == 1);
}

TEST_CASE("a thread is read from the runtime to its frames") {
  World world;
  world.link(World::frame, World::frame + 0x100);
  world.link(World::frame + 0x100, 0);
  const Walk walk = world.walk();
  REQUIRE(walk.threads.size() == 1);
  CHECK(walk.threads[0].native_id == 77);
  CHECK(walk.threads[0].chain.frames.size() == 2);
  CHECK(!walk.threads[0].chain.broken);
  CHECK(!walk.threads[0].moved);
}

TEST_CASE("a chain of frames that loops ends with what is shown of it") {
  World world;
  world.link(World::frame, World::frame + 0x100);
  world.link(World::frame + 0x100, World::frame);
  const Walk walk = world.walk(50);
  REQUIRE(walk.threads.size() == 1);
  CHECK(walk.threads[0].chain.frames.size() == 50);
  CHECK(walk.threads[0].chain.truncated);
  CHECK(world.memory.reads < 1000);
}

TEST_CASE("a chain that leaves memory, or leads to what is no code, says so") {
  World world;
  world.link(World::frame, World::frame + 0x100);
  SECTION("nothing is there") {}
  SECTION("another object is there") {
    world.link(World::frame + 0x100, 0);
    world.memory.put(World::frame + 0x100 + world.layout.frame_code, World::file);
  }
  SECTION("an address that is none") { world.link(World::frame, ~Address{7}); }
  const Walk walk = world.walk();
  REQUIRE(walk.threads.size() == 1);
  CHECK(walk.threads[0].chain.frames.size() == 1);
  CHECK(walk.threads[0].chain.broken);
}

TEST_CASE("a list of threads that loops ends") {
  World world;
  world.memory.put(World::thread + world.layout.thread_next, World::thread);
  // Without the chain, which would make it long.
  world.memory.put(World::thread + world.layout.thread_frame, Address{0});
  Objects objects{world.memory, world.layout};
  Codes codes{objects};
  Walk walk{objects, codes, 256};
  int asked = 0;
  CHECK(!walk.run(World::runtime, [&] { return ++asked > 1000; }));
  CHECK(walk.threads.size() <= 1001);
}

TEST_CASE("strings of any width, and such as are none") {
  World world;
  Objects objects{world.memory, world.layout};
  CHECK(objects.text(World::file, 100)->utf8() == "/srv/a.py");
  CHECK(objects.text(World::file, 4)->utf8() == "/srv…");
  // UCS-2 with half a surrogate pair, behind the longer header.
  constexpr Address wide = 0x80000;
  world.memory.put(wide + 16, std::int64_t{2});
  world.memory.put(wide + 32, std::uint32_t{2 << 2 | 1 << 5});
  world.memory.put(wide + 72, std::uint16_t{0x2603});
  world.memory.put(wide + 74, std::uint16_t{0xD800});
  world.memory.blank(wide, 128);
  CHECK(objects.text(wide, 100)->utf8() == "\xE2\x98\x83\xEF\xBF\xBD");
  for (const std::int64_t length : {std::int64_t{-1}, INT64_MIN}) {
    world.memory.put(wide + 16, length);
    CHECK(!objects.text(wide, 100));
  }
  world.memory.put(wide + 16, INT64_MAX);  // longer than what is there
  CHECK(!objects.text(wide, 1000));
}

TEST_CASE("dictionaries and sets whose sizes are lies are not read") {
  World world;
  Objects objects{world.memory, world.layout};
  constexpr Address dict = 0x80000, keys = 0x81000;
  world.memory.put(dict + 32, keys);
  world.memory.put(dict + 40, keys);
  world.memory.blank(dict, 64);
  world.memory.blank(keys, 64);
  world.memory.put(keys + 24, std::uint64_t{1} << 60);
  int visits = 0;
  const auto count = [&](const Text&, const Objects::Entry&) { return ++visits, true; };
  CHECK(!objects.entries(dict));
  objects.each_text(dict, count);
  world.memory.put(keys + 24, std::uint64_t{4});
  world.memory.put(keys + 9, std::uint8_t{63});
  CHECK(!objects.entries(dict));
  objects.each_text(dict, count);
  world.memory.put(dict + 32, ~std::uint64_t{0});
  CHECK(!objects.each_in_set(dict, [&](Address) { return ++visits, true; }));
  CHECK(visits == 0);
}

TEST_CASE("stretches are read in one call up to the one that is not there, and one by one behind it") {
  ProcessMemory memory{::getpid()};
  const std::array<std::uint64_t, 2> values = {7, 8};
  const auto at = reinterpret_cast<Address>(values.data());
  std::array<std::uint64_t, 4> into{};
  const auto bytes = [&](std::size_t i) { return std::as_writable_bytes(std::span{&into[i], 1}); };
  std::array<Memory::Part, 4> parts = {
      {{at, bytes(0)}, {4096, bytes(1)}, {at + 8, bytes(2)}, {~std::uint64_t{0}, bytes(3)}}};
  memory.read_all(parts);
  CHECK((parts[0].read && !parts[1].read && parts[2].read && !parts[3].read));
  CHECK((into[0] == 7 && into[2] == 8));

  // What was read ahead answers, also in part, until something else is; and what was not there is asked for.
  const std::array<Memory::Stretch, 2> stretches = {{{at, 16}, {4096, 8}}};
  memory.look_ahead(stretches);
  CHECK(memory.get<std::uint64_t>(at + 8) == 8);
  CHECK(!memory.get<std::uint64_t>(4096));
  CHECK(memory.get<std::uint64_t>(at) == 7);
  memory.look_ahead({});
  CHECK(memory.get<std::uint64_t>(at) == 7);
  CHECK(memory.error() == EFAULT);
}

TEST_CASE("the offsets that 3.13 and later tell are taken only if they can be") {
  Fake memory;
  constexpr Address runtime = 0x10000;
  const auto fill = [&](std::uint64_t version, std::size_t words) {
    memory.put_text(runtime, "xdebugpy");
    memory.put(runtime + 8, version);
    for (std::size_t i = 2; i < words; ++i) memory.put(runtime + i * 8, std::uint64_t{i == 2 ? 0 : i * 8});
  };
  fill(0x030d00f0, 73);
  const auto layout = read_layout(memory, runtime, version_of(3, 13));
  REQUIRE(layout);
  CHECK(layout->interpreters_head == 5 * 8);
  CHECK(layout->code_bytecode == 43 * 8);
  CHECK(!read_layout(memory, runtime, version_of(3, 14)));
  CHECK(!read_layout(memory, runtime, version_of(3, 15)));
  memory.put(runtime + 23 * 8, std::uint64_t{1} << 40);
  CHECK(!read_layout(memory, runtime, version_of(3, 13)));
  fill(0x030e00f0, 95);
  CHECK(read_layout(memory, runtime, version_of(3, 14))->frame_stack_top == 37 * 8);
  memory.put(runtime, 'y');
  CHECK(!read_layout(memory, runtime, version_of(3, 14)));
}
