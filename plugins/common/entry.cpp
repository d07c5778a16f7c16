#include "common/entry.hpp"

#include <algorithm>

namespace common {
namespace {

constexpr std::size_t max_entry = 16 * 1024;
constexpr std::size_t max_around = 2 * 1024;  // of an entry that is longer
constexpr std::size_t max_lines_back = 200;

std::string_view line_at(std::string_view text, std::size_t begin) {
  return text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin);
}

// Where the line before the one that begins at `begin` begins; npos when that is the first.
std::size_t previous_line(std::string_view text, std::size_t begin) {
  if (begin == 0) return std::string_view::npos;
  const std::size_t before = begin == 1 ? std::string_view::npos : text.rfind('\n', begin - 2);
  return before == std::string_view::npos ? 0 : before + 1;
}

}  // namespace

std::string entry_around(std::string_view text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  std::size_t begin = text.rfind('\n', at);
  begin = begin == std::string_view::npos ? 0 : begin + 1;
  std::size_t end = std::min(text.find('\n', at), text.size());

  // Back over the frames of a traceback, which are indented, to its first line and the one that introduces it.
  std::size_t first = begin;
  std::size_t line = begin;
  for (std::size_t back = 0; back < max_lines_back && begin - first < max_entry; ++back) {
    line = previous_line(text, line);
    if (line == std::string_view::npos) break;
    const std::string_view content = line_at(text, line);
    if (content.starts_with("Traceback ")) {
      first = line;
      if (const std::size_t intro = previous_line(text, line); intro != std::string_view::npos) first = intro;
      break;
    }
    if (!content.empty() && content.front() != ' ' && content.front() != '\t') break;
  }
  // On over what belongs to it: other languages print the stack below the message.
  while (end < text.size()) {
    const std::string_view next = line_at(text, end + 1);
    const bool below = !next.empty() && (next.front() == ' ' || next.front() == '\t');
    if (!below || end + next.size() - begin > max_entry) break;
    end = std::min(end + 1 + next.size(), text.size());
  }
  std::string_view entry = text.substr(first, end - first);
  if (entry.size() > max_entry) entry = text.substr(begin, end - begin);
  if (entry.size() > max_entry) {
    begin = std::max(begin, at - std::min(at, max_around));
    entry = text.substr(begin, std::min(end, at + mark.size() + max_around) - begin);
  }
  return std::string(entry.substr(0, max_entry));
}

}  // namespace common
