#include "worker/standard_error.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/log.hpp"

namespace hatchd::worker {

UniqueFd StandardError::open() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  reader_ = UniqueFd(ends[0]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);  // this end alone: the run's library expects to write all that it asks to
  return UniqueFd(ends[1]);
}

void StandardError::read(const std::string& run) {
  std::array<char, piece> buffer{};
  for (int i = 0; i < 8 && reader_; ++i) {
    const ssize_t n = ::read(reader_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return reader_.reset();
    take(run, std::string_view(buffer.data(), static_cast<std::size_t>(n)));
  }
}

void StandardError::finish(const std::string& run) {
  read(run);
  reader_.reset();
  tell(run);
}

void StandardError::take(const std::string& run, std::string_view text) {
  for (;;) {
    const std::size_t end = text.find('\n');
    const std::string_view part = text.substr(0, end), kept = part.substr(0, max_line - line_.size());
    line_ += kept;
    longer_ = longer_ || kept.size() < part.size();
    if (end == text.npos) return;
    tell(run);
    text.remove_prefix(end + 1);
  }
}

void StandardError::tell(const std::string& run) {
  std::string line = std::exchange(line_, {});
  // Half of a secret has not the shape by which it is known: a word that is cut is left out whole.
  if (std::exchange(longer_, false)) {
    line.erase(line.find_last_of(" \t") + 1);
    line += "(the rest of this line is left out)";
  }
  if (line.empty()) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now - second_ >= std::chrono::seconds(1)) {
    second_ = now;
    told_this_second_ = 0;
  }
  const std::size_t cost = line.size() + line_cost;
  if (told_ + cost > max_bytes || told_this_second_ + cost > max_bytes_a_second) {
    if (!std::exchange(cut_, true))
      log::warning("a run writes too much to its standard error: not all of it is here", {{"run", run}});
    return;
  }
  told_ += cost;
  told_this_second_ += cost;
  log::info("a run wrote to its standard error", {{"run", run}, {"text", line}});
}

}  // namespace hatchd::worker
