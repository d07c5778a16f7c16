#include <stdlib.h>

#include <fstream>
#include <sstream>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "catch.hpp"
#include "config/config.hpp"
#include "folder.hpp"
#include "schema/schema.hpp"

using namespace hatchd::config;
namespace json = boost::json;

namespace {

std::string text_of_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("the schema is within its own subset") {
  for (const auto& error : hatchd::schema::check(schema())) FAIL(error.pointer << ": " << error.detail);
}

TEST_CASE("the schema that is shipped is the one that is used") {
  CHECK(text_of_file(HATCHD_SOURCE_DIR "/config/hatchd.schema.json") == hatchd::pretty(schema()) + "\n");
}

TEST_CASE("the example is valid, and shown and loaded again it stays the same") {
  const Folder folder;
  const Loaded loaded = load(folder.write(text_of_file(HATCHD_SOURCE_DIR "/config/hatchd.json")));
  REQUIRE(folder.told(loaded) == "");
  CHECK(loaded.config.targets.size() == 3);
  const std::string shown = show(loaded);
  const Loaded again = load(folder.write(shown));
  REQUIRE(folder.told(again) == "");
  CHECK(show(again) == shown);
  CHECK(again.effective == loaded.effective);
}

TEST_CASE("what is shown holds no secret, and loads again as the same") {
  const Folder folder;
  const Loaded loaded = load(folder.write(R"({ "plugins": { "mail": {
    "api_key": "k1", "tokens": ["k2", "k3"], "login": { "user": "u", "Password": "k4", "pin_secret": 5, "password": "$${k5" },
    "from": { "secret": { "file": "/etc/x" }, "credential": "k6" },
    "profiles": { "default": { "url": "smtp://user:k7@host:25/x", "odd": "redis://:k8/9@host", "ref": "amqp://u:${PLACE}@h",
                               "pass": "${PLACE}", "plain": "http://host/a:b@c", "none": "http://user@host" } } } } })"));
  ::unsetenv("HATCHD_TEST_NOT_SET");
  REQUIRE(loaded.faults.size() == 2);  // PLACE is not set, twice
  const std::string shown = show(loaded);
  INFO(shown);
  for (const char* secret : {"k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"}) {
    CAPTURE(secret);
    CHECK(shown.find(secret) == std::string::npos);
  }
  for (const char* kept :
       {"smtp://user:******@host:25/x", "amqp://u:${PLACE}@h", "\"${PLACE}\"", "http://user@host", "/etc/x"}) {
    CAPTURE(kept);
    CHECK(shown.find(kept) != std::string::npos);
  }
  CHECK(show(load(folder.write(shown))) == shown);
}

TEST_CASE("variables of the environment are filled in where they may be") {
  ::setenv("HATCHD_TEST_A", "value of ${HATCHD_TEST_B}", 1);
  ::setenv("HATCHD_TEST_HASH", std::string(64, 'a').c_str(), 1);
  ::setenv("HATCHD_TEST_BAD", "\xff", 1);
  const Folder folder;
  const Loaded loaded = load(folder.write(R"({
    "access": { "tokens": [{ "name": "t", "role": "viewer", "sha256": "${HATCHD_TEST_HASH}" }] },
    "plugins": { "mail": { "own": ["x${HATCHD_TEST_A}y", "$${HATCHD_TEST_A}", "$5"], "profiles": { "p": { "u": "${HATCHD_TEST_A}" } } } }
  })"));
  REQUIRE(folder.told(loaded) == "");
  CHECK(loaded.config.access.tokens[0].sha256 == std::string(64, 'a'));
  const Plugin& mail = loaded.config.plugins.at("mail");
  CHECK(mail.own.at("own") == json::array{"xvalue of ${HATCHD_TEST_B}y", "${HATCHD_TEST_A}", "$5"});
  CHECK(mail.profiles.at("p").at("u") == "value of ${HATCHD_TEST_B}");
  // As written where people see it; resolved where a process without this environment reads it again.
  CHECK(loaded.effective.at("plugins").at("mail").at("profiles").at("p").at("u") == "${HATCHD_TEST_A}");
  CHECK(hatchd::text_of(loaded.effective.at("access").at("tokens").at(0).as_object(), "sha256") ==
        std::string(64, 'a'));

  const Loaded bad = load(folder.write(R"({ "plugins": { "mail": {
    "a": "${HATCHD_TEST_NOT_SET}",
    "b": "${unclosed",
    "c": "${}",
    "d": "${HATCHD_TEST_BAD}" } } })"));
  CHECK(folder.told(bad) ==
        "hatchd.json:2: /plugins/mail/a: the environment variable HATCHD_TEST_NOT_SET is not set\n"
        "hatchd.json:3: /plugins/mail/b: has a ${ without a }\n"
        "hatchd.json:4: /plugins/mail/c: must name an environment variable between ${ and }; $${ stands for ${ itself\n"
        "hatchd.json:5: /plugins/mail/d: the environment variable HATCHD_TEST_BAD is not UTF-8\n");
}

TEST_CASE("secrets come from files and credentials, but only where the schema says secret") {
  const Folder folder;
  folder.write("s3cret\n", "password", 0600);
  folder.write("open", "open", 0666);
  ::setenv("CREDENTIALS_DIRECTORY", folder.path().c_str(), 1);
  const json::object schema =
      json::parse(R"({"properties": {"password": {"secret": true}, "other": {}, "list": {"items": {"secret": true}}}})")
          .as_object();
  const json::object from_file{{"file", folder.file("password")}};
  json::value value = json::object{{"password", from_file},
                                   {"other", from_file},
                                   {"list", json::array{json::object{{"credential", "password"}}, "literal"}}};
  CHECK(resolve_secrets(schema, value).empty());
  CHECK(value.at("password") == "s3cret");
  CHECK(value.at("other") == from_file);
  CHECK(value.at("list") == json::array{"s3cret", "literal"});
  const json::value bad[] = {json::object{{"file", folder.file("open")}}, json::object{{"file", folder.file("absent")}},
                             json::object{{"file", "relative"}}, json::object{{"credential", "../password"}},
                             json::object{{"file", folder.path()}}};
  for (const json::value& entry : bad) {
    json::value wrong = json::object{{"password", entry}};
    CAPTURE(hatchd::pretty(entry));
    CHECK(resolve_secrets(schema, wrong).size() == 1);
    CHECK(wrong.at("password") == entry);
  }
  ::unsetenv("CREDENTIALS_DIRECTORY");
}

TEST_CASE("origins name file and line of each value, or say that it is a default") {
  const Folder folder;
  folder.write("{\n\n\"hosts\": [\"b\"]}", "hatchd.json.d/a.json");
  const Loaded loaded = load(folder.write("{\"hosts\":\n[\"a\"]}"));
  const std::string told = origins(loaded);
  CHECK(told.find("/hosts/0  " + folder.file() + ":2\n") != told.npos);
  CHECK(told.find("/hosts/1  " + folder.file("hatchd.json.d/a.json") + ":3\n") != told.npos);
  CHECK(told.find("/grace  default\n") != told.npos);
}
