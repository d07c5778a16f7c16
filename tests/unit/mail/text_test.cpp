#include "mail/text.hpp"

#include "catch.hpp"
#include "mail/address.hpp"
#include "mail/header.hpp"
#include "mail/message.hpp"

using namespace mail;

TEST_CASE("a masked secret is found as it is, in base64 at any place, in hexadecimal and percent encoding") {
  Masker mask;
  mask.add("s3cr3t/Pass");
  CHECK(mask("no secret here") == "no secret here");
  CHECK(mask("535 s3cr3t/Pass is wrong") == "535 ****** is wrong");
  CHECK(mask("s3cr3t%2fPass") == "******");
  CHECK(mask("7333637233742f50617373") == "******");
  for (const char* user : {"", "a", "ab", "abc"}) {
    const std::string sent = base64(std::string(1, '\0') + user + std::string(1, '\0') + "s3cr3t/Pass");
    const std::string shown = mask("you sent " + sent + " to me");
    CHECK(shown.find("******") != std::string::npos);
    // Whatever is left of it does not decode to the password.
    CHECK(shown.size() < sent.size() + 9);
  }
}

TEST_CASE("what a server says is bounded and safe for a terminal") {
  const Masker mask;
  CHECK(mask(std::string(5000, 'x'), 100).size() < 120);
  CHECK(mask("\x1b[2Jgone\r\n\a").find('\x1b') == std::string::npos);
  CHECK(mask("caf\xC3\xA9") == "caf\xC3\xA9");
  CHECK(bounded("\xC3\xA9\xC3\xA9\xC3\xA9", 3) == "\xC3\xA9 …");
}

TEST_CASE("base64 there and back") {
  bool ok = false;
  for (const char* text : {"", "f", "fo", "foo", "foob", "fooba", "foobar"}) {
    CHECK(from_base64(base64(text), ok) == text);
    CHECK(ok);
  }
  from_base64("not base64!", ok);
  CHECK_FALSE(ok);
}

TEST_CASE("nothing that could end a command or a header passes for an address") {
  for (const char* good : {"a@b", "oncall@example.org", "o'neil+tag@example.org", "*@test.example.org", "a@[127.0.0.1]",
                           "grün@example.org", "a@xn--bcher-kva.example"})
    CHECK(why_no_address(good) == "");
  for (const char* bad :
       {"", "a", "@b", "a@", "a b@c", "a@b c", "a@b>\r\nRCPT TO:<x@y", "a\n@b", "a@b\r", "<a@b>", "a@b>", "a,b@c",
        "\"a\"@b", "a;@b", "a@b..c", ".a@b", "a@.b", "a\xC2\x85@b", "a@b\xE2\x80\xAE"})
    CHECK(why_no_address(bad) != "");
  CHECK(why_no_address(std::string(65, 'a') + "@b") != "");
  CHECK(why_no_address("a@" + std::string(260, 'b')) != "");
}

TEST_CASE("the allow-list: addresses, or every one of a domain") {
  const std::vector<std::string> list{"oncall@example.org", "*@test.example.org"};
  CHECK(is_allowed("oncall@example.org", list));
  CHECK(is_allowed("oncall@EXAMPLE.ORG", list));
  CHECK(is_allowed("anybody@test.example.org", list));
  CHECK_FALSE(is_allowed("Oncall@example.org", list));
  CHECK_FALSE(is_allowed("other@example.org", list));
  CHECK_FALSE(is_allowed("anybody@sub.test.example.org", list));
  CHECK_FALSE(is_allowed("a@evil.org@test.example.org.evil.org", list));
  CHECK_FALSE(is_allowed("nobody", list));
  CHECK(bare_address("Shop <shop@example.org>") == "shop@example.org");
  CHECK(bare_address(" shop@example.org ") == "shop@example.org");
}

namespace {
Message sample() {
  Message message;
  message.run_id = "01J0000000000000000000TEST";
  message.asked_by = "alice (unix)";
  message.from = "hatch@example.org";
  message.to = {"oncall@example.org"};
  message.subject = "Test message";
  message.host = "web-1";
  message.now = 1'700'000'000;
  return message;
}

std::string head_of(const std::string& message) { return message.substr(0, message.find("\r\n\r\n") + 2); }
}  // namespace

