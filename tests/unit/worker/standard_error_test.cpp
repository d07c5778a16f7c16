#include "worker/standard_error.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "catch.hpp"

using hatchd::UniqueFd;
using hatchd::worker::StandardError;

namespace {

// What of `text`, which a run writes, is in the log. No longer than a pipe holds.
std::string logged(const std::string& text) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const UniqueFd log{ends[0]}, ours{::dup(STDERR_FILENO)};
  REQUIRE(::dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
  ::close(ends[1]);

  StandardError errors;
  UniqueFd run = errors.open();
  for (std::string_view rest = text; !rest.empty();) {  // as it may come, in any pieces
    const ssize_t n = ::write(run.get(), rest.data(), std::min<std::size_t>(rest.size(), 700));
    if (n <= 0) break;
    rest.remove_prefix(static_cast<std::size_t>(n));
    errors.read("R");
  }
  run.reset();
  errors.finish("R");

  ::dup2(ours.get(), STDERR_FILENO);  // the last one that can write to the pipe is gone
  std::string all;
  for (std::array<char, 4096> piece{};;) {
    const ssize_t n = ::read(log.get(), piece.data(), piece.size());
    if (n <= 0) return all;
    all.append(piece.data(), static_cast<std::size_t>(n));
  }
}

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + word.size())) ++count;
  return count;
}

}  // namespace

TEST_CASE("what a run complains of is in the log, line by line") {
  const std::string log = logged("first\n\n\nsecond\nthe last has no end");
  CHECK(count(log, "wrote to its standard error run=R") == 3);
  CHECK(count(log, "text=first\n") == 1);
  CHECK(count(log, "text=second\n") == 1);
  CHECK(count(log, "text=\"the last has no end\"\n") == 1);
  CHECK(logged("").empty());
}

TEST_CASE("a line that is too long is cut between words, so that no half of a secret gets out") {
  const std::string words(1000, '.'), secret = "ghp_R4nd0mR4nd0mR4nd0mR4nd0mR4nd0mR4nd0";
  const std::string log = logged(words + " " + secret + " " + std::string(5000, '.') + "\nnext\n");
  CHECK(count(log, words + " (the rest of this line is left out)") == 1);
  CHECK(log.find("ghp_") == log.npos);
  CHECK(count(log, "text=next\n") == 1);
  CHECK(count(log, "wrote to its standard error") == 2);

  const std::string one_word = logged(std::string(3000, 'x'));
  CHECK(one_word.find("xx") == one_word.npos);
  CHECK(count(one_word, "left out") == 1);
}

TEST_CASE("short lines cost what the log makes of them") {
  std::string flood;
  for (int i = 0; i < 5000; ++i) flood += "x\n";
  const std::string log = logged(flood);
  CHECK(log.size() <= StandardError::max_bytes + 512);
  CHECK(count(log, "writes too much") == 1);
}
