#include "recipe/log.hpp"

#include <unistd.h>

namespace recipe {
namespace {

constexpr std::size_t max_seen = std::size_t{1} << 20, max_line = 8192;
constexpr std::chrono::milliseconds look_again{50};

}  // namespace

Log::Log(const hatch::Run& run) : fd_(run.target_file(0, HATCH_FILE_LOG)) {
  if (fd_ == -ENOENT || fd_ == -EACCES)
    throw hatch::Failure(
        std::string("the target's log cannot be read: ") +
        (fd_ == -ENOENT ? "the configuration names no file, or it is not there" : "permission denied") +
        "; set targets." + std::string(run.target_name()) + ".log.file to a file that hatchd may read");
  if (fd_ < 0) throw hatch::Failure("the target's log cannot be read: " + std::string(std::strerror(-fd_)));
  ::lseek(fd_, 0, SEEK_END);
}

Log::~Log() { ::close(fd_); }

bool Log::read_more() {
  char piece[64 * 1024];
  const ssize_t n = ::read(fd_, piece, sizeof piece);
  if (n <= 0) return false;
  seen_.append(piece, static_cast<std::size_t>(n));
  if (seen_.size() > max_seen) seen_.erase(0, seen_.size() - max_seen);
  return true;
}

std::optional<std::string> Log::wait_for(const hatch::Run& run, std::string_view text,
                                         std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    while (read_more()) run.check();
    if (const std::size_t at = seen_.find(text); at != seen_.npos) {
      const std::size_t begin = at == 0 ? 0 : seen_.rfind('\n', at - 1) + 1;  // npos + 1 is 0
      const std::size_t stop = std::min(seen_.find('\n', at), seen_.size());
      return seen_.substr(begin, std::min(stop - begin, max_line));
    }
    if (std::chrono::steady_clock::now() >= end) return std::nullopt;
    run.wait(run.cancel_fd(), 0, look_again);  // throws when the run is cancelled
  }
}

}  // namespace recipe
