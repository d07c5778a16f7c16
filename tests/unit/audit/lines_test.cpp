#include "audit/lines.hpp"

#include "catch.hpp"
#include "folder.hpp"

using namespace hatchd;
using namespace hatchd::audit;

TEST_CASE("lines are appended, and the files together stay within their bound") {
  Folder folder;
  Lines lines(folder.fd.get(), "audit.jsonl", {100, 2});
  const std::string line = std::string(39, 'x') + "\n";
  for (int i = 0; i < 20; ++i) {
    const std::string numbered = std::to_string(10 + i) + line.substr(2);
    REQUIRE(lines.append(numbered, i % 2 == 0));
  }
  std::size_t files = 0, bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    ++files;
    bytes += entry.file_size();
  }
  CHECK(files == 3);
  CHECK(bytes <= 300);
  CHECK(folder.read("audit.jsonl").substr(0, 2) == "28");
  CHECK(folder.read("audit.jsonl.1").substr(0, 2) == "26");
  CHECK(folder.read("audit.jsonl.2").substr(0, 2) == "24");
  CHECK((std::filesystem::status(folder.path / "audit.jsonl").permissions() & std::filesystem::perms::others_all) ==
        std::filesystem::perms::none);
}

TEST_CASE("a smaller number of files takes effect at the next rotation") {
  Folder folder;
  for (const char* name : {"a.1", "a.2", "a.3", "a.4"}) folder.write(name, "old\n");
  Lines lines(folder.fd.get(), "a", {10, 1});
  REQUIRE(lines.append("12345678\n", false));
  REQUIRE(lines.append("abcdefgh\n", false));
  CHECK(folder.read("a.1") == "12345678\n");
  for (const char* name : {"a.2", "a.3", "a.4"}) CHECK_FALSE(std::filesystem::exists(folder.path / name));
}

TEST_CASE("a torn line is cut off at open, and nothing else") {
  Folder folder;
  SECTION("behind whole ones") {
    folder.write("a", "one\ntwo\n{\"half\": ");
    Lines lines(folder.fd.get(), "a", {});
    REQUIRE(lines.append("three\n", true));
    CHECK(folder.read("a") == "one\ntwo\nthree\n");
    CHECK(lines.cut() == 9);
  }
  SECTION("and it is all there is, and long") {
    folder.write("a", std::string(200'000, 'x'));
    Lines lines(folder.fd.get(), "a", {});
    REQUIRE(lines.open());
    CHECK(folder.read("a").empty());
    CHECK(lines.cut() == 200'000);
  }
}

TEST_CASE("a file that was moved away or removed is made anew") {
  Folder folder;
  Lines lines(folder.fd.get(), "a", {});
  REQUIRE(lines.append("one\n", false));
  std::filesystem::rename(folder.path / "a", folder.path / "shipped");
  REQUIRE(lines.append("two\n", false));
  std::filesystem::remove(folder.path / "a");
  REQUIRE(lines.append("three\n", false));
  CHECK(folder.read("shipped") == "one\n");
  CHECK(folder.read("a") == "three\n");
}

TEST_CASE("what stands in the way is a refusal that ends with it") {
  Folder folder;
  Lines lines(folder.fd.get(), "a", {});
  std::filesystem::create_directory(folder.path / "a");
  const auto refused = lines.append("one\n", true);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == "audit-unwritable");
  CHECK(refused.error().detail.find("EISDIR") != std::string::npos);
  std::filesystem::remove(folder.path / "a");
  std::filesystem::create_symlink("/etc/passwd", folder.path / "a");
  CHECK_FALSE(lines.append("one\n", true));
  std::filesystem::remove(folder.path / "a");
  CHECK(lines.append("one\n", true));
}
