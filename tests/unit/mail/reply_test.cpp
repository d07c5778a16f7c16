#include "mail/reply.hpp"

#include "catch.hpp"

using namespace mail;

namespace {
Reply read(std::initializer_list<const char*> lines) {
  Reply reply;
  bool complete = false;
  for (const char* line : lines) {
    REQUIRE_FALSE(complete);
    REQUIRE(add_line(reply, line, complete));
  }
  REQUIRE(complete);
  return reply;
}
}  // namespace

TEST_CASE("replies of one line and of several, with and without an enhanced status") {
  CHECK(read({"220 mail ready"}).code == 220);
  CHECK(read({"250"}).whole() == "250");
  const Reply refused = read({"550-5.1.1 The account", "550-5.1.1 does not", "550 5.1.1 exist"});
  CHECK(refused.status == "5.1.1");
  CHECK(refused.text() == "The account does not exist");
  CHECK(refused.whole() == "550 5.1.1 The account does not exist");
  // An address at the beginning, a version, another class: no status.
  CHECK(read({"220 4.5.6 of Mail"}).status.empty());
  CHECK(read({"250 2.0.0.1 x"}).status.empty());
  CHECK(read({"550 10.0.0.1 is blocked"}).status.empty());
  CHECK(read({"451 4.7.1"}).status == "4.7.1");
}

TEST_CASE("what is no SMTP is not taken for it") {
  Reply reply;
  bool complete = false;
  for (const char* bad : {"", "25", "HTTP/1.1 400 Bad Request", "2x0 hello", "650 hello", "150 hello", "2500 hello",
                          "250_x", "\x16\x03\x01"})
    CHECK_FALSE(add_line(reply, bad, complete));
  CHECK(add_line(reply, "250-one", complete));
  CHECK_FALSE(complete);
  CHECK_FALSE(add_line(reply, "251 two", complete));
}

TEST_CASE("what EHLO offers") {
  const Capabilities can =
      capabilities_of(read({"250-mail.test at your service", "250-SIZE 35882577", "250-8BITMIME", "250-PIPELINING",
                            "250-STARTTLS", "250-AUTH PLAIN LOGIN", "250-AUTH=PLAIN XOAUTH2", "250 SMTPUTF8"}));
  CHECK(can.greeting == "mail.test at your service");
  CHECK((can.size && can.pipelining && can.starttls && can.smtputf8));
  CHECK(can.lines.size() == 7);
  CHECK(can.max_size == 35882577);
  CHECK(can.mechanisms == std::vector<std::string>{"PLAIN", "LOGIN", "XOAUTH2"});
  CHECK(can.offers("plain"));
  CHECK_FALSE(can.offers("SCRAM-SHA-256"));
}

TEST_CASE("queue ids as the servers of the world write them") {
  CHECK(queue_id_of("250 2.0.0 Ok: queued as 4Zq1Kx2bGzz1") == "4Zq1Kx2bGzz1");
  CHECK(queue_id_of("250 OK id=1rXyZ2-0004Ab-3C") == "1rXyZ2-0004Ab-3C");
  CHECK(queue_id_of("250 2.0.0 u1A2b3 Message accepted for delivery") == "u1A2b3");
  CHECK(queue_id_of("250 2.6.0 <x@y> [InternalId=12345, Hostname=h] Queued mail for delivery") == "12345");
  CHECK(queue_id_of("250 2.0.0 OK 1700000000 d9443c01a7336-1cc-20020a170902 - gsmtp") ==
        "d9443c01a7336-1cc-20020a170902");
  CHECK(queue_id_of("250 Ok 0102018b-1234-5678-9abc-def012345678-000000") ==
        "0102018b-1234-5678-9abc-def012345678-000000");
  CHECK(queue_id_of("250 2.0.0 Ok") == "");
  CHECK(queue_id_of("250 " + std::string(100'000, 'x')) == "");
}

TEST_CASE("how long to wait, where a refusal says so") {
  CHECK(wait_of("Greylisted, please try again in 300 seconds") == "300 s");
  CHECK(wait_of("Greylisting in action, try again in 5 minutes") == "5 min");
  CHECK(wait_of("You are greylisted for 12 min") == "12 min");
  CHECK(wait_of("Please retry after 00:05:00") == "00:05:00");
  CHECK(wait_of("Please try again later") == "");
}
