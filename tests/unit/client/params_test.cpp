#include "client/params.hpp"

#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "catch.hpp"

using namespace hatchd::client;

TEST_CASE("parameters are key=value, and the first = divides") {
  const auto fields = parse_params({"a=1", "b=x=y", "c="});
  REQUIRE(fields);
  CHECK(*fields == Fields{{"a", "1"}, {"b", "x=y"}, {"c", ""}});
}

TEST_CASE("a parameter without a name or = is a usage problem") {
  for (const char* wrong : {"a", "=a", ""}) {
    CAPTURE(wrong);
    const auto fields = parse_params({wrong});
    REQUIRE_FALSE(fields);
    CHECK(fields.error().code == "usage");
  }
}

TEST_CASE("@file is the content of the file, @@ a literal @") {
  const std::string path = "/tmp/hatchctl-params-" + std::to_string(::getpid());
  std::ofstream(path) << "two\nlines\n";
  const auto fields = parse_params({"msg=@" + path, "at=@@home"});
  std::remove(path.c_str());
  REQUIRE(fields);
  CHECK(*fields == Fields{{"msg", "two\nlines\n"}, {"at", "@home"}});
  const auto gone = parse_params({"msg=@" + path});
  REQUIRE_FALSE(gone);
  CHECK(gone.error().detail.find(path) != std::string::npos);
}

TEST_CASE("forms escape everything but unreserved characters") {
  CHECK(form({{"a b", "1&2=3"}, {"u", "\xC3\xA9\n"}}) == "a%20b=1%262%3D3&u=%C3%A9%0A");
  CHECK(escape("../x") == "..%2Fx");
}
