// Go's table of functions, from a table made by hand: the format of 1.18, two functions.
#include <unistd.h>

#include <cstdlib>
#include <cstring>

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

TEST_CASE("go: any piece of the table, and any byte changed in it, is survived") {
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
