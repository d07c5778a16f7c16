#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "catch.hpp"

using namespace hatchd;

TEST_CASE("a sealed memfd reads back and cannot be changed") {
  const std::string bytes(100000, 'x');
  auto fd = sealed_memfd("test", bytes);
  REQUIRE(fd);
  CHECK(*read_memfd(fd->get(), 200000) == bytes);
  CHECK_FALSE(read_memfd(fd->get(), 99999));
  CHECK(::write(fd->get(), "y", 1) == -1);
  CHECK(::ftruncate(fd->get(), 0) == -1);
}

TEST_CASE("read_all is bounded and reads files whose size is unknown") {
  const UniqueFd status{::open("/proc/self/status", O_RDONLY)};
  const auto text = read_all(status.get(), 1 << 20);
  REQUIRE(text);
  CHECK(text->find("Pid:") != std::string::npos);
  const UniqueFd zero{::open("/dev/zero", O_RDONLY)};
  CHECK_FALSE(read_all(zero.get(), 1 << 20));
}

TEST_CASE("a file that is read by its name must be a regular one, and a FIFO does not hold up the reader") {
  std::string folder = "/tmp/hatchd-test-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()));
  const UniqueFd directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY)};
  REQUIRE(::mkfifoat(directory.get(), "fifo", 0600) == 0);
  REQUIRE(::symlinkat("/etc/passwd", directory.get(), "link") == 0);
  CHECK_FALSE(read_file_at(directory.get(), "fifo", 100));
  CHECK_FALSE(read_file_at(directory.get(), "link", 1 << 20));
  CHECK(read_file_at(AT_FDCWD, "/proc/self/status", 1 << 20));
  for (const char* name : {"fifo", "link"}) ::unlinkat(directory.get(), name, 0);
  ::rmdir(folder.c_str());
}

TEST_CASE("a descriptor has one owner") {
  UniqueFd a{::open("/dev/null", O_RDONLY)};
  const int number = a.get();
  UniqueFd b = std::move(a);
  CHECK_FALSE(a);
  CHECK(b.get() == number);
  b.reset();
  CHECK(::fcntl(number, F_GETFD) == -1);
}

TEST_CASE("errno has a name") { CHECK(errno_text(ENOENT) == "ENOENT (No such file or directory)"); }
