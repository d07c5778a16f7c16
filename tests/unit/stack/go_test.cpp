// Go's table of functions, from a table made by hand: the format of 1.18, two functions.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "catch.hpp"
#include "stack/go/elf_file.hpp"
#include "stack/go/pclntab.hpp"

namespace {

void put(std::string& out, std::uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

// main.a at 0x1000 (16 bytes, frame of 24 behind the first 4), main.b at 0x1010 (16 bytes).
std::string made() {
  const std::string names("main.a\0main.b\0", 14);
  std::string units, files("\0shop.go\0", 9);
  put(units, 1, 4);
  // value -1 + 1 = 0 for 4 bytes, + 24 for 12; line -1 + 11 = 10 for 16 bytes; file -1 + 1 = 0.
  const std::string values("\0\x02\x04\x30\x0c\0\x16\x10\0\x02\x10\0", 12);
  std::string functions;
  const auto record = [&](std::uint32_t entry, std::uint32_t name) {
    std::string r;
    for (const std::uint32_t field : {entry, name, 0u, 0u, 1u, 9u, 6u, 0u, 0u}) put(r, field, 4);
    return r;
  };
  put(functions, 0, 4), put(functions, 24, 4), put(functions, 16, 4), put(functions, 60, 4), put(functions, 32, 4);
  functions.resize(24);
  functions += record(0, 0) + record(16, 7);

  std::string table;
  put(table, 0xfffffff0, 4), put(table, 0, 2), put(table, 1, 1), put(table, 8, 1);
  const std::uint64_t begin = 8 + 8 * 8;
  std::uint64_t at = begin;
  put(table, 2, 8), put(table, 1, 8), put(table, 0x1000, 8);
  for (const std::string* part :
       {&names, static_cast<const std::string*>(&units), static_cast<const std::string*>(&files), &values,
        static_cast<const std::string*>(&functions)}) {
    put(table, at, 8);
    at += part->size();
  }
  return table + names + units + files + values + functions;
}

}  // namespace

TEST_CASE("go: the table names functions, lines and frame sizes") {
  const auto table = stack::go::Table::parse(made(), 0);
  REQUIRE(table);
  CHECK(!table->find(0xfff));
  CHECK(!table->find(0x1020));
  const auto a = table->find(0x1000), b = table->find(0x101f);
  REQUIRE(a);
  REQUIRE(b);
  CHECK(a->name == "main.a");
  CHECK(b->name == "main.b");
  CHECK(table->find(0x100f)->name == "main.a");
  CHECK(table->frame_size(*a, 0x1003) == 0);
  CHECK(table->frame_size(*a, 0x1004) == 24);
  CHECK(!table->frame_size(*a, 0x1010));
  CHECK(table->line(*b, 0x1014).line == 10);
  CHECK(table->line(*b, 0x1014).file == "shop.go");
}

namespace {

// Of each version of the format a table of one function, main.outer at 0x1000 (32 bytes), which was given main.middle at
// its bytes 8 to 23, and that one main.inner at its bytes 16 to 23; the calls stand at bytes 4 and 12. Lines go up by
// ten every four bytes.
struct WithInlined {
  std::string table, constants;
  std::uint64_t constants_at = 0x9000, base = 0;
};

WithInlined with_inlined(std::uint32_t magic) {
  const bool relative = magic != 0xfffffffa;
  const std::string names("main.outer\0main.middle\0main.inner\0", 34);
  std::string units, files("\0shop.go\0", 9);
  put(units, 1, 4);
  std::string values("\0", 1);
  const auto pairs = [&](std::initializer_list<std::pair<int, unsigned>> all) {
    const std::size_t at = values.size();
    for (const auto& [change, distance] : all) {
      values += static_cast<char>(change < 0 ? -change * 2 - 1 : change * 2);
      values += static_cast<char>(distance);
    }
    values += '\0';
    return static_cast<std::uint32_t>(at);
  };
  const std::uint32_t sizes = pairs({{1, 32}}), file = pairs({{1, 32}});
  const std::uint32_t lines = pairs({{11, 4}, {10, 4}, {10, 4}, {10, 4}, {10, 4}, {10, 4}, {10, 4}, {10, 4}});
  // none, 0 (middle), 1 (inner), none
  const std::uint32_t inlined = pairs({{0, 8}, {1, 8}, {1, 8}, {-2, 8}});

  std::string record;
  put(record, relative ? 0 : 0x1000, relative ? 4 : 8);
  for (const std::uint32_t one : {0u, 0u, 0u, sizes, file, lines, 3u, 0u}) put(record, one, 4);
  if (magic == 0xfffffff1) put(record, 7, 4);  // line of the function's start
  put(record, 4u << 24, 4);                    // four pointers to data
  for (const std::uint32_t one : {0u, 0u, inlined}) put(record, one, 4);

  WithInlined made;
  std::string functions;
  const unsigned entry = relative ? 4 : 8, begin = relative ? 16 : 32;
  put(functions, relative ? 0 : 0x1000, entry), put(functions, begin, entry);
  put(functions, relative ? 32 : 0x1020, entry);
  functions.resize(begin);
  functions += record;
  const std::size_t header = 8 + 8 * (relative ? 8 : 7);
  const std::size_t functions_at = header + names.size() + units.size() + files.size() + values.size();
  std::string padding((8 - functions_at % 8) % 8, '\0');
  if (!relative) functions.resize((functions.size() + 7) & ~std::size_t{7});
  if (relative) made.base = 0x8ff0;
  for (int i = 0; i < 4; ++i)
    put(functions, i == 3 ? made.constants_at - made.base : relative ? ~0ull : 0, relative ? 4 : 8);

  put(made.table, magic, 4), put(made.table, 0, 2), put(made.table, 1, 1), put(made.table, 8, 1);
  put(made.table, 1, 8), put(made.table, 1, 8);
  if (relative) put(made.table, 0x1000, 8);
  std::uint64_t at = header;
  for (const std::size_t size : {names.size(), units.size(), files.size(), values.size() + padding.size()}) {
    put(made.table, at, 8);
    at += size;
  }
  put(made.table, at, 8);
  made.table += names + units + files + values + padding + functions;

  const auto call = [&](std::uint32_t name, std::uint32_t caller) {
    if (magic == 0xfffffff1) {
      for (const std::uint32_t one : {0u, name, caller, 1u}) put(made.constants, one, 4);
    } else {
      for (const std::uint32_t one : {0u, 0u, 0u, name, caller}) put(made.constants, one, 4);
    }
  };
  call(11, 4), call(23, 12);
  return made;
}

std::optional<stack::go::Table> parse(const WithInlined& made) {
  auto table = stack::go::Table::parse(made.table, 0x1000);
  if (table)
    table->set_constants(
        [&made](std::uint64_t address, std::span<std::byte> into) {
          const std::uint64_t at = address - made.constants_at;
          if (address < made.constants_at || at > made.constants.size() || into.size() > made.constants.size() - at)
            return false;
          std::memcpy(into.data(), made.constants.data() + at, into.size());
          return true;
        },
        made.base);
  return table;
}

std::string shown(const stack::go::Table& table, std::uint64_t pc) {
  std::string text;
  const auto function = table.find(pc);
  if (!function) return "none";
  for (const stack::go::Place& place : table.places(*function, pc))
    text += (text.empty() ? "" : " < ") + std::string(place.function) + (place.inlined ? "*:" : ":") +
            std::to_string(place.line.line);
  return text;
}

}  // namespace

TEST_CASE("go: inlined functions have places of their own, with the lines where they were called") {
  for (const std::uint32_t magic : {0xfffffffau, 0xfffffff0u, 0xfffffff1u}) {
    CAPTURE(magic);
    const WithInlined made = with_inlined(magic);
    auto table = parse(made);
    REQUIRE(table);
    CHECK(shown(*table, 0x1000) == "main.outer:10");
    CHECK(shown(*table, 0x1009) == "main.middle*:30 < main.outer:20");
    CHECK(shown(*table, 0x1017) == "main.inner*:60 < main.middle*:40 < main.outer:20");
    CHECK(shown(*table, 0x101f) == "main.outer:80");
    table->set_constants({}, 0);  // where the program's constants are is not known
    CHECK(shown(*table, 0x1017) == "main.outer:60");
  }
}

TEST_CASE("go: a tree of inlined functions that is cut, or leads in circles, is left") {
  WithInlined made = with_inlined(0xfffffff1);
  made.constants.resize(16);
  CHECK(shown(*parse(made), 0x1017) == "main.outer:60");
  made = with_inlined(0xfffffff1);
  made.constants[16 + 8] = 16;  // main.inner is called where main.inner is
  const std::string round = shown(*parse(made), 0x1017);
  CHECK(round.starts_with("main.inner*:60 < main.inner*:50 < main.inner*:50"));
  CHECK(round.ends_with("main.outer:50"));
}

TEST_CASE("go: any piece of the table, and any byte changed in it, is survived") {
  for (const std::uint32_t magic : {0xfffffffau, 0xfffffff0u, 0xfffffff1u}) {
    const WithInlined whole = with_inlined(magic);
    for (std::size_t at = 0; at < whole.table.size() + whole.constants.size(); ++at)
      for (const char byte : {'\0', '\x7f', '\xff'}) {
        WithInlined changed = whole;
        (at < whole.table.size() ? changed.table[at] : changed.constants[at - whole.table.size()]) = byte;
        if (const auto table = parse(changed)) shown(*table, 0x1017);
      }
  }
  const std::string whole = made();
  const auto use = [](std::string text) {
    const auto table = stack::go::Table::parse(std::move(text), 0x1000);
    for (const std::uint64_t pc : {0x0ull, 0x1000ull, 0x1008ull, 0x1018ull, ~0ull}) {
      const auto function = table ? table->find(pc) : std::nullopt;
      if (!function) continue;
      table->frame_size(*function, pc);
      table->line(*function, pc);
    }
    return table.has_value();
  };
  CHECK(use(whole));
  CHECK_FALSE(use(whole.substr(0, 60)));
  for (std::size_t size = 0; size < whole.size(); ++size) use(whole.substr(0, size));
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (const char byte : {'\0', '\x7f', '\xff'}) {
      std::string changed = whole;
      changed[at] = byte;
      use(changed);
    }
}

TEST_CASE("go: a file that is no ELF file, or a piece of one, has no sections") {
  CHECK_FALSE(stack::go::ElfFile::open(-1));
  char name[] = "/tmp/hatchd-elf-XXXXXX";
  const int fd = ::mkstemp(name);
  REQUIRE(fd >= 0);
  ::unlink(name);
  CHECK_FALSE(stack::go::ElfFile::open(fd));
  Elf64_Ehdr head{};
  std::memcpy(head.e_ident, ELFMAG, SELFMAG);
  head.e_ident[EI_CLASS] = ELFCLASS64;
  head.e_ident[EI_DATA] = ELFDATA2LSB;
  head.e_shentsize = sizeof(Elf64_Shdr);
  head.e_phentsize = sizeof(Elf64_Phdr);
  head.e_shnum = 3;
  head.e_phnum = 3;
  head.e_shoff = ~0ull;
  head.e_phoff = 64;
  REQUIRE(::pwrite(fd, &head, sizeof head, 0) == static_cast<ssize_t>(sizeof head));
  CHECK_FALSE(stack::go::ElfFile::open(fd));
  ::close(fd);
}
