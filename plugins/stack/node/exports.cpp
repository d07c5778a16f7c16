#include "stack/node/exports.hpp"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace stack::node {
namespace {

template <class T>
bool read_at(int file, std::uint64_t offset, T& into) {
  return offset < std::uint64_t{1} << 40 &&
         ::pread(file, &into, sizeof into, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof into);
}

std::uint32_t gnu_hash(std::string_view name) {
  std::uint32_t hash = 5381;
  for (const char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  return hash;
}

struct Tables {
  std::uint64_t hash = 0, symbols = 0, strings = 0;  // offsets in the file
};

std::optional<Tables> find_tables(int file) {
  Elf64_Ehdr head;
  if (!read_at(file, 0, head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
      head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB ||
      head.e_phentsize != sizeof(Elf64_Phdr))
    return std::nullopt;
  std::vector<Elf64_Phdr> segments(std::min<unsigned>(head.e_phnum, 64));
  for (std::size_t i = 0; i < segments.size(); ++i)
    if (!read_at(file, head.e_phoff + i * sizeof(Elf64_Phdr), segments[i])) return std::nullopt;
  const auto offset_of = [&](std::uint64_t address) -> std::uint64_t {
    for (const Elf64_Phdr& segment : segments)
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz)
        return address - segment.p_vaddr + segment.p_offset;
    return 0;
  };
  Tables tables;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_DYNAMIC) continue;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(segment.p_filesz / sizeof(Elf64_Dyn), 256); ++i) {
      Elf64_Dyn entry;
      if (!read_at(file, segment.p_offset + i * sizeof entry, entry) || entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_GNU_HASH) tables.hash = offset_of(entry.d_un.d_ptr);
      if (entry.d_tag == DT_SYMTAB) tables.symbols = offset_of(entry.d_un.d_ptr);
      if (entry.d_tag == DT_STRTAB) tables.strings = offset_of(entry.d_un.d_ptr);
    }
  }
  if (!tables.hash || !tables.symbols || !tables.strings) return std::nullopt;
  return tables;
}

}  // namespace

// https://flapenguin.me/elf-dt-gnu-hash; binutils bfd/elflink.c
std::optional<bool> find_export(int file, std::string_view name) {
  struct {
    std::uint32_t buckets, first_symbol, words, shift;
  } head{};
  const auto tables = find_tables(file);
  if (!tables || !read_at(file, tables->hash, head) || head.buckets == 0 || head.words == 0) return std::nullopt;
  const std::uint32_t hash = gnu_hash(name);
  std::uint64_t bloom = 0;
  const std::uint64_t blooms = tables->hash + sizeof head;
  if (!read_at(file, blooms + std::uint64_t{hash / 64 % head.words} * 8, bloom)) return std::nullopt;
  if (!(bloom >> hash % 64 & 1) || !(bloom >> (hash >> (head.shift & 31)) % 64 & 1)) return false;

  const std::uint64_t buckets = blooms + std::uint64_t{head.words} * 8;
  const std::uint64_t chains = buckets + std::uint64_t{head.buckets} * 4;
  std::uint32_t index = 0;
  if (!read_at(file, buckets + std::uint64_t{hash % head.buckets} * 4, index)) return std::nullopt;
  if (index < head.first_symbol) return false;
  constexpr int longest_chain = 1000;
  for (int i = 0; i < longest_chain; ++i, ++index) {
    std::uint32_t link = 0;
    if (!read_at(file, chains + std::uint64_t{index - head.first_symbol} * 4, link)) return std::nullopt;
    Elf64_Sym symbol;
    if ((link | 1) == (hash | 1) && read_at(file, tables->symbols + std::uint64_t{index} * sizeof symbol, symbol)) {
      std::string spelled(name.size() + 1, '\1');
      if (::pread(file, spelled.data(), spelled.size(), static_cast<off_t>(tables->strings + symbol.st_name)) ==
              static_cast<ssize_t>(spelled.size()) &&
          std::string_view{spelled.data(), name.size()} == name && spelled.back() == '\0')
        return symbol.st_shndx != SHN_UNDEF;
    }
    if (link & 1) return false;
  }
  return std::nullopt;
}

bool exports_symbol(int file, std::string_view name) { return find_export(file, name).value_or(false); }

}  // namespace stack::node
