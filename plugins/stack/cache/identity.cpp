#include "stack/cache/identity.hpp"

#include <elf.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace stack::cache {
namespace {

constexpr std::size_t max_segments = 128, max_notes = 4096;
constexpr long fuse = 0x65735546;  // FUSE_SUPER_MAGIC of linux/magic.h

bool read_at(int file, void* into, std::size_t size, std::uint64_t offset) {
  if (offset > (std::uint64_t{1} << 62)) return false;
  return ::pread(file, into, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// Note: sizes of name and content, type, name, content, each filled up to four bytes (elf(5)).
void find_build_id(const std::vector<unsigned char>& notes, Identity& identity) {
  constexpr auto filled = [](std::size_t size) { return (size + 3) & ~std::size_t{3}; };
  for (std::size_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
    Elf64_Nhdr head{};
    std::memcpy(&head, notes.data() + at, sizeof head);
    at += sizeof head;
    if (head.n_namesz > notes.size() || head.n_descsz > notes.size()) return;
    const std::size_t content = at + filled(head.n_namesz);
    if (content > notes.size() || head.n_descsz > notes.size() - content) return;
    if (head.n_type == NT_GNU_BUILD_ID && head.n_namesz == 4 && std::memcmp(notes.data() + at, "GNU", 4) == 0) {
      std::copy_n(notes.data() + content, std::min<std::size_t>(head.n_descsz, identity.build_id.size()),
                  identity.build_id.data());
      return;
    }
    at = content + filled(head.n_descsz);
  }
}

// What root has put there, and nobody else can change or make up: a file system in user space says of an owner what
// whoever serves it likes.
bool is_roots(int file, const struct stat& info) {
  if (info.st_uid != 0 || info.st_mode & (S_IWGRP | S_IWOTH)) return false;
  struct statfs system {};
  return ::fstatfs(file, &system) == 0 && system.f_type != fuse;
}

}  // namespace

std::optional<Identity> identify(int file, uid_t user, std::uint64_t mapped_at) {
  struct stat info {};
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  Elf64_Ehdr head{};
  if (!read_at(file, &head, sizeof head, 0) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
      head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum > max_segments)
    return std::nullopt;
  Identity identity;
  identity.device = info.st_dev;
  identity.inode = info.st_ino;
  identity.size = static_cast<std::uint64_t>(info.st_size);
  identity.modified_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
  identity.changed_ns = info.st_ctim.tv_sec * 1'000'000'000 + info.st_ctim.tv_nsec;
  identity.mapped_at = mapped_at;
  identity.owner = info.st_uid;
  identity.serves = is_roots(file, info) ? Identity::everybody : user;

  std::vector<Elf64_Phdr> segments(head.e_phnum);
  if (!read_at(file, segments.data(), segments.size() * sizeof(Elf64_Phdr), head.e_phoff)) return std::nullopt;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > max_notes || identity.build_id != Identity{}.build_id) continue;
    std::vector<unsigned char> notes(segment.p_filesz);
    if (read_at(file, notes.data(), notes.size(), segment.p_offset)) find_build_id(notes, identity);
  }
  return identity;
}

}  // namespace stack::cache
