// The test message itself (RFC 5322, 2045, 3834).
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace mail {

struct Message {
  std::string run_id, asked_by;  // asked_by: "alice, over the Unix socket"
  std::string from;              // as the application writes it: "Shop <shop@example.org>"
  std::vector<std::string> to;
  std::string subject, text, target, host;
  std::time_t now = 0;
};

// Subject with the run's id, by which the message can be found again.
std::string subject_of(const Message& message);

// Header and body, with CRLF at the end of every line. No text of a caller can add a header or end the message.
std::string compose(const Message& message);

// For DATA: a dot more before a line that begins with one, and the end "CRLF . CRLF".
std::string stuffed(std::string_view message);

}  // namespace mail
