// What this machine takes for what no program gets around, so that the times beside it can be judged: one line of JSON.
// A run is a process of its own, so the first is the least that any run can take.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <vector>

namespace {

// The median over rounds of what `work` takes, in microseconds, divided by how often it does its thing.
template <class Work>
double median_us(int rounds, int times, Work work) {
  std::vector<double> took;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - begin;
    took.push_back(spent.count() / times);
  }
  std::sort(took.begin(), took.end());
  return took[took.size() / 2];
}

void fork_and_wait() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
}

void touch_pages() {
  constexpr std::size_t page = 4096, count = 1000;
  void* memory = ::mmap(nullptr, page * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  ::madvise(memory, page * count, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < count; ++i) static_cast<volatile char*>(memory)[i * page] = 1;
  ::munmap(memory, page * count);
}

}  // namespace

int main() {
  std::array<int, 2> there{}, back{};
  if (::pipe(there.data()) != 0 || ::pipe(back.data()) != 0) return 1;
  if (::fork() == 0) {
    ::close(there[1]);
    for (char c = 0; ::read(there[0], &c, 1) == 1 && ::write(back[1], &c, 1) == 1;) continue;
    ::_exit(0);
  }
  const auto ask = [&] {
    char c = 0;
    if (::write(there[1], &c, 1) != 1 || ::read(back[0], &c, 1) != 1) std::perror("pipe");
  };
  std::printf(
      R"({"fork_exit_wait_us": %.1f, "page_fault_us": %.2f, "other_process_and_back_us": %.1f, "getppid_us": %.2f})"
      "\n",
      median_us(201, 1, fork_and_wait), median_us(11, 1000, touch_pages), median_us(501, 1, ask),
      median_us(11, 10000, [] {
        for (int i = 0; i < 10000; ++i) ::getppid();
      }));
}
