#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "catch.hpp"
#include "config/commands.hpp"
#include "config/places.hpp"
#include "config/token.hpp"
#include "config/units.hpp"
#include "folder.hpp"

using namespace hatchd::config;

TEST_CASE("sizes") {
  struct Row {
    const char* text;
    long long bytes;  // -1: none
  };
  const Row rows[] = {{"0B", 0},      {"512B", 512}, {"1KiB", 1024}, {"2GiB", 2ll << 30}, {"1TiB", 1ll << 40},
                      {"", -1},       {"GiB", -1},   {"2", -1},      {"2GB", -1},         {"-1B", -1},
                      {"1.5GiB", -1}, {"+1B", -1},   {" 1B", -1},    {"16777216TiB", -1}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto size = parse_size(row.text);
    CHECK((size ? static_cast<long long>(*size) : -1) == row.bytes);
  }
}

TEST_CASE("addresses") {
  CHECK(parse_address("127.0.0.1:80")->loopback);
  CHECK(parse_address("[::1]:80")->host == "::1");
  CHECK(parse_address("[::1]:80")->loopback);
  CHECK_FALSE(parse_address("0.0.0.0:80")->loopback);
  CHECK_FALSE(parse_address("[::ffff:10.0.0.1]:80")->loopback);
  CHECK_FALSE(parse_address("128.0.0.1:80")->loopback);
  CHECK(parse_address("127.0.0.1:0")->port == 0);
  for (const char* bad : {"", ":", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.1:80",
                          "::1:80", "[::1]", "[]:80", "[127.0.0.1]:80", "host:80", "127.0.0.1:99999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_address(bad));
  }
}

TEST_CASE("dates and times") {
  for (const char* good :
       {"2027-01-01", "2028-02-29", "2027-01-01T00:00:00Z", "2027-01-01t23:59:60.123z", "2027-01-01T12:00:00-05:30"}) {
    CAPTURE(good);
    CHECK(is_date_or_time(good));
  }
  for (const char* bad :
       {"", "2027", "2027-1-1", "2027-02-29", "2027-13-01", "2027-01-01T", "2027-01-01T12:00Z", "2027-01-01T24:00:00Z",
        "2027-01-01T12:60:00Z", "2027-01-01T12:00:00", "2027-01-01T12:00:00.Z", "2027-01-01 12:00:00Z",
        "2027-01-01T12:00:00+5", "2027-01-01T12:00:00ZZ", "-027-01-01"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_date_or_time(bad));
  }
}

TEST_CASE("lines are found through comments, strings and trailing commas") {
  const Lines lines = lines_of(
      "// first\n"
      "{ /* a\n"
      "  { \"no\": 1 } */ \"a\": [1, // ] \"x\"\n"
      "    {\"b\\\"\\n/~\": \"//\\\\\"},\n"
      "  ],\n"
      "\"c\"\n"
      ":\n"
      "true, \"\\u0061\": 2,\n"
      "}\n");
  CHECK(lines.of.at("") == 2);
  CHECK(lines.of.at("/a") == 3);
  CHECK(lines.of.at("/a/0") == 3);
  CHECK(lines.of.at("/a/1") == 4);
  CHECK(lines.of.at("/a/1/b\"\n~1~0") == 4);
  CHECK(lines.of.at("/c") == 6);
  CHECK(lines.of.size() == 6);
  REQUIRE(lines.twice.size() == 1);
  CHECK(lines.twice[0].pointer == "/a");
  CHECK(lines.twice[0].first == 3);
  CHECK(lines.twice[0].second == 8);
}

TEST_CASE("the scanner ends on text that is no JSON") {
  for (const char* text :
       {"", "{", "[", "{\"", "{\"a", "{\"a\":", "[1,", "/*", "//", "{]", "[}", "{\"a\" \"b\"}", "[\"\\", "[[[[[[[["}) {
    CAPTURE(text);
    CHECK(lines_of(text).of.count("") == 1);
  }
  CHECK(lines_of(std::string(100000, '[')).of.size() < 100);
}

TEST_CASE("tokens are long, distinct, and known by their hash") {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const MadeToken made = make_token();
    CHECK(made.token.size() == 50);
    CHECK(made.token.starts_with("hatchd_"));
    CHECK(made.token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
          std::string::npos);
    seen.insert(made.token);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    ::SHA256(reinterpret_cast<const unsigned char*>(made.token.data()), made.token.size(), digest);
    std::string hex;
    for (const unsigned char byte : digest) {
      char two[3];
      std::snprintf(two, sizeof two, "%02x", byte);
      hex += two;
    }
    CHECK(made.sha256 == hex);
  }
  CHECK(seen.size() == 100);
}

TEST_CASE("an installed token is loaded, and never written over") {
  const Folder folder;
  const std::string file = folder.write("{}");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  CHECK(token_new_command("oncall", "operator", true, file) == 0);
  CHECK(token_new_command("oncall", "operator", true, file) == 1);
  CHECK(token_new_command("on/call", "operator", true, file) == 2);
  CHECK(token_new_command("other", "boss", true, file) == 2);
  std::filesystem::current_path(before);

  const Loaded loaded = load(file);
  REQUIRE(folder.told(loaded) == "");
  REQUIRE(loaded.config.access.tokens.size() == 1);
  CHECK(loaded.config.access.tokens[0].name == "oncall");
  CHECK(loaded.config.access.tokens[0].role == "operator");

  struct stat info {};
  REQUIRE(::stat(folder.file("hatchd.json.d/50-token-oncall.json").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0640);
  REQUIRE(::stat(folder.file("token-oncall.header").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  std::ifstream header(folder.file("token-oncall.header"));
  std::string line;
  REQUIRE(std::getline(header, line));
  CHECK(line.starts_with("Authorization: Bearer hatchd_"));
  CHECK(line.size() == 22 + 50);
}

namespace {

// What `command` prints on stdout goes into `file`; its exit status.
template <class Command>
int printed_to(const std::string& file, const Command& command) {
  std::fflush(stdout);
  const int before = ::dup(1);
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  ::dup2(fd, 1);
  ::close(fd);
  const int status = command();
  std::fflush(stdout);
  ::dup2(before, 1);
  ::close(before);
  return status;
}

}  // namespace

TEST_CASE("what the commands print, and their exit statuses") {
  const Folder folder;
  const std::string file = folder.write("{\"grace\": \"7s\"}"), output = folder.file("output");
  CHECK(printed_to(output, [&] { return check_command(file); }) == 0);
  std::string line;
  std::ifstream checked(output);
  std::getline(checked, line);
  CHECK(line == file + ": ok");

  CHECK(printed_to(output, [&] { return show_command(file); }) == 0);
  const Loaded again = load(output);  // with the origins as comments
  CHECK(folder.told(again) == "");
  CHECK(again.effective == load(file).effective);

  folder.write("{\"x\": 1}");
  CHECK(printed_to(output, [&] { return check_command(file); }) == 1);
  CHECK(printed_to(output, [&] { return show_command(file); }) == 1);
  CHECK(std::filesystem::file_size(output) == 0);
}