TEST_CASE("a message says what it is, who asked, and which run it belongs to") {
  const std::string message = compose(sample());
  CHECK(message.find("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n") == 0);
  CHECK(message.find("\r\nAuto-Submitted: auto-generated\r\n") != std::string::npos);
  CHECK(message.find("\r\nSubject: [hatchd 01J0000000000000000000TEST] Test message\r\n") != std::string::npos);
  CHECK(message.find("\r\nX-Hatchd-Run: 01J0000000000000000000TEST\r\n") != std::string::npos);
  CHECK(message.find("alice (unix) asked hatchd on web-1") != std::string::npos);
  CHECK(is_of_run(message, "01J0000000000000000000TEST"));
  CHECK_FALSE(is_of_run(message, "01J0000000000000000000OTHER"));
}

TEST_CASE("no text of a caller adds a header, a line or the end of the message") {
  Message message = sample();
  message.subject = "x\r\nBcc: everybody@example.org\r\n\r\nbody\n.\nQUIT";
  message.asked_by = "mallory\r\nX-Evil: 1";
  message.from = "Evil\r\nX-Evil: 2 <hatch@example.org>";
  message.text = ".\r\n.\nQUIT\r..\n";
  const std::string text = compose(message);
  const std::string head = head_of(text);
  CHECK(head.find("\nBcc") == std::string::npos);
  CHECK(head.find("\nX-Evil") == std::string::npos);
  const std::string wire = stuffed(text);
  CHECK(wire.ends_with("\r\n.\r\n"));
  // The only line that is a dot alone is the last.
  CHECK(wire.find("\r\n.\r\n") == wire.size() - 5);
  // No bare CR or LF.
  for (std::size_t i = 0; i < wire.size(); ++i) {
    if (wire[i] == '\n') CHECK((i > 0 && wire[i - 1] == '\r'));
    if (wire[i] == '\r') CHECK((i + 1 < wire.size() && wire[i + 1] == '\n'));
  }
}

TEST_CASE("text that is not ASCII travels in base64, subjects as encoded words") {
  Message message = sample();
  message.subject = std::string(40, 'x') + " \xC3\xBC" + std::string(80, 'y') + "\xF0\x9F\x93\xAC";
  message.text =
      "gr\xC3\xBC\xC3\x9F"
      "e";
  const std::string text = compose(message);
  CHECK(text.find("charset=utf-8") != std::string::npos);
  CHECK(text.find("Content-Transfer-Encoding: base64") != std::string::npos);
  std::size_t at = 0;
  const std::string head = head_of(text);
  while (at < head.size()) {
    const std::size_t end = head.find("\r\n", at);
    CHECK(end - at <= 998);
    for (std::size_t i = at; i < end; ++i) CHECK(static_cast<unsigned char>(head[i]) < 0x80);
    at = end + 2;
  }
  bool ok = false;
  std::string body;
  for (at = head.size() + 2; at < text.size();) {
    const std::size_t end = text.find("\r\n", at);
    body += from_base64(text.substr(at, end - at), ok);
    CHECK(ok);
    at = end + 2;
  }
  CHECK(
      body.starts_with("gr\xC3\xBC\xC3\x9F"
                       "e\r\n"));
}

TEST_CASE("the hops of a message, the first one first") {
  const std::string head =
      "Return-Path: <a@b>\r\nReceived: from second\r\n\tby third; today\r\nReceived: from first by second\r\n"
      "X-Hatchd-Run: 01J\r\n\r\nReceived: in the body\r\n";
  const auto hops = hops_of(head, Masker{});
  REQUIRE(hops.size() == 2);
  CHECK(hops[0] == "from first by second");
  CHECK(hops[1] == "from second by third; today");
  CHECK(is_of_run(head, "01J"));
  CHECK_FALSE(is_of_run("Subject: x\r\n\r\nX-Hatchd-Run: 01J\r\n", "01J"));
}
