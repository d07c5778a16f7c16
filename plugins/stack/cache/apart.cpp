#include "stack/cache/apart.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "stack/cache/learn.hpp"

namespace stack::cache {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 5s;
constexpr int most_without_call = 4096;  // descriptors that are closed where the kernel has no close_range(2)
constexpr std::size_t max_learned = std::size_t{256} << 20;

// Before each table in the file between the two. The table is filled up to a multiple of eight.
struct Piece {
  std::uint64_t module = 0, size = 0;
};

bool write_all(int file, const void* bytes, std::size_t size) {
  const auto* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t n = ::write(file, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

// What the child was given beside what it works with: the target's directory, the way to the front, the run's files. All
// but the standard three are closed, and those of `kept`.
void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  kept.push_back(INT_MAX);
  int from = STDERR_FILENO + 1;
  for (const int next : kept) {
    if (next > from && ::close_range(static_cast<unsigned>(from), static_cast<unsigned>(next) - 1, 0) != 0)
      for (int fd = from; fd < std::min(next, most_without_call); ++fd) ::close(fd);
    from = std::max(from, next == INT_MAX ? next : next + 1);
  }
}

// The child. It shares nothing that can be written to but `file` and the cache.
bool learn(ProcessCopy& process, const std::vector<std::size_t>& threads, unsigned max_frames, int file) {
  Tables& tables = *process.tables;
  Unwinder unwinder{process};
  Learner learner{unwinder, tables};
  for (const std::size_t thread : threads) walk_learning(tables, learner, process.threads[thread], max_frames);
  std::uint64_t index = 0;
  for (const ModuleTable& table : tables.all()) {
    std::string written = table.written();
    const Piece piece{index++, written.size()};
    if (written.empty()) continue;
    written.resize((written.size() + 7) & ~std::size_t{7});
    if (!write_all(file, &piece, sizeof piece) || !write_all(file, written.data(), written.size())) return false;
  }
  return true;
}

// Our own copy, which nobody else can change any more.
Bytes copy_of(int file, std::uint64_t offset, std::uint64_t size) {
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return {};
  Bytes bytes{static_cast<std::byte*>(memory), size};
  if (::pread(file, memory, size, static_cast<off_t>(offset)) != static_cast<ssize_t>(size)) return {};
  return bytes;
}

void take_all(int file, Tables& tables) {
  const off_t end = ::lseek(file, 0, SEEK_END);
  const std::uint64_t total = end < 0 ? 0 : std::min<std::uint64_t>(static_cast<std::uint64_t>(end), max_learned);
  Piece piece;
  for (std::uint64_t at = 0; total - at >= sizeof piece;) {
    if (::pread(file, &piece, sizeof piece, static_cast<off_t>(at)) != sizeof piece) return;
    at += sizeof piece;
    if (piece.size == 0 || piece.size > total - at || piece.module >= tables.all().size()) return;
    tables.all()[piece.module].take(copy_of(file, at, piece.size), true);
    at += std::min((piece.size + 7) & ~std::uint64_t{7}, total - at);
  }
}

}  // namespace

bool learn_apart(ProcessCopy& process, const std::vector<std::size_t>& threads, unsigned max_frames, Hold& hold) {
  const UniqueFd file{::memfd_create("hatch-learned", MFD_CLOEXEC)};
  int ends[2];
  if (!file || ::pipe2(ends, O_CLOEXEC) != 0) return true;
  const UniqueFd alive{ends[0]};
  UniqueFd theirs{ends[1]};
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return true;
  if (child == 0) {
    bool done = false;
    try {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::vector<int> kept{file.get(), theirs.get(), process.tables->folder()};
      for (const Module& module : process.modules) kept.push_back(module.file.get());
      close_all_but(std::move(kept));
      done = ::getppid() == parent && hold.drop_rights() && learn(process, threads, max_frames, file.get());
    } catch (...) {
    }
    ::_exit(done ? 0 : 1);
  }
  theirs = {};
  // The pipe closes with the child's end.
  const auto deadline = Clock::now() + patience;
  bool cancelled = false;
  for (pollfd ended{alive.get(), POLLIN, 0}; ::poll(&ended, 1, 10) <= 0;) {
    cancelled = hold.cancelled();
    if (!cancelled && Clock::now() < deadline) continue;
    ::kill(child, SIGKILL);
    break;
  }
  int status = 0;
  while (::waitpid(child, &status, __WALL) < 0 && errno == EINTR) {
  }
  if (!cancelled && WIFEXITED(status) && WEXITSTATUS(status) == 0) take_all(file.get(), *process.tables);
  return !cancelled;
}

}  // namespace stack::cache
