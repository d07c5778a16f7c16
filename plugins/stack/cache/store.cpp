#include "stack/cache/store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "stack/procfs.hpp"

namespace stack::cache {
namespace {

constexpr std::string_view ending = ".table", unfinished = ".new";
constexpr std::time_t forgotten_s = 60;  // a file that was begun so long ago is nobody's any more

// Two files may come to one name; then each replaces the other's table. That costs time, and nothing else.
std::string name_of(const Identity& identity) {
  std::uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  const auto* bytes = reinterpret_cast<const unsigned char*>(&identity);
  for (std::size_t i = 0; i < sizeof identity; ++i) hash = (hash ^ bytes[i]) * 0x100000001B3;
  std::string name;
  char hex[20];
  for (int i = 0; i < 8; ++i) {
    std::snprintf(hex, sizeof hex, "%02x", identity.build_id[static_cast<std::size_t>(i)]);
    name += hex;
  }
  std::snprintf(hex, sizeof hex, "-%016llx", static_cast<unsigned long long>(hash));
  return name + hex + std::string(ending);
}

bool is_ours(const struct stat& info) {
  return S_ISREG(info.st_mode) && info.st_uid == ::geteuid() && info.st_nlink == 1 &&
         (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

Bytes::~Bytes() {
  if (begin_) ::munmap(begin_, size_);
}

Bytes Store::load(const Identity& identity) const {
  if (folder_ < 0) return {};
  const UniqueFd file{
      ::openat(folder_, name_of(identity).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0 || !is_ours(info) || info.st_size <= 0 ||
      static_cast<std::size_t>(info.st_size) > limits_.file_bytes)
    return {};
  const auto size = static_cast<std::size_t>(info.st_size);
  // A file is never written to once it has its name, so it does not shrink under the mapping.
  void* const begin = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file.get(), 0);
  return begin == MAP_FAILED ? Bytes{} : Bytes{static_cast<std::byte*>(begin), size};
}

void Store::save(const Identity& identity, std::string_view table) const {
  if (folder_ < 0 || table.size() > limits_.file_bytes) return;
  make_room(table.size());
  const std::string name = name_of(identity);
  const std::string begun = "." + name + "." + std::to_string(::getpid()) + std::string(unfinished);
  const UniqueFd file{::openat(folder_, begun.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!file) return;
  // Not synced: after a power cut the checksum finds what is missing. A folder in the way of the name stays there.
  if (!write_all(file.get(), table) || ::renameat(folder_, begun.c_str(), folder_, name.c_str()) != 0)
    ::unlinkat(folder_, begun.c_str(), 0);
}

void Store::make_room(std::size_t bytes) const {
  struct Kept {
    std::string name;
    std::size_t size;
    std::time_t written;
  };
  const int listed = ::openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const opened = listed >= 0 ? ::fdopendir(listed) : nullptr;
  if (!opened) {
    if (listed >= 0) ::close(listed);
    return;
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> directory{opened, ::closedir};
  std::vector<Kept> all;
  std::size_t total = bytes;
  const std::time_t now = std::time(nullptr);
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    struct stat info {};
    if (!name.ends_with(ending) && !name.ends_with(unfinished)) continue;
    if (::fstatat(folder_, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (name.ends_with(unfinished)) {
      if (now - info.st_mtime > forgotten_s) ::unlinkat(folder_, entry->d_name, 0);
      continue;
    }
    all.push_back({std::string(name), static_cast<std::size_t>(std::max<off_t>(0, info.st_size)), info.st_mtime});
    total += all.back().size;
  }
  std::sort(all.begin(), all.end(), [](const Kept& a, const Kept& b) { return a.written < b.written; });
  std::size_t count = all.size() + 1;
  for (const Kept& oldest : all) {
    if (total <= limits_.bytes && count <= limits_.files) break;
    ::unlinkat(folder_, oldest.name.c_str(), 0);
    total -= oldest.size;
    --count;
  }
}

}  // namespace stack::cache
