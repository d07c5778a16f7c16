#include "mail/message.hpp"

#include <algorithm>

#include "hatch/json.hpp"
#include "mail/address.hpp"
#include "mail/text.hpp"

namespace mail {
namespace {

constexpr std::size_t max_word = 42;  // bytes in one encoded word: 56 in base64, 75 with what is around it

// One line without control characters: what a header holds.
std::string one_line(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t point = hatch::next_code_point(text, at);
    const bool control = point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029;
    if (control)
      out += ' ';
    else if (point == 0xFFFD)
      out += "\xEF\xBF\xBD";
    else
      out += text.substr(begin, at - begin);
  }
  return std::string(trimmed(out));
}

// RFC 2047; plain text where it is ASCII and short enough for one line.
std::string header_text(std::string_view text) {
  const std::string line = one_line(text);
  if (is_printable_ascii(line) && line.size() <= 900 && line.find("=?") == std::string::npos) return line;
  std::string out;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t begin = at;
    while (at < line.size()) {
      std::size_t next = at;
      hatch::next_code_point(line, next);
      if (next - begin > max_word) break;
      at = next;
    }
    (out += out.empty() ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?") += base64(std::string_view(line).substr(begin, at - begin));
    out += "?=";
  }
  return out;
}

// "Shop <shop@example.org>": the name may hold anything, the address was checked.
std::string mailbox_text(const std::string& from) {
  const std::string address = bare_address(from);
  const std::size_t open = from.rfind('<');
  std::string name = open == std::string::npos ? std::string{} : one_line(std::string_view(from).substr(0, open));
  std::erase(name, '"');
  std::erase(name, '\\');
  name = trimmed(name);
  if (name.empty()) return address;
  return (is_printable_ascii(name) ? '"' + name + '"' : header_text(name)) + " <" + address + ">";
}

std::string date_text(std::time_t now) {
  // strftime(3) would name days and months in the process's language.
  constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char clock[16];
  std::snprintf(clock, sizeof clock, "%02d:%02d:%02d", parts.tm_hour, parts.tm_min, parts.tm_sec);
  return std::string(days[parts.tm_wday]) + ", " + std::to_string(parts.tm_mday) + " " + months[parts.tm_mon] + " " +
         std::to_string(parts.tm_year + 1900) + " " + clock + " +0000";
}

// Any end of line becomes CRLF.
std::string with_crlf(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\r' || text[at] == '\n') {
      out += "\r\n";
      if (text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n') ++at;
    } else {
      out += text[at];
    }
  }
  if (!out.ends_with("\r\n")) out += "\r\n";
  return out;
}

// May it be sent as it is? ASCII without control characters, in lines that no server cuts.
bool is_plain_body(std::string_view body) {
  std::size_t length = 0;
  for (const char c : body) {
    if (c == '\n') {
      length = 0;
      continue;
    }
    const bool fit = c == '\r' || c == '\t' || (c >= 0x20 && c < 0x7F);
    if (!fit || ++length > 900) return false;
  }
  return true;
}

std::string in_base64_lines(std::string_view body) {
  std::string out;
  for (std::size_t at = 0; at < body.size(); at += 57) out += base64(body.substr(at, 57)) + "\r\n";
  return out;
}

}  // namespace

std::string subject_of(const Message& message) {
  return "[hatchd " + message.run_id + "] " + one_line(message.subject);
}

std::string compose(const Message& message) {
  std::string body = message.text.empty() ? "" : message.text + "\n\n-- \n";
  body += "This is a test message. " + message.asked_by + " asked hatchd on " + message.host + " to send it";
  if (!message.target.empty()) body += " as " + message.target + " would";
  body += ".\nNothing needs to be done. Run " + message.run_id + ".\n";
  body = with_crlf(body);
  const bool plain = is_plain_body(body);

  std::string recipients;
  for (const std::string& address : message.to) (recipients += recipients.empty() ? "" : ",\r\n ") += address;
  const std::string domain = domain_of(bare_address(message.from));
  std::string out;
  const auto header = [&](const char* name, const std::string& value) {
    out += std::string(name) + ": " + value + "\r\n";
  };
  header("Date", date_text(message.now));
  header("From", mailbox_text(message.from));
  header("To", recipients);
  header("Subject", header_text(subject_of(message)));
  header("Message-ID", "<" + message.run_id + "@" + (is_ascii(domain) ? domain : "hatchd.invalid") + ">");
  header("Auto-Submitted", "auto-generated");
  header("X-Hatchd-Run", message.run_id);
  header("X-Hatchd-Asked-By", header_text(message.asked_by));
  header("MIME-Version", "1.0");
  header("Content-Type", plain ? "text/plain; charset=us-ascii" : "text/plain; charset=utf-8");
  header("Content-Transfer-Encoding", plain ? "7bit" : "base64");
  return out + "\r\n" + (plain ? body : in_base64_lines(body));
}

std::string stuffed(std::string_view message) {
  std::string out;
  out.reserve(message.size() + 16);
  bool at_start = true;
  for (const char c : message) {
    if (at_start && c == '.') out += '.';
    out += c;
    at_start = c == '\n';
  }
  if (!out.ends_with("\r\n")) out += "\r\n";
  return out + ".\r\n";
}

}  // namespace mail
