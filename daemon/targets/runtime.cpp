#include "targets/runtime.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/fd.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace {

struct Sign {
  std::string_view begins;  // the file's name begins with it
  const char* runtime;
};
// libpython last but one: debuggers and editors load it beside what they really are, the others are what runs.
constexpr std::array<Sign, 8> libraries{{{"libjvm.so", "jvm"},
                                         {"libcoreclr.so", "dotnet"},
                                         {"libmonosgen", "dotnet"},
                                         {"libnode.so", "node"},
                                         {"libruby", "ruby"},
                                         {"libphp", "php"},
                                         {"libpython", "python"},
                                         {"beam.smp", "beam"}}};

const char* by_library(std::string_view path) {
  const std::string_view name = base_name(path);
  for (const Sign& sign : libraries)
    if (name.starts_with(sign.begins)) return sign.runtime;
  return nullptr;
}

// "python3.11", "python", not "pythonista": the name, then nothing but a version.
bool is_program(std::string_view name, std::string_view program) {
  if (!name.starts_with(program)) return false;
  return name.find_first_not_of("0123456789.-", program.size()) == std::string_view::npos;
}

const char* by_name(std::string_view name) {
  constexpr std::array<Sign, 11> programs{{{"python", "python"},
                                           {"pypy", "python"},
                                           {"node", "node"},
                                           {"nodejs", "node"},
                                           {"java", "jvm"},
                                           {"dotnet", "dotnet"},
                                           {"ruby", "ruby"},
                                           {"beam.smp", "beam"},
                                           {"php-fpm", "php"},
                                           {"php-cgi", "php"},
                                           {"php", "php"}}};
  for (const Sign& sign : programs)
    if (is_program(name, sign.begins)) return sign.runtime;
  return nullptr;
}

// Walks maps line by line in bounded memory; a process with more than `max` of it keeps its secret.
// Sets `readable` when there was anything to read.
const char* by_mappings(int directory, bool& readable) {
  constexpr std::size_t max = 8 * 1024 * 1024;
  const UniqueFd maps{::openat(directory, "maps", O_RDONLY | O_CLOEXEC)};
  if (!maps) return nullptr;
  std::string text;
  std::string last;  // consecutive lines mostly name the same file
  for (std::size_t total = 0; total < max;) {
    const std::size_t had = text.size();
    if (had > 16 * 1024) return nullptr;  // no line is that long
    text.resize(had + 64 * 1024);
    const ssize_t n = ::read(maps.get(), text.data() + had, text.size() - had);
    text.resize(had + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    readable = true;
    total += static_cast<std::size_t>(n);
    std::size_t begin = 0;
    for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string_view line = std::string_view(text).substr(begin, end - begin);
      const std::size_t slash = line.find('/');
      if (slash == std::string_view::npos || line.substr(slash) == last) continue;
      last = line.substr(slash);
      if (const char* runtime = by_library(last)) return runtime;
    }
    text.erase(0, begin);
  }
  return nullptr;
}

bool read_at(int fd, void* into, std::size_t size, std::uint64_t offset) {
  if (offset > INT64_MAX) return false;
  return ::pread(fd, into, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// A Go program carries .go.buildinfo, a Python linked into its program .PyRuntime (CPython 3.7 and later); both survive
// strip.
const char* by_sections(int directory) {
  const UniqueFd file{::openat(directory, "exe", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return nullptr;
  Elf64_Ehdr header{};
  if (!read_at(file.get(), &header, sizeof header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum > 1024 ||
      header.e_shstrndx >= header.e_shnum)
    return nullptr;
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (!read_at(file.get(), sections.data(), sections.size() * sizeof(Elf64_Shdr), header.e_shoff)) return nullptr;
  const Elf64_Shdr& names = sections[header.e_shstrndx];
  if (names.sh_size > 64 * 1024) return nullptr;
  std::string text(names.sh_size, '\0');
  if (!read_at(file.get(), text.data(), text.size(), names.sh_offset)) return nullptr;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_name >= text.size()) continue;
    const char* name = text.c_str() + section.sh_name;
    if (std::strcmp(name, ".go.buildinfo") == 0) return "go";
    if (std::strcmp(name, ".PyRuntime") == 0) return "python";
  }
  return nullptr;
}

}  // namespace

std::string runtime_of(int directory, std::string_view executable, std::string_view name) {
  bool readable = false;
  if (const char* runtime = by_mappings(directory, readable)) return runtime;
  if (const char* runtime = by_sections(directory)) return runtime;
  constexpr std::string_view deleted = " (deleted)";
  if (executable.ends_with(deleted)) executable.remove_suffix(deleted.size());
  if (const char* runtime = by_name(base_name(executable))) return runtime;
  if (readable) return "native";
  // Without a look inside there is the name alone, which can say "python3" but not that there is nothing.
  if (const char* runtime = by_name(name)) return runtime;
  return "unknown";
}

}  // namespace hatchd::targets
