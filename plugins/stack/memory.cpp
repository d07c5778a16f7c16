#include "stack/memory.hpp"

#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <new>

namespace stack {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t chunk_size = std::size_t{4} << 20;
constexpr std::size_t step = std::size_t{256} << 10;          // between two looks at the deadline
constexpr std::size_t unknown_stack = std::size_t{64} << 10;  // where the maps do not say how large it is

ssize_t read_once(pid_t tid, std::uint64_t from, std::span<std::byte> into) {
  const iovec local{into.data(), into.size()};
  const iovec remote{reinterpret_cast<void*>(from), into.size()};
  return ::process_vm_readv(tid, &local, 1, &remote, 1, 0);
}

}  // namespace

StackMemory::~StackMemory() {
  for (const Chunk& chunk : chunks_) ::munmap(chunk.begin, chunk.size);
}

std::span<std::byte> StackMemory::room(std::size_t bytes) {
  if (chunks_.empty() || chunks_.back().size - at_ < bytes) {
    const std::size_t size = std::max(chunk_size, (bytes + page - 1) & ~(page - 1));
    if (total_ + size > total_limit) return {};
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc{};
    chunks_.push_back({static_cast<std::byte*>(memory), size});
    total_ += size;
    at_ = last_ = warmed_ = 0;
  }
  return {chunks_.back().begin + at_, bytes};
}

void StackMemory::warm(std::size_t bytes) {
  const std::span<std::byte> next = room(bytes);
  if (next.empty()) return;
  for (; warmed_ < at_ + next.size(); warmed_ += page) chunks_.back().begin[warmed_] = std::byte{0};
}

std::span<const std::byte> StackMemory::keep(std::span<std::byte> room, std::size_t used) {
  last_ = at_;
  at_ += std::min((used + 15) & ~std::size_t{15}, room.size());
  return room.first(used);
}

void StackMemory::give_back(std::span<const std::byte> kept) {
  if (!chunks_.empty() && kept.data() == chunks_.back().begin + last_) at_ = last_;
}

std::size_t read_memory(pid_t tid, std::uint64_t from, std::span<std::byte> into) {
  ssize_t n = read_once(tid, from, into);
  std::size_t got = n > 0 ? static_cast<std::size_t>(n) : 0;
  // Before 5.x kernels a bad page spoiled the whole stretch that it was asked with: go on page by page, to the first
  // that fails.
  while (got < into.size() && (n >= 0 || errno == EFAULT)) {
    const std::size_t to_page_end = page - ((from + got) & (page - 1));
    n = read_once(tid, from + got, into.subspan(got, std::min(to_page_end, into.size() - got)));
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  return got;
}

std::uint64_t stack_end(const std::vector<Mapping>& mappings, const Registers& registers) {
  const std::uint64_t sp = registers.sp();
  const auto after = std::upper_bound(mappings.begin(), mappings.end(), sp,
                                      [](std::uint64_t address, const Mapping& m) { return address < m.start; });
  if (after == mappings.begin()) return 0;
  const Mapping& mapping = *std::prev(after);
  if (sp >= mapping.end) return 0;
  const std::uint64_t control_block = registers.thread_pointer;
  return control_block > sp && control_block < mapping.end ? control_block : mapping.end;
}

std::size_t stack_limit(const Options& options) {
  // A thousand bytes a frame is a lot; 256 KiB serve the usual dump, and 4 MiB are copied in about a millisecond.
  return std::clamp<std::size_t>(std::size_t{options.max_frames} * 1024, std::size_t{256} << 10, std::size_t{4} << 20);
}

bool copy_stack(const std::vector<Mapping>& mappings, std::size_t limit, StackMemory& memory, ThreadCopy& thread,
                Clock::time_point deadline) {
  const std::uint64_t sp = thread.registers->sp();
  const std::uint64_t start = sp > red_zone ? sp - red_zone : sp;
  const std::uint64_t end = stack_end(mappings, *thread.registers);
  const std::size_t wanted =
      end ? static_cast<std::size_t>(std::min<std::uint64_t>(end - start, limit)) : unknown_stack;
  const std::span<std::byte> room = memory.room(wanted);
  thread.stack_start = start;
  thread.stack_cut = room.empty() || (end && end - start > wanted);
  std::size_t got = 0;
  bool in_time = true;
  while (got < room.size()) {
    if (got && Clock::now() >= deadline) {
      in_time = false;
      thread.stack_cut = true;
      break;
    }
    const std::size_t part = std::min(step, room.size() - got);
    const std::size_t n = read_memory(thread.tid, start + got, room.subspan(got, part));
    got += n;
    if (n < part) break;
  }
  thread.stack = memory.keep(room, got);
  return in_time;
}

}  // namespace stack
