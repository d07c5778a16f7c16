#include "stack/python/elf.hpp"

#include <elf.h>
#include <unistd.h>

#include <algorithm>

#include "stack/node/exports.hpp"

namespace stack::python {
namespace {

constexpr std::size_t most_sections = 1024, most_segments = 64;
constexpr std::size_t most_symbols = 200'000, most_names = std::size_t{16} << 20;

bool read_at(int fd, std::uint64_t offset, std::span<std::byte> into) {
  if (offset > INT64_MAX - into.size()) return false;
  return ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset)) == static_cast<ssize_t>(into.size());
}

template <class T>
std::vector<T> read_array(int fd, std::uint64_t offset, std::size_t count) {
  std::vector<T> all(count);
  if (!read_at(fd, offset, std::as_writable_bytes(std::span{all}))) all.clear();
  return all;
}

// The text in `names` at `at`, up to its zero byte.
std::string_view name_at(std::string_view names, std::uint64_t at) {
  if (at >= names.size()) return {};
  const std::string_view rest = names.substr(at);
  return rest.substr(0, std::min(rest.find('\0'), rest.size()));
}

std::string read_text(int fd, const Elf64_Shdr& section) {
  std::string text(std::min<std::uint64_t>(section.sh_size, most_names), '\0');
  if (!read_at(fd, section.sh_offset, std::as_writable_bytes(std::span{text}))) text.clear();
  return text;
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {
    if (!read_at(fd, 0, std::as_writable_bytes(std::span{&header_, 1}))) return;
    if (std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0 || header_.e_ident[EI_CLASS] != ELFCLASS64 ||
        header_.e_ident[EI_DATA] != ELFDATA2LSB || header_.e_shentsize != sizeof(Elf64_Shdr) ||
        header_.e_phentsize != sizeof(Elf64_Phdr) || header_.e_shnum > most_sections || header_.e_phnum > most_segments)
      return;
    sections_ = read_array<Elf64_Shdr>(fd, header_.e_shoff, header_.e_shnum);
    segments_ = read_array<Elf64_Phdr>(fd, header_.e_phoff, header_.e_phnum);
  }

  // The address of _PyRuntime and of Py_Version as the file has them; 0: it has none.
  void find(Address& runtime, Address& version) const {
    if (header_.e_shstrndx < sections_.size()) {
      const std::string names = read_text(fd_, sections_[header_.e_shstrndx]);
      for (const Elf64_Shdr& section : sections_)
        if (name_at(names, section.sh_name) == ".PyRuntime") runtime = section.sh_addr;  // since 3.10
    }
    // Few files have either, and going through all symbols takes milliseconds.
    if (!runtime && node::find_export(fd_, "_PyRuntime") == false) return;
    for (const Elf64_Shdr& section : sections_) {
      if (section.sh_type != SHT_DYNSYM || section.sh_link >= sections_.size()) continue;
      const std::size_t count = std::min<std::uint64_t>(section.sh_size / sizeof(Elf64_Sym), most_symbols);
      const auto symbols = read_array<Elf64_Sym>(fd_, section.sh_offset, count);
      const std::string names = read_text(fd_, sections_[section.sh_link]);
      for (const Elf64_Sym& symbol : symbols) {
        if (symbol.st_shndx == SHN_UNDEF) continue;
        const std::string_view name = name_at(names, symbol.st_name);
        if (name == "_PyRuntime") runtime = symbol.st_value;
        if (name == "Py_Version") version = symbol.st_value;
      }
    }
  }

  // What to add to an address of the file, given where the part of it at `offset` is mapped.
  std::optional<std::uint64_t> bias(Address mapped, std::uint64_t offset) const {
    constexpr std::uint64_t page = 4096;
    for (const Elf64_Phdr& segment : segments_)
      if (segment.p_type == PT_LOAD && (segment.p_offset & ~(page - 1)) == offset)
        return mapped - (segment.p_vaddr & ~(page - 1));
    return std::nullopt;
  }

  // The four bytes at an address of the file.
  std::uint32_t word_at(Address address) const {
    std::uint32_t word = 0;
    for (const Elf64_Phdr& segment : segments_) {
      if (segment.p_type != PT_LOAD || address < segment.p_vaddr || segment.p_filesz < sizeof word ||
          address - segment.p_vaddr > segment.p_filesz - sizeof word)
        continue;
      if (read_at(fd_, segment.p_offset + (address - segment.p_vaddr), std::as_writable_bytes(std::span{&word, 1})))
        return word;
    }
    return 0;
  }

 private:
  int fd_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Shdr> sections_;
  std::vector<Elf64_Phdr> segments_;
};

}  // namespace

std::optional<Interpreter> find_interpreter(const Module& module, const Mapping& first) {
  if (!module.file) return std::nullopt;
  const File file{module.file.get()};
  Address runtime = 0, version = 0;
  file.find(runtime, version);
  const auto bias = runtime ? file.bias(module.low, first.offset) : std::nullopt;
  if (!bias) return std::nullopt;
  const Address address = runtime + *bias;
  if (address < module.low) return std::nullopt;
  return Interpreter{address, version ? file.word_at(version) : 0};
}

}  // namespace stack::python
