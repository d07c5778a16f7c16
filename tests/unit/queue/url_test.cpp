#include "queue/frame/url.hpp"

#include "catch.hpp"
#include "queue/amqp/client.hpp"
#include "queue/frame/trouble.hpp"
#include "queue/redis/client.hpp"

using queue::parse_url;
using queue::parse_urls;
using queue::Trouble;

TEST_CASE("a broker's address is read as kombu reads it, and shown without its password") {
  const queue::Url url = parse_url("redis://shop:p%40ss%2Fw@db.example:6380/2?ssl_cert_reqs=none");
  CHECK(url.scheme == "redis");
  CHECK(url.user == "shop");
  CHECK(url.password == "p@ss/w");
  CHECK(url.host == "db.example");
  CHECK(url.port == 6380);
  CHECK(url.path == "2");
  CHECK(url.query.at("ssl_cert_reqs") == "none");
  CHECK(url.masked() == "redis://shop:******@db.example:6380/2");
  CHECK(parse_url("redis://:secret@[::1]:6379").masked() == "redis://:******@[::1]:6379");
  CHECK(parse_url("AMQP://localhost").masked() == "amqp://localhost");
  CHECK(parse_urls("sentinel://a:1;sentinel://b:2;").size() == 2);
}

TEST_CASE("virtual hosts and databases") {
  const auto vhost = [](const char* text) { return queue::amqp::access_of(parse_url(text), {}).vhost; };
  CHECK(vhost("amqp://h") == "/");
  CHECK(vhost("amqp://h/") == "/");
  CHECK(vhost("amqp://h//") == "/");
  CHECK(vhost("amqp://h/%2F") == "/");
  CHECK(vhost("amqp://h/shop") == "shop");
  CHECK(queue::amqp::access_of(parse_url("amqps://h"), {}).place.port == 5671);
  CHECK(queue::amqp::access_of(parse_url("amqp://"), {}).user == "guest");
  const auto redis = [](const char* text) { return queue::redis::access_of(parse_urls(text), {}, "m", ""); };
  CHECK(redis("redis://h").database == 0);
  CHECK(redis("redis://h/7").database == 7);
  CHECK(redis("rediss://h").places.front().tls.on);
  CHECK(redis("redis+socket:///run/redis.sock?virtual_host=3").places.front().socket == "/run/redis.sock");
  CHECK(redis("redis+socket:///run/redis.sock?virtual_host=3").database == 3);
  CHECK(redis("sentinel://a;sentinel://b:5/4").places.size() == 2);
  CHECK(redis("sentinel://a;sentinel://b:5/4").places.front().port == 26379);
  CHECK_THROWS_AS(redis("redis://h/x"), Trouble);
  CHECK_THROWS_AS(redis("amqp://h"), Trouble);
}

TEST_CASE("what is wrong with an address is said without a piece of it") {
  for (const char* text : {"", "hunter2", "redis://:hun/ter2@host", "redis://host:hunter2", "redis://:%hunter2@h",
                           "redis://[hunter2", "hunter2 x://h", "redis://:hunter2?@h"}) {
    try {
      parse_url(text);
      FAIL("it was taken: " << text);
    } catch (const Trouble& trouble) {
      CHECK(std::string(trouble.what()).find("hunter2") == std::string::npos);
      CHECK(trouble.hint.find("hunter2") == std::string::npos);
    }
  }
}
