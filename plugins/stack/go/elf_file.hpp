// A 64-bit little-endian ELF file by its section headers, with nothing but bounded reads: what is looked up in the
// target's program while there are still rights on the target. Not for parsing more than that.
#pragma once

#include <elf.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stack::go {

struct Found {
  std::uint64_t address = 0, size = 0;
};

class ElfFile {
 public:
  // The descriptor stays the caller's, and open as long as this lives.
  static std::optional<ElfFile> open(int fd);

  const Elf64_Shdr* section(std::string_view name) const;
  // What the file holds of it; nullopt: more than `limit`, or it is not there.
  std::optional<std::string> read(const Elf64_Shdr& section, std::size_t limit) const;
  // What the file holds for an address of the program. False: not all of it is in the file.
  bool read_address(std::uint64_t address, std::span<std::byte> into) const;
  // Where the first loaded page of the file is linked to: its run-time address minus this is the bias.
  std::uint64_t first_page() const { return first_page_; }
  // The static symbols of these names, in their order.
  std::vector<std::optional<Found>> symbols(std::span<const std::string_view> names) const;

 private:
  int fd_ = -1;
  std::uint64_t first_page_ = 0;
  std::vector<Elf64_Phdr> loaded_;
  std::vector<Elf64_Shdr> sections_;
  std::string names_;
};

}  // namespace stack::go
