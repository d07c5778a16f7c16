#include "runs/journal.hpp"

#include <boost/crc.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>

namespace hatchd::runs {

namespace {

constexpr std::size_t head = 18;  // two numbers of eight hexadecimal digits, a space behind each

std::uint32_t checksum(std::string_view text) {
  boost::crc_32_type crc;
  crc.process_bytes(text.data(), text.size());
  return crc.checksum();
}

std::optional<std::uint32_t> number(std::string_view digits) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// A piece more at the end of `text`; false at the end of the file.
bool read_more(int fd, std::string& text) {
  constexpr std::size_t piece = 64 * 1024;
  const std::size_t had = text.size();
  text.resize(had + piece);
  ssize_t got = -1;
  do {
    got = ::read(fd, text.data() + had, piece);
  } while (got < 0 && errno == EINTR);
  text.resize(had + (got > 0 ? static_cast<std::size_t>(got) : 0));
  return got > 0;
}

}  // namespace

std::string Journal::entry(std::string_view text) {
  char numbers[head + 1];
  std::snprintf(numbers, sizeof numbers, "%08x %08x ", static_cast<unsigned>(text.size()), checksum(text));
  return std::string(numbers).append(text).append("\n");
}

std::optional<std::string> Journal::next() {
  while (!ended_) {
    const std::string_view rest = std::string_view(ahead_).substr(at_);
    if (rest.size() >= head) {
      const auto size = number(rest.substr(0, 8)), sum = number(rest.substr(9, 8));
      if (!size || !sum || rest[8] != ' ' || rest[17] != ' ' || *size > max_entry) break;
      if (rest.size() > head + *size) {
        const std::string_view text = rest.substr(head, *size);
        if (rest[head + *size] != '\n' || checksum(text) != *sum) break;
        at_ += head + *size + 1;
        good_ += head + *size + 1;
        return std::string(text);
      }
    }
    ahead_.erase(0, std::exchange(at_, 0));
    if (!read_more(file_.get(), ahead_)) break;
  }
  ended_ = true;
  return std::nullopt;
}

}  // namespace hatchd::runs
