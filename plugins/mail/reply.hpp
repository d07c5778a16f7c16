// What an SMTP server answers (RFC 5321, 4.2; RFC 2034 for enhanced status codes).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mail {

constexpr std::size_t max_reply_line = 4096, max_reply_lines = 200;

struct Reply {
  int code = 0;
  std::string status;              // "5.7.1"; empty: none
  std::vector<std::string> lines;  // without code and enhanced status, as the server wrote them

  bool positive() const { return code >= 200 && code < 300; }
  bool temporary() const { return code >= 400 && code < 500; }
  // All lines as one.
  std::string text() const;
  // "550 5.1.1 no such user"
  std::string whole() const;
};

struct ReplyLine {
  int code = 0;
  bool last = true;
  std::string_view text;
};
// One line without its end; nullopt when it is no SMTP.
std::optional<ReplyLine> parse_reply_line(std::string_view line);

// Adds one line. False: it does not belong to this reply (another code, no SMTP). `complete` when it was the last one.
bool add_line(Reply& reply, std::string_view line, bool& complete);

// What EHLO offered.
struct Capabilities {
  std::vector<std::string> lines;  // all but the greeting
  std::string greeting;            // who the server says it is
  bool starttls = false, pipelining = false, smtputf8 = false, size = false;
  unsigned long long max_size = 0;  // 0: not said
  std::vector<std::string> mechanisms;

  bool offers(std::string_view mechanism) const;
};
Capabilities capabilities_of(const Reply& ehlo);

// The id under which the server keeps the message, from its last reply; empty: it did not say.
std::string queue_id_of(std::string_view reply);

// "try again in …": how long a refusal says that one should wait; empty: it does not.
std::string wait_of(std::string_view reply);
// Makes the patterns of both, which takes longer than all the rest that is done with a reply.
void prepare_replies();

}  // namespace mail
