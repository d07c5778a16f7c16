#include "client/output.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "client/speech.hpp"
#include "hatch/json.hpp"

namespace hatchd::client {
namespace {

constexpr std::string_view red = "\033[31m", green = "\033[32m", bold = "\033[1m", plain = "\033[0m";

// How many bytes at the end begin a UTF-8 sequence that is not complete.
std::size_t cut_tail(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace

Screen Screen::of_process() {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  Screen screen;
  screen.terminal = ::isatty(STDOUT_FILENO);
  screen.error_terminal = ::isatty(STDERR_FILENO);
  screen.can_ask = ::isatty(STDIN_FILENO) && screen.error_terminal;
  screen.able = kind && std::string_view(kind) != "dumb";
  screen.colour = !(no_colour && *no_colour) && screen.able;
  return screen;
}

std::string Filter::feed(std::string_view piece) {
  if (raw_) return std::string(piece);
  rest_ += piece;
  const std::size_t whole = rest_.size() - cut_tail(rest_);
  std::string shown = hatch::printable(std::string_view(rest_).substr(0, whole), true);
  rest_.erase(0, whole);
  return shown;
}

std::string Filter::finish() { return hatch::printable(std::exchange(rest_, {}), true); }

std::string shown(std::string_view text, bool raw) {
  std::string whole = raw ? std::string(text) : hatch::printable(text, true);
  if (!whole.ends_with('\n')) whole += '\n';
  return whole;
}

bool print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

void complain(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void complain_of(std::string_view text, const Screen& screen) {
  const std::string spoken = with_commands(text);
  complain(screen.error_terminal && screen.colour ? painted(spoken) : spoken);
}

std::string painted(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    std::string_view paint;
    std::size_t painted_size = 0;
    if (line.starts_with("refused (") || line.starts_with("failed (")) {
      paint = red;
      painted_size = std::min(line.find("):"), line.size() - 1) + 1;
    } else if (line.starts_with("missing:") || line.starts_with("tried:")) {
      paint = bold;
      painted_size = line.find(':') + 1;
    } else if (line.starts_with("remedy:")) {
      paint = green;
      painted_size = 7;
    }
    if (!paint.empty()) ((out += paint) += line.substr(0, painted_size)) += plain;
    (out += line.substr(painted_size)) += '\n';
  }
  return out;
}

std::string lines_of(const Problem& problem) {
  const auto list = [](const std::vector<std::string>& entries) {
    std::string text;
    for (const std::string& entry : entries) text += (text.empty() ? "" : ", ") + entry;
    return text;
  };
  const bool broken = problem.code == "cannot-connect" || problem.code == "connection-broken";
  std::string text = (broken ? "failed (" : "refused (") + problem.code + "): " + problem.detail + "\n";
  if (broken && !problem.candidates.empty()) text += "tried: " + list(problem.candidates) + "\n";
  if (!problem.missing.empty()) text += "missing: " + list(problem.missing) + "\n";
  if (!problem.remedy.empty()) text += "remedy: " + problem.remedy + "\n";
  for (const FieldError& error : problem.errors) text += "  " + error.pointer + ": " + error.detail + "\n";
  if (!broken)
    for (const std::string& candidate : problem.candidates) text += "  " + candidate + "\n";
  return hatch::printable(text, true);
}

}  // namespace hatchd::client
