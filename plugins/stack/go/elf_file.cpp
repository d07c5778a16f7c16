#include "stack/go/elf_file.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace stack::go {
namespace {

constexpr std::size_t max_headers = 4096, max_symbols = 4'000'000;
constexpr std::size_t max_names = std::size_t{1} << 20, max_strings = std::size_t{256} << 20;
constexpr std::uint64_t page_mask = ~std::uint64_t{4095};

bool read_at(int fd, void* into, std::size_t size, std::uint64_t offset) {
  if (offset > (std::uint64_t{1} << 62)) return false;
  return ::pread(fd, into, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

}  // namespace

std::optional<ElfFile> ElfFile::open(int fd) {
  ElfFile file;
  file.fd_ = fd;
  Elf64_Ehdr head{};
  if (!read_at(fd, &head, sizeof head, 0) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
      head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB ||
      head.e_shentsize != sizeof(Elf64_Shdr) || head.e_phentsize != sizeof(Elf64_Phdr) || head.e_shnum > max_headers ||
      head.e_phnum > max_headers || head.e_shstrndx >= head.e_shnum)
    return std::nullopt;
  file.loaded_.resize(head.e_phnum);
  if (!read_at(fd, file.loaded_.data(), file.loaded_.size() * sizeof(Elf64_Phdr), head.e_phoff)) return std::nullopt;
  std::erase_if(file.loaded_, [](const Elf64_Phdr& segment) { return segment.p_type != PT_LOAD; });
  if (file.loaded_.empty()) return std::nullopt;
  file.first_page_ = (file.loaded_.front().p_vaddr - file.loaded_.front().p_offset) & page_mask;
  file.sections_.resize(head.e_shnum);
  if (!read_at(fd, file.sections_.data(), file.sections_.size() * sizeof(Elf64_Shdr), head.e_shoff))
    return std::nullopt;
  auto names = file.read(file.sections_[head.e_shstrndx], max_names);
  if (!names) return std::nullopt;
  file.names_ = std::move(*names);
  return file;
}

const Elf64_Shdr* ElfFile::section(std::string_view name) const {
  for (const Elf64_Shdr& section : sections_) {
    if (section.sh_name >= names_.size()) continue;
    const std::string_view rest = std::string_view{names_}.substr(section.sh_name);
    if (rest.substr(0, rest.find('\0')) == name) return &section;
  }
  return nullptr;
}

std::optional<std::string> ElfFile::read(const Elf64_Shdr& section, std::size_t limit) const {
  if (section.sh_type == SHT_NOBITS || section.sh_size > limit) return std::nullopt;
  std::string content(section.sh_size, '\0');
  if (!read_at(fd_, content.data(), content.size(), section.sh_offset)) return std::nullopt;
  return content;
}

bool ElfFile::read_address(std::uint64_t address, std::span<std::byte> into) const {
  return std::any_of(loaded_.begin(), loaded_.end(), [&](const Elf64_Phdr& segment) {
    const std::uint64_t at = address - segment.p_vaddr;
    return address >= segment.p_vaddr && at < segment.p_filesz && into.size() <= segment.p_filesz - at &&
           read_at(fd_, into.data(), into.size(), segment.p_offset + at);
  });
}

std::vector<std::optional<Found>> ElfFile::symbols(std::span<const std::string_view> names) const {
  std::vector<std::optional<Found>> found(names.size());
  const Elf64_Shdr* const table = section(".symtab");
  if (!table || table->sh_link >= sections_.size()) return found;
  const auto entries = read(*table, max_symbols * sizeof(Elf64_Sym));
  const auto strings = read(sections_[table->sh_link], max_strings);
  if (!entries || !strings) return found;
  for (std::size_t at = 0; at + sizeof(Elf64_Sym) <= entries->size(); at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, entries->data() + at, sizeof symbol);
    if (symbol.st_name >= strings->size() || symbol.st_shndx == SHN_UNDEF) continue;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string_view name = names[i];
      if (strings->compare(symbol.st_name, name.size(), name) == 0 && symbol.st_name + name.size() < strings->size() &&
          (*strings)[symbol.st_name + name.size()] == '\0')
        found[i] = Found{symbol.st_value, symbol.st_size};
    }
  }
  return found;
}

}  // namespace stack::go
