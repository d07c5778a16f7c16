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

// What some bytes begin with.
struct Begin {
  enum class State { whole, part, broken } state;
  std::string_view text;
};

Begin look(std::string_view bytes) {
  using State = Begin::State;
  if (bytes.size() < head) return {State::part, {}};
  const auto size = number(bytes.substr(0, 8)), sum = number(bytes.substr(9, 8));
  if (!size || !sum || bytes[8] != ' ' || bytes[17] != ' ' || *size > Journal::max_entry) return {State::broken, {}};
  if (bytes.size() <= head + *size) return {State::part, {}};
  const std::string_view text = bytes.substr(head, *size);
  if (bytes[head + *size] != '\n' || checksum(text) != *sum) return {State::broken, {}};
  return {State::whole, text};
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

std::size_t Journal::size_of_entry(std::size_t text) { return head + text + 1; }

std::optional<std::string_view> Journal::whole(std::string_view bytes) {
  const Begin begin = look(bytes);
  return begin.state == Begin::State::whole ? std::optional(begin.text) : std::nullopt;
}

std::optional<std::string> Journal::next() {
  while (!ended_) {
    const Begin begin = look(std::string_view(ahead_).substr(at_));
    if (begin.state == Begin::State::broken) break;
    if (begin.state == Begin::State::whole) {
      const std::size_t size = size_of_entry(begin.text.size());
      std::string text(begin.text);
      at_ += size;
      good_ += size;
      return text;
    }
    ahead_.erase(0, std::exchange(at_, 0));
    if (!read_more(file_.get(), ahead_)) break;
  }
  ended_ = true;
  return std::nullopt;
}

}  // namespace hatchd::runs
