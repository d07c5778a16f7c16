#include "client/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "client/output.hpp"
#include "hatch/json.hpp"

namespace hatchd::client {

namespace {

std::size_t columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

// The first `width` code points.
std::string cut(const std::string& text, std::size_t width) {
  std::size_t at = 0;
  for (std::size_t count = 0; at < text.size() && count < width; ++count) hatch::next_code_point(text, at);
  return text.substr(0, at);
}

}  // namespace

std::string progress_line(std::int64_t permyriad, const std::string& note, std::size_t width) {
  constexpr std::size_t bar = 20;
  std::string line;
  if (permyriad >= 0) {
    const auto part = static_cast<std::size_t>(std::min<std::int64_t>(permyriad, 10'000));
    const std::size_t filled = part * bar / 10'000;
    std::string percent = std::to_string(part / 100);
    percent.insert(0, 3 - percent.size(), ' ');
    line = "[" + std::string(filled, '#') + std::string(bar - filled, '.') + "] " + percent + " %  ";
  }
  line += hatch::printable(note);
  while (line.ends_with(' ')) line.pop_back();
  return cut(line, width > 0 ? width - 1 : 0);  // the last column would wrap on some terminals
}

void Progress::show(std::int64_t permyriad, const std::string& note) {
  if (!on_) return;
  complain("\r\033[K" + progress_line(permyriad, note, columns()));
  drawn_ = true;
}

void Progress::clear() {
  if (drawn_) complain("\r\033[K");
  drawn_ = false;
}

}  // namespace hatchd::client
